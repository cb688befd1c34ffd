/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gate: how far the producer of a `block` ring may write.
 *
 * The producer keeps in private memory the end up to which it may claim, and looks at the
 * consumers again only when that is used up (Disruptor's cached gating sequence). Before it looks
 * it announces in data the limit up to which it may come to write; who joins shows its cell first
 * and reads the limit after, so either the look sees the joiner or the joiner starts no earlier
 * than limit - slots (JOIN). When the ring is nearly full the limit is announced an eighth of it
 * ahead, so that most looks need neither a new announcement nor a fence; with nobody to gate it
 * rises by an eighth, too.
 */
#ifndef SLR_GATE_H
#define SLR_GATE_H

#include "ring/handle.h"

/* Raise producer->fast->end so that slots slots may be claimed: 0, or -EAGAIN. */
int slr_gate_raise(struct slipring_producer *producer, uint64_t slots);

/* Slow path of a producer that is held back: recover from the dead, evict the slow. */
void slr_gate_clear(struct slipring_producer *producer, uint64_t slots);

#endif
