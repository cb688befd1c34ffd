/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: when a producer is killed with -9 in the middle of a claim, its consumers read all that
 * it published and then get -EOWNERDEAD, also when they only loop over try_ calls; one that awaits
 * a producer waits on; a new producer takes over with the next epoch and without a gap.
 * Faults: A1, C4.
 */
#include "proc.h"

enum { PUBLISHED = 5, AFTER = 3 };

struct story {
    const struct proc_ring *how;
    struct slipring_ring *ring;
};

static int producer_body(struct proc *self, void *context)
{
    const struct story *story = context;
    struct slipring_producer *producer = proc_producer(story->ring);
    struct slipring_loan loan;
    CHECK_EQ(proc_publish(producer, story->how, 2, 0), 0);
    CHECK_EQ(proc_publish(producer, story->how, PUBLISHED - 2, 0), 0);
    CHECK_EQ(slipring_producer_try_claim(producer, 2, &loan), 0);
    memset(loan.data, 0xee, story->how->bytes);
    proc_tell(self, 0);
    proc_sleep();
}

static struct slipring_consumer *awaiting(const struct story *story)
{
    struct slipring_consumer_config config;
    struct slipring_consumer *consumer;
    slipring_consumer_config_init(&config);
    config.flags = story->how->member_flags | SLIPRING_AWAIT_PRODUCER;
    CHECK_EQ(slipring_consumer_attach(story->ring, &config, &consumer, NULL), 0);
    return consumer;
}

static void expect_end(const struct story *story, struct slipring_consumer *consumer, bool try_only)
{
    struct slipring_view view;
    const int64_t deadline = proc_in_ms(PROC_NOTICE_MS);
    int code;
    do {
        code = proc_take(consumer, story->how, &view, try_only ? 0 : deadline);
    } while (code == -EAGAIN && slipring_now_ns() < deadline);
    CHECK_EQ(code, -EOWNERDEAD);
}

static void run(const struct proc_ring *how)
{
    struct story story = {how, proc_make(how, 0)};
    struct slipring_view view;
    struct slipring_consumer *waits = proc_consumer(story.ring, how, SLIPRING_LATEST);
    struct slipring_consumer *tries = proc_consumer(story.ring, how, SLIPRING_LATEST);
    struct slipring_consumer *awaits = awaiting(&story);
    struct slipring_consumer *all[] = {waits, tries, awaits};
    struct proc child = proc_start(producer_body, &story);
    proc_hear(&child);
    const uint64_t epoch = proc_info(story.ring).epoch;
    CHECK_EQ(proc_info(story.ring).producer, SLIPRING_PRODUCER_LIVE);
    CHECK_EQ(proc_info(story.ring).producer_pid, child.pid);
    proc_kill(&child);

    for (unsigned c = 0; c < 3; c++) {
        for (uint64_t sequence = 0; sequence < PUBLISHED; sequence++) {
            CHECK_EQ(proc_take(all[c], how, &view, 0), 0);
            CHECK_EQ(view.slot.sequence, sequence);
        }
    }
    expect_end(&story, tries, true);
    expect_end(&story, waits, false);
    expect_end(&story, waits, false);
    CHECK_EQ(proc_take(waits, how, &view, 0), -EOWNERDEAD);
    CHECK_EQ(proc_take(awaits, how, &view, proc_in_ms(120)), -ETIMEDOUT);
    CHECK_EQ(proc_info(story.ring).producer, SLIPRING_PRODUCER_DEAD);

    struct slipring_producer *producer = proc_producer(story.ring);
    CHECK_EQ(proc_info(story.ring).epoch, epoch + 1);
    CHECK_EQ(proc_info(story.ring).cursor, PUBLISHED);
    CHECK_EQ(proc_take(waits, how, &view, 0), -EAGAIN);
    CHECK_EQ(proc_publish(producer, how, AFTER, 0), 0);
    for (unsigned c = 0; c < 3; c++) {
        for (uint64_t sequence = PUBLISHED; sequence < PUBLISHED + AFTER; sequence++) {
            CHECK_EQ(proc_take(all[c], how, &view, 0), 0);
            CHECK_EQ(view.slot.sequence, sequence);
            CHECK_EQ(view.missed, 0);
        }
    }
    slipring_producer_detach(producer);
    CHECK_EQ(proc_take(waits, how, &view, proc_in_ms(60)), -ETIMEDOUT);
    for (unsigned c = 0; c < 3; c++) {
        slipring_consumer_detach(all[c]);
    }
    slipring_ring_close(story.ring);
}

int main(void)
{
    proc_begin(60);
    for (unsigned i = 0; i < PROC_RINGS; i++) {
        run(&proc_rings[i]);
    }
    return 0;
}
