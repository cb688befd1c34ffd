/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pickling for a queue: one pickler, kept from object to object, with the reducers that
 * ForkingPickler would use. Buffers of 4 KiB and more travel beside the pickle.
 */
#include "queue/queue.h"

#include <string.h>

#define OUT_OF_BAND_BYTES 4096
#define BLOCK_BYTES 32768
#define SPARE_BYTES 65536 /* a pickler that made more has a large memo by now */

static void drop_pieces(struct sink_piece *pieces, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (pieces[i].view.obj != NULL) {
            PyBuffer_Release(&pieces[i].view);
        }
        Py_XDECREF(pieces[i].owner);
    }
}

void sink_drop_blocks(struct sink *sink)
{
    for (size_t i = 0; sink->lanes != NULL && i < sink->buffer_count; i++) {
        if (sink->buffers[i].block != 0) {
            lane_drop_block(sink->lanes, sink->identity, sink->buffers[i].block - 1);
            sink->buffers[i].block = 0;
        }
    }
    lane_close(sink->lanes);
    sink->lanes = NULL;
}

void sink_sent_blocks(struct sink *sink)
{
    lane_close(sink->lanes);
    sink->lanes = NULL;
}

static void sink_clear(struct sink *sink)
{
    sink_drop_blocks(sink);
    drop_pieces(sink->pieces, sink->count);
    drop_pieces(sink->buffers, sink->buffer_count);
    sink->count = 0;
    sink->buffer_count = 0;
    sink->stream_bytes = 0;
}

static void sink_dealloc(PyObject *object)
{
    struct sink *sink = (struct sink *)object;
    PyTypeObject *type = Py_TYPE(object);
    sink_clear(sink);
    PyMem_Free(sink->pieces);
    PyMem_Free(sink->buffers);
    Py_XDECREF(sink->pickler);
    type->tp_free(object);
    Py_DECREF(type);
}

void sink_retire(struct sink *sink)
{
    Py_CLEAR(sink->pickler);
}

static struct sink_piece *next_piece(struct sink_piece **pieces, size_t *count, size_t *capacity)
{
    if (*count == *capacity) {
        const size_t more = *capacity == 0 ? 2 : *capacity * 2;
        struct sink_piece *grown = PyMem_Realloc(*pieces, more * sizeof **pieces);
        if (grown == NULL) {
            PyErr_NoMemory();
            return NULL;
        }
        *pieces = grown;
        *capacity = more;
    }
    return &(*pieces)[*count];
}

static int fill_piece(struct sink_piece *piece, PyObject *object)
{
    if (PyBytes_CheckExact(object)) {
        piece->view.obj = NULL;
        piece->data = PyBytes_AS_STRING(object);
        piece->size = (size_t)PyBytes_GET_SIZE(object);
    } else if (PyObject_GetBuffer(object, &piece->view, PyBUF_ANY_CONTIGUOUS) == 0) {
        piece->data = piece->view.buf;
        piece->size = (size_t)piece->view.len;
    } else {
        return -1;
    }
    piece->owner = Py_NewRef(object);
    piece->block = 0;
    return 0;
}

/* The pickler's file. */
static PyObject *sink_write(PyObject *self, PyObject *object)
{
    struct sink *sink = (struct sink *)self;
    struct sink_piece *piece = next_piece(&sink->pieces, &sink->count, &sink->capacity);
    if (piece == NULL || fill_piece(piece, object) != 0) {
        return NULL;
    }
    sink->count++;
    sink->stream_bytes += piece->size;
    Py_RETURN_NONE;
}

/* The pickler's buffer_callback: true means in the stream. */
static PyObject *sink_buffer(PyObject *self, PyObject *object)
{
    struct sink *sink = (struct sink *)self;
    struct sink_piece *piece =
        next_piece(&sink->buffers, &sink->buffer_count, &sink->buffer_capacity);
    if (piece == NULL) {
        return NULL;
    }
    if (fill_piece(piece, object) != 0) {
        return NULL;
    }
    if (piece->size < OUT_OF_BAND_BYTES) {
        drop_pieces(piece, 1);
        Py_RETURN_TRUE;
    }
    sink->buffer_count++;
    Py_RETURN_FALSE;
}

static PyMethodDef sink_methods[] = {
    {"write", sink_write, METH_O, NULL},
    {"buffer", sink_buffer, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot sink_slots[] = {
    {Py_tp_dealloc, sink_dealloc},
    {Py_tp_methods, sink_methods},
    {Py_tp_doc, "An object pickled for a queue."},
    {0, NULL},
};

PyType_Spec sink_spec = {
    .name = "slipring._slipring.Pickled",
    .basicsize = sizeof(struct sink),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = sink_slots,
};

/* Two dictionaries read as one: ForkingPickler's reducers, then copyreg's. Both may change. */
struct reducers {
    PyObject_HEAD PyObject *extra, *common;
};

static PyObject *reducers_get(PyObject *self, PyObject *key)
{
    struct reducers *reducers = (struct reducers *)self;
    PyObject *found = PyDict_GetItemWithError(reducers->extra, key);
    if (found == NULL && !PyErr_Occurred()) {
        found = PyDict_GetItemWithError(reducers->common, key);
    }
    if (found == NULL && !PyErr_Occurred()) {
        PyErr_SetObject(PyExc_KeyError, key);
    }
    return Py_XNewRef(found);
}

static PyObject *reducers_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *extra, *common;
    if (kwargs != NULL ||
        !PyArg_ParseTuple(args, "O!O!", &PyDict_Type, &extra, &PyDict_Type, &common)) {
        return NULL;
    }
    struct reducers *self = (struct reducers *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->extra = Py_NewRef(extra);
        self->common = Py_NewRef(common);
    }
    return (PyObject *)self;
}

static void reducers_dealloc(PyObject *object)
{
    struct reducers *self = (struct reducers *)object;
    PyTypeObject *type = Py_TYPE(object);
    Py_XDECREF(self->extra);
    Py_XDECREF(self->common);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyType_Slot reducers_slots[] = {
    {Py_tp_new, reducers_new},
    {Py_tp_dealloc, reducers_dealloc},
    {Py_mp_subscript, reducers_get},
    {Py_tp_doc, "The reducers that a queue's pickler uses."},
    {0, NULL},
};

PyType_Spec reducers_spec = {
    .name = "slipring._slipring.Reducers",
    .basicsize = sizeof(struct reducers),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = reducers_slots,
};

static struct sink *new_sink(struct queue_state *state)
{
    struct sink *sink = (struct sink *)state->sink_type->tp_alloc(state->sink_type, 0);
    if (sink == NULL) {
        return NULL;
    }
    PyObject *buffer = PyObject_GetAttrString((PyObject *)sink, "buffer");
    if (buffer != NULL) {
        PyObject *kwargs = Py_BuildValue("{s:i,s:O}", "protocol", 5, "buffer_callback", buffer);
        PyObject *args = PyTuple_Pack(1, (PyObject *)sink);
        if (kwargs != NULL && args != NULL) {
            sink->pickler = PyObject_Call(state->pickler_type, args, kwargs);
        }
        Py_XDECREF(kwargs);
        Py_XDECREF(args);
        Py_DECREF(buffer);
    }
    if (sink->pickler == NULL ||
        PyObject_SetAttrString(sink->pickler, "dispatch_table", state->reducers) != 0) {
        sink_retire(sink);
        Py_DECREF(sink);
        return NULL;
    }
    return sink;
}

/* Calls `name` of `object` with one argument or none. */
static PyObject *call(PyObject *object, PyObject *name, PyObject *argument)
{
    PyObject *args[2] = {object, argument};
    return PyObject_VectorcallMethod(
        name, args, (argument == NULL ? 1 : 2) | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
}

struct sink *queue_pickle(struct queue_object *self, PyObject *object)
{
    struct sink *sink = __atomic_exchange_n(&self->spare, NULL, __ATOMIC_ACQ_REL); /* our threads */
    if (sink == NULL && (sink = new_sink(self->state)) == NULL) {
        return NULL;
    }
    PyObject *done = call(sink->pickler, self->state->name_dump, object);
    if (done == NULL) {
        sink_retire(sink);
        Py_DECREF(sink);
        return NULL;
    }
    Py_DECREF(done);
    return sink;
}

/* The sink was used: its pickler serves the next object, or it goes. */
void queue_recycle(struct queue_object *self, struct sink *sink)
{
    if (sink->pickler != NULL && sink->stream_bytes < SPARE_BYTES) {
        PyObject *done = call(sink->pickler, self->state->name_clear_memo, NULL);
        if (done != NULL) {
            Py_DECREF(done);
            sink_clear(sink);
            sink = __atomic_exchange_n(&self->spare, sink, __ATOMIC_ACQ_REL); /* our threads */
            if (sink == NULL) {
                return;
            }
        } else {
            PyErr_Clear();
        }
    }
    sink_retire(sink);
    Py_DECREF(sink);
}

struct sink *sink_of_bytes(struct queue_state *state, PyObject *bytes)
{
    struct sink *sink = (struct sink *)state->sink_type->tp_alloc(state->sink_type, 0);
    if (sink != NULL) {
        PyObject *done = sink_write((PyObject *)sink, bytes);
        if (done == NULL) {
            Py_DECREF(sink);
            return NULL;
        }
        Py_DECREF(done);
    }
    return sink;
}

/* -EAGAIN, -ENOBUFS: as lane_take_block(); those that did get one keep it. */
int sink_fill_blocks(struct queue_object *self, struct sink *sink)
{
    for (size_t i = 0; i < sink->buffer_count; i++) {
        struct sink_piece *piece = &sink->buffers[i];
        if (piece->size < BLOCK_BYTES || piece->block != 0) {
            continue;
        }
        uint32_t index;
        uint8_t *data;
        const int code = lane_take_block(self->lanes, piece->size, &index, &data);
        if (code < 0) {
            return code;
        }
        if (sink->lanes == NULL) {
            lane_hold(self->lanes);
            sink->lanes = self->lanes;
            sink->identity = self->lanes->self;
        }
        piece->block = index + 1;
        Py_BEGIN_ALLOW_THREADS
        memcpy(data, piece->data, piece->size);
        Py_END_ALLOW_THREADS
    }
    return 0;
}

/*
 * A pickle alone is its pieces. With buffers: their count, the pickle's size, theirs and their
 * blocks, then the pickle and each buffer that is in no block, each filled up to a multiple of 16.
 */
static void lay_out(const struct sink *sink, struct lane_record *record, struct lane_piece *pieces,
                    uint64_t *sizes, uint32_t *blocks)
{
    static const uint8_t fill[16];
    size_t count = 0, block_count = 0;
    uint64_t total = 0;
    pieces[count++] = (struct lane_piece){sizes, (2 + 2 * sink->buffer_count) * sizeof *sizes};
    sizes[0] = sink->buffer_count;
    sizes[1] = sink->stream_bytes;
    for (size_t i = 0; i < sink->count; i++) {
        pieces[count++] = (struct lane_piece){sink->pieces[i].data, sink->pieces[i].size};
    }
    total = pieces[0].size + sink->stream_bytes;
    for (size_t i = 0; i < sink->buffer_count; i++) {
        const struct sink_piece *buffer = &sink->buffers[i];
        sizes[2 + 2 * i] = buffer->size;
        sizes[3 + 2 * i] = buffer->block;
        if (buffer->block != 0) {
            blocks[block_count++] = buffer->block - 1;
            continue;
        }
        pieces[count++] = (struct lane_piece){fill, -total % 16};
        pieces[count++] = (struct lane_piece){buffer->data, buffer->size};
        total += -total % 16 + buffer->size;
    }
    *record = (struct lane_record){pieces, count, total, LANE_BUFFERS, blocks, block_count};
}

int sink_record(struct sink *sink, struct lane_record *record, struct lane_piece *few)
{
    if (sink->buffer_count == 0 && sink->count <= SINK_FEW) {
        for (size_t i = 0; i < sink->count; i++) {
            few[i] = (struct lane_piece){sink->pieces[i].data, sink->pieces[i].size};
        }
        *record = (struct lane_record){few, sink->count, sink->stream_bytes, 0, NULL, 0};
        return 0;
    }
    const size_t count = 1 + sink->count + 2 * sink->buffer_count;
    const size_t sizes = 2 + 2 * sink->buffer_count;
    struct lane_piece *pieces = PyMem_Malloc(count * sizeof *pieces + sizes * sizeof(uint64_t) +
                                             sink->buffer_count * sizeof(uint32_t));
    if (pieces == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    uint64_t *words = (uint64_t *)(pieces + count);
    lay_out(sink, record, pieces, words, (uint32_t *)(words + sizes));
    if (sink->buffer_count == 0) {
        record->pieces++; /* a pickle alone, of many pieces */
        record->count--;
        record->size -= sizes * sizeof(uint64_t);
        record->flags = 0;
    }
    return 0;
}

void sink_record_free(struct lane_record *record, const struct lane_piece *few)
{
    if (record->pieces != few) {
        PyMem_Free((void *)(uintptr_t)(record->pieces - (record->flags == 0)));
    }
}
