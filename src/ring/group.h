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
#include "ring/words.h"

/* ---- the group's life (group.c) ---- */

/* Make every lease of the group read as not yet taken from start on. */
void slr_group_reset_leases(struct slr_segment *segment, uint32_t group, uint64_t start);

/* Join the group of that name with cell (JOINING, ours), creating it if there is none. On success
 * the cell is ACTIVE in it, consumer->group, group_word and word are set, and *start is where to
 * begin (for a group of one that is new: not yet decided, *fresh is true). */
int slr_group_join(struct slipring_consumer *consumer,
                   const struct slipring_consumer_config *config, uint64_t *start, bool *fresh,
                   struct slipring_error *error);

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

/* Called for an evicting group that is out of patience. If a member holds the first unfinished slot, evict
 * it, and the members that hold the next ones; other members then get their messages. If no member took
 * that slot, drop it and the next ones that none took, to make room for `slots` slots. */
void slr_group_evict(struct slipring_ring *ring, uint32_t group, uint64_t slots);

/* Is everything before end finished, or in this member's own hands (which nobody else will get
 * while it lives)? Recovers and advances to find out. */
bool slr_group_finished(struct slipring_consumer *consumer, uint64_t end);

#endif
