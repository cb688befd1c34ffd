/* SPDX-License-Identifier: Apache-2.0 */
/* Question 3: a device publishes what it copied, and a reader without CUDA looks at every byte. */
#define _GNU_SOURCE
#include "gpu.h"

#define BYTES 4096u
#define SLOTS 8u
#define PATTERNS 64u /* more than slots: a message is unlike the one that its slot held before */
#define PATIENCE_MS 20000
#define DEPTH 4096u /* publishes between two looks at the clock */

/* From the device, as fast as it goes, for a while; then the stream ends. */
static int publish_from_device(struct proc *self, void *context)
{
    struct slipring_ring *ring = context;
    uint64_t source = 0;
    void *stream = NULL;
    uint8_t pattern[BYTES];
    cuda_calls();
    struct slipring_cuda *cuda = cuda_registered(ring, NULL);
    struct slipring_producer *producer = proc_producer(ring);
    CHECK_CU(gpu.alloc(&source, PATTERNS * BYTES));
    CHECK_CU(gpu.stream_create(&stream, 1));
    for (uint64_t i = 0; i < PATTERNS; i++) {
        pattern_fill(pattern, BYTES, i);
        CHECK_CU(gpu.to_device(source + i * BYTES, pattern, BYTES, stream));
        CHECK_CU(gpu.synchronize(stream));
    }
    (void)proc_hear(self);
    const int64_t until = slipring_now_ns() + gpu_while_ns();
    for (uint64_t i = 0; i % DEPTH != 0 || slipring_now_ns() < until; i++) {
        struct slipring_loan loan;
        struct slipring_error error = {0};
        CHECK_OK(slipring_cuda_claim(cuda, producer, 1, stream, &loan, &error));
        const struct slipring_slot header = {.bytes = BYTES, .tag = i};
        CHECK_OK(slipring_cuda_fill(cuda, producer, &loan, 0, source + i % PATTERNS * BYTES, stream,
                                    &error));
        CHECK_OK(slipring_cuda_publish(cuda, producer, 1, &header, stream, &error));
        if (on_standin && i == DEPTH / 4) {
            break;
        }
        if (i % 64 == 63) { /* no more under way than the driver keeps, and its errors are seen */
            CHECK_OK(slipring_cuda_drain(cuda, proc_in_ms(PATIENCE_MS), &error));
        }
    }
    CHECK_OK(slipring_cuda_drain(cuda, proc_in_ms(PATIENCE_MS), NULL));
    slipring_producer_close(producer);
    slipring_cuda_unregister(cuda);
    CHECK_CU(gpu.stream_destroy(stream));
    CHECK_CU(gpu.free(source));
    return 0;
}

void gpu_publishes(void)
{
    struct slipring_ring *ring = cuda_ring(SLOTS, BYTES, SLIPRING_BLOCK);
    struct slipring_consumer *consumer = proc_member(ring, NULL, 0, 0);
    struct proc child = proc_start(publish_from_device, ring);
    uint64_t next = 0, stale = 0;
    proc_tell(&child, 1);
    const int64_t since = slipring_now_ns();
    for (;;) {
        struct slipring_view view;
        const int code = slipring_consumer_acquire(consumer, 1, &view, proc_in_ms(PATIENCE_MS));
        if (code == -EPIPE) {
            break;
        }
        CHECK_OK(code);
        CHECK_EQ(view.slot.sequence, next);
        CHECK_EQ(view.slot.tag, next);
        stale += !pattern_whole(view.data, BYTES, next % PATTERNS);
        next++;
        CHECK_OK(slipring_consumer_release(consumer, &view));
    }
    said("%llu messages of %u bytes in %.1f s, %llu of them not whole", (unsigned long long)next,
         BYTES, ms_since(since) / 1e3, (unsigned long long)stale);
    if (stale != 0 || next == 0) {
        denied("stale data was seen");
    }
    proc_end(&child);
    slipring_consumer_detach(consumer);
    slipring_ring_close(ring);
}
