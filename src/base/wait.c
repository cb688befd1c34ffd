/* SPDX-License-Identifier: Apache-2.0 */
#include "base/wait.h"

#include "base/sequence.h"

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

void slr_bell_ring(struct slr_bell bell)
{
    /* Lower the flag before the word moves: a sleeper that raised it just before sees the word
     * moved, one that raises it just after is seen by the next publish (SLEEP). */
    (void)slr_exchange32_seq(bell.waiting, 0); /* SLEEP */
    (void)slr_add32_seq(bell.wake, 1);         /* SLEEP */
    (void)slr_os_futex_wake(bell.wake, WAKES, UINT32_MAX);
}

void slr_bell_check(struct slr_bell bell)
{
    slr_fence_compiler(); /* SLEEP: the processor may still load the flag first */
    if (bell.waiting != NULL && slr_load32(bell.waiting) != 0) { /* relaxed: SLEEP's doze */
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

/* May more consumers sleep here than the ringer woke? A consumer that joins shows its cell and runs a
 * full fence before it sleeps. So a thread that saw the word move and then runs a fence sees the cell
 * of every consumer that sleeps on the old word. */
static bool crowded(const struct slr_waiter *waiter)
{
    slr_fence_full(); /* SLEEP: the word that moved, before the cells */
    return waiter->cells != NULL && slr_load32(waiter->cells) > 1; /* SLEEP: ordered by the fence */
}

/* Load the wake word and raise the flag. The caller's next look at its condition comes after both. */
static uint32_t raise_flag(struct slr_waiter *waiter)
{
    if (waiter->bell.wake == NULL) {
        return 0;
    }
    const uint32_t seen = slr_load32_acquire(waiter->bell.wake); /* SLEEP: before the flag is up */
    slr_store32_release(waiter->bell.waiting, 1);                /* SLEEP */
    slr_fence_full(); /* SLEEP: the flag, then the look */
    return seen;
}

/* Is the flag still up, and the word as it was when we raised the flag? */
static bool undisturbed(const struct slr_waiter *waiter, uint32_t seen)
{
    /* Relaxed: a ringer that comes after these loads moves the word, and then the kernel does not let
     * us sleep on it. */
    return waiter->bell.wake == NULL ||
           (slr_load32(waiter->bell.wake) == seen && slr_load32(waiter->bell.waiting) != 0);
}

static int sleep_on(struct slr_waiter *waiter, uint32_t seen, int64_t until_ns)
{
    if (waiter->bell.wake == NULL) {
        return slr_os_sleep(until_ns);
    }
    const int result = slr_os_futex_wait(waiter->bell.wake, seen, waiter->mask, until_ns);
    if (result == 0 && slr_load32(waiter->bell.wake) != seen && crowded(waiter)) {
        /* Pass the wake on, since the ringer woke only two of us. A sleeper whose word did not move was
         * woken spuriously and must not pass it on, or sleepers would wake each other for ever. */
        (void)slr_os_futex_wake(waiter->bell.wake, WAKES, UINT32_MAX);
    }
    return result;
}

/* Spinning is over: sleep between looks. */
static int sleep_until_ready(struct slr_waiter *waiter, int (*ready)(void *context, bool slow),
                             void *context, int64_t deadline_ns)
{
    int result = -EAGAIN;
    while (result == -EAGAIN) {
        const uint32_t seen = raise_flag(waiter);
        bool dozed = waiter->bell.wake == NULL; /* without a flag there is nothing to doze for */
        bool still = true;
        result = ready(context, true);
        while (result == -EAGAIN && still) {
            if (canceled(waiter)) {
                return -ECANCELED;
            }
            const int64_t now = slr_os_now();
            if (now >= deadline_ns) {
                return -ETIMEDOUT;
            }
            const int64_t most = dozed ? waiter->step_ns : SLR_DOZE;
            const int64_t until = deadline_ns - now < most ? deadline_ns : now + most;
            const int slept = sleep_on(waiter, seen, until);
            if (slept == -EINTR && waiter->interruptible) {
                return -EINTR;
            }
            still = undisturbed(waiter, seen);
            /* After the doze this is the second look of SLEEP. A slow look is due once per step. */
            result = ready(context, dozed && still);
            dozed = dozed || slept == -ETIMEDOUT; /* a signal may have cut the doze short */
        }
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
    result = sleep_until_ready(waiter, ready, context, deadline_ns);
    if (result < 0) {
        return result;
    }
    /* If spinning a little longer would have been enough, spin that long the next time. Without this a
     * pair that once fell asleep would sleep for ever: each wakes the other later than a short spin
     * ends. */
    const int64_t took = spins ? slr_os_now() - start : SPIN_MOST;
    if (took < SPIN_MOST && took > waiter->spin_ns) {
        waiter->spin_ns = took;
    }
    return result;
}
