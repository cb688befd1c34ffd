/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What arrives on the device is what lies in the slots: a field alone, packed; a field that fills its
 * slot; a block across chunks that lie apart for the device, and across the ring's end; a spanning
 * message; slots of a compact and of a pair ring; from locked memory and from memory that is not. No
 * copy straddles two registrations (the stand-in refuses one that does). What cannot be is refused.
 */
#define _GNU_SOURCE
#include "cuda_test.h"

#define SLOTS 16u

static uint8_t expected(uint64_t sequence, uint64_t at)
{
    return (uint8_t)(sequence * 31 + at * 7 + at / 251);
}

static void fill(struct slipring_producer *producer, uint64_t bytes, uint64_t slots)
{
    struct slipring_loan loan;
    CHECK_OK(slipring_producer_try_claim(producer, slots, &loan));
    for (uint64_t i = 0; i < slots; i++) {
        uint8_t *slot = (uint8_t *)loan.data + i * loan.stride;
        for (uint64_t at = 0; at < bytes; at++) {
            slot[at] = expected(loan.sequence + i, at);
        }
    }
    CHECK_OK(slipring_producer_publish(producer, slots, NULL));
}

struct field {
    const char *dtype;
    int64_t extent;
    uint64_t bytes;
};

static struct slipring_ring *make(uint32_t geometry, const struct field *fields, uint32_t count)
{
    struct slipring_config config;
    struct slipring_field schema[2];
    static const char *const names[] = {"first", "second"};
    slipring_config_init(&config);
    config.geometry = geometry;
    config.slots = SLOTS;
    for (uint32_t i = 0; i < count; i++) {
        CHECK_OK(slipring_field_init(&schema[i], names[i], fields[i].dtype, 1, &fields[i].extent));
    }
    config.fields = schema;
    config.field_count = count;
    return proc_create(&config);
}

/* Publish, acquire blocks, copy each field and the slots, compare; until the ring has wrapped. */
static void check_ring(uint32_t geometry, const struct field *fields, uint32_t count,
                       uint64_t chunk, uint32_t flags)
{
    struct slipring_ring *ring = make(geometry, fields, count);
    struct slipring_cuda_config config;
    struct slipring_memory memory = {.struct_size = sizeof memory};
    slipring_cuda_config_init(&config);
    config.chunk_bytes = chunk;
    config.flags = flags;
    standin.scatter(true);
    struct slipring_cuda *cuda = cuda_registered(ring, &config);
    standin.scatter(false);
    CHECK_OK(slipring_ring_memory(ring, &memory));
    struct slipring_producer *producer = proc_producer(ring);
    struct slipring_consumer *consumer = proc_member(ring, NULL, SLIPRING_UNORDERED, 0);
    uint64_t device = 0, payload = 0;
    void *stream = NULL;
    CHECK_CU(gpu.alloc(&device, memory.slots * memory.payload_stride));
    CHECK_CU(gpu.stream_create(&stream, 0));
    for (uint32_t i = 0; i < count; i++) {
        uint64_t offset;
        struct slipring_field field;
        CHECK_OK(slipring_ring_field(ring, i, &field, &offset));
        payload = offset + fields[i].bytes;
    }
    const uint64_t block = memory.slots - 3; /* never ends where the ring does */
    for (unsigned round = 0; round < 6; round++) {
        struct slipring_view view;
        fill(producer, payload, block);
        CHECK_OK(slipring_consumer_try_acquire(consumer, block, &view));
        CHECK_EQ(view.slots, block);
        for (uint32_t i = 0; i <= count; i++) {
            uint64_t offset = 0, width = memory.payload_stride;
            struct slipring_field field;
            if (i < count) {
                CHECK_OK(slipring_ring_field(ring, i, &field, &offset));
                width = fields[i].bytes;
            }
            struct slipring_error error = {0};
            if (slipring_cuda_copy(cuda, consumer, &view, i < count ? i : SLIPRING_CUDA_SLOTS,
                                   device, stream, &error) != 0) {
                FAIL("geometry %u, %u fields, round %u, field %u: %s: %s", geometry, count, round,
                     i, error.call, error.text);
            }
            CHECK_CU(gpu.synchronize(stream));
            const uint8_t *got = standin.host(device, block * width);
            for (uint64_t s = 0; s < block; s++) {
                for (uint64_t at = 0; at < (i < count ? width : payload); at++) {
                    if (i == count && count == 2 && at >= fields[0].bytes && at < 256) {
                        continue; /* between the fields */
                    }
                    CHECK_EQ(got[s * width + at], expected(view.slot.sequence + s, offset + at));
                }
            }
        }
        CHECK_OK(slipring_consumer_release(consumer, &view));
    }
    CHECK_CU(gpu.stream_destroy(stream));
    CHECK_CU(gpu.free(device));
    slipring_consumer_detach(consumer);
    slipring_producer_detach(producer);
    slipring_cuda_unregister(cuda);
    slipring_ring_close(ring);
}

static void check_spanning(void)
{
    struct slipring_ring *ring = cuda_ring(SLOTS, 4096, SLIPRING_BLOCK);
    struct slipring_cuda_config config;
    slipring_cuda_config_init(&config);
    config.chunk_bytes = 4 * 4096;
    struct slipring_cuda *cuda = cuda_registered(ring, &config);
    struct slipring_producer *producer = proc_producer(ring);
    struct slipring_consumer *consumer = proc_member(ring, NULL, SLIPRING_UNORDERED, 0);
    uint64_t device = 0;
    const uint64_t bytes = 6 * 4096 + 100;
    CHECK_CU(gpu.alloc(&device, 7 * 4096));
    for (unsigned round = 0; round < 4; round++) { /* 7 slots of 16: across chunks and the end */
        struct slipring_loan loan;
        struct slipring_view view;
        struct slipring_error error = {0};
        CHECK_OK(slipring_producer_try_claim(producer, 7, &loan));
        for (uint64_t at = 0; at < bytes; at++) {
            ((uint8_t *)loan.data)[at] = expected(round, at);
        }
        const struct slipring_slot header = {.bytes = bytes};
        CHECK_OK(slipring_producer_publish_spanning(producer, &header));
        CHECK_OK(slipring_consumer_try_acquire(consumer, 1, &view));
        CHECK_EQ(slipring_cuda_copy(cuda, consumer, &view, 0, device, NULL, &error), -EINVAL);
        CHECK(strstr(error.text, "SLIPRING_CUDA_SLOTS") != NULL);
        CHECK_OK(
            slipring_cuda_copy(cuda, consumer, &view, SLIPRING_CUDA_SLOTS, device, NULL, NULL));
        CHECK_CU(gpu.synchronize(NULL));
        const uint8_t *got = standin.host(device, bytes);
        for (uint64_t at = 0; at < bytes; at++) {
            CHECK_EQ(got[at], expected(round, at));
        }
        CHECK_OK(slipring_consumer_release(consumer, &view));
    }
    CHECK_CU(gpu.free(device));
    slipring_consumer_detach(consumer);
    slipring_producer_detach(producer);
    slipring_cuda_unregister(cuda);
    slipring_ring_close(ring);
}

static void check_refused(void)
{
    struct slipring_ring *ring = cuda_ring(SLOTS, 4096, SLIPRING_BLOCK);
    struct slipring_ring *other = cuda_ring(SLOTS, 4096, SLIPRING_BLOCK);
    struct slipring_cuda *cuda = cuda_registered(ring, NULL);
    struct slipring_producer *producer = proc_producer(other);
    struct slipring_consumer *consumer = proc_member(other, NULL, SLIPRING_UNORDERED, 0);
    struct slipring_view view;
    struct slipring_error error = {0};
    uint64_t device = 0;
    void *stream = NULL;
    CHECK_CU(gpu.alloc(&device, 4096));
    CHECK_CU(gpu.stream_create(&stream, 0));
    fill(producer, 4096, 1);
    CHECK_OK(slipring_consumer_try_acquire(consumer, 1, &view));
    CHECK_EQ(slipring_cuda_copy(cuda, consumer, &view, 0, device, stream, &error), -EINVAL);
    slipring_cuda_unregister(cuda);
    cuda = cuda_registered(other, NULL);
    CHECK_EQ(slipring_cuda_copy(cuda, consumer, &view, 9, device, stream, &error), -EINVAL);
    CHECK_EQ(slipring_cuda_copy(cuda, consumer, &view, 0, 64, stream, &error), -EINVAL);
    standin.capture(stream, true);
    CHECK_EQ(slipring_cuda_copy(cuda, consumer, &view, 0, device, stream, &error), -EINVAL);
    CHECK(strstr(error.text, "graph") != NULL);
    CHECK_EQ(slipring_cuda_release(cuda, consumer, &view, stream, &error), -EINVAL);
    CHECK(strstr(error.text, "graph") != NULL);
    standin.capture(stream, false);
    CHECK_OK(slipring_cuda_copy(cuda, consumer, &view, 0, device, stream, &error));
    CHECK_CU(gpu.synchronize(stream));
    const char *const calls[] = {"cuMemcpyHtoDAsync", "cuStreamIsCapturing", "cuStreamGetCtx",
                                 "cuCtxPushCurrent"};
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        standin.fail(calls[i], 1, 999);
        CHECK_EQ(slipring_cuda_copy(cuda, consumer, &view, 0, device, stream, &error), -EIO);
        CHECK(strstr(error.text, "999") != NULL);
    }
    CHECK_CU(gpu.stream_destroy(stream));
    CHECK_CU(gpu.free(device));
    slipring_consumer_detach(consumer);
    slipring_producer_detach(producer);
    slipring_cuda_unregister(cuda);
    slipring_ring_close(ring);
    slipring_ring_close(other);
}

int main(void)
{
    static const struct field whole[] = {{"u1", 4096, 4096}};
    static const struct field two[] = {{"u1", 100, 100}, {"i4", 1000, 4000}};
    static const struct field tiny[] = {{"i4", 6, 24}};
    static const struct field small[] = {{"u1", 100, 100}};
    cuda_begin(60);
    cuda_calls();
    check_ring(SLIPRING_GEOMETRY_TENSOR, whole, 1, 4 * 4096, 0);
    check_ring(SLIPRING_GEOMETRY_TENSOR, whole, 1, 4 * 4096, SLIPRING_CUDA_UNPINNED);
    check_ring(SLIPRING_GEOMETRY_TENSOR, two, 2, 1, 0);
    check_ring(SLIPRING_GEOMETRY_TENSOR, two, 2, 1, SLIPRING_CUDA_UNPINNED);
    check_ring(SLIPRING_GEOMETRY_COMPACT, tiny, 1, 1, 0);
    check_ring(SLIPRING_GEOMETRY_PAIR, small, 1, 1, 0);
    check_spanning();
    check_refused();
    return 0;
}
