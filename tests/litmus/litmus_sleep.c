/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves the edge SLEEP: no wake-up is lost between a publisher that makes no fence and a consumer
 * that goes to sleep at that moment, nor between a release and a producer that waits for room. The
 * publisher's store often waits behind others in the store buffer. In half of the runs threads end on
 * the publisher's processor, after which membarrier(2) would skip it. The test sees every futex sleep (it
 * stands in front of syscall()). Where a sleep ends by its time-out, the publisher has done its part and
 * the flag is still up, the publisher missed the flag, since it lowers a flag that it sees. If that sleep
 * was a doze, the look after it finds the message. If it was a step, the wake-up was lost.
 *
 * On one processor no store waits in a buffer while the sleeper looks, and the test proves little.
 */
#define _GNU_SOURCE
#include "ring/handle.h"
#include "futex_watch.h"
#include "litmus.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>

enum { RUN_MS = 700, SHORT = 2048, LONG = 1 << 16 }; /* in turns of a loop */
enum { AIM_STEP = 4, AIM_SPREAD = 128 };
enum { TURNS_PER_END = 100, COLD_STORES = 12, COLD_BYTES = 64 << 20 };
enum { SLEPT, WOKEN, MISSED, LOST, OUTCOMES };
#define HOW (&proc_rings[0])

struct counts {
    uint64_t slept, woken, missed, lost;
};

/* One sleeps, the other one does what it waits for. */
struct shared {
    _Atomic uint64_t turn;      /* raised by the sleeper as it goes to wait */
    _Atomic uint64_t done_turn; /* the last for which the other had done its part, wake and all */
    _Atomic uint64_t sleeps;    /* of the sleeper, so far */
    _Atomic bool over;
    struct counts sleeper;
};

static struct counts counts;
static struct shared *mine;    /* set in the sleeper */
static _Atomic uint32_t *flag; /* its flag */
static bool dozes;             /* the sleep at hand is one */

static int begin_sleep(const struct futex_sleep *sleep)
{
    dozes = sleep->deadline_ns - slipring_now_ns() <= SLR_DOZE;
    if (mine != NULL) {
        mine->sleeps++;
    }
    return 1;
}

/* In the sleeper, a probe whether another process is alive is answered without a system call. Otherwise one
 * would lie between its flag and its last look, and most stores would arrive in that time. */
int fcntl(int fd, int command, ...)
{
    static int (*next)(int, int, ...);
    va_list list;
    va_start(list, command);
    void *argument = va_arg(list, void *);
    va_end(list);
    if (mine != NULL && command == F_OFD_GETLK) {
        ((struct flock *)argument)->l_type = F_WRLCK;
        return 0;
    }
    if (next == NULL) {
        void *found = dlsym(RTLD_NEXT, "fcntl");
        CHECK(found != NULL);
        memcpy(&next, &found, sizeof(next));
    }
    return next(fd, command, argument);
}

static void watch(long result, int code, const struct timespec *deadline)
{
    (void)deadline;
    counts.slept++;
    counts.woken += result == 0;
    if (result < 0 && code == ETIMEDOUT && mine != NULL && mine->done_turn == mine->turn &&
        slr_load32(flag) != 0) {
        counts.missed += dozes;
        counts.lost += !dozes;
    }
}

struct story {
    struct slipring_ring *ring;
    struct shared *shared;
    uint64_t seed;
    bool ends; /* threads end on the publisher's processor */
};

static void dawdle_for(uint64_t turns)
{
    for (volatile uint64_t i = turns; i != 0; i--) {
    }
}

static void dawdle(uint64_t *random, uint64_t most)
{
    dawdle_for(proc_random(random) % most);
}

static void take_turn(uint64_t *random)
{
    const bool aimed_at = ++mine->turn % 2 != 0;
    /* Not at once, so that the publisher can come first: it sees the new turn late. */
    dawdle_for(aimed_at ? SHORT : proc_random(random) % SHORT);
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
    flag = &story->ring->segment.control->consumers_waiting;
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
    flag = &story->ring->segment.control->producer_waiting;
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

static void *end_at_once(void *context)
{
    return context;
}

/* Now and then a thread begins and ends on this processor. */
static void end_thread(const struct story *story, uint64_t turn)
{
    pthread_t thread;
    if (story->ends && turn % TURNS_PER_END == 1) {
        CHECK_EQ(pthread_create(&thread, NULL, end_at_once, NULL), 0);
        CHECK_EQ(pthread_join(thread, NULL), 0);
    }
}

struct aim {
    uint64_t delay;  /* in turns of a loop; the one at which the sleeper is about to fall asleep */
    uint64_t sleeps; /* of the sleeper before this turn */
};

/* Wait for the sleeper's turn, then a little more. In even turns the time is random, to meet the sleeper
 * at every step of its way to sleep, its system calls included. Odd turns aim at the moment at which it
 * raises its flag: if it slept in the last odd turn the time gets shorter, otherwise longer. False when
 * the sleeper is gone. */
static bool meet(const struct story *story, uint64_t *turn, struct aim *aim, uint64_t *random)
{
    while (story->shared->turn == *turn) {
        if (story->shared->over) {
            return false;
        }
    }
    *turn = story->shared->turn;
    end_thread(story, *turn);
    if (*turn % 2 == 0) {
        const bool slept = story->shared->sleeps != aim->sleeps;
        dawdle(random, proc_random(random) % 4 == 0 ? LONG : SHORT);
        aim->delay += !slept ? AIM_STEP : aim->delay >= AIM_STEP ? -(uint64_t)AIM_STEP : 0;
    } else {
        aim->sleeps = story->shared->sleeps;
        dawdle_for(aim->delay + proc_random(random) % AIM_SPREAD);
    }
    return true;
}

static void report(const char *title, const struct story *story)
{
    const struct counts *seen = &story->shared->sleeper;
    const struct litmus_outcome outcomes[OUTCOMES] = {
        {"slept", LITMUS_SEEN, seen->slept},
        {"woken", LITMUS_SEEN, seen->woken},
        {"flag missed, found after the doze", LITMUS_ALLOWED, seen->missed},
        {"wake-up lost", LITMUS_FORBIDDEN, seen->lost},
    };
    litmus_judge(title, outcomes, OUTCOMES);
}

static struct story begin(uint64_t seed, bool ends)
{
    return (struct story){proc_make(HOW, 0), proc_share(sizeof(struct shared)), seed, ends};
}

/* Every other time, first write to cold memory, so that the next store waits long in the store buffer. */
static void delay_stores(uint64_t *random)
{
    static volatile uint8_t *cold;
    if (cold == NULL) {
        cold = mmap(NULL, COLD_BYTES, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
        CHECK(cold != MAP_FAILED);
    }
    for (int i = proc_random(random) % 2 == 0 ? COLD_STORES : 0; i > 0; i--) {
        cold[proc_random(random) % COLD_BYTES] = 1;
    }
}

static void publish_to_sleeper(uint64_t seed, bool ends)
{
    const struct story story = begin(seed, ends);
    struct slipring_producer *out = proc_producer(story.ring);
    struct proc other = proc_start(consumer, (void *)&story);
    uint64_t turn = 0, random = seed;
    struct aim aim = {0, 0};
    proc_hear(&other);
    for (const int64_t end = proc_in_ms(RUN_MS); slipring_now_ns() < end;) {
        struct slipring_loan loan;
        CHECK(meet(&story, &turn, &aim, &random));
        CHECK_EQ(slipring_producer_try_claim(out, 1, &loan), 0);
        delay_stores(&random);
        pattern_fill(loan.data, HOW->bytes, loan.sequence);
        CHECK_EQ(slipring_producer_publish(out, 1, NULL), 0);
        story.shared->done_turn = turn;
    }
    slipring_producer_close(out);
    proc_end(&other);
    report(ends ? "a consumer asleep, threads end" : "a consumer asleep", &story);
    slipring_ring_close(story.ring);
}

static void release_to_sleeper(uint64_t seed, bool ends)
{
    const struct story story = begin(seed, ends);
    struct slipring_consumer *in = proc_consumer(story.ring, HOW, SLIPRING_OLDEST);
    struct proc other = proc_start(producer, (void *)&story);
    uint64_t turn = 0, random = seed;
    struct aim aim = {0, 0};
    proc_hear(&other);
    while (meet(&story, &turn, &aim, &random)) {
        struct slipring_view view;
        CHECK_EQ(slipring_consumer_try_acquire(in, 1, &view), 0);
        delay_stores(&random);
        CHECK_EQ(slipring_consumer_release(in, &view), 0);
        story.shared->done_turn = turn;
    }
    proc_end(&other);
    report(ends ? "a producer asleep, threads end" : "a producer asleep", &story);
    slipring_consumer_detach(in);
    slipring_ring_close(story.ring);
}

int main(void)
{
    proc_begin(60);
    const uint64_t seed = proc_seed();
    cpu_set_t allowed;
    CHECK(sched_getaffinity(0, sizeof(allowed), &allowed) == 0);
    if (CPU_COUNT(&allowed) < 2) {
        printf("NOT CHECKED: store buffers, with one processor\n");
    }
    watch_futex = watch;
    watch_sleep = begin_sleep;
    proc_pin(0);
    for (int ends = 0; ends < 2; ends++) {
        publish_to_sleeper(seed, ends != 0);
        release_to_sleeper(seed, ends != 0);
    }
    return 0;
}
