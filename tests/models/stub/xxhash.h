/* SPDX-License-Identifier: Apache-2.0 */
/* Stands in for the xxHash header: the models' rings carry no checksum. */
#ifndef MODEL_XXHASH_H
#define MODEL_XXHASH_H

#include <stddef.h>

static inline unsigned long long XXH3_64bits(const void *data, size_t bytes)
{
    (void)data;
    return bytes;
}

#endif
