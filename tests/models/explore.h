/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The explorer: a checker of the models that needs nothing but a compiler.
 *
 * Threads are coroutines; each shared access is a point at which another thread may go on, a store
 * may stay in its thread's buffer (as on x86: later loads overtake it, later stores queue behind
 * it), and a thread that may die (CRASH) may die. A thread that dozes goes on once all stores that were
 * in a buffer when it began have reached memory. All choices are tried, depth first, by running
 * the program anew for each, within a budget of switches that nothing forced, delayed stores and
 * deaths per execution.
 *
 * It is sequentially consistent but for the buffers: acquire and release cost nothing there and are
 * not checked, which is what GenMC is for.
 */
#ifndef MODEL_EXPLORE_H
#define MODEL_EXPLORE_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define EXPLORE_THREADS 5 /* the client's main and four more */

uint64_t explore_load(const volatile void *from, uint32_t bytes);
void explore_store(volatile void *to, uint64_t value, uint32_t bytes);
uint64_t explore_exchange(volatile void *to, uint64_t value, uint32_t bytes);
uint64_t explore_add(volatile void *to, uint64_t value, uint32_t bytes);
bool explore_swap(volatile void *to, uint64_t expected, uint64_t desired, uint32_t bytes);
void explore_fence(void); /* the buffer drains */
void explore_start(uint32_t thread, void *(*function)(void *), void *argument);
void explore_join(uint32_t thread);
void explore_again(void);
void explore_sleep(const volatile void *word, uint32_t value);
bool explore_doze(const volatile void *word, uint32_t value); /* false: the word moved before */
_Noreturn void explore_exit(void);
bool explore_death(void);
uint32_t explore_self(void);
_Noreturn void explore_failed(const char *text, const char *file, int line);
int model_main(void);

#define main model_main
#define model_assert(condition)                                                                    \
    ((condition) ? (void)0 : explore_failed(#condition, __FILE__, __LINE__))
#define MODEL_OWN(type, name) static type name[EXPLORE_THREADS]
#define MODEL_MINE(name) name[explore_self()]
#define model_exit() explore_exit()
#define model_again() explore_again()
#define model_thread(i, function, argument)                                                        \
    explore_start((i) + 1, function, (void *)(uintptr_t)(argument))
#define model_join(i) explore_join((i) + 1)
#define model_sleep(word, value) explore_sleep(word, value)
#define model_doze(word, value) explore_doze(word, value)
#define model_write_payload(to, value) explore_store(to, value, 8)
#define model_read_payload(from) explore_load(from, 8)
#define model_note(word, value) (*(volatile __typeof__(word) *)&(word) = (value))
#define model_count(word) ((word)++)
#define model_noted(word) (word)

#undef atomic_load_explicit
#undef atomic_store_explicit
#undef atomic_exchange_explicit
#undef atomic_fetch_add_explicit
#undef atomic_compare_exchange_strong_explicit
#undef atomic_thread_fence
#undef atomic_signal_fence
#define atomic_load_explicit(object, order)                                                        \
    (model_step(), (void)(order), explore_load(object, sizeof *(object)))
#define atomic_store_explicit(object, value, order)                                                \
    (model_step(), (void)(order), explore_store(object, value, sizeof *(object)))
#define atomic_exchange_explicit(object, value, order)                                             \
    (model_step(), (void)(order), explore_exchange(object, value, sizeof *(object)))
#define atomic_fetch_add_explicit(object, value, order)                                            \
    (model_step(), (void)(order), explore_add(object, value, sizeof *(object)))
#define atomic_compare_exchange_strong_explicit(object, expected, desired, success, failure)       \
    (model_step(), (void)(success), (void)(failure),                                               \
     explore_swap(object, *(expected), desired, sizeof *(object)))
#define atomic_thread_fence(order) ((order) == memory_order_seq_cst ? explore_fence() : (void)0)
#define atomic_signal_fence(order) ((void)(order)) /* buffers stay as they are */

#endif
