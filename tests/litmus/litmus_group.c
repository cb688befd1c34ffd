/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves the edge GROUP: with two members that finish out of order and a producer that follows
 * closely, the group's position passes finished slots only: nothing is overwritten in a member's
 * hand, and each message is finished exactly once, by one of them.
 */
#include "litmus.h"

#include <sched.h>
#include <time.h>

enum { RUN_MS = 400, MESSAGES = 1 << 22 };
enum { ONCE, NEVER, TWICE, CHANGED, STALE, BY_FIRST, BY_SECOND, OUTCOMES };

struct shared {
    _Atomic uint64_t changed, stale, by[2];
    _Atomic uint8_t done[MESSAGES];
};

struct story {
    const struct proc_ring *how;
    struct slipring_ring *ring;
    struct shared *shared;
    uint64_t seed;
};

static void work(const struct story *story, struct slipring_consumer *member, unsigned me,
                 int64_t end)
{
    struct shared *shared = story->shared;
    uint64_t random = story->seed + me;
    while (slipring_now_ns() < end) {
        struct slipring_view views[4];
        unsigned held = 0;
        const unsigned wanted = 1 + (unsigned)(proc_random(&random) % 4);
        while (held < wanted && slipring_consumer_try_acquire(member, 1 + proc_random(&random) % 2,
                                                              &views[held]) == 0) {
            held++;
        }
        if (held == 0) {
            sched_yield(); /* to whoever else is on this processor: the producer, for the second */
        }
        if (proc_random(&random) % 512 == 0) { /* else one that is alone there takes nearly all */
            nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
        }
        litmus_jitter(&random);
        while (held > 0) { /* out of order */
            const unsigned at = (unsigned)(proc_random(&random) % held);
            const struct slipring_view view = views[at];
            views[at] = views[--held];
            shared->changed += !proc_view_whole(story->how, &view);
            for (uint64_t i = 0; i < view.slots; i++) {
                if (view.slot.sequence + i < MESSAGES) {
                    shared->done[view.slot.sequence + i]++;
                }
            }
            shared->by[me]++;
            shared->stale += slipring_consumer_release(member, &view) != 0;
        }
    }
}

static int second(struct proc *self, void *context)
{
    const struct story *story = context;
    struct slipring_consumer *member = proc_member(story->ring, "work", SLIPRING_MANY, 0);
    proc_pin(1);
    proc_tell(self, 0);
    work(story, member, 1, proc_in_ms(RUN_MS));
    slipring_consumer_detach(member);
    proc_tell(self, 0);
    return 0;
}

static void run(const struct proc_ring *how, uint64_t seed)
{
    struct litmus_outcome outcomes[OUTCOMES] = {
        {"messages finished once", LITMUS_SEEN, 0},
        {"never", LITMUS_FORBIDDEN, 0},
        {"twice", LITMUS_FORBIDDEN, 0},
        {"overwritten in hand", LITMUS_FORBIDDEN, 0},
        {"release says so", LITMUS_FORBIDDEN, 0},
        {"finished by the first member", LITMUS_SEEN, 0},
        {"by the second", LITMUS_SEEN, 0},
    };
    struct shared *shared = proc_share(sizeof(*shared));
    struct litmus_source source = {how, proc_make(how, 0), 3, seed, NULL, true};
    struct story story = {how, source.ring, shared, seed};
    struct slipring_consumer *member = proc_member(story.ring, "work", SLIPRING_MANY, 0);
    struct proc other = proc_start(second, &story);
    proc_hear(&other);
    struct proc child = litmus_source_start(&source);
    work(&story, member, 0, proc_in_ms(RUN_MS));
    proc_hear(&other);
    proc_end(&other);
    proc_kill(&child);
    struct slipring_view view;
    for (int code = 0; code != -EOWNERDEAD;) { /* the rest */
        code = slipring_consumer_acquire(member, 8, &view, proc_in_ms(5000));
        CHECK(code == 0 || code == -EOWNERDEAD);
        for (uint64_t i = 0; code == 0 && i < view.slots; i++) {
            if (view.slot.sequence + i < MESSAGES) {
                shared->done[view.slot.sequence + i]++;
            }
        }
        CHECK(code != 0 || slipring_consumer_release(member, &view) == 0);
    }
    const uint64_t end = proc_info(story.ring).cursor;
    for (uint64_t i = 0; i < end && i < MESSAGES; i++) {
        outcomes[shared->done[i] == 1 ? ONCE : shared->done[i] == 0 ? NEVER : TWICE].count++;
    }
    outcomes[CHANGED].count = shared->changed;
    outcomes[STALE].count = shared->stale;
    outcomes[BY_FIRST].count = shared->by[0];
    outcomes[BY_SECOND].count = shared->by[1];
    litmus_judge(how->name, outcomes, OUTCOMES);
    slipring_consumer_detach(member);
    slipring_ring_close(story.ring);
    proc_unshare(shared, sizeof(*shared));
}

int main(void)
{
    proc_begin(60);
    const uint64_t seed = proc_seed();
    for (unsigned i = 0; i < PROC_GEOMETRIES; i++) {
        run(&proc_rings[3 * i], seed);
    }
    return 0;
}
