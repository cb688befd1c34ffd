/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Holds: how a reader of an overwrite tensor ring keeps a slot's payload in place.
 *
 * Half of Dekker's protocol each, with a full fence in both (HOLD in sequence.h): by the holder's heavy
 * one alone, which the producer answers with none, held slots were overwritten about once in a thousand
 * plays of threads_overwrite, while processes and threads began and ended beside them.
 *
 *     holder                                  producer, before it writes into slot i
 *     hold word := {me, i}                    payload_sequence := o + 1      ("looked at")
 *     holds_exist := 1                        full fence
 *     heavy fence                             holds_exist? then does any hold word name i?
 *     payload_sequence == s: held                 yes: payload_sequence := o, pass the slot over
 *     else: drop the word, it is gone             no:  payload_sequence := next lap's s - 1, write
 *
 * Either the producer sees the hold or the holder sees the mark. The mark o + 1 still says whose
 * payload lies there, so that a producer killed between mark and verdict voids nobody's hold: the
 * reader's check at release takes it for o, and the next producer marks it again.
 *
 * holds_exist is a flag, not a count: holders only raise it, the producer alone lowers it, looks
 * through the words again and raises it if one is there. A dead holder's words are reaped with its
 * cell.
 */
#ifndef SLR_HOLD_H
#define SLR_HOLD_H

#include "handle.h"
#include "slot.h"

/* Hold the slots of the message that begins at sequence (span of them). 0 held; -EAGAIN it is gone;
 * -ENOBUFS no free word. */
int slr_hold_take(struct slipring_consumer *consumer, uint64_t sequence, uint64_t span);

/* Drop the holds of such a message; 0, or -EINVAL if there was none. */
int slr_hold_drop(struct slipring_consumer *consumer, uint64_t sequence, uint64_t span);

/* Drop all that {cell, generation} holds (REAP). */
void slr_hold_drop_all(const struct slr_segment *segment, uint32_t cell, uint32_t generation);

/* Producer: mark slots slots from base on as looked at; the first of them that is held, or base +
 * slots if none is, in which case they are invalid now and may be written. */
uint64_t slr_hold_pass(struct slipring_producer *producer, uint64_t base, uint64_t slots);

/* Reap the dead among the holders. */
void slr_hold_reap(struct slipring_ring *ring);

#endif
