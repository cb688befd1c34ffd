/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cells: how a member takes one and shows itself in it. How it leaves, or is reaped: recover.h.
 *
 *     FREE      -> JOINING   by the holder of the cell's lock byte; generation + 1
 *     JOINING   -> ACTIVE    by the owner; from here on it gates
 *     ACTIVE    -> EVICTED   by the producer
 *     any other -> FREE      by the owner leaving, or by anybody once the lock byte is free (REAP)
 *     any other -> RETIRED   the same, while stores of a device may still come into its release words
 *     RETIRED   -> FREE      by the owner, told that none will; or by anybody, SLR_RETIRED_NS later
 *
 * A member takes the lock first and shows the cell after, so that a cell that is shown and not locked
 * belongs to a dead member.
 */
#ifndef SLR_MEMBERS_H
#define SLR_MEMBERS_H

#include "ring/handle.h"
#include "ring/words.h"

/* Lock and show a free cell as JOINING; sets consumer->cell and word. -EUSERS if there is none. */
int slr_cell_take(struct slipring_consumer *consumer, struct slipring_error *error);

/* Show the cell in another state or group; the owner's, false if it was evicted meanwhile. */
bool slr_cell_show(struct slipring_consumer *consumer, uint32_t group, uint32_t kind,
                   uint32_t state);

/* Find a release table that no cell uses and note it in ours. -EUSERS if there is none. */
int slr_cell_take_releases(struct slipring_consumer *consumer, struct slipring_error *error);

#endif
