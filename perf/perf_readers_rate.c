/* SPDX-License-Identifier: Apache-2.0 */
/*
 * readers_in_place_N: bytes per second that N readers read in place, together: slots of 1 MiB, all
 * words summed and the sum checked, a producer that publishes without touching them. Timed from
 * the start of all to the end of the last. Floor: N processes that read the same memory in the same
 * order with no ring.
 */
#include "common.h"

#include <string.h>

#define SLOTS 8u
#define SLOT_BYTES (UINT64_C(1) << 20)
#define WORDS (SLOT_BYTES / sizeof(uint64_t))
#define READERS_MAX 8

struct reading {
    const struct run *run;
    struct slipring_ring *ring; /* NULL: bare */
    uint8_t *memory;
    int readers;
    uint64_t messages, windows;
};

struct way {
    bool bare;
    int readers;
};

/* The words of slot i are i, so that each sum is known. Not inlined: of two copies of the loop the
 * one that lay badly in its lines took twice as long. */
__attribute__((noinline)) static void check_slot(const void *data, uint64_t slot)
{
    const uint64_t *word = data;
    uint64_t sum = 0;
    for (uint64_t i = 0; i < WORDS; i++) {
        sum += word[i];
    }
    CHECK(sum == slot * WORDS);
}

static void fill_slot(void *data, uint64_t slot)
{
    uint64_t *word = data;
    for (uint64_t i = 0; i < WORDS; i++) {
        word[i] = slot;
    }
}

static void produce(const struct reading *reading, struct slipring_producer *producer, bool fill)
{
    const uint64_t messages = fill ? SLOTS : reading->messages;
    for (uint64_t i = 0; i < messages; i++) {
        struct slipring_loan loan;
        CHECK(slipring_producer_claim(producer, 1, &loan, SLIPRING_FOREVER) == 0);
        if (fill) {
            fill_slot(loan.data, loan.sequence % SLOTS);
        }
        CHECK(slipring_producer_publish(producer, 1, NULL) == 0);
    }
}

static void consume(const struct reading *reading, struct slipring_consumer *consumer,
                    uint64_t messages)
{
    for (uint64_t i = 0; i < messages; i++) {
        struct slipring_view view;
        if (consumer == NULL) {
            check_slot(reading->memory + i % SLOTS * SLOT_BYTES, i % SLOTS);
            continue;
        }
        CHECK(slipring_consumer_acquire(consumer, 1, &view, SLIPRING_FOREVER) == 0);
        check_slot(view.data, view.slot.sequence % SLOTS);
        CHECK(slipring_consumer_release(consumer, &view) == 0);
    }
}

/* The window from the meeting before to the meeting after. */
static void run_windows(struct seat *seat, const struct reading *reading,
                        struct slipring_producer *producer, struct slipring_consumer *consumer,
                        int reader)
{
    for (uint64_t w = 0; w < reading->windows; w++) {
        const int64_t start = seat_meet(seat);
        if (producer != NULL) {
            produce(reading, producer, false);
        } else {
            consume(reading, consumer, reading->messages);
        }
        const int64_t end = seat_meet(seat);
        if (reader == 0) {
            const uint64_t bytes = (uint64_t)reading->readers * reading->messages * SLOT_BYTES;
            samples_add(reading->run->chunks, (double)bytes / (double)(end - start));
        }
    }
}

static int play(struct seat *seat, void *context)
{
    const struct reading *reading = context;
    const bool bare = reading->ring == NULL;
    const int reader = seat_index(seat) - (bare ? 0 : 1); /* -1: the producer */
    struct slipring_producer *producer = NULL;
    struct slipring_consumer *consumer = NULL;
    if (reader >= 0) { /* over all processors: at place 0 is the producer, who does little */
        bench_pin((1 + reader) % bench_processors());
    }
    if (reader < 0) {
        producer = ring_producer(reading->ring, SLIPRING_WAIT_ADAPTIVE);
    } else if (!bare) {
        consumer = ring_consumer(reading->ring, SLIPRING_WAIT_ADAPTIVE);
    }
    seat_meet(seat);
    if (producer != NULL) {
        produce(reading, producer, true);
    } else {
        consume(reading, consumer, SLOTS);
    }
    run_windows(seat, reading, producer, consumer, reader);
    slipring_producer_detach(producer);
    slipring_consumer_detach(consumer);
    return 0;
}

static int read_all(const struct run *run, const void *context)
{
    const struct way *way = context;
    struct reading reading = {.run = run,
                              .readers = way->readers,
                              .messages = (run->quick ? 256 : 1024) / (uint64_t)way->readers,
                              .windows = run->quick ? 6 : 10};
    if (way->bare) {
        reading.memory = shared_new(SLOTS * SLOT_BYTES);
        for (uint64_t i = 0; i < SLOTS; i++) {
            fill_slot(reading.memory + i * SLOT_BYTES, i);
        }
    } else {
        reading.ring = ring_simple(SLOT_BYTES, SLOTS);
    }
    const int result = team_run(way->bare ? way->readers : 1 + way->readers, play, &reading);
    if (way->bare) {
        shared_free(reading.memory, SLOTS * SLOT_BYTES);
    }
    slipring_ring_close(reading.ring);
    return result;
}

void perf_readers_rate(struct bench *bench)
{
    const int most = bench_processors() > 4 ? READERS_MAX : 4;
    for (int n = 1; n <= most; n *= 2) {
        char name[BENCH_NAME_BYTES];
        snprintf(name, sizeof name, "readers_in_place_%d", n);
        const struct way ours = {false, n};
        const struct way bare = {true, n};
        const struct measure measure = {
            .name = name,
            .unit = "GB/s",
            .floor = 1,
            .contenders = {{"slipring", read_all, &ours}, {"bare readers", read_all, &bare}}};
        bench_measure(bench, &measure);
    }
}
