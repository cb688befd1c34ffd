/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PUBLISH, RELEASE and, in batches, CURSOR: one producer, two broadcast consumers, two slots, five
 * messages. TENSOR: with headers and claims that invalidate. BATCH: consumers take up to two.
 * FAST (GenMC only): by the code of slipring/inline.h; PAIR: with headers.
 * Forbidden: a payload that is not the one published, a gap, an overwrite while it is read.
 * Fails with: slr_store64_release() or slr_load64_acquire() relaxed; `released` stored relaxed;
 * with BATCH, the cursor stored relaxed; with FAST, any order of slipring/inline.h.
 * Faults: E9.
 */
#ifndef MESSAGES
#define MESSAGES 5
#endif
#ifndef BATCH
#define BATCH 1
#endif
#ifdef TENSOR
#define MODEL_GEOMETRY SLIPRING_GEOMETRY_TENSOR
#endif
#ifdef PAIR
#define MODEL_GEOMETRY SLIPRING_GEOMETRY_PAIR
#endif
#define MODEL_MEMBERS 2
#include "core.h"

#ifdef FAST
static void *producer(void *context)
{
    struct slipring_producer p;
    struct slipring_fast fast;
    void *data;
    (void)context;
    model_producer(&p, &fast, 1, 0);
    model_inline(&fast, 0, &model_control.consumers_waiting, (_Atomic uint64_t *)0);
    for (uint64_t s = 0; s < MESSAGES; s++) {
        while (fast.end == fast.next && slr_gate_raise(&p, 1) != 0) {
            model_again();
        }
        model_assert(slipring_fast_try_claim(&fast, 1, &data) == 0);
        model_write_payload((uint64_t *)data, 100 + s);
        model_assert(slipring_fast_publish(&fast, 1) == 0);
    }
    return (void *)0;
}

static void *consumer(void *context)
{
    const uint32_t cell = (uint32_t)(uintptr_t)context;
    struct slipring_consumer c;
    struct slipring_fast fast;
    const void *data;
    uint64_t count;
    model_consumer(&c, &fast, 2 + cell, cell, SLR_NO_GROUP, SLR_KIND_ONE, 0);
    model_inline(&fast, 0, &model_control.producer_waiting, &model_cells[cell].released);
    for (uint64_t s = 0; s < MESSAGES; s += count) {
        while ((count = slipring_fast_take(&fast, BATCH, &data)) == 0) {
            model_again();
        }
        model_assert(count <= BATCH && data == &model_payload[s % MODEL_SLOTS]);
        for (uint64_t i = 0; i < count; i++) {
            model_assert(model_read_payload(&model_payload[(s + i) % MODEL_SLOTS]) == 100 + s + i);
        }
        model_assert(slipring_fast_release(&fast, count) == 0);
    }
    return (void *)0;
}
#else
static void *producer(void *context)
{
    struct slipring_producer p;
    struct slipring_fast fast;
    (void)context;
    model_producer(&p, &fast, 1, 0);
    for (uint64_t s = 0; s < MESSAGES; s++) {
        while (claim_room(&p, 1) != 0) {
            model_again();
        }
        model_publish(&p, 100 + s);
    }
    return (void *)0;
}

static void *consumer(void *context)
{
    const uint32_t cell = (uint32_t)(uintptr_t)context;
    struct slipring_consumer c;
    struct slipring_fast fast;
    struct slipring_view view;
    model_consumer(&c, &fast, 2 + cell, cell, SLR_NO_GROUP, SLR_KIND_ONE, 0);
    for (uint64_t s = 0; s < MESSAGES; s += view.slots) {
        while (acquire_one(&c, BATCH, &view) != 0) {
            model_again();
        }
        model_assert(view.slot.sequence == s && view.slots <= BATCH && view.missed == 0);
        for (uint64_t i = 0; i < view.slots; i++) {
            model_assert(model_read_payload(&model_payload[(s + i) % MODEL_SLOTS]) == 100 + s + i);
        }
        model_assert(release_one(&c, &view) == 0);
    }
    return (void *)0;
}
#endif

int main(void)
{
    model_ring();
    model_attached(0, SLR_NO_GROUP, SLR_KIND_ONE, 2);
    model_attached(1, SLR_NO_GROUP, SLR_KIND_ONE, 3);
    model_thread(0, producer, 0);
    model_thread(1, consumer, 0);
    model_thread(2, consumer, 1);
    return 0;
}
