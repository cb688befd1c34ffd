/* SPDX-License-Identifier: Apache-2.0 */
/* Pinned rings of this process: found, pinned, let go. */
#include "gpu/gpu.h"
#include "device.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

static struct gpu_pin *pins; /* with the lock (gpu_take()) */

static const void *data_of(const struct core *core)
{
    struct slipring_memory memory = {.struct_size = sizeof memory};
    return slipring_ring_memory(core->ring, &memory) == 0 ? memory.data : NULL;
}

/* The module by which the streams of frameworks are found, kept for who looks while something dies. */
static int keep_module(struct module_state *state)
{
    if (__atomic_load_n(&state->gpu, __ATOMIC_ACQUIRE) != NULL) { /* see below */
        return 0;
    }
    PyObject *module = PyImport_ImportModule("slipring.gpu"), *none = NULL;
    if (module == NULL) {
        return -1;
    }
    /* Release: who finds it sees it whole. The first thread's stays. */
    if (!__atomic_compare_exchange_n(&state->gpu, &none, module, false, __ATOMIC_ACQ_REL,
                                     __ATOMIC_ACQUIRE)) {
        Py_DECREF(module);
    }
    return 0;
}

static struct gpu_pin *find(const void *data)
{
    for (struct gpu_pin *pin = pins; pin != NULL; pin = pin->next) {
        if (pin->data == data && pin->born == forks_count()) {
            return pin;
        }
    }
    return NULL;
}

/* With the lock, so that nothing of Python's may be called that could run a destructor. */
static int make(struct core *core, const struct gpu_calls *calls,
                const struct slipring_cuda_config *config, struct gpu_pin **out,
                struct slipring_error *error)
{
    struct gpu_pin *pin = calloc(1, sizeof *pin);
    if (pin == NULL) {
        PyOS_snprintf(error->text, sizeof error->text, "no memory for a handle");
        return -ENOMEM;
    }
    int result;
    Py_BEGIN_ALLOW_THREADS
    result = calls->enlist(core->ring, config, &pin->cuda, error);
    Py_END_ALLOW_THREADS
    if (result != 0) {
        free(pin);
        return result;
    }
    pin->data = data_of(core);
    pin->calls = calls;
    pin->device = config->device;
    pin->born = forks_count();
    pin->next = pins;
    pins = pin;
    *out = pin;
    return 0;
}

struct gpu_pin *gpu_pinned(const struct core *core)
{
    struct gpu_pin *pin =
        __atomic_load_n(&core->pin, __ATOMIC_ACQUIRE); /* with gpu_pin()'s store */
    return pin != NULL && pin->born == forks_count() ? pin : NULL;
}

struct gpu_pin *gpu_pin(struct core *core, const struct slipring_cuda_config *config)
{
    struct gpu_pin *pin = __atomic_load_n(&core->pin, __ATOMIC_ACQUIRE); /* as gpu_pinned() */
    if (pin != NULL && pin->born != forks_count()) {
        const struct slipring_error error = {
            .call = "pin",
            .text = "the ring was pinned before this process was forked: its children cannot use "
                    "the GPU; start them by spawn, or before the first GPU call"};
        return (void *)raise_setup(core->state, -ECHILD, &error);
    }
    const struct gpu_calls *calls = pin != NULL ? NULL : gpu_calls(core->state);
    if (calls == NULL || keep_module(core->state) != 0 || gpu_take() != 0) {
        return pin;
    }
    struct slipring_error error = {0};
    int result = 0;
    pin = core->pin;
    if (pin == NULL) {
        pin = find(data_of(core));
        result = pin == NULL ? make(core, calls, config, &pin, &error) : 0;
        if (result == 0) {
            pin->references++;
            __atomic_store_n(&core->pin, pin, __ATOMIC_RELEASE); /* all of it was set before */
        }
    }
    gpu_give();
    return result == 0 ? pin : (void *)raise_setup(core->state, result, &error);
}

/* What is pending on streams may wait for what the thread that drops the ring does next: the end of such
 * a pin has a thread of its own. */
struct ending {
    struct gpu_pin *pin;
    struct slipring_ring *ring;
};

static void *end_later(void *context)
{
    struct ending *ending = context;
    ending->pin->calls->unregister(ending->pin->cuda);
    slipring_ring_close(ending->ring);
    free(ending->pin);
    free(ending);
    return NULL;
}

static bool leave_to_thread(struct gpu_pin *pin, struct slipring_ring *ring)
{
    struct slipring_cuda_info info = {.struct_size = sizeof info};
    struct ending *ending;
    if (pin->calls->get_info(pin->cuda, &info) != 0 || info.pending == 0 ||
        (ending = malloc(sizeof *ending)) == NULL) {
        return false;
    }
    *ending = (struct ending){.pin = pin, .ring = ring};
    sigset_t all, before; /* signals are the interpreter's threads' */
    pthread_t thread;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const bool started = pthread_create(&thread, NULL, end_later, ending) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (started) {
        pthread_detach(thread);
    } else {
        free(ending);
    }
    return started;
}

bool gpu_unpin(struct core *core)
{
    struct gpu_pin *pin = core->pin; /* nobody else has the core any more */
    if (pin == NULL) {
        return false;
    }
    gpu_take_soon();
    const bool last = --pin->references == 0;
    for (struct gpu_pin **at = &pins; last && *at != NULL; at = &(*at)->next) {
        if (*at == pin) {
            *at = pin->next;
            break;
        }
    }
    const bool later = last && leave_to_thread(pin, core->ring);
    if (last && !later) { /* with the lock: else the ring might be pinned anew meanwhile */
        Py_BEGIN_ALLOW_THREADS
        pin->calls->unregister(pin->cuda);
        Py_END_ALLOW_THREADS
        free(pin);
    }
    gpu_give();
    return later;
}

/* ---- functions of the module ---- */

PyObject *gpu_devices(PyObject *module, PyObject *unused)
{
    (void)unused;
    const struct module_state *state = PyModule_GetState(module);
    const struct gpu_calls *calls = gpu_calls(state);
    if (calls == NULL) {
        return NULL;
    }
    struct slipring_error error = {0};
    int count;
    Py_BEGIN_ALLOW_THREADS
    count = calls->devices(&error);
    Py_END_ALLOW_THREADS
    return count < 0 ? raise_setup(state, count, &error) : PyLong_FromLong(count);
}

PyObject *gpu_driver(PyObject *module, PyObject *unused)
{
    (void)unused;
    const struct gpu_calls *calls = gpu_calls(PyModule_GetState(module));
    return calls == NULL ? NULL : PyUnicode_FromString(calls->driver());
}

PyObject *gpu_pci(PyObject *module, PyObject *device)
{
    const struct module_state *state = PyModule_GetState(module);
    const struct gpu_calls *calls = gpu_calls(state);
    const long number = calls == NULL ? -1 : PyLong_AsLong(device);
    if (calls == NULL || (number == -1 && PyErr_Occurred())) {
        return NULL;
    }
    char text[SLIPRING_CUDA_PCI_BYTES];
    struct slipring_error error = {0};
    int result;
    Py_BEGIN_ALLOW_THREADS
    result = calls->pci((int)number, text, sizeof text, &error);
    Py_END_ALLOW_THREADS
    return result != 0 ? raise_setup(state, result, &error) : PyUnicode_FromString(text);
}
