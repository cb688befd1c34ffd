/* SPDX-License-Identifier: Apache-2.0 */
/* Proves the engine's promises for overwrite rings: copies in three geometries, and holds. */
#include "stress.h"

static const struct stress variants[] = {
    {.name = "compact",
     STRESS_COMPACT,
     .full = SLIPRING_OVERWRITE,
     .readers = 2,
     .batch = 4,
     .run_ms = 400},
    {.name = "pair",
     STRESS_PAIR,
     .full = SLIPRING_OVERWRITE,
     .readers = 2,
     .batch = 4,
     .run_ms = 400},
    {.name = "tensor",
     STRESS_TENSOR,
     .full = SLIPRING_OVERWRITE,
     .readers = 2,
     .batch = 4,
     .run_ms = 400},
    {.name = "tensor held",
     STRESS_TENSOR,
     .full = SLIPRING_OVERWRITE,
     .readers = 2,
     .hold = true,
     .batch = 4,
     .run_ms = 600},
};

STRESS_MAIN(variants)
