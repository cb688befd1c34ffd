/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A device that produces on several streams, which run late and out of step, into a ring with few
 * slots: readers in processes without CUDA get every message whole, once, in order, one of them slow;
 * claims wait on their streams until slots are free, and now and then one is aborted.
 */
#define _GNU_SOURCE
#include "cuda_test.h"

#define SLOTS 8u
#define BYTES 1024u
#define STREAMS 3u
#define MESSAGES 2500u
#define BLOCK 3u
#define BUFFERS 32u /* more than can be under way: a ring and what waits for it */

static int consume(struct proc *self, void *context)
{
    struct slipring_consumer *consumer = proc_member(context, NULL, 0, 0);
    uint64_t random = (uint64_t)getpid(), next = 0;
    const bool slow = random % 2 == 0;
    proc_tell(self, 1);
    for (;;) {
        struct slipring_view view;
        const int code = slipring_consumer_acquire(consumer, 2, &view, proc_in_ms(20000));
        if (code == -EPIPE) {
            CHECK_EQ(next, MESSAGES);
            slipring_consumer_detach(consumer);
            return 0;
        }
        CHECK_OK(code);
        if (slow && proc_random(&random) % 50 == 0) {
            proc_pause_us((int64_t)(proc_random(&random) % 2000));
        }
        for (uint64_t i = 0; i < view.slots; i++, next++) {
            struct slipring_slot slot;
            CHECK_OK(slipring_view_slot(consumer, &view, i, &slot));
            CHECK_EQ(slot.sequence, next);
            CHECK_EQ(slot.tag, next * 3);
            CHECK(pattern_whole((const uint8_t *)view.data + i * view.stride, BYTES, next));
        }
        CHECK_OK(slipring_consumer_release(consumer, &view));
    }
}

struct buffer {
    uint64_t device;
    void *stream;
};

int main(void)
{
    cuda_begin(100);
    uint64_t random = proc_seed();
    struct slipring_ring *ring = cuda_ring(SLOTS, BYTES, SLIPRING_BLOCK);
    struct slipring_producer *producer = proc_producer(ring);
    struct proc readers[2];
    for (unsigned i = 0; i < 2; i++) {
        readers[i] = proc_start(consume, ring);
        (void)proc_hear(&readers[i]);
    }
    cuda_calls();
    standin.delay(60, random);
    struct slipring_cuda *cuda = cuda_registered(ring, NULL);
    struct buffer buffers[BUFFERS] = {{0}};
    void *streams[STREAMS];
    for (unsigned i = 0; i < STREAMS; i++) {
        CHECK_CU(gpu.stream_create(&streams[i], 0));
    }
    for (unsigned i = 0; i < BUFFERS; i++) {
        CHECK_CU(gpu.alloc(&buffers[i].device, BLOCK * BYTES));
    }
    uint64_t next = 0;
    for (unsigned i = 0; next < MESSAGES; i++) {
        struct buffer *buffer = &buffers[i % BUFFERS];
        const uint64_t left = MESSAGES - next;
        const uint64_t slots = 1 + i % BLOCK < left ? 1 + i % BLOCK : left;
        struct slipring_loan loan;
        struct slipring_slot headers[BLOCK] = {{0}};
        if (buffer->stream != NULL) {
            CHECK_CU(gpu.synchronize(buffer->stream)); /* its copies have run */
        }
        buffer->stream = streams[proc_random(&random) % STREAMS];
        CHECK_OK(slipring_cuda_claim(cuda, producer, slots, buffer->stream, &loan, NULL));
        CHECK_EQ(loan.sequence, next);
        uint8_t *source = standin.host(buffer->device, slots * BYTES);
        const bool aborted = proc_random(&random) % 20 == 0;
        for (uint64_t s = 0; s < slots; s++) {
            pattern_fill(source + s * BYTES, BYTES, aborted ? 999999 : next + s);
            headers[s].tag = (next + s) * 3;
        }
        CHECK_OK(
            slipring_cuda_fill(cuda, producer, &loan, 0, buffer->device, buffer->stream, NULL));
        if (aborted) {
            CHECK_OK(slipring_cuda_abort(cuda, producer, buffer->stream, NULL));
        } else {
            CHECK_OK(slipring_cuda_publish(cuda, producer, slots, headers, buffer->stream, NULL));
            next += slots;
        }
    }
    CHECK_OK(slipring_cuda_drain(cuda, proc_in_ms(20000), NULL));
    slipring_producer_close(producer);
    for (unsigned i = 0; i < 2; i++) {
        proc_end(&readers[i]);
    }
    slipring_cuda_unregister(cuda);
    for (unsigned i = 0; i < BUFFERS; i++) {
        CHECK_CU(gpu.free(buffers[i].device));
    }
    for (unsigned i = 0; i < STREAMS; i++) {
        CHECK_CU(gpu.stream_destroy(streams[i]));
    }
    slipring_ring_close(ring);
    return 0;
}
