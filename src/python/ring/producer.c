/* SPDX-License-Identifier: Apache-2.0 */
/* Producer: claims slots and waits for them; what is done with them is the Loan's (loan.c). */
#include "ring/producer.h"

#include <errno.h>

PyObject *producer_new(struct core *core, PyObject *const *args, Py_ssize_t nargs, PyObject *names)
{
    static const char *const keywords[] = {"wait", NULL};
    PyObject *given[1];
    struct slipring_producer_config config;
    slipring_producer_config_init(&config);
    config.flags = SLIPRING_INTERRUPTIBLE;
    if (args_parse("producer", args, nargs, names, keywords, 1, given) != 0 ||
        wait_from(core->state, given[0], &config.wait) != 0) {
        return NULL;
    }
    struct slipring_producer *handle = NULL;
    struct slipring_error error = {0};
    int result;
    Py_BEGIN_ALLOW_THREADS
    result = slipring_producer_attach(core->ring, &config, &handle, &error);
    Py_END_ALLOW_THREADS
    if (result != 0) {
        return raise_setup(core->state, result, &error);
    }
    PyTypeObject *type = core->state->producer_type;
    struct producer_object *self = (struct producer_object *)type->tp_alloc(type, 0);
    if (self == NULL) {
        slipring_producer_detach(handle);
        return NULL;
    }
    self->born = forks_count();
    pthread_mutex_init(&self->guard, NULL);
    self->core = core_hold(core);
    self->producer = handle;
    return (PyObject *)self;
}

bool producer_forked(const struct producer_object *self)
{
    return self->born != forks_count();
}

int producer_take(struct producer_object *self, int64_t deadline_ns, const char *doing)
{
    if (producer_forked(self)) {
        raise_code(self->core, -ECHILD, doing);
        return -1;
    }
    if (!lock_try(&self->lock) && lock_take(&self->lock, deadline_ns, doing) != 0) {
        return -1;
    }
    if (self->producer != NULL) {
        return 0;
    }
    lock_give(&self->lock);
    PyErr_SetString(PyExc_ValueError, "the producer was closed; make a new one from the ring");
    return -1;
}

/* ---- leaving ---- */

static void wake(void *object)
{
    struct producer_object *self = object;
    pthread_mutex_lock(&self->guard);
    if (self->producer != NULL) {
        slipring_producer_wake(self->producer);
    }
    pthread_mutex_unlock(&self->guard);
}

static PyObject *leave(struct producer_object *self, void (*end)(struct slipring_producer *))
{
    if (producer_forked(self)) {
        Py_RETURN_NONE;
    }
    if (lock_take_to_close(&self->lock, wake, self) != 0) {
        return NULL;
    }
    if (self->open != NULL) {
        loan_end(self->open);
    }
    pthread_mutex_lock(&self->guard);
    struct slipring_producer *handle = self->producer;
    self->producer = NULL;
    pthread_mutex_unlock(&self->guard);
    lock_give(&self->lock);
    Py_BEGIN_ALLOW_THREADS
    end(handle);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyObject *producer_close(struct producer_object *self, PyObject *unused)
{
    (void)unused;
    return leave(self, slipring_producer_close);
}

static PyObject *producer_detach(struct producer_object *self, PyObject *unused)
{
    (void)unused;
    return leave(self, slipring_producer_detach);
}

static void producer_dealloc(struct producer_object *self)
{
    PyTypeObject *type = Py_TYPE(self);
    struct slipring_producer *handle = self->producer;
    Py_BEGIN_ALLOW_THREADS
    slipring_producer_detach(handle);
    Py_END_ALLOW_THREADS
    pthread_mutex_destroy(&self->guard);
    core_drop(self->core);
    type->tp_free(self);
    Py_DECREF(type);
}

/* An exception does not end the stream: another producer may take over. */
static PyObject *producer_exit(struct producer_object *self, PyObject *const *args,
                               Py_ssize_t nargs)
{
    const bool failed = nargs > 0 && args[0] != Py_None;
    return leave(self, failed ? slipring_producer_detach : slipring_producer_close);
}

/* ---- claiming ---- */

/* The core's answer, or 1 with the error set. */
static int wait_for(struct producer_object *self, uint64_t n, int64_t deadline_ns,
                    struct slipring_loan *loan)
{
    for (;;) {
        const int64_t until = wait_step(deadline_ns);
        int result;
        Py_BEGIN_ALLOW_THREADS
        result = slipring_producer_claim(self->producer, n, loan, until);
        Py_END_ALLOW_THREADS
        if (wait_ended(&result, until, deadline_ns)) {
            return result;
        }
    }
}

int producer_claim(struct producer_object *self, uint64_t n, int64_t deadline_ns,
                   struct slipring_loan *loan)
{
    if (__builtin_expect(self->open != NULL, 0)) {
        PyErr_SetString(PyExc_ValueError, "claim: the last one is still open; publish or abort it "
                                          "first");
        return -1;
    }
    int result = slipring_producer_try_claim(self->producer, n, loan);
    if (result == -EAGAIN && deadline_ns != DEADLINE_TRY) {
        result = wait_for(self, n, deadline_ns, loan);
    }
    if (result == -ETIMEDOUT || result == -EAGAIN) {
        raise_full(self->core);
    } else if (result < 0) {
        raise_code(self->core, result, "claim");
    }
    return result == 0 ? 0 : -1;
}

static PyObject *claim_method(struct producer_object *self, PyObject *const *args, Py_ssize_t nargs,
                              PyObject *names)
{
    uint64_t n;
    int64_t deadline;
    if (wanted_from(self->core->state, "claim", args, nargs, names, &n, &deadline) != 0) {
        return NULL;
    }
    struct slipring_loan loan;
    if (producer_take(self, deadline == DEADLINE_TRY ? 0 : deadline, "claim") != 0) {
        return NULL;
    }
    if (producer_claim(self, n, deadline, &loan) != 0) {
        lock_give(&self->lock);
        return NULL;
    }
    return loan_new(self, &loan);
}

static PyObject *wake_method(struct producer_object *self, PyObject *unused)
{
    (void)unused;
    if (!producer_forked(self)) {
        wake(self);
    }
    Py_RETURN_NONE;
}

static PyObject *producer_get_closed(struct producer_object *self, void *closure)
{
    (void)closure;
    return PyBool_FromLong(self->producer == NULL);
}

static PyMethodDef producer_methods[] = {
    {"claim", FAST(claim_method),
     "claim($self, n=1, timeout=None)\n--\n\nBorrow the next n slots to write, waiting for them: a "
     "Loan. timeout in seconds; None for ever, 0: TimeoutError at once.\n\nOne claim is open at a "
     "time. Raises TimeoutError, Invalid (more slots than the ring has), Canceled, Forked."},
    {"send", FAST(producer_send),
     "send($self, value, tag=0, timeout=None)\n--\n\nCopy one message in and publish it: an array "
     "for a ring of one field, a mapping of all fields, or bytes\nfor a ring made with slot_bytes "
     "(more than a slot go as one message over several). timeout as claim()."},
    {"close", (PyCFunction)producer_close, METH_NOARGS,
     "close($self, /)\n--\n\nEnd the stream: consumers read what is there, then get Closed."},
    {"detach", (PyCFunction)producer_detach, METH_NOARGS,
     "detach($self, /)\n--\n\nStop producing; another may go on. An open claim is aborted."},
    {"wake", (PyCFunction)wake_method, METH_NOARGS,
     "wake($self, /)\n--\n\nEnd the wait of another thread in this producer, or the next one, with "
     "Canceled."},
    {"__enter__", return_self, METH_NOARGS, NULL},
    {"__exit__", (PyCFunction)(void (*)(void))producer_exit, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef producer_getset[] = {
    {"closed", (getter)producer_get_closed, NULL, "close() or detach() was called.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot producer_slots[] = {
    {Py_tp_doc, "Writes a ring, see Ring.producer(). As a context manager it ends the stream when "
                "left, or after an\nexception leaves it to another producer."},
    {Py_tp_dealloc, producer_dealloc},
    {Py_tp_methods, producer_methods},
    {Py_tp_getset, producer_getset},
    {0, NULL},
};

PyType_Spec producer_spec = {
    .name = "slipring.Producer",
    .basicsize = sizeof(struct producer_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = producer_slots,
};
