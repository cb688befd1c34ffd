/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: where workers abort() on two messages of a stream, each time they take them, and are
 * started anew each time, the group works through all the others and comes to the end: the two are
 * dead letters after five deliveries each at most, no other message is one, and all others were
 * worked on.
 * Faults: A6.
 */
#include "proc.h"

#include <signal.h>
#include <sys/resource.h>

enum { MESSAGES = 60, WORKERS = 2, DELIVERIES = 5 };
static const uint64_t poison[2] = {21, 22};

struct story {
    const struct proc_ring *how;
    struct slipring_ring *ring;
    _Atomic uint32_t *done; /* of each sequence */
};

static int worker(struct proc *self, void *context)
{
    (void)self;
    const struct story *story = context;
    const struct rlimit no_core = {0, 0};
    CHECK(setrlimit(RLIMIT_CORE, &no_core) == 0);
    struct slipring_consumer *consumer = proc_member(story->ring, "work", SLIPRING_MANY, 0);
    struct slipring_view view;
    int code;
    while ((code = slipring_consumer_acquire(consumer, 4, &view, proc_in_ms(10000))) == 0) {
        CHECK(proc_view_whole(story->how, &view));
        CHECK(view.slot.deliveries >= 1 && view.slot.deliveries <= DELIVERIES);
        for (uint64_t s = view.slot.sequence; s != view.slot.sequence + view.slots; s++) {
            if (s == poison[0] || s == poison[1]) {
                abort();
            }
            story->done[s]++;
        }
        CHECK_EQ(slipring_consumer_release(consumer, &view), 0);
    }
    CHECK_EQ(code, -EPIPE);
    return 0;
}

/* Keep so many workers at work until the stream has ended; how often one aborted. */
static unsigned supervise(struct story *story)
{
    struct proc workers[WORKERS];
    unsigned aborts = 0, working = WORKERS;
    for (unsigned i = 0; i < WORKERS; i++) {
        workers[i] = proc_start(worker, story);
    }
    while (working > 0) {
        int status;
        const pid_t ended = waitpid(-1, &status, 0);
        CHECK(ended > 0);
        const unsigned i = ended == workers[0].pid ? 0 : 1;
        CHECK_EQ(ended, workers[i].pid);
        close(workers[i].in);
        close(workers[i].out);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
            working--;
            continue;
        }
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
        CHECK(++aborts <= 2 * DELIVERIES);
        workers[i] = proc_start(worker, story);
    }
    return aborts;
}

static void run(const struct proc_ring *how)
{
    const struct slipring_group work = {.name = "work", .flags = SLIPRING_MANY};
    struct story story = {.how = how, .done = proc_share(MESSAGES * sizeof(uint32_t))};
    struct slipring_config config;
    proc_config(how, &config);
    config.slots = 64;
    config.lasting = &work;
    config.lasting_count = 1;
    story.ring = proc_create(&config);
    struct slipring_producer *producer = proc_producer(story.ring);
    for (unsigned i = 0; i < MESSAGES; i++) {
        CHECK_EQ(proc_publish(producer, how, 1, 0), 0);
    }
    slipring_producer_close(producer);
    const unsigned aborts = supervise(&story);
    CHECK(aborts >= 2 * DELIVERIES - 1); /* both may have been in one block once */
    struct slipring_dead_letter letters[4];
    CHECK_EQ(slipring_ring_dead_letters(story.ring, letters, 4), 2);
    CHECK_EQ(letters[0].sequence + letters[1].sequence, poison[0] + poison[1]);
    CHECK(letters[0].sequence == poison[0] || letters[1].sequence == poison[0]);
    for (uint64_t s = 0; s < MESSAGES; s++) {
        const bool bad = s == poison[0] || s == poison[1];
        if ((story.done[s] != 0) == bad) {
            FAIL("sequence %u was worked on %u times", (unsigned)s, (unsigned)story.done[s]);
        }
    }
    printf("%s: %u aborts\n", how->name, aborts);
    proc_unshare((void *)story.done, MESSAGES * sizeof(uint32_t));
    slipring_ring_close(story.ring);
}

int main(void)
{
    proc_begin(60);
    for (unsigned i = 0; i < PROC_GEOMETRIES; i++) {
        run(&proc_rings[3 * i]);
    }
    return 0;
}
