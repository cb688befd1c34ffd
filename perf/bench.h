/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the engine share, and the shapes do not see. */
#ifndef PERF_BENCH_H
#define PERF_BENCH_H

#include "common.h"

#include <stddef.h>

/* Of the tails, by rank: at the shares 1 - 10^(-i / QUANTILES_DECADE), as far as there are samples. */
#define QUANTILES 121
#define QUANTILES_DECADE 20

struct result {
    char name[BENCH_NAME_BYTES];
    const char *system;
    const char *unit;
    const char *placement;
    double value, p99, p999, min, max, floor; /* NAN where there is none */
    double quantiles[QUANTILES];
};

#define RESULTS_MAX 512

struct bench {
    bool quick;
    bool failed;
    const char *const *only; /* names wanted, by their beginnings; none: all */
    int only_count;
    struct samples *chunks, *tails; /* reserved once, for whichever contender runs */
    double *gathered_chunks[BENCH_CONTENDERS], *gathered_tails[BENCH_CONTENDERS];
    struct result results[RESULTS_MAX];
    size_t result_count;
};

/* Programs beside this one (programs.c): the path of one, if it is there; a round of one that prints
 * samples, with or without a system's name before the measure's: 0, or it failed. */
bool program_path(const char *program, char *path, size_t size);
int program_run(const struct run *run, const char *program, const char *system,
                const char *measure);

/* The line of the table's head that names the peers that take part (peers.c). */
void peers_print(void);

void report_begin(const struct bench *bench);
void report_result(const struct result *result);
/* 0, or a negative errno. The figures; the distributions of single operations. */
int report_json(const struct bench *bench, const char *path);
int report_tails(const struct bench *bench, const char *path);

#endif
