/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves the engine's promises while everybody is killed at random, over the wrap at 2^64.
 * Faults: A9, A11.
 */
#include "stress.h"

#define KILLS .kill_producer = true, .kill_consumers = true, .run_ms = 900
#define BEFORE_64 .start_sequence = UINT64_C(0) - 1001

static const struct stress variants[] = {
    {.name = "compact", STRESS_COMPACT, BEFORE_64, .readers = 2, .workers = 3, .batch = 4, KILLS},
    {.name = "pair",
     STRESS_PAIR,
     BEFORE_64,
     .readers = 2,
     .workers = 3,
     .unordered = true,
     .batch = 4,
     KILLS},
    {.name = "tensor",
     STRESS_TENSOR,
     BEFORE_64,
     .readers = 2,
     .workers = 3,
     .spanning = true,
     .batch = 3,
     KILLS},
    {.name = "overwrite",
     STRESS_TENSOR,
     BEFORE_64,
     .full = SLIPRING_OVERWRITE,
     .readers = 4,
     .spanning = true,
     .batch = 3,
     KILLS},
};

STRESS_MAIN(variants)
