/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The seam between the core and a checker: every shared access of the core passes here.
 *
 * The core's .c files are included as they are (core.h). What they take from outside is replaced:
 *
 *     atomic operations    the checker's own; one step of the thread each, at which it may die
 *     compiler fence       nothing to the explorer; a full fence to GenMC
 *     doze                 the explorer ends it once every store that was in a buffer when it began
 *                          has reached memory. GenMC cannot express time, so that there it ends at
 *                          once, and the compiler fence of the other side must be a full one. No
 *                          doze is cut short by a signal (tests/unit/test_doze.c has that)
 *     futex, clock, locks  below; a lock of a dead thread is free, as the kernel makes it
 *
 * Two checkers: GenMC, which knows C11's orders, so that the operations stay what they are, but for
 * the step before each where a client asks for deaths; and the explorer (MODEL_EXPLORE, explore.h).
 */
#ifndef MODEL_SEAM_H
#define MODEL_SEAM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* One shared access is about to happen; where the client asked for a death, it may happen here. */
void model_step(void);

#ifdef __x86_64__
#define __builtin_ia32_pause() ((void)0) /* spinning is the checker's business */
#endif

#ifdef MODEL_EXPLORE

#include "explore.h"

#else

#include <assert.h>
#include <errno.h>
#include <genmc.h>
#include <pthread.h>
#include <sys/types.h>

/* What the core's headers name and GenMC's own do not have. */
typedef unsigned long dev_t;
typedef unsigned long ino_t;
typedef unsigned int uid_t;
#define ENOTSUP 95
#define ESTALE 116
#define ECANCELED 125
#define EOWNERDEAD 130
struct stat {
    unsigned long st_nlink;
};
int fstat(int fd, struct stat *status);
void *calloc(unsigned long count, unsigned long bytes);

#define model_assert(condition) assert(condition)
#define MODEL_OWN(type, name) static _Thread_local type name
#define MODEL_MINE(name) (name)
#define model_exit() pthread_exit((void *)0)
/* What the thread waits for has not happened yet: this execution is given up, another one has it
 * happen earlier. */
#define model_again() __VERIFIER_assume(0)

/* The client's main: start threads, wait for all of them. */
#define model_thread(i, function, argument)                                                        \
    pthread_create(&model_threads[i], (void *)0, function, (void *)(uintptr_t)(argument))
#define model_join(i) pthread_join(model_threads[i], (void *)0)
static pthread_t model_threads[4];

/* Blocks until the word moves; under --check-liveness, for ever is an error. */
static inline void model_sleep(_Atomic uint32_t *word, uint32_t value)
{
    uint32_t now;
    __VERIFIER_loop_begin();
    do {
        __VERIFIER_spin_start();
        now = __c11_atomic_load(word, memory_order_relaxed);
        __VERIFIER_spin_end(now != value);
    } while (now == value);
}

/* A doze lasts its whole time, and takes none. False would mean that the word moved before. */
#define model_doze(word, value) ((void)(word), (void)(value), true)

/* Plain: GenMC reports a race, so an overwrite of what is being read needs no other check. Where
 * the story is that it is overwritten (MODEL_RACY), a word is what the processor makes of it. */
#ifdef MODEL_RACY
#define model_write_payload(to, value)                                                             \
    __c11_atomic_store((_Atomic uint64_t *)(to), value, memory_order_relaxed)
#define model_read_payload(from)                                                                   \
    __c11_atomic_load((const _Atomic uint64_t *)(from), memory_order_relaxed)
#else
#define model_write_payload(to, value) (*(to) = (value))
#define model_read_payload(from) (*(from))
#endif
/* The client's own notes: atomic, of no order, and no step of a thread. */
#define model_note(word, value) __c11_atomic_store(&(word), value, memory_order_relaxed)
#define model_count(word) __c11_atomic_fetch_add(&(word), 1, memory_order_relaxed)
#define model_noted(word) __c11_atomic_load(&(word), memory_order_relaxed)

#undef atomic_signal_fence
#define atomic_signal_fence(order) __c11_atomic_thread_fence(order)

#ifdef CRASH
#undef atomic_load_explicit
#undef atomic_store_explicit
#undef atomic_exchange_explicit
#undef atomic_fetch_add_explicit
#undef atomic_compare_exchange_strong_explicit
#define atomic_load_explicit(object, order) (model_step(), __c11_atomic_load(object, order))
#define atomic_store_explicit(object, value, order)                                                \
    (model_step(), __c11_atomic_store(object, value, order))
#define atomic_exchange_explicit(object, value, order)                                             \
    (model_step(), __c11_atomic_exchange(object, value, order))
#define atomic_fetch_add_explicit(object, value, order)                                            \
    (model_step(), __c11_atomic_fetch_add(object, value, order))
#define atomic_compare_exchange_strong_explicit(object, expected, desired, success, failure)       \
    (model_step(),                                                                                 \
     __c11_atomic_compare_exchange_strong(object, expected, desired, success, failure))
#endif

#endif
#endif
