/* SPDX-License-Identifier: Apache-2.0 */
/*
 * STREAM of a queue: an item in three parts, of which two fit into the lane; the first of two that
 * want it may die at any access, and then the other one gets it from its beginning.
 * Forbidden: a part that is another attempt's, or overwritten before it was copied; that the item is
 * lost, or somebody waits for ever.
 * Fails with: a third part written before the first is taken; an attempt that keeps its number.
 */
#include "lanes.h"

enum { WORDS = 3 };
static uint32_t whole;

static void *putter(void *context)
{
    struct model_process process;
    uint64_t words[WORDS];
    (void)context;
    for (uint64_t i = 0; i < WORDS; i++) {
        words[i] = 100 + i;
    }
    const struct lane_piece piece = {words, sizeof words};
    const struct lane_record record = {&piece, 1, sizeof words, 0, NULL, 0};
    model_enter(&process, 1);
    model_assert(lane_put_stream(&process.queue, &record, true, NULL, NULL) == 0);
    return NULL;
}

static void *taker(void *context)
{
    const uint32_t number = (uint32_t)(uintptr_t)context;
    struct model_process process;
    struct lane_item item;
    uint64_t words[WORDS], done = 0;
    model_enter(&process, 2 + number);
    MODEL_MINE(model_own_mortal) = number == 0;
    while (lane_take(&process.queue, &item) < 0) {
        if (whole != 0) {
            return NULL;
        }
        explore_again();
        lane_reap(&process.queue);
    }
    model_assert(item.stream.size == sizeof words);
    model_assert(lane_copy_stream(&process.queue, &item, (uint8_t *)words, &done, INT64_MAX) == 0);
    for (uint64_t i = 0; i < WORDS; i++) {
        model_assert(words[i] == 100 + i);
    }
    MODEL_MINE(model_own_mortal) = false;
    whole++;
    lane_finish(&process.queue, &item);
    return NULL;
}

int main(void)
{
    model_thread(0, putter, 0);
    model_thread(1, taker, 0);
    model_thread(2, taker, 1);
    model_join(0);
    model_join(1);
    model_join(2);
    model_assert(whole == 1);
    return 0;
}
