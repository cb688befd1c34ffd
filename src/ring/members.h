/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cells: taking, leaving, evicting, reaping.
 *
 *     FREE      -> JOINING   by who holds the cell's lock byte; generation + 1
 *     JOINING   -> ACTIVE    by the owner; from here on it gates
 *     ACTIVE    -> EVICTED   by the producer
 *     any other -> FREE      by the owner leaving, or by anybody once the lock byte is free (REAP)
 *     any other -> RETIRED   the same, while stores of a device may still come into its release words
 *     RETIRED   -> FREE      by the owner, told that none will; or by anybody, SLR_RETIRED_NS later
 *
 * The lock is taken first and the cell shown after, so that a cell that is shown and not locked is
 * a dead one's. Everything a dead member left is undone by compare-and-swaps on words that carry
 * {cell, generation}, the cell itself last: a reaper that dies half-way leaves work that the next
 * one repeats without harm, and two at once do no more than one.
 */
#ifndef SLR_MEMBERS_H
#define SLR_MEMBERS_H

#include "base/sequence.h"
#include "ring/handle.h"

/* The kernel drops a dead process's locks and its device's contexts in one go, but in no order that we
 * know. No store comes later than this, or it finds another {cell, generation} and does not count. */
#define SLR_RETIRED_NS INT64_C(2000000000)

static inline uint64_t slr_cell_word(uint32_t generation, uint32_t group, uint32_t kind,
                                     uint32_t state)
{
    return (uint64_t)generation << 32 | (uint64_t)group << 8 | (uint64_t)kind << 4 | state;
}
static inline uint32_t slr_cell_state(uint64_t word)
{
    return (uint32_t)(word & 15);
}
static inline uint32_t slr_cell_kind(uint64_t word)
{
    return (uint32_t)(word >> 4) & 15;
}
static inline uint32_t slr_cell_group(uint64_t word)
{
    return (uint32_t)(word >> 8) & 0xffff;
}
static inline uint32_t slr_cell_generation(uint64_t word)
{
    return (uint32_t)(word >> 32);
}
static inline uint64_t slr_cell_to(uint64_t word, uint32_t state)
{
    return (word & ~UINT64_C(15)) | state;
}

/* Cells ever used are below; what a hostile member wrote there is cut to what exists. */
static inline uint32_t slr_cells_high(const struct slr_segment *segment)
{
    const uint32_t high = slr_load32_acquire(&segment->control->cells_high); /* JOIN */
    return high < segment->geometry.members_max ? high : segment->geometry.members_max;
}

/* Lock and show a free cell as JOINING; sets consumer->cell and word. -EUSERS if there is none. */
int slr_cell_take(struct slipring_consumer *consumer, struct slipring_error *error);

/* Show the cell in another state or group; the owner's, false if it was evicted meanwhile. */
bool slr_cell_show(struct slipring_consumer *consumer, uint32_t group, uint32_t kind,
                   uint32_t state);

/* Give back all that the cell holds and free it; the owner's way out. */
void slr_cell_leave(struct slipring_consumer *consumer);

/* How far the member of a group of one that showed this word has released, by its own count and what
 * a device has stored since. RELEASE. */
uint64_t slr_cell_released(const struct slr_segment *segment, uint32_t cell, uint64_t word);

/* Is the member that showed this word gone without leaving (or RETIRED, long enough)? */
bool slr_cell_dead(const struct slipring_ring *ring, uint32_t cell, uint64_t word);

/* Undo what a dead member left; word is what slr_cell_dead() was asked about. */
void slr_cell_reap(struct slipring_ring *ring, uint32_t cell, uint64_t word, uint32_t cause);

/* Reap every dead member; how many there were. */
int slr_members_reap_all(struct slipring_ring *ring);

/* Find a release table that no cell uses and note it in ours. -EUSERS if there is none. */
int slr_cell_take_releases(struct slipring_consumer *consumer, struct slipring_error *error);

#endif
