/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: a message with descriptors arrives whole, however it is cut up, and its descriptors are not
 * inherited by a program; one that begins otherwise is refused at once, while its sender says no more;
 * one that ends early, or has too many descriptors in one part or in several, is refused or leaves no
 * descriptor open; lack of descriptors is told as that.
 */
#define _GNU_SOURCE
#include "base/socket.h"
#include "kernel.h"
#include "test.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>

#define MAGIC UINT64_C(0x7465732d74736574)

struct message {
    uint64_t magic;
    uint64_t text[7];
};

static int open_fds(void)
{
    int count = 0;
    for (int fd = 0; fd < 256; fd++) {
        count += fcntl(fd, F_GETFD) >= 0;
    }
    return count;
}

/* A receive that waits for more than was sent ends with -EAGAIN. */
static void connect_ends(int ends[2])
{
    const struct timeval patience = {.tv_sec = 2};
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    CHECK(setsockopt(ends[1], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == 0);
}

static void close_ends(const int ends[2])
{
    close(ends[0]);
    close(ends[1]);
}

/* Send some bytes with count times the descriptor 0, as any sender may. */
static void send_part(int socket, const void *bytes, size_t size, size_t count)
{
    union {
        char bytes[CMSG_SPACE(8 * sizeof(int))];
        struct cmsghdr align;
    } control = {{0}};
    struct iovec part = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = size};
    struct msghdr head = {.msg_iov = &part, .msg_iovlen = 1};
    if (count > 0) {
        head.msg_control = control.bytes;
        head.msg_controllen = CMSG_SPACE(count * sizeof(int));
        struct cmsghdr *rights = CMSG_FIRSTHDR(&head);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(count * sizeof(int));
        memset(CMSG_DATA(rights), 0, count * sizeof(int));
    }
    CHECK_EQ(sendmsg(socket, &head, 0), (ssize_t)size);
}

static int receive(int socket, struct message *message, struct slr_descriptors *got)
{
    return slr_socket_receive(socket, message, sizeof *message, MAGIC, 2, got);
}

static void whole(void)
{
    const struct message message = {MAGIC, {1, 2, 3, 4, 5, 6, 7}};
    const struct slr_descriptors two = {.fd = {0, 1}, .count = 2};
    struct slr_descriptors got;
    struct message copy;
    size_t sent;
    int ends[2];
    connect_ends(ends);
    CHECK_EQ(slr_socket_send(ends[0], &message, sizeof message, &two, &sent), 0);
    CHECK_EQ(sent, sizeof message);
    CHECK_EQ(receive(ends[1], &copy, &got), 0);
    CHECK_EQ(got.count, 2);
    CHECK(memcmp(&message, &copy, sizeof copy) == 0);
    for (uint32_t i = 0; i < got.count; i++) {
        CHECK_EQ(fcntl(got.fd[i], F_GETFD), FD_CLOEXEC);
    }
    slr_descriptors_close(&got);

    /* byte for byte, as a slow sender's may come */
    for (size_t i = 0; i < sizeof message; i++) {
        send_part(ends[0], (const char *)&message + i, 1, i == 0 ? 1 : 0);
    }
    CHECK_EQ(receive(ends[1], &copy, &got), 0);
    CHECK_EQ(got.count, 1);
    CHECK(memcmp(&message, &copy, sizeof copy) == 0);
    slr_descriptors_close(&got);
    close_ends(ends);
}

static void begins_otherwise(void)
{
    const uint64_t other = MAGIC + 1;
    struct slr_descriptors got;
    struct message copy;
    int ends[2];
    connect_ends(ends);
    send_part(ends[0], &other, sizeof other, 0);
    CHECK_EQ(receive(ends[1], &copy, &got), -EBADMSG);
    CHECK_EQ(got.count, 0);
    close_ends(ends);
}

static void ends_early(void)
{
    const struct message message = {MAGIC, {0}};
    struct slr_descriptors got;
    struct message copy;
    int ends[2];
    connect_ends(ends);
    send_part(ends[0], &message, sizeof message / 2, 1);
    close(ends[0]);
    CHECK_EQ(receive(ends[1], &copy, &got), -EBADMSG);
    CHECK_EQ(got.count, 1);
    slr_descriptors_close(&got);
    CHECK_EQ(receive(ends[1], &copy, &got), -EPIPE);
    CHECK_EQ(got.count, 0);
    close(ends[1]);
}

static void too_many(bool truncation_is_told)
{
    const struct message message = {MAGIC, {0}};
    struct slr_descriptors got;
    struct message copy;
    int ends[2];
    connect_ends(ends);
    if (truncation_is_told) {
        send_part(ends[0], &message, sizeof message, SLR_DESCRIPTORS_MAX + 1);
        CHECK_EQ(receive(ends[1], &copy, &got), -EBADMSG);
        slr_descriptors_close(&got);
    } else {
        printf("no MSG_CTRUNC here: too many descriptors in one part were not looked at\n");
    }

    send_part(ends[0], &message, 8, SLR_DESCRIPTORS_MAX - 1);
    send_part(ends[0], &message.text, sizeof message.text, SLR_DESCRIPTORS_MAX - 1);
    CHECK_EQ(receive(ends[1], &copy, &got), 0);
    CHECK_EQ(got.count, SLR_DESCRIPTORS_MAX);
    slr_descriptors_close(&got);
    close_ends(ends);
}

static void no_descriptors_left(void)
{
    const struct message message = {MAGIC, {0}};
    struct slr_descriptors got;
    struct message copy;
    struct rlimit old, none;
    int ends[2];
    connect_ends(ends);
    send_part(ends[0], &message, sizeof message, 2);
    CHECK(getrlimit(RLIMIT_NOFILE, &old) == 0);
    none = old;
    const int first_free = dup(0);
    CHECK(first_free > 0);
    close(first_free);
    none.rlim_cur = (rlim_t)first_free;
    CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0);
    const int code = receive(ends[1], &copy, &got);
    CHECK(setrlimit(RLIMIT_NOFILE, &old) == 0);
    CHECK_EQ(code, -EMFILE);
    CHECK_EQ(got.count, 0);
    close_ends(ends);
}

int main(void)
{
    const bool truncation_is_told = kernel_tells_truncation(); /* an emulator loses one meanwhile */
    const int fds = open_fds();
    whole();
    begins_otherwise();
    ends_early();
    too_many(truncation_is_told);
    no_descriptors_left();
    CHECK_EQ(open_fds(), fds);
    return 0;
}
