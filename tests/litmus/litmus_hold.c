/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves the edges HOLD and CLAIM: in an overwrite tensor ring, whoever was told that it holds a
 * slot reads it whole until it lets go, however fast the producer comes round, and is never told
 * otherwise; meanwhile nobody holds the producer back.
 */
#include "litmus.h"

#define HOW (&proc_rings[8])
enum { RUN_MS = 700 };
enum { INTACT, CHANGED, STALE, NOTHING, NO_HOLD_LEFT, LAPPED, OUTCOMES };

static void hold(struct slipring_ring *ring, uint64_t seed, int64_t end,
                 struct litmus_outcome *outcomes)
{
    struct slipring_consumer *consumer = proc_consumer(ring, HOW, SLIPRING_OLDEST);
    uint64_t random = seed;
    while (slipring_now_ns() < end) {
        struct slipring_view views[3];
        unsigned held = 0;
        const unsigned wanted = 1 + (unsigned)(proc_random(&random) % 3);
        while (held < wanted) {
            const int code = slipring_consumer_try_acquire(consumer, 1, &views[held]);
            if (code != 0) {
                CHECK(code == -EAGAIN || code == -ENOBUFS);
                outcomes[code == -EAGAIN ? NOTHING : NO_HOLD_LEFT].count++;
                break;
            }
            outcomes[LAPPED].count += views[held].missed != 0;
            held++;
        }
        for (uint64_t again = proc_random(&random) % 8; again != 0; again--) {
            for (unsigned i = 0; i < held; i++) {
                outcomes[proc_view_whole(HOW, &views[i]) ? INTACT : CHANGED].count++;
            }
        }
        while (held > 0) {
            const struct slipring_view *view = &views[--held];
            outcomes[proc_view_whole(HOW, view) ? INTACT : CHANGED].count++;
            const int code = slipring_consumer_release(consumer, view);
            CHECK(code == 0 || code == -ESTALE);
            outcomes[STALE].count += code != 0;
        }
    }
    slipring_consumer_detach(consumer);
}

struct story {
    struct slipring_ring *ring;
    uint64_t seed;
    struct litmus_outcome *shared;
};

static int other(struct proc *self, void *context)
{
    const struct story *story = context;
    (void)self;
    hold(story->ring, story->seed + 9, proc_in_ms(RUN_MS), story->shared);
    return 0;
}

static void run(uint64_t slots, uint64_t seed)
{
    struct litmus_outcome outcomes[OUTCOMES] = {
        {"held slot intact", LITMUS_SEEN, 0},     {"held slot overwritten", LITMUS_FORBIDDEN, 0},
        {"release says so", LITMUS_FORBIDDEN, 0}, {"nothing new", LITMUS_ALLOWED, 0},
        {"no hold left", LITMUS_ALLOWED, 0},      {"lapped before", LITMUS_SEEN, 0},
    };
    struct litmus_outcome *shared = proc_share(sizeof(outcomes));
    struct slipring_config config;
    proc_config(HOW, &config);
    config.slots = slots;
    config.hold_max = 3;
    struct litmus_source source = {HOW, proc_create(&config), 2, seed, NULL, false};
    struct story story = {source.ring, seed, shared};
    struct proc child = litmus_source_start(&source);
    struct proc second = proc_start(other, &story);
    hold(source.ring, seed + 1, proc_in_ms(RUN_MS), outcomes);
    proc_end(&second);
    const uint64_t before = proc_info(source.ring).cursor;
    const int64_t end = proc_in_ms(1000);
    while (proc_info(source.ring).cursor == before && slipring_now_ns() < end) {
    }
    CHECK(proc_info(source.ring).cursor != before);
    proc_kill(&child);
    for (unsigned i = 0; i < OUTCOMES; i++) {
        outcomes[i].count += shared[i].count;
    }
    litmus_judge("hold", outcomes, OUTCOMES);
    slipring_ring_close(source.ring);
}

int main(void)
{
    proc_begin(60);
    const uint64_t seed = proc_seed();
    run(8, seed);
    run(64, seed);
    return 0;
}
