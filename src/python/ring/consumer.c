/* SPDX-License-Identifier: Apache-2.0 */
/* Consumer: joins a ring, acquires views, waits. */
#include "ring/consumer.h"

#include "ring/view.h"

#include <structmember.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LOOKS 100 /* of some 20 ns: the other side's half of a round trip */

/* ---- joining ---- */

static int start_from(const struct core *core, PyObject *start,
                      struct slipring_consumer_config *config)
{
    if (start == NULL) {
        return 0;
    }
    if (PyUnicode_Check(start)) {
        if (PyUnicode_CompareWithASCIIString(start, "latest") == 0) {
            config->start = SLIPRING_LATEST;
            return 0;
        }
        if (PyUnicode_CompareWithASCIIString(start, "oldest") == 0) {
            config->start = SLIPRING_OLDEST;
            return 0;
        }
    } else if (PyLong_Check(start)) {
        config->start = SLIPRING_SEQUENCE;
        return count_from(start, &config->sequence);
    }
    raise_invalid(core->state, "start: %R; \"latest\", \"oldest\" or a sequence", start);
    return -1;
}

int slow_from(const struct module_state *state, PyObject *slow, uint32_t *policy,
              uint64_t *after_ns)
{
    if (slow == NULL ||
        (PyUnicode_Check(slow) && PyUnicode_CompareWithASCIIString(slow, "gate") == 0)) {
        *policy = SLIPRING_GATE;
        return 0;
    }
    PyObject *word = NULL;
    double seconds = 0;
    if (PyTuple_Check(slow) && PyArg_ParseTuple(slow, "Ud", &word, &seconds) &&
        PyUnicode_CompareWithASCIIString(word, "evict") == 0 && seconds > 0 && seconds < 9e9) {
        *policy = SLIPRING_EVICT;
        *after_ns = (uint64_t)(seconds * 1e9);
        return 0;
    }
    PyErr_Clear();
    raise_invalid(state, "slow: %R; \"gate\", or (\"evict\", seconds)", slow);
    return -1;
}

static int flag_from(PyObject *object, bool otherwise, uint32_t flag, uint32_t *flags)
{
    const int truth = object == NULL ? otherwise : PyObject_IsTrue(object);
    *flags |= truth > 0 ? flag : 0;
    return truth < 0 ? -1 : 0;
}

static const char *const consumer_keywords[] = {"group",          "many",   "start", "unordered",
                                                "newest",         "verify", "slow",  "wait",
                                                "await_producer", NULL};
enum { GROUP, MANY, START, UNORDERED, NEWEST, VERIFY, SLOW, WAIT, AWAIT, ARGUMENTS };

static int config_from(const struct core *core, PyObject *const *given,
                       struct slipring_consumer_config *config)
{
    slipring_consumer_config_init(config);
    config->flags = SLIPRING_INTERRUPTIBLE;
    if (given[GROUP] != NULL && given[GROUP] != Py_None) {
        config->group = PyUnicode_AsUTF8(given[GROUP]);
        if (config->group == NULL) {
            return -1;
        }
    }
    return flag_from(given[MANY], false, SLIPRING_MANY, &config->flags) != 0 ||
                   flag_from(given[UNORDERED], true, SLIPRING_UNORDERED, &config->flags) != 0 ||
                   flag_from(given[NEWEST], false, SLIPRING_NEWEST, &config->flags) != 0 ||
                   flag_from(given[VERIFY], false, SLIPRING_VERIFY, &config->flags) != 0 ||
                   flag_from(given[AWAIT], false, SLIPRING_AWAIT_PRODUCER, &config->flags) != 0 ||
                   start_from(core, given[START], config) != 0 ||
                   slow_from(core->state, given[SLOW], &config->slow, &config->evict_after_ns) !=
                       0 ||
                   wait_from(core->state, given[WAIT], &config->wait) != 0
               ? -1
               : 0;
}

PyObject *consumer_new(struct core *core, PyObject *const *args, Py_ssize_t nargs, PyObject *names)
{
    PyObject *given[ARGUMENTS];
    struct slipring_consumer_config config;
    if (args_parse("consumer", args, nargs, names, consumer_keywords, 1, given) != 0 ||
        config_from(core, given, &config) != 0) {
        return NULL;
    }
    struct slipring_consumer *handle = NULL;
    struct slipring_error error = {0};
    int result;
    Py_BEGIN_ALLOW_THREADS
    result = slipring_consumer_attach(core->ring, &config, &handle, &error);
    Py_END_ALLOW_THREADS
    if (result != 0) {
        return raise_setup(core->state, result, &error);
    }
    PyTypeObject *type = core->state->consumer_type;
    struct consumer_object *self = (struct consumer_object *)type->tp_alloc(type, 0);
    if (self == NULL) {
        slipring_consumer_detach(handle);
        return NULL;
    }
    self->born = forks_count();
    pthread_mutex_init(&self->guard, NULL);
    self->core = core_hold(core);
    self->consumer = handle;
    const bool overwrite = core->full == SLIPRING_OVERWRITE;
    self->copies = overwrite && (core->read_only || core->geometry != SLIPRING_GEOMETRY_TENSOR);
    self->ordered = !overwrite && (config.flags & (SLIPRING_UNORDERED | SLIPRING_MANY)) == 0;
    return (PyObject *)self;
}

/* ---- leaving ---- */

bool consumer_forked(const struct consumer_object *self)
{
    return self->born != forks_count();
}

/* Once: by close() or by the last view after it, whoever is later. */
static void leave(struct consumer_object *self)
{
    const bool forked = consumer_forked(self); /* nobody else is here, and who held it is not */
    if (!forked) {
        pthread_mutex_lock(&self->guard);
    }
    struct slipring_consumer *handle = self->consumer;
    self->consumer = NULL;
    if (!forked) {
        pthread_mutex_unlock(&self->guard);
    }
    if (handle != NULL) {
        Py_BEGIN_ALLOW_THREADS
        slipring_consumer_detach(handle);
        Py_END_ALLOW_THREADS
    }
}

void consumer_view_gone(struct consumer_object *self)
{
    /* Sequentially consistent, as the two in close(): one of both sees what the other wrote. */
    if (__atomic_sub_fetch(&self->views, 1, __ATOMIC_SEQ_CST) == 0 &&
        __atomic_load_n(&self->closed, __ATOMIC_SEQ_CST) != 0 && !consumer_forked(self)) {
        leave(self);
    }
}

static void wake(void *object)
{
    struct consumer_object *self = object;
    __atomic_store_n(&self->woken, 1, __ATOMIC_RELEASE); /* before the wake that has it looked at */
    pthread_mutex_lock(&self->guard);
    if (self->consumer != NULL) {
        slipring_consumer_wake(self->consumer);
    }
    pthread_mutex_unlock(&self->guard);
}

static PyObject *consumer_close(struct consumer_object *self, PyObject *unused)
{
    (void)unused;
    if (consumer_forked(self)) {
        /* As below, where the last view of a closed consumer looks at it. */
        __atomic_store_n(&self->closed, 1, __ATOMIC_SEQ_CST);
        Py_RETURN_NONE;
    }
    if (lock_take_to_close(&self->lock, wake, self) != 0) {
        return NULL;
    }
    /* Sequentially consistent, with the two in consumer_view_gone(): one of both leaves. */
    __atomic_store_n(&self->closed, 1, __ATOMIC_SEQ_CST);
    const bool last = __atomic_load_n(&self->views, __ATOMIC_SEQ_CST) == 0;
    consumer_unlock(self);
    if (last) {
        leave(self);
    }
    Py_RETURN_NONE;
}

static void consumer_dealloc(struct consumer_object *self)
{
    PyTypeObject *type = Py_TYPE(self);
    leave(self);
    pthread_mutex_destroy(&self->guard);
    core_drop(self->core);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *consumer_exit(struct consumer_object *self, PyObject *const *args,
                               Py_ssize_t nargs)
{
    (void)args;
    (void)nargs;
    return consumer_close(self, NULL);
}

/* ---- acquiring ---- */

/* With the lock. 0 if it may acquire, else -1 with the error set and the lock given. */
static int check_open(struct consumer_object *self)
{
    if (__atomic_load_n(&self->closed, __ATOMIC_SEQ_CST) == 0) {
        return 0;
    }
    consumer_unlock(self);
    PyErr_SetString(PyExc_ValueError, "the consumer was closed; make a new one from the ring");
    return -1;
}

static int take(struct consumer_object *self, int64_t deadline_ns, const char *doing)
{
    if (consumer_forked(self)) {
        raise_code(self->core, -ECHILD, doing);
        return -1;
    }
    if (!lock_try(&self->lock) && lock_take(&self->lock, deadline_ns, doing) != 0) {
        return -1;
    }
    return check_open(self);
}

struct attempt {
    uint64_t n;
    bool copy;
    void *buffer; /* of a copy */
    uint64_t room;
    struct slipring_view view;
};

static int try_once(struct consumer_object *self, struct attempt *attempt)
{
    if (!attempt->copy) {
        return slipring_consumer_try_acquire(self->consumer, attempt->n, &attempt->view);
    }
    return slipring_consumer_try_copy(self->consumer, attempt->buffer, attempt->room,
                                      &attempt->view);
}

static int wait_once(struct consumer_object *self, struct attempt *attempt, int64_t until_ns)
{
    if (!attempt->copy) {
        return slipring_consumer_acquire(self->consumer, attempt->n, &attempt->view, until_ns);
    }
    return slipring_consumer_copy(self->consumer, attempt->buffer, attempt->room, &attempt->view,
                                  until_ns);
}

/* The core's answer, or 1 with the error set: a signal's handler raised. */
static int wait_for(struct consumer_object *self, struct attempt *attempt, int64_t deadline_ns)
{
    for (;;) {
        const int64_t until = wait_step(deadline_ns);
        int result;
        Py_BEGIN_ALLOW_THREADS
        result = wait_once(self, attempt, until);
        Py_END_ALLOW_THREADS
        /* Acquire: with the release in wake(); the exchange takes each call of it once. */
        if (result == -ECANCELED && __atomic_exchange_n(&self->woken, 0, __ATOMIC_ACQ_REL) == 0 &&
            self->ordered) {
            order_drain(self); /* what woke us */
            continue;
        }
        if (wait_ended(&result, until, deadline_ns)) {
            return result;
        }
    }
}

/* A message's bytes; grown when one is larger. */
static int grow(struct attempt *attempt, uint64_t bytes)
{
    void *buffer = realloc(attempt->buffer, bytes + 1); /* also of 0 bytes there is a buffer */
    if (buffer == NULL) {
        return -ENOMEM;
    }
    attempt->buffer = buffer;
    attempt->room = bytes;
    return 0;
}

static int acquire(struct consumer_object *self, struct attempt *attempt, int64_t deadline_ns)
{
    int result = attempt->copy ? grow(attempt, self->core->slot_bytes) : 0;
    while (result == 0) {
        result = try_once(self, attempt);
        /* A moment more before the interpreter's lock is given up and taken again. */
        for (int i = 0; i < LOOKS && result == -EAGAIN && deadline_ns != DEADLINE_TRY; i++) {
            result = try_once(self, attempt);
        }
        if (result == -EAGAIN && deadline_ns != DEADLINE_TRY) {
            result = wait_for(self, attempt, deadline_ns);
        }
        if (result != -EMSGSIZE || !attempt->copy) {
            break;
        }
        result = grow(attempt, attempt->view.slot.bytes);
    }
    return result;
}

static PyObject *raise_damaged(struct consumer_object *self, const struct attempt *attempt)
{
    if (!attempt->copy) {
        ignore(slipring_consumer_release(self->consumer, &attempt->view));
    }
    raise_code(self->core, -EBADMSG, "acquire");
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    PyObject *sequence = PyLong_FromUnsignedLongLong(attempt->view.slot.sequence);
    if (sequence == NULL || PyObject_SetAttrString(value, "sequence", sequence) != 0) {
        PyErr_Clear();
    }
    Py_XDECREF(sequence);
    PyErr_Restore(type, value, traceback);
    return NULL;
}

PyObject *consumer_acquire(struct consumer_object *self, uint64_t n, int64_t deadline_ns, bool copy)
{
    if (take(self, deadline_ns == DEADLINE_TRY ? 0 : deadline_ns, "acquire") != 0) {
        return NULL;
    }
    struct attempt attempt; /* the view is the core's to fill */
    attempt.n = n;
    attempt.copy = copy || self->copies;
    attempt.buffer = NULL;
    attempt.room = 0;
    const int result = acquire(self, &attempt, deadline_ns);
    PyObject *view = NULL;
    if (result == 0) {
        view = view_new(self, &attempt.view, attempt.buffer);
    } else {
        if (result == -EBADMSG) {
            raise_damaged(self, &attempt);
        } else if (result < 0 && !(result == -EAGAIN && deadline_ns == DEADLINE_TRY)) {
            raise_code(self->core, result, "acquire");
        }
        free(attempt.buffer);
    }
    consumer_unlock(self);
    return view;
}

static PyObject *acquire_method(struct consumer_object *self, PyObject *const *args,
                                Py_ssize_t nargs, PyObject *names)
{
    uint64_t n;
    int64_t deadline;
    if (wanted_from(self->core->state, "acquire", args, nargs, names, &n, &deadline) != 0) {
        return NULL;
    }
    PyObject *view = consumer_acquire(self, n, deadline, false);
    return view != NULL || PyErr_Occurred() ? view : raise_code(self->core, -EAGAIN, "acquire");
}

static PyObject *try_acquire_method(struct consumer_object *self, PyObject *const *args,
                                    Py_ssize_t nargs, PyObject *names)
{
    static const char *const keywords[] = {"n", NULL};
    PyObject *given[1];
    uint64_t n = 1;
    if (args_parse("try_acquire", args, nargs, names, keywords, 1, given) != 0 ||
        slots_from(self->core->state, "try_acquire", 1, given[0], &n) != 0) {
        return NULL;
    }
    PyObject *view = consumer_acquire(self, n, DEADLINE_TRY, false);
    if (view != NULL || PyErr_Occurred()) {
        return view;
    }
    Py_RETURN_NONE;
}

static PyObject *copy_method(struct consumer_object *self, PyObject *const *args, Py_ssize_t nargs,
                             PyObject *names)
{
    static const char *const keywords[] = {"timeout", NULL};
    PyObject *given[1];
    int64_t deadline;
    if (args_parse("copy", args, nargs, names, keywords, 1, given) != 0 ||
        deadline_from(given[0], &deadline) != 0) {
        return NULL;
    }
    PyObject *view = consumer_acquire(self, 1, deadline, true);
    return view != NULL || PyErr_Occurred() ? view : raise_code(self->core, -EAGAIN, "copy");
}

/* ---- the rest ---- */

static PyObject *wake_method(struct consumer_object *self, PyObject *unused)
{
    (void)unused;
    if (!consumer_forked(self)) {
        wake(self);
    }
    Py_RETURN_NONE;
}

static PyObject *fileno_method(struct consumer_object *self, PyObject *unused)
{
    (void)unused;
    struct slipring_error error = {0};
    int fd = -1;
    if (take(self, SLIPRING_FOREVER, "fileno") != 0) {
        return NULL;
    }
    const int result = slipring_consumer_fd(self->consumer, &fd, &error);
    consumer_unlock(self);
    return result != 0 ? raise_setup(self->core->state, result, &error) : PyLong_FromLong(fd);
}

static PyObject *arm_method(struct consumer_object *self, PyObject *unused)
{
    (void)unused;
    if (take(self, SLIPRING_FOREVER, "arm") != 0) {
        return NULL;
    }
    const int result = slipring_consumer_arm(self->consumer);
    consumer_unlock(self);
    return result < 0 ? raise_code(self->core, result, "arm") : PyBool_FromLong(result);
}

static PyObject *consumer_get_lag(struct consumer_object *self, void *closure)
{
    (void)closure;
    if (consumer_forked(self)) {
        return PyLong_FromLong(0);
    }
    if (!lock_try(&self->lock)) {
        return PyLong_FromLong(0); /* another thread waits in it: there is nothing to acquire */
    }
    const uint64_t lag = self->consumer == NULL ? 0 : slipring_consumer_lag(self->consumer);
    consumer_unlock(self);
    return PyLong_FromUnsignedLongLong(lag);
}

static PyObject *stats_method(struct consumer_object *self, PyObject *unused)
{
    (void)unused;
    struct slipring_stats stats = {.struct_size = sizeof stats};
    if (take(self, SLIPRING_FOREVER, "stats") != 0) {
        return NULL;
    }
    const int result = slipring_consumer_stats(self->consumer, &stats);
    consumer_unlock(self);
    if (result != 0) {
        return raise_code(self->core, result, "stats");
    }
    return Py_BuildValue("{s:K,s:K,s:K,s:K,s:K}", "next", stats.next, "lag", stats.lag, "missed",
                         stats.missed, "missed_messages", stats.missed_messages, "damaged",
                         stats.damaged);
}

static PyObject *consumer_get_closed(struct consumer_object *self, void *closure)
{
    (void)closure;
    /* For display; acquire, as what close() did before is then there. */
    return PyBool_FromLong(__atomic_load_n(&self->closed, __ATOMIC_ACQUIRE) != 0);
}

static PyObject *consumer_iter(struct consumer_object *self)
{
    return turns_new(self);
}

static PyObject *consumer_aiter(PyObject *self)
{
    PyObject *module = PyImport_ImportModule("slipring.aio");
    PyObject *result = module == NULL ? NULL : PyObject_CallMethod(module, "Turns", "O", self);
    Py_XDECREF(module);
    return result;
}

static PyMethodDef consumer_methods[] = {
    {"acquire", FAST(acquire_method),
     "acquire($self, n=1, timeout=None)\n--\n\nBorrow up to n next slots, waiting for the first. "
     "timeout in seconds; None for ever, 0: TimeoutError at once.\n\nRaises TimeoutError, Closed, "
     "PeerDied, Evicted, Damaged, Canceled, Forked."},
    {"try_acquire", FAST(try_acquire_method),
     "try_acquire($self, n=1)\n--\n\nAs acquire(), but None if there is nothing; never waits."},
    {"copy", FAST(copy_method),
     "copy($self, timeout=None)\n--\n\nCopy the next message out, verified to be whole: a View "
     "over "
     "memory of its own that holds no slot."},
    {"close", (PyCFunction)consumer_close, METH_NOARGS,
     "close($self, /)\n--\n\nAcquire no more. The ring is left when no view is alive any more."},
    {"wake", (PyCFunction)wake_method, METH_NOARGS,
     "wake($self, /)\n--\n\nEnd the wait of another thread in this consumer, or the next one, with "
     "Canceled."},
    {"fileno", (PyCFunction)fileno_method, METH_NOARGS,
     "fileno($self, /)\n--\n\nA descriptor for poll(): readable once arm() said False and data or "
     "the end came. Do not read or close it."},
    {"arm", (PyCFunction)arm_method, METH_NOARGS,
     "arm($self, /)\n--\n\nBefore each poll(): True if there is something to acquire already."},
    {"stats", (PyCFunction)stats_method, METH_NOARGS,
     "stats($self, /)\n--\n\nWhere it stands: next, lag, missed, missed_messages, damaged (slots, "
     "messages)."},
    {"__enter__", return_self, METH_NOARGS, NULL},
    {"__exit__", (PyCFunction)(void (*)(void))consumer_exit, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef consumer_members[] = {
    {"_awaited", T_BOOL, offsetof(struct consumer_object, awaited), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef consumer_getset[] = {
    {"lag", (getter)consumer_get_lag, NULL, "Published slots not yet acquired.", NULL},
    {"closed", (getter)consumer_get_closed, NULL, "close() was called.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot consumer_slots[] = {
    {Py_tp_doc, "Reads a ring, see Ring.consumer(). Iterating it, also by async for, takes slot "
                "after slot until the stream ends: each turn's\nview is released when the next is "
                "asked for, unless an array of it lives. Threads may share it."},
    {Py_tp_dealloc, consumer_dealloc},
    {Py_tp_methods, consumer_methods},
    {Py_tp_members, consumer_members},
    {Py_tp_getset, consumer_getset},
    {Py_tp_iter, consumer_iter},
    {Py_am_aiter, consumer_aiter},
    {0, NULL},
};

PyType_Spec consumer_spec = {
    .name = "slipring.Consumer",
    .basicsize = sizeof(struct consumer_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = consumer_slots,
};
