/* SPDX-License-Identifier: Apache-2.0 */
/* The memory of a shared object (object.h). */
#define _GNU_SOURCE
#include "base/object.h"

#include "base/sequence.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

uint64_t slr_page_bytes(void)
{
    return (uint64_t)sysconf(_SC_PAGESIZE);
}

int slr_object_reserve(uint64_t bytes, uint64_t align, uint8_t **memory)
{
    const uint64_t extra = align > slr_page_bytes() ? align : 0;
    uint8_t *start =
        mmap(NULL, bytes + extra, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (start == MAP_FAILED) {
        return -errno;
    }
    uint8_t *aligned = start;
    if (extra != 0) {
        aligned += (align - ((uintptr_t)start & (align - 1))) % align;
        if (aligned > start) {
            munmap(start, (size_t)(aligned - start));
        }
        if (aligned < start + extra) {
            munmap(aligned + bytes, (size_t)(start + extra - aligned));
        }
    }
    *memory = aligned;
    return 0;
}

int slr_object_map(int fd, uint64_t from, uint64_t bytes, bool write, uint8_t *memory)
{
    const int protection = write ? PROT_READ | PROT_WRITE : PROT_READ;
    return mmap(memory, bytes, protection, MAP_SHARED | MAP_FIXED, fd, (off_t)from) == MAP_FAILED
               ? -errno
               : 0;
}

static void touch(uint8_t *start, uint64_t bytes, bool write)
{
    const uint64_t page = slr_page_bytes();
    for (uint64_t at = 0; at < bytes; at += page) {
        _Atomic uint64_t *word = (_Atomic uint64_t *)(void *)(start + at);
        if (write) {
            (void)slr_add64(word, 0); /* others may use the page already: no value may change */
        } else {
            (void)slr_load64(word);
        }
    }
}

void slr_object_populate(uint8_t *memory, uint64_t bytes, bool write)
{
    int rc;
    do {
        rc = madvise(memory, bytes, write ? MADV_POPULATE_WRITE : MADV_POPULATE_READ);
    } while (rc < 0 && errno == EINTR);
    if (rc < 0 && errno == EINVAL) { /* a kernel or an emulator without it */
        touch(memory, bytes, write);
    }
}

void slr_object_ask_huge(void *memory, uint64_t bytes)
{
    if (madvise(memory, bytes, MADV_HUGEPAGE) == 0) {
        (void)madvise(memory, bytes, MADV_POPULATE_WRITE);
    }
}

void slr_object_collapse(void *memory, uint64_t bytes)
{
    (void)madvise(memory, bytes, MADV_COLLAPSE);
}

uint64_t slr_object_huge_bytes(const void *memory)
{
    char line[512];
    uint64_t bytes = 0, start, end, kib;
    bool here = false;
    FILE *maps = fopen("/proc/self/smaps", "re");

    while (maps != NULL && fgets(line, sizeof line, maps) != NULL) {
        if (sscanf(line, "%" SCNx64 "-%" SCNx64 " ", &start, &end) == 2) {
            here = start <= (uintptr_t)memory && (uintptr_t)memory < end;
        } else if (here && (sscanf(line, "ShmemPmdMapped: %" SCNu64, &kib) == 1 ||
                            sscanf(line, "FilePmdMapped: %" SCNu64, &kib) == 1)) {
            bytes += kib << 10;
        }
    }
    if (maps != NULL) {
        fclose(maps);
    }
    return bytes;
}
