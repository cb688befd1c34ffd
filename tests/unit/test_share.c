/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: a ring sent over a socket, or given by descriptors, is the same memory, keeps living when
 * its maker has closed it, and can be sent on; what is received cannot be truncated, and a
 * write-sealed ring not be written but by its creator and its children; one descriptor gives a
 * read-only ring.
 * Faults: D2, E3.
 */
#define _GNU_SOURCE
#include "base/sequence.h"
#include "ring/handle.h"
#include "test.h"

#include <fcntl.h>
#include <sys/mman.h>
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

static struct slipring_ring *pass(struct slipring_ring *ring, int type, uint32_t flags)
{
    struct slipring_ring *got;
    struct slipring_error error;
    int ends[2];
    CHECK(socketpair(AF_UNIX, type, 0, ends) == 0);
    CHECK_EQ(slipring_ring_send(ring, ends[0], flags, NULL), 0);
    if (slipring_ring_receive(ends[1], &got, &error) != 0) {
        FAIL("%d %s: %s", error.code, error.call, error.text);
    }
    close(ends[0]);
    CHECK_EQ(slipring_ring_receive(ends[1], &ring, &error), -EPIPE);
    close(ends[1]);
    return got;
}

static void handed_on(int type)
{
    const int fds = open_fds();
    struct slipring_ring *made = create(0, SLIPRING_BLOCK);
    struct slipring_ring *second = pass(made, type, 0);
    CHECK(second->segment.data != made->segment.data);
    slr_store32(&made->segment.control->reserved[0], 5);
    slipring_ring_close(made);
    struct slipring_ring *third = pass(second, type, 0);
    slipring_ring_close(second);
    CHECK_EQ(slr_load32(&third->segment.control->reserved[0]), 5);
    CHECK_STR(slipring_ring_name(third), "");
    CHECK_EQ(slr_segment_write(&third->segment, NULL), 0); /* any member may become producer */
    third->segment.payload[0] = 1;
    slr_segment_write_end(&third->segment);
    int data, control;
    slipring_ring_fds(third, &data, &control);
    CHECK(ftruncate(control, 0) < 0 && errno == EPERM);
    CHECK(ftruncate(control, 1 << 30) < 0 && errno == EPERM);
    slipring_ring_close(third);
    CHECK_EQ(open_fds(), fds);
}

static void sealed(void)
{
    struct slipring_error error;
    struct slipring_ring *made = create(SLIPRING_WRITE_SEALED, SLIPRING_BLOCK);
    struct slipring_ring *got = pass(made, SOCK_SEQPACKET, 0);
    CHECK_EQ(slr_segment_write(&got->segment, &error), -EPERM);
    CHECK(strstr(error.text, "write-sealed") != NULL);
    CHECK(mmap(NULL, 4096, PROT_WRITE, MAP_SHARED, made->segment.data_fd, 0) == MAP_FAILED);
    CHECK_EQ(slr_segment_write(&made->segment, NULL), 0);
    made->segment.payload[1] = 9;
    CHECK_EQ(got->segment.payload[1], 9);
    const pid_t child = fork();
    if (child == 0) { /* the creator's forked child may as well */
        slr_segment_write_end(&made->segment);
        CHECK_EQ(slr_segment_write(&made->segment, NULL), 0);
        made->segment.payload[1] = 10;
        exit(0);
    }
    CHECK_CHILD(child);
    CHECK_EQ(got->segment.payload[1], 10);
    slipring_ring_close(made);
    slipring_ring_close(got);
}

static void read_only(void)
{
    struct slipring_ring *made = create(0, SLIPRING_OVERWRITE), *none;
    struct slipring_ring *got = pass(made, SOCK_STREAM, SLIPRING_READ_ONLY);
    int data, control, ends[2];
    slipring_ring_fds(got, &data, &control);
    CHECK(data >= 0 && control == -1 && got->segment.control == NULL);
    CHECK((fcntl(data, F_GETFL) & O_ACCMODE) == O_RDONLY);
    struct slipring_ring *more = pass(got, SOCK_STREAM, 0); /* no more than it has itself */
    CHECK(more->read_only);
    slipring_ring_close(more);
    slipring_ring_close(got);
    slipring_ring_close(made);
    made = create(0, SLIPRING_BLOCK);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    CHECK_EQ(slipring_ring_send(made, ends[0], SLIPRING_READ_ONLY, NULL), -EINVAL);
    slipring_ring_fds(made, &data, &control);
    CHECK_EQ(slipring_ring_from_fds(data, -1, &none, NULL), -EINVAL);
    close(ends[1]);
    CHECK_EQ(slipring_ring_send(made, ends[0], 0, NULL), -EPIPE); /* an error, not a signal */
    close(ends[0]);
    CHECK_EQ(slipring_ring_send(made, data, 0, NULL), -ENOTSOCK);
    slipring_ring_close(made);
}

int main(void)
{
    alarm(30);
    handed_on(SOCK_STREAM);
    handed_on(SOCK_SEQPACKET);
    sealed();
    read_only();
    return 0;
}
