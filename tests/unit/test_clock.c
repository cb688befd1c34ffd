/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: no decision hangs on the wall clock. This program stands in front of all functions by
 * which the library could look at a clock or sleep, and sets the wall clock years forth and back
 * at every look at it: waits, evictions and timestamps are as if it stood still; it is looked at
 * for the date of a ring's creation alone; and every sleep's deadline is an absolute monotonic one.
 * Faults: B5.
 */
#define _GNU_SOURCE
#include "proc.h"

#include <dlfcn.h>
#include <linux/futex.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>

enum { WAIT_MS = 60, LATE_MS = PROC_NOTICE_MS };
#define YEARS (INT64_C(30) * 366 * 86400)

static unsigned wall_looks, sleeps;

static long call_next(long number, const long *a)
{
    static long (*next)(long, ...);
    if (next == NULL) {
        void *found = dlsym(RTLD_NEXT, "syscall");
        CHECK(found != NULL);
        memcpy(&next, &found, sizeof(next));
    }
    return next(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

long syscall(long number, ...);

long syscall(long number, ...)
{
    va_list list;
    long a[6];
    va_start(list, number);
    for (int i = 0; i < 6; i++) {
        a[i] = va_arg(list, long);
    }
    va_end(list);
    if (number == SYS_futex && (a[1] & FUTEX_CMD_MASK) != FUTEX_WAKE_BITSET) {
        sleeps++;
        CHECK_EQ(a[1], FUTEX_WAIT_BITSET); /* absolute, of the monotonic clock */
    }
    return call_next(number, a);
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
    const long a[6] = {clock, (long)(uintptr_t)time};
    const long code = call_next(SYS_clock_gettime, a);
    CHECK(clock == CLOCK_MONOTONIC || clock == CLOCK_REALTIME);
    if (clock == CLOCK_REALTIME) {
        time->tv_sec += wall_looks++ % 2 == 0 ? YEARS : -YEARS;
    }
    return (int)code;
}

int clock_nanosleep(clockid_t clock, int flags, const struct timespec *time, struct timespec *rest)
{
    const long a[6] = {clock, flags, (long)(uintptr_t)time, (long)(uintptr_t)rest};
    sleeps++;
    CHECK_EQ(clock, CLOCK_MONOTONIC);
    CHECK_EQ(flags, TIMER_ABSTIME);
    return call_next(SYS_clock_nanosleep, a) < 0 ? errno : 0;
}

time_t time(time_t *result)
{
    FAIL("time(%p) was called", (void *)result);
}

int gettimeofday(struct timeval *restrict time, void *restrict zone)
{
    FAIL("gettimeofday(%p, %p) was called", (void *)time, zone);
}

static void expect_timeout(int code, int64_t deadline_ns)
{
    const int64_t now = slipring_now_ns();
    CHECK_EQ(code, -ETIMEDOUT);
    CHECK(now >= deadline_ns && now < deadline_ns + LATE_MS * PROC_MS);
}

/* Waits of a consumer and of a producer; a producer that waits for an evicted one goes on. */
static void waits(const struct proc_ring *how)
{
    struct slipring_ring *ring = proc_make(how, 0);
    struct slipring_producer *producer = proc_producer(ring);
    struct slipring_consumer *consumer = proc_consumer(ring, how, SLIPRING_OLDEST);
    struct slipring_view view;
    int64_t deadline = proc_in_ms(WAIT_MS);
    expect_timeout(proc_take(consumer, how, &view, deadline), deadline);
    if (how->full == SLIPRING_BLOCK) {
        proc_fill(producer, how);
        deadline = proc_in_ms(WAIT_MS);
        expect_timeout(proc_publish(producer, how, 1, deadline), deadline);
        slipring_consumer_detach(consumer);
        consumer = proc_member(ring, "slow", SLIPRING_MANY, WAIT_MS);
        CHECK_EQ(slipring_consumer_try_acquire(consumer, 1, &view), 0);
        proc_fill(producer, how);
        const int64_t begin = slipring_now_ns();
        CHECK_EQ(proc_publish(producer, how, 1, proc_in_ms(5000)), 0);
        CHECK(slipring_now_ns() - begin >= WAIT_MS * PROC_MS);
        CHECK(slipring_now_ns() - begin < (WAIT_MS + LATE_MS) * PROC_MS);
    }
    slipring_consumer_detach(consumer);
    slipring_producer_detach(producer);
    slipring_ring_close(ring);
}

/* A reader that nobody can wake sleeps by the clock alone. */
static void blind(void)
{
    char name[64];
    struct slipring_config config;
    struct slipring_ring *ring, *reader_ring;
    struct slipring_error error = {0};
    struct slipring_view view;
    uint64_t buffer[64];
    snprintf(name, sizeof(name), "test-clock-%d", (int)getpid());
    proc_config(&proc_rings[5], &config);
    config.flags = SLIPRING_TIMESTAMP;
    CHECK_EQ(slipring_ring_create(name, &config, &ring, NULL), 0);
    CHECK_EQ(slipring_ring_open(name, SLIPRING_READ_ONLY, &reader_ring, NULL), 0);
    struct slipring_consumer *reader = proc_consumer(reader_ring, &proc_rings[5], SLIPRING_OLDEST);
    struct slipring_producer *producer = proc_producer(ring);
    const int64_t deadline = proc_in_ms(WAIT_MS);
    expect_timeout(slipring_consumer_copy(reader, buffer, sizeof(buffer), &view, deadline),
                   deadline);
    CHECK_EQ(proc_publish(producer, &proc_rings[5], 1, 0), 0);
    CHECK_EQ(slipring_consumer_copy(reader, buffer, sizeof(buffer), &view, proc_in_ms(5000)), 0);
    CHECK(view.slot.timestamp_ns >= deadline && view.slot.timestamp_ns <= slipring_now_ns());
    CHECK_EQ(slipring_ring_create(name, &config, &ring, &error), -EEXIST); /* how long ago? */
    slipring_consumer_detach(reader);
    slipring_producer_detach(producer);
    slipring_ring_close(reader_ring);
    slipring_ring_close(ring);
    CHECK_EQ(slipring_ring_unlink(name, NULL), 0);
}

int main(void)
{
    proc_begin(30);
    blind();
    CHECK_EQ(wall_looks, 2); /* one creation, and one text that tells a ring's age */
    for (unsigned i = 0; i < PROC_RINGS; i++) {
        const unsigned before = wall_looks;
        waits(&proc_rings[i]);
        CHECK_EQ(wall_looks, before + 1);
    }
    CHECK(sleeps > 20);
    return 0;
}
