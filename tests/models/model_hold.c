/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HOLD, CLAIM (stories 5, 6, 7): an overwrite tensor ring of four slots, full; a reader holds the
 * oldest message, reads it and drops it while the producer publishes one more. TWO: a second
 * reader holds the same slot, so that the flag is lowered and raised around both.
 * Forbidden: a held payload is overwritten; a release of a held slot that says it was.
 * Fails with: either side's fence removed; no second look at the payload's sequence; a drop
 * by plain store.
 * Faults: E9.
 */
#define MODEL_SLOTS 4
#define MODEL_HOLDS 2
#define MODEL_MEMBERS 2
#define MODEL_GEOMETRY SLIPRING_GEOMETRY_TENSOR
#define MODEL_FULL SLIPRING_OVERWRITE
#ifndef PUBLISHES
#define PUBLISHES 1
#endif
#include "core.h"

static void *producer(void *context)
{
    struct slipring_producer p;
    struct slipring_fast fast;
    (void)context;
    model_producer(&p, &fast, 1, 4);
    fast.messages = 4;
    for (uint64_t i = 0; i < PUBLISHES; i++) {
        if (claim_room(&p, 1) == 0) {
            model_publish(&p, 100 + fast.next);
        }
    }
    return (void *)0;
}

static void *reader(void *context)
{
    const uint32_t cell = (uint32_t)(uintptr_t)context;
    struct slipring_consumer c;
    struct slipring_fast fast;
    model_consumer(&c, &fast, 2 + cell, cell, SLR_NO_GROUP, SLR_KIND_READER, 0);
    if (slr_hold_take(&c, 0, 1) == 0) {
        model_assert(model_read_payload(&model_payload[0]) == 100);
        model_assert(slr_slot_intact(&model_mapping.segment, 0));
        model_assert(slr_hold_drop(&c, 0, 1) == 0);
    }
    return (void *)0;
}

int main(void)
{
    struct slipring_producer p;
    struct slipring_fast fast;
    model_ring();
    model_producer(&p, &fast, 1, 0);
    model_attached(0, SLR_NO_GROUP, SLR_KIND_READER, 2);
    model_attached(1, SLR_NO_GROUP, SLR_KIND_READER, 3);
    model_published(&p, 4, 100);
    model_thread(0, producer, 0);
    model_thread(1, reader, 0);
#ifdef TWO
    model_thread(2, reader, 1);
#endif
    return 0;
}
