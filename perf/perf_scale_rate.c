/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scale_1_to_8       slots per second that a group of eight members works off, each taking one slot
 *                    after the other and doing 100 us of work for it. Floor: as many processes
 *                    that do the same work, as often, with no messages.
 * scale_1_to_8_of_N  the same with N members: 1, 2, 4
 * scale_1_to_8_share, scale_1_to_8_share_of_N
 *                    what of the members' time goes by in acquire and release, waiting included
 *
 * The members are spread over all processors, that of the producer among them; the ring takes all
 * that is published before they begin, so that the producer asks for no processor after that. Timed
 * to the last release. Work is a count of dependent operations, not a time: who loses its processor
 * meanwhile has as much left to do.
 */
#include "common.h"

#include <errno.h>

#define MOST 8
#define WORDS 7u
#define BATCH 64u
#define WORK_NS 100000.0

struct shift {
    _Alignas(BENCH_PAD) _Atomic uint64_t count, sum;
    _Atomic uint64_t ring_ticks, all_ticks; /* of all members */
    _Atomic int64_t end_ns;                 /* of the last work */
    const struct run *run;
    struct slipring_ring *ring; /* NULL: bare */
    int members;
    bool share;
    uint64_t messages;
};

struct way {
    int members;
    bool bare, share;
};

static uint64_t operations; /* that take WORK_NS */

static __attribute__((noinline)) uint64_t work(uint64_t count, uint64_t x)
{
    for (uint64_t i = 0; i < count; i++) {
        x = x * UINT64_C(6364136223846793005) + 1442695040888963407u;
        __asm__ volatile("" : "+r"(x)); /* one by one */
    }
    return x;
}

/* The fastest of several: other work only adds to it. */
static void calibrate(void)
{
    const uint64_t count = 100000;
    double best = 1e18;
    for (int i = 0; i < 100; i++) {
        const int64_t start = now_ns();
        (void)work(count, 1);
        const double took = (double)(now_ns() - start);
        best = took < best ? took : best;
    }
    operations = (uint64_t)((double)count * WORK_NS / best);
}

static void produce(const struct shift *shift)
{
    struct slipring_producer *producer = ring_producer(shift->ring, SLIPRING_WAIT_SPIN);
    for (uint64_t s = 0; s < shift->messages; s += BATCH) {
        struct slipring_loan loan;
        CHECK(slipring_producer_try_claim(producer, BATCH, &loan) == 0);
        for (uint64_t i = 0; i < BATCH; i++) {
            words_fill((uint8_t *)loan.data + i * loan.stride, WORDS, s + i);
        }
        CHECK(slipring_producer_publish(producer, BATCH, NULL) == 0);
    }
    slipring_producer_close(producer);
}

static void show_end(struct shift *shift)
{
    const int64_t now = now_ns();
    int64_t last = atomic_load(&shift->end_ns);
    while (last < now && !atomic_compare_exchange_weak(&shift->end_ns, &last, now)) {
    }
}

static void consume(struct shift *shift, struct slipring_consumer *consumer)
{
    const uint64_t start = ticks();
    uint64_t count = 0, sum = 0, in_ring = 0, end = start;
    for (;;) {
        struct slipring_view view;
        const uint64_t before = ticks();
        const int code = slipring_consumer_acquire(consumer, 1, &view, SLIPRING_FOREVER);
        const uint64_t taken = ticks();
        if (code == -EPIPE) { /* waiting for the end is waiting for others, not for work */
            break;
        }
        CHECK(code == 0 && words_right(view.data, WORDS, view.slot.sequence));
        (void)work(operations, view.slot.sequence);
        const uint64_t done = ticks();
        CHECK(slipring_consumer_release(consumer, &view) == 0);
        end = ticks();
        show_end(shift);
        in_ring += taken - before + end - done;
        sum += view.slot.sequence;
        count++;
    }
    atomic_fetch_add(&shift->count, count);
    atomic_fetch_add(&shift->sum, sum);
    atomic_fetch_add(&shift->ring_ticks, in_ring);
    atomic_fetch_add(&shift->all_ticks, end - start);
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
    struct shift *shift = context;
    const int index = seat_index(seat);
    struct slipring_consumer *consumer = NULL;
    if (index != 0) { /* the first at another processor than the producer */
        bench_pin(index % bench_processors());
        consumer = shift->ring != NULL ? join(shift->ring) : NULL;
    }
    seat_meet(seat);
    if (index == 0 && shift->ring != NULL) {
        produce(shift);
    }
    const int64_t start = seat_meet(seat);
    if (consumer != NULL) {
        consume(shift, consumer);
    } else if (index != 0) {
        for (uint64_t i = 0; i < shift->messages / (uint64_t)shift->members; i++) {
            (void)work(operations, i);
        }
        show_end(shift);
    }
    seat_meet(seat);
    slipring_consumer_detach(consumer);
    if (index == 0) {
        const uint64_t n = shift->messages;
        CHECK(shift->ring == NULL ||
              (atomic_load(&shift->count) == n && atomic_load(&shift->sum) == n * (n - 1) / 2));
        samples_add(shift->run->chunks,
                    shift->share ? 100 * (double)shift->ring_ticks / (double)shift->all_ticks
                                 : (double)n * 1e9 / (double)(shift->end_ns - start));
    }
    return 0;
}

static int run_shift(const struct run *run, const void *context)
{
    const struct way *way = context;
    struct shift *shift = shared_new(sizeof *shift);
    int result = 0;
    for (int window = 0; window < (run->quick ? 1 : 3) && result == 0; window++) {
        *shift = (struct shift){.run = run, .members = way->members, .share = way->share};
        shift->messages = run->quick ? 2048 : 8192;
        shift->ring = way->bare ? NULL : ring_simple(WORDS * sizeof(uint64_t), shift->messages);
        result = team_run(1 + way->members, play, shift);
        slipring_ring_close(shift->ring);
    }
    shared_free(shift, sizeof *shift);
    return result;
}

void perf_scale_rate(struct bench *bench)
{
    calibrate();
    for (int n = 1; n <= MOST; n *= 2) {
        char name[BENCH_NAME_BYTES], share_name[BENCH_NAME_BYTES], of[8] = "";
        if (n != MOST) {
            snprintf(of, sizeof of, "_of_%d", n);
        }
        snprintf(name, sizeof name, "scale_1_to_8%s", of);
        snprintf(share_name, sizeof share_name, "scale_1_to_8_share%s", of);
        const struct way ours = {n, false, false}, bare = {n, true, false},
                         share = {n, false, true};
        const struct measure rate = {
            .name = name,
            .unit = "1/s",
            .floor = 1,
            .contenders = {{"slipring", run_shift, &ours}, {"bare work", run_shift, &bare}}};
        const struct measure part = {.name = share_name,
                                     .unit = "%",
                                     .floor = BENCH_NO_FLOOR,
                                     .contenders = {{"slipring", run_shift, &share}}};
        bench_measure(bench, &rate);
        bench_measure(bench, &part);
    }
}
