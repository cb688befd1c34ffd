/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves that ThreadSanitizer sees a race in such a set-up: a reader that looks at a slot before it
 * is acquired, or once more after its release, and a producer that writes one once more after
 * publishing it, are reported; the same without the wrong access is not.
 */
#include "ring/handle.h"
#include "proc.h"

#include <pthread.h>

#define HOW (&proc_rings[6])
#define REPORTED 66 /* the exit status of a program with a report */

enum seeded { NOTHING, READ_LATE, WRITE_LATE, READ_EARLY };

struct story {
    struct slipring_ring *ring;
    struct slipring_consumer *consumer;
    enum seeded seeded;
};

static volatile uint64_t sink;

/* Reads four of the first lap's slots, and the producer comes back to them. */
static void *reader(void *context)
{
    const struct story *story = context;
    struct slipring_view view;
    if (story->seeded == READ_EARLY) {
        sink = *(const uint64_t *)(const void *)story->ring->segment.payload;
    }
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(slipring_consumer_acquire(story->consumer, 1, &view, SLIPRING_FOREVER), 0);
        const bool whole = pattern_whole(view.data, HOW->bytes, (uint64_t)i);
        CHECK(whole || story->seeded == WRITE_LATE);
        CHECK_EQ(slipring_consumer_release(story->consumer, &view), 0);
    }
    if (story->seeded == READ_LATE) {
        sink = *(const uint64_t *)view.data;
    }
    return NULL;
}

static int body(struct proc *self, void *context)
{
    struct story *story = context;
    struct slipring_producer *producer = proc_producer(story->ring);
    struct slipring_loan loan;
    pthread_t thread;
    (void)self;
    /* Before there is anything: to see the cursor later would order too much. */
    story->consumer = proc_consumer(story->ring, HOW, SLIPRING_OLDEST);
    CHECK_EQ(pthread_create(&thread, NULL, reader, story), 0);
    for (int i = 0; i < 12; i++) {
        CHECK_EQ(slipring_producer_claim(producer, 1, &loan, SLIPRING_FOREVER), 0);
        pattern_fill(loan.data, HOW->bytes, loan.sequence);
        CHECK_EQ(slipring_producer_publish(producer, 1, NULL), 0);
        if (story->seeded == WRITE_LATE) {
            ((volatile uint64_t *)loan.data)[1] = 1;
        }
    }
    CHECK_EQ(pthread_join(thread, NULL), 0);
    slipring_consumer_detach(story->consumer);
    slipring_producer_detach(producer);
    return 0;
}

static int status_of(enum seeded seeded)
{
    struct story story = {.ring = proc_make(HOW, 0), .seeded = seeded};
    struct proc child = proc_start(body, &story);
    int status;
    CHECK_EQ(waitpid(child.pid, &status, 0), child.pid);
    CHECK(WIFEXITED(status));
    slipring_ring_close(story.ring);
    return WEXITSTATUS(status);
}

int main(void)
{
    proc_begin(60);
    CHECK_EQ(status_of(NOTHING), 0);
    CHECK_EQ(status_of(READ_LATE), REPORTED);
    CHECK_EQ(status_of(WRITE_LATE), REPORTED);
    CHECK_EQ(status_of(READ_EARLY), REPORTED);
    return 0;
}
