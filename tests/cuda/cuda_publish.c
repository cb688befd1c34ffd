/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device produces: what it copied is published when its stream has come so far, and readers on the
 * processor, asleep or awake, see an ordinary publish, with tags. A claim whose slots are not free
 * makes the stream wait, and no slot that is read changes; a consumer that is evicted, or dies, ends
 * that wait. While claims are under way the producer's own calls are -EAGAIN. An aborted claim leaves
 * no gap. Where the device cannot store or wait, the helper publishes, and a claim is -EAGAIN. When
 * the context is lost what was to come is passed over. A producer that dies with stamps under way is
 * followed by one that waits until none can come. Each error of the driver, once, leaves the claim
 * open or publishes all the same.
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
    uint64_t next, seen; /* sequences to publish, to read */
    void *stream;
};

static struct scene set_up(int64_t evict_ms)
{
    struct scene scene = {.ring = cuda_ring(SLOTS, BYTES, SLIPRING_BLOCK)};
    scene.cuda = cuda_registered(scene.ring, NULL);
    scene.producer = proc_producer(scene.ring);
    scene.consumer = proc_member(scene.ring, NULL, SLIPRING_UNORDERED, evict_ms);
    CHECK_CU(gpu.alloc(&scene.device, (uint64_t)5 * SLOTS * BYTES));
    CHECK_CU(gpu.stream_create(&scene.stream, 0));
    return scene;
}

static void tear_down(struct scene *scene)
{
    CHECK_OK(slipring_cuda_drain(scene->cuda, proc_in_ms(5000), NULL));
    slipring_consumer_detach(scene->consumer);
    slipring_producer_detach(scene->producer);
    slipring_cuda_unregister(scene->cuda);
    slipring_ring_close(scene->ring);
    CHECK_CU(gpu.synchronize(scene->stream));
    CHECK_CU(gpu.stream_destroy(scene->stream));
    CHECK_CU(gpu.free(scene->device));
    CHECK_EQ(standin.registered(), 0);
}

/* Claim, fill from the device, publish: slots messages, each with its sequence as its tag. */
static int publish(struct scene *scene, uint64_t slots)
{
    struct slipring_loan loan;
    struct slipring_slot headers[SLOTS];
    struct slipring_error error = {0};
    memset(headers, 0, sizeof headers);
    int code =
        slipring_cuda_claim(scene->cuda, scene->producer, slots, scene->stream, &loan, &error);
    if (code != 0) {
        return code;
    }
    CHECK_EQ(loan.sequence, scene->next);
    const uint64_t part = scene->device + scene->next % (4 * SLOTS) * BYTES;
    uint8_t *source = standin.host(part, slots * BYTES);
    for (uint64_t i = 0; i < slots; i++) {
        pattern_fill(source + i * BYTES, BYTES, loan.sequence + i);
        headers[i].tag = loan.sequence + i;
    }
    CHECK_OK(
        slipring_cuda_fill(scene->cuda, scene->producer, &loan, 0, part, scene->stream, &error));
    code =
        slipring_cuda_publish(scene->cuda, scene->producer, slots, headers, scene->stream, &error);
    if (code != 0) {
        CHECK_OK(slipring_cuda_abort(scene->cuda, scene->producer, scene->stream, NULL));
        return code;
    }
    scene->next += slots;
    return 0;
}

static int take(struct scene *scene, uint64_t slots, struct slipring_view *view, int64_t ms)
{
    const int code = slipring_consumer_acquire(scene->consumer, slots, view, proc_in_ms(ms));
    if (code == 0) {
        CHECK_EQ(view->slot.sequence, scene->seen);
        CHECK_EQ(view->slot.tag, scene->seen);
        for (uint64_t i = 0; i < view->slots; i++) {
            CHECK(pattern_whole((const uint8_t *)view->data + i * view->stride, BYTES,
                                scene->seen + i));
        }
        scene->seen += view->slots;
    }
    return code;
}

static void take_all(struct scene *scene)
{
    struct slipring_view view;
    while (scene->seen != scene->next) {
        CHECK_OK(take(scene, 3, &view, 5000));
        CHECK_OK(slipring_consumer_release(scene->consumer, &view));
    }
}

static void check_plain(void)
{
    struct scene scene = set_up(0);
    struct slipring_view view;
    struct slipring_loan loan;
    struct slipring_error error = {0};
    standin.hold(scene.stream, true);
    CHECK_OK(publish(&scene, 1));
    CHECK_OK(publish(&scene, 4));
    CHECK_EQ(slipring_consumer_acquire(scene.consumer, 1, &view, proc_in_ms(20)), -ETIMEDOUT);
    CHECK_EQ(slipring_producer_try_claim(scene.producer, 1, &loan), -EAGAIN);
    CHECK_EQ(slipring_producer_claim(scene.producer, 1, &loan, proc_in_ms(20)), -ETIMEDOUT);
    CHECK_EQ(slipring_producer_publish(scene.producer, 1, NULL), -EAGAIN);
    CHECK_EQ(slipring_producer_abort(scene.producer), -EAGAIN);
    CHECK_EQ(slipring_cuda_drain(scene.cuda, proc_in_ms(5), &error), -ETIMEDOUT);
    standin.hold(scene.stream, false);
    take_all(&scene);
    CHECK_OK(slipring_cuda_drain(scene.cuda, proc_in_ms(5000), &error));
    CHECK_EQ(proc_info(scene.ring).cursor, scene.next);
    for (unsigned i = 0; i < 40; i++) { /* laps, with the stream running */
        CHECK_OK(publish(&scene, 1 + i % 5));
        take_all(&scene);
    }
    CHECK_OK(slipring_cuda_drain(scene.cuda, proc_in_ms(5000), &error));
    CHECK_OK(slipring_producer_try_claim(scene.producer, 1, &loan)); /* by call again */
    CHECK_EQ(loan.sequence, scene.next);
    CHECK_EQ(slipring_cuda_claim(scene.cuda, scene.producer, 1, scene.stream, &loan, &error),
             -EINVAL);
    CHECK_OK(slipring_producer_abort(scene.producer));
    tear_down(&scene);
}

/* The ring is full of what is being read: the stream waits, and goes on as slots come free. */
static void check_waits(void)
{
    struct scene scene = set_up(0);
    struct slipring_view views[SLOTS], view;
    CHECK_OK(publish(&scene, SLOTS));
    for (unsigned i = 0; i < SLOTS; i++) {
        CHECK_OK(take(&scene, 1, &views[i], 5000));
    }
    CHECK_OK(publish(&scene, 2));
    CHECK_OK(publish(&scene, 1));
    struct slipring_loan loan;
    CHECK_OK(slipring_cuda_claim(scene.cuda, scene.producer, 4, scene.stream, &loan, NULL));
    CHECK_EQ(slipring_cuda_claim(scene.cuda, scene.producer, 1, scene.stream, &loan, NULL),
             -EINVAL);
    CHECK_OK(slipring_cuda_abort(scene.cuda, scene.producer, scene.stream, NULL));
    CHECK_EQ(slipring_cuda_abort(scene.cuda, scene.producer, scene.stream, NULL), -EINVAL);
    CHECK_OK(publish(&scene, 3));
    CHECK_EQ(slipring_consumer_acquire(scene.consumer, 1, &view, proc_in_ms(20)), -ETIMEDOUT);
    for (unsigned i = 0; i < SLOTS; i++) {
        CHECK(pattern_whole(views[i].data, BYTES, views[i].slot.sequence));
        CHECK_OK(slipring_consumer_release(scene.consumer, &views[i]));
    }
    take_all(&scene);
    tear_down(&scene);
}

static int die_holding(struct proc *self, void *context)
{
    struct slipring_consumer *consumer = proc_member(context, NULL, 0, 0);
    struct slipring_view view;
    proc_tell(self, 1);
    CHECK_OK(slipring_consumer_acquire(consumer, 1, &view, SLIPRING_FOREVER));
    proc_tell(self, 2);
    proc_sleep();
}

static void check_freed(void)
{
    struct scene scene = set_up(0);
    struct proc child = proc_start(die_holding, scene.ring);
    (void)proc_hear(&child);
    CHECK_OK(publish(&scene, SLOTS));
    (void)proc_hear(&child);
    take_all(&scene);
    CHECK_OK(publish(&scene, 1));
    proc_kill(&child);
    take_all(&scene);
    tear_down(&scene);

    scene = set_up(20);
    struct slipring_view view;
    struct slipring_error error = {0};
    CHECK_OK(publish(&scene, SLOTS));
    CHECK_OK(take(&scene, 1, &view, 5000));
    CHECK_OK(publish(&scene, 1)); /* evicts */
    CHECK_OK(slipring_cuda_drain(scene.cuda, proc_in_ms(5000), &error));
    CHECK_EQ(slipring_consumer_release(scene.consumer, &view), -ESTALE);
    tear_down(&scene);
}

static int without(struct proc *self, void *context)
{
    (void)self;
    (void)context;
    cuda_calls();
    standin.attribute(122, 0);
    struct scene scene = set_up(0);
    struct slipring_view view;
    CHECK_OK(publish(&scene, SLOTS));
    CHECK_OK(take(&scene, 1, &view, 5000));
    CHECK_EQ(publish(&scene, 1), -EAGAIN); /* streams cannot wait */
    CHECK_OK(slipring_consumer_release(scene.consumer, &view));
    take_all(&scene);
    CHECK_OK(publish(&scene, 1));
    take_all(&scene);
    CHECK_EQ(standin.calls("cuStreamWriteValue64") + standin.calls("cuStreamWaitValue64"), 0);
    tear_down(&scene);
    return 0;
}

static void check_lost(void)
{
    struct scene scene = set_up(0);
    struct slipring_view view;
    struct slipring_loan loan;
    struct slipring_error error = {0};
    CHECK_OK(publish(&scene, 2));
    take_all(&scene);
    standin.hold(scene.stream, true);
    CHECK_OK(publish(&scene, 3));
    standin.lose(700);
    CHECK_EQ(slipring_cuda_drain(scene.cuda, proc_in_ms(5000), &error), -EIO);
    CHECK_EQ(slipring_consumer_acquire(scene.consumer, 1, &view, proc_in_ms(10)), -ETIMEDOUT);
    CHECK_OK(slipring_producer_try_claim(scene.producer, 1, &loan));
    CHECK_EQ(loan.sequence, 5);
    pattern_fill(loan.data, BYTES, 5);
    const struct slipring_slot header = {.tag = 5};
    CHECK_OK(slipring_producer_publish(scene.producer, 1, &header));
    scene.seen = 5;
    CHECK_OK(take(&scene, 1, &view, 5000));
    CHECK_EQ(view.missed, 0); /* passed over is no loss */
    standin.lose(0);
    standin.hold(scene.stream, false);
    tear_down(&scene);
}

static int die_producing(struct proc *self, void *context)
{
    struct slipring_ring *ring = context;
    cuda_calls();
    struct scene scene = {.ring = ring, .cuda = cuda_registered(ring, NULL)};
    scene.producer = proc_producer(ring);
    CHECK_CU(gpu.alloc(&scene.device, (uint64_t)5 * SLOTS * BYTES));
    CHECK_CU(gpu.stream_create(&scene.stream, 0));
    CHECK_OK(publish(&scene, 2));
    CHECK_OK(slipring_cuda_drain(scene.cuda, proc_in_ms(5000), NULL));
    standin.hold(scene.stream, true);
    CHECK_OK(publish(&scene, 3));
    proc_tell(self, 1);
    proc_sleep();
}

static void check_takeover(void)
{
    struct slipring_ring *ring = cuda_ring(SLOTS, BYTES, SLIPRING_BLOCK);
    struct scene scene = {.ring = ring};
    scene.consumer = proc_member(ring, NULL, 0, 0);
    struct proc child = proc_start(die_producing, ring);
    (void)proc_hear(&child);
    scene.next = 2;
    take_all(&scene);
    proc_kill(&child);
    struct slipring_view view;
    struct slipring_loan loan;
    CHECK_EQ(slipring_consumer_acquire(scene.consumer, 1, &view, proc_in_ms(PROC_NOTICE_MS)),
             -EOWNERDEAD);
    const int64_t before = slipring_now_ns();
    struct slipring_producer *producer = proc_producer(ring);
    CHECK(slipring_now_ns() - before >= 2000 * PROC_MS); /* until no stamp can come */
    CHECK_OK(slipring_producer_try_claim(producer, 1, &loan));
    CHECK_EQ(loan.sequence, 2);
    CHECK_OK(slipring_producer_abort(producer));
    slipring_producer_detach(producer);
    producer = proc_producer(ring); /* which the next need not */
    slipring_producer_detach(producer);
    CHECK(slipring_now_ns() - before < 3900 * PROC_MS);
    slipring_consumer_detach(scene.consumer);
    slipring_ring_close(ring);
}

static void check_errors(const char *function, unsigned n)
{
    struct scene scene = set_up(0);
    unsigned refused = 0;
    CHECK_OK(publish(&scene, SLOTS)); /* so that the next waits */
    standin.fail(function, n, 999);
    for (unsigned i = 0; i < 3; i++) {
        const int code = publish(&scene, 1 + i);
        CHECK(code == 0 || code == -EIO);
        refused += code != 0;
        take_all(&scene);
    }
    CHECK_OK(slipring_cuda_drain(scene.cuda, proc_in_ms(5000), NULL));
    printf("%s fails at call %u: %u publishes were refused\n", function, n, refused);
    standin.fail(function, 0, 0);
    tear_down(&scene);
}

int main(void)
{
    cuda_begin(110);
    struct proc child = proc_start(without, NULL);
    proc_end(&child);
    check_takeover(); /* forks before the driver is opened here */
    cuda_calls();
    check_plain();
    check_waits();
    check_freed();
    check_lost();
    const char *const functions[] = {"cuStreamWaitValue64", "cuStreamWriteValue64", "cuEventCreate",
                                     "cuEventRecord", "cuEventQuery"};
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        for (unsigned n = 1; n <= 3; n++) {
            check_errors(functions[i], n);
        }
    }
    return 0;
}
