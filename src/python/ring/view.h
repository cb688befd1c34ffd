/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Leases of slots. A view has slots until the last that refers to it dies, or release(). What it
 * gives out (arrays, memoryviews, DLPack tensors) refers to it through a Field, and while one of
 * those lives release() refuses.
 */
#ifndef SLIPRING_PYTHON_VIEW_H
#define SLIPRING_PYTHON_VIEW_H

#include "ring/consumer.h"

struct view_object {
    PyObject_HEAD struct consumer_object *consumer;
    struct slipring_view view;
    uint32_t exports; /* Fields alive; VIEW_RELEASED: none can be made any more. Atomic */
    bool pinned;      /* its address was given away, by what says when it is done with it; atomic */
    void *copy;       /* the payload, where it was copied out */
    int64_t *shapes;  /* this message's own, where they vary */
    struct order_node *node; /* ordered consumers */
    bool plain;              /* no device can have read it: its release waits for none */
    bool streaming;          /* a stream uses it, which is to release it (gpu_view.c) */
    uint64_t stream;         /* a CUstream */
    PyObject *keep;          /* what keeps that stream; or NULL */
};

#define VIEW_RELEASED UINT32_C(0x80000000)

/* A view of what was just acquired (view.token and all), or of a copy (taken over, with free()).
 * On failure the slots are released. */
PyObject *view_new(struct consumer_object *consumer, const struct slipring_view *view, void *copy);

/* The loop that it was a turn of goes on: released, unless something of it lives. */
void view_turn_over(PyObject *view);

/* gpu_view.c */
PyObject *view_to(struct view_object *self, PyObject *const *args, Py_ssize_t nargs,
                  PyObject *names);
PyObject *view_copy_to(struct view_object *self, PyObject *args);
/* The release is to be on that stream. 1, 0 if it was before, or -1 with the error set; and back. */
int gpu_put_on_stream(struct view_object *self, PyObject *stream);
void gpu_take_off_stream(struct view_object *self);
/* Hand the release to its stream. 0, or a negative result as of a release; GPU_NOT: no stream uses it;
 * GPU_HELD: with the error set, the view still has its slots. */
int gpu_give_back(struct view_object *self);
enum { GPU_NOT = 1, GPU_HELD = 2 };

/* iterator.c */
PyObject *turns_new(struct consumer_object *consumer);

/* One field of a view or loan, or (index -1) its raw bytes. What it shows is there as long as it. */
struct field_object {
    PyObject_HEAD struct view_object *view; /* NULL: of a loan */
    struct core *core;
    struct core_field *field; /* NULL: raw bytes */
    bool writable;
    struct slipring_tensor tensor; /* not of raw bytes */
    struct shown shown;
};

extern PyMethodDef field_methods[]; /* dlpack.c */

/* _tensor(owner, offset, code, bits, shape, strides), for the loader: a DLPack capsule of a part of
 * owner's writable buffer. */
PyObject *tensor_over(PyObject *module, PyObject *const *args, Py_ssize_t nargs);

/* A new Field of a view; index -1: its bytes. */
PyObject *view_field(struct view_object *view, int index);
/* A new writable Field of a loan's memory. */
PyObject *field_of_loan(struct core *core, int index, const struct slipring_tensor *tensor);
PyObject *field_bytes(struct core *core, void *data, uint64_t bytes);
/* An array over a Field; takes the reference to it over (NULL allowed: NULL). */
PyObject *field_array(PyObject *field);

#endif
