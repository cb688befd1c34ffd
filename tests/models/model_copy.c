/* SPDX-License-Identifier: Apache-2.0 */
/*
 * COPY: an overwrite ring of two slots, full; a reader copies the oldest message out, two words,
 * while the producer publishes three more over it. TENSOR: with headers. Words of payload are
 * relaxed atomics here, as on every processor; in C the producer's half is a race by intent.
 * Forbidden: a copy that counts and is torn, or of another message; a sequence told wrong.
 * Fails with: the acquire fence of slr_slot_intact() or the release fence of the claim removed.
 * Faults: B4, E9.
 */
#define MODEL_RACY
#define MODEL_WORDS 2
#define MODEL_MEMBERS 1
#define MODEL_FULL SLIPRING_OVERWRITE
#ifdef TENSOR
#define MODEL_GEOMETRY SLIPRING_GEOMETRY_TENSOR
#endif
#ifndef MESSAGES
#define MESSAGES 3
#endif
#include "core.h"

static void *producer(void *context)
{
    struct slipring_producer p;
    struct slipring_fast fast;
    (void)context;
    model_producer(&p, &fast, 1, 2);
    for (uint64_t s = 2; s < 2 + MESSAGES; s++) {
        model_assert(claim_room(&p, 1) == 0);
        model_publish(&p, 100 + s);
    }
    return (void *)0;
}

static void *reader(void *context)
{
    struct slipring_consumer c;
    struct slipring_fast fast;
    struct slipring_view view;
    uint64_t copy[2];
    (void)context;
    model_consumer(&c, &fast, 2, UINT32_MAX, SLR_NO_GROUP, SLR_KIND_READER, 0);
    if (slr_reader_copy(&c, copy, sizeof copy, &view) == 0) {
        model_assert(copy[0] == 100 + view.slot.sequence && copy[1] == copy[0]);
        model_assert(view.missed == view.slot.sequence);
    }
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
    model_thread(1, reader, 0);
    return 0;
}
