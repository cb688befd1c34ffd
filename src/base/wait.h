/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waiting and waking.
 *
 * The sleepers of one side share a flag and a futex word (a bell). The steps of each side, in the order
 * of SLEEP in sequence.h:
 *
 *     sleeper                                        waker
 *     load the word: seen                            store what the sleeper waits for
 *     raise the flag; full fence                     compiler fence
 *     look: is there anything?                       is the flag up? then:
 *     doze: sleep on seen for SLR_DOZE at most           lower the flag, move the word,
 *     look again                                         wake two of those that sleep on it
 *     sleep on seen in steps, a look after each
 *
 * The waker runs no fence, since that would cost more than the publish. So it may load the flag while
 * its store is still in its processor's store buffer. Then it misses a flag that was just raised, and
 * the sleeper's look misses the store. The doze covers this: a store leaves the buffer much sooner than
 * the doze ends, so that the second look sees it. A waker that loads the flag after that finds it up.
 * The word may move during the doze. The sleeper still sleeps on the word as it was before it raised
 * the flag, so the kernel refuses that sleep and the wake-up is not lost.
 *
 * One doze is enough for as long as the flag stays up and the word does not move: an idle sleeper does
 * not doze again.
 *
 * x86 processors drain a store well within SLR_DOZE, though their manuals do not promise it. For aarch64
 * it is an assumption. Only latency depends on it, since no sleep lasts longer than a step. The steps also
 * cover a chain of wakes whose next link was killed, a waker that was killed or held up after it lowered
 * the flag, and a producer that died between its stamp and its wake. Deaths are looked for once per step.
 *
 * The sleeper's full fence serves its first look. Without it that look could miss what a waker stored
 * just before it missed the flag, and only the doze would make up for it.
 *
 * Each sleeper that a wake reached passes it on to two more, so that a thousand sleepers do not hold up
 * the one publish that found them. A sleeper that died leaves the flag up, which costs one wake for
 * nobody.
 *
 * Sources: the flag is signalNeeded of the Disruptor's LiteBlockingWaitStrategy. The doze is the slow
 * side's delay in A. Morrison and Y. Afek, "Temporally bounding TSO for fence-free asymmetric
 * synchronization", ASPLOS 2015.
 */
#ifndef SLR_WAIT_H
#define SLR_WAIT_H

#include "base/os.h"

#include <slipring/common.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define SLR_SLEEP_STEP INT64_C(40000000)         /* ns; a consumer notices a death within two */
#define SLR_SLEEP_STEP_PRODUCER INT64_C(4000000) /* it is held back by the dead one */
#define SLR_SLEEP_STEP_BLIND INT64_C(1000000)    /* nobody can wake it */
#define SLR_DOZE INT64_C(50000)                  /* a store buffer drains much sooner */

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

/* After a store that somebody may be asleep for: ring if the flag is up. Runs no fence (see above). */
void slr_bell_check(struct slr_bell bell);

#endif
