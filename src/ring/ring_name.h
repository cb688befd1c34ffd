/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a ring's name leads to, and its removal.
 *
 * Creation links data first and removal unlinks control first, so a control file has its data beside
 * it unless somebody else removed that. A data file without its control file is litter: its maker, or
 * the process that removed the ring, was killed in between. While a ring is being made its data file
 * is not litter: until the control file is linked its maker holds SLR_LOCK_PRESENCE of the *data*
 * file.
 */
#ifndef SLR_RING_NAME_H
#define SLR_RING_NAME_H

#include "base/error.h"
#include "base/names.h"
#include "ring/layout.h"

#include <slipring/ring.h>

#include <stdbool.h>
#include <sys/stat.h>
#include <sys/types.h>

_Static_assert(SLR_LOCK_PRODUCER != SLR_LOCK_PRESENCE && SLR_LOCK_PRODUCER != SLR_LOCK_UNLINK &&
                   SLR_LOCK_JOIN != SLR_LOCK_PRESENCE && SLR_LOCK_JOIN != SLR_LOCK_UNLINK &&
                   SLR_LOCK_JOIN != SLR_LOCK_PRODUCER && SLR_LOCK_CELL > SLR_LOCK_JOIN &&
                   SLR_LOCK_CELL > SLR_LOCK_UNLINK,
               "each lock byte has one meaning");

/* How a control file begins, in this layout version and any other. */
struct slr_control_head {
    uint64_t magic;
    uint32_t layout_version;
    uint32_t endian;
    uint8_t uuid[16];
};

/* Read the beginning of a control file: 0, or -EBADMSG if it is none. */
int slr_ring_name_head(int control_fd, struct slr_control_head *head);

/* Remove the name if it still leads to control_fd (a writable description of the caller's own):
 * 0, -ENOENT if it leads elsewhere by now, -EPERM, or -ETIMEDOUT if another process stopped in the
 * middle of removing it. */
int slr_ring_name_remove(const char *name, int control_fd, const uint8_t uuid[16]);
/* A removal that was killed half-way left the orphaned flag of a ring that still has its name:
 * clear it. */
void slr_ring_name_repair(const char *name, int control_fd, struct slr_control *control);

/* Remove the ring if it vanishes with its last member and nobody has it open, or if its data is
 * gone: 1 removed, 0 not so, or a negative errno. */
int slr_ring_name_vanish(const char *name);
/* Remove data files without control, of one name or (NULL) of all (ring_list.c); adds to *removed. */
int slr_ring_name_sweep(const char *name, uint32_t *removed);

/* Fill the error for a name that exists: owner, age, a process that has it open, the cure. -EEXIST. */
int slr_ring_name_taken(const char *name, struct slipring_error *error);

#endif
