/* SPDX-License-Identifier: Apache-2.0 */
#include "ring/hold.h"

#include <errno.h>

#ifndef SLR_HOLD_LOOKS /* a model has fewer */
#define SLR_HOLD_LOOKS 1000
#endif

static int take_word(struct slipring_consumer *consumer, uint64_t index)
{
    const struct slr_segment *segment = &consumer->ring->segment;
    const uint32_t holds = segment->geometry.hold_max;
    const uint64_t word = slr_hold_word(consumer->cell, slr_cell_generation(consumer->word), index);
    for (uint32_t i = 0; i < holds; i++) {
        const uint32_t at = (consumer->hold_hint + i) % holds;
        if (slr_load64(&segment->holds[at]) == 0 &&    /* hint; the swap decides */
            slr_cas64(&segment->holds[at], 0, word)) { /* HOLD */
            consumer->hold_hint = at + 1;
            return 0;
        }
    }
    return -ENOBUFS;
}

static int drop_word(const struct slr_segment *segment, uint64_t word)
{
    for (uint32_t i = 0; i < segment->geometry.hold_max; i++) {
        if (slr_load64(&segment->holds[i]) == word) { /* written by us, or by a reaper since */
            return slr_cas64(&segment->holds[i], word, 0) ? 0 : -EINVAL; /* RELEASE */
        }
    }
    return -EINVAL;
}

int slr_hold_take(struct slipring_consumer *consumer, uint64_t sequence, uint64_t span)
{
    const struct slr_segment *segment = &consumer->ring->segment;
    uint64_t held = 0;
    int result = 0;
    while (held < span && result == 0) {
        result = take_word(consumer, slr_index(segment, sequence + held));
        if (result == 0) {
            held++;
        }
    }
    if (result == 0) {
        slr_store32_release(&segment->control->holds_exist, 1); /* HOLD: after the words */
        slr_fence_full();                                       /* HOLD */
        for (uint64_t i = 0; i < span && result == 0; i++) {
            const _Atomic uint64_t *word = &slr_header(segment, sequence + i)->payload_sequence;
            uint64_t now = slr_load64_acquire(word); /* HOLD; CLAIM */
            /* The producer decides in a moment; if it was killed or stopped there, let it be. */
            for (int tries = 0; now == sequence + i + 1 && tries < SLR_HOLD_LOOKS; tries++) {
                slr_os_pause();
                now = slr_load64_acquire(word); /* HOLD */
            }
            result = now == sequence + i ? 0 : -EAGAIN;
        }
    }
    if (result != 0) {
        for (uint64_t i = 0; i < held; i++) {
            (void)drop_word(segment,
                            slr_hold_word(consumer->cell, slr_cell_generation(consumer->word),
                                          slr_index(segment, sequence + i)));
        }
    }
    return result;
}

int slr_hold_drop(struct slipring_consumer *consumer, uint64_t sequence, uint64_t span)
{
    const struct slr_segment *segment = &consumer->ring->segment;
    int result = 0;
    for (uint64_t i = 0; i < span; i++) {
        const int one =
            drop_word(segment, slr_hold_word(consumer->cell, slr_cell_generation(consumer->word),
                                             slr_index(segment, sequence + i)));
        result = result == 0 ? one : result;
    }
    return result;
}

/* How far from base the first slot lies that a hold names, at most slots; *any: is there a hold. */
static uint64_t nearest_hold(const struct slr_segment *segment, uint64_t base, uint64_t slots,
                             bool *any)
{
    uint64_t nearest = slots;
    *any = false;
    for (uint32_t i = 0; i < segment->geometry.hold_max; i++) {
        const uint64_t word = slr_load64_acquire(&segment->holds[i]); /* HOLD; RELEASE if it is 0 */
        if (word != 0) {
            /* Whatever a scribbler wrote, the distance is cut to the ring. */
            const uint64_t distance = slr_index(segment, slr_hold_index(word) - base);
            nearest = distance < nearest ? distance : nearest;
            *any = true;
        }
    }
    return nearest;
}

static uint64_t first_held(const struct slr_segment *segment, uint64_t base, uint64_t slots)
{
    bool any = false;
    uint64_t nearest = nearest_hold(segment, base, slots, &any);
    if (!any) {
        /* Lower the flag; a holder whose word the walk missed raised it before our exchange, and
         * then its word is seen now. */
        (void)slr_exchange32_seq(&segment->control->holds_exist, 0); /* HOLD */
        nearest = nearest_hold(segment, base, slots, &any);
        if (any) {
            slr_store32_release(&segment->control->holds_exist, 1); /* HOLD */
        }
    }
    return base + nearest;
}

uint64_t slr_hold_pass(struct slipring_producer *producer, uint64_t base, uint64_t slots)
{
    const struct slr_segment *segment = &producer->ring->segment;
    uint64_t held = base + slots;
    for (uint64_t i = 0; i < slots; i++) {
        _Atomic uint64_t *word = &slr_header(segment, base + i)->payload_sequence;
        const uint64_t now = slr_load64(word); /* the producer's own word */
        if (slr_index(segment, now) == slr_index(segment, base + i)) {
            slr_store64(word, now + 1); /* HOLD */
        }
    }
    slr_fence_full();                                              /* HOLD */
    if (slr_load32_acquire(&segment->control->holds_exist) != 0) { /* HOLD */
        held = first_held(segment, base, slots);
    }
    if (held == base + slots) {
        slr_invalidate(segment, base, slots); /* CLAIM */
        return held;
    }
    for (uint64_t i = 0; i < slots; i++) {
        _Atomic uint64_t *word = &slr_header(segment, base + i)->payload_sequence;
        const uint64_t now = slr_load64(word); /* the producer's own word */
        if (slr_index(segment, now) == slr_index(segment, base + i + 1)) {
            slr_store64(word, now - 1); /* as it was */
        }
    }
    return held;
}
