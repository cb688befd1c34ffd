/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slots in GPU memory: made by the driver's calls for physical memory (cuMemCreate), which can be
 * handed on as a descriptor and lives for as long as anybody has it, descriptors included. Mapped twice
 * back to back, as the host's payload area is: consecutive slots are consecutive memory across the
 * ring's end too.
 */
#define _GNU_SOURCE
#include "slots.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CALL_CREATE "slipring_cuda_slots_create"
#define FIELD_ALIGN UINT64_C(256)
#define BYTES_MAX (UINT64_C(1) << 62)

/* ---- the plan ---- */

static uint64_t round_up(uint64_t value, uint64_t to)
{
    return (value + to - 1) / to * to;
}

static bool name_good(const struct slr_cuda_slots_plan *plan, uint32_t index)
{
    const char *name = plan->fields[index].name;
    if (name[0] == '\0' || memchr(name, '\0', sizeof plan->fields[index].name) == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < index; i++) {
        if (strcmp(plan->fields[i].name, name) == 0) {
            return false;
        }
    }
    return true;
}

int slr_cuda_slots_lay_out(struct slr_cuda_slots_plan *plan, uint64_t *offsets, const char *call,
                           struct slipring_error *error)
{
    uint64_t at = 0;
    for (uint32_t i = 0; i < plan->field_count; i++) {
        const struct slipring_field *field = &plan->fields[i];
        const uint64_t bits = (uint64_t)field->dtype.bits * field->dtype.lanes;
        uint64_t bytes = 0;
        int code = name_good(plan, i) ? 0 : -EINVAL;
        code = code != 0 ? code
                         : slipring_tensor_bytes(field->dtype, field->ndim, field->shape, &bytes);
        /* Strides of a block count whole elements. */
        if (code == 0 && (bytes == 0 || (bits & (bits - 1)) != 0 || bits > 8 * FIELD_ALIGN)) {
            code = -EINVAL;
        }
        if (code == -EOVERFLOW || bytes > BYTES_MAX - at) {
            return slr_cuda_error(error, -EOVERFLOW, call, "field %" PRIu32 " is too large", i);
        }
        if (code != 0) {
            return slr_cuda_error(error, -EINVAL, call,
                                  "field %" PRIu32
                                  ": needed are a name of its own, a DLPack type of "
                                  "1, 2, 4 ... bytes (no handle) and extents of 1 or more",
                                  i);
        }
        offsets[i] = at;
        at = round_up(at + bytes, FIELD_ALIGN);
        plan->slot_bytes = offsets[i] + bytes;
    }
    return 0;
}

/* The driver has what this takes, and the device can. */
static int look_at_device(const struct slipring_cuda *cuda, const char *call,
                          struct slipring_error *error)
{
    const struct slr_cuda_driver *d = cuda->driver;
    if (d->device_uuid == NULL || d->memory_granularity == NULL || d->memory_create == NULL ||
        d->memory_release == NULL || d->memory_export == NULL || d->memory_import == NULL ||
        d->memory_reserve == NULL || d->memory_unreserve == NULL || d->memory_map == NULL ||
        d->memory_unmap == NULL || d->memory_access == NULL) {
        return slr_cuda_error(error, -ENOTSUP, call,
                              "the driver cannot hand GPU memory on: it is older than CUDA 11.4; "
                              "install a newer one, or keep the slots in the host's memory");
    }
    static const int wanted[] = {SLR_CU_MEMORY_MANAGEMENT_SUPPORTED,
                                 SLR_CU_FILE_DESCRIPTORS_SUPPORTED};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        int supported = 0;
        const int result = d->device_attribute(&supported, wanted[i], cuda->device);
        if (result != SLR_CU_SUCCESS) {
            return slr_cuda_fail(error, result, "cuDeviceGetAttribute", "the device says nothing");
        }
        if (supported == 0) {
            return slr_cuda_error(error, -ENOTSUP, call,
                                  "this device's memory cannot be handed on as a descriptor: keep "
                                  "the slots in the host's memory");
        }
    }
    return 0;
}

/* Of the same ring, on the same GPU? */
static int compare(const struct slr_cuda_slots_plan *plan, const struct slipring_info *info,
                   const uint8_t *device, const char *call, struct slipring_error *error)
{
    if (memcmp(plan->ring, info->uuid, sizeof plan->ring) != 0 || plan->slots != info->slots) {
        return slr_cuda_error(error, -EINVAL, call,
                              "these slots are of another ring than the handle's");
    }
    if (memcmp(plan->device, device, sizeof plan->device) != 0) {
        return slr_cuda_error(
            error, -ENODEV, call,
            "these slots lie on GPU %02x%02x%02x%02x..., which is not the "
            "handle's: register the ring with that one as config.device, and make "
            "it visible here",
            plan->device[0], plan->device[1], plan->device[2], plan->device[3]);
    }
    return 0;
}

int slr_cuda_slots_new(struct slipring_cuda *cuda, const struct slr_cuda_slots_plan *plan,
                       bool received, struct slipring_cuda_slots **out, const char *call,
                       struct slipring_error *error)
{
    const struct slr_cuda_driver *driver = cuda->driver;
    struct slipring_info info = {.struct_size = sizeof info};
    uint8_t device[SLR_CU_UUID_BYTES] = {0};
    int code = look_at_device(cuda, call, error);
    if (code != 0) {
        return code;
    }
    code = slipring_ring_info(cuda->ring, &info);
    if (code != 0) {
        return slr_cuda_error(error, code, call,
                              "libslipring is of another version than libslipring-cuda");
    }
    int result = driver->device_uuid(device, cuda->device);
    if (result != SLR_CU_SUCCESS) {
        return slr_cuda_fail(error, result, "cuDeviceGetUuid",
                             "the device does not say which it is");
    }
    code = received ? compare(plan, &info, device, call, error) : 0;
    if (code != 0) {
        return code;
    }
    struct slipring_cuda_slots *slots = calloc(1, sizeof *slots);
    if (slots == NULL) {
        return slr_cuda_error(error, -ENOMEM, "calloc", "no memory for a handle");
    }
    slots->driver = driver;
    slots->device = cuda->device;
    slots->ordinal = cuda->ordinal;
    slots->descriptor = -1;
    slots->plan = *plan;
    slots->plan.slots = info.slots;
    memcpy(slots->plan.ring, info.uuid, sizeof slots->plan.ring);
    memcpy(slots->plan.device, device, sizeof device);
    code = slr_cuda_slots_lay_out(&slots->plan, slots->offsets, call, error);
    if (code == 0) {
        result = driver->primary_retain(&slots->context, slots->device);
        code = result == SLR_CU_SUCCESS ? 0
                                        : slr_cuda_fail(error, result, "cuDevicePrimaryCtxRetain",
                                                        "the device has no context for us");
    }
    if (code != 0) {
        free(slots);
        return code;
    }
    *out = slots;
    return 0;
}

/* ---- memory ---- */

static struct slr_cu_allocation allocation(const struct slipring_cuda_slots *slots)
{
    return (struct slr_cu_allocation){.type = SLR_CU_ALLOCATION_PINNED,
                                      .handle_types = SLR_CU_FILE_DESCRIPTOR,
                                      .location = {SLR_CU_LOCATION_DEVICE, slots->device}};
}

/* The mappings made, and the reservation. */
static void unmap(struct slipring_cuda_slots *slots, unsigned mapped)
{
    const struct slr_cuda_driver *driver = slots->driver;
    while (mapped-- > 0) {
        (void)driver->memory_unmap(slots->address + mapped * slots->bytes, slots->bytes);
    }
    (void)driver->memory_unreserve(slots->address, 2 * slots->bytes);
    slots->address = 0;
}

int slr_cuda_slots_map(struct slipring_cuda_slots *slots, uint64_t handle,
                       struct slipring_error *error)
{
    const struct slr_cuda_driver *driver = slots->driver;
    const struct slr_cu_access access = {{SLR_CU_LOCATION_DEVICE, slots->device},
                                         SLR_CU_ACCESS_BOTH};
    const char *call = "cuMemAddressReserve";
    unsigned mapped = 0;
    int result = driver->memory_reserve(&slots->address, 2 * slots->bytes, 0, 0, 0);
    if (result == SLR_CU_SUCCESS) {
        call = "cuMemMap";
        for (; mapped < 2 && result == SLR_CU_SUCCESS; mapped += result == SLR_CU_SUCCESS) {
            result = driver->memory_map(slots->address + mapped * slots->bytes, slots->bytes, 0,
                                        handle, 0);
        }
        if (result == SLR_CU_SUCCESS) {
            call = "cuMemSetAccess";
            result = driver->memory_access(slots->address, 2 * slots->bytes, &access, 1);
        }
        if (result != SLR_CU_SUCCESS) {
            unmap(slots, mapped);
        }
    }
    (void)driver->memory_release(handle); /* mappings and descriptors keep the memory */
    return result == SLR_CU_SUCCESS
               ? 0
               : slr_cuda_fail(error, result, call, "the slots' memory cannot be mapped");
}

/* Whole slots in whole pages of the driver. */
static int measure(struct slipring_cuda_slots *slots, struct slipring_error *error)
{
    const struct slr_cu_allocation how = allocation(slots);
    struct slr_cuda_slots_plan *plan = &slots->plan;
    size_t page = 0;
    const int result = slots->driver->memory_granularity(&page, &how, 0);
    if (result != SLR_CU_SUCCESS || page == 0) {
        return slr_cuda_fail(error, result, "cuMemGetAllocationGranularity",
                             "the driver does not say how large its pages are");
    }
    const uint64_t part = page / plan->slots; /* both are powers of two */
    const uint64_t unit = part > FIELD_ALIGN ? part : FIELD_ALIGN;
    plan->stride = round_up(plan->slot_bytes, unit);
    if (plan->stride > BYTES_MAX / plan->slots) {
        return slr_cuda_error(error, -EOVERFLOW, CALL_CREATE,
                              "%" PRIu64 " slots of %" PRIu64
                              " bytes: make the ring, or its fields, "
                              "smaller",
                              plan->slots, plan->stride);
    }
    slots->bytes = plan->stride * plan->slots; /* whole pages: see unit */
    return 0;
}

static int allocate(struct slipring_cuda_slots *slots, struct slipring_error *error)
{
    const struct slr_cuda_driver *driver = slots->driver;
    const struct slr_cu_allocation how = allocation(slots);
    uint64_t handle = 0;
    int result = driver->memory_create(&handle, slots->bytes, &how, 0);
    if (result != SLR_CU_SUCCESS) {
        char what[96];
        snprintf(what, sizeof what, "no %" PRIu64 " MiB of the GPU's memory for the slots",
                 slots->bytes >> 20);
        return slr_cuda_fail(error, result, "cuMemCreate", what);
    }
    result = driver->memory_export(&slots->descriptor, handle, SLR_CU_FILE_DESCRIPTOR, 0);
    if (result != SLR_CU_SUCCESS) {
        slots->descriptor = -1;
        (void)driver->memory_release(handle);
        return slr_cuda_fail(error, result, "cuMemExportToShareableHandle",
                             "no descriptor for the slots' memory: see RLIMIT_NOFILE");
    }
    (void)fcntl(slots->descriptor, F_SETFD, FD_CLOEXEC);
    return slr_cuda_slots_map(slots, handle, error);
}

int slipring_cuda_slots_create(struct slipring_cuda *cuda, const struct slipring_field *fields,
                               uint32_t field_count, struct slipring_cuda_slots **out,
                               struct slipring_error *error)
{
    struct slr_cuda_slots_plan plan = {.magic = SLR_CUDA_SLOTS_MAGIC,
                                       .version = SLR_CUDA_SLOTS_VERSION,
                                       .field_count = field_count};
    struct slipring_cuda_slots *slots = NULL;
    const int unusable = slr_cuda_unusable(cuda, CALL_CREATE, error);
    if (unusable != 0) {
        return unusable;
    }
    if (fields == NULL || field_count == 0 || field_count > SLIPRING_FIELDS_MAX) {
        return slr_cuda_error(error, -EINVAL, CALL_CREATE, "1 to %d fields make a slot",
                              SLIPRING_FIELDS_MAX);
    }
    memcpy(plan.fields, fields, field_count * sizeof *fields);
    int code = slr_cuda_slots_new(cuda, &plan, false, &slots, CALL_CREATE, error);
    if (code != 0) {
        return code;
    }
    code = measure(slots, error);
    if (code == 0) {
        const int result = slots->driver->push(slots->context);
        if (result != SLR_CU_SUCCESS) {
            code = slr_cuda_fail(error, result, "cuCtxPushCurrent", "the device's context is gone");
        } else {
            slr_cu_context ours;
            const int before = slr_cuda_captures_leave(slots->driver);
            code = allocate(slots, error);
            slr_cuda_captures_back(slots->driver, before);
            (void)slots->driver->pop(&ours);
        }
    }
    if (code != 0) {
        slipring_cuda_slots_close(slots);
        return code;
    }
    *out = slots;
    return 0;
}

void slipring_cuda_slots_close(struct slipring_cuda_slots *slots)
{
    if (slots == NULL) {
        return;
    }
    if (!slr_cuda_forked()) {
        slr_cu_context ours;
        const int before = slr_cuda_captures_leave(slots->driver);
        const bool entered = slots->driver->push(slots->context) == SLR_CU_SUCCESS;
        if (slots->address != 0) { /* where the context is gone, too: addresses are the process's */
            unmap(slots, 2);
        }
        if (entered) {
            (void)slots->driver->pop(&ours);
        }
        (void)slots->driver->primary_release(slots->device);
        slr_cuda_captures_back(slots->driver, before);
    }
    if (slots->descriptor >= 0) {
        close(slots->descriptor);
    }
    free(slots);
}

/* ---- what they are ---- */

int slipring_cuda_slots_get_info(const struct slipring_cuda_slots *slots,
                                 struct slipring_cuda_slots_info *info)
{
    if (slots == NULL || info->struct_size != sizeof *info) {
        return -EINVAL;
    }
    *info = (struct slipring_cuda_slots_info){.struct_size = sizeof *info,
                                              .device = slots->ordinal,
                                              .field_count = slots->plan.field_count,
                                              .slots = slots->plan.slots,
                                              .slot_bytes = slots->plan.slot_bytes,
                                              .stride = slots->plan.stride,
                                              .total_bytes = slots->bytes,
                                              .address = slots->address};
    return 0;
}

int slipring_cuda_slots_field(const struct slipring_cuda_slots *slots, uint32_t index,
                              struct slipring_field *field, uint64_t *offset)
{
    if (slots == NULL || index >= slots->plan.field_count) {
        return -EINVAL;
    }
    *field = slots->plan.fields[index];
    if (offset != NULL) {
        *offset = slots->offsets[index];
    }
    return 0;
}

int slipring_cuda_slots_tensor(const struct slipring_cuda_slots *slots, uint64_t sequence,
                               uint64_t count, uint32_t index, struct slipring_tensor *tensor)
{
    if (slots == NULL) {
        return -EINVAL;
    }
    const struct slr_cuda_slots_plan *plan = &slots->plan;
    if (index >= plan->field_count || count == 0 || count > plan->slots) {
        return -EINVAL;
    }
    const struct slipring_field *field = &plan->fields[index];
    const uint64_t bits = (uint64_t)field->dtype.bits * field->dtype.lanes;
    const uint32_t lead = count > 1 ? 1 : 0;
    const uint64_t first = sequence & (plan->slots - 1);
    struct slipring_tensor t = {.dtype = field->dtype, .ndim = field->ndim + lead};
    t.data = (void *)(uintptr_t)(slots->address + first * plan->stride + slots->offsets[index]);
    uint64_t elements = 1;
    for (uint32_t d = field->ndim; d-- > 0;) {
        t.shape[d + lead] = field->shape[d];
        t.strides[d + lead] = (int64_t)elements;
        elements *= (uint64_t)field->shape[d];
    }
    if (lead != 0) {
        t.shape[0] = (int64_t)count;
        t.strides[0] = (int64_t)(plan->stride * 8 / bits);
    }
    t.bytes = (elements * bits + 7) / 8 * count;
    *tensor = t;
    return 0;
}
