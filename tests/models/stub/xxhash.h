/* SPDX-License-Identifier: Apache-2.0 */
/* Stands in for the xxHash header: the checksum of a payload of one word is that word. */
#ifndef MODEL_XXHASH_H
#define MODEL_XXHASH_H

#include <stddef.h>

static inline unsigned long long XXH3_64bits(const void *data, size_t bytes)
{
    (void)bytes;
    return model_read_payload((const uint64_t *)data);
}

#endif
