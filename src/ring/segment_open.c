/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening of a ring that exists, by name or by descriptors.
 *
 * What is opened may have been made by anybody: the files are looked at before they are mapped,
 * the geometry is copied once, word by word, and only the checked copy is used from then on.
 * Files of /dev/shm can be truncated by whoever may write them, which kills who touches what is
 * gone (SIGBUS); memory files are accepted only if they are sealed against that.
 */
#define _GNU_SOURCE
#include "ring/segment.h"

#include "base/object.h"
#include "base/sequence.h"
#include "ring/ring_name.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define CALL_OPEN "slipring_ring_open"
#define CALL_FDS "slipring_ring_from_fds"

_Static_assert(offsetof(struct slr_control, layout_version) ==
                   offsetof(struct slr_control_head, layout_version),
               "head");
_Static_assert(offsetof(struct slr_control, uuid) == offsetof(struct slr_control_head, uuid),
               "head");

/* ---- what the files hold ---- */

static int fail_size(struct slipring_error *error, const char *which, int64_t bytes)
{
    return slr_fail(error, -EBADMSG, CALL_OPEN,
                    "not a slipring segment: its %s file has %" PRId64 " bytes", which, bytes);
}

/* Check how control begins, and note whose file it is. */
static int open_control(struct slr_segment *segment, const struct stat *status,
                        struct slr_control_head *head, struct slipring_error *error)
{
    const int code = slr_ring_name_head(segment->control_fd, head);
    if (code == -EBADMSG) {
        return slr_fail(error, code, CALL_OPEN,
                        "not a slipring segment: the control file does not begin like one");
    }
    if (code < 0) {
        return slr_fail(error, code, "pread", "cannot read the ring's control file (errno %d)",
                        -code);
    }
    if (head->endian != SLR_ENDIAN || head->layout_version != SLR_LAYOUT_VERSION) {
        return slr_fail(error, -EPROTONOSUPPORT, CALL_OPEN,
                        "the ring has layout version %u, this library %u: use one library version "
                        "for all members, or unlink the ring",
                        head->layout_version, SLR_LAYOUT_VERSION);
    }
    segment->device = status->st_dev;
    segment->control_inode = status->st_ino;
    segment->uid = status->st_uid;
    return 0;
}

/* Copy the geometry out of a mapped data header, each word read once. */
static int copy_geometry(const struct slr_data *data, struct slr_geometry *geometry,
                         struct slipring_error *error)
{
    const _Atomic uint64_t *from = (const _Atomic uint64_t *)(const void *)&data->geometry;
    uint64_t words[sizeof *geometry / 8];

    if (slr_load64_acquire(&data->magic) != SLR_MAGIC_DATA) { /* INIT */
        return slr_fail(error, -EBADMSG, CALL_OPEN,
                        "not a slipring segment: the data file does not begin like one");
    }
    for (size_t i = 0; i < sizeof words / 8; i++) {
        words[i] = slr_load64(&from[i]); /* constant once the magic is there */
    }
    memcpy(geometry, words, sizeof words);
    return 0;
}

static int read_geometry(struct slr_segment *segment, const struct stat *data_status,
                         int64_t control_bytes, struct slipring_error *error)
{
    if (data_status->st_size < (off_t)SLR_DATA_HEADER) {
        return fail_size(error, "data", data_status->st_size);
    }
    /* All of it, since a huge page cannot be mapped in part; the reservation costs nothing. */
    const uint64_t bytes = (uint64_t)data_status->st_size;
    struct slr_data *data = mmap(NULL, bytes, PROT_READ, MAP_SHARED, segment->data_fd, 0);
    if (data == MAP_FAILED) {
        const int failed = -errno;
        return slr_fail(error, failed == -EACCES ? -EPERM : failed, "mmap",
                        "cannot map the ring's data (%" PRIu64 " bytes, errno %d)", bytes, -failed);
    }
    int code = copy_geometry(data, &segment->geometry, error);
    munmap(data, bytes);
    if (code == 0) {
        const uint64_t other =
            control_bytes < 0 ? segment->geometry.control_bytes : (uint64_t)control_bytes;
        code = slr_geometry_check(&segment->geometry, bytes, other, error);
    }
    return code;
}

/* Everything after the descriptors: geometry, identity, mapping. The caller closes them on failure. */
static int finish_open(struct slr_segment *segment, const struct stat *data_status,
                       const struct stat *control_status, bool read_only,
                       const struct slr_control_head *head, struct slipring_error *error)
{
    const int control_fd = segment->control_fd;
    int code = read_geometry(segment, data_status,
                             control_status != NULL ? (int64_t)control_status->st_size : -1, error);
    if (code == 0 && head != NULL &&
        memcmp(head->uuid, segment->geometry.uuid, sizeof head->uuid) != 0) {
        code = slr_fail(error, -EBADMSG, CALL_OPEN,
                        "damaged ring: data and control belong to different rings");
    }
    if (code == 0 && read_only && segment->geometry.full != SLIPRING_OVERWRITE) {
        code = slr_fail(error, -EINVAL, CALL_OPEN,
                        "a block ring cannot be opened read-only: a reader that announces nothing "
                        "would be overrun; open it without SLIPRING_READ_ONLY");
    }
    segment->data_inode = data_status->st_ino;
    if (read_only) {
        segment->control_fd = -1; /* kept for probing, not mapped */
    }
    code = code < 0 ? code : slr_segment_map(segment, false, error);
    segment->control_fd = control_fd;
    if (code == 0 && !read_only &&
        slr_load64_acquire(&segment->control->magic) != SLR_MAGIC_CONTROL) { /* INIT */
        code = slr_fail(error, -EBADMSG, CALL_OPEN, "damaged ring: control changed under us");
    }
    return code;
}

/* ---- by name ---- */

static int fail_open(int code, const char *name, const char *what, struct slipring_error *error)
{
    switch (code) {
    case -ENOENT:
        return slr_fail(error, code, CALL_OPEN,
                        "no ring \"%.100s\": create it first (`slipring ls` shows those that there "
                        "are)",
                        name);
    case -EACCES:
    case -EPERM:
        return slr_fail(error, -EPERM, CALL_OPEN,
                        "this user may not open the %s file of ring \"%.60s\": its owner decides "
                        "by the mode given at creation",
                        what, name);
    case -EBADMSG:
        return slr_fail(error, code, CALL_OPEN,
                        "not a slipring segment: the %s file of \"%.60s\" is a link, a directory "
                        "or a device",
                        what, name);
    default:
        return slr_fail(error, code, "open", "the %s file of ring \"%.60s\": errno %d", what, name,
                        -code);
    }
}

static int check_owner(const char *name, const struct stat *status, uint32_t flags,
                       struct slipring_error *error)
{
    if (status->st_nlink > 1) {
        return slr_fail(error, -EBADMSG, CALL_OPEN,
                        "not a slipring segment: \"%.60s\" has %lu hard links, a ring has one",
                        name, (unsigned long)status->st_nlink);
    }
    if ((flags & SLIPRING_ANY_OWNER) == 0 && status->st_uid != geteuid() && status->st_uid != 0) {
        return slr_fail(error, -EPERM, CALL_OPEN,
                        "ring \"%.60s\" belongs to uid %u: open it with SLIPRING_ANY_OWNER if you "
                        "trust that user",
                        name, status->st_uid);
    }
    return 0;
}

static int open_data(const char *name, const struct slr_control_head *head,
                     struct slr_segment *segment, struct stat *status, struct slipring_error *error)
{
    const struct slr_caller caller = {.call = CALL_OPEN, .thing = "ring", .error = error};
    char path[SLR_PATH_BYTES];
    slr_name_data_path(name, head->uuid, path);
    segment->data_fd = slr_object_open(path, O_RDONLY, status);
    if (segment->data_fd == -ENOENT) {
        return slr_fail(error, -EBADMSG, CALL_OPEN,
                        "damaged ring: \"%.60s\" has lost its data file; `slipring reap` removes "
                        "what is left",
                        name);
    }
    if (segment->data_fd < 0) {
        return fail_open(segment->data_fd, name, "data", error);
    }
    if (status->st_uid != segment->uid || status->st_nlink > 1) {
        return slr_fail(error, -EBADMSG, CALL_OPEN,
                        "not a slipring segment: data and control of \"%.60s\" do not go together",
                        name);
    }
    return slr_object_check_whole(status, "data", &caller);
}

int slr_segment_open(const char *name, uint32_t flags, struct slr_segment *segment,
                     struct slipring_error *error)
{
    const struct slr_caller caller = {.call = CALL_OPEN, .thing = "ring", .error = error};
    const bool read_only = (flags & SLIPRING_READ_ONLY) != 0;
    char path[SLR_PATH_BYTES];
    struct slr_control_head head;
    struct stat control_status, data_status;

    memset(segment, 0, sizeof *segment);
    segment->data_fd = -1;
    slr_name_control_path(name, path);
    segment->control_fd = slr_object_open(path, read_only ? O_RDONLY : O_RDWR, &control_status);
    if (segment->control_fd < 0) {
        return fail_open(segment->control_fd, name, "control", error);
    }
    int code = check_owner(name, &control_status, flags, error);
    code = code < 0 ? code : open_control(segment, &control_status, &head, error);
    code = code < 0 ? code : open_data(name, &head, segment, &data_status, error);
    code = code < 0 ? code : slr_object_check_whole(&control_status, "control", &caller);
    code = code < 0 ? code
                    : finish_open(segment, &data_status, &control_status, read_only, &head, error);
    if (code < 0) {
        /* Removed between two looks: the caller tries again. */
        const bool gone =
            fstat(segment->control_fd, &control_status) == 0 && control_status.st_nlink == 0;
        slr_segment_close(segment);
        return gone ? -EAGAIN : code;
    }
    return 0;
}

/* ---- by descriptors ---- */

/* Does the data object refuse to be written, as the geometry says? */
static int check_sealed(const struct slr_segment *segment, const struct slr_caller *caller)
{
    const int seals = fcntl(segment->data_fd, F_GET_SEALS);
    if (seals < 0) {
        return slr_fail(caller->error, -errno, caller->call,
                        "the data descriptor cannot be looked at (errno %d)", errno);
    }
    if ((seals & F_SEAL_FUTURE_WRITE) == 0) {
        return slr_fail(caller->error, -EBADMSG, caller->call,
                        "the ring says that it is write-sealed, and is not");
    }
    return 0;
}

int slr_segment_from_fds(int data_fd, int control_fd, struct slr_segment *segment,
                         struct slipring_error *error)
{
    const struct slr_caller caller = {.call = CALL_FDS, .thing = "ring", .error = error};
    const bool read_only = control_fd < 0;
    struct slr_control_head head;
    struct stat control_status = {0}, data_status;

    memset(segment, 0, sizeof *segment);
    segment->data_fd = -1;
    segment->control_fd = -1;
    int code =
        slr_object_adopt(data_fd, O_RDONLY, "data", &caller, &segment->data_fd, &data_status);
    segment->uid = code == 0 ? data_status.st_uid : 0;
    if (code == 0 && !read_only) {
        /* A description of our own: the sender's locks belong to the one it holds. */
        code = slr_object_adopt(control_fd, O_RDWR, "control", &caller, &segment->control_fd,
                                &control_status);
        code = code < 0 ? code : open_control(segment, &control_status, &head, error);
    }
    code = code < 0 ? code
                    : finish_open(segment, &data_status, read_only ? NULL : &control_status,
                                  read_only, read_only ? NULL : &head, error);
    if (code == 0 && (segment->geometry.flags & SLIPRING_WRITE_SEALED) != 0) {
        code = check_sealed(segment, &caller);
    }
    if (code < 0) {
        slr_segment_close(segment);
    }
    return code;
}
