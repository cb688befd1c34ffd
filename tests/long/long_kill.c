/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves the engine's promises while members of every kind, and the producer, are killed at random
 * wherever they are, joining and leaving too, 10^4 times over rings that are never reset; and that
 * afterwards nothing is used up: cells, groups, lease and release tables, holds, locks and
 * descriptors are as at the start.
 *
 *     long_kill [KILLS]      10^6, say: the default is 10000, or what SLIPRING_KILLS says
 *
 * Faults: A9.
 */
#include "stress.h"

#define EVERYBODY .kill_consumers = true, .kill_producer = true, .visitors = 4
#define BLOCK EVERYBODY, .readers = 2, .workers = 3, .tables = 6

static struct stress variants[] = {
    {.name = "compact", STRESS_COMPACT, BLOCK, .batch = 4},
    {.name = "pair", STRESS_PAIR, BLOCK, .batch = 4, .unordered = true},
    {.name = "tensor", STRESS_TENSOR, BLOCK, .batch = 3, .spanning = true},
    {.name = "compact overwrite",
     STRESS_COMPACT,
     EVERYBODY,
     .full = SLIPRING_OVERWRITE,
     .readers = 2,
     .batch = 4},
    {.name = "tensor overwrite",
     STRESS_TENSOR,
     EVERYBODY,
     .full = SLIPRING_OVERWRITE,
     .readers = 3,
     .batch = 3,
     .hold = true},
};
#define VARIANTS (sizeof(variants) / sizeof(variants[0]))

int main(int argc, char **argv)
{
    const char *given = argc > 1 ? argv[1] : getenv("SLIPRING_KILLS");
    const uint64_t kills = given != NULL ? strtoull(given, NULL, 0) : 10000;
    CHECK(kills >= VARIANTS);
    proc_begin(120 + (unsigned)(kills / 25));
    uint64_t random = proc_seed();
    for (size_t i = 0; i < VARIANTS; i++) {
        variants[i].kills = kills * (i + 1) / VARIANTS - kills * i / VARIANTS;
        stress_run(&variants[i], &random);
    }
    return 0;
}
