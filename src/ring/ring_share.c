/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Handing a ring on: descriptors inherited, or sent over a Unix socket.
 *
 * One message carries a fixed head and one or two descriptors. What is sent are fresh
 * descriptions: control, because locks belong to descriptions and the receiver's must not be ours;
 * data read-only, because who may write it is told by the inode's mode (whoever may reopens it,
 * slr_segment_write()), not by who sent it.
 */
#define _GNU_SOURCE
#include "ring/handle.h"
#include "ring/ring_name.h"
#include "base/os.h"
#include "ring/ring_registry.h"
#include "base/sequence.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CALL_SEND "slipring_ring_send"
#define CALL_RECEIVE "slipring_ring_receive"
#define MAGIC UINT64_C(0x444e455350494c53) /* "SLIPSEND" */
#define DESCRIPTORS_MAX 4                  /* room, so that a wrong sender's are seen and closed */

struct message {
    uint64_t magic;
    uint32_t version;
    uint32_t descriptors; /* 1 data, 2 data and control */
};

/* ---- descriptors ---- */

int slipring_ring_from_fds(int data_fd, int control_fd, struct slipring_ring **ring,
                           struct slipring_error *error)
{
    SLR_NOT_CANCELLED;
    if (ring == NULL || data_fd < 0) {
        return slr_fail(error, -EINVAL, "slipring_ring_from_fds", "%s",
                        ring == NULL ? "ring is NULL" : "data_fd is no descriptor");
    }
    struct slipring_ring *made = slr_registry_setup() == 0 ? calloc(1, sizeof *made) : NULL;
    if (made == NULL) {
        return slr_fail(error, -ENOMEM, "malloc", "no memory for a ring handle");
    }
    made->presence.fd = -1;
    made->read_only = control_fd < 0;
    slr_store32(&made->references, 1);
    int code = slr_segment_from_fds(data_fd, control_fd, &made->segment, error);
    if (code < 0) {
        free(made);
        return code;
    }
    if (!made->read_only) {
        slr_name_of(made->segment.control_fd, made->name);
        code = slr_ring_present(made, error);
    }
    if (code < 0) {
        made->name[0] = '\0'; /* never present: not ours to make vanish */
        slr_ring_drop(made);
        return code;
    }
    slr_segment_lock_pages(&made->segment);
    *ring = made;
    return 0;
}

/* ---- sending ---- */

static int send_message(int socket, const struct message *message, const int *descriptors)
{
    union {
        char bytes[CMSG_SPACE(2 * sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec part = {.iov_base = (void *)(uintptr_t)message, .iov_len = sizeof *message};
    const size_t size = message->descriptors * sizeof(int);
    struct msghdr head = {.msg_iov = &part,
                          .msg_iovlen = 1,
                          .msg_control = control.bytes,
                          .msg_controllen = CMSG_SPACE(size)};
    memset(&control, 0, sizeof control);
    struct cmsghdr *rights = CMSG_FIRSTHDR(&head);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(size);
    memcpy(CMSG_DATA(rights), descriptors, size);

    ssize_t count;
    do {
        count = sendmsg(socket, &head, MSG_NOSIGNAL);
    } while (count < 0 && errno == EINTR);
    if (count < 0) {
        return -errno;
    }
    return count == (ssize_t)sizeof *message ? 0 : -EIO; /* 16 bytes go whole or not at all */
}

int slipring_ring_send(struct slipring_ring *ring, int socket, uint32_t flags,
                       struct slipring_error *error)
{
    SLR_NOT_CANCELLED;
    if (ring == NULL || (flags & ~(uint32_t)SLIPRING_READ_ONLY) != 0) {
        return slr_fail(error, -EINVAL, CALL_SEND, "%s",
                        ring == NULL ? "ring is NULL" : "flags: 0 or SLIPRING_READ_ONLY");
    }
    const struct slr_segment *segment = &ring->segment;
    const bool read_only = ring->read_only || (flags & SLIPRING_READ_ONLY) != 0;
    if (read_only && segment->geometry.full != SLIPRING_OVERWRITE) {
        return slr_fail(error, -EINVAL, CALL_SEND,
                        "a block ring cannot be read without its control object: send it without "
                        "SLIPRING_READ_ONLY");
    }
    const struct message message = {
        .magic = MAGIC, .version = SLR_LAYOUT_VERSION, .descriptors = read_only ? 1 : 2};
    int descriptors[2] = {-1, -1};
    int code = 0;
    descriptors[0] = slr_os_reopen(segment->data_fd, O_RDONLY);
    if (descriptors[0] >= 0 && !read_only) {
        descriptors[1] = slr_os_reopen(segment->control_fd, O_RDWR);
    }
    if (descriptors[0] < 0 || (!read_only && descriptors[1] < 0)) {
        code = descriptors[0] < 0 ? descriptors[0] : descriptors[1];
        code = code == -EACCES ? -EPERM : code;
        (void)slr_fail(error, code, "open", "cannot open the ring's files anew (errno %d)", -code);
    } else {
        code = send_message(socket, &message, descriptors);
        if (code < 0) {
            (void)slr_fail(error, code, "sendmsg",
                           "cannot send over descriptor %d (errno %d): it must be a connected "
                           "AF_UNIX socket whose other end is open",
                           socket, -code);
        }
    }
    for (int i = 0; i < 2; i++) {
        if (descriptors[i] >= 0) {
            close(descriptors[i]);
        }
    }
    return code;
}

/* ---- receiving ---- */

/* Collect the descriptors of one received part; those beyond the room are closed. */
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
static int receive_message(int socket, struct message *message, int *descriptors, uint32_t *count)
{
    union {
        char bytes[CMSG_SPACE(DESCRIPTORS_MAX * sizeof(int))];
        struct cmsghdr align;
    } control;
    size_t filled = 0;

    while (filled < sizeof *message) {
        struct iovec part = {.iov_base = (char *)message + filled,
                             .iov_len = sizeof *message - filled};
        struct msghdr head = {.msg_iov = &part,
                              .msg_iovlen = 1,
                              .msg_control = control.bytes,
                              .msg_controllen = sizeof control.bytes};
        const ssize_t got = recvmsg(socket, &head, MSG_CMSG_CLOEXEC);
        if (got < 0) {
            if (errno == EINTR) {
                continue;
            }
            return -errno;
        }
        collect(&head, descriptors, count);
        if ((head.msg_flags & MSG_CTRUNC) != 0) {
            /* Also what the kernel says when this process has no descriptor left. */
            const int spare = fcntl(socket, F_DUPFD_CLOEXEC, 0);
            if (spare < 0) {
                return -errno;
            }
            close(spare);
            return *count < 2 ? -EMFILE : -EBADMSG;
        }
        if (got == 0) {
            return filled == 0 ? -EPIPE : -EBADMSG;
        }
        filled += (size_t)got;
    }
    const bool known =
        message->magic == MAGIC && message->descriptors == *count && *count >= 1 && *count <= 2;
    if (known && message->version != SLR_LAYOUT_VERSION) {
        return -EPROTONOSUPPORT;
    }
    return known ? 0 : -EBADMSG;
}

static int fail_receive(int code, int socket, struct slipring_error *error)
{
    const char *why = "it must be a connected AF_UNIX socket";
    if (code == -EPIPE) {
        why = "the other end closed it";
    } else if (code == -EMFILE || code == -ENFILE) {
        why = "no descriptor is left for the ring's files (ulimit -n)";
    } else if (code == -EBADMSG) {
        why = "what came is no ring sent by slipring_ring_send()";
    } else if (code == -EPROTONOSUPPORT) {
        why = "the ring has another layout version: use one library version for all members";
    }
    return slr_fail(error, code, CALL_RECEIVE, "descriptor %d: %s (errno %d)", socket, why, -code);
}

int slipring_ring_receive(int socket, struct slipring_ring **ring, struct slipring_error *error)
{
    SLR_NOT_CANCELLED;
    int descriptors[DESCRIPTORS_MAX] = {-1, -1, -1, -1};
    uint32_t count = 0;
    struct message message;

    if (ring == NULL) {
        return slr_fail(error, -EINVAL, CALL_RECEIVE, "ring is NULL");
    }
    int code = receive_message(socket, &message, descriptors, &count);
    if (code < 0) {
        (void)fail_receive(code, socket, error);
    } else {
        code = slipring_ring_from_fds(descriptors[0], descriptors[1], ring, error);
    }
    for (uint32_t i = 0; i < count; i++) {
        close(descriptors[i]);
    }
    return code;
}
