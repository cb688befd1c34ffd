/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h2d_from_slot_*   a slot copied to the device, by size. Floor: the same from memory of cuMemHostAlloc
 * h2d_vs_pageable   64 MiB from a slot. Floor: the same from memory that nobody locked
 * h2d_overlap       how much of the copies of 16 MiB is hidden behind kernels on another stream that
 *                   take a fifth longer. Floor: the same from memory of cuMemHostAlloc
 *
 * Each copy from another slot than the one before, and none overlaps its predecessor's.
 */
#include "gpu.h"

#include <stdlib.h>
#include <string.h>

#define SLOTS_BYTES (UINT64_C(1) << 26) /* rotated over; two slots at least */
#define ROUND_BYTES (UINT64_C(1) << 28) /* of a chunk */

enum memory { SLOTS, PINNED, PAGEABLE };

struct way {
    enum memory from;
    uint64_t bytes;
};

struct job {
    const struct run *run;
    const struct way *way;
    struct slipring_ring *ring; /* SLOTS */
    uint64_t slots;
    bool overlap;
};

/* Copies from wherever. */
struct source {
    struct gpu gpu;
    const struct job *job;
    struct slipring_cuda *cuda;
    struct slipring_consumer *consumer;
    struct slipring_view view;
    const uint8_t *memory;
    uint64_t device;
    void *stream;
};

static void source_begin(struct source *source, const struct job *job)
{
    const uint64_t bytes = job->slots * job->way->bytes;
    source->job = job;
    gpu_begin(&source->gpu);
    source->stream = gpu_stream(&source->gpu);
    source->device = gpu_memory(&source->gpu, job->way->bytes);
    if (job->way->from == SLOTS) {
        struct slipring_loan loan;
        struct slipring_producer *producer = ring_producer(job->ring, SLIPRING_WAIT_SPIN);
        source->cuda = gpu_registered(job->ring);
        source->consumer = gpu_consumer(job->ring);
        CHECK(slipring_producer_try_claim(producer, job->slots, &loan) == 0);
        memset(loan.data, 1, loan.bytes);
        CHECK(slipring_producer_publish(producer, job->slots, NULL) == 0);
        CHECK(slipring_consumer_try_acquire(source->consumer, job->slots, &source->view) == 0);
        CHECK(source->view.slots == job->slots);
        slipring_producer_detach(producer);
        return;
    }
    void *memory = job->way->from == PAGEABLE ? malloc(bytes) : NULL;
    if (job->way->from == PINNED) {
        GPU_CHECK(source->gpu.host_alloc(&memory, bytes, 0));
    }
    CHECK(memory != NULL);
    memset(memory, 1, bytes);
    source->memory = memory;
}

static void source_copy(struct source *source, uint64_t slot)
{
    const uint64_t bytes = source->job->way->bytes;
    if (source->job->way->from == SLOTS) {
        struct slipring_view view = source->view; /* that one slot of it */
        view.slot.sequence += slot;
        view.slots = 1;
        view.data = (uint8_t *)(uintptr_t)source->view.data + slot * view.stride;
        CHECK(slipring_cuda_copy(source->cuda, source->consumer, &view, 0, source->device,
                                 source->stream, NULL) == 0);
        return;
    }
    GPU_CHECK(source->gpu.to_device(source->device, source->memory + slot * bytes, bytes,
                                    source->stream));
}

/* So many copies, one behind the other; in ns. */
static int64_t copies(struct source *source, uint64_t count)
{
    const int64_t since = now_ns();
    for (uint64_t i = 0; i < count; i++) {
        source_copy(source, i % source->job->slots);
    }
    GPU_CHECK(source->gpu.synchronize(source->stream));
    return now_ns() - since;
}

static void overlap(struct source *source, uint64_t count, uint64_t chunks)
{
    void *kernel = gpu_kernel(&source->gpu, "slipring_spin");
    void *stream = gpu_stream(&source->gpu);
    for (uint64_t c = 0; c < chunks; c++) {
        const int64_t alone = copies(source, count);
        uint64_t each = (uint64_t)(alone + alone / 5) / count;
        int64_t since = now_ns();
        for (uint64_t i = 0; i < count; i++) {
            gpu_launch(&source->gpu, kernel, stream, (void *[]){&each});
        }
        GPU_CHECK(source->gpu.synchronize(stream));
        const int64_t kernels = now_ns() - since;
        since = now_ns();
        for (uint64_t i = 0; i < count; i++) {
            gpu_launch(&source->gpu, kernel, stream, (void *[]){&each});
            source_copy(source, i % source->job->slots);
        }
        GPU_CHECK(source->gpu.synchronize(source->stream));
        GPU_CHECK(source->gpu.synchronize(stream));
        const int64_t both = now_ns() - since;
        const double visible = both > kernels ? (double)(both - kernels) : 0;
        samples_add(source->job->run->chunks, 100 * (1 - visible / (double)alone));
    }
}

static int play(struct seat *seat, void *context)
{
    const struct job *job = context;
    const uint64_t round = gpu_on_standin() ? job->way->bytes : ROUND_BYTES;
    const uint64_t count = round > job->way->bytes ? round / job->way->bytes : 2;
    const uint64_t chunks = gpu_on_standin() ? 2 : job->run->quick ? 10 : 40;
    struct source source = {.cuda = NULL};
    (void)seat;
    source_begin(&source, job);
    (void)copies(&source, count); /* warm */
    if (job->overlap) {
        overlap(&source, count, chunks);
    } else {
        for (uint64_t c = 0; c < chunks; c++) {
            const int64_t ns = copies(&source, count);
            samples_add(job->run->chunks, (double)(count * job->way->bytes) / (double)ns);
        }
    }
    slipring_cuda_unregister(source.cuda);
    return 0;
}

static int run_copies(const struct run *run, const struct way *way, bool overlapped)
{
    struct job job = {.run = run, .way = way, .overlap = overlapped};
    job.slots = SLOTS_BYTES / way->bytes;
    job.slots = job.slots < 2 ? 2 : job.slots > 64 ? 64 : job.slots;
    job.ring = way->from == SLOTS ? ring_simple(way->bytes, job.slots) : NULL;
    const int code = team_run(1, play, &job);
    slipring_ring_close(job.ring);
    return code;
}

static int run_plain(const struct run *run, const void *context)
{
    return run_copies(run, context, false);
}

static int run_overlap(const struct run *run, const void *context)
{
    return run_copies(run, context, true);
}

void perf_gpu_copy(struct bench *bench, bool kernels)
{
    static const char *const names[] = {GPU_COPY_NAMES};
    static const struct way ours[] = {
        {SLOTS, 1 << 16}, {SLOTS, 1 << 20}, {SLOTS, 1 << 24}, {SLOTS, 1 << 28}, {SLOTS, 1 << 30}};
    static const struct way pinned[] = {{PINNED, 1 << 16},
                                        {PINNED, 1 << 20},
                                        {PINNED, 1 << 24},
                                        {PINNED, 1 << 28},
                                        {PINNED, 1 << 30}};
    static const struct way large[] = {{SLOTS, 1 << 26}, {PAGEABLE, 1 << 26}};
    const size_t sizes = sizeof ours / sizeof *ours;
    for (size_t i = 0; i < sizes; i++) {
        if (bench_wants(bench, names[i]) && memory_available() < 3 * ours[i].bytes) {
            bench_note(bench, "%s left out: two slots do not fit the memory", names[i]);
            continue;
        }
        gpu_measure(bench, names[i], "GB/s", run_plain, &ours[i], "cuMemHostAlloc", &pinned[i]);
    }
    gpu_measure(bench, names[sizes], "GB/s", run_plain, &large[0], "pageable", &large[1]);
    if (kernels) {
        gpu_measure(bench, names[sizes + 1], "%", run_overlap, &ours[2], "cuMemHostAlloc",
                    &pinned[2]);
    }
}
