/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Creation of a ring's two objects: whole or not at all.
 *
 * The files have no name while they are sized, placed, allocated, faulted in and filled; killed in
 * there, they are gone. Then they are locked and linked, data first, control last: a name only
 * ever leads to a complete ring. Between the two links the data file is told from litter by a lock
 * on it (ring_name.h).
 *
 * Order of allocation: size, map, bind to NUMA nodes, huge pages, allocate, fault in. Memory is
 * taken by posix_fallocate, so that a full /dev/shm is an error here and not a signal later; only
 * transparent huge pages are asked for by touching first, which fails without a signal too.
 */
#define _GNU_SOURCE
#include "ring/group.h"
#include "ring/handle.h"
#include "ring/ring_name.h"
#include "base/os.h"
#include "base/sequence.h"
#include "ring/slot.h"
#include "base/topology.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define CALL "slipring_ring_create"
#define HUGE_PAGE (UINT64_C(2) << 20)
#define CHUNK (INT64_C(64) << 20) /* allocated with signals blocked */
#ifndef MFD_HUGETLB
#define MFD_HUGETLB 0x0004u
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008u
#endif
#ifndef MFD_HUGE_2MB
#define MFD_HUGE_2MB (21u << 26)
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

struct creation {
    const char *name; /* NULL: anonymous */
    const struct slipring_config *config;
    struct slr_segment *segment;
    struct slipring_error *error;
    bool hugetlb;
};

/* ---- files ---- */

static int check_config(const struct creation *c)
{
    const uint32_t mode = c->config->mode;
    struct rlimit limit;

    if ((mode & ~0666u) != 0 || (mode & 0600u) != 0600u) {
        return slr_fail(c->error, -EINVAL, CALL,
                        "mode is 0%o: it must give the owner read and write (0600), and nobody "
                        "execute",
                        mode);
    }
    if (c->name != NULL && (c->config->flags & SLIPRING_WRITE_SEALED) != 0) {
        return slr_fail(c->error, -EINVAL, CALL,
                        "SLIPRING_WRITE_SEALED goes with anonymous rings only: files of " SLR_SHM
                        " cannot be sealed");
    }
    const struct slr_geometry *g = &c->segment->geometry;
    const uint64_t most = g->data_bytes > g->control_bytes ? g->data_bytes : g->control_bytes;
    /* Beyond this limit the kernel sends SIGXFSZ, which kills. */
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
        limit.rlim_cur < most) {
        return slr_fail(c->error, -EFBIG, CALL,
                        "the ring needs files of %" PRIu64 " bytes, this process may write %" PRIu64
                        ": raise the limit (ulimit -f) or ask for a smaller ring",
                        most, (uint64_t)limit.rlim_cur);
    }
    return 0;
}

/* memfd_create() says -EINVAL to flags newer than the kernel. */
static int make_memory(bool hugetlb)
{
    const unsigned flags =
        MFD_CLOEXEC | MFD_ALLOW_SEALING | (hugetlb ? MFD_HUGETLB | MFD_HUGE_2MB : 0);
    int fd = memfd_create("slipring", flags | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL) {
        fd = memfd_create("slipring", flags);
    }
    return fd < 0 ? -errno : fd;
}

static int fail_system(const struct creation *c, const char *call, int code)
{
    return slr_fail(c->error, code == -EACCES ? -EPERM : code, call,
                    "cannot make the ring's %s (%s failed, errno %d)",
                    c->name != NULL ? "files in " SLR_SHM : "memory", call, -code);
}

/* An unnamed file of that size and mode, nothing allocated yet. */
static int make_file(const struct creation *c, uint64_t bytes, mode_t mode, bool hugetlb, int *fd)
{
    int code = 0;
    *fd = c->name != NULL ? slr_os_open(SLR_SHM, O_TMPFILE | O_RDWR) : make_memory(hugetlb);
    if (*fd < 0) {
        code = *fd;
        *fd = -1;
        return fail_system(c, c->name != NULL ? "open" : "memfd_create", code);
    }
    if (c->config->gid >= 0 && fchown(*fd, (uid_t)-1, (gid_t)c->config->gid) < 0) {
        code = -errno;
        return slr_fail(c->error, code, "fchown",
                        "cannot give the ring to group %" PRId64 " (errno %d): only a group that "
                        "this user is in",
                        c->config->gid, -code);
    }
    if (fchmod(*fd, mode) < 0) { /* whatever the umask took away */
        return fail_system(c, "fchmod", -errno);
    }
    do {
        code = ftruncate(*fd, (off_t)bytes) < 0 ? -errno : 0;
    } while (code == -EINTR);
    return code < 0 ? fail_system(c, "ftruncate", code) : 0;
}

/* In chunks with signals blocked: an interrupted call gives everything back and would never end
 * under a fast timer; a whole ring would hold up signals for seconds. */
static int allocate(int fd, uint64_t bytes)
{
    int code = 0;
    for (int64_t at = 0; at < (int64_t)bytes && code == 0; at += CHUNK) {
        const int64_t rest = (int64_t)bytes - at;
        sigset_t all, old;
        sigfillset(&all);
        pthread_sigmask(SIG_BLOCK, &all, &old);
        do {
            code = -posix_fallocate(fd, (off_t)at, (off_t)(rest < CHUNK ? rest : CHUNK));
        } while (code == -EINTR);
        pthread_sigmask(SIG_SETMASK, &old, NULL);
    }
    return code;
}

static int fail_allocate(const struct creation *c, int code, int fd, uint64_t bytes)
{
    struct statvfs fs;
    if (code == -ENOSPC && c->name != NULL && fstatvfs(fd, &fs) == 0) {
        return slr_fail(c->error, code, "posix_fallocate",
                        "no room in " SLR_SHM ": %" PRIu64 " MiB are needed, %" PRIu64
                        " MiB are free; unlink rings (`slipring ls`, `slipring reap`) or mount it "
                        "larger",
                        (bytes >> 20) + 1, (uint64_t)fs.f_bavail * fs.f_frsize >> 20);
    }
    return slr_fail(c->error, code, "posix_fallocate",
                    "no memory for the ring: %" PRIu64 " MiB are needed (errno %d)",
                    (bytes >> 20) + 1, -code);
}

/* ---- memory ---- */

/* How much of the mapping at address is mapped by huge entries, in bytes. */
static uint64_t huge_mapped(const void *address)
{
    char line[512];
    uint64_t bytes = 0, start, end, kib;
    bool here = false;
    FILE *maps = fopen("/proc/self/smaps", "re");

    while (maps != NULL && fgets(line, sizeof line, maps) != NULL) {
        if (sscanf(line, "%" SCNx64 "-%" SCNx64 " ", &start, &end) == 2) {
            here = start <= (uintptr_t)address && (uintptr_t)address < end;
        } else if (here && (sscanf(line, "ShmemPmdMapped: %" SCNu64, &kib) == 1 ||
                            sscanf(line, "FilePmdMapped: %" SCNu64, &kib) == 1)) {
            bytes += kib << 10;
        }
    }
    if (maps != NULL) {
        fclose(maps);
    }
    return bytes;
}

/* Bind, allocate, fault in; pages and numa_node tell what was obtained. */
static int place_data(struct creation *c)
{
    struct slr_segment *segment = c->segment;
    struct slr_geometry *g = &segment->geometry;
    const uint64_t bytes = g->area_offset + g->area_bytes;
    const bool transparent = (g->flags & SLIPRING_HUGE_PAGES) != 0 && !c->hugetlb;
    int code = 0;

    int32_t node = -1;

    if (c->config->numa_node >= 0 || c->config->near_pci != NULL) {
        code = slr_topology_find(c->config->numa_node, c->config->near_pci, &node, c->error);
        code = code < 0 ? code : slr_topology_bind(segment->data, bytes, node, c->error);
        if (code < 0) {
            return code;
        }
    }
    if (transparent && madvise(segment->data, bytes, MADV_HUGEPAGE) == 0) {
        (void)madvise(segment->data, bytes, MADV_POPULATE_WRITE); /* what is missing: below */
    }
    code = allocate(segment->data_fd, g->data_bytes);
    if (code < 0) {
        return fail_allocate(c, code, segment->data_fd, g->data_bytes + g->control_bytes);
    }
    if (transparent) {
        (void)madvise(segment->data, bytes, MADV_COLLAPSE);
    }
    slr_segment_populate(segment, true);
    g->pages = c->hugetlb ? SLIPRING_PAGES_HUGETLB : SLIPRING_PAGES_BASE;
    if (transparent && huge_mapped(segment->data) >= g->area_bytes) {
        g->pages = SLIPRING_PAGES_TRANSPARENT;
    }
    g->numa_node = slr_topology_node_of(segment->payload);
    return 0;
}

/* A memfd has no quota, and a tmpfs may be as large as the memory: what there is not would be taken
 * all the same, and the kernel would kill for it. Huge pages have a pool of their own. */
static int check_room(const struct creation *c)
{
    const struct slr_geometry *g = &c->segment->geometry;
    const uint64_t needed = g->control_bytes + (c->hugetlb ? 0 : g->data_bytes);
    const uint64_t available = slr_os_memory_available();
    if (available == UINT64_MAX || needed <= available - available / 16) {
        return 0;
    }
    return slr_fail(c->error, -ENOSPC, "slipring_ring_create",
                    "no memory for the ring: %" PRIu64 " MiB are needed, %" PRIu64
                    " MiB are available; ask for fewer or smaller slots",
                    (needed >> 20) + 1, available >> 20);
}

/* Both files, mapped and faulted in. On failure nothing is left. */
static int build(struct creation *c)
{
    struct slr_segment *segment = c->segment;
    const struct slr_geometry *g = &segment->geometry;
    const mode_t mode = (mode_t)c->config->mode;

    segment->data_fd = -1;
    segment->control_fd = -1;
    int code = check_room(c);
    if (code < 0) {
        slr_segment_close(segment);
        return code;
    }
    code = make_file(c, g->control_bytes, mode, false, &segment->control_fd);
    if (code == 0) {
        code = allocate(segment->control_fd, g->control_bytes);
        if (code < 0) {
            (void)fail_allocate(c, code, segment->control_fd, g->data_bytes + g->control_bytes);
        }
    }
    code = code < 0
               ? code
               : make_file(c, g->data_bytes, (mode & 0444) | 0600, c->hugetlb, &segment->data_fd);
    code = code < 0 ? code : slr_segment_map(segment, true, c->error);
    code = code < 0 ? code : place_data(c);
    if (code < 0) {
        slr_segment_close(segment);
    }
    return code;
}

/* ---- contents ---- */

static void fill_data(struct slr_segment *segment)
{
    const struct slr_geometry *g = &segment->geometry;
    struct slr_data *data = segment->data;

    memcpy(&data->geometry, g, sizeof *g);
    for (uint64_t i = 0; i < g->slots; i++) {
        const uint64_t sequence = g->start_sequence + i;
        slr_store64(slr_stamp(segment, sequence), sequence - g->slots); /* INIT publishes all */
        if (g->header_bytes != 0) {
            struct slr_header *header = slr_header(segment, sequence);
            slr_store64(&header->payload_sequence, sequence - g->slots);
            slr_store32(&header->span, 1);
        }
    }
    slr_store64(&data->cursor, g->start_sequence);
    slr_store64(&data->limit, g->start_sequence);
    slr_store64(&data->producer, SLR_PRODUCER_NONE);
}

static void fill_group(struct slr_segment *segment, uint32_t index,
                       const struct slipring_group *config)
{
    struct slr_group *group = &segment->groups[index];
    const uint64_t start = segment->geometry.start_sequence;
    uint64_t name[6] = {0};

    _Static_assert(sizeof name == SLIPRING_GROUP_NAME_BYTES, "the name in words");
    memcpy(name, config->name, strnlen(config->name, sizeof name));
    for (size_t i = 0; i < 6; i++) {
        slr_store64(&group->name[i], name[i]);
    }
    slr_store64(&group->position, start);
    slr_store64(&group->take, start);
    slr_store64(&group->evict_after_ns,
                config->slow == SLIPRING_EVICT ? config->evict_after_ns : 0);
    slr_store32(&group->flags, config->flags);
    slr_store32(&group->lasting, 1);
    slr_store64(&group->word, slr_group_word(1, 1, SLR_GROUP_LIVE));
    if ((config->flags & SLIPRING_MANY) != 0) {
        slr_group_reset_leases(segment, index, start);
    }
}

static void fill_control(struct slr_segment *segment, const struct slipring_config *config)
{
    const struct slr_geometry *g = &segment->geometry;
    struct slr_control *control = segment->control;
    uint32_t many = 0, one = g->groups_max, high = 0;

    control->layout_version = SLR_LAYOUT_VERSION;
    control->endian = SLR_ENDIAN;
    memcpy(control->uuid, g->uuid, sizeof control->uuid);
    for (uint32_t i = 0; i < config->lasting_count; i++) { /* counts were checked by the plan */
        const bool shares = (config->lasting[i].flags & SLIPRING_MANY) != 0;
        const uint32_t index = shares ? many++ : one++;
        fill_group(segment, index, &config->lasting[i]);
        high = index >= high ? index + 1 : high;
    }
    slr_store32(&control->groups_high, high);
}

static int seal(const struct creation *c)
{
    const bool write = (c->config->flags & SLIPRING_WRITE_SEALED) != 0;
    const int fixed = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

    if (fcntl(c->segment->control_fd, F_ADD_SEALS, fixed) < 0 ||
        fcntl(c->segment->data_fd, F_ADD_SEALS, fixed | (write ? F_SEAL_FUTURE_WRITE : 0)) < 0) {
        return fail_system(c, "fcntl(F_ADD_SEALS)", -errno);
    }
    return 0;
}

/* ---- becoming visible ---- */

static int link_file(int fd, const char *path)
{
    char from[40];
    snprintf(from, sizeof from, "/proc/self/fd/%d", fd);
    return linkat(AT_FDCWD, from, AT_FDCWD, path, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}

static int link_both(const struct creation *c)
{
    char data_path[SLR_PATH_BYTES], control_path[SLR_PATH_BYTES];
    struct slr_lock making = {.fd = -1};

    slr_name_data_path(c->name, c->segment->geometry.uuid, data_path);
    slr_name_control_path(c->name, control_path);
    int code = slr_lock_open(&making, c->segment->data_fd);
    code = code < 0 ? code : slr_lock_take(&making, SLR_LOCK_PRESENCE, true);
    if (code < 0) {
        slr_lock_close(&making);
        return fail_system(c, "fcntl(F_OFD_SETLK)", code);
    }
    code = link_file(c->segment->data_fd, data_path);
    if (code == 0) {
        code = link_file(c->segment->control_fd, control_path);
        if (code < 0) {
            (void)unlink(data_path);
        }
    }
    slr_lock_drop(&making, SLR_LOCK_PRESENCE);
    slr_lock_close(&making);
    return code == -EEXIST || code == 0 ? code : fail_system(c, "linkat", code);
}

static int announce(struct creation *c, struct slr_lock *presence)
{
    presence->fd = -1;
    int code = slr_lock_open(presence, c->segment->control_fd);
    code = code < 0 ? code : slr_lock_take(presence, SLR_LOCK_PRESENCE, true);
    if (code < 0) {
        code = fail_system(c, "fcntl(F_OFD_SETLK)", code);
    } else {
        code = c->name != NULL ? link_both(c) : seal(c);
    }
    if (code < 0) {
        slr_lock_close(presence);
    }
    return code;
}

/* Both rungs of the ladder that a plain kernel offers files for. */
static int build_ladder(struct creation *c)
{
    if (c->name == NULL && (c->config->flags & SLIPRING_HUGE_PAGES) != 0) {
        struct creation huge = *c;
        huge.hugetlb = true;
        huge.error = NULL; /* a step down is no failure */
        if (build(&huge) == 0) {
            return 0;
        }
    }
    return build(c);
}

static int note_files(const struct creation *c)
{
    struct slr_segment *segment = c->segment;
    struct stat data, control;
    if (fstat(segment->data_fd, &data) < 0 || fstat(segment->control_fd, &control) < 0) {
        return fail_system(c, "fstat", -errno);
    }
    segment->data_inode = data.st_ino;
    segment->control_inode = control.st_ino;
    segment->device = control.st_dev;
    segment->uid = control.st_uid;
    return 0;
}

int slr_segment_create(const char *name, const struct slipring_config *config,
                       struct slr_geometry *plan, struct slr_segment *segment,
                       struct slr_lock *presence, struct slipring_error *error)
{
    struct creation c = {.name = name, .config = config, .segment = segment, .error = error};

    memset(segment, 0, sizeof *segment);
    presence->fd = -1;
    segment->geometry = *plan;
    segment->geometry.created_ns = slr_os_realtime();
    segment->geometry.creator_pid = slr_os_pid();
    int code = check_config(&c);
    code = code < 0 ? code : build_ladder(&c);
    if (code < 0) {
        return code;
    }
    segment->geometry.check = slr_geometry_hash(&segment->geometry);
    *plan = segment->geometry;
    fill_data(segment);
    fill_control(segment, config);
    slr_store64_release(&segment->data->magic, SLR_MAGIC_DATA);       /* INIT */
    slr_store64_release(&segment->control->magic, SLR_MAGIC_CONTROL); /* INIT */
    slr_segment_write_end(segment);
    slr_segment_lock_pages(segment);
    code = note_files(&c);
    code = code < 0 ? code : announce(&c, presence);
    if (code < 0) {
        slr_segment_close(segment);
    }
    return code;
}
