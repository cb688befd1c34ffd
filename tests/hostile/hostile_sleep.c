/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: whoever sleeps while a hostile member writes over the waiting flags and futex words may
 * oversleep a step, and no more: consumers that wait for a message (of one, of many, by poll), a
 * producer that waits for room, and a wait that is ended by slipring_consumer_wake().
 * Faults: E2.
 */
#define _GNU_SOURCE
#include "hostile.h"

#include <poll.h>
#include <signal.h>
#include <sys/time.h>

enum { ROUNDS = 40 };

static const struct stress how = {
    .geometry = SLIPRING_GEOMETRY_PAIR, .bytes = 128, .slots = 32, .tables = 1};

enum sleeper { ONE, MANY, POLLS, PRODUCES, IS_CANCELED, SLEEPERS };
static const char *const names[SLEEPERS] = {"a consumer", "a member", "one that polls",
                                            "the producer", "one to be woken"};

struct story {
    struct slipring_ring *ring;
    enum sleeper sleeper;
    uint64_t seed;
};

static int scribble(struct proc *self, void *context)
{
    const struct story *story = (const struct story *)context;
    uint64_t random = story->seed;
    proc_tell(self, 0);
    for (;;) {
        hostile_write(story->ring, HOSTILE_WAKE, 1 + (unsigned)(proc_random(&random) % 1000),
                      &random);
        if (proc_random(&random) % 2 == 0) { /* let them fall asleep */
            proc_pause_us((int64_t)(proc_random(&random) % 3000));
        }
    }
    return 0;
}

static struct slipring_consumer *waiting;

static void wake(int number)
{
    (void)number;
    slipring_consumer_wake(waiting);
}

static void sleep_once(struct slipring_consumer *consumer, enum sleeper sleeper)
{
    struct slipring_view view;
    struct pollfd ready = {.events = POLLIN};
    if (sleeper == IS_CANCELED) {
        const struct itimerval soon = {.it_value = {.tv_usec = 5000}};
        CHECK(setitimer(ITIMER_REAL, &soon, NULL) == 0);
        CHECK_EQ(slipring_consumer_acquire(consumer, 1, &view, SLIPRING_FOREVER), -ECANCELED);
        return;
    }
    if (sleeper == POLLS) {
        CHECK_EQ(slipring_consumer_fd(consumer, &ready.fd, NULL), 0);
        CHECK(slipring_consumer_arm(consumer) != 0 || poll(&ready, 1, -1) == 1);
    }
    CHECK_EQ(slipring_consumer_acquire(consumer, 1, &view, SLIPRING_FOREVER), 0);
    CHECK_EQ(slipring_consumer_release(consumer, &view), 0);
}

static int consume(struct proc *self, void *context)
{
    const struct story *story = (const struct story *)context;
    const bool many = story->sleeper == MANY || story->sleeper == POLLS;
    struct slipring_consumer *consumer =
        proc_member(story->ring, many ? "team" : NULL, many ? SLIPRING_MANY : 0, 0);
    waiting = consumer;
    CHECK(signal(SIGALRM, wake) != SIG_ERR);
    proc_tell(self, 0);
    for (int i = 0; i < ROUNDS; i++) {
        sleep_once(consumer, story->sleeper);
        proc_tell(self, 0);
    }
    slipring_consumer_detach(consumer);
    return 0;
}

static int produce(struct proc *self, void *context)
{
    const struct story *story = (const struct story *)context;
    struct slipring_producer *producer = proc_producer(story->ring);
    uint64_t random = 1, messages;
    while (stress_publish(&how, producer, &random, 0, &messages) == 0) {
    }
    proc_tell(self, 0);
    for (int i = 0; i < ROUNDS; i++) {
        CHECK_EQ(stress_publish(&how, producer, &random, SLIPRING_FOREVER, &messages), 0);
        proc_tell(self, 0);
    }
    slipring_producer_detach(producer);
    return 0;
}

static void run(struct story *story)
{
    const bool produces = story->sleeper == PRODUCES;
    struct slipring_view view;
    uint64_t random = 1, messages;
    story->ring = stress_create(&how);
    struct slipring_consumer *consumer = produces ? proc_member(story->ring, NULL, 0, 0) : NULL;
    struct slipring_producer *producer = produces ? NULL : proc_producer(story->ring);
    struct proc sleeper = proc_start(produces ? produce : consume, story);
    proc_hear(&sleeper);
    struct proc scribbler = proc_start(scribble, story);
    proc_hear(&scribbler);
    for (int i = 0; i < ROUNDS; i++) {
        proc_pause_us((int64_t)(proc_random(&story->seed) % 3000));
        if (produces) {
            CHECK_EQ(slipring_consumer_try_acquire(consumer, 1, &view), 0);
            CHECK_EQ(slipring_consumer_release(consumer, &view), 0);
        } else if (story->sleeper != IS_CANCELED) {
            CHECK_EQ(stress_publish(&how, producer, &random, proc_in_ms(1000), &messages), 0);
        }
        if (proc_silent(&sleeper, PROC_NOTICE_MS)) {
            FAIL("%s sleeps on after %d rounds", names[story->sleeper], i);
        }
        proc_hear(&sleeper);
    }
    proc_end(&sleeper);
    proc_kill(&scribbler);
    slipring_consumer_detach(consumer);
    slipring_producer_detach(producer);
    slipring_ring_close(story->ring);
}

int main(void)
{
    proc_begin(60);
    struct story story = {.seed = proc_seed()};
    for (int i = 0; i < SLEEPERS; i++) {
        story.sleeper = (enum sleeper)i;
        run(&story);
    }
    return 0;
}
