/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Getting. A record is copied out of its lane, finished, and unpickled after that, so that nothing
 * of the queue is held while the caller's code runs.
 */
#include "queue/queue.h"

#include <errno.h>
#include <slipring/slipring.h>
#include <string.h>

static PyObject *loads(struct queue_object *self, PyObject *pickle, PyObject *buffers)
{
    PyObject *args[] = {NULL, pickle, buffers};
    return PyObject_Vectorcall(self->state->loads, args + 1, 1 | PY_VECTORCALL_ARGUMENTS_OFFSET,
                               buffers == NULL ? NULL : self->state->loads_names);
}

static PyObject *slice(PyObject *memory, uint64_t from, uint64_t size)
{
    PyObject *start = PyLong_FromUnsignedLongLong(from);
    PyObject *stop = PyLong_FromUnsignedLongLong(from + size);
    PyObject *part = NULL;
    if (start != NULL && stop != NULL) {
        PyObject *range = PySlice_New(start, stop, NULL);
        part = range != NULL ? PyObject_GetItem(memory, range) : NULL;
        Py_XDECREF(range);
    }
    Py_XDECREF(start);
    Py_XDECREF(stop);
    return part;
}

static PyObject *damaged(void)
{
    PyErr_SetString(PyExc_ValueError, "a damaged record in the queue");
    return NULL;
}

/* Where the pickle lies in a record with buffers, and how many these are; false: damaged. */
static bool measure(const uint64_t *sizes, uint64_t size, uint64_t *count, uint64_t *pickle_at)
{
    if (size < 16 || sizes[0] > (size - 16) / 16) {
        return false;
    }
    *count = sizes[0];
    *pickle_at = 16 + *count * 16;
    return sizes[1] <= size - *pickle_at;
}

/* The buffers that lie in blocks are ours from now on, before the record is finished. None where a
 * buffer lies in the record. */
static PyObject *lease_blocks(struct queue_object *self, struct lane_item *item,
                              const uint64_t *sizes, uint64_t count)
{
    PyObject *buffers = PyList_New((Py_ssize_t)count);
    for (uint64_t i = 0; buffers != NULL && i < count; i++) {
        const uint64_t size = sizes[2 + 2 * i], block = sizes[3 + 2 * i];
        PyObject *buffer = NULL;
        if (block == 0) {
            buffer = Py_NewRef(Py_None);
        } else {
            uint8_t *data = lane_lease_block(self->lanes, item->lane, block - 1, size);
            buffer = data != NULL ? lease_new(self, item->lane, (uint32_t)(block - 1), data, size)
                                  : damaged();
        }
        if (buffer == NULL) {
            Py_CLEAR(buffers);
        } else {
            PyList_SET_ITEM(buffers, (Py_ssize_t)i, buffer);
        }
    }
    return buffers;
}

/* `block` is a bytearray with the record; buffers as lease_blocks() made them. */
static PyObject *load_buffers(struct queue_object *self, PyObject *block, PyObject *buffers)
{
    const uint64_t size = (uint64_t)PyByteArray_GET_SIZE(block);
    const uint64_t *sizes = (const uint64_t *)(const void *)PyByteArray_AS_STRING(block);
    const uint64_t count = (uint64_t)PyList_GET_SIZE(buffers);
    uint64_t at = 16 + count * 16;
    PyObject *memory = PyMemoryView_FromObject(block);
    PyObject *pickle = memory != NULL ? slice(memory, at, sizes[1]) : NULL;
    bool well = pickle != NULL;
    at += sizes[1];
    for (uint64_t i = 0; well && i < count; i++) {
        if (sizes[3 + 2 * i] != 0) {
            continue;
        }
        at = (at + 15) & ~UINT64_C(15);
        PyObject *part = at <= size && sizes[2 + 2 * i] <= size - at
                             ? slice(memory, at, sizes[2 + 2 * i])
                             : damaged();
        well = part != NULL && PyList_SetItem(buffers, (Py_ssize_t)i, part) == 0;
        at += sizes[2 + 2 * i];
    }
    PyObject *object = well ? loads(self, pickle, buffers) : NULL;
    Py_XDECREF(pickle);
    Py_XDECREF(memory);
    return object;
}

/* Receives a stream into `target`. False: Python error, or none set if the putter is gone. */
static bool receive(struct queue_object *self, struct lane_item *item, uint8_t *target)
{
    uint64_t done = 0;
    for (;;) {
        int code;
        Py_BEGIN_ALLOW_THREADS
        code = lane_copy_stream(self->lanes, item, target, &done,
                                slipring_now_ns() + LANE_PATIENCE_NS);
        Py_END_ALLOW_THREADS
        if (code == 0) {
            return true;
        }
        if (code != -EAGAIN) {
            return false; /* and finished */
        }
        if (PyErr_CheckSignals() != 0) {
            lane_give_back(self->lanes, item);
            return false;
        }
    }
}

/* As the bytes of a pickle. */
static PyObject *pickled(struct queue_object *self, PyObject *object)
{
    PyObject *pickle =
        object != NULL ? PyObject_CallFunctionObjArgs(self->state->dumps, object, NULL) : NULL;
    PyObject *bytes = pickle != NULL ? PyBytes_FromObject(pickle) : NULL;
    Py_XDECREF(object);
    Py_XDECREF(pickle);
    return bytes;
}

static PyObject *load_plain(struct queue_object *self, struct lane_item *item, bool raw)
{
    PyObject *object = plain_read(self, item->data, item->size);
    if (object == NULL && PyErr_ExceptionMatches(PyExc_MemoryError)) {
        lane_give_back(self->lanes, item);
    } else {
        lane_finish(self->lanes, item);
    }
    return raw ? pickled(self, object) : object;
}

/* NULL with no error set: the item was lost with the process that put it. */
static PyObject *load(struct queue_object *self, struct lane_item *item, bool raw)
{
    const bool streamed = (item->flags & LANE_STREAM) != 0;
    const bool parts = (item->flags & LANE_BUFFERS) != 0;
    const uint64_t size = streamed ? item->stream.size : item->size;
    PyObject *block = parts ? PyByteArray_FromStringAndSize(NULL, (Py_ssize_t)size)
                            : PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    if (block == NULL) {
        lane_give_back(self->lanes, item);
        return NULL;
    }
    uint8_t *target = (uint8_t *)(parts ? PyByteArray_AS_STRING(block) : PyBytes_AS_STRING(block));
    if (!streamed) {
        memcpy(target, item->data, size);
    } else if (!receive(self, item, target)) {
        Py_DECREF(block);
        return NULL;
    }
    PyObject *buffers = NULL;
    if (parts) {
        const uint64_t *sizes = (const uint64_t *)(const void *)target;
        uint64_t count, at;
        buffers =
            measure(sizes, size, &count, &at) ? lease_blocks(self, item, sizes, count) : damaged();
    }
    lane_finish(self->lanes, item);
    PyObject *object = NULL;
    if (!parts) {
        object = raw ? Py_NewRef(block) : loads(self, block, NULL);
    } else if (buffers != NULL) {
        object = load_buffers(self, block, buffers);
        object = raw ? pickled(self, object) : object;
    }
    Py_XDECREF(buffers);
    Py_DECREF(block);
    return object;
}

/* The next item; raw: as the bytes of a pickle. */
PyObject *queue_take(struct queue_object *self, bool block, int64_t deadline_ns, bool raw)
{
    struct lane_queue *lanes = self->lanes;
    for (;;) {
        struct lane_item item;
        const uint32_t shut = __atomic_load_n(&lanes->header->shut, __ATOMIC_ACQUIRE); /* SLEEP */
        int code = shut < 2 ? lane_take(lanes, &item) : -ESHUTDOWN;
        if (code == 0) {
            PyObject *object = (item.flags & LANE_PLAIN) != 0 ? load_plain(self, &item, raw)
                                                              : load(self, &item, raw);
            if (object != NULL || PyErr_Occurred()) {
                return object;
            }
            continue;
        }
        if (code == -EAGAIN && shut != 0) {
            code = -ESHUTDOWN;
        }
        if (code != -EAGAIN) {
            return queue_raise(self, code);
        }
        if (lanes->read_fd < 0) {
            return queue_raise(self, -EBADF);
        }
        if (!block && lane_any_announced(lanes)) {
            continue;
        }
        if (!block) {
            PyErr_SetNone(self->state->empty);
            return NULL;
        }
        Py_BEGIN_ALLOW_THREADS
        code = lane_wait_item(lanes, deadline_ns);
        Py_END_ALLOW_THREADS
        if (code == -ETIMEDOUT) {
            block = false; /* a last look */
        } else if (code == -EPIPE) {
            PyErr_SetNone(PyExc_EOFError);
            return NULL;
        }
        if (PyErr_CheckSignals() != 0) {
            return NULL;
        }
    }
}

static PyObject *get(PyObject *object, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    struct queue_object *self = (struct queue_object *)object;
    static const char *const wanted[] = {NULL};
    PyObject *given[2];
    bool block = true;
    int64_t deadline_ns = INT64_MAX;
    if (!queue_open(self) ||
        ((count != 0 || names != NULL) &&
         !queue_arguments(wanted, args, count, names, given, &block, &deadline_ns))) {
        return NULL;
    }
    return queue_take(self, block, deadline_ns, false);
}

static PyObject *get_nowait(PyObject *object, PyObject *unused)
{
    (void)unused;
    struct queue_object *self = (struct queue_object *)object;
    return queue_open(self) ? queue_take(self, false, 0, false) : NULL;
}

static PyObject *get_many(PyObject *object, PyObject *const *args, Py_ssize_t count,
                          PyObject *names)
{
    struct queue_object *self = (struct queue_object *)object;
    static const char *const wanted[] = {"most", NULL};
    PyObject *given[3];
    bool block;
    int64_t deadline_ns;
    if (!queue_open(self) ||
        !queue_arguments(wanted, args, count, names, given, &block, &deadline_ns)) {
        return NULL;
    }
    const Py_ssize_t most = PyLong_AsSsize_t(given[0]);
    if (most < 1) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_ValueError, "most is 1 or more");
        }
        return NULL;
    }
    PyObject *list = PyList_New(0);
    while (list != NULL && PyList_GET_SIZE(list) < most) {
        PyObject *item = queue_take(self, block, deadline_ns, false);
        if (item == NULL) {
            if (PyList_GET_SIZE(list) > 0 && (PyErr_ExceptionMatches(self->state->empty) ||
                                              PyErr_ExceptionMatches(self->state->shut_down))) {
                PyErr_Clear();
                break;
            }
            Py_CLEAR(list);
            break;
        }
        if (PyList_Append(list, item) != 0) {
            Py_CLEAR(list);
        }
        Py_DECREF(item);
        block = false;
    }
    return list;
}

/* For SimpleQueue and the reader: waits, whether the queue is closed or not. */
static PyObject *receive_object(PyObject *object, PyObject *unused)
{
    (void)unused;
    struct queue_object *self = (struct queue_object *)object;
    return self->lanes->read_fd < 0 ? queue_raise(self, -EBADF)
                                    : queue_take(self, true, INT64_MAX, false);
}

static PyObject *receive_bytes(PyObject *object, PyObject *unused)
{
    (void)unused;
    struct queue_object *self = (struct queue_object *)object;
    return self->lanes->read_fd < 0 ? queue_raise(self, -EBADF)
                                    : queue_take(self, true, INT64_MAX, true);
}

/* Waits until an item is there; whether one is. */
static PyObject *poll_items(PyObject *object, PyObject *timeout)
{
    struct queue_object *self = (struct queue_object *)object;
    int64_t deadline_ns;
    if (queue_deadline(timeout, &deadline_ns) != 0) {
        return NULL;
    }
    for (;;) {
        if (self->lanes->read_fd < 0) {
            return queue_raise(self, -EBADF);
        }
        if (lane_any_announced(self->lanes)) {
            Py_RETURN_TRUE;
        }
        if (deadline_ns <= slipring_now_ns()) {
            Py_RETURN_FALSE;
        }
        int code;
        Py_BEGIN_ALLOW_THREADS
        code = lane_wait_item(self->lanes, deadline_ns);
        Py_END_ALLOW_THREADS
        if (code == -EPIPE) {
            Py_RETURN_TRUE; /* a receive says at once that nothing will come */
        }
        if (PyErr_CheckSignals() != 0) {
            return NULL;
        }
    }
}

static PyObject *poll_on(PyObject *object, PyObject *unused)
{
    (void)unused;
    lane_poll_on(((struct queue_object *)object)->lanes);
    Py_RETURN_NONE;
}

static PyObject *empty(PyObject *object, PyObject *unused)
{
    (void)unused;
    struct queue_object *self = (struct queue_object *)object;
    if (self->lanes->read_fd < 0) {
        return queue_raise(self, -EBADF);
    }
    return PyBool_FromLong(!lane_any_announced(self->lanes));
}

static PyObject *qsize(PyObject *object, PyObject *unused)
{
    (void)unused;
    return PyLong_FromLongLong(lane_size(((struct queue_object *)object)->lanes, 0));
}

static PyObject *full(PyObject *object, PyObject *unused)
{
    (void)unused;
    struct queue_object *self = (struct queue_object *)object;
    const int64_t most = self->lanes->header->maxsize;
    return PyBool_FromLong(most > 0 && lane_size(self->lanes, most) >= most);
}

static PyObject *task_done(PyObject *object, PyObject *unused)
{
    (void)unused;
    struct queue_object *self = (struct queue_object *)object;
    if (lane_task_done(self->lanes) < 0) {
        PyErr_SetString(PyExc_ValueError, "task_done() called too many times");
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *join(PyObject *object, PyObject *unused)
{
    (void)unused;
    struct queue_object *self = (struct queue_object *)object;
    for (;;) {
        int code;
        Py_BEGIN_ALLOW_THREADS
        code = lane_wait_joined(self->lanes, INT64_MAX);
        Py_END_ALLOW_THREADS
        if (code == 0) {
            Py_RETURN_NONE;
        }
        if (PyErr_CheckSignals() != 0) {
            return NULL;
        }
    }
}

#define CALL(f) (PyCFunction)(void (*)(void))(f)

PyMethodDef queue_get_methods[] = {
    {"get", CALL(get), METH_FASTCALL | METH_KEYWORDS,
     "get($self, block=True, timeout=None)\n--\n\nThe oldest item; queue.Empty if none came."},
    {"get_nowait", get_nowait, METH_NOARGS, "get_nowait($self)\n--\n\nAs get(False)."},
    {"get_many", CALL(get_many), METH_FASTCALL | METH_KEYWORDS,
     "get_many($self, most, block=True, timeout=None)\n--\n\nA list of 1 to most items: waits "
     "for the first alone."},
    {"_receive", receive_object, METH_NOARGS, NULL},
    {"_receive_bytes", receive_bytes, METH_NOARGS, NULL},
    {"_poll_items", poll_items, METH_O, NULL},
    {"_poll_on", poll_on, METH_NOARGS, NULL},
    {"empty", empty, METH_NOARGS, "empty($self)\n--\n\nWhether no item is ready."},
    {"qsize", qsize, METH_NOARGS, "qsize($self)\n--\n\nItems put and not yet got."},
    {"full", full, METH_NOARGS, "full($self)\n--\n\nWhether maxsize items are in the queue."},
    {"_task_done", task_done, METH_NOARGS, NULL},
    {"_join", join, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};
