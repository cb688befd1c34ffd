/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Iterating a consumer: each turn's view lasts for the turn. When the next is asked for it is
 * released, unless something made of it lives. Otherwise the loop's variable would hold its slot
 * while the loop waits, and of several that share a consumer or a group each might wait for what
 * another one's variable holds back.
 */
#include "ring/view.h"

struct turns_object {
    PyObject_HEAD struct consumer_object *consumer;
    PyObject *view; /* of the last turn, or NULL */
};

PyObject *turns_new(struct consumer_object *consumer)
{
    PyTypeObject *type = consumer->core->state->turns_type;
    struct turns_object *self = (struct turns_object *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->consumer = consumer;
        Py_INCREF(consumer);
    }
    return (PyObject *)self;
}

static void turns_dealloc(struct turns_object *self)
{
    PyTypeObject *type = Py_TYPE(self);
    Py_XDECREF(self->view);
    Py_XDECREF(self->consumer);
    type->tp_free(self);
    Py_DECREF(type);
}

/* The stream's end ends the loop; a dead producer raises. */
static PyObject *turns_next(struct turns_object *self)
{
    PyObject *last, *view;
    BEGIN_CRITICAL(self);
    last = self->view;
    self->view = NULL;
    END_CRITICAL();
    if (last != NULL) {
        view_turn_over(last);
        Py_DECREF(last);
    }
    view = consumer_acquire(self->consumer, 1, SLIPRING_FOREVER, false);
    if (view == NULL) {
        if (PyErr_ExceptionMatches(self->consumer->core->state->closed)) {
            PyErr_Clear();
        }
        return NULL;
    }
    Py_INCREF(view);
    BEGIN_CRITICAL(self);
    last = self->view;
    self->view = view;
    END_CRITICAL();
    Py_XDECREF(last);
    return view;
}

static PyObject *turns_iter(PyObject *self)
{
    Py_INCREF(self);
    return self;
}

static PyType_Slot turns_slots[] = {
    {Py_tp_doc, "Iterates a consumer."},
    {Py_tp_dealloc, turns_dealloc},
    {Py_tp_iter, turns_iter},
    {Py_tp_iternext, turns_next},
    {0, NULL},
};

PyType_Spec turns_spec = {
    .name = "slipring._slipring.Turns",
    .basicsize = sizeof(struct turns_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = turns_slots,
};
