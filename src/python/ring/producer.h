/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SLIPRING_PYTHON_PRODUCER_H
#define SLIPRING_PYTHON_PRODUCER_H

#include "lock.h"

#include <pthread.h>

struct loan_object;

struct producer_object {
    PyObject_HEAD struct core *core;
    struct slipring_producer *producer; /* NULL once it left */
    struct lock lock;                   /* whose holder may call the handle */
    pthread_mutex_t guard;              /* of the pointer, against wake() */
    struct loan_object *open;           /* the loan not yet ended; not a reference */
    uint32_t born;                      /* forks_count() */
};

struct loan_object {
    PyObject_HEAD struct producer_object *producer;
    struct slipring_loan loan;
    bool ended; /* with the producer's lock */
    uint64_t tag;
    uint32_t messages;
    int64_t *shapes;   /* of every field, one after another; NULL: the schema's */
    PyObject **arrays; /* given out, by field: writable until the end */
};

PyObject *producer_new(struct core *core, PyObject *const *args, Py_ssize_t nargs, PyObject *names);
bool producer_forked(const struct producer_object *self);

/* Take the lock of a producer that has not left. 0, or -1 with the error set. */
int producer_take(struct producer_object *self, int64_t deadline_ns, const char *doing);

/* With the lock: claim before the deadline. 0, or -1 with the error set. */
int producer_claim(struct producer_object *self, uint64_t n, int64_t deadline_ns,
                   struct slipring_loan *loan);

/* loan.c; with the lock, which it gives. */
PyObject *loan_new(struct producer_object *producer, const struct slipring_loan *loan);
/* With the lock: the claim is over; what was given out is not to be written any more. */
void loan_end(struct loan_object *self);

/* send.c */
PyObject *producer_send(struct producer_object *self, PyObject *const *args, Py_ssize_t nargs,
                        PyObject *names);
/* Copy value into a field's place. 0, or -1 with the error set. */
int send_copy(struct core_field *field, const struct slipring_tensor *tensor, struct core *core,
              PyObject *value);

#endif
