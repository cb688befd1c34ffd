/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The CUDA driver, opened by dlopen() on the first GPU call of the process: nothing of CUDA is linked,
 * and none of its headers is needed to build. The few types that we use are declared here, by the
 * driver's documented ABI.
 *
 * Why the driver and not the runtime: it has no "last error" that the application's own CUDA code
 * would later report as its own.
 */
#ifndef SLR_CUDA_DRIVER_H
#define SLR_CUDA_DRIVER_H

#include <slipring/cuda.h>

#include <stddef.h>
#include <stdint.h>

/* CUresult */
enum {
    SLR_CU_SUCCESS = 0,
    SLR_CU_INVALID_VALUE = 1,
    SLR_CU_OUT_OF_MEMORY = 2,
    SLR_CU_NOT_INITIALIZED = 3,
    SLR_CU_STUB_LIBRARY = 34,
    SLR_CU_NO_DEVICE = 100,
    SLR_CU_INVALID_DEVICE = 101,
    SLR_CU_INVALID_CONTEXT = 201,
    SLR_CU_INVALID_HANDLE = 400,
    SLR_CU_NOT_FOUND = 500,
    SLR_CU_NOT_READY = 600,
    SLR_CU_ALREADY_REGISTERED = 712,
    SLR_CU_NOT_REGISTERED = 713,
    SLR_CU_NOT_PERMITTED = 800,
    SLR_CU_NOT_SUPPORTED = 801,
};

/* CUdevice_attribute */
enum {
    SLR_CU_HOST_REGISTER_SUPPORTED = 99,
    SLR_CU_MEMORY_MANAGEMENT_SUPPORTED = 102,
    SLR_CU_FILE_DESCRIPTORS_SUPPORTED = 103,
    SLR_CU_64_BIT_STREAM_MEM_OPS = 122,
};

/* flags of cuMemHostRegister */
enum { SLR_CU_REGISTER_PORTABLE = 1, SLR_CU_REGISTER_DEVICEMAP = 2 };

typedef struct slr_cu_context_st *slr_cu_context;
typedef void *slr_cu_stream;
typedef struct slr_cu_event_st *slr_cu_event;

/* CUDA_MEMCPY2D */
enum { SLR_CU_MEMORY_HOST = 1, SLR_CU_MEMORY_DEVICE = 2 };
struct slr_cu_copy_2d {
    size_t src_x, src_y;
    uint32_t src_type;
    const void *src_host;
    uint64_t src_device;
    void *src_array;
    size_t src_pitch;
    size_t dst_x, dst_y;
    uint32_t dst_type;
    void *dst_host;
    uint64_t dst_device;
    void *dst_array;
    size_t dst_pitch;
    size_t width, height;
};

/* CUstreamBatchMemOpParams, of which we only write values */
enum { SLR_CU_WRITE_VALUE_64 = 5 };
struct slr_cu_mem_op {
    uint32_t operation;
    uint64_t address;
    uint64_t value;
    uint32_t flags; /* 0: a system-wide fence before the store */
    uint64_t alias;
    uint64_t pad;
};
_Static_assert(sizeof(struct slr_cu_mem_op) == 48, "CUstreamBatchMemOpParams");
#define SLR_CU_MEM_OPS_MAX 255u /* in one call: the driver wants less than 256 */

/* CUmemAllocationProp and CUmemAccessDesc, of memory on a device that is handed on as a descriptor */
enum { SLR_CU_ALLOCATION_PINNED = 1, SLR_CU_LOCATION_DEVICE = 1, SLR_CU_ACCESS_BOTH = 3 };
enum { SLR_CU_FILE_DESCRIPTOR = 1 };
struct slr_cu_location {
    int32_t type;
    int32_t id;
};
struct slr_cu_allocation {
    int32_t type;
    int32_t handle_types;
    struct slr_cu_location location;
    void *reserved;
    uint8_t flags[8];
};
_Static_assert(sizeof(struct slr_cu_allocation) == 32, "CUmemAllocationProp");
struct slr_cu_access {
    struct slr_cu_location location;
    int32_t flags;
};
_Static_assert(sizeof(struct slr_cu_access) == 12, "CUmemAccessDesc");
#define SLR_CU_UUID_BYTES 16u

#define SLR_CU_CAPTURE_RELAXED 2
#define SLR_CU_WAIT_GEQ 0u
#define SLR_CU_EVENT_DISABLE_TIMING 2u

/* The entry points; those below the line may be NULL, and whoever needs one has another way. */
struct slr_cuda_driver {
    int (*init)(unsigned flags);
    int (*driver_version)(int *version);
    int (*device_count)(int *count);
    int (*device_get)(int *device, int ordinal);
    int (*device_name)(char *name, int bytes, int device);
    int (*device_attribute)(int *value, int attribute, int device);
    int (*device_pci)(char *text, int bytes, int device);
    int (*primary_retain)(slr_cu_context *context, int device);
    int (*primary_release)(int device);
    int (*push)(slr_cu_context context);
    int (*pop)(slr_cu_context *context);
    int (*host_register)(void *start, size_t bytes, unsigned flags);
    int (*host_unregister)(void *start);
    int (*host_device_pointer)(uint64_t *pointer, void *host, unsigned flags);
    int (*copy_to_device)(uint64_t to, const void *from, size_t bytes, slr_cu_stream stream);
    int (*copy_to_host)(void *to, uint64_t from, size_t bytes, slr_cu_stream stream);
    int (*copy_2d)(const struct slr_cu_copy_2d *copy, slr_cu_stream stream);
    int (*stream_context)(slr_cu_stream stream, slr_cu_context *context);
    int (*stream_capturing)(slr_cu_stream stream, int *status);
    int (*event_create)(slr_cu_event *event, unsigned flags);
    int (*event_record)(slr_cu_event event, slr_cu_stream stream);
    int (*event_query)(slr_cu_event event);
    int (*event_destroy)(slr_cu_event event);
    int (*error_name)(int code, const char **name);
    /* ---- */
    int (*write_value)(slr_cu_stream stream, uint64_t address, uint64_t value, unsigned flags);
    int (*wait_value)(slr_cu_stream stream, uint64_t address, uint64_t value, unsigned flags);
    int (*mem_ops)(slr_cu_stream stream, unsigned count, struct slr_cu_mem_op *ops, unsigned flags);
    int (*host_function)(slr_cu_stream stream, void (*function)(void *user), void *user);
    int (*capture_mode)(int *mode);
    int (*device_uuid)(uint8_t *uuid, int device);
    int (*memory_granularity)(size_t *bytes, const struct slr_cu_allocation *how, int option);
    int (*memory_create)(uint64_t *handle, size_t bytes, const struct slr_cu_allocation *how,
                         uint64_t flags);
    int (*memory_release)(uint64_t handle);
    int (*memory_export)(void *descriptor, uint64_t handle, int type, uint64_t flags);
    int (*memory_import)(uint64_t *handle, void *descriptor, int type);
    int (*memory_reserve)(uint64_t *address, size_t bytes, size_t alignment, uint64_t wanted,
                          uint64_t flags);
    int (*memory_unreserve)(uint64_t address, size_t bytes);
    int (*memory_map)(uint64_t address, size_t bytes, size_t offset, uint64_t handle,
                      uint64_t flags);
    int (*memory_unmap)(uint64_t address, size_t bytes);
    int (*memory_access)(uint64_t address, size_t bytes, const struct slr_cu_access *access,
                         size_t count);
};

/* The driver's table, opened and initialised by the first call. -ENODEV: the text says what is
 * missing, and the next call tries again. -ECHILD: the parent of this process used CUDA. */
int slr_cuda_driver(const struct slr_cuda_driver **driver, const char *call,
                    struct slipring_error *error);

/* Is this a child of the process that opened the driver? Then no lock of this library may be taken
 * and no entry point called. */
int slr_cuda_forked(void);

/* Why a handle that a caller gave cannot be used: -EINVAL, there is none (what should have made it
 * failed); -ECHILD, it is the parent's; else 0. */
int slr_cuda_unusable(const void *handle, const char *call, struct slipring_error *error);

/* This thread stays out of what the application captures into a graph meanwhile, by other streams: else
 * the driver would refuse what may not happen during a capture (to register or free memory, to ask
 * events), and end that capture with an error. Returns what slr_cuda_captures_back() wants; threads of
 * this library's own never go back. */
int slr_cuda_captures_leave(const struct slr_cuda_driver *driver);
void slr_cuda_captures_back(const struct slr_cuda_driver *driver, int before);

/* Fill error from a driver's result, and return its errno value. what: what failed by it. */
int slr_cuda_fail(struct slipring_error *error, int result, const char *call, const char *what);

/* Fill error with a text of our own. */
__attribute__((format(printf, 4, 5))) int slr_cuda_error(struct slipring_error *error, int code,
                                                         const char *call, const char *format, ...);

#endif
