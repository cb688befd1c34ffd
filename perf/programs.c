/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Measures by programs of their own, which lie beside this one: the peers, and those in Python. Such
 * a program is run with the name of a system, where it knows several, then that of a measure, then
 * `quick` or `full`, and prints a line per sample, `chunk V` or `tail V`, in the measure's unit.
 *
 * The program python/measures, where it was built, has measures of its own. Run with `list` it
 * prints a line for each, of fields with tabs between: name, unit, the system that is the floor (or
 * -), then the systems, ours the first.
 */
#include "bench.h"

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define SECONDS 120 /* one that hangs ends */
#define PYTHON "python/measures"
#define LINE 512

bool program_path(const char *program, char *path, size_t size)
{
    const ssize_t n = readlink("/proc/self/exe", path, size - 1);
    if (n <= 0) {
        return false;
    }
    path[n] = '\0';
    char *slash = strrchr(path, '/');
    snprintf(slash + 1, size - (size_t)(slash + 1 - path), "%s", program);
    return access(path, X_OK) == 0;
}

/* Its standard output, or NULL. */
static FILE *start(const char *path, const char *const *arguments, pid_t *pid)
{
    int ends[2];
    if (pipe(ends) != 0) {
        return NULL;
    }
    fflush(NULL);
    *pid = fork();
    if (*pid == 0) {
        (void)dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        close(ends[1]);
        (void)alarm(SECONDS); /* survives exec */
        (void)execv(path, (char *const *)(uintptr_t)arguments);
        _exit(1);
    }
    close(ends[1]);
    return fdopen(ends[0], "r");
}

/* 0, or it failed. */
static int end(FILE *file, pid_t pid)
{
    int status = -1;
    if (file != NULL) {
        fclose(file);
    }
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0 ? 0 : -1;
}

int program_run(const struct run *run, const char *program, const char *system, const char *measure)
{
    char path[512], kind[8];
    const char *arguments[5] = {path};
    int count = 1, fields = 0;
    double value;
    pid_t pid = -1;
    if (!program_path(program, path, sizeof path)) {
        return -1;
    }
    if (system != NULL) {
        arguments[count++] = system;
    }
    arguments[count++] = measure;
    arguments[count] = run->quick ? "quick" : "full";
    FILE *file = start(path, arguments, &pid);
    while (file != NULL && (fields = fscanf(file, "%7s %lf", kind, &value)) == 2) {
        samples_add(strcmp(kind, "chunk") == 0 ? run->chunks : run->tails, value);
    }
    return end(file, pid) == 0 && fields == EOF ? 0 : -1;
}

/* ---- those in Python ---- */

struct call {
    const char *system, *measure;
};

static int run_call(const struct run *run, const void *context)
{
    const struct call *call = context;
    return program_run(run, PYTHON, call->system, call->measure);
}

static void measure_line(struct bench *bench, char *line)
{
    struct measure measure = {.floor = BENCH_NO_FLOOR};
    struct call calls[BENCH_CONTENDERS];
    char *rest = line;
    measure.name = strsep(&rest, "\t");
    measure.unit = strsep(&rest, "\t");
    const char *floor = strsep(&rest, "\t");
    for (int i = 0; rest != NULL && i < BENCH_CONTENDERS; i++) {
        calls[i] = (struct call){strsep(&rest, "\t"), measure.name};
        measure.contenders[i] = (struct contender){calls[i].system, run_call, &calls[i]};
        if (strcmp(calls[i].system, floor) == 0) {
            measure.floor = i;
        }
    }
    bench_measure(bench, &measure);
}

void perf_python(struct bench *bench)
{
    static char lines[64][LINE]; /* the results point to the names */
    char path[512];
    int count = 0;
    pid_t pid = -1;
    const char *const arguments[] = {path, "list", NULL};
    if (!program_path(PYTHON, path, sizeof path)) {
        return;
    }
    FILE *file = start(path, arguments, &pid);
    while (file != NULL && count < 64 && fgets(lines[count], LINE, file) != NULL) {
        lines[count][strcspn(lines[count], "\n")] = '\0';
        count++;
    }
    if (end(file, pid) != 0) {
        bench_note(bench, "%s cannot say what it measures", PYTHON);
        return;
    }
    for (int i = 0; i < count; i++) {
        measure_line(bench, lines[i]);
    }
}
