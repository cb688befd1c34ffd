/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asks a GPU, or the stand-in, what libslipring-cuda relies on, and says what was found:
 *
 *     gpu [--json FILE] [NUMBER...]
 *
 * All thirteen, or those named. --json: the answers as a list too, with date, device and driver, for
 * perf/results. Exit 0: every answer was yes; 1: one was no, or its test failed; 77: nothing could be
 * asked. On the stand-in an answer says only that the question's code runs.
 */
#define _GNU_SOURCE
#include "gpu.h"

#include <stdarg.h>
#include <time.h>

#define TEXT 700

enum verdict { FAILED, YES, NO, NOT_ASKED };
static const char *const verdicts[] = {"failed", "yes", "no", "not asked"};

/* In memory that the asking process shares. */
struct answer {
    enum verdict verdict;
    char text[TEXT];
};
static struct answer *answer;

static const struct question {
    const char *text;
    void (*ask)(void);
} questions[] = {
    {"is a copy from a mapping that was locked writable and then protected asynchronous and right?",
     gpu_protected},
    {"does a stream's store into a release word reach a producer without CUDA, with no processor "
     "between?",
     gpu_stores},
    {"does a reader on the processor never see stale data that a device published?", gpu_publishes},
    {"does an eviction, or a death, let a stream go on that waits for slots?", gpu_evicts},
    {"is a view that is released under a copy lost, and one that its stream releases not?",
     gpu_outlived},
    {"does the driver refuse what it is known to refuse, and are chunks copied whole?",
     gpu_refused},
    {"are a fork and what the child does harmless to memory that is locked?", gpu_forks},
    {"does no store arrive two seconds after its process was killed?", gpu_killed},
    {"does a kernel read every message in place, whole and once?", gpu_reads},
    {"is a stream refused that is being captured, and the capture not hurt by the helper?",
     gpu_captured},
    {"are slots released when the context is lost under their copies?", gpu_lost},
    {"do slots in GPU memory go from process to process across namespaces?", gpu_handed_on},
    {"is it all the same under MPS?", gpu_mps},
};
#define QUESTIONS (unsigned)(sizeof questions / sizeof *questions)

/* ---- answers ---- */

static void add(const char *format, va_list arguments)
{
    const size_t length = strlen(answer->text);
    const size_t room = sizeof answer->text - length;
    const int written = snprintf(answer->text + length, room, "%s", length == 0 ? "" : "; ");
    if (written >= 0 && (size_t)written < room) {
        vsnprintf(answer->text + length + written, room - (size_t)written, format, arguments);
    }
}

void said(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    add(format, arguments);
    va_end(arguments);
}

void denied(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    add(format, arguments);
    va_end(arguments);
    answer->verdict = NO;
}

void not_asked(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    add(format, arguments);
    va_end(arguments);
    answer->verdict = NOT_ASKED;
    fflush(NULL);
    _exit(0);
}

static int ask_here(struct proc *self, void *context)
{
    const struct question *question = context;
    (void)self;
    answer->verdict = YES; /* unless denied */
    question->ask();
    return 0;
}

/* In a process of its own. */
static enum verdict ask(unsigned number)
{
    memset(answer, 0, sizeof *answer);
    struct proc child = proc_start(ask_here, (void *)(uintptr_t)&questions[number - 1]);
    int status;
    CHECK_EQ(waitpid(child.pid, &status, 0), child.pid);
    close(child.in);
    close(child.out);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        answer->verdict = FAILED;
        said("its test ended with status 0x%x", (unsigned)status);
    }
    printf("%s%2u. %s\n    %s: %s\n", answer->verdict == NOT_ASKED ? "SKIPPED: " : "", number,
           questions[number - 1].text, verdicts[answer->verdict], answer->text);
    fflush(stdout);
    return answer->verdict;
}

bool ask_again(unsigned number)
{
    char path[4096], text[16], *const arguments[] = {path, text, NULL};
    const ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    CHECK(length > 0);
    path[length] = '\0';
    snprintf(text, sizeof text, "%u", number);
    fflush(NULL);
    const pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        execv(path, arguments);
        _exit(1);
    }
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int64_t gpu_while_ns(void)
{
    const char *seconds = getenv("SLIPRING_GPU_SECONDS");
    return on_standin        ? 300 * PROC_MS
           : seconds == NULL ? 10000 * PROC_MS
                             : strtoll(seconds, NULL, 0) * 1000 * PROC_MS;
}

/* ---- the record ---- */

struct machine {
    char device[128], driver[600];
};

static int describe(struct proc *self, void *context)
{
    struct machine *machine = context;
    char line[256] = "";
    (void)self;
    cuda_calls();
    CHECK(slipring_cuda_devices(NULL) > 0);
    CHECK_CU(gpu.device_name(machine->device, (int)sizeof machine->device, 0));
    FILE *file = fopen("/proc/driver/nvidia/version", "re");
    if (file != NULL) {
        if (fgets(line, sizeof line, file) != NULL) {
            line[strcspn(line, "\n")] = '\0';
        }
        fclose(file);
    }
    snprintf(machine->driver, sizeof machine->driver, "%s; %s", slipring_cuda_driver(),
             on_standin ? "no GPU" : line);
    return 0;
}

static void quote(FILE *file, const char *text)
{
    fputc('"', file);
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\') {
            fputc('\\', file);
        }
        fputc((unsigned char)*text < ' ' ? ' ' : *text, file);
    }
    fputc('"', file);
}

static void record_begin(FILE *file, struct machine *machine)
{
    char date[32];
    const time_t now = time(NULL);
    struct tm utc;
    CHECK(gmtime_r(&now, &utc) != NULL);
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", &utc);
    struct proc child = proc_start(describe, machine);
    proc_end(&child);
    fprintf(file, "{\"date\": \"%s\", \"stand_in\": %s, \"device\": ", date,
            on_standin ? "true" : "false");
    quote(file, machine->device);
    fprintf(file, ", \"driver\": ");
    quote(file, machine->driver);
    fprintf(file, ", \"slipring\": \"%s\", \"questions\": [", slipring_version());
}

static void record(FILE *file, unsigned number, bool first)
{
    fprintf(file, "%s\n{\"number\": %u, \"question\": ", first ? "" : ",", number);
    quote(file, questions[number - 1].text);
    fprintf(file, ", \"answer\": \"%s\", \"found\": ", verdicts[answer->verdict]);
    quote(file, answer->text);
    fprintf(file, "}");
}

int main(int argc, char **argv)
{
    unsigned asked[QUESTIONS], count = 0, seen[4] = {0};
    const char *path = NULL;
    for (int i = 1; i < argc; i++) {
        const unsigned long number = strtoul(argv[i], NULL, 10);
        if (strcmp(argv[i], "--json") == 0 && i + 1 < argc) {
            path = argv[++i];
        } else if (number >= 1 && number <= QUESTIONS && count < QUESTIONS) {
            asked[count++] = (unsigned)number;
        } else {
            fprintf(stderr, "usage: gpu [--json FILE] [NUMBER...]   of 1 to %u\n", QUESTIONS);
            return 2;
        }
    }
    for (unsigned i = 0; count == 0 && i < QUESTIONS; i++) {
        asked[i] = i + 1;
    }
    count = count == 0 ? QUESTIONS : count;
    cuda_begin_anywhere(count * 280 + (unsigned)(gpu_while_ns() / (1000 * PROC_MS)));
    struct machine *machine = proc_share(sizeof *machine);
    answer = proc_share(sizeof *answer);
    FILE *file = path == NULL ? NULL : fopen(path, "we");
    if (path != NULL && file == NULL) {
        FAIL("%s: %s", path, strerror(errno));
    }
    if (file != NULL) {
        record_begin(file, machine);
    }
    for (unsigned i = 0; i < count; i++) {
        seen[ask(asked[i])]++;
        if (file != NULL) {
            record(file, asked[i], i == 0);
        }
    }
    if (file != NULL) {
        fprintf(file, "\n]}\n");
        CHECK(ferror(file) == 0 && fclose(file) == 0);
    }
    return seen[NO] + seen[FAILED] != 0 ? 1 : seen[YES] == 0 ? 77 : 0;
}
