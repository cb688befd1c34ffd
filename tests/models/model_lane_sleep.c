/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SLEEP of a queue: one who gets sleeps for two items; or (ROOM) one who puts, for its place in a
 * queue of one; or (SPACE) for room in its lane. No sleep ends by itself.
 * Forbidden: that one sleeps for ever.
 * Fails with: the fence in lane_bell_arm(), or the one before a bell is rung, removed; no look after
 * the flag is up; the flag lowered after the word is moved.
 */
#ifdef ROOM
#define MODEL_MAXSIZE 1
#endif
#include "lanes.h"

#define FOREVER INT64_MAX
enum {
#ifdef SPACE
    ITEMS = 4
#else
    ITEMS = 2
#endif
};

static void *putter(void *context)
{
    struct model_process process;
    (void)context;
    model_enter(&process, 1);
    for (uint64_t i = 0; i < ITEMS; i++) {
#ifdef ROOM
        while (lane_admit(&process.queue, true) == -EAGAIN) {
            model_assert(lane_wait_room(&process.queue, FOREVER) == 0);
        }
        model_assert(model_put(&process.queue, i, false) == 0);
#else
        while (model_put(&process.queue, i, true) == -EAGAIN) {
            model_assert(lane_wait_space(&process.queue, FOREVER, 0) == 0);
        }
#endif
    }
    return NULL;
}

int main(void)
{
    struct model_process process;
    model_enter(&process, 2);
    model_thread(0, putter, 0);
    for (uint64_t i = 0; i < ITEMS; i++) {
        uint64_t value;
        while (model_take(&process.queue, &value) == -EAGAIN) {
#if defined(ROOM) || defined(SPACE)
            explore_again();
#else
            model_assert(lane_wait_item(&process.queue, FOREVER) == 0);
#endif
        }
        model_assert(value == i);
    }
    return 0;
}
