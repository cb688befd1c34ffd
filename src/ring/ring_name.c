/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names of rings and their removal (ring_name.h has the protocol).
 *
 * Every description opened here is private to one call, and its locks are dropped before it is
 * closed. So a child that is forked meanwhile keeps a copy of the descriptor, never the lock.
 */
#define _GNU_SOURCE
#include "ring/ring_name.h"

#include "base/object.h"
#include "base/os.h"
#include "base/sequence.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- what the files hold ---- */

int slr_ring_name_head(int control_fd, struct slr_control_head *head)
{
    struct stat status;
    if (fstat(control_fd, &status) < 0) {
        return -errno;
    }
    const int code = slr_object_read(control_fd, head, sizeof *head, 0);
    if (code < 0) {
        return code;
    }
    return head->magic == SLR_MAGIC_CONTROL && status.st_size >= (off_t)SLR_CONTROL_HEADER
               ? 0
               : -EBADMSG;
}

/* ---- removal ---- */

static int set_orphaned(int control_fd, uint32_t value)
{
    struct slr_control *control =
        mmap(NULL, SLR_CONTROL_HEADER, PROT_READ | PROT_WRITE, MAP_SHARED, control_fd, 0);
    if (control == MAP_FAILED) {
        return -errno;
    }
    slr_store32_release(&control->orphaned, value);
    munmap(control, SLR_CONTROL_HEADER);
    return 0;
}

int slr_ring_name_remove(const char *name, int control_fd, const uint8_t uuid[16])
{
    char path[SLR_PATH_BYTES];
    int code = slr_name_lock(name, control_fd);
    if (code < 0) {
        return code;
    }
    /* The flag first: a process that has the ring open must not go on finding it by a name that
     * somebody else may take. */
    code = set_orphaned(control_fd, 1);
    if (code == 0) {
        slr_name_control_path(name, path);
        if (unlink(path) < 0) {
            code = errno == EACCES ? -EPERM : -errno;
            (void)set_orphaned(control_fd, 0);
        }
    }
    if (code == 0) {
        slr_name_data_path(name, uuid, path);
        (void)unlink(path); /* what is left is litter, and litter is removed by whoever meets it */
    }
    slr_name_unlock(control_fd);
    return code;
}

void slr_ring_name_repair(const char *name, int control_fd, struct slr_control *control)
{
    const int fd = slr_os_reopen(control_fd, O_RDWR);
    if (fd < 0) {
        return;
    }
    if (slr_name_lock(name, fd) == 0) {
        slr_store32_release(&control->orphaned, 0);
        slr_name_unlock(fd);
    }
    close(fd);
}

/* The ring's flags from its data file; -EBADMSG if it is none, -ENOENT if there is none. */
static int read_flags(const char *name, const struct slr_control_head *head, uint32_t *flags,
                      int64_t *created_ns)
{
    static const size_t at = offsetof(struct slr_data, geometry);
    char path[SLR_PATH_BYTES];
    struct stat status;
    uint64_t magic;

    if (head->layout_version != SLR_LAYOUT_VERSION || head->endian != SLR_ENDIAN) {
        return -EPROTONOSUPPORT;
    }
    slr_name_data_path(name, head->uuid, path);
    const int fd = slr_object_open(path, O_RDONLY, &status);
    if (fd < 0) {
        return fd;
    }
    const bool whole =
        slr_object_read(fd, &magic, sizeof magic, 0) == 0 && magic == SLR_MAGIC_DATA &&
        slr_object_read(fd, flags, sizeof *flags, at + offsetof(struct slr_geometry, flags)) == 0 &&
        slr_object_read(fd, created_ns, sizeof *created_ns,
                        at + offsetof(struct slr_geometry, created_ns)) == 0;
    close(fd);
    return whole ? 0 : -EBADMSG;
}

int slr_ring_name_vanish(const char *name)
{
    char path[SLR_PATH_BYTES];
    struct slr_control_head head;
    struct stat status;
    uint32_t flags = 0;
    int64_t created_ns = 0;

    slr_name_control_path(name, path);
    const int fd = slr_object_open(path, O_RDWR, &status);
    if (fd < 0) {
        return fd;
    }
    int code = slr_ring_name_head(fd, &head);
    if (code == 0) {
        code = read_flags(name, &head, &flags, &created_ns);
        const bool goes = code == -ENOENT || (code == 0 && (flags & SLIPRING_VANISH) != 0);
        code = code == -ENOENT ? 0 : code;
        /* Exclusive: no process has it open, and one that opens it meanwhile waits for the
         * outcome. */
        if (goes && slr_os_lock(fd, SLR_LOCK_PRESENCE, false) == 0) {
            code = slr_ring_name_remove(name, fd, head.uuid);
            code = code == 0 ? 1 : code;
            slr_os_unlock(fd, SLR_LOCK_PRESENCE);
        }
    }
    close(fd);
    return code;
}

/* ---- a name that exists ---- */

/* A member that lives, for display: its pid, 0 if none was found. */
static int32_t live_pid(const char *name, int fd, const struct slr_control_head *head)
{
    char path[SLR_PATH_BYTES];
    struct stat status;
    uint64_t cells = 0;
    uint32_t high = 0;
    int32_t pid = 0;

    if (slr_os_locked(fd, SLR_LOCK_PRODUCER) == 1 &&
        slr_object_read(fd, &pid, sizeof pid, offsetof(struct slr_control, producer_pid)) == 0 &&
        pid > 0) {
        return pid;
    }
    slr_name_data_path(name, head->uuid, path);
    const int data = slr_object_open(path, O_RDONLY, &status);
    if (data < 0) {
        return 0;
    }
    (void)slr_object_read(data, &cells, sizeof cells,
                          offsetof(struct slr_data, geometry) +
                              offsetof(struct slr_geometry, cells_offset));
    close(data);
    (void)slr_object_read(fd, &high, sizeof high, offsetof(struct slr_control, cells_high));
    for (uint32_t i = 0; i < high && i < SLR_MEMBERS_MAX && cells < INT64_MAX / 2; i++) {
        const uint64_t at = cells + i * sizeof(struct slr_cell) + offsetof(struct slr_cell, pid);
        if (slr_object_read(fd, &pid, sizeof pid, at) == 0 && pid > 0 &&
            slr_os_locked(fd, SLR_LOCK_CELL + i) == 1) {
            return pid;
        }
    }
    return 0;
}

static void write_age(int64_t ns, char *text, size_t size)
{
    const long long s = ns < 0 ? 0 : (long long)(ns / 1000000000);
    if (s < 120) {
        snprintf(text, size, "%lld s", s);
    } else if (s < 7200) {
        snprintf(text, size, "%lld min", s / 60);
    } else if (s < 172800) {
        snprintf(text, size, "%lld h", s / 3600);
    } else {
        snprintf(text, size, "%lld days", s / 86400);
    }
}

int slr_ring_name_taken(const char *name, struct slipring_error *error)
{
    char path[SLR_PATH_BYTES], age[32], user[48] = "nobody has it open";
    struct slr_control_head head;
    struct stat status = {0};
    uint32_t flags = 0;
    int64_t created_ns = 0;

    slr_name_control_path(name, path);
    const int fd = slr_object_open(path, O_RDONLY, &status);
    if (fd < 0 || slr_ring_name_head(fd, &head) < 0) {
        if (fd >= 0) {
            close(fd);
        }
        (void)lstat(path, &status);
        return slr_fail(error, -EEXIST, "slipring_ring_create",
                        "%.100s exists and is no ring that this user can read (owner uid %u); "
                        "choose another name, or remove the file",
                        path, status.st_uid);
    }
    if (read_flags(name, &head, &flags, &created_ns) < 0) {
        created_ns = (int64_t)status.st_mtim.tv_sec * 1000000000 + status.st_mtim.tv_nsec;
    }
    write_age(slr_os_realtime() - created_ns, age, sizeof age);
    const int32_t pid = live_pid(name, fd, &head);
    if (pid > 0) {
        snprintf(user, sizeof user, "process %d uses it", pid);
    } else if (slr_os_locked(fd, SLR_LOCK_PRESENCE) != 0) {
        snprintf(user, sizeof user, "a process has it open");
    }
    close(fd);
    return slr_fail(error, -EEXIST, "slipring_ring_create",
                    "ring \"%.60s\" exists: made %s ago, owner uid %u, %s; open it, unlink it, or "
                    "choose another name",
                    name, age, status.st_uid, user);
}
