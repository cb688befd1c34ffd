/* SPDX-License-Identifier: Apache-2.0 */
#include "ring/released.h"

uint64_t slr_cell_released(const struct slr_segment *segment, uint32_t cell, uint64_t word)
{
    const struct slr_cell *c = &segment->cells[cell];
    uint64_t released = slr_load64_acquire(&c->released); /* RELEASE */
    /* Relaxed: set before any device store that we could see. What a scribbler writes there makes us
     * look at a table, within its bounds. */
    if (__builtin_expect(slr_load32(&c->devices) == 0, 1)) {
        return released;
    }
    const uint32_t table = slr_load32(&c->releases) - 1; /* fixed before ACTIVE (JOIN) */
    if (table >= segment->geometry.releases_max) {
        return released;
    }
    const _Atomic uint64_t *words = segment->releases + (uint64_t)table * slr_slots(segment);
    for (uint64_t i = 0; i < slr_slots(segment); i++) {
        if (slr_load64_acquire(&words[slr_index(segment, released)]) !=
            slr_release_word(segment, cell, slr_cell_generation(word), released)) { /* RELEASE */
            break;
        }
        released++;
    }
    return released;
}

bool slr_group_advance(const struct slr_segment *segment, uint32_t group)
{
    _Atomic uint64_t *position = &segment->groups[group].position;
    bool moved = false;
    uint64_t steps = SLR_ADVANCE_LAPS * slr_slots(segment);
    for (;;) {
        const uint64_t from = slr_load64_acquire(position); /* GROUP */
        uint64_t to = from;
        for (; to - from < slr_slots(segment) && steps > 0; steps--) {
            const uint64_t word =
                slr_load64_acquire(slr_lease_word(segment, group, to)); /* GROUP */
            if (slr_lease_lap(segment, word, to) != 0 || slr_lease_state(word) != SLR_LEASE_DONE) {
                break;
            }
            /* A header is stable while position stays here; if it does not the swap fails. */
            to += slr_lease_slots(segment, to);
        }
        if (to == from) {
            break;
        }
        if (slr_cas64(position, from, to)) { /* RELEASE: what the finishers read is before it */
            moved = true;
        }
    }
    return moved;
}
