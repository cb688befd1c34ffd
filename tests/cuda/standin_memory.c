/* SPDX-License-Identifier: Apache-2.0 */
/* The stand-in driver: memory that is handed on as a descriptor, and modules. */
#define _GNU_SOURCE
#include "standin_inner.h"

#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define HANDLES 64
#define RESERVED 64
#define MAPPINGS 128

struct allocation { /* a handle is its index, from 1 */
    int fd;
    size_t bytes;
};
struct span {
    uint8_t *start;
    size_t bytes;
};
struct location {
    int type, id;
};
struct how {
    int type, handle_types;
    struct location location;
    void *reserved;
    uint8_t flags[8];
};
struct access {
    struct location location;
    int flags;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct allocation allocations[HANDLES];
static struct span reserved[RESERVED], mappings[MAPPINGS];

unsigned standin_handed_on(void)
{
    unsigned count = 0;
    pthread_mutex_lock(&mutex);
    for (unsigned i = 0; i < HANDLES; i++) {
        count += allocations[i].bytes != 0;
    }
    for (unsigned i = 0; i < RESERVED; i++) {
        count += reserved[i].bytes != 0;
    }
    for (unsigned i = 0; i < MAPPINGS; i++) {
        count += mappings[i].bytes != 0;
    }
    pthread_mutex_unlock(&mutex);
    return count;
}

static uint8_t *host(uint64_t address)
{
    return (uint8_t *)(uintptr_t)(address - STANDIN_MEMORY_OFFSET);
}

/* ---- handles ---- */

static bool known(const struct how *how)
{
    return how != NULL && how->type == 1 && how->handle_types == 1 && how->location.type == 1 &&
           how->location.id >= 0 && how->location.id < standin_devices_now();
}

static int granularity(size_t *bytes, const struct how *how, int option)
{
    const int code = standin_enter("cuMemGetAllocationGranularity", false);
    if (code != 0 || !known(how) || option < 0 || option > 1) {
        return code != 0 ? code : 1;
    }
    *bytes = STANDIN_PAGE;
    return 0;
}

/* Under the mutex; takes fd over. */
static int add_allocation(uint64_t *handle, int fd, size_t bytes)
{
    for (unsigned i = 0; i < HANDLES; i++) {
        if (allocations[i].bytes == 0) {
            allocations[i] = (struct allocation){fd, bytes};
            *handle = i + 1;
            return 0;
        }
    }
    close(fd);
    return 2;
}

static struct allocation *allocation_of(uint64_t handle)
{
    return handle >= 1 && handle <= HANDLES && allocations[handle - 1].bytes != 0
               ? &allocations[handle - 1]
               : NULL;
}

static int create(uint64_t *handle, size_t bytes, const struct how *how, uint64_t flags)
{
    int code = standin_enter("cuMemCreate", false);
    code = code != 0 ? code : standin_unsafe();
    if (code != 0 || bytes == 0 || bytes % STANDIN_PAGE != 0 || !known(how) || flags != 0) {
        return code != 0 ? code : 1;
    }
    const int fd = memfd_create("stand-in", MFD_CLOEXEC);
    if (fd < 0) {
        return 2;
    }
    if (ftruncate(fd, (off_t)bytes) != 0) {
        close(fd);
        return 2;
    }
    pthread_mutex_lock(&mutex);
    const int added = add_allocation(handle, fd, bytes);
    pthread_mutex_unlock(&mutex);
    return added;
}

static int release(uint64_t handle)
{
    int code = standin_enter("cuMemRelease", false);
    pthread_mutex_lock(&mutex);
    struct allocation *allocation = allocation_of(handle);
    if (code == 0 && allocation != NULL) {
        close(allocation->fd);
        allocation->bytes = 0;
    } else if (code == 0) {
        code = 1;
    }
    pthread_mutex_unlock(&mutex);
    return code;
}

static int export_handle(int *descriptor, uint64_t handle, int type, uint64_t flags)
{
    int code = standin_enter("cuMemExportToShareableHandle", false);
    pthread_mutex_lock(&mutex);
    const struct allocation *allocation = allocation_of(handle);
    if (code == 0 && (allocation == NULL || type != 1 || flags != 0)) {
        code = 1;
    } else if (code == 0) {
        const int fd = fcntl(allocation->fd, F_DUPFD_CLOEXEC, 0);
        code = fd < 0 ? 2 : 0;
        *descriptor = fd < 0 ? *descriptor : fd;
    }
    pthread_mutex_unlock(&mutex);
    return code;
}

static int import_handle(uint64_t *handle, void *descriptor, int type)
{
    int code = standin_enter("cuMemImportFromShareableHandle", false);
    code = code != 0 ? code : standin_unsafe();
    struct stat status;
    const int given = (int)(intptr_t)descriptor;
    if (code != 0 || type != 1 || fstat(given, &status) != 0 || !S_ISREG(status.st_mode) ||
        status.st_size == 0 || (size_t)status.st_size % STANDIN_PAGE != 0) {
        return code != 0 ? code : 1;
    }
    const int fd = fcntl(given, F_DUPFD_CLOEXEC, 0);
    if (fd < 0) {
        return 2;
    }
    pthread_mutex_lock(&mutex);
    code = add_allocation(handle, fd, (size_t)status.st_size);
    pthread_mutex_unlock(&mutex);
    return code;
}

/* ---- addresses ---- */

static int add_span(struct span *spans, unsigned room, uint8_t *start, size_t bytes)
{
    for (unsigned i = 0; i < room; i++) {
        if (spans[i].bytes == 0) {
            spans[i] = (struct span){start, bytes};
            return 0;
        }
    }
    return 2;
}

static struct span *span_of(struct span *spans, unsigned room, const uint8_t *start, size_t bytes)
{
    for (unsigned i = 0; i < room; i++) {
        if (spans[i].bytes == bytes && spans[i].start == start) {
            return &spans[i];
        }
    }
    return NULL;
}

static int reserve(uint64_t *address, size_t bytes, size_t alignment, uint64_t wanted,
                   uint64_t flags)
{
    int code = standin_enter("cuMemAddressReserve", false);
    if (code != 0 || bytes == 0 || bytes % STANDIN_PAGE != 0 || alignment != 0 || wanted != 0 ||
        flags != 0) {
        return code != 0 ? code : 1;
    }
    uint8_t *start = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED) {
        return 2;
    }
    pthread_mutex_lock(&mutex);
    code = add_span(reserved, RESERVED, start, bytes);
    pthread_mutex_unlock(&mutex);
    if (code != 0) {
        munmap(start, bytes);
        return code;
    }
    *address = (uint64_t)(uintptr_t)start + STANDIN_MEMORY_OFFSET;
    return 0;
}

static bool any_within(const struct span *outer)
{
    for (unsigned i = 0; i < MAPPINGS; i++) {
        if (mappings[i].bytes != 0 && mappings[i].start >= outer->start &&
            mappings[i].start < outer->start + outer->bytes) {
            return true;
        }
    }
    return false;
}

static int unreserve(uint64_t address, size_t bytes)
{
    int code = standin_enter("cuMemAddressFree", false);
    pthread_mutex_lock(&mutex);
    struct span *span = span_of(reserved, RESERVED, host(address), bytes);
    if (code == 0 && (span == NULL || any_within(span))) {
        code = 1;
    } else if (code == 0) {
        munmap(span->start, bytes);
        span->bytes = 0;
    }
    pthread_mutex_unlock(&mutex);
    return code;
}

static bool within_reserved(const uint8_t *start, size_t bytes)
{
    for (unsigned i = 0; i < RESERVED; i++) {
        if (reserved[i].bytes != 0 && start >= reserved[i].start &&
            start + bytes <= reserved[i].start + reserved[i].bytes) {
            return true;
        }
    }
    return false;
}

static int map(uint64_t address, size_t bytes, size_t offset, uint64_t handle, uint64_t flags)
{
    int code = standin_enter("cuMemMap", false);
    code = code != 0 ? code : standin_unsafe();
    uint8_t *start = host(address);
    pthread_mutex_lock(&mutex);
    const struct allocation *allocation = allocation_of(handle);
    if (code == 0 && (allocation == NULL || offset != 0 || flags != 0 || bytes == 0 ||
                      bytes % STANDIN_PAGE != 0 || bytes > allocation->bytes ||
                      !within_reserved(start, bytes))) {
        code = 1;
    }
    code = code != 0 ? code : add_span(mappings, MAPPINGS, start, bytes);
    if (code == 0 && mmap(start, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
                          allocation->fd, 0) == MAP_FAILED) {
        span_of(mappings, MAPPINGS, start, bytes)->bytes = 0;
        code = 2;
    }
    pthread_mutex_unlock(&mutex);
    return code;
}

static int unmap(uint64_t address, size_t bytes)
{
    int code = standin_enter("cuMemUnmap", false);
    code = code != 0 ? code : standin_unsafe();
    uint8_t *start = host(address);
    pthread_mutex_lock(&mutex);
    struct span *span = span_of(mappings, MAPPINGS, start, bytes);
    if (code == 0 && span == NULL) {
        code = 1;
    } else if (code == 0) {
        standin_withdraw(start, bytes);
        (void)mmap(start, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        span->bytes = 0;
    }
    pthread_mutex_unlock(&mutex);
    return code;
}

static int set_access(uint64_t address, size_t bytes, const struct access *access, size_t count)
{
    int code = standin_enter("cuMemSetAccess", false);
    uint8_t *start = host(address);
    size_t mapped = 0;
    pthread_mutex_lock(&mutex);
    for (unsigned i = 0; i < MAPPINGS; i++) {
        const bool in = mappings[i].start >= start && mappings[i].start < start + bytes;
        mapped += in ? mappings[i].bytes : 0;
    }
    pthread_mutex_unlock(&mutex);
    if (code == 0 && (mapped != bytes || count != 1 || access->location.type != 1 ||
                      access->location.id >= standin_devices_now() || access->flags != 3)) {
        code = 1;
    }
    return code != 0 ? code : standin_give(start, bytes);
}

/* ---- modules ---- */

static int module_load(void **module, const void *image)
{
    static int the_module;
    const int code = standin_enter("cuModuleLoadData", true);
    if (code != 0 || image == NULL) {
        return code != 0 ? code : 1;
    }
    *module = &the_module; /* whatever the image is: the kernels are our own */
    return 0;
}

static int module_function(const void **function, void *module, const char *name)
{
    const int code = standin_enter("cuModuleGetFunction", true);
    if (code != 0 || module == NULL) {
        return code != 0 ? code : 1;
    }
    *function = standin_kernel(name);
    return *function == NULL ? 500 : 0;
}

static int module_unload(void *module)
{
    const int code = standin_enter("cuModuleUnload", true);
    return code != 0 ? code : module == NULL ? 1 : 0;
}

void *standin_memory_entry(const char *name)
{
    static const struct {
        const char *name;
        void (*entry)(void);
    } entries[] = {
#define E(name, function) {name, (void (*)(void))function}
        E("cuMemGetAllocationGranularity", granularity),
        E("cuMemCreate", create),
        E("cuMemRelease", release),
        E("cuMemExportToShareableHandle", export_handle),
        E("cuMemImportFromShareableHandle", import_handle),
        E("cuMemAddressReserve", reserve),
        E("cuMemAddressFree", unreserve),
        E("cuMemMap", map),
        E("cuMemUnmap", unmap),
        E("cuMemSetAccess", set_access),
        E("cuModuleLoadData", module_load),
        E("cuModuleGetFunction", module_function),
        E("cuModuleUnload", module_unload),
    };
    void *found = NULL;
    for (size_t i = 0; i < sizeof entries / sizeof *entries && found == NULL; i++) {
        if (strcmp(entries[i].name, name) == 0) {
            memcpy(&found, &entries[i].entry, sizeof found);
        }
    }
    return found;
}
