/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SLIPRING_PYTHON_CONSUMER_H
#define SLIPRING_PYTHON_CONSUMER_H

#include "lock.h"

#include <pthread.h>

struct order_node; /* ordered_release.c */

struct consumer_object {
    PyObject_HEAD struct core *core;
    struct slipring_consumer *consumer; /* NULL once it left the ring */
    struct lock lock;                   /* whose holder may acquire */
    pthread_mutex_t guard; /* of the pointer, against who does not hold the lock, and of order */
    bool copies;           /* an overwrite ring that cannot be held: acquire copies out */
    bool ordered;          /* releases go in the order acquired (ordered_release.c) */
    struct order_node *oldest, *newest;
    uint32_t views;  /* alive; atomic */
    uint32_t closed; /* acquires no more; atomic */
    uint32_t woken;  /* wake() or close() was called; atomic */
    uint32_t born;   /* forks_count() */
    char awaited;    /* by a coroutine (aio.py) */
};

/* Ring.consumer(): the arguments after the ring. */
PyObject *consumer_new(struct core *core, PyObject *const *args, Py_ssize_t nargs, PyObject *names);

/* Acquire up to n slots, or (copy) copy the next message out, before the deadline. A View, or NULL
 * with the error set; or NULL without one: DEADLINE_TRY, and there is none. */
PyObject *consumer_acquire(struct consumer_object *self, uint64_t n, int64_t deadline_ns,
                           bool copy);

/* Handles of the parent are void in a forked child. */
bool consumer_forked(const struct consumer_object *self);

/* A view died. The last one of a closed consumer takes it out of the ring. */
void consumer_view_gone(struct consumer_object *self);

/* ordered_release.c: ordered consumers. A node for what was just acquired, NULL if there is no memory; its
 * slots are released when all before it are. Returns that release's result, or 0. */
struct order_node *order_add(struct consumer_object *self, const struct slipring_view *view);
int order_done(struct consumer_object *self, struct order_node *node);
void order_drain(struct consumer_object *self); /* by the lock's holder */

/* Give the lock, and what others left to its holder is done. */
void consumer_unlock(struct consumer_object *self);

#endif
