/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The words of cells, groups, leases, releases, holds and the producer: made and taken apart. layout.h
 * names the bits. consumer_device.c hands those of releases to a device, which stores such words itself.
 */
#ifndef SLR_WORDS_H
#define SLR_WORDS_H

#include "base/sequence.h"
#include "ring/slot.h"

/* ---- cells ---- */

static inline uint64_t slr_cell_word(uint32_t generation, uint32_t group, uint32_t kind,
                                     uint32_t state)
{
    return (uint64_t)generation << SLR_CELL_GENERATION_SHIFT |
           (uint64_t)group << SLR_CELL_GROUP_SHIFT | (uint64_t)kind << SLR_CELL_KIND_SHIFT | state;
}
static inline uint32_t slr_cell_state(uint64_t word)
{
    return (uint32_t)word & SLR_CELL_STATE_MASK;
}
static inline uint32_t slr_cell_kind(uint64_t word)
{
    return (uint32_t)(word >> SLR_CELL_KIND_SHIFT) & SLR_CELL_KIND_MASK;
}
static inline uint32_t slr_cell_group(uint64_t word)
{
    return (uint32_t)(word >> SLR_CELL_GROUP_SHIFT) & SLR_NO_GROUP;
}
static inline uint32_t slr_cell_generation(uint64_t word)
{
    return (uint32_t)(word >> SLR_CELL_GENERATION_SHIFT);
}
static inline uint64_t slr_cell_to(uint64_t word, uint32_t state)
{
    return (word & ~(uint64_t)SLR_CELL_STATE_MASK) | state;
}

/* Cells ever used are below; what a hostile member wrote there is cut to what exists. */
static inline uint32_t slr_cells_high(const struct slr_segment *segment)
{
    const uint32_t high = slr_load32_acquire(&segment->control->cells_high); /* JOIN */
    return high < segment->geometry.members_max ? high : segment->geometry.members_max;
}

/* ---- groups ---- */

static inline uint64_t slr_group_word(uint32_t generation, uint32_t version, uint32_t state)
{
    return (uint64_t)generation << SLR_GROUP_GENERATION_SHIFT |
           (uint64_t)(version & SLR_GROUP_VERSION_MASK) << SLR_GROUP_VERSION_SHIFT | state;
}
static inline uint32_t slr_group_state(uint64_t word)
{
    return (uint32_t)word & SLR_GROUP_STATE_MASK;
}
static inline uint32_t slr_group_generation(uint64_t word)
{
    return (uint32_t)(word >> SLR_GROUP_GENERATION_SHIFT);
}
static inline uint32_t slr_group_version(uint64_t word)
{
    return (uint32_t)(word >> SLR_GROUP_VERSION_SHIFT) & SLR_GROUP_VERSION_MASK;
}
/* The same incarnation in another state. */
static inline uint64_t slr_group_to(uint64_t word, uint32_t state)
{
    return slr_group_word(slr_group_generation(word), slr_group_version(word) + 1, state);
}

/* The owner of a group of one: {generation, cell + 1}, so that 0 is nobody. */
static inline uint64_t slr_owner_word(uint32_t cell, uint32_t generation)
{
    return (uint64_t)generation << SLR_CELL_GENERATION_SHIFT | (cell + 1);
}
static inline uint32_t slr_owner_cell(uint64_t word) /* UINT32_MAX of nobody */
{
    return (uint32_t)word - 1;
}
static inline uint32_t slr_owner_generation(uint64_t word)
{
    return (uint32_t)(word >> SLR_CELL_GENERATION_SHIFT);
}

static inline uint32_t slr_groups_total(const struct slr_segment *segment)
{
    return segment->geometry.groups_max + segment->geometry.members_max;
}
/* Entries ever used are below; what a hostile member wrote there is cut to what exists. */
static inline uint32_t slr_groups_high(const struct slr_segment *segment)
{
    const uint32_t high = slr_load32_acquire(&segment->control->groups_high); /* JOIN */
    const uint32_t total = slr_groups_total(segment);
    return high < total ? high : total;
}
static inline bool slr_group_gates(uint64_t word)
{
    const uint32_t state = slr_group_state(word);
    return state == SLR_GROUP_LIVE || state == SLR_GROUP_ENDING;
}
static inline bool slr_group_many(const struct slr_segment *segment, uint32_t group)
{
    /* By place, not by a word that could be scribbled. */
    return group < segment->geometry.groups_max;
}
/* The entries that creation filled: lasting groups. */
static inline bool slr_group_lasting(const struct slr_segment *segment, uint32_t group)
{
    return slr_load32(&segment->groups[group].lasting) != 0; /* constant since creation */
}

/* ---- leases and releases ---- */

static inline uint64_t slr_lap(const struct slr_segment *segment, uint64_t sequence)
{
    return (sequence >> segment->slots_log2) & SLR_LEASE_LAP_MASK;
}
/* What a lease or a hold carries of a cell's generation. */
static inline uint32_t slr_lease_cut(uint32_t generation)
{
    return generation & ((1u << SLR_LEASE_GENERATION_BITS) - 1);
}
static inline uint64_t slr_lease(uint32_t cell, uint32_t generation, uint64_t lap, uint32_t state,
                                 uint32_t deliveries)
{
    return (uint64_t)(cell & SLR_LEASE_CELL_MASK) << SLR_LEASE_CELL_SHIFT |
           (uint64_t)slr_lease_cut(generation) << SLR_LEASE_GENERATION_SHIFT |
           lap << SLR_LEASE_LAP_SHIFT | (uint64_t)state << SLR_LEASE_STATE_SHIFT | deliveries;
}
/* What an unordered group of one stores for a sequence that it released. */
static inline uint64_t slr_release_word(const struct slr_segment *segment, uint32_t cell,
                                        uint32_t generation, uint64_t sequence)
{
    return slr_lease(cell, generation, slr_lap(segment, sequence), SLR_LEASE_DONE, 1);
}
static inline uint32_t slr_lease_cell(uint64_t word)
{
    return (uint32_t)(word >> SLR_LEASE_CELL_SHIFT);
}
static inline uint32_t slr_lease_generation(uint64_t word)
{
    return slr_lease_cut((uint32_t)(word >> SLR_LEASE_GENERATION_SHIFT));
}
static inline uint32_t slr_lease_state(uint64_t word)
{
    return (uint32_t)(word >> SLR_LEASE_STATE_SHIFT) & SLR_LEASE_STATE_MASK;
}
static inline uint32_t slr_lease_deliveries(uint64_t word)
{
    return (uint32_t)word & SLR_LEASE_DELIVERIES_MASK;
}
/* Laps from the one of sequence to the word's: 0 the same, negative earlier. */
static inline int32_t slr_lease_lap(const struct slr_segment *segment, uint64_t word,
                                    uint64_t sequence)
{
    const uint32_t ahead =
        (uint32_t)(word >> SLR_LEASE_LAP_SHIFT) - (uint32_t)slr_lap(segment, sequence);
    return (int32_t)(ahead << (32 - SLR_LEASE_LAP_BITS)) >> (32 - SLR_LEASE_LAP_BITS);
}
static inline _Atomic uint64_t *slr_lease_word(const struct slr_segment *segment, uint32_t group,
                                               uint64_t sequence)
{
    return &segment->leases[(uint64_t)group * slr_slots(segment) + slr_index(segment, sequence)];
}

/* ---- holds ---- */

static inline uint64_t slr_hold_word(uint32_t cell, uint32_t generation, uint64_t index)
{
    return (uint64_t)(cell + 1) << SLR_HOLD_CELL_SHIFT |
           (uint64_t)slr_lease_cut(generation) << SLR_HOLD_GENERATION_SHIFT | index;
}
static inline uint64_t slr_hold_index(uint64_t word)
{
    return word & ((UINT64_C(1) << SLR_HOLD_INDEX_BITS) - 1);
}
/* The holder's cell; UINT32_MAX of a free word. */
static inline uint32_t slr_hold_cell(uint64_t word)
{
    return (uint32_t)(word >> SLR_HOLD_CELL_SHIFT) - 1;
}
static inline uint32_t slr_hold_generation(uint64_t word)
{
    return slr_lease_cut((uint32_t)(word >> SLR_HOLD_GENERATION_SHIFT));
}

/* ---- the producer ---- */

static inline uint64_t slr_producer_word(uint64_t epoch, uint32_t state)
{
    return epoch << SLR_PRODUCER_EPOCH_SHIFT | state;
}
static inline uint32_t slr_producer_state(uint64_t word)
{
    return (uint32_t)word & SLR_PRODUCER_STATE_MASK;
}
static inline uint64_t slr_producer_epoch(uint64_t word)
{
    return word >> SLR_PRODUCER_EPOCH_SHIFT;
}

#endif
