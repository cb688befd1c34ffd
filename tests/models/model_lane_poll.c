/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POLLED of a queue: somebody asks for the descriptor while items are put and taken.
 * Forbidden: an item that is READY without its byte in the pipe, when all is quiet; a byte too many.
 * Fails with: the fence in lane_poll_on(), or the one in announce(), removed; an item counted without
 * comparing its word.
 */
#include "lanes.h"

static struct model_process first;

static void *putter(void *context)
{
    (void)context;
    model_assert(model_put(&first.queue, 101, true) == 0);
    return NULL;
}

static void *taker(void *context)
{
    struct model_process process;
    uint64_t value;
    (void)context;
    model_enter(&process, 2);
    (void)model_take(&process.queue, &value);
    return NULL;
}

static void *poller(void *context)
{
    struct model_process process;
    (void)context;
    model_enter(&process, 3);
    model_assert(lane_poll_on(&process.queue) == 0);
    return NULL;
}

int main(void)
{
    struct model_process process;
    model_enter(&first, 1);
    model_assert(model_put(&first.queue, 100, true) == 0);
    model_thread(0, putter, 0);
    model_thread(1, taker, 0);
    model_thread(2, poller, 0);
    model_join(0);
    model_join(1);
    model_join(2);
    model_enter(&process, 4);
    model_assert((int64_t)model_pipe == lane_size(&process.queue, 0));
    return 0;
}
