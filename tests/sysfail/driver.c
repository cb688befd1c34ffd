/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: whichever system call fails in a public function, by whichever plausible error, whichever
 * allocation fails, and at whichever system call the process is killed: the function returns the
 * error (with cause and cure where it takes a slipring_error) or does without; no descriptor,
 * mapping, lock, block of heap, cell or file is left; nothing is half made; the next call goes as
 * if nothing had been; the other members go on, and a fresh one finds a place.
 *
 *     sysfail --errors | --lasting | --kills | --allocations [--verbose] [SCENARIO...]
 *
 * Faults: A8, D6.
 */
#define _GNU_SOURCE
#include "heap.h"
#include "scenario.h"

#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mount.h>
#include <urcu/urcu-bp.h>

#define CALLS_MAX 100000u
#define STACK_BYTES (512u << 10)
#define VICTIM_SECONDS 30
#define FAULTS_MAX 5 /* then a scenario is given up */

enum mode { ERRORS, LASTING, KILLS, ALLOCATIONS, MODES };

struct tally {
    unsigned calls, faults, wrong;
};

static bool verbose;

/* ---- the victim ---- */

/* One page at a time as needed would look like a leak of address space. */
static void __attribute__((noinline)) grow_stack(void)
{
    char stack[STACK_BYTES];
    memset(stack, 0, sizeof(stack));
    __asm__ volatile("" : : "r"(stack) : "memory");
}

static void describe(const struct room *r, char *text, size_t size)
{
    const struct page *page = r->page;
    if (page->allocation != UINT32_MAX) {
        snprintf(text, size, "allocation %u failing", page->allocation);
    } else if (page->inject.how <= INJECT_FOR_GOOD) {
        snprintf(text, size, "call %u (%s) failing %sby %d (%s)", page->inject.call,
                 page->inject.name, page->inject.how == INJECT_ERROR ? "" : "for good ",
                 page->inject.code, strerror(page->inject.code));
    } else {
        snprintf(text, size, "killed at call %u (%s)", page->inject.call, page->inject.name);
    }
}

/* Say it, and end this process. */
static void __attribute__((noreturn, format(printf, 2, 3)))
wrong(const struct room *r, const char *format, ...)
{
    char what[128], text[512];
    va_list arguments;
    describe(r, what, sizeof(what));
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    fprintf(stderr, "%s, %s: %s\n", r->scenario->name, what, text);
    _exit(1);
}

static void ready(struct room *r)
{
    memset(&r->error, 0, sizeof(r->error));
    r->mine = NULL;
    r->producer = NULL;
    r->member = NULL;
    r->tensor = NULL;
    r->viewing = false;
    r->sockets[0] = r->sockets[1] = -1;
    if (r->scenario->ready != NULL) {
        r->scenario->ready(r);
    }
}

static void undo(struct room *r)
{
    if (r->scenario->undo != NULL) {
        r->scenario->undo(r);
    }
}

static void undisturbed(struct room *r)
{
    ready(r);
    r->code = r->scenario->act(r);
    if (r->code != r->scenario->wants) {
        wrong(r, "undisturbed it returns %d, not %d: %s: %s", r->code, r->scenario->wants,
              r->error.call, r->error.text);
    }
    undo(r);
}

/* May the act return what it did, with that error in one of its calls? */
static bool sane(const struct room *r, int code)
{
    const struct scenario *s = r->scenario;
    if (r->code == s->wants || (r->code == 0 && (s->flags & MAY_SUCCEED) != 0) ||
        (r->code != 0 && (r->code == s->also[0] || r->code == s->also[1]))) {
        return true;
    }
    return code != EINTR && (r->code == -code || (r->code == -EPERM && code == EACCES));
}

static void judge(struct room *r)
{
    const struct page *page = r->page;
    const int code = page->allocation != UINT32_MAX ? ENOMEM : page->inject.code;
    if (!sane(r, code)) {
        wrong(r, "returned %d: %s: %s", r->code, r->error.call, r->error.text);
    }
    if (r->code == r->scenario->wants || r->code == 0 || (r->scenario->flags & TELLS) == 0) {
        return;
    }
    if (r->error.code != r->code || r->error.call[0] == '\0' || r->error.text[0] == '\0') {
        wrong(r, "returned %d, but tells of %d: \"%s: %s\"", r->code, r->error.code, r->error.call,
              r->error.text);
    }
    if (verbose) {
        char what[128];
        describe(r, what, sizeof(what));
        printf("    %s: %d, %s: %s\n", what, r->code, r->error.call, r->error.text);
    }
}

static void compare(struct room *r, const struct wealth *before, bool memory, const char *when)
{
    const struct wealth after = wealth_of(r);
    if (!wealth_same(before, &after, memory)) {
        wrong(r, "leaves something %s, returned %d: %s", when, r->code, r->error.text);
    }
}

static void __attribute__((noreturn)) victim(struct room *r)
{
    struct page *page = r->page;
    const bool traced = page->allocation == UINT32_MAX;
    const uint32_t flags = r->scenario->flags;
    const bool first = (flags & (COLD | FIRST)) != 0 || (!traced && (flags & HWLOC) != 0);
    (void)setpgid(0, 0);
    alarm(VICTIM_SECONDS);
    grow_stack();
    if (traced && !inject_trace_me()) {
        _exit(77);
    }
    urcu_bp_register_thread(); /* aborts where it finds no memory, which nobody can prevent */
    if (!first) {
        undisturbed(r);
    }
    const struct wealth before = wealth_of(r);
    ready(r);
    if (traced) {
        inject_begin();
        r->code = r->scenario->act(r);
        inject_end();
    } else {
        heap_fail(page->allocation);
        r->code = r->scenario->act(r);
        page->failed = heap_failed();
    }
    if (page->inject.done || page->failed) {
        judge(r);
    }
    undo(r);
    /* What the first success of a process sets up stays; so does what could not be unmapped. */
    const bool unmapped = page->inject.done && strcmp(page->inject.name, "munmap") == 0;
    if (!first || (r->code < 0 && (flags & COLD) != 0)) {
        compare(r, &before, !first && !unmapped, "right away");
    }
    undisturbed(r);
    if (first) {
        const struct wealth settled = wealth_of(r);
        undisturbed(r);
        compare(r, &settled, true, "after twice more");
    } else {
        compare(r, &before, !unmapped, "after once more");
    }
    _exit(0);
}

/* ---- the house ---- */

/* One victim and its check: false if it went wrong. */
static bool once(struct room *r, bool killed)
{
    struct page *page = r->page;
    char what[128];
    page->failed = false;
    fflush(NULL);
    const pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        victim(r);
    }
    if (page->allocation == UINT32_MAX) {
        inject_run(pid, &page->inject);
    } else {
        CHECK(waitpid(pid, &page->inject.status, 0) == pid);
    }
    const int status = page->inject.status;
    const bool dead = killed && page->inject.done;
    const bool well = dead ? WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL
                           : WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (!well) {
        describe(r, what, sizeof(what));
        fprintf(stderr, "%s, %s: ended with status %#x\n", r->scenario->name, what,
                (unsigned)status);
    }
    house_check(r, !WIFEXITED(status) || WEXITSTATUS(status) != 0);
    return well;
}

static void each_call(struct room *r, enum mode mode, struct tally *tally)
{
    struct inject *inject = &r->page->inject;
    r->page->allocation = UINT32_MAX;
    for (uint32_t call = 0; call < CALLS_MAX && tally->wrong < FAULTS_MAX; call++) {
        for (uint32_t i = 0; mode != KILLS || i < 2; i++) {
            *inject = (struct inject){.call = call, .error = i, .sample = r->scenario->sample};
            inject->how = mode == ERRORS    ? INJECT_ERROR
                          : mode == LASTING ? INJECT_FOR_GOOD
                          : i == 0          ? INJECT_KILL_BEFORE
                                            : INJECT_KILL_AFTER;
            tally->wrong += !once(r, mode == KILLS);
            tally->faults += inject->done;
            if (!inject->done) {
                break;
            }
        }
        if (!inject->met) {
            return;
        }
        tally->calls++;
    }
}

static void each_allocation(struct room *r, struct tally *tally)
{
    for (uint32_t i = 0; i < CALLS_MAX && tally->wrong < FAULTS_MAX; i++) {
        r->page->inject = (struct inject){0};
        r->page->allocation = i;
        tally->wrong += !once(r, false);
        if (!r->page->failed) {
            return;
        }
        tally->calls++;
        tally->faults++;
    }
}

/* In a process of its own. */
static void house(const struct scenario *scenario, enum mode mode, struct tally *tally)
{
    struct room r = {.scenario = scenario, .page = proc_share(sizeof(struct page))};
    snprintf(r.name, sizeof(r.name), "test-sysfail-%d", (int)getpid());
    house_enter(&r);
    if ((scenario->flags & COLD) == 0) { /* what the first of all calls sets up stays */
        house_check(&r, false);
    }
    const struct wealth before = wealth_of(&r);
    if (mode == ALLOCATIONS) {
        each_allocation(&r, tally);
    } else {
        each_call(&r, mode, tally);
    }
    const struct wealth after = wealth_of(&r);
    CHECK(tally->wrong != 0 || wealth_same(&before, &after, true));
    house_leave(&r);
}

static bool run(const struct scenario *scenario, enum mode mode, struct tally *sum)
{
    static const char *const what[] = {"errors", "lasting errors", "kills", "failures"};
    struct tally *tally = proc_share(sizeof(*tally));
    const int64_t since = slipring_now_ns();
    int status;
    fflush(NULL);
    const pid_t pid = fork();
    if (pid == 0) {
        house(scenario, mode, tally);
        exit(0);
    }
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
    const bool well = WIFEXITED(status) && WEXITSTATUS(status) == 0 && tally->wrong == 0;
    printf("%-28s %5u %s, %5u %s, %5.1f s%s\n", scenario->name, tally->calls,
           mode == ALLOCATIONS ? "allocations" : "system calls", tally->faults, what[mode],
           (double)(slipring_now_ns() - since) / 1e9, well ? "" : "  FAILED");
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
        exit(77);
    }
    sum->calls += tally->calls;
    sum->faults += tally->faults;
    proc_unshare(tally, sizeof(*tally));
    return well;
}

/* A /dev/shm of our own, where that is allowed: the rings of others, which some calls look at too,
 * would make them longer, and be disturbed. */
static void move_in(void)
{
    if (unshare(CLONE_NEWNS) == 0) {
        CHECK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
        CHECK(mount("sysfail", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "size=64m") == 0);
    }
}

static bool wanted(const char *name, int count, char **names)
{
    for (int i = 0; i < count; i++) {
        if (strcmp(name, names[i]) == 0) {
            return true;
        }
    }
    return count == 0;
}

int main(int argc, char **argv)
{
    static const char *const modes[] = {"--errors", "--lasting", "--kills", "--allocations"};
    static const struct scenario *const tables[] = {ring_scenarios, producer_scenarios,
                                                    consumer_scenarios};
    struct tally sum = {0};
    unsigned mode = 0, wrong_ones = 0;
    proc_begin(600);
    while (mode < MODES && (argc < 2 || strcmp(argv[1], modes[mode]) != 0)) {
        mode++;
    }
    verbose = argc > 2 && strcmp(argv[2], "--verbose") == 0;
    const int first = verbose ? 3 : 2;
    if (mode == MODES) {
        fprintf(
            stderr,
            "sysfail --errors | --lasting | --kills | --allocations [--verbose] [SCENARIO...]\n");
        return 2;
    }
    if (mode == ALLOCATIONS && !heap_ours()) {
        SKIP("a sanitizer, or another C library, keeps its own allocator");
    }
    if (mode != ALLOCATIONS && !inject_possible()) {
        SKIP("tracing is not allowed here: no system call can be disturbed");
    }
    move_in();
    heap_settle();
    proc_pin(0); /* a tracer and its victim take turns */
    for (unsigned i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
        for (const struct scenario *scenario = tables[i]; scenario->name != NULL; scenario++) {
            if (wanted(scenario->name, argc - first, argv + first)) {
                wrong_ones += !run(scenario, mode, &sum);
            }
        }
    }
    printf("all: %u places, %u faults, %u scenarios failed\n", sum.calls, sum.faults, wrong_ones);
    return wrong_ones == 0 ? 0 : 1;
}
