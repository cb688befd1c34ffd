/* SPDX-License-Identifier: Apache-2.0 */
/* The public calls around page-locking. */
#define _GNU_SOURCE
#include "part.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CALL "slipring_cuda_register"
#define CHUNK_BYTES (UINT64_C(256) << 20)

/* All that this process has registered: no ring twice, and all within one budget. Never locked in a
 * forked child (slr_cuda_forked()). */
static pthread_mutex_t list_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct slipring_cuda *list;

void slipring_cuda_config_init(struct slipring_cuda_config *config)
{
    memset(config, 0, sizeof *config);
    config->struct_size = sizeof *config;
    config->chunk_bytes = CHUNK_BYTES;
}

static int check_config(const struct slipring_cuda_config *config, struct slipring_error *error)
{
    if (config->struct_size != sizeof *config ||
        (config->flags & ~(uint32_t)SLIPRING_CUDA_UNPINNED) != 0 || config->chunk_bytes == 0) {
        return slr_cuda_error(error, -EINVAL, CALL,
                              "config: struct_size, flags or chunk_bytes is not one that this "
                              "library knows; begin with slipring_cuda_config_init()");
    }
    return 0;
}

/* ---- device and memory ---- */

/* An attribute; one that the driver is too old to know is 0. */
static int ask_device(const struct slipring_cuda *cuda, int attribute, int *value,
                      struct slipring_error *error)
{
    const int result = cuda->driver->device_attribute(value, attribute, cuda->device);
    if (result == SLR_CU_INVALID_VALUE) {
        *value = 0;
        return 0;
    }
    return result == SLR_CU_SUCCESS ? 0
                                    : slr_cuda_fail(error, result, "cuDeviceGetAttribute",
                                                    "the device does not say what it can");
}

static int take_device(struct slipring_cuda *cuda, bool pinned, struct slipring_error *error)
{
    const struct slr_cuda_driver *driver = cuda->driver;
    int result = driver->device_get(&cuda->device, cuda->ordinal);
    if (result != SLR_CU_SUCCESS) {
        (void)slr_cuda_fail(error, result, "cuDeviceGet", "no such device");
        if (error != NULL) {
            error->code = -ENODEV;
        }
        return -ENODEV;
    }
    int supported = 0, stores = 0;
    int code = ask_device(cuda, SLR_CU_HOST_REGISTER_SUPPORTED, &supported, error);
    code = code != 0 ? code : ask_device(cuda, SLR_CU_64_BIT_STREAM_MEM_OPS, &stores, error);
    if (code != 0) {
        return code;
    }
    if (pinned && supported == 0) {
        return slr_cuda_error(error, -ENOTSUP, CALL,
                              "the device cannot use memory that a process registers: use "
                              "SLIPRING_CUDA_UNPINNED, copies are then staged");
    }
    cuda->stores = pinned && stores != 0 && driver->write_value != NULL;
    result = driver->primary_retain(&cuda->context, cuda->device);
    return result == SLR_CU_SUCCESS ? 0
                                    : slr_cuda_fail(error, result, "cuDevicePrimaryCtxRetain",
                                                    "the device has no context for us");
}

static int look_at_memory(struct slipring_cuda *cuda, bool pinned, struct slipring_error *error)
{
    cuda->memory.struct_size = sizeof cuda->memory;
    const int code = slipring_ring_memory(cuda->ring, &cuda->memory);
    if (code != 0) {
        return slr_cuda_error(error, code, CALL,
                              "libslipring is of another version than libslipring-cuda");
    }
    if (cuda->memory.releases == NULL) {
        return slr_cuda_error(error, -EINVAL, CALL,
                              "the ring was opened read-only, so no slot of it can be held for a "
                              "copy: open it without SLIPRING_READ_ONLY");
    }
    if (pinned && cuda->memory.write_sealed) {
        return slr_cuda_error(error, -EPERM, CALL,
                              "the ring is write-sealed, and a device can only page-lock what is "
                              "mapped writable: create it without SLIPRING_WRITE_SEALED, or use "
                              "SLIPRING_CUDA_UNPINNED, copies are then staged");
    }
    return 0;
}

/* ---- the list ---- */

static int enlist(struct slipring_cuda *cuda, struct slipring_error *error)
{
    int code = 0;
    uint64_t bytes = cuda->total_bytes;
    pthread_mutex_lock(&list_mutex);
    for (const struct slipring_cuda *other = list; other != NULL; other = other->next) {
        if (other->memory.data == cuda->memory.data) {
            code =
                slr_cuda_error(error, -EBUSY, CALL,
                               "this process has registered the ring already: share that handle");
        }
        bytes += other->total_bytes;
    }
    if (code == 0 && bytes > cuda->budget_bytes) {
        code =
            slr_cuda_error(error, -ENOMEM, CALL,
                           "%" PRIu64 " MiB would be page-locked in this process, and the budget "
                           "is %" PRIu64 " MiB: raise budget_bytes, make the ring smaller, or "
                           "use SLIPRING_CUDA_UNPINNED",
                           bytes >> 20, cuda->budget_bytes >> 20);
    }
    if (code == 0) {
        cuda->next = list;
        list = cuda;
    }
    pthread_mutex_unlock(&list_mutex);
    return code;
}

static void delist(const struct slipring_cuda *cuda)
{
    pthread_mutex_lock(&list_mutex);
    for (struct slipring_cuda **at = &list; *at != NULL; at = &(*at)->next) {
        if (*at == cuda) {
            *at = cuda->next;
            break;
        }
    }
    pthread_mutex_unlock(&list_mutex);
}

/* ---- public ---- */

static void init_sync(struct slipring_cuda *cuda)
{
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&cuda->mutex, NULL);
    pthread_cond_init(&cuda->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    cuda->bell = -1;
}

static void free_cuda(struct slipring_cuda *cuda)
{
    pthread_cond_destroy(&cuda->changed);
    pthread_mutex_destroy(&cuda->mutex);
    free(cuda->pieces);
    free(cuda);
}

static int begin(struct slipring_cuda *cuda, bool pinned, struct slipring_error *error)
{
    if (!pinned) {
        cuda->total_bytes = 0;
        for (uint32_t i = 0; i < cuda->piece_count; i++) {
            cuda->pieces[i].state = SLR_PIECE_REFUSED;
        }
        cuda->state = SLIPRING_CUDA_STAGED;
        (void)slr_cuda_error(&cuda->reason, 0, CALL,
                             "nothing is to be page-locked (SLIPRING_CUDA_UNPINNED): copies are "
                             "staged by the driver");
    }
    const int code = enlist(cuda, error);
    if (code != 0 || !pinned) {
        return code;
    }
    const int begun = slr_cuda_pin_begin(cuda, error);
    if (begun != 0) {
        delist(cuda);
    }
    return begun;
}

int slipring_cuda_register(struct slipring_ring *ring, const struct slipring_cuda_config *config,
                           struct slipring_cuda **out, struct slipring_error *error)
{
    struct slipring_cuda_config defaults;
    slipring_cuda_config_init(&defaults);
    config = config == NULL ? &defaults : config;
    const bool pinned = (config->flags & SLIPRING_CUDA_UNPINNED) == 0;
    const struct slr_cuda_driver *driver = NULL;
    int code = check_config(config, error);
    code = code != 0 ? code : slr_cuda_driver(&driver, CALL, error);
    if (code != 0) {
        return code;
    }
    struct slipring_cuda *cuda = calloc(1, sizeof *cuda);
    if (cuda == NULL) {
        return slr_cuda_error(error, -ENOMEM, "calloc", "no memory for a handle");
    }
    init_sync(cuda);
    cuda->ring = ring;
    cuda->driver = driver;
    cuda->ordinal = config->device;
    cuda->chunk_bytes = config->chunk_bytes;
    cuda->budget_bytes = config->budget_bytes != 0 ? config->budget_bytes
                                                   : slr_cuda_budget("/proc", "/sys/fs/cgroup");
    code = look_at_memory(cuda, pinned, error);
    code = code != 0 ? code : slr_cuda_pin_plan(cuda, error);
    code = code != 0 ? code : take_device(cuda, pinned, error);
    if (code == 0) {
        code = begin(cuda, pinned, error);
        if (code != 0) {
            (void)driver->primary_release(cuda->device);
        }
    }
    if (code != 0) {
        free_cuda(cuda);
        return code;
    }
    *out = cuda;
    return 0;
}

int slipring_cuda_ready(struct slipring_cuda *cuda, int64_t deadline_ns,
                        struct slipring_error *error)
{
    const int unusable = slr_cuda_unusable(cuda, "slipring_cuda_ready", error);
    if (unusable != 0) {
        return unusable;
    }
    const struct timespec until = {.tv_sec = deadline_ns / 1000000000,
                                   .tv_nsec = deadline_ns % 1000000000};
    pthread_mutex_lock(&cuda->mutex);
    int waited = 0;
    while (cuda->state == SLIPRING_CUDA_LOCKING && waited == 0) {
        waited = deadline_ns == SLIPRING_FOREVER
                     ? pthread_cond_wait(&cuda->changed, &cuda->mutex)
                     : pthread_cond_timedwait(&cuda->changed, &cuda->mutex, &until);
    }
    int code = cuda->code;
    if (cuda->state == SLIPRING_CUDA_LOCKING) {
        code = slr_cuda_error(error, -ETIMEDOUT, "slipring_cuda_ready",
                              "%" PRIu64 " of %" PRIu64 " MiB are page-locked so far",
                              cuda->locked_bytes >> 20, cuda->total_bytes >> 20);
    } else if (code != 0 && error != NULL) {
        *error = cuda->reason;
    }
    pthread_mutex_unlock(&cuda->mutex);
    return code;
}

int slipring_cuda_get_info(struct slipring_cuda *cuda, struct slipring_cuda_info *info)
{
    const int unusable = slr_cuda_unusable(cuda, "slipring_cuda_get_info", NULL);
    if (unusable != 0) {
        return unusable;
    }
    if (info->struct_size != sizeof *info) {
        return -EINVAL;
    }
    pthread_mutex_lock(&cuda->mutex);
    *info = (struct slipring_cuda_info){
        .struct_size = sizeof *info,
        .state = cuda->state,
        .device = cuda->ordinal,
        .chunks = cuda->piece_count,
        .chunk_bytes = cuda->chunk_bytes,
        .total_bytes = cuda->total_bytes,
        .locked_bytes = cuda->locked_bytes,
        .foreign_bytes = cuda->foreign_bytes,
        .budget_bytes = cuda->budget_bytes,
        .longest_stall_ns = cuda->longest_stall_ns,
        .locking_ns = cuda->locking_ns,
        .release_by = cuda->stores                          ? SLIPRING_CUDA_BY_STORE
                      : cuda->driver->host_function != NULL ? SLIPRING_CUDA_BY_CALL
                                                            : SLIPRING_CUDA_BY_POLLING,
        .pending = cuda->pending,
        .stale = cuda->stale,
        .lost = cuda->lost,
    };
    snprintf(info->driver, sizeof info->driver, "%s", slipring_cuda_driver());
    snprintf(info->reason, sizeof info->reason, "%s", cuda->reason.text);
    pthread_mutex_unlock(&cuda->mutex);
    return 0;
}

int slipring_cuda_address(struct slipring_cuda *cuda, const void *host, uint64_t bytes,
                          uint64_t *address, struct slipring_error *error)
{
    static const char call[] = "slipring_cuda_address";
    const int unusable = slr_cuda_unusable(cuda, call, error);
    if (unusable != 0) {
        return unusable;
    }
    const struct slipring_memory *memory = &cuda->memory;
    const uint8_t *area = (const uint8_t *)memory->data + memory->area_offset;
    const uint64_t at = (uint64_t)((const uint8_t *)host - area);
    if (bytes == 0 || at >= memory->area_bytes || bytes > 2 * memory->area_bytes) {
        return slr_cuda_error(error, -EINVAL, call, "that is not memory of the ring's slots");
    }
    if (bytes > memory->area_bytes - at) {
        return slr_cuda_error(error, -ERANGE, call,
                              "it wraps at the ring's end, where the device's address ends: use it "
                              "in two parts, or copy");
    }
    int code = 0;
    uint64_t found = 0;
    pthread_mutex_lock(&cuda->mutex);
    for (uint64_t done = 0; done < bytes && code == 0;) {
        const struct slr_cuda_piece *piece = slr_cuda_piece_of(cuda, area + at + done);
        const uint64_t in = (uint64_t)(area + at + done - piece->start);
        if (piece->state != SLR_PIECE_OURS && piece->state != SLR_PIECE_FOREIGN) {
            code = slr_cuda_error(error, -EAGAIN, call,
                                  "it is not page-locked: slipring_cuda_ready() says why");
        } else if (done == 0) {
            found = piece->address + in;
        } else if (piece->address + in != found + done) {
            code = slr_cuda_error(error, -ERANGE, call,
                                  "it crosses two chunks that lie apart for the device: register "
                                  "with a larger chunk_bytes, use it in parts, or copy");
        }
        done += piece->bytes - in;
    }
    pthread_mutex_unlock(&cuda->mutex);
    if (code == 0) {
        *address = found;
    }
    return code;
}

void slipring_cuda_unregister(struct slipring_cuda *cuda)
{
    if (cuda == NULL) {
        return;
    }
    if (slr_cuda_forked()) {
        if (cuda->bell >= 0) {
            close(cuda->bell);
        }
        free(cuda->pieces); /* mutex and locks are the parent's */
        free(cuda);
        return;
    }
    const struct slr_cuda_driver *driver = cuda->driver;
    const int before = slr_cuda_captures_leave(driver);
    slr_cuda_help_end(cuda);
    slr_cuda_produce_end(cuda);
    slr_cuda_pin_end(cuda);
    delist(cuda);
    (void)driver->primary_release(cuda->device);
    slr_cuda_captures_back(driver, before);
    free_cuda(cuda);
}
