/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The heap of this program, instead of the C library's: each size class is a stack of free blocks,
 * so that after a first run a victim's way through it is the same in every run, whatever was
 * allocated and freed before. The C library's searches, and recorded steps inside it would not be
 * found again.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define CLASSES 26u /* blocks of 2^class bytes, the header with them: up to 32 MiB */
#define GROW ((size_t)1 << 22)

struct block {
    uint64_t class;
    struct block *next; /* while it is free; else the caller's memory begins here */
};
#define HEADER 16u

static struct block *unused[CLASSES];
static char *top, *end;
static atomic_flag busy = ATOMIC_FLAG_INIT;

static void lock(void)
{
    while (atomic_flag_test_and_set_explicit(&busy, memory_order_acquire)) {
    }
}

static void unlock(void)
{
    atomic_flag_clear_explicit(&busy, memory_order_release);
}

static struct block *grow(unsigned class)
{
    const size_t bytes = (size_t)1 << class;
    if ((size_t)(end - top) < bytes) {
        const size_t more = bytes > GROW ? bytes : GROW;
        char *const fresh =
            mmap(NULL, more, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (fresh == MAP_FAILED) {
            return NULL;
        }
        top = fresh;
        end = fresh + more;
    }
    struct block *const block = (struct block *)(void *)top;
    top += bytes;
    return block;
}

static void *take(size_t bytes)
{
    unsigned class = 5;
    while (class < CLASSES && ((size_t)1 << class) - HEADER < bytes) {
        class ++;
    }
    struct block *block = NULL;
    if (class < CLASSES) {
        lock();
        block = unused[class];
        if (block != NULL) {
            unused[class] = block->next;
        } else {
            block = grow(class);
        }
        unlock();
    }
    if (block == NULL) {
        errno = ENOMEM;
        return NULL;
    }
    block->class = class;
    return (char *)block + HEADER;
}

void *malloc(size_t bytes)
{
    return take(bytes);
}

void free(void *memory)
{
    if (memory == NULL) {
        return;
    }
    struct block *const block = (struct block *)(void *)((char *)memory - HEADER);
    lock();
    block->next = unused[block->class];
    unused[block->class] = block;
    unlock();
}

void *calloc(size_t count, size_t bytes)
{
    size_t all;
    if (__builtin_mul_overflow(count, bytes, &all)) {
        errno = ENOMEM;
        return NULL;
    }
    void *const memory = take(all); /* malloc() and memset() would be compiled to calloc() */
    return memory == NULL ? NULL : memset(memory, 0, all);
}

void *realloc(void *memory, size_t bytes)
{
    void *const other = take(bytes);
    if (memory != NULL && other != NULL) {
        const struct block *const block = (const struct block *)(void *)((char *)memory - HEADER);
        const size_t room = ((size_t)1 << block->class) - HEADER;
        memcpy(other, memory, room < bytes ? room : bytes);
        free(memory);
    }
    return other;
}

/* A header right before the aligned place; what lies before that is lost. Not for realloc(). */
int posix_memalign(void **memory, size_t alignment, size_t bytes)
{
    char *const raw = take(bytes + alignment + HEADER);
    if (raw == NULL) {
        return ENOMEM;
    }
    char *const at =
        (char *)(((uintptr_t)raw + HEADER + alignment - 1) & ~(uintptr_t)(alignment - 1));
    struct block *const block = (struct block *)(void *)(at - HEADER);
    unsigned class = 5;
    while (class + 1 < CLASSES && ((size_t)1 << (class + 1)) <= bytes + HEADER) {
        class ++;
    }
    block->class = class;
    *memory = at;
    return 0;
}

void *aligned_alloc(size_t alignment, size_t bytes)
{
    void *memory = NULL;
    const int rc = posix_memalign(&memory, alignment, bytes);
    errno = rc ? rc : errno;
    return rc ? NULL : memory;
}
