/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The list of this process's lock descriptions, and what a fork does to it.
 *
 * A description is opened, listed, closed and unlisted under one mutex, which fork holds. So the child
 * never inherits a description that its handler does not know, and none is closed twice.
 */
#define _GNU_SOURCE
#include "base/liveness.h"

#include "base/once.h"
#include "base/os.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stddef.h>
#include <unistd.h>

static pthread_mutex_t list_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct slr_lock *list_first;

static struct slr_once fork_once;

static void before_fork(void)
{
    pthread_mutex_lock(&list_mutex);
}

static void after_fork_parent(void)
{
    pthread_mutex_unlock(&list_mutex);
}

static void after_fork_child(void)
{
    const int saved = errno;
    while (list_first != NULL) {
        struct slr_lock *lock = list_first;
        list_first = lock->next;
        close(lock->fd); /* not an unlock: the parent still holds the description open */
        lock->fd = -1;
        lock->next = NULL;
        lock->previous = NULL;
    }
    errno = saved;
    pthread_mutex_unlock(&list_mutex);
}

static int watch_forks(void)
{
    return -pthread_atfork(before_fork, after_fork_parent, after_fork_child);
}

int slr_lock_setup(void)
{
    return slr_once(&fork_once, watch_forks);
}

int slr_lock_open(struct slr_lock *lock, int control_fd)
{
    const int code = slr_lock_setup();
    if (code < 0) {
        return code; /* without the handler a child would keep its parent alive */
    }
    pthread_mutex_lock(&list_mutex);
    const int fd = slr_os_reopen(control_fd, O_RDWR);
    if (fd >= 0) {
        lock->fd = fd;
        lock->previous = NULL;
        lock->next = list_first;
        if (list_first != NULL) {
            list_first->previous = lock;
        }
        list_first = lock;
    }
    pthread_mutex_unlock(&list_mutex);
    return fd < 0 ? fd : 0;
}

void slr_lock_close(struct slr_lock *lock)
{
    const int saved = errno;
    pthread_mutex_lock(&list_mutex);
    if (lock->fd >= 0) {
        if (lock->previous != NULL) {
            lock->previous->next = lock->next;
        } else {
            list_first = lock->next;
        }
        if (lock->next != NULL) {
            lock->next->previous = lock->previous;
        }
        close(lock->fd);
        lock->fd = -1;
        lock->next = NULL;
        lock->previous = NULL;
    }
    pthread_mutex_unlock(&list_mutex);
    errno = saved;
}

int slr_lock_take(struct slr_lock *lock, uint64_t byte, bool shared)
{
    if (lock->fd < 0) {
        return -ECHILD; /* closed by a fork: what was locked is the parent's */
    }
    return slr_os_lock(lock->fd, byte, shared);
}

void slr_lock_drop(struct slr_lock *lock, uint64_t byte)
{
    if (lock->fd >= 0) {
        slr_os_unlock(lock->fd, byte);
    }
}

bool slr_alive(int control_fd, uint64_t byte)
{
    return slr_os_locked(control_fd, byte) != 0;
}
