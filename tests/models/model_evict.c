/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OWN (stories 2, 16, 17, 18): the producer evicts in a group of two that evicts, for one slot,
 * while a member takes and finishes the message there; the other takes what comes back.
 * Forbidden: two finish one message; one finishes what was dropped; a message neither finished nor
 * dropped nor given back; a member that is evicted and takes all the same.
 * STAYS: the member keeps what it took; HELD: it holds an earlier message already.
 * Fails with: a finish that does not compare (two finish); an evictor that does not give back;
 * HELD: either side's fence removed, no look at the cell after taking.
 * Faults: B2, E9.
 */
#define MODEL_MEMBERS 2
#define MODEL_GROUPS 1
#ifndef HELD
#define HELD 0 /* 1: the first member holds message 0 already, the story is about message 1 */
#endif
#include "core.h"

static _Atomic uint32_t finished;
static _Atomic uint32_t kept; /* a member acquired, and is in the middle of it */

static void *member(void *context)
{
    const uint32_t cell = (uint32_t)(uintptr_t)context;
    struct slipring_consumer c;
    struct slipring_fast fast;
    struct slipring_view view;
    model_consumer(&c, &fast, 2 + cell, cell, 0, SLR_KIND_MANY, 0);
    c.slow = SLIPRING_EVICT;
    const int result = acquire_many(&c, 1, &view);
    model_assert(result == 0 || result == -EAGAIN || result == -ESTALE);
    if (result == 0) {
#ifdef STAYS
        model_count(kept);
#else
        if (release_many(&c, &view) == 0) {
            model_count(finished);
        }
#endif
    }
    return (void *)0;
}

static void *producer(void *context)
{
    (void)context;
    MODEL_MINE(model_own_id) = 1;
    slr_group_evict(MODEL_RING, 0, 1);
    return (void *)0;
}

int main(void)
{
    struct slipring_producer p;
    struct slipring_fast fast;
    model_ring();
    model_producer(&p, &fast, 1, 0);
    model_group(0);
    model_attached(0, 0, SLR_KIND_MANY, 2);
    model_attached(1, 0, SLR_KIND_MANY, 3);
    model_published(&p, 1 + HELD, 100);
    if (HELD) {
        slr_store64(slr_lease_word(&model_mapping.segment, 0, 0),
                    slr_lease(0, 1, 0, SLR_LEASE_TAKEN, 1));
    }
    model_thread(0, member, 0);
#ifndef ALONE
    model_thread(1, member, 1);
#endif
    model_thread(2, producer, 0);
    model_join(0);
#ifndef ALONE
    model_join(1);
#endif
    model_join(2);
    const uint64_t dropped = slr_load64(&model_groups[0].dropped);
    const uint64_t lease = slr_load64_acquire(slr_lease_word(&model_mapping.segment, 0, HELD));
    const bool here = slr_lease_lap(&model_mapping.segment, lease, HELD) == 0;
    const uint32_t state = slr_lease_state(lease);
    model_assert(model_noted(finished) + dropped <= 1);
    if (here && state == SLR_LEASE_TAKEN) {
        /* By one that is a member still: of one evicted in the moment of taking nothing is left. */
        const uint64_t word = slr_load64_acquire(&model_cells[slr_lease_cell(lease)].word);
        model_assert(slr_cell_state(word) == SLR_CELL_ACTIVE && model_noted(kept) != 0);
    } else if (here && state == SLR_LEASE_DONE) {
        model_assert(model_noted(finished) + dropped == 1);
    }
    return 0;
}
