/* SPDX-License-Identifier: Apache-2.0 */
/* The stand-in driver: devices, memory and faults. Streams: standin_stream.c; memory that is handed on,
 * and modules: standin_memory.c. */
#define _GNU_SOURCE
#include "standin_inner.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define RANGES 4096
#define FAULTS 64
#define VERSION 13000
#define HOST_OFFSET (UINT64_C(1) << 60) /* of registered memory, for the device */
#define SCATTER (UINT64_C(1) << 44)

struct range {
    uint8_t *start;
    size_t bytes;
    uint64_t address;
    bool device;
    bool given; /* not allocated here */
};

struct fault {
    char function[48];
    unsigned calls, at;
    int code;
    bool hidden;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct range ranges[RANGES];
static unsigned range_count, registrations;
static struct fault faults[FAULTS];
static unsigned fault_count;
static int lost, devices = 1;
static bool scattered, stalled;
static int attributes[256];
static bool attribute_set[256];
static __thread unsigned contexts; /* pushed by this thread */
static int the_context;

/* ---- faults ---- */

static struct fault *fault_of(const char *function)
{
    for (unsigned i = 0; i < fault_count; i++) {
        if (strcmp(faults[i].function, function) == 0) {
            return &faults[i];
        }
    }
    if (fault_count == FAULTS) {
        abort();
    }
    struct fault *fault = &faults[fault_count++];
    snprintf(fault->function, sizeof fault->function, "%s", function);
    return fault;
}

int standin_enter(const char *function, bool needs_context)
{
    int code = 0;
    pthread_mutex_lock(&mutex);
    struct fault *fault = fault_of(function);
    fault->calls++;
    if (fault->at != 0 && --fault->at == 0) {
        code = fault->code;
    } else if (needs_context) {
        code = lost != 0 ? lost : contexts == 0 ? 201 : 0;
    }
    pthread_mutex_unlock(&mutex);
    return code;
}

void standin_fail(const char *function, unsigned n, int code)
{
    pthread_mutex_lock(&mutex);
    struct fault *fault = fault_of(function);
    fault->at = n;
    fault->code = code;
    pthread_mutex_unlock(&mutex);
}

unsigned standin_calls(const char *function)
{
    pthread_mutex_lock(&mutex);
    const unsigned calls = fault_of(function)->calls;
    pthread_mutex_unlock(&mutex);
    return calls;
}

void standin_hide(const char *function, bool hidden)
{
    pthread_mutex_lock(&mutex);
    fault_of(function)->hidden = hidden;
    pthread_mutex_unlock(&mutex);
}

void standin_attribute(int attribute, int value)
{
    pthread_mutex_lock(&mutex);
    attributes[attribute & 255] = value;
    attribute_set[attribute & 255] = true;
    pthread_mutex_unlock(&mutex);
}

void standin_devices(int count)
{
    devices = count;
}

void standin_scatter(bool on)
{
    scattered = on;
}

void standin_stall_registration(bool on)
{
    pthread_mutex_lock(&mutex);
    stalled = on;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&mutex);
}

int standin_lost(void)
{
    pthread_mutex_lock(&mutex);
    const int code = lost;
    pthread_mutex_unlock(&mutex);
    return code;
}

void standin_fault(int code)
{
    pthread_mutex_lock(&mutex);
    lost = lost == 0 ? code : lost;
    pthread_mutex_unlock(&mutex);
    standin_stir();
}

void standin_lose(int code)
{
    pthread_mutex_lock(&mutex);
    lost = code;
    pthread_mutex_unlock(&mutex);
    standin_stir();
    standin_settle();
}

/* ---- memory ---- */

static bool inside(const struct range *range, const uint8_t *start, size_t bytes)
{
    return start >= range->start && bytes <= range->bytes &&
           (size_t)(start - range->start) <= range->bytes - bytes;
}

static bool overlaps(const struct range *range, const uint8_t *start, size_t bytes)
{
    return start < range->start + range->bytes && range->start < start + bytes;
}

int standin_range(const void *start, size_t bytes)
{
    int found = 0;
    pthread_mutex_lock(&mutex);
    for (unsigned i = 0; i < range_count; i++) {
        if (!ranges[i].device && overlaps(&ranges[i], start, bytes)) {
            found = inside(&ranges[i], start, bytes) ? 1 : -1;
            break;
        }
    }
    pthread_mutex_unlock(&mutex);
    return found;
}

void *standin_translate(uint64_t address, uint64_t bytes)
{
    void *host = NULL;
    pthread_mutex_lock(&mutex);
    for (unsigned i = 0; i < range_count && host == NULL; i++) {
        const struct range *range = &ranges[i];
        const uint64_t in = address - range->address;
        if (in < range->bytes && bytes <= range->bytes - in) {
            host = range->start + in;
        }
    }
    pthread_mutex_unlock(&mutex);
    return host;
}

int standin_give(uint8_t *start, size_t bytes)
{
    pthread_mutex_lock(&mutex);
    const bool full = range_count == RANGES;
    if (!full) {
        ranges[range_count++] =
            (struct range){.start = start,
                           .bytes = bytes,
                           .address = (uint64_t)(uintptr_t)start + STANDIN_MEMORY_OFFSET,
                           .device = true,
                           .given = true};
    }
    pthread_mutex_unlock(&mutex);
    return full ? 2 : 0;
}

void standin_withdraw(const uint8_t *start, size_t bytes)
{
    pthread_mutex_lock(&mutex);
    for (unsigned i = 0; i < range_count;) {
        if (ranges[i].given && overlaps(&ranges[i], start, bytes)) {
            ranges[i] = ranges[--range_count];
        } else {
            i++;
        }
    }
    pthread_mutex_unlock(&mutex);
}

void *standin_host(uint64_t address, uint64_t bytes)
{
    return standin_translate(address, bytes);
}

uint64_t standin_registered(void)
{
    uint64_t bytes = 0;
    pthread_mutex_lock(&mutex);
    for (unsigned i = 0; i < range_count; i++) {
        bytes += ranges[i].device ? 0 : ranges[i].bytes;
    }
    pthread_mutex_unlock(&mutex);
    return bytes;
}

static int add(uint8_t *start, size_t bytes, bool device, uint64_t *address)
{
    int code = 0;
    pthread_mutex_lock(&mutex);
    while (stalled && !device) {
        pthread_cond_wait(&changed, &mutex);
    }
    for (unsigned i = 0; i < range_count && code == 0; i++) {
        code = !device && !ranges[i].device && overlaps(&ranges[i], start, bytes) ? 712 : 0;
    }
    if (code == 0 && range_count == RANGES) {
        code = 2;
    }
    if (code == 0) {
        const uint64_t far = scattered && !device ? ++registrations % 8 * SCATTER : 0;
        ranges[range_count] =
            (struct range){.start = start,
                           .bytes = bytes,
                           .address = (uint64_t)(uintptr_t)start + far +
                                      (device ? STANDIN_MEMORY_OFFSET : HOST_OFFSET),
                           .device = device};
        *address = ranges[range_count++].address;
    }
    pthread_mutex_unlock(&mutex);
    return code;
}

static int take(const uint8_t *start, uint64_t address, bool device)
{
    int code = device ? 1 : 713;
    pthread_mutex_lock(&mutex);
    for (unsigned i = 0; i < range_count; i++) {
        if (ranges[i].device == device && !ranges[i].given &&
            (device ? ranges[i].address == address : ranges[i].start == start)) {
            if (device) {
                free(ranges[i].start);
            }
            ranges[i] = ranges[--range_count];
            code = 0;
            break;
        }
    }
    pthread_mutex_unlock(&mutex);
    return code;
}

static int host_register(void *start, size_t bytes, unsigned flags)
{
    uint64_t address;
    int code = standin_enter("cuMemHostRegister", true);
    code = code != 0 ? code : standin_unsafe();
    if (code != 0) {
        return code;
    }
    return start == NULL || bytes == 0 || (flags & ~15u) != 0 ? 1
                                                              : add(start, bytes, false, &address);
}

static int host_unregister(void *start)
{
    int code = standin_enter("cuMemHostUnregister", true);
    code = code != 0 ? code : standin_unsafe();
    return code != 0 ? code : take(start, 0, false);
}

static int host_device_pointer(uint64_t *address, void *host, unsigned flags)
{
    int code = standin_enter("cuMemHostGetDevicePointer", true);
    if (code != 0 || flags != 0) {
        return code != 0 ? code : 1;
    }
    code = 1;
    pthread_mutex_lock(&mutex);
    for (unsigned i = 0; i < range_count; i++) {
        if (!ranges[i].device && inside(&ranges[i], host, 1)) {
            *address = ranges[i].address + (uint64_t)((uint8_t *)host - ranges[i].start);
            code = 0;
        }
    }
    pthread_mutex_unlock(&mutex);
    return code;
}

static int host_alloc(void **memory, size_t bytes, unsigned flags)
{
    uint64_t address;
    int code = standin_enter("cuMemHostAlloc", true);
    code = code != 0 ? code : standin_unsafe();
    if (code != 0 || bytes == 0 || (flags & ~7u) != 0) {
        return code != 0 ? code : 1;
    }
    *memory = calloc(1, bytes);
    return *memory == NULL ? 2 : add(*memory, bytes, false, &address);
}

static int host_free(void *memory)
{
    const int code = standin_enter("cuMemFreeHost", true);
    const int taken = code != 0 ? code : take(memory, 0, false);
    if (taken == 0) {
        free(memory);
    }
    return taken;
}

/* Of a pointer's attributes only what kind of memory it is: what frameworks ask to see whether it is
 * page-locked. */
static int pointer_attribute(void *data, int attribute, uint64_t pointer)
{
    enum { MEMORY_TYPE = 2, HOST = 1, DEVICE = 2 };
    int code = standin_enter("cuPointerGetAttribute", true);
    if (code != 0 || attribute != MEMORY_TYPE) {
        return code != 0 ? code : 1;
    }
    code = 1;
    pthread_mutex_lock(&mutex);
    for (unsigned i = 0; i < range_count; i++) {
        const bool at_device = pointer - ranges[i].address < ranges[i].bytes;
        const bool registered =
            !ranges[i].device && inside(&ranges[i], (const uint8_t *)(uintptr_t)pointer, 1);
        if (at_device || registered) {
            *(unsigned *)data = ranges[i].device ? DEVICE : HOST;
            code = 0;
        }
    }
    pthread_mutex_unlock(&mutex);
    return code;
}

static int mem_alloc(uint64_t *address, size_t bytes)
{
    int code = standin_enter("cuMemAlloc", true);
    code = code != 0 ? code : standin_unsafe();
    if (code != 0 || bytes == 0) {
        return code != 0 ? code : 1;
    }
    uint8_t *memory = calloc(1, bytes);
    return memory == NULL ? 2 : add(memory, bytes, true, address);
}

static int mem_free(uint64_t address)
{
    const int code = standin_enter("cuMemFree", true);
    return code != 0 ? code : take(NULL, address, true);
}

/* ---- devices and contexts ---- */

static int init(unsigned flags)
{
    const int code = standin_enter("cuInit", false);
    return code != 0 ? code : flags != 0 ? 1 : devices == 0 ? 100 : 0;
}

static int driver_version(int *version)
{
    *version = VERSION;
    return standin_enter("cuDriverGetVersion", false);
}

static int device_count(int *count)
{
    *count = devices;
    return standin_enter("cuDeviceGetCount", false);
}

static int device_get(int *device, int ordinal)
{
    const int code = standin_enter("cuDeviceGet", false);
    *device = ordinal;
    return code != 0 ? code : ordinal < 0 || ordinal >= devices ? 101 : 0;
}

static int device_name(char *name, int bytes, int device)
{
    snprintf(name, (size_t)bytes, "stand-in %d", device);
    return standin_enter("cuDeviceGetName", false);
}

static int device_attribute(int *value, int attribute, int device)
{
    (void)device;
    const int code = standin_enter("cuDeviceGetAttribute", false);
    pthread_mutex_lock(&mutex);
    *value = attribute_set[attribute & 255] ? attributes[attribute & 255] : attribute != 91;
    pthread_mutex_unlock(&mutex);
    return code;
}

int standin_devices_now(void)
{
    return devices;
}

static int device_uuid(uint8_t *uuid, int device)
{
    for (unsigned i = 0; i < 16; i++) {
        uuid[i] = (uint8_t)(0xa0 + 16 * (unsigned)device + i);
    }
    return standin_enter("cuDeviceGetUuid", false);
}

static int device_pci(char *text, int bytes, int device)
{
    snprintf(text, (size_t)bytes, "0000:%02x:00.0", 0x65 + device);
    return standin_enter("cuDeviceGetPCIBusId", false);
}

static int primary_retain(void **context, int device)
{
    (void)device;
    *context = &the_context;
    return standin_enter("cuDevicePrimaryCtxRetain", false);
}

static int primary_release(int device)
{
    (void)device;
    return standin_enter("cuDevicePrimaryCtxRelease", false);
}

static int push(void *context)
{
    const int code = standin_enter("cuCtxPushCurrent", false);
    if (code == 0 && context != &the_context) {
        return 201;
    }
    contexts += code == 0;
    return code;
}

static int pop(void **context)
{
    const int code = standin_enter("cuCtxPopCurrent", false);
    if (contexts == 0) {
        return 201;
    }
    contexts--;
    *context = &the_context;
    return code;
}

static int stream_context(void *stream, void **context)
{
    (void)stream;
    *context = &the_context;
    return standin_enter("cuStreamGetCtx", false);
}

static int error_name(int code, const char **name)
{
    static const struct {
        int code;
        const char *name;
    } names[] = {{1, "CUDA_ERROR_INVALID_VALUE"},
                 {2, "CUDA_ERROR_OUT_OF_MEMORY"},
                 {100, "CUDA_ERROR_NO_DEVICE"},
                 {700, "CUDA_ERROR_ILLEGAL_ADDRESS"},
                 {712, "CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED"},
                 {713, "CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED"},
                 {800, "CUDA_ERROR_NOT_PERMITTED"},
                 {801, "CUDA_ERROR_NOT_SUPPORTED"},
                 {900, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"},
                 {901, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (names[i].code == code) {
            *name = names[i].name;
            return 0;
        }
    }
    return 1;
}

/* ---- the table ---- */

static const struct {
    const char *name;
    void (*entry)(void);
} entries[] = {
#define E(name, function)                                                                          \
    {                                                                                              \
        name, (void (*)(void))function                                                             \
    }
    E("cuInit", init),
    E("cuDriverGetVersion", driver_version),
    E("cuDeviceGetCount", device_count),
    E("cuDeviceGet", device_get),
    E("cuDeviceGetName", device_name),
    E("cuDeviceGetAttribute", device_attribute),
    E("cuDeviceGetPCIBusId", device_pci),
    E("cuDeviceGetUuid", device_uuid),
    E("cuDevicePrimaryCtxRetain", primary_retain),
    E("cuDevicePrimaryCtxRelease", primary_release),
    E("cuCtxPushCurrent", push),
    E("cuCtxPopCurrent", pop),
    E("cuStreamGetCtx", stream_context),
    E("cuMemHostRegister", host_register),
    E("cuMemHostUnregister", host_unregister),
    E("cuMemHostGetDevicePointer", host_device_pointer),
    E("cuMemHostAlloc", host_alloc),
    E("cuMemFreeHost", host_free),
    E("cuPointerGetAttribute", pointer_attribute),
    E("cuMemAlloc", mem_alloc),
    E("cuMemFree", mem_free),
    E("cuGetErrorName", error_name),
};

STANDIN_API int cuGetProcAddress_v2(const char *name, void **entry, int version, uint64_t flags,
                                    int *status);
STANDIN_API int cuGetProcAddress_v2(const char *name, void **entry, int version, uint64_t flags,
                                    int *status)
{
    pthread_mutex_lock(&mutex);
    const bool hidden = fault_of(name)->hidden;
    pthread_mutex_unlock(&mutex);
    *status = 1; /* not found; and, as the driver, nothing is written to *entry then */
    if (hidden || version > VERSION || flags != 0) {
        return hidden ? 500 : 1;
    }
    void *found = standin_stream_entry(name);
    found = found != NULL ? found : standin_memory_entry(name);
    for (size_t i = 0; i < sizeof entries / sizeof *entries && found == NULL; i++) {
        if (strcmp(entries[i].name, name) == 0) {
            memcpy(&found, &entries[i].entry, sizeof found);
        }
    }
    if (found == NULL) {
        return 500;
    }
    *entry = found;
    *status = 0;
    return 0;
}
