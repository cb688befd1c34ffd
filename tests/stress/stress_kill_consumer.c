/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves the engine's promises while consumers are killed at random: the others lose nothing.
 * Faults: A4, A5.
 */
#include "stress.h"

#define KILLS .kill_consumers = true, .run_ms = 700

static const struct stress variants[] = {
    {.name = "compact", STRESS_COMPACT, .readers = 2, .workers = 3, .batch = 4, KILLS},
    {.name = "pair", STRESS_PAIR, .readers = 3, .workers = 2, .unordered = true, KILLS},
    {.name = "tensor", STRESS_TENSOR, .readers = 2, .workers = 3, .batch = 4, KILLS},
    {.name = "spanning", STRESS_TENSOR, .readers = 2, .workers = 3, .spanning = true, KILLS},
    {.name = "held", STRESS_TENSOR, .full = SLIPRING_OVERWRITE, .readers = 4, .hold = true, KILLS},
};

STRESS_MAIN(variants)
