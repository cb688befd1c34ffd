/* SPDX-License-Identifier: Apache-2.0 */
/* Proves the engine's promises while producers are killed at random and others take over. */
#include "stress.h"

#define KILLS .kill_producer = true, .run_ms = 600

static const struct stress variants[] = {
    {.name = "compact", STRESS_COMPACT, .readers = 1, .workers = 2, .batch = 8, KILLS},
    {.name = "pair", STRESS_PAIR, .readers = 2, .unordered = true, .batch = 8, KILLS},
    {.name = "tensor", STRESS_TENSOR, .readers = 1, .workers = 2, .batch = 8, KILLS},
    {.name = "spanning", STRESS_TENSOR, .readers = 2, .spanning = true, KILLS},
    {.name = "overwrite compact",
     STRESS_COMPACT,
     .full = SLIPRING_OVERWRITE,
     .readers = 2,
     .batch = 8,
     KILLS},
    {.name = "overwrite pair",
     STRESS_PAIR,
     .full = SLIPRING_OVERWRITE,
     .readers = 2,
     .batch = 8,
     KILLS},
    {.name = "overwrite held",
     STRESS_TENSOR,
     .full = SLIPRING_OVERWRITE,
     .readers = 2,
     .hold = true,
     .batch = 4,
     KILLS},
};

STRESS_MAIN(variants)
