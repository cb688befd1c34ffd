/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A view handed to a stream is released when what is on the stream has run, and not before: by a
 * store of the device, by a host function, or by looking at the stream, whichever the device can do;
 * for unordered groups of one, groups of many and holds. One that was handed over is gone: it cannot
 * be released twice. An ordered consumer is refused. Eviction, detach and unregistering with releases
 * pending come right; each error of the driver, injected once, either leaves the view with its owner
 * or has it released all the same.
 */
#define _GNU_SOURCE
#include "cuda_test.h"

#define SLOTS 16u
#define BYTES 4096u

struct scene {
    struct slipring_ring *ring;
    struct slipring_cuda *cuda;
    struct slipring_producer *producer;
    struct slipring_consumer *consumer;
    uint64_t device;
    void *stream;
};

static struct scene set_up(uint32_t full, const char *group, uint32_t flags, int64_t evict_ms)
{
    struct scene scene = {.ring = cuda_ring(SLOTS, BYTES, full)};
    scene.cuda = cuda_registered(scene.ring, NULL);
    scene.producer = proc_producer(scene.ring);
    scene.consumer = proc_member(scene.ring, group, flags, evict_ms);
    CHECK_CU(gpu.alloc(&scene.device, (uint64_t)SLOTS * BYTES));
    CHECK_CU(gpu.stream_create(&scene.stream, 0));
    return scene;
}

static void tear_down(struct scene *scene)
{
    CHECK_CU(gpu.synchronize(scene->stream)); /* copies whose view was released by a call */
    slipring_consumer_detach(scene->consumer);
    slipring_producer_detach(scene->producer);
    slipring_cuda_unregister(scene->cuda);
    slipring_ring_close(scene->ring);
    CHECK_CU(gpu.stream_destroy(scene->stream));
    CHECK_CU(gpu.free(scene->device));
}

static void publish(struct scene *scene, uint64_t slots)
{
    struct slipring_loan loan;
    for (uint64_t i = 0; i < slots; i++) {
        CHECK_OK(slipring_producer_claim(scene->producer, 1, &loan, proc_in_ms(5000)));
        pattern_fill(loan.data, BYTES, loan.sequence);
        CHECK_OK(slipring_producer_publish(scene->producer, 1, NULL));
    }
}

static int claim(struct scene *scene, uint64_t slots, int64_t ms)
{
    struct slipring_loan loan;
    const int code = slipring_producer_claim(scene->producer, slots, &loan, proc_in_ms(ms));
    if (code == 0) {
        CHECK_OK(slipring_producer_abort(scene->producer));
    }
    return code;
}

static bool arrived(const struct scene *scene, const struct slipring_view *view)
{
    const uint8_t *got = standin.host(scene->device, view->slots * BYTES);
    for (uint64_t i = 0; i < view->slots; i++) {
        if (!pattern_whole(got + i * BYTES, BYTES, view->slot.sequence + i)) {
            return false;
        }
    }
    return true;
}

/* A block of the whole ring, twice: nothing is free while the stream is held, all is after. */
static void check_block(enum slipring_cuda_release_by by)
{
    struct scene scene = set_up(SLIPRING_BLOCK, NULL, SLIPRING_UNORDERED, 0);
    CHECK_EQ(cuda_info(scene.cuda).release_by, by);
    for (unsigned round = 0; round < 3; round++) {
        struct slipring_view view;
        struct slipring_error error = {0};
        const uint64_t slots = round == 0 ? 1 : SLOTS; /* one store, or many at once */
        publish(&scene, SLOTS);
        standin.hold(scene.stream, true);
        for (uint64_t done = 0; done < SLOTS; done += slots) {
            CHECK_OK(slipring_consumer_try_acquire(scene.consumer, slots, &view));
            CHECK_EQ(view.slots, slots);
            CHECK_OK(slipring_cuda_copy(scene.cuda, scene.consumer, &view, 0, scene.device,
                                        scene.stream, &error));
            CHECK_OK(
                slipring_cuda_release(scene.cuda, scene.consumer, &view, scene.stream, &error));
            CHECK_EQ(slipring_cuda_release(scene.cuda, scene.consumer, &view, scene.stream, &error),
                     -EINVAL);
        }
        CHECK(cuda_info(scene.cuda).pending == SLOTS / slots);
        CHECK_EQ(claim(&scene, 1, 30), -ETIMEDOUT);
        CHECK_EQ(slipring_cuda_drain(scene.cuda, 0, &error), -ETIMEDOUT);
        standin.hold(scene.stream, false);
        CHECK_EQ(claim(&scene, SLOTS, 5000), 0);
        CHECK(arrived(&scene, &view));
        CHECK_OK(slipring_cuda_drain(scene.cuda, proc_in_ms(5000), &error));
        CHECK_EQ(cuda_info(scene.cuda).pending, 0);
    }
    CHECK((standin.calls("cuLaunchHostFunc") != 0) == (by == SLIPRING_CUDA_BY_CALL));
    CHECK((standin.calls("cuStreamBatchMemOp") != 0) == (by == SLIPRING_CUDA_BY_STORE));
    tear_down(&scene);
}

static int by_call(struct proc *self, void *context)
{
    (void)self;
    (void)context;
    cuda_calls();
    standin.attribute(122, 0); /* no 64-bit stores */
    check_block(SLIPRING_CUDA_BY_CALL);
    return 0;
}

static int by_polling(struct proc *self, void *context)
{
    (void)self;
    (void)context;
    cuda_calls();
    standin.hide("cuStreamWriteValue64", true);
    standin.hide("cuLaunchHostFunc", true);
    check_block(SLIPRING_CUDA_BY_POLLING);
    return 0;
}

/* A call for many stores fails when half of them are on the stream, and no host function can say when
 * they have come: what was handed over is done only then, and no store comes after. */
static int half_stored(struct proc *self, void *context)
{
    struct slipring_memory memory = {.struct_size = sizeof memory};
    (void)self;
    (void)context;
    cuda_calls();
    standin.hide("cuLaunchHostFunc", true);
    struct scene scene = set_up(SLIPRING_BLOCK, NULL, SLIPRING_UNORDERED, 0);
    standin.delay(20000, 1);
    CHECK_OK(slipring_ring_memory(scene.ring, &memory));
    for (unsigned round = 0; round < 3; round++) {
        struct slipring_view view;
        publish(&scene, SLOTS);
        CHECK_OK(slipring_consumer_try_acquire(scene.consumer, SLOTS, &view));
        CHECK_EQ(view.slots, SLOTS);
        standin.fail("cuStreamBatchMemOp", 1, 999);
        CHECK_OK(slipring_cuda_release(scene.cuda, scene.consumer, &view, scene.stream, NULL));
        CHECK_OK(slipring_cuda_drain(scene.cuda, proc_in_ms(20000), NULL));
        memset(memory.releases, 0, memory.releases_bytes); /* all are counted: of no use any more */
        CHECK_CU(gpu.synchronize(scene.stream));
        for (uint64_t i = 0; i < memory.releases_bytes / 8; i++) {
            CHECK_EQ(((const uint64_t *)memory.releases)[i], 0);
        }
        CHECK_EQ(claim(&scene, SLOTS, 5000), 0);
    }
    standin.delay(20, 1);
    slipring_consumer_detach(scene.consumer);
    struct slipring_member member = {.struct_size = sizeof member};
    CHECK_EQ(slipring_ring_members(scene.ring, &member, 1), 0); /* its cell is free at once */
    scene.consumer = NULL;
    tear_down(&scene);
    return 0;
}

static void check_kinds(void)
{
    const struct {
        uint32_t full;
        const char *group;
        uint32_t flags;
    } kinds[] = {{SLIPRING_BLOCK, "many", SLIPRING_MANY}, {SLIPRING_OVERWRITE, NULL, 0}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct scene scene = set_up(kinds[i].full, kinds[i].group, kinds[i].flags, 0);
        struct slipring_view view;
        publish(&scene, 3);
        standin.hold(scene.stream, true);
        CHECK_OK(slipring_consumer_try_acquire(scene.consumer, 1, &view));
        const uint64_t held = view.slot.sequence;
        CHECK_OK(slipring_cuda_copy(scene.cuda, scene.consumer, &view, 0, scene.device,
                                    scene.stream, NULL));
        CHECK_OK(slipring_cuda_release(scene.cuda, scene.consumer, &view, scene.stream, NULL));
        if (kinds[i].full == SLIPRING_OVERWRITE) {
            publish(&scene, 2 * SLOTS); /* passes the held slot over */
        } else {
            CHECK_EQ(claim(&scene, SLOTS, 30), -ETIMEDOUT);
        }
        standin.hold(scene.stream, false);
        CHECK_OK(slipring_cuda_drain(scene.cuda, proc_in_ms(5000), NULL));
        CHECK(arrived(&scene, &view));
        CHECK_EQ(view.slot.sequence, held);
        CHECK(slipring_consumer_release(scene.consumer, &view) < 0); /* it was, by the helper */
        tear_down(&scene);
    }
    struct scene scene = set_up(SLIPRING_BLOCK, NULL, 0, 0);
    struct slipring_view view;
    struct slipring_error error = {0};
    publish(&scene, 1);
    CHECK_OK(slipring_consumer_try_acquire(scene.consumer, 1, &view));
    CHECK_EQ(slipring_cuda_release(scene.cuda, scene.consumer, &view, scene.stream, &error),
             -EINVAL);
    CHECK(strstr(error.text, "SLIPRING_UNORDERED") != NULL);
    CHECK_OK(slipring_consumer_release(scene.consumer, &view));
    tear_down(&scene);
}

static void hand_over(struct scene *scene, uint64_t slots)
{
    struct slipring_view view;
    CHECK_OK(slipring_consumer_try_acquire(scene->consumer, slots, &view));
    CHECK_OK(slipring_cuda_copy(scene->cuda, scene->consumer, &view, 0, scene->device,
                                scene->stream, NULL));
    CHECK_OK(slipring_cuda_release(scene->cuda, scene->consumer, &view, scene->stream, NULL));
}

/* Evicted under a copy: the producer goes on, the stores free nobody's slot, drain tells. */
static void check_evicted(void)
{
    struct scene scene = set_up(SLIPRING_BLOCK, NULL, SLIPRING_UNORDERED, 20);
    struct slipring_view view;
    struct slipring_error error = {0};
    publish(&scene, SLOTS);
    standin.hold(scene.stream, true);
    hand_over(&scene, 4);
    CHECK_OK(slipring_consumer_try_acquire(scene.consumer, 1, &view));
    publish(&scene, 1);
    CHECK_EQ(slipring_cuda_release(scene.cuda, scene.consumer, &view, scene.stream, &error),
             -ESTALE);
    standin.hold(scene.stream, false);
    CHECK_EQ(slipring_cuda_drain(scene.cuda, proc_in_ms(5000), &error), -ESTALE);
    CHECK_OK(slipring_cuda_drain(scene.cuda, proc_in_ms(5000), &error));
    CHECK_EQ(cuda_info(scene.cuda).stale, 1);
    tear_down(&scene);
}

/* Detached, then unregistered, with releases pending: both wait for the stream, nothing is lost. */
static void check_detached(void)
{
    struct scene scene = set_up(SLIPRING_BLOCK, NULL, SLIPRING_UNORDERED, 0);
    publish(&scene, SLOTS);
    standin.hold(scene.stream, true);
    hand_over(&scene, 4);
    slipring_consumer_detach(scene.consumer);
    CHECK_EQ(claim(&scene, SLOTS, 5000), 0); /* nobody gates */
    struct slipring_member member[2] = {{.struct_size = sizeof member[0]}};
    CHECK_EQ(slipring_ring_members(scene.ring, member, 2), 1);
    CHECK_EQ(member[0].state, 4); /* its cell is kept from others */
    scene.consumer = proc_member(scene.ring, NULL, SLIPRING_UNORDERED, 0);
    standin.hold(scene.stream, false);
    CHECK_OK(slipring_cuda_drain(scene.cuda, proc_in_ms(5000), NULL));
    CHECK_EQ(slipring_ring_members(scene.ring, member, 2), 1);
    CHECK_EQ(member[0].state, 2); /* the other's */
    tear_down(&scene);
}

static void check_lost(bool block)
{
    struct scene scene = set_up(SLIPRING_BLOCK, NULL, SLIPRING_UNORDERED, 0);
    struct slipring_error error = {0};
    publish(&scene, SLOTS);
    standin.hold(scene.stream, true);
    hand_over(&scene, block ? 8 : 1);
    hand_over(&scene, SLOTS - (block ? 8 : 1));
    CHECK_EQ(claim(&scene, 1, 30), -ETIMEDOUT);
    standin.lose(700);
    CHECK_EQ(claim(&scene, SLOTS, 5000), 0);
    CHECK_EQ(slipring_cuda_drain(scene.cuda, proc_in_ms(5000), &error), -EIO);
    CHECK(strstr(error.text, "lost") != NULL);
    CHECK_EQ(cuda_info(scene.cuda).lost, 2);
    struct slipring_view view;
    publish(&scene, 1); /* and what comes after is the caller's own */
    CHECK_OK(slipring_consumer_try_acquire(scene.consumer, 1, &view));
    CHECK_EQ(slipring_cuda_release(scene.cuda, scene.consumer, &view, scene.stream, &error), -EIO);
    CHECK_OK(slipring_consumer_release(scene.consumer, &view));
    standin.lose(0);
    standin.hold(scene.stream, false);
    tear_down(&scene);
}

/* Each call fails once: the view stays, or goes. */
static void check_errors(const char *function, unsigned n)
{
    struct scene scene = set_up(SLIPRING_BLOCK, NULL, SLIPRING_UNORDERED, 0);
    unsigned kept = 0;
    for (unsigned many = 0; many < 2; many++) {
        struct slipring_view view;
        struct slipring_error error = {0};
        publish(&scene, SLOTS);
        CHECK_OK(slipring_consumer_try_acquire(scene.consumer, many ? SLOTS : 1, &view));
        CHECK_OK(slipring_cuda_copy(scene.cuda, scene.consumer, &view, 0, scene.device,
                                    scene.stream, NULL));
        standin.fail(function, n, 999);
        const int code =
            slipring_cuda_release(scene.cuda, scene.consumer, &view, scene.stream, &error);
        if (code != 0) {
            CHECK_EQ(code, -EIO);
            CHECK(strstr(error.text, "999") != NULL);
            kept++;
            CHECK_OK(slipring_consumer_release(scene.consumer, &view));
        }
        CHECK_OK(slipring_cuda_drain(scene.cuda, proc_in_ms(5000), NULL));
        while (slipring_consumer_try_acquire(scene.consumer, 1, &view) == 0) {
            if (slipring_cuda_release(scene.cuda, scene.consumer, &view, scene.stream, &error) !=
                0) { /* the second call */
                CHECK_OK(slipring_consumer_release(scene.consumer, &view));
                kept++;
            }
        }
        CHECK_EQ(claim(&scene, SLOTS, 5000), 0);
        CHECK_OK(slipring_cuda_drain(scene.cuda, proc_in_ms(5000), NULL));
    }
    printf("%s fails at call %u: %u views stayed with their owner\n", function, n, kept);
    standin.fail(function, 0, 0);
    tear_down(&scene);
}

int main(void)
{
    cuda_begin(120);
    struct proc child = proc_start(by_call, NULL); /* before the driver is opened here */
    proc_end(&child);
    child = proc_start(by_polling, NULL);
    proc_end(&child);
    child = proc_start(half_stored, NULL);
    proc_end(&child);
    cuda_calls();
    check_block(SLIPRING_CUDA_BY_STORE);
    check_kinds();
    check_evicted();
    check_detached();
    check_lost(false);
    check_lost(true);
    const char *const functions[] = {
        "cuCtxPushCurrent", "cuStreamIsCapturing", "cuStreamGetCtx",       "cuEventCreate",
        "cuEventRecord",    "cuEventQuery",        "cuStreamWriteValue64", "cuStreamBatchMemOp"};
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        for (unsigned n = 1; n <= 2; n++) {
            check_errors(functions[i], n);
        }
    }
    return 0;
}
