/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: a ring whose sequences begin just below 2^32, 2^63 or 2^64 goes on over that bound
 * through everything that compares sequences: publishing and reading, gating, lapping, a takeover
 * after kill -9, a killed consumer, redelivery in a group of many, joining.
 * Faults: D8.
 */
#include "proc.h"

struct story {
    const struct proc_ring *how;
    struct slipring_ring *ring;
    uint64_t start;
};

static int source(struct proc *self, void *context)
{
    const struct story *story = context;
    struct slipring_producer *producer = proc_producer(story->ring);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(proc_publish(producer, story->how, 1, 0), 0);
    }
    struct slipring_loan loan;
    CHECK_EQ(slipring_producer_try_claim(producer, 3, &loan), 0);
    CHECK_EQ(loan.sequence, story->start + 2);
    proc_tell(self, 0);
    proc_sleep();
}

static int holder(struct proc *self, void *context)
{
    const struct story *story = context;
    const bool work = story->how->member_flags == 0;
    struct slipring_consumer *consumer =
        work ? proc_member(story->ring, "work", SLIPRING_MANY, 0)
             : proc_consumer(story->ring, story->how, SLIPRING_OLDEST);
    struct slipring_view view;
    proc_tell(self, 0);
    CHECK_EQ(slipring_consumer_acquire(consumer, 4, &view, proc_in_ms(5000)), 0);
    CHECK(proc_view_whole(story->how, &view));
    proc_tell(self, view.slots);
    proc_sleep();
}

static void lossless(const struct proc_ring *how, uint64_t start)
{
    struct story story = {how, proc_make(how, start), start};
    struct slipring_view view;
    const uint64_t slots = proc_info(story.ring).slots;
    CHECK_EQ(proc_info(story.ring).start_sequence, start);
    struct slipring_consumer *reader = proc_consumer(story.ring, how, SLIPRING_OLDEST);
    struct slipring_consumer *worker = proc_member(story.ring, "work", SLIPRING_MANY, 0);
    struct proc killed = proc_start(holder, &story);
    proc_hear(&killed);
    struct proc child = proc_start(source, &story);
    proc_hear(&child);
    proc_kill(&child);
    const uint64_t held = proc_hear(&killed);
    struct slipring_producer *producer = proc_producer(story.ring);
    uint64_t next = start, count = 0;
    CHECK_EQ(proc_drain(reader, how, &next, &count), -EAGAIN);
    CHECK_EQ(count, 2);
    CHECK_EQ(proc_publish(producer, how, 4, 0), 0);
    CHECK_EQ(proc_publish(producer, how, 1, 0), 0);
    CHECK_EQ(proc_drain(reader, how, &next, &count), -EAGAIN);
    CHECK_EQ(count, 7);
    proc_kill(&killed);
    uint64_t worked = 0, again = 0;
    for (int64_t end = proc_in_ms(5000); worked < 2 * slots && slipring_now_ns() < end;) {
        const int code = proc_publish(producer, how, 1, 0);
        CHECK(code == 0 || code == -EAGAIN);
        CHECK_EQ(proc_drain(reader, how, &next, &count), -EAGAIN);
        while (proc_take(worker, how, &view, 0) == 0) {
            again += view.slot.deliveries == 2;
            worked++;
        }
    }
    CHECK(worked >= 2 * slots);
    CHECK_EQ(again, how->member_flags == 0 ? held : 0);
    CHECK_EQ(next, proc_info(story.ring).cursor);
    CHECK_EQ(count, proc_info(story.ring).cursor - start);
    slipring_consumer_detach(worker);
    slipring_consumer_detach(reader);
    slipring_producer_detach(producer);
    slipring_ring_close(story.ring);
}

static void lapped(const struct proc_ring *how, uint64_t start)
{
    struct story story = {how, proc_make(how, start), start};
    const uint64_t slots = proc_info(story.ring).slots;
    struct slipring_consumer *reader = proc_consumer(story.ring, how, SLIPRING_OLDEST);
    struct proc child = proc_start(source, &story);
    proc_hear(&child);
    proc_kill(&child);
    struct slipring_producer *producer = proc_producer(story.ring);
    struct slipring_stats stats = {.struct_size = sizeof(stats)};
    uint64_t next = start, count = 0;
    for (uint64_t burst = 1; burst <= 3 * slots; burst *= 2) {
        for (uint64_t i = 0; i < burst; i++) {
            CHECK_EQ(proc_publish(producer, how, 1, 0), 0);
        }
        CHECK_EQ(proc_drain(reader, how, &next, &count), -EAGAIN);
        CHECK_EQ(next, proc_info(story.ring).cursor);
        CHECK_EQ(slipring_consumer_stats(reader, &stats), 0);
        CHECK_EQ(stats.missed + count, next - start);
    }
    CHECK(stats.missed > 0);
    slipring_consumer_detach(reader);
    slipring_producer_detach(producer);
    slipring_ring_close(story.ring);
}

int main(void)
{
    proc_begin(60);
    const uint64_t bounds[] = {UINT64_C(1) << 32, UINT64_C(1) << 63, 0, UINT64_C(1) << 40};
    for (unsigned b = 0; b < sizeof(bounds) / sizeof(bounds[0]); b++) {
        for (unsigned i = 0; i < PROC_RINGS; i++) {
            for (uint64_t before = 1; before <= 7; before += 2) {
                (proc_rings[i].full == SLIPRING_BLOCK ? lossless : lapped)(&proc_rings[i],
                                                                           bounds[b] - before);
            }
        }
    }
    return 0;
}
