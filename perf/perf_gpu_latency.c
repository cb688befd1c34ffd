/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gpu_release          from a mark that a stream stores right behind a copy of 64 KiB, as the producer
 *                      in another process sees it, to that producer's claim of the slot, whose release
 *                      comes next on the stream. Floor: to a second mark instead
 * d2h_publish          from before the calls (claim, copy of 64 KiB from the device, publish) to a
 *                      reader's acquire in another process. Floor: from before the calls for that copy
 *                      and a mark behind it, to the mark
 * gpu_reader_latency   from publish to the answer of a kernel that polls the ring, there and back.
 *                      Floor: a kernel that polls a bare word
 *
 * The other process has not used CUDA. Each round waits for the one before.
 */
#include "gpu.h"

#include <errno.h>

#define BYTES (UINT64_C(1) << 16)
#define PAGE 4096u

struct scene {
    _Alignas(BENCH_PAD) _Atomic uint64_t done; /* rounds */
    _Alignas(BENCH_PAD) _Atomic int64_t sent_ns;
    const struct run *run;
    struct slipring_ring *ring;
    uint64_t *marks; /* a page that streams store into: two marks, a pair of lines apart */
    uint64_t rounds;
    bool ours;
};

static uint64_t mark_of(const struct scene *scene, unsigned index)
{
    return __atomic_load_n(&scene->marks[index * 16], __ATOMIC_ACQUIRE);
}

static void wait_mark(const struct scene *scene, unsigned index, uint64_t value)
{
    while (mark_of(scene, index) < value) {
    }
}

static void wait_done(const struct scene *scene, uint64_t rounds)
{
    while (atomic_load(&scene->done) < rounds) {
    }
}

static void end_round(struct scene *scene)
{
    atomic_fetch_add(&scene->done, 1);
}

/* ---- gpu_release ---- */

static void claim_released(struct scene *scene)
{
    struct slipring_producer *producer = ring_producer(scene->ring, SLIPRING_WAIT_SPIN);
    struct slipring_loan loan;
    while (slipring_producer_try_claim(producer, 1, &loan) == 0) {
        CHECK(slipring_producer_publish(producer, 1, NULL) == 0);
    }
    for (uint64_t i = 1; i <= scene->rounds; i++) {
        end_round(scene);
        wait_mark(scene, 0, i);
        const int64_t since = now_ns();
        int code = -EAGAIN;
        if (scene->ours) {
            while ((code = slipring_producer_try_claim(producer, 1, &loan)) == -EAGAIN) {
            }
        } else {
            wait_mark(scene, 1, i);
        }
        samples_add(scene->run->tails, (double)(now_ns() - since));
        while (code == -EAGAIN) {
            code = slipring_producer_try_claim(producer, 1, &loan);
        }
        CHECK(code == 0 && slipring_producer_publish(producer, 1, NULL) == 0);
    }
    slipring_producer_detach(producer);
}

static void release_marked(struct scene *scene, struct slipring_consumer *consumer)
{
    struct gpu gpu;
    gpu_begin(&gpu);
    struct slipring_cuda *cuda = gpu_registered(scene->ring);
    void *stream = gpu_stream(&gpu);
    const uint64_t device = gpu_memory(&gpu, BYTES);
    const uint64_t marks = gpu_register(&gpu, scene->marks, PAGE);
    for (uint64_t i = 1; i <= scene->rounds; i++) {
        struct slipring_view view;
        int code;
        wait_done(scene, i);
        while ((code = slipring_consumer_try_acquire(consumer, 1, &view)) == -EAGAIN) {
        }
        CHECK(code == 0);
        CHECK(slipring_cuda_copy(cuda, consumer, &view, 0, device, stream, NULL) == 0);
        GPU_CHECK(gpu.write_value(stream, marks, i, 0));
        if (!scene->ours) {
            GPU_CHECK(gpu.write_value(stream, marks + 16 * 8, i, 0));
        }
        CHECK(slipring_cuda_release(cuda, consumer, &view, stream, NULL) == 0);
    }
    CHECK(slipring_cuda_drain(cuda, SLIPRING_FOREVER, NULL) == 0);
    slipring_consumer_detach(consumer);
    slipring_cuda_unregister(cuda);
}

static int play_release(struct seat *seat, void *context)
{
    struct scene *scene = context;
    struct slipring_consumer *consumer = seat_index(seat) == 1 ? gpu_consumer(scene->ring) : NULL;
    seat_meet(seat);
    consumer == NULL ? claim_released(scene) : release_marked(scene, consumer);
    seat_meet(seat);
    return 0;
}

/* ---- d2h_publish ---- */

static void read_published(struct scene *scene, struct slipring_consumer *consumer)
{
    for (uint64_t i = 1; i <= scene->rounds; i++) {
        struct slipring_view view;
        int code = -EAGAIN;
        end_round(scene);
        if (scene->ours) {
            while ((code = slipring_consumer_try_acquire(consumer, 1, &view)) == -EAGAIN) {
            }
            CHECK(code == 0);
        } else {
            wait_mark(scene, 0, i);
        }
        const int64_t now = now_ns();
        samples_add(scene->run->tails, (double)(now - atomic_load(&scene->sent_ns)));
        CHECK(code != 0 || slipring_consumer_release(consumer, &view) == 0);
    }
    slipring_consumer_detach(consumer);
}

static void publish_from_device(struct scene *scene)
{
    struct gpu gpu;
    struct slipring_memory memory = {.struct_size = sizeof memory};
    struct slipring_loan loan;
    gpu_begin(&gpu);
    struct slipring_cuda *cuda = gpu_registered(scene->ring);
    struct slipring_producer *producer = ring_producer(scene->ring, SLIPRING_WAIT_SPIN);
    void *stream = gpu_stream(&gpu);
    const uint64_t device = gpu_memory(&gpu, BYTES);
    const uint64_t marks = gpu_register(&gpu, scene->marks, PAGE);
    CHECK(slipring_ring_memory(scene->ring, &memory) == 0);
    for (uint64_t i = 1; i <= scene->rounds; i++) {
        wait_done(scene, i);
        if (scene->ours) {
            /* The helper's turn, so that slots are free: what is measured does not wait for them. */
            CHECK(slipring_cuda_drain(cuda, SLIPRING_FOREVER, NULL) == 0);
            atomic_store(&scene->sent_ns, now_ns());
            CHECK(slipring_cuda_claim(cuda, producer, 1, stream, &loan, NULL) == 0);
            CHECK(slipring_cuda_fill(cuda, producer, &loan, 0, device, stream, NULL) == 0);
            CHECK(slipring_cuda_publish(cuda, producer, 1, NULL, stream, NULL) == 0);
        } else {
            atomic_store(&scene->sent_ns, now_ns());
            GPU_CHECK(gpu.to_host((uint8_t *)memory.payload + i % memory.slots * BYTES, device,
                                  BYTES, stream));
            GPU_CHECK(gpu.write_value(stream, marks, i, 0));
        }
    }
    GPU_CHECK(gpu.synchronize(stream));
    CHECK(slipring_cuda_drain(cuda, SLIPRING_FOREVER, NULL) == 0);
    slipring_producer_detach(producer);
    slipring_cuda_unregister(cuda);
}

static int play_publish(struct seat *seat, void *context)
{
    struct scene *scene = context;
    struct slipring_consumer *consumer = seat_index(seat) == 0 ? gpu_consumer(scene->ring) : NULL;
    seat_meet(seat);
    consumer != NULL ? read_published(scene, consumer) : publish_from_device(scene);
    seat_meet(seat);
    return 0;
}

/* ---- gpu_reader_latency ---- */

static void ask_kernel(struct scene *scene)
{
    struct slipring_producer *producer =
        scene->ours ? ring_producer(scene->ring, SLIPRING_WAIT_SPIN) : NULL;
    wait_done(scene, 1);
    for (uint64_t i = 1; i <= scene->rounds; i++) {
        struct slipring_loan loan;
        if (scene->ours) {
            while (slipring_producer_try_claim(producer, 1, &loan) == -EAGAIN) {
            }
        }
        const int64_t since = now_ns();
        if (scene->ours) {
            CHECK(slipring_producer_publish(producer, 1, NULL) == 0);
        } else {
            __atomic_store_n(&scene->marks[16], i, __ATOMIC_RELEASE);
        }
        wait_mark(scene, 0, i);
        samples_add(scene->run->tails, (double)(now_ns() - since));
    }
    slipring_producer_detach(producer);
}

static void answer_by_kernel(struct scene *scene, struct slipring_consumer *consumer)
{
    struct gpu gpu;
    struct slipring_device_reader reader, after;
    gpu_begin(&gpu);
    struct slipring_cuda *cuda = gpu_registered(scene->ring);
    void *stream = gpu_stream(&gpu);
    void *kernel = gpu_kernel(&gpu, scene->ours ? "slipring_echo" : "slipring_pong");
    uint64_t answer = gpu_register(&gpu, scene->marks, PAGE), question = answer + 16 * 8;
    uint64_t end = gpu_memory(&gpu, sizeof after), rounds = scene->rounds;
    if (scene->ours) {
        CHECK(slipring_cuda_reader_begin(cuda, consumer, &reader, NULL) == 0);
        gpu_launch(&gpu, kernel, stream, (void *[]){&reader, &rounds, &answer, &end});
    } else {
        gpu_launch(&gpu, kernel, stream, (void *[]){&question, &answer, &rounds});
    }
    end_round(scene);
    GPU_CHECK(gpu.synchronize(stream));
    if (scene->ours) {
        GPU_CHECK(gpu.to_host(&after, end, sizeof after, stream));
        GPU_CHECK(gpu.synchronize(stream));
        CHECK(after.next == rounds);
        slipring_cuda_reader_end(cuda, after.next);
    }
    slipring_consumer_detach(consumer);
    slipring_cuda_unregister(cuda);
}

static int play_reader(struct seat *seat, void *context)
{
    struct scene *scene = context;
    struct slipring_consumer *consumer = seat_index(seat) == 1 ? gpu_consumer(scene->ring) : NULL;
    seat_meet(seat);
    consumer == NULL ? ask_kernel(scene) : answer_by_kernel(scene, consumer);
    seat_meet(seat);
    return 0;
}

/* ---- all ---- */

struct shape {
    int (*play)(struct seat *seat, void *context);
    uint64_t slots;
    bool ours;
};

static int run_shape(const struct run *run, const void *context)
{
    const struct shape *shape = context;
    struct scene *scene = shared_new(sizeof *scene);
    scene->run = run;
    scene->ours = shape->ours;
    scene->rounds = gpu_on_standin() ? 50 : run->quick ? 2000 : 10000;
    scene->marks = shared_new(PAGE);
    scene->ring = ring_simple(BYTES, shape->slots);
    const int code = team_run(2, shape->play, scene);
    slipring_ring_close(scene->ring);
    shared_free(scene->marks, PAGE);
    shared_free(scene, sizeof *scene);
    return code;
}

void perf_gpu_latency(struct bench *bench, bool kernels)
{
    static const char *const names[] = {GPU_LATENCY_NAMES};
    static const struct shape shapes[][2] = {
        {{play_release, 2, true}, {play_release, 2, false}},
        {{play_publish, 8, true}, {play_publish, 8, false}},
        {{play_reader, 8, true}, {play_reader, 8, false}},
    };
    static const char *const floors[] = {"two bare marks", "copy and mark", "bare word"};
    for (size_t i = 0; i < (kernels ? 3u : 2u); i++) {
        gpu_measure(bench, names[i], "ns", run_shape, &shapes[i][0], floors[i], &shapes[i][1]);
    }
}
