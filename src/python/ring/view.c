/* SPDX-License-Identifier: Apache-2.0 */
/* View: slots to read, and the lease of them (view.h). */
#include "ring/view.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- made and ended ---- */

/* The core's copy of the shapes is the next acquire's; a view keeps its own. */
static int keep_shapes(struct view_object *self)
{
    const struct core *core = self->consumer->core;
    if (self->view.slot.shapes == NULL) {
        return 0;
    }
    size_t count = 1;
    for (uint32_t f = 0; f < core->field_count; f++) {
        count += core->fields[f].field.ndim;
    }
    self->shapes = malloc(count * sizeof *self->shapes);
    if (self->shapes == NULL) {
        return -1;
    }
    memcpy(self->shapes, self->view.slot.shapes, (count - 1) * sizeof *self->shapes);
    self->view.slot.shapes = self->shapes;
    return 0;
}

/* Return the slots; for the one who set VIEW_RELEASED, or when nothing refers to the view. 0, a negative
 * result, or GPU_HELD. */
static int give_back(struct view_object *self)
{
    if (self->copy != NULL) {
        return 0;
    }
    struct consumer_object *consumer = self->consumer;
    if (consumer_forked(consumer)) {
        return -ECHILD; /* the parent's lease */
    }
    if (self->node != NULL) {
        return order_done(consumer, self->node);
    }
    if (__builtin_expect(consumer->core->pin != NULL, 0)) {
        const int result = gpu_give_back(self);
        if (result != GPU_NOT) {
            return result;
        }
    }
    return slipring_consumer_release(consumer->consumer, &self->view);
}

PyObject *view_new(struct consumer_object *consumer, const struct slipring_view *view, void *copy)
{
    PyTypeObject *type = consumer->core->state->view_type;
    struct view_object *self = PyObject_New(struct view_object, type);
    bool well = self != NULL;
    if (well) {
        self->consumer = consumer;
        Py_INCREF(consumer);
        self->view = *view;
        self->exports = 0;
        self->pinned = self->plain = self->streaming = false;
        self->copy = copy;
        self->shapes = NULL;
        self->node = NULL;
        self->stream = 0;
        self->keep = NULL;
        __atomic_add_fetch(&consumer->views, 1, __ATOMIC_RELAXED); /* ended by ACQ_REL below it */
        well = keep_shapes(self) == 0;
        if (well && consumer->ordered && copy == NULL) {
            self->node = order_add(consumer, view);
            well = self->node != NULL;
        }
    } else if (copy == NULL) {
        ignore(slipring_consumer_release(consumer->consumer, view));
    }
    if (!well) {
        if (self == NULL) {
            free(copy);
        }
        Py_XDECREF(self); /* returns the slots */
        return PyErr_NoMemory();
    }
    return (PyObject *)self;
}

/* By the last that referred to it, in the middle of whatever. */
static void give_back_last(struct view_object *self)
{
    if (__builtin_expect(self->consumer->core->pin == NULL, 1)) {
        (void)give_back(self); /* -ESTALE has nobody to be told to */
        return;
    }
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    if (give_back(self) == GPU_HELD) { /* until the consumer leaves */
        PyErr_WriteUnraisable((PyObject *)self->consumer);
    }
    PyErr_Restore(type, value, traceback);
}

static void view_dealloc(struct view_object *self)
{
    PyTypeObject *type = Py_TYPE(self);
    struct consumer_object *consumer = self->consumer;
    if (consumer != NULL) {
        if ((__atomic_load_n(&self->exports, __ATOMIC_ACQUIRE) & VIEW_RELEASED) == 0) {
            give_back_last(self);
        }
        consumer_view_gone(consumer);
        Py_DECREF(consumer);
    }
    Py_XDECREF(self->keep);
    free(self->copy);
    free(self->shapes);
    type->tp_free(self);
    Py_DECREF(type);
}

/* 0: returned. 1: not while something lives. GPU_HELD: the error is set. Negative: the core's answer. */
static int end_lease(struct view_object *self)
{
    uint32_t none = 0;
    if (__atomic_load_n(&self->pinned, __ATOMIC_ACQUIRE)) {
        return 1;
    }
    /* Acquire: what the last array's holder read was read before. */
    if (__atomic_compare_exchange_n(&self->exports, &none, VIEW_RELEASED, false, __ATOMIC_ACQ_REL,
                                    __ATOMIC_ACQUIRE)) {
        const int result = give_back(self);
        if (result == GPU_HELD) {
            __atomic_store_n(&self->exports, 0, __ATOMIC_RELEASE); /* as it was before */
        }
        return result;
    }
    return (none & VIEW_RELEASED) != 0 ? 0 : 1;
}

void view_turn_over(PyObject *view)
{
    /* An eviction is told by the next acquire, and what holds it by the end of the view. */
    if (end_lease((struct view_object *)view) == GPU_HELD) {
        PyErr_Clear();
    }
}

static PyObject *view_release(struct view_object *self, PyObject *const *args, Py_ssize_t nargs,
                              PyObject *names)
{
    static const char *const keywords[] = {"stream", NULL};
    PyObject *given[1] = {NULL};
    if ((nargs != 0 || names != NULL) &&
        args_parse("release", args, nargs, names, keywords, 1, given) != 0) {
        return NULL;
    }
    const int put = given[0] == NULL || given[0] == Py_None ? 0 : gpu_put_on_stream(self, given[0]);
    if (put < 0) {
        return NULL;
    }
    const int result = end_lease(self);
    if (put == 1 && (result == 1 || result == GPU_HELD)) {
        gpu_take_off_stream(self);
    }
    if (result == 1) {
        /* Acquire: with the release in view_get_interface(). */
        if (__atomic_load_n(&self->pinned, __ATOMIC_ACQUIRE)) {
            PyErr_SetString(PyExc_BufferError,
                            "release: __array_interface__ gave its address away; drop the view and "
                            "its arrays instead, and the slot goes with the last of them");
        } else {
            PyErr_Format(PyExc_BufferError,
                         "release: %u arrays, memoryviews or tensors of this view are alive; drop "
                         "them first, or drop the view too, and the slot goes with the last",
                         __atomic_load_n(&self->exports, __ATOMIC_RELAXED)); /* for display */
        }
        return NULL;
    }
    if (result != 0) {
        return result == GPU_HELD ? NULL : raise_code(self->consumer->core, result, "release");
    }
    Py_RETURN_NONE;
}

static PyObject *view_turn_over_method(PyObject *self, PyObject *unused)
{
    (void)unused;
    view_turn_over(self);
    Py_RETURN_NONE;
}

/* For the loader: all that was read of it was read here, and copied. */
static PyObject *view_plain(struct view_object *self, PyObject *unused)
{
    (void)unused;
    self->plain = true;
    Py_RETURN_NONE;
}

/* For the loader, whose slots are their taker's to change: the bytes, of a ring that _writable() was
 * called of. */
static PyObject *view_writable(struct view_object *self, PyObject *unused)
{
    (void)unused;
    struct field_object *bytes = (struct field_object *)view_field(self, -1);
    if (bytes != NULL) {
        bytes->writable = true;
    }
    return (PyObject *)bytes;
}

/* What still lives keeps the slot; else it is returned now. */
static PyObject *view_exit(struct view_object *self, PyObject *const *args, Py_ssize_t nargs)
{
    (void)args;
    (void)nargs;
    const int result = end_lease(self);
    if (result < 0 || result == GPU_HELD) {
        return result < 0 ? raise_code(self->consumer->core, result, "release") : NULL;
    }
    Py_RETURN_FALSE;
}

/* ---- what it shows ---- */

static PyObject *view_item(struct view_object *self, PyObject *name)
{
    const int index = core_find_field(self->consumer->core, name);
    return index < 0 ? NULL : field_array(view_field(self, index));
}

static PyObject *view_field_method(struct view_object *self, PyObject *name)
{
    const int index = core_find_field(self->consumer->core, name);
    return index < 0 ? NULL : view_field(self, index);
}

static PyObject *view_get_array(struct view_object *self, void *closure)
{
    (void)closure;
    const int index = core_single_field(self->consumer->core);
    return index < 0 ? NULL : field_array(view_field(self, index));
}

static PyObject *view_get_buffer(struct view_object *self, void *closure)
{
    (void)closure;
    PyObject *bytes = view_field(self, -1);
    PyObject *buffer = bytes == NULL ? NULL : PyMemoryView_FromObject(bytes);
    Py_XDECREF(bytes);
    return buffer;
}

/* The single field typed, else the bytes. The buffer is the Field's, whose life counts. */
static int view_getbuffer(struct view_object *self, Py_buffer *buffer, int flags)
{
    const struct core *core = self->consumer->core;
    const bool typed = core->field_count == 1 && self->view.slot.bytes <= core->stride;
    PyObject *field = view_field(self, typed ? 0 : -1);
    if (field == NULL) {
        buffer->obj = NULL;
        return -1;
    }
    const int result = PyObject_GetBuffer(field, buffer, flags);
    Py_DECREF(field);
    return result;
}

/* Never called, since the buffer is the Field's. That there is one tells NumPy to keep the buffer, and
 * not just the view, of which it would give the buffer back at once. */
static void view_releasebuffer(struct view_object *self, Py_buffer *buffer)
{
    (void)self;
    (void)buffer;
}

/* By the single field's own method of that name. */
static PyObject *through_field(struct view_object *self, const char *method, PyObject *const *args,
                               Py_ssize_t nargs, PyObject *names)
{
    const int index = core_single_field(self->consumer->core);
    PyObject *field = index < 0 ? NULL : view_field(self, index);
    PyObject *callable = field == NULL ? NULL : PyObject_GetAttrString(field, method);
    PyObject *result =
        callable == NULL ? NULL : PyObject_Vectorcall(callable, args, (size_t)nargs, names);
    Py_XDECREF(callable);
    Py_XDECREF(field);
    return result;
}

static PyObject *view_dlpack(struct view_object *self, PyObject *const *args, Py_ssize_t nargs,
                             PyObject *names)
{
    return through_field(self, "__dlpack__", args, nargs, names);
}

static PyObject *view_dlpack_device(struct view_object *self, PyObject *unused)
{
    (void)self;
    (void)unused;
    return Py_BuildValue("(ii)", 1, 0); /* kDLCPU */
}

/* Who takes the address keeps the object it asked, and nobody counts that: no release() then. */
static PyObject *view_get_interface(struct view_object *self, void *closure)
{
    (void)closure;
    __atomic_store_n(&self->pinned, true, __ATOMIC_RELEASE);
    const int index = core_single_field(self->consumer->core);
    PyObject *field = index < 0 ? NULL : view_field(self, index);
    PyObject *result = field == NULL ? NULL : PyObject_GetAttrString(field, "__array_interface__");
    Py_XDECREF(field);
    return result;
}

/* ---- the header ---- */

static PyObject *view_get_number(struct view_object *self, void *closure)
{
    return PyLong_FromUnsignedLongLong(
        *(const uint64_t *)(const void *)((const char *)&self->view + (size_t)closure));
}

static PyObject *view_get_short(struct view_object *self, void *closure)
{
    return PyLong_FromUnsignedLong(
        *(const uint32_t *)(const void *)((const char *)&self->view + (size_t)closure));
}

static PyObject *view_get_timestamp(struct view_object *self, void *closure)
{
    (void)closure;
    return PyLong_FromLongLong(self->view.slot.timestamp_ns);
}

static PyObject *view_get_released(struct view_object *self, void *closure)
{
    (void)closure;
    return PyBool_FromLong((__atomic_load_n(&self->exports, __ATOMIC_RELAXED) & VIEW_RELEASED) !=
                           0); /* for display */
}

/* Of each slot (of a spanning message: the one). */
static PyObject *view_get_tags(struct view_object *self, void *closure)
{
    (void)closure;
    const bool one = self->copy != NULL || self->view.slot.bytes > self->consumer->core->stride;
    const uint64_t count = one ? 1 : self->view.slots;
    /* Acquire: with who set VIEW_RELEASED, after which the slots are not ours to look at. */
    if ((__atomic_load_n(&self->exports, __ATOMIC_ACQUIRE) & VIEW_RELEASED) != 0 && count > 1) {
        PyErr_SetString(PyExc_ValueError, "tags: the view was released");
        return NULL;
    }
    PyObject *tags = PyList_New((Py_ssize_t)count);
    for (uint64_t i = 0; tags != NULL && i < count; i++) {
        struct slipring_slot slot = self->view.slot;
        const int result =
            i == 0 ? 0 : slipring_view_slot(self->consumer->consumer, &self->view, i, &slot);
        PyObject *tag = result == 0 ? PyLong_FromUnsignedLongLong(slot.tag)
                                    : raise_code(self->consumer->core, result, "tags");
        if (tag == NULL) {
            Py_CLEAR(tags);
        } else {
            PyList_SET_ITEM(tags, (Py_ssize_t)i, tag);
        }
    }
    return tags;
}

static PyObject *view_get_shapes(struct view_object *self, void *closure)
{
    (void)closure;
    const struct core *core = self->consumer->core;
    const int64_t *extents = self->shapes;
    PyObject *shapes = PyDict_New();
    for (uint32_t f = 0; shapes != NULL && f < core->field_count; f++) {
        const struct slipring_field *field = &core->fields[f].field;
        const int64_t *own = extents == NULL ? field->shape : extents;
        extents = extents == NULL ? NULL : extents + field->ndim;
        PyObject *shape = PyTuple_New(field->ndim);
        for (uint32_t d = 0; shape != NULL && d < field->ndim; d++) {
            PyObject *extent = PyLong_FromLongLong(own[d]);
            if (extent == NULL) {
                Py_CLEAR(shape);
            } else {
                PyTuple_SET_ITEM(shape, d, extent);
            }
        }
        if (shape == NULL || PyDict_SetItem(shapes, core->fields[f].name, shape) != 0) {
            Py_CLEAR(shapes);
        }
        Py_XDECREF(shape);
    }
    return shapes;
}

static PyObject *view_repr(struct view_object *self)
{
    return PyUnicode_FromFormat("<slipring.View sequence=%llu slots=%llu tag=%llu>",
                                (unsigned long long)self->view.slot.sequence,
                                (unsigned long long)self->view.slots,
                                (unsigned long long)self->view.slot.tag);
}

static Py_ssize_t view_length(struct view_object *self)
{
    return (Py_ssize_t)self->view.slots;
}

#define NUMBER(name, member, doc)                                                                  \
    {                                                                                              \
        name, (getter)view_get_number, NULL, doc, (void *)offsetof(struct slipring_view, member)   \
    }
#define SHORT(name, member, doc)                                                                   \
    {                                                                                              \
        name, (getter)view_get_short, NULL, doc, (void *)offsetof(struct slipring_view, member)    \
    }

static PyGetSetDef view_getset[] = {
    {"array", (getter)view_get_array, NULL,
     "The single field as a read-only NumPy array in place: its shape, (n, *shape) of n slots.",
     NULL},
    {"buffer", (getter)view_get_buffer, NULL,
     "The message's bytes as a read-only memoryview in place; of n slots (n, bytes of a slot).",
     NULL},
    NUMBER("sequence", slot.sequence, "Sequence of the first slot."),
    NUMBER("bytes", slot.bytes, "Bytes used by the first message."),
    NUMBER("tag", slot.tag, "The producer's own number, of the first slot."),
    NUMBER("slots", slots, "Slots in this view."),
    NUMBER("missed", missed, "Slots lost just before this view."),
    NUMBER("missed_messages", missed_messages, "Messages in the slots lost just before."),
    SHORT("messages", slot.messages, "Messages that the producer counts in the first slot."),
    SHORT("deliveries", slot.deliveries, "In a group of many: this is the n-th delivery; else 1."),
    {"timestamp_ns", (getter)view_get_timestamp, NULL,
     "When it was published, CLOCK_MONOTONIC in ns; 0 unless the ring was created to note it.",
     NULL},
    {"tags", (getter)view_get_tags, NULL, "The tags of all its slots, as a list.", NULL},
    {"shapes", (getter)view_get_shapes, NULL, "Each field's shape in this message, as a dict.",
     NULL},
    {"released", (getter)view_get_released, NULL, "release() was called, or a with left.", NULL},
    {"__array_interface__", (getter)view_get_interface, NULL,
     "Of the single field. From now on release() refuses: the slot goes with the last array.",
     NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef view_methods[] = {
    {"release", FAST(view_release),
     "release($self, stream=None)\n--\n\nReturn the slots now, or when all that is on a CUDA "
     "stream has run. BufferError while arrays, memoryviews or\ntensors of this view live; Evicted "
     "if what was read is void."},
    {"to", FAST(view_to),
     "to($self, device, stream=None)\n--\n\nA torch tensor (or CuPy array, if device is CuPy's) on "
     "the GPU, copied on the stream (the current one); of several\nfields a dict. Pins the ring "
     "with defaults if it is not. The view goes back by the stream, when the copy has ended."},
    {"_plain", (PyCFunction)view_plain, METH_NOARGS, NULL},
    {"_writable", (PyCFunction)view_writable, METH_NOARGS, NULL},
    {"_copy", (PyCFunction)view_copy_to, METH_VARARGS, NULL},
    {"field", (PyCFunction)view_field_method, METH_O,
     "field($self, name, /)\n--\n\nA field without NumPy: buffer protocol, __dlpack__ and "
     "__array_interface__. KeyError if there is none."},
    {"_turn_over", view_turn_over_method, METH_NOARGS, NULL},
    {"__dlpack__", FAST(view_dlpack),
     "The single field as a DLPack capsule; see Field.__dlpack__."},
    {"__dlpack_device__", (PyCFunction)view_dlpack_device, METH_NOARGS, "(kDLCPU, 0)"},
    {"__enter__", return_self, METH_NOARGS, NULL},
    {"__exit__", (PyCFunction)(void (*)(void))view_exit, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot view_slots[] = {
    {Py_tp_doc, "Published slots to read in place. They are returned when the view and all that "
                "was made of it are gone,\nor by release(). `view[\"name\"]` is a read-only NumPy "
                "array."},
    {Py_tp_dealloc, view_dealloc},
    {Py_tp_repr, view_repr},
    {Py_tp_methods, view_methods},
    {Py_tp_getset, view_getset},
    {Py_mp_subscript, view_item},
    {Py_mp_length, view_length},
    {Py_bf_getbuffer, view_getbuffer},
    {Py_bf_releasebuffer, view_releasebuffer},
    {0, NULL},
};

PyType_Spec view_spec = {
    .name = "slipring.View",
    .basicsize = sizeof(struct view_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = view_slots,
};
