/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ring handle: made, opened, counted, given back.
 *
 * One handle per ring and process: opens of a name share it, and every producer, consumer and
 * exported tensor holds a reference. As long as there is one the process is present: it holds
 * SLR_LOCK_PRESENCE shared. The last reference of a vanishing ring gives that lock up and asks for
 * it exclusively; of several processes that do so at once the last to ask gets it, and removes the
 * name.
 */
#define _GNU_SOURCE
#include "base/os.h"
#include "base/sequence.h"
#include "ring/handle.h"
#include "ring/ring_name.h"
#include "ring/ring_registry.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define CALL_CREATE "slipring_ring_create"
#define CALL_OPEN "slipring_ring_open"
#define TRIES 20                  /* against a name that is removed or made at the same time */
#define TRY_STEP INT64_C(1000000) /* ns */
#define OPEN_FLAGS (SLIPRING_READ_ONLY | SLIPRING_ANY_OWNER)

void slipring_config_init(struct slipring_config *config)
{
    memset(config, 0, sizeof *config);
    config->struct_size = sizeof *config;
    config->slots = 1024;
    config->members_max = 1024;
    config->mode = 0600;
    config->gid = -1;
    config->numa_node = -1;
}

/* ---- handles ---- */

static int fail_memory(struct slipring_error *error)
{
    return slr_fail(error, -ENOMEM, "malloc", "no memory for a ring handle");
}

/* A handle and its place in the table; -ENOMEM leaves nothing. */
static int new_ring(const char *name, struct slipring_ring **ring, struct slipring_error *error)
{
    struct slipring_ring *made = NULL;
    if (slr_registry_setup() == 0) {
        made = calloc(1, sizeof *made);
    }
    if (made != NULL && name != NULL && (made->entry = slr_registry_new()) == NULL) {
        free(made);
        made = NULL;
    }
    if (made == NULL) {
        return fail_memory(error);
    }
    made->presence.fd = -1;
    made->segment.data_fd = -1;
    made->segment.control_fd = -1;
    slr_store32(&made->references, 1);
    snprintf(made->name, sizeof made->name, "%s", name == NULL ? "" : name);
    *ring = made;
    return 0;
}

/* One that is not in the table yet. */
static void free_ring(struct slipring_ring *ring)
{
    slr_registry_free(ring->entry);
    free(ring);
}

static void list_ring(struct slipring_ring *ring)
{
    const struct slr_segment *segment = &ring->segment;
    const struct slr_registry_key key = {
        .ring = ring,
        .name = ring->name,
        .references = &ring->references,
        .orphaned = segment->control != NULL ? &segment->control->orphaned : NULL,
        .read_only = ring->read_only,
        .trusted = segment->uid == 0 || segment->uid == geteuid(),
        .device = segment->device,
        .inode = segment->control_inode,
    };
    slr_registry_add(ring->entry, &key);
}

void slr_ring_hold(struct slipring_ring *ring)
{
    (void)slr_add32_seq(&ring->references, 1);
}

/* Remove the name if the ring vanishes with its last handle and this was it. */
static void vanish(struct slipring_ring *ring)
{
    struct slr_lock *lock = &ring->presence;

    if (ring->name[0] == '\0' || ring->read_only ||
        (ring->segment.geometry.flags & SLIPRING_VANISH) == 0) {
        return;
    }
    if (lock->fd < 0 && slr_lock_open(lock, ring->segment.control_fd) < 0) {
        return; /* after a fork; whoever looks at the ring next removes it */
    }
    /* Given up before it is asked for: two that upgraded would refuse each other. */
    slr_lock_drop(lock, SLR_LOCK_PRESENCE);
    if (slr_lock_take(lock, SLR_LOCK_PRESENCE, false) == 0) {
        (void)slr_ring_name_remove(ring->name, lock->fd, ring->segment.geometry.uuid);
        slr_lock_drop(lock, SLR_LOCK_PRESENCE);
    }
}

void slr_ring_drop(struct slipring_ring *ring)
{
    SLR_NOT_CANCELLED;
    if (slr_add32_seq(&ring->references, UINT32_MAX) != 1) {
        return;
    }
    const int saved = errno;
    slr_registry_remove(ring->entry);
    vanish(ring);
    slr_lock_close(&ring->presence);
    slr_segment_close(&ring->segment);
    free(ring);
    errno = saved;
}

void slipring_ring_close(struct slipring_ring *ring)
{
    if (ring != NULL) {
        slr_ring_drop(ring);
    }
}

/* With the registry's mutex held: two threads of a forked child may come at once. */
static int make_present(struct slipring_ring *ring, struct slipring_error *error)
{
    if (ring->read_only || ring->presence.fd >= 0) {
        return 0;
    }
    int code = slr_lock_open(&ring->presence, ring->segment.control_fd);
    if (code < 0) {
        return slr_fail(
            error, code == -EACCES ? -EPERM : code, "open",
            "cannot open the ring's control file anew, as locks need it (errno %d): %s", -code,
            code == -EACCES ? "the mode given at creation must allow it" : "see errno(3)");
    }
    code = slr_lock_take(&ring->presence, SLR_LOCK_PRESENCE, true);
    if (code < 0) {
        slr_lock_close(&ring->presence);
        return code == -EAGAIN ? slr_fail(error, -ENOENT, CALL_OPEN,
                                          "the ring is vanishing with its last member")
                               : slr_fail(error, code, "fcntl(F_OFD_SETLK)",
                                          "cannot lock the ring's control file (errno %d)", -code);
    }
    slr_registry_note_present(ring->entry);
    return 0;
}

int slr_ring_present(struct slipring_ring *ring, struct slipring_error *error)
{
    slr_registry_lock();
    const int code = make_present(ring, error);
    slr_registry_unlock();
    return code;
}

const char *slipring_ring_name(const struct slipring_ring *ring)
{
    return ring->name;
}

void slipring_ring_fds(const struct slipring_ring *ring, int *data_fd, int *control_fd)
{
    *data_fd = ring->segment.data_fd;
    *control_fd = ring->segment.control != NULL ? ring->segment.control_fd : -1;
}

/* ---- creating ---- */

static int random_bytes(uint8_t *bytes, size_t size, struct slipring_error *error)
{
    ssize_t count;
    do {
        count = getrandom(bytes, size, 0);
    } while (count < 0 && errno == EINTR);
    return count == (ssize_t)size ? 0
                                  : slr_fail(error, count < 0 ? -errno : -EIO, "getrandom",
                                             "no random bytes for the ring's identity");
}

static bool name_exists(const char *name)
{
    char path[SLR_PATH_BYTES];
    struct stat status;
    slr_name_control_path(name, path);
    return lstat(path, &status) == 0;
}

static int create_named(struct slipring_ring *ring, const struct slipring_config *config,
                        struct slr_geometry *plan, struct slipring_error *error)
{
    const bool automatic = ring->name[0] == '\0';
    int code = -EEXIST;

    for (int i = 0; i < TRIES && code == -EEXIST; i++) {
        code = random_bytes(plan->uuid, sizeof plan->uuid, error);
        if (code < 0) {
            return code;
        }
        if (automatic) {
            int length = snprintf(ring->name, sizeof ring->name, "ring-");
            for (int k = 0; k < 8; k++, length += 2) {
                snprintf(ring->name + length, sizeof ring->name - (size_t)length, "%02x",
                         plan->uuid[k]);
            }
        }
        /* What a killed process left in the way goes first, before memory is taken. */
        uint32_t litter = 0;
        (void)slr_ring_name_vanish(ring->name);
        (void)slr_ring_name_sweep(ring->name, &litter);
        if (!automatic && name_exists(ring->name)) {
            return slr_ring_name_taken(ring->name, error);
        }
        code = slr_segment_create(ring->name, config, plan, &ring->segment, &ring->presence, error);
    }
    return code == -EEXIST ? slr_ring_name_taken(ring->name, error) : code;
}

int slipring_ring_create(const char *name, const struct slipring_config *config,
                         struct slipring_ring **ring, struct slipring_error *error)
{
    SLR_NOT_CANCELLED;
    struct slipring_ring *made;
    struct slr_geometry plan;

    if (config == NULL || ring == NULL || config->struct_size != sizeof *config) {
        return slr_fail(error, -EINVAL, CALL_CREATE, "%s: set the config by slipring_config_init()",
                        config == NULL ? "config is NULL"
                        : ring == NULL ? "ring is NULL"
                                       : "config.struct_size is not one that this library knows");
    }
    int code = name != NULL && name[0] != '\0' ? slr_name_check(name, error) : 0;
    code = code < 0 ? code : slr_geometry_plan(config, &plan, error);
    code = code < 0 ? code : new_ring(name, &made, error);
    if (code < 0) {
        return code;
    }
    made->log = (struct slr_log){.fn = config->log, .user = config->log_user};
    if (name != NULL) {
        code = create_named(made, config, &plan, error);
    } else {
        code = random_bytes(plan.uuid, sizeof plan.uuid, error);
        code = code < 0 ? code
                        : slr_segment_create(NULL, config, &plan, &made->segment, &made->presence,
                                             error);
    }
    if (code < 0) {
        free_ring(made);
        return code;
    }
    if (name != NULL) {
        list_ring(made);
    }
    *ring = made;
    return 0;
}

/* ---- opening ---- */

/* The name leads to the ring, and yet it is marked as removed: the removal is going on, or was
 * killed before it removed anything. */
static void repair(struct slipring_ring *ring)
{
    struct slr_control *control = ring->segment.control;
    if (control != NULL && slr_load32_acquire(&control->orphaned) != 0) {
        slr_ring_name_repair(ring->name, ring->segment.control_fd, control);
    }
}

/* Present before the last look at the name: from here on the ring cannot vanish. */
static int enter(struct slipring_ring *ring, struct slipring_error *error)
{
    const struct slr_segment *segment = &ring->segment;
    if (!ring->read_only) {
        int code = slr_lock_open(&ring->presence, segment->control_fd);
        if (code < 0) {
            return slr_fail(error, code == -EACCES ? -EPERM : code, "open",
                            "cannot open the control file of ring \"%.60s\" anew (errno %d)",
                            ring->name, -code);
        }
        code = -EAGAIN;
        if ((segment->geometry.flags & SLIPRING_VANISH) != 0) {
            code = slr_lock_take(&ring->presence, SLR_LOCK_PRESENCE, false);
        }
        if (code == 0) {
            /* Nobody had it open: its last member was killed. */
            (void)slr_ring_name_remove(ring->name, ring->presence.fd, segment->geometry.uuid);
            return -EAGAIN;
        }
        if (code == -EAGAIN) {
            code = slr_lock_take(&ring->presence, SLR_LOCK_PRESENCE, true);
        }
        if (code < 0) {
            return code == -EAGAIN ? code
                                   : slr_fail(error, code, "fcntl(F_OFD_SETLK)",
                                              "cannot lock the control file of ring \"%.60s\" "
                                              "(errno %d)",
                                              ring->name, -code);
        }
    }
    const int leads = slr_name_leads_to(ring->name, segment->device, segment->control_inode);
    if (leads < 0) {
        return slr_fail(error, leads, "lstat", "cannot look at ring \"%.60s\" again (errno %d)",
                        ring->name, -leads);
    }
    if (leads == 0) {
        return -EAGAIN;
    }
    repair(ring);
    return 0;
}

static int try_open(struct slipring_ring *ring, uint32_t flags, struct slipring_error *error)
{
    int code = slr_segment_open(ring->name, flags, &ring->segment, error);
    if (code < 0) {
        return code;
    }
    code = enter(ring, error);
    if (code < 0) {
        slr_lock_drop(&ring->presence, SLR_LOCK_PRESENCE);
        slr_lock_close(&ring->presence);
        slr_segment_close(&ring->segment);
    }
    return code;
}

static int open_new(const char *name, uint32_t flags, struct slipring_ring **ring,
                    struct slipring_error *error)
{
    struct slipring_ring *made;
    int code = new_ring(name, &made, error);
    if (code < 0) {
        return code;
    }
    made->read_only = (flags & SLIPRING_READ_ONLY) != 0;
    if (made->read_only) {
        (void)slr_ring_name_vanish(
            name); /* a reader that announces nothing cannot ask for the lock */
    }
    code = -EAGAIN;
    for (int i = 0; i < TRIES && code == -EAGAIN; i++) {
        if (i > 1) {
            (void)slr_os_sleep(slr_os_now() + TRY_STEP);
        }
        code = try_open(made, flags, error);
    }
    if (code < 0) {
        free_ring(made);
        return code == -EAGAIN
                   ? slr_fail(error, -ENOENT, CALL_OPEN, "ring \"%.100s\" is being removed", name)
                   : code;
    }
    slr_segment_lock_pages(&made->segment);
    list_ring(made);
    *ring = made;
    return 0;
}

/* A handle that the short way does not give out: the ring was opened read-only, or before a fork,
 * or carries the flag of a removal that was killed half-way. */
static int open_again(const char *name, uint32_t flags, struct slipring_ring **ring,
                      struct slipring_error *error)
{
    char path[SLR_PATH_BYTES];
    struct stat status;
    slr_name_control_path(name, path);
    struct slipring_ring *found = NULL;
    if (lstat(path, &status) == 0) {
        found = slr_registry_find_inode(name, (flags & SLIPRING_READ_ONLY) != 0,
                                        (flags & SLIPRING_ANY_OWNER) != 0, status.st_dev,
                                        status.st_ino);
    }
    if (found == NULL) {
        return -EAGAIN;
    }
    const int code = make_present(found, error);
    if (code == 0) {
        repair(found);
    }
    *ring = found; /* on failure to be dropped, outside the mutex */
    return code;
}

int slipring_ring_open(const char *name, uint32_t flags, struct slipring_ring **ring,
                       struct slipring_error *error)
{
    SLR_NOT_CANCELLED;
    if (ring == NULL || (flags & ~(uint32_t)OPEN_FLAGS) != 0) {
        return slr_fail(error, -EINVAL, CALL_OPEN, "%s",
                        ring == NULL ? "ring is NULL"
                                     : "flags: only SLIPRING_READ_ONLY and SLIPRING_ANY_OWNER");
    }
    struct slipring_ring *found = NULL;
    if (name != NULL) {
        found = slr_registry_find(name, (flags & SLIPRING_READ_ONLY) != 0,
                                  (flags & SLIPRING_ANY_OWNER) != 0);
    }
    if (found != NULL) {
        *ring = found;
        return 0;
    }
    int code = slr_name_check(name, error);
    if (code < 0) {
        return code;
    }
    code = slr_registry_setup();
    if (code < 0) {
        return fail_memory(error);
    }
    slr_registry_lock();
    code = open_again(name, flags, &found, error);
    if (code == -EAGAIN) {
        code = open_new(name, flags, &found, error);
    }
    slr_registry_unlock();
    if (code < 0) {
        slipring_ring_close(found);
        return code;
    }
    *ring = found;
    return 0;
}
