/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fields as DLPack tensors. A tensor holds its Field, and so the slot, until its deleter runs, on
 * whatever thread. Asked with max_version (1.0 or later) it is a versioned one that says
 * READ_ONLY; without, a legacy one, which cannot. The loader's tensors are parts of a buffer, which
 * they hold likewise.
 */
#include "ring/view.h"

#include <slipring/dlpack.h>

#include <stdlib.h>
#include <string.h>

struct exported {
    union {
        DLManagedTensor legacy;
        struct DLManagedTensorVersioned versioned;
    } managed;
    int64_t shape[SLIPRING_DIMS_MAX + 1], strides[SLIPRING_DIMS_MAX + 1];
    Py_buffer held; /* obj: the Field, or what the buffer is of; NULL: memory of its own */
    void *copy;
};

static void destroy(struct exported *exported)
{
    free(exported->copy);
    if (exported->held.obj != NULL) {
        /* While the interpreter ends only the thread that ends it may enter; the process's end
         * returns the slot then. */
        if (!Py_IsInitialized() || (finalizing() && !PyGILState_Check())) {
            return;
        }
        const PyGILState_STATE state = PyGILState_Ensure();
        PyBuffer_Release(&exported->held);
        PyGILState_Release(state);
    }
    free(exported);
}

static void delete_legacy(DLManagedTensor *tensor)
{
    destroy(tensor->manager_ctx);
}

static void delete_versioned(struct DLManagedTensorVersioned *tensor)
{
    destroy(tensor->manager_ctx);
}

/* A capsule that nobody took. */
static void end_legacy(PyObject *capsule)
{
    if (PyCapsule_IsValid(capsule, "dltensor")) {
        delete_legacy(PyCapsule_GetPointer(capsule, "dltensor"));
    }
}

static void end_versioned(PyObject *capsule)
{
    if (PyCapsule_IsValid(capsule, "dltensor_versioned")) {
        delete_versioned(PyCapsule_GetPointer(capsule, "dltensor_versioned"));
    }
}

static void copy_elements(struct exported *exported, const struct slipring_tensor *from)
{
    /* Each slot is without gaps. */
    const bool block = from->ndim > 0 && from->shape[0] > 0 && from->bytes != 0;
    const uint64_t parts = block ? (uint64_t)from->shape[0] : 1;
    const uint64_t bits = (uint64_t)from->dtype.bits * from->dtype.lanes;
    const uint64_t step = block ? (uint64_t)from->strides[0] * bits / 8 : 0;
    const uint64_t bytes = from->bytes / parts;
    for (uint64_t i = 0; i < parts; i++) {
        memcpy((char *)exported->copy + i * bytes, (const char *)from->data + i * step, bytes);
    }
    int64_t elements = 1;
    for (uint32_t d = from->ndim; d-- > 0;) {
        exported->strides[d] = elements;
        elements *= exported->shape[d];
    }
}

static struct exported *export_field(struct field_object *self, bool copy, DLTensor *tensor)
{
    const struct slipring_tensor *from = &self->tensor;
    struct exported *exported = calloc(1, sizeof *exported);
    if (exported == NULL || (copy && (exported->copy = malloc(from->bytes + 1)) == NULL)) {
        free(exported);
        PyErr_NoMemory();
        return NULL;
    }
    for (uint32_t d = 0; d < from->ndim; d++) {
        exported->shape[d] = from->shape[d];
        exported->strides[d] = from->strides[d];
    }
    if (copy) {
        copy_elements(exported, from);
    } else {
        Py_INCREF(self);
        exported->held.obj = (PyObject *)self;
    }
    *tensor = (DLTensor){.data = copy ? exported->copy : from->data,
                         .device = {kDLCPU, 0},
                         .ndim = (int32_t)from->ndim,
                         .dtype = {from->dtype.code, from->dtype.bits, from->dtype.lanes},
                         .shape = exported->shape,
                         .strides = exported->strides};
    return exported;
}

/* None, or (1, 0): the memory is where it is. */
static int check_device(PyObject *device)
{
    int type = kDLCPU, number = 0;
    if (device != NULL && device != Py_None &&
        (!PyTuple_Check(device) || !PyArg_ParseTuple(device, "ii", &type, &number))) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_TypeError, "dl_device: (device_type, device_id)");
        }
        return -1;
    }
    if (type != kDLCPU || number != 0) {
        PyErr_SetString(PyExc_BufferError,
                        "the ring is in this machine's memory: dl_device (1, 0)");
        return -1;
    }
    return 0;
}

/* A capsule of it; without it NULL. */
static PyObject *legacy_capsule(struct exported *exported, const DLTensor *tensor)
{
    if (exported == NULL) {
        return NULL;
    }
    exported->managed.legacy =
        (DLManagedTensor){.manager_ctx = exported, .deleter = delete_legacy, .dl_tensor = *tensor};
    PyObject *capsule = PyCapsule_New(&exported->managed.legacy, "dltensor", end_legacy);
    if (capsule == NULL) {
        destroy(exported);
    }
    return capsule;
}

static PyObject *versioned_capsule(struct exported *exported, const DLTensor *tensor,
                                   uint64_t flags)
{
    if (exported == NULL) {
        return NULL;
    }
    exported->managed.versioned =
        (struct DLManagedTensorVersioned){.version = {DLPACK_MAJOR_VERSION, DLPACK_MINOR_VERSION},
                                          .manager_ctx = exported,
                                          .deleter = delete_versioned,
                                          .flags = flags,
                                          .dl_tensor = *tensor};
    PyObject *capsule =
        PyCapsule_New(&exported->managed.versioned, "dltensor_versioned", end_versioned);
    if (capsule == NULL) {
        destroy(exported);
    }
    return capsule;
}

static PyObject *field_dlpack(struct field_object *self, PyObject *const *args, Py_ssize_t nargs,
                              PyObject *names)
{
    static const char *const keywords[] = {"stream", "max_version", "dl_device", "copy", NULL};
    PyObject *given[4];
    int major = 0, minor = 0, copy = 0;
    if (args_parse("__dlpack__", args, nargs, names, keywords, 0, given) != 0 ||
        check_device(given[2]) != 0) {
        return NULL;
    }
    if (given[0] != NULL && given[0] != Py_None) {
        PyErr_SetString(PyExc_BufferError, "stream: None, as for every tensor in host memory");
        return NULL;
    }
    if (given[1] != NULL && given[1] != Py_None &&
        !(PyTuple_Check(given[1]) && PyArg_ParseTuple(given[1], "ii", &major, &minor))) {
        return PyErr_Occurred() ? NULL
                                : PyErr_Format(PyExc_TypeError, "max_version: (major, minor)");
    }
    if (self->field == NULL) {
        return PyErr_Format(PyExc_BufferError, "a message over several slots has bytes, no tensor");
    }
    if (given[3] != NULL && given[3] != Py_None && (copy = PyObject_IsTrue(given[3])) < 0) {
        return NULL;
    }
    DLTensor tensor;
    struct exported *exported = export_field(self, copy != 0, &tensor);
    return major < 1 ? legacy_capsule(exported, &tensor)
                     : versioned_capsule(exported, &tensor,
                                         copy             ? DLPACK_FLAG_BITMASK_IS_COPIED
                                         : self->writable ? 0
                                                          : DLPACK_FLAG_BITMASK_READ_ONLY);
}

static PyObject *field_dlpack_device(struct field_object *self, PyObject *unused)
{
    (void)self;
    (void)unused;
    return Py_BuildValue("(ii)", (int)kDLCPU, 0);
}

PyMethodDef field_methods[] = {
    {"__dlpack__", FAST(field_dlpack),
     "__dlpack__($self, *, stream=None, max_version=None, dl_device=None, copy=None)\n--\n\nA "
     "DLPack "
     "capsule, without a copy unless copy is true. With max_version (1, 0) or later a versioned "
     "one,\nmarked read-only; without, a legacy one, which cannot be marked."},
    {"__dlpack_device__", (PyCFunction)field_dlpack_device, METH_NOARGS,
     "__dlpack_device__($self, /)\n--\n\n(kDLCPU, 0)"},
    {NULL, NULL, 0, NULL},
};

/* ---- the loader's tensors ---- */

static int extents_from(PyObject *tuple, int32_t ndim, int64_t *extents)
{
    if (!PyTuple_Check(tuple) || PyTuple_GET_SIZE(tuple) != ndim) {
        PyErr_SetString(PyExc_TypeError, "_tensor: shape and strides are tuples of one length");
        return -1;
    }
    for (int32_t d = 0; d < ndim; d++) {
        extents[d] = PyLong_AsLongLong(PyTuple_GET_ITEM(tuple, d));
    }
    return PyErr_Occurred() ? -1 : 0;
}

/* Does it have elements, all of them within so many bytes? */
static bool lies_in(const DLTensor *tensor, uint64_t bytes)
{
    uint64_t last = 0, step;
    for (int32_t d = 0; d < tensor->ndim; d++) {
        if (tensor->shape[d] < 1 || tensor->strides[d] < 0 ||
            __builtin_mul_overflow(tensor->shape[d] - 1, tensor->strides[d], &step) ||
            __builtin_add_overflow(last, step, &last)) {
            return false;
        }
    }
    return last < bytes / (tensor->dtype.bits / 8);
}

/* From (owner, offset, code, bits, shape, strides). 0, or -1 with the error set. */
static int export_part(PyObject *const *args, struct exported *exported, DLTensor *tensor)
{
    const uint64_t offset = PyLong_AsUnsignedLongLong(args[1]);
    const unsigned long code = PyLong_AsUnsignedLong(args[2]),
                        bits = PyLong_AsUnsignedLong(args[3]);
    const Py_ssize_t ndim = PyTuple_Check(args[4]) ? PyTuple_GET_SIZE(args[4]) : -1;
    if (PyErr_Occurred() || PyObject_GetBuffer(args[0], &exported->held, PyBUF_WRITABLE) != 0) {
        return -1;
    }
    *tensor = (DLTensor){.data = (char *)exported->held.buf + offset,
                         .device = {kDLCPU, 0},
                         .ndim = (int32_t)ndim,
                         .dtype = {(uint8_t)code, (uint8_t)bits, 1},
                         .shape = exported->shape,
                         .strides = exported->strides};
    const uint64_t bytes = (uint64_t)exported->held.len;
    if (ndim > SLIPRING_DIMS_MAX || bits < 8 || bits > 128) {
        PyErr_SetString(PyExc_ValueError, "_tensor: too many dimensions, or bits of no element");
        return -1;
    }
    if (extents_from(args[4], tensor->ndim, exported->shape) != 0 ||
        extents_from(args[5], tensor->ndim, exported->strides) != 0) {
        return -1;
    }
    if (offset > bytes || !lies_in(tensor, bytes - offset)) {
        PyErr_SetString(PyExc_ValueError, "_tensor: it does not lie in the buffer");
        return -1;
    }
    return 0;
}

PyObject *tensor_over(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    (void)module;
    if (nargs != 6) {
        return PyErr_Format(PyExc_TypeError, "_tensor(owner, offset, code, bits, shape, strides)");
    }
    struct exported *exported = calloc(1, sizeof *exported);
    if (exported == NULL) {
        return PyErr_NoMemory();
    }
    DLTensor tensor;
    if (export_part(args, exported, &tensor) != 0) {
        destroy(exported);
        return NULL;
    }
    return legacy_capsule(exported, &tensor);
}
