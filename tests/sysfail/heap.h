/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The C library's allocator, and hwloc, under this program's control: an allocation that the core
 * or the C library asks for can be made to fail, and a call of hwloc by the core; blocks in use are
 * counted.
 */
#ifndef HEAP_H
#define HEAP_H

#include <stdbool.h>
#include <stdint.h>

/* Is it? Not under a sanitizer, which has an allocator of its own, and not without glibc. */
bool heap_ours(void);
/* Take what the heap will need from the system at once and never give it back. Call first. */
void heap_settle(void);
/* Of the allocations (and calls of hwloc) from now on the nth, from 0, fails. */
void heap_fail(uint32_t nth);
/* No more. Did it come to that? */
bool heap_failed(void);
int64_t heap_blocks(void);

#endif
