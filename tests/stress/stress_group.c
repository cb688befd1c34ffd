/* SPDX-License-Identifier: Apache-2.0 */
/* Proves the engine's promises for work sharing beside broadcast, in three geometries. */
#include "stress.h"

static const struct stress variants[] = {
    {.name = "compact", STRESS_COMPACT, .workers = 3, .readers = 1, .batch = 8, .run_ms = 500},
    {.name = "pair", STRESS_PAIR, .workers = 3, .readers = 1, .batch = 4, .run_ms = 500},
    {.name = "tensor", STRESS_TENSOR, .workers = 3, .readers = 1, .batch = 4, .run_ms = 500},
    {.name = "many workers", STRESS_TENSOR, .workers = 6, .readers = 1, .run_ms = 500},
};

STRESS_MAIN(variants)
