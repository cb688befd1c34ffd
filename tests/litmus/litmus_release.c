/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves the edge RELEASE: a slot that is being read is not overwritten, however closely the
 * producer follows: every word of a slot in hand is read again and again until the release, in a
 * ring so small that the producer always waits for it.
 */
#include "litmus.h"

enum { RUN_MS = 300 };
enum { INTACT, CHANGED, STALE, GATED, OUTCOMES };

static void run(const struct proc_ring *how, uint64_t seed)
{
    struct litmus_outcome outcomes[OUTCOMES] = {
        {"slot as published up to its release", LITMUS_SEEN, 0},
        {"slot overwritten in hand", LITMUS_FORBIDDEN, 0},
        {"release says that it was", LITMUS_FORBIDDEN, 0},
        {"producer held back", LITMUS_SEEN, 0},
    };
    struct slipring_config config;
    proc_config(how, &config);
    config.slots = 2;
    struct litmus_source source = {
        how, proc_create(&config), 2, seed, proc_share(sizeof(*source.gated)), false};
    struct slipring_consumer *consumer = proc_consumer(source.ring, how, SLIPRING_OLDEST);
    struct proc child = litmus_source_start(&source);
    uint64_t random = seed + 1;
    for (const int64_t end = proc_in_ms(RUN_MS); slipring_now_ns() < end;) {
        struct slipring_view views[3];
        uint64_t held = 0;
        const uint64_t wanted = 1 + proc_random(&random) % 3;
        while (held < wanted && slipring_consumer_try_acquire(
                                    consumer, 1 + proc_random(&random) % 4, &views[held]) == 0) {
            held++;
        }
        for (uint64_t again = proc_random(&random) % 8; again != 0; again--) {
            for (uint64_t i = 0; i < held; i++) {
                outcomes[proc_view_whole(how, &views[i]) ? INTACT : CHANGED].count++;
            }
        }
        for (uint64_t i = 0; i < held; i++) {
            const uint64_t at = how->member_flags != 0 ? held - 1 - i : i; /* any order */
            outcomes[proc_view_whole(how, &views[at]) ? INTACT : CHANGED].count++;
            outcomes[STALE].count += slipring_consumer_release(consumer, &views[at]) != 0;
        }
    }
    proc_kill(&child);
    outcomes[GATED].count = *source.gated;
    litmus_judge(how->name, outcomes, OUTCOMES);
    slipring_consumer_detach(consumer);
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
