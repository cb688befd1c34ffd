/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: in a group of many the end of the stream (-EPIPE, and -EOWNERDEAD when the producer was
 * killed) comes only when every message is finished: a member with nothing left to take waits
 * while another one holds the last message, and gets it if that one is killed.
 * Faults: A5.
 */
#include "proc.h"

struct story {
    const struct proc_ring *how;
    struct slipring_ring *ring;
};

static int member(struct proc *self, void *context)
{
    const struct story *story = context;
    struct slipring_consumer *consumer = proc_member(story->ring, "work", SLIPRING_MANY, 0);
    struct slipring_view view;
    CHECK_EQ(slipring_consumer_acquire(consumer, 1, &view, proc_in_ms(10000)), 0);
    proc_tell(self, view.slot.sequence);
    proc_hear(self);
    CHECK_EQ(slipring_consumer_release(consumer, &view), 0);
    slipring_consumer_detach(consumer);
    proc_tell(self, 0);
    return 0;
}

static int producer_body(struct proc *self, void *context)
{
    const struct story *story = context;
    struct slipring_producer *producer = proc_producer(story->ring);
    CHECK_EQ(proc_publish(producer, story->how, 2, 0), 0);
    proc_tell(self, 0);
    if (proc_hear(self) != 0) {
        slipring_producer_close(producer);
        proc_tell(self, 0);
    }
    proc_sleep();
}

static void run(const struct proc_ring *how, bool closed, bool killed)
{
    struct story story = {how, proc_make(how, 0)};
    struct slipring_consumer *survivor = proc_member(story.ring, "work", SLIPRING_MANY, 0);
    struct slipring_view view;
    const int end = closed ? -EPIPE : -EOWNERDEAD;
    struct proc source = proc_start(producer_body, &story);
    proc_hear(&source);
    struct proc holder = proc_start(member, &story);
    CHECK_EQ(proc_hear(&holder), 0);
    CHECK_EQ(proc_take(survivor, how, &view, 0), 0);
    CHECK_EQ(view.slot.sequence, 1);
    proc_tell(&source, closed);
    if (closed) {
        proc_hear(&source);
    }
    proc_kill(&source);

    CHECK_EQ(slipring_consumer_acquire(survivor, 1, &view, proc_in_ms(150)), -ETIMEDOUT);
    CHECK_EQ(slipring_consumer_try_acquire(survivor, 1, &view), -EAGAIN);
    if (killed) {
        proc_kill(&holder);
        CHECK_EQ(proc_take(survivor, how, &view, proc_in_ms(PROC_NOTICE_MS)), 0);
        CHECK_EQ(view.slot.sequence, 0);
        CHECK_EQ(view.slot.deliveries, 2);
    } else {
        proc_tell(&holder, 0);
        proc_hear(&holder);
        proc_end(&holder);
    }
    CHECK_EQ(slipring_consumer_acquire(survivor, 1, &view, proc_in_ms(PROC_NOTICE_MS)), end);
    CHECK_EQ(slipring_consumer_acquire(survivor, 1, &view, proc_in_ms(PROC_NOTICE_MS)), end);
    slipring_consumer_detach(survivor);
    slipring_ring_close(story.ring);
}

int main(void)
{
    proc_begin(60);
    for (unsigned i = 0; i < PROC_GEOMETRIES; i++) {
        for (unsigned variant = 0; variant < 4; variant++) {
            run(&proc_rings[3 * i], (variant & 1) != 0, (variant & 2) != 0);
        }
    }
    return 0;
}
