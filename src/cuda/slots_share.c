/* SPDX-License-Identifier: Apache-2.0 */
/* Handing slots in GPU memory on: one message with the plan, and the memory's descriptor. */
#define _GNU_SOURCE
#include "base/socket.h"
#include "slots.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define CALL_SEND "slipring_cuda_slots_send"
#define CALL_RECEIVE "slipring_cuda_slots_receive"
#define BYTES_MAX (UINT64_C(1) << 62)

/* ---- sending ---- */

int slipring_cuda_slots_send(const struct slipring_cuda_slots *slots, int socket,
                             struct slipring_error *error)
{
    const int unusable = slr_cuda_unusable(slots, CALL_SEND, error);
    if (unusable != 0) {
        return unusable;
    }
    const struct slr_descriptors descriptors = {.fd = {slots->descriptor}, .count = 1};
    size_t sent;
    const int code = slr_socket_send(socket, &slots->plan, sizeof slots->plan, &descriptors, &sent);
    if (code < 0) {
        return slr_cuda_error(error, code, "sendmsg",
                              "cannot send over descriptor %d (errno %d): it must be a connected "
                              "AF_UNIX socket whose other end is open%s",
                              socket, -code, sent != 0 ? "; part of it was sent, so close it" : "");
    }
    return 0;
}

/* ---- receiving ---- */

/* Is the plan one that this library makes? Its fields are looked at when they are laid out. */
static int check_plan(const struct slr_cuda_slots_plan *plan, uint32_t descriptors)
{
    if (descriptors != 1) {
        return -EBADMSG;
    }
    if (plan->version != SLR_CUDA_SLOTS_VERSION) {
        return -EPROTONOSUPPORT;
    }
    const bool good = plan->field_count >= 1 && plan->field_count <= SLIPRING_FIELDS_MAX &&
                      plan->slots >= 1 && plan->stride >= 1 &&
                      plan->stride <= BYTES_MAX / plan->slots;
    return good ? 0 : -EBADMSG;
}

static int fail_receive(int code, int socket, struct slipring_error *error)
{
    const char *why = "it must be a connected AF_UNIX socket";
    if (code == -EPIPE) {
        why = "the other end closed it";
    } else if (code == -EMFILE || code == -ENFILE) {
        why = "no descriptor is left for the slots' memory (ulimit -n)";
    } else if (code == -EBADMSG) {
        why = "what came are no slots sent by slipring_cuda_slots_send()";
    } else if (code == -EPROTONOSUPPORT) {
        why = "another version of libslipring-cuda sent them: use one for all members";
    }
    return slr_cuda_error(error, code, CALL_RECEIVE, "descriptor %d: %s (errno %d)", socket, why,
                          -code);
}

static int import(struct slipring_cuda_slots *slots, int descriptor, struct slipring_error *error)
{
    const struct slr_cuda_driver *driver = slots->driver;
    uint64_t handle = 0;
    slots->bytes = slots->plan.slots * slots->plan.stride;
    int result = driver->push(slots->context);
    if (result != SLR_CU_SUCCESS) {
        return slr_cuda_fail(error, result, "cuCtxPushCurrent", "the device's context is gone");
    }
    slr_cu_context ours;
    int code;
    const int before = slr_cuda_captures_leave(driver);
    result = driver->memory_import(&handle, (void *)(uintptr_t)descriptor, SLR_CU_FILE_DESCRIPTOR);
    if (result != SLR_CU_SUCCESS) {
        code = slr_cuda_fail(error, result, "cuMemImportFromShareableHandle",
                             "the descriptor is no GPU memory that this device can map");
    } else {
        code = slr_cuda_slots_map(slots, handle, error);
    }
    slr_cuda_captures_back(driver, before);
    (void)driver->pop(&ours);
    return code;
}

static int receive(struct slipring_cuda *cuda, const struct slr_cuda_slots_plan *plan,
                   struct slr_descriptors *descriptors, struct slipring_cuda_slots **out,
                   struct slipring_error *error)
{
    struct slipring_cuda_slots *slots = NULL;
    int code = slr_cuda_slots_new(cuda, plan, true, &slots, CALL_RECEIVE, error);
    if (code != 0) {
        return code;
    }
    if (slots->plan.stride < slots->plan.slot_bytes) {
        code = slr_cuda_error(error, -EBADMSG, CALL_RECEIVE,
                              "%" PRIu64 " bytes from slot to slot do not hold the %" PRIu64
                              " of the fields: no slots sent by slipring_cuda_slots_send()",
                              slots->plan.stride, slots->plan.slot_bytes);
    }
    code = code != 0 ? code : import(slots, descriptors->fd[0], error);
    if (code != 0) {
        slipring_cuda_slots_close(slots);
        return code;
    }
    slots->descriptor = descriptors->fd[0];
    descriptors->count = 0;
    *out = slots;
    return 0;
}

int slipring_cuda_slots_receive(struct slipring_cuda *cuda, int socket,
                                struct slipring_cuda_slots **slots, struct slipring_error *error)
{
    struct slr_cuda_slots_plan plan;
    struct slr_descriptors descriptors;
    const int unusable = slr_cuda_unusable(cuda, CALL_RECEIVE, error);
    if (unusable != 0) {
        return unusable;
    }
    memset(&plan, 0, sizeof plan);
    int code =
        slr_socket_receive(socket, &plan, sizeof plan, SLR_CUDA_SLOTS_MAGIC, 1, &descriptors);
    code = code != 0 ? code : check_plan(&plan, descriptors.count);
    if (code != 0) {
        (void)fail_receive(code, socket, error);
    } else {
        code = receive(cuda, &plan, &descriptors, slots, error);
    }
    slr_descriptors_close(&descriptors);
    return code;
}
