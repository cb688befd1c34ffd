/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lock of a producer or consumer handle, which one thread at a time may use. Held over waits,
 * with the interpreter's lock released; whoever else wants it waits likewise. And the count of
 * forks, by which an object knows that its handle is the parent's.
 */
#ifndef SLIPRING_PYTHON_LOCK_H
#define SLIPRING_PYTHON_LOCK_H

#include "core.h"

#include <pthread.h>

/* No call of the C core sleeps longer, so that signals which another thread took are answered. */
#define WAIT_STEP_NS INT64_C(250000000)

/* The end of a wait's next step. */
static inline int64_t wait_step(int64_t deadline_ns)
{
    const int64_t until = slipring_now_ns() + WAIT_STEP_NS;
    return until < deadline_ns ? until : deadline_ns;
}

/* Is the core's answer to such a step the wait's? If not, only the step's end or a signal ended it,
 * whose handler runs here: if that raises, the wait's answer is 1, with the error set. */
bool wait_ended(int *result, int64_t until_ns, int64_t deadline_ns);

/* Taken and given some millions of times a second: one swap each while nobody else wants it, where
 * the interpreter's own lock would ask the clock. All zero: free. */
struct lock {
    uint32_t word;        /* LOCK_*; WANTED: held and somebody may sleep on it; atomic */
    unsigned long holder; /* thread, 0: none; atomic */
};

enum { LOCK_FREE = 0, LOCK_HELD = 1, LOCK_WANTED = 2 };

/* Take the lock before the deadline. 0, or -1 with the error set: TimeoutError, a signal's, or
 * RuntimeError: this thread has it, so a signal's handler called into the handle that waits. */
int lock_take(struct lock *lock, int64_t deadline_ns, const char *doing);
bool lock_mine(const struct lock *lock); /* this thread has it */
/* To close the handle: another thread that waits in it is to stop, by wake(handle). 0, or -1 with
 * the error set. */
int lock_take_to_close(struct lock *lock, void (*wake)(void *handle), void *handle);
/* Without a deadline, for destructors; where it is held for moments only. */
void lock_take_soon(struct lock *lock);
void lock_wake(struct lock *lock); /* who sleeps on it */

static inline void lock_note(struct lock *lock)
{
    /* Relaxed: a thread compares it with itself only. */
    __atomic_store_n(&lock->holder, (unsigned long)pthread_self(), __ATOMIC_RELAXED);
}

static inline bool lock_try(struct lock *lock)
{
    uint32_t free = LOCK_FREE;
    /* Acquire, paired with lock_give(): what the last holder did. */
    if (!__atomic_compare_exchange_n(&lock->word, &free, LOCK_HELD, false, __ATOMIC_ACQUIRE,
                                     __ATOMIC_RELAXED)) {
        return false;
    }
    lock_note(lock);
    return true;
}

static inline void lock_give(struct lock *lock)
{
    __atomic_store_n(&lock->holder, 0, __ATOMIC_RELAXED); /* as in lock_note() */
    /* Release: what was done under it. */
    if (__atomic_exchange_n(&lock->word, LOCK_FREE, __ATOMIC_RELEASE) == LOCK_WANTED) {
        lock_wake(lock);
    }
}

/* Forks between the first process and this one. */
int forks_init(void);
uint32_t forks_count(void);

#endif
