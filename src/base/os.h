/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All that the protocol needs of the operating system; the one seam that a model or another
 * system replaces. Functions return 0 or a negative errno, as everywhere.
 */
#ifndef SLR_OS_H
#define SLR_OS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* CLOCK_MONOTONIC and CLOCK_REALTIME in nanoseconds. */
int64_t slr_os_now(void);
int64_t slr_os_realtime(void);

/* A counter that is cheaper to read than the clock: SLR_OS_TICKS of it pass in less than 50 ms. */
uint64_t slr_os_ticks(void);
#define SLR_OS_TICKS (UINT64_C(1) << 20)

/* Sleep while *word == value, until deadline_ns (monotonic) or a wake whose mask meets this one.
 * 0 woken (or spuriously), -EAGAIN the word differs, -ETIMEDOUT, -EINTR. */
int slr_os_futex_wait(_Atomic uint32_t *word, uint32_t value, uint32_t mask, int64_t deadline_ns);
/* Wake up to count sleepers whose mask meets this one; how many were woken. Keeps errno. */
int slr_os_futex_wake(_Atomic uint32_t *word, int count, uint32_t mask);

/* Sleep until deadline_ns without a word to be woken by. 0 or -EINTR. */
int slr_os_sleep(int64_t deadline_ns);

/* Open-file-description locks on bytes of a file. */
int slr_os_lock(int fd, uint64_t byte, bool shared); /* 0, -EAGAIN held by another description */
void slr_os_unlock(int fd, uint64_t byte);
int slr_os_lock_wait(int fd, uint64_t byte, int64_t deadline_ns); /* 0, -ETIMEDOUT */
/* Is the byte locked by another description in a way that excludes an exclusive lock?
 * 1 yes, 0 no, or a negative errno (then assume yes). */
int slr_os_locked(int fd, uint64_t byte);

/* open() with O_CLOEXEC, begun again after a signal; files are made with mode 0600. */
int slr_os_open(const char *path, int flags);
/* A new description of the file behind fd (by /proc/self/fd), with O_CLOEXEC. */
int slr_os_reopen(int fd, int flags);

/* Memory that a forked child sees zeroed. */
int slr_os_wiped_alloc(uint64_t bytes, void **memory);
void slr_os_wiped_free(void *memory, uint64_t bytes);

int32_t slr_os_pid(void);

/* Opening, locking and mapping are not written to be ended half-way: a call of the library that
 * does any of it begins with SLR_NOT_CANCELLED, and a pthread_cancel() of its thread takes effect
 * after it. */
int slr_os_cancel_off(void);
void slr_os_cancel_restore(const int *state);
#define SLR_NOT_CANCELLED                                                                          \
    const int slr_cancel_state __attribute__((unused, cleanup(slr_os_cancel_restore))) =           \
        slr_os_cancel_off()

/* Bytes of memory that could be had now, by the machine and by this process's cgroup; UINT64_MAX
 * where that is not told. */
uint64_t slr_os_memory_available(void);

static inline void slr_os_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield" ::: "memory");
#endif
}

#endif
