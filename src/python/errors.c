/* SPDX-License-Identifier: Apache-2.0 */
/* The exceptions, and which of them a negative errno becomes. */
#include "core.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int add_error(PyObject *module, PyObject **slot, const char *name, PyObject *bases,
                     const char *doc)
{
    char full[64];
    PyOS_snprintf(full, sizeof full, "slipring.%s", name);
    *slot = PyErr_NewExceptionWithDoc(full, doc, bases, NULL);
    if (*slot == NULL) {
        return -1;
    }
    return PyModule_AddObjectRef(module, name, *slot);
}

static int add_pair(PyObject *module, PyObject **slot, const char *name, PyObject *base,
                    PyObject *builtin, const char *doc)
{
    PyObject *bases = PyTuple_Pack(2, base, builtin);
    const int result = bases == NULL ? -1 : add_error(module, slot, name, bases, doc);
    Py_XDECREF(bases);
    return result;
}

int errors_init(PyObject *module, struct module_state *s)
{
    if (add_error(module, &s->error, "Error", PyExc_OSError,
                  "What slipring could not do; errno says which way. Base of the others.") != 0 ||
        add_error(module, &s->closed, "Closed", s->error,
                  "The stream has ended: the producer closed it and all of it was read.") != 0 ||
        add_error(module, &s->peer_died, "PeerDied", s->error,
                  "The process on the other side died without closing; `pid` and `role` name it. "
                  "Another may take over: wait again, or attach with await_producer=True.") != 0 ||
        add_error(module, &s->evicted, "Evicted", s->error,
                  "The producer went on without this consumer, as its policy allows: what it still "
                  "holds is void. Make a new consumer; start=sequence tells what was missed.") !=
            0 ||
        add_error(module, &s->damaged, "Damaged", s->error,
                  "Not a ring, or a message whose checksum does not match.") != 0 ||
        add_error(module, &s->forked, "Forked", s->error,
                  "A producer or consumer of the parent process, used in a forked child. Make a "
                  "new one from the ring, which may be used in both.") != 0 ||
        add_error(module, &s->busy, "Busy", s->error,
                  "Another live process has the place: a producer, or a group of one's member.") !=
            0 ||
        add_error(module, &s->canceled, "Canceled", s->error, "wake() ended the wait.") != 0 ||
        add_error(
            module, &s->no_device, "NoDevice", s->error,
            "No GPU, or no driver of one; the text says what is missing. Rings work without.") !=
            0) {
        return -1;
    }
    return add_pair(module, &s->invalid, "Invalid", s->error, PyExc_ValueError,
                    "An argument that the ring does not go with; nothing was changed.") != 0 ||
                   add_pair(module, &s->exists, "Exists", s->error, PyExc_FileExistsError,
                            "The ring's name is taken.") != 0 ||
                   add_pair(module, &s->not_found, "NotFound", s->error, PyExc_FileNotFoundError,
                            "No ring of that name.") != 0 ||
                   add_pair(module, &s->denied, "Denied", s->error, PyExc_PermissionError,
                            "The rights given do not allow it.") != 0
               ? -1
               : 0;
}

static PyObject *type_for(const struct module_state *state, int code)
{
    switch (-code) {
    case EPIPE:
        return state->closed;
    case EOWNERDEAD:
        return state->peer_died;
    case ESTALE:
        return state->evicted;
    case EBADMSG:
    case EPROTONOSUPPORT:
        return state->damaged;
    case ECHILD:
        return state->forked;
    case EBUSY:
        return state->busy;
    case ECANCELED:
        return state->canceled;
    case ENODEV:
        return state->no_device;
    case EINVAL:
    case EMSGSIZE:
    case EOVERFLOW:
        return state->invalid;
    case EEXIST:
        return state->exists;
    case ENOENT:
        return state->not_found;
    case EPERM:
    case EACCES:
        return state->denied;
    case EAGAIN:
    case ETIMEDOUT:
        return PyExc_TimeoutError;
    default:
        return state->error;
    }
}

PyObject *raise_text(const struct module_state *state, int code, PyObject *text)
{
    PyObject *value =
        text == NULL ? NULL : PyObject_CallFunction(type_for(state, code), "iN", -code, text);
    if (value != NULL) {
        PyErr_SetObject((PyObject *)Py_TYPE(value), value);
        Py_DECREF(value);
    }
    return NULL;
}

/* The core's cures name its own constants; here they are keywords. */
static void put_in_words(const char *text, char *to, size_t room)
{
    static const char *const words[][2] = {
        {"GEOMETRY_PAIR", "geometry=\"pair\""},
        {"GEOMETRY_TENSOR", "geometry=\"tensor\""},
        {"CHECKSUM", "checksum=True"},
        {"VARIABLE_SHAPE", "variable_shape=True"},
        {"WRITE_SEALED", "write_sealed=True"},
        {"READ_ONLY", "read_only=True"},
        {"ANY_OWNER", "any_owner=True"},
        {"MANY", "many=True"},
        {"NEWEST", "newest=True"},
        {"VERIFY", "verify=True"},
        {"UNORDERED", "unordered=True"},
        {"GATE", "slow=\"gate\""},
        {"EVICT", "slow=(\"evict\", seconds)"},
        {"CUDA_UNPINNED", "lock=False"},
    };
    static const char prefix[] = "SLIPRING_", letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ_";
    const char *found;
    while ((found = strstr(text, prefix)) != NULL) {
        const char *name = found + sizeof prefix - 1, *word = NULL;
        const size_t length = strspn(name, letters);
        for (size_t i = 0; i < sizeof words / sizeof *words && word == NULL; i++) {
            const bool same =
                strlen(words[i][0]) == length && memcmp(words[i][0], name, length) == 0;
            word = same ? words[i][1] : NULL;
        }
        /* One that is none of them stays as it is. */
        const int kept = (int)(word == NULL ? name + length - text : found - text);
        PyOS_snprintf(to, room, "%.*s%s", kept, text, word == NULL ? "" : word);
        room -= strlen(to);
        to += strlen(to);
        text = name + length;
    }
    PyOS_snprintf(to, room, "%s", text);
}

PyObject *raise_setup(const struct module_state *state, int code,
                      const struct slipring_error *error)
{
    char text[4 * sizeof error->text];
    put_in_words(error->text[0] != '\0' ? error->text : slipring_strerror(code), text, sizeof text);
    return raise_text(state, code, PyUnicode_FromFormat("%s (%s)", text, error->call));
}

PyObject *raise_invalid(const struct module_state *state, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    PyObject *text = PyUnicode_FromFormatV(format, list);
    va_end(list);
    return raise_text(state, -EINVAL, text);
}

static PyObject *raise_dead(const struct core *core)
{
    struct slipring_info info = {.struct_size = sizeof info};
    const int pid = slipring_ring_info(core->ring, &info) == 0 ? info.producer_pid : 0;
    PyObject *text = PyUnicode_FromFormat(
        "the producer (process %d) died without closing, and all it published was read; wait again "
        "for one that takes over (await_producer=True waits on by itself)",
        pid);
    PyObject *value =
        text == NULL ? NULL : PyObject_CallFunction(core->state->peer_died, "iN", EOWNERDEAD, text);
    PyObject *number = value == NULL ? NULL : PyLong_FromLong(pid);
    PyObject *role = number == NULL ? NULL : PyUnicode_FromString("producer");
    if (role != NULL && PyObject_SetAttrString(value, "pid", number) == 0 &&
        PyObject_SetAttrString(value, "role", role) == 0) {
        PyErr_SetObject(core->state->peer_died, value);
    }
    Py_XDECREF(role);
    Py_XDECREF(number);
    Py_XDECREF(value);
    return NULL;
}

static const char *cure_for(int code)
{
    switch (-code) {
    case EPIPE:
        return "the producer closed the stream for good; to produce again make a new ring (a name "
               "must "
               "be unlinked first)";
    case ESTALE:
        return "evicted: the producer went on without this consumer, and what it holds is void; "
               "make a new consumer";
    case EBADMSG:
        return "the message's checksum does not match its bytes: something wrote to the ring's "
               "memory";
    case ECHILD:
        return "this producer or consumer is the parent process's; make a new one from the ring in "
               "the child";
    case ECANCELED:
        return "wake() ended the wait";
    case EAGAIN:
    case ETIMEDOUT:
        return "timed out";
    case ENOBUFS:
        return "as many slots as the ring's hold_max are held; let some views go, or create the "
               "ring with a larger hold_max";
    default:
        return slipring_strerror(code);
    }
}

PyObject *raise_headerless(const struct core *core, const char *doing)
{
    return raise_invalid(core->state,
                         "%s: a compact ring, which one of up to 56 bytes a slot is by default, "
                         "has no headers for tag, messages, bytes and shapes: create it with "
                         "geometry=\"pair\" or geometry=\"tensor\"",
                         doing);
}

PyObject *raise_spanning(const struct core *core, const char *doing, uint64_t bytes)
{
    return raise_invalid(core->state,
                         "%s: %llu bytes, and a slot has %llu: for messages over several slots "
                         "create the ring with geometry=\"tensor\"",
                         doing, (unsigned long long)bytes, (unsigned long long)core->slot_bytes);
}

PyObject *raise_code(const struct core *core, int code, const char *doing)
{
    if (code == -ENOMEM) {
        return PyErr_NoMemory();
    }
    if (code == -EOWNERDEAD) {
        return raise_dead(core);
    }
    if (code == -EMSGSIZE) {
        return raise_text(core->state, code,
                          PyUnicode_FromFormat("%s: larger than the ring, which has %llu slots of "
                                               "%llu bytes",
                                               doing, (unsigned long long)core->slots,
                                               (unsigned long long)core->slot_bytes));
    }
    return raise_text(core->state, code, PyUnicode_FromFormat("%s: %s", doing, cure_for(code)));
}

/* ---- a claim that timed out: which groups hold the slots ---- */

struct holder {
    const char *group;
    int pid; /* 0: a lasting group without members */
    uint64_t slots;
};

/* An array of what list() tells; *count of it. Freed by the caller. */
static void *all(const struct core *core, size_t size, int *count,
                 int (*list)(struct slipring_ring *ring, void *array, uint32_t max))
{
    uint32_t room = 64;
    for (;;) {
        void *array = calloc(room, size);
        if (array == NULL) {
            *count = 0;
            return NULL;
        }
        *(uint32_t *)array = (uint32_t)size; /* struct_size of the first */
        *count = list(core->ring, array, room);
        if (*count <= (int)room) {
            return array;
        }
        free(array);
        room = (uint32_t)*count;
    }
}

static int list_members(struct slipring_ring *ring, void *array, uint32_t max)
{
    return slipring_ring_members(ring, array, max);
}

static int list_groups(struct slipring_ring *ring, void *array, uint32_t max)
{
    return slipring_ring_groups(ring, array, max);
}

/* In a block ring the one furthest behind, in an overwrite ring the one that holds most. */
static bool find_holder(const struct core *core, const struct slipring_member *members,
                        int member_count, const struct slipring_group_info *groups, int group_count,
                        struct holder *holder)
{
    const bool block = core->full == SLIPRING_BLOCK;
    *holder = (struct holder){0};
    for (int i = 0; i < member_count; i++) {
        const struct slipring_member *m = &members[i];
        const uint64_t slots = block ? m->lag : m->held;
        if (m->alive != 0 && slots > holder->slots) {
            *holder = (struct holder){.group = m->group, .pid = m->pid, .slots = slots};
        }
    }
    for (int i = 0; block && i < group_count; i++) {
        const struct slipring_group_info *g = &groups[i];
        if (g->lasting != 0 && g->members == 0 && g->lag != 0 && g->lag >= holder->slots) {
            *holder = (struct holder){.group = g->name, .slots = g->lag};
        }
    }
    return holder->slots != 0;
}

static PyObject *describe(const struct core *core, const struct holder *holder)
{
    char who[128], name[SLIPRING_GROUP_NAME_BYTES + 16] = "";
    if (holder->group[0] != '\0') {
        PyOS_snprintf(name, sizeof name, " of group \"%s\"", holder->group);
    }
    if (holder->pid == (int)getpid()) {
        PyOS_snprintf(who, sizeof who, "a consumer%s in this process", name);
    } else {
        PyOS_snprintf(who, sizeof who, "the consumer%s in process %d", name, holder->pid);
    }
    const unsigned long long slots = holder->slots, all_slots = core->slots;
    if (core->full == SLIPRING_OVERWRITE) {
        return PyUnicode_FromFormat("claim: timed out: %s holds %llu of the ring's %llu slots: let "
                                    "its views go, or create the ring with a smaller hold_max",
                                    who, slots, all_slots);
    }
    if (holder->pid == 0) {
        return PyUnicode_FromFormat("claim: timed out: nobody reads for the lasting group \"%s\", "
                                    "and %llu of the ring's %llu slots wait for it: start a "
                                    "consumer with group=\"%s\"",
                                    holder->group, slots, all_slots, holder->group);
    }
    return PyUnicode_FromFormat("claim: timed out: %s has not released the last %llu of the ring's "
                                "%llu slots: let it go on, and its views go, or give it "
                                "slow=(\"evict\", seconds)",
                                who, slots, all_slots);
}

PyObject *raise_full(const struct core *core)
{
    int member_count, group_count;
    struct slipring_member *members = all(core, sizeof *members, &member_count, list_members);
    struct slipring_group_info *groups = all(core, sizeof *groups, &group_count, list_groups);
    struct holder holder;
    const bool found = members != NULL && groups != NULL &&
                       find_holder(core, members, member_count, groups, group_count, &holder);
    PyObject *text = found ? describe(core, &holder) : PyUnicode_FromString("claim: timed out");
    free(members);
    free(groups);
    return raise_text(core->state, -ETIMEDOUT, text);
}
