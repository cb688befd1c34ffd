/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine of the bench.
 *
 * A measure is a name, a unit and its contenders: ours and the bare probes that do the same work
 * with nothing around it. The contenders run in turns, several rounds each, between two probes of
 * the floor (a bare ping-pong of one word between the same two processors), so that what the
 * machine does meanwhile falls on all of them alike; the probes say whether the two processors
 * were near or far. Every contender puts its samples into memory reserved beforehand, shared by
 * the processes that take part. A chunk is the mean over many operations, long against a clock and
 * short against a time slice: the figure is the median of the chunks, so preemption does not enter.
 * A tail is the time of one operation: percentiles are exact, by rank in the sorted samples.
 *
 * Contenders check all they read. One that fails is reported, left out, and makes the bench fail.
 */
#ifndef PERF_COMMON_H
#define PERF_COMMON_H

#include <slipring/inline.h>
#include <slipring/slipring.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#define BENCH_PAD 128u /* words of different writers are as far apart as in the library */
#define BENCH_NAME_BYTES 48

/* ---- samples ---- */

struct samples {
    uint64_t count, max;
    double values[];
};

struct samples *samples_new(uint64_t max);
void samples_add(struct samples *samples, double value); /* beyond max: counted as a failure */

/* ---- measures ---- */

/* What a contender fills in one round: chunks, tails or both, in the measure's unit. */
struct run {
    bool quick;
    struct samples *chunks;
    struct samples *tails;
};

struct contender {
    const char *system;                                     /* "slipring", or the probe's name */
    int (*run)(const struct run *run, const void *context); /* 0, or the round failed */
    const void *context;
};

#define BENCH_CONTENDERS 12
#define BENCH_NO_FLOOR (-1)

struct measure {
    const char *name;
    const char *unit;   /* ns, 1/s, GB/s, B or % */
    int rounds;         /* of each contender; 0: the usual number */
    int floor;          /* which contender is the floor; BENCH_NO_FLOOR: none */
    double floor_value; /* with BENCH_NO_FLOOR: a floor that is known, 0 for none */
    struct contender contenders[BENCH_CONTENDERS]; /* up to the first without a system */
};

struct bench;

bool bench_quick(const struct bench *bench);
/* Is a measure of that name wanted? For measures whose preparation is dear. */
bool bench_wants(const struct bench *bench, const char *name);
void bench_measure(struct bench *bench, const struct measure *measure);
/* A line of the table that says why a measure is left out, or what to know of it. */
void bench_note(struct bench *bench, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Add those peers' programs that are there and know the measure (peers.c). */
void peers_add(struct measure *measure);

/* ---- processes ---- */

/* The processors in use: the first two share no core, and are the pair that the floor is of. */
int bench_processors(void);
/* Pin the caller: place 0 is the producer's, the others go round over the other processors. */
void bench_pin(int place);
void bench_pin_nowhere(void);

struct seat; /* one process of a team */

/* Run body in count processes, pinned to the places of their index; 0 if all returned 0 in time. */
int team_run(int count, int (*body)(struct seat *seat, void *context), void *context);
int seat_index(const struct seat *seat);
/* Wait until all of the team have come here as often; the time at which the last one came. */
int64_t seat_meet(struct seat *seat);

/* Memory shared with the processes that are forked later: zeroed, and faulted in. */
void *shared_new(uint64_t bytes);
void shared_free(void *memory, uint64_t bytes);
uint64_t memory_available(void);

/* ---- failing ---- */

void fail_at(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4), noreturn));
#define FAIL(...) fail_at(__FILE__, __LINE__, __VA_ARGS__)
#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            FAIL("%s", #condition);                                                                \
        }                                                                                          \
    } while (0)

/* ---- time ---- */

static inline int64_t now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* A counter that is cheap to read, for tails; the same on all processors. */
static inline uint64_t ticks(void)
{
#if defined(__x86_64__)
    return __builtin_ia32_rdtsc();
#else
    return (uint64_t)now_ns();
#endif
}
double ns_per_tick(void);

/* ---- payload ---- */

/* The words of the message at a sequence: each differs, and their sum is known. */
static inline __attribute__((always_inline)) void words_fill(void *data, unsigned words,
                                                             uint64_t sequence)
{
    uint64_t *word = data;
    for (unsigned i = 0; i < words; i++) {
        word[i] = sequence + i;
    }
}

static inline __attribute__((always_inline)) bool words_right(const void *data, unsigned words,
                                                              uint64_t sequence)
{
    const uint64_t *word = data;
    uint64_t sum = 0;
    for (unsigned i = 0; i < words; i++) {
        sum += word[i];
    }
    return sum == words * sequence + words * (words - 1) / 2;
}

/* ---- rings ---- */

/* An anonymous lossless ring, to be inherited by the processes of a team. */
struct slipring_ring *ring_new(const struct slipring_config *config);
struct slipring_ring *ring_simple(uint64_t slot_bytes, uint64_t slots);
struct slipring_producer *ring_producer(struct slipring_ring *ring, enum slipring_wait wait);
struct slipring_consumer *ring_consumer(struct slipring_ring *ring, enum slipring_wait wait);

/* ---- the shapes, each in a file of its own ---- */

void perf_pingpong_latency(struct bench *bench);
void perf_1to1_rate(struct bench *bench);
void perf_1to4_rate(struct bench *bench);
void perf_group4_rate(struct bench *bench);
void perf_handover_latency(struct bench *bench);
void perf_publish_idle(struct bench *bench);
void perf_wake_latency(struct bench *bench);
void perf_wake_many(struct bench *bench);
void perf_stream_rate(struct bench *bench);
void perf_attach_latency(struct bench *bench);
void perf_hold_latency(struct bench *bench);
void perf_kill_latency(struct bench *bench);
void perf_readers_rate(struct bench *bench);
void perf_memory_size(struct bench *bench);
void perf_steady_faults(struct bench *bench);
void perf_members_latency(struct bench *bench);
void perf_scale_rate(struct bench *bench);
void perf_size_rate(struct bench *bench);
void perf_gpu(struct bench *bench);    /* gpu.c; where libslipring-cuda is built */
void perf_python(struct bench *bench); /* programs.c */

/* The bare ping-pong of the floor; context NULL. Chunks and tails, ns one way. */
int floor_pingpong(const struct run *run, const void *context);
/* A few chunks of it. */
int floor_probe(const struct run *run);

#endif
