/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: a thousand consumers, each a process of its own, all see every message; when a third of
 * them is killed the producer goes on, and the rest see all of what comes after.
 * Faults: B7.
 */
#define _GNU_SOURCE
#include "stress.h"

#include <sys/resource.h>

enum { CONSUMERS = 1000, FDS = 3 * CONSUMERS };

static const struct stress how = {.name = "a thousand consumers",
                                  STRESS_COMPACT,
                                  .readers = CONSUMERS,
                                  .members = CONSUMERS + 8,
                                  .batch = 8,
                                  .kill_consumers = true,
                                  .kills = CONSUMERS / 3,
                                  .bury = true,
                                  .run_ms = 5000};

int main(void)
{
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    if (limit.rlim_max < FDS) {
        SKIP("a process may not have as many descriptors open (RLIMIT_NOFILE) as this needs");
    }
    limit.rlim_cur = limit.rlim_max;
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    return stress_main(&how, 1);
}
