/* SPDX-License-Identifier: Apache-2.0 */
/*
 * REAP, of a lasting group of one: its member is dead, with one message released and one not; a
 * reaper clears up after it while another consumer takes the cell, clearing up too where it comes
 * first, and begins at the latest; NAMED: it enters another group, which is further.
 * Forbidden: that the group goes past what its member released.
 * Fails with: no look at the cell after the load of what it released; what the next owner of a cell
 * releases stored relaxed.
 * Faults: A7, E9.
 */
#define MODEL_SLOTS 4
#define MODEL_MEMBERS 2
#include "core.h"

static void *reaper(void *context)
{
    (void)context;
    MODEL_MINE(model_own_id) = 3;
    (void)slr_members_reap_all(MODEL_RING);
    return (void *)0;
}

static void *next(void *context)
{
    struct slipring_consumer_config config;
    struct slipring_consumer c;
    struct slipring_fast fast;
    uint64_t start = 0;
    (void)context;
    model_consumer(&c, &fast, 4, 0, SLR_NO_GROUP, SLR_KIND_ONE, 0);
    config.start = SLIPRING_LATEST;
    config.slow = SLIPRING_GATE;
    if (slr_cell_take(&c, (struct slipring_error *)0) == 0) {
#ifdef NAMED
        model_assert(enter(&c, 1, &start) == 0 && start == 3);
#else
        model_assert(join_alone(&c, &config, &start) == 0 && start == 3);
#endif
    }
    return (void *)0;
}

int main(void)
{
    struct slipring_producer p;
    struct slipring_fast fast;
    model_ring();
    slr_store64(&model_groups[0].word, slr_group_word(1, 0, SLR_GROUP_LIVE));
    slr_store32(&model_groups[0].lasting, 1);
    slr_store64(&model_groups[0].owner, UINT64_C(1) << 32 | 1);
    slr_store64(&model_groups[1].word, slr_group_word(1, 0, SLR_GROUP_LIVE));
    slr_store32(&model_groups[1].lasting, 1);
    slr_store64(&model_groups[1].position, 3);
    slr_raise32(&model_control.groups_high, 2);
    model_producer(&p, &fast, 1, 0);
    model_published(&p, 3, 100);
    model_attached(0, 0, SLR_KIND_ONE, 2);
    slr_store32(&model_locks[SLR_LOCK_CELL], 0);         /* dead */
    model_attached(1, SLR_NO_GROUP, SLR_KIND_READER, 5); /* so that there is no other cell */
    slr_store64(&model_cells[0].released, 1);
    slr_store64(&model_data.limit, 6); /* so that the oldest is further than the group */
    model_thread(0, reaper, 0);
    model_thread(1, next, 0);
    model_join(0);
    model_join(1);
    (void)slr_members_reap_all(MODEL_RING);
    model_assert(slr_load64_acquire(&model_groups[0].position) == 1);
    return 0;
}
