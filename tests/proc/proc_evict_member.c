/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: a stopped member of an evicting group of many is evicted after the timeout and not
 * before; what it held is redelivered whole; when it resumes, its release and its next acquire say
 * -ESTALE and free nobody's slot, though the slot is held by another member at that moment; the
 * innocent other member is not evicted with it; attached anew, it works again.
 * Faults: B1, B2.
 */
#include "proc.h"

enum { PATIENCE_MS = 400 };

struct story {
    const struct proc_ring *how;
    struct slipring_ring *ring;
};

static int stopped(struct proc *self, void *context)
{
    const struct story *story = context;
    struct slipring_consumer *consumer =
        proc_member(story->ring, "work", SLIPRING_MANY, PATIENCE_MS);
    struct slipring_view view;
    CHECK_EQ(slipring_consumer_acquire(consumer, 1, &view, proc_in_ms(10000)), 0);
    proc_tell(self, view.slot.sequence);
    proc_hear(self);
    CHECK_EQ(slipring_consumer_release(consumer, &view), -ESTALE);
    CHECK_EQ(slipring_consumer_try_acquire(consumer, 1, &view), -ESTALE);
    CHECK_EQ(slipring_consumer_acquire(consumer, 1, &view, proc_in_ms(1000)), -ESTALE);
    slipring_consumer_detach(consumer);
    proc_tell(self, 0);
    proc_hear(self);
    consumer = proc_member(story->ring, "work", SLIPRING_MANY, PATIENCE_MS);
    CHECK_EQ(proc_take(consumer, story->how, &view, proc_in_ms(2000)), 0);
    slipring_consumer_detach(consumer);
    proc_tell(self, view.slot.sequence);
    return 0;
}

static void run(const struct proc_ring *how)
{
    struct story story = {how, proc_make(how, 0)};
    struct slipring_producer *producer = proc_producer(story.ring);
    struct slipring_consumer *other = proc_member(story.ring, "work", SLIPRING_MANY, PATIENCE_MS);
    struct slipring_view view;
    const uint64_t slots = proc_info(story.ring).slots;
    CHECK_EQ(proc_publish(producer, how, 1, 0), 0);
    struct proc child = proc_start(stopped, &story);
    CHECK_EQ(proc_hear(&child), 0);
    proc_stop(&child);
    for (uint64_t i = 1; i < slots; i++) {
        CHECK_EQ(proc_publish(producer, how, 1, 0), 0);
        CHECK_EQ(proc_take(other, how, &view, 0), 0);
        CHECK_EQ(view.slot.sequence, i);
    }

    const int64_t held_back = slipring_now_ns();
    int code;
    do {
        CHECK_EQ(proc_publish(producer, how, 1, 0), -EAGAIN);
        code = slipring_consumer_try_acquire(other, 1, &view);
    } while (code == -EAGAIN && slipring_now_ns() - held_back < 5000 * PROC_MS);
    CHECK_EQ(code, 0);
    CHECK(slipring_now_ns() - held_back >= PATIENCE_MS * PROC_MS);
    CHECK_EQ(view.slot.sequence, 0);
    CHECK_EQ(view.slot.deliveries, 2);

    proc_continue(&child);
    proc_tell(&child, 0);
    proc_hear(&child);
    CHECK_EQ(proc_publish(producer, how, 1, proc_in_ms(PATIENCE_MS / 8)), -ETIMEDOUT);
    CHECK(proc_view_whole(how, &view));
    CHECK_EQ(slipring_consumer_release(other, &view), 0);
    CHECK_EQ(proc_publish(producer, how, 1, 0), 0);
    proc_tell(&child, 0);
    CHECK_EQ(proc_hear(&child), slots);
    proc_end(&child);
    CHECK_EQ(proc_publish(producer, how, 1, 0), 0);
    CHECK_EQ(proc_take(other, how, &view, 0), 0);
    CHECK_EQ(view.slot.sequence, slots + 1);
    slipring_consumer_detach(other);
    slipring_producer_detach(producer);
    slipring_ring_close(story.ring);
}

int main(void)
{
    proc_begin(60);
    for (unsigned i = 0; i < PROC_GEOMETRIES; i++) {
        run(&proc_rings[3 * i]);
    }
    return 0;
}
