/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NumPy arrays over a ring's memory. NumPy is wanted when the first array is, not to build: its
 * functions are taken from the table that it publishes for extensions, whose places are its ABI
 * (the same from 1.7 to 2.x).
 */
#include "core.h"

#include <string.h>

enum { TABLE_ARRAY_TYPE = 2, TABLE_NEW_FROM_DESCR = 94, TABLE_SET_BASE_OBJECT = 282 };
#define FLAG_WRITEABLE 0x400
#define FLAG_C_CONTIGUOUS 0x1

/* What every array begins with: as much part of that ABI. */
struct array_head {
    PyObject_HEAD void *data;
    int ndim;
    Py_ssize_t *shape, *strides;
    PyObject *base, *dtype;
    int flags;
};

typedef PyObject *new_from_descr(PyTypeObject *type, PyObject *dtype, int ndim,
                                 const Py_ssize_t *shape, const Py_ssize_t *strides, void *data,
                                 int flags, PyObject *object);
typedef int set_base_object(PyObject *array, PyObject *base);

static void **table; /* atomic; of the process */

static void **numpy_table(void)
{
    void **known = __atomic_load_n(&table, __ATOMIC_ACQUIRE); /* paired with the store below */
    if (known != NULL) {
        return known;
    }
    PyObject *module = PyImport_ImportModule("numpy._core._multiarray_umath");
    if (module == NULL) {
        PyErr_Clear();
        module = PyImport_ImportModule("numpy.core._multiarray_umath"); /* before 2.0 */
    }
    PyObject *capsule = module == NULL ? NULL : PyObject_GetAttrString(module, "_ARRAY_API");
    known = capsule == NULL ? NULL : PyCapsule_GetPointer(capsule, NULL);
    Py_XDECREF(capsule);
    Py_XDECREF(module);
    if (known == NULL) {
        PyErr_SetString(PyExc_ImportError, "arrays need NumPy: pip install numpy (memoryview, "
                                           "__dlpack__ and .buffer work without)");
        return NULL;
    }
    __atomic_store_n(&table, known, __ATOMIC_RELEASE); /* each that comes here stores the same */
    return known;
}

/* An array itself, none of a derived type; NumPy is asked for its table only if it may be one. */
static bool is_array(PyObject *value)
{
    void **api = __atomic_load_n(&table, __ATOMIC_ACQUIRE); /* paired as above */
    if (api == NULL && strcmp(Py_TYPE(value)->tp_name, "numpy.ndarray") == 0) {
        api = numpy_table();
        PyErr_Clear();
    }
    return api != NULL && (PyObject *)Py_TYPE(value) == api[TABLE_ARRAY_TYPE];
}

/* Borrowed. */
static PyObject *numpy_dtype(struct core_field *field)
{
    PyObject *dtype = __atomic_load_n(&field->dtype, __ATOMIC_ACQUIRE); /* see below */
    if (dtype != NULL) {
        return dtype;
    }
    PyObject *numpy = PyImport_ImportModule("numpy");
    PyObject *made =
        numpy == NULL ? NULL : PyObject_CallMethod(numpy, "dtype", "s", field->typestr);
    Py_XDECREF(numpy);
    if (made == NULL) {
        return NULL;
    }
    /* The first thread's stays; release: the others see it whole. */
    if (!__atomic_compare_exchange_n(&field->dtype, &dtype, made, false, __ATOMIC_ACQ_REL,
                                     __ATOMIC_ACQUIRE)) {
        Py_DECREF(made);
        return dtype;
    }
    return made;
}

const void *numpy_same(struct core_field *field, const struct shown *shown, PyObject *value)
{
    if (!is_array(value)) {
        return NULL;
    }
    const struct array_head *array = (const struct array_head *)value;
    const PyObject *dtype = numpy_dtype(field);
    if (dtype == NULL) {
        PyErr_Clear();
    }
    bool same = array->dtype == dtype && array->ndim == shown->ndim &&
                (array->flags & FLAG_C_CONTIGUOUS) != 0;
    for (int d = 0; same && d < shown->ndim; d++) {
        same = array->shape[d] == shown->shape[d];
    }
    return same ? array->data : NULL;
}

PyObject *numpy_array(struct core_field *field, const struct shown *shown, bool writable,
                      PyObject *owner)
{
    void **api = numpy_table();
    PyObject *dtype = api == NULL ? NULL : numpy_dtype(field);
    if (dtype == NULL) {
        return NULL;
    }
    Py_INCREF(dtype); /* the call takes it */
    PyObject *array = ((new_from_descr *)api[TABLE_NEW_FROM_DESCR])(
        (PyTypeObject *)api[TABLE_ARRAY_TYPE], dtype, shown->ndim, shown->shape, shown->strides,
        shown->data, writable ? FLAG_WRITEABLE : 0, NULL);
    if (array == NULL) {
        return NULL;
    }
    Py_INCREF(owner); /* the call takes it, also on failure */
    if (((set_base_object *)api[TABLE_SET_BASE_OBJECT])(array, owner) != 0) {
        Py_DECREF(array);
        return NULL;
    }
    return array;
}
