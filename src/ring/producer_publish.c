/* SPDX-License-Identifier: Apache-2.0 */
/* Publish: the header of a message, its stamp, and the cursor behind the last one. */
#include "ring/handle.h"
#include "ring/slot.h"

#include <errno.h>
#include <xxhash.h>

static int check_header(const struct slr_segment *segment, const struct slipring_slot *header,
                        uint64_t most)
{
    const struct slr_geometry *geometry = &segment->geometry;
    if (slr_is_compact(segment)) {
        return -EINVAL; /* there is no header to carry it */
    }
    if (header->bytes > most) {
        return -EMSGSIZE;
    }
    if (header->shapes == NULL) {
        return 0;
    }
    if (geometry->shapes_in_header == 0) {
        return -EINVAL;
    }
    const int64_t *extent = header->shapes;
    for (uint32_t f = 0; f < geometry->field_count; f++) {
        const struct slipring_field *field = &geometry->fields[f].field;
        for (uint32_t d = 0; d < field->ndim; d++, extent++) {
            if (*extent < 0 || *extent > field->shape[d]) {
                return -EINVAL;
            }
        }
    }
    return 0;
}

static void write_shapes(const struct slr_segment *segment, uint64_t s, const int64_t *given)
{
    const struct slr_geometry *geometry = &segment->geometry;
    _Atomic uint64_t *out = (_Atomic uint64_t *)(void *)slr_shapes(segment, s);
    for (uint32_t f = 0; f < geometry->field_count; f++) {
        const struct slipring_field *field = &geometry->fields[f].field;
        for (uint32_t d = 0; d < field->ndim; d++) {
            const int64_t extent = given != NULL ? *given++ : field->shape[d];
            slr_store64(out++, (uint64_t)extent); /* relaxed: the stamp's release orders it */
        }
    }
}

/* All header words but the stamp; relaxed, since the stamp's release orders them. */
static void write_header(struct slipring_producer *producer, uint64_t s, uint64_t span,
                         const struct slipring_slot *given, int64_t timestamp_ns)
{
    const struct slr_segment *segment = &producer->ring->segment;
    const struct slr_geometry *geometry = &segment->geometry;
    struct slipring_fast *fast = producer->fast;
    struct slr_header *header = slr_header(segment, s);
    const uint64_t bytes = given != NULL && given->bytes != 0 ? given->bytes : geometry->slot_bytes;
    const uint32_t messages = given != NULL && given->messages != 0 ? given->messages : 1;
    slr_store64(&header->bytes, bytes);
    slr_store64(&header->tag, given != NULL ? given->tag : 0);
    slr_store64(&header->messages_before, fast->messages - s);
    slr_store64(&header->passed_before, fast->passed);
    slr_store64(&header->timestamp_ns, (uint64_t)timestamp_ns);
    slr_store32(&header->messages, messages);
    slr_store32(&header->span, (uint32_t)span);
    if (geometry->check_in_header != 0) {
        slr_store64(slr_check(segment, s), XXH3_64bits(slr_payload(segment, s), bytes));
    }
    if (geometry->shapes_in_header != 0) {
        write_shapes(segment, s, given != NULL ? given->shapes : NULL);
    }
    slr_store64(&header->payload_sequence, s);
    fast->messages += messages;
    fast->plain = s + 1; /* this one may be no default one */
}

static void show(struct slipring_producer *producer, uint64_t end)
{
    struct slipring_fast *fast = producer->fast;
    fast->next = end;
    fast->taken = 0;
    slr_store64_release((_Atomic uint64_t *)(void *)fast->cursor, end); /* CURSOR */
    slr_bell_check(producer->consumers);                                /* SLEEP */
}

static int64_t timestamp(const struct slr_segment *segment)
{
    return (segment->geometry.flags & SLIPRING_TIMESTAMP) != 0 ? slr_os_now() : 0;
}

int slr_publish_check(const struct slipring_producer *producer, uint64_t slots,
                      const struct slipring_slot *headers)
{
    if (producer->fast->taken == 0 || slots > producer->fast->taken) {
        return -EINVAL;
    }
    return slr_publish_headers_check(producer, slots, headers);
}

int slr_publish_headers_check(const struct slipring_producer *producer, uint64_t slots,
                              const struct slipring_slot *headers)
{
    const struct slr_segment *segment = &producer->ring->segment;
    for (uint64_t i = 0; headers != NULL && i < slots; i++) {
        const int result =
            check_header(segment, &headers[i],
                         segment->geometry.payload_stride -
                             (slr_is_tensor(segment) ? 0 : segment->geometry.header_bytes));
        if (result != 0) {
            return result;
        }
    }
    return 0;
}

void slr_publish_headers(struct slipring_producer *producer, uint64_t slots,
                         const struct slipring_slot *headers, int64_t now)
{
    for (uint64_t i = 0; i < slots; i++) {
        write_header(producer, producer->fast->next + i, 1, headers != NULL ? &headers[i] : NULL,
                     now);
    }
}

int slipring_producer_publish(struct slipring_producer *producer, uint64_t slots,
                              const struct slipring_slot *headers)
{
    if (slr_producer_forked(producer)) {
        return -ECHILD;
    }
    const struct slr_segment *segment = &producer->ring->segment;
    struct slipring_fast *fast = producer->fast;
    if (fast->mode != SLIPRING_FAST_SLOW && headers == NULL && slots != 0 && slots <= fast->taken) {
        return slipring_fast_publish(fast, slots);
    }
    if (slr_lent(producer)) {
        return -EAGAIN; /* it would overtake what a device has yet to stamp */
    }
    const int result = slr_publish_check(producer, slots, slots == 0 ? NULL : headers);
    if (result != 0 || slots == 0) {
        return result != 0 ? result : slipring_producer_abort(producer);
    }
    const int64_t now = timestamp(segment);
    const uint64_t end = fast->next + slots;
    for (uint64_t i = 0; i < slots; i++) {
        const uint64_t s = fast->next + i;
        if (!slr_is_compact(segment)) {
            write_header(producer, s, 1, headers != NULL ? &headers[i] : NULL, now);
        }
        slr_store64_release(slr_stamp(segment, s), s); /* PUBLISH */
    }
    show(producer, end);
    return 0;
}

int slipring_producer_publish_spanning(struct slipring_producer *producer,
                                       const struct slipring_slot *header)
{
    if (slr_producer_forked(producer)) {
        return -ECHILD;
    }
    const struct slr_segment *segment = &producer->ring->segment;
    struct slipring_fast *fast = producer->fast;
    const uint64_t stride = segment->geometry.payload_stride;
    if (slr_lent(producer)) {
        return -EAGAIN;
    }
    if (fast->taken == 0 || header == NULL || !slr_is_tensor(segment) ||
        header->bytes <= (fast->taken - 1) * stride) {
        return -EINVAL;
    }
    const int result = check_header(segment, header, fast->taken * stride);
    if (result != 0) {
        return result;
    }
    const uint64_t first = fast->next;
    const uint64_t span = fast->taken;
    /* From the last slot to the first: a message is seen whole or not at all. */
    for (uint64_t i = span - 1; i > 0; i--) {
        struct slr_header *later = slr_header(segment, first + i);
        slr_store64(&later->messages_before, fast->messages - (first + i));
        slr_store64(&later->passed_before, fast->passed);
        slr_store32(&later->messages, 0);
        slr_store32(&later->span, SLR_SPAN_LATER | (uint32_t)i);
        slr_store64(&later->payload_sequence, first + i); /* all relaxed: before the stamp */
        slr_store64_release(slr_stamp(segment, first + i), first + i); /* PUBLISH */
    }
    write_header(producer, first, span, header, timestamp(segment));
    slr_store64_release(slr_stamp(segment, first), first); /* PUBLISH */
    show(producer, first + span);
    return 0;
}

int slipring_fast_publish_slow(struct slipring_fast *fast, uint64_t slots)
{
    struct slipring_producer *producer = fast->handle;
    return producer == NULL ? -ECHILD : slipring_producer_publish(producer, slots, NULL);
}
