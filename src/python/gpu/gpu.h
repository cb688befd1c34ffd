/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rings beside a GPU, by libslipring-cuda, which the first call here opens: the extension links nothing
 * of it, and nothing is called at import, attach or fork.
 *
 * A ring is pinned (page-locked) once per process, whatever objects there are of it. From then on its
 * views go back by a stream: the one that View.to() or release(stream=) named, else the one that
 * torch or CuPy would copy on at that moment, since a tensor made of a slot may have been copied
 * without waiting.
 */
#ifndef SLIPRING_PYTHON_GPU_H
#define SLIPRING_PYTHON_GPU_H

#include "lock.h"

#include <slipring/cuda.h>

/* libslipring-cuda's functions (gpu_load.c). */
struct gpu_calls {
    int (*devices)(struct slipring_error *error);
    const char *(*driver)(void);
    int (*pci)(int device, char *text, size_t bytes, struct slipring_error *error);
    void (*config_init)(struct slipring_cuda_config *config);
    int (*enlist)(struct slipring_ring *ring, const struct slipring_cuda_config *config,
                  struct slipring_cuda **cuda, struct slipring_error *error);
    int (*ready)(struct slipring_cuda *cuda, int64_t deadline_ns, struct slipring_error *error);
    int (*get_info)(struct slipring_cuda *cuda, struct slipring_cuda_info *info);
    int (*copy)(struct slipring_cuda *cuda, const struct slipring_consumer *consumer,
                const struct slipring_view *view, uint32_t field, uint64_t to, void *stream,
                struct slipring_error *error);
    int (*release)(struct slipring_cuda *cuda, struct slipring_consumer *consumer,
                   const struct slipring_view *view, void *stream, struct slipring_error *error);
    int (*drain)(struct slipring_cuda *cuda, int64_t deadline_ns, struct slipring_error *error);
    void (*unregister)(struct slipring_cuda *cuda);
};

/* The library, opened by the first call; NULL with the error set. */
const struct gpu_calls *gpu_calls(const struct module_state *state);
/* Held while the library is opened and while a ring is pinned or let go. 0, or -1 with the error set. */
int gpu_take(void);
void gpu_take_soon(void); /* for destructors */
void gpu_give(void);

/* A pinned ring. */
struct gpu_pin {
    struct gpu_pin *next;
    const void *data; /* its memory, by which it is found again */
    struct slipring_cuda *cuda;
    const struct gpu_calls *calls;
    int device;
    uint32_t references;
    uint32_t born; /* forks_count() */
};

/* gpu.c. The ring pinned, by config where it is not yet; NULL with the error set. */
struct gpu_pin *gpu_pin(struct core *core, const struct slipring_cuda_config *config);
/* The ring's, or NULL: none, or the parent's in a forked child. */
struct gpu_pin *gpu_pinned(const struct core *core);
/* At its end. true: the ring is in use by streams, and is closed when they are done. */
bool gpu_unpin(struct core *core);

/* Functions of the module slipring._slipring. */
PyObject *gpu_devices(PyObject *module, PyObject *unused);
PyObject *gpu_driver(PyObject *module, PyObject *unused);
PyObject *gpu_pci(PyObject *module, PyObject *device);

#endif
