/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: handles belong to the process, not to the thread that made them. When that thread has
 * ended, or the first thread of the process has, or one was cancelled as it waited, the members
 * are alive to others: they gate and keep what they hold, nobody takes over from them, and any
 * other thread goes on with the handles. When the process dies they are dead.
 * Faults: A10.
 */
#include "proc.h"

#include <pthread.h>

enum { WATCH_MS = 60 };
#define HOW (&proc_rings[0])

struct story {
    struct slipring_ring *gated; /* the child reads here */
    struct slipring_ring *fed;   /* and produces here */
    bool leader_ends;            /* the first thread of the child does; else another one */
    struct proc *self;
    struct slipring_consumer *consumer;
    struct slipring_producer *producer;
    struct slipring_view view;
};

static void *make(void *context)
{
    struct story *story = context;
    story->consumer = proc_member(story->gated, "work", SLIPRING_MANY, 0);
    story->producer = proc_producer(story->fed);
    CHECK_EQ(slipring_consumer_acquire(story->consumer, 1, &story->view, proc_in_ms(5000)), 0);
    return NULL;
}

static void *wait_for_ever(void *context)
{
    struct story *story = context;
    struct slipring_view view;
    /* Cancelled in here, it is ended afterwards. */
    CHECK_EQ(slipring_consumer_acquire(story->consumer, 1, &view, proc_in_ms(50)), -ETIMEDOUT);
    for (;;) {
        proc_pause_us(1000);
        pthread_testcancel();
    }
}

/* On a thread that had no part in making the handles. */
static void *go_on(void *context)
{
    struct story *story = context;
    struct slipring_view view;
    pthread_t waiting;
    void *result;
    proc_tell(story->self, 0);
    proc_hear(story->self);
    CHECK_EQ(pthread_create(&waiting, NULL, wait_for_ever, story), 0);
    proc_pause_us(10000); /* so that it most likely waits; right in either case */
    CHECK_EQ(pthread_cancel(waiting), 0);
    CHECK_EQ(pthread_join(waiting, &result), 0);
    CHECK(result == PTHREAD_CANCELED);
    proc_tell(story->self, 0);
    proc_hear(story->self);
    CHECK_EQ(slipring_consumer_release(story->consumer, &story->view), 0);
    CHECK_EQ(proc_take(story->consumer, HOW, &view, proc_in_ms(5000)), 0);
    CHECK_EQ(view.slot.deliveries, 1);
    CHECK_EQ(proc_publish(story->producer, HOW, 1, 0), 0);
    proc_tell(story->self, view.slot.sequence);
    proc_sleep();
}

static int child(struct proc *self, void *context)
{
    static struct proc own; /* the first thread's stack goes with it */
    static struct story copy;
    struct story *const story = &copy;
    pthread_t thread;
    own = *self;
    copy = *(struct story *)context;
    copy.self = &own;
    if (story->leader_ends) {
        make(story);
        CHECK_EQ(pthread_create(&thread, NULL, go_on, story), 0);
        pthread_exit(NULL);
    }
    CHECK_EQ(pthread_create(&thread, NULL, make, story), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    go_on(story);
    return 1;
}

/* For a while, nobody finds the child's members dead, though everybody looks. */
static void expect_alive(const struct story *story, struct slipring_producer *producer,
                         struct slipring_consumer *reader, struct slipring_consumer *other)
{
    struct slipring_view view;
    struct slipring_producer *second = NULL;
    const int64_t end = proc_in_ms(WATCH_MS);
    while (slipring_now_ns() < end) {
        CHECK_EQ(slipring_consumer_try_acquire(other, 1, &view), -EAGAIN);
        CHECK_EQ(proc_take(reader, HOW, &view, 0), -EAGAIN);
        CHECK_EQ(proc_publish(producer, HOW, 1, 0), -EAGAIN);
    }
    struct slipring_reaped reaped;
    CHECK_EQ(slipring_ring_reap(slipring_ring_name(story->gated), &reaped, NULL), 0);
    CHECK_EQ(reaped.members, 0);
    CHECK_EQ(slipring_producer_attach(story->fed, NULL, &second, NULL), -EBUSY);
    CHECK_EQ(proc_info(story->fed).producer, SLIPRING_PRODUCER_LIVE);
}

static struct slipring_ring *named(const char *which)
{
    char name[64];
    struct slipring_config config;
    struct slipring_ring *ring;
    snprintf(name, sizeof(name), "test-threads-%s-%d", which, (int)getpid());
    proc_config(HOW, &config);
    config.flags = SLIPRING_VANISH;
    CHECK_EQ(slipring_ring_create(name, &config, &ring, NULL), 0);
    return ring;
}

static void run(bool leader_ends)
{
    struct story story = {.gated = named("gated"), .fed = named("fed"), .leader_ends = leader_ends};
    struct slipring_producer *producer = proc_producer(story.gated);
    struct slipring_consumer *reader = proc_consumer(story.fed, HOW, SLIPRING_OLDEST);
    struct slipring_view view;
    CHECK_EQ(proc_publish(producer, HOW, 1, 0), 0);
    struct proc process = proc_start(child, &story);
    proc_hear(&process); /* it holds sequence 0 */
    struct slipring_consumer *other = proc_member(story.gated, "work", SLIPRING_MANY, 0);
    while (proc_publish(producer, HOW, 1, 0) == 0) {
        CHECK_EQ(proc_take(other, HOW, &view, 0), 0);
    }
    expect_alive(&story, producer, reader, other);
    proc_tell(&process, 0);
    proc_hear(&process); /* a thread was cancelled */
    expect_alive(&story, producer, reader, other);
    proc_tell(&process, 0);
    CHECK_EQ(proc_publish(producer, HOW, 1, proc_in_ms(5000)), 0);
    const uint64_t last = proc_hear(&process);
    CHECK_EQ(last + 1, proc_info(story.gated).cursor);
    CHECK_EQ(proc_take(reader, HOW, &view, proc_in_ms(5000)), 0);
    proc_kill(&process);
    CHECK_EQ(proc_take(reader, HOW, &view, proc_in_ms(PROC_NOTICE_MS)), -EOWNERDEAD);
    slipring_consumer_detach(other);
    slipring_consumer_detach(reader);
    slipring_producer_detach(producer);
    slipring_ring_close(story.gated);
    slipring_ring_close(story.fed);
}

int main(void)
{
    proc_begin(60);
    run(false);
    run(true);
    return 0;
}
