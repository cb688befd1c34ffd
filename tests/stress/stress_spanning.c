/* SPDX-License-Identifier: Apache-2.0 */
/* Proves the engine's promises for messages larger than a slot among others. */
#include "stress.h"

static const struct stress variants[] = {
    {.name = "block", STRESS_TENSOR, .readers = 2, .spanning = true, .run_ms = 400},
    {.name = "unordered",
     STRESS_TENSOR,
     .readers = 2,
     .unordered = true,
     .spanning = true,
     .batch = 3,
     .run_ms = 400},
    {.name = "overwrite",
     STRESS_TENSOR,
     .full = SLIPRING_OVERWRITE,
     .readers = 2,
     .spanning = true,
     .batch = 3,
     .run_ms = 400},
    {.name = "group",
     STRESS_TENSOR,
     .readers = 1,
     .workers = 3,
     .spanning = true,
     .batch = 3,
     .run_ms = 400},
};

STRESS_MAIN(variants)
