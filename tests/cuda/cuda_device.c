/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The code of slipring_device.cuh, run by the processor on the addresses that the stand-in's device
 * would use: in rings of each geometry with few slots a reader that only polls, reads and stores gets
 * every message whole, once, in order, also spanning ones and past slots passed over, against a
 * producer as fast as it can; it never overwrites a release that was not counted. Its waits end by
 * time, by abort and by eviction, and after it the consumer goes on by calls.
 */
#define _GNU_SOURCE
#include "cuda_test.h"

#define MESSAGES 3000u

int reader_take(struct slipring_device_reader *reader, uint64_t timeout_ns, const void **parts,
                uint64_t *sequence, uint64_t *slots, uint64_t *bytes, uint64_t *tag);
int reader_give(const struct slipring_device_reader *reader, uint64_t sequence, uint64_t slots);

/* The device's addresses as the processor's. */
static void translate(struct slipring_device_reader *reader)
{
    uint64_t *const addresses[] = {&reader->stamps, &reader->payload, &reader->releases,
                                   &reader->counted, &reader->abort};
    for (size_t i = 0; i < sizeof addresses / sizeof *addresses; i++) {
        void *host = standin.host(*addresses[i], 8);
        CHECK(host != NULL && *addresses[i] != (uint64_t)(uintptr_t)host);
        *addresses[i] = (uint64_t)(uintptr_t)host;
    }
}

struct context {
    struct slipring_ring *ring;
    uint32_t geometry;
    uint64_t bytes;
};

static int produce(struct proc *self, void *user)
{
    const struct context *context = user;
    struct slipring_producer *producer = proc_producer(context->ring);
    const bool tensor = context->geometry == SLIPRING_GEOMETRY_TENSOR;
    (void)proc_hear(self);
    for (unsigned i = 0; i < MESSAGES; i++) {
        struct slipring_loan loan;
        const uint64_t slots = tensor && i % 6 == 0 ? 2 : 1;
        CHECK_OK(slipring_producer_claim(producer, slots, &loan, proc_in_ms(20000)));
        const uint64_t bytes = slots == 2 ? loan.stride + 64 : context->bytes;
        pattern_fill(loan.data, bytes, loan.sequence);
        const struct slipring_slot header = {.bytes = bytes, .tag = i};
        CHECK_OK(slots == 2 ? slipring_producer_publish_spanning(producer, &header)
                            : slipring_producer_publish(
                                  producer, 1,
                                  context->geometry == SLIPRING_GEOMETRY_COMPACT ? NULL : &header));
    }
    slipring_producer_detach(producer);
    return 0;
}

static void check_stream(uint32_t geometry, uint64_t bytes)
{
    struct slipring_config config;
    slipring_config_init(&config);
    config.geometry = geometry;
    config.slots = 4;
    config.slot_bytes = bytes;
    struct context context = {proc_create(&config), geometry, bytes};
    struct slipring_cuda *cuda = cuda_registered(context.ring, NULL);
    struct slipring_consumer *consumer = proc_member(context.ring, NULL, SLIPRING_UNORDERED, 0);
    struct slipring_device_reader reader, other;
    struct slipring_error error = {0};
    struct proc child = proc_start(produce, &context);
    CHECK_OK(slipring_cuda_reader_begin(cuda, consumer, &reader, &error));
    CHECK_EQ(slipring_cuda_reader_begin(cuda, consumer, &other, &error), -EBUSY);
    translate(&reader);
    proc_tell(&child, 1);
    uint64_t next = 0, wrapped = 0;
    for (unsigned i = 0; i < MESSAGES; i++) {
        const void *parts[3];
        uint64_t sequence, slots, got, tag;
        CHECK_EQ(reader_take(&reader, 20000 * PROC_MS, parts, &sequence, &slots, &got, &tag), 0);
        CHECK_EQ(sequence, next);
        next += slots;
        CHECK_EQ(slots, geometry == SLIPRING_GEOMETRY_TENSOR && i % 6 == 0 ? 2 : 1);
        CHECK_EQ(tag, geometry == SLIPRING_GEOMETRY_COMPACT ? 0 : i);
        uint8_t whole[2 * 4096];
        const uint64_t first = (uint64_t)((const char *)parts[2] - (const char *)parts[0]);
        CHECK(got >= bytes && got <= sizeof whole && first <= got);
        memcpy(whole, parts[0], first);
        memcpy(whole + first, parts[1], got - first);
        wrapped += first != got;
        CHECK(pattern_whole(whole, got, sequence));
        CHECK_EQ(reader_give(&reader, sequence, slots), 0);
    }
    CHECK((wrapped != 0) == (geometry == SLIPRING_GEOMETRY_TENSOR));
    proc_end(&child);
    slipring_cuda_reader_end(cuda, reader.next);
    struct slipring_producer *producer = proc_producer(context.ring); /* and on by calls */
    struct slipring_loan loan;
    struct slipring_view view;
    CHECK_OK(slipring_producer_try_claim(producer, 4, &loan));
    CHECK_OK(slipring_producer_publish(producer, 1, NULL));
    CHECK_OK(slipring_consumer_try_acquire(consumer, 1, &view));
    CHECK_EQ(view.slot.sequence, next);
    CHECK_OK(slipring_consumer_release(consumer, &view));
    slipring_producer_detach(producer);
    slipring_consumer_detach(consumer);
    slipring_cuda_unregister(cuda);
    slipring_ring_close(context.ring);
    CHECK_EQ(standin.registered(), 0);
}

static void check_waits(void)
{
    struct slipring_ring *ring = cuda_ring(4, 4096, SLIPRING_BLOCK);
    struct slipring_cuda *cuda = cuda_registered(ring, NULL);
    struct slipring_producer *producer = proc_producer(ring);
    struct slipring_consumer *consumer = proc_member(ring, NULL, SLIPRING_UNORDERED, 20);
    struct slipring_consumer *ordered = proc_member(ring, NULL, 0, 20);
    struct slipring_device_reader reader;
    struct slipring_loan loan;
    const void *parts[3];
    uint64_t sequence, slots, bytes, tag;
    CHECK_EQ(slipring_cuda_reader_begin(cuda, ordered, &reader, NULL), -EINVAL);
    slipring_consumer_detach(ordered);
    CHECK_OK(slipring_cuda_reader_begin(cuda, consumer, &reader, NULL));
    translate(&reader);
    CHECK_EQ(reader_take(&reader, 1000000, parts, &sequence, &slots, &bytes, &tag), 1);
    slipring_cuda_reader_abort(cuda);
    CHECK_EQ(reader_take(&reader, UINT64_MAX, parts, &sequence, &slots, &bytes, &tag), 2);
    for (unsigned i = 0; i < 5; i++) { /* the fifth evicts */
        CHECK_OK(slipring_producer_claim(producer, 1, &loan, proc_in_ms(5000)));
        CHECK_OK(slipring_producer_publish(producer, 1, NULL));
    }
    CHECK_EQ(reader_take(&reader, UINT64_MAX, parts, &sequence, &slots, &bytes, &tag), 3);
    slipring_cuda_reader_end(cuda, reader.next);
    slipring_consumer_detach(consumer);
    slipring_producer_detach(producer);
    slipring_cuda_unregister(cuda);

    struct slipring_cuda_config config; /* in pieces that lie apart */
    struct slipring_error error = {0};
    slipring_cuda_config_init(&config);
    config.chunk_bytes = 4096;
    standin.scatter(true);
    cuda = cuda_registered(ring, &config);
    standin.scatter(false);
    consumer = proc_member(ring, NULL, SLIPRING_UNORDERED, 0);
    CHECK_EQ(slipring_cuda_reader_begin(cuda, consumer, &reader, &error), -EAGAIN);
    CHECK(strstr(error.text, "chunk_bytes") != NULL);
    slipring_consumer_detach(consumer);
    slipring_cuda_unregister(cuda);
    slipring_ring_close(ring);
}

int main(void)
{
    cuda_begin(110);
    cuda_calls();
    check_stream(SLIPRING_GEOMETRY_TENSOR, 4096);
    check_stream(SLIPRING_GEOMETRY_COMPACT, 56);
    check_stream(SLIPRING_GEOMETRY_PAIR, 128);
    check_waits();
    return 0;
}
