/* SPDX-License-Identifier: Apache-2.0 */
/*
 * broadcast_4_*: messages per second that each of four consumers receives, every message written
 * word by word in place, read in place and checked by all four. Timed from the start of all to the
 * end of the last, so a consumer without a processor counts. Where there are fewer processors than
 * processes the consumers share them and yield when they find nothing. No floor: what a bare
 * broadcast is depends on what it leaves out.
 */
#include "common.h"

#include <errno.h>
#include <sched.h>

#define CONSUMERS 4
#define SLOTS 1024u
#define WORDS 7u

struct broadcast {
    const struct run *run;
    struct slipring_ring *ring;
    uint64_t batch, messages, windows;
};

/* Who finds nothing lets the others run, where they share processors. */
static void yield(void)
{
    if (bench_processors() <= CONSUMERS) {
        sched_yield();
    }
}

static void write_window(struct slipring_fast *fast, uint64_t first, uint64_t messages,
                         uint64_t batch)
{
    const uint64_t stride = fast->payload_stride;
    for (uint64_t s = first; s < first + messages; s += batch) {
        void *data;
        while (slipring_fast_try_claim(fast, batch, &data) != 0) {
        }
        for (uint64_t i = 0; i < batch; i++) {
            words_fill((uint8_t *)data + i * stride, WORDS, s + i);
        }
        CHECK(slipring_fast_publish(fast, batch) == 0);
    }
}

static void read_window(struct slipring_fast *fast, uint64_t first, uint64_t messages,
                        uint64_t batch)
{
    const uint64_t stride = fast->payload_stride;
    for (uint64_t s = first; s < first + messages;) {
        const uint64_t left = first + messages - s;
        const void *data;
        int64_t count;
        while ((count = slipring_fast_try_acquire(fast, left < batch ? left : batch, &data)) ==
               -EAGAIN) {
            yield();
        }
        CHECK(count > 0);
        bool right = true;
        for (uint64_t i = 0; i < (uint64_t)count; i++) {
            right &= words_right((const uint8_t *)data + i * stride, WORDS, s + i);
        }
        CHECK(right && slipring_fast_release(fast, (uint64_t)count) == 0);
        s += (uint64_t)count;
    }
}

static int play(struct seat *seat, void *context)
{
    const struct broadcast *cast = context;
    struct slipring_producer *producer = NULL;
    struct slipring_consumer *consumer = NULL;
    if (seat_index(seat) == 0) {
        producer = ring_producer(cast->ring, SLIPRING_WAIT_SPIN);
    } else {
        consumer = ring_consumer(cast->ring, SLIPRING_WAIT_SPIN);
    }
    for (uint64_t w = 0; w < cast->windows; w++) {
        const uint64_t first = w * cast->messages;
        const int64_t start = seat_meet(seat);
        if (producer != NULL) {
            write_window(slipring_producer_fast(producer), first, cast->messages, cast->batch);
        } else {
            read_window(slipring_consumer_fast(consumer), first, cast->messages, cast->batch);
        }
        const int64_t end = seat_meet(seat);
        if (producer != NULL) {
            samples_add(cast->run->chunks, (double)cast->messages * 1e9 / (double)(end - start));
        }
    }
    slipring_producer_detach(producer);
    slipring_consumer_detach(consumer);
    return 0;
}

static int ours(const struct run *run, const void *context)
{
    struct broadcast cast = {.run = run,
                             .ring = ring_simple(WORDS * sizeof(uint64_t), SLOTS),
                             .batch = *(const uint64_t *)context,
                             .messages = UINT64_C(1) << (run->quick ? 18 : 22),
                             .windows = run->quick ? 4 : 8};
    const int result = team_run(1 + CONSUMERS, play, &cast);
    slipring_ring_close(cast.ring);
    return result;
}

void perf_1to4_rate(struct bench *bench)
{
    static const uint64_t one = 1, batch = 64;
    const struct measure measures[] = {
        {.name = "broadcast_4_batch64",
         .unit = "1/s",
         .floor = BENCH_NO_FLOOR,
         .contenders = {{"slipring", ours, &batch}}},
        {.name = "broadcast_4_single",
         .unit = "1/s",
         .floor = BENCH_NO_FLOOR,
         .contenders = {{"slipring", ours, &one}}},
    };
    bench_measure(bench, &measures[0]);
    bench_measure(bench, &measures[1]);
}
