/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves the edge SLEEP: no wake-up is lost between a publisher that makes no fence and a consumer
 * that goes to sleep at that moment, nor between a release and a producer that waits for room. The
 * test sees every futex sleep (it stands in front of syscall()): one that ends by its time-out
 * although the other side had done its part, wake and all, before that time is a lost one.
 */
#define _GNU_SOURCE
#include "futex_watch.h"
#include "litmus.h"

enum { RUN_MS = 700, SHORT = 2048, LONG = 1 << 16 }; /* in turns of a loop */
enum { SLEPT, WOKEN, LATE, LOST, OUTCOMES };
#define HOW (&proc_rings[0])
#define MARGIN_NS 200000 /* between the noted time and the kernel's timer */

struct counts {
    uint64_t slept, woken, late, lost;
};

/* One sleeps, the other one does what it waits for. */
struct shared {
    _Atomic uint64_t turn;      /* raised by the sleeper as it goes to wait */
    _Atomic uint64_t done_turn; /* the last for which the other had done its part, wake and all */
    _Atomic int64_t done_ns;    /* and when it had */
    _Atomic bool over;
    struct counts sleeper;
};

static struct counts counts;
static struct shared *mine; /* set in the sleeper */

static void watch(long result, int code, const struct timespec *deadline)
{
    counts.slept++;
    counts.woken += result == 0;
    if (result < 0 && code == ETIMEDOUT && deadline != NULL && mine != NULL &&
        mine->done_turn == mine->turn) {
        const int64_t until = deadline->tv_sec * INT64_C(1000000000) + deadline->tv_nsec;
        const bool before = mine->done_ns + MARGIN_NS < until;
        counts.lost += before;
        counts.late += !before;
    }
}

struct story {
    struct slipring_ring *ring;
    struct shared *shared;
    uint64_t seed;
};

static void dawdle(uint64_t *random, uint64_t most)
{
    for (volatile uint64_t i = proc_random(random) % most; i != 0; i--) {
    }
}

static void take_turn(uint64_t *random)
{
    mine->turn++;
    dawdle(random, SHORT); /* the news takes time to travel, too */
}

/* The sleeper: says so and waits, until the stream or the time is over. */
static int consumer(struct proc *self, void *context)
{
    const struct story *story = context;
    struct slipring_consumer_config config;
    struct slipring_consumer *consumer;
    slipring_consumer_config_init(&config);
    config.wait = SLIPRING_WAIT_SLEEP;
    CHECK_EQ(slipring_consumer_attach(story->ring, &config, &consumer, NULL), 0);
    mine = story->shared;
    proc_pin(1);
    uint64_t random = story->seed + 1;
    proc_tell(self, 0);
    for (int code = 0; code == 0;) {
        struct slipring_view view;
        take_turn(&random);
        code = slipring_consumer_acquire(consumer, 1, &view, SLIPRING_FOREVER);
        CHECK(code == -EPIPE || (code == 0 && slipring_consumer_release(consumer, &view) == 0));
    }
    mine->sleeper = counts;
    return 0;
}

static int producer(struct proc *self, void *context)
{
    const struct story *story = context;
    struct slipring_producer_config config;
    struct slipring_producer *producer;
    slipring_producer_config_init(&config);
    config.wait = SLIPRING_WAIT_SLEEP;
    CHECK_EQ(slipring_producer_attach(story->ring, &config, &producer, NULL), 0);
    proc_fill(producer, HOW);
    mine = story->shared;
    proc_pin(1);
    uint64_t random = story->seed + 1;
    proc_tell(self, 0);
    for (const int64_t end = proc_in_ms(RUN_MS); slipring_now_ns() < end;) {
        take_turn(&random);
        CHECK_EQ(proc_publish(producer, HOW, 1, SLIPRING_FOREVER), 0);
    }
    mine->sleeper = counts;
    mine->over = true;
    slipring_producer_close(producer);
    return 0;
}

static void done(const struct story *story, uint64_t turn)
{
    story->shared->done_ns = slipring_now_ns();
    story->shared->done_turn = turn;
}

/* Wait for the sleeper's turn, then a little, so as to meet it at every step of its going to
 * sleep, its system calls included. False when it is gone. */
static bool meet(const struct story *story, uint64_t *turn, uint64_t *random)
{
    while (story->shared->turn == *turn) {
        if (story->shared->over) {
            return false;
        }
    }
    *turn = story->shared->turn;
    dawdle(random, proc_random(random) % 4 == 0 ? LONG : SHORT);
    return true;
}

static void report(const char *title, const struct story *story)
{
    const struct counts *seen = &story->shared->sleeper;
    const struct litmus_outcome outcomes[OUTCOMES] = {
        {"slept", LITMUS_SEEN, seen->slept},
        {"woken", LITMUS_SEEN, seen->woken},
        {"woken too late to tell", LITMUS_ALLOWED, seen->late},
        {"wake-up lost", LITMUS_FORBIDDEN, seen->lost},
    };
    litmus_judge(title, outcomes, OUTCOMES);
}

static struct story begin(uint64_t seed)
{
    return (struct story){proc_make(HOW, 0), proc_share(sizeof(struct shared)), seed};
}

static void publish_to_sleeper(uint64_t seed)
{
    const struct story story = begin(seed);
    struct slipring_producer *out = proc_producer(story.ring);
    struct proc other = proc_start(consumer, (void *)&story);
    uint64_t turn = 0, random = seed;
    proc_hear(&other);
    for (const int64_t end = proc_in_ms(RUN_MS); slipring_now_ns() < end;) {
        CHECK(meet(&story, &turn, &random));
        CHECK_EQ(proc_publish(out, HOW, 1, 0), 0);
        done(&story, turn);
    }
    slipring_producer_close(out);
    proc_end(&other);
    report("a consumer asleep", &story);
    slipring_ring_close(story.ring);
}

static void release_to_sleeper(uint64_t seed)
{
    const struct story story = begin(seed);
    struct slipring_consumer *in = proc_consumer(story.ring, HOW, SLIPRING_OLDEST);
    struct proc other = proc_start(producer, (void *)&story);
    uint64_t turn = 0, random = seed;
    proc_hear(&other);
    while (meet(&story, &turn, &random)) {
        struct slipring_view view;
        CHECK_EQ(slipring_consumer_try_acquire(in, 1, &view), 0);
        CHECK_EQ(slipring_consumer_release(in, &view), 0);
        done(&story, turn);
    }
    proc_end(&other);
    report("a producer asleep", &story);
    slipring_consumer_detach(in);
    slipring_ring_close(story.ring);
}

int main(void)
{
    proc_begin(60);
    const uint64_t seed = proc_seed();
    watch_futex = watch;
    proc_pin(0);
    publish_to_sleeper(seed);
    release_to_sleeper(seed);
    return 0;
}
