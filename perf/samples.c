/* SPDX-License-Identifier: Apache-2.0 */
/* Samples and the clock that they are taken by. */
#include "common.h"

struct samples *samples_new(uint64_t max)
{
    struct samples *samples = shared_new(sizeof *samples + max * sizeof(double));
    samples->max = max;
    return samples;
}

void samples_add(struct samples *samples, double value)
{
    if (samples->count == samples->max) {
        FAIL("more than the %llu samples reserved", (unsigned long long)samples->max);
    }
    samples->values[samples->count++] = value;
}

double ns_per_tick(void)
{
    static double known;
    if (known == 0) {
        const int64_t start_ns = now_ns();
        const uint64_t start = ticks();
        while (now_ns() - start_ns < 20000000) {
        }
        const uint64_t end = ticks();
        known = (double)(now_ns() - start_ns) / (double)(end - start);
    }
    return known;
}
