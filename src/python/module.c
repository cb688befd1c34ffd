/* SPDX-License-Identifier: Apache-2.0 */
/* The module: its types, its errors, a few functions. */
#include "gpu/gpu.h"
#include "queue/queue.h"
#include "ring/view.h"

PyMODINIT_FUNC PyInit__slipring(void);

static int add_type(PyObject *module, PyType_Spec *spec, PyTypeObject **type)
{
    *type = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, NULL);
    if (*type == NULL) {
        return -1;
    }
    const bool shown = type != &((struct module_state *)PyModule_GetState(module))->turns_type;
    return shown ? PyModule_AddType(module, *type) : 0; /* nobody names an iterator's type */
}

static int module_exec(PyObject *module)
{
    struct module_state *state = PyModule_GetState(module);
    if (forks_init() != 0 ||
        PyModule_AddStringConstant(module, "__version__", slipring_version()) != 0 ||
        errors_init(module, state) != 0 || queue_add(module) != 0) {
        return -1;
    }
    return add_type(module, &ring_spec, &state->ring_type) != 0 ||
                   add_type(module, &producer_spec, &state->producer_type) != 0 ||
                   add_type(module, &loan_spec, &state->loan_type) != 0 ||
                   add_type(module, &consumer_spec, &state->consumer_type) != 0 ||
                   add_type(module, &view_spec, &state->view_type) != 0 ||
                   add_type(module, &field_spec, &state->field_type) != 0 ||
                   add_type(module, &turns_spec, &state->turns_type) != 0
               ? -1
               : 0;
}

static PyObject **objects(struct module_state *state, size_t *count)
{
    *count = sizeof *state / sizeof(PyObject *);
    return (PyObject **)state; /* pointers to objects, all of them */
}

static int module_traverse(PyObject *module, visitproc visit, void *arg)
{
    struct module_state *state = PyModule_GetState(module);
    size_t count;
    PyObject **all = objects(state, &count);
    for (size_t i = 0; i < count; i++) {
        Py_VISIT(all[i]);
    }
    return 0;
}

static int module_clear(PyObject *module)
{
    size_t count;
    PyObject **all = objects(PyModule_GetState(module), &count);
    for (size_t i = 0; i < count; i++) {
        Py_CLEAR(all[i]);
    }
    return 0;
}

static void module_free(void *module)
{
    (void)module_clear(module);
}

static PyObject *now_ns(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    return PyLong_FromLongLong(slipring_now_ns());
}

static PyObject *unlink_name(PyObject *module, PyObject *name)
{
    const char *text = PyUnicode_AsUTF8(name);
    struct slipring_error error = {0};
    if (text == NULL) {
        return NULL;
    }
    const int result = slipring_ring_unlink(text, &error);
    if (result != 0) {
        return raise_setup(PyModule_GetState(module), result, &error);
    }
    Py_RETURN_NONE;
}

static PyMethodDef module_methods[] = {
    {"now_ns", now_ns, METH_NOARGS,
     "now_ns($module, /)\n--\n\nCLOCK_MONOTONIC in nanoseconds, the clock of timestamps."},
    {"unlink", unlink_name, METH_O,
     "unlink($module, name, /)\n--\n\nRemove a ring's name. Members that are attached go on. "
     "Raises "
     "NotFound, Denied, Damaged."},
    {"_tensor", (PyCFunction)(void (*)(void))tensor_over, METH_FASTCALL, NULL},
    {"_gpu_devices", gpu_devices, METH_NOARGS, NULL},
    {"_gpu_driver", gpu_driver, METH_NOARGS, NULL},
    {"_gpu_pci", gpu_pci, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
#if PY_VERSION_HEX >= 0x030D0000
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#elif PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
    {0, NULL},
};

struct PyModuleDef slipring_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "slipring._slipring",
    .m_doc = "The C part of slipring.",
    .m_size = sizeof(struct module_state),
    .m_methods = module_methods,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC PyInit__slipring(void)
{
    return PyModuleDef_Init(&slipring_module);
}
