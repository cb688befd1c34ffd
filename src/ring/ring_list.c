/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The directory of rings: listing, unlinking, reaping, and sweeping of litter.
 *
 * A scan first copies all file names and then looks at each, so that callbacks may create and
 * unlink, and removals do not disturb the reading of the directory. What is found is judged by
 * opening it as suspiciously as a ring is opened; nothing is removed that is not certainly a
 * slipring object which nobody is making or using (ring_name.h).
 */
#define _GNU_SOURCE
#include "base/object.h"
#include "base/os.h"
#include "ring/handle.h"
#include "ring/recover.h"
#include "ring/ring_name.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* ---- litter ---- */

/* Is the control file of that name there, with that uuid? Unreadable counts as yes. */
static bool has_control(const char *name, const uint8_t uuid[16])
{
    char path[SLR_PATH_BYTES];
    struct slr_control_head head;
    struct stat status;

    slr_name_control_path(name, path);
    const int fd = slr_object_open(path, O_RDONLY, &status);
    if (fd < 0) {
        return fd != -ENOENT && fd != -EBADMSG;
    }
    const int code = slr_ring_name_head(fd, &head);
    close(fd);
    return code == 0 ? memcmp(head.uuid, uuid, sizeof head.uuid) == 0 : code != -EBADMSG;
}

/* Does the file begin as the data of that ring? */
static bool is_data(int fd, const uint8_t uuid[16])
{
    uint64_t magic = 0;
    uint8_t found[16];
    return slr_object_read(fd, &magic, sizeof magic, 0) == 0 && magic == SLR_MAGIC_DATA &&
           slr_object_read(fd, found, sizeof found,
                           offsetof(struct slr_data, geometry) +
                               offsetof(struct slr_geometry, uuid)) == 0 &&
           memcmp(found, uuid, sizeof found) == 0;
}

/* One file ".NAME.UUID": 1 removed, 0 it is no litter (or not certainly), -EPERM it is somebody
 * else's litter, or another negative errno. */
static int sweep_one(const char *name, const uint8_t uuid[16])
{
    char path[SLR_PATH_BYTES];
    struct stat status;
    int code = 0;

    if (has_control(name, uuid)) {
        return 0;
    }
    slr_name_data_path(name, uuid, path);
    const int fd = slr_object_open(path, O_RDWR, &status);
    if (fd < 0) {
        return fd == -EACCES ? -EPERM : fd == -ENOENT || fd == -EBADMSG ? 0 : fd;
    }
    /* Refused while its creation goes on. Once it is ours no creation can be between the two
     * links; one that finished meanwhile shows now. */
    if (is_data(fd, uuid) && slr_os_lock(fd, SLR_LOCK_PRESENCE, false) == 0) {
        if (!has_control(name, uuid)) {
            code = unlink(path) == 0 ? 1 : errno == ENOENT ? 0 : -errno;
        }
        slr_os_unlock(fd, SLR_LOCK_PRESENCE);
    }
    close(fd);
    return code;
}

int slr_ring_name_sweep(const char *name, uint32_t *removed)
{
    struct slr_file_names files;
    char found[SLIPRING_NAME_MAX + 1];
    uint8_t uuid[16];
    int code = slr_file_names_read(&files);
    if (code < 0) {
        return code;
    }
    for (size_t i = 0; i < files.count; i++) {
        if (slr_name_split(files.names[i], found, uuid) &&
            (name == NULL || strcmp(name, found) == 0) && sweep_one(found, uuid) == 1) {
            (*removed)++;
        }
    }
    slr_file_names_free(&files);
    return 0;
}

/* ---- listing ---- */

typedef int (*each_fn)(void *user, const char *name, enum slipring_listed kind);

/* A control file that cannot be read is a ring if it has a data file beside it. */
static bool has_data(const struct slr_file_names *files, const char *name)
{
    char found[SLIPRING_NAME_MAX + 1];
    uint8_t uuid[16];
    for (size_t i = 0; i < files->count; i++) {
        if (slr_name_split(files->names[i], found, uuid) && strcmp(found, name) == 0) {
            return true;
        }
    }
    return false;
}

/* One that could not be looked at. A ring that is there is not left out: it is listed, or what this
 * process or the machine lacks ends the listing. */
static int judge_unknown(const struct slr_file_names *files, const char *name, int code,
                         enum slipring_listed *kind)
{
    if (code == -EMFILE || code == -ENFILE || code == -ENOMEM) {
        return code;
    }
    *kind = SLIPRING_LISTED_DENIED;
    return code != -ENOENT && code != -EBADMSG && has_data(files, name);
}

/* What a file is: 1 and *kind to be listed, 0 not, or a negative errno; removes what is to be
 * removed. */
static int judge(const struct slr_file_names *files, const char *file,
                 char name[SLIPRING_NAME_MAX + 1], enum slipring_listed *kind,
                 struct slipring_reaped *reaped)
{
    char path[SLR_PATH_BYTES];
    struct slr_control_head head;
    struct stat status;
    uint8_t uuid[16];

    if (slr_name_split(file, name, uuid)) {
        const int code = sweep_one(name, uuid);
        reaped->litter += code == 1;
        *kind = SLIPRING_LISTED_LITTER;
        return code == -EPERM;
    }
    if (slr_name_check(file, NULL) < 0) {
        return 0;
    }
    strcpy(name, file);
    slr_name_control_path(name, path);
    const int fd = slr_object_open(path, O_RDONLY, &status);
    if (fd < 0) {
        return judge_unknown(files, name, fd, kind);
    }
    const int code = slr_ring_name_head(fd, &head);
    close(fd);
    if (code < 0) {
        return judge_unknown(files, name, code, kind);
    }
    *kind = SLIPRING_LISTED_RING;
    if (slr_ring_name_vanish(name) == 1) {
        reaped->rings++;
        return 0;
    }
    return 1;
}

static int scan(each_fn each, void *user, struct slipring_reaped *reaped)
{
    struct slr_file_names files;
    char name[SLIPRING_NAME_MAX + 1];
    enum slipring_listed kind;
    int code = slr_file_names_read(&files);
    if (code < 0) {
        return code;
    }
    for (size_t i = 0; i < files.count && code == 0; i++) {
        code = judge(&files, files.names[i], name, &kind, reaped);
        if (code == 1) {
            code = each(user, name, kind);
        }
    }
    slr_file_names_free(&files);
    return code;
}

int slipring_ring_list(each_fn each, void *user)
{
    SLR_NOT_CANCELLED;
    struct slipring_reaped reaped = {0};
    return each == NULL ? -EINVAL : scan(each, user, &reaped);
}

/* ---- unlinking ---- */

static int fail_unlink(const char *name, int code, struct slipring_error *error)
{
    switch (code) {
    case -ENOENT:
        return slr_fail(error, code, "slipring_ring_unlink", "there is no ring \"%.100s\"", name);
    case -EACCES:
    case -EPERM:
        return slr_fail(error, -EPERM, "slipring_ring_unlink",
                        "ring \"%.100s\" is not this user's to remove: its owner or root can",
                        name);
    case -EBADMSG:
        return slr_fail(error, code, "slipring_ring_unlink",
                        SLR_SHM "/%.100s is no ring; it was left alone", name);
    case -ETIMEDOUT:
        return slr_fail(error, code, "slipring_ring_unlink",
                        "another process stopped while it removed ring \"%.100s\": let it go on, "
                        "or kill it",
                        name);
    default:
        return slr_fail(error, code, "slipring_ring_unlink", "ring \"%.100s\": errno %d", name,
                        -code);
    }
}

int slipring_ring_unlink(const char *name, struct slipring_error *error)
{
    SLR_NOT_CANCELLED;
    char path[SLR_PATH_BYTES];
    struct slr_control_head head;
    struct stat status;
    int code = slr_name_check(name, error);
    if (code < 0) {
        return code;
    }
    slr_name_control_path(name, path);
    const int fd = slr_object_open(path, O_RDWR, &status);
    if (fd < 0) {
        return fail_unlink(name, fd, error);
    }
    code = slr_ring_name_head(fd, &head);
    code = code < 0 ? code : slr_ring_name_remove(name, fd, head.uuid);
    close(fd);
    return code < 0 ? fail_unlink(name, code, error) : 0;
}

/* ---- reaping ---- */

static int reap_members(const char *name, struct slipring_reaped *reaped,
                        struct slipring_error *error)
{
    struct slipring_ring *ring;
    int code = slipring_ring_open(name, 0, &ring, error);
    if (code < 0) {
        return code;
    }
    code = slr_members_reap_all(ring);
    slipring_ring_close(ring);
    if (code < 0) {
        return slr_fail(error, code, "slipring_ring_reap", "ring \"%.100s\": errno %d", name,
                        -code);
    }
    reaped->members += (uint32_t)code;
    return 0;
}

struct reaping {
    struct slipring_reaped *reaped;
    struct slipring_error *error;
};

static int reap_listed(void *user, const char *name, enum slipring_listed kind)
{
    const struct reaping *reaping = user;
    if (kind != SLIPRING_LISTED_RING) {
        return 0;
    }
    const int code = reap_members(name, reaping->reaped, reaping->error);
    /* Rings that others removed, damaged or forbid are not ours to reap. */
    return code == -EMFILE || code == -ENFILE || code == -ENOMEM ? code : 0;
}

int slipring_ring_reap(const char *name, struct slipring_reaped *reaped,
                       struct slipring_error *error)
{
    SLR_NOT_CANCELLED;
    struct slipring_reaped done = {0};
    int code;

    if (name == NULL) {
        struct slipring_error ignored;
        struct reaping reaping = {.reaped = &done, .error = &ignored};
        code = scan(reap_listed, &reaping, &done);
        if (code < 0) {
            return slr_fail(error, code, "slipring_ring_reap",
                            "the rings of " SLR_SHM " could not be gone through (errno %d)", -code);
        }
    } else {
        code = slr_name_check(name, error);
        if (code < 0) {
            return code;
        }
        done.rings += slr_ring_name_vanish(name) == 1;
        (void)slr_ring_name_sweep(name, &done.litter);
        code = reap_members(name, &done, error);
        if (code < 0 && (code != -ENOENT || done.rings + done.litter == 0)) {
            return code;
        }
    }
    if (reaped != NULL) {
        *reaped = done;
    }
    return 0;
}
