/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: data without control is removed by create, list and reap, unless its creation goes on;
 * control without data gives way to a new ring; a removal that was killed after its first step is
 * made good by the next open, and one that comes too late does not remove the ring that took the
 * name; a vanishing ring that nobody has open goes at the next look, and one that somebody has
 * open stays.
 * Faults: A8, C6.
 */
#define _GNU_SOURCE
#include "base/os.h"
#include "base/sequence.h"
#include "ring/handle.h"
#include "ring/ring_name.h"
#include "proc.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

static char name[64];

static struct slipring_ring *create(uint32_t flags)
{
    struct slipring_config config;
    struct slipring_ring *ring;
    struct slipring_error error;
    slipring_config_init(&config);
    config.slot_bytes = 64;
    config.slots = 8;
    config.members_max = 4;
    config.flags = flags;
    const int code = slipring_ring_create(name, &config, &ring, &error);
    if (code != 0) {
        FAIL("%d %s: %s", code, error.call, error.text);
    }
    return ring;
}

static int open_it(void)
{
    struct slipring_ring *ring = NULL;
    const int code = slipring_ring_open(name, 0, &ring, NULL);
    slipring_ring_close(ring);
    return code;
}

static bool exists(const char *path)
{
    struct stat status;
    return lstat(path, &status) == 0;
}

static void litter(void)
{
    struct slipring_ring *ring = create(0);
    char control[SLR_PATH_BYTES], data[SLR_PATH_BYTES];
    slr_name_control_path(name, control);
    slr_name_data_path(name, ring->segment.geometry.uuid, data);
    slipring_ring_close(ring);
    struct slipring_reaped reaped;

    /* A ring with its control is no litter. */
    CHECK_EQ(slipring_ring_reap(NULL, &reaped, NULL), 0);
    CHECK(exists(data) && exists(control));
    /* Data alone, its maker still there: left alone. */
    CHECK(unlink(control) == 0);
    const int fd = open(data, O_RDWR);
    CHECK(fd >= 0);
    CHECK_EQ(slr_os_lock(fd, SLR_LOCK_PRESENCE, true), 0);
    CHECK_EQ(slipring_ring_reap(name, &reaped, NULL), -ENOENT);
    CHECK(exists(data));
    close(fd);
    CHECK_EQ(slipring_ring_reap(name, &reaped, NULL), 0);
    CHECK_EQ(reaped.litter, 1);
    CHECK(!exists(data));
    /* Control alone: what creation and removal never leave, but a rough user may. */
    ring = create(0);
    slr_name_data_path(name, ring->segment.geometry.uuid, data);
    slipring_ring_close(ring);
    CHECK(unlink(data) == 0);
    CHECK_EQ(open_it(), -EBADMSG);
    slipring_ring_close(create(0)); /* takes the name over */
    CHECK_EQ(open_it(), 0);
    CHECK_EQ(slipring_ring_unlink(name, NULL), 0);
    CHECK(!exists(control));
}

/* Killed between the flag and the unlink: the ring stays, and is found by the short way again. */
static void half_removed(void)
{
    struct slipring_ring *ring = create(0), *again;
    slr_store32(&ring->segment.control->orphaned, 1);
    CHECK_EQ(slipring_ring_open(name, 0, &again, NULL), 0);
    CHECK(again == ring);
    CHECK_EQ(slr_load32(&ring->segment.control->orphaned), 0);
    slipring_ring_close(again);
    slipring_ring_close(ring);
    CHECK_EQ(slipring_ring_unlink(name, NULL), 0);
    CHECK_EQ(slipring_ring_unlink(name, NULL), -ENOENT);
}

/* Who means to remove a ring whose name another one took meanwhile removes nothing. */
static void taken_over(void)
{
    struct slipring_ring *old = create(0);
    CHECK_EQ(slipring_ring_unlink(name, NULL), 0);
    struct slipring_ring *other = create(0);
    CHECK_EQ(slr_ring_name_remove(name, old->segment.control_fd, old->segment.geometry.uuid),
             -ENOENT);
    CHECK_EQ(slr_load32(&other->segment.control->orphaned), 0);
    slipring_ring_close(old);
    slipring_ring_close(other);
    CHECK_EQ(open_it(), 0);
    CHECK_EQ(slipring_ring_unlink(name, NULL), 0);
}

static int ignore(void *user, const char *listed, enum slipring_listed kind)
{
    (void)user;
    (void)kind;
    CHECK(strcmp(listed, name) != 0);
    return 0;
}

/* The last member was killed: all that it leaves is unlocked. */
static void leave_dead(void)
{
    const pid_t child = fork();
    if (child == 0) {
        (void)create(SLIPRING_VANISH);
        raise(SIGKILL);
    }
    int status;
    CHECK(child > 0 && waitpid(child, &status, 0) == child && WIFSIGNALED(status));
}

static void vanish(void)
{
    struct slipring_reaped reaped;
    char control[SLR_PATH_BYTES];
    slr_name_control_path(name, control);

    leave_dead();
    CHECK(exists(control));
    CHECK_EQ(open_it(), -ENOENT);
    CHECK(!exists(control));
    leave_dead();
    CHECK_EQ(slipring_ring_list(ignore, NULL), 0);
    CHECK(!exists(control));
    leave_dead();
    CHECK_EQ(slipring_ring_reap(NULL, &reaped, NULL), 0);
    CHECK(reaped.rings >= 1 && !exists(control));
    leave_dead();
    struct slipring_ring *ring = create(SLIPRING_VANISH);
    CHECK_EQ(slipring_ring_reap(name, &reaped, NULL), 0);
    CHECK_EQ(reaped.rings, 0);
    CHECK(exists(control));
    struct slipring_ring *again;
    CHECK_EQ(slipring_ring_open(name, 0, &again, NULL), 0);
    slipring_ring_close(ring);
    CHECK(exists(control));
    slipring_ring_close(again);
    CHECK(!exists(control));
}

int main(void)
{
    proc_begin(30);
    proc_alone();
    snprintf(name, sizeof name, "test-litter-%d", (int)getpid());
    litter();
    half_removed();
    taken_over();
    vanish();
    return 0;
}
