/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: nobody who holds an anonymous ring (its creator, a forked child, who received it) can
 * shrink or grow its memory, by descriptor or by opening it anew, nor take a seal off or set one
 * that locks others out, while the ring is in use; a write-sealed one has no holes punched and no
 * bytes written but by its creator's mapping. And the same of a named ring cannot be promised: that
 * it can be truncated by its owner is shown, so that what ring.h says of it stays true.
 * Faults: D2, D3.
 */
#define _GNU_SOURCE
#include "proc.h"

#include <fcntl.h>
#include <sys/mman.h>

#define HOW (&proc_rings[6]) /* tensor */
enum { ATTEMPTS = 50 };

static int reopen(int fd)
{
    char path[40];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    const int opened = open(path, O_RDWR | O_CLOEXEC);
    CHECK(opened >= 0); /* its owner may */
    return opened;
}

static void expect_fixed(int fd, bool write_sealed)
{
    const int punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    CHECK(ftruncate(fd, 0) < 0 && errno == EPERM);
    CHECK(ftruncate(fd, 4096) < 0 && errno == EPERM);
    CHECK(ftruncate(fd, 1 << 30) < 0 && errno == EPERM);
    CHECK(fallocate(fd, 0, 1 << 29, 4096) < 0 && errno == EPERM);
    CHECK(pwrite(fd, "x", 1, 1 << 29) < 0);
    CHECK(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) < 0 && errno == EPERM);
    CHECK(fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE) < 0 && errno == EPERM);
    if (write_sealed) {
        CHECK(fallocate(fd, punch, 0, 4096) < 0 && errno == EPERM);
        CHECK(pwrite(fd, "x", 1, 0) < 0 && errno == EPERM);
        CHECK(mmap(NULL, 4096, PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED && errno == EPERM);
    }
}

static int attack(struct proc *self, void *context)
{
    struct slipring_ring *ring = context, *got;
    int data, control;
    const bool sealed = (proc_info(ring).flags & SLIPRING_WRITE_SEALED) != 0;
    slipring_ring_fds(ring, &data, &control);
    CHECK_EQ(slipring_ring_from_fds(data, control, &got, NULL), 0);
    slipring_ring_fds(got, &data, &control);
    proc_tell(self, 0);
    for (int i = 0; i < ATTEMPTS; i++) {
        const int data_again = reopen(data), control_again = reopen(control);
        expect_fixed(data_again, sealed);
        expect_fixed(control, false);
        expect_fixed(control_again, false);
        close(data_again);
        close(control_again);
    }
    slipring_ring_close(got);
    return 0;
}

static void anonymous(uint32_t flags)
{
    struct slipring_config config;
    proc_config(HOW, &config);
    config.flags = flags;
    struct slipring_ring *ring = proc_create(&config);
    struct slipring_producer *producer = proc_producer(ring);
    struct slipring_consumer *consumer = proc_consumer(ring, HOW, SLIPRING_OLDEST);
    struct slipring_view view;
    struct proc child = proc_start(attack, ring);
    int status, data, control;
    proc_hear(&child);
    while (waitpid(child.pid, &status, WNOHANG) == 0) {
        CHECK_EQ(proc_publish(producer, HOW, 1, 0), 0);
        CHECK_EQ(proc_take(consumer, HOW, &view, 0), 0);
    }
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    slipring_ring_fds(ring, &data, &control);
    expect_fixed(data, (flags & SLIPRING_WRITE_SEALED) != 0);
    expect_fixed(control, false);
    slipring_consumer_detach(consumer);
    slipring_producer_detach(producer);
    slipring_ring_close(ring);
}

static void named(void)
{
    char name[64];
    struct slipring_config config;
    struct slipring_ring *ring, *none;
    int data, control;
    snprintf(name, sizeof(name), "test-seals-%d", (int)getpid());
    proc_config(HOW, &config);
    CHECK_EQ(slipring_ring_create(name, &config, &ring, NULL), 0);
    slipring_ring_fds(ring, &data, &control);
    CHECK(ftruncate(data, 0) == 0);
    slipring_ring_close(ring);
    CHECK_EQ(slipring_ring_open(name, 0, &none, NULL), -EBADMSG);
    CHECK_EQ(slipring_ring_unlink(name, NULL), 0);
}

int main(void)
{
    proc_begin(30);
    anonymous(0);
    anonymous(SLIPRING_WRITE_SEALED);
    named();
    return 0;
}
