/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names of rings and their removal (ring_name.h has the protocol).
 *
 * Progress: nothing here waits, but for another process's removal of the same name, and for that
 * no longer than UNLINK_WAIT. Every description opened here is private to one call, and its locks
 * are dropped before it is closed: a child forked meanwhile keeps a copy of the descriptor, never
 * the lock.
 */
#define _GNU_SOURCE
#include "ring/ring_name.h"

#include "base/os.h"
#include "base/sequence.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define UNLINK_WAIT INT64_C(1000000000) /* ns */
#define DIGITS 32                       /* of a uuid */

/* ---- rules and paths ---- */

static bool is_name_byte(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-' || c == '+';
}

/* Length of a good name, 0 of a bad one. */
static size_t name_length(const char *name)
{
    size_t length = 0;
    while (length <= SLIPRING_NAME_MAX && name[length] != '\0') {
        if (!is_name_byte(name[length])) {
            return 0;
        }
        length++;
    }
    return length > SLIPRING_NAME_MAX || name[0] == '.' ? 0 : length;
}

int slr_name_check(const char *name, struct slipring_error *error)
{
    if (name == NULL || name_length(name) == 0) {
        return slr_fail(error, -EINVAL, "name",
                        "the name breaks the rule: 1 to %d characters of A-Z a-z 0-9 . _ - +, not "
                        "beginning with a dot",
                        SLIPRING_NAME_MAX);
    }
    return 0;
}

void slr_name_control_path(const char *name, char path[SLR_PATH_BYTES])
{
    snprintf(path, SLR_PATH_BYTES, SLR_SHM "/%s", name);
}

void slr_name_data_path(const char *name, const uint8_t uuid[16], char path[SLR_PATH_BYTES])
{
    int length = snprintf(path, SLR_PATH_BYTES, SLR_SHM "/.%s.", name);
    for (int i = 0; i < 16; i++, length += 2) {
        snprintf(path + length, (size_t)(SLR_PATH_BYTES - length), "%02x", uuid[i]);
    }
}

static int digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool slr_name_split(const char *file, char name[SLIPRING_NAME_MAX + 1], uint8_t uuid[16])
{
    const size_t length = strlen(file);
    if (length < DIGITS + 3 || length - DIGITS - 2 > SLIPRING_NAME_MAX || file[0] != '.' ||
        file[length - DIGITS - 1] != '.') {
        return false;
    }
    for (int i = 0; i < 16; i++) {
        const int high = digit(file[length - DIGITS + 2 * (size_t)i]);
        const int low = digit(file[length - DIGITS + 2 * (size_t)i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        uuid[i] = (uint8_t)(high << 4 | low);
    }
    memcpy(name, file + 1, length - DIGITS - 2);
    name[length - DIGITS - 2] = '\0';
    return name_length(name) != 0;
}

/* ---- what a name leads to ---- */

int slr_name_open(const char *path, int access, struct stat *status)
{
    const int fd = slr_os_open(path, access | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        /* A link, a socket or a directory was planted. */
        return fd == -ELOOP || fd == -ENXIO || fd == -EISDIR ? -EBADMSG : fd;
    }
    int code = 0;
    if (fstat(fd, status) < 0) {
        code = -errno;
    } else if (!S_ISREG(status->st_mode)) {
        code = -EBADMSG;
    }
    if (code < 0) {
        close(fd);
        return code;
    }
    return fd;
}

static ssize_t read_at(int fd, void *buffer, size_t bytes, size_t offset)
{
    ssize_t count;
    do {
        count = pread(fd, buffer, bytes, (off_t)offset);
    } while (count < 0 && errno == EINTR);
    return count < 0 ? -errno : count;
}

int slr_name_head(int control_fd, struct slr_control_head *head)
{
    struct stat status;
    if (fstat(control_fd, &status) < 0) {
        return -errno;
    }
    const ssize_t count = read_at(control_fd, head, sizeof *head, 0);
    if (count < 0) {
        return (int)count;
    }
    return count == (ssize_t)sizeof *head && head->magic == SLR_MAGIC_CONTROL &&
                   status.st_size >= (off_t)SLR_CONTROL_HEADER
               ? 0
               : -EBADMSG;
}

int slr_name_leads_to(const char *name, dev_t device, ino_t inode)
{
    char path[SLR_PATH_BYTES];
    struct stat status;
    slr_name_control_path(name, path);
    if (lstat(path, &status) < 0) {
        return errno == ENOENT ? 0 : -errno;
    }
    return status.st_dev == device && status.st_ino == inode;
}

void slr_name_of(int control_fd, char name[SLIPRING_NAME_MAX + 1])
{
    char link[40], path[SLR_PATH_BYTES];
    struct stat status;
    snprintf(link, sizeof link, "/proc/self/fd/%d", control_fd);
    const ssize_t length = readlink(link, path, sizeof path - 1);
    const size_t directory = strlen(SLR_SHM "/");

    name[0] = '\0';
    if (length <= (ssize_t)directory || strncmp(path, SLR_SHM "/", directory) != 0) {
        return;
    }
    path[length] = '\0';
    if (name_length(path + directory) != 0 && fstat(control_fd, &status) == 0 &&
        slr_name_leads_to(path + directory, status.st_dev, status.st_ino) == 1) {
        strcpy(name, path + directory);
    }
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

/* Take the inode's unlink lock and look whether the name still leads there. */
static int begin_removal(const char *name, int control_fd)
{
    struct stat status;
    if (fstat(control_fd, &status) < 0) {
        return -errno;
    }
    const int code = slr_os_lock_wait(control_fd, SLR_LOCK_UNLINK, slr_os_now() + UNLINK_WAIT);
    if (code < 0) {
        return code;
    }
    const int leads = slr_name_leads_to(name, status.st_dev, status.st_ino);
    if (leads != 1) {
        slr_os_unlock(control_fd, SLR_LOCK_UNLINK);
        return leads < 0 ? leads : -ENOENT;
    }
    return 0;
}

int slr_name_remove(const char *name, int control_fd, const uint8_t uuid[16])
{
    char path[SLR_PATH_BYTES];
    int code = begin_removal(name, control_fd);
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
    slr_os_unlock(control_fd, SLR_LOCK_UNLINK);
    return code;
}

void slr_name_repair(const char *name, int control_fd, struct slr_control *control)
{
    const int fd = slr_os_reopen(control_fd, O_RDWR);
    if (fd < 0) {
        return;
    }
    if (begin_removal(name, fd) == 0) {
        slr_store32_release(&control->orphaned, 0);
        slr_os_unlock(fd, SLR_LOCK_UNLINK);
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
    const int fd = slr_name_open(path, O_RDONLY, &status);
    if (fd < 0) {
        return fd;
    }
    const bool whole =
        read_at(fd, &magic, sizeof magic, 0) == (ssize_t)sizeof magic && magic == SLR_MAGIC_DATA &&
        read_at(fd, flags, sizeof *flags, at + offsetof(struct slr_geometry, flags)) ==
            (ssize_t)sizeof *flags &&
        read_at(fd, created_ns, sizeof *created_ns,
                at + offsetof(struct slr_geometry, created_ns)) == (ssize_t)sizeof *created_ns;
    close(fd);
    return whole ? 0 : -EBADMSG;
}

int slr_name_vanish(const char *name)
{
    char path[SLR_PATH_BYTES];
    struct slr_control_head head;
    struct stat status;
    uint32_t flags = 0;
    int64_t created_ns = 0;

    slr_name_control_path(name, path);
    const int fd = slr_name_open(path, O_RDWR, &status);
    if (fd < 0) {
        return fd;
    }
    int code = slr_name_head(fd, &head);
    if (code == 0) {
        code = read_flags(name, &head, &flags, &created_ns);
        const bool goes = code == -ENOENT || (code == 0 && (flags & SLIPRING_VANISH) != 0);
        code = code == -ENOENT ? 0 : code;
        /* Exclusive: nobody has it open, and who comes meanwhile waits for the outcome. */
        if (goes && slr_os_lock(fd, SLR_LOCK_PRESENCE, false) == 0) {
            code = slr_name_remove(name, fd, head.uuid);
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
        read_at(fd, &pid, sizeof pid, offsetof(struct slr_control, producer_pid)) > 0 && pid > 0) {
        return pid;
    }
    slr_name_data_path(name, head->uuid, path);
    const int data = slr_name_open(path, O_RDONLY, &status);
    if (data < 0) {
        return 0;
    }
    (void)read_at(data, &cells, sizeof cells,
                  offsetof(struct slr_data, geometry) +
                      offsetof(struct slr_geometry, cells_offset));
    close(data);
    (void)read_at(fd, &high, sizeof high, offsetof(struct slr_control, cells_high));
    for (uint32_t i = 0; i < high && i < SLR_MEMBERS_MAX && cells < INT64_MAX / 2; i++) {
        const uint64_t at = cells + i * sizeof(struct slr_cell) + offsetof(struct slr_cell, pid);
        if (read_at(fd, &pid, sizeof pid, at) == (ssize_t)sizeof pid && pid > 0 &&
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

int slr_name_taken(const char *name, struct slipring_error *error)
{
    char path[SLR_PATH_BYTES], age[32], user[48] = "nobody has it open";
    struct slr_control_head head;
    struct stat status = {0};
    uint32_t flags = 0;
    int64_t created_ns = 0;

    slr_name_control_path(name, path);
    const int fd = slr_name_open(path, O_RDONLY, &status);
    if (fd < 0 || slr_name_head(fd, &head) < 0) {
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
