/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wake_sleeping: from before the publish to after the acquire of a reader that the kernel says was
 * asleep (state S), one way, by the clock that both processes share. Floor: the same with one word
 * and futex(2).
 */
#include "common.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SETTLE_NS 300000 /* asleep for at least that long: past the doze of a sleeper of ours */

struct bed {
    _Alignas(BENCH_PAD) _Atomic uint64_t going; /* rounds that the reader is about to sleep for */
    _Alignas(BENCH_PAD) _Atomic uint32_t word;  /* bare: the futex */
    _Alignas(BENCH_PAD) _Atomic int64_t sent_ns;
    _Atomic int32_t pid;
    const struct run *run;
    struct slipring_ring *ring; /* NULL: bare */
    uint64_t rounds;
};

/* Is the process, of one thread, asleep? */
static bool asleep(int stat_fd)
{
    char text[256];
    const ssize_t count = pread(stat_fd, text, sizeof text - 1, 0);
    CHECK(count > 0);
    text[count] = '\0';
    const char *end = strrchr(text, ')'); /* of the command's name */
    return end != NULL && end[1] == ' ' && end[2] == 'S';
}

static void wait_asleep(struct bed *bed, int stat_fd, uint64_t round)
{
    while (atomic_load(&bed->going) != round) {
        (void)usleep(20);
    }
    while (!asleep(stat_fd)) {
        (void)usleep(20);
    }
    const int64_t settled = now_ns() + SETTLE_NS;
    while (now_ns() < settled) {
    }
}

static void ring_bells(struct bed *bed, struct slipring_producer *producer)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/stat", atomic_load(&bed->pid));
    const int stat_fd = open(path, O_RDONLY | O_CLOEXEC);
    CHECK(stat_fd >= 0);
    for (uint64_t i = 1; i <= bed->rounds; i++) {
        wait_asleep(bed, stat_fd, i);
        atomic_store(&bed->sent_ns, now_ns());
        if (producer != NULL) {
            struct slipring_loan loan;
            CHECK(slipring_producer_try_claim(producer, 1, &loan) == 0);
            words_fill(loan.data, 7, i);
            CHECK(slipring_producer_publish(producer, 1, NULL) == 0);
        } else {
            atomic_store_explicit(&bed->word, (uint32_t)i, memory_order_release);
            CHECK(syscall(SYS_futex, &bed->word, FUTEX_WAKE, 1, NULL, NULL, 0) >= 0);
        }
    }
    close(stat_fd);
}

static void sleep_and_wake(struct bed *bed, struct slipring_consumer *consumer)
{
    for (uint64_t i = 1; i <= bed->rounds; i++) {
        struct slipring_view view;
        atomic_store(&bed->going, i);
        if (consumer != NULL) {
            CHECK(slipring_consumer_acquire(consumer, 1, &view, SLIPRING_FOREVER) == 0);
        } else {
            while (atomic_load_explicit(&bed->word, memory_order_acquire) != i) {
                (void)syscall(SYS_futex, &bed->word, FUTEX_WAIT, (uint32_t)i - 1, NULL, NULL, 0);
            }
        }
        samples_add(bed->run->tails, (double)(now_ns() - atomic_load(&bed->sent_ns)));
        if (consumer != NULL) {
            CHECK(words_right(view.data, 7, i));
            CHECK(slipring_consumer_release(consumer, &view) == 0);
        }
    }
}

static int play(struct seat *seat, void *context)
{
    struct bed *bed = context;
    struct slipring_producer *producer = NULL;
    struct slipring_consumer *consumer = NULL;
    const bool writes = seat_index(seat) == 0;
    if (bed->ring != NULL && writes) {
        producer = ring_producer(bed->ring, SLIPRING_WAIT_SPIN);
    } else if (bed->ring != NULL) {
        consumer = ring_consumer(bed->ring, SLIPRING_WAIT_SLEEP);
    }
    if (!writes) {
        atomic_store(&bed->pid, (int32_t)getpid());
    }
    seat_meet(seat);
    if (writes) {
        ring_bells(bed, producer);
    } else {
        sleep_and_wake(bed, consumer);
    }
    seat_meet(seat);
    slipring_producer_detach(producer);
    slipring_consumer_detach(consumer);
    return 0;
}

static int wake(const struct run *run, struct slipring_ring *ring)
{
    struct bed *bed = shared_new(sizeof *bed);
    bed->run = run;
    bed->ring = ring;
    bed->rounds = run->quick ? 400 : 2000;
    const int result = team_run(2, play, bed);
    shared_free(bed, sizeof *bed);
    return result;
}

static int ours(const struct run *run, const void *context)
{
    (void)context;
    struct slipring_ring *ring = ring_simple(56, 1024);
    const int result = wake(run, ring);
    slipring_ring_close(ring);
    return result;
}

static int bare(const struct run *run, const void *context)
{
    (void)context;
    return wake(run, NULL);
}

void perf_wake_latency(struct bench *bench)
{
    const struct measure measure = {
        .name = "wake_sleeping",
        .unit = "ns",
        .floor = 1,
        .contenders = {{"slipring", ours, NULL}, {"bare futex", bare, NULL}}};
    bench_measure(bench, &measure);
}
