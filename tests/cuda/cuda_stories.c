/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deaths and evictions with work pending on streams, of every kind of member. A member of a group of
 * many that is killed: what its streams still had is delivered to another member. One that is evicted:
 * the same, and when its copies end it frees nobody's slot and is told. A holder in an overwrite ring:
 * its slot can be had again. A process whose kernel reads: the producer goes on. A producer with claims
 * that wait, that are open, that are aborted: who takes over loses nothing, publishes no half message
 * and leaves no gap. Who is stopped meanwhile and goes on late does no harm.
 */
#define _GNU_SOURCE
#include "cuda_test.h"

#define SLOTS 16u
#define BYTES 4096u
#define PATIENCE_MS 20000

struct scene {
    struct slipring_ring *ring;
    struct slipring_cuda *cuda;
    struct slipring_consumer *consumer;
    struct slipring_producer *producer;
    uint64_t device;
    void *stream;
};

static void begin(struct scene *scene, struct slipring_ring *ring)
{
    *scene = (struct scene){.ring = ring};
    cuda_calls();
    scene->cuda = cuda_registered(ring, NULL);
    CHECK_CU(gpu.alloc(&scene->device, (uint64_t)SLOTS * BYTES));
    CHECK_CU(gpu.stream_create(&scene->stream, 0));
}

static void hand_over(struct scene *scene, uint64_t count)
{
    struct slipring_view view;
    for (uint64_t i = 0; i < count; i++) {
        CHECK_OK(slipring_consumer_acquire(scene->consumer, 1, &view, proc_in_ms(PATIENCE_MS)));
        CHECK_OK(slipring_cuda_copy(scene->cuda, scene->consumer, &view, 0, scene->device,
                                    scene->stream, NULL));
        CHECK_OK(slipring_cuda_release(scene->cuda, scene->consumer, &view, scene->stream, NULL));
    }
}

static void publish(struct slipring_producer *producer, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        struct slipring_loan loan;
        CHECK_OK(slipring_producer_claim(producer, 1, &loan, proc_in_ms(PATIENCE_MS)));
        pattern_fill(loan.data, BYTES, loan.sequence);
        CHECK_OK(slipring_producer_publish(producer, 1, NULL));
    }
}

/* Acquire and release one, whose sequence is returned. */
static uint64_t take(struct slipring_consumer *consumer)
{
    struct slipring_view view;
    CHECK_OK(slipring_consumer_acquire(consumer, 1, &view, proc_in_ms(PATIENCE_MS)));
    CHECK(pattern_whole(view.data, BYTES, view.slot.sequence));
    CHECK_OK(slipring_consumer_release(consumer, &view));
    return view.slot.sequence;
}

/* ---- a group of many ---- */

struct many {
    struct slipring_ring *ring;
    int64_t evict_ms;
};

static int pend_as_member(struct proc *self, void *context)
{
    const struct many *many = context;
    struct scene scene;
    struct slipring_error error = {0};
    begin(&scene, many->ring);
    scene.consumer = proc_member(many->ring, "work", SLIPRING_MANY, many->evict_ms);
    standin.hold(scene.stream, true);
    proc_tell(self, 1);
    hand_over(&scene, 4);
    proc_tell(self, 2);
    (void)proc_hear(self); /* killed, or evicted meanwhile */
    standin.hold(scene.stream, false);
    CHECK_EQ(slipring_cuda_drain(scene.cuda, proc_in_ms(PATIENCE_MS), &error), -ESTALE);
    CHECK(strstr(error.text, "evicted") != NULL);
    CHECK_EQ(cuda_info(scene.cuda).stale, 4);
    slipring_consumer_detach(scene.consumer);
    slipring_cuda_unregister(scene.cuda);
    CHECK_EQ(standin.registered(), 0);
    return 0;
}

static void check_many(bool evicted)
{
    struct many many = {cuda_ring(SLOTS, BYTES, SLIPRING_BLOCK), evicted ? 50 : 0};
    bool seen[SLOTS] = {false};
    struct proc child = proc_start(pend_as_member, &many);
    (void)proc_hear(&child);
    struct slipring_producer *producer = proc_producer(many.ring);
    publish(producer, 4);
    (void)proc_hear(&child);
    struct slipring_consumer *member = proc_member(many.ring, "work", SLIPRING_MANY, many.evict_ms);
    struct slipring_view view;
    publish(producer, SLOTS - 4);
    if (!evicted) {
        proc_kill(&child);
    }
    const int64_t until = proc_in_ms(PATIENCE_MS);
    for (unsigned taken = 0; taken < SLOTS;) { /* its own share, and the other's four */
        struct slipring_loan none; /* the producer, held back, finds who died or is too slow */
        if (slipring_producer_try_claim(producer, 1, &none) == 0) {
            CHECK(seen[0]);
            CHECK_OK(slipring_producer_abort(producer));
        }
        CHECK(slipring_now_ns() < until);
        if (slipring_consumer_try_acquire(member, 1, &view) == 0) {
            const uint64_t sequence = view.slot.sequence;
            CHECK(sequence < SLOTS && !seen[sequence]);
            CHECK_EQ(view.slot.deliveries, sequence < 4 ? 2 : 1);
            CHECK(pattern_whole(view.data, BYTES, sequence));
            seen[sequence] = true;
            taken++;
            CHECK_OK(slipring_consumer_release(member, &view));
        }
        proc_pause_us(100);
    }
    /* And they stay with whoever has them, when the evicted one's copies end. */
    publish(producer, SLOTS);
    CHECK_OK(slipring_consumer_acquire(member, 1, &view, proc_in_ms(PATIENCE_MS)));
    if (evicted) {
        proc_tell(&child, 1);
        proc_end(&child);
    }
    struct slipring_loan loan;
    CHECK_EQ(slipring_producer_try_claim(producer, 1, &loan), -EAGAIN);
    CHECK(pattern_whole(view.data, BYTES, view.slot.sequence));
    CHECK_OK(slipring_consumer_release(member, &view));
    slipring_consumer_detach(member);
    slipring_producer_detach(producer);
    slipring_ring_close(many.ring);
}

/* ---- a holder ---- */

static int pend_as_holder(struct proc *self, void *context)
{
    struct scene scene;
    begin(&scene, context);
    scene.consumer = proc_member(scene.ring, NULL, 0, 0);
    standin.hold(scene.stream, true);
    proc_tell(self, 1);
    hand_over(&scene, 4); /* all that may be held */
    proc_tell(self, 2);
    proc_sleep();
}

static void check_holder(void)
{
    struct slipring_ring *ring = cuda_ring(SLOTS, BYTES, SLIPRING_OVERWRITE);
    struct proc child = proc_start(pend_as_holder, ring);
    struct slipring_view view;
    CHECK_EQ(proc_info(ring).hold_max, 4);
    (void)proc_hear(&child);
    struct slipring_producer *producer = proc_producer(ring);
    struct slipring_consumer *consumer = proc_member(ring, NULL, 0, 0);
    publish(producer, 4);
    (void)proc_hear(&child);
    publish(producer, 2 * SLOTS); /* passes the four over */
    CHECK_EQ(slipring_consumer_try_acquire(consumer, 1, &view), -ENOBUFS);
    proc_kill(&child);
    const int64_t until = proc_in_ms(PATIENCE_MS);
    int code;
    while ((code = slipring_consumer_try_acquire(consumer, 1, &view)) == -ENOBUFS) {
        publish(producer, 1); /* finds the dead one's holds */
        CHECK(slipring_now_ns() < until);
    }
    CHECK_OK(code);
    CHECK(pattern_whole(view.data, BYTES, view.slot.sequence));
    CHECK_OK(slipring_consumer_release(consumer, &view));
    slipring_consumer_detach(consumer);
    slipring_producer_detach(producer);
    slipring_ring_close(ring);
}

/* ---- a kernel that reads ---- */

static int read_and_wait(struct proc *self, void *context)
{
    struct scene scene;
    struct slipring_device_reader reader;
    uint64_t messages = 1000, word = 0, end = 0;
    void *module = NULL, *kernel = NULL;
    begin(&scene, context);
    scene.consumer = proc_member(scene.ring, NULL, SLIPRING_UNORDERED, 0);
    CHECK_OK(slipring_cuda_reader_begin(scene.cuda, scene.consumer, &reader, NULL));
    CHECK_CU(gpu.module_load(&module, "the stand-in needs none"));
    CHECK_CU(gpu.module_function(&kernel, module, "slipring_sum"));
    CHECK_CU(gpu.alloc(&word, 8));
    CHECK_CU(gpu.alloc(&end, sizeof reader));
    CHECK_CU(gpu.launch(kernel, 1, 1, 1, 1, 1, 1, 0, scene.stream,
                        (void *[]){&reader, &messages, &word, &end}, NULL));
    proc_tell(self, 1);
    proc_sleep();
}

static void check_reader(void)
{
    struct slipring_ring *ring = cuda_ring(SLOTS, BYTES, SLIPRING_BLOCK);
    struct proc child = proc_start(read_and_wait, ring);
    (void)proc_hear(&child);
    struct slipring_producer *producer = proc_producer(ring);
    publish(producer, 4 * SLOTS);
    proc_kill(&child);
    publish(producer, 4 * SLOTS);
    slipring_producer_detach(producer);
    slipring_ring_close(ring);
}

/* ---- a producer ---- */

enum claims { WAITING, OPEN, ABORTED };
struct produce {
    struct slipring_ring *ring;
    enum claims claims;
};

static int produce_and_die(struct proc *self, void *context)
{
    const struct produce *produce = context;
    struct scene scene;
    struct slipring_loan loan;
    uint8_t pattern[BYTES];
    begin(&scene, produce->ring);
    scene.producer = proc_producer(scene.ring);
    for (uint64_t i = 0; i < SLOTS + 2; i++) { /* two more than there is room for */
        if (i == SLOTS) {
            CHECK_OK(slipring_cuda_drain(scene.cuda, proc_in_ms(PATIENCE_MS), NULL));
        }
        CHECK_OK(slipring_cuda_claim(scene.cuda, scene.producer, 1, scene.stream, &loan, NULL));
        pattern_fill(pattern, BYTES, i);
        CHECK_CU(gpu.to_device(scene.device + i % SLOTS * BYTES, pattern, BYTES, scene.stream));
        CHECK_OK(slipring_cuda_fill(scene.cuda, scene.producer, &loan, 0,
                                    scene.device + i % SLOTS * BYTES, scene.stream, NULL));
        if (i == SLOTS + 1 && produce->claims == OPEN) {
            break;
        }
        if (i == SLOTS + 1 && produce->claims == ABORTED) {
            CHECK_OK(slipring_cuda_abort(scene.cuda, scene.producer, scene.stream, NULL));
        } else {
            CHECK_OK(
                slipring_cuda_publish(scene.cuda, scene.producer, 1, NULL, scene.stream, NULL));
        }
    }
    proc_tell(self, 1);
    proc_sleep();
}

static void check_producer(enum claims claims)
{
    struct produce produce = {cuda_ring(SLOTS, BYTES, SLIPRING_BLOCK), claims};
    struct slipring_consumer *consumer = proc_member(produce.ring, NULL, 0, 0);
    struct proc child = proc_start(produce_and_die, &produce);
    (void)proc_hear(&child);
    proc_stop(&child); /* what it has under way waits for room, which comes while it is stopped */
    for (uint64_t i = 0; i < SLOTS; i++) {
        CHECK_EQ(take(consumer), i);
    }
    proc_kill(&child);
    struct slipring_producer *producer = proc_producer(produce.ring);
    for (uint64_t i = SLOTS; i < 3 * SLOTS; i++) {
        publish(producer, 1);
        CHECK_EQ(take(consumer), i);
    }
    slipring_consumer_detach(consumer);
    slipring_producer_detach(producer);
    slipring_ring_close(produce.ring);
}

int main(void)
{
    cuda_begin(110);
    check_many(false);
    check_many(true);
    check_holder();
    check_reader();
    check_producer(WAITING);
    check_producer(OPEN);
    check_producer(ABORTED);
    return 0;
}
