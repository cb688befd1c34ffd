/* SPDX-License-Identifier: Apache-2.0 */
/* How far members and groups have released: the sequences that hold the producer back. */
#ifndef SLR_RELEASED_H
#define SLR_RELEASED_H

#include "ring/words.h"

/* slr_group_advance() begins its walk anew when another member moved the position. A hostile member that
 * moves it back again and again must not keep us there: after the steps of so many laps we give up, and
 * the next member that finishes or recovers goes on. */
#define SLR_ADVANCE_LAPS 8u

/* How many slots a group's position moves for the message at sequence. A slot that was passed over keeps
 * another message's header and counts as one. Where no message spans, the slot is not looked at: its
 * line is another member's, and costs more than all the rest of a step. */
static inline uint64_t slr_lease_slots(const struct slr_segment *segment, uint64_t sequence)
{
    if (!slr_is_tensor(segment) || slr_slot_look(segment, sequence) != SLR_SLOT_HERE) {
        return 1;
    }
    const uint64_t span = slr_span(segment, sequence);
    return span == 0 ? 1 : span;
}

/* How far the member of a group of one that showed this word has released, by its own count and by what
 * a device has stored since. RELEASE. */
uint64_t slr_cell_released(const struct slr_segment *segment, uint32_t cell, uint64_t word);

/* Move a group's position over the finished prefix; true if it moved (then tell the producer). */
bool slr_group_advance(const struct slr_segment *segment, uint32_t group);

#endif
