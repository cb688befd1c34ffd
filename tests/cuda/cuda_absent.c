/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Without a driver, with one that is too old, and with one that sees no device each GPU call says
 * -ENODEV and what is missing, and the next call tries again: nothing is latched. Who goes on with the
 * handle that was not made is told -EINVAL by each call. Rings work all the same. Until the first GPU call no driver is opened, and a child forked before it may make it; one
 * forked after gets -ECHILD from each GPU call, whatever another thread did at the fork, and uses the
 * ring as before.
 */
#define _GNU_SOURCE
#include "cuda_test.h"

#include <slipring/cuda_slots.h>

#include <dlfcn.h>

/* Each call that takes a handle, with none. */
static void check_no_handle(struct slipring_ring *ring)
{
    struct slipring_producer *producer = proc_producer(ring);
    struct slipring_consumer *consumer = proc_member(ring, NULL, SLIPRING_UNORDERED, 0);
    struct slipring_cuda_slots_info slots_info = {.struct_size = sizeof slots_info};
    struct slipring_cuda_info info = {.struct_size = sizeof info};
    struct slipring_cuda_slots *slots = NULL;
    struct slipring_device_reader reader;
    struct slipring_loan loan;
    struct slipring_view view = {0};
    struct slipring_tensor tensor;
    struct slipring_field field = {0};
    uint64_t address;
#define TOLD(made)                                                                                 \
    do {                                                                                           \
        struct slipring_error error = {0};                                                         \
        CHECK_EQ(made, -EINVAL);                                                                   \
        CHECK_EQ(error.code, -EINVAL);                                                             \
        CHECK(strstr(error.text, "NULL") != NULL && strlen(error.call) != 0);                      \
    } while (0)
    TOLD(slipring_cuda_ready(NULL, 0, &error));
    TOLD(slipring_cuda_address(NULL, &view, 1, &address, &error));
    TOLD(slipring_cuda_copy(NULL, consumer, &view, 0, 0, NULL, &error));
    TOLD(slipring_cuda_release(NULL, consumer, &view, NULL, &error));
    TOLD(slipring_cuda_claim(NULL, producer, 1, NULL, &loan, &error));
    loan = (struct slipring_loan){.slots = 1};
    TOLD(slipring_cuda_fill(NULL, producer, &loan, 0, 0, NULL, &error));
    TOLD(slipring_cuda_publish(NULL, producer, 1, NULL, NULL, &error));
    TOLD(slipring_cuda_abort(NULL, producer, NULL, &error));
    TOLD(slipring_cuda_reader_begin(NULL, consumer, &reader, &error));
    TOLD(slipring_cuda_drain(NULL, 0, &error));
    TOLD(slipring_cuda_slots_create(NULL, &field, 1, &slots, &error));
    TOLD(slipring_cuda_slots_receive(NULL, 0, &slots, &error));
    TOLD(slipring_cuda_slots_send(NULL, 0, &error));
#undef TOLD
    CHECK_EQ(slipring_cuda_ready(NULL, 0, NULL), -EINVAL);
    CHECK_EQ(slipring_cuda_get_info(NULL, &info), -EINVAL);
    CHECK_EQ(slipring_cuda_slots_get_info(NULL, &slots_info), -EINVAL);
    CHECK_EQ(slipring_cuda_slots_field(NULL, 0, &field, NULL), -EINVAL);
    CHECK_EQ(slipring_cuda_slots_tensor(NULL, 0, 1, 0, &tensor), -EINVAL);
    slipring_cuda_reader_abort(NULL);
    slipring_cuda_reader_end(NULL, 0);
    slipring_cuda_slots_close(NULL);
    slipring_cuda_unregister(NULL);
    slipring_consumer_detach(consumer);
    slipring_producer_detach(producer);
}

static void check_absent(const char *what)
{
    struct slipring_error error = {0};
    struct slipring_ring *ring = cuda_ring(4, 4096, SLIPRING_BLOCK);
    struct slipring_cuda *cuda = NULL;
    char pci[SLIPRING_CUDA_PCI_BYTES];
    CHECK_EQ(slipring_cuda_devices(&error), -ENODEV);
    CHECK_EQ(error.code, -ENODEV);
    printf("%s: %s\n", what, error.text);
    CHECK(strstr(error.text, what) != NULL);
    CHECK_EQ(slipring_cuda_pci(0, pci, sizeof pci, NULL), -ENODEV);
    memset(&error, 0, sizeof error);
    CHECK_EQ(slipring_cuda_register(ring, NULL, &cuda, &error), -ENODEV);
    CHECK(strstr(error.text, what) != NULL && cuda == NULL);
    check_no_handle(ring);
    struct slipring_producer *producer = proc_producer(ring);
    struct slipring_loan loan;
    CHECK_OK(slipring_producer_try_claim(producer, 1, &loan));
    CHECK_OK(slipring_producer_publish(producer, 1, NULL));
    slipring_producer_detach(producer);
    slipring_ring_close(ring);
}

static int use_gpu(struct proc *self, void *context)
{
    (void)self;
    const int want = *(const int *)context;
    struct slipring_error error = {0};
    const int got = slipring_cuda_devices(&error);
    if (want > 0) {
        CHECK_EQ(got, want);
        return 0;
    }
    CHECK_EQ(got, want);
    CHECK_EQ(error.code, want);
    CHECK(strstr(error.text, "fork") != NULL);
    return 0;
}

/* The child of a process with a registered ring: the handle is void, the ring is not. */
static int use_ring(struct proc *self, void *context)
{
    (void)self;
    void **both = context;
    struct slipring_cuda *cuda = both[0];
    struct slipring_cuda_info info = {.struct_size = sizeof info};
    uint64_t address;
    CHECK_EQ(slipring_cuda_ready(cuda, 0, NULL), -ECHILD);
    CHECK_EQ(slipring_cuda_get_info(cuda, &info), -ECHILD);
    CHECK_EQ(slipring_cuda_address(cuda, NULL, 1, &address, NULL), -ECHILD);
    slipring_cuda_unregister(cuda); /* frees the copy, calls no driver */
    struct slipring_producer *producer = proc_producer(both[1]);
    struct slipring_loan loan;
    CHECK_OK(slipring_producer_try_claim(producer, 1, &loan));
    memset(loan.data, 1, loan.bytes);
    CHECK_OK(slipring_producer_publish(producer, 1, NULL));
    slipring_producer_detach(producer);
    return 0;
}

int main(void)
{
    cuda_begin(60);
    char *path = strdup(getenv("SLIPRING_CUDA_DRIVER"));
    struct slipring_error error = {0};
    int one = 1, none = -ECHILD;

    CHECK(strstr(slipring_cuda_driver(), "no driver") != NULL);
    setenv("SLIPRING_CUDA_DRIVER", "/nowhere/libcuda.so.1", 1);
    check_absent("/nowhere/libcuda.so.1");
    if (dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL) == NULL) {
        unsetenv("SLIPRING_CUDA_DRIVER");
        check_absent("no NVIDIA driver here");
    }
    setenv("SLIPRING_CUDA_DRIVER", path, 1);
    standin.hide("cuMemHostRegister", true);
    check_absent("no cuMemHostRegister");
    standin.hide("cuMemHostRegister", false);
    standin.devices(0);
    check_absent("sees no device");
    standin.devices(1);

    struct proc before = proc_start(use_gpu, &one);
    proc_end(&before);
    standin.fail("cuInit", 1, 999);
    CHECK_EQ(slipring_cuda_devices(&error), -ENODEV);
    CHECK(strstr(error.text, "does not start") != NULL);
    CHECK_EQ(slipring_cuda_devices(&error), 1);
    CHECK(strstr(slipring_cuda_driver(), "stand-in driver, not a GPU") != NULL);
    CHECK(strstr(slipring_cuda_driver(), path) != NULL);
    struct proc after = proc_start(use_gpu, &none);
    proc_end(&after);

    struct slipring_ring *ring = cuda_ring(8, 4096, SLIPRING_BLOCK);
    struct slipring_cuda *cuda = cuda_registered(ring, NULL);
    void *both[2] = {cuda, ring};
    struct proc child = proc_start(use_ring, both);
    proc_end(&child);
    slipring_cuda_unregister(cuda);
    CHECK_EQ(standin.registered(), 0);
    slipring_ring_close(ring);
    free(path);
    return 0;
}
