/* SPDX-License-Identifier: Apache-2.0 */
/* Proves the engine's promises for shapes that vary from message to message. */
#include "stress.h"

static const struct stress variants[] = {
    {.name = "block", STRESS_TENSOR, .readers = 2, .variable = true, .batch = 4, .run_ms = 400},
    {.name = "pair", STRESS_PAIR, .readers = 2, .variable = true, .batch = 4, .run_ms = 400},
    {.name = "overwrite",
     STRESS_TENSOR,
     .full = SLIPRING_OVERWRITE,
     .readers = 2,
     .variable = true,
     .batch = 4,
     .run_ms = 400},
    {.name = "group",
     STRESS_TENSOR,
     .readers = 1,
     .workers = 3,
     .variable = true,
     .batch = 4,
     .run_ms = 400},
};

STRESS_MAIN(variants)
