/* SPDX-License-Identifier: Apache-2.0 */
/* How a ring looks: plain Python values of what the core tells. */
#include "ring/ring.h"

#include <stdlib.h>

PyObject *namespace_of(PyObject *values)
{
    PyObject *types = values == NULL ? NULL : PyImport_ImportModule("types");
    PyObject *make = types == NULL ? NULL : PyObject_GetAttrString(types, "SimpleNamespace");
    PyObject *none = make == NULL ? NULL : PyTuple_New(0);
    PyObject *result = none == NULL ? NULL : PyObject_Call(make, none, values);
    Py_XDECREF(none);
    Py_XDECREF(make);
    Py_XDECREF(types);
    Py_XDECREF(values);
    return result;
}

static const char *word(const char *const *words, uint32_t count, uint32_t value)
{
    return value < count ? words[value] : "unknown";
}

const char *const ring_geometries[4] = {"auto", "compact", "pair", "tensor"};
const char *const ring_fulls[2] = {"block", "overwrite"};

PyObject *ring_info(struct ring_object *self, PyObject *unused)
{
    static const char *const pages[] = {"base", "transparent", "hugetlb"};
    static const char *const producers[] = {"none", "live", "dead", "closed"};
    struct slipring_info i = {.struct_size = sizeof i};
    (void)unused;
    struct core *core = ring_take(self);
    if (core == NULL) {
        return NULL;
    }
    ignore(slipring_ring_info(core->ring, &i)); /* of a size that it knows: cannot fail */
    core_drop(core);
    return namespace_of(Py_BuildValue(
        "{s:s,s:s,s:K,s:K,s:K,s:K,s:K,s:O,s:O,s:O,s:O,s:I,s:I,s:I,s:I,s:K,s:K,s:K,s:K,s:K,s:s,s:i,"
        "s:L,s:i,s:I,s:s,s:i,s:i,s:I,s:O,s:K,s:y#}",
        "geometry", word(ring_geometries, 4, i.geometry), "full", word(ring_fulls, 2, i.full),
        "slots", i.slots, "slot_bytes", i.slot_bytes, "payload_stride", i.payload_stride,
        "data_bytes", i.data_bytes, "control_bytes", i.control_bytes, "timestamp",
        (i.flags & SLIPRING_TIMESTAMP) != 0 ? Py_True : Py_False, "checksum",
        (i.flags & SLIPRING_CHECKSUM) != 0 ? Py_True : Py_False, "variable_shape",
        (i.flags & SLIPRING_VARIABLE_SHAPE) != 0 ? Py_True : Py_False, "vanish",
        (i.flags & SLIPRING_VANISH) != 0 ? Py_True : Py_False, "members_max", i.members_max,
        "groups_max", i.groups_max, "releases_max", i.releases_max, "hold_max", i.hold_max,
        "start_sequence", i.start_sequence, "cursor", i.cursor, "limit", i.limit, "oldest",
        i.oldest, "epoch", i.epoch, "producer", word(producers, 4, i.producer), "producer_pid",
        i.producer_pid, "created_ns", i.created_ns, "creator_pid", i.creator_pid, "uid", i.uid,
        "pages", word(pages, 3, i.pages), "locked", i.locked, "numa_node", i.numa_node, "members",
        i.members, "orphaned", i.orphaned != 0 ? Py_True : Py_False, "dead_letters", i.dead_letters,
        "uuid", (const char *)i.uuid, (Py_ssize_t)sizeof i.uuid));
}

/* A list of what one(array, index) makes of so many elements; takes the array over. */
static PyObject *list_of(void *array, int count, PyObject *(*one)(const void *array, int index))
{
    PyObject *list = PyList_New(count);
    for (int i = 0; list != NULL && i < count; i++) {
        PyObject *item = namespace_of(one(array, i));
        if (item == NULL) {
            Py_CLEAR(list);
        } else {
            PyList_SET_ITEM(list, i, item);
        }
    }
    free(array);
    return list;
}

static PyObject *one_member(const void *array, int index)
{
    static const char *const states[] = {"free", "joining", "active", "evicted"};
    const struct slipring_member *m = (const struct slipring_member *)array + index;
    return Py_BuildValue(
        "{s:I,s:i,s:s,s:O,s:O,s:s,s:K,s:K,s:K,s:K}", "cell", m->cell, "pid", m->pid, "state",
        word(states, 4, m->state), "alive", m->alive ? Py_True : Py_False, "many",
        (m->flags & SLIPRING_MANY) != 0 ? Py_True : Py_False, "group", m->group, "released",
        m->released, "lag", m->lag, "missed", m->missed, "held", m->held);
}

static PyObject *one_group(const void *array, int index)
{
    const struct slipring_group_info *g = (const struct slipring_group_info *)array + index;
    return Py_BuildValue("{s:s,s:O,s:s,s:d,s:O,s:I,s:K,s:K,s:K,s:K,s:K}", "name", g->name, "many",
                         (g->flags & SLIPRING_MANY) != 0 ? Py_True : Py_False, "slow",
                         g->slow == SLIPRING_EVICT ? "evict" : "gate", "evict_after",
                         (double)g->evict_after_ns / 1e9, "lasting",
                         g->lasting ? Py_True : Py_False, "members", g->members, "position",
                         g->position, "lag", g->lag, "dropped", g->dropped, "redelivered",
                         g->redelivered, "dead_letters", g->dead_letters);
}

static PyObject *one_letter(const void *array, int index)
{
    const struct slipring_dead_letter *d = (const struct slipring_dead_letter *)array + index;
    return Py_BuildValue("{s:K,s:K,s:s,s:s}", "sequence", d->sequence, "tag", d->tag, "cause",
                         d->cause == 1 ? "died" : "evicted", "group", d->group);
}

#define LISTED_MAX 4096 /* cells are fewer, and so are groups */
#define LETTERS_MAX 64

enum listed { MEMBERS, GROUPS, LETTERS };

/* struct_size is the first word of the listed structs (dead letters have none, and are set whole). */
static PyObject *list(struct ring_object *self, enum listed what, size_t size, int max,
                      PyObject *(*one)(const void *array, int index))
{
    struct core *core = ring_take(self);
    if (core == NULL) {
        return NULL;
    }
    int count = 0;
    void *array = calloc((size_t)max, size);
    if (array != NULL) {
        *(uint32_t *)array = (uint32_t)size;
        count = what == MEMBERS  ? slipring_ring_members(core->ring, array, (uint32_t)max)
                : what == GROUPS ? slipring_ring_groups(core->ring, array, (uint32_t)max)
                                 : slipring_ring_dead_letters(core->ring, array, (uint32_t)max);
    }
    core_drop(core);
    return array == NULL ? PyErr_NoMemory()
                         : list_of(array,
                                   count < 0     ? 0
                                   : count < max ? count
                                                 : max,
                                   one);
}

PyObject *ring_members(struct ring_object *self, PyObject *unused)
{
    (void)unused;
    return list(self, MEMBERS, sizeof(struct slipring_member), LISTED_MAX, one_member);
}

PyObject *ring_groups(struct ring_object *self, PyObject *unused)
{
    (void)unused;
    return list(self, GROUPS, sizeof(struct slipring_group_info), LISTED_MAX, one_group);
}

PyObject *ring_dead_letters(struct ring_object *self, PyObject *unused)
{
    (void)unused;
    return list(self, LETTERS, sizeof(struct slipring_dead_letter), LETTERS_MAX, one_letter);
}
