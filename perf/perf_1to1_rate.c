/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rate_*: messages per second from one process to another, lossless, each message written word by
 * word in place, read in place and checked.
 *
 * rate_56B_single         one claim, publish, acquire and release per message, slipring/inline.h.
 *                         Floor: a bare ring of the same shape, used the same way.
 * rate_56B_single_shared  the same through the functions of the shared library.
 * rate_56B_batch64, rate_64B_batch64   64 messages per claim, publish, acquire and release.
 *                         Floor: the bare transfer of lines that carry as much payload.
 * rate_56B_batch4, rate_56B_batch16, rate_56B_batch256   the same with so many.
 */
#include "bare.h"

#include <errno.h>

#define CHUNK 65536u /* messages */
#define SLOTS BARE_SLOTS

struct stream {
    const struct run *run;
    uint64_t chunks, batch;
    void (*write)(const struct stream *stream);
    void (*read)(const struct stream *stream);
    struct slipring_ring *ring;
    struct bare_ring *bare;
    struct bare_lines *lines;
    struct slipring_producer *producer; /* of the process that writes */
    struct slipring_consumer *consumer; /* of the one that reads */
};

/* Called by the reader before each message or batch; a sample per whole chunk. */
struct clock {
    const struct run *run;
    int64_t start;
};

static inline void clock_tick(struct clock *clock, uint64_t sequence)
{
    if (sequence % CHUNK == 0) {
        const int64_t now = now_ns();
        if (sequence != 0) {
            samples_add(clock->run->chunks, CHUNK * 1e9 / (double)(now - clock->start));
        }
        clock->start = now_ns();
    }
}

/* ---- one by one ---- */

static void write_inline(const struct stream *stream)
{
    struct slipring_fast *fast = slipring_producer_fast(stream->producer);
    for (uint64_t s = 0; s < stream->chunks * CHUNK; s++) {
        void *data;
        while (slipring_fast_try_claim(fast, 1, &data) != 0) {
        }
        words_fill(data, 7, s);
        CHECK(slipring_fast_publish(fast, 1) == 0);
    }
}

static void read_inline(const struct stream *stream)
{
    struct slipring_fast *fast = slipring_consumer_fast(stream->consumer);
    struct clock clock = {stream->run, 0};
    for (uint64_t s = 0; s < stream->chunks * CHUNK; s++) {
        const void *data;
        int64_t count;
        clock_tick(&clock, s);
        while ((count = slipring_fast_try_acquire(fast, 1, &data)) == -EAGAIN) {
        }
        CHECK(count == 1 && words_right(data, 7, s));
        CHECK(slipring_fast_release(fast, 1) == 0);
    }
    clock_tick(&clock, stream->chunks * CHUNK);
}

static void write_shared(const struct stream *stream)
{
    for (uint64_t s = 0; s < stream->chunks * CHUNK; s++) {
        struct slipring_loan loan;
        while (slipring_producer_try_claim(stream->producer, 1, &loan) != 0) {
        }
        words_fill(loan.data, 7, s);
        CHECK(slipring_producer_publish(stream->producer, 1, NULL) == 0);
    }
}

static void read_shared(const struct stream *stream)
{
    struct clock clock = {stream->run, 0};
    for (uint64_t s = 0; s < stream->chunks * CHUNK; s++) {
        struct slipring_view view;
        int code;
        clock_tick(&clock, s);
        while ((code = slipring_consumer_try_acquire(stream->consumer, 1, &view)) == -EAGAIN) {
        }
        CHECK(code == 0 && view.slot.sequence == s && words_right(view.data, 7, s));
        CHECK(slipring_consumer_release(stream->consumer, &view) == 0);
    }
    clock_tick(&clock, stream->chunks * CHUNK);
}

static void write_bare(const struct stream *stream)
{
    struct bare_writer writer = {0, 0};
    for (uint64_t s = 0; s < stream->chunks * CHUNK; s++) {
        struct bare_slot *slot;
        while ((slot = bare_claim(stream->bare, &writer)) == NULL) {
        }
        words_fill(slot->payload, 7, s);
        bare_publish(slot, &writer);
    }
}

static void read_bare(const struct stream *stream)
{
    struct clock clock = {stream->run, 0};
    for (uint64_t s = 0; s < stream->chunks * CHUNK; s++) {
        const struct bare_slot *slot;
        clock_tick(&clock, s);
        while ((slot = bare_acquire(stream->bare, s)) == NULL) {
        }
        CHECK(words_right(slot->payload, 7, s));
        bare_release(stream->bare, s);
    }
    clock_tick(&clock, stream->chunks * CHUNK);
}

/* ---- in batches ---- */

static inline __attribute__((always_inline)) void write_batches(const struct stream *stream,
                                                                unsigned words)
{
    struct slipring_fast *fast = slipring_producer_fast(stream->producer);
    const uint64_t stride = fast->payload_stride;
    const uint64_t batch = stream->batch;
    for (uint64_t s = 0; s < stream->chunks * CHUNK; s += batch) {
        void *data;
        while (slipring_fast_try_claim(fast, batch, &data) != 0) {
        }
        for (uint64_t i = 0; i < batch; i++) {
            words_fill((uint8_t *)data + i * stride, words, s + i);
        }
        CHECK(slipring_fast_publish(fast, batch) == 0);
    }
}

static inline __attribute__((always_inline)) void read_batches(const struct stream *stream,
                                                               unsigned words)
{
    struct slipring_fast *fast = slipring_consumer_fast(stream->consumer);
    const uint64_t stride = fast->payload_stride;
    const uint64_t batch = stream->batch;
    struct clock clock = {stream->run, 0};
    uint64_t s = 0;
    while (s < stream->chunks * CHUNK) {
        const void *data;
        int64_t count;
        const uint64_t left = CHUNK - s % CHUNK; /* a batch never crosses a chunk */
        clock_tick(&clock, s);
        while ((count = slipring_fast_try_acquire(fast, left < batch ? left : batch, &data)) ==
               -EAGAIN) {
        }
        CHECK(count > 0);
        bool right = true;
        for (uint64_t i = 0; i < (uint64_t)count; i++) {
            right &= words_right((const uint8_t *)data + i * stride, words, s + i);
        }
        CHECK(right && slipring_fast_release(fast, (uint64_t)count) == 0);
        s += (uint64_t)count;
    }
    clock_tick(&clock, s);
}

static void write_batches_56(const struct stream *stream)
{
    write_batches(stream, 7);
}

static void read_batches_56(const struct stream *stream)
{
    read_batches(stream, 7);
}

static void write_batches_64(const struct stream *stream)
{
    write_batches(stream, 8);
}

static void read_batches_64(const struct stream *stream)
{
    read_batches(stream, 8);
}

static inline __attribute__((always_inline)) void write_lines(const struct stream *stream,
                                                              unsigned words)
{
    struct bare_lines *lines = stream->lines;
    const uint64_t batch = stream->batch;
    uint64_t end = 0;
    for (uint64_t s = 0; s < stream->chunks * CHUNK; s += batch) {
        while (end - s < batch) {
            end = atomic_load_explicit(&lines->released, memory_order_acquire) + SLOTS;
        }
        for (uint64_t i = 0; i < batch; i++) {
            words_fill(lines->lines[(s + i) & (SLOTS - 1)], words, s + i);
        }
        atomic_store_explicit(&lines->cursor, s + batch, memory_order_release);
    }
}

static inline __attribute__((always_inline)) void read_lines(const struct stream *stream,
                                                             unsigned words)
{
    struct bare_lines *lines = stream->lines;
    struct clock clock = {stream->run, 0};
    const uint64_t batch = stream->batch;
    uint64_t cursor = 0;
    for (uint64_t s = 0; s < stream->chunks * CHUNK; s += batch) {
        clock_tick(&clock, s);
        while (cursor == s) {
            cursor = atomic_load_explicit(&lines->cursor, memory_order_acquire);
        }
        bool right = true;
        for (uint64_t i = 0; i < batch; i++) {
            right &= words_right(lines->lines[(s + i) & (SLOTS - 1)], words, s + i);
        }
        CHECK(right);
        atomic_store_explicit(&lines->released, s + batch, memory_order_release);
    }
    clock_tick(&clock, stream->chunks * CHUNK);
}

static void write_lines_56(const struct stream *stream)
{
    write_lines(stream, 7);
}

static void read_lines_56(const struct stream *stream)
{
    read_lines(stream, 7);
}

static void write_lines_64(const struct stream *stream)
{
    write_lines(stream, 8);
}

static void read_lines_64(const struct stream *stream)
{
    read_lines(stream, 8);
}

/* ---- the two processes ---- */

struct way {
    uint64_t bytes; /* of a slot of our ring; 0: a bare one */
    void (*write)(const struct stream *stream);
    void (*read)(const struct stream *stream);
    uint64_t batch;
};

static int play(struct seat *seat, void *context)
{
    struct stream stream = *(const struct stream *)context;
    const bool writes = seat_index(seat) == 0;
    if (stream.ring != NULL && writes) {
        stream.producer = ring_producer(stream.ring, SLIPRING_WAIT_SPIN);
    } else if (stream.ring != NULL) {
        stream.consumer = ring_consumer(stream.ring, SLIPRING_WAIT_SPIN);
    }
    seat_meet(seat);
    (writes ? stream.write : stream.read)(&stream);
    seat_meet(seat);
    slipring_producer_detach(stream.producer);
    slipring_consumer_detach(stream.consumer);
    return 0;
}

static int flow(const struct run *run, const void *context)
{
    const struct way *way = context;
    struct stream stream = {.run = run,
                            .chunks = run->quick ? 100 : 400,
                            .batch = way->batch,
                            .write = way->write,
                            .read = way->read,
                            .bare = shared_new(sizeof *stream.bare),
                            .lines = shared_new(sizeof *stream.lines)};
    bare_init(stream.bare);
    if (way->bytes != 0) {
        stream.ring = ring_simple(way->bytes, SLOTS);
    }
    const int result = team_run(2, play, &stream);
    slipring_ring_close(stream.ring);
    shared_free(stream.bare, sizeof *stream.bare);
    shared_free(stream.lines, sizeof *stream.lines);
    return result;
}

static void measure_batches(struct bench *bench)
{
    static const uint64_t batches[] = {4, 16, 64, 256};
    for (unsigned i = 0; i < sizeof batches / sizeof *batches; i++) {
        char name[BENCH_NAME_BYTES];
        snprintf(name, sizeof name, "rate_56B_batch%u", (unsigned)batches[i]);
        const struct way ours = {56, write_batches_56, read_batches_56, batches[i]};
        const struct way lines = {0, write_lines_56, read_lines_56, batches[i]};
        const struct measure measure = {
            .name = name,
            .unit = "1/s",
            .floor = 1,
            .contenders = {{"slipring", flow, &ours}, {"bare lines", flow, &lines}}};
        bench_measure(bench, &measure);
    }
}

void perf_1to1_rate(struct bench *bench)
{
    static const struct way by_inline = {56, write_inline, read_inline, 1};
    static const struct way by_shared = {56, write_shared, read_shared, 1};
    static const struct way by_bare = {0, write_bare, read_bare, 1};
    static const struct way batches_64 = {64, write_batches_64, read_batches_64, 64};
    static const struct way lines_64 = {0, write_lines_64, read_lines_64, 64};
    const struct measure measures[] = {
        {.name = "rate_56B_single",
         .unit = "1/s",
         .floor = 1,
         .contenders = {{"slipring", flow, &by_inline}, {"bare ring", flow, &by_bare}}},
        {.name = "rate_56B_single_shared",
         .unit = "1/s",
         .floor = 1,
         .contenders = {{"slipring", flow, &by_shared}, {"bare ring", flow, &by_bare}}},
        {.name = "rate_64B_batch64",
         .unit = "1/s",
         .floor = 1,
         .contenders = {{"slipring", flow, &batches_64}, {"bare lines", flow, &lines_64}}},
    };
    for (unsigned i = 0; i < sizeof measures / sizeof *measures; i++) {
        bench_measure(bench, &measures[i]);
    }
    measure_batches(bench);
}
