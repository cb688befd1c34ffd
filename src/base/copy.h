/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The validated copy-out of a payload that may be overwritten while it is read (COPY).
 *
 * A data race by intent, made of relaxed word loads so that it is defined: the copy is looked at
 * only after the acquire fence and the second look at the slot's word say that nothing changed.
 * The producer's plain payload stores race with these loads; that half cannot be avoided, since the
 * user writes them, and is what the sanitizer annotation is for.
 */
#ifndef SLR_COPY_H
#define SLR_COPY_H

#include "base/sanitizer.h"
#include "base/sequence.h"

#include <stdint.h>
#include <string.h>

static inline void slr_copy_racy(void *to, const uint8_t *from, uint64_t bytes)
{
    uint8_t *out = to;
    uint64_t i = 0;
    SLR_TELL_RACY_BEGIN();
    for (; i < bytes && ((uintptr_t)(from + i) & 7) != 0; i++) {
        out[i] = slr_load8((const _Atomic uint8_t *)(from + i));
    }
    for (; i + 8 <= bytes; i += 8) {
        const uint64_t word = slr_load64((const _Atomic uint64_t *)(const void *)(from + i));
        memcpy(out + i, &word, 8);
    }
    for (; i < bytes; i++) {
        out[i] = slr_load8((const _Atomic uint8_t *)(from + i));
    }
    SLR_TELL_RACY_END();
}

#endif
