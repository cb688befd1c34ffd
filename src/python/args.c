/* SPDX-License-Identifier: Apache-2.0 */
/* Arguments: of vectorcalls, timeouts, counts. */
#include "core.h"

#include <math.h>

int args_parse(const char *function, PyObject *const *args, Py_ssize_t nargs, PyObject *names,
               const char *const *keywords, Py_ssize_t positional, PyObject **out)
{
    if (nargs > positional) {
        PyErr_Format(PyExc_TypeError, "%s() takes at most %zd positional arguments (%zd given)",
                     function, positional, nargs);
        return -1;
    }
    for (Py_ssize_t i = 0; keywords[i] != NULL; i++) {
        out[i] = i < nargs ? args[i] : NULL;
    }
    const Py_ssize_t named = names == NULL ? 0 : PyTuple_GET_SIZE(names);
    for (Py_ssize_t k = 0; k < named; k++) {
        PyObject *name = PyTuple_GET_ITEM(names, k);
        Py_ssize_t i = 0;
        while (keywords[i] != NULL && PyUnicode_CompareWithASCIIString(name, keywords[i]) != 0) {
            i++;
        }
        if (keywords[i] == NULL || i < nargs) {
            PyErr_Format(PyExc_TypeError,
                         keywords[i] == NULL ? "%s() got an unexpected keyword argument '%U'"
                                             : "%s() got multiple values for argument '%U'",
                         function, name);
            return -1;
        }
        out[i] = args[nargs + k];
    }
    return 0;
}

PyObject *return_self(PyObject *self, PyObject *unused)
{
    (void)unused;
    Py_INCREF(self);
    return self;
}

int deadline_from(PyObject *timeout, int64_t *deadline_ns)
{
    if (timeout == NULL || timeout == Py_None) {
        *deadline_ns = SLIPRING_FOREVER;
        return 0;
    }
    const double seconds = PyFloat_AsDouble(timeout);
    if (seconds == -1.0 && PyErr_Occurred()) {
        return -1;
    }
    if (isnan(seconds)) {
        PyErr_SetString(PyExc_ValueError, "timeout: not a number; None waits for ever");
        return -1;
    }
    if (seconds <= 0) {
        *deadline_ns = DEADLINE_TRY;
    } else if (seconds > 9e9) { /* three centuries do not fit the clock */
        *deadline_ns = SLIPRING_FOREVER;
    } else {
        *deadline_ns = slipring_now_ns() + (int64_t)(seconds * 1e9);
    }
    return 0;
}

int count_from(PyObject *object, uint64_t *count)
{
    if (object == NULL || object == Py_None) {
        return 0;
    }
    PyObject *number = PyNumber_Index(object); /* NumPy's integers too */
    if (number == NULL) {
        return -1;
    }
    const unsigned long long value = PyLong_AsUnsignedLongLong(number);
    Py_DECREF(number);
    if (value == (unsigned long long)-1 && PyErr_Occurred()) {
        if (PyErr_ExceptionMatches(PyExc_OverflowError)) {
            PyErr_Format(PyExc_OverflowError, "%S: 0 to 2**64 - 1 is possible", object);
        }
        return -1;
    }
    *count = value;
    return 0;
}

int slots_from(const struct module_state *state, const char *doing, long long least,
               PyObject *object, uint64_t *slots)
{
    if (object == NULL || object == Py_None) {
        return 0;
    }
    long long value;
    int overflow;
    if (PyLong_CheckExact(object)) {
        value = PyLong_AsLongLongAndOverflow(object, &overflow);
    } else {
        PyObject *number = PyNumber_Index(object);
        if (number == NULL) {
            return -1;
        }
        value = PyLong_AsLongLongAndOverflow(number, &overflow);
        Py_DECREF(number);
    }
    if (overflow != 0 || value < least) {
        raise_invalid(state, "%s: %S slots; %s", doing, object,
                      least == 2     ? "a power of two from 2 to 2^32 is needed"
                      : overflow > 0 ? "at most the ring's"
                                     : "1 or more");
        return -1;
    }
    *slots = (uint64_t)value;
    return 0;
}

int wanted_from(const struct module_state *state, const char *doing, PyObject *const *args,
                Py_ssize_t nargs, PyObject *names, uint64_t *slots, int64_t *deadline_ns)
{
    static const char *const keywords[] = {"n", "timeout", NULL};
    PyObject *given[2];
    *slots = 1;
    *deadline_ns = SLIPRING_FOREVER;
    if (nargs <= 1 && names == NULL) { /* as in most loops: a quarter of the time to parse it */
        return nargs == 0 ? 0 : slots_from(state, doing, 1, args[0], slots);
    }
    return args_parse(doing, args, nargs, names, keywords, 2, given) != 0 ||
                   slots_from(state, doing, 1, given[0], slots) != 0 ||
                   deadline_from(given[1], deadline_ns) != 0
               ? -1
               : 0;
}

int limit_from(PyObject *object, void *limit)
{
    int overflow;
    const long long value = PyLong_AsLongLongAndOverflow(object, &overflow);
    if (value == -1 && PyErr_Occurred()) {
        return 0;
    }
    if (overflow != 0 || value < 0 || value > UINT32_MAX) {
        PyErr_Format(PyExc_ValueError,
                     "create: %S: members_max, groups_max, releases_max and hold_max are at "
                     "least 1, or 0 for the default",
                     object);
        return 0;
    }
    *(uint32_t *)limit = (uint32_t)value;
    return 1;
}

int wait_from(const struct module_state *state, PyObject *object, uint32_t *wait)
{
    static const char *const names[] = {"adaptive", "spin", "sleep"};
    if (object == NULL) {
        return 0;
    }
    for (uint32_t i = 0; i < 3; i++) {
        if (PyUnicode_Check(object) && PyUnicode_CompareWithASCIIString(object, names[i]) == 0) {
            *wait = i; /* slipring_wait, in this order */
            return 0;
        }
    }
    raise_invalid(state, "wait: %R; one of \"adaptive\", \"spin\", \"sleep\"", object);
    return -1;
}
