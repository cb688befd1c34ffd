/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What this process, its libraries included, asked of the allocator and of madvise(2): the bench
 * defines those functions itself and passes them on.
 */
#ifndef PERF_INTERPOSED_H
#define PERF_INTERPOSED_H

#include <stdint.h>

/* Bytes asked of malloc and its kin so far. */
uint64_t allocated_bytes(void);
/* Time spent so far in calls of madvise(2) that fault memory in. */
int64_t populate_ns(void);

#endif
