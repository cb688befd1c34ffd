/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pin_rate    how fast the memory of a ring of 4 GiB (or a quarter of what is free) is page-locked
 * pin_stall   the longest call of the driver on the way, during which other CUDA calls of the machine
 *             may wait
 *
 * Floor of both: one call of cuMemHostRegister() for as much shared memory, faulted in.
 */
#include "gpu.h"

#define SLOT_BYTES (UINT64_C(1) << 22)
#define RING_BYTES (UINT64_C(1) << 32)

struct job {
    const struct run *run;
    struct slipring_ring *ring; /* NULL: one call */
    void *memory;
    uint64_t bytes;
    bool stall; /* measured, else the rate */
};

static int play(struct seat *seat, void *context)
{
    const struct job *job = context;
    int64_t all = 0, longest = 0;
    uint64_t bytes = job->bytes;
    (void)seat;
    if (job->ring != NULL) {
        struct slipring_cuda *cuda = gpu_registered(job->ring);
        struct slipring_cuda_info info = {.struct_size = sizeof info};
        CHECK(slipring_cuda_get_info(cuda, &info) == 0);
        all = info.locking_ns;
        longest = info.longest_stall_ns;
        bytes = info.locked_bytes;
        slipring_cuda_unregister(cuda);
    } else {
        struct gpu gpu;
        gpu_begin(&gpu);
        const int64_t since = now_ns();
        GPU_CHECK(gpu.host_register(job->memory, bytes, 3));
        all = longest = now_ns() - since;
        GPU_CHECK(gpu.host_unregister(job->memory));
    }
    samples_add(job->run->chunks, job->stall ? (double)longest : (double)bytes / (double)all);
    return 0;
}

struct way {
    bool ours, stall;
};

static uint64_t ring_bytes(void)
{
    const uint64_t most = gpu_on_standin() ? SLOT_BYTES * 16 : memory_available() / 4;
    uint64_t bytes = RING_BYTES;
    while (bytes > most) {
        bytes /= 2;
    }
    return bytes;
}

static int run_pin(const struct run *run, const void *context)
{
    const struct way *way = context;
    struct job job = {.run = run, .bytes = ring_bytes(), .stall = way->stall};
    if (way->ours) {
        job.ring = ring_simple(SLOT_BYTES, job.bytes / SLOT_BYTES);
    } else {
        job.memory = shared_new(job.bytes);
    }
    const int code = team_run(1, play, &job);
    slipring_ring_close(job.ring);
    if (!way->ours) {
        shared_free(job.memory, job.bytes);
    }
    return code;
}

void perf_gpu_pin(struct bench *bench)
{
    static const char *const names[] = {GPU_PIN_NAMES};
    static const struct way rate[] = {{true, false}, {false, false}};
    static const struct way stall[] = {{true, true}, {false, true}};
    gpu_measure(bench, names[0], "GB/s", run_pin, &rate[0], "one call", &rate[1]);
    gpu_measure(bench, names[1], "ns", run_pin, &stall[0], "one call", &stall[1]);
}
