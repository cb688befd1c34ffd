/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "run.h"

#include "stepkill.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define VIOLATIONS_MAX (options.seeded ? 3u : 10u) /* of one case, then it is given up */
#define RUN_SECONDS 120u                           /* one run; a few milliseconds are usual */
#define CONFIRM 97u       /* of steps that others stand for, one of so many is tried all the same */
#define CONFIRM_STOPS 32u /* but not more than these of a case, unless all are asked for */
#define REPEATS 32u /* of a step of set-up that touches the ring, as in a loop over all its cells */
#define SLOW_STOPS 48u /* of an operation whose runs wait, unless all are asked for */
#define FIRST_STOPS 6u /* of a victim before the victim, the same */
#define STEPS_MAX (1u << 22)

struct options options;

/* ---- reporting ---- */

/* Code and offset as addr2line takes them: the file mapped at an address of this process. */
static void locate(uint64_t pc, char *text, size_t size)
{
    char line[512], path[256];
    FILE *const maps = fopen("/proc/self/maps", "re");
    snprintf(text, size, "%#" PRIx64, pc);
    while (maps != NULL && fgets(line, sizeof(line), maps) != NULL) {
        uint64_t from, to, offset;
        if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %*s %" SCNx64 " %*s %*s %255s", &from, &to,
                   &offset, path) == 4 &&
            pc >= from && pc < to) {
            snprintf(text, size, "-e %s %#" PRIx64, path, pc - from + offset);
        }
    }
    if (maps != NULL) {
        fclose(maps);
    }
}

uint32_t violations(const struct page *page)
{
    uint32_t all = 0;
    for (int i = I1; i < CLASSES; i++) {
        all += page->violations[i];
    }
    return all;
}

void violate(struct world *w, int which, const char *format, ...)
{
    char text[256], where[320];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    w->page->violations[which]++;
    if (!options.verbose && (options.seeded || violations(w->page) > 3)) {
        return;
    }
    locate(w->step_pc, where, sizeof(where));
    /* not among the cases, so that it stands at the end of a log */
    fprintf(stderr, "  I%d %s %s %s %s, step %u (addr2line -fi %s): %s\n", which, w->variant->name,
            w->fill->name, w->op->name, w->freeze ? "frozen" : "killed", w->step, where, text);
}

_Noreturn void broken(const struct world *w, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "  %s %s %s, step %u: ", w->variant->name, w->fill->name, w->op->name, w->step);
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
    _exit(3);
}

/* ---- one run ---- */

/* The victims of a case, in the order of their deaths; the last is what the case is about. */
#define LINKS_MAX 4u
static struct link {
    const struct op *op;
    struct sk_trace trace;
    uint32_t step;
} links[LINKS_MAX];
static uint32_t last;

static void judge_end(struct world *w, int status)
{
    const int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    if (status == -1 || code == -1) {
        violate(w, status == -1 ? I4 : I5, "the victim went on and ended with status %#x",
                (unsigned)status);
    } else if (code != 0 && !(code == EXIT_STALE && !(w->op->flags & OP_PRODUCES))) {
        violate(w, code == 93 ? I4 : I1, "the victim went on and ended with %d, its call with %d",
                code, w->page->report.rc);
    }
}

/* End what a run left: handles, other processes, the name. */
static void clear_away(struct world *w)
{
    pid_t *const others[] = {&w->sleeper, &w->bystander};
    world_drop(w);
    for (int i = 0; i < 2; i++) {
        if (*others[i] != 0) {
            (void)kill(*others[i], SIGKILL);
            (void)waitpid(*others[i], NULL, 0);
            *others[i] = 0;
        }
    }
    if (w->name[0] != 0 && count_files(w->name) != 0) {
        (void)!slipring_ring_reap(w->name, &(struct slipring_reaped){0}, NULL);
        (void)!slipring_ring_unlink(w->name, NULL);
    }
}

/* To the step, in `walk` on foot from the first. */
static int run_to(struct world *w, struct sk_trace *trace, uint32_t step, bool walk, pid_t *pid,
                  int *status)
{
    const uint32_t anchor = trace != NULL ? trace->anchor[step] : 0;
    if (walk && trace != NULL) {
        trace->anchor[step] = 0;
    }
    const int rc = sk_run_to(w->op->victim, w, trace, step, pid, status);
    if (trace != NULL) {
        trace->anchor[step] = anchor;
    }
    return rc;
}

/* What a victim does may depend on the clock, on chance or on what others have in /dev/shm: where it
 * strays from its recording, all is made anew, and the last time on foot. */
#define TRIES 3
static bool strays(int rc)
{
    return rc == 1 || rc == -ESRCH;
}

/* Up to where the victim of a link starts: those before it have died. 1: one of them strayed, which the
 * last time is let pass. */
static int stage_once(struct world *w, uint32_t link, bool last_time, int *status)
{
    pid_t pid = 0;
    w->op = links[0].op;
    world_reset(w);
    alarm(RUN_SECONDS);
    for (uint32_t i = 0; i < link; i++) {
        w->op = links[i].op;
        w->op->setup(w);
        const int rc = run_to(w, &links[i].trace, links[i].step, last_time, &pid, status);
        if (rc >= 0) {
            sk_kill(pid);
        }
        if (rc < 0 || (rc != 0 && !last_time)) {
            return rc;
        }
        w->page->strayed += rc != 0 ? 1 : 0;
    }
    w->op = links[link].op;
    w->op->setup(w);
    return 0;
}

static void stage(struct world *w, uint32_t link)
{
    int status = 0;
    int rc = stage_once(w, link, false, &status);
    for (int tries = 1; strays(rc) && tries < TRIES; tries++) {
        clear_away(w);
        rc = stage_once(w, link, tries + 1 == TRIES, &status);
    }
    if (rc != 0) {
        broken(w, "one before cannot be stopped where it died: %d, status %#x", rc,
               (unsigned)status);
    }
}

/* Start the victim and bring it to the step. */
static int reach(struct world *w, struct sk_trace *trace, uint32_t step, pid_t *pid, int *status)
{
    stage(w, last);
    int rc = run_to(w, trace, step, false, pid, status);
    for (int tries = 1; strays(rc) && tries < TRIES; tries++) {
        if (rc == 1) {
            sk_kill(*pid);
        }
        clear_away(w);
        stage(w, last);
        rc = run_to(w, trace, step, tries + 1 == TRIES, pid, status);
    }
    return rc;
}

/* Without a trace: at the first step, so that the process is as it will be in all other runs. */
static void run(struct world *w, struct sk_trace *trace, uint32_t step)
{
    int status = 0;
    pid_t pid = 0;
    w->step = step;
    w->step_pc = trace == NULL ? 0 : trace->pc[step];
    const int rc = reach(w, trace, step, &pid, &status);
    if (rc < 0 && (rc != -ESRCH || !WIFEXITED(status))) {
        violate(w, I5, "the victim ended early, status %#x", (unsigned)status);
    }
    w->page->strayed += rc != 0 ? 1 : 0;
    if (rc != 0 && options.verbose) {
        char where[320];
        locate(w->step_pc, where, sizeof(where));
        printf("  strayed: %d at step %u, addr2line -fi %s\n", rc, step, where);
    }
    if (rc >= 0 && w->freeze && !(w->op->flags & OP_STOPPED)) {
        w->went_on = true;
        w->op->frozen(w);
        judge_end(w, sk_resume(pid, JOIN_NS));
    } else if (rc >= 0 && !(w->op->flags & OP_STOPPED)) {
        sk_kill(pid);
    }
    if (!w->stop) {
        w->op->check(w);
    }
    if (rc >= 0 && w->op->flags & OP_STOPPED) {
        sk_kill(pid);
    }
    world_drop(w);
    if (w->name[0] != 0 && count_files(w->name) != 0) {
        violate(w, I6, "%u files are left", count_files(w->name));
    }
    clear_away(w);
    alarm(0);
}

static void record(struct world *w, uint32_t link)
{
    struct sk_trace *const trace = &links[link].trace;
    int status = 0;
    sk_trace_free(trace);
    stage(w, link);
    alarm(10 * RUN_SECONDS);
    const int rc = sk_record(w->op->victim, w, trace, &status);
    const int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    if (rc || code < 0 || (link == last && code != 0 && w->op->expect == 0 && code != EXIT_STALE)) {
        broken(w, "no recording of the victim: %d, status %#x, its call %d", rc, (unsigned)status,
               w->page->report.rc);
    }
    clear_away(w);
    alarm(0);
    if (link == last) {
        return;
    }
    uint32_t stores = 0, step = 0, seen = 0;
    for (uint32_t i = 0; i < trace->count; i++) {
        stores += trace->kind[i] & SK_STORE ? 1 : 0;
    }
    while (step + 1 < trace->count && seen * 1000 < stores * links[link + 1].op->permille) {
        step++;
        seen += trace->kind[step] & SK_STORE ? 1 : 0;
    }
    links[link].step = step;
}

/* ---- one case ---- */

/* What makes a step unlike those before it. */
static int unlike(const struct world *w)
{
    return w->freeze ? SK_TOUCH : SK_CALL | SK_STORE;
}

/* Is this one to be stopped at? */
static bool wanted(const struct world *w, const struct op *op, const struct sk_trace *trace,
                   uint32_t i)
{
    const bool again = op->flags & OP_SETS_UP && !options.full && trace->nth[i] > REPEATS &&
                       !(trace->kind[i] & SK_CALL);
    if (i == 0 || i + 1 == trace->count || (trace->kind[i] & unlike(w) && !again)) {
        return true;
    }
    if (options.full && w->freeze && !(op->flags & OP_SETS_UP)) {
        return true;
    }
    const uint32_t few = trace->count / CONFIRM_STOPS;
    const uint32_t confirm = options.full || few < CONFIRM ? CONFIRM : few;
    return op == w->op && i % confirm == confirm - 1;
}

/* Steps to stop at: those wanted, of more than most only every k-th. How many steps none of them
 * stands for is added to page->cut. */
static uint32_t choose(struct world *w, const struct op *op, const struct sk_trace *trace,
                       uint32_t most, uint32_t turn, uint32_t *steps)
{
    uint32_t all = 0, chosen = 0;
    for (uint32_t i = 0; i < trace->count; i++) {
        all += wanted(w, op, trace, i) ? 1 : 0;
    }
    const uint32_t every = all <= most ? 1 : (all + most - 1) / most;
    uint32_t of = turn % every, alike = 0;
    bool stood_for = false;
    for (uint32_t i = 0; i < trace->count; i++) {
        if (trace->kind[i] & unlike(w)) {
            w->page->cut += stood_for ? 0 : alike;
            stood_for = false;
            alike = 0;
        }
        alike++;
        if (wanted(w, op, trace, i) && of++ % every == 0) {
            steps[chosen++] = i;
            stood_for = true;
        }
    }
    w->page->cut += stood_for ? 0 : alike;
    return chosen;
}

/* Every step chosen of the victim, from `from` on. */
static void run_steps(struct world *w, uint32_t from, uint32_t most, uint32_t turn)
{
    static uint32_t steps[STEPS_MAX];
    static uint32_t fds;
    struct sk_trace *const trace = &links[last].trace;
    const uint64_t cut = w->page->cut;
    const uint32_t chosen = choose(w, w->op, trace, most, turn, steps);
    if (from == 0) {
        w->page->steps += trace->count;
    } else {
        w->page->cut = cut; /* counted by the worker before */
    }
    for (uint32_t i = 0; i < chosen && violations(w->page) < VIOLATIONS_MAX; i++) {
        if (steps[i] < from) {
            continue;
        }
        w->page->step = steps[i];
        w->page->stops++;
        run(w, trace, steps[i]);
        const uint32_t now = count_fds();
        if (fds != 0 && now != fds) {
            violate(w, I6, "%u descriptors are open, %u were after the run before", now, fds);
        }
        fds = now;
    }
}

/* The worker. Ends with 0, or 3 if the test itself does not work. */
static _Noreturn void work(struct world *w, uint32_t from, uint32_t turn)
{
    static uint32_t steps[STEPS_MAX];
    const struct op *const op = w->op;
    for (const struct op *o = op->first; o != NULL; o = o->first) {
        last++;
    }
    uint32_t link = last;
    for (const struct op *o = op; o != NULL; o = o->first) {
        links[link--].op = o;
    }
    for (int again = 0; again < 2; again++) { /* the first time it is not yet as it will be */
        for (uint32_t i = 0; i < last; i++) {
            record(w, i);
        }
        if (again == 0) {
            run(w, NULL, 0);
        }
    }
    const uint32_t slow = op->flags & OP_SLOW && !options.full ? SLOW_STOPS : UINT32_MAX;
    if (!op_twice(op)) {
        record(w, last);
        run_steps(w, from, slow, turn);
        _exit(0);
    }
    struct link *const first = &links[last - 1];
    w->op = op;
    const uint32_t all = choose(w, first->op, &first->trace, UINT32_MAX, 0, steps);
    const uint32_t chosen =
        choose(w, first->op, &first->trace, options.full ? UINT32_MAX : FIRST_STOPS, turn, steps);
    w->page->deaths = chosen;
    w->page->deaths_left = all - chosen;
    w->page->cut = 0; /* of the first; the report counts steps of the second */
    for (uint32_t i = 0; i < chosen && violations(w->page) < VIOLATIONS_MAX; i++) {
        first->step = steps[i];
        record(w, last);
        run_steps(w, 0, slow, turn);
    }
    _exit(0);
}

/* A stop and a step are cheapest where tracer and victim share a processor: which one, the
 * scheduler says, anew for each case. */
static void stay_here(void)
{
    static cpu_set_t all;
    cpu_set_t here;
    if (CPU_COUNT(&all) == 0 && sched_getaffinity(0, sizeof(all), &all)) {
        return;
    }
    (void)sched_setaffinity(0, sizeof(all), &all);
    nap();
    CPU_ZERO(&here);
    CPU_SET((size_t)sched_getcpu(), &here);
    (void)sched_setaffinity(0, sizeof(here), &here);
}

bool run_case(const struct variant *variant, const struct fill *fill, const struct op *op,
              bool freeze, uint32_t turn, struct page *page)
{
    uint32_t from = 0;
    int status;
    stay_here();
    memset(page, 0, sizeof(*page));
    const int64_t since = slipring_now_ns();
    do {
        struct world world = {
            .variant = variant, .fill = fill, .op = op, .page = page, .freeze = freeze};
        fflush(NULL);
        const pid_t pid = fork();
        if (pid == 0) {
            (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
            work(&world, from, turn);
        }
        if (pid < 0 || waitpid(pid, &status, 0) != pid) {
            return false;
        }
        if (WIFSIGNALED(status)) {
            world.step = page->step;
            violate(&world, WTERMSIG(status) == SIGALRM ? I4 : I5,
                    "the survivors were ended by signal %d", WTERMSIG(status));
        } else if (WEXITSTATUS(status) != 0) {
            page->violations[0] = 1;
        }
        from = page->step + 1;
    } while (WIFSIGNALED(status) && page->stops != 0 && !op_twice(op) &&
             violations(page) < VIOLATIONS_MAX);
    const uint32_t found = violations(page);
    printf("%-19s %-5s %-24s %-6s %9" PRIu64 " steps, %5" PRIu64 " stops, %u violations%s",
           variant->name, fill->name, op->name,
           op_twice(op) ? "twice"
           : freeze     ? "freeze"
                        : "kill",
           page->steps, page->stops, found, page->violations[0] ? " (DID NOT RUN)" : "");
    if (op_twice(op)) {
        printf(", %" PRIu64 " deaths of the first (%" PRIu64 " left out)", page->deaths,
               page->deaths_left);
    }
    if (page->cut != 0) {
        printf(", %" PRIu64 " steps cut", page->cut);
    }
    if (page->strayed != 0) {
        printf(", %u strayed", page->strayed);
    }
    printf(", slowest %.1f ms, %.1f s\n", (double)page->slowest_ns / 1e6,
           (double)(slipring_now_ns() - since) / 1e9);
    fflush(stdout);
    return found == 0 && page->violations[0] == 0;
}
