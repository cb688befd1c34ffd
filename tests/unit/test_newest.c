/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: with `newest` each acquire returns the newest message not yet seen and tells how many
 * slots and messages it skipped; in a block ring what it skipped holds nobody back, also where it
 * lies behind a view in hand.
 */
#include "proc.h"

static void run(const struct proc_ring *how)
{
    struct slipring_ring *ring = proc_make(how, 0);
    struct slipring_producer *producer = proc_producer(ring);
    struct slipring_consumer_config config;
    struct slipring_consumer *consumer;
    slipring_consumer_config_init(&config);
    config.flags = SLIPRING_NEWEST | how->member_flags;
    config.start = SLIPRING_OLDEST;
    CHECK_EQ(slipring_consumer_attach(ring, &config, &consumer, NULL), 0);
    const uint64_t slots = proc_info(ring).slots;
    const uint64_t bursts[] = {5, 1, 2, slots / 2, how->full == SLIPRING_BLOCK ? 3 : 3 * slots};
    struct slipring_view view;
    uint64_t next = 0;
    CHECK_EQ(proc_take(consumer, how, &view, 0), -EAGAIN);
    for (unsigned i = 0; i < sizeof(bursts) / sizeof(bursts[0]); i++) {
        for (uint64_t k = 0; k < bursts[i]; k++) {
            CHECK_EQ(proc_publish(producer, how, 1, 0), 0);
        }
        CHECK_EQ(proc_take(consumer, how, &view, 0), 0);
        CHECK_EQ(view.slot.sequence, next + bursts[i] - 1);
        CHECK_EQ(view.missed, bursts[i] - 1);
        CHECK_EQ(view.missed_messages, proc_messages_of(how, next, view.slot.sequence));
        next += bursts[i];
        CHECK_EQ(proc_take(consumer, how, &view, 0), -EAGAIN);
    }
    if (how->full == SLIPRING_BLOCK) {
        struct slipring_view before;
        CHECK_EQ(proc_publish(producer, how, 1, 0), 0);
        CHECK_EQ(slipring_consumer_try_acquire(consumer, 1, &before), 0);
        CHECK_EQ(proc_publish(producer, how, 3, 0), 0);
        CHECK_EQ(slipring_consumer_try_acquire(consumer, 1, &view), 0);
        CHECK_EQ(view.slot.sequence, before.slot.sequence + 3);
        CHECK_EQ(slipring_consumer_release(consumer, &before), 0);
        CHECK_EQ(slipring_consumer_release(consumer, &view), 0);
        CHECK_EQ(proc_fill(producer, how), slots); /* what it skipped holds nobody back */
    }
    slipring_consumer_detach(consumer);
    slipring_producer_detach(producer);
    slipring_ring_close(ring);
}

int main(void)
{
    proc_begin(30);
    for (unsigned i = 0; i < PROC_RINGS; i++) {
        run(&proc_rings[i]);
    }
    return 0;
}
