/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves the edge CURSOR: a reader that lags and takes many slots by one load of the cursor gets
 * whole slots only, a prefix of what was published and never a hole; who saw the cursor past a
 * sequence is never told that it is not there.
 */
#include "litmus.h"

enum { BATCH = 4, RUN_MS = 300 };
enum { NOTHING, PREFIX, BATCHES, TORN, OUT_OF_LINE, DENIED, OUTCOMES };

/* Header and payload of every slot, not of the first alone. */
static bool all_whole(const struct slipring_consumer *consumer, const struct proc_ring *how,
                      const struct slipring_view *view)
{
    bool whole = proc_view_whole(how, view);
    for (uint64_t i = 0; how->geometry != SLIPRING_GEOMETRY_COMPACT && i < view->slots; i++) {
        struct slipring_slot slot;
        CHECK_EQ(slipring_view_slot(consumer, view, i, &slot), 0);
        whole = whole && slot.tag == view->slot.sequence + i &&
                slot.messages == proc_messages(view->slot.sequence + i);
    }
    return whole;
}

static void run(const struct proc_ring *how, uint64_t seed)
{
    struct litmus_outcome outcomes[OUTCOMES] = {
        {"nothing published yet", LITMUS_ALLOWED, 0},
        {"less than the cursor allows", LITMUS_ALLOWED, 0},
        {"all up to the cursor", LITMUS_SEEN, 0},
        {"a hole, or a torn slot", LITMUS_FORBIDDEN, 0},
        {"another sequence", LITMUS_FORBIDDEN, 0},
        {"cursor seen, slot not", LITMUS_FORBIDDEN, 0},
    };
    struct litmus_source source = {how, proc_make(how, 0), BATCH, seed, NULL, false};
    struct slipring_consumer *consumer = proc_consumer(source.ring, how, SLIPRING_OLDEST);
    struct proc child = litmus_source_start(&source);
    const uint64_t slots = proc_info(source.ring).slots;
    uint64_t next = 0, random = seed + 1, several = 0;
    for (const int64_t end = proc_in_ms(RUN_MS); litmus_goes_on(end, outcomes, OUTCOMES);) {
        struct slipring_view view;
        const uint64_t cursor = proc_info(source.ring).cursor;
        const int code = slipring_consumer_try_acquire(consumer, slots, &view);
        if (code == -EAGAIN) {
            outcomes[(int64_t)(cursor - next) > 0 ? DENIED : NOTHING].count++;
            continue;
        }
        CHECK_EQ(code, 0);
        const bool whole = all_whole(consumer, how, &view);
        const bool short_of = (int64_t)(cursor - next) > (int64_t)view.slots;
        outcomes[view.slot.sequence != next ? OUT_OF_LINE
                 : !whole                   ? TORN
                 : short_of                 ? PREFIX
                                            : BATCHES]
            .count++;
        several += view.slots > BATCH;
        next += view.slots;
        CHECK_EQ(slipring_consumer_release(consumer, &view), 0);
        for (uint64_t i = proc_random(&random) % 64; i != 0; i--) {
            litmus_jitter(&random);
        }
    }
    proc_kill(&child);
    litmus_judge(how->name, outcomes, OUTCOMES);
    CHECK(several > 0);
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
