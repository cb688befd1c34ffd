/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The core, as it is, in one translation unit behind the seam, and a small ring in static memory.
 *
 * A client says before it includes this what ring it wants (MODEL_SLOTS, MODEL_GEOMETRY,
 * MODEL_FULL, MODEL_MEMBERS, MODEL_GROUPS of many, MODEL_RELEASES, MODEL_HOLDS, MODEL_CHECK for
 * checksums). The segment is made by model_ring(); messages and members that the story begins with
 * by model_published() and model_attached(); handles by model_producer() and model_consumer() in the
 * thread that owns them.
 *
 * Assumed of the system: a lock of a dead thread is free once all its stores are visible; a wake
 * reaches every sleeper whose word moved (the chain of wakes in wait.h is not modelled).
 */
#ifndef MODEL_CORE_H
#define MODEL_CORE_H

#include "seam.h"

#include <slipring/tensor.h>
#undef SLIPRING_FIELDS_MAX
#define SLIPRING_FIELDS_MAX 1 /* schemas are not modelled: a small geometry is a fast one */

#ifndef MODEL_SLOTS
#define MODEL_SLOTS 2
#endif
#ifndef MODEL_GEOMETRY
#define MODEL_GEOMETRY SLIPRING_GEOMETRY_COMPACT
#endif
#ifndef MODEL_FULL
#define MODEL_FULL SLIPRING_BLOCK
#endif
#ifndef MODEL_MEMBERS
#define MODEL_MEMBERS 2
#endif
#ifndef MODEL_GROUPS
#define MODEL_GROUPS 0
#endif
#ifndef MODEL_HOLDS
#define MODEL_HOLDS 0
#endif
#ifndef MODEL_RELEASES
#define MODEL_RELEASES 0
#endif
#ifndef MODEL_CHECK
#define MODEL_CHECK 0 /* 1: with a checksum, behind the header */
#endif
#ifndef MODEL_WORDS
#define MODEL_WORDS 1 /* of payload in a slot */
#endif

#include "ring/handle.h"

#include "base/wait.c"

#include "ring/released.c"

#include "ring/recover.c"

#include "ring/members.c"

#include "ring/hold.c"

#include "ring/lease.c"

#define find group_find
#include "ring/group.c"
#undef find

#include "ring/gate.c"

#include "ring/message.c"

#include "ring/acquire.c"

#define find_next reader_find_next
#define set_view reader_set_view
#include "ring/consumer_overwrite.c"
#undef find_next
#undef set_view

#define set_fast producer_set_fast
#define check_config producer_check_config
#include "ring/producer.c"
#include "ring/producer_publish.c"
#undef set_fast
#undef check_config
#undef FAST_BYTES

#include "ring/consumer.c"

#include "ring/reclaim.c"

#include "ring/consumer_device.c"

#include "ring/producer_device.c"

/* ---- the ring ---- */

#define MODEL_STRIDE (MODEL_CHECK ? 128u : 64u)
#define MODEL_LOCKS (SLR_LOCK_CELL + MODEL_MEMBERS)
#define MODEL_AT_LEAST_1(n) ((n) == 0 ? 1 : (n))

static struct slr_data model_data;
static struct slr_control model_control;
static struct slr_cell model_cells[MODEL_MEMBERS];
static struct slr_group model_groups[MODEL_GROUPS + MODEL_MEMBERS];
static _Atomic uint64_t model_leases[MODEL_AT_LEAST_1(MODEL_GROUPS * MODEL_SLOTS)];
static _Atomic uint64_t model_releases[MODEL_AT_LEAST_1(MODEL_RELEASES * MODEL_SLOTS)];
static _Atomic uint64_t model_holds[MODEL_AT_LEAST_1(MODEL_HOLDS)];
static _Alignas(128) uint8_t model_headers[MODEL_SLOTS * MODEL_STRIDE];
static uint64_t model_payload[MODEL_SLOTS * MODEL_WORDS];
static _Atomic uint32_t model_locks[MODEL_LOCKS]; /* 1 + thread that holds it */

MODEL_OWN(uint32_t, model_own_id);
MODEL_OWN(uint32_t, model_own_steps); /* steps until this thread dies, 0: it does not */
MODEL_OWN(int64_t, model_own_clock);

/* Constant, so that a compiler folds the geometry into the core: few reads, fast checking. */
static const struct slipring_ring model_mapping = {
    .segment =
        {
            .geometry =
                {
                    .slots = MODEL_SLOTS,
                    .header_stride = MODEL_STRIDE,
                    .payload_stride = MODEL_WORDS * sizeof(uint64_t),
                    .slot_bytes = MODEL_WORDS * sizeof(uint64_t),
                    .stamp_in_header = MODEL_GEOMETRY == SLIPRING_GEOMETRY_COMPACT ? 56 : 0,
                    .header_bytes = MODEL_GEOMETRY == SLIPRING_GEOMETRY_COMPACT ? 0 : MODEL_STRIDE,
                    .check_in_header = MODEL_CHECK ? 64 : 0,
                    .geometry = MODEL_GEOMETRY,
                    .full = MODEL_FULL,
                    .members_max = MODEL_MEMBERS,
                    .groups_max = MODEL_GROUPS,
                    .releases_max = MODEL_RELEASES,
                    .hold_max = MODEL_HOLDS,
                },
            .data = &model_data,
            .control = &model_control,
            .headers = model_headers,
            .payload = (uint8_t *)model_payload,
            .cells = model_cells,
            .groups = model_groups,
            .releases = model_releases,
            .holds = model_holds,
            .leases = model_leases,
            .slots_log2 = MODEL_SLOTS == 2   ? 1
                          : MODEL_SLOTS == 4 ? 2
                                             : 3,
        },
};
#define MODEL_RING ((struct slipring_ring *)&model_mapping)

/* The segment as creation leaves it; by the first thread, before there are others. */
static void model_ring(void)
{
    const struct slr_segment *segment = &model_mapping.segment;
    for (uint64_t s = 0; s < MODEL_SLOTS; s++) {
        slr_store64(slr_stamp(segment, s), s - MODEL_SLOTS);
        if (MODEL_GEOMETRY != SLIPRING_GEOMETRY_COMPACT) {
            slr_store64(&slr_header(segment, s)->payload_sequence, s - MODEL_SLOTS);
        }
    }
    slr_store64(&model_data.producer, 1 << 8 | SLR_PRODUCER_ATTACHED);
}

/* Cell `cell` is an ACTIVE member of group since before the story, its lock held by thread. */
static void model_attached(uint32_t cell, uint32_t group, uint32_t kind, uint32_t thread)
{
    slr_store64(&model_cells[cell].word, slr_cell_word(1, group, kind, SLR_CELL_ACTIVE));
    slr_store32(&model_locks[SLR_LOCK_CELL + cell], 1 + thread);
    slr_raise32(&model_control.cells_high, cell + 1);
}

/* The owner's struct; on the owner's stack, where a compiler makes registers of it. */
static inline void model_fast(struct slipring_fast *fast, uint64_t start)
{
    fast->mode = SLIPRING_FAST_SLOW; /* the operations of sequence.h, which the explorer sees */
    fast->handle = &model_data;      /* not of a forked child; used for nothing else here */
    fast->next = start;
    fast->end = start;
    fast->taken = start;
    fast->plain = start;
    fast->mask = MODEL_SLOTS - 1;
    fast->payload_stride = MODEL_WORDS * sizeof(uint64_t);
    fast->payload = (uint8_t *)model_payload;
    fast->cursor = (uint64_t *)(void *)&model_data.cursor;
    fast->messages = 0;
    fast->passed = 0;
}

/* The same struct for the code of slipring/inline.h, whose accesses only GenMC sees. */
static inline void model_inline(struct slipring_fast *fast, uint64_t start,
                                _Atomic uint32_t *waiting, _Atomic uint64_t *released)
{
    fast->mode =
        MODEL_GEOMETRY == SLIPRING_GEOMETRY_COMPACT ? SLIPRING_FAST_COMPACT : SLIPRING_FAST_HEADER;
    fast->header_stride = MODEL_STRIDE;
    fast->stamps = model_headers + model_mapping.segment.geometry.stamp_in_header;
    fast->slot_bytes = MODEL_WORDS * sizeof(uint64_t);
    fast->waiting = (uint32_t *)(void *)waiting;
    fast->released = (uint64_t *)(void *)released;
    fast->taken = start;
    fast->missed = start;
}

static inline void model_producer(struct slipring_producer *producer, struct slipring_fast *fast,
                                  uint32_t thread, uint64_t next)
{
    MODEL_MINE(model_own_id) = thread;
    model_fast(fast, next);
    producer->ring = MODEL_RING;
    producer->fast = fast;
    producer->consumers =
        (struct slr_bell){&model_control.consumers_waiting, &model_control.consumers_wake};
    producer->epoch = 1;
    producer->reported = next;
    producer->wanted = 1;
    producer->blocked_ns = 0;
    producer->probed_ns = 0;
    producer->probed_ticks = 0;
    slr_store32(&producer->lent, 0);
    slr_store32(&producer->short_steps, 0);
    slr_store64(&producer->device_next, next);
    fast->taken = 0;
}

/* A handle of the member in cell (UINT32_MAX: none yet), at sequence start. */
static inline void model_consumer(struct slipring_consumer *consumer, struct slipring_fast *fast,
                                  uint32_t thread, uint32_t cell, uint32_t group, uint32_t kind,
                                  uint64_t start)
{
    MODEL_MINE(model_own_id) = thread;
    model_fast(fast, start);
    consumer->ring = MODEL_RING;
    consumer->fast = fast;
    consumer->lock.fd = (int)thread;
    consumer->producer =
        (struct slr_bell){&model_control.producer_waiting, &model_control.producer_wake};
    consumer->cell = cell;
    consumer->group = group;
    consumer->kind = kind;
    consumer->flags = 0;
    consumer->slow = SLIPRING_GATE;
    consumer->word = slr_cell_word(1, group, kind, SLR_CELL_ACTIVE);
    consumer->probed_ns = 0;
    consumer->quiet_ticks = 0;
    consumer->quiet_word = 0;
    consumer->passed = 0;
    consumer->messages = 0;
    consumer->counted = false;
    consumer->losing = false;
    consumer->lost_from = 0;
    consumer->gap = 0;
    consumer->look_everywhere = false;
    slr_store64(&consumer->missed, 0);
    slr_store32(&consumer->devices, SLR_DEVICES_NONE);
    slr_store32(&consumer->references, 2); /* no handle is freed here */
    slr_store32(&consumer->detached, 0);
    slr_store64(&consumer->missed_messages, 0);
    consumer->pending_missed = 0;
    consumer->pending_messages = 0;
    consumer->releases = (_Atomic uint64_t *)0;
    consumer->redeliver_seen = 0;
    consumer->hold_hint = 0;
    consumer->shapes = (int64_t *)0;
}

/* Write and publish what was claimed: value, value + 1, ... */
static inline void model_publish(struct slipring_producer *producer, uint64_t value)
{
    const uint64_t slots = producer->fast->taken;
    for (uint64_t i = 0; i < slots; i++) {
        const uint64_t at = (producer->fast->next + i) % MODEL_SLOTS * MODEL_WORDS;
        for (uint64_t w = 0; w < MODEL_WORDS; w++) {
            model_write_payload(&model_payload[at + w], value + i);
        }
    }
    const int result = slipring_producer_publish(producer, slots, (const struct slipring_slot *)0);
    model_assert(result == 0);
}

/* Messages 0 to count - 1 were published before the story begins; with value, value + 1, ... */
static inline void model_published(struct slipring_producer *producer, uint64_t count,
                                   uint64_t value)
{
    for (uint64_t s = 0; s < count; s++) {
        model_assert(claim_room(producer, 1) == 0);
        model_publish(producer, value + s);
    }
}

/* A group of many is LIVE since before the story, at position 0. */
static inline void model_group(uint32_t group)
{
    slr_store64(&model_groups[group].word, slr_group_word(1, 0, SLR_GROUP_LIVE));
    slr_group_reset_leases((struct slr_segment *)&model_mapping.segment, group, 0);
    slr_raise32(&model_control.groups_high, group + 1);
}

/* ---- death ---- */

static void model_die(void)
{
    MODEL_MINE(model_own_steps) = 0;
    for (uint32_t byte = 0; byte < MODEL_LOCKS; byte++) {
        if (atomic_load_explicit(&model_locks[byte], memory_order_relaxed) ==
            1 + MODEL_MINE(model_own_id)) {
            atomic_store_explicit(&model_locks[byte], 0, memory_order_release);
        }
    }
    model_exit();
}

void model_step(void)
{
#ifdef MODEL_EXPLORE
    if (MODEL_MINE(model_own_steps) != 0 && explore_death()) { /* at any of its steps */
        model_die();
    }
#else
    if (MODEL_MINE(model_own_steps) != 0 && --MODEL_MINE(model_own_steps) == 0) {
#ifdef CRASH_PAST
        model_assert(!"the victim has more steps than the runner counts");
#endif
        model_die();
    }
#endif
}

/* ---- the system ---- */

int64_t slr_os_now(void)
{
    MODEL_MINE(model_own_clock) += 1000000000;
    return MODEL_MINE(model_own_clock);
}

uint64_t slr_os_ticks(void)
{
    MODEL_MINE(model_own_clock) += 1000000000;
    return (uint64_t)MODEL_MINE(model_own_clock);
}

int slr_os_futex_wait(_Atomic uint32_t *word, uint32_t value, uint32_t mask, int64_t deadline_ns)
{
    (void)mask;
    if (deadline_ns - MODEL_MINE(model_own_clock) <= SLR_DOZE) {
        return model_doze(word, value) ? -ETIMEDOUT : 0;
    }
    model_sleep(word, value); /* a lost wake-up must show, so no step ends it */
    return 0;
}

int slr_os_futex_wake(_Atomic uint32_t *word, int count, uint32_t mask)
{
    (void)word;
    (void)count;
    (void)mask;
    return 0;
}

int slr_os_sleep(int64_t deadline_ns)
{
    (void)deadline_ns;
    return 0;
}

int32_t slr_os_pid(void)
{
    return 1;
}

static int model_lock(uint32_t byte)
{
    uint32_t free = 0;
    return atomic_compare_exchange_strong_explicit(&model_locks[byte], &free,
                                                   1 + MODEL_MINE(model_own_id),
                                                   memory_order_acq_rel, memory_order_acquire)
               ? 0
               : -EAGAIN;
}

int slr_lock_take(struct slr_lock *lock, uint64_t byte, bool shared)
{
    (void)lock;
    (void)shared;
    return model_lock((uint32_t)byte);
}

void slr_lock_close(struct slr_lock *lock)
{
    for (uint32_t byte = 0; byte < MODEL_LOCKS; byte++) {
        if (atomic_load_explicit(&model_locks[byte], memory_order_relaxed) ==
            1 + (uint32_t)lock->fd) {
            atomic_store_explicit(&model_locks[byte], 0, memory_order_release);
        }
    }
}

void slr_lock_drop(struct slr_lock *lock, uint64_t byte)
{
    (void)lock;
    atomic_store_explicit(&model_locks[byte], 0, memory_order_release);
}

int slr_os_lock_wait(int fd, uint64_t byte, int64_t deadline_ns)
{
    (void)fd;
    (void)deadline_ns;
    while (model_lock((uint32_t)byte) != 0) {
        model_again();
    }
    return 0;
}

bool slr_alive(int control_fd, uint64_t byte)
{
    (void)control_fd;
    return atomic_load_explicit(&model_locks[byte], memory_order_acquire) != 0;
}

void slr_os_wiped_free(void *memory, size_t bytes)
{
    (void)memory;
    (void)bytes;
}

void slr_ring_drop(struct slipring_ring *ring)
{
    (void)ring;
}

int slr_os_cancel_off(void)
{
    return 0;
}

void slr_os_cancel_restore(const int *state)
{
    (void)state;
}

void slr_poll_end(struct slipring_consumer *consumer)
{
    (void)consumer;
}

int slr_fail(struct slipring_error *error, int code, const char *call, const char *format, ...)
{
    (void)error;
    (void)call;
    (void)format;
    return code;
}

void slr_log(const struct slr_log *log, enum slipring_log_level level, const char *format, ...)
{
    (void)log;
    (void)level;
    (void)format;
}

#endif
