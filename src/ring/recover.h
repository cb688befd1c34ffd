/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Recovery: what a member leaves behind is undone here, whether it left, was evicted or died.
 *
 * A member marks words of others with {cell, generation}: holds, leases, and the position of its group.
 * They are undone in this order, each by a compare-and-swap on a word that carries the mark:
 *
 *     holds; leases (or the position of a lasting group of one); then the cell; then the empty group
 *
 * The cell comes last of its own words. So a reaper that dies half-way leaves a cell that still looks
 * dead, and the next reaper repeats the work without harm. Two reapers at once do no more than one.
 *
 * A cell that is shown and not locked belongs to a dead member (members.h).
 */
#ifndef SLR_RECOVER_H
#define SLR_RECOVER_H

#include "ring/handle.h"
#include "ring/words.h"

/* The kernel drops a dead process's locks and its device's contexts in one go, but in no order that we
 * know. No store comes later than this, or it finds another {cell, generation} and does not count. */
#define SLR_RETIRED_NS INT64_C(2000000000)

/* Give back all that the cell holds and free it; the owner's way out. */
void slr_cell_leave(struct slipring_consumer *consumer);

/* Is the member that showed this word gone without leaving (or RETIRED, long enough)? */
bool slr_cell_dead(const struct slipring_ring *ring, uint32_t cell, uint64_t word);

/* Undo what a dead member left; word is what slr_cell_dead() was asked about. cause as in
 * slipring_dead_letter. */
void slr_cell_reap(struct slipring_ring *ring, uint32_t cell, uint64_t word, uint32_t cause);

/* Reap every dead member; how many there were. */
int slr_members_reap_all(struct slipring_ring *ring);

/* Reap the dead members of a group. */
void slr_group_reap(struct slipring_ring *ring, uint32_t group);
/* Reap the dead readers that hold a slot of an overwrite ring, and drop holds of no reader. */
void slr_hold_reap(struct slipring_ring *ring);

/* Has the group a living member? Then *pid is one's, for display. */
bool slr_group_peopled(struct slipring_ring *ring, uint32_t group, uint32_t *pid);

/* End the group if it has no living member and is not lasting. True if it is gone. */
bool slr_group_end_if_empty(struct slipring_ring *ring, uint32_t group);

/* Give back the leases of {cell, generation}; cause as in slipring_dead_letter. */
void slr_lease_return_all(const struct slr_segment *segment, uint32_t group, uint32_t cell,
                          uint32_t generation, uint32_t cause);

/* Slow path of members, producer and tools: reap a group's dead members and give back the leases whose
 * holder was evicted or left in the moment of taking. */
void slr_group_recover(struct slipring_ring *ring, uint32_t group);

#endif
