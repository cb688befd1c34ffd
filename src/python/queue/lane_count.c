/* SPDX-License-Identifier: Apache-2.0 */
/* How much is in a queue, and how much of it is still to be finished. */
#include "lane_word.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>

uint64_t lane_tail(struct lane_queue *queue, uint32_t lane)
{
    struct lane_head *head = &queue->heads[lane];
    uint64_t tail = __atomic_load_n(&head->tail, __ATOMIC_ACQUIRE);           /* TAIL */
    const uint64_t cursor = __atomic_load_n(&head->cursor, __ATOMIC_ACQUIRE); /* PUBLISH */
    uint8_t *map;
    if (!lane_before(tail, cursor) || lane_map(queue, lane, &map) < 0) {
        return tail;
    }
    uint64_t end = tail;
    while (lane_before(end, cursor)) {
        const uint64_t word =
            __atomic_load_n(&lane_entry(queue, map, end)->word, __ATOMIC_ACQUIRE); /* DONE */
        if (!lane_is(word, end, LANE_DONE)) {
            break;
        }
        end++;
    }
    if (end != tail && !__atomic_compare_exchange_n(&head->tail, &tail, end, false,
                                                    __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
        return tail; /* TAIL: somebody else moved it, perhaps further */
    }
    return end;
}

/* Items put into a lane so far; those that a dead owner had not published are lost. */
static uint64_t put_so_far(struct lane_queue *queue, uint32_t lane)
{
    struct lane_head *head = &queue->heads[lane];
    const uint64_t cursor = __atomic_load_n(&head->cursor, __ATOMIC_ACQUIRE);     /* PUBLISH */
    const uint64_t reserved = __atomic_load_n(&head->reserved, __ATOMIC_ACQUIRE); /* PUBLISH */
    if (lane_before(cursor, reserved)) {
        const uint32_t owner = __atomic_load_n(&head->owner, __ATOMIC_ACQUIRE); /* OWNER */
        return lane_alive(queue, owner) ? reserved : cursor;
    }
    return cursor;
}

/* Records of a lane that are not DONE, beyond its tail. */
static int64_t done_early(struct lane_queue *queue, uint32_t lane, uint64_t tail)
{
    struct lane_head *head = &queue->heads[lane];
    const uint64_t cursor = __atomic_load_n(&head->cursor, __ATOMIC_ACQUIRE); /* PUBLISH */
    uint8_t *map;
    int64_t done = 0;
    if (lane_before(tail, cursor) && lane_map(queue, lane, &map) == 0) {
        for (uint64_t s = tail; s != cursor; s++) {
            /* Relaxed: a count; nothing is read on the strength of it. */
            const uint64_t word =
                __atomic_load_n(&lane_entry(queue, map, s)->word, __ATOMIC_RELAXED);
            done += lane_is(word, s, LANE_DONE);
        }
    }
    return done;
}

/* Items put and not taken. Where `enough` is above 0, any upper bound below it will do. */
int64_t lane_size(struct lane_queue *queue, int64_t enough)
{
    const uint32_t used = __atomic_load_n(&queue->header->lanes_used, __ATOMIC_ACQUIRE);
    int64_t size = 0; /* PUBLISH: the lanes' words */
    for (uint32_t i = 0; i < used; i++) {
        const uint64_t tail = lane_tail(queue, i);
        size += (int64_t)(put_so_far(queue, i) - tail);
    }
    if (enough > 0 && size < enough) {
        return size;
    }
    size = 0;
    for (uint32_t i = 0; i < used; i++) {
        const uint64_t tail = lane_tail(queue, i);
        size += (int64_t)(put_so_far(queue, i) - tail) - done_early(queue, i, tail);
    }
    return size < 0 ? 0 : size;
}

int64_t lane_unfinished(struct lane_queue *queue)
{
    /* PUBLISH: a lane below it was ready before it was counted. */
    const uint32_t used = __atomic_load_n(&queue->header->lanes_used, __ATOMIC_ACQUIRE);
    const uint64_t finished =
        __atomic_load_n(&queue->header->finished, __ATOMIC_ACQUIRE); /* SLEEP: the bell's */
    uint64_t put = 0;                                                /* PUBLISH */
    for (uint32_t i = 0; i < used; i++) {
        put += put_so_far(queue, i);
    }
    return (int64_t)(put - finished);
}

int lane_task_done(struct lane_queue *queue)
{
    uint64_t *word = &queue->header->finished;
    for (;;) {
        uint64_t finished = __atomic_load_n(word, __ATOMIC_ACQUIRE); /* SLEEP */
        const int64_t left = lane_unfinished(queue);
        if (left <= 0 && finished == __atomic_load_n(word, __ATOMIC_ACQUIRE)) {
            return -EINVAL;
        }
        if (__atomic_compare_exchange_n(word, &finished, finished + 1, false, __ATOMIC_ACQ_REL,
                                        __ATOMIC_RELAXED)) { /* SLEEP; relaxed: tried again */
            break;
        }
    }
    lane_fence();
    lane_bell_ring(&queue->header->joined, INT_MAX);
    return 0;
}

int lane_wait_joined(struct lane_queue *queue, int64_t deadline_ns)
{
    struct lane_bell *bell = &queue->header->joined;
    const uint32_t seen = lane_bell_arm(bell);
    if (lane_unfinished(queue) <= 0) {
        return 0;
    }
    const int64_t now = lane_now();
    if (now >= deadline_ns) {
        return -ETIMEDOUT;
    }
    lane_bell_sleep(bell, seen, lane_patience(deadline_ns, now));
    return -EAGAIN;
}

void lane_shut(struct lane_queue *queue, bool immediate)
{
    struct lane_header *header = queue->header;
    __atomic_store_n(&header->shut, immediate ? 2u : 1u, __ATOMIC_RELEASE); /* SLEEP */
    lane_fence();
    lane_bell_ring(&header->items, INT_MAX);
    lane_bell_ring(&header->room, INT_MAX);
    lane_bell_ring(&header->joined, INT_MAX);
}
