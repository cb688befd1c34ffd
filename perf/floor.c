/* SPDX-License-Identifier: Apache-2.0 */
/* The floor: one word to and fro between two processes, each word in a line of its own. */
#include "common.h"

#define CHUNK 1000u /* round trips */

struct table {
    _Alignas(BENCH_PAD) _Atomic uint64_t ping;
    _Alignas(BENCH_PAD) _Atomic uint64_t pong;
    const struct run *run;
    uint64_t chunks, tails;
};

static void hit(struct table *table, uint64_t i)
{
    atomic_store_explicit(&table->ping, i, memory_order_release);
    while (atomic_load_explicit(&table->pong, memory_order_acquire) != i) {
    }
}

static void serve(struct table *table)
{
    uint64_t i = 0;
    for (uint64_t c = 0; c < table->chunks; c++) {
        const int64_t start = now_ns();
        for (unsigned k = 0; k < CHUNK; k++) {
            hit(table, ++i);
        }
        samples_add(table->run->chunks, (double)(now_ns() - start) / (2 * CHUNK));
    }
    for (uint64_t t = 0; t < table->tails; t++) {
        const uint64_t start = ticks();
        hit(table, ++i);
        samples_add(table->run->tails, (double)(ticks() - start) * ns_per_tick() / 2);
    }
}

static int play(struct seat *seat, void *context)
{
    struct table *table = context;
    seat_meet(seat);
    if (seat_index(seat) == 0) {
        serve(table);
        return 0;
    }
    const uint64_t last = table->chunks * CHUNK + table->tails;
    for (uint64_t i = 1; i <= last; i++) {
        while (atomic_load_explicit(&table->ping, memory_order_acquire) != i) {
        }
        atomic_store_explicit(&table->pong, i, memory_order_release);
    }
    return 0;
}

static int play_for(const struct run *run, uint64_t chunks, uint64_t tails)
{
    struct table *table = shared_new(sizeof *table);
    table->run = run;
    table->chunks = chunks;
    table->tails = tails;
    const int result = team_run(2, play, table);
    shared_free(table, sizeof *table);
    return result;
}

int floor_pingpong(const struct run *run, const void *context)
{
    (void)context;
    return play_for(run, run->quick ? 60 : 200, run->quick ? 30000 : 100000);
}

int floor_probe(const struct run *run)
{
    return play_for(run, 40, 0);
}
