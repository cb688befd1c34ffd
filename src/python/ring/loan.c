/* SPDX-License-Identifier: Apache-2.0 */
/* Loan: claimed slots to write, published or aborted once. */
#include "ring/producer.h"

#include "ring/view.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

PyObject *loan_new(struct producer_object *producer, const struct slipring_loan *loan)
{
    PyTypeObject *type = producer->core->state->loan_type;
    struct loan_object *self = PyObject_New(struct loan_object, type);
    if (self != NULL) {
        self->producer = producer;
        Py_INCREF(producer);
        self->loan = *loan;
        self->ended = false;
        self->tag = 0;
        self->messages = 1;
        self->shapes = NULL;
        self->arrays = NULL;
        producer->open = self;
    } else {
        ignore(slipring_producer_abort(producer->producer));
    }
    lock_give(&producer->lock);
    return (PyObject *)self;
}

void loan_end(struct loan_object *self)
{
    self->ended = true;
    self->producer->open = NULL;
    const uint32_t fields = self->arrays == NULL ? 0 : self->producer->core->field_count;
    for (uint32_t f = 0; f < fields; f++) {
        PyObject *array = self->arrays[f];
        if (array == NULL) {
            continue;
        }
        /* Whoever kept the array is told by NumPy, instead of writing what others read. */
        PyObject *done = PyObject_CallMethod(array, "setflags", "i", 0);
        if (done == NULL) {
            PyErr_Clear();
        }
        Py_XDECREF(done);
        Py_DECREF(array);
    }
    free(self->arrays);
    self->arrays = NULL;
}

/* As of a file that nobody closed. */
static void warn_dropped(const struct loan_object *self)
{
    PyObject *type, *value, *traceback;
    if (finalizing()) {
        return;
    }
    PyErr_Fetch(&type, &value, &traceback);
    if (PyErr_WarnFormat(PyExc_ResourceWarning, 1,
                         "a claim of %llu slots was dropped, and is aborted: publish() or abort() "
                         "it, or claim it in a with statement",
                         (unsigned long long)self->loan.slots) != 0) {
        PyErr_WriteUnraisable((PyObject *)self->producer);
    }
    PyErr_Restore(type, value, traceback);
}

static void loan_dealloc(struct loan_object *self)
{
    PyTypeObject *type = Py_TYPE(self);
    struct producer_object *producer = self->producer;
    if (producer != NULL) {
        if (!self->ended && !producer_forked(producer)) {
            warn_dropped(self);
            /* Held for moments only while a claim is open: another one is refused at once. */
            lock_take_soon(&producer->lock);
            if (!self->ended) {
                ignore(slipring_producer_abort(producer->producer));
                loan_end(self);
            }
            lock_give(&producer->lock);
        }
        if (!self->ended) {
            loan_end(self); /* the parent's */
        }
        Py_DECREF(producer);
    }
    free(self->shapes);
    type->tp_free(self);
    Py_DECREF(type);
}

/* The lock of a loan that is still open. 0, or -1 with the error set. */
static int take_open(struct loan_object *self, const char *doing)
{
    if (producer_take(self->producer, SLIPRING_FOREVER, doing) != 0) {
        return -1;
    }
    if (!self->ended) {
        return 0;
    }
    lock_give(&self->producer->lock);
    PyErr_Format(PyExc_ValueError, "%s: the loan was published or aborted already", doing);
    return -1;
}

/* ---- publish and abort ---- */

static int tags_from(PyObject *tags, uint64_t n, struct slipring_slot *headers)
{
    PyObject *list = PySequence_Fast(tags, "tags: a sequence of integers, one per slot");
    if (list == NULL) {
        return -1;
    }
    int result = 0;
    if ((uint64_t)PySequence_Fast_GET_SIZE(list) != n) {
        PyErr_Format(PyExc_ValueError, "tags: %zd for %llu slots", PySequence_Fast_GET_SIZE(list),
                     (unsigned long long)n);
        result = -1;
    }
    for (uint64_t i = 0; result == 0 && i < n; i++) {
        result = count_from(PySequence_Fast_GET_ITEM(list, (Py_ssize_t)i), &headers[i].tag);
    }
    Py_DECREF(list);
    return result;
}

/* The first so many slots, each a message. */
static int publish_each(struct loan_object *self, uint64_t n, PyObject *tags, uint64_t bytes)
{
    struct producer_object *producer = self->producer;
    struct slipring_slot few[8], *headers = NULL;
    if (n != 0 && (tags != NULL || self->tag != 0 || self->messages != 1 || bytes != 0 ||
                   self->shapes != NULL)) {
        headers = n <= 8 ? few : malloc(n * sizeof *headers);
        if (headers == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        for (uint64_t i = 0; i < n; i++) {
            headers[i] = (struct slipring_slot){.bytes = bytes,
                                                .tag = self->tag,
                                                .messages = self->messages,
                                                .shapes = self->shapes};
        }
    }
    int result = tags == NULL || n == 0 ? 0 : tags_from(tags, n, headers);
    if (result == 0) {
        result = slipring_producer_publish(producer->producer, n, headers);
        if (result == -EINVAL && headers != NULL &&
            producer->core->geometry == SLIPRING_GEOMETRY_COMPACT) {
            raise_headerless(producer->core, "publish");
        } else if (result == -EINVAL) {
            raise_invalid(producer->core->state,
                          "publish: %llu slots of %llu claimed; give as many or fewer, and "
                          "shapes within the schema's",
                          (unsigned long long)n, (unsigned long long)self->loan.slots);
        } else if (result != 0) {
            raise_code(producer->core, result, "publish");
        }
    }
    if (headers != few) {
        free(headers);
    }
    return result == 0 ? 0 : -1;
}

/* One message of so many bytes, over as few of the slots as hold it. */
static int publish_bytes(struct loan_object *self, uint64_t bytes)
{
    struct producer_object *producer = self->producer;
    const struct core *core = producer->core;
    if (bytes > self->loan.bytes) {
        raise_invalid(core->state, "publish: %llu bytes, %llu were claimed",
                      (unsigned long long)bytes, (unsigned long long)self->loan.bytes);
        return -1;
    }
    if (bytes <= core->slot_bytes) {
        return publish_each(self, 1, NULL, bytes);
    }
    if (core->geometry != SLIPRING_GEOMETRY_TENSOR) {
        raise_spanning(core, "publish", bytes);
        return -1;
    }
    const uint64_t needed = (bytes + core->stride - 1) / core->stride;
    if (needed < self->loan.slots) {
        /* The same slots again, only fewer: nobody else can have got them meanwhile. */
        struct slipring_loan again = {0};
        int result = slipring_producer_abort(producer->producer);
        result =
            result == 0 ? slipring_producer_try_claim(producer->producer, needed, &again) : result;
        if (result != 0 || again.sequence != self->loan.sequence) {
            raise_invalid(core->state, "publish: claim as many slots as the message needs, %llu",
                          (unsigned long long)needed);
            return -1;
        }
        self->loan = again;
    }
    const struct slipring_slot header = {
        .bytes = bytes, .tag = self->tag, .messages = self->messages};
    const int result = slipring_producer_publish_spanning(producer->producer, &header);
    if (result != 0) {
        raise_code(core, result, "publish");
    }
    return result == 0 ? 0 : -1;
}

static PyObject *publish(struct loan_object *self, PyObject *number, PyObject *tags, PyObject *size)
{
    uint64_t n = self->loan.slots, bytes = 0;
    tags = tags == Py_None ? NULL : tags;
    if (count_from(number, &n) != 0 || count_from(size, &bytes) != 0) {
        return NULL;
    }
    if (take_open(self, "publish") != 0) {
        return NULL;
    }
    const bool sized = size != NULL && size != Py_None;
    int result;
    if (sized && (bytes == 0 || (number != NULL && number != Py_None) || tags != NULL)) {
        raise_invalid(self->producer->core->state, "publish: bytes is one message of 1 byte or "
                                                   "more, without n and tags (set loan.tag)");
        result = -1;
    } else {
        result = sized ? publish_bytes(self, bytes) : publish_each(self, n, tags, 0);
    }
    if (result == 0) {
        loan_end(self);
    }
    lock_give(&self->producer->lock);
    if (result != 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *publish_method(struct loan_object *self, PyObject *const *args, Py_ssize_t nargs,
                                PyObject *names)
{
    static const char *const keywords[] = {"n", "tags", "bytes", NULL};
    PyObject *given[3] = {NULL, NULL, NULL};
    if ((nargs != 0 || names != NULL) &&
        args_parse("publish", args, nargs, names, keywords, 2, given) != 0) {
        return NULL;
    }
    return publish(self, given[0], given[1], given[2]);
}

static PyObject *abort_method(struct loan_object *self, PyObject *unused)
{
    (void)unused;
    if (take_open(self, "abort") != 0) {
        return NULL;
    }
    const int result = slipring_producer_abort(self->producer->producer);
    loan_end(self);
    lock_give(&self->producer->lock);
    if (result != 0) {
        return raise_code(self->producer->core, result, "abort");
    }
    Py_RETURN_NONE;
}

static PyObject *loan_exit(struct loan_object *self, PyObject *const *args, Py_ssize_t nargs)
{
    if (!self->ended) {
        const bool failed = nargs > 0 && args[0] != Py_None;
        PyObject *done = failed ? abort_method(self, NULL) : publish(self, NULL, NULL, NULL);
        if (done == NULL) {
            return NULL;
        }
        Py_DECREF(done);
    }
    Py_RETURN_FALSE;
}

/* ---- what it shows ---- */

/* With the loan open: the field's place, with this loan's shapes. */
static int tensor_of(struct loan_object *self, int index, struct slipring_tensor *tensor)
{
    const struct core *core = self->producer->core;
    const int result =
        slipring_loan_field(self->producer->producer, &self->loan, (uint32_t)index, tensor);
    if (result != 0) {
        raise_code(core, result, "loan");
        return -1;
    }
    const int64_t *extents = self->shapes;
    for (int f = 0; extents != NULL && f < index; f++) {
        extents += core->fields[f].field.ndim;
    }
    if (extents != NULL) {
        const uint32_t own = core->fields[index].field.ndim, lead = tensor->ndim - own;
        int64_t elements = 1;
        for (uint32_t d = own; d-- > 0;) {
            tensor->shape[lead + d] = extents[d];
            tensor->strides[lead + d] = elements;
            elements *= extents[d];
        }
    }
    return 0;
}

static PyObject *item(struct loan_object *self, int index)
{
    if (index < 0 || take_open(self, "loan") != 0) {
        return NULL;
    }
    struct core *core = self->producer->core;
    PyObject *array = NULL;
    if (self->arrays == NULL) {
        self->arrays = calloc(core->field_count, sizeof(PyObject *));
    }
    if (self->arrays == NULL) {
        PyErr_NoMemory();
    } else if (self->arrays[index] != NULL) {
        array = self->arrays[index];
        Py_INCREF(array);
    } else {
        struct slipring_tensor tensor;
        array = tensor_of(self, index, &tensor) == 0
                    ? field_array(field_of_loan(core, index, &tensor))
                    : NULL;
        Py_XINCREF(array);
        self->arrays[index] = array;
    }
    lock_give(&self->producer->lock);
    return array;
}

static PyObject *loan_item(struct loan_object *self, PyObject *name)
{
    return item(self, core_find_field(self->producer->core, name));
}

/* loan["x"] = value, as loan["x"][...] = value */
static int loan_set_item(struct loan_object *self, PyObject *name, PyObject *value)
{
    struct core *core = self->producer->core;
    const int index = core_find_field(core, name);
    if (value == NULL) {
        PyErr_SetString(PyExc_TypeError, "a loan's fields cannot be deleted");
        return -1;
    }
    if (index < 0 || take_open(self, "loan") != 0) {
        return -1;
    }
    struct slipring_tensor tensor;
    const int result = tensor_of(self, index, &tensor) == 0
                           ? send_copy(&core->fields[index], &tensor, core, value)
                           : -1;
    lock_give(&self->producer->lock);
    return result;
}

static PyObject *loan_get_array(struct loan_object *self, void *closure)
{
    (void)closure;
    return item(self, core_single_field(self->producer->core));
}

static PyObject *loan_get_buffer(struct loan_object *self, void *closure)
{
    (void)closure;
    if (take_open(self, "loan") != 0) {
        return NULL;
    }
    lock_give(&self->producer->lock);
    PyObject *bytes = field_bytes(self->producer->core, self->loan.data, self->loan.bytes);
    PyObject *buffer = bytes == NULL ? NULL : PyMemoryView_FromObject(bytes);
    Py_XDECREF(bytes);
    return buffer;
}

static PyObject *loan_get_number(struct loan_object *self, void *closure)
{
    return PyLong_FromUnsignedLongLong(
        *(const uint64_t *)(const void *)((const char *)self + (size_t)closure));
}

static int loan_set_tag(struct loan_object *self, PyObject *value, void *closure)
{
    (void)closure;
    return value == NULL ? -1 : count_from(value, &self->tag);
}

static PyObject *loan_get_messages(struct loan_object *self, void *closure)
{
    (void)closure;
    return PyLong_FromUnsignedLong(self->messages);
}

static int loan_set_messages(struct loan_object *self, PyObject *value, void *closure)
{
    (void)closure;
    uint64_t count = 0;
    if (value == NULL || count_from(value, &count) != 0) {
        return -1;
    }
    if (count == 0 || count > UINT32_MAX) {
        PyErr_SetString(PyExc_ValueError, "messages: 1 to 4294967295");
        return -1;
    }
    self->messages = (uint32_t)count;
    return 0;
}

/* One field's extents into shapes; a sequence of ndim integers, none larger than the schema's. */
static int extents_from(const struct core_field *field, PyObject *shape, int64_t *extents)
{
    PyObject *items = PySequence_Tuple(shape);
    int result = items == NULL ? -1 : 0;
    if (result == 0 && PyTuple_GET_SIZE(items) != (Py_ssize_t)field->field.ndim) {
        PyErr_Format(PyExc_ValueError, "shapes: \"%s\" has %u dimensions", field->field.name,
                     field->field.ndim);
        result = -1;
    }
    for (uint32_t d = 0; result == 0 && d < field->field.ndim; d++) {
        extents[d] = PyLong_AsLongLong(PyTuple_GET_ITEM(items, d));
        if (PyErr_Occurred()) {
            result = -1;
        } else if (extents[d] < 0 || extents[d] > field->field.shape[d]) {
            PyErr_Format(PyExc_ValueError, "shapes: \"%s\": %lld is not 0 to the schema's %lld",
                         field->field.name, (long long)extents[d],
                         (long long)field->field.shape[d]);
            result = -1;
        }
    }
    Py_XDECREF(items);
    return result;
}

static int set_shapes(struct loan_object *self, PyObject *value)
{
    const struct core *core = self->producer->core;
    size_t count = 1;
    for (uint32_t f = 0; f < core->field_count; f++) {
        count += core->fields[f].field.ndim;
    }
    int64_t *shapes = malloc(count * sizeof *shapes);
    if (shapes == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    int64_t *extents = shapes;
    for (uint32_t f = 0; f < core->field_count; f++) {
        const struct core_field *field = &core->fields[f];
        memcpy(extents, field->field.shape, field->field.ndim * sizeof *extents);
        PyObject *shape = PyDict_GetItemWithError(value, field->name);
        if ((shape == NULL && PyErr_Occurred()) ||
            (shape != NULL && extents_from(field, shape, extents) != 0)) {
            free(shapes);
            return -1;
        }
        extents += field->field.ndim;
    }
    free(self->shapes);
    self->shapes = shapes;
    for (uint32_t f = 0; self->arrays != NULL && f < core->field_count; f++) {
        Py_CLEAR(self->arrays[f]);
    }
    return 0;
}

static int loan_set_shapes(struct loan_object *self, PyObject *value, void *closure)
{
    (void)closure;
    const struct core *core = self->producer->core;
    if (value == NULL || !PyDict_Check(value)) {
        PyErr_SetString(PyExc_TypeError, "shapes: a dict of field names and shapes");
        return -1;
    }
    if ((core->flags & SLIPRING_VARIABLE_SHAPE) == 0) {
        raise_invalid(core->state, "shapes: the ring was not created with variable_shape=True");
        return -1;
    }
    if (take_open(self, "shapes") != 0) {
        return -1;
    }
    const int result = set_shapes(self, value);
    lock_give(&self->producer->lock);
    return result;
}

static PyGetSetDef loan_getset[] = {
    {"array", (getter)loan_get_array, NULL,
     "The single field as a writable NumPy array in place: its shape, (n, *shape) of n slots. "
     "Read-only once published.",
     NULL},
    {"buffer", (getter)loan_get_buffer, NULL,
     "All claimed bytes as a writable memoryview. Not to be written after publish().", NULL},
    {"sequence", (getter)loan_get_number, NULL, "Sequence of the first slot.",
     (void *)offsetof(struct loan_object, loan.sequence)},
    {"slots", (getter)loan_get_number, NULL, "Slots claimed.",
     (void *)offsetof(struct loan_object, loan.slots)},
    {"bytes", (getter)loan_get_number, NULL, "Bytes that one spanning message may use.",
     (void *)offsetof(struct loan_object, loan.bytes)},
    {"tag", (getter)loan_get_number, (setter)loan_set_tag,
     "The user's own number, for every message published.",
     (void *)offsetof(struct loan_object, tag)},
    {"messages", (getter)loan_get_messages, (setter)loan_set_messages,
     "Messages that the user counts in each slot; 1.", NULL},
    {"shapes", NULL, (setter)loan_set_shapes,
     "Set: a dict of this message's shapes, in rings with variable_shape. Arrays asked for from "
     "then on have them.",
     NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef loan_methods[] = {
    {"publish", FAST(publish_method),
     "publish($self, n=None, tags=None, *, bytes=None)\n--\n\nMake the first n slots visible "
     "(all), "
     "each a message; the rest is given back.\nbytes: instead, one message of so many bytes, over "
     "as many slots as it needs."},
    {"abort", (PyCFunction)abort_method, METH_NOARGS,
     "abort($self, /)\n--\n\nGive the slots back unused."},
    {"__enter__", return_self, METH_NOARGS, NULL},
    {"__exit__", (PyCFunction)(void (*)(void))loan_exit, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot loan_slots[] = {
    {Py_tp_doc, "Claimed slots to write in place. `loan[\"name\"]` is a writable NumPy array. As a "
                "context manager it\npublishes when left, or after an exception aborts."},
    {Py_tp_dealloc, loan_dealloc},
    {Py_tp_methods, loan_methods},
    {Py_tp_getset, loan_getset},
    {Py_mp_subscript, loan_item},
    {Py_mp_ass_subscript, loan_set_item},
    {0, NULL},
};

PyType_Spec loan_spec = {
    .name = "slipring.Loan",
    .basicsize = sizeof(struct loan_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = loan_slots,
};
