/* SPDX-License-Identifier: Apache-2.0 */
/* Where a sequence lies: its stamp, header words and payload, by the one formula of layout.h. */
#ifndef SLR_SLOT_H
#define SLR_SLOT_H

#include "base/sequence.h"
#include "ring/segment.h"

static inline uint64_t slr_slots(const struct slr_segment *segment)
{
    return segment->geometry.slots;
}

static inline uint64_t slr_index(const struct slr_segment *segment, uint64_t sequence)
{
    return sequence & (segment->geometry.slots - 1);
}

static inline _Atomic uint64_t *slr_stamp(const struct slr_segment *segment, uint64_t sequence)
{
    return (_Atomic uint64_t *)(void *)(segment->headers +
                                        slr_index(segment, sequence) *
                                            segment->geometry.header_stride +
                                        segment->geometry.stamp_in_header);
}

/* Pair and tensor rings only. */
static inline struct slr_header *slr_header(const struct slr_segment *segment, uint64_t sequence)
{
    return (struct slr_header *)(void *)(segment->headers + slr_index(segment, sequence) *
                                                                segment->geometry.header_stride);
}

static inline _Atomic int64_t *slr_shapes(const struct slr_segment *segment, uint64_t sequence)
{
    return (_Atomic int64_t *)(void *)((uint8_t *)slr_header(segment, sequence) +
                                       segment->geometry.shapes_in_header);
}

static inline _Atomic uint64_t *slr_check(const struct slr_segment *segment, uint64_t sequence)
{
    return (_Atomic uint64_t *)(void *)((uint8_t *)slr_header(segment, sequence) +
                                        segment->geometry.check_in_header);
}

static inline uint8_t *slr_payload(const struct slr_segment *segment, uint64_t sequence)
{
    return segment->payload + slr_index(segment, sequence) * segment->geometry.payload_stride;
}

static inline bool slr_is_compact(const struct slr_segment *segment)
{
    return segment->geometry.geometry == SLIPRING_GEOMETRY_COMPACT;
}

static inline bool slr_is_tensor(const struct slr_segment *segment)
{
    return segment->geometry.geometry == SLIPRING_GEOMETRY_TENSOR;
}

static inline bool slr_overwrites(const struct slr_segment *segment)
{
    return segment->geometry.full == SLIPRING_OVERWRITE;
}

/* The first sequence sure to be there, for who joins now. */
static inline uint64_t slr_oldest(const struct slr_segment *segment)
{
    const uint64_t start = segment->geometry.start_sequence;
    const uint64_t limit = slr_load64_acquire(&segment->data->limit); /* JOIN */
    const uint64_t oldest = limit - slr_slots(segment);
    return slr_distance(oldest, start) < 0 ? start : oldest;
}

/* s + 1 in place of s: the producer looks whether it is held, the payload is whole. Only where
 * there are holds; elsewhere, in a ring of two slots, s + 1 says that the next lap is written. */
static inline bool slr_looked_at(const struct slr_segment *segment, uint64_t ahead)
{
    return ahead == 1 && segment->geometry.hold_max != 0;
}

enum slr_slot_state {
    SLR_SLOT_EMPTY,  /* not published yet */
    SLR_SLOT_HERE,   /* its message is here */
    SLR_SLOT_PASSED, /* passed over */
    SLR_SLOT_GONE    /* overwritten, or about to be */
};

/* What lies in the slot of a sequence now. HERE is stable while the caller gates or holds the
 * slot; else it must be checked again after use (slr_slot_intact). */
static inline enum slr_slot_state slr_slot_look(const struct slr_segment *segment,
                                                uint64_t sequence)
{
    const int64_t ahead =
        slr_distance(slr_load64_acquire(slr_stamp(segment, sequence)), sequence); /* PUBLISH */
    if (ahead != 0) {
        return ahead < 0 ? SLR_SLOT_EMPTY : SLR_SLOT_GONE;
    }
    if (!slr_is_tensor(segment)) {
        return SLR_SLOT_HERE;
    }
    /* Acquire: CLAIM, a later lap's mark must not hide behind header words read before it. */
    const int64_t other = slr_distance(
        slr_load64_acquire(&slr_header(segment, sequence)->payload_sequence), sequence);
    if (other == 0 || slr_looked_at(segment, (uint64_t)other)) {
        return SLR_SLOT_HERE;
    }
    return other < 0 ? SLR_SLOT_PASSED : SLR_SLOT_GONE;
}

/* Was the slot's payload untouched up to now? For use after reading it (CLAIM, reader's side). */
static inline bool slr_slot_intact(const struct slr_segment *segment, uint64_t sequence)
{
    slr_fence_acquire(); /* CLAIM: the payload reads before, the word after */
    if (slr_is_tensor(segment)) {
        const uint64_t word = slr_load64(&slr_header(segment, sequence)->payload_sequence);
        return word == sequence || slr_looked_at(segment, word - sequence);
    }
    return slr_load64(slr_stamp(segment, sequence)) == sequence;
}

/* Producer, of a tensor ring: what lies in these slots is invalid before their payload changes. */
static inline void slr_invalidate(const struct slr_segment *segment, uint64_t base, uint64_t slots)
{
    for (uint64_t s = base; s != base + slots; s++) {
        slr_store64(&slr_header(segment, s)->payload_sequence,
                    s - 1); /* CLAIM: by the fence below */
    }
    slr_fence_release(); /* CLAIM */
}

/* Slots of the message that begins here: 1, or more if it spans; 0 inside one. Bounded by the
 * ring whatever the header says. */
static inline uint64_t slr_span(const struct slr_segment *segment, uint64_t sequence)
{
    if (!slr_is_tensor(segment)) {
        return 1;
    }
    const uint32_t span = slr_load32(&slr_header(segment, sequence)->span); /* after PUBLISH */
    if (span & SLR_SPAN_LATER) {
        return 0;
    }
    return span == 0 || span > slr_slots(segment) ? 1 : span;
}

/* One extent of a message's shapes, which may lie in its header: looked at once. Relaxed, since the
 * view that it is of keeps it. */
static inline int64_t slr_extent(const int64_t *extent)
{
    return (int64_t)slr_load64((const _Atomic uint64_t *)(const void *)extent);
}

/* Have the messages at a and b the same shapes? Both published, and kept by the caller. */
static inline bool slr_same_shapes(const struct slr_segment *segment, uint64_t a, uint64_t b)
{
    if (segment->geometry.shapes_in_header == 0) {
        return true;
    }
    const _Atomic int64_t *x = slr_shapes(segment, a);
    const _Atomic int64_t *y = slr_shapes(segment, b);
    for (uint32_t i = 0; i < segment->geometry.dims; i++) {
        if (slr_load64((const _Atomic uint64_t *)(const void *)&x[i]) !=
            slr_load64((const _Atomic uint64_t *)(const void *)&y[i])) { /* relaxed: as above */
            return false;
        }
    }
    return true;
}

#endif
