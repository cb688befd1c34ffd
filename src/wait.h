/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waiting and waking.
 *
 * Sleepers of one side share a flag and a futex word. A sleeper reads the word, raises the flag,
 * makes every peer run a fence (membarrier: the sleeper pays, the publisher does not), looks at
 * its condition once more, and sleeps while the word is unchanged. A waker that finds the flag up
 * lowers it, bumps the word and wakes a few; each that wakes passes it on, so that a thousand
 * sleepers do not hold up the one publish that found them (SLEEP in sequence.h). A sleeper that
 * died leaves the flag up, which costs one wake for nobody.
 *
 * No sleep lasts longer than SLR_SLEEP_STEP: a chain of wakes whose next link was killed, a
 * producer that died between its stamp and its wake, and peers without membarrier are all met by
 * looking again. Deaths are looked for at the same steps.
 *
 * Source of the flag: Disruptor LiteBlockingWaitStrategy (signalNeeded); of the asymmetric fence:
 * liburcu's membarrier flavour.
 */
#ifndef SLR_WAIT_H
#define SLR_WAIT_H

#include "os.h"

#include <slipring/common.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define SLR_SLEEP_STEP INT64_C(40000000)         /* ns; a consumer notices a death within two */
#define SLR_SLEEP_STEP_PRODUCER INT64_C(4000000) /* it is held back by the dead one */
#define SLR_SLEEP_STEP_BLIND INT64_C(1000000)    /* nobody can wake it */

/* One side's words in control; all NULL where there is no control (then sleeps are timed). */
struct slr_bell {
    _Atomic uint32_t *waiting;
    _Atomic uint32_t *wake;
};

struct slr_waiter {
    struct slr_bell bell; /* where this handle sleeps */
    uint32_t mask;        /* its bit among the sleepers, for targeted wakes */
    uint32_t strategy;    /* slipring_wait */
    int64_t step_ns;      /* longest sleep */
    bool interruptible;
    int64_t spin_ns;           /* learned */
    _Atomic uint32_t canceled; /* a wake call is pending */
    _Atomic uint32_t *cells; /* ever used by those who sleep there; NULL: the producer alone does */
};

void slr_waiter_init(struct slr_waiter *waiter, struct slr_bell bell, uint32_t index,
                     uint32_t strategy, bool interruptible, int64_t step_ns);

/* Wait until ready(context) returns anything but -EAGAIN, and return that; or -ETIMEDOUT, -EINTR,
 * -ECANCELED. ready() is called often while spinning (slow false) and once per sleep (slow true:
 * then it may make system calls, such as probing for deaths). */
int slr_wait(struct slr_waiter *waiter, int (*ready)(void *context, bool slow), void *context,
             int64_t deadline_ns);

/* End the pending or next wait of one waiter. Async-signal-safe. */
void slr_waiter_cancel(struct slr_waiter *waiter);

/* The slow half of "wake whoever sleeps there": called when the flag was seen up. */
void slr_bell_ring(struct slr_bell bell);

/* The heavy half of the asymmetric fence; false where membarrier is not to be had (then it was a
 * full fence here only, and a caller that sleeps sleeps in steps). */
bool slr_fence_heavy(void);

/* After a store that somebody may be asleep for: ring if the flag is up. fences: this process is
 * not registered, so it pays for the order itself. */
void slr_bell_check(struct slr_bell bell, bool fences);

#endif
