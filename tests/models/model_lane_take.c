/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TAKE, DONE of a queue's lane: two items, two takers. DIES: the first may die at any access, while
 * the other one reaps and takes. PUTTER: nobody dies, and a third item is put as soon as there is
 * room, into an entry and bytes that were used before.
 * Forbidden: an item that two finish; one that nobody gets, but the one that the dead had in hand;
 * an item overwritten while it is read.
 * Fails with: a reaper that does not ask whether the taker lives; TAKEN swapped without comparing;
 * the lane's tail moved over what is only taken.
 */
#include "lanes.h"

enum { ITEMS = 3 };
static uint32_t finished[ITEMS];

static int take(struct lane_queue *queue)
{
    uint64_t value;
    const int code = model_take(queue, &value);
    if (code == 0) {
        model_assert(value - 100 < ITEMS);
        model_count(finished[value - 100]);
    }
    return code;
}

static void *taker(void *context)
{
    const uint32_t number = (uint32_t)(uintptr_t)context;
    struct model_process process;
    model_enter(&process, 2 + number);
#ifdef DIES
    MODEL_MINE(model_own_mortal) = number == 0;
    if (number == 1) {
        lane_reap(&process.queue);
    }
#endif
    (void)take(&process.queue);
    MODEL_MINE(model_own_mortal) = false;
    return NULL;
}

static struct model_process putter;

static void *put_third(void *context)
{
    (void)context;
    while (model_put(&putter.queue, 102, true) == -EAGAIN) {
        explore_again();
    }
    return NULL;
}

int main(void)
{
    uint32_t items = 2;
    model_enter(&putter, 1);
    for (uint32_t i = 0; i < items; i++) {
        model_assert(model_put(&putter.queue, 100 + i, true) == 0);
    }
    model_thread(0, taker, 0);
    model_thread(1, taker, 1);
#ifdef PUTTER
    items = 3;
    model_thread(2, put_third, 0);
    model_join(2);
#endif
    model_join(0);
    model_join(1);
    struct model_process process;
    model_enter(&process, 5);
    lane_reap(&process.queue);
    while (take(&process.queue) == 0) {
    }
    uint32_t lost = 0;
    for (uint32_t i = 0; i < items; i++) {
        model_assert(finished[i] <= 1);
        lost += finished[i] == 0;
    }
#ifdef DIES
    model_assert(lost <= 1);
#else
    model_assert(lost == 0);
#endif
    model_assert(lane_size(&process.queue, 0) == 0 && lane_tail(&process.queue, 0) == items);
    return 0;
}
