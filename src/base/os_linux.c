/* SPDX-License-Identifier: Apache-2.0 */
/*
 * os.h on Linux. Nothing here changes errno: these calls lie under publish and release, which may
 * run in signal handlers.
 */
#define _GNU_SOURCE
#include "base/os.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <stdlib.h>

#define NS_PER_S INT64_C(1000000000)
#define LOCK_POLL_NS INT64_C(1000000)
#define FOREVER INT64_MAX /* SLIPRING_FOREVER */

static int64_t read_clock(clockid_t clock)
{
    struct timespec ts = {0};
    clock_gettime(clock, &ts); /* cannot fail for the two clocks used */
    return (int64_t)ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

int64_t slr_os_now(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

uint64_t slr_os_ticks(void)
{
#if defined(__x86_64__) || defined(__i386__)
    return __builtin_ia32_rdtsc(); /* 1 GHz and more */
#elif defined(__aarch64__)
    uint64_t ticks;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(ticks)); /* 1 MHz to 1 GHz */
    return ticks << 5;
#else
    return (uint64_t)slr_os_now();
#endif
}

int64_t slr_os_realtime(void)
{
    return read_clock(CLOCK_REALTIME);
}

/* A time before the clock's start has passed as surely as its start has, but is -EINVAL to the
 * kernel. */
static struct timespec to_timespec(int64_t ns)
{
    const int64_t positive = ns < 0 ? 0 : ns;
    return (struct timespec){.tv_sec = (time_t)(positive / NS_PER_S),
                             .tv_nsec = (long)(positive % NS_PER_S)};
}

int slr_os_futex_wait(_Atomic uint32_t *word, uint32_t value, uint32_t mask, int64_t deadline_ns)
{
    const int saved = errno;
    const struct timespec ts = to_timespec(deadline_ns);
    /* Not PRIVATE: the word lies in memory that processes share. The deadline of the BITSET form
     * is absolute, so a wait that is begun again after a signal keeps it. */
    const long rc = syscall(SYS_futex, word, FUTEX_WAIT_BITSET, value,
                            deadline_ns == FOREVER ? NULL : &ts, NULL, mask);
    const int code = rc < 0 ? -errno : 0;
    errno = saved;
    return code;
}

int slr_os_futex_wake(_Atomic uint32_t *word, int count, uint32_t mask)
{
    const int saved = errno;
    const long rc = syscall(SYS_futex, word, FUTEX_WAKE_BITSET, count, NULL, NULL, mask);
    errno = saved;
    return rc < 0 ? 0 : (int)rc;
}

int slr_os_sleep(int64_t deadline_ns)
{
    SLR_NOT_CANCELLED;
    const struct timespec ts = to_timespec(deadline_ns);
    return -clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
}

/* F_OFD_ commands want l_pid 0 and report errors by errno. */
static int lock_byte(int fd, int command, uint64_t byte, short type, short *found)
{
    const int saved = errno;
    struct flock lock = {
        .l_type = type, .l_whence = SEEK_SET, .l_start = (off_t)byte, .l_len = 1, .l_pid = 0};
    int code;
    do {
        code = fcntl(fd, command, &lock) < 0 ? -errno : 0;
    } while (code == -EINTR);
    if (code == -EACCES) {
        code = -EAGAIN; /* POSIX lets a refused lock be either */
    }
    if (found != NULL) {
        *found = lock.l_type;
    }
    errno = saved;
    return code;
}

int slr_os_lock(int fd, uint64_t byte, bool shared)
{
    return lock_byte(fd, F_OFD_SETLK, byte, shared ? F_RDLCK : F_WRLCK, NULL);
}

void slr_os_unlock(int fd, uint64_t byte)
{
    (void)lock_byte(fd, F_OFD_SETLK, byte, F_UNLCK, NULL);
}

int slr_os_lock_wait(int fd, uint64_t byte, int64_t deadline_ns)
{
    for (;;) {
        const int code = slr_os_lock(fd, byte, false);
        if (code != -EAGAIN) {
            return code;
        }
        const int64_t now = slr_os_now();
        if (now >= deadline_ns) {
            return -ETIMEDOUT;
        }
        /* Polled, since F_OFD_SETLKW has no deadline. */
        const bool near = deadline_ns - now < LOCK_POLL_NS;
        (void)slr_os_sleep(near ? deadline_ns : now + LOCK_POLL_NS);
    }
}

int slr_os_locked(int fd, uint64_t byte)
{
    short found = F_UNLCK;
    const int code = lock_byte(fd, F_OFD_GETLK, byte, F_WRLCK, &found);
    if (code < 0) {
        return code;
    }
    return found == F_UNLCK ? 0 : 1;
}

int slr_os_open(const char *path, int flags)
{
    const int saved = errno;
    int fd;
    do {
        fd = open(path, flags | O_CLOEXEC, 0600);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0) {
        fd = -errno;
    }
    errno = saved;
    return fd;
}

int slr_os_reopen(int fd, int flags)
{
    char path[40];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return slr_os_open(path, flags);
}

int slr_os_wiped_alloc(uint64_t bytes, void **memory)
{
    const int saved = errno;
    int code = 0;
    void *got = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (got == MAP_FAILED) {
        code = -errno;
    } else if (madvise(got, bytes, MADV_WIPEONFORK) < 0) {
        code = -errno;
        munmap(got, bytes);
    } else {
        *memory = got;
    }
    errno = saved;
    return code;
}

void slr_os_wiped_free(void *memory, uint64_t bytes)
{
    if (memory != NULL) {
        const int saved = errno;
        munmap(memory, bytes);
        errno = saved;
    }
}

int32_t slr_os_pid(void)
{
    return (int32_t)getpid();
}

int slr_os_cancel_off(void)
{
    int state = PTHREAD_CANCEL_ENABLE;
    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
    return state;
}

void slr_os_cancel_restore(const int *state)
{
    (void)pthread_setcancelstate(*state, NULL);
}

/* ---- memory ---- */

/* The number behind a key at the start of a line (or of the file, for an empty key). */
static bool read_number(const char *path, const char *key, uint64_t *value)
{
    char text[4096];
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    const ssize_t length = read(fd, text, sizeof text - 1);
    close(fd);
    text[length > 0 ? length : 0] = '\0';
    const char *at = key[0] == '\0' ? text : strstr(text, key);
    char *end = NULL;
    if (at == NULL) {
        return false;
    }
    at += strlen(key);
    *value = strtoull(at, &end, 10);
    return end != at; /* "max" is no number */
}

uint64_t slr_os_memory_available(void)
{
    uint64_t kib = 0;
    uint64_t swap = 0;
    uint64_t most = 0;
    uint64_t used = 0;
    uint64_t available = UINT64_MAX;
    const int saved = errno;
    if (read_number("/proc/meminfo", "MemAvailable:", &kib)) {
        (void)read_number("/proc/meminfo", "SwapFree:", &swap);
        available = (kib + swap) << 10;
    }
    if (read_number("/sys/fs/cgroup/memory.max", "", &most) &&
        read_number("/sys/fs/cgroup/memory.current", "", &used) && most > used &&
        most - used < available) {
        available = most - used;
    }
    errno = saved;
    return available;
}
