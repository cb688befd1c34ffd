/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Handing slots in GPU memory on: one message with the plan, and the memory's descriptor. Descriptors
 * go by SCM_RIGHTS, which needs no common process or network namespace, as taking one out of another
 * process would.
 */
#define _GNU_SOURCE
#include "slots.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CALL_SEND "slipring_cuda_slots_send"
#define CALL_RECEIVE "slipring_cuda_slots_receive"
#define DESCRIPTORS_MAX 4 /* room, so that a wrong sender's are seen and closed */
#define BYTES_MAX (UINT64_C(1) << 62)

/* ---- sending ---- */

int slipring_cuda_slots_send(const struct slipring_cuda_slots *slots, int socket,
                             struct slipring_error *error)
{
    const int unusable = slr_cuda_unusable(slots, CALL_SEND, error);
    if (unusable != 0) {
        return unusable;
    }
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    memset(&control, 0, sizeof control);
    size_t sent = 0;
    while (sent < sizeof slots->plan) {
        struct iovec part = {.iov_base = (char *)(uintptr_t)&slots->plan + sent,
                             .iov_len = sizeof slots->plan - sent};
        struct msghdr head = {.msg_iov = &part, .msg_iovlen = 1};
        if (sent == 0) { /* the descriptor goes with the first byte */
            head.msg_control = control.bytes;
            head.msg_controllen = sizeof control.bytes;
            struct cmsghdr *rights = CMSG_FIRSTHDR(&head);
            rights->cmsg_level = SOL_SOCKET;
            rights->cmsg_type = SCM_RIGHTS;
            rights->cmsg_len = CMSG_LEN(sizeof(int));
            memcpy(CMSG_DATA(rights), &slots->descriptor, sizeof(int));
        }
        const ssize_t count = sendmsg(socket, &head, MSG_NOSIGNAL);
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0) {
            const int code = -errno;
            return slr_cuda_error(error, code, "sendmsg",
                                  "cannot send over descriptor %d (errno %d): it must be a "
                                  "connected AF_UNIX socket whose other end is open%s",
                                  socket, -code,
                                  sent != 0 ? "; part of it was sent, so close it" : "");
        }
        sent += (size_t)count;
    }
    return 0;
}

/* ---- receiving ---- */

/* Keep the first descriptors that came; close what is beyond the room. */
static void collect(struct msghdr *head, int *descriptors, uint32_t *count)
{
    for (struct cmsghdr *at = CMSG_FIRSTHDR(head); at != NULL; at = CMSG_NXTHDR(head, at)) {
        if (at->cmsg_level != SOL_SOCKET || at->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        const size_t sent = (at->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < sent; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(at) + i * sizeof fd, sizeof fd);
            if (*count < DESCRIPTORS_MAX) {
                descriptors[(*count)++] = fd;
            } else {
                close(fd);
            }
        }
    }
}

/* 0, -EPIPE, -EMFILE, -EBADMSG or the errno of recvmsg; descriptors are to be closed in any case. */
static int receive_plan(int socket, struct slr_cuda_slots_plan *plan, int *descriptors,
                        uint32_t *count)
{
    union {
        char bytes[CMSG_SPACE(DESCRIPTORS_MAX * sizeof(int))];
        struct cmsghdr align;
    } control;
    size_t filled = 0;
    while (filled < sizeof *plan) {
        struct iovec part = {.iov_base = (char *)plan + filled, .iov_len = sizeof *plan - filled};
        struct msghdr head = {.msg_iov = &part,
                              .msg_iovlen = 1,
                              .msg_control = control.bytes,
                              .msg_controllen = sizeof control.bytes};
        const ssize_t got = recvmsg(socket, &head, MSG_CMSG_CLOEXEC);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return -errno;
        }
        collect(&head, descriptors, count);
        if ((head.msg_flags & MSG_CTRUNC) != 0) {
            return *count == 0 ? -EMFILE : -EBADMSG;
        }
        if (got == 0) {
            return filled == 0 ? -EPIPE : -EBADMSG;
        }
        filled += (size_t)got;
        if (filled >= sizeof plan->magic && plan->magic != SLR_CUDA_SLOTS_MAGIC) {
            return -EBADMSG; /* who sends something else may send less than a plan */
        }
    }
    return *count == 1 ? 0 : -EBADMSG;
}

/* Is the plan one that this library makes? Its fields are looked at when they are laid out. */
static int check_plan(const struct slr_cuda_slots_plan *plan)
{
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
                   int *descriptor, struct slipring_cuda_slots **out, struct slipring_error *error)
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
    code = code != 0 ? code : import(slots, *descriptor, error);
    if (code != 0) {
        slipring_cuda_slots_close(slots);
        return code;
    }
    slots->descriptor = *descriptor;
    *descriptor = -1;
    *out = slots;
    return 0;
}

int slipring_cuda_slots_receive(struct slipring_cuda *cuda, int socket,
                                struct slipring_cuda_slots **slots, struct slipring_error *error)
{
    struct slr_cuda_slots_plan plan;
    int descriptors[DESCRIPTORS_MAX] = {-1, -1, -1, -1};
    uint32_t count = 0;
    const int unusable = slr_cuda_unusable(cuda, CALL_RECEIVE, error);
    if (unusable != 0) {
        return unusable;
    }
    memset(&plan, 0, sizeof plan);
    int code = receive_plan(socket, &plan, descriptors, &count);
    code = code != 0 ? code : check_plan(&plan);
    if (code != 0) {
        (void)fail_receive(code, socket, error);
    } else {
        code = receive(cuda, &plan, &descriptors[0], slots, error);
    }
    for (uint32_t i = 0; i < DESCRIPTORS_MAX; i++) {
        if (descriptors[i] >= 0) {
            close(descriptors[i]);
        }
    }
    return code;
}
