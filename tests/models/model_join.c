/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JOIN: a consumer joins a ring of two slots, in which nobody gates, while the producer publishes
 * three more messages (stories 13 and 14).
 * Forbidden: that it starts at a message which the producer does not know to be gated: a gap, a
 * payload overwritten while it is read, a start below the oldest.
 * Fails with: either full fence of JOIN removed; the limit announced after the look.
 * Faults: E9.
 */
#define MODEL_MEMBERS 1
#ifndef MESSAGES
#define MESSAGES 3
#endif
#ifndef START
#define START SLIPRING_OLDEST
#endif
#include "core.h"

static void *producer(void *context)
{
    struct slipring_producer p;
    struct slipring_fast fast;
    (void)context;
    model_producer(&p, &fast, 1, 2);
    for (uint64_t s = 2; s < 2 + MESSAGES; s++) {
        while (claim_room(&p, 1) != 0) {
            model_again();
        }
        model_publish(&p, 100 + s);
    }
    return (void *)0;
}

static void *joiner(void *context)
{
    struct slipring_consumer_config config;
    struct slipring_consumer c;
    struct slipring_fast fast;
    struct slipring_view view;
    uint64_t start = 0;
    (void)context;
    model_consumer(&c, &fast, 2, 0, SLR_NO_GROUP, SLR_KIND_ONE, 0);
    config.start = START;
    config.slow = SLIPRING_GATE;
    model_assert(try_cell(&c, 0) == 0);
    model_assert(join_alone(&c, &config, &start) == 0);
    fast.next = start;
    fast.end = start;
    fast.taken = start;
    for (uint64_t i = 0; i < 2; i++) {
        while (acquire_one(&c, 1, &view) != 0) {
            model_again();
        }
        model_assert(view.slot.sequence == start + i && view.missed == 0);
        model_assert(model_read_payload((const uint64_t *)view.data) == 100 + start + i);
        model_assert(release_one(&c, &view) == 0);
    }
    slr_cell_leave(&c);
    return (void *)0;
}

int main(void)
{
    struct slipring_producer p;
    struct slipring_fast fast;
    model_ring();
    model_producer(&p, &fast, 1, 0);
    model_published(&p, 2, 100);
    model_thread(0, producer, 0);
    model_thread(1, joiner, 0);
    return 0;
}
