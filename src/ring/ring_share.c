/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Handing a ring on: descriptors inherited, or sent over a Unix socket.
 *
 * One message carries a fixed head and one or two descriptors. What is sent are fresh
 * descriptions: control, because locks belong to descriptions and the receiver's must not be ours;
 * data read-only, because the inode's mode says which users may write it, not the sender. A process that
 * may write reopens it (slr_segment_write()).
 */
#define _GNU_SOURCE
#include "base/os.h"
#include "base/sequence.h"
#include "base/socket.h"
#include "ring/handle.h"
#include "ring/ring_name.h"
#include "ring/ring_registry.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#define CALL_SEND "slipring_ring_send"
#define CALL_RECEIVE "slipring_ring_receive"
#define MAGIC UINT64_C(0x444e455350494c53) /* "SLIPSEND" */

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

/* A description of our own for the receiver: 0 or a negative errno. */
static int add_description(struct slr_descriptors *descriptors, int fd, int access)
{
    const int opened = slr_os_reopen(fd, access);
    if (opened < 0) {
        return opened;
    }
    descriptors->fd[descriptors->count++] = opened;
    return 0;
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
    struct slr_descriptors descriptors = {.count = 0};
    int code = add_description(&descriptors, segment->data_fd, O_RDONLY);
    if (code == 0 && !read_only) {
        code = add_description(&descriptors, segment->control_fd, O_RDWR);
    }
    if (code < 0) {
        code = code == -EACCES ? -EPERM : code;
        (void)slr_fail(error, code, "open", "cannot open the ring's files anew (errno %d)", -code);
    } else {
        size_t sent;
        code = slr_socket_send(socket, &message, sizeof message, &descriptors, &sent);
        if (code < 0) {
            (void)slr_fail(error, code, "sendmsg",
                           "cannot send over descriptor %d (errno %d): it must be a connected "
                           "AF_UNIX socket whose other end is open%s",
                           socket, -code, sent != 0 ? "; part of it was sent, so close it" : "");
        }
    }
    slr_descriptors_close(&descriptors);
    return code;
}

/* ---- receiving ---- */

static int check_message(const struct message *message, uint32_t descriptors)
{
    if (message->descriptors != descriptors || descriptors < 1 || descriptors > 2) {
        return -EBADMSG;
    }
    return message->version == SLR_LAYOUT_VERSION ? 0 : -EPROTONOSUPPORT;
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
    struct slr_descriptors descriptors;
    struct message message;

    if (ring == NULL) {
        return slr_fail(error, -EINVAL, CALL_RECEIVE, "ring is NULL");
    }
    int code = slr_socket_receive(socket, &message, sizeof message, MAGIC, 2, &descriptors);
    code = code < 0 ? code : check_message(&message, descriptors.count);
    if (code < 0) {
        (void)fail_receive(code, socket, error);
    } else {
        const int control_fd = descriptors.count == 2 ? descriptors.fd[1] : -1;
        code = slipring_ring_from_fds(descriptors.fd[0], control_fd, ring, error);
    }
    slr_descriptors_close(&descriptors);
    return code;
}
