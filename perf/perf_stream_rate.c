/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stream_*: bytes per second through slots of that size: written in place by memcpy, read in place
 * (all words summed, the sum checked), four slots. Floor: a bare handshake, one word each way, with
 * the same copies and reads. Beside it the plain memcpy into as many warm slots, with no reader.
 */
#include "sizes.h"

#include <errno.h>

#define SLOTS 4u
#define CHUNK_BYTES (UINT64_C(1) << 22) /* or one message, if that is more */

enum how { OURS, HANDSHAKE, PLAIN };

struct way {
    enum how how;
    uint64_t bytes;
};

struct stream {
    _Alignas(BENCH_PAD) _Atomic uint64_t cursor; /* the two flags of the handshake */
    _Alignas(BENCH_PAD) _Atomic uint64_t released;
    const struct run *run;
    struct way way;
    struct slipring_ring *ring;
    uint8_t *memory;          /* bare: the slots */
    uint64_t messages, chunk; /* chunk: messages */
};

static void clock_tick(const struct stream *stream, uint64_t sequence, int64_t *start)
{
    if (sequence % stream->chunk == 0) {
        const int64_t now = now_ns();
        if (sequence > SLOTS) { /* the first time around is to warm up */
            const uint64_t bytes = stream->chunk * stream->way.bytes;
            samples_add(stream->run->chunks, (double)bytes / (double)(now - *start));
        }
        *start = now_ns();
    }
}

static void write_ours(const struct stream *stream, const uint64_t *source,
                       struct slipring_producer *producer)
{
    for (uint64_t s = 0; s < stream->messages; s++) {
        struct slipring_loan loan;
        while (slipring_producer_try_claim(producer, 1, &loan) != 0) {
        }
        copy_in(loan.data, source, stream->way.bytes, s);
        CHECK(slipring_producer_publish(producer, 1, NULL) == 0);
    }
}

static void read_ours(const struct stream *stream, uint64_t base,
                      struct slipring_consumer *consumer)
{
    int64_t start = 0;
    for (uint64_t s = 0; s < stream->messages; s++) {
        struct slipring_view view;
        int code;
        clock_tick(stream, s, &start);
        while ((code = slipring_consumer_try_acquire(consumer, 1, &view)) == -EAGAIN) {
        }
        CHECK(code == 0 && sum_words(view.data, stream->way.bytes) == base + s);
        CHECK(slipring_consumer_release(consumer, &view) == 0);
    }
    clock_tick(stream, stream->messages, &start);
}

static void write_bare(struct stream *stream, const uint64_t *source)
{
    int64_t start = 0;
    const bool alone = stream->way.how == PLAIN;
    for (uint64_t s = 0; s < stream->messages; s++) {
        if (alone) {
            clock_tick(stream, s, &start);
        }
        while (!alone &&
               s - atomic_load_explicit(&stream->released, memory_order_acquire) == SLOTS) {
        }
        copy_in(stream->memory + s % SLOTS * stream->way.bytes, source, stream->way.bytes, s);
        atomic_store_explicit(&stream->cursor, s + 1, memory_order_release);
    }
    if (alone) {
        clock_tick(stream, stream->messages, &start);
    }
}

static void read_bare(struct stream *stream, uint64_t base)
{
    int64_t start = 0;
    for (uint64_t s = 0; s < stream->messages; s++) {
        clock_tick(stream, s, &start);
        while (atomic_load_explicit(&stream->cursor, memory_order_acquire) == s) {
        }
        CHECK(sum_words(stream->memory + s % SLOTS * stream->way.bytes, stream->way.bytes) ==
              base + s);
        atomic_store_explicit(&stream->released, s + 1, memory_order_release);
    }
    clock_tick(stream, stream->messages, &start);
}

static int play(struct seat *seat, void *context)
{
    struct stream *stream = context;
    const bool writes = seat_index(seat) == 0;
    uint64_t *source = source_new(stream->way.bytes);
    const uint64_t base = sum_words(source, stream->way.bytes);
    struct slipring_producer *producer = NULL;
    struct slipring_consumer *consumer = NULL;
    if (stream->way.how == OURS && writes) {
        producer = ring_producer(stream->ring, SLIPRING_WAIT_SPIN);
    } else if (stream->way.how == OURS) {
        consumer = ring_consumer(stream->ring, SLIPRING_WAIT_SPIN);
    } else { /* mapped in this process too, as attaching does it */
        (void)*(volatile uint64_t *)stream->memory;
        CHECK(sum_words(stream->memory, SLOTS * stream->way.bytes) == 0);
    }
    seat_meet(seat);
    if (producer != NULL) {
        write_ours(stream, source, producer);
    } else if (consumer != NULL) {
        read_ours(stream, base, consumer);
    } else if (writes) {
        write_bare(stream, source);
    } else {
        read_bare(stream, base);
    }
    seat_meet(seat);
    slipring_producer_detach(producer);
    slipring_consumer_detach(consumer);
    free(source);
    return 0;
}

static int flow(const struct run *run, const void *context)
{
    const struct way *way = context;
    struct stream *stream = shared_new(sizeof *stream);
    stream->run = run;
    stream->way = *way;
    stream->chunk = way->bytes < CHUNK_BYTES ? CHUNK_BYTES / way->bytes : 1;
    stream->messages = stream->chunk * (way->bytes < CHUNK_BYTES ? (run->quick ? 300 : 1500)
                                                                 : (run->quick ? 16 : 60));
    if (way->how == OURS) {
        stream->ring = ring_simple(way->bytes, SLOTS);
    } else {
        stream->memory = shared_new(SLOTS * way->bytes);
    }
    const int result = team_run(way->how == PLAIN ? 1 : 2, play, stream);
    if (way->how == OURS) {
        slipring_ring_close(stream->ring);
    } else {
        shared_free(stream->memory, SLOTS * way->bytes);
    }
    shared_free(stream, sizeof *stream);
    return result;
}

void perf_stream_rate(struct bench *bench)
{
    static const struct way ways[2][3] = {
        {{OURS, 1 << 20}, {HANDSHAKE, 1 << 20}, {PLAIN, 1 << 20}},
        {{OURS, 1 << 26}, {HANDSHAKE, 1 << 26}, {PLAIN, 1 << 26}},
    };
    static const char *const names[2] = {"stream_1MiB", "stream_64MiB"};
    for (int i = 0; i < 2; i++) {
        const struct measure measure = {
            .name = names[i],
            .unit = "GB/s",
            .floor = 1,
            .contenders = {{"slipring", flow, &ways[i][OURS]},
                           {"bare handshake", flow, &ways[i][HANDSHAKE]},
                           {"plain memcpy", flow, &ways[i][PLAIN]}}};
        bench_measure(bench, &measure);
    }
}
