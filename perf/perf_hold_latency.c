/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hold_beside_busy: a reader acquires a slot of an overwrite tensor ring, which holds it in place, and
 * releases it. Meanwhile the producer's process is busy on another processor. It writes nothing during a
 * chunk, and fills the ring between the chunks. Floor: the same in a lossless ring, where a release is
 * one store.
 */
#include "common.h"

#define SLOTS 64u
#define SLOT_BYTES 4096u

struct bout {
    _Alignas(BENCH_PAD) _Atomic uint64_t filled; /* laps */
    _Alignas(BENCH_PAD) _Atomic uint64_t read;
    const struct run *run;
    struct slipring_ring *ring;
    uint64_t laps;
};

static void wait_for(_Atomic uint64_t *word, uint64_t value)
{
    while (atomic_load_explicit(word, memory_order_acquire) != value) {
    }
}

static void fill(struct bout *bout, struct slipring_producer *producer)
{
    for (uint64_t lap = 0; lap < bout->laps; lap++) {
        wait_for(&bout->read, lap);
        for (uint64_t s = lap * SLOTS; s < (lap + 1) * SLOTS; s++) {
            struct slipring_loan loan;
            CHECK(slipring_producer_try_claim(producer, 1, &loan) == 0 && loan.sequence == s);
            words_fill(loan.data, 7, s);
            CHECK(slipring_producer_publish(producer, 1, NULL) == 0);
        }
        atomic_store_explicit(&bout->filled, lap + 1, memory_order_release);
    }
    wait_for(&bout->read, bout->laps);
}

static void hold(struct bout *bout, struct slipring_consumer *consumer)
{
    for (uint64_t lap = 0; lap < bout->laps; lap++) {
        wait_for(&bout->filled, lap + 1);
        const int64_t start = now_ns();
        for (uint64_t s = lap * SLOTS; s < (lap + 1) * SLOTS; s++) {
            struct slipring_view view;
            CHECK(slipring_consumer_try_acquire(consumer, 1, &view) == 0);
            CHECK(view.slot.sequence == s);
            CHECK(lap + 1 < bout->laps || words_right(view.data, 7, s));
            CHECK(slipring_consumer_release(consumer, &view) == 0);
        }
        if (lap != 0) { /* the first finds cold pages */
            samples_add(bout->run->chunks, (double)(now_ns() - start) / SLOTS);
        }
        atomic_store_explicit(&bout->read, lap + 1, memory_order_release);
    }
}

static int play(struct seat *seat, void *context)
{
    struct bout *bout = context;
    struct slipring_producer *producer = NULL;
    struct slipring_consumer *consumer = NULL;
    if (seat_index(seat) == 0) {
        producer = ring_producer(bout->ring, SLIPRING_WAIT_SPIN);
    } else {
        consumer = ring_consumer(bout->ring, SLIPRING_WAIT_SPIN);
    }
    seat_meet(seat);
    if (producer != NULL) {
        fill(bout, producer);
    } else {
        hold(bout, consumer);
    }
    seat_meet(seat);
    slipring_producer_detach(producer);
    slipring_consumer_detach(consumer);
    return 0;
}

static int run_ring(const struct run *run, const void *context)
{
    struct bout *bout = shared_new(sizeof *bout);
    struct slipring_config config;
    slipring_config_init(&config);
    config.slot_bytes = SLOT_BYTES;
    config.slots = SLOTS;
    config.geometry = SLIPRING_GEOMETRY_TENSOR;
    config.full = *(const uint32_t *)context;
    bout->run = run;
    bout->ring = ring_new(&config);
    bout->laps = run->quick ? 1000 : 5000;
    const int result = team_run(2, play, bout);
    slipring_ring_close(bout->ring);
    shared_free(bout, sizeof *bout);
    return result;
}

void perf_hold_latency(struct bench *bench)
{
    static const uint32_t overwrite = SLIPRING_OVERWRITE, block = SLIPRING_BLOCK;
    const struct measure measure = {
        .name = "hold_beside_busy",
        .unit = "ns",
        .floor = 1,
        .contenders = {{"slipring", run_ring, &overwrite}, {"lossless ring", run_ring, &block}}};
    bench_measure(bench, &measure);
}
