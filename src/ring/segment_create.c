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
#include "base/object.h"
#include "base/os.h"
#include "base/sequence.h"
#include "base/topology.h"
#include "ring/group.h"
#include "ring/handle.h"
#include "ring/ring_name.h"
#include "ring/slot.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CALL "slipring_ring_create"

struct creation {
    const char *name; /* NULL: anonymous */
    const struct slipring_config *config;
    struct slr_segment *segment;
    struct slr_caller caller;
    bool hugetlb;
};

static int check_config(const struct creation *c)
{
    const struct slr_geometry *g = &c->segment->geometry;
    const uint32_t mode = c->config->mode;

    if ((mode & ~0666u) != 0 || (mode & 0600u) != 0600u) {
        return slr_fail(c->caller.error, -EINVAL, CALL,
                        "mode is 0%o: it must give the owner read and write (0600), and nobody "
                        "execute",
                        mode);
    }
    if (c->name != NULL && (c->config->flags & SLIPRING_WRITE_SEALED) != 0) {
        return slr_fail(c->caller.error, -EINVAL, CALL,
                        "SLIPRING_WRITE_SEALED goes with anonymous rings only: files of " SLR_SHM
                        " cannot be sealed");
    }
    return slr_object_check_limit(
        g->data_bytes > g->control_bytes ? g->data_bytes : g->control_bytes, &c->caller);
}

static int fail_system(const struct creation *c, const char *call, int code)
{
    return slr_fail(c->caller.error, code == -EACCES ? -EPERM : code, call,
                    "cannot make the ring's %s (%s failed, errno %d)",
                    c->name != NULL ? "files in " SLR_SHM : "memory", call, -code);
}

/* ---- memory ---- */

static struct slr_object_config data_config(const struct creation *c)
{
    const struct slr_geometry *g = &c->segment->geometry;
    return (struct slr_object_config){
        .named = c->name != NULL,
        .huge = c->hugetlb,
        .mode = (c->config->mode & 0444) | 0600, /* only the owner writes data */
        .gid = c->config->gid,
        .bytes = g->data_bytes,
        .needed = g->data_bytes + g->control_bytes,
    };
}

static struct slr_object_config control_config(const struct creation *c)
{
    struct slr_object_config config = data_config(c);
    config.huge = false;
    config.mode = c->config->mode;
    config.bytes = c->segment->geometry.control_bytes;
    return config;
}

/* Bind, allocate, fault in; pages and numa_node tell what was obtained. */
static int place_data(struct creation *c)
{
    struct slr_segment *segment = c->segment;
    struct slr_geometry *g = &segment->geometry;
    const struct slr_object_config config = data_config(c);
    const uint64_t bytes = g->area_offset + g->area_bytes;
    const bool transparent = (g->flags & SLIPRING_HUGE_PAGES) != 0 && !c->hugetlb;
    int code = 0;
    int32_t node = -1;

    if (c->config->numa_node >= 0 || c->config->near_pci != NULL) {
        code = slr_topology_find(c->config->numa_node, c->config->near_pci, &node, c->caller.error);
        code = code < 0 ? code : slr_topology_bind(segment->data, bytes, node, c->caller.error);
        if (code < 0) {
            return code;
        }
    }
    if (transparent) {
        slr_object_ask_huge(segment->data, bytes);
    }
    code = slr_object_allocate_all(segment->data_fd, &config, &c->caller);
    if (code < 0) {
        return code;
    }
    if (transparent) {
        slr_object_collapse(segment->data, bytes);
    }
    slr_segment_populate(segment, true);
    g->pages = c->hugetlb ? SLIPRING_PAGES_HUGETLB : SLIPRING_PAGES_BASE;
    if (transparent && slr_object_huge_bytes(segment->data) >= g->area_bytes) {
        g->pages = SLIPRING_PAGES_TRANSPARENT;
    }
    g->numa_node = slr_topology_node_of(segment->payload);
    return 0;
}

/* Both files, mapped and faulted in. On failure nothing is left. */
static int build(struct creation *c)
{
    struct slr_segment *segment = c->segment;
    const struct slr_object_config data = data_config(c);
    const struct slr_object_config control = control_config(c);

    segment->data_fd = -1;
    segment->control_fd = -1;
    /* Explicit huge pages have a pool of their own. */
    int code = slr_object_check_memory(control.bytes + (c->hugetlb ? 0 : data.bytes), &c->caller);
    code = code < 0 ? code : slr_object_create(&control, &c->caller, &segment->control_fd);
    code = code < 0 ? code : slr_object_allocate_all(segment->control_fd, &control, &c->caller);
    code = code < 0 ? code : slr_object_create(&data, &c->caller, &segment->data_fd);
    code = code < 0 ? code : slr_segment_map(segment, true, c->caller.error);
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
    int code = slr_object_seal(c->segment->control_fd, false);
    code = code < 0 ? code : slr_object_seal(c->segment->data_fd, write);
    return code < 0 ? fail_system(c, "fcntl(F_ADD_SEALS)", code) : 0;
}

/* ---- becoming visible ---- */

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
    code = slr_object_link(c->segment->data_fd, data_path);
    if (code == 0) {
        code = slr_object_link(c->segment->control_fd, control_path);
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
        huge.caller.error = NULL; /* a step down is no failure */
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
    struct creation c = {
        .name = name,
        .config = config,
        .segment = segment,
        .caller = {
            .call = CALL, .thing = "ring", .smaller = "fewer or smaller slots", .error = error}};

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
