/* SPDX-License-Identifier: Apache-2.0 */
/* The table, and the list for other programs. */
#include "bench.h"

#include <errno.h>
#include <math.h>
#include <sched.h>
#include <string.h>
#include <sys/utsname.h>

static void print_machine(void)
{
    char line[256];
    FILE *file = fopen("/proc/cpuinfo", "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, "model name", 10) == 0) {
            printf("%s", strchr(line, ':') != NULL ? strchr(line, ':') + 2 : line);
            break;
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    struct utsname system;
    if (uname(&system) == 0) {
        printf("%s %s %s, %d processors, %s\n", system.sysname, system.release, system.machine,
               bench_processors(),
               sched_getscheduler(0) == SCHED_OTHER ? "time-shared with other work"
                                                    : "before other work (chrt)");
    }
}

void report_begin(const struct bench *bench)
{
    printf("slipring %s, bench%s\n", slipring_version(), bench->quick ? " --quick" : "");
    print_machine();
    peers_print();
    printf("value: median of the chunks, or of the samples; min, max: of the same; p99, p99.9: of "
           "single\noperations; ratio: value / floor; placement: of the two processors, by a bare "
           "ping-pong\nbefore and after\n\n");
    printf("%-26s %-20s %-5s %9s %9s %9s %9s %9s %9s %6s  %s\n", "name", "system", "unit", "value",
           "min", "max", "p99", "p99.9", "floor", "ratio", "placement");
    fflush(stdout);
}

/* Large and small figures so that they fit their column. */
static void print_cell(double value)
{
    if (isnan(value)) {
        printf(" %9s", "-");
    } else if (fabs(value) >= 1e7) {
        printf(" %9.3g", value);
    } else {
        printf(" %9.*f", value >= 10000 ? 0 : value >= 100 ? 1 : 2, value);
    }
}

void report_result(const struct result *result)
{
    const bool rate = strcmp(result->unit, "1/s") == 0;
    const double scale = !rate ? 1 : result->value >= 1e6 ? 1e6 : result->value >= 1e3 ? 1e3 : 1;
    printf("%-26s %-20s %-5s", result->name, result->system,
           scale == 1e6   ? "M/s"
           : scale == 1e3 ? "k/s"
                          : result->unit);
    const double cells[] = {result->value, result->min,  result->max,
                            result->p99,   result->p999, result->floor};
    for (size_t i = 0; i < sizeof cells / sizeof *cells; i++) {
        print_cell(cells[i] / scale);
    }
    const double ratio = result->value / result->floor;
    if (isfinite(ratio)) {
        printf(" %6.3f", ratio);
    } else {
        printf(" %6s", "-");
    }
    printf("  %s\n", result->placement);
    fflush(stdout);
}

/* 0, or a negative errno. */
static int close_list(FILE *file)
{
    fprintf(file, "\n]\n");
    const bool bad = ferror(file) != 0;
    return fclose(file) != 0 || bad ? -EIO : 0;
}

static void json_number(FILE *file, const char *key, double value)
{
    fprintf(file, ", \"%s\": ", key);
    if (isfinite(value)) {
        fprintf(file, "%.9g", value);
    } else {
        fprintf(file, "null");
    }
}

int report_json(const struct bench *bench, const char *path)
{
    FILE *file = fopen(path, "we");
    if (file == NULL) {
        return -errno;
    }
    fprintf(file, "[");
    for (size_t i = 0; i < bench->result_count; i++) {
        const struct result *r = &bench->results[i];
        fprintf(file, "%s\n{\"name\": \"%s\", \"system\": \"%s\", \"unit\": \"%s\"",
                i == 0 ? "" : ",", r->name, r->system, r->unit);
        json_number(file, "value", r->value);
        json_number(file, "p99", r->p99);
        json_number(file, "p999", r->p999);
        json_number(file, "min", r->min);
        json_number(file, "max", r->max);
        json_number(file, "floor", r->floor);
        json_number(file, "ratio", r->value / r->floor);
        fprintf(file, ", \"placement\": \"%s\"}", r->placement);
    }
    return close_list(file);
}

int report_tails(const struct bench *bench, const char *path)
{
    FILE *file = fopen(path, "we");
    const char *before = "";
    if (file == NULL) {
        return -errno;
    }
    fprintf(file, "[");
    for (size_t i = 0; i < bench->result_count; i++) {
        const struct result *r = &bench->results[i];
        if (isnan(r->quantiles[0])) {
            continue;
        }
        fprintf(file, "%s\n{\"name\": \"%s\", \"system\": \"%s\", \"quantiles\": [", before,
                r->name, r->system);
        before = ",";
        for (int q = 0; q < QUANTILES && !isnan(r->quantiles[q]); q++) {
            fprintf(file, "%s%.6g", q == 0 ? "" : ", ", r->quantiles[q]);
        }
        fprintf(file, "]}");
    }
    return close_list(file);
}
