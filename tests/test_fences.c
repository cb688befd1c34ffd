/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: who goes to sleep makes all peers run a fence first, so that these need none of their own:
 * this program stands in front of syscall(), and sees membarrier called before each sleep of a consumer
 * and of a producer. And who is woken passes the wake on where others may sleep, and only there.
 */
#define _GNU_SOURCE
#include "proc.h"

#include <dlfcn.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <stdarg.h>
#include <sys/syscall.h>

enum { WAIT_MS = 60 };

static unsigned fences, sleeps; /* fences since the last sleep */
static unsigned wakes;
static struct slipring_producer *publishes; /* in place of the next sleep, which so ends */

long syscall(long number, ...);

long syscall(long number, ...)
{
    static long (*next)(long, ...);
    va_list list;
    long a[6];
    va_start(list, number);
    for (int i = 0; i < 6; i++) {
        a[i] = va_arg(list, long);
    }
    va_end(list);
    if (next == NULL) {
        void *found = dlsym(RTLD_NEXT, "syscall");
        CHECK(found != NULL);
        memcpy(&next, &found, sizeof(next));
    }
    if (number == SYS_membarrier && a[0] == MEMBARRIER_CMD_GLOBAL_EXPEDITED) {
        fences++;
    }
    if (number == SYS_futex && (a[1] & FUTEX_CMD_MASK) == FUTEX_WAIT_BITSET) {
        CHECK(fences != 0);
        fences = 0;
        sleeps++;
        if (publishes != NULL) {
            struct slipring_producer *producer = publishes;
            publishes = NULL;
            CHECK_EQ(proc_publish(producer, &proc_rings[0], 1, 0), 0);
            return 0;
        }
    }
    wakes += number == SYS_futex && (a[1] & FUTEX_CMD_MASK) == FUTEX_WAKE_BITSET;
    return next(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static void waits(const struct proc_ring *how, uint32_t strategy)
{
    struct slipring_ring *ring = proc_make(how, 0);
    struct slipring_producer_config producing;
    struct slipring_consumer_config consuming;
    struct slipring_producer *producer;
    struct slipring_consumer *consumer;
    struct slipring_loan loan;
    struct slipring_view view;
    slipring_producer_config_init(&producing);
    slipring_consumer_config_init(&consuming);
    producing.wait = strategy;
    consuming.wait = strategy;
    CHECK_EQ(slipring_producer_attach(ring, &producing, &producer, NULL), 0);
    CHECK_EQ(slipring_consumer_attach(ring, &consuming, &consumer, NULL), 0);
    sleeps = 0;
    CHECK_EQ(slipring_consumer_acquire(consumer, 1, &view, proc_in_ms(WAIT_MS)), -ETIMEDOUT);
    CHECK(sleeps != 0);
    (void)proc_fill(producer, how);
    sleeps = 0;
    CHECK_EQ(slipring_producer_claim(producer, 1, &loan, proc_in_ms(WAIT_MS)), -ETIMEDOUT);
    CHECK(sleeps != 0);
    slipring_consumer_detach(consumer);
    slipring_producer_detach(producer);
    slipring_ring_close(ring);
}

static void wakes_on(bool others)
{
    const struct proc_ring *how = &proc_rings[0];
    struct slipring_ring *ring = proc_make(how, 0);
    struct slipring_producer *producer = proc_producer(ring);
    struct slipring_consumer *consumer = proc_consumer(ring, how, SLIPRING_OLDEST);
    struct slipring_consumer *other = others ? proc_consumer(ring, how, SLIPRING_OLDEST) : NULL;
    struct slipring_view view;
    publishes = producer;
    wakes = 0;
    CHECK_EQ(proc_take(consumer, how, &view, proc_in_ms(10000)), 0);
    CHECK(publishes == NULL);
    CHECK_EQ(wakes, others ? 2 : 1); /* the producer's, and the one passed on */
    slipring_consumer_detach(other);
    slipring_consumer_detach(consumer);
    slipring_producer_detach(producer);
    slipring_ring_close(ring);
}

int main(void)
{
    const int wanted = MEMBARRIER_CMD_GLOBAL_EXPEDITED | MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED;
    const long offered = syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0, 0, 0, 0);
    if (offered < 0 || (offered & wanted) != wanted) {
        SKIP("there is no membarrier here: all fences are full ones");
    }
    proc_begin(30);
    for (unsigned i = 0; i < PROC_RINGS; i++) {
        if (proc_rings[i].full == SLIPRING_BLOCK) {
            waits(&proc_rings[i], SLIPRING_WAIT_SLEEP);
            waits(&proc_rings[i], SLIPRING_WAIT_ADAPTIVE);
        }
    }
    wakes_on(false);
    wakes_on(true);
    return 0;
}
