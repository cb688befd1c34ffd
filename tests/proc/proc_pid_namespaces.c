/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: members that live in different PID namespaces, each with pid 1, are told apart: a second
 * producer gets -EBUSY while the first lives; a killed reader and a killed member of a group hold
 * the producer of another namespace back no longer; readers of one see the producer of another die,
 * not before it does, and take over from it. Needs the right to make PID namespaces.
 * Faults: C2.
 */
#define _GNU_SOURCE
#include "proc.h"

#include <fcntl.h>
#include <sched.h>

struct story {
    const struct proc_ring *how;
    struct slipring_ring *ring;
};

static int reader(struct proc *self, void *context)
{
    const struct story *story = context;
    CHECK_EQ(getpid(), 1);
    struct slipring_consumer *consumer = proc_consumer(story->ring, story->how, SLIPRING_OLDEST);
    struct slipring_view view;
    proc_tell(self, 0);
    if (story->how->full == SLIPRING_BLOCK) { /* else nothing comes before the end */
        CHECK_EQ(slipring_consumer_acquire(consumer, 1, &view, proc_in_ms(10000)), 0);
    }
    proc_tell(self, 0);
    proc_sleep();
}

static int worker(struct proc *self, void *context)
{
    const struct story *story = context;
    CHECK_EQ(getpid(), 1);
    struct slipring_consumer *consumer = proc_member(story->ring, "work", SLIPRING_MANY, 0);
    struct slipring_view view;
    proc_tell(self, 0);
    CHECK_EQ(slipring_consumer_acquire(consumer, 1, &view, proc_in_ms(10000)), 0);
    proc_tell(self, 0);
    proc_sleep();
}

static int first_producer(struct proc *self, void *context)
{
    const struct story *story = context;
    CHECK_EQ(getpid(), 1);
    struct slipring_producer *producer = proc_producer(story->ring);
    proc_tell(self, 0);
    proc_hear(self);
    if (story->how->full == SLIPRING_BLOCK) {
        proc_fill(producer, story->how);
        CHECK_EQ(proc_publish(producer, story->how, 1, proc_in_ms(20)), -ETIMEDOUT);
    }
    proc_tell(self, 0);
    proc_hear(self); /* who held it back is dead */
    CHECK_EQ(proc_publish(producer, story->how, 1, proc_in_ms(PROC_GO_ON_MS)), 0);
    proc_tell(self, proc_info(story->ring).members);
    proc_sleep();
}

static int next_producer(struct proc *self, void *context)
{
    const struct story *story = context;
    CHECK_EQ(getpid(), 1);
    struct slipring_producer *producer = NULL;
    struct slipring_consumer *consumer = proc_consumer(story->ring, story->how, SLIPRING_LATEST);
    struct slipring_view view;
    CHECK_EQ(slipring_producer_attach(story->ring, NULL, &producer, NULL), -EBUSY);
    CHECK_EQ(proc_take(consumer, story->how, &view, proc_in_ms(50)), -ETIMEDOUT);
    const uint64_t next = proc_info(story->ring).cursor;
    proc_tell(self, 0);
    proc_hear(self); /* the first is dead */
    CHECK_EQ(proc_take(consumer, story->how, &view, proc_in_ms(PROC_NOTICE_MS)), -EOWNERDEAD);
    producer = proc_producer(story->ring);
    CHECK_EQ(proc_publish(producer, story->how, 1, proc_in_ms(PROC_GO_ON_MS)), 0);
    CHECK_EQ(proc_take(consumer, story->how, &view, 0), 0);
    CHECK_EQ(view.slot.sequence, next);
    slipring_consumer_detach(consumer);
    slipring_producer_detach(producer);
    proc_tell(self, 0);
    return 0;
}

/* As the first process of a PID namespace of its own. */
static struct proc start_alone(int (*body)(struct proc *, void *), struct story *story)
{
    const int own = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
    if (own < 0 || unshare(CLONE_NEWPID) != 0) {
        SKIP("PID namespaces may not be made here (unshare(CLONE_NEWPID); root can)");
    }
    struct proc child = proc_start(body, story);
    CHECK(setns(own, CLONE_NEWPID) == 0);
    close(own);
    return child;
}

static void run(const struct proc_ring *how, int (*body)(struct proc *, void *))
{
    struct story story = {how, proc_make(how, 0)};
    struct proc holder = start_alone(body, &story);
    proc_hear(&holder);
    struct proc producer = start_alone(first_producer, &story);
    proc_hear(&producer);
    proc_tell(&producer, 0);
    proc_hear(&holder);
    proc_hear(&producer);
    proc_kill(&holder);
    proc_tell(&producer, 0);
    CHECK_EQ(proc_hear(&producer), how->full == SLIPRING_BLOCK ? 0 : 1);
    struct proc next = start_alone(next_producer, &story);
    proc_hear(&next);
    proc_kill(&producer);
    proc_tell(&next, 0);
    proc_hear(&next);
    proc_end(&next);
    slipring_ring_close(story.ring);
}

int main(void)
{
    proc_begin(60);
    for (unsigned i = 0; i < PROC_RINGS; i++) {
        run(&proc_rings[i], reader);
        if (proc_rings[i].full == SLIPRING_BLOCK) {
            run(&proc_rings[i], worker);
        }
    }
    return 0;
}
