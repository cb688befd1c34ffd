/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "heap.h"

#include "test.h"

#include <dlfcn.h>
#include <hwloc.h>
#include <malloc.h>
#include <stdatomic.h>
#include <urcu/rculfhash.h>
#include <urcu/urcu-bp.h>

#define ENOUGH (32u << 20)

static _Atomic int64_t blocks;
static _Atomic int64_t to_go = -1; /* allocations until the one that fails; negative: none */
static _Atomic bool hit;

bool heap_ours(void)
{
#if defined(SANITIZED) || !defined(__GLIBC__)
    return false;
#else
    return true;
#endif
}

void heap_settle(void)
{
#if defined(__GLIBC__)
    (void)mallopt(M_ARENA_MAX, 1);
    (void)mallopt(M_MMAP_THRESHOLD, ENOUGH * 2);
    (void)mallopt(M_TRIM_THRESHOLD, ENOUGH * 2);
    void *volatile all = malloc(ENOUGH);
    free(all);
#endif
}

void heap_fail(uint32_t nth)
{
    hit = false;
    to_go = nth;
}

bool heap_failed(void)
{
    to_go = -1;
    return hit;
}

int64_t heap_blocks(void)
{
    return blocks;
}

#if !defined(SANITIZED) && defined(__GLIBC__)

void *__libc_malloc(size_t bytes);                                                     // NOLINT
void *__libc_calloc(size_t count, size_t bytes);                                       // NOLINT
void *__libc_realloc(void *block, size_t bytes);                                       // NOLINT
int __register_atfork(void (*before)(void), void (*parent)(void), void (*child)(void), // NOLINT
                      void *library);
void __libc_free(void *block); // NOLINT

/* hwloc and liburcu abort, or fall over, where they are refused memory: what they ask for is let
 * through, and hwloc refuses us instead. */
static bool asked_by_them(const void *caller)
{
    Dl_info info;
    return dladdr(caller, &info) != 0 && info.dli_fname != NULL &&
           (strstr(info.dli_fname, "/libhwloc") != NULL ||
            strstr(info.dli_fname, "/liburcu") != NULL);
}

static bool fails(const void *caller)
{
    if (to_go < 0 || asked_by_them(caller) || to_go-- != 0) {
        return false;
    }
    hit = true;
    errno = ENOMEM;
    return true;
}
#define FAILS() fails(__builtin_return_address(0))

static void *counted(void *block)
{
    blocks += block != NULL;
    return block;
}

/* The C library's own calls come here too. */
void *malloc(size_t bytes)
{
    return FAILS() ? NULL : counted(__libc_malloc(bytes));
}

void *calloc(size_t count, size_t bytes)
{
    return FAILS() ? NULL : counted(__libc_calloc(count, bytes));
}

void *realloc(void *block, size_t bytes)
{
    if (FAILS()) {
        return NULL;
    }
    void *const moved = __libc_realloc(block, bytes);
    blocks += block == NULL && moved != NULL;
    return moved;
}

void free(void *block)
{
    blocks -= block != NULL;
    __libc_free(block);
}

/* The library's own function behind the one of that name here. */
#define THEIRS(name) ((__typeof__(&name))(uintptr_t)dlsym(RTLD_NEXT, #name))

/* What pthread_atfork() is a name for. */
int __register_atfork(void (*before)(void), void (*parent)(void), void (*child)(void), // NOLINT
                      void *library)
{
    return FAILS() ? ENOMEM : THEIRS(__register_atfork)(before, parent, child, library);
}

/* ---- liburcu and hwloc, as far as the core looks at what it returns ---- */

struct cds_lfht *_cds_lfht_new(unsigned long first, unsigned long least,
                               unsigned long most, // NOLINT
                               int flags, const struct cds_lfht_mm_type *memory,
                               const struct rcu_flavor_struct *flavor, pthread_attr_t *attributes)
{
    return FAILS() ? NULL
                   : THEIRS(_cds_lfht_new)(first, least, most, flags, memory, flavor, attributes);
}

hwloc_bitmap_t hwloc_bitmap_alloc(void)
{
    return FAILS() ? NULL : THEIRS(hwloc_bitmap_alloc)();
}

int hwloc_bitmap_copy(hwloc_bitmap_t to, hwloc_const_bitmap_t from)
{
    return FAILS() ? -1 : THEIRS(hwloc_bitmap_copy)(to, from);
}

int hwloc_bitmap_and(hwloc_bitmap_t to, hwloc_const_bitmap_t a, hwloc_const_bitmap_t b)
{
    return FAILS() ? -1 : THEIRS(hwloc_bitmap_and)(to, a, b);
}

int hwloc_topology_init(hwloc_topology_t *topology)
{
    return FAILS() ? -1 : THEIRS(hwloc_topology_init)(topology);
}

int hwloc_topology_load(hwloc_topology_t topology)
{
    return FAILS() ? -1 : THEIRS(hwloc_topology_load)(topology);
}

int hwloc_get_cpubind(hwloc_topology_t topology, hwloc_cpuset_t set, int flags)
{
    return FAILS() ? -1 : THEIRS(hwloc_get_cpubind)(topology, set, flags);
}

int hwloc_set_area_membind(hwloc_topology_t topology, const void *address, size_t bytes,
                           hwloc_const_bitmap_t set, hwloc_membind_policy_t policy, int flags)
{
    return FAILS() ? -1
                   : THEIRS(hwloc_set_area_membind)(topology, address, bytes, set, policy, flags);
}

#endif
