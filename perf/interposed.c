/* SPDX-License-Identifier: Apache-2.0 */
#include "interposed.h"

#include "common.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* glibc's own, under their other names. */
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *memory, size_t bytes);
void *__libc_memalign(size_t alignment, size_t bytes);

static _Atomic uint64_t bytes_so_far;
static _Atomic int64_t populate_so_far;

static void count(uint64_t bytes)
{
    atomic_fetch_add_explicit(&bytes_so_far, bytes, memory_order_relaxed);
}

uint64_t allocated_bytes(void)
{
    return atomic_load_explicit(&bytes_so_far, memory_order_relaxed);
}

int64_t populate_ns(void)
{
    return atomic_load_explicit(&populate_so_far, memory_order_relaxed);
}

void *malloc(size_t bytes)
{
    count(bytes);
    return __libc_malloc(bytes);
}

void *calloc(size_t number, size_t bytes)
{
    count(number * bytes);
    return __libc_calloc(number, bytes);
}

void *realloc(void *memory, size_t bytes)
{
    count(bytes);
    return __libc_realloc(memory, bytes);
}

void *memalign(size_t alignment, size_t bytes)
{
    count(bytes);
    return __libc_memalign(alignment, bytes);
}

void *aligned_alloc(size_t alignment, size_t bytes)
{
    count(bytes);
    return __libc_memalign(alignment, bytes);
}

int posix_memalign(void **memory, size_t alignment, size_t bytes)
{
    count(bytes);
    *memory = __libc_memalign(alignment, bytes);
    return *memory == NULL ? ENOMEM : 0;
}

int madvise(void *memory, size_t bytes, int advice)
{
    const int64_t start = now_ns();
    const int result = (int)syscall(SYS_madvise, memory, bytes, advice);
    if (advice == MADV_POPULATE_READ || advice == MADV_POPULATE_WRITE) {
        atomic_fetch_add_explicit(&populate_so_far, now_ns() - start, memory_order_relaxed);
    }
    return result;
}
