/* SPDX-License-Identifier: Apache-2.0 */
#include "ring/acquire.h"

#include "ring/group.h"
#include "ring/recover.h"
#include "ring/released.h"

#include <errno.h>
#include <string.h>

/* ---- groups of one ---- */

bool slr_evicted(const struct slipring_consumer *consumer)
{
    return slr_load64_acquire(&consumer->ring->segment.cells[consumer->cell].word) !=
           consumer->word; /* OWN */
}

static bool ordered(const struct slipring_consumer *consumer)
{
    return consumer->releases == NULL;
}

static void show_released(struct slipring_consumer *consumer, uint64_t released)
{
    slr_store64_release(&consumer->ring->segment.cells[consumer->cell].released,
                        released); /* RELEASE */
    slr_bell_check(consumer->producer);
}

static uint64_t release_word(const struct slipring_consumer *consumer, uint64_t sequence)
{
    return slr_release_word(&consumer->ring->segment, consumer->cell,
                            slr_cell_generation(consumer->word), sequence);
}

void slr_release_advance(struct slipring_consumer *consumer)
{
    const struct slr_segment *segment = &consumer->ring->segment;
    _Atomic uint64_t *released = &segment->cells[consumer->cell].released;
    uint64_t steps = SLR_ADVANCE_LAPS * slr_slots(segment);
    bool moved = false;
    for (;;) {
        const uint64_t now = slr_load64_acquire(released); /* GROUP, among threads */
        uint64_t to = now;
        while (to - now < slr_slots(segment) && steps > 0 &&
               slr_load64_acquire(&consumer->releases[slr_index(segment, to)]) ==
                   release_word(consumer, to)) { /* RELEASE */
            to++;
            steps--;
        }
        if (to == now) {
            break;
        }
        slr_raise64(released, to); /* RELEASE */
        moved = true;
    }
    if (moved) {
        slr_bell_check(consumer->producer);
    }
}

int slr_release_check(struct slipring_consumer *consumer, uint64_t sequence, uint64_t slots)
{
    const struct slr_segment *segment = &consumer->ring->segment;
    if (slr_load32(&consumer->devices) != SLR_DEVICES_NONE) { /* relaxed: our own calls set it */
        /* The producer goes by the words; our count must have passed over those of the lap before
         * they are stored anew. */
        slr_release_advance(consumer);
    }
    const uint64_t from =
        slr_load64_acquire(&segment->cells[consumer->cell].released); /* GROUP, among threads */
    /* Not what could be in hand: before what is released, or further than the ring reaches. The
     * consumer's own place is its owner's to read, and this may be another thread. */
    if (slr_distance(sequence, from) < 0 || sequence + slots - from > slr_slots(segment)) {
        return -EINVAL;
    }
    for (uint64_t s = sequence; s != sequence + slots; s++) {
        if (slr_load64(&consumer->releases[slr_index(segment, s)]) ==
            release_word(consumer, s)) { /* the owner's words */
            return -EINVAL;
        }
    }
    return 0;
}

/* Mark slots released in any order and move `released` over the prefix; from any thread. The fence
 * makes of two threads that mark neighbours at once at least one see both. */
static int mark_released(struct slipring_consumer *consumer, uint64_t sequence, uint64_t slots)
{
    const struct slr_segment *segment = &consumer->ring->segment;
    const int result = slr_release_check(consumer, sequence, slots);
    if (result != 0) {
        return result;
    }
    for (uint64_t s = sequence; s != sequence + slots; s++) {
        slr_store64_release(&consumer->releases[slr_index(segment, s)],
                            release_word(consumer, s)); /* RELEASE */
    }
    slr_fence_full(); /* GROUP, among threads */
    slr_release_advance(consumer);
    return 0;
}

/* Go past sequences that this consumer will not see (passed over, or skipped by newest). */
static void skip(struct slipring_consumer *consumer, uint64_t to)
{
    struct slipring_fast *fast = consumer->fast;
    const uint64_t from = fast->next;
    fast->next = to;
    if (slr_distance(to, fast->end) > 0) {
        fast->end = to;
    }
    if (!ordered(consumer)) {
        (void)mark_released(consumer, from, to - from);
    } else if (fast->taken == from) { /* nothing in hand before it */
        fast->taken = to;
        show_released(consumer, to);
    } else {
        consumer->gap += to - from; /* released with the view that comes after it */
    }
}

static void lose(struct slipring_consumer *consumer, uint64_t to)
{
    struct slr_counts counts = {.known = false};
    if (slr_slot_look(&consumer->ring->segment, to) == SLR_SLOT_HERE) {
        slr_counts_read(&consumer->ring->segment, to, &counts);
    }
    slr_lose(consumer, consumer->fast->next, to, &counts);
    if (counts.known) { /* told up to here; a further gap before the next view begins here */
        consumer->messages = counts.messages_before;
        consumer->passed = counts.passed_before;
    }
}

/* Put a message under fast->next: 0, -EAGAIN, -ESTALE. */
static int find_next(struct slipring_consumer *consumer)
{
    const struct slr_segment *segment = &consumer->ring->segment;
    struct slipring_fast *fast = consumer->fast;
    for (uint64_t steps = 0; steps < 2 * slr_slots(segment) + 2; steps++) {
        switch (slr_slot_look(segment, fast->next)) {
        case SLR_SLOT_EMPTY:
            return -EAGAIN;
        case SLR_SLOT_PASSED:
            skip(consumer, fast->next + 1);
            break;
        case SLR_SLOT_GONE: {
            /* We gate, so only an eviction or a scribbler lets the producer come here. */
            if (slr_evicted(consumer)) {
                return -ESTALE;
            }
            uint64_t to = slr_oldest(segment);
            to = slr_distance(to, fast->next) > 0 ? to : fast->next + 1;
            lose(consumer, to);
            skip(consumer, to);
            break;
        }
        case SLR_SLOT_HERE:
            if (slr_span(segment, fast->next) != 0) {
                return 0;
            }
            lose(consumer, fast->next + 1); /* inside a message that is gone */
            skip(consumer, fast->next + 1);
            break;
        }
    }
    return -EAGAIN;
}

static void skip_to_newest(struct slipring_consumer *consumer)
{
    const struct slr_segment *segment = &consumer->ring->segment;
    struct slipring_fast *fast = consumer->fast;
    uint64_t at = slr_load64_acquire(&segment->data->cursor); /* CURSOR */
    for (uint64_t steps = 0; steps < slr_slots(segment) && slr_distance(at, fast->next) > 1;
         steps++) {
        at--;
        if (slr_slot_look(segment, at) == SLR_SLOT_HERE && slr_span(segment, at) != 0) {
            break;
        }
    }
    if (slr_distance(at, fast->next) > 0 && slr_slot_look(segment, at) == SLR_SLOT_HERE &&
        slr_span(segment, at) != 0) {
        lose(consumer, at);
        skip(consumer, at);
    }
}

/* How many slots from fast->next on, at most `slots`, make one block. */
static uint64_t block(struct slipring_consumer *consumer, uint64_t slots)
{
    const struct slr_segment *segment = &consumer->ring->segment;
    struct slipring_fast *fast = consumer->fast;
    const uint64_t span = slr_span(segment, fast->next);
    if (span > 1) {
        return span;
    }
    uint64_t count = 1;
    if (!slr_is_tensor(segment) && segment->geometry.shapes_in_header == 0) {
        if (slr_distance(fast->end, fast->next) < 1) {
            fast->end = fast->next + 1;
        }
        if (fast->end - fast->next < slots) {
            const uint64_t cursor = slr_load64_acquire(&segment->data->cursor); /* CURSOR */
            if (slr_distance(cursor, fast->end) > 0) {
                /* No further than the ring reaches, whatever the cursor says. */
                const uint64_t ahead = cursor - fast->next;
                fast->end = fast->next + (ahead < slr_slots(segment) ? ahead : slr_slots(segment));
            }
        }
        count = fast->end - fast->next;
        return count < slots ? count : slots;
    }
    while (count < slots && count < slr_slots(segment) &&
           slr_slot_look(segment, fast->next + count) == SLR_SLOT_HERE &&
           slr_span(segment, fast->next + count) == 1 &&
           slr_same_shapes(segment, fast->next, fast->next + count)) {
        count++;
    }
    return count;
}

/* A checksum does not match: -EBADMSG, but -ESTALE where we were evicted before or while it was
 * looked at, since then the slot may be in the middle of another message. */
static int damaged(struct slipring_consumer *consumer, uint64_t sequence)
{
    slr_fence_acquire(); /* OWN: payload reads before the look at the cell */
    if (slr_evicted(consumer)) {
        return -ESTALE;
    }
    (void)slr_add64(&consumer->damaged, 1); /* counter */
    slr_log(&consumer->ring->log, SLIPRING_LOG_ERROR, "checksum of sequence %llu does not match",
            (unsigned long long)sequence);
    return -EBADMSG;
}

/* Cut the block before its first damaged message; -EBADMSG or -ESTALE if that is the first. */
static int verify_block(struct slipring_consumer *consumer, uint64_t first, uint64_t *count)
{
    const struct slr_segment *segment = &consumer->ring->segment;
    if ((consumer->flags & SLIPRING_VERIFY) == 0) {
        return 0;
    }
    const uint64_t messages = slr_span(segment, first) > 1 ? 1 : *count;
    for (uint64_t i = 0; i < messages; i++) {
        if (!slr_verify(segment, first + i)) {
            if (i > 0) {
                *count = i;
                return 0;
            }
            *count = messages == 1 ? *count : 1;
            return damaged(consumer, first);
        }
    }
    return 0;
}

static void set_view(struct slipring_consumer *consumer, uint64_t first, uint64_t count,
                     uint32_t deliveries, struct slipring_view *view)
{
    const struct slr_segment *segment = &consumer->ring->segment;
    struct slr_counts last;
    /* In place: a struct just written word by word and copied whole waits until it left the core. */
    slr_slot_read(segment, first, &view->slot);
    view->slot.deliveries = deliveries;
    slr_counts_read(segment, slr_span(segment, first) > 1 ? first : first + count - 1, &last);
    slr_view_set(consumer, count, &last, view);
}

/* The common case of a tensor ring in one piece: one slot, a message of its own, asked for by whom
 * nobody evicts, with nothing to tell but what lies there. */
static bool acquire_tensor(struct slipring_consumer *consumer, struct slipring_view *view)
{
    const struct slr_segment *segment = &consumer->ring->segment;
    struct slipring_fast *fast = consumer->fast;
    const uint64_t next = fast->next;
    if (!slr_is_tensor(segment) || segment->geometry.shapes_in_header != 0 ||
        consumer->slow == SLIPRING_EVICT ||
        (consumer->flags & (SLIPRING_NEWEST | SLIPRING_VERIFY)) != 0 ||
        (consumer->gap | consumer->pending_missed | consumer->pending_messages) != 0 ||
        slr_slot_look(segment, next) != SLR_SLOT_HERE) {
        return false;
    }
    const struct slr_header *header = slr_header(segment, next);
    if (slr_load32(&header->span) > 1) { /* relaxed, as all that follows: after PUBLISH */
        return false;
    }
    const uint64_t bytes = slr_load64(&header->bytes);
    const uint32_t messages = slr_load32(&header->messages);
    view->slot.sequence = next;
    view->slot.bytes =
        bytes < segment->geometry.payload_stride ? bytes : segment->geometry.payload_stride;
    view->slot.tag = slr_load64(&header->tag);
    view->slot.timestamp_ns = (int64_t)slr_load64(&header->timestamp_ns);
    view->slot.messages = messages;
    view->slot.deliveries = 1;
    view->slot.shapes = NULL;
    view->data = slr_payload(segment, next);
    view->stride = segment->geometry.payload_stride;
    view->slots = 1;
    view->missed = 0;
    view->missed_messages = 0;
    view->token = 0;
    consumer->messages = next + slr_load64(&header->messages_before) + messages;
    consumer->passed = slr_load64(&header->passed_before);
    consumer->counted = true;
    fast->next = next + 1;
    __builtin_prefetch(view->data);
    __builtin_prefetch(slr_stamp(segment, fast->next));
    return true;
}

static int acquire_one(struct slipring_consumer *consumer, uint64_t slots,
                       struct slipring_view *view)
{
    struct slipring_fast *fast = consumer->fast;
    if (slots == 1 && acquire_tensor(consumer, view)) {
        return 0;
    }
    if (consumer->slow == SLIPRING_EVICT && slr_evicted(consumer)) {
        return -ESTALE;
    }
    if ((consumer->flags & SLIPRING_NEWEST) != 0) {
        skip_to_newest(consumer);
    }
    const int found = find_next(consumer);
    if (found != 0) {
        return found;
    }
    uint64_t count = block(consumer, slots);
    const uint64_t first = fast->next;
    const int result = verify_block(consumer, first, &count);
    if (result == -ESTALE) {
        return result;
    }
    set_view(consumer, first, count, 1, view);
    view->token = consumer->gap;
    consumer->gap = 0;
    fast->next = first + count;
    if (slr_distance(fast->next, fast->end) > 0) {
        fast->end = fast->next;
    }
    /* On their way from the producer's processor while the caller sees to the view: what it reads
     * first, and where the next acquire looks. */
    __builtin_prefetch(view->data);
    __builtin_prefetch(slr_stamp(&consumer->ring->segment, fast->next));
    return result;
}

static bool intact(const struct slr_segment *segment, uint64_t first, uint64_t slots)
{
    if (!slr_is_tensor(segment)) {
        return true; /* compact and pair block rings do not invalidate: it would move the line that
                        the reader polls once more */
    }
    for (uint64_t s = first; s != first + slots; s++) {
        if (!slr_slot_intact(segment, s)) { /* CLAIM */
            return false;
        }
    }
    return true;
}

bool slr_view_intact(const struct slr_segment *segment, const struct slipring_view *view)
{
    const bool whole = intact(segment, view->slot.sequence, view->slots);
    slr_fence_acquire(); /* OWN: payload reads before a look at the cell that comes next */
    return whole;
}

static int release_one(struct slipring_consumer *consumer, const struct slipring_view *view)
{
    const struct slr_segment *segment = &consumer->ring->segment;
    struct slipring_fast *fast = consumer->fast;
    const uint64_t first = view->slot.sequence;
    if (view->slots == 0 || view->slots > slr_slots(segment)) {
        return -EINVAL;
    }
    const bool whole = slr_view_intact(segment, view);
    const bool gone = slr_evicted(consumer);
    if (!ordered(consumer)) {
        const int result = gone ? 0 : mark_released(consumer, first, view->slots);
        return result != 0 ? result : gone || !whole ? -ESTALE : 0;
    }
    if (first - view->token != fast->taken || slr_distance(fast->next, first + view->slots) < 0 ||
        slr_distance(first, fast->taken) < 0) {
        return -EINVAL; /* not acquired, returned already, or out of order */
    }
    fast->taken = first + view->slots;
    if (!gone) {
        show_released(consumer, fast->taken);
    }
    return gone || !whole ? -ESTALE : 0;
}

/* ---- members of groups of many ---- */

static int acquire_many(struct slipring_consumer *consumer, uint64_t slots,
                        struct slipring_view *view)
{
    uint64_t first = 0;
    uint64_t count = 0;
    uint32_t deliveries = 0;
    int result = slr_lease_take(consumer, slots, &first, &count, &deliveries);
    if (result != 0) {
        return result;
    }
    /* Ours; a damaged message is named alone, the others of the block go with it. */
    set_view(consumer, first, count, deliveries, view);
    if ((consumer->flags & SLIPRING_VERIFY) != 0) {
        const uint64_t messages = slr_span(&consumer->ring->segment, first) > 1 ? 1 : count;
        for (uint64_t i = 0; i < messages && result == 0; i++) {
            if (!slr_verify(&consumer->ring->segment, first + i)) {
                result = damaged(consumer, first + i);
            }
        }
    }
    return result;
}

static int release_many(struct slipring_consumer *consumer, const struct slipring_view *view)
{
    const struct slr_segment *segment = &consumer->ring->segment;
    const uint64_t first = view->slot.sequence;
    if (view->slots == 0 || view->slots > slr_slots(segment)) {
        return -EINVAL;
    }
    const bool whole = intact(segment, first, view->slots);
    const uint64_t messages = slr_span(segment, first) > 1 ? 1 : view->slots;
    int result = 0;
    for (uint64_t i = 0; i < messages; i++) {
        const int one = slr_lease_finish(consumer, first + i);
        result = one != 0 ? one : result;
    }
    if (slr_group_advance(segment, consumer->group)) {
        slr_bell_check(consumer->producer);
    }
    return whole ? result : -ESTALE;
}

/* ---- for consumer.c ---- */

int slr_acquire(struct slipring_consumer *consumer, uint64_t slots, struct slipring_view *view)
{
    switch (consumer->kind) {
    case SLR_KIND_ONE:
        return acquire_one(consumer, slots, view);
    case SLR_KIND_MANY:
        return acquire_many(consumer, slots, view);
    default:
        return slr_reader_hold(consumer, view);
    }
}

int slr_release(struct slipring_consumer *consumer, const struct slipring_view *view)
{
    switch (consumer->kind) {
    case SLR_KIND_ONE:
        return release_one(consumer, view);
    case SLR_KIND_MANY:
        return release_many(consumer, view);
    default:
        return slr_reader_release(consumer, view);
    }
}

int slr_acquire_copy(struct slipring_consumer *consumer, void *buffer, uint64_t bytes,
                     struct slipring_view *view)
{
    const struct slr_segment *segment = &consumer->ring->segment;
    struct slipring_view mine;
    struct slipring_slot slot;
    if (consumer->kind == SLR_KIND_ONE) {
        if (ordered(consumer) && consumer->fast->taken != consumer->fast->next) {
            return -EINVAL; /* views are in hand: the copy could not be released before them */
        }
        const int found = find_next(consumer);
        if (found != 0) {
            return found;
        }
        slr_slot_read(segment, consumer->fast->next, &slot);
        if (slot.bytes > bytes && (consumer->flags & SLIPRING_NEWEST) == 0) {
            view->slot.bytes = slot.bytes;
            return -EMSGSIZE;
        }
    }
    const int result = slr_acquire(consumer, 1, &mine);
    if (result != 0 && result != -EBADMSG) {
        return result;
    }
    if (mine.slot.bytes > bytes) {
        if (consumer->kind == SLR_KIND_MANY) {
            slr_lease_untake(consumer, mine.slot.sequence, mine.slots, mine.slot.deliveries);
        } else { /* newest: what was passed by is passed by, this one stays the next */
            consumer->fast->next = mine.slot.sequence;
            consumer->fast->end = mine.slot.sequence;
            consumer->pending_missed = mine.missed;
            consumer->pending_messages = mine.missed_messages;
        }
        view->slot.bytes = mine.slot.bytes;
        return -EMSGSIZE;
    }
    memcpy(buffer, mine.data, mine.slot.bytes);
    if (mine.slot.shapes != NULL) {
        memcpy(consumer->shapes, mine.slot.shapes, segment->geometry.dims * sizeof(int64_t));
        mine.slot.shapes = consumer->shapes;
    }
    const int released = slr_release(consumer, &mine);
    if (released != 0) {
        return released; /* what was copied is void */
    }
    *view = mine;
    view->data = buffer;
    view->stride = 0;
    return result;
}

/* Is everything that there will be before the end finished by this consumer's group? */
static bool drained(struct slipring_consumer *consumer, uint64_t next)
{
    const struct slr_segment *segment = &consumer->ring->segment;
    if (consumer->kind != SLR_KIND_MANY) {
        return slr_slot_look(segment, next) == SLR_SLOT_EMPTY;
    }
    uint64_t end = slr_load64_acquire(&segment->data->cursor); /* CURSOR */
    for (uint64_t i = 0; i < slr_slots(segment) && slr_slot_look(segment, end) != SLR_SLOT_EMPTY &&
                         slr_slot_look(segment, end) != SLR_SLOT_GONE;
         i++) {
        end++;
    }
    return slr_group_finished(consumer, end);
}

int slr_stream_end(struct slipring_consumer *consumer, uint64_t next, bool slow)
{
    const struct slr_segment *segment = &consumer->ring->segment;
    const uint64_t word = slr_load64_acquire(&segment->data->producer); /* CURSOR; TAKEOVER */
    const uint32_t state = slr_producer_state(word);
    if (state == SLR_PRODUCER_CLOSED) {
        return drained(consumer, next) ? -EPIPE : -EAGAIN;
    }
    if (slow && consumer->kind == SLR_KIND_MANY) {
        slr_group_recover(consumer->ring, consumer->group);
    }
    if (!slow || state != SLR_PRODUCER_ATTACHED || segment->control_fd < 0 ||
        (consumer->flags & SLIPRING_AWAIT_PRODUCER) != 0 ||
        slr_alive(segment->control_fd, SLR_LOCK_PRODUCER) ||
        slr_load64_acquire(&segment->data->producer) != word) { /* TAKEOVER */
        return -EAGAIN;
    }
    return drained(consumer, next) ? -EOWNERDEAD : -EAGAIN;
}
