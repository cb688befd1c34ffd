/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves the edge ONCE: threads whose first call of the library is to open one ring, all at once or
 * one after another, find what the first of them set up for the process whole, and get one handle.
 * In turn, ThreadSanitizer misses no edge that is not there, however the threads are scheduled.
 */
#include "proc.h"

#include <pthread.h>
#include <stdatomic.h>
#include <urcu-bp.h>

enum { THREADS = 4, PROCESSES = 120 };

static char name[64];
static _Atomic int turn;

static void *open_it(void *context)
{
    struct slipring_ring *ring = NULL;
    const int mine = *(const int *)context;
    urcu_bp_register_thread(); /* under its mutex, which would order the calls */
    while (atomic_load_explicit(&turn, memory_order_relaxed) < mine) { /* it is to order nothing */
        sched_yield();
    }
    CHECK_EQ(slipring_ring_open(name, 0, &ring, NULL), 0);
    atomic_fetch_add_explicit(&turn, 1, memory_order_relaxed);
    return ring;
}

static int process(struct proc *self, void *context)
{
    const bool at_once = *(const bool *)context;
    pthread_t threads[THREADS];
    int turns[THREADS];
    void *rings[THREADS];
    (void)self;
    for (int i = 0; i < THREADS; i++) {
        turns[i] = at_once ? 1 : i + 1;
        CHECK_EQ(pthread_create(&threads[i], NULL, open_it, &turns[i]), 0);
    }
    atomic_fetch_add_explicit(&turn, 1, memory_order_relaxed);
    for (int i = 0; i < THREADS; i++) {
        CHECK_EQ(pthread_join(threads[i], &rings[i]), 0);
        CHECK(rings[i] == rings[0]);
    }
    for (int i = 0; i < THREADS; i++) {
        slipring_ring_close(rings[i]);
    }
    return 0;
}

/* Somebody else makes the ring, or its first call would be this process's. */
static int maker(struct proc *self, void *context)
{
    struct slipring_config config;
    struct slipring_ring *ring;
    (void)context;
    proc_config(&proc_rings[0], &config);
    CHECK_OK(slipring_ring_create(name, &config, &ring, NULL));
    proc_tell(self, 0);
    proc_hear(self);
    CHECK_OK(slipring_ring_unlink(name, NULL));
    slipring_ring_close(ring);
    return 0;
}

int main(void)
{
    proc_begin(60);
    snprintf(name, sizeof(name), "threads-once-%d", (int)getpid());
    struct proc owner = proc_start(maker, NULL);
    proc_hear(&owner);
    for (int i = 0; i < PROCESSES; i++) {
        bool at_once = i % 4 != 0;
        struct proc child = proc_start(process, &at_once);
        proc_end(&child);
    }
    proc_tell(&owner, 0);
    proc_end(&owner);
    return 0;
}
