/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile member: what it writes over the control object, and a storm of it while everybody else
 * works (producers, visitors of every kind, deaths and takeovers). What must hold is in visit.h.
 */
#ifndef HOSTILE_H
#define HOSTILE_H

#include "stress.h"

/* Parts of control, to be or-ed. */
enum {
    HOSTILE_HEAD = 1 << 0,  /* magic, version, uuid: what who opens the ring looks at */
    HOSTILE_WAKE = 1 << 1,  /* waiting flags and futex words */
    HOSTILE_WORDS = 1 << 2, /* holds exist, cells_high, groups_high, orphaned, dead letter count */
    HOSTILE_LETTERS = 1 << 3,
    HOSTILE_CELLS = 1 << 4,
    HOSTILE_GROUPS = 1 << 5,
    HOSTILE_HOLDS = 1 << 6,
    HOSTILE_LEASES = 1 << 7,
    HOSTILE_RELEASES = 1 << 8,
    HOSTILE_ANYWHERE = 1 << 9,
    HOSTILE_ALL = (1 << 10) - 1
};

/* Write count words of those parts, each with a value that code may stumble over: all ones, zero,
 * one more or less, one bit, small, near the cursor or a lap from it, a word of somewhere else, a
 * word as the protocol would write it with a wrong owner, generation, group, lap or index. */
void hostile_write(struct slipring_ring *ring, uint32_t parts, unsigned count, uint64_t *random);

/* Hide all members and groups from the producer: it goes on over whatever they read. */
void hostile_open_gates(struct slipring_ring *ring);

/* One producer, visitors and a hostile member, which writes in bursts; some are stopped at random
 * while it does, some are killed and others take their place. Fails if a survivor faults, does not
 * end a call, or is not told what was overwritten. */
void hostile_storm(const struct stress *how, uint32_t parts, unsigned run_ms, uint64_t *random);

int hostile_main(const struct stress *variants, size_t count, unsigned run_ms);

#endif
