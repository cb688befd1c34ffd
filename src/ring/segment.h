/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two shared objects: sized, created whole or not at all, mapped, validated.
 * An opened segment is untrusted input: every value is read once, checked against the sizes of the
 * files, and kept in private memory (`geometry`).
 */
#ifndef SLR_SEGMENT_H
#define SLR_SEGMENT_H

#include "base/error.h"
#include "ring/layout.h"

#include <slipring/ring.h>

#include <stdbool.h>
#include <sys/types.h>

struct slr_segment {
    struct slr_geometry geometry; /* private copy, validated */
    struct slr_data *data;        /* PROT_READ until slr_segment_write() */
    struct slr_control *control;  /* NULL when read-only */
    uint8_t *headers; /* header line of slot 0; its stamp lies stamp_in_header further */
    uint8_t *payload; /* of slot 0 */
    struct slr_cell *cells;
    struct slr_group *groups;
    _Atomic uint64_t *holds, *leases, *releases;
    uint32_t slots_log2;
    int data_fd, control_fd; /* control_fd: -1 without control; may be read-only without cells */
    uint64_t mapped_bytes;   /* of address space at data: header, headers, area, area again */
    bool may_write;          /* this mapping was made writable: mprotect suffices */
    _Atomic uint32_t write_holder; /* pid of who is at the three below; 0 nobody */
    uint32_t writers;     /* for whom data is writable: a producer, a device part that pins */
    uint32_t writers_pid; /* in this process; a forked child begins at none */
    _Atomic uint32_t populated_pid; /* the process whose page tables were filled; 0 none */
    int locked;                     /* as slipring_info.locked */
    dev_t device;
    ino_t control_inode, data_inode;
    uid_t uid;
};

/* Work geometry out from a config: defaults, limits, rounding (geometry.c). */
int slr_geometry_plan(const struct slipring_config *config, struct slr_geometry *geometry,
                      struct slipring_error *error);
/* Is a geometry read from a file of data_bytes consistent? The text says what is not. */
int slr_geometry_check(const struct slr_geometry *geometry, uint64_t data_bytes,
                       uint64_t control_bytes, struct slipring_error *error);

/* XXH3 of a geometry with its `check` left out. */
uint64_t slr_geometry_hash(const struct slr_geometry *geometry);

struct slr_lock;

/* Create both objects from a plan (segment_create.c; plan's uuid is set, pages, numa_node and the
 * like are filled in). name NULL: memfds. A name: unnamed files, linked when complete. presence
 * holds SLR_LOCK_PRESENCE shared since before the link. -EEXIST comes without a text. */
int slr_segment_create(const char *name, const struct slipring_config *config,
                       struct slr_geometry *plan, struct slr_segment *segment,
                       struct slr_lock *presence, struct slipring_error *error);

/* Map a ring by name; flags as slipring_ring_open(). -EAGAIN: it was removed meanwhile. */
int slr_segment_open(const char *name, uint32_t flags, struct slr_segment *segment,
                     struct slipring_error *error);

int slr_segment_from_fds(int data_fd, int control_fd, struct slr_segment *segment,
                         struct slipring_error *error);

/* Map what data_fd and control_fd lead to, as the geometry says. */
int slr_segment_map(struct slr_segment *segment, bool write, struct slipring_error *error);

/* Make the data mapping writable, in place, for a producer or to be page-locked; and read-only again
 * when the last of them has done. Any thread. */
int slr_segment_write(struct slr_segment *segment, struct slipring_error *error);
void slr_segment_write_end(struct slr_segment *segment);

/* Touch every page of data (and control) so that no message ever faults; write also where data
 * is mapped writable. Cheap if this process did so before. */
void slr_segment_populate(struct slr_segment *segment, bool write);

/* Lock the pages in memory where the ring's flags ask for it; the outcome is in locked. */
void slr_segment_lock_pages(struct slr_segment *segment);

/* Unmap and close. */
void slr_segment_close(struct slr_segment *segment);

#endif
