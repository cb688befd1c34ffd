/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Putting. An object is pickled by the caller and copied into its process's lane, while there is
 * room and no feeder thread has older items; else the feeder gets it, and put() returns all the
 * same. What goes wrong in pickling is told to _on_queue_feeder_error().
 */
#include "queue/queue.h"

#include <errno.h>
#include <slipring/slipring.h>

#define BRIEFLY_NS INT64_C(1000000) /* put() waits so long at most for a lane that is being read */
#define QUIET_NS INT64_C(30000)

/* -EAGAIN: no room; -EMSGSIZE: it must go in parts; 1: Python error. */
static int put_now(struct queue_object *self, struct sink *sink, bool reserve)
{
    struct lane_piece few[SINK_FEW];
    struct lane_record record;
    int code = sink->buffer_count > 0 ? sink_fill_blocks(self, sink) : 0;
    if (code == -EAGAIN) {
        return code;
    }
    if (code < 0) { /* through the lane */
        sink_drop_blocks(sink);
    }
    if (sink_record(sink, &record, few) != 0) {
        return 1;
    }
    code = lane_put(self->lanes, &record, reserve);
    if (code == 0 && sink->lanes != NULL) {
        sink_sent_blocks(sink);
    }
    sink_record_free(&record, few);
    return code;
}

static int check_signals(void *user)
{
    (void)user;
    PyGILState_STATE state = PyGILState_Ensure();
    const int code = PyErr_CheckSignals() != 0 ? -EINTR : 0;
    PyGILState_Release(state);
    return code;
}

static int put_in_parts(struct queue_object *self, struct sink *sink, bool reserve)
{
    struct lane_piece few[SINK_FEW];
    struct lane_record record;
    sink_drop_blocks(sink);
    if (sink_record(sink, &record, few) != 0) {
        return 1;
    }
    int code;
    Py_BEGIN_ALLOW_THREADS
    code = lane_put_stream(self->lanes, &record, reserve, check_signals, NULL);
    Py_END_ALLOW_THREADS
    sink_record_free(&record, few);
    return code == -EINTR ? 1 : code;
}

/* Puts, pickled or plain, however long that takes. 0, a negative errno, 1: Python error. */
static int put_however(struct queue_object *self, struct sink *sink,
                       const struct lane_record *plain, bool reserve)
{
    int code;
    while ((code = sink != NULL ? put_now(self, sink, reserve)
                                : lane_put(self->lanes, plain, reserve)) == -EAGAIN) {
        Py_BEGIN_ALLOW_THREADS
        code = lane_wait_space(self->lanes, INT64_MAX, QUIET_NS);
        Py_END_ALLOW_THREADS
        if (PyErr_CheckSignals() != 0) {
            code = 1;
        }
        if (code != 0) {
            break;
        }
    }
    return code == -EMSGSIZE ? put_in_parts(self, sink, reserve) : code;
}

/* Tells the hook of an error in pickling; nothing of it comes out of put(). */
static int tell_failed(struct queue_object *self, PyObject *object)
{
    if (!PyErr_ExceptionMatches(PyExc_Exception)) {
        return -1; /* KeyboardInterrupt and its like are the caller's */
    }
    PyObject *type, *error, *traceback;
    PyErr_Fetch(&type, &error, &traceback);
    PyErr_NormalizeException(&type, &error, &traceback);
    if (traceback != NULL) {
        PyException_SetTraceback(error, traceback);
    }
    PyObject *args[] = {(PyObject *)self, error, object};
    PyObject *done = PyObject_VectorcallMethod(self->state->name_failed, args,
                                               3 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    Py_XDECREF(type);
    Py_XDECREF(error);
    Py_XDECREF(traceback);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

static int enqueue(struct queue_object *self, PyObject *object)
{
    PyObject *args[] = {(PyObject *)self, object};
    PyObject *done = PyObject_VectorcallMethod(self->state->name_enqueue, args,
                                               2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

/* Starts the feeder, at the first put as everybody expects it. */
static int begin(struct queue_object *self)
{
    PyObject *args[] = {(PyObject *)self};
    PyObject *done = PyObject_VectorcallMethod(self->state->name_begin, args,
                                               1 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

/* To the feeder, counted already or now. */
static int hand_over(struct queue_object *self, PyObject *object, bool reserve)
{
    const int code = reserve ? lane_admit(self->lanes, false) : 0;
    if (code < 0) {
        queue_raise(self, code);
        return -1;
    }
    if (enqueue(self, object) != 0) {
        lane_forgo(self->lanes);
        return -1;
    }
    return 0;
}

/* A place in a bounded queue. */
static int admit(struct queue_object *self, bool block, int64_t deadline_ns)
{
    for (;;) {
        int code = lane_admit(self->lanes, true);
        if (code == 0) {
            return 0;
        }
        if (code != -EAGAIN) {
            queue_raise(self, code);
            return -1;
        }
        if (!block) {
            PyErr_SetNone(self->state->full);
            return -1;
        }
        Py_BEGIN_ALLOW_THREADS
        code = lane_wait_room(self->lanes, deadline_ns);
        Py_END_ALLOW_THREADS
        if (code == -ETIMEDOUT) {
            block = false; /* a last look */
        }
        if (PyErr_CheckSignals() != 0) {
            return -1;
        }
        if (__atomic_load_n(&self->lanes->header->shut, __ATOMIC_ACQUIRE) != 0) { /* SLEEP */
            queue_raise(self, -ESHUTDOWN);
            return -1;
        }
    }
}

static bool is_feeding(const struct queue_object *self)
{
    return __atomic_load_n(&self->lanes->feeding, __ATOMIC_ACQUIRE) != 0; /* our threads */
}

/* While the lane is being read, a little patience is better than a feeder. -EMSGSIZE: for the feeder. */
static int put_briefly(struct queue_object *self, struct sink *sink,
                       const struct lane_record *plain, bool reserve)
{
    const int64_t give_up_ns = slipring_now_ns() + BRIEFLY_NS;
    int code = -EAGAIN;
    while (code == -EAGAIN) {
        Py_BEGIN_ALLOW_THREADS
        code = lane_wait_space(self->lanes, give_up_ns, QUIET_NS);
        Py_END_ALLOW_THREADS
        if (code != 0 || is_feeding(self)) {
            return -EMSGSIZE;
        }
        code = sink != NULL ? put_now(self, sink, reserve) : lane_put(self->lanes, plain, reserve);
    }
    return code;
}

/* It could not be put: what was reserved for it goes. */
static int put_failed(struct queue_object *self, int code, bool reserve)
{
    if (code < 0) {
        queue_raise(self, code);
    }
    if (!reserve) {
        lane_forgo(self->lanes);
    }
    return -1;
}

/* Pickled; its place is reserved, or `reserve` says to. */
static int put_pickled(struct queue_object *self, struct sink *sink, bool reserve)
{
    int code = put_now(self, sink, reserve);
    if (code == -EAGAIN) {
        code = put_briefly(self, sink, NULL, reserve);
    }
    if (code == -EMSGSIZE) {
        sink_retire(sink);
        code = hand_over(self, (PyObject *)sink, reserve);
        Py_DECREF(sink);
        return code;
    }
    queue_recycle(self, sink);
    return code != 0 ? put_failed(self, code, reserve) : 0;
}

static int put_plain(struct queue_object *self, PyObject *object, const struct lane_record *plain,
                     bool reserve)
{
    int code = lane_put(self->lanes, plain, reserve);
    if (code == -EAGAIN) {
        code = put_briefly(self, NULL, plain, reserve);
    }
    if (code == -EMSGSIZE) {
        return hand_over(self, object, reserve);
    }
    return code != 0 ? put_failed(self, code, reserve) : 0;
}

static int put_one(struct queue_object *self, PyObject *object, bool block, int64_t deadline_ns)
{
    const bool bounded = self->lanes->header->maxsize > 0;
    if (__atomic_load_n(&self->lanes->header->shut, __ATOMIC_ACQUIRE) != 0) { /* SLEEP */
        queue_raise(self, -ESHUTDOWN);
        return -1;
    }
    if (!__atomic_load_n(&self->lanes->started, __ATOMIC_ACQUIRE) && begin(self) != 0) {
        return -1; /* our threads */
    }
    if (bounded && admit(self, block, deadline_ns) != 0) {
        return -1;
    }
    if (is_feeding(self)) {
        return hand_over(self, object, !bounded);
    }
    uint8_t plain[PLAIN_BYTES];
    const size_t size = plain_write(object, plain);
    if (size > 0) {
        const struct lane_piece piece = {plain, size};
        const struct lane_record record = {&piece, 1, size, LANE_PLAIN, NULL, 0};
        return put_plain(self, object, &record, !bounded);
    }
    struct sink *sink = queue_pickle(self, object);
    if (sink == NULL) {
        if (bounded) {
            lane_forgo(self->lanes);
        }
        return tell_failed(self, object);
    }
    return put_pickled(self, sink, !bounded);
}

static PyObject *put(PyObject *object, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    struct queue_object *self = (struct queue_object *)object;
    PyObject *given[3] = {count > 0 ? args[0] : NULL};
    bool block = true;
    int64_t deadline_ns = INT64_MAX;
    if (!queue_open(self)) {
        return NULL;
    }
    if (count != 1 || names != NULL) {
        static const char *const wanted[] = {"obj", NULL};
        if (!queue_arguments(wanted, args, count, names, given, &block, &deadline_ns)) {
            return NULL;
        }
    }
    if (put_one(self, given[0], block, deadline_ns) != 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *put_nowait(PyObject *object, PyObject *item)
{
    struct queue_object *self = (struct queue_object *)object;
    if (!queue_open(self) || put_one(self, item, false, 0) != 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *put_many(PyObject *object, PyObject *const *args, Py_ssize_t count,
                          PyObject *names)
{
    struct queue_object *self = (struct queue_object *)object;
    static const char *const wanted[] = {"objects", NULL};
    PyObject *given[3];
    bool block;
    int64_t deadline_ns;
    if (!queue_open(self) ||
        !queue_arguments(wanted, args, count, names, given, &block, &deadline_ns)) {
        return NULL;
    }
    PyObject *items = PySequence_Fast(given[0], "put_many() wants an iterable");
    Py_ssize_t done = 0;
    bool failed = items == NULL;
    for (; !failed && done < PySequence_Fast_GET_SIZE(items); done++) {
        PyObject *item = Py_NewRef(PySequence_Fast_GET_ITEM(items, done));
        failed = put_one(self, item, block, deadline_ns) != 0;
        Py_DECREF(item);
        if (failed) {
            break;
        }
    }
    Py_XDECREF(items);
    if (failed && done > 0 && PyErr_ExceptionMatches(self->state->full)) {
        PyErr_Clear();
        failed = false;
    }
    return failed ? NULL : PyLong_FromSsize_t(done);
}

/* For SimpleQueue, the writer and the feeder: pickles, unless it is pickled, and waits. */
static PyObject *send(PyObject *object, PyObject *item, bool reserve)
{
    struct queue_object *self = (struct queue_object *)object;
    if (reserve && self->lanes->write_fd < 0) {
        return queue_raise(self, -EBADF);
    }
    const bool pickled = Py_IS_TYPE(item, self->state->sink_type);
    uint8_t plain[PLAIN_BYTES];
    const size_t size = pickled ? 0 : plain_write(item, plain);
    const struct lane_piece piece = {plain, size};
    const struct lane_record record = {&piece, 1, size, LANE_PLAIN, NULL, 0};
    struct sink *sink = NULL;
    if (size == 0) {
        sink = pickled ? (struct sink *)Py_NewRef(item) : queue_pickle(self, item);
        if (sink == NULL) {
            return NULL;
        }
    }
    const int code = put_however(self, sink, &record, reserve);
    if (sink != NULL) {
        queue_recycle(self, sink);
    }
    if (code < 0) {
        return queue_raise(self, code);
    }
    if (code > 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *send_object(PyObject *object, PyObject *item)
{
    return send(object, item, true);
}

static PyObject *send_counted(PyObject *object, PyObject *item)
{
    return send(object, item, false);
}

static PyObject *send_bytes(PyObject *object, PyObject *bytes)
{
    struct queue_object *self = (struct queue_object *)object;
    struct sink *sink = sink_of_bytes(self->state, bytes);
    PyObject *done = sink != NULL ? send(object, (PyObject *)sink, true) : NULL;
    Py_XDECREF(sink);
    return done;
}

static PyObject *forgo(PyObject *object, PyObject *unused)
{
    (void)unused;
    lane_forgo(((struct queue_object *)object)->lanes);
    Py_RETURN_NONE;
}

static PyObject *shutdown(PyObject *object, PyObject *const *args, Py_ssize_t count,
                          PyObject *names)
{
    struct queue_object *self = (struct queue_object *)object;
    if (count + (names != NULL ? PyTuple_GET_SIZE(names) : 0) > 1) {
        PyErr_SetString(PyExc_TypeError, "shutdown() wants immediate, or nothing");
        return NULL;
    }
    const int immediate =
        count + (names != NULL ? PyTuple_GET_SIZE(names) : 0) > 0 ? PyObject_IsTrue(args[0]) : 0;
    if (immediate < 0) {
        return NULL;
    }
    lane_shut(self->lanes, immediate != 0);
    Py_RETURN_NONE;
}

#define CALL(f) (PyCFunction)(void (*)(void))(f)

PyMethodDef queue_put_methods[] = {
    {"put", CALL(put), METH_FASTCALL | METH_KEYWORDS,
     "put($self, obj, block=True, timeout=None)\n--\n\nPut an object; queue.Full if maxsize are "
     "there and none was got in time."},
    {"put_nowait", put_nowait, METH_O, "put_nowait($self, obj, /)\n--\n\nAs put(obj, False)."},
    {"put_many", CALL(put_many), METH_FASTCALL | METH_KEYWORDS,
     "put_many($self, objects, block=True, timeout=None)\n--\n\nPut each; how many found a "
     "place. queue.Full if none did."},
    {"_send", send_object, METH_O, NULL},
    {"_send_counted", send_counted, METH_O, NULL},
    {"_send_bytes", send_bytes, METH_O, NULL},
    {"_forgo", forgo, METH_NOARGS, NULL},
    {"shutdown", CALL(shutdown), METH_FASTCALL | METH_KEYWORDS,
     "shutdown($self, immediate=False)\n--\n\nFrom now on put() raises ShutDown in every process, "
     "and get() once the queue is empty, or at once."},
    {NULL, NULL, 0, NULL},
};
