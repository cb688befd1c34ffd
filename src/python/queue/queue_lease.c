/* SPDX-License-Identifier: Apache-2.0 */
/* A block that was got: a writable buffer, given back when the last array on it dies. */
#include "queue/queue.h"

struct lease {
    PyObject_HEAD struct lane_queue *lanes;
    uint8_t *data;
    uint64_t size;
    uint32_t identity, lane, index;
};

/* The block must be leased; it is given back also on failure. */
PyObject *lease_new(struct queue_object *self, uint32_t lane, uint32_t index, uint8_t *data,
                    uint64_t size)
{
    PyTypeObject *type = self->state->lease_type;
    struct lease *lease = (struct lease *)type->tp_alloc(type, 0);
    if (lease == NULL) {
        lane_return_block(self->lanes, self->lanes->self, lane, index);
        return NULL;
    }
    lane_hold(self->lanes);
    lease->lanes = self->lanes;
    lease->data = data;
    lease->size = size;
    lease->identity = self->lanes->self;
    lease->lane = lane;
    lease->index = index;
    return (PyObject *)lease;
}

static void lease_dealloc(PyObject *object)
{
    struct lease *lease = (struct lease *)object;
    PyTypeObject *type = Py_TYPE(object);
    if (lease->lanes != NULL) {
        lane_return_block(lease->lanes, lease->identity, lease->lane, lease->index);
        lane_close(lease->lanes);
    }
    type->tp_free(object);
    Py_DECREF(type);
}

static int lease_buffer(PyObject *object, Py_buffer *view, int flags)
{
    struct lease *lease = (struct lease *)object;
    return PyBuffer_FillInfo(view, object, lease->data, (Py_ssize_t)lease->size, 0, flags);
}

static PyType_Slot lease_slots[] = {
    {Py_tp_dealloc, lease_dealloc},
    {Py_bf_getbuffer, lease_buffer},
    {Py_tp_doc, "The memory of an array that was got from a queue."},
    {0, NULL},
};

PyType_Spec lease_spec = {
    .name = "slipring._slipring.QueueLease",
    .basicsize = sizeof(struct lease),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = lease_slots,
};
