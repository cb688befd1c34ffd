/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: a ring has one producer at a time, a second one gets -EBUSY and is told who; after a
 * detach another may come; after a close consumers drain and get -EPIPE for ever, and so do those
 * that attach later and any new producer, in this process and in others.
 * Faults: C4.
 */
#include "proc.h"

struct story {
    const struct proc_ring *how;
    struct slipring_ring *ring;
};

static int producer_body(struct proc *self, void *context)
{
    const struct story *story = context;
    struct slipring_producer *producer = proc_producer(story->ring);
    CHECK_EQ(proc_publish(producer, story->how, 1, 0), 0);
    proc_tell(self, 0);
    proc_hear(self);
    slipring_producer_detach(producer);
    proc_tell(self, 0);
    return 0;
}

static void expect_busy(struct slipring_ring *ring, pid_t holder)
{
    struct slipring_producer *second = NULL;
    struct slipring_error error = {0};
    char pid[16];
    CHECK_EQ(slipring_producer_attach(ring, NULL, &second, &error), -EBUSY);
    CHECK_EQ(error.code, -EBUSY);
    CHECK(second == NULL);
    snprintf(pid, sizeof(pid), "%d", (int)holder);
    if (strstr(error.text, pid) == NULL) {
        FAIL("does not name process %s: %s", pid, error.text);
    }
}

static void expect_over(const struct story *story)
{
    struct slipring_producer *producer = NULL;
    struct slipring_error error = {0};
    CHECK_EQ(slipring_producer_attach(story->ring, NULL, &producer, &error), -EPIPE);
    CHECK(error.text[0] != '\0');
    for (uint32_t start = SLIPRING_LATEST; start <= SLIPRING_OLDEST; start++) {
        struct slipring_consumer *late = proc_consumer(story->ring, story->how, start);
        struct slipring_view view;
        int code = proc_take(late, story->how, &view, proc_in_ms(1000));
        CHECK(start == SLIPRING_OLDEST || code == -EPIPE);
        for (int i = 0; i < 4 && code == 0; i++) {
            code = proc_take(late, story->how, &view, proc_in_ms(1000));
        }
        CHECK_EQ(code, -EPIPE);
        CHECK_EQ(proc_take(late, story->how, &view, 0), -EPIPE);
        slipring_consumer_detach(late);
    }
}

static int late_body(struct proc *self, void *context)
{
    expect_over(context);
    proc_tell(self, 0);
    return 0;
}

static void run(const struct proc_ring *how)
{
    struct story story = {how, proc_make(how, 0)};
    struct slipring_view view;
    struct slipring_consumer *early = proc_consumer(story.ring, how, SLIPRING_OLDEST);
    CHECK_EQ(proc_take(early, how, &view, proc_in_ms(20)), -ETIMEDOUT);
    struct proc child = proc_start(producer_body, &story);
    proc_hear(&child);
    expect_busy(story.ring, child.pid);
    proc_tell(&child, 0);
    proc_hear(&child);
    proc_end(&child);

    CHECK_EQ(proc_info(story.ring).producer, SLIPRING_PRODUCER_NONE);
    struct slipring_producer *producer = proc_producer(story.ring);
    expect_busy(story.ring, getpid());
    CHECK_EQ(proc_publish(producer, how, 2, 0), 0);
    slipring_producer_close(producer);
    CHECK_EQ(proc_info(story.ring).producer, SLIPRING_PRODUCER_CLOSED);
    for (uint64_t sequence = 0; sequence < 3; sequence++) {
        CHECK_EQ(proc_take(early, how, &view, proc_in_ms(1000)), 0);
        CHECK_EQ(view.slot.sequence, sequence);
    }
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(proc_take(early, how, &view, SLIPRING_FOREVER), -EPIPE);
        CHECK_EQ(proc_take(early, how, &view, 0), -EPIPE);
    }
    expect_over(&story);
    struct proc late = proc_start(late_body, &story);
    proc_hear(&late);
    proc_end(&late);
    slipring_consumer_detach(early);
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
