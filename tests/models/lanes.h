/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lanes of the Python package's queues (src/python/queue/lane*.c), as they are, in one
 * translation unit under the explorer, and a small queue in static memory.
 *
 * A client says before it includes this what it wants (MODEL_LANES, MODEL_MAXSIZE). model_enter()
 * gives the calling thread a process's hold on the queue; one thread may play several processes, one
 * after another. Accesses to the shared file are steps; those to a process's own memory are none.
 *
 * Assumed of the system: as core.h says; and a sleep ends by itself only when somebody has died: the
 * code looks again every LANE_PATIENCE_NS for a wake that died with who owed it, and without a death
 * a lost one must show.
 */
#ifndef MODEL_LANES_H
#define MODEL_LANES_H

#include "explore.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef MODEL_LANES
#define MODEL_LANES 1
#endif
#ifndef MODEL_MAXSIZE
#define MODEL_MAXSIZE 0
#endif
#define MODEL_ENTRIES 2
#define MODEL_RING 32u /* two records of a word */
#define MODEL_PART 8u
#define MODEL_BLOCK 4096u

/* ---- accesses ---- */

static bool model_shared(const volatile void *at);
void model_step(void);

static uint64_t model_load(const volatile void *from, uint32_t bytes)
{
    uint64_t value = 0;
    if (model_shared(from)) {
        model_step();
        return explore_load(from, bytes);
    }
    memcpy(&value, (const void *)from, bytes);
    return value;
}

static void model_store(volatile void *to, uint64_t value, uint32_t bytes)
{
    if (model_shared(to)) {
        model_step();
        explore_store(to, value, bytes);
    } else {
        memcpy((void *)to, &value, bytes);
    }
}

static bool model_swap(volatile void *to, void *expected, uint64_t desired, uint32_t bytes)
{
    uint64_t value = 0;
    memcpy(&value, expected, bytes);
    model_step();
    if (explore_swap(to, value, desired, bytes)) {
        return true;
    }
    memcpy(expected, (const void *)to, bytes); /* no other thread since */
    return false;
}

#define __atomic_load_n(from, order)                                                               \
    ((void)(order), (__typeof__(*(from)))(uintptr_t)model_load(from, sizeof *(from)))
#define __atomic_store_n(to, value, order)                                                         \
    ((void)(order), model_store(to, (uintptr_t)(value), sizeof *(to)))
#define __atomic_exchange_n(to, value, order)                                                      \
    ((void)(order), model_step(), explore_exchange(to, value, sizeof *(to)))
#define __atomic_add_fetch(to, value, order)                                                       \
    ((void)(order), model_step(), explore_add(to, value, sizeof *(to)) + (value))
#define __atomic_sub_fetch(to, value, order) __atomic_add_fetch(to, -(value), order)
#define __atomic_compare_exchange_n(to, expected, desired, weak, success, failure)                 \
    ((void)(success), (void)(failure), model_swap(to, expected, (uintptr_t)(desired), sizeof *(to)))
#define __atomic_thread_fence(order) ((void)(order), explore_fence())

/* ---- the system ---- */

static int model_lock(int fd, int command, ...);
static int model_poll(struct pollfd *pipe);
static ssize_t model_read(void);
static ssize_t model_write(void);

static int64_t model_clock;
static uint32_t model_pipe; /* bytes in it */

#define clock_gettime(clock, time) ((time)->tv_sec = 0, (time)->tv_nsec = (model_clock += 1000000))
#define syscall(number, word, operation, value, ...) model_futex(word, operation, value)
#define fcntl model_lock
#define posix_fallocate(fd, from, bytes) 0
#define poll(pipe, count, ms) model_poll(pipe)
#define read(fd, to, bytes) model_read()
#define write(fd, from, bytes) model_write()
#define sched_yield() explore_again() /* who yields waits for what another one does */

static long model_futex(uint32_t *word, int operation, uint32_t value)
{
    if (operation == 0) {
        explore_sleep(word, value);
    }
    return 0; /* a wake reaches every sleeper whose word moved */
}

#include "../../src/python/queue/lane.h"
#undef LANE_ENTRIES
#define LANE_ENTRIES MODEL_ENTRIES
#include "../../src/python/queue/lane_word.h"
#undef LANE_TRIES
#define LANE_TRIES 1 /* whoever is in our way may be dead */
#define lane_pause() ((void)0)

#include "../../src/python/queue/lane_file.c"

#include "../../src/python/queue/lane_block.c"

#include "../../src/python/queue/lane_count.c"

#include "../../src/python/queue/lane_put.c"
#define announced take_announced /* of lane_take.c */
#include "../../src/python/queue/lane_take.c"

/* ---- the queue ---- */

#define MODEL_STRIDE                                                                               \
    (MODEL_ENTRIES * sizeof(struct lane_entry) + MODEL_RING + 2 * MODEL_PART +                     \
     LANE_BLOCKS * sizeof(struct lane_block) + MODEL_BLOCK)

static struct {
    struct lane_header header;
    struct lane_head heads[MODEL_LANES];
    uint8_t lanes[MODEL_LANES][MODEL_STRIDE];
    uint32_t locks[8]; /* of the first cells: the process that has each */
} model_file = {
    .header =
        {
            .lanes = MODEL_LANES,
            .entries = MODEL_ENTRIES,
            .ring_bytes = MODEL_RING,
            .part_bytes = MODEL_PART,
            .block_bytes = MODEL_BLOCK,
            .lane_stride = MODEL_STRIDE,
            .maxsize = MODEL_MAXSIZE,
        },
};

static bool model_shared(const volatile void *at)
{
    return (uintptr_t)at - (uintptr_t)&model_file < sizeof model_file;
}

static int model_lock(int fd, int command, ...)
{
    va_list arguments;
    va_start(arguments, command);
    struct flock *lock = va_arg(arguments, struct flock *);
    va_end(arguments);
    uint32_t *word = &model_file.locks[lock->l_start - LANE_LOCKS], none = 0;
    if (command == F_OFD_SETLK) {
        errno = EAGAIN;
        return model_swap(word, &none, (uint32_t)fd, 4) ? 0 : -1;
    }
    lock->l_type = model_load(word, 4) == 0 ? F_UNLCK : F_WRLCK;
    return 0;
}

static int model_poll(struct pollfd *pipe)
{
    pipe->revents = (pipe->events & POLLIN) != 0 && explore_load(&model_pipe, 4) > 0 ? POLLIN : 0;
    return pipe->revents != 0;
}

static ssize_t model_read(void)
{
    uint32_t bytes = (uint32_t)explore_load(&model_pipe, 4);
    while (bytes > 0) {
        if (model_swap(&model_pipe, &bytes, bytes - 1, 4)) {
            return 1;
        }
    }
    errno = EAGAIN;
    return -1;
}

static ssize_t model_write(void)
{
    model_step();
    explore_add(&model_pipe, 1, 4);
    return 1;
}

struct model_process {
    struct lane_queue queue;
    uint8_t *maps[MODEL_LANES];
};

MODEL_OWN(uint32_t, model_own_process);
MODEL_OWN(bool, model_own_mortal); /* it may die at any of its steps */
static uint32_t model_dead;        /* processes */

/* The calling thread is process `number`, above 0, from here on, and has a cell. */
static void model_enter(struct model_process *process, uint32_t number)
{
    memset(process, 0, sizeof *process);
    for (uint32_t i = 0; i < MODEL_LANES; i++) {
        process->maps[i] = model_file.lanes[i];
    }
    process->queue = (struct lane_queue){
        .header = &model_file.header,
        .heads = model_file.heads,
        .maps = process->maps,
        .lock_fd = (int)number,
        .mutex = PTHREAD_MUTEX_INITIALIZER,
        .stream = PTHREAD_MUTEX_INITIALIZER,
    };
    for (uint32_t i = 0; i < MODEL_LANES; i++) {
        model_file.heads[i].ready = 2; /* its memory is there, that of parts too */
    }
    MODEL_MINE(model_own_process) = number;
    model_assert(lane_join(&process->queue) == 0);
}

static void model_die(void)
{
    MODEL_MINE(model_own_mortal) = false;
    explore_fence(); /* what it stored arrives */
    for (uint32_t i = 0; i < sizeof model_file.locks / sizeof *model_file.locks; i++) {
        if (model_file.locks[i] == MODEL_MINE(model_own_process)) {
            explore_store(&model_file.locks[i], 0, 4);
        }
    }
    model_dead++;
    for (uint32_t i = 0; i < MODEL_LANES; i++) {
        explore_add(&model_file.heads[i].space.word, 1, 4);
        explore_add(&model_file.heads[i].parts.word, 1, 4);
    }
    explore_add(&model_file.header.items.word, 1, 4);
    explore_add(&model_file.header.room.word, 1, 4);
    explore_exit();
}

void model_step(void)
{
    if (MODEL_MINE(model_own_mortal) && explore_death()) {
        model_die();
    }
}

/* ---- what clients do ---- */

/* Puts one word. -EAGAIN: there is no room. */
static int model_put(struct lane_queue *queue, uint64_t value, bool reserve)
{
    const struct lane_piece piece = {&value, sizeof value};
    const struct lane_record record = {&piece, 1, sizeof value, 0, NULL, 0};
    return lane_put(queue, &record, reserve);
}

/* Takes one, of which it reads the word while others go on. -EAGAIN: there is none. */
static int model_take(struct lane_queue *queue, uint64_t *value)
{
    struct lane_item item;
    const int code = lane_take(queue, &item);
    if (code == 0) {
        *value = model_load(item.data, 8);
        lane_finish(queue, &item);
    }
    return code;
}

#endif
