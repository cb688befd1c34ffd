/* SPDX-License-Identifier: Apache-2.0 */
/* How much memory may be page-locked where nobody says. */
#include "part.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define PATH_BYTES 4096
#define LINE_BYTES 4096

static uint64_t read_number(const char *path)
{
    uint64_t number = UINT64_MAX; /* "max", or no such file: no limit */
    FILE *file = fopen(path, "re");
    if (file != NULL) {
        if (fscanf(file, "%" SCNu64, &number) != 1) {
            number = UINT64_MAX;
        }
        fclose(file);
    }
    return number;
}

static uint64_t machine_bytes(const char *proc)
{
    char path[PATH_BYTES], line[LINE_BYTES];
    uint64_t kib = UINT64_MAX / 1024;
    snprintf(path, sizeof path, "%s/meminfo", proc);
    FILE *file = fopen(path, "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "MemTotal: %" SCNu64, &kib) == 1) {
            break;
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return kib * 1024;
}

/* The least limit of a group and those above it; path is cut on the way. */
static uint64_t group_bytes(const char *mount, char *path, const char *name)
{
    char file[2 * PATH_BYTES];
    uint64_t least = UINT64_MAX;
    for (;;) {
        snprintf(file, sizeof file, "%s%s/%s", mount, path, name);
        const uint64_t limit = read_number(file);
        least = limit < least ? limit : least;
        char *last = strrchr(path, '/');
        if (last == NULL) {
            return least;
        }
        *last = '\0';
    }
}

static uint64_t cgroup_bytes(const char *proc, const char *cgroup)
{
    char path[PATH_BYTES], line[LINE_BYTES], first[PATH_BYTES];
    uint64_t least = UINT64_MAX;
    snprintf(path, sizeof path, "%s/self/cgroup", proc);
    FILE *file = fopen(path, "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        char *group = strchr(line, '/');
        if (group == NULL) {
            continue;
        }
        uint64_t limit = UINT64_MAX;
        if (strncmp(line, "0::", 3) == 0) {
            limit = group_bytes(cgroup, group, "memory.max");
        } else if (strstr(line, ":memory:") != NULL) { /* version 1 */
            snprintf(first, sizeof first, "%s/memory", cgroup);
            limit = group_bytes(first, group, "memory.limit_in_bytes");
        }
        least = limit < least ? limit : least;
    }
    if (file != NULL) {
        fclose(file);
    }
    return least;
}

uint64_t slr_cuda_budget(const char *proc, const char *cgroup)
{
    const uint64_t machine = machine_bytes(proc);
    const uint64_t group = cgroup_bytes(proc, cgroup);
    return (machine < group ? machine : group) / 2;
}
