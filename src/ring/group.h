/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Named groups, and the leases of groups of many.
 *
 * A group of many shares the messages out: for each slot a lease word says whose the message is.
 * Ownership and state are ONE word, changed by compare-and-swap, so that death, eviction and
 * redelivery between any two instructions leave a word that says all:
 *
 *     (earlier lap)          nobody took this message yet
 *     FREE  deliveries d     it was taken d times, and came back
 *     TAKEN cell generation  it is that member's
 *     DONE                   finished, dropped, passed over or given up
 *
 *     take     any free word -> TAKEN, deliveries + 1        by a member
 *     finish   TAKEN by me   -> DONE                         by that member
 *     return   TAKEN by X    -> FREE, or DONE after five     by anybody, once X is dead or evicted
 *     drop     any free word -> DONE                         by the producer, evicting
 *
 * `position` follows the finished prefix and is what gates the producer; whoever finishes moves
 * it. A word carries 28 bits of the lap, not of the sequence: a compare-and-swap that slept
 * through whole laps fails unless it slept 2^28 of them. The first slot's lease governs a spanning
 * message. A lease whose cell is not ACTIVE in that generation is nobody's, whoever wrote it.
 *
 * Progress: take, finish and return are lock-free; every walk is bounded by the ring.
 * Source: states per slot instead of a shared tail follow DPDK's rte_soring.
 */
#ifndef SLR_GROUP_H
#define SLR_GROUP_H

#include "ring/handle.h"
#include "ring/slot.h"

/* ---- words ---- */

static inline uint64_t slr_group_word(uint32_t generation, uint32_t version, uint32_t state)
{
    return (uint64_t)generation << 32 | (uint64_t)(version & 0xffffffu) << 8 | state;
}
static inline uint32_t slr_group_state(uint64_t word)
{
    return (uint32_t)(word & 0xff);
}
static inline uint32_t slr_group_generation(uint64_t word)
{
    return (uint32_t)(word >> 32);
}
static inline uint32_t slr_group_version(uint64_t word)
{
    return (uint32_t)(word >> 8) & 0xffffffu;
}
/* The same incarnation in another state. */
static inline uint64_t slr_group_to(uint64_t word, uint32_t state)
{
    return slr_group_word(slr_group_generation(word), slr_group_version(word) + 1, state);
}

static inline uint64_t slr_lap(const struct slr_segment *segment, uint64_t sequence)
{
    return (sequence >> segment->slots_log2) & ((UINT64_C(1) << SLR_LEASE_LAP_BITS) - 1);
}
static inline uint64_t slr_lease(uint32_t cell, uint32_t generation, uint64_t lap, uint32_t state,
                                 uint32_t deliveries)
{
    return (uint64_t)(cell & 0xfff) << 52 |
           (uint64_t)(generation & ((1u << SLR_LEASE_GENERATION_BITS) - 1)) << 33 | lap << 5 |
           (uint64_t)state << 3 | deliveries;
}
/* What an unordered group of one stores for a sequence that it released. */
static inline uint64_t slr_release_word(const struct slr_segment *segment, uint32_t cell,
                                        uint32_t generation, uint64_t sequence)
{
    return slr_lease(cell, generation, slr_lap(segment, sequence), SLR_LEASE_DONE, 1);
}
static inline uint32_t slr_lease_cell(uint64_t word)
{
    return (uint32_t)(word >> 52);
}
static inline uint32_t slr_lease_generation(uint64_t word)
{
    return (uint32_t)(word >> 33) & ((1u << SLR_LEASE_GENERATION_BITS) - 1);
}
static inline uint32_t slr_lease_state(uint64_t word)
{
    return (uint32_t)(word >> 3) & 3;
}
static inline uint32_t slr_lease_deliveries(uint64_t word)
{
    return (uint32_t)word & 7;
}
/* Laps from the one of sequence to the word's: 0 the same, negative earlier. */
static inline int32_t slr_lease_lap(const struct slr_segment *segment, uint64_t word,
                                    uint64_t sequence)
{
    const uint32_t ahead = (uint32_t)(word >> 5) - (uint32_t)slr_lap(segment, sequence);
    return (int32_t)(ahead << (32 - SLR_LEASE_LAP_BITS)) >> (32 - SLR_LEASE_LAP_BITS);
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
    return group <
           segment->geometry.groups_max; /* by place, not by a word that could be scribbled */
}
/* The entries that creation filled: lasting groups. */
static inline bool slr_group_lasting(const struct slr_segment *segment, uint32_t group)
{
    return slr_load32(&segment->groups[group].lasting) != 0; /* constant since creation */
}
static inline _Atomic uint64_t *slr_lease_word(const struct slr_segment *segment, uint32_t group,
                                               uint64_t sequence)
{
    return &segment->leases[(uint64_t)group * slr_slots(segment) + slr_index(segment, sequence)];
}

/* ---- the group's life (group.c) ---- */

/* Make every lease of the group read as not yet taken from start on. */
void slr_group_reset_leases(struct slr_segment *segment, uint32_t group, uint64_t start);

/* Join the group of that name with cell (JOINING, ours), creating it if there is none. On success
 * the cell is ACTIVE in it, consumer->group, group_word and word are set, and *start is where to
 * begin (for a group of one that is new: not yet decided, *fresh is true). */
int slr_group_join(struct slipring_consumer *consumer,
                   const struct slipring_consumer_config *config, uint64_t *start, bool *fresh,
                   struct slipring_error *error);

/* End the group if it has no live member and is not lasting. True if it is gone. */
bool slr_group_end_if_empty(struct slipring_ring *ring, uint32_t group);

/* A walk over what is finished begins anew when somebody else moved the end of it. One who puts it
 * back again and again must not hold us for ever: it is given up after the steps of so many laps,
 * and whoever finishes next, or recovers, goes on from there. */
#define SLR_ADVANCE_LAPS 8u

/* ---- leases (lease.c) ---- */

/* Take up to slots messages for a member: 0 and *first, *count, *deliveries; or -EAGAIN, -ESTALE. */
int slr_lease_take(struct slipring_consumer *consumer, uint64_t slots, uint64_t *first,
                   uint64_t *count, uint32_t *deliveries);

/* Is there a message to be taken? Looks at each, whatever the hints say. */
bool slr_group_has_work(const struct slr_segment *segment, uint32_t group);

/* Give back what was just taken, as if it never had been. */
void slr_lease_untake(struct slipring_consumer *consumer, uint64_t first, uint64_t count,
                      uint32_t deliveries);

/* Finish the message at sequence: 0, -ESTALE if it is not ours any more, -EINVAL if we did. */
int slr_lease_finish(struct slipring_consumer *consumer, uint64_t sequence);

/* Move position over the finished prefix; true if it moved (then tell the producer). */
bool slr_group_advance(const struct slr_segment *segment, uint32_t group);

/* Give back what {cell, generation} holds; cause as in slipring_dead_letter. */
void slr_lease_return_all(const struct slr_segment *segment, uint32_t group, uint32_t cell,
                          uint32_t generation, uint32_t cause);

/* Slow path of members, producer and tools: reap dead members, give back what nobody holds. */
void slr_group_recover(struct slipring_ring *ring, uint32_t group);

/* Evicting group, out of patience: if the first unfinished slot is somebody's, evict who holds it
 * and the next ones, whose messages others then get; if nobody took it, drop it and the next ones
 * that nobody took, to make room for slots slots. */
void slr_group_evict(struct slipring_ring *ring, uint32_t group, uint64_t slots);

/* Is everything before end finished, or in this member's own hands (which nobody else will get
 * while it lives)? Recovers and advances to find out. */
bool slr_group_finished(struct slipring_consumer *consumer, uint64_t end);

#endif
