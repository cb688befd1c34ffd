/* SPDX-License-Identifier: Apache-2.0 */
/* What a message says of itself, where to begin reading, and how large a gap was. */
#include "ring/acquire.h"

#include <xxhash.h>

/* ---- what a message says of itself ---- */

void slr_slot_read(const struct slr_segment *segment, uint64_t sequence, struct slipring_slot *slot)
{
    *slot = (struct slipring_slot){.sequence = sequence,
                                   .bytes = segment->geometry.slot_bytes,
                                   .messages = 1,
                                   .deliveries = 1};
    if (slr_is_compact(segment)) {
        return;
    }
    const struct slr_header *header = slr_header(segment, sequence);
    slot->bytes = slr_load64(&header->bytes);
    slot->tag = slr_load64(&header->tag);
    slot->timestamp_ns = (int64_t)slr_load64(&header->timestamp_ns);
    slot->messages = slr_load32(&header->messages);
    if (segment->geometry.shapes_in_header != 0) {
        slot->shapes = (const int64_t *)(const void *)slr_shapes(segment, sequence);
    }
    /* A producer that wrote nonsense must not lead a reader out of the ring. */
    const uint64_t most = slr_is_tensor(segment)
                              ? slr_span(segment, sequence) * segment->geometry.payload_stride
                              : segment->geometry.payload_stride - segment->geometry.header_bytes;
    slot->bytes = slot->bytes > most ? most : slot->bytes;
}

bool slr_verify(const struct slr_segment *segment, uint64_t sequence)
{
    struct slipring_slot slot;
    slr_slot_read(segment, sequence, &slot);
    return XXH3_64bits(slr_payload(segment, sequence), slot.bytes) ==
           slr_load64(slr_check(segment, sequence)); /* as in slr_slot_read() */
}

void slr_counts_read(const struct slr_segment *segment, uint64_t sequence,
                     struct slr_counts *counts)
{
    *counts = (struct slr_counts){.known = !slr_is_compact(segment)};
    if (counts->known) {
        const struct slr_header *header = slr_header(segment, sequence);
        counts->messages_before = sequence + slr_load64(&header->messages_before);
        counts->passed_before = slr_load64(&header->passed_before);
        counts->messages = slr_load32(&header->messages);
    }
}

static void count_from(struct slipring_consumer *consumer, const struct slr_counts *last)
{
    if (last->known) {
        consumer->messages = last->messages_before + last->messages;
        consumer->passed = last->passed_before;
        consumer->counted = true;
    }
}

void slr_view_set(struct slipring_consumer *consumer, uint64_t slots, const struct slr_counts *last,
                  struct slipring_view *view)
{
    const struct slr_segment *segment = &consumer->ring->segment;
    view->data = slr_payload(segment, view->slot.sequence);
    view->stride = segment->geometry.payload_stride;
    view->slots = slots;
    view->missed = consumer->pending_missed;
    view->missed_messages = consumer->pending_messages;
    view->token = 0;
    consumer->pending_missed = 0;
    consumer->pending_messages = 0;
    count_from(consumer, last);
}

void slr_view_plain(struct slipring_consumer *consumer, uint64_t first, uint64_t slots,
                    struct slipring_view *view)
{
    const struct slr_segment *segment = &consumer->ring->segment;
    /* Word by word: for a whole struct compilers call in a string operation that costs more. */
    view->slot.sequence = first;
    view->slot.bytes = segment->geometry.slot_bytes;
    view->slot.tag = 0;
    view->slot.timestamp_ns = 0;
    view->slot.messages = 1;
    view->slot.deliveries = 1;
    view->slot.shapes = NULL;
    view->data = slr_payload(segment, first);
    view->stride = segment->geometry.payload_stride;
    view->slots = slots;
    view->missed = 0;
    view->missed_messages = 0;
    view->token = 0;
    if (!slr_is_compact(segment)) {
        struct slr_counts last;
        slr_slot_read(segment, first, &view->slot);
        slr_counts_read(segment, first + slots - 1, &last);
        count_from(consumer, &last);
    }
}

/* ---- where to begin, what was lost ---- */

void slr_lose(struct slipring_consumer *consumer, uint64_t from, uint64_t to,
              const struct slr_counts *counts)
{
    const struct slr_segment *segment = &consumer->ring->segment;
    uint64_t slots = to - from;
    uint64_t messages = slots;
    if (counts->known && consumer->counted) {
        const uint64_t passed = counts->passed_before - consumer->passed;
        messages = counts->messages_before - consumer->messages;
        slots = passed <= slots ? slots - passed : slots;
    }
    consumer->pending_missed += slots;
    consumer->pending_messages += messages;
    (void)slr_add64(&consumer->missed, slots); /* counters, for display */
    (void)slr_add64(&consumer->missed_messages, messages);
    if (consumer->cell != UINT32_MAX) {
        slr_store64(&segment->cells[consumer->cell].missed, slr_load64(&consumer->missed));
    }
}

/* To the first slot of the message that sequence lies in, or of the next one if that is gone. */
static uint64_t message_start(const struct slr_segment *segment, uint64_t sequence, uint64_t oldest)
{
    for (uint64_t steps = 0; steps < slr_slots(segment); steps++) {
        if (slr_slot_look(segment, sequence) != SLR_SLOT_HERE || slr_span(segment, sequence) != 0) {
            return sequence;
        }
        const uint64_t back = slr_load32(&slr_header(segment, sequence)->span) & ~SLR_SPAN_LATER;
        if (back <= slr_slots(segment) && slr_distance(sequence - back, oldest) >= 0) {
            return sequence - back;
        }
        sequence++;
    }
    return sequence;
}

uint64_t slr_start(struct slipring_consumer *consumer,
                   const struct slipring_consumer_config *config)
{
    const struct slr_segment *segment = &consumer->ring->segment;
    const uint64_t oldest = slr_oldest(segment);
    const uint64_t cursor = slr_load64_acquire(&segment->data->cursor); /* CURSOR */
    uint64_t start = config->start == SLIPRING_OLDEST     ? oldest
                     : config->start == SLIPRING_SEQUENCE ? config->sequence
                                                          : cursor;
    if (slr_distance(start, cursor) > 0) {
        start = cursor;
    }
    uint64_t gone = start; /* where the gap begins that a given sequence left */
    if (slr_distance(oldest, start) > 0) {
        start = oldest;
    } else {
        gone = start;
    }
    if (start != cursor) {
        const uint64_t first = message_start(segment, start, oldest);
        start = slr_distance(first, cursor) > 0 ? cursor : first;
    }
    const uint64_t begin = segment->geometry.start_sequence;
    consumer->counted = start == begin;
    if (start != begin && slr_slot_look(segment, start - 1) == SLR_SLOT_HERE &&
        slr_span(segment, start - 1) != 0) {
        struct slr_counts counts;
        slr_counts_read(segment, start - 1, &counts);
        count_from(consumer, &counts);
    }
    if (config->start == SLIPRING_SEQUENCE && slr_distance(start, gone) > 0) {
        const struct slr_counts unknown = {.known = false}; /* what lay before the gap is gone */
        slr_lose(consumer, gone, start, &unknown);
    }
    return start;
}
