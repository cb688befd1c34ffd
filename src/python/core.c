/* SPDX-License-Identifier: Apache-2.0 */
/* The core that a ring's objects share (core.h): made, ended, its fields found. */
#include "gpu/gpu.h"
#include "device.h"

struct core *core_hold(struct core *core)
{
    __atomic_add_fetch(&core->references, 1, __ATOMIC_RELAXED); /* the caller has one */
    return core;
}

void core_drop(struct core *core)
{
    /* Every use by others was before their drop. */
    if (__atomic_sub_fetch(&core->references, 1, __ATOMIC_ACQ_REL) != 0) {
        return;
    }
    struct slipring_ring *ring = core->ring;
    while (core->writable-- > 0) {
        slipring_ring_protect(ring);
    }
    if (!gpu_unpin(core)) {
        Py_BEGIN_ALLOW_THREADS
        slipring_ring_close(ring);
        Py_END_ALLOW_THREADS
    }
    for (uint32_t f = 0; f < core->field_count; f++) {
        Py_XDECREF(core->fields[f].name);
        Py_XDECREF(core->fields[f].dtype);
    }
    PyObject *module = core->module;
    PyMem_Free(core);
    Py_DECREF(module);
}

struct core *core_new(PyObject *module, struct slipring_ring *ring, bool read_only)
{
    struct slipring_info info = {.struct_size = sizeof info};
    const int result = slipring_ring_info(ring, &info);
    struct core *core = NULL;
    if (result == 0) {
        core = PyMem_Calloc(1, sizeof *core + info.field_count * sizeof core->fields[0]);
    }
    if (core == NULL) {
        slipring_ring_close(ring);
        PyErr_NoMemory();
        return NULL;
    }
    core->references = 1;
    core->ring = ring;
    core->module = module;
    Py_INCREF(module);
    core->state = PyModule_GetState(module);
    core->slots = info.slots;
    core->slot_bytes = info.slot_bytes;
    core->stride = info.payload_stride;
    core->flags = info.flags;
    core->full = info.full;
    core->geometry = info.geometry;
    core->read_only = read_only;
    core->field_count = info.field_count;
    for (uint32_t f = 0; f < core->field_count; f++) {
        struct core_field *field = &core->fields[f];
        if (slipring_ring_field(ring, f, &field->field, &field->offset) != 0) {
            continue;
        }
        schema_describe(field);
        field->name = PyUnicode_InternFromString(field->field.name);
        if (field->name == NULL) {
            core_drop(core);
            return NULL;
        }
    }
    return core;
}

int core_find_field(const struct core *core, PyObject *name)
{
    for (uint32_t f = 0; f < core->field_count; f++) {
        if (core->fields[f].name == name) {
            return (int)f;
        }
    }
    for (uint32_t f = 0; PyUnicode_Check(name) && f < core->field_count; f++) {
        if (PyUnicode_CompareWithASCIIString(name, core->fields[f].field.name) == 0) {
            return (int)f;
        }
    }
    PyObject *fields = schema_names(core);
    if (fields != NULL) {
        PyErr_Format(PyExc_KeyError, "no field %R: the ring has %U", name, fields);
        Py_DECREF(fields);
    }
    return -1;
}

int core_single_field(const struct core *core)
{
    if (core->field_count == 1) {
        return 0;
    }
    PyErr_Format(PyExc_TypeError, "the ring has %u fields: name one, as in view[\"%s\"]",
                 core->field_count, core->field_count == 0 ? "" : core->fields[0].field.name);
    return -1;
}
