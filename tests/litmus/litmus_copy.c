/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves the edge COPY: what copy hands out of a ring that is overwritten at full speed is one
 * message as published, header and payload, or is not handed out; and seen and missed make up all.
 * For members and for readers of the data object alone.
 * Faults: B4, E9.
 */
#include "litmus.h"

enum { RUN_MS = 400 };
enum { WHOLE, TORN, NOTHING, LAPPED, MISCOUNTED, OUTCOMES };

static void run(const struct proc_ring *how, bool data_alone, uint64_t seed)
{
    struct litmus_outcome outcomes[OUTCOMES] = {
        {"a message, whole", LITMUS_SEEN, 0},
        {"torn, or under another's header", LITMUS_FORBIDDEN, 0},
        {"nothing new", LITMUS_ALLOWED, 0},
        {"lapped before", LITMUS_SEEN, 0},
        {"sequence not where the gap said", LITMUS_FORBIDDEN, 0},
    };
    struct litmus_source source = {how, proc_make(how, 0), 3, seed, NULL, false};
    struct slipring_ring *ring = source.ring;
    if (data_alone) {
        int data_fd, control_fd;
        slipring_ring_fds(source.ring, &data_fd, &control_fd);
        CHECK_EQ(slipring_ring_from_fds(data_fd, -1, &ring, NULL), 0);
    }
    struct slipring_consumer *consumer = proc_consumer(ring, how, SLIPRING_OLDEST);
    struct proc child = litmus_source_start(&source);
    uint64_t next = 0, random = seed + 1, buffer[64];
    for (const int64_t end = proc_in_ms(RUN_MS); litmus_goes_on(end, outcomes, OUTCOMES);) {
        struct slipring_view view;
        const int code = slipring_consumer_try_copy(consumer, buffer, sizeof(buffer), &view);
        if (code == -EAGAIN) {
            outcomes[NOTHING].count++;
            continue;
        }
        CHECK_EQ(code, 0);
        outcomes[proc_view_whole(how, &view) ? WHOLE : TORN].count++;
        outcomes[MISCOUNTED].count += view.slot.sequence != next + view.missed;
        outcomes[LAPPED].count += view.missed != 0;
        next = view.slot.sequence + 1;
        for (uint64_t i = proc_random(&random) % 16; i != 0; i--) {
            litmus_jitter(&random);
        }
    }
    proc_kill(&child);
    litmus_judge(how->name, outcomes, OUTCOMES);
    slipring_consumer_detach(consumer);
    if (data_alone) {
        slipring_ring_close(ring);
    }
    slipring_ring_close(source.ring);
}

int main(void)
{
    proc_begin(60);
    const uint64_t seed = proc_seed();
    for (unsigned i = 2; i < PROC_RINGS; i += 3) {
        run(&proc_rings[i], false, seed);
        run(&proc_rings[i], true, seed);
    }
    return 0;
}
