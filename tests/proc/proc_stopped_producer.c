/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: a producer that is stopped, wherever in claiming, filling and publishing, is not dead:
 * its consumers read what is published and then wait to the end of their deadline, by waiting and
 * by trying; whoever else would produce gets -EBUSY at once; others join; and when it goes on so
 * does the stream, without a gap.
 * Faults: B3.
 */
#include "proc.h"

enum { STOPS = 6, WAIT_MS = 30, OPEN_CLAIM = 3 };

struct story {
    const struct proc_ring *how;
    struct slipring_ring *ring;
};

static int produce(struct proc *self, void *context)
{
    const struct story *story = context;
    struct slipring_producer *producer = proc_producer(story->ring);
    struct slipring_loan loan;
    /* First stopped for sure in the middle: some slots are filled, none is published. */
    CHECK_EQ(slipring_producer_try_claim(producer, OPEN_CLAIM, &loan), 0);
    memset(loan.data, 0xee, story->how->bytes);
    proc_tell(self, 0);
    proc_hear(self);
    CHECK_EQ(slipring_producer_abort(producer), 0);
    for (uint64_t i = 0;; i++) {
        CHECK_EQ(proc_publish(producer, story->how, 1 + i % 3, proc_in_ms(10000)), 0);
    }
}

static void expect_busy(struct slipring_ring *ring)
{
    struct slipring_producer *second = NULL;
    const int64_t begin = slipring_now_ns();
    CHECK_EQ(slipring_producer_attach(ring, NULL, &second, NULL), -EBUSY);
    CHECK(slipring_now_ns() - begin < PROC_NOTICE_MS * PROC_MS);
}

static int take(const struct story *story, struct slipring_consumer *consumer, uint64_t *next,
                int64_t deadline_ns)
{
    struct slipring_view view;
    const int code = proc_take(consumer, story->how, &view, deadline_ns);
    if (code == 0) {
        CHECK((int64_t)(view.slot.sequence - *next - view.missed) >= 0); /* held: passed over */
        CHECK(story->how->full == SLIPRING_OVERWRITE || view.slot.sequence == *next);
        *next = view.slot.sequence + 1;
    }
    return code;
}

static void stopped(const struct story *story, struct slipring_consumer *consumer, uint64_t *next)
{
    int code;
    while ((code = take(story, consumer, next, 0)) == 0) {
    }
    CHECK_EQ(code, -EAGAIN);
    CHECK_EQ(proc_info(story->ring).producer, SLIPRING_PRODUCER_LIVE);
    expect_busy(story->ring);
    const int64_t deadline = proc_in_ms(WAIT_MS);
    CHECK_EQ(take(story, consumer, next, deadline), -ETIMEDOUT);
    CHECK(slipring_now_ns() >= deadline);
    CHECK(slipring_now_ns() < deadline + PROC_NOTICE_MS * PROC_MS);
    while (slipring_now_ns() < deadline + 5 * PROC_MS) {
        CHECK_EQ(take(story, consumer, next, 0), -EAGAIN);
    }
    struct slipring_consumer *joiner = proc_consumer(story->ring, story->how, SLIPRING_LATEST);
    struct slipring_view view;
    code = proc_take(joiner, story->how, &view, 0); /* stamped, and the cursor not yet stored */
    CHECK(code == 0 || code == -EAGAIN);
    slipring_consumer_detach(joiner);
}

static void run(const struct proc_ring *how, uint64_t *random)
{
    struct story story = {how, proc_make(how, 0)};
    struct slipring_consumer *consumer = proc_consumer(story.ring, how, SLIPRING_OLDEST);
    struct proc child = proc_start(produce, &story);
    uint64_t next = 0;
    proc_hear(&child);
    for (unsigned i = 0; i < STOPS; i++) {
        proc_stop(&child);
        stopped(&story, consumer, &next);
        if (i == 0) {
            CHECK_EQ(next, 0);
            proc_tell(&child, 0);
        }
        proc_continue(&child);
        /* Keep up with it for a moment, so that it is stopped while it publishes. */
        const uint64_t from = next;
        const int64_t end = slipring_now_ns() + (int64_t)(proc_random(random) % 2000000);
        while (slipring_now_ns() < end || next == from) {
            CHECK_EQ(take(&story, consumer, &next, proc_in_ms(5000)), 0);
        }
    }
    proc_kill(&child);
    slipring_consumer_detach(consumer);
    slipring_ring_close(story.ring);
}

int main(void)
{
    proc_begin(60);
    uint64_t random = proc_seed();
    for (unsigned i = 0; i < PROC_RINGS; i++) {
        run(&proc_rings[i], &random);
    }
    return 0;
}
