/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the measures beside a GPU share: the driver's calls for what is not slipring's, kernels, marks in
 * memory that a stream writes. Only in processes of a team: who has used CUDA cannot fork.
 */
#ifndef PERF_GPU_H
#define PERF_GPU_H

#include "common.h"
#include "device.h"

#include <slipring/cuda.h>
struct gpu {
    int (*init)(unsigned flags);
    int (*device_get)(int *device, int ordinal);
    int (*primary_retain)(void **context, int device);
    int (*push)(void *context);
    int (*alloc)(uint64_t *address, size_t bytes);
    int (*stream_create)(void **stream, unsigned flags);
    int (*synchronize)(void *stream);
    int (*to_device)(uint64_t to, const void *from, size_t bytes, void *stream);
    int (*to_host)(void *to, uint64_t from, size_t bytes, void *stream);
    int (*host_alloc)(void **memory, size_t bytes, unsigned flags);
    int (*host_register)(void *start, size_t bytes, unsigned flags);
    int (*host_unregister)(void *start);
    int (*host_device_pointer)(uint64_t *address, void *host, unsigned flags);
    int (*write_value)(void *stream, uint64_t address, uint64_t value, unsigned flags);
    int (*module_load)(void **module, const void *image);
    int (*module_function)(void **function, void *module, const char *name);
    int (*launch)(void *function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                  unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared_bytes,
                  void *stream, void **parameters, void **extra);
};

/* Load them, and make the first device's context current. */
void gpu_begin(struct gpu *gpu);
void *gpu_stream(const struct gpu *gpu);
uint64_t gpu_memory(const struct gpu *gpu, uint64_t bytes);
/* The device's address of memory, which is registered for that. */
uint64_t gpu_register(const struct gpu *gpu, void *memory, uint64_t bytes);
void *gpu_kernel(const struct gpu *gpu, const char *name);
void gpu_launch(const struct gpu *gpu, void *kernel, void *stream, void **parameters);
#define GPU_CHECK(call) CHECK((call) == 0)

struct slipring_cuda *gpu_registered(struct slipring_ring *ring);
struct slipring_consumer *gpu_consumer(struct slipring_ring *ring); /* unordered, spins */

/* A measure in which ours is compared with one other. On the stand-in the systems are called so that
 * none can be taken for a GPU. */
void gpu_measure(struct bench *bench, const char *name, const char *unit,
                 int (*run)(const struct run *run, const void *context), const void *ours,
                 const char *other, const void *floor);
/* Fewer and smaller, where figures mean nothing. */
bool gpu_on_standin(void);

#define GPU_COPY_NAMES                                                                             \
    "h2d_from_slot_64KiB", "h2d_from_slot_1MiB", "h2d_from_slot_16MiB", "h2d_from_slot_256MiB",    \
        "h2d_from_slot_1GiB", "h2d_vs_pageable", "h2d_overlap"
#define GPU_LATENCY_NAMES "gpu_release", "d2h_publish", "gpu_reader_latency"
#define GPU_PIN_NAMES "pin_rate", "pin_stall"
void perf_gpu_copy(struct bench *bench, bool kernels);
void perf_gpu_latency(struct bench *bench, bool kernels);
void perf_gpu_pin(struct bench *bench);

#endif
