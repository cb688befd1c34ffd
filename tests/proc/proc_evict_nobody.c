/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: where an evicting group of many holds the producer back with a slot that no member took
 * (its one member is stopped), the slot is dropped and counted and the producer goes on; the
 * member, resumed, was not evicted, and finds the rest: taken and dropped make up all.
 * Faults: B1.
 */
#include "proc.h"

enum { PATIENCE_MS = 60 };

struct story {
    const struct proc_ring *how;
    struct slipring_ring *ring;
};

static int member(struct proc *self, void *context)
{
    const struct story *story = context;
    struct slipring_consumer *consumer =
        proc_member(story->ring, "work", SLIPRING_MANY, PATIENCE_MS);
    struct slipring_view view;
    uint64_t last = 0, count = 0;
    proc_tell(self, 0);
    proc_hear(self);
    for (;; count++) {
        const int code = proc_take(consumer, story->how, &view, 0);
        if (code != 0) {
            CHECK_EQ(code, -EAGAIN);
            break;
        }
        CHECK(count == 0 || view.slot.sequence > last);
        last = view.slot.sequence;
    }
    proc_tell(self, count);
    proc_hear(self);
    return 0;
}

static void run(const struct proc_ring *how)
{
    struct story story = {how, proc_make(how, 0)};
    struct slipring_producer *producer = proc_producer(story.ring);
    struct proc child = proc_start(member, &story);
    proc_hear(&child);
    proc_stop(&child);
    const uint64_t slots = proc_info(story.ring).slots;
    CHECK_EQ(proc_fill(producer, how), slots);
    const int64_t begin = slipring_now_ns();
    CHECK_EQ(proc_publish(producer, how, 1, proc_in_ms(5000)), 0);
    CHECK(slipring_now_ns() - begin >= (PATIENCE_MS - 10) * PROC_MS);
    CHECK_EQ(proc_publish(producer, how, 2, proc_in_ms(5000)), 0);

    struct slipring_group_info group = {.struct_size = sizeof(group)};
    CHECK_EQ(slipring_ring_groups(story.ring, &group, 1), 1);
    CHECK(group.dropped >= 3 && group.dropped <= slots);
    proc_continue(&child);
    proc_tell(&child, 0);
    const uint64_t taken = proc_hear(&child);
    CHECK_EQ(taken + group.dropped, slots + 3);
    CHECK_EQ(slipring_ring_groups(story.ring, &group, 1), 1);
    CHECK_EQ(group.lag, 0);
    CHECK_EQ(group.members, 1);
    proc_tell(&child, 0);
    proc_end(&child);
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
