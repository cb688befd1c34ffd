/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A peer: somebody else's queue, in a program of its own, under the same load as ours. The program
 * is run with the name of a measure and `quick` or `full`; it prints one line per sample, `chunk V`
 * or `tail V`, in the measure's unit, and exits 0.
 */
#ifndef PERF_PEER_H
#define PERF_PEER_H

#include "../common.h"

/* What the queues carry; a line. */
struct message {
    _Alignas(64) uint64_t words[8];
};

struct peer_measure {
    const char *name; /* NULL ends the list */
    int (*run)(const struct run *run, const void *context);
    const void *context;
};

extern const struct peer_measure peer_measures[];

#endif
