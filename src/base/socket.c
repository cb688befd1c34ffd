/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "base/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

union ancillary {
    char bytes[CMSG_SPACE(SLR_DESCRIPTORS_MAX * sizeof(int))];
    struct cmsghdr align;
};

void slr_descriptors_close(struct slr_descriptors *descriptors)
{
    for (uint32_t i = 0; i < descriptors->count; i++) {
        close(descriptors->fd[i]);
    }
    descriptors->count = 0;
}

int slr_socket_send(int socket, const void *message, size_t bytes,
                    const struct slr_descriptors *descriptors, size_t *sent)
{
    union ancillary control;
    const size_t size = descriptors->count * sizeof(int);
    memset(&control, 0, sizeof control);
    *sent = 0;
    while (*sent < bytes) {
        struct iovec part = {.iov_base = (char *)(uintptr_t)message + *sent,
                             .iov_len = bytes - *sent};
        struct msghdr head = {.msg_iov = &part, .msg_iovlen = 1};
        if (*sent == 0) { /* the descriptors go with the first byte */
            head.msg_control = control.bytes;
            head.msg_controllen = CMSG_SPACE(size);
            struct cmsghdr *rights = CMSG_FIRSTHDR(&head);
            rights->cmsg_level = SOL_SOCKET;
            rights->cmsg_type = SCM_RIGHTS;
            rights->cmsg_len = CMSG_LEN(size);
            memcpy(CMSG_DATA(rights), descriptors->fd, size);
        }
        const ssize_t count = sendmsg(socket, &head, MSG_NOSIGNAL);
        if (count < 0 && errno != EINTR) {
            return -errno;
        }
        *sent += count < 0 ? 0 : (size_t)count;
    }
    return 0;
}

/* Add the descriptors of one received part; close those beyond the room. */
static void collect_descriptors(struct msghdr *head, struct slr_descriptors *descriptors)
{
    for (struct cmsghdr *at = CMSG_FIRSTHDR(head); at != NULL; at = CMSG_NXTHDR(head, at)) {
        if (at->cmsg_level != SOL_SOCKET || at->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        const size_t sent = (at->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < sent; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(at) + i * sizeof fd, sizeof fd);
            if (descriptors->count < SLR_DESCRIPTORS_MAX) {
                descriptors->fd[descriptors->count++] = fd;
            } else {
                close(fd);
            }
        }
    }
}

/* Why the kernel left descriptors out: this process may open no more of them (or could not a moment
 * ago), or the sender sent more than we have room for. */
static int why_truncated(int socket, uint32_t count, uint32_t expected)
{
    const int spare = fcntl(socket, F_DUPFD_CLOEXEC, 0);
    if (spare < 0) {
        return -errno;
    }
    close(spare);
    return count < expected ? -EMFILE : -EBADMSG;
}

int slr_socket_receive(int socket, void *message, size_t bytes, uint64_t magic, uint32_t expected,
                       struct slr_descriptors *descriptors)
{
    union ancillary control;
    size_t filled = 0;
    descriptors->count = 0;
    while (filled < bytes) {
        struct iovec part = {.iov_base = (char *)message + filled, .iov_len = bytes - filled};
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
        collect_descriptors(&head, descriptors);
        if ((head.msg_flags & MSG_CTRUNC) != 0) {
            return why_truncated(socket, descriptors->count, expected);
        }
        if (got == 0) {
            return filled == 0 ? -EPIPE : -EBADMSG;
        }
        filled += (size_t)got;
        /* Told at once: the sender of another kind of message may send less than we wait for. */
        if (filled >= sizeof magic && memcmp(message, &magic, sizeof magic) != 0) {
            return -EBADMSG;
        }
    }
    return 0;
}
