/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves, for each wait strategy: a wait ends when there is data (or room), not before its
 * deadline and not long after it otherwise; wake calls end it with -ECANCELED, from another thread,
 * from a signal handler, and once ahead of it; a signal ends it with -EINTR if it was asked to be
 * interruptible, and otherwise not.
 * Faults: B6.
 */
#define _GNU_SOURCE
#include "proc.h"

#include <pthread.h>
#include <signal.h>

#define HOW (&proc_rings[0])
enum { LATE_MS = 500 };

struct side { /* one waiting member, of either kind */
    struct slipring_ring *ring;
    struct slipring_producer *producer; /* waits if consumer is NULL */
    struct slipring_consumer *consumer;
};

static struct slipring_consumer *handler_wakes;
static _Atomic int handled; /* read by the thread that signals, too */

static int wait_until(const struct side *side, int64_t deadline_ns)
{
    struct slipring_view view;
    struct slipring_loan loan;
    if (side->consumer != NULL) {
        const int code = slipring_consumer_acquire(side->consumer, 1, &view, deadline_ns);
        return code != 0 ? code : slipring_consumer_release(side->consumer, &view);
    }
    const int code = slipring_producer_claim(side->producer, 1, &loan, deadline_ns);
    return code != 0 ? code : slipring_producer_publish(side->producer, 1, NULL);
}

static void wake(const struct side *side)
{
    if (side->consumer != NULL) {
        slipring_consumer_wake(side->consumer);
    } else {
        slipring_producer_wake(side->producer);
    }
}

static void *wake_soon(void *context)
{
    proc_pause_us(20000); /* so that the wait is most likely pending; right in either case */
    wake(context);
    return NULL;
}

static void on_signal(int number)
{
    (void)number;
    handled++;
    if (handler_wakes != NULL) {
        slipring_consumer_wake(handler_wakes);
    }
}

struct signaller {
    pthread_t target;
    int count;
};

static void *signal_soon(void *context)
{
    const struct signaller *signaller = context;
    for (int i = 0; i < signaller->count; i++) {
        proc_pause_us(10000);
        const int before = handled;
        CHECK_EQ(pthread_kill(signaller->target, SIGUSR1), 0);
        while (handled == before) { /* or the next one would be the same one */
            proc_pause_us(100);
        }
    }
    return NULL;
}

static void timing(const struct side *side)
{
    const int64_t begin = slipring_now_ns();
    CHECK_EQ(wait_until(side, begin - 1), -ETIMEDOUT);
    CHECK_EQ(wait_until(side, INT64_MIN), -ETIMEDOUT);
    CHECK(slipring_now_ns() - begin < LATE_MS * PROC_MS);
    const int64_t deadline = proc_in_ms(70);
    CHECK_EQ(wait_until(side, deadline), -ETIMEDOUT);
    CHECK(slipring_now_ns() >= deadline);
    CHECK(slipring_now_ns() < deadline + LATE_MS * PROC_MS);
}

static void waking(const struct side *side)
{
    pthread_t thread;
    wake(side);
    wake(side);
    CHECK_EQ(wait_until(side, SLIPRING_FOREVER), -ECANCELED); /* the next one, and only one */
    CHECK_EQ(wait_until(side, proc_in_ms(10)), -ETIMEDOUT);
    CHECK_EQ(pthread_create(&thread, NULL, wake_soon, (void *)side), 0);
    CHECK_EQ(wait_until(side, SLIPRING_FOREVER), -ECANCELED);
    CHECK_EQ(pthread_join(thread, NULL), 0);
}

static void signals(const struct side *side, bool interruptible)
{
    pthread_t thread;
    struct signaller signaller = {pthread_self(), 3};
    const int before = handled;
    const int64_t deadline = proc_in_ms(interruptible ? 20000 : 80);
    CHECK_EQ(pthread_create(&thread, NULL, signal_soon, &signaller), 0);
    CHECK_EQ(wait_until(side, deadline), interruptible ? -EINTR : -ETIMEDOUT);
    CHECK(interruptible || slipring_now_ns() >= deadline);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK(handled > before); /* on a busy machine several become one */
}

static void handler(const struct side *side)
{
    pthread_t thread;
    struct signaller signaller = {pthread_self(), 1};
    handler_wakes = side->consumer;
    CHECK_EQ(pthread_create(&thread, NULL, signal_soon, &signaller), 0);
    CHECK_EQ(wait_until(side, SLIPRING_FOREVER), -ECANCELED);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    handler_wakes = NULL;
}

static void run(uint32_t strategy, uint32_t flags)
{
    struct side empty = {.ring = proc_make(HOW, 0)}, full = {.ring = proc_make(HOW, 0)};
    struct slipring_consumer_config consuming;
    struct slipring_producer_config producing;
    slipring_consumer_config_init(&consuming);
    slipring_producer_config_init(&producing);
    consuming.wait = producing.wait = strategy;
    consuming.flags = producing.flags = flags;
    CHECK_EQ(slipring_consumer_attach(empty.ring, &consuming, &empty.consumer, NULL), 0);
    empty.producer = proc_producer(empty.ring);
    struct slipring_consumer *gate = proc_consumer(full.ring, HOW, SLIPRING_OLDEST);
    CHECK_EQ(slipring_producer_attach(full.ring, &producing, &full.producer, NULL), 0);
    proc_fill(full.producer, HOW);
    const struct side *const sides[] = {&empty, &full};
    for (unsigned i = 0; i < 2; i++) {
        timing(sides[i]);
        waking(sides[i]);
        signals(sides[i], (flags & SLIPRING_INTERRUPTIBLE) != 0);
    }
    if (flags == 0) {
        handler(&empty);
    }
    slipring_consumer_detach(empty.consumer);
    slipring_producer_detach(empty.producer);
    slipring_ring_close(empty.ring);
    slipring_consumer_detach(gate);
    slipring_producer_detach(full.producer);
    slipring_ring_close(full.ring);
}

int main(void)
{
    proc_begin(60);
    const struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    for (uint32_t strategy = SLIPRING_WAIT_ADAPTIVE; strategy <= SLIPRING_WAIT_SLEEP; strategy++) {
        run(strategy, 0);
        if (strategy != SLIPRING_WAIT_SPIN) { /* a spinner makes no call that a signal could end */
            run(strategy, SLIPRING_INTERRUPTIBLE);
        }
    }
    return 0;
}
