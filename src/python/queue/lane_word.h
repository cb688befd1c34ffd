/* SPDX-License-Identifier: Apache-2.0 */
/* The words of a lane, and the little of the system that lanes need. */
#ifndef SLIPRING_PYTHON_LANE_WORD_H
#define SLIPRING_PYTHON_LANE_WORD_H

#include "lane.h"

#include <limits.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define LANE_TRIES 1024 /* for a word that is taken from the dead, between looks at its holder */

enum { LANE_FUTEX_WAIT = 0, LANE_FUTEX_WAKE = 1 }; /* as linux/futex.h has them */

/* An entry's word: the sequence's low 24 bits, who took it, and one of these. */
#define LANE_READY (UINT64_C(1) << 32)
#define LANE_TAKEN (UINT64_C(2) << 32)
#define LANE_DONE (UINT64_C(3) << 32)
#define LANE_STATE (UINT64_C(3) << 32)
#define LANE_COUNTED (UINT64_C(1) << 34) /* READY with a byte of its own in the pipe */

static inline uint64_t lane_word(uint64_t sequence, uint64_t state)
{
    return sequence << 40 | state;
}

/* The word is of that sequence, and in that state. */
static inline bool lane_is(uint64_t word, uint64_t sequence, uint64_t state)
{
    return word >> 40 == (sequence & 0xffffff) && (word & LANE_STATE) == state;
}

static inline bool lane_before(uint64_t a, uint64_t b)
{
    return (int64_t)(a - b) < 0;
}

static inline void lane_fence(void)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* store-load: SLEEP, POLLED */
}

static inline void lane_pause(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static inline int64_t lane_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static inline struct lane_entry *lane_entry(const struct lane_queue *queue, const uint8_t *map,
                                            uint64_t sequence)
{
    (void)queue;
    return (struct lane_entry *)(uintptr_t)map + (sequence & (LANE_ENTRIES - 1));
}

static inline uint8_t *lane_bytes(uint8_t *map, uint64_t offset)
{
    return map + LANE_ENTRIES * sizeof(struct lane_entry) + offset;
}

/* SLEEP: says that somebody is about to sleep; look once more, then sleep with what it returns. */
static inline uint32_t lane_bell_arm(struct lane_bell *bell)
{
    const uint32_t seen = __atomic_load_n(&bell->word, __ATOMIC_ACQUIRE); /* SLEEP */
    __atomic_store_n(&bell->asleep, 1u, __ATOMIC_RELAXED);                /* the fence orders it */
    lane_fence();
    return seen;
}

static inline void lane_bell_sleep(struct lane_bell *bell, uint32_t seen, int64_t ns)
{
    const struct timespec time = {ns / 1000000000, ns % 1000000000};
    syscall(SYS_futex, &bell->word, LANE_FUTEX_WAIT, seen, &time, NULL, 0);
}

/* The flag is cleared first: who sets it from here on looks after our change, and who set it
 * before finds the word moved on, or is asleep and counted by the kernel. If we die in between,
 * sleepers wake by themselves in LANE_PATIENCE_NS. */
static inline void lane_bell_wake(struct lane_bell *bell, int how_many)
{
    if (__atomic_exchange_n(&bell->asleep, 0u, __ATOMIC_ACQ_REL) == 0) { /* SLEEP */
        return;
    }
    __atomic_add_fetch(&bell->word, 1u, __ATOMIC_ACQ_REL); /* SLEEP */
    const long woken = syscall(SYS_futex, &bell->word, LANE_FUTEX_WAKE, how_many, NULL, NULL, 0);
    if (woken > 0 && how_many != INT_MAX) {
        __atomic_store_n(&bell->asleep, 1u, __ATOMIC_RELEASE); /* SLEEP: there may be more */
    }
}

/* After a change, and a fence. */
static inline void lane_bell_ring(struct lane_bell *bell, int how_many)
{
    if (__atomic_load_n(&bell->asleep, __ATOMIC_RELAXED) != 0) { /* the fence orders it: SLEEP */
        lane_bell_wake(bell, how_many);
    }
}

static inline int64_t lane_patience(int64_t deadline_ns, int64_t now)
{
    const int64_t left = deadline_ns - now;
    return left < LANE_PATIENCE_NS ? left : LANE_PATIENCE_NS;
}

#endif
