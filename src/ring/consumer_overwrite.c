/* SPDX-License-Identifier: Apache-2.0 */
/* Readers of overwrite rings: the producer does not wait for them. Every look may be overtaken, so
 * what was read counts only after a second look (COPY), or under a hold (HOLD). */
#include "base/copy.h"
#include "ring/acquire.h"
#include "ring/hold.h"
#include "ring/recover.h"

#include <errno.h>
#include <xxhash.h>

/* Where to go on after a loss at fast->next: at least one further. */
static uint64_t resume_at(const struct slipring_consumer *consumer)
{
    const struct slr_segment *segment = &consumer->ring->segment;
    const uint64_t oldest = slr_oldest(segment);
    const uint64_t next = consumer->fast->next + 1;
    return slr_distance(oldest, next) > 0 ? oldest : next;
}

/* A loss is told once the reader knows where it goes on; until then it is only remembered. */
static void lost(struct slipring_consumer *consumer, uint64_t to)
{
    if (!consumer->losing) {
        consumer->losing = true;
        consumer->lost_from = consumer->fast->next;
    }
    consumer->fast->next = to;
}

/* What may be overtaken, read together and validated together. */
struct message {
    struct slipring_slot slot;
    struct slr_counts counts;
    uint64_t span;
    uint64_t check;
};

static void read_message(struct slipring_consumer *consumer, struct message *message)
{
    const struct slr_segment *segment = &consumer->ring->segment;
    const uint64_t s = consumer->fast->next;
    slr_slot_read(segment, s, &message->slot);
    slr_counts_read(segment, s, &message->counts);
    message->span = slr_span(segment, s);
    message->check = segment->geometry.check_in_header != 0 ? slr_load64(slr_check(segment, s)) : 0;
}

/* A message was read at fast->next: what lay before it since lost_from is lost. */
static void set_view(struct slipring_consumer *consumer, const struct message *message,
                     struct slipring_view *view)
{
    if (consumer->losing) {
        consumer->losing = false;
        slr_lose(consumer, consumer->lost_from, consumer->fast->next, &message->counts);
    }
    view->slot = message->slot;
    slr_view_set(consumer, message->span, &message->counts, view);
    consumer->fast->next += message->span;
    if (consumer->cell != UINT32_MAX) { /* for display; gates nothing */
        slr_store64(&consumer->ring->segment.cells[consumer->cell].released, consumer->fast->next);
    }
}

/* Put a message under fast->next. */
static int find_next(struct slipring_consumer *consumer)
{
    const struct slr_segment *segment = &consumer->ring->segment;
    struct slipring_fast *fast = consumer->fast;
    for (uint64_t steps = 0; steps < 2 * slr_slots(segment) + 2; steps++) {
        switch (slr_slot_look(segment, fast->next)) {
        case SLR_SLOT_EMPTY:
            return -EAGAIN;
        case SLR_SLOT_PASSED:
            fast->next++;
            if (!consumer->losing) {
                consumer->passed++;
            }
            break;
        case SLR_SLOT_GONE:
            lost(consumer, resume_at(consumer));
            break;
        case SLR_SLOT_HERE:
            if (slr_span(segment, fast->next) != 0) {
                return 0;
            }
            lost(consumer, fast->next + 1); /* inside a message whose first slot is gone */
            break;
        }
    }
    return -EAGAIN;
}

static void go_to_newest(struct slipring_consumer *consumer)
{
    const struct slr_segment *segment = &consumer->ring->segment;
    struct slipring_fast *fast = consumer->fast;
    uint64_t at = slr_load64_acquire(&segment->data->cursor); /* CURSOR */
    for (uint64_t steps = 0; steps < slr_slots(segment) && slr_distance(at, fast->next) > 1;
         steps++) {
        at--;
        if (slr_slot_look(segment, at) == SLR_SLOT_HERE && slr_span(segment, at) != 0) {
            lost(consumer, at);
            return;
        }
    }
}

static bool still_there(const struct slr_segment *segment, uint64_t first, uint64_t span)
{
    for (uint64_t i = 0; i < span; i++) {
        if (!slr_slot_intact(segment, first + i)) { /* COPY */
            return false;
        }
    }
    return true;
}

static bool checksum_wrong(struct slipring_consumer *consumer, uint64_t sequence, const void *data,
                           uint64_t bytes, uint64_t check)
{
    if ((consumer->flags & SLIPRING_VERIFY) == 0 || XXH3_64bits(data, bytes) == check) {
        return false;
    }
    (void)slr_add64(&consumer->damaged, 1); /* counter */
    slr_log(&consumer->ring->log, SLIPRING_LOG_ERROR, "checksum of sequence %llu does not match",
            (unsigned long long)sequence);
    return true;
}

int slr_reader_hold(struct slipring_consumer *consumer, struct slipring_view *view)
{
    const struct slr_segment *segment = &consumer->ring->segment;
    struct slipring_fast *fast = consumer->fast;
    if (consumer->cell == UINT32_MAX || !slr_is_tensor(segment)) {
        return -EINVAL;
    }
    if ((consumer->flags & SLIPRING_NEWEST) != 0) {
        go_to_newest(consumer);
    }
    for (uint64_t tries = 0; tries < slr_slots(segment); tries++) {
        const int found = find_next(consumer);
        if (found != 0) {
            return found;
        }
        const uint64_t span = slr_span(segment, fast->next);
        const int result = slr_hold_take(consumer, fast->next, span == 0 ? 1 : span);
        if (result == -ENOBUFS) {
            slr_hold_reap(consumer->ring);
        }
        if (result != 0 && result != -EAGAIN) {
            return result;
        }
        if (result == 0) {
            struct message message; /* held: it stays as it is */
            read_message(consumer, &message);
            if (message.span == span && span != 0) {
                set_view(consumer, &message, view);
                const bool wrong = checksum_wrong(consumer, view->slot.sequence, view->data,
                                                  view->slot.bytes, message.check);
                return wrong ? -EBADMSG : 0;
            }
            (void)slr_hold_drop(consumer, fast->next, span == 0 ? 1 : span);
        }
        lost(consumer, resume_at(consumer));
    }
    return -EAGAIN;
}

int slr_reader_release(struct slipring_consumer *consumer, const struct slipring_view *view)
{
    const struct slr_segment *segment = &consumer->ring->segment;
    if (view->slots == 0 || view->slots > slr_slots(segment) || consumer->cell == UINT32_MAX ||
        !slr_is_tensor(segment)) {
        return -EINVAL;
    }
    const bool whole = still_there(segment, view->slot.sequence, view->slots);
    const int result = slr_hold_drop(consumer, view->slot.sequence, view->slots);
    slr_bell_check(consumer->producer); /* SLEEP: it may wait for this slot */
    return whole ? result : -ESTALE;
}

int slr_reader_copy(struct slipring_consumer *consumer, void *buffer, uint64_t bytes,
                    struct slipring_view *view)
{
    const struct slr_segment *segment = &consumer->ring->segment;
    struct slipring_fast *fast = consumer->fast;
    if ((consumer->flags & SLIPRING_NEWEST) != 0) {
        go_to_newest(consumer);
    }
    for (uint64_t tries = 0; tries < slr_slots(segment); tries++) {
        const int found = find_next(consumer);
        if (found != 0) {
            return found;
        }
        struct message message;
        read_message(consumer, &message);
        if (message.span != 0 && message.slot.bytes <= bytes) {
            slr_copy_racy(buffer, slr_payload(segment, fast->next), message.slot.bytes);
        }
        if (message.slot.shapes != NULL) {
            slr_copy_racy(consumer->shapes, (const uint8_t *)message.slot.shapes,
                          segment->geometry.dims * sizeof(int64_t));
            message.slot.shapes = consumer->shapes;
        }
        if (message.span == 0 || !still_there(segment, fast->next, message.span)) {
            lost(consumer, resume_at(consumer));
            continue;
        }
        if (message.slot.bytes > bytes) {
            view->slot.bytes = message.slot.bytes;
            return -EMSGSIZE;
        }
        set_view(consumer, &message, view);
        view->data = buffer;
        view->stride = 0;
        const bool wrong = checksum_wrong(consumer, view->slot.sequence, buffer, message.slot.bytes,
                                          message.check);
        return wrong ? -EBADMSG : 0;
    }
    return -EAGAIN;
}
