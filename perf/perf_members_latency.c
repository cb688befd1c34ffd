/* SPDX-License-Identifier: Apache-2.0 */
/*
 * consumers_1_to_1000         cost of a publish with 1000 ordered consumers, over whole laps of the
 *                             ring: each lap uses the cached gate up, so each has one look at all
 *                             of them. The consumers, in another process, drain the ring between
 *                             the laps.
 * consumers_1_to_1000_cached  the same over the second half of each lap, in which the gate is cached
 * consumers_1_to_1000_of_N, consumers_1_to_1000_cached_of_N   with N consumers: 1, 10, 100
 *
 * Floor: the same with one consumer. The payload is read in the last lap only: moving it between
 * the processors costs more than what is measured here, however many consumers there are.
 */
#include "common.h"

#define SLOTS 1024u
#define MOST 1000

struct crowd {
    _Alignas(BENCH_PAD) _Atomic uint64_t written; /* laps */
    _Alignas(BENCH_PAD) _Atomic uint64_t drained;
    const struct run *run;
    struct slipring_ring *ring;
    int members;
    bool cached;
    uint64_t laps;
};

struct way {
    int members;
    bool cached;
};

static void write_half(struct slipring_fast *fast, uint64_t first)
{
    for (uint64_t s = first; s < first + SLOTS / 2; s++) {
        void *data;
        CHECK(slipring_fast_try_claim(fast, 1, &data) == 0);
        words_fill(data, 7, s);
        CHECK(slipring_fast_publish(fast, 1) == 0);
    }
}

static void wait_for(_Atomic uint64_t *word, uint64_t value)
{
    while (atomic_load_explicit(word, memory_order_acquire) != value) {
    }
}

static void produce(struct crowd *crowd, struct slipring_fast *fast)
{
    for (uint64_t lap = 0; lap < crowd->laps; lap++) {
        wait_for(&crowd->drained, lap);
        const int64_t start = now_ns();
        write_half(fast, lap * SLOTS);
        const int64_t half = now_ns();
        write_half(fast, lap * SLOTS + SLOTS / 2);
        const int64_t end = now_ns();
        if (lap != 0) { /* the first finds the ring empty */
            samples_add(crowd->run->chunks, crowd->cached ? (double)(end - half) / (SLOTS / 2)
                                                          : (double)(end - start) / SLOTS);
        }
        atomic_store_explicit(&crowd->written, lap + 1, memory_order_release);
    }
}

static void drain(struct slipring_fast *fast, uint64_t lap, bool check)
{
    const void *data;
    uint64_t left = SLOTS;
    while (left > 0) {
        const int64_t count = slipring_fast_try_acquire(fast, left, &data);
        CHECK(count > 0);
        for (uint64_t i = 0; check && i < (uint64_t)count; i++) {
            CHECK(words_right((const uint8_t *)data + i * fast->payload_stride, 7,
                              lap * SLOTS + SLOTS - left + i));
        }
        CHECK(slipring_fast_release(fast, (uint64_t)count) == 0);
        left -= (uint64_t)count;
    }
}

static void consume(struct crowd *crowd, struct slipring_consumer *const *consumers)
{
    for (uint64_t lap = 0; lap < crowd->laps; lap++) {
        wait_for(&crowd->written, lap + 1);
        for (int i = 0; i < crowd->members; i++) {
            drain(slipring_consumer_fast(consumers[i]), lap, lap + 1 == crowd->laps);
        }
        atomic_store_explicit(&crowd->drained, lap + 1, memory_order_release);
    }
}

static int play(struct seat *seat, void *context)
{
    static struct slipring_consumer *consumers[MOST];
    struct crowd *crowd = context;
    struct slipring_producer *producer = NULL;
    const bool writes = seat_index(seat) == 0;
    if (writes) {
        producer = ring_producer(crowd->ring, SLIPRING_WAIT_SPIN);
    }
    for (int i = 0; !writes && i < crowd->members; i++) {
        consumers[i] = ring_consumer(crowd->ring, SLIPRING_WAIT_SPIN);
    }
    seat_meet(seat);
    if (writes) {
        produce(crowd, slipring_producer_fast(producer));
    } else {
        consume(crowd, consumers);
    }
    seat_meet(seat);
    slipring_producer_detach(producer);
    for (int i = 0; i < MOST; i++) {
        slipring_consumer_detach(consumers[i]);
    }
    return 0;
}

static int ours(const struct run *run, const void *context)
{
    const struct way *way = context;
    struct crowd *crowd = shared_new(sizeof *crowd);
    crowd->run = run;
    crowd->ring = ring_simple(56, SLOTS);
    crowd->members = way->members;
    crowd->cached = way->cached;
    crowd->laps = run->quick ? 600 : 5000;
    const int result = team_run(2, play, crowd);
    slipring_ring_close(crowd->ring);
    shared_free(crowd, sizeof *crowd);
    return result;
}

void perf_members_latency(struct bench *bench)
{
    static const struct way alone[] = {{1, false}, {1, true}};
    for (int members = 1; members <= MOST; members *= 10) {
        for (int cached = 0; cached < 2; cached++) {
            char name[BENCH_NAME_BYTES], of[16] = "";
            if (members != MOST) {
                snprintf(of, sizeof of, "_of_%d", members);
            }
            snprintf(name, sizeof name, "consumers_1_to_1000%s%s", cached ? "_cached" : "", of);
            const struct way way = {members, cached != 0};
            const struct measure measure = {
                .name = name,
                .unit = "ns",
                .floor = members == 1 ? BENCH_NO_FLOOR : 1,
                .contenders = {{"slipring", ours, &way},
                               {members == 1 ? NULL : "one consumer", ours, &alone[cached]}}};
            bench_measure(bench, &measure);
        }
    }
}
