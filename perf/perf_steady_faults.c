/* SPDX-License-Identifier: Apache-2.0 */
/*
 * steady_faults        page faults per hundred messages, of both processes, once warm
 * steady_faults_bytes  bytes per message asked of the allocator, by both
 *
 * Warm is after three times around the ring. Slots of 64 KiB, written whole and read whole, single
 * and in blocks, waiting in the default way.
 */
#include "common.h"
#include "interposed.h"

#include <string.h>
#include <sys/resource.h>

#define SLOTS 64u
#define SLOT_BYTES (UINT64_C(1) << 16)
#define WORDS ((unsigned)(SLOT_BYTES / sizeof(uint64_t)))
#define WARM (3 * SLOTS)
#define BLOCK 8u

struct flow {
    _Alignas(BENCH_PAD) _Atomic uint64_t faults;
    _Atomic uint64_t bytes;
    const struct run *run;
    struct slipring_ring *ring;
    uint64_t messages;
    bool count_bytes;
};

static uint64_t own_faults(void)
{
    struct rusage usage;
    CHECK(getrusage(RUSAGE_SELF, &usage) == 0);
    return (uint64_t)(usage.ru_minflt + usage.ru_majflt);
}

static void produce(struct slipring_producer *producer, uint64_t first, uint64_t messages)
{
    for (uint64_t s = first; s < first + messages;) {
        struct slipring_loan loan;
        const uint64_t n = s / BLOCK % 2 == 0 ? BLOCK : 1;
        CHECK(slipring_producer_claim(producer, n, &loan, SLIPRING_FOREVER) == 0);
        for (uint64_t i = 0; i < n; i++) {
            words_fill((uint8_t *)loan.data + i * loan.stride, WORDS, s + i);
        }
        CHECK(slipring_producer_publish(producer, n, NULL) == 0);
        s += n;
    }
}

static void consume(struct slipring_consumer *consumer, uint64_t first, uint64_t messages)
{
    for (uint64_t s = first; s < first + messages;) {
        struct slipring_view view;
        const uint64_t left = first + messages - s;
        const uint64_t n = s / BLOCK % 2 == 0 ? 1 : BLOCK;
        CHECK(slipring_consumer_acquire(consumer, n < left ? n : left, &view, SLIPRING_FOREVER) ==
              0);
        for (uint64_t i = 0; i < view.slots; i++) {
            CHECK(words_right((const uint8_t *)view.data + i * view.stride, WORDS, s + i));
        }
        CHECK(slipring_consumer_release(consumer, &view) == 0);
        s += view.slots;
    }
}

static void move(struct slipring_producer *producer, struct slipring_consumer *consumer,
                 uint64_t first, uint64_t messages)
{
    if (producer != NULL) {
        produce(producer, first, messages);
    } else {
        consume(consumer, first, messages);
    }
}

static int play(struct seat *seat, void *context)
{
    struct flow *flow = context;
    struct slipring_producer *producer = NULL;
    struct slipring_consumer *consumer = NULL;
    if (seat_index(seat) == 0) {
        producer = ring_producer(flow->ring, SLIPRING_WAIT_ADAPTIVE);
    } else {
        consumer = ring_consumer(flow->ring, SLIPRING_WAIT_ADAPTIVE);
    }
    (void)own_faults();
    (void)allocated_bytes();
    seat_meet(seat);
    move(producer, consumer, 0, WARM);
    seat_meet(seat);
    const uint64_t faults = own_faults();
    const uint64_t bytes = allocated_bytes();
    move(producer, consumer, WARM, flow->messages);
    const uint64_t faults_after = own_faults();
    const uint64_t bytes_after = allocated_bytes();
    atomic_fetch_add(&flow->faults, faults_after - faults);
    atomic_fetch_add(&flow->bytes, bytes_after - bytes);
    seat_meet(seat);
    if (producer != NULL) {
        const double n = (double)flow->messages;
        samples_add(flow->run->chunks, flow->count_bytes ? (double)atomic_load(&flow->bytes) / n
                                                         : 100 * (double)flow->faults / n);
    }
    slipring_producer_detach(producer);
    slipring_consumer_detach(consumer);
    return 0;
}

/* An allocation and a fresh page must be seen, or nothing is said by counting none. */
static void check_counters(void)
{
    const uint64_t faults = own_faults();
    const uint64_t bytes = allocated_bytes();
    char *volatile memory = __builtin_malloc(1 << 20);
    CHECK(memory != NULL);
    memset(memory, 1, 1 << 20);
    CHECK(own_faults() > faults && allocated_bytes() == bytes + (1 << 20));
    __builtin_free(memory);
}

static int ours(const struct run *run, const void *context)
{
    check_counters();
    struct flow *flow = shared_new(sizeof *flow);
    flow->run = run;
    flow->count_bytes = *(const bool *)context;
    flow->messages = run->quick ? 8 * 1024 : 128 * 1024;
    flow->ring = ring_simple(SLOT_BYTES, SLOTS);
    const int result = team_run(2, play, flow);
    slipring_ring_close(flow->ring);
    shared_free(flow, sizeof *flow);
    return result;
}

void perf_steady_faults(struct bench *bench)
{
    static const bool faults = false, bytes = true;
    const struct measure measures[] = {
        {.name = "steady_faults",
         .unit = "%",
         .floor = BENCH_NO_FLOOR,
         .contenders = {{"slipring", ours, &faults}}},
        {.name = "steady_faults_bytes",
         .unit = "B",
         .floor = BENCH_NO_FLOOR,
         .contenders = {{"slipring", ours, &bytes}}},
    };
    bench_measure(bench, &measures[0]);
    bench_measure(bench, &measures[1]);
}
