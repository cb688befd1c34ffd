/* SPDX-License-Identifier: Apache-2.0 */
/* Queues through a pair of descriptors that carry a stream of bytes; they wait in the kernel. */
#ifndef PERF_DESCRIPTORS_H
#define PERF_DESCRIPTORS_H

#include "peer.h"

#include "../sizes.h"

#include <unistd.h>

struct descriptors {
    int read, write;
};

static void *queue_new(void);

static void queue_delete(void *queue)
{
    struct descriptors *descriptors = queue;
    close(descriptors->read);
    close(descriptors->write);
    shared_free(queue, sizeof *descriptors);
}

static void *queue_open(void *queue, bool writes)
{
    struct descriptors *descriptors = queue;
    return writes ? &descriptors->write : &descriptors->read;
}

static inline unsigned queue_put(void *end, const struct message *messages, unsigned count)
{
    const uint8_t *from = (const uint8_t *)messages;
    for (size_t left = count * sizeof *messages; left > 0;) {
        const ssize_t n = write(*(const int *)end, from, left);
        CHECK(n > 0);
        from += n;
        left -= (size_t)n;
    }
    return count;
}

/* As many as are there, at least one. */
static inline unsigned queue_get(void *end, struct message *messages, unsigned count)
{
    uint8_t *to = (uint8_t *)messages;
    size_t got = 0;
    do {
        const ssize_t n = read(*(const int *)end, to + got, count * sizeof *messages - got);
        CHECK(n > 0);
        got += (size_t)n;
    } while (got % sizeof *messages != 0);
    return (unsigned)(got / sizeof *messages);
}

#include "queue.h"

/* ---- size_* ---- */

struct sized {
    const struct run *run;
    void *queue;
    uint64_t bytes;
};

static void write_sized(const struct sized *sized, int fd)
{
    const uint64_t chunk = size_chunk(sized->bytes);
    uint64_t *source = source_new(sized->bytes);
    for (uint64_t s = 0; s < chunk * size_chunks(sized->run, sized->bytes); s++) {
        *source = s;
        for (uint64_t done = 0; done < sized->bytes;) {
            const ssize_t n = write(fd, (const uint8_t *)source + done, sized->bytes - done);
            CHECK(n > 0);
            done += (uint64_t)n;
        }
    }
    free(source);
}

static void read_sized(const struct sized *sized, int fd)
{
    const uint64_t chunk = size_chunk(sized->bytes);
    const uint64_t messages = chunk * size_chunks(sized->run, sized->bytes);
    uint64_t *data = source_new(sized->bytes);
    const uint64_t base = sum_words(data, sized->bytes);
    int64_t start = 0;
    for (uint64_t s = 0; s < messages; s++) {
        size_tick(sized->run, chunk, s, &start);
        for (uint64_t done = 0; done < sized->bytes;) {
            const ssize_t n = read(fd, (uint8_t *)data + done, sized->bytes - done);
            CHECK(n > 0);
            done += (uint64_t)n;
        }
        CHECK(sum_words(data, sized->bytes) == base + s);
    }
    size_tick(sized->run, chunk, messages, &start);
    free(data);
}

static int play_sized(struct seat *seat, void *context)
{
    const struct sized *sized = context;
    const bool writes = seat_index(seat) == 0;
    const int *fd = queue_open(sized->queue, writes);
    (void)seat_meet(seat);
    writes ? write_sized(sized, *fd) : read_sized(sized, *fd);
    (void)seat_meet(seat);
    return 0;
}

static int run_sized(const struct run *run, const void *context)
{
    struct sized sized = {run, queue_new(), ((const struct size *)context)->bytes};
    const int result = team_run(2, play_sized, &sized);
    queue_delete(sized.queue);
    return result;
}

/* clang-format off */
#define SIZED_MEASURES                                                                             \
    {"size_64B", run_sized, &sizes[0]}, {"size_512B", run_sized, &sizes[1]},                       \
    {"size_4KiB", run_sized, &sizes[2]}, {"size_32KiB", run_sized, &sizes[3]},                     \
    {"size_256KiB", run_sized, &sizes[4]}, {"size_2MiB", run_sized, &sizes[5]},                    \
    {"size_16MiB", run_sized, &sizes[6]}
/* clang-format on */

#endif
