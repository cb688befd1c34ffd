/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: a consumer of another process that waits asleep, for however long, gets what is published
 * as soon as it is there, not at the end of its step of sleep (40 ms); also where the wake word
 * passes 2^32 meanwhile.
 * Faults: D8.
 */
#include "base/sequence.h"
#include "ring/handle.h"
#include "proc.h"

#define HOW (&proc_rings[0])

/* A child waits again and again; each answer must come as soon as there is something. */
static int answer(struct proc *self, void *context)
{
    struct slipring_ring *ring = context;
    struct slipring_consumer_config config;
    struct slipring_consumer *consumer;
    slipring_consumer_config_init(&config);
    config.wait = SLIPRING_WAIT_SLEEP;
    CHECK_EQ(slipring_consumer_attach(ring, &config, &consumer, NULL), 0);
    struct slipring_view view;
    proc_tell(self, 0);
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(slipring_consumer_acquire(consumer, 1, &view, SLIPRING_FOREVER), 0);
        proc_tell(self, (uint64_t)slipring_now_ns());
        CHECK_EQ(slipring_consumer_release(consumer, &view), 0);
    }
    return 0;
}

int main(void)
{
    proc_begin(60);
    struct slipring_ring *ring = proc_make(HOW, 0);
    struct slipring_producer *producer = proc_producer(ring);
    slr_store32(&ring->segment.control->consumers_wake, UINT32_MAX - 5);
    struct proc child = proc_start(answer, ring);
    proc_hear(&child);
    int late = 0;
    for (int i = 0; i < 20; i++) {
        proc_pause_us(i * 1000);
        const int64_t published = slipring_now_ns();
        CHECK_EQ(proc_publish(producer, HOW, 1, 0), 0);
        const int64_t took = (int64_t)proc_hear(&child) - published;
        CHECK(took < PROC_NOTICE_MS * PROC_MS);
        late += took > 20 * PROC_MS;
    }
    CHECK(late <= 5); /* the machine may be busy; without wakes half of them would be late */
    CHECK(slr_load32(&ring->segment.control->consumers_wake) < UINT32_MAX - 5);
    proc_end(&child);
    slipring_producer_detach(producer);
    slipring_ring_close(ring);
    return 0;
}
