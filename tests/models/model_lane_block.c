/* SPDX-License-Identifier: Apache-2.0 */
/*
 * BLOCK of a queue: a process puts two items that travel in blocks, in the one block that there is
 * memory for; of two that take them the first may die at any access.
 * Forbidden: a block written while somebody has it; one that stays the dead's; an item lost, but the
 * one that the dead had in hand.
 * Fails with: a block leased after the record is DONE; a lessee's block taken back while it lives.
 */
#include "lanes.h"

enum { ITEMS = 2 };
static uint32_t finished[ITEMS];

static void *putter(void *context)
{
    struct model_process process;
    (void)context;
    model_enter(&process, 1);
    for (uint64_t i = 0; i < ITEMS; i++) {
        uint32_t index;
        uint8_t *data;
        while (lane_take_block(&process.queue, 2048, &index, &data) < 0) {
            explore_again();
        }
        model_store(data, 100 + i, 8);
        const struct lane_piece piece = {&index, sizeof index};
        const struct lane_record record = {&piece, 1, sizeof index, LANE_BUFFERS, &index, 1};
        model_assert(lane_put(&process.queue, &record, true) == 0);
    }
    return NULL;
}

/* Whether one was there. */
static bool take(struct lane_queue *queue)
{
    struct lane_item item;
    if (lane_take(queue, &item) < 0) {
        return false;
    }
    const uint32_t index = (uint32_t)model_load(item.data, 4);
    const uint8_t *block = lane_lease_block(queue, item.lane, index, 2048);
    lane_finish(queue, &item);
    const uint64_t number = model_load(block, 8) - 100;
    model_assert(number < ITEMS && ++finished[number] == 1);
    lane_return_block(queue, queue->self, item.lane, index);
    return true;
}

static void *taker(void *context)
{
    struct model_process process;
    (void)context;
    model_enter(&process, 2);
    MODEL_MINE(model_own_mortal) = true;
    (void)take(&process.queue);
    MODEL_MINE(model_own_mortal) = false;
    return NULL;
}

int main(void)
{
    struct model_process process;
    uint32_t lost = 0;
    model_enter(&process, 3);
    model_thread(0, putter, 0);
    model_thread(1, taker, 0);
    while (lane_tail(&process.queue, 0) < ITEMS) {
        if (!take(&process.queue)) {
            explore_again();
            lane_reap(&process.queue);
        }
    }
    model_join(1);
    for (uint32_t i = 0; i < ITEMS; i++) {
        lost += finished[i] == 0;
    }
    model_assert(lost <= model_dead);
    return 0;
}
