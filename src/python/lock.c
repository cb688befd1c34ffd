/* SPDX-License-Identifier: Apache-2.0 */
#include "lock.h"

#include <errno.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { FUTEX_WAIT_HERE = 0 | 128, FUTEX_WAKE_HERE = 1 | 128 }; /* of this process alone */

bool lock_mine(const struct lock *lock)
{
    return __atomic_load_n(&lock->holder, __ATOMIC_RELAXED) == (unsigned long)pthread_self();
}

void lock_wake(struct lock *lock)
{
    (void)syscall(SYS_futex, &lock->word, FUTEX_WAKE_HERE, 1, NULL, NULL, 0);
}

/* Asleep until it may be free, or so long. 0, or -EINTR. */
static int lock_sleep(struct lock *lock, int64_t left_ns)
{
    const struct timespec left = {.tv_sec = left_ns / 1000000000, .tv_nsec = left_ns % 1000000000};
    int result;
    Py_BEGIN_ALLOW_THREADS
    result = syscall(SYS_futex, &lock->word, FUTEX_WAIT_HERE, LOCK_WANTED, &left, NULL, 0) != 0 &&
                     errno == EINTR
                 ? -EINTR
                 : 0;
    Py_END_ALLOW_THREADS
    return result;
}

/* true: taken, for whoever sleeps too: that one is woken when it is given. */
static bool lock_want(struct lock *lock)
{
    if (__atomic_exchange_n(&lock->word, LOCK_WANTED, __ATOMIC_ACQUIRE) != LOCK_FREE) {
        return false;
    }
    lock_note(lock);
    return true;
}

void lock_take_soon(struct lock *lock)
{
    if (lock_try(lock)) {
        return;
    }
    while (!lock_want(lock)) {
        (void)lock_sleep(lock, WAIT_STEP_NS);
    }
}

int lock_take(struct lock *lock, int64_t deadline_ns, const char *doing)
{
    if (lock_try(lock)) {
        return 0;
    }
    if (lock_mine(lock)) {
        PyErr_Format(PyExc_RuntimeError,
                     "%s: called from a signal's handler while this thread waits in the same "
                     "handle; raise there, or call wake()",
                     doing);
        return -1;
    }
    while (!lock_want(lock)) {
        int64_t left = WAIT_STEP_NS;
        if (deadline_ns != SLIPRING_FOREVER) {
            const int64_t now = slipring_now_ns();
            if (now >= deadline_ns) {
                PyErr_Format(PyExc_TimeoutError,
                             "%s: another thread uses this handle; give each thread its own, or a "
                             "longer timeout",
                             doing);
                return -1;
            }
            left = deadline_ns - now < left ? deadline_ns - now : left;
        }
        (void)lock_sleep(lock, left);
        if (PyErr_CheckSignals() != 0) {
            return -1;
        }
    }
    return 0;
}

int lock_take_to_close(struct lock *lock, void (*wake)(void *handle), void *handle)
{
    while (!lock_try(lock)) {
        if (!lock_mine(lock)) {
            wake(handle);
        }
        if (lock_take(lock, slipring_now_ns() + 1000000, "close") == 0) {
            break;
        }
        if (!PyErr_ExceptionMatches(PyExc_TimeoutError)) {
            return -1;
        }
        PyErr_Clear();
    }
    return 0;
}

bool wait_ended(int *result, int64_t until_ns, int64_t deadline_ns)
{
    if ((*result != -ETIMEDOUT && *result != -EINTR) ||
        (*result == -ETIMEDOUT && until_ns == deadline_ns)) {
        return true;
    }
    if (PyErr_CheckSignals() != 0) {
        *result = 1;
        return true;
    }
    return false;
}

/* ---- forks ---- */

static uint32_t forks; /* atomic */

static void note_fork(void)
{
    __atomic_add_fetch(&forks, 1, __ATOMIC_RELAXED); /* the child has one thread */
}

static int registered;

static void register_once(void)
{
    registered = pthread_atfork(NULL, NULL, note_fork);
}

int forks_init(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, register_once);
    if (registered != 0) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

uint32_t forks_count(void)
{
    return __atomic_load_n(&forks, __ATOMIC_RELAXED); /* see above */
}
