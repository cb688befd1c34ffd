/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages that stay in GPU memory. The ring says whose each slot is; what lies in it is written and
 * read by whatever runs on the GPU, here copies of the driver. Two processes, each with a handle of
 * its own; the ring goes over the socket first, then the slots. Without a GPU it says so and ends.
 *
 *     cc -std=c11 06_gpu_slots.c -o 06_gpu_slots $(pkg-config --cflags --libs slipring-cuda) -ldl
 *     ./06_gpu_slots
 */
#define _GNU_SOURCE
#include <slipring/cuda_slots.h>

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MESSAGES = 100, NUMBERS = 1024 };
#define PATIENCE_NS INT64_C(30000000000)

static int failed(const char *what, const char *why)
{
    fprintf(stderr, "06_gpu_slots: %s: %s\n", what, why);
    return EXIT_FAILURE;
}

/* A call of slipring failed; without a GPU there is nothing to be done. */
static int stopped(const struct slipring_error *error)
{
    if (error->code != -ENODEV) {
        return failed(error->call, error->text);
    }
    printf("06_gpu_slots: left out: %s\n", error->text);
    return EXIT_SUCCESS;
}

/* The driver's calls, looked up so that this is built anywhere; with CUDA at hand include <cuda.h>. */
static struct {
    int (*retain)(void **context, int device);
    int (*push)(void *context);
    int (*to_gpu)(uint64_t to, const void *from, size_t bytes, void *stream);
    int (*to_host)(void *to, uint64_t from, size_t bytes, void *stream);
    int (*synchronize)(void *stream);
} gpu;

static int begin_gpu(void)
{
    static const char *const names[] = {"cuDevicePrimaryCtxRetain", "cuCtxPushCurrent",
                                        "cuMemcpyHtoDAsync", "cuMemcpyDtoHAsync",
                                        "cuStreamSynchronize"};
    int (*find)(const char *, void **, int version, uint64_t flags, int *status);
    void *found[sizeof names / sizeof *names], *context;
    const char *stand_in = getenv("SLIPRING_CUDA_DRIVER"); /* of tests */
    void *library = dlopen(stand_in != NULL ? stand_in : "libcuda.so.1", RTLD_NOW);
    void *finder = library != NULL ? dlsym(library, "cuGetProcAddress_v2") : NULL;
    memcpy(&find, &finder, sizeof find);
    int status, code = finder == NULL;
    for (size_t i = 0; i < sizeof names / sizeof *names && code == 0; i++) {
        code = find(names[i], &found[i], 12000, 0, &status);
    }
    memcpy(&gpu, found, code == 0 ? sizeof gpu : 0);
    return code == 0 && gpu.retain(&context, 0) == 0 && gpu.push(context) == 0 ? 0 : -1;
}

static int consume(int socket)
{
    struct slipring_ring *ring;
    struct slipring_cuda *cuda;
    struct slipring_cuda_slots *slots;
    struct slipring_consumer_config config;
    struct slipring_consumer *consumer;
    struct slipring_tensor tensor;
    struct slipring_error error;
    struct slipring_view view;
    uint64_t numbers[NUMBERS];
    int rc, right = 0;
    slipring_consumer_config_init(&config);
    config.flags = SLIPRING_UNORDERED; /* streams release in an order of their own */
    if (slipring_ring_receive(socket, &ring, &error) < 0 ||
        slipring_cuda_register(ring, NULL, &cuda, &error) < 0 ||
        slipring_cuda_slots_receive(cuda, socket, &slots, &error) < 0 ||
        slipring_consumer_attach(ring, &config, &consumer, &error) < 0) {
        return stopped(&error);
    }
    if (begin_gpu() < 0 || send(socket, "r", 1, MSG_NOSIGNAL) != 1) {
        return failed("consumer", "an old driver, or no producer");
    }
    const int64_t deadline_ns = slipring_now_ns() + PATIENCE_NS;
    while ((rc = slipring_consumer_acquire(consumer, 1, &view, deadline_ns)) == 0) {
        if (slipring_cuda_slots_tensor(slots, view.slot.sequence, 1, 0, &tensor) < 0 ||
            /* tensor.data is a CUdeviceptr: here a kernel may as well be launched that reads it */
            gpu.to_host(numbers, (uint64_t)(uintptr_t)tensor.data, tensor.bytes, NULL) != 0 ||
            slipring_cuda_release(cuda, consumer, &view, NULL, &error) < 0 ||
            gpu.synchronize(NULL) != 0) { /* only to look at the numbers */
            return failed("consumer", "a copy or its release");
        }
        right += numbers[0] == view.slot.sequence && numbers[NUMBERS - 1] == view.slot.sequence;
    }
    if (slipring_cuda_drain(cuda, deadline_ns, &error) < 0) {
        return stopped(&error);
    }
    slipring_consumer_detach(consumer);
    slipring_cuda_slots_close(slots);
    slipring_cuda_unregister(cuda);
    slipring_ring_close(ring);
    if (rc != -EPIPE || right != MESSAGES) {
        return failed("read", rc != -EPIPE ? slipring_strerror(rc) : "messages are wrong");
    }
    printf("06_gpu_slots: read %d messages in GPU memory\n", MESSAGES);
    return EXIT_SUCCESS;
}

/* Claim, write and publish on one stream (NULL: the default one), where the waiting is done. */
static int publish(struct slipring_cuda *cuda, struct slipring_producer *producer,
                   const struct slipring_cuda_slots *slots)
{
    struct slipring_tensor tensor;
    struct slipring_error error;
    struct slipring_loan loan;
    uint64_t numbers[NUMBERS];
    int rc;
    while ((rc = slipring_cuda_claim(cuda, producer, 1, NULL, &loan, &error)) == -EAGAIN) {
        usleep(100); /* a device whose streams cannot wait for a slot */
    }
    if (rc < 0) {
        return stopped(&error);
    }
    for (int i = 0; i < NUMBERS; i++) {
        numbers[i] = loan.sequence;
    }
    if (slipring_cuda_slots_tensor(slots, loan.sequence, 1, 0, &tensor) < 0 ||
        gpu.to_gpu((uint64_t)(uintptr_t)tensor.data, numbers, tensor.bytes, NULL) != 0) {
        return failed("producer", "a copy"); /* or a kernel that writes it */
    }
    return slipring_cuda_publish(cuda, producer, 1, NULL, NULL, &error) < 0 ? stopped(&error)
                                                                            : EXIT_SUCCESS;
}

static int produce(int socket)
{
    const int64_t shape[] = {NUMBERS};
    struct slipring_ring *ring;
    struct slipring_cuda *cuda;
    struct slipring_cuda_slots *slots;
    struct slipring_producer *producer;
    struct slipring_config config;
    struct slipring_field field;
    struct slipring_error error = {.call = "produce"};
    char ready;
    slipring_config_init(&config);
    config.geometry = SLIPRING_GEOMETRY_TENSOR; /* said, since small slots become a compact ring */
    config.slot_bytes = 256;                    /* in the host's memory, beside each slot */
    config.slots = 16;                          /* as many on the GPU */
    if (slipring_field_init(&field, "numbers", "u8", 1, shape) < 0 ||
        slipring_ring_create(NULL, &config, &ring, &error) < 0 ||
        slipring_ring_send(ring, socket, 0, &error) < 0 ||
        slipring_cuda_register(ring, NULL, &cuda, &error) < 0 ||
        slipring_cuda_slots_create(cuda, &field, 1, &slots, &error) < 0 ||
        slipring_cuda_slots_send(slots, socket, &error) < 0 ||
        slipring_producer_attach(ring, NULL, &producer, &error) < 0) {
        return stopped(&error);
    }
    if (begin_gpu() < 0 || recv(socket, &ready, 1, 0) != 1) {
        return failed("producer", "an old driver, or no consumer");
    }
    int status = EXIT_SUCCESS;
    for (int i = 0; i < MESSAGES && status == EXIT_SUCCESS; i++) {
        status = publish(cuda, producer, slots);
    }
    if (slipring_cuda_drain(cuda, slipring_now_ns() + PATIENCE_NS, &error) < 0) {
        status = stopped(&error);
    }
    slipring_producer_close(producer);
    slipring_cuda_slots_close(slots);
    slipring_cuda_unregister(cuda);
    slipring_ring_close(ring);
    return status;
}

int main(void)
{
    int ends[2] = {-1, -1}, status;
    const int paired = socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends);
    const pid_t consumer = paired == 0 ? fork() : -1; /* before either uses the GPU */
    if (consumer < 0) {
        return failed("start", "no process or socket left");
    }
    close(ends[consumer == 0 ? 0 : 1]);
    if (consumer == 0) {
        return consume(ends[1]);
    }
    const int produced = produce(ends[0]);
    close(ends[0]);
    return waitpid(consumer, &status, 0) == consumer && status == 0 ? produced : EXIT_FAILURE;
}
