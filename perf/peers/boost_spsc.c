/* SPDX-License-Identifier: Apache-2.0 */
/* Boost.Lockfree's spsc_queue of 1023 lines (one slot of its array stays empty). */
#include "boost_spsc.h"

#include "peer.h"

static void *queue_new(void)
{
    void *queue = shared_new(boost_spsc_bytes());
    boost_spsc_init(queue);
    return queue;
}

static void queue_delete(void *queue)
{
    shared_free(queue, boost_spsc_bytes());
}

static void *queue_open(void *queue, bool writes)
{
    (void)writes;
    return queue;
}

static inline unsigned queue_put(void *end, const struct message *messages, unsigned count)
{
    return boost_spsc_put(end, messages, count);
}

static inline unsigned queue_get(void *end, struct message *messages, unsigned count)
{
    return boost_spsc_get(end, messages, count);
}

#include "queue.h"

const struct peer_measure peer_measures[] = {QUEUE_MEASURES, {NULL, NULL, NULL}};
