/* SPDX-License-Identifier: Apache-2.0 */
/* Making and opening a shared object (object.h). */
#define _GNU_SOURCE
#include "base/object.h"

#include "base/names.h"
#include "base/os.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define CHUNK (UINT64_C(64) << 20) /* allocated with signals blocked */
#define BLOCK 512                  /* unit of st_blocks */
#define FS_TMPFS 0x01021994
#define FS_HUGETLB 0x958458f6
#define SEAL_SIZE (F_SEAL_SHRINK | F_SEAL_GROW)
#ifndef MFD_HUGETLB
#define MFD_HUGETLB 0x0004u
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008u
#endif
#ifndef MFD_HUGE_2MB
#define MFD_HUGE_2MB (21u << 26)
#endif

/* ---- is there room? ---- */

int slr_object_check_memory(uint64_t bytes, const struct slr_caller *caller)
{
    const uint64_t available = slr_os_memory_available();
    if (available == UINT64_MAX || bytes <= available - available / 16) {
        return 0;
    }
    return slr_fail(caller->error, -ENOSPC, caller->call,
                    "no memory for the %s: %" PRIu64 " MiB are needed, %" PRIu64
                    " MiB are available; ask for %s",
                    caller->thing, (bytes >> 20) + 1, available >> 20, caller->smaller);
}

int slr_object_check_limit(uint64_t bytes, const struct slr_caller *caller)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
        limit.rlim_cur < bytes) {
        return slr_fail(caller->error, -EFBIG, caller->call,
                        "the %s needs files of %" PRIu64 " bytes, this process may write %" PRIu64
                        ": raise the limit (ulimit -f) or ask for a smaller %s",
                        caller->thing, bytes, (uint64_t)limit.rlim_cur, caller->thing);
    }
    return 0;
}

/* ---- making one ---- */

/* memfd_create() says -EINVAL to flags newer than the kernel. */
static int make_memory(bool huge)
{
    const unsigned flags =
        MFD_CLOEXEC | MFD_ALLOW_SEALING | (huge ? MFD_HUGETLB | MFD_HUGE_2MB : 0);
    int fd = memfd_create("slipring", flags | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL) {
        fd = memfd_create("slipring", flags);
    }
    return fd < 0 ? -errno : fd;
}

static int fail_create(const struct slr_object_config *config, const struct slr_caller *caller,
                       const char *call, int code)
{
    return slr_fail(caller->error, code == -EACCES ? -EPERM : code, call,
                    "cannot make the %s's %s (%s failed, errno %d)", caller->thing,
                    config->named ? "files in " SLR_SHM : "memory", call, -code);
}

int slr_object_create(const struct slr_object_config *config, const struct slr_caller *caller,
                      int *fd)
{
    int code = 0;
    *fd = config->named ? slr_os_open(SLR_SHM, O_TMPFILE | O_RDWR) : make_memory(config->huge);
    if (*fd < 0) {
        code = *fd;
        *fd = -1;
        return fail_create(config, caller, config->named ? "open" : "memfd_create", code);
    }
    if (config->gid >= 0 && fchown(*fd, (uid_t)-1, (gid_t)config->gid) < 0) {
        code = -errno;
        return slr_fail(caller->error, code, "fchown",
                        "cannot give the %s to group %" PRId64 " (errno %d): only a group that "
                        "this user is in",
                        caller->thing, config->gid, -code);
    }
    if (fchmod(*fd, (mode_t)config->mode) < 0) { /* whatever the umask took away */
        return fail_create(config, caller, "fchmod", -errno);
    }
    do {
        code = ftruncate(*fd, (off_t)config->bytes) < 0 ? -errno : 0;
    } while (code == -EINTR);
    return code < 0 ? fail_create(config, caller, "ftruncate", code) : 0;
}

/* In chunks, with signals blocked. A call that is interrupted gives all of it back, so that it would never
 * end under a fast timer; and one call for all of a large object would hold up signals for seconds. */
int slr_object_allocate(int fd, uint64_t from, uint64_t bytes)
{
    int code = 0;
    for (uint64_t at = 0; at < bytes && code == 0; at += CHUNK) {
        const uint64_t rest = bytes - at;
        sigset_t all, old;
        sigfillset(&all);
        pthread_sigmask(SIG_BLOCK, &all, &old);
        do {
            code = -posix_fallocate(fd, (off_t)(from + at), (off_t)(rest < CHUNK ? rest : CHUNK));
        } while (code == -EINTR);
        pthread_sigmask(SIG_SETMASK, &old, NULL);
    }
    return code;
}

int slr_object_allocate_all(int fd, const struct slr_object_config *config,
                            const struct slr_caller *caller)
{
    struct statvfs fs;
    const int code = slr_object_allocate(fd, 0, config->bytes);
    if (code == 0) {
        return 0;
    }
    if (code == -ENOSPC && config->named && fstatvfs(fd, &fs) == 0) {
        return slr_fail(caller->error, code, "posix_fallocate",
                        "no room in " SLR_SHM ": %" PRIu64 " MiB are needed, %" PRIu64
                        " MiB are free; unlink %ss (`slipring ls`, `slipring reap`) or mount it "
                        "larger",
                        (config->needed >> 20) + 1, (uint64_t)fs.f_bavail * fs.f_frsize >> 20,
                        caller->thing);
    }
    return slr_fail(caller->error, code, "posix_fallocate",
                    "no memory for the %s: %" PRIu64 " MiB are needed (errno %d)", caller->thing,
                    (config->needed >> 20) + 1, -code);
}

int slr_object_seal(int fd, bool writing)
{
    const int seals = SEAL_SIZE | F_SEAL_SEAL | (writing ? F_SEAL_FUTURE_WRITE : 0);
    return fcntl(fd, F_ADD_SEALS, seals) < 0 ? -errno : 0;
}

int slr_object_link(int fd, const char *path)
{
    char from[40];
    snprintf(from, sizeof from, "/proc/self/fd/%d", fd);
    return linkat(AT_FDCWD, from, AT_FDCWD, path, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}

/* ---- opening one ---- */

int slr_object_open(const char *path, int access, struct stat *status)
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

int slr_object_check_whole(const struct stat *status, const char *part,
                           const struct slr_caller *caller)
{
    if ((int64_t)status->st_blocks * BLOCK < status->st_size) {
        return slr_fail(caller->error, -EBADMSG, caller->call,
                        "damaged %s: its %s file has holes; unlink it and make it anew",
                        caller->thing, part);
    }
    return 0;
}

static int fail_adopt(int code, const char *part, const struct slr_caller *caller)
{
    const char *why = "the file cannot be opened anew or looked at; see errno(3)";
    if (code == -EACCES) {
        return slr_fail(caller->error, -EPERM, caller->call,
                        "the %s descriptor: this user may not open the file anew, as locks need "
                        "it; the %s's mode must allow it (errno %d)",
                        part, caller->thing, -code);
    }
    return slr_fail(caller->error, code, caller->call, "the %s descriptor: %s (errno %d)", part,
                    code == -EBADF ? "not an open file" : why, -code);
}

/* A memfd must be sealed against truncation; a file of /dev/shm cannot be. */
static int check_adopted(int fd, const struct stat *status, const char *part,
                         const struct slr_caller *caller)
{
    char link[40], target[16];
    struct statfs fs;

    if (fstatfs(fd, &fs) < 0) {
        return fail_adopt(-errno, part, caller);
    }
    if (!S_ISREG(status->st_mode) ||
        (fs.f_type != FS_TMPFS && fs.f_type != (__typeof__(fs.f_type))FS_HUGETLB)) {
        return slr_fail(caller->error, -EBADMSG, caller->call,
                        "not a slipring segment: the %s descriptor is no shared memory", part);
    }
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    const ssize_t count = readlink(link, target, sizeof target);
    if (count < 0) {
        return fail_adopt(-errno, part, caller);
    }
    if (count < 7 || memcmp(target, "/memfd:", 7) != 0) {
        return slr_object_check_whole(status, part, caller);
    }
    const int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0) {
        return fail_adopt(-errno, part, caller);
    }
    if ((seals & SEAL_SIZE) != SEAL_SIZE) {
        return slr_fail(caller->error, -EBADMSG, caller->call,
                        "the %s descriptor is not sealed against truncation: whoever sent it could "
                        "kill this process; it was not made by slipring",
                        part);
    }
    return 0;
}

int slr_object_adopt(int fd, int access, const char *part, const struct slr_caller *caller,
                     int *opened, struct stat *status)
{
    *opened = access == O_RDWR ? slr_os_reopen(fd, O_RDWR) : fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (*opened < 0) {
        const int code = access == O_RDWR ? *opened : -errno;
        *opened = -1;
        return fail_adopt(code, part, caller);
    }
    if (fstat(*opened, status) < 0) {
        return fail_adopt(-errno, part, caller);
    }
    return check_adopted(*opened, status, part, caller);
}

int slr_object_read(int fd, void *buffer, size_t bytes, uint64_t offset)
{
    ssize_t count;
    do {
        count = pread(fd, buffer, bytes, (off_t)offset);
    } while (count < 0 && errno == EINTR);
    if (count < 0) {
        return -errno;
    }
    return (size_t)count == bytes ? 0 : -EBADMSG;
}
