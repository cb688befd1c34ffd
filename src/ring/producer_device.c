/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Publishing by a device's stores (src/device.h).
 *
 * The headers of a slot are written here, before the device may store its stamp; the cursor follows
 * the stamps, raised by whoever looks. While stamps may come the handle is lent: a claim or publish of
 * its owner would overtake them. Tensor rings with the `block` policy alone: there the next sequences
 * are known beforehand, and one that will never be stamped by its device can be passed over.
 */
#include "ring/handle.h"
#include "ring/recover.h"
#include "ring/slot.h"
#include "device.h"

#include <errno.h>

#define WAIT_STEP INT64_C(100000) /* ns */

int slipring_producer_device_begin(struct slipring_producer *producer, uint64_t *next)
{
    if (slr_producer_forked(producer)) {
        return -ECHILD;
    }
    const struct slr_segment *segment = &producer->ring->segment;
    if (!slr_is_tensor(segment) || slr_overwrites(segment) || producer->fast->taken != 0 ||
        (segment->geometry.flags & (SLIPRING_TIMESTAMP | SLIPRING_CHECKSUM)) != 0) {
        return -EINVAL;
    }
    if (slr_load32(&producer->lent) != 0) { /* the owner's call; nobody else lends it */
        return -EBUSY;
    }
    slr_store64(&producer->device_next, producer->fast->next);      /* LEND: by the store below */
    slr_store64_release(&producer->ring->segment.data->devices, 1); /* PUBLISH: before any stamp */
    slr_store32_release(&producer->lent, 1);                        /* LEND */
    producer->fast->mode = SLIPRING_FAST_SLOW; /* for good: the owner's thread reads it */
    *next = producer->fast->next;
    return 0;
}

void slipring_producer_device_end(struct slipring_producer *producer)
{
    slr_store64(&producer->ring->segment.data->devices, 0); /* a hint to sleepers */
    slr_store32_release(&producer->lent, 0);                /* LEND */
}

int slipring_producer_device_claim(struct slipring_producer *producer, uint64_t slots,
                                   struct slipring_loan *loan)
{
    if (slr_producer_forked(producer)) {
        return -ECHILD;
    }
    const int result = slr_claim_try(producer, slots, loan);
    if (result == 0) {
        /* The cursor goes by the stamps: it passes over those of the lap before, which are all there,
         * while they are. */
        const int settled = slipring_producer_device_settle(producer);
        (void)settled;
    }
    return result;
}

int slipring_producer_device_abort(struct slipring_producer *producer)
{
    if (slr_producer_forked(producer)) {
        return -ECHILD;
    }
    if (producer->fast->taken == 0) {
        return -EINVAL;
    }
    producer->fast->taken = 0;
    return 0;
}

int slipring_producer_device_check(const struct slipring_producer *producer, uint64_t claimed,
                                   uint64_t slots, const struct slipring_slot *headers)
{
    if (slr_producer_forked(producer)) {
        return -ECHILD;
    }
    if (slots == 0 || slots > claimed) {
        return -EINVAL;
    }
    return slr_publish_headers_check(producer, slots, headers);
}

int slipring_producer_device_publish(struct slipring_producer *producer, uint64_t slots,
                                     const struct slipring_slot *headers)
{
    if (slr_producer_forked(producer)) {
        return -ECHILD;
    }
    struct slipring_fast *fast = producer->fast;
    const int result = slots == 0 ? -EINVAL : slr_publish_check(producer, slots, headers);
    if (result == 0) {
        slr_publish_headers(producer, slots, headers, 0);
        fast->next += slots;
        fast->taken = 0;
        slr_store64_release(&producer->device_next,
                            fast->next); /* LEND: who settles sees headers */
    }
    return result;
}

void slipring_producer_device_word(const struct slipring_producer *producer, uint64_t sequence,
                                   struct slipring_word *word)
{
    word->address = (void *)slr_stamp(&producer->ring->segment, sequence);
    word->value = sequence;
}

int slipring_producer_device_settle(struct slipring_producer *producer)
{
    const struct slr_segment *segment = &producer->ring->segment;
    const uint64_t end = slr_load64_acquire(&producer->device_next);    /* LEND */
    const uint64_t cursor = slr_load64_acquire(&segment->data->cursor); /* CURSOR */
    uint64_t to = cursor;
    while (slr_distance(end, to) > 0 &&
           slr_load64_acquire(slr_stamp(segment, to)) == to) { /* PUBLISH */
        to++;
    }
    if (to != cursor) {
        slr_raise64(&segment->data->cursor, to); /* CURSOR */
        slr_bell_check(producer->consumers);     /* SLEEP */
    }
    return to == end;
}

void slipring_producer_device_stamp(struct slipring_producer *producer, uint64_t sequence,
                                    uint64_t slots, int whole)
{
    const struct slr_segment *segment = &producer->ring->segment;
    for (uint64_t s = sequence; s != sequence + slots; s++) {
        if (slr_load64_acquire(slr_stamp(segment, s)) == s) { /* PUBLISH: by the device */
            continue;
        }
        if (!whole) {
            slr_store64(&slr_header(segment, s)->payload_sequence,
                        s - 1); /* by the release below */
        }
        slr_store64_release(slr_stamp(segment, s), s); /* PUBLISH, of a pass if not whole */
    }
}

/* The owner gives the handle up while it is lent: wait a while for the borrower. What does not come
 * keeps the mark in data, and the next producer waits for it. */
void slr_device_wait(struct slipring_producer *producer)
{
    const int64_t until = slr_os_now() + SLR_RETIRED_NS;
    while (slr_lent(producer) && slr_os_now() < until) {
        const int settled = slipring_producer_device_settle(producer);
        (void)settled; /* its borrower ends the loan when all is */
        (void)slr_os_sleep(slr_os_now() + WAIT_STEP);
    }
}
