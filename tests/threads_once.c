/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves the edge ONCE: threads whose first call of the library is to open one ring, all at once,
 * find what the first of them set up for the process whole, and get one handle.
 */
#include "proc.h"

#include <pthread.h>
#include <stdatomic.h>

enum { THREADS = 4, PROCESSES = 120 };

static char name[64];
static _Atomic bool go;

static void *open_it(void *context)
{
    struct slipring_ring *ring = NULL;
    (void)context;
    while (!atomic_load_explicit(&go, memory_order_relaxed)) { /* it is to order nothing */
    }
    CHECK_EQ(slipring_ring_open(name, 0, &ring, NULL), 0);
    return ring;
}

static int process(struct proc *self, void *context)
{
    pthread_t threads[THREADS];
    void *rings[THREADS];
    (void)self;
    (void)context;
    for (int i = 0; i < THREADS; i++) {
        CHECK_EQ(pthread_create(&threads[i], NULL, open_it, NULL), 0);
    }
    atomic_store_explicit(&go, true, memory_order_relaxed);
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
        struct proc child = proc_start(process, NULL);
        proc_end(&child);
    }
    proc_tell(&owner, 0);
    proc_end(&owner);
    return 0;
}
