/* SPDX-License-Identifier: Apache-2.0 */
/* Questions 8, 9 and 11: what a killed process leaves under way, kernels, a context that is lost. */
#define _GNU_SOURCE
#include "gpu.h"

#include <slipring/slipring.h>

#define PATIENCE_MS 20000
#define RETIRED_MS 2000 /* after the death's locks are gone a cell may be taken anew */
#define LOOK_MS 2300
#define ROUNDS 12u

/* ---- 8 ---- */

struct shared {
    struct slipring_ring *ring;
    struct gate gate;
    bool gated;
};

/* Copies and releases on three streams as fast as it can, or as much as there is, behind a gate. */
static int release_until_killed(struct proc *self, void *context)
{
    struct shared *shared = context;
    struct scene scene = {.ring = shared->ring};
    void *streams[3];
    scene_open(&scene);
    gate_use(&shared->gate);
    scene.consumer = proc_member(scene.ring, NULL, SLIPRING_UNORDERED, 0);
    for (unsigned i = 0; i < 3; i++) {
        CHECK_CU(gpu.stream_create(&streams[i], 1));
        if (shared->gated) {
            gate_close(&shared->gate, streams[i]);
        }
    }
    proc_tell(self, 1);
    for (uint64_t i = 0;; i++) {
        struct slipring_view view;
        if (shared->gated && i == GPU_SLOTS) {
            proc_tell(self, 2);
        }
        CHECK_OK(slipring_consumer_acquire(scene.consumer, 1, &view, SLIPRING_FOREVER));
        CHECK_OK(slipring_cuda_copy(scene.cuda, scene.consumer, &view, 0,
                                    scene.device + i % GPU_SLOTS * GPU_BYTES, streams[i % 3],
                                    NULL));
        CHECK_OK(slipring_cuda_release(scene.cuda, scene.consumer, &view, streams[i % 3], NULL));
    }
}

static bool any_alive(struct slipring_ring *ring)
{
    struct slipring_member members[4] = {{.struct_size = sizeof members[0]}};
    const int count = slipring_ring_members(ring, members, 4);
    CHECK_OK(count);
    for (int i = 0; i < count && i < 4; i++) {
        if (members[i].alive) {
            return true;
        }
    }
    return false;
}

/* After the death: when did a release word change for the last time, in ms from the lock's end on? */
static double last_store_ms(struct slipring_ring *ring, const struct gate *gate)
{
    struct slipring_memory memory = {.struct_size = sizeof memory};
    CHECK_OK(slipring_ring_memory(ring, &memory));
    uint64_t *before = malloc(memory.releases_bytes);
    const volatile uint64_t *now = memory.releases;
    const uint64_t words = memory.releases_bytes / 8;
    double last = 0;
    CHECK(before != NULL);
    for (const int64_t until = proc_in_ms(PATIENCE_MS); any_alive(ring);) {
        CHECK(slipring_now_ns() < until);
    }
    const int64_t since = slipring_now_ns();
    for (uint64_t i = 0; i < words; i++) {
        before[i] = now[i];
    }
    gate_open(gate);
    while (ms_since(since) < LOOK_MS) {
        for (uint64_t i = 0; i < words; i++) {
            if (now[i] != before[i]) {
                before[i] = now[i];
                last = ms_since(since);
            }
        }
        if (on_standin) { /* whose threads are dead: one look is as good */
            break;
        }
    }
    free(before);
    return last;
}

void gpu_killed(void)
{
    uint64_t random = proc_seed();
    double worst = 0;
    const unsigned rounds = on_standin ? 2 : ROUNDS;
    for (unsigned i = 0; i < rounds; i++) {
        struct shared shared = {.ring = cuda_ring(GPU_SLOTS, GPU_BYTES, SLIPRING_BLOCK),
                                .gate = gate_new(),
                                .gated = i % 4 == 0};
        struct proc child = proc_start(release_until_killed, &shared);
        (void)proc_hear(&child);
        struct slipring_producer *producer = proc_producer(shared.ring);
        publish(producer, GPU_SLOTS);
        if (shared.gated) {
            (void)proc_hear(&child);
        } else {
            publish(producer, proc_random(&random) % 200);
        }
        proc_kill(&child);
        const double last = last_store_ms(shared.ring, &shared.gate);
        worst = last > worst ? last : worst;
        const int64_t since = slipring_now_ns();
        struct slipring_loan loan; /* the dead hold nobody up */
        CHECK_OK(slipring_producer_claim(producer, GPU_SLOTS, &loan, proc_in_ms(PATIENCE_MS)));
        CHECK(ms_since(since) < PATIENCE_MS);
        CHECK_OK(slipring_producer_abort(producer));
        slipring_producer_detach(producer);
        slipring_ring_close(shared.ring);
    }
    said("%u deaths: the last store came %.3f ms after the lock was gone", rounds, worst);
    if (worst >= RETIRED_MS) {
        denied("later than %d ms", RETIRED_MS);
    }
}

/* ---- 9 ---- */

#define MESSAGES 2000u

static int produce_for_kernel(struct proc *self, void *context)
{
    struct slipring_producer *producer = proc_producer(context);
    (void)proc_hear(self);
    for (uint64_t i = 0; i < MESSAGES; i++) {
        struct slipring_loan loan;
        CHECK_OK(slipring_producer_claim(producer, 1, &loan, proc_in_ms(PATIENCE_MS)));
        memset(loan.data, (int)(i % 251), loan.bytes);
        CHECK_OK(slipring_producer_publish(producer, 1, NULL));
    }
    slipring_producer_detach(producer);
    return 0;
}

void gpu_reads(void)
{
    struct slipring_ring *ring = cuda_ring(4, 4096, SLIPRING_BLOCK);
    struct scene scene = {.ring = ring};
    struct slipring_device_reader reader, after;
    struct slipring_error error = {0};
    struct proc child = proc_start(produce_for_kernel, ring);
    uint64_t result = 0, sum = 0, expected = 0, messages = MESSAGES;
    scene_open(&scene);
    void *kernel = gpu_kernel("slipring_sum");
    scene.consumer = proc_member(ring, NULL, SLIPRING_UNORDERED, 0);
    CHECK_CU(gpu.alloc(&result, 4096));
    CHECK_CU(gpu.to_device(result, &sum, sizeof sum, scene.stream));
    CHECK_OK(slipring_cuda_reader_begin(scene.cuda, scene.consumer, &reader, &error));
    uint64_t end = result + 256;
    const int64_t since = slipring_now_ns();
    gpu_launch(kernel, 128, scene.stream, (void *[]){&reader, &messages, &result, &end});
    proc_tell(&child, 1);
    CHECK_CU(gpu.synchronize(scene.stream));
    const double ms = ms_since(since);
    CHECK_CU(gpu.to_host(&sum, result, sizeof sum, scene.stream));
    CHECK_CU(gpu.to_host(&after, end, sizeof after, scene.stream));
    CHECK_CU(gpu.synchronize(scene.stream));
    slipring_cuda_reader_end(scene.cuda, after.next);
    for (uint64_t i = 0; i < MESSAGES; i++) {
        expected += i % 251 * 4096;
    }
    said("%llu messages of 4096 bytes, read in place in %.1f ms, sum %s",
         (unsigned long long)after.next, ms, sum == expected ? "right" : "WRONG");
    if (sum != expected || after.next != MESSAGES) {
        denied("the kernel did not read what was published");
    }
    proc_end(&child);
    CHECK_CU(gpu.free(result));
    scene_close(&scene);
}

/* ---- 11 ---- */

void gpu_lost(void)
{
    /* For any device and nvcc: what stops the context for good. */
    static const char trap[] = ".version 6.0\n.target sm_50\n.address_size 64\n"
                               ".visible .entry slipring_fault()\n{\n    trap;\n    ret;\n}\n";
    struct scene scene = {.ring = cuda_ring(GPU_SLOTS, GPU_BYTES, SLIPRING_BLOCK)};
    struct gate gate = gate_new();
    struct slipring_error error = {0};
    struct slipring_view view;
    void *module = NULL, *fault = NULL;
    scene.producer = proc_producer(scene.ring);
    scene.consumer = proc_member(scene.ring, NULL, SLIPRING_UNORDERED, 0);
    scene_open(&scene);
    gate_use(&gate);
    const int loaded = gpu.module_load(&module, trap);
    if (loaded != 0) {
        not_asked("the driver does not take the kernel that faults (CUresult %d)", loaded);
    }
    CHECK_CU(gpu.module_function(&fault, module, "slipring_fault"));
    publish(scene.producer, GPU_SLOTS);
    gate_close(&gate, scene.stream);
    gpu_launch(fault, 1, scene.stream, NULL);
    for (unsigned i = 0; i < GPU_SLOTS; i++) {
        CHECK_OK(slipring_consumer_try_acquire(scene.consumer, 1, &view));
        CHECK_OK(slipring_cuda_copy(scene.cuda, scene.consumer, &view, 0, scene.device,
                                    scene.stream, NULL));
        CHECK_OK(slipring_cuda_release(scene.cuda, scene.consumer, &view, scene.stream, NULL));
    }
    CHECK_EQ(try_claim(scene.producer, 1), -EAGAIN);
    const int64_t since = slipring_now_ns();
    gate_open(&gate);
    struct slipring_loan loan;
    const int code =
        slipring_producer_claim(scene.producer, GPU_SLOTS, &loan, proc_in_ms(PATIENCE_MS));
    const double ms = ms_since(since);
    const int drained = slipring_cuda_drain(scene.cuda, proc_in_ms(PATIENCE_MS), &error);
    said("%llu of %u releases were lost with the context (drain: %d), and their slots free %.1f ms "
         "after the fault",
         (unsigned long long)cuda_info(scene.cuda).lost, GPU_SLOTS, drained, ms);
    if (code != 0 || drained != -EIO) {
        denied("they are not free (%d), or nobody is told", code);
    }
    if (code == 0) {
        CHECK_OK(slipring_producer_abort(scene.producer));
    }
    slipring_consumer_detach(scene.consumer);
    slipring_producer_detach(scene.producer);
    slipring_cuda_unregister(scene.cuda); /* with no context */
    slipring_ring_close(scene.ring);
}
