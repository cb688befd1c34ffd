/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names: which are allowed, where they lie, what they lead to, and their removal.
 *
 * A ring NAME is two files of /dev/shm: control as NAME, data as .NAME.UUID (32 hexadecimal digits,
 * the uuid that both carry). Creation links data first, removal unlinks control first, so a control
 * file always has its data beside it. Data whose control is not there is litter of one that was
 * killed in between, unless its creation is still going on: until the control file is linked its
 * maker holds SLR_LOCK_PRESENCE of the *data* file.
 *
 * Who removes a name holds SLR_LOCK_UNLINK of that very inode and has looked since that the name
 * still leads there; so nobody removes a ring that took the name meanwhile.
 */
#ifndef SLR_NAMES_H
#define SLR_NAMES_H

#include "base/error.h"
#include "ring/layout.h"

#include <slipring/ring.h>

#include <stdbool.h>
#include <sys/stat.h>
#include <sys/types.h>

#define SLR_SHM "/dev/shm"
#define SLR_PATH_BYTES 264 /* directory, dot, name, dot, 32 digits, NUL */

/* How a control file begins, in this layout version and any other. */
struct slr_control_head {
    uint64_t magic;
    uint32_t layout_version;
    uint32_t endian;
    uint8_t uuid[16];
};

/* 0, or -EINVAL with the rule that the name breaks. */
int slr_name_check(const char *name, struct slipring_error *error);
void slr_name_control_path(const char *name, char path[SLR_PATH_BYTES]);
void slr_name_data_path(const char *name, const uint8_t uuid[16], char path[SLR_PATH_BYTES]);
/* Split a file's name ".NAME.UUID"; false if it is not one. */
bool slr_name_split(const char *file, char name[SLIPRING_NAME_MAX + 1], uint8_t uuid[16]);

/* Open a file as a suspicious one: no symbolic link followed, no terminal or fifo waited for, and
 * nothing but a regular file accepted (-EBADMSG). A descriptor, or a negative errno as it came. */
int slr_name_open(const char *path, int access, struct stat *status);
/* Read the beginning of a control file: 0, or -EBADMSG if it is none. */
int slr_name_head(int control_fd, struct slr_control_head *head);
/* Does the name lead to that inode now? 1, 0, or a negative errno. */
int slr_name_leads_to(const char *name, dev_t device, ino_t inode);
/* The name of the ring whose control file this descriptor is; "" if it has none. */
void slr_name_of(int control_fd, char name[SLIPRING_NAME_MAX + 1]);

/* Remove the name if it still leads to control_fd (a writable description of the caller's own):
 * 0, -ENOENT if it leads elsewhere by now, -EPERM, or -ETIMEDOUT if another process stopped in the
 * middle of removing it. */
int slr_name_remove(const char *name, int control_fd, const uint8_t uuid[16]);
/* A removal that was killed half-way left the orphaned flag of a ring that still has its name:
 * clear it. */
void slr_name_repair(const char *name, int control_fd, struct slr_control *control);

/* Remove the ring if it vanishes with its last member and nobody has it open, or if its data is
 * gone: 1 removed, 0 not so, or a negative errno. */
int slr_name_vanish(const char *name);
/* Remove data files without control, of one name or (NULL) of all (ring_list.c); adds to *removed. */
int slr_name_sweep(const char *name, uint32_t *removed);

/* Fill the error for a name that exists: owner, age, who has it open, the cure. -EEXIST. */
int slr_name_taken(const char *name, struct slipring_error *error);

#endif
