/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wake_1000: how long a publish takes when a thousand members sleep: a hundred threads in each of
 * ten processes, every one of which the kernel said was asleep since it last took a message. Each
 * publish wakes them all. Beside it (not with --quick): one store and one futex(2) that wakes a
 * thousand.
 */
#include "common.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PROCESSES 10
#define THREADS 100
#define MEMBERS (PROCESSES * THREADS)
#define STACK_BYTES 65536u
#define SETTLE_US 1000 /* all asleep for at least that long: past the dozes of sleepers of ours */

struct dormitory {
    _Alignas(BENCH_PAD) _Atomic uint64_t going; /* times that a member was about to sleep */
    _Alignas(BENCH_PAD) _Atomic uint32_t word;  /* bare: the futex */
    _Atomic int32_t pids[MEMBERS], tids[MEMBERS];
    const struct run *run;
    struct slipring_ring *ring; /* NULL: bare */
    uint64_t rounds;
};

/* A member, and where it stands. */
struct member {
    struct dormitory *dormitory;
    int index;
    struct slipring_consumer *consumer;
};

static void *sleep_and_wake(void *argument)
{
    struct member *member = argument;
    struct dormitory *dormitory = member->dormitory;
    atomic_store(&dormitory->pids[member->index], (int32_t)getpid());
    atomic_store(&dormitory->tids[member->index], (int32_t)syscall(SYS_gettid));
    for (uint64_t i = 1; i <= dormitory->rounds; i++) {
        struct slipring_view view;
        atomic_fetch_add(&dormitory->going, 1);
        if (member->consumer != NULL) {
            CHECK(slipring_consumer_acquire(member->consumer, 1, &view, SLIPRING_FOREVER) == 0);
            CHECK(words_right(view.data, 7, i));
            CHECK(slipring_consumer_release(member->consumer, &view) == 0);
            continue;
        }
        while (atomic_load_explicit(&dormitory->word, memory_order_acquire) != i) {
            (void)syscall(SYS_futex, &dormitory->word, FUTEX_WAIT, (uint32_t)i - 1, NULL, NULL, 0);
        }
    }
    return NULL;
}

static void live(struct seat *seat, struct dormitory *dormitory)
{
    static struct member members[THREADS];
    static pthread_t threads[THREADS];
    pthread_attr_t attributes;
    CHECK(pthread_attr_init(&attributes) == 0);
    CHECK(pthread_attr_setstacksize(&attributes, STACK_BYTES) == 0);
    for (int i = 0; i < THREADS; i++) {
        members[i] = (struct member){dormitory, (seat_index(seat) - 1) * THREADS + i, NULL};
        if (dormitory->ring != NULL) {
            members[i].consumer = ring_consumer(dormitory->ring, SLIPRING_WAIT_SLEEP);
        }
    }
    seat_meet(seat);
    for (int i = 0; i < THREADS; i++) {
        CHECK(pthread_create(&threads[i], &attributes, sleep_and_wake, &members[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
        slipring_consumer_detach(members[i].consumer);
    }
    pthread_attr_destroy(&attributes);
}

static bool asleep(int32_t pid, int32_t tid)
{
    char path[64];
    char text[256];
    snprintf(path, sizeof path, "/proc/%d/task/%d/stat", pid, tid);
    FILE *file = fopen(path, "re");
    CHECK(file != NULL);
    CHECK(fgets(text, sizeof text, file) != NULL);
    fclose(file);
    const char *end = strrchr(text, ')'); /* of the command's name */
    return end != NULL && end[1] == ' ' && end[2] == 'S';
}

static void ring_bells(struct dormitory *dormitory, struct slipring_producer *producer)
{
    for (uint64_t i = 1; i <= dormitory->rounds; i++) {
        while (atomic_load(&dormitory->going) != i * MEMBERS) {
            (void)usleep(100);
        }
        for (int m = 0; m < MEMBERS; m++) {
            while (!asleep(atomic_load(&dormitory->pids[m]), atomic_load(&dormitory->tids[m]))) {
                (void)usleep(20);
            }
        }
        (void)usleep(SETTLE_US);
        struct slipring_loan loan;
        if (producer != NULL) {
            CHECK(slipring_producer_try_claim(producer, 1, &loan) == 0);
            words_fill(loan.data, 7, i);
        }
        const uint64_t start = ticks();
        if (producer != NULL) {
            CHECK(slipring_producer_publish(producer, 1, NULL) == 0);
        } else {
            atomic_store_explicit(&dormitory->word, (uint32_t)i, memory_order_release);
            CHECK(syscall(SYS_futex, &dormitory->word, FUTEX_WAKE, MEMBERS, NULL, NULL, 0) >= 0);
        }
        samples_add(dormitory->run->tails, (double)(ticks() - start) * ns_per_tick());
    }
}

static int play(struct seat *seat, void *context)
{
    struct dormitory *dormitory = context;
    if (seat_index(seat) != 0) {
        live(seat, dormitory);
        return 0;
    }
    struct slipring_producer *producer =
        dormitory->ring != NULL ? ring_producer(dormitory->ring, SLIPRING_WAIT_SPIN) : NULL;
    seat_meet(seat);
    ring_bells(dormitory, producer);
    slipring_producer_detach(producer);
    return 0;
}

static int wake(const struct run *run, struct slipring_ring *ring)
{
    struct dormitory *dormitory = shared_new(sizeof *dormitory);
    dormitory->run = run;
    dormitory->ring = ring;
    dormitory->rounds = run->quick ? 50 : 400;
    const int result = team_run(1 + PROCESSES, play, dormitory);
    shared_free(dormitory, sizeof *dormitory);
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

void perf_wake_many(struct bench *bench)
{
    const struct measure measure = {
        .name = "wake_1000",
        .unit = "ns",
        .rounds = bench_quick(bench) ? 2 : 3,
        .floor = BENCH_NO_FLOOR,
        .contenders = {{"slipring", ours, NULL},
                       {bench_quick(bench) ? NULL : "bare futex", bare, NULL}}};
    bench_measure(bench, &measure);
}
