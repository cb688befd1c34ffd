/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves the edge OWN: where members of an evicting group of many take, finish and dawdle while the
 * producer evicts and drops, each message has one owner at a time: whoever is told 0 by release
 * read it whole and is the only one to be told so; and finished, dropped and given up make up all
 * that was published.
 */
#include "litmus.h"

enum { RUN_MS = 700, PATIENCE_MS = 1, MESSAGES = 1 << 22, TRIES = 8 };
enum { FINISHED, TWICE, CHANGED, EVICTED_HOLDING, EVICTED_FREE, DROPPED, UNACCOUNTED, OUTCOMES };

struct shared {
    _Atomic uint64_t changed, holding, empty;
    _Atomic uint8_t done[MESSAGES];
};

struct story {
    const struct proc_ring *how;
    struct slipring_ring *ring;
    struct shared *shared;
    uint64_t seed;
    unsigned me;
};

static struct slipring_consumer *join(const struct story *story)
{
    return proc_member(story->ring, "work", SLIPRING_MANY, PATIENCE_MS);
}

static void dawdle(uint64_t *random)
{
    const int64_t until =
        proc_random(random) % 16 == 0 ? slipring_now_ns() + 2 * PATIENCE_MS * PROC_MS : 0;
    while (slipring_now_ns() < until) {
    }
    litmus_jitter(random);
}

static int member(struct proc *self, void *context)
{
    const struct story *story = context;
    struct slipring_consumer *consumer = join(story);
    uint64_t random = story->seed + story->me;
    proc_pin(story->me);
    proc_tell(self, 0);
    for (const int64_t end = proc_in_ms(RUN_MS); slipring_now_ns() < end;) {
        struct slipring_view view;
        const int code = slipring_consumer_try_acquire(consumer, 1, &view);
        if (code == 0) {
            dawdle(&random);
            const bool whole = proc_view_whole(story->how, &view);
            const int released = slipring_consumer_release(consumer, &view);
            CHECK(released == 0 || released == -ESTALE);
            if (released == 0) {
                story->shared->changed += !whole;
                story->shared->done[view.slot.sequence % MESSAGES]++;
                continue;
            }
            story->shared->holding++;
            CHECK_EQ(slipring_consumer_try_acquire(consumer, 1, &view), -ESTALE);
        } else if (code == -EAGAIN) {
            continue;
        } else {
            CHECK_EQ(code, -ESTALE);
            story->shared->empty++;
        }
        slipring_consumer_detach(consumer);
        consumer = join(story);
    }
    slipring_consumer_detach(consumer);
    return 0;
}

/* False: a busy machine let nobody be evicted in the middle of a message, and there are tries left. */
static bool run(const struct proc_ring *how, uint64_t seed, unsigned tries)
{
    struct litmus_outcome outcomes[OUTCOMES] = {
        {"finished by one", LITMUS_SEEN, 0},
        {"finished by two", LITMUS_FORBIDDEN, 0},
        {"finished, but overwritten in hand", LITMUS_FORBIDDEN, 0},
        {"evicted with a message in hand", LITMUS_SEEN, 0},
        {"evicted with none", LITMUS_ALLOWED, 0},
        {"dropped or given up", LITMUS_ALLOWED, 0},
        {"neither", LITMUS_FORBIDDEN, 0},
    };
    struct shared *shared = proc_share(sizeof(*shared));
    struct slipring_config config;
    proc_config(how, &config);
    config.slots = 2;
    struct litmus_source source = {how, proc_create(&config), 1, seed, NULL, false};
    struct story story = {how, source.ring, shared, seed, 0};
    struct slipring_consumer *keeper = join(&story); /* the group lives with it */
    struct proc members[2];
    for (story.me = 0; story.me < 2; story.me++) {
        members[story.me] = proc_start(member, &story);
        proc_hear(&members[story.me]);
    }
    struct proc child = litmus_source_start(&source);
    proc_end(&members[0]);
    proc_end(&members[1]);
    proc_kill(&child);
    struct slipring_view view;
    uint64_t rest = 0;
    int code;
    while ((code = slipring_consumer_acquire(keeper, 1, &view, proc_in_ms(5000))) == 0) {
        CHECK_EQ(slipring_consumer_release(keeper, &view), 0);
        rest++;
    }
    CHECK_EQ(code, -EOWNERDEAD);
    const uint64_t end = proc_info(story.ring).cursor;
    struct slipring_group_info group = {.struct_size = sizeof(group)};
    CHECK_EQ(slipring_ring_groups(story.ring, &group, 1), 1);
    CHECK(end < MESSAGES);
    for (uint64_t i = 0; i < end; i++) {
        outcomes[FINISHED].count += shared->done[i] == 1;
        outcomes[TWICE].count += shared->done[i] > 1;
    }
    outcomes[CHANGED].count = shared->changed;
    outcomes[EVICTED_HOLDING].count = shared->holding;
    outcomes[EVICTED_FREE].count = shared->empty;
    outcomes[DROPPED].count = group.dropped + group.dead_letters;
    const uint64_t told = outcomes[FINISHED].count + outcomes[DROPPED].count + rest;
    outcomes[UNACCOUNTED].count = told > end ? told - end : end - told;
    if (tries > 1) {
        outcomes[EVICTED_HOLDING].kind = LITMUS_ALLOWED;
    }
    litmus_judge(how->name, outcomes, OUTCOMES);
    slipring_consumer_detach(keeper);
    slipring_ring_close(story.ring);
    proc_unshare(shared, sizeof(*shared));
    return outcomes[EVICTED_HOLDING].count != 0;
}

int main(void)
{
    proc_begin(60);
    const uint64_t seed = proc_seed();
    for (unsigned i = 0; i < PROC_GEOMETRIES; i++) {
        unsigned tries = TRIES;
        while (!run(&proc_rings[3 * i], seed + tries, tries)) {
            tries--;
        }
    }
    return 0;
}
