/* SPDX-License-Identifier: Apache-2.0 */
/*
 * handshake stream SLOTS BYTES SECONDS | latency BYTES SECONDS: the least that the measures of the
 * Python package can cost. Two processes, a word each way, the same copies and reads: one memcpy per
 * message into the next of the slots, of which the reader reads a float per page. Prints `chunk V`,
 * in GB/s, or ns one way.
 */
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096u

struct shared {
    _Alignas(128) _Atomic uint64_t cursor;
    _Alignas(128) _Atomic uint64_t released;
    _Alignas(128) _Atomic uint32_t stop;
};

static int64_t now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* As common.py pins. */
static void pin(int place)
{
    cpu_set_t all, one;
    if (sched_getaffinity(0, sizeof all, &all) != 0 || CPU_COUNT(&all) < 2) {
        return;
    }
    int seen = 0;
    for (int i = 0; i < CPU_SETSIZE; i++) {
        if (CPU_ISSET(i, &all) && seen++ == place) {
            CPU_ZERO(&one);
            CPU_SET(i, &one);
            (void)sched_setaffinity(0, sizeof one, &one);
        }
    }
}

static void *map(uint64_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        exit(1);
    }
    memset(memory, 1, bytes);
    return memory;
}

static float touch(const uint8_t *slot, uint64_t bytes)
{
    float sum = 0;
    for (uint64_t at = 0; at < bytes; at += PAGE) {
        sum += *(const volatile float *)(const void *)(slot + at);
    }
    return sum;
}

static void write_stream(struct shared *shared, uint8_t *memory, uint64_t slots, uint64_t bytes)
{
    uint8_t *source = malloc(bytes);
    if (source == NULL) {
        exit(1);
    }
    memset(source, 1, bytes);
    for (uint64_t s = 0; atomic_load_explicit(&shared->stop, memory_order_relaxed) == 0; s++) {
        while (s - atomic_load_explicit(&shared->released, memory_order_acquire) >= slots &&
               atomic_load_explicit(&shared->stop, memory_order_relaxed) == 0) {
        }
        memcpy(memory + s % slots * bytes, source, bytes);
        atomic_store_explicit(&shared->cursor, s + 1, memory_order_release);
    }
}

static void read_stream(struct shared *shared, const uint8_t *memory, uint64_t slots,
                        uint64_t bytes, double seconds)
{
    const uint64_t chunk = bytes >= (1u << 26) ? 1 : (1u << 26) / bytes;
    const int64_t end = now_ns() + (int64_t)(seconds * 1e9);
    int64_t start = 0;
    for (uint64_t s = 0; start < end || s < 4 * slots; s++) {
        if (s % chunk == 0) {
            const int64_t now = now_ns();
            if (s > slots) {
                printf("chunk %f\n", (double)(chunk * bytes) / (double)(now - start));
            }
            start = now;
        }
        while (atomic_load_explicit(&shared->cursor, memory_order_acquire) == s) {
        }
        if (touch(memory + s % slots * bytes, bytes) == 0) {
            exit(1);
        }
        atomic_store_explicit(&shared->released, s + 1, memory_order_release);
    }
}

/* Cursor there, released back: each message copied in, and read in place. */
static void say(_Atomic uint64_t *word, uint8_t *slot, const uint8_t *source, uint64_t bytes,
                uint64_t s)
{
    memcpy(slot, source, bytes);
    atomic_store_explicit(word, s, memory_order_release);
}

static void await(struct shared *shared, _Atomic uint64_t *word, const uint8_t *slot,
                  uint64_t bytes, uint64_t s)
{
    while (atomic_load_explicit(word, memory_order_acquire) != s &&
           atomic_load_explicit(&shared->stop, memory_order_relaxed) == 0) {
    }
    (void)touch(slot, bytes);
}

static void pingpong(struct shared *shared, uint8_t *memory, uint64_t bytes, double seconds,
                     int asks)
{
    static uint8_t source[1 << 20];
    uint8_t *there = memory, *back = memory + bytes;
    memset(source, 1, sizeof source);
    const int64_t end = now_ns() + (int64_t)(seconds * 1e9);
    int64_t start = now_ns();
    for (uint64_t s = 1; atomic_load_explicit(&shared->stop, memory_order_relaxed) == 0; s++) {
        if (!asks) {
            await(shared, &shared->cursor, there, bytes, s);
            say(&shared->released, back, source, bytes, s);
            continue;
        }
        say(&shared->cursor, there, source, bytes, s);
        await(shared, &shared->released, back, bytes, s);
        if (s % 200 == 0) {
            const int64_t now = now_ns();
            printf("chunk %f\n", (double)(now - start) / 400);
            start = now;
            if (now > end) {
                return;
            }
        }
    }
}

int main(int argc, char **argv)
{
    const int stream = argc == 5 && strcmp(argv[1], "stream") == 0;
    if (!stream && !(argc == 4 && strcmp(argv[1], "latency") == 0)) {
        return 2;
    }
    const uint64_t slots = stream ? strtoull(argv[2], NULL, 10) : 2;
    const uint64_t bytes = strtoull(argv[argc - 2], NULL, 10);
    const double seconds = strtod(argv[argc - 1], NULL);
    if (slots == 0 || bytes < sizeof(float) || (!stream && bytes > 1 << 20)) {
        return 2;
    }
    struct shared *shared = map(sizeof *shared);
    memset(shared, 0, sizeof *shared);
    uint8_t *memory = map(slots * bytes);
    const pid_t child = fork();
    if (child < 0) {
        return 1;
    }
    if (child == 0) {
        pin(stream ? 0 : 1);
        stream ? write_stream(shared, memory, slots, bytes)
               : pingpong(shared, memory, bytes, seconds, 0);
        _exit(0);
    }
    pin(stream ? 1 : 0);
    stream ? read_stream(shared, memory, slots, bytes, seconds)
           : pingpong(shared, memory, bytes, seconds, 1);
    atomic_store_explicit(&shared->stop, 1, memory_order_relaxed);
    int status = 0;
    return waitpid(child, &status, 0) == child && status == 0 ? 0 : 1;
}
