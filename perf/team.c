/* SPDX-License-Identifier: Apache-2.0 */
/* The processes of a measure: forked, pinned, met, waited for. */
#include "common.h"

#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROCESSORS_MAX 64
#define TEAM_MAX 64
#define TEAM_SECONDS 120
#define SPINS 1000u
#define SLEEP_US 50

static int processors[PROCESSORS_MAX];
static int processor_count;
static cpu_set_t allowed;

/* Which core a processor is part of; -1 where the kernel does not say. */
static int core_of(int processor)
{
    char path[96];
    int core = -1;
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list",
             processor);
    FILE *file = fopen(path, "re");
    if (file != NULL) {
        if (fscanf(file, "%d", &core) != 1) {
            core = -1;
        }
        fclose(file);
    }
    return core;
}

static void find_processors(void)
{
    CPU_ZERO(&allowed);
    CHECK(sched_getaffinity(0, sizeof allowed, &allowed) == 0);
    int late[PROCESSORS_MAX];
    int late_count = 0;
    for (int i = 0; i < CPU_SETSIZE && processor_count + late_count < PROCESSORS_MAX; i++) {
        if (!CPU_ISSET(i, &allowed)) {
            continue;
        }
        bool sibling = false;
        for (int k = 0; k < processor_count; k++) {
            sibling = sibling || (core_of(i) >= 0 && core_of(i) == core_of(processors[k]));
        }
        if (sibling) {
            late[late_count++] = i; /* of a core that is in use: after those of their own */
        } else {
            processors[processor_count++] = i;
        }
    }
    memcpy(processors + processor_count, late, (size_t)late_count * sizeof *late);
    processor_count += late_count;
}

int bench_processors(void)
{
    if (processor_count == 0) {
        find_processors();
    }
    return processor_count;
}

void bench_pin(int place)
{
    const int count = bench_processors();
    const int index = place == 0 || count == 1 ? 0 : 1 + (place - 1) % (count - 1);
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(processors[index], &set);
    CHECK(sched_setaffinity(0, sizeof set, &set) == 0);
}

void bench_pin_nowhere(void)
{
    CHECK(bench_processors() > 0 && sched_setaffinity(0, sizeof allowed, &allowed) == 0);
}

/* ---- teams ---- */

struct stage {
    _Alignas(BENCH_PAD) _Atomic uint64_t arrived;
    _Alignas(BENCH_PAD) _Atomic uint64_t met; /* arrivals that the last one has seen complete */
    _Atomic int64_t met_ns;
};

struct seat {
    int index, count;
    uint64_t meetings;
    struct stage *stage;
};

int seat_index(const struct seat *seat)
{
    return seat->index;
}

int64_t seat_meet(struct seat *seat)
{
    struct stage *stage = seat->stage;
    const uint64_t all = ++seat->meetings * (uint64_t)seat->count;
    if (atomic_fetch_add(&stage->arrived, 1) + 1 == all) {
        atomic_store(&stage->met_ns, now_ns());
        atomic_store(&stage->met, all);
    }
    /* Who waits long sleeps: it may have the processor of one who is still at work. */
    for (unsigned spins = 0; atomic_load(&stage->met) < all;) {
        if (++spins > SPINS) {
            (void)usleep(SLEEP_US);
        }
    }
    return atomic_load(&stage->met_ns);
}

static pid_t start(struct seat *seat, int (*body)(struct seat *seat, void *context), void *context)
{
    fflush(NULL);
    const pid_t parent = getpid();
    const pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        sigset_t none;
        sigemptyset(&none);
        CHECK(sigprocmask(SIG_SETMASK, &none, NULL) == 0);
        CHECK(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == parent);
        bench_pin(seat->index);
        const int code = body(seat, context);
        fflush(NULL);
        _exit(code == 0 ? 0 : 1);
    }
    return pid;
}

/* Wait for one of the team, and forget it: its status, or -1 when the time is up. */
static int wait_one(pid_t *pids, int count, int64_t deadline_ns, const sigset_t *child)
{
    for (;;) {
        for (int i = 0; i < count; i++) {
            int status;
            if (pids[i] != 0 && waitpid(pids[i], &status, WNOHANG) == pids[i]) {
                pids[i] = 0;
                return status;
            }
        }
        const int64_t left = deadline_ns - now_ns();
        if (left <= 0) {
            fprintf(stderr, "bench: a measure did not end within %d seconds\n", TEAM_SECONDS);
            return -1;
        }
        const struct timespec step = {left / 1000000000, left % 1000000000};
        (void)sigtimedwait(child, NULL, &step);
    }
}

int team_run(int count, int (*body)(struct seat *seat, void *context), void *context)
{
    pid_t pids[TEAM_MAX];
    sigset_t child, before;
    CHECK(count <= TEAM_MAX);
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    CHECK(sigprocmask(SIG_BLOCK, &child, &before) == 0);
    struct stage *stage = shared_new(sizeof *stage);
    for (int i = 0; i < count; i++) {
        struct seat seat = {.index = i, .count = count, .stage = stage};
        pids[i] = start(&seat, body, context);
    }
    int result = 0;
    int left = count;
    const int64_t deadline = now_ns() + TEAM_SECONDS * INT64_C(1000000000);
    while (left > 0 && result == 0) {
        const int status = wait_one(pids, count, deadline, &child);
        left -= status != -1;
        result = status == 0 ? 0 : -1;
    }
    for (int i = 0; i < count; i++) { /* the others may wait for the one that failed */
        if (pids[i] != 0) {
            (void)kill(pids[i], SIGKILL);
            (void)waitpid(pids[i], NULL, 0);
        }
    }
    shared_free(stage, sizeof *stage);
    CHECK(sigprocmask(SIG_SETMASK, &before, NULL) == 0);
    return result;
}

/* ---- memory ---- */

void *shared_new(uint64_t bytes)
{
    void *memory =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (memory == MAP_FAILED) {
        FAIL("no memory for %llu bytes", (unsigned long long)bytes);
    }
    return memory;
}

void shared_free(void *memory, uint64_t bytes)
{
    CHECK(munmap(memory, bytes) == 0);
}

uint64_t memory_available(void)
{
    char line[128];
    unsigned long long kib = 0;
    FILE *file = fopen("/proc/meminfo", "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "MemAvailable: %llu", &kib) == 1) {
            break;
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return kib * 1024;
}

/* ---- failing ---- */

void fail_at(const char *file, int line, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "bench: %s:%d: ", file, line);
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
    fflush(NULL);
    _exit(1);
}
