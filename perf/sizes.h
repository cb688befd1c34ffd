/* SPDX-License-Identifier: Apache-2.0 */
/* Messages of any size: what ours and the peers copy in and read, in the measures size_*. */
#ifndef PERF_SIZES_H
#define PERF_SIZES_H

#include "common.h"

#include <stdlib.h>
#include <string.h>

#define SIZES 7
#define SIZE_BYTES_MAX (UINT64_C(1) << 24)
#define SIZE_CHUNK_BYTES (UINT64_C(1) << 22) /* of a sample, but no more than so many messages: */
#define SIZE_CHUNK_MAX UINT64_C(8192)

static const struct size {
    const char *name;
    uint64_t bytes;
} sizes[SIZES] = {{"size_64B", 64},
                  {"size_512B", 512},
                  {"size_4KiB", 1 << 12},
                  {"size_32KiB", 1 << 15},
                  {"size_256KiB", 1 << 18},
                  {"size_2MiB", 1 << 21},
                  {"size_16MiB", SIZE_BYTES_MAX}};

static inline uint64_t size_chunk(uint64_t bytes)
{
    const uint64_t messages = SIZE_CHUNK_BYTES / bytes;
    return messages == 0 ? 1 : messages < SIZE_CHUNK_MAX ? messages : SIZE_CHUNK_MAX;
}

static inline uint64_t size_chunks(const struct run *run, uint64_t bytes)
{
    return (bytes < SIZE_CHUNK_BYTES ? 40 : 10) * (run->quick ? 1u : 5u);
}

static inline uint64_t sum_words(const void *data, uint64_t bytes)
{
    const uint64_t *word = data;
    uint64_t sum = 0;
    for (uint64_t i = 0; i < bytes / sizeof *word; i++) {
        sum += word[i];
    }
    return sum;
}

/* What is copied: known words, the first of which is replaced by the sequence once copied. */
static inline uint64_t *source_new(uint64_t bytes)
{
    uint64_t *source = malloc(bytes);
    CHECK(source != NULL);
    words_fill(source, (unsigned)(bytes / sizeof *source), 0); /* the first is 0 */
    return source;
}

static inline void copy_in(void *slot, const uint64_t *source, uint64_t bytes, uint64_t sequence)
{
    memcpy(slot, source, bytes);
    *(uint64_t *)slot = sequence;
}

/* Called by the reader before each message; a sample per whole chunk, but for the first. */
static inline void size_tick(const struct run *run, uint64_t chunk, uint64_t sequence,
                             int64_t *start)
{
    if (sequence % chunk == 0) {
        const int64_t now = now_ns();
        if (sequence > chunk) {
            samples_add(run->chunks, (double)chunk * 1e9 / (double)(now - *start));
        }
        *start = now_ns();
    }
}

#endif
