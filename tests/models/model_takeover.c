/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TAKEOVER (stories 10, 11, 12): a producer dies before its CRASHth shared access in publishing a
 * batch of two (SPANNING: one message of two slots, in a tensor ring); another takes over and
 * publishes to the end of the second slot, while a consumer reads.
 * Forbidden: two payloads under one sequence, a gap, half a spanning message.
 * Fails with: an end taken from the cursor; SPANNING: stamps beyond the end left, the first slot
 * stamped before the others.
 * Faults: A2, E9.
 */
#define MODEL_MEMBERS 1
#define MODEL_SLOTS 4
#ifdef SPANNING
#define MODEL_GEOMETRY SLIPRING_GEOMETRY_TENSOR
#endif
#ifndef CRASH
#define CRASH 0
#endif
#include "core.h"

static _Atomic uint64_t by_first; /* message 0 was read as the first producer's */

static void publish(struct slipring_producer *p, uint64_t value)
{
#ifdef SPANNING
    struct slipring_slot slot;
    slot.bytes = 2 * sizeof(uint64_t);
    slot.tag = 0;
    slot.messages = 0;
    slot.shapes = (const int64_t *)0;
    for (uint64_t i = 0; i < 2; i++) {
        model_write_payload(&model_payload[p->fast->next + i], value + i);
    }
    model_assert(slipring_producer_publish_spanning(p, &slot) == 0);
#else
    model_publish(p, value);
#endif
}

static void *first(void *context)
{
    struct slipring_producer p;
    struct slipring_fast fast;
    (void)context;
    model_producer(&p, &fast, 1, 0);
    MODEL_MINE(model_own_steps) = CRASH;
    if (claim_room(&p, 2) == 0) {
        publish(&p, 100);
    }
    model_die();
    return (void *)0;
}

static void *second(void *context)
{
    struct slipring_producer p;
    struct slipring_fast fast;
    (void)context;
    model_producer(&p, &fast, 4, 0);
    while (model_lock(SLR_LOCK_PRODUCER) != 0) {
        model_again();
    }
    take_over(&p, slr_load64_acquire(&model_data.producer));
    const uint64_t end = fast.next;
    model_assert(end <= 2);
#ifdef SPANNING
    model_assert(end != 1);
#endif
    for (uint64_t s = end; s < 2; s++) { /* one by one, so that nothing covers what lies beyond */
        model_assert(claim_room(&p, 1) == 0);
        model_publish(&p, 200 + s);
    }
    return (void *)0;
}

static void *consumer(void *context)
{
    struct slipring_consumer c;
    struct slipring_fast fast;
    struct slipring_view view;
    uint64_t seen = 0;
    (void)context;
    model_consumer(&c, &fast, 2, 0, SLR_NO_GROUP, SLR_KIND_ONE, 0);
    while (seen < 2) {
        while (acquire_one(&c, 2, &view) != 0) {
            model_again();
        }
        model_assert(view.slot.sequence == seen && view.missed == 0);
        for (uint64_t i = 0; i < view.slots; i++, seen++) {
            const uint64_t value = model_read_payload(&model_payload[seen]);
            model_assert(value == 100 + seen || value == 200 + seen);
            model_note(by_first, model_noted(by_first) | (uint64_t)(value < 200) << seen);
        }
        model_assert(release_one(&c, &view) == 0);
    }
    return (void *)0;
}

int main(void)
{
    model_ring();
    model_attached(0, SLR_NO_GROUP, SLR_KIND_ONE, 2);
    slr_store32(&model_locks[SLR_LOCK_PRODUCER], 1 + 1);
    model_thread(0, first, 0);
    model_thread(1, second, 0);
    model_thread(2, consumer, 0);
    model_join(0);
    model_join(1);
    model_join(2);
    /* What was read as one producer's lies there still, and is in no gap. */
    for (uint64_t s = 0; s < 2; s++) {
        const uint64_t value = model_read_payload(&model_payload[s]);
        model_assert((value < 200) == ((model_noted(by_first) >> s & 1) != 0));
        model_assert(slr_load64_acquire(slr_stamp(&model_mapping.segment, s)) == s);
    }
    model_assert(slr_load64_acquire(&model_data.cursor) == 2);
    return 0;
}
