/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PUBLISH, TAIL, OWNER of a queue's lanes: a process puts three items through a lane of two entries
 * and dies at some access, at the latest when it is done; another takes meanwhile; two more each put
 * one, in whatever of the two lanes they can have. NEW: those two alone, in lanes that nobody had.
 * Forbidden: an item lost that was put; one that comes twice, or torn, or before an older one of its
 * process; a place of the dead that stays taken.
 * Fails with: the cursor moved before the record is written; room found by the cursor instead of the
 * tail; `reserved` not set back by who adopts; a lane taken without comparing its owner.
 */
#define MODEL_LANES 2
#include "lanes.h"

enum { FIRST = 3, ITEMS = 5 };
static uint32_t put, got[ITEMS];

static void *putter(void *context)
{
    struct model_process process;
    (void)context;
    model_enter(&process, 1);
    MODEL_MINE(model_own_mortal) = true;
    for (uint32_t i = 0; i < FIRST; i++) {
        model_assert(lane_admit(&process.queue, false) == 0);
        while (model_put(&process.queue, 100 + i, false) < 0) {
            explore_again();
        }
        model_note(put, i + 1);
    }
    model_die();
    return NULL;
}

static void *adopter(void *context)
{
    const uint32_t number = (uint32_t)(uintptr_t)context;
    struct model_process process;
    model_enter(&process, 3 + number);
    while (model_put(&process.queue, 100 + FIRST + number, true) < 0) {
        explore_again();
    }
    return NULL;
}

int main(void)
{
    struct model_process process;
    uint64_t value, last = 99;
    model_enter(&process, 2);
#ifdef NEW
    model_dead = 1;
#else
    model_thread(0, putter, 0);
#endif
    model_thread(1, adopter, 0);
    model_thread(2, adopter, 1);
    while (model_dead == 0 || got[FIRST] == 0 || got[FIRST + 1] == 0 || lane_any(&process.queue)) {
        if (model_take(&process.queue, &value) < 0) {
            explore_again();
            continue;
        }
        model_assert(value - 100 < ITEMS && ++got[value - 100] == 1);
        if (value - 100 < FIRST) {
            model_assert(value == last + 1);
            last = value;
        }
    }
    for (uint32_t i = 0; i < put; i++) {
        model_assert(got[i] == 1);
    }
    model_assert(lane_size(&process.queue, 0) == 0);
    return 0;
}
