/* SPDX-License-Identifier: Apache-2.0 */
/* The type _QueueCore, which slipring's queues inherit from: what it holds, and its errors. */
#include "queue/queue.h"

#include <errno.h>
#include <math.h>
#include <slipring/slipring.h>
#include <string.h>

PyObject *queue_raise(struct queue_object *self, int code)
{
    switch (-code) {
    case ESHUTDOWN:
        PyErr_SetNone(self->state->shut_down);
        return NULL;
    case EBADF:
        PyErr_SetString(PyExc_OSError, "handle is closed");
        return NULL;
    case EPIPE:
        /* Of a get: EOFError, as from a pipe. Of a put: BrokenPipeError, by the errno below. */
        break;
    case EUSERS:
        PyErr_Format(PyExc_OSError,
                     "more than %u processes put into this queue, or more than %u use it: create "
                     "it with larger lanes=",
                     (unsigned)self->lanes->header->lanes, LANE_CELLS);
        return NULL;
    default:
        break;
    }
    errno = -code;
    return PyErr_SetFromErrno(PyExc_OSError);
}

bool queue_open(struct queue_object *self)
{
    if (self->closed) {
        PyErr_Format(PyExc_ValueError, "Queue %R is closed", self);
        return false;
    }
    if (self->lanes == NULL) {
        PyErr_SetString(PyExc_ValueError, "the queue was never opened: call its __init__()");
        return false;
    }
    return true;
}

/* None: for ever. Less than nothing is nothing. */
int queue_deadline(PyObject *timeout, int64_t *deadline_ns)
{
    if (timeout == Py_None) {
        *deadline_ns = INT64_MAX;
        return 0;
    }
    const double seconds = PyFloat_AsDouble(timeout);
    if (seconds == -1.0 && PyErr_Occurred()) {
        return -1;
    }
    if (isnan(seconds)) {
        PyErr_SetString(PyExc_ValueError, "timeout is not a number");
        return -1;
    }
    const int64_t now = slipring_now_ns();
    *deadline_ns = seconds <= 0           ? now
                   : seconds * 1e9 > 4e18 ? INT64_MAX
                                          : now + (int64_t)(seconds * 1e9);
    return 0;
}

bool queue_arguments(const char *const *wanted, PyObject *const *args, Py_ssize_t count,
                     PyObject *names, PyObject **given, bool *block, int64_t *deadline_ns)
{
    Py_ssize_t all = 0;
    const char *known[4];
    while (*wanted != NULL) {
        known[all++] = *wanted++;
    }
    const Py_ssize_t needed = all;
    known[all++] = "block";
    known[all++] = "timeout";
    if (count > all) {
        PyErr_Format(PyExc_TypeError, "%zd arguments, at most %zd are known", count, all);
        return false;
    }
    for (Py_ssize_t i = 0; i < all; i++) {
        given[i] = i < count ? args[i] : NULL;
    }
    for (Py_ssize_t i = 0; names != NULL && i < PyTuple_GET_SIZE(names); i++) {
        PyObject *name = PyTuple_GET_ITEM(names, i);
        Py_ssize_t which = 0;
        while (which < all && PyUnicode_CompareWithASCIIString(name, known[which]) != 0) {
            which++;
        }
        if (which == all || given[which] != NULL) {
            PyErr_Format(PyExc_TypeError, "argument %R is not known, or given twice", name);
            return false;
        }
        given[which] = args[count + i];
    }
    for (Py_ssize_t i = 0; i < needed; i++) {
        if (given[i] == NULL) {
            PyErr_Format(PyExc_TypeError, "argument '%s' is missing", known[i]);
            return false;
        }
    }
    const int blocks = given[needed] == NULL ? 1 : PyObject_IsTrue(given[needed]);
    *block = blocks > 0;
    *deadline_ns = INT64_MAX;
    return blocks >= 0 && (given[needed + 1] == NULL || !*block ||
                           queue_deadline(given[needed + 1], deadline_ns) == 0);
}

static PyObject *core_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    (void)args;
    (void)kwargs;
    PyObject *state = PyObject_GetAttrString((PyObject *)type, "_state");
    if (state == NULL) {
        return NULL;
    }
    struct queue_object *self = (struct queue_object *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->state = (struct queue_state *)Py_NewRef(state);
    }
    Py_DECREF(state);
    return (PyObject *)self;
}

static void core_dealloc(PyObject *object)
{
    struct queue_object *self = (struct queue_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    lane_close(self->lanes);
    if (self->spare != NULL) {
        sink_retire(self->spare);
        Py_DECREF(self->spare);
    }
    for (size_t i = 0; i < sizeof self->keys / sizeof self->keys[0]; i++) {
        Py_XDECREF(self->keys[i]);
    }
    Py_XDECREF(self->state);
    type->tp_free(object);
    Py_DECREF(type);
}

/* _attach(fd, read_fd, write_fd): the file's descriptor is ours from now on, the pipe's are not. */
static PyObject *attach(PyObject *object, PyObject *args)
{
    struct queue_object *self = (struct queue_object *)object;
    int fd, read_fd, write_fd;
    if (!PyArg_ParseTuple(args, "iii", &fd, &read_fd, &write_fd)) {
        return NULL;
    }
    lane_close(self->lanes);
    self->lanes = NULL;
    const int code = lane_open(fd, read_fd, write_fd, &self->lanes);
    if (code < 0) {
        errno = -code;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    Py_RETURN_NONE;
}

/* _twin(): another handle of the same queue in this process, which does not keep this one. */
static PyObject *twin(PyObject *object, PyObject *unused)
{
    (void)unused;
    struct queue_object *self = (struct queue_object *)object;
    PyTypeObject *type = self->state->core_type;
    struct queue_object *other = (struct queue_object *)type->tp_alloc(type, 0);
    if (other != NULL) {
        other->state = (struct queue_state *)Py_NewRef((PyObject *)self->state);
        lane_hold(self->lanes);
        other->lanes = self->lanes;
    }
    return (PyObject *)other;
}

static PyObject *file_fd(PyObject *object, PyObject *unused)
{
    (void)unused;
    return PyLong_FromLong(((struct queue_object *)object)->lanes->fd);
}

static PyObject *no_reader(PyObject *object, PyObject *unused)
{
    (void)unused;
    ((struct queue_object *)object)->lanes->read_fd = -1;
    Py_RETURN_NONE;
}

static PyObject *no_writer(PyObject *object, PyObject *unused)
{
    (void)unused;
    ((struct queue_object *)object)->lanes->write_fd = -1;
    Py_RETURN_NONE;
}

static PyObject *get_closed(PyObject *object, void *unused)
{
    (void)unused;
    return PyBool_FromLong(((struct queue_object *)object)->closed);
}

static int set_closed(PyObject *object, PyObject *value, void *unused)
{
    (void)unused;
    const int closed = value == NULL ? 1 : PyObject_IsTrue(value);
    if (closed >= 0) {
        ((struct queue_object *)object)->closed = (char)closed;
    }
    return closed < 0 ? -1 : 0;
}

static PyObject *get_feeding(PyObject *object, void *unused)
{
    (void)unused;
    /* Acquire: with the store in set_feeding(), what its caller did before is seen. */
    return PyBool_FromLong(
        __atomic_load_n(&((struct queue_object *)object)->lanes->feeding, __ATOMIC_ACQUIRE));
}

static int set_feeding(PyObject *object, PyObject *value, void *unused)
{
    (void)unused;
    const int feeding = value == NULL ? 0 : PyObject_IsTrue(value);
    if (feeding >= 0) { /* of our process */
        __atomic_store_n(&((struct queue_object *)object)->lanes->feeding, (uint32_t)feeding,
                         __ATOMIC_RELEASE);
    }
    return feeding < 0 ? -1 : 0;
}

static PyObject *get_started(PyObject *object, void *unused)
{
    (void)unused;
    /* Acquire: with the store in set_started(), what its caller did before is seen. */
    return PyBool_FromLong(
        __atomic_load_n(&((struct queue_object *)object)->lanes->started, __ATOMIC_ACQUIRE));
}

static int set_started(PyObject *object, PyObject *value, void *unused)
{
    (void)unused;
    const int started = value == NULL ? 0 : PyObject_IsTrue(value);
    if (started >= 0) { /* of our process */
        __atomic_store_n(&((struct queue_object *)object)->lanes->started, (uint32_t)started,
                         __ATOMIC_RELEASE);
    }
    return started < 0 ? -1 : 0;
}

static PyGetSetDef core_attributes[] = {
    {"_closed", get_closed, set_closed, NULL, NULL},
    {"_started", get_started, set_started, NULL, NULL},
    {"_feeding", get_feeding, set_feeding, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

/* queue_add() appends those of the other files. */
static PyMethodDef core_methods[40] = {
    {"_attach", attach, METH_VARARGS, NULL},      {"_twin", twin, METH_NOARGS, NULL},
    {"_file", file_fd, METH_NOARGS, NULL},        {"_no_reader", no_reader, METH_NOARGS, NULL},
    {"_no_writer", no_writer, METH_NOARGS, NULL},
};

static PyType_Slot core_slots[] = {
    {Py_tp_new, core_new},
    {Py_tp_dealloc, core_dealloc},
    {Py_tp_methods, core_methods},
    {Py_tp_getset, core_attributes},
    {Py_tp_doc, "What slipring's queues have in common."},
    {0, NULL},
};

static PyType_Spec core_spec = {
    .name = "slipring._slipring.QueueCore",
    .basicsize = sizeof(struct queue_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = core_slots,
};

static PyObject *create(PyObject *module, PyObject *args)
{
    (void)module;
    struct lane_options options;
    unsigned long long bytes, block_bytes;
    long long maxsize;
    int fd;
    if (!PyArg_ParseTuple(args, "LIKK", &maxsize, &options.lanes, &bytes, &block_bytes)) {
        return NULL;
    }
    options.maxsize = maxsize;
    options.lane_bytes = bytes;
    options.block_bytes = block_bytes;
    const int code = lane_create(&options, &fd);
    if (code == -EINVAL) {
        PyErr_SetString(PyExc_ValueError, "lanes is 1 to 4096, lane_bytes a power of two from 4096 "
                                          "to 2**30, array_bytes at most 2**40");
        return NULL;
    }
    if (code < 0) {
        errno = -code;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return PyLong_FromLong(fd);
}

static PyMethodDef functions[] = {
    {"_queue_create", create, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

/* The state's own type. */
static PyObject **state_objects(struct queue_state *state, size_t *count)
{
    *count = (sizeof *state - offsetof(struct queue_state, sink_type)) / sizeof(PyObject *);
    return (PyObject **)&state->sink_type; /* pointers to objects, all of them */
}

static int state_traverse(PyObject *object, visitproc visit, void *arg)
{
    size_t count;
    PyObject **all = state_objects((struct queue_state *)object, &count);
    Py_VISIT(Py_TYPE(object));
    for (size_t i = 0; i < count; i++) {
        Py_VISIT(all[i]);
    }
    return 0;
}

static int state_clear(PyObject *object)
{
    size_t count;
    PyObject **all = state_objects((struct queue_state *)object, &count);
    for (size_t i = 0; i < count; i++) {
        Py_CLEAR(all[i]);
    }
    return 0;
}

static void state_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    state_clear(object);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyType_Slot state_slots[] = {
    {Py_tp_traverse, state_traverse},
    {Py_tp_clear, state_clear},
    {Py_tp_dealloc, state_dealloc},
    {0, NULL},
};

static PyType_Spec state_spec = {
    .name = "slipring._slipring.QueueState",
    .basicsize = sizeof(struct queue_state),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = state_slots,
};

/* module.name, NULL where there is none. */
static PyObject *look_up(const char *module, const char *name)
{
    PyObject *imported = PyImport_ImportModule(module);
    PyObject *found = imported != NULL ? PyObject_GetAttrString(imported, name) : NULL;
    Py_XDECREF(imported);
    return found;
}

static PyObject *make_reducers(PyObject *module, PyObject *forking)
{
    PyObject *type = PyType_FromModuleAndSpec(module, &reducers_spec, NULL);
    PyObject *extra = PyObject_GetAttrString(forking, "_extra_reducers");
    PyObject *common = look_up("copyreg", "dispatch_table");
    PyObject *made = type != NULL && extra != NULL && common != NULL
                         ? PyObject_CallFunctionObjArgs(type, extra, common, NULL)
                         : NULL;
    Py_XDECREF(type);
    Py_XDECREF(extra);
    Py_XDECREF(common);
    return made;
}

/* queue.ShutDown, which came with 3.13, or our own. */
static PyObject *make_shut_down(void)
{
    PyObject *found = look_up("queue", "ShutDown");
    if (found == NULL && PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear();
        found = PyErr_NewExceptionWithDoc("slipring.ShutDown",
                                          "Raised by put and get of a queue that was shut down.",
                                          NULL, NULL);
    }
    return found;
}

static int fill_state(PyObject *module, struct queue_state *state)
{
    PyObject *forking = look_up("multiprocessing.reduction", "ForkingPickler");
    if (forking == NULL) {
        return -1;
    }
    state->sink_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &sink_spec, NULL);
    state->core_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &core_spec, NULL);
    state->lease_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &lease_spec, NULL);
    state->dumps = PyObject_GetAttrString(forking, "dumps");
    state->reducers = make_reducers(module, forking);
    Py_DECREF(forking);
    state->pickler_type = look_up("_pickle", "Pickler");
    state->loads = look_up("_pickle", "loads");
    state->empty = look_up("queue", "Empty");
    state->full = look_up("queue", "Full");
    state->shut_down = make_shut_down();
    state->name_dump = PyUnicode_InternFromString("dump");
    state->name_clear_memo = PyUnicode_InternFromString("clear_memo");
    state->name_enqueue = PyUnicode_InternFromString("_enqueue");
    state->name_begin = PyUnicode_InternFromString("_begin");
    state->name_failed = PyUnicode_InternFromString("_pickling_failed");
    state->loads_names = Py_BuildValue("(s)", "buffers");
    size_t count;
    PyObject **all = state_objects(state, &count);
    for (size_t i = 0; i < count; i++) {
        if (all[i] == NULL) {
            return -1;
        }
    }
    return 0;
}

int queue_add(PyObject *module)
{
    size_t at = 0;
    while (core_methods[at].ml_name != NULL) {
        at++;
    }
    if (core_methods[at - 1].ml_meth == no_writer) { /* not yet, in this process */
        for (size_t i = 0; queue_get_methods[i].ml_name != NULL; i++) {
            core_methods[at++] = queue_get_methods[i];
        }
        for (size_t i = 0; queue_put_methods[i].ml_name != NULL; i++) {
            core_methods[at++] = queue_put_methods[i];
        }
    }
    PyTypeObject *type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &state_spec, NULL);
    struct queue_state *state = type != NULL ? (struct queue_state *)type->tp_alloc(type, 0) : NULL;
    Py_XDECREF(type);
    if (state == NULL) {
        return -1;
    }
    int code = fill_state(module, state);
    if (code == 0) {
        code = PyObject_SetAttrString((PyObject *)state->core_type, "_state", (PyObject *)state);
    }
    if (code == 0) {
        code = PyModule_AddObjectRef(module, "_QueueCore", (PyObject *)state->core_type);
    }
    if (code == 0) {
        code = PyModule_AddObjectRef(module, "ShutDown", state->shut_down);
    }
    Py_DECREF(state);
    return code != 0 ? -1 : PyModule_AddFunctions(module, functions);
}
