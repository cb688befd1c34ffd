/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sequences and memory orders.
 *
 * Every access to a word that processes share goes through the operations below. The orders are written
 * here and, for callers that inline the fast path, in slipring/inline.h, nowhere else.
 *
 * At the call site, an operation that is not relaxed names its edge: the store and the load that it
 * orders. The layout header of each structure has the table of its edges (ring/layout.h); those of this
 * folder are below. A relaxed operation says why that is enough, or is one of: the owner's own word, a
 * hint, a counter for display.
 *
 * edge      writer, then                             reader, then                      protects
 * SLEEP     waiting flag; full fence; condition;     condition; compiler fence;        no wake-up is lost
 *           doze; condition                          waiting flag
 * COPY      as CLAIM, the reader copying by relaxed word loads (copy.h)
 * ONCE      what setup() made; done, or holder       done (acquire), or holder         a process sets up
 *           back at 0 (release)                      (CAS)                             once
 *
 * SLEEP is not symmetric: the side that publishes must be fast, so it runs no fence, and the sleeper
 * waits long enough for the publisher's store to leave its store buffer (the doze of wait.h).
 */
#ifndef SLR_SEQUENCE_H
#define SLR_SEQUENCE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Signed distance from b to a; right across the wrap at 2^64 as for any two sequences less than
 * 2^63 apart. */
static inline int64_t slr_distance(uint64_t a, uint64_t b)
{
    return (int64_t)(a - b);
}

static inline uint64_t slr_load64(const _Atomic uint64_t *word)
{
    return atomic_load_explicit((_Atomic uint64_t *)word, memory_order_relaxed);
}

static inline uint8_t slr_load8(const _Atomic uint8_t *byte)
{
    return atomic_load_explicit((_Atomic uint8_t *)byte, memory_order_relaxed);
}

static inline uint64_t slr_load64_acquire(const _Atomic uint64_t *word)
{
    return atomic_load_explicit((_Atomic uint64_t *)word, memory_order_acquire);
}

static inline uint32_t slr_load32(const _Atomic uint32_t *word)
{
    return atomic_load_explicit((_Atomic uint32_t *)word, memory_order_relaxed);
}

static inline uint32_t slr_load32_acquire(const _Atomic uint32_t *word)
{
    return atomic_load_explicit((_Atomic uint32_t *)word, memory_order_acquire);
}

static inline void slr_store64(_Atomic uint64_t *word, uint64_t value)
{
    atomic_store_explicit(word, value, memory_order_relaxed);
}

static inline void slr_store64_release(_Atomic uint64_t *word, uint64_t value)
{
    atomic_store_explicit(word, value, memory_order_release);
}

static inline void slr_store32(_Atomic uint32_t *word, uint32_t value)
{
    atomic_store_explicit(word, value, memory_order_relaxed);
}

static inline void slr_store32_release(_Atomic uint32_t *word, uint32_t value)
{
    atomic_store_explicit(word, value, memory_order_release);
}

/* Compare-and-swap. */
static inline bool slr_cas64(_Atomic uint64_t *word, uint64_t expected, uint64_t desired)
{
    /* Weaker would do. STAYS: these are slow paths or locked instructions anyway, and what a failed
     * swap found is thrown away. */
    return atomic_compare_exchange_strong_explicit(word, &expected, desired, memory_order_seq_cst,
                                                   memory_order_acquire);
}

static inline bool slr_cas32(_Atomic uint32_t *word, uint32_t expected, uint32_t desired)
{
    /* Weaker would do. STAYS: it is for slow paths only, and what a failed swap found is thrown
     * away. */
    return atomic_compare_exchange_strong_explicit(word, &expected, desired, memory_order_seq_cst,
                                                   memory_order_acquire);
}

static inline uint64_t slr_add64(_Atomic uint64_t *word, uint64_t value)
{
    return atomic_fetch_add_explicit(word, value, memory_order_relaxed);
}

/* SLEEP: the count of wakes is ordered with the waiting flag around it. */
static inline uint32_t slr_add32_seq(_Atomic uint32_t *word, uint32_t value)
{
    /* Acquire and release would do. STAYS: it is for slow paths only, and one instruction either
     * way. */
    return atomic_fetch_add_explicit(word, value, memory_order_seq_cst);
}

static inline uint32_t slr_exchange32_seq(_Atomic uint32_t *word, uint32_t value)
{
    /* Acquire and release would do. STAYS: it is for slow paths only, and one instruction either
     * way. */
    return atomic_exchange_explicit(word, value, memory_order_seq_cst);
}

static inline void slr_fence_full(void)
{
    atomic_thread_fence(memory_order_seq_cst);
}

static inline void slr_fence_acquire(void)
{
    atomic_thread_fence(memory_order_acquire);
}

static inline void slr_fence_release(void)
{
    atomic_thread_fence(memory_order_release);
}

/* The fast side of SLEEP: orders the compiler only. The sleeper's doze covers the processor. */
static inline void slr_fence_compiler(void)
{
    atomic_signal_fence(memory_order_seq_cst);
}

/* Raise a word to value if that is ahead of it; lock-free, gives up after as many tries as there
 * can be members (a member that loses so often has been overtaken). */
static inline void slr_raise64(_Atomic uint64_t *word, uint64_t value)
{
    for (int tries = 0; tries < 65536; tries++) {
        const uint64_t now = slr_load64_acquire(word); /* GROUP */
        if (slr_distance(value, now) <= 0 || slr_cas64(word, now, value)) {
            return;
        }
    }
}

static inline void slr_raise32(_Atomic uint32_t *word, uint32_t value)
{
    for (int tries = 0; tries < 65536; tries++) {
        const uint32_t now = slr_load32_acquire(word); /* JOIN */
        if (now >= value || slr_cas32(word, now, value)) {
            return;
        }
    }
}

#endif
