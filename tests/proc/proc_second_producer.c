/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: of several processes that would produce one does, and the others get -EBUSY; when that
 * one is killed, in the midst of its work, another one has taken over within the bound, one alone,
 * and the consumers see every sequence once, in order, through all the takeovers.
 * Faults: C4.
 */
#include "proc.h"

enum { RIVALS = 3, TAKEOVERS = 12, TAKE_OVER_MS = 100 };

struct shared {
    _Atomic uint32_t producing; /* rivals that hold a producer handle */
    _Atomic int64_t since_ns;   /* when the last of them got it */
    _Atomic int32_t pid;        /* which one */
};

struct story {
    const struct proc_ring *how;
    struct slipring_ring *ring;
    struct shared *shared;
};

static int rival(struct proc *self, void *context)
{
    const struct story *story = context;
    struct slipring_producer *producer = NULL;
    int code;
    (void)self;
    while ((code = slipring_producer_attach(story->ring, NULL, &producer, NULL)) == -EBUSY) {
        proc_pause_us(200);
    }
    CHECK_EQ(code, 0);
    story->shared->since_ns = slipring_now_ns();
    CHECK_EQ(story->shared->producing++, 0);
    story->shared->pid = (int32_t)getpid();
    for (uint64_t i = 0;; i++) {
        code = proc_publish(producer, story->how, 1 + i % 3, proc_in_ms(10000));
        CHECK_EQ(code, 0);
    }
}

/* Read on until that moment; the stream may be without a producer meanwhile. */
static void read_on(const struct story *story, struct slipring_consumer *consumer, uint64_t *next,
                    int64_t until_ns)
{
    struct slipring_view view;
    do {
        const int code = proc_take(consumer, story->how, &view, proc_in_ms(1));
        if (code == 0) {
            /* What it held was passed over, which is no loss. */
            const bool passed = story->how->full == SLIPRING_OVERWRITE && proc_holds(story->how);
            const uint64_t more = view.slot.sequence - *next - view.missed;
            CHECK(passed ? (int64_t)more >= 0 : more == 0);
            *next = view.slot.sequence + 1;
        }
        CHECK(code == 0 || code == -ETIMEDOUT || code == -EOWNERDEAD);
    } while (slipring_now_ns() < until_ns);
}

/* Until there is one and its messages come. */
static int64_t await_producer(const struct story *story, struct slipring_consumer *consumer,
                              uint64_t *next)
{
    const int64_t end = proc_in_ms(5000);
    const uint64_t from = *next;
    while (story->shared->pid == 0 || *next == from) {
        CHECK(slipring_now_ns() < end);
        read_on(story, consumer, next, 0);
    }
    return story->shared->since_ns;
}

static void run(const struct proc_ring *how, uint64_t *random)
{
    struct story story = {how, proc_make(how, UINT64_MAX - 100), proc_share(sizeof(struct shared))};
    struct slipring_consumer *consumer = proc_consumer(story.ring, how, SLIPRING_OLDEST);
    struct proc rivals[RIVALS];
    uint64_t next = UINT64_MAX - 100;
    unsigned late = 0;
    for (unsigned i = 0; i < RIVALS; i++) {
        rivals[i] = proc_start(rival, &story);
    }
    (void)await_producer(&story, consumer, &next);
    for (unsigned takeover = 0; takeover < TAKEOVERS; takeover++) {
        read_on(&story, consumer, &next,
                slipring_now_ns() + (int64_t)(proc_random(random) % 3000000));
        unsigned i = 0;
        while (rivals[i].pid != story.shared->pid) {
            CHECK(++i < RIVALS);
        }
        story.shared->pid = 0;
        story.shared->producing = 0;
        proc_kill(&rivals[i]);
        const int64_t dead = slipring_now_ns();
        late += await_producer(&story, consumer, &next) - dead > TAKE_OVER_MS * PROC_MS;
        rivals[i] = proc_start(rival, &story);
    }
    CHECK(late <= TAKEOVERS / 4); /* the machine may be busy */
    CHECK(proc_info(story.ring).epoch == TAKEOVERS + 1);
    for (unsigned i = 0; i < 2 * RIVALS; i++) { /* the producer last */
        struct proc *one = &rivals[i % RIVALS];
        if (one->pid != -1 && (one->pid != story.shared->pid) == (i < RIVALS)) {
            proc_kill(one);
        }
    }
    slipring_consumer_detach(consumer);
    slipring_ring_close(story.ring);
    proc_unshare(story.shared, sizeof(*story.shared));
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
