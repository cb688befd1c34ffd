/* SPDX-License-Identifier: Apache-2.0 */
/*
 * handover_*: one way, half a round trip, of a slot of that size whose payload nobody touches:
 * claimed, published, acquired and released through the functions of the library, over two rings
 * of eight slots (two, of 1 GiB) between two processes that spin. Protected: lossless, by readers that the ring
 * knows. Floor: the bare ping-pong of one word.
 */
#include "common.h"

#include <errno.h>

#define SIZES 5

struct shape {
    uint64_t bytes, slots;
};

struct game {
    struct slipring_ring *there, *back;
    const struct run *run;
    uint64_t chunks, chunk, tails;
};

struct end {
    struct slipring_producer *out;
    struct slipring_consumer *in;
    uint64_t expected; /* sequence of the message to come in */
};

static void throw_one(const struct end *end)
{
    struct slipring_loan loan;
    while (slipring_producer_try_claim(end->out, 1, &loan) != 0) {
    }
    CHECK(slipring_producer_publish(end->out, 1, NULL) == 0);
}

static void catch_one(struct end *end)
{
    struct slipring_view view;
    int code;
    while ((code = slipring_consumer_try_acquire(end->in, 1, &view)) == -EAGAIN) {
    }
    CHECK(code == 0 && view.slot.sequence == end->expected++);
    CHECK(slipring_consumer_release(end->in, &view) == 0);
}

static void serve(const struct game *game, struct end *end)
{
    for (uint64_t c = 0; c < game->chunks; c++) {
        const int64_t start = now_ns();
        for (uint64_t k = 0; k < game->chunk; k++) {
            throw_one(end);
            catch_one(end);
        }
        samples_add(game->run->chunks, (double)(now_ns() - start) / (2 * (double)game->chunk));
    }
    for (uint64_t t = 0; t < game->tails; t++) {
        const uint64_t start = ticks();
        throw_one(end);
        catch_one(end);
        samples_add(game->run->tails, (double)(ticks() - start) * ns_per_tick() / 2);
    }
}

static int play(struct seat *seat, void *context)
{
    const struct game *game = context;
    const bool first = seat_index(seat) == 0;
    struct end end = {
        .out = ring_producer(first ? game->there : game->back, SLIPRING_WAIT_SPIN),
        .in = ring_consumer(first ? game->back : game->there, SLIPRING_WAIT_SPIN),
    };
    seat_meet(seat);
    if (first) {
        serve(game, &end);
    } else {
        for (uint64_t i = 0; i < game->chunks * game->chunk + game->tails; i++) {
            catch_one(&end);
            throw_one(&end);
        }
    }
    seat_meet(seat);
    slipring_consumer_detach(end.in);
    slipring_producer_detach(end.out);
    return 0;
}

static int ours(const struct run *run, const void *context)
{
    const struct shape *shape = context;
    struct game game = {.there = ring_simple(shape->bytes, shape->slots),
                        .back = ring_simple(shape->bytes, shape->slots),
                        .run = run,
                        .chunks = run->quick ? 60 : 200,
                        .chunk = 1000,
                        .tails = run->quick ? 30000 : 100000};
    const int result = team_run(2, play, &game);
    slipring_ring_close(game.there);
    slipring_ring_close(game.back);
    return result;
}

void perf_handover_latency(struct bench *bench)
{
    static const struct {
        const char *name;
        struct shape shape;
    } sizes[SIZES] = {{"handover_64B", {64, 8}},
                      {"handover_64KiB", {1 << 16, 8}},
                      {"handover_1MiB", {1 << 20, 8}},
                      {"handover_64MiB", {1 << 26, 8}},
                      {"handover_1GiB", {1 << 30, 2}}};
    for (int i = 0; i < SIZES; i++) {
        const uint64_t needed = 2 * sizes[i].shape.slots * sizes[i].shape.bytes;
        if (!bench_wants(bench, sizes[i].name)) {
            continue;
        }
        if (memory_available() < needed + needed / 4) {
            bench_note(bench, "%s left out: its two rings do not fit the memory", sizes[i].name);
            continue;
        }
        const struct measure measure = {.name = sizes[i].name,
                                        .unit = "ns",
                                        .rounds = needed > UINT64_C(1) << 30 ? 1 : 0,
                                        .floor = 1,
                                        .contenders = {{"slipring", ours, &sizes[i].shape},
                                                       {"bare ping-pong", floor_pingpong, NULL}}};
        bench_measure(bench, &measure);
    }
}
