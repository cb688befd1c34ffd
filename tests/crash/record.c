/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Walks a section once and notes what each instruction did.
 *
 * What the victim shares with others is out of its reach while it walks: an instruction that
 * touches it stops the victim by SIGSEGV, is let through alone, and what is shared is compared
 * with a copy afterwards. So reads are found as well as stores, without knowing the instructions.
 */
#define _GNU_SOURCE
#include "tracee.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#define STEPS_MAX (1u << 22)
#define PCS_MAX (1u << 17) /* distinct program counters; a power of two */
#define REGIONS_MAX 32
#define BREAK_COST 3u /* a breakpoint hit costs a stop, a step and two pokes: so many steps */

/* ---- what the victim shares with others ---- */

struct region {
    uint64_t start, bytes, inode, offset;
    int rights;
    uint8_t *copy; /* NULL: another region shows the same memory, or the file was cut short */
};

struct regions {
    uint32_t count;
    struct region region[REGIONS_MAX];
};

static void regions_free(struct regions *regions)
{
    for (uint32_t i = 0; i < regions->count; i++) {
        free(regions->region[i].copy);
    }
    regions->count = 0;
}

static bool region_read(pid_t pid, uint64_t start, void *into, uint64_t bytes)
{
    const struct iovec here = {into, bytes}, there = {(void *)(uintptr_t)start, bytes}; // NOLINT
    return process_vm_readv(pid, &here, 1, &there, 1, 0) == (ssize_t)bytes;
}

/* Is it mapped already, all of it? */
static bool region_known(const struct regions *regions, const struct region *region)
{
    bool known = false;
    for (uint32_t i = 0; i < regions->count; i++) {
        const struct region *const other = &regions->region[i];
        known |= other->copy != NULL && other->inode == region->inode &&
                 other->offset <= region->offset &&
                 other->offset + other->bytes >= region->offset + region->bytes;
    }
    return known;
}

/* Shared mappings of the victim, none of them out of its reach. */
static int regions_find(pid_t pid, struct regions *regions)
{
    char path[64], line[512];
    regions_free(regions);
    snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
    FILE *const maps = fopen(path, "re");
    if (maps == NULL) {
        return -errno;
    }
    while (fgets(line, sizeof(line), maps) != NULL) {
        struct region region = {.copy = NULL};
        uint64_t end;
        char rights[8];
        if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %7s %" SCNx64 " %*s %" SCNu64, &region.start,
                   &end, rights, &region.offset, &region.inode) != 5 ||
            rights[3] != 's' || rights[0] != 'r') {
            continue;
        }
        region.bytes = end - region.start;
        region.rights = PROT_READ | (rights[1] == 'w' ? PROT_WRITE : 0);
        if (!region_known(regions, &region)) {
            region.copy = malloc(region.bytes);
        }
        if (region.copy != NULL && !region_read(pid, region.start, region.copy, region.bytes)) {
            free(region.copy);
            region.copy = NULL;
        }
        if (regions->count == REGIONS_MAX) {
            free(region.copy);
            fclose(maps);
            return -E2BIG;
        }
        regions->region[regions->count++] = region;
    }
    fclose(maps);
    return 0;
}

static int regions_protect(pid_t pid, const struct regions *regions, bool on)
{
    int rc = 0;
    for (uint32_t i = 0; i < regions->count && rc == 0; i++) {
        const struct region *const region = &regions->region[i];
        uint64_t bytes = region->bytes;
        while (i + 1 < regions->count && /* neighbours by one call */
               regions->region[i + 1].start == region->start + bytes &&
               regions->region[i + 1].rights == region->rights) {
            bytes += regions->region[++i].bytes;
        }
        rc = tracee_call(pid, SYS_mprotect, region->start, bytes,
                         on ? PROT_NONE : (uint64_t)region->rights);
    }
    return rc;
}

/* Did a byte change since the last look? */
static bool regions_changed(pid_t pid, struct regions *regions)
{
    static uint8_t buffer[1u << 16];
    bool changed = false;
    for (uint32_t i = 0; i < regions->count; i++) {
        const struct region *const region = &regions->region[i];
        for (uint64_t at = 0; region->copy != NULL && at < region->bytes; at += sizeof(buffer)) {
            const uint64_t left = region->bytes - at;
            const uint64_t bytes = left < sizeof(buffer) ? left : sizeof(buffer);
            if (region_read(pid, region->start + at, buffer, bytes) &&
                memcmp(buffer, region->copy + at, bytes) != 0) {
                memcpy(region->copy + at, buffer, bytes);
                changed = true;
            }
        }
    }
    return changed;
}

/* ---- program counters ---- */

struct met {
    uint64_t pc;
    uint32_t times;
    bool call, clock;
};

static struct met *meet(struct met *table, pid_t pid, uint64_t pc)
{
    uint64_t at = (pc * UINT64_C(0x9e3779b97f4a7c15)) >> 40;
    for (uint32_t tries = 0; tries < PCS_MAX; tries++, at++) {
        struct met *const met = &table[at & (PCS_MAX - 1)];
        if (met->pc == 0) {
            errno = 0;
            const uint64_t text =
                (uint64_t)ptrace(PTRACE_PEEKTEXT, pid, (void *)(uintptr_t)pc, (void *)0);
            met->pc = pc;
            met->call = tracee_is_call(text);
            met->clock = tracee_is_clock(text);
        }
        if (met->pc == pc) {
            return met;
        }
    }
    return NULL;
}

/* ---- traces ---- */

#define TRACE_BYTES (STEPS_MAX * (sizeof(uint64_t) + 2 * sizeof(uint32_t) + sizeof(uint8_t)))

/* Not from the heap: a victim would find it in another state than the one that was recorded. */
static void *fresh(size_t bytes)
{
    void *const memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

void sk_trace_free(struct sk_trace *trace)
{
    if (trace->memory != NULL) {
        (void)munmap(trace->memory, TRACE_BYTES);
    }
    *trace = (struct sk_trace){0};
}

/* Cheapest way to each step: one instruction on from the way to the one before, or a breakpoint. */
static void plan(struct sk_trace *trace)
{
    uint64_t cost = 0;
    for (uint32_t i = 1; i < trace->count; i++) {
        const uint64_t direct = (uint64_t)BREAK_COST * trace->nth[i];
        trace->anchor[i] = direct < cost + 1 ? i : trace->anchor[i - 1];
        cost = direct < cost + 1 ? direct : cost + 1;
    }
}

/* One instruction: what it did, or a negative errno. */
static int walk_one(pid_t pid, const struct met *met, struct regions *regions, int *status)
{
    bool touched = met->call; /* the kernel must reach what it is given */
    int rc = met->call ? regions_protect(pid, regions, false) : 0;
    rc = rc ? rc : tracee_go(pid, PTRACE_SINGLESTEP, SIGSEGV, status);
    if (rc == SIGSEGV && !touched) {
        touched = true;
        rc = regions_protect(pid, regions, false);
        rc = rc ? rc : tracee_go(pid, PTRACE_SINGLESTEP, 0, status);
    }
    if (rc < 0) {
        return rc;
    }
    int kind = met->call ? SK_CALL | SK_TOUCH : met->clock ? SK_TOUCH : 0;
    if (touched) {
        kind |= SK_TOUCH | (regions_changed(pid, regions) ? SK_STORE : 0);
        rc = met->call ? regions_find(pid, regions) : 0; /* it may have mapped something */
        rc = rc ? rc : regions_protect(pid, regions, true);
    }
    return rc < 0 ? rc : kind;
}

static int walk(pid_t pid, struct met *table, struct sk_trace *trace, int *status)
{
    struct regions regions = {0};
    int kind = 0;
    int rc = regions_find(pid, &regions);
    rc = rc ? rc : regions_protect(pid, &regions, true);
    for (uint32_t i = 0; rc == 0; i++) {
        const uint64_t pc = tracee_pc(pid);
        struct met *const met = i < STEPS_MAX ? meet(table, pid, pc) : NULL;
        if (met == NULL) {
            rc = -E2BIG;
            break;
        }
        trace->pc[i] = pc;
        trace->nth[i] = ++met->times;
        trace->kind[i] = (uint8_t)kind;
        trace->count = i + 1;
        if (pc == (uint64_t)(uintptr_t)sk_end) {
            break;
        }
        kind = walk_one(pid, met, &regions, status);
        rc = kind < 0 ? kind : 0;
    }
    if (rc == 0) {
        rc = regions_protect(pid, &regions, false);
    }
    regions_free(&regions);
    return rc;
}

int sk_record(sk_victim victim, void *context, struct sk_trace *trace, int *status)
{
    struct met *const table = fresh(PCS_MAX * sizeof(*table));
    int rc = -ENOMEM;
    *trace = (struct sk_trace){.memory = fresh(TRACE_BYTES)};
    if (table != NULL && trace->memory != NULL) {
        trace->pc = trace->memory;
        trace->nth = (uint32_t *)(trace->pc + STEPS_MAX);
        trace->anchor = trace->nth + STEPS_MAX;
        trace->kind = (uint8_t *)(trace->anchor + STEPS_MAX);
        pid_t pid;
        rc = tracee_start(victim, context, &pid, status);
        if (rc == 0) {
            rc = walk(pid, table, trace, status);
            if (rc == 0) {
                *status = sk_resume(pid, INT64_C(10000000000));
            } else if (rc != -ESRCH) {
                sk_kill(pid);
            }
        }
    }
    if (table != NULL) {
        (void)munmap(table, PCS_MAX * sizeof(*table));
    }
    if (rc) {
        sk_trace_free(trace);
    } else {
        plan(trace);
    }
    return rc;
}
