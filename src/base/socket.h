/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Passing file descriptors to another process over a Unix socket.
 *
 * A message has a fixed size and begins with eight bytes that tell what it is. Its descriptors go by
 * SCM_RIGHTS with the first byte. This works across process and network namespaces; taking a descriptor
 * out of another process by pidfd_getfd() would not.
 *
 * libslipring-cuda has a copy of its own, so nothing but the C library is used here.
 */
#ifndef SLR_SOCKET_H
#define SLR_SOCKET_H

#include <stddef.h>
#include <stdint.h>

/* More than any message of ours carries: the surplus of another sender's message is seen and closed. */
#define SLR_DESCRIPTORS_MAX 4

struct slr_descriptors {
    int fd[SLR_DESCRIPTORS_MAX];
    uint32_t count;
};

/* Close them all. */
void slr_descriptors_close(struct slr_descriptors *descriptors);

/* Send a message and its descriptors, of which there must be one at least. 0, or the negative errno of
 * sendmsg(); then *sent bytes were sent before it failed. */
int slr_socket_send(int socket, const void *message, size_t bytes,
                    const struct slr_descriptors *descriptors, size_t *sent);

/* Receive a message of that size whose first eight bytes are magic, with up to `expected` descriptors.
 * The caller checks their number, and closes them after a failure too.
 *   -EPIPE            the other end was closed before anything came
 *   -EMFILE, -ENFILE  this process may not open the descriptors that came
 *   -EBADMSG          it begins otherwise, ends early, or carries too many descriptors
 *   or the negative errno of recvmsg() */
int slr_socket_receive(int socket, void *message, size_t bytes, uint64_t magic, uint32_t expected,
                       struct slr_descriptors *descriptors);

#endif
