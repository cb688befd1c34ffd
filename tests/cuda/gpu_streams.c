/* SPDX-License-Identifier: Apache-2.0 */
/* Questions 2, 4, 5 and 10: stores and waits of streams, and captures. */
#define _GNU_SOURCE
#include "gpu.h"

#define PATIENCE_MS 20000

/* ---- 2 ---- */

struct shared {
    struct slipring_ring *ring;
    struct gate gate;
};

/* Copies all slots behind the gate, and hands their release to the stream. */
static int release_behind_gate(struct proc *self, void *context)
{
    struct shared *shared = context;
    struct scene scene = {.ring = shared->ring};
    struct slipring_view view;
    scene_open(&scene);
    gate_use(&shared->gate);
    scene.consumer = proc_member(scene.ring, NULL, SLIPRING_UNORDERED, 0);
    proc_tell(self, cuda_info(scene.cuda).release_by);
    CHECK_OK(slipring_consumer_acquire(scene.consumer, 1, &view, proc_in_ms(PATIENCE_MS)));
    gate_close(&shared->gate, scene.stream);
    for (unsigned i = 0; i < GPU_SLOTS; i++) {
        if (i != 0) {
            CHECK_OK(slipring_consumer_acquire(scene.consumer, 1, &view, proc_in_ms(PATIENCE_MS)));
        }
        CHECK_OK(slipring_cuda_copy(scene.cuda, scene.consumer, &view, 0,
                                    scene.device + i * GPU_BYTES, scene.stream, NULL));
        CHECK_OK(slipring_cuda_release(scene.cuda, scene.consumer, &view, scene.stream, NULL));
    }
    proc_tell(self, 1);
    (void)proc_hear(self);
    CHECK(on_device(&scene, 0, GPU_SLOTS));
    scene_close(&scene);
    return 0;
}

void gpu_stores(void)
{
    struct shared shared = {.ring = cuda_ring(GPU_SLOTS, GPU_BYTES, SLIPRING_BLOCK),
                            .gate = gate_new()};
    struct proc child = proc_start(release_behind_gate, &shared);
    const bool by_store = proc_hear(&child) == SLIPRING_CUDA_BY_STORE;
    struct slipring_producer *producer = proc_producer(shared.ring);
    publish(producer, GPU_SLOTS);
    (void)proc_hear(&child);
    if (!by_store) {
        denied("this device cannot store 64 bits from a stream");
    }
    CHECK_EQ(try_claim(producer, 1), -EAGAIN);
    if (!on_standin) { /* whose device is threads of that process */
        proc_stop(&child);
    }
    const int64_t since = slipring_now_ns(), until = proc_in_ms(PATIENCE_MS);
    int code;
    gate_open(&shared.gate);
    while ((code = try_claim(producer, GPU_SLOTS)) == -EAGAIN && slipring_now_ns() < until) {
    }
    if (code == 0) {
        said("all %u slots free %.3f ms after the gate, while the process that copied was %s",
             GPU_SLOTS, ms_since(since), on_standin ? "at work" : "stopped");
    } else {
        denied("not free after %.0f s (%d)", ms_since(since) / 1e3, code);
    }
    if (!on_standin) {
        proc_continue(&child);
    }
    while (try_claim(producer, GPU_SLOTS) != 0 && slipring_now_ns() < until + 5000 * PROC_MS) {
        proc_pause_us(1000);
    }
    proc_tell(&child, 1);
    proc_end(&child);
    slipring_producer_detach(producer);
    slipring_ring_close(shared.ring);
}

/* ---- 4 ---- */

static int hold_one(struct proc *self, void *context)
{
    struct slipring_consumer *consumer = proc_member(context, NULL, 0, 0);
    struct slipring_view view;
    proc_tell(self, 1);
    CHECK_OK(slipring_consumer_acquire(consumer, 1, &view, SLIPRING_FOREVER));
    proc_tell(self, 1);
    proc_sleep();
}

/* One more message than there is room for, from the device; the time until it is published. */
static double publish_one_more(struct scene *scene, struct proc *victim)
{
    struct slipring_loan loan;
    struct slipring_error error = {0};
    CHECK_OK(slipring_cuda_claim(scene->cuda, scene->producer, 1, scene->stream, &loan, &error));
    CHECK_OK(slipring_cuda_fill(scene->cuda, scene->producer, &loan, 0, scene->device,
                                scene->stream, &error));
    CHECK_OK(slipring_cuda_publish(scene->cuda, scene->producer, 1, NULL, scene->stream, &error));
    const bool waited = victim == NULL || gpu.query(scene->stream) == 600; /* who evicts may have */
    const int64_t since = slipring_now_ns();
    if (victim != NULL) {
        proc_kill(victim);
    }
    const int code = slipring_cuda_drain(scene->cuda, proc_in_ms(PATIENCE_MS), &error);
    const double ms = ms_since(since);
    if (code != 0 || !waited) {
        denied("%s", code != 0 ? error.text : "the stream did not wait");
    }
    return ms;
}

void gpu_evicts(void)
{
    struct scene scene = {.ring = cuda_ring(GPU_SLOTS, GPU_BYTES, SLIPRING_BLOCK)};
    struct slipring_view view;
    struct proc victim = proc_start(hold_one, scene.ring);
    (void)proc_hear(&victim);
    scene.producer = proc_producer(scene.ring);
    scene_open(&scene);
    publish(scene.producer, GPU_SLOTS);
    (void)proc_hear(&victim);
    said("killed: %.1f ms from the kill", publish_one_more(&scene, &victim));
    scene.consumer = proc_member(scene.ring, NULL, 0, 50);
    while (slipring_consumer_try_acquire(scene.consumer, 1, &view) == 0) {
        CHECK_OK(slipring_consumer_release(scene.consumer, &view));
    }
    publish(scene.producer, GPU_SLOTS);
    CHECK_OK(slipring_consumer_try_acquire(scene.consumer, 1, &view));
    said("evicted: %.1f ms, of which 50 are its patience", publish_one_more(&scene, NULL));
    CHECK_EQ(slipring_consumer_release(scene.consumer, &view), -ESTALE);
    scene_close(&scene);
}

/* ---- 5 ---- */

/* Copy a view behind the gate by the driver's call, and release it by one, or on the stream. What
 * arrives when the producer could write, or could not, and the gate is opened? */
static bool survives(struct scene *scene, struct gate *gate, bool on_stream)
{
    struct slipring_view view;
    publish(scene->producer, GPU_SLOTS);
    CHECK_OK(slipring_consumer_try_acquire(scene->consumer, 1, &view));
    const uint64_t sequence = view.slot.sequence;
    gate_close(gate, scene->stream);
    CHECK_CU(gpu.to_device(scene->device, view.data, GPU_BYTES, scene->stream));
    if (on_stream) {
        CHECK_OK(slipring_cuda_release(scene->cuda, scene->consumer, &view, scene->stream, NULL));
        CHECK_EQ(try_claim(scene->producer, 1), -EAGAIN);
    } else {
        CHECK_OK(slipring_consumer_release(scene->consumer, &view));
        publish(scene->producer, 1); /* into that slot */
    }
    gate_open(gate);
    CHECK_CU(gpu.synchronize(scene->stream));
    CHECK_OK(slipring_cuda_drain(scene->cuda, proc_in_ms(PATIENCE_MS), NULL));
    const bool whole = on_device(scene, sequence, 1);
    while (slipring_consumer_try_acquire(scene->consumer, 1, &view) == 0) {
        CHECK_OK(slipring_consumer_release(scene->consumer, &view));
    }
    return whole;
}

void gpu_outlived(void)
{
    struct scene scene = {.ring = cuda_ring(GPU_SLOTS, GPU_BYTES, SLIPRING_BLOCK)};
    struct gate gate = gate_new();
    scene.producer = proc_producer(scene.ring);
    scene.consumer = proc_member(scene.ring, NULL, SLIPRING_UNORDERED, 0);
    scene_open(&scene);
    gate_use(&gate);
    const bool early = survives(&scene, &gate, false);
    const bool late = survives(&scene, &gate, true);
    said("released under the copy: %s arrived; released by the stream: %s",
         early ? "what lay there before" : "the next message", late ? "the message" : "another");
    if (early || !late) {
        denied("which is not as expected");
    }
    scene_close(&scene);
}

/* ---- 10 ---- */

static void want_refused(const char *what, int code, const struct slipring_error *error)
{
    if (code != -EINVAL || strstr(error->text, "graph") == NULL) {
        denied("%s: %d, %s", what, code, error->text);
    }
}

void gpu_captured(void)
{
    struct scene scene = {.ring = cuda_ring(GPU_SLOTS, GPU_BYTES, SLIPRING_BLOCK)};
    struct gate gate = gate_new();
    struct slipring_view first, second;
    struct slipring_loan loan;
    struct slipring_error error = {0};
    void *captured = NULL, *graph = NULL;
    scene.producer = proc_producer(scene.ring);
    scene.consumer = proc_member(scene.ring, NULL, SLIPRING_UNORDERED, 0);
    scene_open(&scene);
    gate_use(&gate);
    CHECK_CU(gpu.stream_create(&captured, 1));
    publish(scene.producer, 2);
    CHECK_OK(slipring_consumer_try_acquire(scene.consumer, 1, &first));
    CHECK_OK(slipring_consumer_try_acquire(scene.consumer, 1, &second));
    gate_close(&gate, scene.stream); /* something for the helper to look at meanwhile */
    CHECK_OK(slipring_cuda_copy(scene.cuda, scene.consumer, &first, 0, scene.device, scene.stream,
                                &error));
    CHECK_OK(slipring_cuda_release(scene.cuda, scene.consumer, &first, scene.stream, &error));
    CHECK_CU(gpu.begin_capture(captured, 0)); /* 0: of all threads */
    want_refused(
        "copy",
        slipring_cuda_copy(scene.cuda, scene.consumer, &second, 0, scene.device, captured, &error),
        &error);
    want_refused("release",
                 slipring_cuda_release(scene.cuda, scene.consumer, &second, captured, &error),
                 &error);
    want_refused("claim",
                 slipring_cuda_claim(scene.cuda, scene.producer, 1, captured, &loan, &error),
                 &error);
    gate_open(&gate);
    const int drained = slipring_cuda_drain(scene.cuda, proc_in_ms(PATIENCE_MS), &error);
    const int ended = gpu.end_capture(captured, &graph);
    if (drained != 0 || ended != 0) {
        denied("the other stream's release: %d; the capture ended with CUresult %d", drained,
               ended);
    } else {
        said("refused with a text, and a release on another stream came meanwhile; the capture "
             "ended "
             "well");
        CHECK_CU(gpu.graph_destroy(graph));
    }
    CHECK_OK(slipring_consumer_release(scene.consumer, &second));
    CHECK_CU(gpu.stream_destroy(captured));
    scene_close(&scene);
}
