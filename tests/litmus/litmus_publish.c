/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves the edge PUBLISH: who sees a slot's stamp sees the header and all of the payload that was
 * published with it, in every geometry, by acquire and by the inline fast path.
 */
#include "litmus.h"

#include <slipring/inline.h>

enum { NOT_YET, WHOLE, TORN, WRONG_SEQUENCE, OUTCOMES };
enum { RUN_MS = 300 };

static int look(struct slipring_consumer *consumer, const struct proc_ring *how, bool fast,
                uint64_t next)
{
    struct slipring_view view;
    const void *data = NULL;
    if (fast) {
        const int64_t got = slipring_fast_try_acquire(slipring_consumer_fast(consumer), 1, &data);
        if (got == -EAGAIN) {
            return NOT_YET;
        }
        CHECK_EQ(got, 1);
        const bool whole = pattern_whole(data, how->bytes, next);
        CHECK_EQ(slipring_fast_release(slipring_consumer_fast(consumer), 1), 0);
        return whole ? WHOLE : TORN;
    }
    const int code = slipring_consumer_try_acquire(consumer, 1, &view);
    if (code == -EAGAIN) {
        return NOT_YET;
    }
    CHECK_EQ(code, 0);
    const bool whole = proc_view_whole(how, &view);
    CHECK_EQ(slipring_consumer_release(consumer, &view), 0);
    return view.slot.sequence != next ? WRONG_SEQUENCE : whole ? WHOLE : TORN;
}

static void run(const struct proc_ring *how, bool fast, uint64_t seed)
{
    struct litmus_outcome outcomes[OUTCOMES] = {
        {"nothing published yet", LITMUS_SEEN, 0},
        {"stamp, header and payload", LITMUS_SEEN, 0},
        {"stamp without header or payload", LITMUS_FORBIDDEN, 0},
        {"another sequence", LITMUS_FORBIDDEN, 0},
    };
    struct litmus_source source = {how, proc_make(how, 0), 1, seed, NULL, false};
    struct slipring_consumer *consumer = proc_consumer(source.ring, how, SLIPRING_OLDEST);
    struct proc child = litmus_source_start(&source);
    uint64_t next = 0, random = seed + 1;
    for (const int64_t end = proc_in_ms(RUN_MS); litmus_goes_on(end, outcomes, OUTCOMES);) {
        for (int i = 0; i < 64; i++) {
            const int outcome = look(consumer, how, fast, next);
            outcomes[outcome].count++;
            next += outcome != NOT_YET;
            litmus_jitter(&random);
        }
    }
    proc_kill(&child);
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
            run(&proc_rings[i], false, seed);
        }
        if (i % 3 == 0) {
            run(&proc_rings[i], true, seed);
        }
    }
    return 0;
}
