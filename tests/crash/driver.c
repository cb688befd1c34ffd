/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kills, and freezes and resumes, a process at every instruction of every operation of a ring, and
 * has the survivors check I1 to I6 each time (world.h). Operations of set-up are stopped at every
 * system call and after every store that changes a byte of the ring. Twice: who clears up after a
 * victim is killed too, wherever the first one was, and a third comes.
 *
 *     crash [--full] [--ring NAME] [--fill NAME] [--only TEXT] [--kill] [--freeze] [--twice]
 *           [--verbose] [--list]
 *     crash --seeded     every seeded bug must be found by the guarantee that it breaks
 *
 * A victim is stopped at one of the steps that are alike (stepkill.h), and at every 97th beside;
 * --full freezes it at every single one. Without --full the cut is taken that CI has time for: of
 * the cases of freezing and of killing twice gcc's victims have one half and clang's the other, of
 * those of killing the other way round, and of long ones not every step is stopped at. The report
 * says what was left out.
 * Faults: A1, A2, A3, A4, A5, A6, A7, A8, B1, B2, B3, B4, C4, D8.
 */
#define _GNU_SOURCE
#include "run.h"

#include "stepkill.h"

#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>

static const struct variant variants[] = {
    {"compact-block", SLIPRING_GEOMETRY_COMPACT, SLIPRING_BLOCK, 56, 64, false},
    {"pair-block", SLIPRING_GEOMETRY_PAIR, SLIPRING_BLOCK, 64, UINT64_C(1) << 32, false},
    {"tensor-block", SLIPRING_GEOMETRY_TENSOR, SLIPRING_BLOCK, 64, UINT64_C(1) << 63, false},
    {"compact-overwrite", SLIPRING_GEOMETRY_COMPACT, SLIPRING_OVERWRITE, 56, 64, false},
    {"pair-overwrite", SLIPRING_GEOMETRY_PAIR, SLIPRING_OVERWRITE, 64, UINT64_C(1) << 63, false},
    {"tensor-overwrite", SLIPRING_GEOMETRY_TENSOR, SLIPRING_OVERWRITE, 64, UINT64_C(1) << 32,
     false},
    {"pair-block-rich", SLIPRING_GEOMETRY_PAIR, SLIPRING_BLOCK, 64, 64, true},
    {"tensor-block-rich", SLIPRING_GEOMETRY_TENSOR, SLIPRING_BLOCK, 64, 64, true},
    {"pair-overwrite-rich", SLIPRING_GEOMETRY_PAIR, SLIPRING_OVERWRITE, 64, 64, true},
    {"tensor-overwrite-rich", SLIPRING_GEOMETRY_TENSOR, SLIPRING_OVERWRITE, 64, 64, true},
};
#define VARIANTS (sizeof(variants) / sizeof(variants[0]))

static const struct fill fills[] = {
    {.name = "empty", .eighths = 0, .prefill = 3, .at = 44},
    {.name = "half", .eighths = 4, .prefill = 62, .at = 232},
    {.name = "full", .eighths = 8, .prefill = 62, .at = 232},
    {.name = "wrap", .eighths = 2, .prefill = 62, .wrap = true},
    {.name = "2^64", .eighths = 2, .prefill = 62, .at = 0},
};
#define FILLS (sizeof(fills) / sizeof(fills[0]))

#ifdef __clang__
#define HALF 1
#else
#define HALF 0
#endif

enum mode { KILL, FREEZE, TWICE, MODES };

static struct {
    const char *ring, *fill, *only;
    bool modes[MODES], list;
} choice;

static struct {
    uint32_t cases, halved, violated, strayed;
    uint64_t steps, stops, cut, deaths, deaths_left;
    double seconds, of_processor;
} tally[MODES];

static bool fits(const struct variant *variant, uint32_t fill, const struct op *op, enum mode mode)
{
    const bool block = variant->full == SLIPRING_BLOCK;
    const bool tensor = variant->geometry == SLIPRING_GEOMETRY_TENSOR;
    const uint32_t flags = op->flags;
    return !(flags & OP_BLOCK && !block) && !(flags & OP_OVERWRITE && block) &&
           !(flags & OP_TENSOR && !tensor) && !(flags & OP_NO_FREEZE && mode == FREEZE) &&
           !(variant->rich && !(flags & OP_RICH)) && op->fills & 1u << fill &&
           !(flags & OP_TWO_RINGS && variant != &variants[0] && variant != &variants[5]);
}

static bool chosen(const struct variant *variant, const struct fill *fill, const struct op *op,
                   enum mode mode)
{
    return choice.modes[mode] && (choice.ring == NULL || strcmp(choice.ring, variant->name) == 0) &&
           (choice.fill == NULL || strcmp(choice.fill, fill->name) == 0) &&
           (choice.only == NULL || strstr(op->name, choice.only) != NULL);
}

static bool try_case(uint32_t v, uint32_t f, const struct op *op, enum mode mode, uint32_t turn,
                     struct page *page)
{
    const bool well = run_case(&variants[v], &fills[f], op, mode == FREEZE, turn, page);
    tally[mode].cases++;
    tally[mode].violated += well ? 0 : 1;
    tally[mode].steps += page->steps;
    tally[mode].stops += page->stops;
    tally[mode].cut += page->cut;
    tally[mode].strayed += page->strayed;
    tally[mode].deaths += page->deaths;
    tally[mode].deaths_left += page->deaths_left;
    return well;
}

/* What all that ended so far has used. */
static double processor_seconds(void)
{
    struct rusage usage;
    (void)getrusage(RUSAGE_CHILDREN, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void try_all(const struct op *table, uint32_t count, enum mode mode, struct page *page)
{
    const int64_t since = slipring_now_ns();
    const double before = processor_seconds();
    for (uint32_t v = 0; v < VARIANTS; v++) {
        for (uint32_t i = 0; i < count; i++) {
            for (uint32_t f = 0; f < FILLS; f++) {
                if (!fits(&variants[v], f, &table[i], mode) ||
                    !chosen(&variants[v], &fills[f], &table[i], mode)) {
                    continue;
                }
                const uint32_t turn = v + i + f;
                if (!options.full && turn % 2 != (mode == KILL ? 1 - HALF : HALF)) {
                    tally[mode].halved++;
                } else if (choice.list) {
                    printf("%s %s %s\n", variants[v].name, fills[f].name, table[i].name);
                } else {
                    (void)try_case(v, f, &table[i], mode, turn, page);
                }
            }
        }
    }
    tally[mode].seconds += (double)(slipring_now_ns() - since) / 1e9;
    tally[mode].of_processor += processor_seconds() - before;
}

static int report(void)
{
    static const char *const names[MODES] = {"killed", "frozen", "killed twice"};
    uint32_t cases = 0, violated = 0;
    for (int mode = 0; mode < MODES; mode++) {
        cases += tally[mode].cases;
        violated += tally[mode].violated;
        if (tally[mode].cases == 0) {
            continue;
        }
        printf("%s: %u cases (%u are the other compiler's), %" PRIu64 " steps: %" PRIu64
               " stops, which stand for %" PRIu64 ", %" PRIu64
               " cut; %u strayed, %u cases with violations; %.0f s, "
               "%.0f s of processor time\n",
               names[mode], tally[mode].cases, tally[mode].halved, tally[mode].steps,
               tally[mode].stops, tally[mode].steps - tally[mode].cut, tally[mode].cut,
               tally[mode].strayed, tally[mode].violated, tally[mode].seconds,
               tally[mode].of_processor);
        if (tally[mode].deaths != 0) {
            printf("  after %" PRIu64 " different deaths of another, %" PRIu64 " more left out\n",
                   tally[mode].deaths, tally[mode].deaths_left);
        }
    }
    return violated != 0 || cases == 0 ? 1 : 0;
}

/* ---- main ---- */

static int usage(void)
{
    fprintf(stderr, "usage: crash [--full] [--seeded] [--ring NAME] [--fill NAME] [--only TEXT] "
                    "[--kill] [--freeze] [--twice] [--verbose] [--list]\n");
    return 2;
}

static int parse(int argc, char **argv)
{
    static const char *const modes[MODES] = {"--kill", "--freeze", "--twice"};
    for (int i = 1; i < argc; i++) {
        const char *const value = i + 1 < argc ? argv[i + 1] : NULL;
        bool mode = false;
        for (int m = 0; m < MODES; m++) {
            if (strcmp(argv[i], modes[m]) == 0) {
                mode = choice.modes[m] = true;
            }
        }
        if (strcmp(argv[i], "--full") == 0) {
            options.full = true;
        } else if (strcmp(argv[i], "--seeded") == 0) {
            options.seeded = true;
        } else if (strcmp(argv[i], "--verbose") == 0) {
            options.verbose = true;
        } else if (strcmp(argv[i], "--list") == 0) {
            choice.list = true;
        } else if (value != NULL && strcmp(argv[i], "--ring") == 0) {
            choice.ring = argv[++i];
        } else if (value != NULL && strcmp(argv[i], "--fill") == 0) {
            choice.fill = argv[++i];
        } else if (value != NULL && strcmp(argv[i], "--only") == 0) {
            choice.only = argv[++i];
        } else if (!mode) {
            return usage();
        }
    }
    if (!choice.modes[KILL] && !choice.modes[FREEZE] && !choice.modes[TWICE]) {
        choice.modes[KILL] = choice.modes[FREEZE] = choice.modes[TWICE] = true;
    }
    return 0;
}

static int run_seeded(struct page *page)
{
    bool missed = false;
    for (uint32_t i = 0; i < seeded_count; i++) {
        const struct op *const op = &seeded[i];
        const enum mode mode = op_twice(op) ? TWICE : op->frozen != NULL ? FREEZE : KILL;
        const bool overwrites = op->flags & OP_OVERWRITE;
        const uint32_t v = op->flags & OP_RICH     ? 7
                           : op->flags & OP_TENSOR ? (overwrites ? 5 : 2)
                           : overwrites            ? 3 + i % 2
                                                   : i % 3;
        if (!chosen(&variants[v], &fills[3], op, mode)) {
            continue;
        }
        (void)try_case(v, 3, op, mode, 0, page);
        const bool found = page->violations[op->expect] > 0;
        printf("seeded bug %s: I%d %s\n", op->name, op->expect, found ? "found" : "NOT FOUND");
        missed |= !found;
    }
    return missed ? 1 : 0;
}

/* Names of its own, where that is permitted: those that others make and remove meanwhile lengthen and
 * shorten what a victim does to find its own, so that it strays from its recording. */
static void hide_names_of_others(void)
{
    if (unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0) {
        (void)mount("none", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777");
    }
}

int main(int argc, char **argv)
{
    const int rc = parse(argc, argv);
    struct page *const page =
        mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (rc || page == MAP_FAILED) {
        return rc ? rc : 1;
    }
    if (!sk_possible()) {
        printf("SKIPPED: this process may not trace its children\n");
        return 77;
    }
    (void)prctl(PR_SET_TIMERSLACK, 1); /* short naps are to be short */
    hide_names_of_others();
    if (options.seeded) {
        return run_seeded(page);
    }
    try_all(ops, ops_count, KILL, page);
    try_all(ops, ops_count, FREEZE, page);
    try_all(twice, twice_count, TWICE, page);
    return choice.list ? 0 : report();
}
