/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OWNER, DONE of a bounded queue: two processes put into one that has place for one item, while a
 * third takes; the first may die at any access (with `admitting` in its hand, with a place reserved).
 * Forbidden: more items in it than it has places for; a place that nobody gets any more.
 * Fails with: no lock around counting and reserving; a lock that is not taken from the dead; the
 * dead's reservation counted.
 */
#define MODEL_LANES 2
#define MODEL_MAXSIZE 1
#include "lanes.h"

static uint32_t inside[2]; /* put by each, and not yet taken */
static uint32_t got[2];

static void *putter(void *context)
{
    const uint32_t number = (uint32_t)(uintptr_t)context;
    struct model_process process;
    model_enter(&process, 1 + number);
    MODEL_MINE(model_own_mortal) = number == 0;
    while (lane_admit(&process.queue, true) < 0) {
        explore_again();
    }
    inside[number]++;
    model_assert((model_dead != 0 ? 0 : inside[0]) + inside[1] <= 1);
    model_assert(model_put(&process.queue, number, false) == 0);
    MODEL_MINE(model_own_mortal) = false;
    return NULL;
}

static void *taker(void *context)
{
    struct model_process process;
    struct lane_item item;
    (void)context;
    model_enter(&process, 3);
    while ((got[0] == 0 && model_dead == 0) || got[1] == 0 || lane_any(&process.queue)) {
        if (lane_take(&process.queue, &item) < 0) {
            explore_again();
            continue;
        }
        const uint64_t number = model_load(item.data, 8);
        model_assert(number < 2 && ++got[number] == 1);
        inside[number]--;
        lane_finish(&process.queue, &item);
    }
    return NULL;
}

int main(void)
{
    struct model_process process;
    model_thread(0, putter, 0);
    model_thread(1, putter, 1);
    model_thread(2, taker, 0);
    model_join(0);
    model_join(1);
    model_join(2);
    model_enter(&process, 4);
    model_assert(lane_size(&process.queue, 0) == 0);
    return 0;
}
