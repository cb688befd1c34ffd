/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a process sets up once. Not pthread_once(), for which a setup that failed for want of memory
 * or descriptors would have failed for good: here the next call tries again.
 */
#ifndef SLR_ONCE_H
#define SLR_ONCE_H

#include <stdint.h>

struct slr_once { /* zero at first */
    _Atomic uint32_t done;
    _Atomic uint32_t holder; /* pid of who is at it, 0 nobody */
};

/* Call setup unless it returned 0 before. What it returned: 0 or a negative errno. */
int slr_once(struct slr_once *once, int (*setup)(void));

#endif
