/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small objects of the plain types (None, bool, int, float, str, bytes, and tuples, lists and dicts of
 * them) in a form that is quicker than a pickle: it needs no memo, since an object in which anything
 * might be shared, or contain itself, is left to pickle. A container inside another one is nobody
 * else's if it has one reference.
 */
#include "queue/queue.h"

#include <string.h>

#define DEPTH_MAX 8
#define KEY_BYTES 32
#ifdef Py_GIL_DISABLED
#define REFERENCES_TELL false /* they are not counted in one place, and may change meanwhile */
#else
#define REFERENCES_TELL true
#endif
#define KEYS (sizeof(((struct queue_object *)NULL)->keys) / sizeof(PyObject *))

enum tag { NONE, FALSE_, TRUE_, BYTE, LONG, FLOAT, ASCII, TEXT, BYTES, TUPLE, LIST, DICT };

struct writer {
    uint8_t *at, *end;
};

static bool put_head(struct writer *w, enum tag tag, uint32_t count, size_t more)
{
    if ((size_t)(w->end - w->at) < 5 + more) {
        return false;
    }
    *w->at = (uint8_t)tag;
    memcpy(w->at + 1, &count, 4);
    w->at += 5;
    return true;
}

static bool put_block(struct writer *w, enum tag tag, uint32_t count, const void *data, size_t size)
{
    if (size > PLAIN_BYTES || !put_head(w, tag, count, size)) {
        return false;
    }
    memcpy(w->at, data, size);
    w->at += size;
    return true;
}

static bool put_tag(struct writer *w, enum tag tag)
{
    if (w->at == w->end) {
        return false;
    }
    *w->at++ = (uint8_t)tag;
    return true;
}

static bool put_long(struct writer *w, PyObject *object)
{
    int overflow;
    const long long value = PyLong_AsLongLongAndOverflow(object, &overflow);
    if (overflow != 0 || w->end - w->at < 9) {
        return false;
    }
    if (value >= 0 && value < 256) {
        *w->at++ = BYTE;
        *w->at++ = (uint8_t)value;
    } else {
        *w->at++ = LONG;
        memcpy(w->at, &value, 8);
        w->at += 8;
    }
    return true;
}

static bool put_text(struct writer *w, PyObject *object)
{
    const Py_ssize_t length = PyUnicode_GET_LENGTH(object);
    if (PyUnicode_IS_COMPACT_ASCII(object)) {
        return put_block(w, ASCII, (uint32_t)length, PyUnicode_DATA(object), (size_t)length);
    }
    const uint32_t kind = PyUnicode_KIND(object);
    if (length > PLAIN_BYTES || !put_tag(w, TEXT)) {
        return false;
    }
    return put_block(w, (enum tag)kind, (uint32_t)length, PyUnicode_DATA(object),
                     (size_t)length * kind);
}

/* 1: written; 0: no room; -1: not one of these. */
static int put_atom(struct writer *w, PyObject *object)
{
    if (PyUnicode_CheckExact(object)) {
        return put_text(w, object);
    }
    if (PyLong_CheckExact(object)) {
        return put_long(w, object);
    }
    if (PyFloat_CheckExact(object)) {
        if (w->end - w->at < 9) {
            return 0;
        }
        const double value = PyFloat_AS_DOUBLE(object);
        *w->at++ = FLOAT;
        memcpy(w->at, &value, 8);
        w->at += 8;
        return 1;
    }
    if (object == Py_None || object == Py_True || object == Py_False) {
        return put_tag(w, object == Py_None ? NONE : object == Py_True ? TRUE_ : FALSE_);
    }
    if (PyBytes_CheckExact(object)) {
        return put_block(w, BYTES, (uint32_t)PyBytes_GET_SIZE(object), PyBytes_AS_STRING(object),
                         (size_t)PyBytes_GET_SIZE(object));
    }
    return -1;
}

static bool put_any(struct writer *w, PyObject *object, int depth);

/* The items of a tuple or list. shared: others may refer to it, so atoms alone. */
static bool put_items(struct writer *w, PyObject *const *items, Py_ssize_t count, bool shared,
                      int depth)
{
    for (Py_ssize_t i = 0; i < count; i++) {
        if (shared ? put_atom(w, items[i]) <= 0 : !put_any(w, items[i], depth + 1)) {
            return false;
        }
    }
    return true;
}

static bool put_dict(struct writer *w, PyObject *object, int depth)
{
    PyObject *key, *value;
    Py_ssize_t at = 0;
    if (!put_head(w, DICT, (uint32_t)PyDict_GET_SIZE(object), 0)) {
        return false;
    }
    while (PyDict_Next(object, &at, &key, &value)) {
        if (put_atom(w, key) <= 0 || !put_any(w, value, depth + 1)) {
            return false;
        }
    }
    return true;
}

static bool put_any(struct writer *w, PyObject *object, int depth)
{
    const int atom = put_atom(w, object);
    if (atom >= 0) {
        return atom;
    }
    const bool shared = depth > 0 && Py_REFCNT(object) != 1;
    if (depth > DEPTH_MAX) {
        return false;
    }
    if (PyTuple_CheckExact(object)) {
        const Py_ssize_t count = PyTuple_GET_SIZE(object);
        return count < PLAIN_BYTES && put_head(w, TUPLE, (uint32_t)count, 0) &&
               put_items(w, ((PyTupleObject *)object)->ob_item, count, shared, depth);
    }
    if (shared) {
        return false;
    }
    if (PyList_CheckExact(object)) {
        const Py_ssize_t count = PyList_GET_SIZE(object);
        return count < PLAIN_BYTES && put_head(w, LIST, (uint32_t)count, 0) &&
               put_items(w, ((PyListObject *)object)->ob_item, count, false, depth);
    }
    return PyDict_CheckExact(object) && put_dict(w, object, depth);
}

/* Into PLAIN_BYTES of memory; 0: this one is for pickle. */
size_t plain_write(PyObject *object, uint8_t *target)
{
    struct writer w = {target, target + PLAIN_BYTES};
    return REFERENCES_TELL && put_any(&w, object, 0) ? (size_t)(w.at - target) : 0;
}

struct reader {
    const uint8_t *at, *end;
    struct queue_object *self;
};

static PyObject *damaged(void)
{
    if (!PyErr_Occurred()) {
        PyErr_SetString(PyExc_ValueError, "a damaged record in the queue");
    }
    return NULL;
}

static bool get_count(struct reader *r, uint32_t *count)
{
    if (r->end - r->at < 4) {
        return false;
    }
    memcpy(count, r->at, 4);
    r->at += 4;
    return *count <= PLAIN_BYTES;
}

static PyObject *get_ascii(struct reader *r, bool key)
{
    uint32_t length;
    if (!get_count(r, &length) || length > r->end - r->at) {
        return damaged();
    }
    const uint8_t *data = r->at;
    r->at += length;
    PyObject **known = NULL;
    if (REFERENCES_TELL && key && length > 0 && length <= KEY_BYTES) {
        /* Dictionaries from one program have the same few keys. */
        const size_t hash =
            (size_t)length * 31 + data[0] * 7u + data[length / 2] * 3u + data[length - 1];
        known = &r->self->keys[hash % KEYS];
        if (*known != NULL && PyUnicode_GET_LENGTH(*known) == length &&
            memcmp(PyUnicode_DATA(*known), data, length) == 0) {
            return Py_NewRef(*known);
        }
    }
    PyObject *text = PyUnicode_New(length, 127);
    if (text != NULL && length > 0) {
        memcpy(PyUnicode_DATA(text), data, length);
    }
    if (text != NULL && known != NULL) {
        PyObject *old = *known;
        *known = Py_NewRef(text);
        Py_XDECREF(old);
    }
    return text;
}

static PyObject *get_text(struct reader *r)
{
    uint32_t length;
    const int kind = r->at < r->end ? *r->at++ : 0;
    if ((kind != 1 && kind != 2 && kind != 4) || !get_count(r, &length) ||
        (uint64_t)length * (unsigned)kind > (uint64_t)(r->end - r->at) ||
        (uint64_t)length * (unsigned)kind > PLAIN_BYTES) {
        return damaged();
    }
    uint32_t aligned[PLAIN_BYTES / sizeof(uint32_t)];
    memcpy(aligned, r->at, (size_t)length * (unsigned)kind);
    r->at += (size_t)length * (unsigned)kind;
    return PyUnicode_FromKindAndData(kind, aligned, (Py_ssize_t)length);
}

static PyObject *get_any(struct reader *r, bool key, int depth);

static PyObject *get_sequence(struct reader *r, bool tuple, int depth)
{
    uint32_t count;
    if (!get_count(r, &count)) {
        return damaged();
    }
    PyObject *sequence = tuple ? PyTuple_New((Py_ssize_t)count) : PyList_New((Py_ssize_t)count);
    for (uint32_t i = 0; sequence != NULL && i < count; i++) {
        PyObject *item = get_any(r, false, depth + 1);
        if (item == NULL) {
            Py_CLEAR(sequence);
        } else if (tuple) {
            PyTuple_SET_ITEM(sequence, (Py_ssize_t)i, item);
        } else {
            PyList_SET_ITEM(sequence, (Py_ssize_t)i, item);
        }
    }
    return sequence;
}

static PyObject *get_dict(struct reader *r, int depth)
{
    uint32_t count;
    if (!get_count(r, &count)) {
        return damaged();
    }
    PyObject *dict = PyDict_New();
    for (uint32_t i = 0; dict != NULL && i < count; i++) {
        PyObject *key = get_any(r, true, depth + 1);
        PyObject *value = key != NULL ? get_any(r, false, depth + 1) : NULL;
        if (value == NULL || PyDict_SetItem(dict, key, value) != 0) {
            Py_CLEAR(dict);
        }
        Py_XDECREF(key);
        Py_XDECREF(value);
    }
    return dict;
}

static PyObject *get_number(struct reader *r, int tag)
{
    if (tag == BYTE) {
        return r->at < r->end ? PyLong_FromLong(*r->at++) : damaged();
    }
    if (r->end - r->at < 8) {
        return damaged();
    }
    long long value;
    double real;
    memcpy(&value, r->at, 8);
    memcpy(&real, r->at, 8);
    r->at += 8;
    return tag == LONG ? PyLong_FromLongLong(value) : PyFloat_FromDouble(real);
}

static PyObject *get_bytes(struct reader *r)
{
    uint32_t size;
    if (!get_count(r, &size) || size > r->end - r->at) {
        return damaged();
    }
    r->at += size;
    return PyBytes_FromStringAndSize((const char *)r->at - size, (Py_ssize_t)size);
}

static PyObject *get_any(struct reader *r, bool key, int depth)
{
    if (r->at == r->end || depth > DEPTH_MAX + 1) {
        return damaged();
    }
    const int tag = *r->at++;
    switch (tag) {
    case NONE:
        return Py_NewRef(Py_None);
    case FALSE_:
        return Py_NewRef(Py_False);
    case TRUE_:
        return Py_NewRef(Py_True);
    case BYTE:
    case LONG:
    case FLOAT:
        return get_number(r, tag);
    case ASCII:
        return get_ascii(r, key);
    case TEXT:
        return get_text(r);
    case BYTES:
        return get_bytes(r);
    case TUPLE:
    case LIST:
        return get_sequence(r, tag == TUPLE, depth);
    case DICT:
        return get_dict(r, depth);
    default:
        return damaged();
    }
}

/* Runs no code but the interpreter's own. */
PyObject *plain_read(struct queue_object *self, const uint8_t *data, size_t size)
{
    struct reader r = {data, data + size, self};
    return get_any(&r, false, 0);
}
