/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The fast path, inlined into the caller: claim, publish, acquire, release over the handle's own
 * small struct, with the same meaning as the functions of producer.h and consumer.h (which run
 * this code too; both may be mixed). For compact and pair rings with the `block` policy and
 * ordered consumers the common case is a few instructions; everything else takes the slow path by
 * itself, out of line.
 *
 * struct slipring_fast is part of the ABI. It belongs to the handle: never copy it, use it only on
 * the thread that owns the handle, never after detach. A forked child sees it zeroed, which leads
 * every call to -ECHILD.
 *
 * The orders are those of PUBLISH, CURSOR and RELEASE in src/ring/layout.h, and of the publisher's side
 * of SLEEP in src/base/sequence.h.
 */
#ifndef SLIPRING_INLINE_H
#define SLIPRING_INLINE_H

#include <slipring/slipring.h>

#include <errno.h>

#ifdef __cplusplus
extern "C" {
#endif

enum slipring_fast_mode {
    SLIPRING_FAST_SLOW = 0,    /* always out of line; also what a forked child sees */
    SLIPRING_FAST_COMPACT = 1, /* the stamp is all there is to write or check */
    SLIPRING_FAST_HEADER = 2   /* a header line before the payload */
};

struct slipring_fast {
    uint64_t mode;
    void *handle;
    uint64_t next; /* producer: first sequence of the claim; consumer: next to acquire */
    uint64_t end; /* producer: may claim up to here; consumer: published up to here, if past next */
    uint64_t taken; /* producer: slots claimed, 0 none; consumer: first sequence not yet released */
    uint64_t mask;
    uint64_t header_stride, payload_stride;
    uint8_t *stamps;  /* slot 0's stamp */
    uint8_t *payload; /* slot 0's payload */
    uint64_t *cursor;
    uint64_t *released; /* consumer: its gating sequence */
    uint32_t *waiting;  /* somebody sleeps on the other side */
    uint64_t slot_bytes;
    uint64_t messages; /* producer: published so far, by count */
    uint64_t passed;   /* producer: sequences passed over so far */
    uint64_t missed;   /* consumer: the last message that was not there at the first look */
    uint64_t plain;    /* producer: from this sequence on all headers are default ones */
};

/**
 * The struct behind a handle.
 *
 * Thread: owner of the handle.   Progress: wait-free.   Fork: yes (zeroed there).
 * Owner:  the handle, until detach.   Order: none.
 */
SLIPRING_API struct slipring_fast *slipring_producer_fast(struct slipring_producer *producer);
/** As slipring_producer_fast().
 *
 * Thread: owner of the handle.   Progress: wait-free.   Fork: yes (zeroed there).
 * Owner:  the handle, until detach.   Order: none.
 */
SLIPRING_API struct slipring_fast *slipring_consumer_fast(struct slipring_consumer *consumer);

/* The slow paths; called by the functions below, not by users. */
SLIPRING_API int slipring_fast_claim_slow(struct slipring_fast *fast, uint64_t slots, void **data);
SLIPRING_API int slipring_fast_publish_slow(struct slipring_fast *fast, uint64_t slots);
SLIPRING_API int64_t slipring_fast_acquire_slow(struct slipring_fast *fast, uint64_t slots,
                                                const void **data);
SLIPRING_API int slipring_fast_release_slow(struct slipring_fast *fast, uint64_t slots);
SLIPRING_API void slipring_fast_wake(struct slipring_fast *fast);

/* SLEEP: the compiler must not move the load of the flag before the store that a sleeper waits for. The
 * processor may; the sleeper's doze covers that. */
static inline void slipring_fast_bell(struct slipring_fast *fast)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    if (__builtin_expect(__atomic_load_n(fast->waiting, __ATOMIC_RELAXED) != 0, 0)) {
        slipring_fast_wake(fast);
    }
}

/* What limits a stream are the transfers of its lines, so have many of them under way: the writer
 * owns lines before it writes them, the reader has them before it reads them. Never a line that
 * the other side may still be busy with, or it would travel once more than it must: a slot that may
 * be claimed already, or was published long since. */
#define SLIPRING_FAST_WRITE_AHEAD UINT64_C(4) /* slots */
#define SLIPRING_FAST_READ_AHEAD UINT64_C(16) /* slots; a streak as long says that they are there */
#define SLIPRING_FAST_BATCH_OWN UINT64_C(24) /* payloads of a batch to write; more get in the way */
#define SLIPRING_FAST_BATCH_AHEAD UINT64_C(64) /* of a batch to read */

static inline void slipring_fast_own(const uint8_t *line)
{
#if defined(__x86_64__)
    __asm__ volatile("prefetchw %0" : : "m"(*line)); /* the builtin means a line to read here */
#else
    __builtin_prefetch(line, 1);
#endif
}

/* The payload of a batch just claimed, or just acquired; headers the reader of one leaves alone. */
static inline void slipring_fast_own_batch(const struct slipring_fast *fast, uint64_t slots)
{
    const uint64_t some = slots < SLIPRING_FAST_BATCH_OWN ? slots : SLIPRING_FAST_BATCH_OWN;
    for (uint64_t s = fast->next; s != fast->next + some; s++) {
        slipring_fast_own(fast->payload + (s & fast->mask) * fast->payload_stride);
    }
}

static inline void slipring_fast_fetch_batch(const struct slipring_fast *fast, uint64_t slots)
{
    const uint64_t some = slots < SLIPRING_FAST_BATCH_AHEAD ? slots : SLIPRING_FAST_BATCH_AHEAD;
    for (uint64_t s = fast->next; s != fast->next + some; s++) {
        __builtin_prefetch(fast->payload + (s & fast->mask) * fast->payload_stride);
    }
}

/**
 * As slipring_producer_try_claim(); slot i of the claim lies i * payload_stride after *data.
 *
 * Thread: owner of the handle.   Progress: lock-free.   Fork: no.
 * Owner:  the slots are the caller's until publish or abort.   Order: acquire side of RELEASE.
 */
SLIPRING_CHECK static inline int slipring_fast_try_claim(struct slipring_fast *fast, uint64_t slots,
                                                         void **data)
{
    if (__builtin_expect(fast->mode == SLIPRING_FAST_SLOW || fast->taken != 0 || slots == 0 ||
                             fast->end - fast->next < slots,
                         0)) {
        void *first = NULL; /* not *data, which else were memory in the fast path too */
        const int code = slipring_fast_claim_slow(fast, slots, &first);
        if (code == 0) {
            *data = first;
        }
        return code;
    }
    if (slots > 1) {
        slipring_fast_own_batch(fast, slots);
    }
    fast->taken = slots;
    *data = fast->payload + (fast->next & fast->mask) * fast->payload_stride;
    return 0;
}

/* Header words other than the stamp, which all default headers have alike: they are left in the
 * line from lap to lap, since a batch has the more lines under way the fewer stores each takes. */
static inline void slipring_fast_headers(const struct slipring_fast *fast, uint64_t slots)
{
    for (uint64_t s = fast->next; s != fast->next + slots; s++) {
        uint64_t *stamp =
            (uint64_t *)(void *)(fast->stamps + (s & fast->mask) * fast->header_stride);
        /* Relaxed: the stamp's release orders them; atomic since a lapped copier may look. */
        __atomic_store_n(stamp + 2, fast->slot_bytes, __ATOMIC_RELAXED);
        __atomic_store_n(stamp + 3, UINT64_C(0), __ATOMIC_RELAXED);
        __atomic_store_n(stamp + 4, fast->messages - fast->next, __ATOMIC_RELAXED);
        __atomic_store_n(stamp + 5, fast->passed, __ATOMIC_RELAXED);
        __atomic_store_n(stamp + 6, UINT64_C(0), __ATOMIC_RELAXED);
        __atomic_store_n((uint32_t *)(void *)(stamp + 7), 1u, __ATOMIC_RELAXED);
        __atomic_store_n((uint32_t *)(void *)(stamp + 7) + 1, 1u, __ATOMIC_RELAXED);
    }
}

/**
 * As slipring_producer_publish() with default headers.
 *
 * Thread: owner of the handle.   Progress: lock-free.   Fork: no.
 * Owner:  the slots are the readers'.   Order: release side of PUBLISH and CURSOR; SLEEP.
 */
SLIPRING_CHECK static inline int slipring_fast_publish(struct slipring_fast *fast, uint64_t slots)
{
    if (__builtin_expect(fast->mode == SLIPRING_FAST_SLOW || slots == 0 || slots > fast->taken,
                         0)) {
        return slipring_fast_publish_slow(fast, slots);
    }
    const uint64_t end = fast->next + slots;
    const int header = fast->mode == SLIPRING_FAST_HEADER;
    if (__builtin_expect(header && fast->next - fast->plain <= fast->mask, 0)) {
        slipring_fast_headers(fast, slots); /* what the lines hold may differ */
    }
    /* Copies, since for all the compiler knows the slots could be this struct. And nothing of ours
     * is stored between payload and stamp: their lines then travel together. */
    const uint64_t mask = fast->mask, stride = fast->header_stride;
    uint8_t *const stamps = fast->stamps;
    const uint64_t first = fast->next;
    for (uint64_t i = 0; i < slots; i++) {
        __atomic_store_n((uint64_t *)(void *)(stamps + ((first + i) & mask) * stride), first + i,
                         __ATOMIC_RELEASE); /* PUBLISH */
    }
    if (fast->end - end > SLIPRING_FAST_WRITE_AHEAD) {
        const uint64_t ahead = (end + SLIPRING_FAST_WRITE_AHEAD) & fast->mask;
        slipring_fast_own(fast->stamps + ahead * fast->header_stride);
        if (fast->mode == SLIPRING_FAST_HEADER) {
            slipring_fast_own(fast->payload + ahead * fast->payload_stride);
        }
    }
    fast->next = end;
    fast->taken = 0;
    if (header) {
        fast->messages += slots;
    }
    __atomic_store_n(fast->cursor, end, __ATOMIC_RELEASE); /* CURSOR */
    slipring_fast_bell(fast);
    return 0;
}

/* Take up to `slots` slots; 0 if the next is not there at the first look. Not in slow mode. */
static inline uint64_t slipring_fast_take(struct slipring_fast *fast, uint64_t slots,
                                          const void **data)
{
    uint64_t end = fast->end;
    if ((int64_t)(end - fast->next) <= 0) {
        const uint64_t *stamp =
            (const uint64_t *)(const void *)(fast->stamps +
                                             (fast->next & fast->mask) * fast->header_stride);
        /* Of a pair ring the payload's line; it comes together with the one that is polled. */
        __builtin_prefetch(fast->payload + (fast->next & fast->mask) * fast->payload_stride);
        if (__atomic_load_n(stamp, __ATOMIC_ACQUIRE) != fast->next) { /* PUBLISH */
            fast->missed = fast->next;
            return 0;
        }
        end = fast->next + 1;
        if (slots > 1) {
            const uint64_t cursor = __atomic_load_n(fast->cursor, __ATOMIC_ACQUIRE); /* CURSOR */
            if ((int64_t)(cursor - end) > 0) {
                /* No further than the ring reaches, whatever the cursor says. */
                const uint64_t ahead = cursor - fast->next;
                end = fast->next + (ahead <= fast->mask ? ahead : fast->mask + 1);
            }
            fast->end = end;
        } else if (fast->next - fast->missed > SLIPRING_FAST_READ_AHEAD) {
            __builtin_prefetch(fast->stamps +
                               ((fast->next + SLIPRING_FAST_READ_AHEAD) & fast->mask) *
                                   fast->header_stride);
        }
    }
    uint64_t count = end - fast->next;
    if (count > slots) {
        count = slots;
    }
    if (count > 1) {
        slipring_fast_fetch_batch(fast, count);
    }
    *data = fast->payload + (fast->next & fast->mask) * fast->payload_stride;
    fast->next += count;
    return count;
}

/**
 * As slipring_consumer_try_acquire(), without a view; slot i lies i * payload_stride after *data.
 *
 * @return  slots acquired (1 to @p slots), or a negative errno
 *
 * Thread: owner of the handle.   Progress: lock-free.   Fork: no.
 * Owner:  the slots are the caller's to read until release.
 * Order:  acquire side of PUBLISH and CURSOR.
 */
SLIPRING_CHECK static inline int64_t slipring_fast_try_acquire(struct slipring_fast *fast,
                                                               uint64_t slots, const void **data)
{
    uint64_t count = 0;
    if (__builtin_expect(fast->mode != SLIPRING_FAST_SLOW && slots != 0, 1)) {
        count = slipring_fast_take(fast, slots, data);
    }
    if (__builtin_expect(count != 0, 1)) {
        return (int64_t)count;
    }
    const void *first = NULL;
    const int64_t result = slipring_fast_acquire_slow(fast, slots, &first);
    if (result > 0) {
        *data = first;
    }
    return result;
}

/**
 * Return the oldest @p slots slots acquired.
 *
 * Thread: owner of the handle.   Progress: lock-free.   Fork: no.
 * Owner:  ends the caller's right to read them.   Order: release side of RELEASE; SLEEP.
 */
SLIPRING_CHECK static inline int slipring_fast_release(struct slipring_fast *fast, uint64_t slots)
{
    if (__builtin_expect(fast->mode == SLIPRING_FAST_SLOW || slots > fast->next - fast->taken, 0)) {
        return slipring_fast_release_slow(fast, slots);
    }
    fast->taken += slots;
    __atomic_store_n(fast->released, fast->taken, __ATOMIC_RELEASE); /* RELEASE */
    slipring_fast_bell(fast);
    return 0;
}

#ifdef __cplusplus
}
#endif
#endif
