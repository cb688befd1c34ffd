/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is left of a ring when everything else is taken away: one writer, one reader, fixed size,
 * nothing to wake, nobody to die.
 *
 * struct bare_ring: the sequence shares the line of its 56 bytes of payload (the shape of a compact
 * ring); the writer looks at the reader only when the room it knows of is used up.
 * struct bare_lines: whole lines of payload behind one published cursor, stored once per batch:
 * what the transfer of the lines itself costs.
 */
#ifndef PERF_BARE_H
#define PERF_BARE_H

#include "common.h"

#define BARE_SLOTS 1024u

struct bare_slot {
    uint64_t payload[7];
    _Atomic uint64_t stamp;
};

struct bare_ring {
    _Alignas(BENCH_PAD) _Atomic uint64_t released;
    _Alignas(BENCH_PAD) struct bare_slot slots[BARE_SLOTS];
};

struct bare_lines {
    _Alignas(BENCH_PAD) _Atomic uint64_t cursor;
    _Alignas(BENCH_PAD) _Atomic uint64_t released;
    _Alignas(BENCH_PAD) uint64_t lines[BARE_SLOTS][8];
};

/* The writer's own; both begin at 0 with a ring fresh from bare_init(). */
struct bare_writer {
    uint64_t next, end;
};

static inline void bare_init(struct bare_ring *ring)
{
    for (uint64_t i = 0; i < BARE_SLOTS; i++) {
        atomic_store_explicit(&ring->slots[i].stamp, i - BARE_SLOTS, memory_order_relaxed);
    }
    atomic_store_explicit(&ring->released, 0, memory_order_release);
}

/* NULL while the ring is full. */
static inline struct bare_slot *bare_claim(struct bare_ring *ring, struct bare_writer *writer)
{
    if (writer->next == writer->end) {
        writer->end = atomic_load_explicit(&ring->released, memory_order_acquire) + BARE_SLOTS;
        if (writer->next == writer->end) {
            return NULL;
        }
    }
    return &ring->slots[writer->next & (BARE_SLOTS - 1)];
}

static inline void bare_publish(struct bare_slot *slot, struct bare_writer *writer)
{
    atomic_store_explicit(&slot->stamp, writer->next++, memory_order_release);
}

/* NULL while the message is not there. */
static inline const struct bare_slot *bare_acquire(struct bare_ring *ring, uint64_t sequence)
{
    const struct bare_slot *slot = &ring->slots[sequence & (BARE_SLOTS - 1)];
    return atomic_load_explicit(&slot->stamp, memory_order_acquire) == sequence ? slot : NULL;
}

static inline void bare_release(struct bare_ring *ring, uint64_t sequence)
{
    atomic_store_explicit(&ring->released, sequence + 1, memory_order_release);
}

#endif
