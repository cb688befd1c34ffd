/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OWN, of a group of one: a consumer reads a message and releases it while the producer evicts it
 * and writes the slot anew. Words of payload are relaxed atomics here, as on every processor.
 * Forbidden: a release that says 0 of what was overwritten while it was read. VERIFY: with
 * checksums, that a message is called damaged which was overwritten.
 * Fails with: the producer's fence after evicting, or the consumer's before it looks, removed;
 * VERIFY: no look at the cell after a checksum that does not match, or none of its fence.
 * Faults: B2, E9.
 */
#define MODEL_RACY
#define MODEL_MEMBERS 1
#ifdef VERIFY
#define MODEL_GEOMETRY SLIPRING_GEOMETRY_PAIR
#define MODEL_CHECK 1
#endif
#include "core.h"

static void *producer(void *context)
{
    struct slipring_producer p;
    struct slipring_fast fast;
    (void)context;
    model_producer(&p, &fast, 1, 2);
    p.blocked_ns = 1;
    p.reported = 2 + 2 * MODEL_SLOTS; /* announced before: no fence of JOIN comes on the way */
    slr_gate_clear(&p, 1);
    model_assert(claim_room(&p, 1) == 0);
    model_publish(&p, 102);
    return (void *)0;
}

static void *consumer(void *context)
{
    struct slipring_consumer c;
    struct slipring_fast fast;
    struct slipring_view view;
    (void)context;
    model_consumer(&c, &fast, 2, 0, SLR_NO_GROUP, SLR_KIND_ONE, 0);
    c.slow = SLIPRING_EVICT;
#ifdef VERIFY
    c.flags = SLIPRING_VERIFY;
#endif
    const int result = acquire_one(&c, 1, &view);
    model_assert(result == 0 || result == -EAGAIN || result == -ESTALE);
    if (result == 0) {
        const uint64_t value = model_read_payload(&model_payload[view.slot.sequence % MODEL_SLOTS]);
        if (release_one(&c, &view) == 0) {
            model_assert(value == 100 + view.slot.sequence);
        }
    }
    return (void *)0;
}

int main(void)
{
    struct slipring_producer p;
    struct slipring_fast fast;
    model_ring();
    model_producer(&p, &fast, 1, 0);
    model_attached(0, SLR_NO_GROUP, SLR_KIND_ONE, 2);
    slr_store64(&model_cells[0].evict_after_ns, 1);
    model_published(&p, 2, 100);
    model_thread(0, producer, 0);
    model_thread(1, consumer, 0);
    return 0;
}
