/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: in a pair ring, whose default headers stay in their lines from lap to lap, each message
 * is read with its own header and with the right count of the messages before it, however default
 * and other headers, batches and producers follow each other.
 */
#define _GNU_SOURCE
#include "ring/acquire.h"
#include "ring/handle.h"
#include "ring/slot.h"
#include "test.h"

#include <slipring/inline.h>

#define LAPS 40u
#define BATCH 8u

static uint64_t state = 1;

static uint64_t draw(uint64_t below)
{
    state = state * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (state >> 33) % below;
}

static struct slipring_producer *attach(struct slipring_ring *ring)
{
    struct slipring_producer *producer;
    CHECK_EQ(slipring_producer_attach(ring, NULL, &producer, NULL), 0);
    return producer;
}

/* The header of a sequence: by default, or one that tells it. */
static struct slipring_slot header_of(uint64_t sequence, bool plain)
{
    const struct slipring_slot other = {
        .bytes = 1 + sequence % 64, .tag = sequence + 1, .messages = 2 + (uint32_t)sequence % 5};
    const struct slipring_slot one = {.bytes = 64, .tag = 0, .messages = 1};
    return plain ? one : other;
}

/* Publish slots messages; by inline.h, by the library, or with headers of their own. */
static void publish(struct slipring_producer *producer, uint64_t slots, uint64_t how)
{
    struct slipring_slot headers[BATCH];
    struct slipring_loan loan;
    void *data;
    if (how == 0) {
        struct slipring_fast *fast = slipring_producer_fast(producer);
        CHECK_EQ(slipring_fast_try_claim(fast, slots, &data), 0);
        CHECK_EQ(slipring_fast_publish(fast, slots), 0);
        return;
    }
    CHECK_EQ(slipring_producer_try_claim(producer, slots, &loan), 0);
    for (uint64_t i = 0; i < slots; i++) {
        headers[i] = header_of(loan.sequence + i, false);
    }
    CHECK_EQ(slipring_producer_publish(producer, slots, how == 1 ? NULL : headers), 0);
}

int main(void)
{
    struct slipring_config config;
    struct slipring_ring *ring;
    struct slipring_consumer *consumer;
    slipring_config_init(&config);
    config.slot_bytes = 64;
    config.slots = 32;
    config.start_sequence = UINT64_MAX - 100; /* through the wrap, too */
    CHECK_EQ(slipring_ring_create(NULL, &config, &ring, NULL), 0);
    struct slipring_producer *producer = attach(ring);
    CHECK_EQ(slipring_consumer_attach(ring, NULL, &consumer, NULL), 0);
    CHECK_EQ(slipring_producer_fast(producer)->mode, SLIPRING_FAST_HEADER);
    const uint64_t slots = slr_slots(&ring->segment);
    uint64_t s = config.start_sequence, messages = 0;
    for (const uint64_t end = s + LAPS * slots; slr_distance(end, s) > 0;) {
        /* Whole laps of default headers now and then, so that they are left as they are. */
        const uint64_t how = (s - config.start_sequence) / slots % 4 == 3 ? draw(8) : draw(2);
        const uint64_t count = 1 + draw(BATCH);
        if (draw(50) == 0) {
            slipring_producer_detach(producer);
            producer = attach(ring);
        }
        publish(producer, count, how);
        for (const uint64_t to = s + count; s != to; s++) {
            const struct slipring_slot expected = header_of(s, how < 2);
            struct slipring_view view;
            struct slr_counts counts;
            CHECK_EQ(slipring_consumer_try_acquire(consumer, 1, &view), 0);
            CHECK_EQ(view.slot.sequence, s);
            CHECK_EQ(view.slot.bytes, expected.bytes);
            CHECK_EQ(view.slot.tag, expected.tag);
            CHECK_EQ(view.slot.messages, expected.messages);
            slr_counts_read(&ring->segment, s, &counts);
            CHECK_EQ(counts.messages_before, messages);
            CHECK_EQ(slipring_consumer_release(consumer, &view), 0);
            messages += expected.messages;
        }
    }
    slipring_consumer_detach(consumer);
    slipring_producer_detach(producer);
    slipring_ring_close(ring);
    return 0;
}
