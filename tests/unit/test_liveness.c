/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: a lock is seen by others exactly while its holder lives and has not dropped it; not by
 * way of another descriptor of the file that is closed, nor of a forked child that lives on; a
 * forked child's handles are dead and its use of them harms nobody; threads that open and close
 * while others fork leave no description behind in any child.
 * Faults: C3, B1.
 */
#define _GNU_SOURCE
#include "base/liveness.h"
#include "base/os.h"
#include "test.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>

static int control;

static int make_control(void)
{
    const int fd = memfd_create("control", MFD_CLOEXEC);
    CHECK(fd >= 0 && ftruncate(fd, 8192) == 0);
    return fd;
}

static int open_descriptors(void)
{
    int count = 0;
    DIR *dir = opendir("/proc/self/fd");
    CHECK(dir != NULL);
    while (readdir(dir) != NULL) {
        count++;
    }
    closedir(dir);
    return count;
}

static void test_take_and_drop(void)
{
    struct slr_lock a = {.fd = -1}, b = {.fd = -1};
    CHECK_OK(slr_lock_open(&a, control));
    CHECK_OK(slr_lock_open(&b, control));
    CHECK(!slr_alive(control, 16));
    CHECK_OK(slr_lock_take(&a, 16, false));
    CHECK_OK(slr_lock_take(&a, 16, false)); /* again by the same description */
    CHECK(slr_alive(control, 16) && slr_alive(b.fd, 16));
    CHECK(!slr_alive(a.fd, 16)); /* somebody ELSE's */
    CHECK(!slr_alive(control, 17) && !slr_alive(control, 15));
    CHECK_EQ(slr_lock_take(&b, 16, false), -EAGAIN);
    CHECK_EQ(slr_lock_take(&b, 16, true), -EAGAIN);

    /* Closing another descriptor of the file drops nothing. */
    const int other = slr_os_reopen(control, O_RDWR);
    CHECK(other >= 0);
    close(other);
    CHECK(slr_alive(control, 16));

    slr_lock_drop(&a, 16);
    CHECK(!slr_alive(control, 16));
    CHECK_OK(slr_lock_take(&a, 0, true));
    CHECK_OK(slr_lock_take(&b, 0, true));
    slr_lock_close(&a);
    CHECK_EQ(a.fd, -1);
    CHECK(slr_alive(control, 0));
    slr_lock_close(&b);
    CHECK(!slr_alive(control, 0));
    slr_lock_close(&a); /* nothing to close */
    CHECK_EQ(slr_lock_take(&a, 0, true), -ECHILD);
    slr_lock_drop(&a, 0);
    CHECK(slr_alive(-1, 0)); /* an error counts as alive */
    CHECK_EQ(slr_lock_open(&a, -1), -ENOENT);
    CHECK_EQ(a.fd, -1);
}

/* The holder is killed while a child that it forked lives on. */
static void test_orphaned_child(void)
{
    int ready[2], done[2];
    char byte;
    CHECK(pipe(ready) == 0 && pipe(done) == 0);
    const pid_t holder = fork();
    CHECK(holder >= 0);
    if (holder == 0) {
        alarm(30);
        struct slr_lock lock = {.fd = -1};
        CHECK_OK(slr_lock_open(&lock, control));
        CHECK_OK(slr_lock_take(&lock, 20, false));
        const pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            alarm(30);
            CHECK_EQ(lock.fd, -1);
            CHECK_EQ(slr_lock_take(&lock, 20, false), -ECHILD);
            slr_lock_drop(&lock, 20);
            slr_lock_close(&lock);
            CHECK(slr_alive(control, 20));           /* the parent's, untouched by all this */
            CHECK_OK(slr_lock_open(&lock, control)); /* the child can be a member of its own */
            CHECK_OK(slr_lock_take(&lock, 21, false));
            CHECK(write(ready[1], "x", 1) == 1);
            close(done[1]);
            CHECK(read(done[0], &byte, 1) == 0);
            _exit(0);
        }
        close(done[1]);
        close(ready[1]);
        pause();
        _exit(1);
    }
    close(ready[1]);
    CHECK(read(ready[0], &byte, 1) == 1); /* 0 if the grandchild failed a check */
    CHECK(slr_alive(control, 20));
    kill(holder, SIGSTOP); /* stopped is not dead */
    CHECK(slr_alive(control, 20));
    kill(holder, SIGKILL);
    CHECK(waitpid(holder, NULL, 0) == holder);
    const int64_t deadline = slr_os_now() + INT64_C(10000000000);
    CHECK_OK(slr_os_lock_wait(control, 20, deadline));
    slr_os_unlock(control, 20);
    CHECK(slr_alive(control, 21)); /* the child lives */
    close(done[1]);
    CHECK_OK(slr_os_lock_wait(control, 21, deadline));
    slr_os_unlock(control, 21);
    close(done[0]);
    close(ready[0]);
}

static _Atomic int stop;

static void *open_and_close(void *unused)
{
    struct slr_lock locks[8];
    (void)unused;
    while (!atomic_load(&stop)) {
        for (int i = 0; i < 8; i++) {
            locks[i].fd = -1;
            CHECK_OK(slr_lock_open(&locks[i], control));
        }
        for (int i = 0; i < 8; i++) { /* out of the order of opening */
            slr_lock_close(&locks[(i * 3) % 8]);
        }
    }
    return NULL;
}

static void test_threads(void)
{
    const int before = open_descriptors();
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(pthread_create(&threads[i], NULL, open_and_close, NULL), 0);
    }
    for (int i = 0; i < 200; i++) {
        const pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            CHECK_EQ(open_descriptors(), before);
            struct slr_lock lock = {.fd = -1};
            CHECK_OK(slr_lock_open(&lock, control)); /* the mutex is free in the child */
            slr_lock_close(&lock);
            _exit(0);
        }
        CHECK_CHILD(child);
    }
    atomic_store(&stop, 1);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    }
    CHECK_EQ(open_descriptors(), before);
}

int main(void)
{
    alarm(60);
    control = make_control();
    test_take_and_drop();
    test_orphaned_child();
    test_threads();
    return 0;
}
