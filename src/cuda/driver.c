/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "driver.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DRIVER "libcuda.so.1"
#define STAND_IN "SLIPRING_CUDA_DRIVER"
#define TEXT_BYTES 512

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct slr_cuda_driver table;
static int ready;
/* The process that began to open the driver, 0 none. Set before CUDA is first called, and read
 * before the mutex is touched: a child forked meanwhile finds that locked for ever. */
static _Atomic int32_t owner;
static char description[TEXT_BYTES] = "no driver opened";

/* ---- errors ---- */

int slr_cuda_error(struct slipring_error *error, int code, const char *call, const char *format,
                   ...)
{
    if (error != NULL) {
        va_list args;
        va_start(args, format);
        error->code = code;
        snprintf(error->call, sizeof error->call, "%s", call);
        vsnprintf(error->text, sizeof error->text, format, args);
        va_end(args);
    }
    return code;
}

static int errno_of(int result)
{
    switch (result) {
    case SLR_CU_INVALID_VALUE:
    case SLR_CU_INVALID_CONTEXT:
    case SLR_CU_INVALID_HANDLE:
        return -EINVAL;
    case SLR_CU_OUT_OF_MEMORY:
        return -ENOMEM;
    case SLR_CU_NO_DEVICE:
    case SLR_CU_INVALID_DEVICE:
    case SLR_CU_STUB_LIBRARY:
        return -ENODEV;
    case SLR_CU_NOT_PERMITTED:
        return -EPERM;
    case SLR_CU_NOT_SUPPORTED:
        return -ENOTSUP;
    default:
        return -EIO;
    }
}

int slr_cuda_fail(struct slipring_error *error, int result, const char *call, const char *what)
{
    const char *name = NULL;
    if (table.error_name == NULL || table.error_name(result, &name) != SLR_CU_SUCCESS) {
        name = NULL;
    }
    return slr_cuda_error(error, errno_of(result), call, "%s: the driver says %s (%d)", what,
                          name == NULL ? "an error that it has no name for" : name, result);
}

/* ---- opening ---- */

struct entry {
    const char *name;
    size_t offset;
    int version; /* of CUDA, in which this variant of it came */
    int optional;
};
#define ENTRY(field, name, version, optional)                                                      \
    {                                                                                              \
        name, offsetof(struct slr_cuda_driver, field), version, optional                           \
    }
static const struct entry entries[] = {
    ENTRY(init, "cuInit", 2000, 0),
    ENTRY(driver_version, "cuDriverGetVersion", 2020, 0),
    ENTRY(device_count, "cuDeviceGetCount", 2000, 0),
    ENTRY(device_get, "cuDeviceGet", 2000, 0),
    ENTRY(device_name, "cuDeviceGetName", 2000, 0),
    ENTRY(device_attribute, "cuDeviceGetAttribute", 2000, 0),
    ENTRY(device_pci, "cuDeviceGetPCIBusId", 4010, 0),
    ENTRY(primary_retain, "cuDevicePrimaryCtxRetain", 7000, 0),
    ENTRY(primary_release, "cuDevicePrimaryCtxRelease", 11000, 0),
    ENTRY(push, "cuCtxPushCurrent", 4000, 0),
    ENTRY(pop, "cuCtxPopCurrent", 4000, 0),
    ENTRY(host_register, "cuMemHostRegister", 6050, 0),
    ENTRY(host_unregister, "cuMemHostUnregister", 4000, 0),
    ENTRY(host_device_pointer, "cuMemHostGetDevicePointer", 3020, 0),
    ENTRY(copy_to_device, "cuMemcpyHtoDAsync", 3020, 0),
    ENTRY(copy_to_host, "cuMemcpyDtoHAsync", 3020, 0),
    ENTRY(copy_2d, "cuMemcpy2DAsync", 3020, 0),
    ENTRY(stream_context, "cuStreamGetCtx", 9020, 0),
    ENTRY(stream_capturing, "cuStreamIsCapturing", 10000, 0),
    ENTRY(event_create, "cuEventCreate", 2000, 0),
    ENTRY(event_record, "cuEventRecord", 2000, 0),
    ENTRY(event_query, "cuEventQuery", 2000, 0),
    ENTRY(event_destroy, "cuEventDestroy", 4000, 0),
    ENTRY(error_name, "cuGetErrorName", 6000, 0),
    /* Of these the variant of 11.7: earlier ones want a module option of the kernel's driver. */
    ENTRY(write_value, "cuStreamWriteValue64", 11070, 1),
    ENTRY(wait_value, "cuStreamWaitValue64", 11070, 1),
    ENTRY(mem_ops, "cuStreamBatchMemOp", 11070, 1),
    ENTRY(host_function, "cuLaunchHostFunc", 10000, 1),
    ENTRY(capture_mode, "cuThreadExchangeStreamCaptureMode", 10010, 1),
    ENTRY(device_uuid, "cuDeviceGetUuid", 11040, 1),
    ENTRY(memory_granularity, "cuMemGetAllocationGranularity", 10020, 1),
    ENTRY(memory_create, "cuMemCreate", 10020, 1),
    ENTRY(memory_release, "cuMemRelease", 10020, 1),
    ENTRY(memory_export, "cuMemExportToShareableHandle", 10020, 1),
    ENTRY(memory_import, "cuMemImportFromShareableHandle", 10020, 1),
    ENTRY(memory_reserve, "cuMemAddressReserve", 10020, 1),
    ENTRY(memory_unreserve, "cuMemAddressFree", 10020, 1),
    ENTRY(memory_map, "cuMemMap", 10020, 1),
    ENTRY(memory_unmap, "cuMemUnmap", 10020, 1),
    ENTRY(memory_access, "cuMemSetAccess", 10020, 1),
};

typedef int (*get_v1)(const char *name, void **entry, int version, uint64_t flags);
typedef int (*get_v2)(const char *name, void **entry, int version, uint64_t flags, int *status);

static int find_entries(void *library, const char *path, const char *call,
                        struct slipring_error *error)
{
    void *second = dlsym(library, "cuGetProcAddress_v2");
    void *first = dlsym(library, "cuGetProcAddress");
    get_v1 old = NULL;
    get_v2 new = NULL;
    memcpy(&old, &first, sizeof first);
    memcpy(&new, &second, sizeof second);
    if (first == NULL && second == NULL) {
        return slr_cuda_error(error, -ENODEV, call,
                              "%s has no cuGetProcAddress: it is older than CUDA 11.3; install a "
                              "newer driver",
                              path);
    }
    for (size_t i = 0; i < sizeof entries / sizeof *entries; i++) {
        const struct entry *entry = &entries[i];
        void *found = NULL;
        int status = 0;
        /* What was not found leaves `found` untouched: only the result says so. */
        const int result = second != NULL ? new (entry->name, &found, entry->version, 0, &status)
                                          : old(entry->name, &found, entry->version, 0);
        if (result != SLR_CU_SUCCESS || status != 0) {
            found = NULL;
        }
        if (found == NULL && !entry->optional) {
            return slr_cuda_error(error, -ENODEV, call,
                                  "%s has no %s: the driver is too old; install a newer one", path,
                                  entry->name);
        }
        memcpy((char *)&table + entry->offset, &found, sizeof found);
    }
    return 0;
}

static int open_library(void **library, const char **path, const char *call,
                        struct slipring_error *error)
{
    const char *stand_in = secure_getenv(STAND_IN);
    *path = stand_in != NULL ? stand_in : DRIVER;
    *library = dlopen(*path, RTLD_NOW | RTLD_LOCAL);
    if (*library != NULL) {
        return 0;
    }
    if (stand_in != NULL) {
        return slr_cuda_error(error, -ENODEV, call,
                              "the driver that " STAND_IN " names cannot be loaded: %.150s",
                              dlerror());
    }
    return slr_cuda_error(error, -ENODEV, call,
                          "no NVIDIA driver here: %.120s; install the driver, or start the "
                          "container with access to the GPU",
                          dlerror());
}

static int start(const char *path, const char *call, struct slipring_error *error)
{
    int result = table.init(0);
    int count = 0;
    int version = 0;
    if (result == SLR_CU_SUCCESS) {
        result = table.device_count(&count);
    }
    if (result == SLR_CU_NO_DEVICE || (result == SLR_CU_SUCCESS && count == 0)) {
        return slr_cuda_error(error, -ENODEV, call,
                              "%s is here but sees no device: look at nvidia-smi and at "
                              "CUDA_VISIBLE_DEVICES",
                              path);
    }
    if (result != SLR_CU_SUCCESS) {
        (void)slr_cuda_fail(error, result, call, "the NVIDIA driver does not start");
        if (error != NULL) {
            error->code = -ENODEV;
        }
        return -ENODEV;
    }
    (void)table.driver_version(&version);
    snprintf(description, sizeof description, "%s%.300s, CUDA %d.%d",
             strcmp(path, DRIVER) == 0 ? "" : "stand-in driver, not a GPU: ", path, version / 1000,
             version % 1000 / 10);
    return 0;
}

static int open_driver(const char *call, struct slipring_error *error)
{
    void *library = NULL;
    const char *path = NULL;
    int code = open_library(&library, &path, call, error);
    if (code == 0) {
        code = find_entries(library, path, call, error);
        if (code == 0) {
            code = start(path, call, error); /* what was started once must stay loaded */
        } else {
            dlclose(library);
        }
        if (code != 0) {
            memset(&table, 0, sizeof table);
        }
    }
    return code;
}

int slr_cuda_forked(void)
{
    const int32_t pid =
        atomic_load_explicit(&owner, memory_order_relaxed); /* constant in a child */
    return pid != 0 && pid != (int32_t)getpid();
}

int slr_cuda_unusable(const void *handle, const char *call, struct slipring_error *error)
{
    if (handle == NULL) {
        return slr_cuda_error(
            error, -EINVAL, call,
            "the handle is NULL: the call that was to make it has failed, and its "
            "result and text say why (-ENODEV: without a GPU go on without it)");
    }
    return slr_cuda_forked() ? slr_cuda_error(error, -ECHILD, call, "the handle is the parent's")
                             : 0;
}

int slr_cuda_driver(const struct slr_cuda_driver **driver, const char *call,
                    struct slipring_error *error)
{
    if (slr_cuda_forked()) {
        return slr_cuda_error(error, -ECHILD, call,
                              "the parent of this process used CUDA before the fork, which its "
                              "children cannot: start them by spawn or exec, or before the first "
                              "GPU call; the ring itself works here");
    }
    pthread_mutex_lock(&mutex);
    int code = 0;
    if (!ready) {
        atomic_store_explicit(&owner, (int32_t)getpid(), memory_order_relaxed);
        code = open_driver(call, error);
        ready = code == 0;
        if (!ready) { /* nothing of CUDA was started: children may try */
            atomic_store_explicit(&owner, 0, memory_order_relaxed);
        }
    }
    pthread_mutex_unlock(&mutex);
    if (code == 0) {
        *driver = &table;
    }
    return code;
}

int slr_cuda_captures_leave(const struct slr_cuda_driver *driver)
{
    int mode = SLR_CU_CAPTURE_RELAXED; /* older drivers know no captures */
    return driver->capture_mode != NULL && driver->capture_mode(&mode) == SLR_CU_SUCCESS ? mode
                                                                                         : -1;
}

void slr_cuda_captures_back(const struct slr_cuda_driver *driver, int before)
{
    if (before >= 0) {
        (void)driver->capture_mode(&before);
    }
}

/* ---- public ---- */

int slipring_cuda_devices(struct slipring_error *error)
{
    const struct slr_cuda_driver *driver;
    int count = 0;
    const int code = slr_cuda_driver(&driver, "slipring_cuda_devices", error);
    if (code != 0) {
        return code;
    }
    const int result = driver->device_count(&count);
    return result == SLR_CU_SUCCESS
               ? count
               : slr_cuda_fail(error, result, "cuDeviceGetCount", "cannot count the devices");
}

const char *slipring_cuda_driver(void)
{
    return description;
}

int slipring_cuda_pci(int device, char *text, size_t bytes, struct slipring_error *error)
{
    const struct slr_cuda_driver *driver;
    int handle = 0;
    const int code = slr_cuda_driver(&driver, "slipring_cuda_pci", error);
    if (code != 0) {
        return code;
    }
    char found[SLIPRING_CUDA_PCI_BYTES] = "";
    int result = driver->device_get(&handle, device);
    if (result == SLR_CU_SUCCESS) {
        result = driver->device_pci(found, (int)sizeof found, handle);
    }
    if (result != SLR_CU_SUCCESS) {
        return slr_cuda_fail(error, result, "cuDeviceGetPCIBusId", "no such device");
    }
    snprintf(text, bytes, "%s", found);
    return 0;
}
