/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: a member that writes random and chosen values over the whole control object of a block
 * ring makes no survivor fault, hang or leave its memory, whichever kind of consumer it is, and in
 * tensor rings nothing that was overwritten is returned without -ESTALE.
 * Faults: E2, E8.
 */
#include "hostile.h"

#define SMALL .slots = 8, .visitors = 1, .tables = 3

static const struct stress variants[] = {
    {.name = "compact",
     .geometry = SLIPRING_GEOMETRY_COMPACT,
     .bytes = 56,
     SMALL,
     .start_sequence = UINT64_C(0) - 5000},
    {.name = "pair", .geometry = SLIPRING_GEOMETRY_PAIR, .bytes = 128, SMALL, .batch = 4},
    {.name = "tensor", .geometry = SLIPRING_GEOMETRY_TENSOR, .bytes = 1024, SMALL, .batch = 3},
    {.name = "tensor spanning",
     .geometry = SLIPRING_GEOMETRY_TENSOR,
     .bytes = 512,
     SMALL,
     .batch = 3,
     .spanning = true,
     .flags = SLIPRING_TIMESTAMP | SLIPRING_CHECKSUM},
    {.name = "tensor of varying shape",
     .geometry = SLIPRING_GEOMETRY_TENSOR,
     .bytes = 1024,
     SMALL,
     .variable = true,
     .batch = 4},
};

int main(void)
{
    return hostile_main(variants, sizeof(variants) / sizeof(variants[0]), 2000);
}
