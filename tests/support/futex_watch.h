/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stands in front of syscall() to see how every futex sleep and wake of this process ends. Included by one
 * source file of a program, after _GNU_SOURCE.
 */
#ifndef FUTEX_WATCH_H
#define FUTEX_WATCH_H

#include "test.h"

#include <dlfcn.h>
#include <linux/futex.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <time.h>

struct futex_sleep {
    const _Atomic uint32_t *word;
    uint32_t value;
    int64_t deadline_ns; /* monotonic; INT64_MAX without */
};

/* Called before each sleep. 1 lets it sleep; 0 or a negative errno becomes its result in place of the
 * sleep. */
static int (*watch_sleep)(const struct futex_sleep *sleep);
/* Called after each sleep: what syscall() returned, errno, the deadline (monotonic; or NULL). */
static void (*watch_futex)(long result, int code, const struct timespec *deadline);
/* Called after each wake: how many were woken. */
static void (*watch_wakes)(long woken);

long syscall(long number, ...);

long syscall(long number, ...)
{
    static long (*next)(long, ...);
    if (next == NULL) {
        void *found = dlsym(RTLD_NEXT, "syscall");
        CHECK(found != NULL);
        memcpy(&next, &found, sizeof(next));
    }
    va_list list;
    long a[6];
    va_start(list, number);
    for (int i = 0; i < 6; i++) {
        a[i] = va_arg(list, long);
    }
    va_end(list);
    if (watch_sleep != NULL && number == SYS_futex &&
        (a[1] & FUTEX_CMD_MASK) == FUTEX_WAIT_BITSET) {
        const struct timespec *deadline = (const struct timespec *)(uintptr_t)a[3];
        const struct futex_sleep sleep = {
            (const _Atomic uint32_t *)(uintptr_t)a[0], (uint32_t)a[2],
            deadline == NULL ? INT64_MAX
                             : deadline->tv_sec * INT64_C(1000000000) + deadline->tv_nsec};
        const int instead = watch_sleep(&sleep);
        if (instead <= 0) {
            errno = -instead;
            return instead == 0 ? 0 : -1;
        }
    }
    const long result = next(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    const int code = errno;
    if (watch_futex != NULL && number == SYS_futex &&
        (a[1] & FUTEX_CMD_MASK) == FUTEX_WAIT_BITSET) {
        watch_futex(result, code, (const struct timespec *)(uintptr_t)a[3]);
    }
    if (watch_wakes != NULL && number == SYS_futex &&
        (a[1] & FUTEX_CMD_MASK) == FUTEX_WAKE_BITSET) {
        watch_wakes(result);
    }
    errno = code;
    return result;
}

#endif
