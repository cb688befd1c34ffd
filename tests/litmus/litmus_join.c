/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves the edge JOIN: a consumer, or the first member of a group, that joins while the producer
 * raises its limit is either seen by the producer's next look or starts no earlier than what the
 * producer may not touch: the first slots it acquires stay as they are until it releases them.
 */
#include "litmus.h"

enum { RUN_MS = 500 };
enum { INTACT, OVERRUN, TOLD_STALE, NOTHING, OUTCOMES };

static struct slipring_consumer *join(struct slipring_ring *ring, const struct proc_ring *how,
                                      uint64_t trial)
{
    struct slipring_consumer_config config;
    struct slipring_consumer *consumer;
    slipring_consumer_config_init(&config);
    config.flags = how->member_flags;
    config.start = trial % 4 == 0 ? SLIPRING_LATEST : SLIPRING_OLDEST;
    if (trial % 3 == 0) {
        config.group = "work";
        config.flags = SLIPRING_MANY;
    } else if (trial % 5 == 0) {
        config.group = "alone";
    }
    CHECK_EQ(slipring_consumer_attach(ring, &config, &consumer, NULL), 0);
    return consumer;
}

static void run(const struct proc_ring *how, uint64_t seed)
{
    struct litmus_outcome outcomes[OUTCOMES] = {
        {"first slots intact until released", LITMUS_SEEN, 0},
        {"overrun", LITMUS_FORBIDDEN, 0},
        {"release says so", LITMUS_FORBIDDEN, 0},
        {"nothing to read yet", LITMUS_ALLOWED, 0},
    };
    struct litmus_source source = {how, proc_make(how, 0), 3, seed, NULL, false};
    struct proc child = litmus_source_start(&source);
    const uint64_t slots = proc_info(source.ring).slots;
    uint64_t random = seed + 1, trial = 0;
    for (const int64_t end = proc_in_ms(RUN_MS); litmus_goes_on(end, outcomes, OUTCOMES); trial++) {
        struct slipring_consumer *consumer = join(source.ring, how, trial);
        struct slipring_view view;
        const int code = slipring_consumer_try_acquire(consumer, slots, &view);
        if (code == 0) {
            bool whole = true;
            for (uint64_t again = 1 + proc_random(&random) % 16; again != 0; again--) {
                whole = whole && proc_view_whole(how, &view);
            }
            outcomes[whole ? INTACT : OVERRUN].count++;
            outcomes[TOLD_STALE].count += slipring_consumer_release(consumer, &view) != 0;
        } else {
            CHECK_EQ(code, -EAGAIN);
            outcomes[NOTHING].count++;
        }
        slipring_consumer_detach(consumer);
        litmus_jitter(&random);
    }
    proc_kill(&child);
    litmus_judge(how->name, outcomes, OUTCOMES);
    slipring_ring_close(source.ring);
}

int main(void)
{
    proc_begin(60);
    const uint64_t seed = proc_seed();
    for (unsigned i = 0; i < PROC_RINGS; i++) {
        if (proc_rings[i].full == SLIPRING_BLOCK) {
            run(&proc_rings[i], seed);
        }
    }
    return 0;
}
