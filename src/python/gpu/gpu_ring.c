/* SPDX-License-Identifier: Apache-2.0 */
/* Ring.pin() and what tells of it. */
#include "gpu/gpu.h"

#include "ring/ring.h"
#include "ring/view.h"
#include "device.h"

#include <errno.h>

/* As slipring_cuda_ready() or slipring_cuda_drain(), in steps that answer signals. 0, or the result; 1
 * with the error set. */
static int wait_for(struct gpu_pin *pin,
                    int (*wait)(struct slipring_cuda *cuda, int64_t deadline_ns,
                                struct slipring_error *error),
                    int64_t deadline_ns, struct slipring_error *error)
{
    for (;;) {
        int64_t until = slipring_now_ns() + WAIT_STEP_NS;
        until = deadline_ns == DEADLINE_TRY ? 0 : until < deadline_ns ? until : deadline_ns;
        int result;
        Py_BEGIN_ALLOW_THREADS
        result = wait(pin->cuda, until, error);
        Py_END_ALLOW_THREADS
        if (result != -ETIMEDOUT || until == deadline_ns || deadline_ns == DEADLINE_TRY) {
            return result;
        }
        if (PyErr_CheckSignals() != 0) {
            return 1;
        }
    }
}

PyObject *ring_pin(struct ring_object *self, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"device", "lock", "chunk_bytes", "budget_bytes", "timeout", NULL};
    int device = 0, lock = 1;
    PyObject *chunk = NULL, *budget = NULL, *timeout = NULL;
    int64_t deadline = DEADLINE_TRY;
    struct core *core;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|i$pOOO:pin", keywords, &device, &lock, &chunk,
                                     &budget, &timeout) ||
        (timeout != NULL && deadline_from(timeout, &deadline) != 0) ||
        (core = ring_take(self)) == NULL) {
        return NULL;
    }
    const struct gpu_calls *calls = gpu_calls(core->state);
    struct slipring_cuda_config config;
    struct gpu_pin *pin = NULL;
    if (calls != NULL) {
        calls->config_init(&config);
        config.device = device;
        config.flags = lock ? 0 : SLIPRING_CUDA_UNPINNED;
        if (count_from(chunk, &config.chunk_bytes) == 0 &&
            count_from(budget, &config.budget_bytes) == 0) {
            pin = gpu_pin(core, &config);
        }
    }
    PyObject *done = NULL;
    if (pin != NULL) {
        struct slipring_error error = {0};
        int result = wait_for(pin, pin->calls->ready, deadline, &error);
        result = deadline == DEADLINE_TRY && result < 0 ? 0 : result; /* pin_info() tells */
        done = result < 0 ? raise_setup(core->state, result, &error) : result == 0 ? Py_None : NULL;
        Py_XINCREF(done);
    }
    core_drop(core);
    return done;
}

PyObject *ring_drain(struct ring_object *self, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"timeout", NULL};
    PyObject *timeout = NULL;
    int64_t deadline;
    struct core *core;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:drain", keywords, &timeout) ||
        deadline_from(timeout, &deadline) != 0 || (core = ring_take(self)) == NULL) {
        return NULL;
    }
    struct gpu_pin *pin = gpu_pinned(core);
    struct slipring_error error = {0};
    const int result = pin == NULL ? 0 : wait_for(pin, pin->calls->drain, deadline, &error);
    PyObject *done = result < 0    ? raise_setup(core->state, result, &error)
                     : result == 0 ? Py_None
                                   : NULL;
    core_drop(core);
    Py_XINCREF(done);
    return done;
}

PyObject *ring_pin_info(struct ring_object *self, PyObject *unused)
{
    static const char *const states[] = {"locking", "ready", "partly", "staged"};
    static const char *const ways[] = {"store", "call", "polling"};
    (void)unused;
    struct core *core = ring_take(self);
    if (core == NULL) {
        return NULL;
    }
    struct gpu_pin *pin = gpu_pinned(core);
    struct slipring_cuda_info i = {.struct_size = sizeof i};
    const int result = pin == NULL ? 0 : pin->calls->get_info(pin->cuda, &i);
    PyObject *info = NULL;
    if (result != 0) {
        raise_code(core, result, "pin_info");
    } else if (pin == NULL) {
        info = Py_None;
        Py_INCREF(info);
    } else {
        info = namespace_of(Py_BuildValue(
            "{s:s,s:i,s:I,s:K,s:K,s:K,s:K,s:K,s:d,s:d,s:s,s:K,s:K,s:K,s:s,s:s}", "state",
            states[i.state & 3], "device", i.device, "chunks", i.chunks, "chunk_bytes",
            i.chunk_bytes, "total_bytes", i.total_bytes, "locked_bytes", i.locked_bytes,
            "foreign_bytes", i.foreign_bytes, "budget_bytes", i.budget_bytes, "longest_stall",
            (double)i.longest_stall_ns / 1e9, "locking", (double)i.locking_ns / 1e9, "release_by",
            i.release_by < 3 ? ways[i.release_by] : "unknown", "pending", i.pending, "stale",
            i.stale, "lost", i.lost, "driver", i.driver, "reason", i.reason));
    }
    core_drop(core);
    return info;
}

/* The ring's own memory for the loader, whose batches are their taker's to change: all slots, mapped
 * writable until the ring's end. */
PyObject *ring_writable(struct ring_object *self, PyObject *unused)
{
    (void)unused;
    struct core *core = ring_take(self);
    if (core == NULL) {
        return NULL;
    }
    struct slipring_error error = {0};
    struct slipring_memory memory = {.struct_size = sizeof memory};
    int result = slipring_ring_memory(core->ring, &memory);
    if (result == 0) {
        result = slipring_ring_unprotect(core->ring, &error);
    }
    PyObject *buffer = NULL;
    if (result != 0) {
        raise_setup(core->state, result, &error);
    } else {
        /* Relaxed: core_drop() looks after every other use of the core. */
        __atomic_add_fetch(&core->writable, 1, __ATOMIC_RELAXED);
        PyObject *bytes = field_bytes(core, memory.payload, memory.slots * memory.payload_stride);
        buffer = bytes == NULL ? NULL : PyMemoryView_FromObject(bytes);
        Py_XDECREF(bytes);
    }
    core_drop(core);
    return buffer;
}
