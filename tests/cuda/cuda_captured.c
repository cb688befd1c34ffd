/* SPDX-License-Identifier: Apache-2.0 */
/*
 * While the application captures a stream into a graph, the library goes on with what it has to do, and
 * that capture ends well: page-locking begins and ends, releases on other streams are followed up, the
 * first claim on a stream, a kernel that reads, slots in GPU memory come and go; and the thread that
 * called is as it was. The stand-in refuses a thread that does not stay out of it, and spoils the capture.
 */
#define _GNU_SOURCE
#include "cuda_test.h"

#include <slipring/cuda_slots.h>

#include <sys/socket.h>

#define SLOTS 8u
#define BYTES 4096u

static void check_rule(void *captured)
{
    void *graph = NULL;
    CHECK_CU(gpu.begin_capture(captured, 0));
    CHECK_EQ(gpu.query(NULL), 900);
    CHECK_EQ(gpu.end_capture(captured, &graph), 901);
    CHECK_CU(gpu.begin_capture(captured, 0));
    CHECK_CU(gpu.end_capture(captured, &graph));
    CHECK_CU(gpu.graph_destroy(graph));
}

/* Those that register or free memory by themselves. */
static void check_calls(struct slipring_cuda *cuda, struct slipring_producer *producer,
                        struct slipring_consumer *consumer, void *stream)
{
    struct slipring_loan loan;
    struct slipring_device_reader reader;
    struct slipring_cuda_slots *slots = NULL, *received = NULL;
    struct slipring_error error = {0};
    struct slipring_field field;
    const int64_t extent = 64;
    int fds[2];
    CHECK_OK(slipring_cuda_claim(cuda, producer, 1, stream, &loan, &error));
    CHECK_OK(slipring_cuda_abort(cuda, producer, stream, &error));
    CHECK_OK(slipring_cuda_drain(cuda, proc_in_ms(20000), &error));
    CHECK_OK(slipring_cuda_reader_begin(cuda, consumer, &reader, &error));
    slipring_cuda_reader_end(cuda, reader.next);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
    CHECK_OK(slipring_field_init(&field, "data", "f4", 1, &extent));
    CHECK_OK(slipring_cuda_slots_create(cuda, &field, 1, &slots, &error));
    CHECK_OK(slipring_cuda_slots_send(slots, fds[0], &error));
    CHECK_OK(slipring_cuda_slots_receive(cuda, fds[1], &received, &error));
    slipring_cuda_slots_close(slots);
    slipring_cuda_slots_close(received);
    close(fds[0]);
    close(fds[1]);
}

int main(void)
{
    struct slipring_view view;
    struct slipring_loan loan;
    struct slipring_cuda *second = NULL;
    struct slipring_error error = {0};
    void *captured = NULL, *stream = NULL, *graph = NULL;
    uint64_t device = 0;
    cuda_begin(60);
    cuda_calls();
    struct slipring_ring *ring = cuda_ring(SLOTS, BYTES, SLIPRING_BLOCK);
    struct slipring_ring *other = cuda_ring(SLOTS, BYTES, SLIPRING_BLOCK);
    struct slipring_cuda *cuda = cuda_registered(ring, NULL);
    struct slipring_producer *producer = proc_producer(ring);
    struct slipring_consumer *consumer = proc_member(ring, NULL, SLIPRING_UNORDERED, 0);
    CHECK_CU(gpu.stream_create(&captured, 0));
    CHECK_CU(gpu.stream_create(&stream, 0));
    CHECK_CU(gpu.alloc(&device, BYTES));
    check_rule(captured);

    CHECK_OK(slipring_producer_try_claim(producer, 1, &loan));
    CHECK_OK(slipring_producer_publish(producer, 1, NULL));
    CHECK_OK(slipring_consumer_try_acquire(consumer, 1, &view));
    standin.hold(stream, true);
    CHECK_OK(slipring_cuda_copy(cuda, consumer, &view, 0, device, stream, &error));
    CHECK_OK(slipring_cuda_release(cuda, consumer, &view, stream, &error));
    CHECK_CU(gpu.begin_capture(captured, 0));
    const unsigned asked = standin.calls("cuEventQuery");
    for (const int64_t until = proc_in_ms(20000); standin.calls("cuEventQuery") < asked + 5;) {
        CHECK(slipring_now_ns() < until);
        proc_pause_us(200);
    }
    CHECK_OK(slipring_cuda_register(other, NULL, &second, &error));
    CHECK_OK(slipring_cuda_ready(second, proc_in_ms(20000), &error));
    standin.hold(stream, false);
    CHECK_OK(slipring_cuda_drain(cuda, proc_in_ms(20000), &error));
    CHECK_EQ(cuda_info(cuda).lost, 0);
    check_calls(cuda, producer, consumer, stream);
    slipring_cuda_unregister(second);
    CHECK_CU(gpu.end_capture(captured, &graph));
    CHECK_CU(gpu.graph_destroy(graph));
    check_rule(captured);

    slipring_consumer_detach(consumer);
    slipring_producer_detach(producer);
    slipring_cuda_unregister(cuda);
    CHECK_CU(gpu.free(device));
    CHECK_CU(gpu.stream_destroy(stream));
    CHECK_CU(gpu.stream_destroy(captured));
    slipring_ring_close(other);
    slipring_ring_close(ring);
    return 0;
}
