/* SPDX-License-Identifier: Apache-2.0 */
/* libslipring-cuda, found beside the extension and opened by the first GPU call. */
#include "gpu/gpu.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <string.h>

#define LIBRARY "libslipring-cuda.so"

static struct lock lock; /* no handle's, but the same kind */
static struct gpu_calls table;
static bool loaded; /* atomic */

/* ---- the lock ---- */

/* In a forked child nobody is there who could give it. */
static void forget(void)
{
    lock = (struct lock){0};
}

static int registered;

static void register_once(void)
{
    registered = pthread_atfork(NULL, NULL, forget);
}

int gpu_take(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, register_once);
    if (registered != 0) {
        PyErr_NoMemory();
        return -1;
    }
    return lock_take(&lock, SLIPRING_FOREVER, "pin");
}

void gpu_take_soon(void)
{
    lock_take_soon(&lock);
}

void gpu_give(void)
{
    lock_give(&lock);
}

/* ---- the library ---- */

static const struct {
    const char *name;
    size_t offset;
} entries[] = {
#define ENTRY(field, name)                                                                         \
    {                                                                                              \
        "slipring_cuda_" name, offsetof(struct gpu_calls, field)                                   \
    }
    ENTRY(devices, "devices"),
    ENTRY(driver, "driver"),
    ENTRY(pci, "pci"),
    ENTRY(config_init, "config_init"),
    ENTRY(enlist, "register"),
    ENTRY(ready, "ready"),
    ENTRY(get_info, "get_info"),
    ENTRY(copy, "copy"),
    ENTRY(release, "release"),
    ENTRY(drain, "drain"),
    ENTRY(unregister, "unregister"),
};

/* The extension's own folder. */
static bool beside_us(char *path, size_t room)
{
    Dl_info here;
    if (dladdr(&table, &here) == 0 || here.dli_fname == NULL) {
        return false;
    }
    const char *slash = strrchr(here.dli_fname, '/');
    const int folder = slash == NULL ? 0 : (int)(slash - here.dli_fname) + 1;
    return (size_t)PyOS_snprintf(path, room, "%.*s%s", folder, here.dli_fname, LIBRARY) < room;
}

/* With the lock, so that nothing of Python's may be called that could run a destructor. */
static int load(struct slipring_error *error)
{
    char path[4096];
    *error = (struct slipring_error){.call = "dlopen"};
    void *library = beside_us(path, sizeof path) ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
    if (library == NULL) {
        PyOS_snprintf(error->text, sizeof error->text,
                      "this build of slipring has no GPU part (" LIBRARY
                      " beside the extension; meson's option cuda): %.120s",
                      dlerror());
        return -ENODEV;
    }
    struct gpu_calls found;
    for (size_t i = 0; i < sizeof entries / sizeof *entries; i++) {
        void *entry = dlsym(library, entries[i].name);
        if (entry == NULL) {
            PyOS_snprintf(error->text, sizeof error->text,
                          "%.150s is of another version: it has no %s; install slipring anew", path,
                          entries[i].name);
            dlclose(library);
            return -ENODEV;
        }
        memcpy((char *)&found + entries[i].offset, &entry, sizeof entry);
    }
    table = found;
    __atomic_store_n(&loaded, true, __ATOMIC_RELEASE); /* with the load below */
    return 0;
}

const struct gpu_calls *gpu_calls(const struct module_state *state)
{
    if (__atomic_load_n(&loaded, __ATOMIC_ACQUIRE)) { /* with the store above: the table is whole */
        return &table;
    }
    if (gpu_take() != 0) {
        return NULL;
    }
    struct slipring_error error;
    /* Relaxed: who set it held the lock. */
    const int result = __atomic_load_n(&loaded, __ATOMIC_RELAXED) ? 0 : load(&error);
    gpu_give();
    return result == 0 ? &table : (void *)raise_setup(state, result, &error);
}
