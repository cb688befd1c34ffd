/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JOIN of groups (story 15): the last member of a group of many leaves (CRASH: dies before its
 * CRASHth shared access) while another enters it and, with REAPER, a third ends what is dead.
 * Forbidden: a member, alive and told so, of a group that does not gate; a group with
 * no member that gates for ever.
 * Fails with: either full fence of JOIN removed; no second look for members.
 * Faults: A8, E9.
 */
#define MODEL_MEMBERS 2
#define MODEL_GROUPS 1
#ifndef CRASH
#define CRASH 0
#endif
#include "core.h"

static _Atomic uint32_t joined;

static void *leaver(void *context)
{
    struct slipring_consumer c;
    struct slipring_fast fast;
    (void)context;
    model_consumer(&c, &fast, 2, 0, 0, SLR_KIND_MANY, 0);
    MODEL_MINE(model_own_steps) = CRASH;
    slr_cell_leave(&c);
    model_die();
    return (void *)0;
}

static void *joiner(void *context)
{
    struct slipring_consumer c;
    struct slipring_fast fast;
    uint64_t start = 0;
    (void)context;
    model_consumer(&c, &fast, 3, 1, SLR_NO_GROUP, SLR_KIND_ONE, 0);
    c.word = slr_cell_word(1, SLR_NO_GROUP, SLR_KIND_ONE, SLR_CELL_JOINING);
    if (enter(&c, 0, &start) == 0) {
        model_note(joined, 1);
    }
    return (void *)0;
}

static void *reaper(void *context)
{
    (void)context;
    MODEL_MINE(model_own_id) = 4;
    (void)slr_members_reap_all(MODEL_RING);
    return (void *)0;
}

int main(void)
{
    model_ring();
    model_group(0);
    model_attached(0, 0, SLR_KIND_MANY, 2);
    model_attached(1, SLR_NO_GROUP, SLR_KIND_ONE, 3);
    slr_store64(&model_cells[1].word,
                slr_cell_word(1, SLR_NO_GROUP, SLR_KIND_ONE, SLR_CELL_JOINING));
    model_thread(0, leaver, 0);
    model_thread(1, joiner, 0);
#ifdef REAPER
    model_thread(2, reaper, 0);
    model_join(2);
#endif
    model_join(0);
    model_join(1);
    (void)slr_members_reap_all(MODEL_RING);
    const uint64_t word = slr_load64_acquire(&model_groups[0].word);
    if (model_noted(joined)) {
        /* ENDING gates too: an ender that died there leaves it so until the next one looks. */
        model_assert(slr_group_gates(word) && slr_group_generation(word) == 1);
    } else {
        model_assert(slr_group_state(word) == SLR_GROUP_FREE);
    }
    return 0;
}
