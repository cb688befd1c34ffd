/* SPDX-License-Identifier: Apache-2.0 */
/*
 * No slot is reused before its copy has ended: a producer in a process without CUDA, as fast as it
 * can; a consumer that copies each block to the device on one of several streams, which run late and
 * out of step, and releases it there. Every copy that arrives is whole, of the sequence it was made of,
 * and every sequence arrives once, in a ring with few slots, from below the 32-bit wrap on.
 */
#define _GNU_SOURCE
#include "cuda_test.h"

#define SLOTS 8u
#define BYTES 1024u
#define STREAMS 3u
#define MESSAGES 4000u
#define BLOCK 3u
#define BUFFERS 16u

struct context {
    struct slipring_ring *ring;
    uint64_t start;
};

static int produce(struct proc *self, void *user)
{
    const struct context *context = user;
    struct slipring_producer *producer = proc_producer(context->ring);
    (void)proc_hear(self);
    for (unsigned i = 0; i < MESSAGES; i++) {
        struct slipring_loan loan;
        CHECK_OK(slipring_producer_claim(producer, 1, &loan, proc_in_ms(20000)));
        pattern_fill(loan.data, BYTES, loan.sequence);
        CHECK_OK(slipring_producer_publish(producer, 1, NULL));
    }
    slipring_producer_close(producer);
    return 0;
}

struct buffer {
    uint64_t device, sequence, slots;
    void *stream;
};

static uint64_t verify(struct buffer *buffer)
{
    const uint64_t slots = buffer->slots;
    if (slots != 0) {
        CHECK_CU(gpu.synchronize(buffer->stream));
        const uint8_t *got = standin.host(buffer->device, slots * BYTES);
        for (uint64_t i = 0; i < slots; i++) {
            CHECK(pattern_whole(got + i * BYTES, BYTES, buffer->sequence + i));
        }
    }
    buffer->slots = 0;
    return slots;
}

static void consume(const struct context *context, uint32_t flags, const char *group)
{
    struct slipring_cuda *cuda = cuda_registered(context->ring, NULL);
    struct slipring_consumer *consumer = proc_member(context->ring, group, flags, 0);
    struct buffer buffers[BUFFERS] = {{0}};
    void *streams[STREAMS];
    for (unsigned i = 0; i < STREAMS; i++) {
        CHECK_CU(gpu.stream_create(&streams[i], 0));
    }
    for (unsigned i = 0; i < BUFFERS; i++) {
        CHECK_CU(gpu.alloc(&buffers[i].device, BLOCK * BYTES));
    }
    struct proc child = proc_start(produce, (void *)(uintptr_t)context);
    proc_tell(&child, 1);
    uint64_t seen = 0, next = context->start;
    for (unsigned i = 0;; i++) {
        struct buffer *buffer = &buffers[i % BUFFERS];
        struct slipring_view view;
        seen += verify(buffer);
        const int code =
            slipring_consumer_acquire(consumer, 1 + i % BLOCK, &view, proc_in_ms(20000));
        if (code == -EPIPE) {
            break;
        }
        CHECK_OK(code);
        CHECK_EQ(view.slot.sequence, next);
        next += view.slots;
        *buffer = (struct buffer){.device = buffer->device,
                                  .sequence = view.slot.sequence,
                                  .slots = view.slots,
                                  .stream = streams[i * 7 % STREAMS]};
        CHECK_OK(
            slipring_cuda_copy(cuda, consumer, &view, 0, buffer->device, buffer->stream, NULL));
        CHECK_OK(slipring_cuda_release(cuda, consumer, &view, buffer->stream, NULL));
    }
    for (unsigned i = 0; i < BUFFERS; i++) {
        seen += verify(&buffers[i]);
        CHECK_CU(gpu.free(buffers[i].device));
    }
    CHECK_EQ(seen, MESSAGES);
    proc_end(&child);
    CHECK_OK(slipring_cuda_drain(cuda, proc_in_ms(20000), NULL));
    slipring_consumer_detach(consumer);
    slipring_cuda_unregister(cuda);
    for (unsigned i = 0; i < STREAMS; i++) {
        CHECK_CU(gpu.stream_destroy(streams[i]));
    }
}

int main(void)
{
    cuda_begin(100);
    const uint64_t seed = proc_seed();
    cuda_calls();
    standin.delay(60, seed);
    for (unsigned many = 0; many < 2; many++) {
        struct context context = {.start = many ? 5 : (UINT64_C(1) << 32) - MESSAGES / 2};
        struct slipring_config config;
        slipring_config_init(&config);
        config.geometry = SLIPRING_GEOMETRY_TENSOR;
        config.slots = SLOTS;
        config.slot_bytes = BYTES;
        config.start_sequence = context.start;
        context.ring = proc_create(&config);
        consume(&context, many ? SLIPRING_MANY : SLIPRING_UNORDERED, many ? "many" : NULL);
        slipring_ring_close(context.ring);
    }
    return 0;
}
