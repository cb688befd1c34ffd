/* SPDX-License-Identifier: Apache-2.0 */
/* The explorer of explore.h; linked with one client. explore [SWITCHES [DELAYS [SECONDS]]] */
#define _GNU_SOURCE
#include "explore.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <ucontext.h>

#undef main

enum { STACK = 256 * 1024, BUFFER = 64, CHOICES = 1 << 16, LONGEST = 1 << 16 };
enum state { NONE, READY, AGAIN, ASLEEP, DOZING, JOINING, DONE };

struct store {
    volatile void *to;
    uint64_t value;
    uint32_t bytes;
};

struct thread {
    enum state state;
    ucontext_t context;
    void *(*function)(void *);
    void *argument;
    uint8_t *stack;
    uint64_t stores;      /* that changed memory */
    uint64_t delayed;     /* that went into the buffer, ever */
    uint64_t seen, began; /* AGAIN: changes by others, as it was before the attempt */
    const volatile void *word;
    uint32_t value, joined;
    uint64_t
        awaits[EXPLORE_THREADS]; /* DOZING: how many delayed stores of each thread must arrive */
    struct store buffer[BUFFER];
    uint32_t buffered;
};

struct choice {
    uint32_t taken, of;
};

/* In the heap: all static memory is put back before each execution. */
struct explorer {
    ucontext_t scheduler;
    struct thread threads[EXPLORE_THREADS];
    uint32_t self;
    uint64_t version;                  /* stores that reached memory */
    uint32_t switches, delays, deaths; /* left in this execution */
    struct choice choices[CHOICES];
    uint32_t depth, length;
    uint64_t executions, points, last; /* accesses: of all executions, before this one */
};
static struct explorer *e;

/* ---- choosing ---- */

static uint32_t choose(uint32_t of)
{
    if (of < 2) {
        return 0;
    }
    if (e->depth == e->length) {
        if (e->length == CHOICES) {
            explore_failed("an execution has too many choices", __FILE__, __LINE__);
        }
        e->choices[e->length++] = (struct choice){0, of};
    }
    return e->choices[e->depth++].taken;
}

static bool next_execution(void)
{
    while (e->length > 0 && e->choices[e->length - 1].taken + 1 == e->choices[e->length - 1].of) {
        e->length--;
    }
    if (e->length == 0) {
        return false;
    }
    e->choices[e->length - 1].taken++;
    return true;
}

/* ---- memory ---- */

static uint64_t memory(const volatile void *from, uint32_t bytes)
{
    uint64_t value = 0;
    memcpy(&value, (const void *)from, bytes); /* the platforms that run this are little-endian */
    return value;
}

static void reach_memory(volatile void *to, uint64_t value, uint32_t bytes)
{
    if (memory(to, bytes) != value) {
        memcpy((void *)to, &value, bytes);
        e->version++;
        e->threads[e->self].stores++;
    }
}

static void drain(struct thread *thread)
{
    for (uint32_t i = 0; i < thread->buffered; i++) {
        const struct store *store = &thread->buffer[i];
        reach_memory(store->to, store->value, store->bytes);
    }
    thread->buffered = 0;
}

/* ---- scheduling ---- */

static uint64_t others_stores(const struct thread *thread)
{
    return e->version - thread->stores;
}

/* Has every store arrived that was in a buffer when the doze began? */
static bool arrived(const struct thread *thread)
{
    for (uint32_t i = 0; i < EXPLORE_THREADS; i++) {
        if (e->threads[i].delayed - e->threads[i].buffered < thread->awaits[i]) {
            return false;
        }
    }
    return true;
}

static bool can_run(struct thread *thread)
{
    switch (thread->state) {
    case READY:
        return true;
    case AGAIN:
        return thread->seen != others_stores(thread);
    case ASLEEP:
        return memory(thread->word, 4) != thread->value;
    case DOZING:
        return memory(thread->word, 4) != thread->value || arrived(thread);
    case JOINING:
        return e->threads[thread->joined].state == DONE;
    default:
        return false;
    }
}

static void give_way(enum state state)
{
    struct thread *thread = &e->threads[e->self];
    thread->state = state;
    swapcontext(&thread->context, &e->scheduler);
}

/* A shared access comes: another thread may go first. */
static void point(void)
{
    if (++e->points - e->last > LONGEST) {
        explore_failed("it does not end", __FILE__, __LINE__);
    }
    if (e->switches == 0) {
        return;
    }
    uint32_t others[EXPLORE_THREADS];
    uint32_t count = 0;
    for (uint32_t i = 0; i < EXPLORE_THREADS; i++) {
        if (i != e->self && can_run(&e->threads[i])) {
            others[count++] = i;
        }
    }
    const uint32_t chosen = choose(count + 1);
    if (chosen != 0) {
        const uint32_t from = e->self;
        struct thread *thread = &e->threads[from];
        e->switches--;
        e->self = others[chosen - 1];
        e->threads[e->self].state = READY;
        swapcontext(&thread->context, &e->threads[e->self].context);
        e->self = from;
        drain(thread); /* however long a store was delayed, it has arrived by now */
    }
}

static void body(void)
{
    struct thread *thread = &e->threads[e->self];
    (void)thread->function(thread->argument);
    explore_exit();
}

void explore_exit(void)
{
    if (e->threads[e->self].buffered != 0) {
        point(); /* others may run before the last stores arrive */
    }
    drain(&e->threads[e->self]);
    give_way(DONE);
    abort();
}

void explore_start(uint32_t i, void *(*function)(void *), void *argument)
{
    struct thread *thread = &e->threads[i];
    drain(&e->threads[e->self]);
    thread->function = function;
    thread->argument = argument;
    thread->buffered = 0;
    thread->stores = 0;
    thread->began = others_stores(thread);
    getcontext(&thread->context);
    thread->context.uc_stack.ss_sp = thread->stack;
    thread->context.uc_stack.ss_size = STACK;
    thread->context.uc_link = NULL;
    makecontext(&thread->context, body, 0);
    thread->state = READY;
}

void explore_join(uint32_t i)
{
    struct thread *thread = &e->threads[e->self];
    drain(thread);
    thread->joined = i;
    give_way(JOINING);
}

void explore_again(void)
{
    struct thread *thread = &e->threads[e->self];
    drain(thread);
    thread->seen = thread->began; /* what came meanwhile may have come too late to be seen */
    give_way(AGAIN);
    thread->began = others_stores(thread);
}

void explore_sleep(const volatile void *word, uint32_t value)
{
    struct thread *thread = &e->threads[e->self];
    drain(thread);
    thread->word = word;
    thread->value = value;
    give_way(ASLEEP);
}

bool explore_doze(const volatile void *word, uint32_t value)
{
    struct thread *thread = &e->threads[e->self];
    drain(thread);
    thread->word = word;
    thread->value = value;
    for (uint32_t i = 0; i < EXPLORE_THREADS; i++) {
        thread->awaits[i] = e->threads[i].delayed;
    }
    give_way(DOZING);
    return memory(word, 4) == value;
}

uint32_t explore_self(void)
{
    return e->self;
}

bool explore_death(void)
{
    if (e->deaths != 0 && choose(2) == 1) {
        e->deaths--;
        return true;
    }
    return false;
}

/* ---- accesses ---- */

uint64_t explore_load(const volatile void *from, uint32_t bytes)
{
    point();
    const struct thread *thread = &e->threads[e->self];
    for (uint32_t i = thread->buffered; i > 0; i--) {
        if (thread->buffer[i - 1].to == from) {
            return thread->buffer[i - 1].value;
        }
    }
    return memory(from, bytes);
}

void explore_store(volatile void *to, uint64_t value, uint32_t bytes)
{
    point();
    struct thread *thread = &e->threads[e->self];
    if (thread->buffered == BUFFER) {
        drain(thread);
    }
    if ((uintptr_t)to - (uintptr_t)thread->stack < STACK) {
        memcpy((void *)to, &value, bytes); /* its own, and gone with the frame */
        return;
    }
    if (thread->buffered == 0 && (e->delays == 0 || choose(2) == 0)) {
        reach_memory(to, value, bytes);
        return;
    }
    if (thread->buffered == 0) {
        e->delays--;
    }
    thread->buffer[thread->buffered++] = (struct store){to, value, bytes};
    thread->delayed++;
}

uint64_t explore_exchange(volatile void *to, uint64_t value, uint32_t bytes)
{
    point();
    drain(&e->threads[e->self]);
    const uint64_t before = memory(to, bytes);
    reach_memory(to, value, bytes);
    return before;
}

uint64_t explore_add(volatile void *to, uint64_t value, uint32_t bytes)
{
    point();
    drain(&e->threads[e->self]);
    const uint64_t before = memory(to, bytes);
    reach_memory(to, before + value, bytes);
    return before;
}

bool explore_swap(volatile void *to, uint64_t expected, uint64_t desired, uint32_t bytes)
{
    point();
    drain(&e->threads[e->self]);
    if (memory(to, bytes) != expected) {
        return false;
    }
    reach_memory(to, desired, bytes);
    return true;
}

void explore_fence(void)
{
    drain(&e->threads[e->self]);
}

/* ---- executions ---- */

void explore_failed(const char *text, const char *file, int line)
{
    printf("FAILED in execution %llu, thread %u: %s (%s:%d)\nchoices:",
           (unsigned long long)e->executions, e->self, text, file, line);
    for (uint32_t i = 0; i < e->depth; i++) {
        if (e->choices[i].taken != 0) {
            printf(" %u:%u/%u", i, e->choices[i].taken, e->choices[i].of);
        }
    }
    printf("\n");
    exit(1);
}

static void *run_main(void *context)
{
    (void)context;
    (void)model_main();
    return NULL;
}

static void execute(void)
{
    e->self = 0;
    explore_start(0, run_main, NULL);
    for (;;) {
        uint32_t ready[EXPLORE_THREADS];
        uint32_t count = 0;
        for (uint32_t i = 0; i < EXPLORE_THREADS; i++) {
            if (can_run(&e->threads[i])) {
                ready[count++] = i;
            }
        }
        if (count == 0) {
            break;
        }
        /* The first that can; another one instead is a switch that nothing forced. */
        const uint32_t chosen = e->switches == 0 ? 0 : choose(count);
        e->switches -= chosen != 0;
        e->self = ready[chosen];
        drain(&e->threads[e->self]);
        e->threads[e->self].state = READY;
        swapcontext(&e->scheduler, &e->threads[e->self].context);
    }
    for (uint32_t i = 0; i < EXPLORE_THREADS; i++) {
        e->self = i;
        if (e->threads[i].state == ASLEEP || e->threads[i].state == DOZING ||
            e->threads[i].state == AGAIN) {
            explore_failed("it waits for ever", __FILE__, __LINE__);
        }
    }
}

extern uint8_t __data_start[], _end[];

int main(int argc, char **argv)
{
    const uint32_t switches = argc > 1 ? (uint32_t)atoi(argv[1]) : 2;
    const uint32_t delays = argc > 2 ? (uint32_t)atoi(argv[2]) : 1;
    const time_t most = argc > 3 ? atoi(argv[3]) : 0;
    const time_t begin = time(NULL);
    e = calloc(1, sizeof *e);
    const size_t bytes = (size_t)(_end - __data_start);
    uint8_t *before = malloc(bytes);
    if (e == NULL || before == NULL) {
        return 1;
    }
    for (uint32_t i = 0; i < EXPLORE_THREADS; i++) {
        e->threads[i].stack = malloc(STACK);
        if (e->threads[i].stack == NULL) {
            return 1;
        }
    }
    memcpy(before, __data_start, bytes);
    bool all = false;
    do {
        memcpy(__data_start, before, bytes);
        e->depth = 0;
        e->version = 0;
        e->last = e->points;
        e->switches = switches;
        e->delays = delays;
        e->deaths = 1;
        for (uint32_t i = 0; i < EXPLORE_THREADS; i++) {
            e->threads[i].state = NONE;
            e->threads[i].buffered = 0;
            e->threads[i].delayed = 0;
        }
        execute();
        e->executions++;
        all = !next_execution();
    } while (!all && (most == 0 || (e->executions & 1023) != 0 || time(NULL) - begin < most));
    printf("%s: %llu executions, %llu accesses, %lld s; %u switches, %u delayed "
           "stores each\n",
           all ? "all tried" : "TIME IS UP, not all tried", (unsigned long long)e->executions,
           (unsigned long long)e->points, (long long)(time(NULL) - begin), switches, delays);
    return 0;
}
