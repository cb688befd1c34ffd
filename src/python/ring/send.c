/* SPDX-License-Identifier: Apache-2.0 */
/* Copying a value into a slot: as one memcpy where its memory is as the field's, else by NumPy. */
#include "ring/producer.h"

#include "ring/view.h"

#include <string.h>

#define RELEASE_BYTES (UINT64_C(1) << 17) /* others may run while more than that is copied */

static void copy_bytes(void *to, const void *from, uint64_t bytes)
{
    if (bytes < RELEASE_BYTES) {
        memcpy(to, from, bytes);
        return;
    }
    Py_BEGIN_ALLOW_THREADS
    memcpy(to, from, bytes);
    Py_END_ALLOW_THREADS
}

/* Of one element, as its buffer says it. */
static bool same_format(const char *format, const char *wanted)
{
    format = format == NULL ? "B" : format;
    format += *format == '<' || *format == '=' || *format == '@' || *format == '|' ? 1 : 0;
    if (strcmp(format, wanted) == 0) {
        return true;
    }
    return (strcmp(format, "l") == 0 && strcmp(wanted, "q") == 0) || /* of 64 bits here */
           (strcmp(format, "L") == 0 && strcmp(wanted, "Q") == 0);
}

static bool tight(const struct shown *shown)
{
    Py_ssize_t expected = shown->item_bytes;
    for (int d = shown->ndim; d-- > 0;) {
        if (shown->shape[d] != 1 && shown->strides[d] != expected) {
            return false;
        }
        expected *= shown->shape[d];
    }
    return true;
}

/* 1 copied, 0 not of that kind, -1 with the error set. */
static int copy_buffer(const struct shown *shown, uint64_t bytes, PyObject *value)
{
    Py_buffer buffer;
    if (!PyObject_CheckBuffer(value)) {
        return 0;
    }
    if (PyObject_GetBuffer(value, &buffer, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT) != 0) {
        PyErr_Clear();
        return 0;
    }
    bool same = buffer.itemsize == shown->item_bytes && buffer.ndim == shown->ndim &&
                (uint64_t)buffer.len == bytes && same_format(buffer.format, shown->format) &&
                tight(shown);
    for (int d = 0; same && d < shown->ndim; d++) {
        same = buffer.shape[d] == shown->shape[d];
    }
    if (same) {
        copy_bytes(shown->data, buffer.buf, bytes);
    }
    PyBuffer_Release(&buffer);
    return same ? 1 : 0;
}

/* The bits of values whose type NumPy does not know (dtypes.py); a new reference. */
static PyObject *bits_of(const struct core_field *field, PyObject *value)
{
    char name[32];
    slipring_dtype_name(field->field.dtype, name, sizeof name);
    PyObject *module = PyImport_ImportModule("slipring.dtypes");
    PyObject *result =
        module == NULL ? NULL
                       : PyObject_CallMethod(module, "to_bits", "Oss", value, name, field->typestr);
    Py_XDECREF(module);
    return result;
}

/* The extents of what is an array or a nest of lists, as a tuple; NULL without an error where there are
 * none: NumPy will say what it thinks of it. */
static PyObject *shape_of(PyObject *value)
{
    PyObject *shape = NULL, *own = NULL;
    if (PyList_Check(value) || PyTuple_Check(value)) {
        PyObject *numpy = PyImport_ImportModule("numpy");
        own = numpy == NULL ? NULL : PyObject_CallMethod(numpy, "shape", "O", value);
        Py_XDECREF(numpy);
    } else {
        own = PyObject_GetAttrString(value, "shape");
    }
    shape = own == NULL ? NULL : PySequence_Tuple(own);
    Py_XDECREF(own);
    PyErr_Clear();
    return shape;
}

/* Does NumPy broadcast it to these extents? 0, or -1 with the error set. */
static int check_shape(const struct core_field *field, int ndim, const Py_ssize_t *extents,
                       PyObject *value)
{
    PyObject *shape = shape_of(value);
    const Py_ssize_t given = shape == NULL ? 0 : PyTuple_GET_SIZE(shape);
    bool fits = true;
    for (Py_ssize_t d = 0; d < given; d++) {
        const Py_ssize_t extent = PyLong_AsSsize_t(PyTuple_GET_ITEM(shape, given - 1 - d));
        fits = fits && (extent == 1 || PyErr_Occurred() != NULL ||
                        (d < ndim && extent == extents[ndim - 1 - d]));
    }
    PyErr_Clear(); /* of an extent that is no number: NumPy's to tell */
    if (!fits) {
        PyObject *wanted = PyTuple_New(ndim);
        for (int d = 0; wanted != NULL && d < ndim; d++) {
            PyTuple_SET_ITEM(wanted, d, PyLong_FromSsize_t(extents[d]));
        }
        if (wanted != NULL) {
            PyErr_Format(PyExc_ValueError, "field %R of shape %S takes no value of shape %S",
                         field->name, wanted, shape);
            Py_DECREF(wanted);
        }
    }
    Py_XDECREF(shape);
    return fits ? 0 : -1;
}

/* NumPy broadcasts and converts, as an assignment does. */
static int copy_numpy(struct core *core, struct core_field *field,
                      const struct slipring_tensor *tensor, PyObject *value)
{
    PyObject *array = field_array(field_of_loan(core, (int)(field - core->fields), tensor));
    PyObject *from = value;
    if (field->bits && !field->packed) {
        from = array == NULL ? NULL : bits_of(field, value);
    } else {
        Py_INCREF(from);
    }
    const int result =
        array == NULL || from == NULL ? -1 : PyObject_SetItem(array, Py_Ellipsis, from);
    Py_XDECREF(from);
    Py_XDECREF(array);
    return result;
}

int send_copy(struct core_field *field, const struct slipring_tensor *tensor, struct core *core,
              PyObject *value)
{
    struct shown shown;
    if (value == Py_None) { /* NumPy would make NaN of it */
        PyErr_Format(PyExc_TypeError, "send: None for field %R; give what its shape takes",
                     field->name);
        return -1;
    }
    schema_show(field, tensor, &shown);
#ifndef Py_GIL_DISABLED /* without that lock another thread might resize the array meanwhile */
    if (tensor->bytes < RELEASE_BYTES && tight(&shown)) {
        const void *elements = numpy_same(field, &shown, value);
        if (elements != NULL) {
            memcpy(shown.data, elements, tensor->bytes);
            return 0;
        }
    }
#endif
    const int copied = copy_buffer(&shown, tensor->bytes, value);
    if (copied != 0) {
        return copied > 0 ? 0 : -1;
    }
    if (!field->packed && check_shape(field, shown.ndim, shown.shape, value) != 0) {
        return -1;
    }
    return copy_numpy(core, field, tensor, value);
}

/* ---- send ---- */

/* Bytes into a ring of bytes: as long as they are. */
static int send_bytes(struct producer_object *self, Py_buffer *buffer, uint64_t tag,
                      int64_t deadline_ns)
{
    const struct core *core = self->core;
    const uint64_t bytes = (uint64_t)buffer->len;
    const bool spanning = bytes > core->slot_bytes;
    const uint64_t slots = spanning ? (bytes + core->stride - 1) / core->stride : 1;
    const bool plain = bytes == core->slot_bytes && tag == 0;
    struct slipring_loan loan;
    if (spanning && core->geometry != SLIPRING_GEOMETRY_TENSOR) {
        raise_spanning(core, "send", bytes);
        return -1;
    }
    if (!plain && core->geometry == SLIPRING_GEOMETRY_COMPACT) {
        raise_headerless(core, "send");
        return -1;
    }
    if (producer_claim(self, slots, deadline_ns, &loan) != 0) {
        return -1;
    }
    copy_bytes(loan.data, buffer->buf, bytes);
    const struct slipring_slot header = {.bytes = bytes, .tag = tag, .messages = 1};
    const int result = spanning
                           ? slipring_producer_publish_spanning(self->producer, &header)
                           : slipring_producer_publish(self->producer, 1, plain ? NULL : &header);
    if (result != 0) {
        ignore(slipring_producer_abort(self->producer));
        raise_code(core, result, "send");
    }
    return result == 0 ? 0 : -1;
}

static int copy_field(struct producer_object *self, const struct slipring_loan *loan,
                      uint32_t index, PyObject *value)
{
    struct slipring_tensor tensor;
    const int result = slipring_loan_field(self->producer, loan, index, &tensor);
    if (result != 0) {
        raise_code(self->core, result, "send");
        return -1;
    }
    return send_copy(&self->core->fields[index], &tensor, self->core, value);
}

static int check_count(const struct core *core, PyObject *mapping)
{
    const Py_ssize_t count = PyMapping_Size(mapping);
    if (count != (Py_ssize_t)core->field_count && !PyErr_Occurred()) {
        PyObject *names = schema_names(core);
        raise_invalid(core->state, "send: %zd values for %u fields; give one for each of %S", count,
                      core->field_count, names);
        Py_XDECREF(names);
    }
    return PyErr_Occurred() ? -1 : 0;
}

/* The value for a field, a new reference. Where there is none, KeyError for a key that is no field. */
static PyObject *item_of(const struct core *core, PyObject *mapping, uint32_t index)
{
    PyObject *value = PyObject_GetItem(mapping, core->fields[index].name);
    if (value != NULL || !PyErr_ExceptionMatches(PyExc_KeyError)) {
        return value;
    }
    PyObject *type, *missing, *traceback;
    PyErr_Fetch(&type, &missing, &traceback);
    PyObject *keys = PyMapping_Keys(mapping);
    const Py_ssize_t count = keys == NULL ? 0 : PyList_GET_SIZE(keys);
    Py_ssize_t k = 0;
    while (k < count && core_find_field(core, PyList_GET_ITEM(keys, k)) >= 0) {
        k++;
    }
    Py_XDECREF(keys);
    if (k == count) { /* none of them: what the mapping said */
        PyErr_Restore(type, missing, traceback);
    } else {
        Py_XDECREF(type);
        Py_XDECREF(missing);
        Py_XDECREF(traceback);
    }
    return NULL;
}

static int copy_mapping(struct producer_object *self, const struct slipring_loan *loan,
                        PyObject *mapping)
{
    const struct core *core = self->core;
    if (check_count(core, mapping) != 0) {
        return -1;
    }
    for (uint32_t f = 0; f < core->field_count; f++) {
        PyObject *value = item_of(core, mapping, f);
        const int result = value == NULL ? -1 : copy_field(self, loan, f, value);
        Py_XDECREF(value);
        if (result != 0) {
            return -1;
        }
    }
    return 0;
}

/* What a message's values must be, whatever they hold: to be told before a wait, which may be for ever.
 * 0, or -1 with the error set. */
static int check_value(const struct core *core, PyObject *value, bool mapping)
{
    if (mapping && check_count(core, value) != 0) {
        return -1;
    }
    for (uint32_t f = 0; f < core->field_count; f++) {
        const struct core_field *field = &core->fields[f];
        PyObject *item = mapping ? item_of(core, value, f) : value;
        Py_ssize_t extents[SLIPRING_DIMS_MAX];
        for (uint32_t d = 0; d < field->field.ndim; d++) {
            extents[d] = (Py_ssize_t)field->field.shape[d];
        }
        const int result = item == NULL ? -1
                           : field->packed
                               ? 0
                               : check_shape(field, (int)field->field.ndim, extents, item);
        if (mapping) {
            Py_XDECREF(item);
        }
        if (result != 0) {
            return -1;
        }
    }
    return 0;
}

static int send_value(struct producer_object *self, PyObject *value, uint64_t tag,
                      int64_t deadline_ns)
{
    const struct core *core = self->core;
    const bool mapping = PyDict_Check(value) ||
                         (!PyObject_CheckBuffer(value) && PyObject_HasAttrString(value, "keys"));
    struct slipring_loan loan;
    if (!mapping && core_single_field(core) < 0) {
        return -1;
    }
    if (tag != 0 && core->geometry == SLIPRING_GEOMETRY_COMPACT) {
        raise_headerless(core, "send");
        return -1;
    }
    const bool ready =
        self->open == NULL && slipring_producer_try_claim(self->producer, 1, &loan) == 0;
    if (!ready && (check_value(core, value, mapping) != 0 ||
                   producer_claim(self, 1, deadline_ns, &loan) != 0)) {
        return -1;
    }
    int result = mapping ? copy_mapping(self, &loan, value) : copy_field(self, &loan, 0, value);
    if (result == 0) {
        const struct slipring_slot header = {.tag = tag, .messages = 1};
        result = slipring_producer_publish(self->producer, 1, tag == 0 ? NULL : &header);
        if (result != 0) {
            raise_code(core, result, "send");
        }
    }
    if (result != 0) {
        ignore(slipring_producer_abort(self->producer));
    }
    return result == 0 ? 0 : -1;
}

/* A ring made with slot_bytes: one field "data" of bytes in one dimension. */
static bool takes_bytes(const struct core *core, PyObject *value)
{
    const struct slipring_field *field = &core->fields[0].field;
    return core->field_count == 1 && field->ndim == 1 && field->dtype.code == SLIPRING_UINT &&
           field->dtype.bits == 8 && field->dtype.lanes == 1 &&
           (core->flags & SLIPRING_VARIABLE_SHAPE) == 0 && PyObject_CheckBuffer(value);
}

PyObject *producer_send(struct producer_object *self, PyObject *const *args, Py_ssize_t nargs,
                        PyObject *names)
{
    static const char *const keywords[] = {"value", "tag", "timeout", NULL};
    PyObject *given[3];
    uint64_t tag = 0;
    int64_t deadline = SLIPRING_FOREVER;
    if (nargs == 1 && names == NULL) { /* as in most loops */
        given[0] = args[0];
    } else if (args_parse("send", args, nargs, names, keywords, 3, given) != 0 ||
               count_from(given[1], &tag) != 0 || deadline_from(given[2], &deadline) != 0) {
        return NULL;
    }
    if (given[0] == NULL) {
        PyErr_SetString(PyExc_TypeError, "send() needs a value");
        return NULL;
    }
    Py_buffer buffer = {0};
    const bool bytes = takes_bytes(self->core, given[0]);
    if (bytes && PyObject_GetBuffer(given[0], &buffer, PyBUF_SIMPLE) != 0) {
        return NULL;
    }
    int result = producer_take(self, deadline == DEADLINE_TRY ? 0 : deadline, "send");
    if (result == 0) {
        result = bytes ? send_bytes(self, &buffer, tag, deadline)
                       : send_value(self, given[0], tag, deadline);
        lock_give(&self->lock);
    }
    if (bytes) {
        PyBuffer_Release(&buffer);
    }
    if (result != 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}
