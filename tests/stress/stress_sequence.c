/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves the engine's promises where sequences pass 2^32, 2^63 and 2^64.
 * Faults: D8.
 */
#include "stress.h"

#define BEFORE_32 .start_sequence = (UINT64_C(1) << 32) - 33
#define BEFORE_63 .start_sequence = (UINT64_C(1) << 63) - 33
#define BEFORE_64 .start_sequence = UINT64_C(0) - 33

static const struct stress variants[] = {
    {.name = "compact 2^32", STRESS_COMPACT, BEFORE_32, .readers = 1, .workers = 2, .run_ms = 250},
    {.name = "compact 2^63", STRESS_COMPACT, BEFORE_63, .readers = 1, .workers = 2, .run_ms = 250},
    {.name = "compact 2^64", STRESS_COMPACT, BEFORE_64, .readers = 1, .workers = 2, .run_ms = 250},
    {.name = "pair 2^32", STRESS_PAIR, BEFORE_32, .readers = 2, .unordered = true, .run_ms = 250},
    {.name = "pair 2^63", STRESS_PAIR, BEFORE_63, .readers = 2, .unordered = true, .run_ms = 250},
    {.name = "pair 2^64", STRESS_PAIR, BEFORE_64, .readers = 2, .unordered = true, .run_ms = 250},
    {.name = "tensor 2^32",
     STRESS_TENSOR,
     BEFORE_32,
     .full = SLIPRING_OVERWRITE,
     .readers = 2,
     .hold = true,
     .run_ms = 250},
    {.name = "tensor 2^63",
     STRESS_TENSOR,
     BEFORE_63,
     .full = SLIPRING_OVERWRITE,
     .readers = 2,
     .run_ms = 250},
    {.name = "tensor 2^64",
     STRESS_TENSOR,
     BEFORE_64,
     .readers = 1,
     .workers = 2,
     .spanning = true,
     .run_ms = 250},
};

STRESS_MAIN(variants)
