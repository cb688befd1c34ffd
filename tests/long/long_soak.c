/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: mixed traffic with members of every kind, of which some are killed, goes on for as long as
 * one likes, and whoever is there all the time (producer, readers, workers, one that joins and
 * leaves thousands of times) has in the end no more descriptors, mappings and memory than early on.
 *
 *     long_soak [SECONDS]      for hours: 10800, say; the default is 30, or what SLIPRING_SECONDS says
 *
 * Faults: D7.
 */
#include "stress.h"

#define MIXED .visitors = 3, .kill_consumers = true, .soak = true
#define BLOCK MIXED, .readers = 2, .workers = 3, .tables = 6

static struct stress variants[] = {
    {.name = "compact", STRESS_COMPACT, BLOCK, .batch = 4},
    {.name = "tensor", STRESS_TENSOR, BLOCK, .batch = 3, .spanning = true, .unordered = true},
    {.name = "overwrite",
     STRESS_TENSOR,
     MIXED,
     .full = SLIPRING_OVERWRITE,
     .readers = 2,
     .hold = true,
     .batch = 3},
};
#define VARIANTS (sizeof(variants) / sizeof(variants[0]))

int main(int argc, char **argv)
{
    const char *given = argc > 1 ? argv[1] : getenv("SLIPRING_SECONDS");
    const unsigned seconds = given != NULL ? (unsigned)strtoul(given, NULL, 0) : 30;
    CHECK(seconds >= VARIANTS && seconds < 4000000);
    proc_begin(120 + seconds + seconds / 4);
    uint64_t random = proc_seed();
    for (size_t i = 0; i < VARIANTS; i++) {
        variants[i].run_ms = seconds * 1000 / VARIANTS;
        stress_run(&variants[i], &random);
    }
    return 0;
}
