/* SPDX-License-Identifier: Apache-2.0 */
/* Schemas: Python's description of a slot to the core's fields, and back. */
#include "core.h"

#include <string.h>

/* The name of an element type: a string, or what has one (NumPy's, torch's and ml_dtypes' types,
 * and int, float, bool, complex). A new reference, or NULL. */
static PyObject *dtype_text(PyObject *dtype)
{
    if (PyUnicode_Check(dtype)) {
        Py_INCREF(dtype);
        return dtype;
    }
    if (PyType_Check(dtype)) {
        return PyObject_GetAttrString(dtype, "__name__");
    }
    PyObject *name = NULL;
    if (PyObject_HasAttrString(dtype, "name")) {
        name = PyObject_GetAttrString(dtype, "name");
    } else {
        name = PyObject_Str(dtype); /* "torch.float32" */
    }
    return name;
}

static const char *canonical(const char *text)
{
    static const char *const builtin[][2] = {
        {"int", "int64"}, {"float", "float64"}, {"bool_", "bool"}, {"complex", "complex128"}};
    text += strncmp(text, "torch.", 6) == 0 ? 6 : 0;
    text +=
        text[0] == '=' || text[0] == '<' || text[0] == '|' ? 1 : 0; /* little-endian, as we are */
    for (size_t i = 0; i < sizeof builtin / sizeof *builtin; i++) {
        if (strcmp(text, builtin[i][0]) == 0) {
            return builtin[i][1];
        }
    }
    return text;
}

static int shape_from(PyObject *object, int64_t shape[SLIPRING_DIMS_MAX], uint32_t *ndim)
{
    PyObject *items = PyLong_Check(object) ? PyTuple_Pack(1, object) : PySequence_Tuple(object);
    if (items == NULL) {
        return -1;
    }
    const Py_ssize_t count = PyTuple_GET_SIZE(items);
    if (count > SLIPRING_DIMS_MAX) {
        PyErr_Format(PyExc_ValueError, "schema: %zd dimensions, at most %d", count,
                     SLIPRING_DIMS_MAX);
        Py_DECREF(items);
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        shape[i] = PyLong_AsLongLong(PyTuple_GET_ITEM(items, i));
        if (shape[i] == -1 && PyErr_Occurred()) {
            Py_DECREF(items);
            return -1;
        }
    }
    *ndim = (uint32_t)count;
    Py_DECREF(items);
    return 0;
}

/* (dtype, shape), or a dtype alone: a scalar. */
static int field_from(const struct module_state *state, const char *name, PyObject *described,
                      struct slipring_field *field)
{
    int64_t shape[SLIPRING_DIMS_MAX] = {0};
    uint32_t ndim = 0;
    PyObject *dtype = described;
    if (PyTuple_Check(described) || PyList_Check(described)) {
        if (PySequence_Size(described) != 2) {
            raise_invalid(state, "schema: field \"%s\" is not (dtype, shape): %R", name, described);
            return -1;
        }
        dtype = PySequence_Fast_GET_ITEM(described, 0);
        if (shape_from(PySequence_Fast_GET_ITEM(described, 1), shape, &ndim) != 0) {
            return -1;
        }
    }
    PyObject *text = dtype_text(dtype);
    const char *chars = text == NULL || !PyUnicode_Check(text) ? NULL : PyUnicode_AsUTF8(text);
    int result = -1;
    if (chars == NULL) {
        if (!PyErr_Occurred()) {
            raise_invalid(state, "schema: field \"%s\": %R is no element type", name, dtype);
        }
    } else if (slipring_field_init(field, name, canonical(chars), ndim, shape) != 0) {
        raise_invalid(state,
                      "schema: field \"%s\" of %R: a name has 1 to 31 characters; element types "
                      "are little-endian, such as \"float32\", \"u1\", \"bfloat16\"; extents are "
                      "not negative",
                      name, described);
    } else {
        result = 0;
    }
    Py_XDECREF(text);
    return result;
}

static int fields_from_dict(const struct module_state *state, PyObject *schema,
                            struct slipring_field *fields, uint32_t *count)
{
    if (PyDict_GET_SIZE(schema) == 0 || PyDict_GET_SIZE(schema) > SLIPRING_FIELDS_MAX) {
        raise_invalid(state, "schema: %zd fields; 1 to %d", PyDict_GET_SIZE(schema),
                      SLIPRING_FIELDS_MAX);
        return -1;
    }
    PyObject *name, *described;
    Py_ssize_t position = 0;
    *count = 0;
    while (PyDict_Next(schema, &position, &name, &described)) {
        const char *chars = PyUnicode_Check(name) ? PyUnicode_AsUTF8(name) : NULL;
        if (chars == NULL) {
            if (!PyErr_Occurred()) {
                raise_invalid(state, "schema: field names are strings, not %R", name);
            }
            return -1;
        }
        if (field_from(state, chars, described, &fields[*count]) != 0) {
            return -1;
        }
        ++*count;
    }
    return 0;
}

/* A NumPy structured dtype as {name: (base, shape)}; NULL without an error if it is none. */
static PyObject *unfold_structured(PyObject *dtype)
{
    PyObject *names =
        PyObject_HasAttrString(dtype, "fields") ? PyObject_GetAttrString(dtype, "names") : NULL;
    if (names == NULL || !PyTuple_Check(names)) {
        PyErr_Clear();
        Py_XDECREF(names);
        return NULL;
    }
    PyObject *schema = PyDict_New();
    for (Py_ssize_t i = 0; schema != NULL && i < PyTuple_GET_SIZE(names); i++) {
        PyObject *name = PyTuple_GET_ITEM(names, i);
        PyObject *part = PyObject_GetItem(dtype, name);
        PyObject *base = part == NULL ? NULL : PyObject_GetAttrString(part, "base");
        PyObject *shape = base == NULL ? NULL : PyObject_GetAttrString(part, "shape");
        PyObject *pair = shape == NULL ? NULL : PyTuple_Pack(2, base, shape);
        if (pair == NULL || PyDict_SetItem(schema, name, pair) != 0) {
            Py_CLEAR(schema);
        }
        Py_XDECREF(pair);
        Py_XDECREF(shape);
        Py_XDECREF(base);
        Py_XDECREF(part);
    }
    Py_DECREF(names);
    return schema;
}

int schema_parse(const struct module_state *state, PyObject *schema,
                 struct slipring_field fields[SLIPRING_FIELDS_MAX], uint32_t *count)
{
    if (PyDict_Check(schema)) {
        return fields_from_dict(state, schema, fields, count);
    }
    PyObject *unfolded = unfold_structured(schema);
    if (unfolded != NULL) {
        const int result = fields_from_dict(state, unfolded, fields, count);
        Py_DECREF(unfolded);
        return result;
    }
    if (PyErr_Occurred()) {
        return -1;
    }
    *count = 1;
    return field_from(state, "data", schema, &fields[0]);
}

/* How NumPy and the buffer protocol show an element. */
void schema_describe(struct core_field *field)
{
    static const struct {
        uint8_t code, bits;
        const char *format, *typestr;
    } shown[] = {
        {SLIPRING_INT, 8, "b", "|i1"},         {SLIPRING_INT, 16, "h", "<i2"},
        {SLIPRING_INT, 32, "i", "<i4"},        {SLIPRING_INT, 64, "q", "<i8"},
        {SLIPRING_UINT, 8, "B", "|u1"},        {SLIPRING_UINT, 16, "H", "<u2"},
        {SLIPRING_UINT, 32, "I", "<u4"},       {SLIPRING_UINT, 64, "Q", "<u8"},
        {SLIPRING_FLOAT, 16, "e", "<f2"},      {SLIPRING_FLOAT, 32, "f", "<f4"},
        {SLIPRING_FLOAT, 64, "d", "<f8"},      {SLIPRING_COMPLEX, 64, "Zf", "<c8"},
        {SLIPRING_COMPLEX, 128, "Zd", "<c16"}, {SLIPRING_BOOL, 8, "?", "|b1"},
        {SLIPRING_BFLOAT, 16, "H", "<u2"},
    };
    const struct slipring_dtype dtype = field->field.dtype;
    field->format = "B";
    field->typestr = "|u1";
    field->item_bytes = 1;
    field->bits = true;
    field->packed = dtype.bits != 8 || dtype.lanes != 1;
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++) {
        if (shown[i].code == dtype.code && shown[i].bits == dtype.bits && dtype.lanes == 1) {
            field->format = shown[i].format;
            field->typestr = shown[i].typestr;
            field->item_bytes = dtype.bits / 8u;
            field->bits = dtype.code == SLIPRING_BFLOAT;
            field->packed = false;
        }
    }
}

PyObject *schema_object(const struct core *core)
{
    PyObject *schema = PyDict_New();
    for (uint32_t f = 0; schema != NULL && f < core->field_count; f++) {
        const struct slipring_field *field = &core->fields[f].field;
        char name[32];
        slipring_dtype_name(field->dtype, name, sizeof name);
        PyObject *shape = PyTuple_New(field->ndim);
        for (uint32_t d = 0; shape != NULL && d < field->ndim; d++) {
            PyObject *extent = PyLong_FromLongLong(field->shape[d]);
            if (extent == NULL) {
                Py_CLEAR(shape);
            } else {
                PyTuple_SET_ITEM(shape, d, extent);
            }
        }
        PyObject *pair = shape == NULL ? NULL : Py_BuildValue("(sN)", name, shape);
        if (pair == NULL || PyDict_SetItem(schema, core->fields[f].name, pair) != 0) {
            Py_CLEAR(schema);
        }
        Py_XDECREF(pair);
    }
    return schema;
}

void schema_show(const struct core_field *field, const struct slipring_tensor *tensor,
                 struct shown *shown)
{
    shown->data = tensor->data;
    shown->format = field->format;
    shown->typestr = field->typestr;
    shown->item_bytes = field->item_bytes;
    shown->ndim = (int)tensor->ndim;
    if (field->packed) { /* bytes of each slot, one after another */
        const bool block = tensor->ndim > field->field.ndim;
        const int64_t slots = block ? tensor->shape[0] : 1;
        const uint64_t bits = (uint64_t)tensor->dtype.bits * tensor->dtype.lanes;
        shown->ndim = block ? 2 : 1;
        shown->shape[0] = (Py_ssize_t)slots;
        shown->strides[0] = block ? (Py_ssize_t)((uint64_t)tensor->strides[0] * bits / 8) : 1;
        shown->shape[shown->ndim - 1] =
            slots == 0 ? 0 : (Py_ssize_t)(tensor->bytes / (uint64_t)slots);
        shown->strides[shown->ndim - 1] = 1;
        return;
    }
    for (int d = 0; d < shown->ndim; d++) {
        shown->shape[d] = (Py_ssize_t)tensor->shape[d];
        shown->strides[d] = (Py_ssize_t)tensor->strides[d] * shown->item_bytes;
    }
}

PyObject *schema_names(const struct core *core)
{
    PyObject *names = PyList_New(core->field_count);
    for (uint32_t f = 0; names != NULL && f < core->field_count; f++) {
        Py_INCREF(core->fields[f].name);
        PyList_SET_ITEM(names, f, core->fields[f].name);
    }
    PyObject *text = names == NULL ? NULL : PyObject_Str(names);
    Py_XDECREF(names);
    return text;
}
