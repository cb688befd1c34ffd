/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SLIPRING_PYTHON_RING_H
#define SLIPRING_PYTHON_RING_H

#include "core.h"

struct ring_object {
    PyObject_HEAD struct core *core; /* NULL once closed */
    uint32_t open_flags;
};

struct core *ring_take(struct ring_object *self);

/* gpu_ring.c */
PyObject *ring_pin(struct ring_object *self, PyObject *args, PyObject *kwargs);
PyObject *ring_pin_info(struct ring_object *self, PyObject *unused);
PyObject *ring_drain(struct ring_object *self, PyObject *args, PyObject *kwargs);
PyObject *ring_writable(struct ring_object *self, PyObject *unused);

/* ring_info.c */
extern const char *const ring_geometries[4]; /* slipring_geometry, in this order */
extern const char *const ring_fulls[2];      /* slipring_full */
/* A SimpleNamespace of a dict, which it takes over (NULL allowed: NULL). */
PyObject *namespace_of(PyObject *values);
PyObject *ring_info(struct ring_object *self, PyObject *unused);
PyObject *ring_members(struct ring_object *self, PyObject *unused);
PyObject *ring_groups(struct ring_object *self, PyObject *unused);
PyObject *ring_dead_letters(struct ring_object *self, PyObject *unused);

#endif
