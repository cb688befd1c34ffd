/* SPDX-License-Identifier: Apache-2.0 */
/* Field: one field in memory, and the reference that everything made of it holds (view.h). */
#include "ring/view.h"

#include <string.h>

/* Count one more, unless the view is released. */
static bool hold_view(struct view_object *view)
{
    uint32_t exports = __atomic_load_n(&view->exports, __ATOMIC_RELAXED); /* checked by the swap */
    while ((exports & VIEW_RELEASED) == 0) {
        if (__atomic_compare_exchange_n(&view->exports, &exports, exports + 1, false,
                                        __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
            Py_INCREF(view);
            return true;
        }
    }
    return false;
}

static struct field_object *field_new(struct core *core, int index)
{
    PyTypeObject *type = core->state->field_type;
    struct field_object *self = PyObject_New(struct field_object, type);
    if (self != NULL) {
        self->view = NULL;
        self->writable = false;
        self->core = core_hold(core);
        self->field = index < 0 ? NULL : &core->fields[index];
    }
    return self;
}

static void show_bytes(struct shown *shown, void *data, uint64_t slots, uint64_t bytes,
                       uint64_t stride)
{
    *shown = (struct shown){.data = data, .format = "B", .typestr = "|u1", .item_bytes = 1};
    if (slots > 1 && stride != bytes) {
        shown->shape[shown->ndim] = (Py_ssize_t)slots;
        shown->strides[shown->ndim++] = (Py_ssize_t)stride;
    } else {
        bytes *= slots;
    }
    shown->shape[shown->ndim] = (Py_ssize_t)bytes;
    shown->strides[shown->ndim++] = 1;
}

static void show_view_bytes(struct field_object *self, const struct slipring_view *view)
{
    void *data = (void *)(uintptr_t)view->data; /* shown read-only */
    if (view->slots > 1 && view->slot.bytes <= self->core->stride) {
        show_bytes(&self->shown, data, view->slots, self->core->slot_bytes, self->core->stride);
    } else {
        show_bytes(&self->shown, data, 1, view->slot.bytes, 0);
    }
}

PyObject *view_field(struct view_object *view, int index)
{
    struct core *core = view->consumer->core;
    struct field_object *self = field_new(core, index);
    if (self == NULL) {
        return NULL;
    }
    if (!hold_view(view)) {
        Py_DECREF(self);
        PyErr_SetString(PyExc_ValueError, "the view was released, its slots are the producer's");
        return NULL;
    }
    self->view = view;
    if (index < 0) {
        show_view_bytes(self, &view->view);
        return (PyObject *)self;
    }
    const int result =
        slipring_view_field(view->consumer->consumer, &view->view, (uint32_t)index, &self->tensor);
    if (result != 0) {
        Py_DECREF(self);
        return result != -22
                   ? raise_code(core, result, "view")
                   : raise_invalid(core->state, "a message of several slots has bytes, not fields: "
                                                "use view.buffer");
    }
    schema_show(self->field, &self->tensor, &self->shown);
    return (PyObject *)self;
}

PyObject *field_of_loan(struct core *core, int index, const struct slipring_tensor *tensor)
{
    struct field_object *self = field_new(core, index);
    if (self != NULL) {
        self->writable = true;
        self->tensor = *tensor;
        schema_show(self->field, tensor, &self->shown);
    }
    return (PyObject *)self;
}

PyObject *field_bytes(struct core *core, void *data, uint64_t bytes)
{
    struct field_object *self = field_new(core, -1);
    if (self != NULL) {
        self->writable = true;
        show_bytes(&self->shown, data, 1, bytes, 0);
    }
    return (PyObject *)self;
}

PyObject *field_array(PyObject *object)
{
    struct field_object *self = (struct field_object *)object;
    if (self == NULL) {
        return NULL;
    }
    PyObject *array = numpy_array(self->field, &self->shown, self->writable, object);
    Py_DECREF(object);
    return array;
}

static void field_dealloc(struct field_object *self)
{
    PyTypeObject *type = Py_TYPE(self);
    if (self->view != NULL) {
        /* Release: what was read through it was read before the slots go back. */
        __atomic_sub_fetch(&self->view->exports, 1, __ATOMIC_RELEASE);
        Py_DECREF(self->view);
    }
    core_drop(self->core);
    type->tp_free(self);
    Py_DECREF(type);
}

/* ---- the buffer protocol ---- */

static Py_ssize_t elements(const struct shown *shown)
{
    Py_ssize_t count = 1;
    for (int d = 0; d < shown->ndim; d++) {
        count *= shown->shape[d];
    }
    return count;
}

static bool contiguous(const struct shown *shown)
{
    Py_ssize_t expected = shown->item_bytes;
    for (int d = shown->ndim; d-- > 0;) {
        if (shown->shape[d] != 1 && shown->strides[d] != expected) {
            return elements(shown) == 0;
        }
        expected *= shown->shape[d];
    }
    return true;
}

static int field_getbuffer(struct field_object *self, Py_buffer *buffer, int flags)
{
    struct shown *shown = &self->shown;
    buffer->obj = NULL;
    if ((flags & PyBUF_WRITABLE) != 0 && !self->writable) {
        PyErr_SetString(PyExc_BufferError,
                        "what a consumer reads is read-only: others read it too");
        return -1;
    }
    const bool plain = contiguous(shown);
    if (!plain && (flags & PyBUF_STRIDES) != PyBUF_STRIDES) {
        PyErr_SetString(PyExc_BufferError, "the slots lie apart: ask for strides, or copy");
        return -1;
    }
    const int order = PyBUF_C_CONTIGUOUS & ~PyBUF_STRIDES,
              fortran = PyBUF_F_CONTIGUOUS & ~PyBUF_STRIDES,
              any = PyBUF_ANY_CONTIGUOUS & ~PyBUF_STRIDES;
    const bool line = plain && shown->ndim <= 1;
    if (((flags & (order | any)) != 0 && !plain) || ((flags & fortran) != 0 && !line)) {
        PyErr_SetString(PyExc_BufferError, "the memory is not laid out in the order asked for");
        return -1;
    }
    buffer->buf = shown->data;
    buffer->len = elements(shown) * shown->item_bytes;
    buffer->itemsize = shown->item_bytes;
    buffer->readonly = !self->writable;
    buffer->ndim = shown->ndim;
    buffer->format = (flags & PyBUF_FORMAT) != 0 ? (char *)(uintptr_t)shown->format : NULL;
    buffer->shape = (flags & PyBUF_ND) != 0 ? shown->shape : NULL;
    buffer->strides = (flags & PyBUF_STRIDES) == PyBUF_STRIDES ? shown->strides : NULL;
    buffer->suboffsets = NULL;
    buffer->internal = NULL;
    buffer->obj = (PyObject *)self;
    Py_INCREF(self);
    return 0;
}

/* ---- the array interface ---- */

static PyObject *sizes(const Py_ssize_t *values, int count)
{
    PyObject *tuple = PyTuple_New(count);
    for (int d = 0; tuple != NULL && d < count; d++) {
        PyObject *value = PyLong_FromSsize_t(values[d]);
        if (value == NULL) {
            Py_CLEAR(tuple);
        } else {
            PyTuple_SET_ITEM(tuple, d, value);
        }
    }
    return tuple;
}

static PyObject *field_get_interface(struct field_object *self, void *closure)
{
    (void)closure;
    const struct shown *shown = &self->shown;
    return Py_BuildValue(
        "{s:(NO),s:N,s:N,s:s,s:i}", "data", PyLong_FromVoidPtr(shown->data),
        self->writable ? Py_False : Py_True, "shape", sizes(shown->shape, shown->ndim), "strides",
        sizes(shown->strides, shown->ndim), "typestr", shown->typestr, "version", 3);
}

static PyObject *field_get_shape(struct field_object *self, void *closure)
{
    (void)closure;
    return sizes(self->shown.shape, self->shown.ndim);
}

static PyObject *field_get_strides(struct field_object *self, void *closure)
{
    (void)closure;
    return sizes(self->shown.strides, self->shown.ndim);
}

static PyObject *field_get_dtype(struct field_object *self, void *closure)
{
    (void)closure;
    char name[32] = "uint8";
    if (self->field != NULL) {
        slipring_dtype_name(self->field->field.dtype, name, sizeof name);
    }
    return PyUnicode_FromString(name);
}

static PyObject *field_get_array(struct field_object *self, void *closure)
{
    (void)closure;
    if (self->field == NULL) {
        PyErr_SetString(PyExc_TypeError, "raw bytes: use memoryview()");
        return NULL;
    }
    Py_INCREF(self);
    return field_array((PyObject *)self);
}

static PyGetSetDef field_getset[] = {
    {"shape", (getter)field_get_shape, NULL, "Elements, outermost first.", NULL},
    {"strides", (getter)field_get_strides, NULL, "Bytes, outermost first.", NULL},
    {"dtype", (getter)field_get_dtype, NULL, "The element type's name, such as \"bfloat16\".",
     NULL},
    {"array", (getter)field_get_array, NULL, "A NumPy array over it.", NULL},
    {"__array_interface__", (getter)field_get_interface, NULL, "NumPy's description of the memory.",
     NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot field_slots[] = {
    {Py_tp_doc, "One field of a view, in place: for memoryview(), numpy.asarray(), from_dlpack()."},
    {Py_tp_dealloc, field_dealloc},
    {Py_tp_getset, field_getset},
    {Py_tp_methods, field_methods}, /* dlpack.c */
    {Py_bf_getbuffer, field_getbuffer},
    {0, NULL},
};

PyType_Spec field_spec = {
    .name = "slipring.Field",
    .basicsize = sizeof(struct field_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = field_slots,
};
