/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves, for overwrite tensor rings: the producer passes a held slot over for lap after lap, its
 * payload stays whole and its release says 0; a reader passes over the sequences so spent without
 * counting them as lost; no more than hold_max slots are held (-ENOBUFS); when no run of
 * slots is free claim waits; what a killed holder held comes free by itself.
 */
#include "proc.h"

enum { SLOTS = 16 };
/* 64 KiB in all: whole pages of any size. */
static const struct proc_ring how = {"tensor overwrite", SLIPRING_GEOMETRY_TENSOR,
                                     SLIPRING_OVERWRITE, 4096, 0};
#define HOW (&how)

struct story {
    struct slipring_ring *ring;
    uint64_t count;
};

static struct slipring_ring *make(uint32_t hold_max)
{
    struct slipring_config config;
    proc_config(HOW, &config);
    config.slots = SLOTS;
    config.hold_max = hold_max;
    struct slipring_ring *ring = proc_create(&config);
    CHECK_EQ(proc_info(ring).slots, SLOTS);
    CHECK_EQ(proc_info(ring).hold_max, hold_max);
    return ring;
}

static void publish(struct slipring_producer *producer, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        CHECK_EQ(proc_publish(producer, HOW, 1, 0), 0);
    }
}

static void passed_over(void)
{
    struct slipring_ring *ring = make(2);
    struct slipring_producer *producer = proc_producer(ring);
    struct slipring_consumer *holder = proc_consumer(ring, HOW, SLIPRING_OLDEST);
    struct slipring_consumer *reader = proc_consumer(ring, HOW, SLIPRING_OLDEST);
    struct slipring_view held, view;
    uint64_t published = 3 * SLOTS, seen = 0, missed = 0, messages = 0;
    publish(producer, 3);
    CHECK_EQ(slipring_consumer_try_acquire(holder, 1, &held), 0);
    CHECK_EQ(held.slot.sequence, 0);
    publish(producer, published - 3);
    CHECK(proc_info(ring).cursor > published);
    CHECK(proc_view_whole(HOW, &held));
    for (int code = 0; code == 0;) {
        code = proc_take(reader, HOW, &view, 0);
        if (code == 0) {
            CHECK(view.slot.sequence % SLOTS != 0 || view.slot.sequence == 0);
            seen++;
            missed += view.missed;
            messages += view.missed_messages + view.slot.messages;
        }
    }
    CHECK_EQ(seen + missed, published);
    uint64_t all = 0, sequence = 0;
    for (uint64_t i = 0; i < published; i++, sequence++) {
        sequence += sequence % SLOTS == 0 && sequence > 0;
        all += proc_messages(sequence);
    }
    CHECK_EQ(messages, all);
    CHECK_EQ(slipring_consumer_release(holder, &held), 0);
    CHECK_EQ(slipring_consumer_release(holder, &held), -EINVAL);
    publish(producer, SLOTS);
    CHECK_EQ(proc_info(ring).cursor, sequence + SLOTS);
    slipring_consumer_detach(reader);
    slipring_consumer_detach(holder);
    slipring_producer_detach(producer);
    slipring_ring_close(ring);
}

static void hold_max(void)
{
    struct slipring_ring *ring = make(2);
    struct slipring_producer *producer = proc_producer(ring);
    struct slipring_consumer *one = proc_consumer(ring, HOW, SLIPRING_OLDEST);
    struct slipring_consumer *other = proc_consumer(ring, HOW, SLIPRING_OLDEST);
    struct slipring_view view[3];
    publish(producer, 4);
    CHECK_EQ(slipring_consumer_try_acquire(one, 1, &view[0]), 0);
    CHECK_EQ(slipring_consumer_try_acquire(other, 1, &view[1]), 0);
    CHECK_EQ(view[1].slot.sequence, 0);
    CHECK_EQ(slipring_consumer_try_acquire(one, 1, &view[2]), -ENOBUFS);
    CHECK_EQ(slipring_consumer_release(other, &view[1]), 0);
    publish(producer, 2 * SLOTS);
    CHECK(proc_view_whole(HOW, &view[0])); /* two held it, one still does */
    CHECK_EQ(slipring_consumer_try_acquire(one, 1, &view[2]), 0);
    CHECK_EQ(slipring_consumer_release(one, &view[2]), 0);
    CHECK_EQ(slipring_consumer_release(one, &view[0]), 0);
    slipring_consumer_detach(one);
    slipring_consumer_detach(other);
    slipring_producer_detach(producer);
    slipring_ring_close(ring);
}

static int holder_body(struct proc *self, void *context)
{
    const struct story *story = context;
    struct slipring_consumer *consumer = proc_consumer(story->ring, HOW, SLIPRING_OLDEST);
    struct slipring_view view;
    for (uint64_t i = 0; i < story->count; i++) {
        CHECK_EQ(slipring_consumer_try_acquire(consumer, 1, &view), 0);
        CHECK(proc_view_whole(HOW, &view));
    }
    proc_tell(self, 0);
    proc_sleep();
}

static void dead_holder(void)
{
    struct story story = {make(SLOTS - 1), SLOTS - 2};
    struct slipring_producer *producer = proc_producer(story.ring);
    publish(producer, SLOTS - 1);
    struct proc child = proc_start(holder_body, &story);
    proc_hear(&child);
    publish(producer, 5); /* into the two slots left, round and round */
    const struct slipring_info info = proc_info(story.ring);
    CHECK(info.cursor > SLOTS && info.limit >= info.cursor && info.oldest <= info.cursor);
    CHECK(info.oldest + SLOTS >= info.cursor);
    struct slipring_loan loan;
    CHECK_EQ(slipring_producer_try_claim(producer, 3, &loan), -EAGAIN);
    CHECK_EQ(slipring_producer_claim(producer, 3, &loan, proc_in_ms(60)), -ETIMEDOUT);
    struct slipring_consumer *reader = proc_consumer(story.ring, HOW, SLIPRING_OLDEST);
    struct slipring_view view;
    proc_kill(&child);
    CHECK_EQ(slipring_producer_claim(producer, 3, &loan, proc_in_ms(PROC_GO_ON_MS)), 0);
    CHECK_EQ(slipring_producer_abort(producer), 0);
    publish(producer, 3 * SLOTS);
    for (int i = 0; i < SLOTS / 2; i++) {
        CHECK_EQ(slipring_consumer_acquire(reader, 1, &view, proc_in_ms(PROC_NOTICE_MS)), 0);
        CHECK(proc_view_whole(HOW, &view));
    }
    CHECK_EQ(proc_info(story.ring).members, 1);
    slipring_consumer_detach(reader); /* holds half of the ring */
    const uint64_t before = proc_info(story.ring).cursor;
    publish(producer, SLOTS);
    CHECK_EQ(proc_info(story.ring).cursor, before + SLOTS);
    slipring_producer_detach(producer);
    slipring_ring_close(story.ring);
}

static void reaped_by_holder(void)
{
    struct story story = {make(4), 4};
    struct slipring_producer *producer = proc_producer(story.ring);
    struct slipring_consumer *reader = proc_consumer(story.ring, HOW, SLIPRING_OLDEST);
    struct slipring_view view;
    publish(producer, 6);
    struct proc child = proc_start(holder_body, &story);
    proc_hear(&child);
    CHECK_EQ(slipring_consumer_try_acquire(reader, 1, &view), -ENOBUFS);
    proc_kill(&child);
    int code;
    const int64_t end = proc_in_ms(PROC_NOTICE_MS);
    do {
        code = slipring_consumer_try_acquire(reader, 1, &view);
    } while (code == -ENOBUFS && slipring_now_ns() < end);
    CHECK_EQ(code, 0);
    slipring_consumer_detach(reader);
    slipring_producer_detach(producer);
    slipring_ring_close(story.ring);
}

int main(void)
{
    proc_begin(60);
    passed_over();
    hold_max();
    dead_holder();
    reaped_by_holder();
    return 0;
}
