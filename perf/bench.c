/* SPDX-License-Identifier: Apache-2.0 */
/* The program: which measures, in which order, and where the figures go. */
#include "bench.h"

#include <stdlib.h>
#include <string.h>

#define CHUNKS_MAX (UINT64_C(1) << 18)
#define TAILS_MAX (UINT64_C(1) << 21)

static void (*const shapes[])(struct bench *bench) = {
    perf_pingpong_latency,
    perf_1to1_rate,
    perf_1to4_rate,
    perf_group4_rate,
    perf_handover_latency,
    perf_publish_idle,
    perf_wake_latency,
    perf_wake_many,
    perf_stream_rate,
    perf_attach_latency,
    perf_hold_latency,
    perf_kill_latency,
    perf_readers_rate,
    perf_memory_size,
    perf_steady_faults,
    perf_members_latency,
    perf_scale_rate,
    perf_size_rate,
#ifdef BENCH_GPU
    perf_gpu,
#endif
    perf_python,
};

static void usage(void)
{
    printf(
        "usage: slipring-bench [--quick] [--json FILE] [--plot DIR] [NAME...]\n"
        "Runs every measure, or those whose names begin with one of NAME. --quick: fewer rounds\n"
        "and samples, in a few minutes. --json: the figures as a list, too. --plot: into the "
        "folder\n"
        "DIR what perf/plot.py draws: figures.json and tails.json. On a machine with other work,\n"
        "run it with chrt -r 10. Exit 0, or 1 if a measure failed.\n");
}

static void reserve(struct bench *bench)
{
    bench->chunks = samples_new(CHUNKS_MAX);
    bench->tails = samples_new(TAILS_MAX);
    for (int i = 0; i < BENCH_CONTENDERS; i++) {
        bench->gathered_chunks[i] = shared_new(CHUNKS_MAX * sizeof(double));
        bench->gathered_tails[i] = shared_new(TAILS_MAX * sizeof(double));
    }
}

/* true: written. */
static bool put(const struct bench *bench, int (*report)(const struct bench *, const char *),
                const char *folder, const char *file)
{
    char path[4096];
    snprintf(path, sizeof path, "%s%s%s", folder, *folder != '\0' ? "/" : "", file);
    const int code = report(bench, path);
    if (code != 0) {
        fprintf(stderr, "bench: cannot write %s: %s\n", path, slipring_strerror(code));
    }
    return code == 0;
}

int main(int argc, char **argv)
{
    static struct bench bench;
    const char *json = NULL, *plot = NULL;
    int names = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--quick") == 0) {
            bench.quick = true;
        } else if (strcmp(argv[i], "--json") == 0 && i + 1 < argc) {
            json = argv[++i];
        } else if (strcmp(argv[i], "--plot") == 0 && i + 1 < argc) {
            plot = argv[++i];
        } else if (argv[i][0] != '-') {
            argv[names++] = argv[i];
        } else {
            usage();
            return strcmp(argv[i], "--help") == 0 ? 0 : 2;
        }
    }
    bench.only = (const char *const *)argv;
    bench.only_count = names;
    if (bench_processors() < 2) {
        fprintf(stderr,
                "bench: one processor is not enough: producer and consumer need one each\n");
        return 1;
    }
    reserve(&bench);
    (void)ns_per_tick();
    report_begin(&bench);
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        shapes[s](&bench);
    }
    if ((json != NULL && !put(&bench, report_json, "", json)) ||
        (plot != NULL && !(put(&bench, report_json, plot, "figures.json") &&
                           put(&bench, report_tails, plot, "tails.json")))) {
        return 1;
    }
    return bench.failed ? 1 : 0;
}
