/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The measures of a queue of 64-byte messages, to be included behind what a peer defines:
 *
 *     static void *queue_new(void);            before the processes are made
 *     static void queue_delete(void *queue);
 *     static void *queue_open(void *queue, bool writes);    in a process: its end
 *     static inline unsigned queue_put(void *end, const struct message *messages, unsigned count);
 *     static inline unsigned queue_get(void *end, struct message *messages, unsigned count);
 *
 * put and get move up to count messages and say how many, 0 if none for now; a queue that cannot
 * but wait may wait. Each message is written word by word and checked, as in our own measures.
 */
#ifndef PERF_QUEUE_H
#define PERF_QUEUE_H

#define QUEUE_CHUNK 1000u           /* round trips */
#define QUEUE_STREAM_CHUNK 4096u    /* messages; slow ones have to get through some, too */
#define QUEUE_NS INT64_C(400000000) /* of a round; of a quick one a quarter */
#define BATCH_MAX 256u

struct load {
    unsigned words, batch;
};

struct play {
    const struct load *load;
    const struct run *run;
    void *there, *back;
    _Atomic bool stop;
};

static inline void put_all(void *end, const struct message *messages, unsigned count)
{
    for (unsigned done = 0; done < count;) {
        done += queue_put(end, messages + done, count - done);
    }
}

static inline __attribute__((always_inline)) void send_one(void *end, unsigned words, uint64_t i)
{
    struct message m;
    words_fill(m.words, words, i);
    put_all(end, &m, 1);
}

/* false: the message that ends it came. */
static inline __attribute__((always_inline)) bool receive_one(void *end, unsigned words, uint64_t i)
{
    struct message m;
    while (queue_get(end, &m, 1) == 0) {
    }
    if (m.words[0] == UINT64_MAX) {
        return false;
    }
    CHECK(words_right(m.words, words, i));
    return true;
}

static inline __attribute__((always_inline)) int pingpong(const struct play *play, int index,
                                                          unsigned words)
{
    void *out = queue_open(index == 0 ? play->there : play->back, true);
    void *in = queue_open(index == 0 ? play->back : play->there, false);
    uint64_t i = 0;
    if (index != 0) {
        while (receive_one(in, words, i)) {
            send_one(out, words, i++);
        }
        return 0;
    }
    const int64_t begin = now_ns();
    const int64_t end = begin + (play->run->quick ? QUEUE_NS / 4 : QUEUE_NS);
    int64_t now = begin;
    while (now < end) {
        const int64_t start = now;
        for (unsigned k = 0; k < QUEUE_CHUNK; k++, i++) {
            send_one(out, words, i);
            CHECK(receive_one(in, words, i));
        }
        now = now_ns();
        samples_add(play->run->chunks, (double)(now - start) / (2 * QUEUE_CHUNK));
    }
    const int64_t last = now + (end - begin);
    for (unsigned t = 0; t < 20000 && (t % 100 != 0 || now_ns() < last); t++, i++) {
        const uint64_t start = ticks();
        send_one(out, words, i);
        CHECK(receive_one(in, words, i));
        samples_add(play->run->tails, (double)(ticks() - start) * ns_per_tick() / 2);
    }
    const struct message stop = {{UINT64_MAX}};
    put_all(out, &stop, 1);
    return 0;
}

static int play_pingpong(struct seat *seat, void *context)
{
    const struct play *play = context;
    (void)seat_meet(seat);
    const int index = seat_index(seat);
    const int result = play->load->words == 4   ? pingpong(play, index, 4)
                       : play->load->words == 7 ? pingpong(play, index, 7)
                                                : pingpong(play, index, 8);
    (void)seat_meet(seat); /* an end that closes takes what is under way with it */
    return result;
}

static inline __attribute__((always_inline)) void write_stream(struct play *play, unsigned words,
                                                               unsigned batch)
{
    void *end = queue_open(play->there, true);
    struct message messages[BATCH_MAX];
    for (uint64_t s = 0; !atomic_load_explicit(&play->stop, memory_order_relaxed); s += batch) {
        for (unsigned i = 0; i < batch; i++) {
            words_fill(messages[i].words, words, s + i);
        }
        put_all(end, messages, batch);
    }
    for (unsigned i = 0; i < batch; i++) {
        messages[i].words[0] = UINT64_MAX;
    }
    put_all(end, messages, batch);
}

static inline __attribute__((always_inline)) void read_stream(struct play *play, unsigned words,
                                                              unsigned batch)
{
    void *end = queue_open(play->there, false);
    struct message messages[BATCH_MAX];
    const int64_t last = now_ns() + (play->run->quick ? QUEUE_NS / 4 : QUEUE_NS);
    int64_t start = now_ns();
    uint64_t s = 0, mark = 0;
    for (;;) {
        unsigned count;
        while ((count = queue_get(end, messages, batch)) == 0) {
        }
        for (unsigned i = 0; i < count; i++) {
            if (messages[i].words[0] == UINT64_MAX) {
                return;
            }
            CHECK(words_right(messages[i].words, words, s + i));
        }
        s += count;
        if (s - mark >= QUEUE_STREAM_CHUNK) {
            const int64_t now = now_ns();
            if (now < last) {
                samples_add(play->run->chunks, (double)(s - mark) * 1e9 / (double)(now - start));
            } else {
                atomic_store(&play->stop, true);
            }
            start = now;
            mark = s;
        }
    }
}

static int play_stream(struct seat *seat, void *context)
{
    struct play *play = context;
    const bool writes = seat_index(seat) == 0;
    const unsigned words = play->load->words;
    (void)seat_meet(seat);
    const unsigned batch = play->load->batch;
    if (words == 7 && batch == 1) {
        writes ? write_stream(play, 7, 1) : read_stream(play, 7, 1);
    } else if (words == 7) {
        writes ? write_stream(play, 7, batch) : read_stream(play, 7, batch);
    } else {
        writes ? write_stream(play, 8, batch) : read_stream(play, 8, batch);
    }
    (void)seat_meet(seat);
    return 0;
}

static int run_load(const struct run *run, const void *context, int count,
                    int (*body)(struct seat *seat, void *context))
{
    struct play *play = shared_new(sizeof *play);
    play->load = context;
    play->run = run;
    play->there = queue_new();
    play->back = queue_new();
    const int result = team_run(count, body, play);
    queue_delete(play->there);
    queue_delete(play->back);
    shared_free(play, sizeof *play);
    return result;
}

static int run_pingpong(const struct run *run, const void *context)
{
    return run_load(run, context, 2, play_pingpong);
}

static int run_stream(const struct run *run, const void *context)
{
    return run_load(run, context, 2, play_stream);
}

static const struct load load_4 = {4, 1}, load_7 = {7, 1}, load_8 = {8, 1}, load_7x4 = {7, 4},
                         load_7x16 = {7, 16}, load_7x64 = {7, 64}, load_7x256 = {7, 256},
                         load_8x64 = {8, 64};

/* clang-format off */
#define QUEUE_MEASURES                                                                             \
    {"latency_32B", run_pingpong, &load_4}, {"latency_56B", run_pingpong, &load_7},                \
    {"latency_64B", run_pingpong, &load_8}, {"rate_56B_single", run_stream, &load_7},              \
    {"rate_56B_batch4", run_stream, &load_7x4}, {"rate_56B_batch16", run_stream, &load_7x16},      \
    {"rate_56B_batch64", run_stream, &load_7x64}, {"rate_56B_batch256", run_stream, &load_7x256},  \
    {"rate_64B_batch64", run_stream, &load_8x64}
/* clang-format on */

#endif
