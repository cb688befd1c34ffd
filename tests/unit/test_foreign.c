/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: memory that is not sealed against truncation, other files, foreign messages, missing
 * descriptors, and a control object that this user may not open anew, are refused by the right
 * error, and no descriptor is leaked.
 * Faults: D2.
 */
#define _GNU_SOURCE
#include "ring/handle.h"
#include "test.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>

static struct slipring_ring *create(uint32_t flags, uint32_t full)
{
    struct slipring_config config;
    struct slipring_ring *ring;
    slipring_config_init(&config);
    config.slot_bytes = 300;
    config.slots = 8;
    config.members_max = 2;
    config.groups_max = 1;
    config.flags = flags;
    config.full = full;
    CHECK_EQ(slipring_ring_create(NULL, &config, &ring, NULL), 0);
    return ring;
}

static int open_fds(void)
{
    int count = 0;
    for (int fd = 0; fd < 256; fd++) {
        count += fcntl(fd, F_GETFD) >= 0;
    }
    return count;
}

/* The same bytes in memory that somebody could still truncate. */
static int unsealed_copy(int fd, int seals)
{
    const int copy = memfd_create("copy", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    char bytes[4096];
    ssize_t count;
    for (off_t at = 0; (count = pread(fd, bytes, sizeof bytes, at)) > 0; at += count) {
        CHECK(pwrite(copy, bytes, (size_t)count, at) == count);
    }
    CHECK(fcntl(copy, F_ADD_SEALS, seals) == 0);
    return copy;
}

static void refused(void)
{
    struct slipring_ring *made = create(0, SLIPRING_BLOCK), *got = NULL;
    struct slipring_error error;
    int data, control, other[2];
    slipring_ring_fds(made, &data, &control);
    CHECK_EQ(slipring_ring_from_fds(data, control, &got, NULL), 0);
    slipring_ring_close(got);
    CHECK_EQ(slipring_ring_from_fds(control, data, &got, NULL), -EBADMSG);
    CHECK_EQ(slipring_ring_from_fds(-1, control, &got, NULL), -EINVAL);
    CHECK_EQ(slipring_ring_from_fds(1000, control, &got, NULL), -EBADF);
    CHECK(pipe(other) == 0);
    CHECK_EQ(slipring_ring_from_fds(other[0], control, &got, NULL), -EBADMSG);
    close(other[0]);
    close(other[1]);
    const int file = open("/proc/self/status", O_RDONLY | O_CLOEXEC); /* of another file system */
    CHECK_EQ(slipring_ring_from_fds(file, control, &got, &error), -EBADMSG);
    CHECK(strstr(error.text, "no shared memory") != NULL);
    close(file);
    const int fds = open_fds();
    const int seals[] = {0, F_SEAL_GROW, F_SEAL_SHRINK, F_SEAL_GROW | F_SEAL_SHRINK};
    for (int i = 0; i < 4; i++) {
        const int copy = unsealed_copy(control, seals[i]);
        const int code = slipring_ring_from_fds(data, copy, &got, &error);
        CHECK_EQ(code, i < 3 ? -EBADMSG : 0);
        if (code == 0) {
            slipring_ring_close(got);
        } else {
            CHECK(strstr(error.text, "seal") != NULL);
        }
        close(copy);
    }
    CHECK_EQ(open_fds(), fds);
    slipring_ring_close(made);
}

static void foreign(void)
{
    struct slipring_ring *made = create(0, SLIPRING_BLOCK), *got;
    int ends[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    CHECK(write(ends[0], "0123456789abcdef", 16) == 16);
    CHECK_EQ(slipring_ring_receive(ends[1], &got, NULL), -EBADMSG);
    CHECK(write(ends[0], "0123", 4) == 4 && shutdown(ends[0], SHUT_WR) == 0);
    CHECK_EQ(slipring_ring_receive(ends[1], &got, NULL), -EBADMSG);
    close(ends[0]);
    close(ends[1]);
    /* No descriptor left to receive with. */
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    CHECK_EQ(slipring_ring_send(made, ends[0], 0, NULL), 0);
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    const int fds = open_fds();
    const int lowest = dup(ends[0]);
    close(lowest);
    const struct rlimit few = {(rlim_t)lowest, limit.rlim_max};
    CHECK(setrlimit(RLIMIT_NOFILE, &few) == 0);
    CHECK_EQ(slipring_ring_receive(ends[1], &got, NULL), -EMFILE);
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    CHECK_EQ(open_fds(), fds);
    close(ends[0]);
    close(ends[1]);
    slipring_ring_close(made);
}

static void other_user(void)
{
    if (geteuid() != 0) {
        printf("not root: a receiver of another user was not looked at\n");
        return;
    }
    struct slipring_ring *made = create(0, SLIPRING_BLOCK), *got;
    int ends[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    CHECK_EQ(slipring_ring_send(made, ends[0], 0, NULL), 0);
    const pid_t child = fork();
    if (child == 0) {
        struct slipring_error error;
        CHECK(setgid(65534) == 0 && setuid(65534) == 0);
        CHECK_EQ(slipring_ring_receive(ends[1], &got, &error), -EPERM);
        CHECK(strstr(error.text, "mode") != NULL);
        exit(0);
    }
    CHECK_CHILD(child);
    close(ends[0]);
    close(ends[1]);
    slipring_ring_close(made);
}

int main(void)
{
    alarm(30);
    refused();
    foreign();
    other_user();
    return 0;
}
