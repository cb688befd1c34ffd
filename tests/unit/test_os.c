/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: what os.h promises of futex, sleep, lock, reopen and wiped memory, each with
 * its error codes; that none of it changes errno; and the texts and the log of error.h.
 */
#define _GNU_SOURCE
#include "base/error.h"
#include "base/os.h"
#include "kernel.h"
#include "test.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/time.h>

#define MS INT64_C(1000000)
#define LONG_TIME (20000 * MS)
#define KEPT 4711 /* errno before and after */

static _Atomic uint32_t *shared;

static void on_alarm(int signal)
{
    (void)signal;
}

static void test_futex(void)
{
    atomic_store(shared, 7);
    CHECK_EQ(slr_os_futex_wait(shared, 8, 1, SLIPRING_FOREVER), -EAGAIN);
    const int64_t start = slr_os_now();
    CHECK_EQ(slr_os_futex_wait(shared, 7, 1, start + 5 * MS), -ETIMEDOUT);
    CHECK(slr_os_now() - start >= 5 * MS);
    CHECK_EQ(slr_os_futex_wait(shared, 7, 1, start), -ETIMEDOUT);
    CHECK_EQ(slr_os_futex_wait(shared, 7, 1, INT64_MIN), -ETIMEDOUT);
    CHECK_EQ(slr_os_futex_wake(shared, 1, 1), 0);
    CHECK_EQ(errno, KEPT);

    /* Another process sleeps; only a wake with its mask reaches it. */
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        alarm(30);
        _exit(slr_os_futex_wait(shared, 7, 2, SLIPRING_FOREVER) == 0 ? 0 : 1);
    }
    const int64_t deadline = slr_os_now() + LONG_TIME;
    int woken = 0;
    while (woken == 0 && slr_os_now() < deadline) {
        CHECK_EQ(slr_os_futex_wake(shared, 100, 5), 0);
        woken = slr_os_futex_wake(shared, 1, 2);
    }
    CHECK_EQ(woken, 1);
    CHECK_EQ(errno, KEPT);
    CHECK_CHILD(child);
}

static void test_interrupts(void)
{
    /* Without SA_RESTART; repeated, so that one that comes before the wait loses nothing. */
    const struct sigaction action = {.sa_handler = on_alarm};
    const struct itimerval often = {{0, 2000}, {0, 2000}}, never = {{0, 0}, {0, 0}};
    CHECK(sigaction(SIGALRM, &action, NULL) == 0 && setitimer(ITIMER_REAL, &often, NULL) == 0);
    CHECK_EQ(slr_os_futex_wait(shared, 7, 1, slr_os_now() + LONG_TIME), -EINTR);
    CHECK_EQ(slr_os_futex_wait(shared, 7, 1, SLIPRING_FOREVER), -EINTR);
    CHECK_EQ(slr_os_sleep(slr_os_now() + LONG_TIME), -EINTR);
    CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
    const int64_t start = slr_os_now();
    CHECK(slr_os_sleep(start + 3 * MS) == 0 && slr_os_now() >= start + 3 * MS);
    CHECK_EQ(slr_os_sleep(INT64_MIN), 0);
    CHECK_EQ(errno, KEPT);
    signal(SIGALRM, SIG_DFL);
    alarm(60);
}

static void test_locks(void)
{
    const int a = memfd_create("locks", MFD_CLOEXEC);
    const int b = slr_os_reopen(a, O_RDWR);
    const int reader = slr_os_reopen(a, O_RDONLY);
    CHECK(a >= 0 && b >= 0 && reader >= 0);
    CHECK((fcntl(b, F_GETFD) & FD_CLOEXEC) != 0);
    errno = KEPT;
    const uint64_t far = UINT64_C(1) << 40;
    CHECK_OK(slr_os_lock(a, far, false));
    CHECK_EQ(slr_os_lock(b, far, false), -EAGAIN);
    CHECK_EQ(slr_os_lock(b, far, true), -EAGAIN);
    CHECK_EQ(slr_os_locked(b, far), 1);
    CHECK_EQ(slr_os_locked(reader, far), 1);
    CHECK_EQ(slr_os_locked(a, far), 0);
    CHECK(slr_os_locked(b, far + 1) == 0 && slr_os_locked(b, (uint32_t)far) == 0);
    const int64_t start = slr_os_now();
    CHECK_EQ(slr_os_lock_wait(b, far, start + 5 * MS), -ETIMEDOUT);
    CHECK(slr_os_now() - start >= 5 * MS);
    slr_os_unlock(a, far);
    CHECK_OK(slr_os_lock_wait(b, far, start));
    CHECK_EQ(slr_os_lock(reader, 1, false), -EBADF);
    CHECK_OK(slr_os_lock(a, 3, true));
    CHECK_OK(slr_os_lock(reader, 3, true));
    CHECK_EQ(slr_os_locked(b, 3), 1); /* shared locks exclude an exclusive one */
    close(a);
    close(b);
    close(reader);
    errno = KEPT;
    CHECK_EQ(slr_os_locked(-1, 0), -EBADF);
    CHECK_EQ(slr_os_lock_wait(-1, 0, SLIPRING_FOREVER), -EBADF);
    CHECK_EQ(slr_os_reopen(a, O_RDWR), -ENOENT);
    CHECK_EQ(errno, KEPT);
}

static void test_wiped(void)
{
    void *wiped = NULL;
    CHECK_EQ(slr_os_wiped_alloc(100, &wiped), 0);
    unsigned char *memory = wiped;
    CHECK(memory != NULL && memory[0] == 0);
    memset(memory, 0xee, 100);
    const bool wipes = kernel_wipes();
    if (!wipes) {
        printf("NOT CHECKED: memory wiped on fork, MADV_WIPEONFORK does nothing here\n");
    }
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0 && wipes) {
        CHECK(memory[0] == 0 && memory[99] == 0);
        memory[0] = 1;
    }
    if (child == 0) {
        _exit(0);
    }
    CHECK_CHILD(child);
    CHECK(memory[0] == 0xee && memory[99] == 0xee);
    slr_os_wiped_free(memory, 100);
    slr_os_wiped_free(NULL, 100);
    errno = KEPT;
    CHECK_EQ(slr_os_wiped_alloc(UINT64_C(1) << 60, &wiped), -ENOMEM);
    CHECK_EQ(errno, KEPT);
}

static void test_process(void)
{
    CHECK_EQ(slr_os_pid(), getpid());
    CHECK(slr_os_realtime() > INT64_C(1600000000) * 1000 * MS);
    CHECK_EQ(errno, KEPT);
}

static void on_log(void *user, enum slipring_log_level level, const char *text)
{
    CHECK_EQ(level, SLIPRING_LOG_WARNING);
    CHECK_STR(text, "cell 3");
    errno = EIO;
    ++*(int *)user;
}

static void test_errors(void)
{
    struct slipring_error error;
    char long_text[400];
    memset(long_text, 'y', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = 0;
    CHECK_EQ(slr_fail(&error, -EINVAL, "open", "slots is %d", 3), -EINVAL);
    CHECK_EQ(error.code, -EINVAL);
    CHECK_STR(error.call, "open");
    CHECK_STR(error.text, "slots is 3");
    CHECK_EQ(slr_fail(NULL, -EPERM, "open", "%s", "nobody reads this"), -EPERM);
    CHECK_EQ(slr_fail(&error, -EIO, long_text, "%s", long_text), -EIO);
    CHECK(strlen(error.call) == sizeof error.call - 1);
    CHECK(strlen(error.text) == sizeof error.text - 1);
    int calls = 0;
    const struct slr_log log = {on_log, &calls};
    slr_log(&log, SLIPRING_LOG_WARNING, "cell %d", 3);
    slr_log(&(struct slr_log){NULL, NULL}, SLIPRING_LOG_ERROR, "unheard");
    slr_log(NULL, SLIPRING_LOG_ERROR, "unheard");
    CHECK_EQ(calls, 1);
    CHECK_EQ(errno, KEPT);
    CHECK_STR(slipring_strerror(0), "success");
    CHECK(strstr(slipring_strerror(-ESTALE), "void") != NULL);
    CHECK(strstr(slipring_strerror(-EOWNERDEAD), "died") != NULL);
    CHECK(strcmp(slipring_strerror(-EPIPE), slipring_strerror(-EOWNERDEAD)) != 0);
    for (int code = -5000; code < 10; code++) {
        CHECK(slipring_strerror(code) != NULL && slipring_strerror(code)[0] != 0);
    }
    CHECK(slipring_strerror(INT32_MIN) != NULL);
    int version[3] = {-1, -1, -1};
    CHECK_EQ(sscanf(slipring_version(), "%d.%d.%d", version, version + 1, version + 2), 3);
    CHECK(version[0] == SLIPRING_VERSION_MAJOR && version[1] == SLIPRING_VERSION_MINOR);
    CHECK(slipring_now_ns() > 0 && slr_os_now() - slipring_now_ns() < LONG_TIME);
}

int main(void)
{
    alarm(60);
    shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(shared != MAP_FAILED);
    errno = KEPT;
    test_futex();
    errno = KEPT;
    test_interrupts();
    test_locks();
    test_wiped();
    test_process();
    test_errors();
    return 0;
}
