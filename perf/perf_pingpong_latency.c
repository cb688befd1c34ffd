/* SPDX-License-Identifier: Apache-2.0 */
/*
 * latency_*: one way, half a round trip over two lossless rings between two processes that spin,
 * through slipring/inline.h. The payload is written word by word, read and checked at both ends.
 * Floor: the bare ping-pong of one word.
 */
#include "common.h"

#include <errno.h>

#define CHUNK 1000u /* round trips */
#define SLOTS 1024u

struct game {
    unsigned words;
    struct slipring_ring *there, *back;
    const struct run *run;
    uint64_t chunks, tails;
};

/* One end: what it writes to and reads from. */
struct end {
    struct slipring_fast *out, *in;
};

static inline __attribute__((always_inline)) void throw_one(const struct end *end, unsigned words,
                                                            uint64_t i)
{
    void *data;
    while (slipring_fast_try_claim(end->out, 1, &data) != 0) {
    }
    words_fill(data, words, i);
    CHECK(slipring_fast_publish(end->out, 1) == 0);
}

static inline __attribute__((always_inline)) void catch_one(const struct end *end, unsigned words,
                                                            uint64_t i)
{
    const void *data;
    int64_t count;
    while ((count = slipring_fast_try_acquire(end->in, 1, &data)) == -EAGAIN) {
    }
    CHECK(count == 1 && words_right(data, words, i));
    CHECK(slipring_fast_release(end->in, 1) == 0);
}

static inline __attribute__((always_inline)) void
play_words(const struct game *game, const struct end *end, int index, unsigned words)
{
    uint64_t i = 0;
    if (index != 0) {
        for (const uint64_t last = game->chunks * CHUNK + game->tails; i < last; i++) {
            catch_one(end, words, i);
            throw_one(end, words, i);
        }
        return;
    }
    for (uint64_t c = 0; c < game->chunks; c++) {
        const int64_t start = now_ns();
        for (unsigned k = 0; k < CHUNK; k++, i++) {
            throw_one(end, words, i);
            catch_one(end, words, i);
        }
        samples_add(game->run->chunks, (double)(now_ns() - start) / (2 * CHUNK));
    }
    for (uint64_t t = 0; t < game->tails; t++, i++) {
        const uint64_t start = ticks();
        throw_one(end, words, i);
        catch_one(end, words, i);
        samples_add(game->run->tails, (double)(ticks() - start) * ns_per_tick() / 2);
    }
}

/* A size known to the compiler, as in the probes. */
static void play_game(const struct game *game, const struct end *end, int index)
{
    switch (game->words) {
    case 4:
        play_words(game, end, index, 4);
        break;
    case 7:
        play_words(game, end, index, 7);
        break;
    default:
        play_words(game, end, index, 8);
        break;
    }
}

static int play(struct seat *seat, void *context)
{
    const struct game *game = context;
    const bool first = seat_index(seat) == 0;
    struct slipring_producer *producer =
        ring_producer(first ? game->there : game->back, SLIPRING_WAIT_SPIN);
    struct slipring_consumer *consumer =
        ring_consumer(first ? game->back : game->there, SLIPRING_WAIT_SPIN);
    const struct end end = {slipring_producer_fast(producer), slipring_consumer_fast(consumer)};
    seat_meet(seat);
    play_game(game, &end, seat_index(seat));
    seat_meet(seat);
    slipring_consumer_detach(consumer);
    slipring_producer_detach(producer);
    return 0;
}

static int ours(const struct run *run, const void *context)
{
    const unsigned words = *(const unsigned *)context;
    struct game game = {.words = words,
                        .there = ring_simple(words * sizeof(uint64_t), SLOTS),
                        .back = ring_simple(words * sizeof(uint64_t), SLOTS),
                        .run = run,
                        .chunks = run->quick ? 60 : 200,
                        .tails = run->quick ? 30000 : 100000};
    const int result = team_run(2, play, &game);
    slipring_ring_close(game.there);
    slipring_ring_close(game.back);
    return result;
}

void perf_pingpong_latency(struct bench *bench)
{
    static const unsigned words[] = {4, 7, 8};
    for (unsigned i = 0; i < sizeof words / sizeof *words; i++) {
        char name[BENCH_NAME_BYTES];
        snprintf(name, sizeof name, "latency_%uB", words[i] * 8);
        const struct measure measure = {.name = name,
                                        .unit = "ns",
                                        .floor = 1,
                                        .contenders = {{"slipring", ours, &words[i]},
                                                       {"bare ping-pong", floor_pingpong, NULL}}};
        bench_measure(bench, &measure);
    }
}
