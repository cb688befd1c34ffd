/* SPDX-License-Identifier: Apache-2.0 */
/*
 * group_4_batch16: messages per second that a group of four members shares out, each message to
 * one of them, published and taken in blocks of up to 16. That none was lost or given twice is
 * known from the count and from the sum of all sequences read. Timed from the start of all to the
 * end of the stream at the last member.
 */
#include "common.h"

#include <errno.h>
#include <sched.h>

#define MEMBERS 4
#define SLOTS 1024u
#define WORDS 7u
#define BATCH 16u

struct sharing {
    _Alignas(BENCH_PAD) _Atomic uint64_t count;
    _Atomic uint64_t sum;
    const struct run *run;
    struct slipring_ring *ring;
    uint64_t messages;
};

/* Who finds nothing lets the others run, where they share processors. */
static void yield(void)
{
    if (bench_processors() <= MEMBERS) {
        sched_yield();
    }
}

static void write_all(const struct sharing *sharing)
{
    struct slipring_producer *producer = ring_producer(sharing->ring, SLIPRING_WAIT_SPIN);
    for (uint64_t s = 0; s < sharing->messages; s += BATCH) {
        struct slipring_loan loan;
        while (slipring_producer_try_claim(producer, BATCH, &loan) != 0) {
        }
        for (uint64_t i = 0; i < BATCH; i++) {
            words_fill((uint8_t *)loan.data + i * loan.stride, WORDS, s + i);
        }
        CHECK(slipring_producer_publish(producer, BATCH, NULL) == 0);
    }
    slipring_producer_close(producer);
}

static void read_some(struct sharing *sharing, struct slipring_consumer *consumer)
{
    uint64_t count = 0;
    uint64_t sum = 0;
    for (;;) {
        struct slipring_view view;
        const int code = slipring_consumer_try_acquire(consumer, BATCH, &view);
        if (code == -EAGAIN) {
            yield();
            continue;
        }
        if (code == -EPIPE) {
            break;
        }
        CHECK(code == 0);
        for (uint64_t i = 0; i < view.slots; i++) {
            CHECK(words_right((const uint8_t *)view.data + i * view.stride, WORDS,
                              view.slot.sequence + i));
            sum += view.slot.sequence + i;
        }
        count += view.slots;
        CHECK(slipring_consumer_release(consumer, &view) == 0);
    }
    atomic_fetch_add(&sharing->count, count);
    atomic_fetch_add(&sharing->sum, sum);
}

static struct slipring_consumer *join(struct slipring_ring *ring)
{
    struct slipring_consumer_config config;
    struct slipring_consumer *consumer;
    struct slipring_error error = {0};
    slipring_consumer_config_init(&config);
    config.group = "workers";
    config.flags = SLIPRING_MANY;
    if (slipring_consumer_attach(ring, &config, &consumer, &error) != 0) {
        FAIL("%s: %s", error.call, error.text);
    }
    return consumer;
}

static int play(struct seat *seat, void *context)
{
    struct sharing *sharing = context;
    if (seat_index(seat) != 0) {
        struct slipring_consumer *consumer = join(sharing->ring);
        seat_meet(seat);
        read_some(sharing, consumer);
        seat_meet(seat);
        slipring_consumer_detach(consumer);
        return 0;
    }
    const int64_t start = seat_meet(seat);
    write_all(sharing);
    const int64_t end = seat_meet(seat);
    const uint64_t n = sharing->messages;
    samples_add(sharing->run->chunks, (double)n * 1e9 / (double)(end - start));
    CHECK(atomic_load(&sharing->count) == n && atomic_load(&sharing->sum) == n * (n - 1) / 2);
    return 0;
}

static int ours(const struct run *run, const void *context)
{
    (void)context;
    struct sharing *sharing = shared_new(sizeof *sharing);
    int result = 0;
    for (int window = 0; window < 4 && result == 0; window++) {
        atomic_store(&sharing->count, 0);
        atomic_store(&sharing->sum, 0);
        sharing->run = run;
        sharing->messages = UINT64_C(1) << (run->quick ? 18 : 21);
        sharing->ring = ring_simple(WORDS * sizeof(uint64_t), SLOTS);
        result = team_run(1 + MEMBERS, play, sharing);
        slipring_ring_close(sharing->ring);
    }
    shared_free(sharing, sizeof *sharing);
    return result;
}

void perf_group4_rate(struct bench *bench)
{
    const struct measure measure = {.name = "group_4_batch16",
                                    .unit = "1/s",
                                    .floor = BENCH_NO_FLOOR,
                                    .contenders = {{"slipring", ours, NULL}}};
    bench_measure(bench, &measure);
}
