/* SPDX-License-Identifier: Apache-2.0 */
#include "wait.h"

#include "sequence.h"

#include <errno.h>
#include <limits.h>
#include <stddef.h>

#define SPIN_LEAST INT64_C(1000)
#define SPIN_FIRST INT64_C(20000)
#define SPIN_MOST INT64_C(60000)
#define PROBE_EVERY INT64_C(1000000) /* spinning, look for the dead once per millisecond */
#define SPINS_PER_CLOCK 32
#define WAKES 2 /* by the ringer, and by each that was woken; of one cell at most two sleep */

void slr_waiter_init(struct slr_waiter *waiter, struct slr_bell bell, uint32_t index,
                     uint32_t strategy, bool interruptible, int64_t step_ns)
{
    waiter->bell = bell;
    waiter->mask = 1u << (index & 31);
    waiter->strategy = strategy;
    waiter->interruptible = interruptible;
    waiter->step_ns = bell.wake == NULL ? SLR_SLEEP_STEP_BLIND : step_ns;
    waiter->spin_ns = SPIN_FIRST;
    slr_store32(&waiter->canceled, 0);
    waiter->cells = NULL;
}

bool slr_fence_heavy(void)
{
    slr_fence_full();
    return slr_os_membarrier();
}

void slr_bell_ring(struct slr_bell bell)
{
    /* Lower the flag before the word moves: a sleeper that raised it just before sees the word
     * moved, one that raises it just after is seen by the next publish (SLEEP). */
    (void)slr_exchange32_seq(bell.waiting, 0); /* SLEEP */
    (void)slr_add32_seq(bell.wake, 1);         /* SLEEP */
    (void)slr_os_futex_wake(bell.wake, WAKES, UINT32_MAX);
}

void slr_bell_check(struct slr_bell bell, bool fences)
{
    if (fences) {
        slr_fence_full(); /* SLEEP */
    } else {
        slr_fence_compiler(); /* SLEEP, light half */
    }
    if (bell.waiting != NULL && slr_load32(bell.waiting) != 0) { /* SLEEP: ordered by the fence */
        slr_bell_ring(bell);
    }
}

void slr_waiter_cancel(struct slr_waiter *waiter)
{
    slr_store32_release(&waiter->canceled, 1); /* SLEEP: before the word moves */
    if (waiter->bell.wake != NULL) {
        (void)slr_add32_seq(waiter->bell.wake, 1); /* SLEEP */
        (void)slr_os_futex_wake(waiter->bell.wake, INT_MAX, waiter->mask);
    }
}

static bool canceled(struct slr_waiter *waiter)
{
    return slr_load32_acquire(&waiter->canceled) != 0 && /* SLEEP */
           slr_exchange32_seq(&waiter->canceled, 0) != 0;
}

/* -EAGAIN: spun in vain, go to sleep. */
static int spin(struct slr_waiter *waiter, int (*ready)(void *context, bool slow), void *context,
                int64_t start, int64_t deadline_ns)
{
    const bool only = waiter->strategy == SLIPRING_WAIT_SPIN;
    int64_t probed = start;
    int64_t now = start;
    while (only || now - start < waiter->spin_ns) {
        for (int i = 0; i < SPINS_PER_CLOCK; i++) {
            slr_os_pause();
            const int result = ready(context, false);
            if (result != -EAGAIN) {
                /* It came while we spun: allow twice as long the next time. */
                const int64_t learned = 2 * (now - start) + SPIN_LEAST;
                if (learned > waiter->spin_ns) {
                    waiter->spin_ns = learned < SPIN_MOST ? learned : SPIN_MOST;
                }
                return result;
            }
        }
        now = slr_os_now();
        if (canceled(waiter)) {
            return -ECANCELED;
        }
        if (now >= deadline_ns) {
            return -ETIMEDOUT;
        }
        if (now - probed >= PROBE_EVERY) {
            probed = now;
            const int result = ready(context, true);
            if (result != -EAGAIN) {
                return result;
            }
        }
    }
    waiter->spin_ns = waiter->spin_ns / 2 > SPIN_LEAST ? waiter->spin_ns / 2 : SPIN_LEAST;
    return -EAGAIN;
}

/* May more sleep here than the ringer woke? Who joins shows its cell, then fences before it sleeps,
 * so whoever saw the word move, and fences, sees the cell of one that sleeps on the old word. */
static bool crowded(const struct slr_waiter *waiter)
{
    slr_fence_full(); /* SLEEP: the word that moved, before the cells */
    return waiter->cells != NULL && slr_load32(waiter->cells) > 1; /* SLEEP: ordered by the fence */
}

static int doze(struct slr_waiter *waiter, uint32_t seen, int64_t until_ns)
{
    if (waiter->bell.wake == NULL) {
        return slr_os_sleep(until_ns);
    }
    const int result = slr_os_futex_wait(waiter->bell.wake, seen, waiter->mask, until_ns);
    if (result == 0 && slr_load32(waiter->bell.wake) != seen && crowded(waiter)) {
        /* Pass the wake on: the ringer woke only two of us. Who slept on the word as it is now
         * was woken for nothing and tells nobody, or the sleepers would wake each other for ever. */
        (void)slr_os_futex_wake(waiter->bell.wake, WAKES, UINT32_MAX);
    }
    return result;
}

int slr_wait(struct slr_waiter *waiter, int (*ready)(void *context, bool slow), void *context,
             int64_t deadline_ns)
{
    if (canceled(waiter)) {
        return -ECANCELED;
    }
    const bool spins = waiter->strategy != SLIPRING_WAIT_SLEEP;
    int64_t start = 0;
    int result = ready(context, false);
    if (result == -EAGAIN && spins) {
        start = slr_os_now();
        result = spin(waiter, ready, context, start, deadline_ns);
    }
    if (result != -EAGAIN) {
        return result;
    }
    while (result == -EAGAIN) {
        uint32_t seen = 0;
        if (waiter->bell.wake != NULL) {
            seen = slr_load32_acquire(waiter->bell.wake); /* SLEEP: before the flag goes up */
            slr_store32_release(waiter->bell.waiting, 1); /* SLEEP */
            (void)slr_fence_heavy();                      /* SLEEP */
        }
        result = ready(context, true);
        if (result != -EAGAIN) {
            break;
        }
        if (canceled(waiter)) {
            return -ECANCELED;
        }
        const int64_t now = slr_os_now();
        if (now >= deadline_ns) {
            return -ETIMEDOUT;
        }
        const int64_t until =
            deadline_ns - now < waiter->step_ns ? deadline_ns : now + waiter->step_ns;
        const int dozed = doze(waiter, seen, until);
        if (dozed == -EINTR && waiter->interruptible) {
            return -EINTR;
        }
        result = ready(context, false); /* most often this is it, with no fence */
    }
    /* Spinning had been enough: as long the next time. Without this a pair that once fell asleep would
     * sleep for ever, since what comes after waking the other is later than a short spin waits for. */
    const int64_t took = spins ? slr_os_now() - start : SPIN_MOST;
    if (took < SPIN_MOST && took > waiter->spin_ns) {
        waiter->spin_ns = took;
    }
    return result;
}
