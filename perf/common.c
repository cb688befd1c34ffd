/* SPDX-License-Identifier: Apache-2.0 */
/* Running measures: rounds in turns between two probes of the floor, then the figures. */
#include "bench.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define NEAR_NS 90.0 /* one way, by the floor: cores that share a cache */
#define FAR_NS 200.0 /* from here on: cores that do not, or other sockets */
#define SIBLINGS_NS 35.0
#define ROUNDS 5
#define ROUNDS_QUICK 3
#define ATTEMPTS 3 /* when the machine moved us between the probes */

/* ---- figures ---- */

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a;
    const double y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Of sorted values, by nearest rank. */
static double percentile(const double *values, uint64_t count, double share)
{
    uint64_t rank = (uint64_t)ceil(share * (double)count);
    return values[rank == 0 ? 0 : rank - 1];
}

/* What happens once in n tries is not known from fewer than n samples. */
static double tail(const double *values, uint64_t count, uint64_t n)
{
    return count < n ? NAN : percentile(values, count, 1 - 1 / (double)n);
}

/* ---- the floor ---- */

static double probe(struct bench *bench)
{
    const struct run run = {bench->quick, bench->chunks, bench->tails};
    bench->chunks->count = 0;
    if (floor_probe(&run) != 0) {
        bench->failed = true;
        return NAN;
    }
    /* Other work only adds to it: the quick chunks say where the two processors are. */
    qsort(bench->chunks->values, bench->chunks->count, sizeof(double), compare);
    return percentile(bench->chunks->values, bench->chunks->count, 0.1);
}

static const char *class_of(double floor_ns)
{
    return floor_ns < SIBLINGS_NS ? "siblings"
           : floor_ns < NEAR_NS   ? "near"
           : floor_ns < FAR_NS    ? "mid"
                                  : "far";
}

static const char *placement(double before, double after)
{
    const char *class = class_of(before);
    return strcmp(class, class_of(after)) == 0 ? class : "moved";
}

/* ---- measures ---- */

bool bench_quick(const struct bench *bench)
{
    return bench->quick;
}

bool bench_wants(const struct bench *bench, const char *name)
{
    for (int i = 0; i < bench->only_count; i++) {
        if (strncmp(name, bench->only[i], strlen(bench->only[i])) == 0) {
            return true;
        }
    }
    return bench->only_count == 0;
}

void bench_note(struct bench *bench, const char *format, ...)
{
    (void)bench;
    va_list arguments;
    va_start(arguments, format);
    printf("  ");
    vprintf(format, arguments);
    printf("\n");
    va_end(arguments);
    fflush(stdout);
}

/* Everything that one contender put down, over all rounds. */
struct gathered {
    uint64_t chunks, tails;
    bool failed;
};

static void run_round(struct bench *bench, const struct measure *measure, int i,
                      struct gathered *gathered)
{
    const struct contender *contender = &measure->contenders[i];
    const struct run run = {bench->quick, bench->chunks, bench->tails};
    bench->chunks->count = 0;
    bench->tails->count = 0;
    if (contender->run(&run, contender->context) != 0) {
        bench_note(bench, "%s: %s FAILED", measure->name, contender->system);
        gathered->failed = true;
        bench->failed = true;
        return;
    }
    const uint64_t chunks = bench->chunks->count;
    const uint64_t tails = bench->tails->count;
    CHECK(gathered->chunks + chunks <= bench->chunks->max);
    CHECK(gathered->tails + tails <= bench->tails->max);
    memcpy(bench->gathered_chunks[i] + gathered->chunks, bench->chunks->values,
           chunks * sizeof(double));
    memcpy(bench->gathered_tails[i] + gathered->tails, bench->tails->values,
           tails * sizeof(double));
    gathered->chunks += chunks;
    gathered->tails += tails;
}

static void figure(struct bench *bench, int i, const struct gathered *gathered,
                   struct result *result)
{
    double *chunks = bench->gathered_chunks[i];
    double *tails = bench->gathered_tails[i];
    qsort(chunks, gathered->chunks, sizeof(double), compare);
    qsort(tails, gathered->tails, sizeof(double), compare);
    const double *main = gathered->chunks != 0 ? chunks : tails;
    const uint64_t count = gathered->chunks != 0 ? gathered->chunks : gathered->tails;
    result->value = percentile(main, count, 0.5);
    result->min = main[0];
    result->max = main[count - 1];
    result->p99 = tail(tails, gathered->tails, 100);
    result->p999 = tail(tails, gathered->tails, 1000);
    for (int q = 0; q < QUANTILES; q++) {
        const double beyond = pow(10, -(double)q / QUANTILES_DECADE);
        result->quantiles[q] = (double)gathered->tails * beyond < 1
                                   ? NAN
                                   : percentile(tails, gathered->tails, 1 - beyond);
    }
}

static void record(struct bench *bench, const struct measure *measure,
                   const struct gathered *gathered, const char *place)
{
    double values[BENCH_CONTENDERS];
    struct result results[BENCH_CONTENDERS];
    for (int i = 0; i < BENCH_CONTENDERS && measure->contenders[i].system != NULL; i++) {
        values[i] = NAN;
        if (!gathered[i].failed && gathered[i].chunks + gathered[i].tails != 0) {
            figure(bench, i, &gathered[i], &results[i]);
            values[i] = results[i].value;
        }
    }
    const double floor = measure->floor != BENCH_NO_FLOOR ? values[measure->floor]
                         : measure->floor_value != 0      ? measure->floor_value
                                                          : NAN;
    for (int i = 0; i < BENCH_CONTENDERS && measure->contenders[i].system != NULL; i++) {
        if (isnan(values[i])) {
            continue;
        }
        struct result *result = &results[i];
        snprintf(result->name, sizeof result->name, "%s", measure->name);
        result->system = measure->contenders[i].system;
        result->unit = measure->unit;
        result->placement = place;
        result->floor = floor;
        CHECK(bench->result_count < RESULTS_MAX);
        bench->results[bench->result_count++] = *result;
        report_result(result);
    }
}

void bench_measure(struct bench *bench, const struct measure *ours)
{
    struct measure with_peers = *ours;
    const struct measure *measure = &with_peers;
    if (!bench_wants(bench, measure->name)) {
        return;
    }
    peers_add(&with_peers);
    const int rounds = measure->rounds != 0 ? measure->rounds
                       : bench->quick       ? ROUNDS_QUICK
                                            : ROUNDS;
    struct gathered gathered[BENCH_CONTENDERS];
    const char *place = "moved";
    for (int attempt = 0; attempt < (bench->quick ? 1 : ATTEMPTS) && strcmp(place, "moved") == 0;
         attempt++) {
        memset(gathered, 0, sizeof gathered);
        const double before = probe(bench);
        for (int round = 0; round < rounds; round++) {
            for (int i = 0; i < BENCH_CONTENDERS && measure->contenders[i].system != NULL; i++) {
                if (!gathered[i].failed) {
                    run_round(bench, measure, i, &gathered[i]);
                }
            }
        }
        place = placement(before, probe(bench));
    }
    record(bench, measure, gathered, place);
}
