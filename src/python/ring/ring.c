/* SPDX-License-Identifier: Apache-2.0 */
/* Ring: made, attached, handed on. How it looks is ring_info.c's. */
#include "ring/ring.h"

#include "ring/consumer.h"
#include "ring/producer.h"

#include <errno.h>
#include <string.h>

/* ---- create and attach ---- */

/* Takes the handle over. */
static PyObject *ring_wrap(PyTypeObject *type, struct slipring_ring *handle, uint32_t open_flags)
{
    PyObject *module = PyType_GetModule(type);
    struct core *core =
        module == NULL ? NULL : core_new(module, handle, (open_flags & SLIPRING_READ_ONLY) != 0);
    if (core == NULL) {
        return NULL;
    }
    struct ring_object *self = (struct ring_object *)type->tp_alloc(type, 0);
    if (self == NULL) {
        core_drop(core);
        return NULL;
    }
    self->core = core;
    self->open_flags = open_flags;
    return (PyObject *)self;
}

static int lasting_from(const struct module_state *state, PyObject *items,
                        struct slipring_group *groups, Py_ssize_t count)
{
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *item = PyTuple_GET_ITEM(items, i), *name = item, *slow = NULL;
        int many = 0;
        if (!PyUnicode_Check(item) &&
            (!PyTuple_Check(item) || !PyArg_ParseTuple(item, "U|pO", &name, &many, &slow))) {
            PyErr_Clear();
            raise_invalid(state, "lasting: %R; a name, or (name, many) or (name, many, slow)",
                          item);
            return -1;
        }
        const char *text = PyUnicode_AsUTF8(name);
        if (text == NULL ||
            slow_from(state, slow, &groups[i].slow, &groups[i].evict_after_ns) != 0) {
            return -1;
        }
        PyOS_snprintf(groups[i].name, sizeof groups[i].name, "%s", text);
        groups[i].flags = many ? SLIPRING_MANY : 0;
    }
    return 0;
}

struct creation {
    const char *name, *geometry, *full, *near_pci;
    PyObject *schema, *slots, *slot_bytes, *lasting;
    int flags[7]; /* in the order of slipring_ring_flag */
    struct slipring_config config;
    struct slipring_field fields[SLIPRING_FIELDS_MAX];
};

static int word_from(const struct module_state *state, const char *what, const char *word,
                     const char *const *words, uint32_t count, uint32_t *value)
{
    for (uint32_t i = 0; i < count; i++) {
        if (strcmp(word, words[i]) == 0) {
            *value = i;
            return 0;
        }
    }
    char all[64] = "";
    for (uint32_t i = 0; i < count; i++) {
        const size_t used = strlen(all);
        PyOS_snprintf(all + used, sizeof all - used, "%s\"%s\"", i == 0 ? "" : ", ", words[i]);
    }
    raise_invalid(state, "create: %s=\"%s\"; one of %s", what, word, all);
    return -1;
}

static int payload_from(const struct module_state *state, struct creation *c)
{
    const bool schema = c->schema != NULL && c->schema != Py_None;
    const bool bytes = c->slot_bytes != NULL && c->slot_bytes != Py_None;
    if (schema == bytes) {
        raise_invalid(state, "create: give a schema, or slot_bytes, and not both");
        return -1;
    }
    if (bytes) {
        return count_from(c->slot_bytes, &c->config.slot_bytes);
    }
    c->config.fields = c->fields;
    return schema_parse(state, c->schema, c->fields, &c->config.field_count);
}

static int parse_creation(const struct module_state *state, struct creation *c, PyObject *args,
                          PyObject *kwargs)
{
    static char *keywords[] = {
        "name",         "schema",     "slots",      "slot_bytes",     "geometry",
        "full",         "timestamp",  "checksum",   "variable_shape", "vanish",
        "write_sealed", "huge_pages", "lock_pages", "members_max",    "groups_max",
        "releases_max", "hold_max",   "lasting",    "mode",           "start_sequence",
        "numa_node",    "near_pci",   NULL};
    struct slipring_config *config = &c->config;
    PyObject *start = NULL;
    uint32_t members = 0;
    if (!PyArg_ParseTupleAndKeywords(
            args, kwargs, "|zOO$OsspppppppO&O&O&O&OIOiz:create", keywords, &c->name, &c->schema,
            &c->slots, &c->slot_bytes, &c->geometry, &c->full, &c->flags[0], &c->flags[1],
            &c->flags[2], &c->flags[3], &c->flags[4], &c->flags[5], &c->flags[6], limit_from,
            &members, limit_from, &config->groups_max, limit_from, &config->releases_max,
            limit_from, &config->hold_max, &c->lasting, &config->mode, &start, &config->numa_node,
            &config->near_pci) ||
        slots_from(state, "create", 2, c->slots, &config->slots) != 0 ||
        count_from(start, &config->start_sequence) != 0) {
        return -1;
    }
    config->members_max = members > 0 ? members : config->members_max;
    for (uint32_t bit = 0; bit < 7; bit++) {
        config->flags |= c->flags[bit] ? 1u << bit : 0;
    }
    return word_from(state, "geometry", c->geometry, ring_geometries, 4, &config->geometry) != 0 ||
                   word_from(state, "full", c->full, ring_fulls, 2, &config->full) != 0
               ? -1
               : payload_from(state, c);
}

static PyObject *ring_create(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    const struct module_state *state = PyType_GetModuleState(type);
    struct creation c = {.geometry = "auto", .full = "block"};
    slipring_config_init(&c.config);
    if (state == NULL || parse_creation(state, &c, args, kwargs) != 0) {
        return NULL;
    }
    PyObject *items = c.lasting == NULL ? PyTuple_New(0) : PySequence_Tuple(c.lasting);
    const Py_ssize_t count = items == NULL ? 0 : PyTuple_GET_SIZE(items);
    struct slipring_group *groups = PyMem_Calloc((size_t)count + 1, sizeof *groups);
    if (items == NULL || groups == NULL || lasting_from(state, items, groups, count) != 0) {
        PyMem_Free(groups);
        Py_XDECREF(items);
        return PyErr_Occurred() ? NULL : PyErr_NoMemory();
    }
    c.config.lasting = count == 0 ? NULL : groups;
    c.config.lasting_count = (uint32_t)count;
    struct slipring_ring *handle = NULL;
    struct slipring_error error = {0};
    int result;
    Py_BEGIN_ALLOW_THREADS
    result = slipring_ring_create(c.name, &c.config, &handle, &error);
    Py_END_ALLOW_THREADS
    PyMem_Free(groups);
    Py_DECREF(items);
    return result != 0 ? raise_setup(state, result, &error) : ring_wrap(type, handle, 0);
}

static PyObject *ring_attach(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"name", "read_only", "any_owner", NULL};
    const struct module_state *state = PyType_GetModuleState(type);
    const char *name;
    int read_only = 0, any_owner = 0;
    if (state == NULL || !PyArg_ParseTupleAndKeywords(args, kwargs, "s|pp:attach", keywords, &name,
                                                      &read_only, &any_owner)) {
        return NULL;
    }
    const uint32_t flags =
        (read_only ? SLIPRING_READ_ONLY : 0u) | (any_owner ? SLIPRING_ANY_OWNER : 0u);
    struct slipring_ring *handle = NULL;
    struct slipring_error error = {0};
    int result;
    Py_BEGIN_ALLOW_THREADS
    result = slipring_ring_open(name, flags, &handle, &error);
    Py_END_ALLOW_THREADS
    return result != 0 ? raise_setup(state, result, &error) : ring_wrap(type, handle, flags);
}

/* ---- handing on ---- */

/* A reference to the core, or NULL with the error set: another thread may close the ring meanwhile. */
struct core *ring_take(struct ring_object *self)
{
    struct core *core;
    BEGIN_CRITICAL(self);
    core = self->core == NULL ? NULL : core_hold(self->core);
    END_CRITICAL();
    if (core == NULL) {
        PyErr_SetString(PyExc_ValueError, "the ring was closed; attach it again");
    }
    return core;
}

static PyObject *ring_fds(struct ring_object *self, PyObject *unused)
{
    (void)unused;
    int data = -1, control = -1;
    struct core *core = ring_take(self);
    if (core == NULL) {
        return NULL;
    }
    slipring_ring_fds(core->ring, &data, &control);
    core_drop(core);
    return Py_BuildValue("(ii)", data, control);
}

static PyObject *ring_from_fds(PyTypeObject *type, PyObject *args)
{
    const struct module_state *state = PyType_GetModuleState(type);
    int data, control = -1;
    if (state == NULL || !PyArg_ParseTuple(args, "i|i:from_fds", &data, &control)) {
        return NULL;
    }
    struct slipring_ring *handle = NULL;
    struct slipring_error error = {0};
    const int result = slipring_ring_from_fds(data, control, &handle, &error);
    return result != 0 ? raise_setup(state, result, &error)
                       : ring_wrap(type, handle, control < 0 ? SLIPRING_READ_ONLY : 0);
}

static PyObject *ring_send(struct ring_object *self, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"sock", "read_only", NULL};
    PyObject *sock;
    int read_only = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|p:send", keywords, &sock, &read_only)) {
        return NULL;
    }
    const int fd = PyObject_AsFileDescriptor(sock);
    struct core *core = fd < 0 ? NULL : ring_take(self);
    if (core == NULL) {
        return NULL;
    }
    struct slipring_error error = {0};
    int result;
    Py_BEGIN_ALLOW_THREADS
    result = slipring_ring_send(core->ring, fd, read_only ? SLIPRING_READ_ONLY : 0, &error);
    Py_END_ALLOW_THREADS
    PyObject *done = result != 0 ? raise_setup(core->state, result, &error) : Py_None;
    core_drop(core);
    Py_XINCREF(done);
    return done;
}

static PyObject *ring_receive(PyTypeObject *type, PyObject *sock)
{
    const struct module_state *state = PyType_GetModuleState(type);
    const int fd = PyObject_AsFileDescriptor(sock);
    if (state == NULL || fd < 0) {
        return NULL;
    }
    struct slipring_ring *handle = NULL;
    struct slipring_error error = {0};
    int result, control = -1, data;
    Py_BEGIN_ALLOW_THREADS
    result = slipring_ring_receive(fd, &handle, &error);
    Py_END_ALLOW_THREADS
    if (result != 0) {
        return raise_setup(state, result, &error);
    }
    slipring_ring_fds(handle, &data, &control);
    return ring_wrap(type, handle, control < 0 ? SLIPRING_READ_ONLY : 0);
}

/* A ring with a name is found by it; one without goes as its descriptors (pickling.py). */
static PyObject *ring_reduce(struct ring_object *self, PyObject *unused)
{
    (void)unused;
    PyObject *module = PyImport_ImportModule("slipring.pickling");
    PyObject *result =
        module == NULL ? NULL
                       : PyObject_CallMethod(module, "reduce_ring", "OI", self, self->open_flags);
    Py_XDECREF(module);
    return result;
}

/* ---- members, name, end ---- */

static PyObject *ring_producer(struct ring_object *self, PyObject *const *args, Py_ssize_t nargs,
                               PyObject *names)
{
    struct core *core = ring_take(self);
    if (core == NULL) {
        return NULL;
    }
    PyObject *producer = producer_new(core, args, nargs, names);
    core_drop(core);
    return producer;
}

static PyObject *ring_consumer(struct ring_object *self, PyObject *const *args, Py_ssize_t nargs,
                               PyObject *names)
{
    struct core *core = ring_take(self);
    if (core == NULL) {
        return NULL;
    }
    PyObject *consumer = consumer_new(core, args, nargs, names);
    core_drop(core);
    return consumer;
}

static PyObject *ring_close(struct ring_object *self, PyObject *unused)
{
    (void)unused;
    struct core *core;
    BEGIN_CRITICAL(self);
    core = self->core;
    self->core = NULL;
    END_CRITICAL();
    if (core != NULL) {
        core_drop(core);
    }
    Py_RETURN_NONE;
}

static PyObject *ring_unlink(struct ring_object *self, PyObject *unused)
{
    (void)unused;
    struct core *core = ring_take(self);
    if (core == NULL) {
        return NULL;
    }
    const char *name = slipring_ring_name(core->ring);
    struct slipring_error error = {0};
    PyObject *done = NULL;
    if (name[0] == '\0') {
        raise_invalid(core->state, "unlink: the ring has no name to remove");
    } else {
        const int result = slipring_ring_unlink(name, &error);
        done = result != 0 ? raise_setup(core->state, result, &error) : Py_None;
    }
    core_drop(core);
    Py_XINCREF(done);
    return done;
}

static PyObject *ring_get_name(struct ring_object *self, void *closure)
{
    (void)closure;
    struct core *core = ring_take(self);
    if (core == NULL) {
        return NULL;
    }
    const char *text = slipring_ring_name(core->ring);
    PyObject *name = text[0] == '\0' ? Py_None : PyUnicode_FromString(text);
    if (name == Py_None) {
        Py_INCREF(name);
    }
    core_drop(core);
    return name;
}

static PyObject *ring_get_schema(struct ring_object *self, void *closure)
{
    (void)closure;
    struct core *core = ring_take(self);
    if (core == NULL) {
        return NULL;
    }
    PyObject *schema = schema_object(core);
    core_drop(core);
    return schema;
}

static PyObject *ring_get_closed(struct ring_object *self, void *closure)
{
    (void)closure;
    return PyBool_FromLong(self->core == NULL);
}

static PyObject *ring_exit(struct ring_object *self, PyObject *const *args, Py_ssize_t nargs)
{
    (void)args;
    (void)nargs;
    return ring_close(self, NULL);
}

static PyObject *ring_repr(struct ring_object *self)
{
    struct core *core = ring_take(self);
    if (core == NULL) {
        PyErr_Clear();
        return PyUnicode_FromString("<slipring.Ring closed>");
    }
    const char *name = slipring_ring_name(core->ring);
    PyObject *text = PyUnicode_FromFormat(
        "<slipring.Ring %s%s%s slots=%llu slot_bytes=%llu geometry=\"%s\">",
        name[0] == '\0' ? "anonymous" : "\"", name, name[0] == '\0' ? "" : "\"",
        (unsigned long long)core->slots, (unsigned long long)core->slot_bytes,
        ring_geometries[core->geometry & 3]);
    core_drop(core);
    return text;
}

static void ring_dealloc(struct ring_object *self)
{
    PyTypeObject *type = Py_TYPE(self);
    if (self->core != NULL) {
        core_drop(self->core);
    }
    type->tp_free(self);
    Py_DECREF(type);
}

#define WORDS(function) (PyCFunction)(void (*)(void))(function), METH_VARARGS | METH_KEYWORDS

static PyMethodDef ring_methods[] = {
    {"create", WORDS(ring_create) | METH_CLASS,
     "create($type, name=None, schema=None, slots=1024, *, slot_bytes=None, geometry=\"auto\", "
     "full=\"block\", timestamp=False, checksum=False, variable_shape=False, vanish=False, "
     "write_sealed=False, huge_pages=False, lock_pages=False, members_max=0, groups_max=0, "
     "releases_max=0, hold_max=0, lasting=(), mode=0o600, start_sequence=0, numa_node=-1, "
     "near_pci=None)\n--\n\n"
     "Make a ring. name None: anonymous; \"\": a fresh name.\n\n"
     "schema: {\"image\": (\"float32\", (224, 224, 3)), \"label\": (\"int64\", ())}, one (dtype, "
     "shape), whose field is \"data\",\nor a NumPy structured dtype; or slot_bytes instead. slots: "
     "a power of two from 2, all allocated at once, raised where that is\nneeded to fill whole "
     "pages.\n\n"
     "geometry: \"compact\" (up to 56 bytes a slot, no headers: no tag, messages, bytes and shapes "
     "of a message), \"pair\" (up to 192\nbytes, header and payload side by side), \"tensor\" (any "
     "size); \"auto\": by the size.\n"
     "full: \"block\" (the producer waits for the slowest group) or \"overwrite\" (it never "
     "waits). "
     "timestamp: of each message,\nview.timestamp_ns. checksum: of each message, for consumers "
     "with verify=True. variable_shape: loan.shapes.\n\n"
     "vanish: a named ring goes with its last handle. write_sealed: who receives the ring cannot "
     "write its data (anonymous rings).\nhuge_pages: ask for them. lock_pages: keep the memory "
     "from being swapped out. mode: a named ring's rights.\n"
     "lasting: groups that are there from the beginning, and that the producer waits for without "
     "members: names, (name, many)\nor (name, many, slow). members_max: consumers at a time; "
     "groups_max: named groups; releases_max: consumers of\nunordered=True; hold_max: slots that "
     "all readers of an overwrite ring may hold; 0 of each: the default.\n"
     "start_sequence: of the first message. numa_node: where the memory is to lie; near_pci: near "
     "that device instead\n(slipring.gpu.pci()).\n\n"
     "Raises Exists, Invalid, Denied, or Error (ENOSPC: no room for the memory)."},
    {"attach", WORDS(ring_attach) | METH_CLASS,
     "attach($type, name, read_only=False, any_owner=False)\n--\n\nOpen a ring by name. read_only: "
     "map the data alone and announce nothing (overwrite rings).\nany_owner: also one that another "
     "user owns. Raises NotFound, Damaged, Denied, Invalid."},
    {"from_fds", (PyCFunction)ring_from_fds, METH_VARARGS | METH_CLASS,
     "from_fds($type, data_fd, control_fd=-1, /)\n--\n\nOpen a ring from its descriptors, which "
     "stay "
     "the caller's."},
    {"receive", (PyCFunction)ring_receive, METH_O | METH_CLASS,
     "receive($type, sock, /)\n--\n\nReceive a ring that send() sent over a Unix socket."},
    {"fds", (PyCFunction)ring_fds, METH_NOARGS,
     "fds($self, /)\n--\n\n(data_fd, control_fd), to be inherited; control_fd is -1 where only "
     "data "
     "is mapped. Do not close them."},
    {"send", WORDS(ring_send),
     "send($self, sock, read_only=False)\n--\n\nSend the ring over a connected Unix socket; a "
     "named "
     "one too."},
    {"producer", FAST(ring_producer),
     "producer($self, wait=\"adaptive\")\n--\n\nBecome the ring's producer, after one that died "
     "too. "
     "wait: adaptive, spin or sleep.\nRaises Busy (another one lives), Closed, Denied."},
    {"consumer", FAST(ring_consumer),
     "consumer($self, group=None, *, many=False, start=\"latest\", unordered=True, newest=False, "
     "verify=False, slow=\"gate\", wait=\"adaptive\", await_producer=False)\n--\n\n"
     "Join as a consumer. group: its members share a place in the stream; many: and the messages, "
     "each going to one.\nstart: \"latest\", \"oldest\" or a sequence. unordered=False: slots go "
     "back "
     "in the order acquired; as many of them as\nmembers_max can read a ring, of the others as "
     "releases_max. newest: each acquire returns the newest slot.\nverify: check checksums. slow: "
     "\"gate\", or (\"evict\", seconds). await_producer: wait on when a producer died."},
    {"info", (PyCFunction)ring_info, METH_NOARGS,
     "info($self, /)\n--\n\nWhat was asked for and obtained, and where the ring stands now."},
    {"members", (PyCFunction)ring_members, METH_NOARGS,
     "members($self, /)\n--\n\nThe consumers, for display."},
    {"groups", (PyCFunction)ring_groups, METH_NOARGS,
     "groups($self, /)\n--\n\nThe named groups, for display."},
    {"dead_letters", (PyCFunction)ring_dead_letters, METH_NOARGS,
     "dead_letters($self, /)\n--\n\nMessages given up after five failures, the newest first, at "
     "most "
     "64."},
    {"pin", WORDS(ring_pin),
     "pin($self, device=0, *, lock=True, chunk_bytes=None, budget_bytes=None, timeout=0)\n--\n\n"
     "Page-lock the slots for NVIDIA GPUs, in the background; timeout: wait until that is done. "
     "Its "
     "memory can be used meanwhile.\nlock=False: lock nothing, copies are staged. chunk_bytes: "
     "locked at a time (256 MiB); budget_bytes: at most in this process\n(half of its memory). "
     "Raises NoDevice, Denied (write_sealed), Error (ENOMEM: over the budget)."},
    {"pin_info", (PyCFunction)ring_pin_info, METH_NOARGS,
     "pin_info($self, /)\n--\n\nHow far page-locking is and what it came to, and what is pending "
     "on streams; None if the ring is not pinned."},
    {"drain", WORDS(ring_drain),
     "drain($self, timeout=None)\n--\n\nWait until nothing of this process is pending on "
     "streams. Raises TimeoutError; Evicted or Error (EIO: the GPU's\ncontext was lost) if what "
     "was "
     "copied since the last call is void."},
    {"_writable", (PyCFunction)ring_writable, METH_NOARGS, NULL},
    {"close", (PyCFunction)ring_close, METH_NOARGS,
     "close($self, /)\n--\n\nGive this handle back. Producers, consumers and arrays go on."},
    {"unlink", (PyCFunction)ring_unlink, METH_NOARGS,
     "unlink($self, /)\n--\n\nRemove the ring's name. Members go on; the memory goes with the "
     "last."},
    {"__reduce__", (PyCFunction)ring_reduce, METH_NOARGS, NULL},
    {"__enter__", return_self, METH_NOARGS, NULL},
    {"__exit__", (PyCFunction)(void (*)(void))ring_exit, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef ring_getset[] = {
    {"name", (getter)ring_get_name, NULL, "None if anonymous.", NULL},
    {"schema", (getter)ring_get_schema, NULL, "{name: (dtype, shape)}.", NULL},
    {"closed", (getter)ring_get_closed, NULL, "close() was called.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot ring_slots[] = {
    {Py_tp_doc, "A ring of slots in shared memory: Ring.create(), Ring.attach(). Usable in forked "
                "children, and pickled\nto spawned ones."},
    {Py_tp_dealloc, ring_dealloc},
    {Py_tp_repr, ring_repr},
    {Py_tp_methods, ring_methods},
    {Py_tp_getset, ring_getset},
    {0, NULL},
};

PyType_Spec ring_spec = {
    .name = "slipring.Ring",
    .basicsize = sizeof(struct ring_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = ring_slots,
};
