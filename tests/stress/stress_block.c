/* SPDX-License-Identifier: Apache-2.0 */
/* Proves the engine's promises for block rings: geometries, ordered and unordered, in batches. */
#include "stress.h"

static const struct stress variants[] = {
    {.name = "compact ordered", STRESS_COMPACT, .readers = 2, .batch = 8, .run_ms = 400},
    {.name = "compact unordered", STRESS_COMPACT, .readers = 2, .unordered = true, .run_ms = 400},
    {.name = "pair ordered", STRESS_PAIR, .readers = 2, .run_ms = 400},
    {.name = "pair unordered",
     STRESS_PAIR,
     .readers = 2,
     .batch = 8,
     .unordered = true,
     .run_ms = 400},
    {.name = "tensor ordered", STRESS_TENSOR, .readers = 2, .batch = 8, .run_ms = 400},
    {.name = "tensor unordered",
     STRESS_TENSOR,
     .readers = 2,
     .batch = 3,
     .unordered = true,
     .run_ms = 400},
};

STRESS_MAIN(variants)
