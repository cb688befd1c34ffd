/* SPDX-License-Identifier: Apache-2.0 */
/* Views on streams: copied to the device, and given back by it. */
#include "gpu/gpu.h"

#include "ring/view.h"

#include <errno.h>

PyObject *view_to(struct view_object *self, PyObject *const *args, Py_ssize_t nargs,
                  PyObject *names)
{
    static const char *const keywords[] = {"device", "stream", NULL};
    PyObject *given[2];
    if (args_parse("to", args, nargs, names, keywords, 2, given) != 0) {
        return NULL;
    }
    if (given[0] == NULL) {
        PyErr_SetString(PyExc_TypeError, "to() needs a device");
        return NULL;
    }
    PyObject *module = PyImport_ImportModule("slipring.gpu");
    PyObject *result = module == NULL ? NULL
                                      : PyObject_CallMethod(module, "to", "OOO", self, given[0],
                                                            given[1] == NULL ? Py_None : given[1]);
    Py_XDECREF(module);
    return result;
}

/* Can a stream have this view's release? 0, or -1 with the error set. */
static int check_stream(struct view_object *self, int device, uint64_t stream)
{
    const struct consumer_object *consumer = self->consumer;
    const struct core *core = consumer->core;
    if (consumer_forked(consumer)) {
        raise_code(core, -ECHILD, "stream");
    } else if (self->copy != NULL) {
        raise_invalid(core->state, "the view is a copy and holds no slot: hand it to the device as "
                                   "any memory, as by torch.from_dlpack(view).to(device)");
    } else if (consumer->ordered) {
        raise_invalid(core->state, "streams release in any order, and this consumer in the order "
                                   "acquired: make it with unordered=True");
    } else if ((__atomic_load_n(&self->exports, __ATOMIC_RELAXED) & VIEW_RELEASED) != 0) {
        /* Relaxed: for the text alone; of two who release at once end_lease() lets one. */
        PyErr_SetString(PyExc_ValueError, "the view was released, its slots are the producer's");
    } else if (self->streaming && self->stream != stream) {
        PyErr_SetString(PyExc_ValueError,
                        "another stream uses this view already: order this one behind it by an "
                        "event, and name that one, or wait for it");
    } else {
        struct slipring_cuda_config config;
        const struct gpu_calls *calls = gpu_calls(core->state);
        if (calls == NULL) {
            return -1;
        }
        calls->config_init(&config);
        config.device = device < 0 ? 0 : device;
        const struct gpu_pin *pin = gpu_pin(consumer->core, &config);
        if (pin == NULL) {
            return -1;
        }
        if (stream > 2 || device < 0 || device == pin->device) {
            return 0;
        }
        raise_invalid(core->state,
                      "a default stream of device %d, and the ring was pinned for %d, "
                      "where it is another one: use a stream that was made, or "
                      "ring.pin(%d)",
                      device, pin->device, device);
    }
    return -1;
}

static void mark(struct view_object *self, uint64_t stream, PyObject *keep)
{
    PyObject *before;
    BEGIN_CRITICAL(self);
    before = self->keep;
    Py_XINCREF(keep);
    self->keep = keep;
    self->stream = stream;
    self->streaming = keep != NULL;
    END_CRITICAL();
    Py_XDECREF(before);
}

int gpu_put_on_stream(struct view_object *self, PyObject *stream)
{
    PyObject *module = PyImport_ImportModule("slipring.gpu");
    PyObject *handle =
        module == NULL ? NULL : PyObject_CallMethod(module, "stream_handle", "O", stream);
    Py_XDECREF(module);
    const uint64_t number = handle == NULL ? 0 : PyLong_AsUnsignedLongLong(handle);
    Py_XDECREF(handle);
    if (PyErr_Occurred() || check_stream(self, -1, number) != 0) {
        return -1;
    }
    if (self->streaming) {
        return 0;
    }
    mark(self, number, stream);
    return 1;
}

void gpu_take_off_stream(struct view_object *self)
{
    mark(self, 0, NULL);
}

/* _copy(field, address, device, stream, keep): put a copy on a stream, which the release is then on
 * too. field -1: the slots as they lie; keep: a reference for as long. */
PyObject *view_copy_to(struct view_object *self, PyObject *args)
{
    int field, device;
    unsigned long long address, stream;
    PyObject *keep;
    if (!PyArg_ParseTuple(args, "iKiKO:_copy", &field, &address, &device, &stream, &keep) ||
        check_stream(self, device, stream) != 0) {
        return NULL;
    }
    const struct core *core = self->consumer->core;
    const struct gpu_pin *pin = gpu_pinned(core);
    struct slipring_error error = {0};
    int result;
    Py_BEGIN_ALLOW_THREADS
    result = pin->calls->copy(pin->cuda, self->consumer->consumer, &self->view,
                              field < 0 ? SLIPRING_CUDA_SLOTS : (uint32_t)field, address,
                              (void *)(uintptr_t)stream, &error);
    Py_END_ALLOW_THREADS
    if (result != -EINVAL) { /* else nothing of it is there; after other errors a part may be */
        mark(self, stream, keep);
    }
    if (result != 0) {
        return raise_setup(core->state, result, &error);
    }
    Py_RETURN_NONE;
}

/* The stream on which whoever has a tensor of the view may have copied it. false: nobody can have. */
static bool current_stream(const struct core *core, int device, uint64_t *stream)
{
    PyObject *module = __atomic_load_n(&core->state->gpu, __ATOMIC_ACQUIRE); /* keep_module() */
    if (module == NULL || finalizing()) {
        return false;
    }
    PyObject *found = PyObject_CallMethod(module, "current_stream", "i", device);
    bool known = found != NULL && found != Py_None;
    if (known) {
        *stream = PyLong_AsUnsignedLongLong(found);
        known = !PyErr_Occurred();
    }
    if (PyErr_Occurred()) {
        PyErr_WriteUnraisable(module);
    }
    Py_XDECREF(found);
    return known;
}

int gpu_give_back(struct view_object *self)
{
    struct consumer_object *consumer = self->consumer;
    const struct core *core = consumer->core;
    const struct gpu_pin *pin = gpu_pinned(core);
    uint64_t stream = self->stream;
    if (pin == NULL || consumer->ordered || (self->plain && !self->streaming) ||
        (!self->streaming && !current_stream(core, pin->device, &stream))) {
        return GPU_NOT;
    }
    struct slipring_error error = {0};
    int result;
    Py_BEGIN_ALLOW_THREADS
    result = pin->calls->release(pin->cuda, consumer->consumer, &self->view,
                                 (void *)(uintptr_t)stream, &error);
    Py_END_ALLOW_THREADS
    if (result == 0 || result == -ESTALE) {
        return result;
    }
    raise_setup(core->state, result, &error);
    return GPU_HELD;
}
