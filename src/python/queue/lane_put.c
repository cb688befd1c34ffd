/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Putting: a record into our own lane, or in parts past it; and a place in a bounded queue.
 *
 * The mutex orders our own threads. It is held for copies, never across a wait or a caller's code.
 */
#include "lane_word.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <string.h>

/* Copies `size` bytes of a record from `offset` on. */
static void copy_part(const struct lane_record *record, uint64_t offset, uint64_t size,
                      uint8_t *target)
{
    for (size_t i = 0; i < record->count && size > 0; i++) {
        const struct lane_piece *piece = &record->pieces[i];
        if (offset >= piece->size) {
            offset -= piece->size;
            continue;
        }
        const uint64_t left = piece->size - offset;
        const uint64_t some = left < size ? left : size;
        memcpy(target, (const uint8_t *)piece->data + offset, some);
        target += some;
        size -= some;
        offset = 0;
    }
}

/* Whether `size` bytes fit behind what is in use; then where. */
static bool find_room(struct lane_queue *queue, struct lane_head *head, uint8_t *map,
                      uint64_t cursor, uint64_t size, uint64_t *position)
{
    const uint64_t ring = queue->header->ring_bytes;
    uint64_t at = head->write_position;
    const uint64_t offset = at & (ring - 1);
    if (offset + size > ring) {
        at += ring - offset; /* a record never wraps */
    }
    /* Relaxed: only to see whether to look properly. */
    uint64_t tail = __atomic_load_n(&head->tail, __ATOMIC_RELAXED);
    if (at + size - queue->tail_position > ring || cursor - tail >= LANE_ENTRIES) {
        tail = lane_tail(queue, queue->mine - 1);
        queue->tail_position = tail == cursor ? at : lane_entry(queue, map, tail)->position;
        if (at + size - queue->tail_position > ring || cursor - tail >= LANE_ENTRIES) {
            return false;
        }
    }
    *position = at;
    return true;
}

/* A byte in the pipe for an item. */
static bool count_item(struct lane_queue *queue)
{
    if (queue->write_fd >= 0 && write(queue->write_fd, "", 1) == 1) {
        return true;
    }
    __atomic_store_n(&queue->header->uncounted, 1u, __ATOMIC_RELEASE); /* POLLED */
    return false;
}

/* Gives every READY record of a lane from `from` on that has no byte in the pipe one. */
static void count_lane(struct lane_queue *queue, uint32_t lane, uint64_t from)
{
    const uint64_t cursor = __atomic_load_n(&queue->heads[lane].cursor, __ATOMIC_ACQUIRE);
    uint8_t *map; /* PUBLISH */
    if (!lane_before(from, cursor) || lane_map(queue, lane, &map) < 0) {
        return;
    }
    for (uint64_t s = from; s != cursor; s++) {
        struct lane_entry *entry = lane_entry(queue, map, s);
        uint64_t word = __atomic_load_n(&entry->word, __ATOMIC_ACQUIRE); /* POLLED */
        /* The swap decides who writes the byte; who takes it meanwhile waits for the byte. */
        if (lane_is(word, s, LANE_READY) && (word & LANE_COUNTED) == 0 &&
            __atomic_compare_exchange_n(&entry->word, &word, word | LANE_COUNTED, false,
                                        __ATOMIC_ACQ_REL, __ATOMIC_RELAXED) && /* POLLED */
            !count_item(queue)) {
            return;
        }
    }
}

int lane_poll_on(struct lane_queue *queue)
{
    struct lane_header *header = queue->header;
    if (__atomic_load_n(&header->polled, __ATOMIC_ACQUIRE) != 0 && /* POLLED */
        __atomic_exchange_n(&header->uncounted, 0u, __ATOMIC_ACQ_REL) == 0) {
        return 0;
    }
    __atomic_store_n(&header->polled, 1u, __ATOMIC_RELEASE); /* POLLED */
    lane_fence();
    const uint32_t used = __atomic_load_n(&header->lanes_used, __ATOMIC_ACQUIRE); /* PUBLISH */
    for (uint32_t i = 0; i < used; i++) {
        count_lane(queue, i, lane_tail(queue, i));
    }
    return 0;
}

/* Into our lane; the mutex is held. */
static int publish(struct lane_queue *queue, const struct lane_record *record, uint64_t *sequence)
{
    const uint64_t size = (record->size + 15) & ~UINT64_C(15);
    if (size > queue->header->ring_bytes / 2) {
        return -EMSGSIZE;
    }
    struct lane_head *head = &queue->heads[queue->mine - 1];
    uint8_t *map = queue->maps[queue->mine - 1];
    const uint64_t cursor = head->cursor;
    uint64_t position;
    if (!find_room(queue, head, map, cursor, size, &position)) {
        return -EAGAIN;
    }
    copy_part(record, 0, record->size, lane_bytes(map, position & (queue->header->ring_bytes - 1)));
    struct lane_entry *entry = lane_entry(queue, map, cursor);
    entry->position = position;
    entry->size = (uint32_t)record->size;
    entry->flags = record->flags;
    /* Relaxed: the cursor's release orders it; atomic since a late getter may still look. */
    __atomic_store_n(&entry->stamp, (uint64_t)lane_now(), __ATOMIC_RELAXED);
    uint64_t word = lane_word(cursor, LANE_READY);
    const bool polled =
        __atomic_load_n(&queue->header->polled, __ATOMIC_RELAXED) != 0; /* looked at again */
    if (polled) {
        /* Before it can be seen: killed between, there is a byte too many, and not an item that
         * nobody is told of. */
        __atomic_store_n(&head->announcing, 1u, __ATOMIC_RELAXED); /* the fence: POLLED */
        lane_fence();
        word |= count_item(queue) ? LANE_COUNTED : 0;
    }
    for (size_t i = 0; i < record->block_count; i++) {
        lane_fill_block(queue, record->blocks[i], cursor);
    }
    head->write_position = position + size;
    __atomic_store_n(&entry->word, word, __ATOMIC_RELEASE);        /* PUBLISH */
    __atomic_store_n(&head->cursor, cursor + 1, __ATOMIC_RELEASE); /* PUBLISH */
    if (polled) {
        __atomic_store_n(&head->announcing, 0u, __ATOMIC_RELEASE); /* POLLED */
    }
    *sequence = cursor;
    return 0;
}

static void reserve_one(struct lane_head *head, int64_t change)
{
    const uint64_t reserved = __atomic_load_n(&head->reserved, __ATOMIC_RELAXED); /* ours alone */
    __atomic_store_n(&head->reserved, reserved + (uint64_t)change, __ATOMIC_RELEASE); /* PUBLISH */
}

static void announce(struct lane_queue *queue, uint64_t from)
{
    lane_fence();
    if (__atomic_load_n(&queue->header->polled, __ATOMIC_RELAXED) != 0) { /* the fence: POLLED */
        count_lane(queue, queue->mine - 1, from);
    }
    lane_bell_ring(&queue->header->items, 1);
}

int lane_put(struct lane_queue *queue, const struct lane_record *record, bool reserve)
{
    int code = lane_join(queue);
    if (code < 0) {
        return code;
    }
    uint64_t sequence = 0;
    pthread_mutex_lock(&queue->mutex);
    code = lane_own(queue);
    if (code == 0) {
        code = publish(queue, record, &sequence);
    }
    if (code == 0 && reserve) {
        reserve_one(&queue->heads[queue->mine - 1], 1);
    }
    pthread_mutex_unlock(&queue->mutex);
    if (code == 0) {
        announce(queue, sequence);
    }
    return code;
}

/* Waits for a fair part of our lane to become free: until the tail moves, then a little more. */
int lane_wait_space(struct lane_queue *queue, int64_t deadline_ns, int64_t spin_ns)
{
    const uint32_t lane = queue->mine - 1;
    struct lane_head *head = &queue->heads[lane];
    const uint64_t start = lane_tail(queue, lane);
    const uint64_t full = __atomic_load_n(&head->cursor, __ATOMIC_ACQUIRE) - start; /* PUBLISH */
    if (full == 0) {
        return 0;
    }
    int64_t now = lane_now();
    uint64_t tail = start;
    for (int64_t quiet = now + spin_ns; spin_ns > 0 && now < quiet && now < deadline_ns;) {
        for (int i = 0; i < 64; i++) {
            lane_pause();
        }
        const uint64_t moved = lane_tail(queue, lane);
        now = lane_now();
        if (moved - start > full / 8) {
            return 0;
        }
        if (moved != tail) {
            tail = moved;
            quiet = now + spin_ns;
        }
    }
    if (now >= deadline_ns) {
        return tail != start ? 0 : -ETIMEDOUT;
    }
    __atomic_store_n(&head->wait_sequence, start + full / 2,
                     __ATOMIC_RELAXED); /* the fence: SLEEP */
    const uint32_t seen = lane_bell_arm(&head->space);
    if (lane_before(start + full / 2, lane_tail(queue, lane))) {
        return 0;
    }
    struct pollfd pipe = {.fd = queue->write_fd};
    if (poll(&pipe, 1, 0) == 1 && (pipe.revents & POLLERR) != 0) {
        return -EPIPE; /* nobody is left who could read */
    }
    lane_bell_sleep(&head->space, seen, lane_patience(deadline_ns, now));
    return 0;
}

/* Counting and reserving is one step, under a word that is taken from the dead. */
static void lock_admission(struct lane_queue *queue)
{
    uint32_t *word = &queue->header->admitting;
    for (unsigned tries = 1;; tries++) {
        uint32_t holder = 0;
        if (__atomic_compare_exchange_n(word, &holder, queue->self, false, __ATOMIC_ACQUIRE,
                                        __ATOMIC_RELAXED)) { /* OWNER; relaxed: tried again */
            return;
        }
        if (tries % LANE_TRIES == 0) {
            if (!lane_alive(queue, holder) &&
                __atomic_compare_exchange_n(word, &holder, queue->self, false, __ATOMIC_ACQUIRE,
                                            __ATOMIC_RELAXED)) { /* OWNER; relaxed: tried again */
                return;
            }
            sched_yield();
        }
        lane_pause();
    }
}

int lane_admit(struct lane_queue *queue, bool bounded)
{
    int code = lane_join(queue);
    if (code < 0) {
        return code;
    }
    pthread_mutex_lock(&queue->mutex);
    code = lane_own(queue);
    if (code == 0 && bounded) {
        lock_admission(queue);
        const int64_t most = queue->header->maxsize;
        if (lane_size(queue, most) < most) {
            reserve_one(&queue->heads[queue->mine - 1], 1);
        } else {
            code = -EAGAIN;
        }
        __atomic_store_n(&queue->header->admitting, 0u, __ATOMIC_RELEASE); /* OWNER */
    } else if (code == 0) {
        reserve_one(&queue->heads[queue->mine - 1], 1);
    }
    pthread_mutex_unlock(&queue->mutex);
    return code;
}

void lane_forgo(struct lane_queue *queue)
{
    pthread_mutex_lock(&queue->mutex);
    if (queue->mine != 0) {
        reserve_one(&queue->heads[queue->mine - 1], -1);
    }
    pthread_mutex_unlock(&queue->mutex);
    lane_fence();
    lane_bell_ring(&queue->header->room, 1);
    lane_bell_ring(&queue->header->joined, 1);
}

int lane_wait_room(struct lane_queue *queue, int64_t deadline_ns)
{
    struct lane_bell *bell = &queue->header->room;
    const uint32_t seen = lane_bell_arm(bell);
    const int64_t most = queue->header->maxsize;
    if (lane_size(queue, most) < most ||
        __atomic_load_n(&queue->header->shut, __ATOMIC_ACQUIRE) != 0) { /* SLEEP */
        return 0;
    }
    const int64_t now = lane_now();
    if (now >= deadline_ns) {
        return -ETIMEDOUT;
    }
    lane_bell_sleep(bell, seen, lane_patience(deadline_ns, now));
    return 0;
}

/* Parts are written two ahead of the taker. Another taker (the first died) begins anew. */
static int serve(struct lane_queue *queue, const struct lane_record *record, uint64_t sequence,
                 int (*interrupted)(void *), void *user)
{
    const uint32_t lane = queue->mine - 1;
    struct lane_head *head = &queue->heads[lane];
    uint8_t *map = queue->maps[lane];
    const struct lane_entry *entry = lane_entry(queue, map, sequence);
    const uint64_t part = queue->header->part_bytes;
    const uint64_t parts = (record->size + part - 1) / part;
    uint64_t attempt = head->given >> 32, sent = parts;
    for (;;) {
        const uint32_t seen = lane_bell_arm(&head->space);
        __atomic_store_n(&head->wait_sequence, sequence, __ATOMIC_RELAXED);    /* as `asleep` */
        const uint64_t word = __atomic_load_n(&entry->word, __ATOMIC_ACQUIRE); /* DONE */
        if (!lane_is(word, sequence, LANE_READY) && !lane_is(word, sequence, LANE_TAKEN)) {
            return 0;
        }
        const uint64_t asked = __atomic_load_n(&head->asked, __ATOMIC_ACQUIRE); /* STREAM */
        if (asked >> 32 != attempt) {
            attempt = asked >> 32;
            sent = 0;
        }
        if (sent < parts && sent < (asked & UINT32_MAX) + 2) {
            const uint64_t offset = sent * part;
            const uint64_t left = record->size - offset;
            copy_part(record, offset, left < part ? left : part,
                      lane_bytes(map, queue->header->ring_bytes + (sent & 1) * part));
            sent++;
            __atomic_store_n(&head->given, attempt << 32 | sent, __ATOMIC_RELEASE); /* STREAM */
            lane_fence();
            lane_bell_ring(&head->parts, INT_MAX);
            continue;
        }
        struct pollfd pipe = {.fd = queue->write_fd};
        if (poll(&pipe, 1, 0) == 1 && (pipe.revents & POLLERR) != 0) {
            return -EPIPE;
        }
        lane_bell_sleep(&head->space, seen, LANE_PATIENCE_NS);
        const int code = interrupted != NULL ? interrupted(user) : 0;
        if (code < 0) {
            return code;
        }
    }
}

/* Nobody gets a stream that we no longer serve; who has it already drops it. */
static void cancel(struct lane_queue *queue, uint64_t sequence)
{
    struct lane_head *head = &queue->heads[queue->mine - 1];
    struct lane_entry *entry = lane_entry(queue, queue->maps[queue->mine - 1], sequence);
    __atomic_store_n(&head->cancelled, sequence + 1, __ATOMIC_RELEASE); /* STREAM */
    uint64_t word = __atomic_load_n(&entry->word, __ATOMIC_ACQUIRE);    /* TAKE */
    while (lane_is(word, sequence, LANE_READY)) {
        if (__atomic_compare_exchange_n(&entry->word, &word, lane_word(sequence, LANE_DONE), false,
                                        __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) { /* TAKE */
            if ((word & LANE_COUNTED) != 0) {
                lane_uncount(queue);
            }
            break;
        }
    }
    lane_fence();
    lane_bell_ring(&head->parts, INT_MAX);
}

/* Streams of a dead owner are finished by those who take them, who find it dead. */
static bool streams_left(struct lane_queue *queue)
{
    const uint32_t lane = queue->mine - 1;
    const uint8_t *map = queue->maps[lane];
    const uint64_t cursor = queue->heads[lane].cursor;
    for (uint64_t s = lane_tail(queue, lane); s != cursor; s++) {
        const struct lane_entry *entry = lane_entry(queue, map, s);
        const uint64_t word = __atomic_load_n(&entry->word, __ATOMIC_ACQUIRE); /* DONE */
        if (!lane_is(word, s, LANE_DONE) && (entry->flags & LANE_STREAM) != 0) {
            return true;
        }
    }
    return false;
}

static int begin_stream(struct lane_queue *queue, const struct lane_record *record, bool reserve,
                        uint64_t *sequence)
{
    const struct lane_header *header = queue->header;
    struct lane_stream stream = {record->size, queue->self, record->flags};
    const struct lane_piece piece = {&stream, sizeof stream};
    const struct lane_record head = {
        .pieces = &piece, .count = 1, .size = sizeof stream, .flags = record->flags | LANE_STREAM};
    pthread_mutex_lock(&queue->mutex);
    int code = lane_own(queue);
    if (code == 0 && queue->heads[queue->mine - 1].ready == 1) {
        const uint64_t lane = header->lane_offset + (queue->mine - 1) * header->lane_stride;
        code = -posix_fallocate(
            queue->fd,
            (off_t)(lane + LANE_ENTRIES * sizeof(struct lane_entry) + header->ring_bytes),
            (off_t)(2 * header->part_bytes));
        queue->heads[queue->mine - 1].ready += code == 0;
    }
    if (code == 0) {
        code = streams_left(queue) ? -EAGAIN : publish(queue, &head, sequence);
    }
    if (code == 0 && reserve) {
        reserve_one(&queue->heads[queue->mine - 1], 1);
    }
    pthread_mutex_unlock(&queue->mutex);
    return code;
}

int lane_put_stream(struct lane_queue *queue, const struct lane_record *record, bool reserve,
                    int (*interrupted)(void *), void *user)
{
    int code = lane_join(queue);
    if (code < 0) {
        return code;
    }
    uint64_t sequence = 0;
    pthread_mutex_lock(&queue->stream);
    while ((code = begin_stream(queue, record, reserve, &sequence)) == -EAGAIN) {
        code = lane_wait_space(queue, lane_now() + LANE_PATIENCE_NS, 0);
        if (code == 0 || code == -ETIMEDOUT) {
            code = interrupted != NULL ? interrupted(user) : 0;
        }
        if (code < 0) {
            break;
        }
    }
    if (code == 0) {
        announce(queue, sequence);
        code = serve(queue, record, sequence, interrupted, user);
        if (code < 0) {
            cancel(queue, sequence);
        }
    }
    pthread_mutex_unlock(&queue->stream);
    return code;
}
