/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: a stopped consumer that asked to be evicted lets the producer go on after its timeout;
 * another consumer loses nothing by it; resumed, it is told -ESTALE by release and acquire, for
 * ever, and attached anew with the sequence where it stood it is told exactly what it missed.
 * Ordered and unordered, with a slot in hand and without.
 * Faults: B1, B2.
 */
#include "proc.h"

enum { PATIENCE_MS = 60 };

struct story {
    const struct proc_ring *how;
    struct slipring_ring *ring;
    bool holding;
};

static struct slipring_consumer *attach_evictable(const struct story *story, uint64_t sequence)
{
    struct slipring_consumer_config config;
    struct slipring_consumer *consumer;
    slipring_consumer_config_init(&config);
    config.flags = story->how->member_flags;
    config.start = SLIPRING_SEQUENCE;
    config.sequence = sequence;
    config.slow = SLIPRING_EVICT;
    config.evict_after_ns = PATIENCE_MS * PROC_MS;
    CHECK_EQ(slipring_consumer_attach(story->ring, &config, &consumer, NULL), 0);
    return consumer;
}

static int stopped(struct proc *self, void *context)
{
    const struct story *story = context;
    struct slipring_consumer *consumer = attach_evictable(story, 0);
    struct slipring_view view;
    proc_tell(self, 0);
    CHECK_EQ(proc_take(consumer, story->how, &view, proc_in_ms(10000)), 0);
    CHECK_EQ(view.slot.sequence, 0);
    if (story->holding) {
        CHECK_EQ(slipring_consumer_acquire(consumer, 1, &view, proc_in_ms(10000)), 0);
    }
    proc_tell(self, 0);
    proc_hear(self);
    if (story->holding) {
        CHECK_EQ(slipring_consumer_release(consumer, &view), -ESTALE);
    }
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(slipring_consumer_try_acquire(consumer, 1, &view), -ESTALE);
        CHECK_EQ(slipring_consumer_acquire(consumer, 1, &view, proc_in_ms(1000)), -ESTALE);
    }
    slipring_consumer_detach(consumer);

    consumer = attach_evictable(story, 1);
    proc_tell(self, 0);
    CHECK_EQ(proc_take(consumer, story->how, &view, proc_in_ms(1000)), 0);
    CHECK(view.missed >= 1);
    CHECK_EQ(view.slot.sequence, 1 + view.missed);
    CHECK_EQ(proc_take(consumer, story->how, &view, proc_in_ms(1000)), 0);
    CHECK_EQ(view.missed, 0); /* told once */
    proc_tell(self, 0);
    return 0;
}

static void run(const struct proc_ring *how, bool holding)
{
    struct story story = {how, proc_make(how, 0), holding};
    struct slipring_producer *producer = proc_producer(story.ring);
    struct slipring_consumer *other = proc_consumer(story.ring, how, SLIPRING_OLDEST);
    uint64_t next = 0, count = 0;
    struct proc child = proc_start(stopped, &story);
    proc_hear(&child);
    CHECK_EQ(proc_publish(producer, how, 2, 0), 0);
    proc_hear(&child);
    proc_stop(&child);
    const uint64_t slots = proc_info(story.ring).slots;
    for (uint64_t i = 2; i < 1 + slots; i++) {
        CHECK_EQ(proc_publish(producer, how, 1, 0), 0);
        CHECK_EQ(proc_drain(other, how, &next, &count), -EAGAIN);
    }
    const int64_t begin = slipring_now_ns();
    CHECK_EQ(proc_publish(producer, how, 1, proc_in_ms(5000)), 0);
    CHECK(slipring_now_ns() - begin >= (PATIENCE_MS - 10) * PROC_MS);
    for (uint64_t i = 0; i < 2 * slots; i++) {
        CHECK_EQ(proc_drain(other, how, &next, &count), -EAGAIN);
        CHECK_EQ(proc_publish(producer, how, 1, 0), 0);
    }
    CHECK_EQ(proc_drain(other, how, &next, &count), -EAGAIN);
    CHECK_EQ(count, 3 * slots + 2);
    proc_continue(&child);
    proc_tell(&child, 0);
    proc_hear(&child);
    CHECK_EQ(proc_publish(producer, how, 2, proc_in_ms(1000)), 0);
    proc_hear(&child);
    proc_end(&child);
    slipring_consumer_detach(other);
    slipring_producer_detach(producer);
    slipring_ring_close(story.ring);
}

int main(void)
{
    proc_begin(60);
    for (unsigned i = 0; i < PROC_RINGS; i++) {
        if (proc_rings[i].full == SLIPRING_BLOCK) {
            run(&proc_rings[i], true);
            run(&proc_rings[i], false);
        }
    }
    return 0;
}
