/* SPDX-License-Identifier: Apache-2.0 */
/*
 * REAP: a member attaches in the one cell there is and dies before its CRASHth shared access (0:
 * leaves); a reaper clears up after it; another attaches in the cell as soon as it can.
 * Forbidden: that the second, alive, loses its cell; two owners of one cell; a cell lost; that one
 * who left counts as dead.
 * Fails with: a reaper that frees the cell without comparing its word, or does not look at it again
 * after probing its lock.
 * Faults: A8, E9.
 */
#define MODEL_MEMBERS 1
#ifndef CRASH
#define CRASH 0
#endif
#include "core.h"

static void *first(void *context)
{
    struct slipring_consumer_config config;
    struct slipring_consumer c;
    struct slipring_fast fast;
    uint64_t start = 0;
    (void)context;
    model_consumer(&c, &fast, 2, 0, SLR_NO_GROUP, SLR_KIND_ONE, 0);
    config.start = SLIPRING_OLDEST;
    config.slow = SLIPRING_GATE;
    MODEL_MINE(model_own_steps) = CRASH;
    if (try_cell(&c, 0) == 0) {
        model_assert(join_alone(&c, &config, &start) == 0);
        slr_cell_leave(&c);
    }
    model_die();
    return (void *)0;
}

static void *second(void *context)
{
    struct slipring_consumer_config config;
    struct slipring_consumer c;
    struct slipring_fast fast;
    uint64_t start = 0;
    (void)context;
    model_consumer(&c, &fast, 3, 0, SLR_NO_GROUP, SLR_KIND_ONE, 0);
    config.start = SLIPRING_OLDEST;
    config.slow = SLIPRING_GATE;
    if (slr_cell_take(&c, (struct slipring_error *)0) == 0) {
        model_assert(join_alone(&c, &config, &start) == 0);
        model_note(model_cells[0].reserved, 1); /* attached */
    }
    return (void *)0;
}

static void *reaper(void *context)
{
    (void)context;
    MODEL_MINE(model_own_id) = 4;
    const int reaped = slr_members_reap_all(MODEL_RING);
    model_assert(CRASH != 0 || reaped == 0);
    return (void *)0;
}

int main(void)
{
    model_ring();
    model_thread(0, first, 0);
    model_thread(1, second, 0);
    model_thread(2, reaper, 0);
    model_join(0);
    model_join(1);
    model_join(2);
    const uint64_t word = slr_load64_acquire(&model_cells[0].word);
    if (model_noted(model_cells[0].reserved) != 0) {
        model_assert(slr_cell_state(word) == SLR_CELL_ACTIVE);
        model_assert(slr_load32_acquire(&model_locks[SLR_LOCK_CELL]) == 1 + 3);
    } else {
        struct slipring_consumer c;
        struct slipring_fast fast;
        model_consumer(&c, &fast, 5, 0, SLR_NO_GROUP, SLR_KIND_ONE, 0);
        model_assert(slr_cell_take(&c, (struct slipring_error *)0) == 0);
        model_assert(slr_cell_generation(c.word) > slr_cell_generation(word));
    }
    return 0;
}
