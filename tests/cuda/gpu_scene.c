/* SPDX-License-Identifier: Apache-2.0 */
/* What the questions to a GPU share. */
#define _GNU_SOURCE
#include "gpu.h"

#define PAGE 4096u

/* ---- gates ---- */

struct gate gate_new(void)
{
    return (struct gate){.word = proc_share(PAGE)};
}

void gate_use(struct gate *gate)
{
    CHECK_CU(gpu.host_register(gate->word, PAGE, 3));
    CHECK_CU(gpu.host_device_pointer(&gate->address, gate->word, 0));
}

void gate_close(struct gate *gate, void *stream)
{
    /* The word is ours until we open it. */
    gate->value = __atomic_load_n(gate->word, __ATOMIC_RELAXED) + 1;
    CHECK_CU(gpu.wait_value(stream, gate->address, gate->value, 0));
}

void gate_open(const struct gate *gate)
{
    /* Release: what was prepared for those behind it. */
    __atomic_store_n(gate->word, __atomic_load_n(gate->word, __ATOMIC_RELAXED) + 1,
                     __ATOMIC_RELEASE);
}

/* ---- scenes ---- */

void scene_open(struct scene *scene)
{
    cuda_calls();
    scene->cuda = cuda_registered(scene->ring, NULL);
    CHECK_CU(gpu.alloc(&scene->device, GPU_SLOTS * GPU_BYTES));
    CHECK_CU(gpu.stream_create(&scene->stream, 1)); /* 1: apart from the default stream */
}

void scene_close(struct scene *scene)
{
    CHECK_CU(gpu.synchronize(scene->stream));
    slipring_consumer_detach(scene->consumer);
    slipring_producer_detach(scene->producer);
    slipring_cuda_unregister(scene->cuda);
    slipring_ring_close(scene->ring);
    CHECK_CU(gpu.stream_destroy(scene->stream));
    CHECK_CU(gpu.free(scene->device));
}

bool on_device(const struct scene *scene, uint64_t sequence, uint64_t slots)
{
    uint8_t *got = malloc(GPU_BYTES);
    bool whole = got != NULL;
    for (uint64_t i = 0; i < slots && whole; i++) {
        CHECK_CU(gpu.to_host(got, scene->device + i * GPU_BYTES, GPU_BYTES, scene->stream));
        CHECK_CU(gpu.synchronize(scene->stream));
        whole = pattern_whole(got, GPU_BYTES, sequence + i);
    }
    free(got);
    return whole;
}

void publish(struct slipring_producer *producer, uint64_t slots)
{
    struct slipring_loan loan;
    for (uint64_t i = 0; i < slots; i++) {
        CHECK_OK(slipring_producer_claim(producer, 1, &loan, proc_in_ms(20000)));
        pattern_fill(loan.data, GPU_BYTES, loan.sequence);
        CHECK_OK(slipring_producer_publish(producer, 1, NULL));
    }
}

int try_claim(struct slipring_producer *producer, uint64_t slots)
{
    struct slipring_loan loan;
    const int code = slipring_producer_try_claim(producer, slots, &loan);
    if (code == 0) {
        CHECK_OK(slipring_producer_abort(producer));
    }
    return code;
}

double ms_since(int64_t ns)
{
    return (double)(slipring_now_ns() - ns) / 1e6;
}

/* ---- kernels ---- */

void *gpu_kernel(const char *name)
{
    void *module = NULL, *function = NULL;
    static char image[1 << 20] = "the stand-in needs none";
    if (!on_standin) {
        FILE *file = fopen(GPU_KERNELS, "re");
        const size_t length = file == NULL ? 0 : fread(image, 1, sizeof image - 1, file);
        if (file == NULL || length == 0) {
            not_asked("no kernels: they are built where nvcc is (%s is not there)", GPU_KERNELS);
        }
        image[length] = '\0';
        fclose(file);
    }
    const int code = gpu.module_load(&module, image);
    if (code != 0) {
        not_asked("the driver does not take kernels of this nvcc (CUresult %d): it is older", code);
    }
    CHECK_CU(gpu.module_function(&function, module, name));
    return function;
}

void gpu_launch(void *kernel, unsigned threads, void *stream, void **parameters)
{
    CHECK_CU(gpu.launch(kernel, 1, 1, 1, threads, 1, 1, 0, stream, parameters, NULL));
}
