/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the Queue's C part share. */
#ifndef SLIPRING_PYTHON_QUEUE_H
#define SLIPRING_PYTHON_QUEUE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "queue/lane.h"

/* What the module has looked up once; an attribute of the type _QueueCore. */
struct queue_state {
    PyObject_HEAD PyTypeObject *sink_type, *core_type, *lease_type;
    PyObject *pickler_type; /* _pickle.Pickler */
    PyObject *loads;        /* _pickle.loads */
    PyObject *dumps;        /* ForkingPickler.dumps */
    PyObject *reducers;     /* what ForkingPickler would use, live */
    PyObject *empty, *full, *shut_down;
    PyObject *name_dump, *name_clear_memo, *name_enqueue, *name_begin, *name_failed;
    PyObject *loads_names; /* ("buffers",) */
};

/* One object pickled: the stream's pieces, then the buffers that travel beside it. */
struct sink_piece {
    PyObject *owner;
    const void *data;
    size_t size;
    Py_buffer view; /* view.obj: NULL if owner is bytes */
    uint32_t block; /* index + 1 where it is in a block already */
};

struct sink {
    PyObject_HEAD PyObject *pickler; /* writes to us; a cycle, ended by sink_retire() */
    struct sink_piece *pieces;
    size_t count, capacity;
    struct sink_piece *buffers;
    size_t buffer_count, buffer_capacity;
    uint64_t stream_bytes;
    struct lane_queue *lanes; /* whose blocks some buffers are in */
    uint32_t identity;        /* who took them */
};

struct queue_object {
    PyObject_HEAD struct lane_queue *lanes;
    struct queue_state *state;
    struct sink *spare; /* one that is ready for the next object; taken by exchange */
    PyObject *keys[64]; /* of dictionaries that were got */
    char closed;
};

/* queue_pickle.c */
extern PyType_Spec sink_spec;
extern PyType_Spec reducers_spec;
struct sink *queue_pickle(struct queue_object *self, PyObject *object); /* NULL: Python error */
void queue_recycle(struct queue_object *self, struct sink *sink);
void sink_retire(struct sink *sink); /* may be queued now: its pickler goes */
struct sink *sink_of_bytes(struct queue_state *state, PyObject *bytes);
/* Copies large buffers into blocks of our lane, where there are some: then 0. */
int sink_fill_blocks(struct queue_object *self, struct sink *sink);
void sink_drop_blocks(struct sink *sink);
void sink_sent_blocks(struct sink *sink); /* they are the record's now */
/* The record to put, in scratch memory, to be freed by sink_record_free(). */
int sink_record(struct sink *sink, struct lane_record *record, struct lane_piece *few);
void sink_record_free(struct lane_record *record, const struct lane_piece *few);
#define SINK_FEW 4

/* queue_plain.c */
#define PLAIN_BYTES 4096
size_t plain_write(PyObject *object, uint8_t *target);
PyObject *plain_read(struct queue_object *self, const uint8_t *data, size_t size);

/* queue_lease.c */
extern PyType_Spec lease_spec;
PyObject *lease_new(struct queue_object *self, uint32_t lane, uint32_t index, uint8_t *data,
                    uint64_t size);

/* queue_get.c */
PyObject *queue_take(struct queue_object *self, bool block, int64_t deadline_ns, bool raw);
extern PyMethodDef queue_get_methods[];

/* queue_put.c */
extern PyMethodDef queue_put_methods[];

/* queue.c */
int queue_add(PyObject *module); /* adds the types and functions of Queue to the module */
int queue_deadline(PyObject *timeout, int64_t *deadline_ns);
bool queue_open(struct queue_object *self); /* else a Python error */
PyObject *queue_raise(struct queue_object *self, int code);
/* `wanted` (up to two, then NULL) and block and timeout, by place or by name; given[] in that order,
 * NULL where left out. */
bool queue_arguments(const char *const *wanted, PyObject *const *args, Py_ssize_t count,
                     PyObject *names, PyObject **given, bool *block, int64_t *deadline_ns);

#endif
