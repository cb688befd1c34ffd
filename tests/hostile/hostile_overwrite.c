/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: a member that writes random and chosen values over the whole control object of an
 * overwrite ring makes no survivor fault, hang or leave its memory; copies are whole all the same,
 * gaps exact, and no hold that was taken away ends without being told.
 * Faults: E2, E8.
 */
#include "hostile.h"

#define SMALL .full = SLIPRING_OVERWRITE, .slots = 8, .visitors = 1

static const struct stress variants[] = {
    {.name = "compact", .geometry = SLIPRING_GEOMETRY_COMPACT, .bytes = 56, SMALL, .batch = 4},
    {.name = "pair", .geometry = SLIPRING_GEOMETRY_PAIR, .bytes = 128, SMALL},
    {.name = "tensor",
     .geometry = SLIPRING_GEOMETRY_TENSOR,
     .bytes = 1024,
     SMALL,
     .batch = 3,
     .start_sequence = UINT64_C(0) - 5000},
    {.name = "tensor spanning",
     .geometry = SLIPRING_GEOMETRY_TENSOR,
     .bytes = 512,
     SMALL,
     .batch = 3,
     .spanning = true},
};

int main(void)
{
    return hostile_main(variants, sizeof(variants) / sizeof(variants[0]), 2000);
}
