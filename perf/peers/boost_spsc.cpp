/* SPDX-License-Identifier: Apache-2.0 */
/* Boost.Lockfree's spsc_queue, as C sees it; linked with optimisation across the two. */
#include "boost_spsc.h"

#include <boost/lockfree/spsc_queue.hpp>

#include <new>

struct line {
    alignas(64) unsigned long words[8];
};

using queue = boost::lockfree::spsc_queue<line, boost::lockfree::capacity<1023>>;

size_t boost_spsc_bytes(void)
{
    return sizeof(queue);
}

void boost_spsc_init(void *memory)
{
    new (memory) queue;
}

unsigned boost_spsc_put(void *q, const void *lines, unsigned count)
{
    const line *from = static_cast<const line *>(lines);
    return count == 1 ? static_cast<queue *>(q)->push(*from)
                      : static_cast<unsigned>(static_cast<queue *>(q)->push(from, count));
}

unsigned boost_spsc_get(void *q, void *lines, unsigned count)
{
    line *to = static_cast<line *>(lines);
    return count == 1 ? static_cast<queue *>(q)->pop(*to)
                      : static_cast<unsigned>(static_cast<queue *>(q)->pop(to, count));
}
