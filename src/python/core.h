/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the parts of the extension share.
 *
 *     Ring ---------> core <------ Producer <------ Loan <--- Field <--- numpy array
 *                      ^---------- Consumer <------ View <--- Field <--- numpy array, tensor
 *
 * Arrows are references. A core is one handle of a ring in this process: it keeps the mapping, so
 * memory that an array shows is there as long as the array. A View is the lease of its slots: it
 * returns them when the last that refers to it dies. No object refers to one left of it, so that
 * none needs the garbage collector.
 *
 * Nothing here relies on the interpreter's lock: what threads share are atomics, or is guarded by
 * the lock of its producer or consumer (lock.h).
 */
#ifndef SLIPRING_PYTHON_CORE_H
#define SLIPRING_PYTHON_CORE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <slipring/slipring.h>

#include <stdbool.h>
#include <stdint.h>

/* A result that changes nothing for the caller. */
static inline void ignore(int result)
{
    (void)result;
}

#if PY_VERSION_HEX >= 0x030D0000
#define BEGIN_CRITICAL(object) Py_BEGIN_CRITICAL_SECTION(object)
#define END_CRITICAL() Py_END_CRITICAL_SECTION()
#else /* the interpreter's lock does it */
#define BEGIN_CRITICAL(object)
#define END_CRITICAL()
#endif

/* What the module owns; lives as long as any object of its types. */
struct module_state {
    PyObject *error, *closed, *peer_died, *evicted, *damaged, *forked, *invalid, *exists,
        *not_found, *denied, *busy, *canceled, *no_device;
    PyObject *gpu; /* the module slipring.gpu, once a ring was pinned; atomic */
    PyTypeObject *ring_type, *producer_type, *loan_type, *consumer_type, *view_type, *field_type,
        *turns_type;
};

struct core_field {
    struct slipring_field field;
    uint64_t offset;
    PyObject *name;
    const char
        *format; /* PEP 3118; elements without one are shown as unsigned words of their size */
    const char *typestr; /* NumPy's name of that */
    uint32_t item_bytes;
    bool bits;       /* NumPy has no such type: shown as the words that hold it */
    bool packed;     /* elements narrower than a byte: shown as bytes */
    PyObject *dtype; /* NumPy's, made at first use (numpy.c); atomic */
};

struct core {
    uint32_t references; /* atomic */
    struct slipring_ring *ring;
    struct gpu_pin *pin; /* gpu.c: pinned for a GPU, or NULL; atomic, set once */
    uint32_t writable;   /* ring_writable() unprotected the data; atomic */
    PyObject *module;
    struct module_state *state; /* the module's */
    uint64_t slots, slot_bytes, stride;
    uint32_t flags, full, geometry;
    bool read_only;
    uint32_t field_count;
    struct core_field fields[];
};

extern struct PyModuleDef slipring_module;

/* The interpreter ends: only the thread that ends it may enter. */
static inline bool finalizing(void)
{
#if PY_VERSION_HEX >= 0x030D0000
    return Py_IsFinalizing();
#else
    return _Py_IsFinalizing();
#endif
}

/* ring.c. Takes the handle over, also on failure (then NULL, with the error set). */
struct core *core_new(PyObject *module, struct slipring_ring *ring, bool read_only);
struct core *core_hold(struct core *core);
void core_drop(struct core *core);
/* Index of the field of that name, -1 with KeyError. */
int core_find_field(const struct core *core, PyObject *name);
/* Of a single field; -1 with the error set if there are several. */
int core_single_field(const struct core *core);

/* errors.c: set the exception for a negative errno; always NULL. error: from a set-up call, or
 * NULL; doing: what was tried, for the text ("acquire"). */
int errors_init(PyObject *module, struct module_state *state);
PyObject *raise_setup(const struct module_state *state, int code,
                      const struct slipring_error *error);
PyObject *raise_code(const struct core *core, int code, const char *doing);
PyObject *raise_invalid(const struct module_state *state, const char *format, ...);
PyObject *raise_text(const struct module_state *state, int code,
                     PyObject *text); /* takes it over */
/* What a publish was given needs a header, and the ring is compact. */
PyObject *raise_headerless(const struct core *core, const char *doing);
/* A message of so many bytes is larger than a slot, and the ring is no tensor ring. */
PyObject *raise_spanning(const struct core *core, const char *doing, uint64_t bytes);
/* errors.c: a claim timed out; the text names the groups that hold the slots. */
PyObject *raise_full(const struct core *core);

/* schema.c */
int schema_parse(const struct module_state *state, PyObject *schema,
                 struct slipring_field fields[SLIPRING_FIELDS_MAX], uint32_t *count);
void schema_describe(struct core_field *field);
PyObject *schema_object(const struct core *core);
PyObject *schema_names(const struct core *core); /* for a text */

/* What is shown of a tensor: of elements that nobody else knows, words or bytes of their size. */
struct shown {
    void *data;
    const char *format, *typestr;
    Py_ssize_t item_bytes;
    int ndim;
    Py_ssize_t shape[SLIPRING_DIMS_MAX + 1], strides[SLIPRING_DIMS_MAX + 1]; /* bytes */
};
void schema_show(const struct core_field *field, const struct slipring_tensor *tensor,
                 struct shown *shown);

/* numpy.c: an array over what is shown, with owner (a reference taken) as its base. */
PyObject *numpy_array(struct core_field *field, const struct shown *shown, bool writable,
                      PyObject *owner);

/* The elements of value if it is an array of the type, shape and order that is shown, else NULL; sets no
 * error. They stay where they are as long as no other thread may run. */
const void *numpy_same(struct core_field *field, const struct shown *shown, PyObject *value);

/* args.c: timeouts (None: for ever, 0: do not wait, seconds) as a deadline. */
#define DEADLINE_TRY INT64_MIN
int deadline_from(PyObject *timeout, int64_t *deadline_ns);
int count_from(PyObject *object, uint64_t *count);
/* As count_from(), but of slots: least or more, which is 2 for a ring, else a text that names the call. */
int slots_from(const struct module_state *state, const char *doing, long long least,
               PyObject *object, uint64_t *slots);
/* The arguments (n=1, timeout=None) of a call that claims or acquires. */
int wanted_from(const struct module_state *state, const char *doing, PyObject *const *args,
                Py_ssize_t nargs, PyObject *names, uint64_t *slots, int64_t *deadline_ns);
/* For PyArg_Parse (O&): a uint32_t, of which 0 is the default. */
int limit_from(PyObject *object, void *limit);
int wait_from(const struct module_state *state, PyObject *object, uint32_t *wait);
/* consumer.c: "gate", or ("evict", seconds). */
int slow_from(const struct module_state *state, PyObject *slow, uint32_t *policy,
              uint64_t *after_ns);

/* Arguments of a vectorcall by position or name; missing ones are NULL. Names end with NULL. */
int args_parse(const char *function, PyObject *const *args, Py_ssize_t nargs, PyObject *names,
               const char *const *keywords, Py_ssize_t positional, PyObject **out);

/* A method that is called so. */
#define FAST(function) (PyCFunction)(void (*)(void))(function), METH_FASTCALL | METH_KEYWORDS
/* __enter__ of all that a with statement takes. */
PyObject *return_self(PyObject *self, PyObject *unused);

/* The types, made by module.c. */
extern PyType_Spec ring_spec, producer_spec, loan_spec, consumer_spec, view_spec, field_spec,
    turns_spec;

#endif
