/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: a signal handler may jump (siglongjmp) out of claim, publish, acquire, copy and release,
 * waiting or not, at any moment: nobody else loses anything by it, the handle can be detached, and
 * another one attached goes on; no cell and no slot is lost over hundreds of jumps.
 * Faults: D10.
 */
#define _GNU_SOURCE
#include "proc.h"

#include <setjmp.h>
#include <signal.h>
#include <sys/time.h>

enum { JUMPS = 120 };

static sigjmp_buf out;
static volatile uint64_t jumps;

static void on_alarm(int number)
{
    (void)number;
    jumps++;
    siglongjmp(out, 1);
}

static void alarm_in(uint64_t us)
{
    const struct itimerval once = {{0, 0}, {0, (suseconds_t)us}};
    CHECK(setitimer(ITIMER_REAL, &once, NULL) == 0);
}

struct story {
    const struct proc_ring *how;
    struct slipring_ring *ring;
    _Atomic uint32_t *stop;
};

static int produce(struct proc *self, void *context)
{
    const struct story *story = context;
    struct slipring_producer *producer = proc_producer(story->ring);
    proc_tell(self, 0);
    while (*story->stop == 0) {
        const int code = proc_publish(producer, story->how, 1, proc_in_ms(20000));
        CHECK_EQ(code, 0);
        proc_pause_us(100);
    }
    slipring_producer_close(producer);
    return 0;
}

/* Sees every message, or the gap, whatever the jumping member does. */
static int witness(struct proc *self, void *context)
{
    const struct story *story = context;
    struct slipring_consumer *consumer = proc_consumer(story->ring, story->how, SLIPRING_OLDEST);
    struct slipring_view view;
    uint64_t next = 0;
    int code;
    proc_tell(self, 0);
    while ((code = proc_take(consumer, story->how, &view, proc_in_ms(20000))) == 0) {
        CHECK((int64_t)(view.slot.sequence - next - view.missed) >= 0);
        CHECK(story->how->full == SLIPRING_OVERWRITE || view.slot.sequence == next);
        next = view.slot.sequence + 1;
    }
    CHECK_EQ(code, -EPIPE);
    return 0;
}

/* Take messages until the alarm. */
static void consume_until_alarm(const struct proc_ring *how, struct slipring_consumer *consumer,
                                uint64_t us)
{
    struct slipring_view view;
    if (sigsetjmp(out, 1) == 0) {
        alarm_in(us);
        for (;;) {
            CHECK_EQ(proc_take(consumer, how, &view, proc_in_ms(20000)), 0);
        }
    }
}

static void consumers(const struct proc_ring *how, uint64_t *random, bool member)
{
    struct story story = {how, proc_make(how, 0), proc_share(sizeof(uint32_t))};
    struct proc other = proc_start(witness, &story);
    proc_hear(&other);
    struct proc child = proc_start(produce, &story);
    proc_hear(&child);
    for (int i = 0; i < JUMPS; i++) {
        struct slipring_consumer *consumer = member
                                                 ? proc_member(story.ring, "work", SLIPRING_MANY, 0)
                                                 : proc_consumer(story.ring, how, SLIPRING_LATEST);
        consume_until_alarm(how, consumer, 1 + proc_random(random) % 1500);
        slipring_consumer_detach(consumer);
    }
    *story.stop = 1;
    proc_end(&child);
    proc_end(&other);
    CHECK_EQ(proc_info(story.ring).members, 1); /* the witness left without a word */
    slipring_ring_close(story.ring);
    proc_unshare((void *)story.stop, sizeof(uint32_t));
}

/* A producer jumps out of waiting for room; who comes after it goes on without a gap. */
static void producers(const struct proc_ring *how, uint64_t *random)
{
    struct slipring_ring *ring = proc_make(how, 0);
    struct slipring_consumer *consumer = proc_consumer(ring, how, SLIPRING_OLDEST);
    struct slipring_view view;
    uint64_t next = 0;
    for (int i = 0; i < JUMPS; i++) {
        struct slipring_producer *producer = proc_producer(ring);
        if (sigsetjmp(out, 1) == 0) {
            alarm_in(1 + proc_random(random) % 1500);
            for (;;) {
                CHECK_EQ(proc_publish(producer, how, 1, proc_in_ms(20000)), 0);
            }
        }
        slipring_producer_detach(producer);
        while (proc_take(consumer, how, &view, 0) == 0) {
            CHECK_EQ(view.slot.sequence, next++);
        }
        /* One behind: the jump was out of publish, after the stamp and before the cursor. */
        CHECK(next - proc_info(ring).cursor <= 1);
    }
    CHECK(next > 8);
    slipring_consumer_detach(consumer);
    slipring_ring_close(ring);
}

int main(void)
{
    proc_begin(0); /* the alarm is the test's own; the time limit is the caller's */
    uint64_t random = proc_seed();
    const struct sigaction action = {.sa_handler = on_alarm};
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    for (unsigned i = 0; i < PROC_RINGS; i++) {
        const struct proc_ring *how = &proc_rings[i];
        consumers(how, &random, false);
        if (how->full == SLIPRING_BLOCK && how->member_flags == 0) {
            consumers(how, &random, true);
            producers(how, &random);
        }
    }
    printf("%llu jumps\n", (unsigned long long)jumps);
    return 0;
}
