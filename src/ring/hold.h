/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Holds: how a reader of an overwrite tensor ring keeps a slot's payload in place.
 *
 * Each side runs half of Dekker's protocol, with a full fence (HOLD in layout.h). membarrier(2) by the
 * holder alone is not enough: its form for other processes skips processors on which a thread has just
 * ended, and then held slots were overwritten.
 *
 *     holder                                  producer, before it writes into slot i
 *     hold word := {me, i}                    payload_sequence := o + 1      ("looked at")
 *     holds_exist := 1                        full fence
 *     full fence                              holds_exist? then does any hold word name i?
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

#include "ring/handle.h"
#include "ring/words.h"

/* Hold the slots of the message that begins at sequence (span of them). 0 held; -EAGAIN it is gone;
 * -ENOBUFS no free word. */
int slr_hold_take(struct slipring_consumer *consumer, uint64_t sequence, uint64_t span);

/* Drop the holds of such a message; 0, or -EINVAL if there was none. */
int slr_hold_drop(struct slipring_consumer *consumer, uint64_t sequence, uint64_t span);

/* Producer: mark slots slots from base on as looked at; the first of them that is held, or base +
 * slots if none is, in which case they are invalid now and may be written. */
uint64_t slr_hold_pass(struct slipring_producer *producer, uint64_t base, uint64_t slots);

#endif
