/* SPDX-License-Identifier: Apache-2.0 */
/*
 * size_*: messages per second by size: each copied in from the writer's own memory and read by the
 * reader, all words summed and the sum checked. Ours through the functions of the library, one by
 * one, into slots that are read in place; a pipe and a socket pair copy in and out again; a queue
 * of pickles (multiprocessing.Queue) pickles, copies, copies and unpickles. Floor: a bare
 * handshake, one word each way, with the same copies and reads. The slots take 4 MiB together, but
 * are four at least and 1024 at most.
 */
#include "sizes.h"

#include <errno.h>

#define AREA_BYTES (UINT64_C(1) << 22)

struct flow {
    _Alignas(BENCH_PAD) _Atomic uint64_t cursor; /* the two flags of the handshake */
    _Alignas(BENCH_PAD) _Atomic uint64_t released;
    const struct run *run;
    struct slipring_ring *ring; /* NULL: bare */
    uint8_t *memory;            /* bare: the slots */
    uint64_t bytes, slots, chunk, messages;
};

struct way {
    bool bare;
    uint64_t bytes;
};

static void write_ours(const struct flow *flow, const uint64_t *source)
{
    struct slipring_producer *producer = ring_producer(flow->ring, SLIPRING_WAIT_SPIN);
    for (uint64_t s = 0; s < flow->messages; s++) {
        struct slipring_loan loan;
        while (slipring_producer_try_claim(producer, 1, &loan) != 0) {
        }
        copy_in(loan.data, source, flow->bytes, s);
        CHECK(slipring_producer_publish(producer, 1, NULL) == 0);
    }
    slipring_producer_close(producer);
}

static void read_ours(const struct flow *flow, struct slipring_consumer *consumer, uint64_t base)
{
    int64_t start = 0;
    for (uint64_t s = 0; s < flow->messages; s++) {
        struct slipring_view view;
        int code;
        size_tick(flow->run, flow->chunk, s, &start);
        while ((code = slipring_consumer_try_acquire(consumer, 1, &view)) == -EAGAIN) {
        }
        CHECK(code == 0 && sum_words(view.data, flow->bytes) == base + s);
        CHECK(slipring_consumer_release(consumer, &view) == 0);
    }
    size_tick(flow->run, flow->chunk, flow->messages, &start);
    slipring_consumer_detach(consumer);
}

static void write_bare(struct flow *flow, const uint64_t *source)
{
    for (uint64_t s = 0; s < flow->messages; s++) {
        while (s - atomic_load_explicit(&flow->released, memory_order_acquire) == flow->slots) {
        }
        copy_in(flow->memory + s % flow->slots * flow->bytes, source, flow->bytes, s);
        atomic_store_explicit(&flow->cursor, s + 1, memory_order_release);
    }
}

static void read_bare(struct flow *flow, uint64_t base)
{
    int64_t start = 0;
    for (uint64_t s = 0; s < flow->messages; s++) {
        size_tick(flow->run, flow->chunk, s, &start);
        while (atomic_load_explicit(&flow->cursor, memory_order_acquire) == s) {
        }
        CHECK(sum_words(flow->memory + s % flow->slots * flow->bytes, flow->bytes) == base + s);
        atomic_store_explicit(&flow->released, s + 1, memory_order_release);
    }
    size_tick(flow->run, flow->chunk, flow->messages, &start);
}

static int play(struct seat *seat, void *context)
{
    struct flow *flow = context;
    const bool writes = seat_index(seat) == 0;
    uint64_t *source = source_new(flow->bytes);
    const uint64_t base = sum_words(source, flow->bytes);
    struct slipring_consumer *consumer = NULL;
    if (flow->ring == NULL) { /* mapped in this process too, as attaching does it */
        CHECK(sum_words(flow->memory, flow->slots * flow->bytes) == 0);
    } else if (!writes) {
        consumer = ring_consumer(flow->ring, SLIPRING_WAIT_SPIN);
    }
    seat_meet(seat);
    if (flow->ring != NULL) {
        writes ? write_ours(flow, source) : read_ours(flow, consumer, base);
    } else {
        writes ? write_bare(flow, source) : read_bare(flow, base);
    }
    seat_meet(seat);
    free(source);
    return 0;
}

static int stream(const struct run *run, const void *context)
{
    const struct way *way = context;
    struct flow *flow = shared_new(sizeof *flow);
    flow->run = run;
    flow->bytes = way->bytes;
    flow->slots = AREA_BYTES / way->bytes;
    flow->slots = flow->slots < 4 ? 4 : flow->slots > 1024 ? 1024 : flow->slots;
    flow->chunk = size_chunk(way->bytes);
    flow->messages = flow->chunk * size_chunks(run, way->bytes);
    if (way->bare) {
        flow->memory = shared_new(flow->slots * flow->bytes);
    } else {
        flow->ring = ring_simple(flow->bytes, flow->slots);
    }
    const int result = team_run(2, play, flow);
    if (way->bare) {
        shared_free(flow->memory, flow->slots * flow->bytes);
    }
    slipring_ring_close(flow->ring);
    shared_free(flow, sizeof *flow);
    return result;
}

void perf_size_rate(struct bench *bench)
{
    for (int i = 0; i < SIZES; i++) {
        const struct way ours = {false, sizes[i].bytes}, bare = {true, sizes[i].bytes};
        const struct measure measure = {
            .name = sizes[i].name,
            .unit = "1/s",
            .floor = 1,
            .contenders = {{"slipring", stream, &ours}, {"bare handshake", stream, &bare}}};
        bench_measure(bench, &measure);
    }
}
