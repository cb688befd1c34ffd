/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: a message that kills each member that takes it is delivered five times, counted, and
 * then given up: it no longer comes, no longer holds the producer back, and is found in the list
 * of dead letters by sequence, tag, cause and group; the group goes on.
 * Faults: A6.
 */
#include "proc.h"

enum { FAILURES = 5 };

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
    proc_tell(self, view.slot.deliveries);
    proc_sleep();
}

static void run(const struct proc_ring *how)
{
    struct story story = {how, proc_make(how, 0)};
    struct slipring_producer *producer = proc_producer(story.ring);
    struct slipring_consumer *survivor = proc_member(story.ring, "work", SLIPRING_MANY, 0);
    struct slipring_view view;
    CHECK_EQ(proc_publish(producer, how, 1, 0), 0);
    CHECK_EQ(proc_take(survivor, how, &view, 0), 0);
    CHECK_EQ(proc_publish(producer, how, 1, 0), 0);
    for (unsigned failure = 1; failure <= FAILURES; failure++) {
        CHECK_EQ(proc_info(story.ring).dead_letters, 0);
        struct proc child = proc_start(member, &story);
        CHECK_EQ(proc_hear(&child), 1);
        CHECK_EQ(proc_hear(&child), failure);
        proc_kill(&child);
    }
    CHECK_EQ(slipring_consumer_acquire(survivor, 1, &view, proc_in_ms(200)), -ETIMEDOUT);
    CHECK_EQ(proc_info(story.ring).dead_letters, 1);
    struct slipring_dead_letter letters[4];
    CHECK_EQ(slipring_ring_dead_letters(story.ring, letters, 4), 1);
    CHECK_EQ(letters[0].sequence, 1);
    CHECK_EQ(letters[0].cause, 1);
    CHECK_STR(letters[0].group, "work");
    if (how->geometry != SLIPRING_GEOMETRY_COMPACT) {
        CHECK_EQ(letters[0].tag, 1);
    }
    struct slipring_group_info group = {.struct_size = sizeof(group)};
    CHECK_EQ(slipring_ring_groups(story.ring, &group, 1), 1);
    CHECK_EQ(group.dead_letters, 1);

    const uint64_t slots = proc_info(story.ring).slots;
    CHECK_EQ(proc_fill(producer, how), slots);
    for (uint64_t i = 0; i < slots; i++) {
        CHECK_EQ(proc_take(survivor, how, &view, 0), 0);
        CHECK_EQ(view.slot.sequence, 2 + i);
        CHECK_EQ(view.slot.deliveries, 1);
    }
    slipring_consumer_detach(survivor);
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
