/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Taking: the oldest record of all lanes, for exactly one taker; and what a dead taker had.
 *
 * The order is that of the puts' clock. A lane that looked empty is looked at again after the
 * others, so that what was put before something else is also taken before it.
 */
#include "lane_word.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>

#define ANNOUNCED_NS INT64_C(1000000)

struct candidate {
    struct lane_entry *entry;
    uint8_t *map;
    uint64_t word, sequence, stamp;
    uint32_t lane;
};

/* A lane's first READY record, if it has one. */
static bool first_ready(struct lane_queue *queue, uint32_t lane, bool from_tail,
                        struct candidate *found)
{
    struct lane_head *head = &queue->heads[lane];
    const uint64_t cursor = __atomic_load_n(&head->cursor, __ATOMIC_ACQUIRE); /* PUBLISH */
    const uint64_t hint = __atomic_load_n(&head->hint, __ATOMIC_RELAXED);     /* a hint */
    uint64_t s = hint;
    /* Relaxed: who misses it looks from the tail before it sleeps. */
    if (from_tail || (__atomic_load_n(&head->again, __ATOMIC_RELAXED) != 0 &&
                      __atomic_exchange_n(&head->again, 0u, __ATOMIC_ACQ_REL) != 0)) { /* SLEEP */
        s = __atomic_load_n(&head->tail, __ATOMIC_ACQUIRE);                            /* TAIL */
    }
    if (!lane_before(s, cursor) || lane_map(queue, lane, &found->map) < 0) {
        return false;
    }
    if (cursor - s > LANE_ENTRIES) {
        s = cursor - LANE_ENTRIES; /* the hint lags by more than there can be */
    }
    for (; lane_before(s, cursor); s++) {
        struct lane_entry *entry = lane_entry(queue, found->map, s);
        const uint64_t word = __atomic_load_n(&entry->word, __ATOMIC_ACQUIRE); /* PUBLISH */
        if (lane_is(word, s, LANE_READY)) {
            found->entry = entry;
            found->word = word;
            found->sequence = s;
            found->lane = lane;
            /* Relaxed: if it is another record's, so is the word, and the swap fails. */
            found->stamp = __atomic_load_n(&entry->stamp, __ATOMIC_RELAXED);
            if (lane_before(s, hint)) {
                /* It came back: not to be forgotten if an older one is taken before it. */
                __atomic_store_n(&head->hint, s, __ATOMIC_RELAXED); /* a hint */
            }
            return true;
        }
    }
    if (hint != cursor) {
        __atomic_store_n(&head->hint, cursor, __ATOMIC_RELAXED); /* a hint */
    }
    return false;
}

static bool find_oldest(struct lane_queue *queue, bool from_tail, struct candidate *oldest)
{
    const uint32_t used =
        __atomic_load_n(&queue->header->lanes_used, __ATOMIC_ACQUIRE); /* PUBLISH */
    if (used == 1) {
        return first_ready(queue, 0, from_tail, oldest);
    }
    bool found = false;
    for (bool changed = true; changed;) {
        changed = false;
        for (uint32_t i = 0; i < used; i++) {
            struct candidate other;
            if (first_ready(queue, i, from_tail, &other) &&
                (!found || (int64_t)(other.stamp - oldest->stamp) < 0)) {
                *oldest = other;
                found = true;
                changed = true;
            }
        }
    }
    return found;
}

/* The byte that the item has in the pipe. Who made it countable may be about to write it. */
void lane_uncount(struct lane_queue *queue)
{
    char byte;
    for (int i = 0; i < 1000 && queue->read_fd >= 0; i++) {
        if (read(queue->read_fd, &byte, 1) == 1 || errno != EAGAIN) {
            return;
        }
        sched_yield();
    }
}

static void ask_anew(struct lane_queue *queue, struct lane_item *item)
{
    struct lane_head *head = &queue->heads[item->lane];
    item->attempt = (uint32_t)(head->asked >> 32) + 1; /* ours alone while we have the record */
    __atomic_store_n(&head->asked, (uint64_t)item->attempt << 32, __ATOMIC_RELEASE); /* STREAM */
    lane_fence();
    lane_bell_ring(&head->space, INT_MAX);
}

/* -EAGAIN: nothing is ready. */
int lane_take(struct lane_queue *queue, struct lane_item *item)
{
    const int code = lane_join(queue);
    if (code < 0) {
        return code;
    }
    struct candidate oldest;
    while (find_oldest(queue, false, &oldest) || find_oldest(queue, true, &oldest)) {
        const uint64_t taken = lane_word(oldest.sequence, LANE_TAKEN | queue->self);
        if (!__atomic_compare_exchange_n(&oldest.entry->word, &oldest.word, taken, false,
                                         __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
            continue; /* TAKE; relaxed: looked for anew */
        }
        struct lane_head *head = &queue->heads[oldest.lane];
        __atomic_store_n(&head->hint, oldest.sequence + 1, __ATOMIC_RELAXED); /* a hint */
        const uint64_t offset = oldest.entry->position & (queue->header->ring_bytes - 1);
        item->entry = oldest.entry;
        item->data = lane_bytes(oldest.map, offset);
        item->sequence = oldest.sequence;
        item->lane = oldest.lane;
        item->size = oldest.entry->size;
        item->flags = oldest.entry->flags;
        if ((oldest.word & LANE_COUNTED) != 0) {
            lane_uncount(queue);
        }
        if ((int64_t)oldest.stamp - __atomic_load_n(&queue->reaped_ns, __ATOMIC_RELAXED) >
            LANE_PATIENCE_NS) { /* relaxed: our own */
            lane_reap(queue);
        }
        if ((item->flags & LANE_STREAM) != 0) {
            item->stream = *(const struct lane_stream *)(const void *)item->data;
            if (!lane_alive(queue, item->stream.identity)) {
                lane_finish(queue, item); /* it died with what it had not yet given */
                continue;
            }
            ask_anew(queue, item);
        }
        return 0;
    }
    return -EAGAIN;
}

void lane_finish(struct lane_queue *queue, struct lane_item *item)
{
    struct lane_head *head = &queue->heads[item->lane];
    __atomic_store_n(&item->entry->word, lane_word(item->sequence, LANE_DONE),
                     __ATOMIC_RELEASE); /* DONE */
    lane_fence();
    /* Relaxed: a hint to whom it concerns; who sleeps looks again by itself. */
    if (!lane_before(item->sequence, __atomic_load_n(&head->wait_sequence, __ATOMIC_RELAXED))) {
        lane_bell_ring(&head->space, INT_MAX);
    }
    lane_bell_ring(&queue->header->room, 1);
}

static bool make_ready(struct lane_queue *queue, struct lane_entry *entry, uint32_t lane,
                       uint64_t sequence, uint64_t taken)
{
    if (!__atomic_compare_exchange_n(&entry->word, &taken, lane_word(sequence, LANE_READY), false,
                                     __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
        return false; /* TAKE; relaxed: somebody else has done it */
    }
    __atomic_store_n(&queue->heads[lane].again, 1u, __ATOMIC_RELEASE); /* SLEEP */
    lane_fence();
    if (__atomic_load_n(&queue->header->polled, __ATOMIC_RELAXED) != 0) {  /* the fence: POLLED */
        __atomic_store_n(&queue->header->uncounted, 1u, __ATOMIC_RELEASE); /* POLLED */
        lane_poll_on(queue);
    }
    lane_bell_ring(&queue->header->items, 1);
    return true;
}

/* For others, or for us once more. */
void lane_give_back(struct lane_queue *queue, struct lane_item *item)
{
    make_ready(queue, item->entry, item->lane, item->sequence,
               lane_word(item->sequence, LANE_TAKEN | queue->self));
}

static void reap_lane(struct lane_queue *queue, uint32_t lane)
{
    const uint64_t cursor = __atomic_load_n(&queue->heads[lane].cursor, __ATOMIC_ACQUIRE);
    uint8_t *map; /* PUBLISH */
    uint32_t lives = queue->self;
    uint64_t s = lane_tail(queue, lane);
    if (!lane_before(s, cursor) || lane_map(queue, lane, &map) < 0) {
        return;
    }
    for (; s != cursor; s++) {
        struct lane_entry *entry = lane_entry(queue, map, s);
        const uint64_t word = __atomic_load_n(&entry->word, __ATOMIC_ACQUIRE); /* TAKE */
        const uint32_t taker = (uint32_t)word;
        if (lane_is(word, s, LANE_READY)) {
            if (!lane_before(s, __atomic_load_n(&queue->heads[lane].hint, __ATOMIC_RELAXED))) {
                return; /* a hint; behind it takers have been nowhere */
            }
        } else if (lane_is(word, s, LANE_TAKEN) && taker != lives) {
            if (lane_alive(queue, taker)) {
                lives = taker;
            } else {
                make_ready(queue, entry, lane, s, word);
            }
        }
    }
}

void lane_reap(struct lane_queue *queue)
{
    __atomic_store_n(&queue->reaped_ns, lane_now(), __ATOMIC_RELAXED); /* our own */
    const uint32_t used =
        __atomic_load_n(&queue->header->lanes_used, __ATOMIC_ACQUIRE); /* PUBLISH */
    for (uint32_t i = 0; i < used; i++) {
        reap_lane(queue, i);
    }
}

/* Is anything READY? */
bool lane_any(struct lane_queue *queue)
{
    struct candidate oldest;
    return find_oldest(queue, false, &oldest) || find_oldest(queue, true, &oldest);
}

static bool announced(struct lane_queue *queue)
{
    const uint32_t used =
        __atomic_load_n(&queue->header->lanes_used, __ATOMIC_ACQUIRE); /* PUBLISH */
    for (uint32_t i = 0; i < used; i++) {
        const struct lane_head *head = &queue->heads[i];
        if (__atomic_load_n(&head->announcing, __ATOMIC_ACQUIRE) != 0 &&          /* POLLED */
            lane_alive(queue, __atomic_load_n(&head->owner, __ATOMIC_ACQUIRE))) { /* OWNER */
            return true;
        }
    }
    return false;
}

/* Takes back the bytes that dead processes left in the pipe with no item to them. */
static void settle(struct lane_queue *queue)
{
    char byte;
    while (!announced(queue) && !lane_any(queue) && read(queue->read_fd, &byte, 1) == 1) {
        lane_fence();
        if ((announced(queue) || lane_any(queue)) && queue->write_fd >= 0) {
            (void)!write(queue->write_fd, &byte, 1); /* it was somebody's after all */
            return;
        }
    }
}

/* An item is READY, or the pipe has its byte and it comes at once. */
bool lane_any_announced(struct lane_queue *queue)
{
    if (lane_any(queue)) {
        return true;
    }
    struct pollfd pipe = {.fd = queue->read_fd, .events = POLLIN};
    if (__atomic_load_n(&queue->header->polled, __ATOMIC_ACQUIRE) == 0 || /* POLLED */
        poll(&pipe, 1, 0) != 1 || (pipe.revents & POLLIN) == 0) {
        return false;
    }
    for (int64_t end = lane_now() + ANNOUNCED_NS; lane_now() < end; sched_yield()) {
        if (lane_any(queue)) {
            return true;
        }
    }
    settle(queue);
    return lane_any(queue);
}

/* Cheaper, for a spin: something was put, or given back. */
static bool stirred(const struct lane_queue *queue)
{
    const uint32_t used =
        __atomic_load_n(&queue->header->lanes_used, __ATOMIC_ACQUIRE); /* PUBLISH */
    for (uint32_t i = 0; i < used; i++) {
        const struct lane_head *head = &queue->heads[i];
        /* Relaxed: whoever is stirred looks properly. */
        if (__atomic_load_n(&head->cursor, __ATOMIC_RELAXED) !=
                __atomic_load_n(&head->hint, __ATOMIC_RELAXED) ||
            __atomic_load_n(&head->again, __ATOMIC_RELAXED) != 0) {
            return true;
        }
    }
    return false;
}

/* How long to spin is learned: longer after it paid, shorter after it did not. Relaxed: of our
 * process, whose threads may learn from each other. */
static bool spin(struct lane_queue *queue, int64_t *now, int64_t deadline_ns)
{
    const uint32_t most = __atomic_load_n(&queue->spin_ns, __ATOMIC_RELAXED); /* learned */
    const int64_t end = *now + most;
    while (*now < end && *now < deadline_ns) {
        for (int i = 0; i < 32; i++) {
            if (stirred(queue)) {
                __atomic_store_n(&queue->spin_ns, most < 25000 ? most * 2 : 50000,
                                 __ATOMIC_RELAXED); /* learned */
                return true;
            }
            lane_pause();
        }
        *now = lane_now();
    }
    __atomic_store_n(&queue->spin_ns, most > 2000 ? most / 2 : most,
                     __ATOMIC_RELAXED); /* learned */
    return false;
}

/* Waits until something may be ready: 0. -EPIPE: nobody is left who could put. */
int lane_wait_item(struct lane_queue *queue, int64_t deadline_ns)
{
    int64_t now = lane_now();
    if (now >= deadline_ns) {
        return -ETIMEDOUT;
    }
    if (spin(queue, &now, deadline_ns)) {
        return 0;
    }
    struct lane_bell *bell = &queue->header->items;
    const uint32_t seen = lane_bell_arm(bell);
    if (__atomic_load_n(&queue->header->shut, __ATOMIC_ACQUIRE) != 0 || /* SLEEP */
        lane_any(queue)) {
        return 0;
    }
    if (now >= deadline_ns) {
        return -ETIMEDOUT;
    }
    lane_bell_sleep(bell, seen, lane_patience(deadline_ns, now));
    if (lane_any_announced(queue)) {
        return 0;
    }
    lane_reap(queue);
    struct pollfd pipe = {.fd = queue->read_fd, .events = POLLIN};
    if (poll(&pipe, 1, 0) == 1 && (pipe.revents & POLLHUP) != 0 && !lane_any(queue)) {
        return -EPIPE;
    }
    return 0;
}

/*
 * Copies the parts of a stream into `buffer`, *done of them so far. -EAGAIN: not all are there yet,
 * call again; -EOWNERDEAD: the rest will never come, the item is finished.
 */
int lane_copy_stream(struct lane_queue *queue, struct lane_item *item, uint8_t *buffer,
                     uint64_t *done, int64_t deadline_ns)
{
    struct lane_head *head = &queue->heads[item->lane];
    const uint64_t part = queue->header->part_bytes;
    const uint64_t size = item->stream.size;
    uint8_t *map = queue->maps[item->lane];
    uint64_t taken = (*done + part - 1) / part;
    while (*done < size) {
        const uint32_t seen = lane_bell_arm(&head->parts);
        const uint64_t given = __atomic_load_n(&head->given, __ATOMIC_ACQUIRE); /* STREAM */
        if (given >> 32 == item->attempt && (given & UINT32_MAX) > taken) {
            const uint64_t some = size - *done < part ? size - *done : part;
            __builtin_memcpy(buffer + *done,
                             lane_bytes(map, queue->header->ring_bytes + (taken & 1) * part), some);
            *done += some;
            taken++;
            __atomic_store_n(&head->asked, (uint64_t)item->attempt << 32 | taken,
                             __ATOMIC_RELEASE); /* STREAM */
            lane_fence();
            lane_bell_ring(&head->space, INT_MAX);
            continue;
        }
        if (__atomic_load_n(&head->cancelled, __ATOMIC_ACQUIRE) ==
                item->sequence + 1 || /* STREAM */
            !lane_alive(queue, item->stream.identity)) {
            lane_finish(queue, item);
            return -EOWNERDEAD;
        }
        const int64_t now = lane_now();
        if (now >= deadline_ns) {
            return -EAGAIN;
        }
        lane_bell_sleep(&head->parts, seen, lane_patience(deadline_ns, now));
    }
    return 0;
}
