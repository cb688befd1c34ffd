/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: what a member of a group of many had acquired and not released when it was killed goes
 * to another member, once each, with delivery count 2, alone and not in a block, while what it had
 * released does not come again; a spanning message goes whole (one lease, not one per slot).
 * Faults: A5.
 */
#include "proc.h"

enum { HELD = 4, DONE = 2, ALL = 8 };

struct story {
    const struct proc_ring *how;
    struct slipring_ring *ring;
    uint64_t ask; /* slots to hold */
};

static int member(struct proc *self, void *context)
{
    const struct story *story = context;
    struct slipring_consumer *consumer = proc_member(story->ring, "work", SLIPRING_MANY, 0);
    struct slipring_view view;
    for (uint64_t i = 0; i < DONE; i++) {
        CHECK_EQ(slipring_consumer_acquire(consumer, 1, &view, proc_in_ms(10000)), 0);
        CHECK_EQ(view.slot.deliveries, 1);
        CHECK_EQ(slipring_consumer_release(consumer, &view), 0);
    }
    for (uint64_t held = 0; held < story->ask;) {
        CHECK_EQ(slipring_consumer_acquire(consumer, story->ask - held, &view, proc_in_ms(10000)),
                 0);
        held += view.slots;
    }
    proc_tell(self, view.slot.sequence);
    proc_sleep();
}

static struct slipring_group_info group_info(struct slipring_ring *ring)
{
    struct slipring_group_info info = {.struct_size = sizeof(info)};
    CHECK_EQ(slipring_ring_groups(ring, &info, 1), 1);
    return info;
}

static void blocks(const struct proc_ring *how)
{
    struct story story = {how, proc_make(how, 0), HELD};
    struct slipring_producer *producer = proc_producer(story.ring);
    struct slipring_consumer *survivor = proc_member(story.ring, "work", SLIPRING_MANY, 0);
    struct slipring_view view, first;
    CHECK_EQ(proc_publish(producer, how, ALL, 0), 0);
    struct proc child = proc_start(member, &story);
    proc_hear(&child);
    CHECK_EQ(slipring_consumer_try_acquire(survivor, ALL, &first), 0);
    CHECK_EQ(first.slot.sequence, DONE + HELD);
    CHECK_EQ(first.slots, ALL - DONE - HELD);
    CHECK_EQ(first.slot.deliveries, 1);
    CHECK(proc_view_whole(how, &first));
    CHECK_EQ(slipring_consumer_acquire(survivor, 1, &view, proc_in_ms(60)), -ETIMEDOUT);

    proc_kill(&child);
    unsigned seen = 0;
    for (int i = 0; i < HELD; i++) {
        CHECK_EQ(slipring_consumer_acquire(survivor, ALL, &view, proc_in_ms(PROC_NOTICE_MS)), 0);
        CHECK_EQ(view.slots, 1);
        CHECK_EQ(view.slot.deliveries, 2);
        CHECK(proc_view_whole(how, &view));
        CHECK(view.slot.sequence >= DONE && view.slot.sequence < DONE + HELD);
        CHECK((seen & 1u << view.slot.sequence) == 0);
        seen |= 1u << view.slot.sequence;
        CHECK_EQ(slipring_consumer_release(survivor, &view), 0);
    }
    CHECK_EQ(slipring_consumer_acquire(survivor, 1, &view, proc_in_ms(60)), -ETIMEDOUT);
    CHECK_EQ(slipring_consumer_release(survivor, &first), 0);
    CHECK_EQ(group_info(story.ring).redelivered, HELD);
    CHECK_EQ(group_info(story.ring).members, 1);
    CHECK_EQ(proc_fill(producer, how), proc_info(story.ring).slots);
    slipring_consumer_detach(survivor);
    slipring_producer_detach(producer);
    slipring_ring_close(story.ring);
}

/* One that came back and fresh ones behind it: not in one block. */
static void alone(const struct proc_ring *how)
{
    struct story story = {how, proc_make(how, 0), 1};
    struct slipring_producer *producer = proc_producer(story.ring);
    struct slipring_consumer *survivor = proc_member(story.ring, "work", SLIPRING_MANY, 0);
    struct slipring_view view;
    CHECK_EQ(proc_publish(producer, how, ALL, 0), 0);
    struct proc child = proc_start(member, &story);
    CHECK_EQ(proc_hear(&child), DONE);
    proc_kill(&child);
    /* The producer, held back, finds the dead one. */
    CHECK_EQ(ALL - DONE + proc_fill(producer, how), proc_info(story.ring).slots);
    CHECK_EQ(proc_publish(producer, how, 1, proc_in_ms(100)), -ETIMEDOUT);
    CHECK_EQ(proc_info(story.ring).members, 1);
    CHECK_EQ(slipring_consumer_try_acquire(survivor, ALL, &view), 0);
    CHECK_EQ(view.slot.sequence, DONE);
    CHECK_EQ(view.slots, 1);
    CHECK_EQ(view.slot.deliveries, 2);
    CHECK_EQ(slipring_consumer_try_acquire(survivor, ALL, &view), 0);
    CHECK_EQ(view.slot.sequence, DONE + 1);
    CHECK(view.slots > 1);
    CHECK_EQ(view.slot.deliveries, 1);
    slipring_consumer_detach(survivor);
    slipring_producer_detach(producer);
    slipring_ring_close(story.ring);
}

static void spanning(const struct proc_ring *how)
{
    struct story story = {how, proc_make(how, 0), 3};
    struct slipring_producer *producer = proc_producer(story.ring);
    struct slipring_consumer *survivor = proc_member(story.ring, "work", SLIPRING_MANY, 0);
    struct slipring_loan loan;
    struct slipring_view view;
    CHECK_EQ(proc_publish(producer, how, DONE, 0), 0);
    CHECK_EQ(slipring_producer_try_claim(producer, 3, &loan), 0);
    const struct slipring_slot header = {.bytes = 2 * loan.stride + 8, .tag = 77};
    pattern_fill(loan.data, header.bytes, 77);
    CHECK_EQ(slipring_producer_publish_spanning(producer, &header), 0);
    struct proc child = proc_start(member, &story);
    CHECK_EQ(proc_hear(&child), DONE);
    CHECK_EQ(slipring_consumer_try_acquire(survivor, 8, &view), -EAGAIN);
    proc_kill(&child);
    CHECK_EQ(slipring_consumer_acquire(survivor, 1, &view, proc_in_ms(PROC_NOTICE_MS)), 0);
    CHECK_EQ(view.slots, 3);
    CHECK_EQ(view.slot.deliveries, 2);
    CHECK_EQ(view.slot.bytes, header.bytes);
    CHECK(pattern_whole(view.data, header.bytes, 77));
    CHECK_EQ(slipring_consumer_release(survivor, &view), 0);
    CHECK_EQ(proc_fill(producer, how), proc_info(story.ring).slots);
    slipring_consumer_detach(survivor);
    slipring_producer_detach(producer);
    slipring_ring_close(story.ring);
}

int main(void)
{
    proc_begin(60);
    for (unsigned i = 0; i < PROC_GEOMETRIES; i++) {
        blocks(&proc_rings[3 * i]);
        alone(&proc_rings[3 * i]);
    }
    spanning(&proc_rings[6]);
    return 0;
}
