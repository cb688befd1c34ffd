/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names in /dev/shm: which are allowed, where their files lie, and what they lead to.
 *
 * A NAME stands for two objects: control, the file NAME, and data, the file .NAME.UUID (32 hexadecimal
 * digits, the uuid that both carry). What the files hold is not known here.
 *
 * A process removes a name only while it holds SLR_LOCK_UNLINK of the control file and has checked
 * under that lock that the name still leads to it. So no process removes what took the name in the
 * meantime.
 */
#ifndef SLR_NAMES_H
#define SLR_NAMES_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define SLR_SHM "/dev/shm"
#define SLR_PATH_BYTES 264 /* directory, dot, name, dot, 32 digits, NUL */

/* Bytes of a control file that processes lock, with the same meaning in every kind of object. PRESENCE:
 * shared by every open handle, exclusive to remove what vanishes with its last handle. UNLINK: exclusive,
 * by a process that removes the name. A structure gives the other bytes their meaning (ring/layout.h). */
#define SLR_LOCK_PRESENCE 0u
#define SLR_LOCK_UNLINK 2u

/* 0, or -EINVAL with the rule that the name breaks. */
int slr_name_check(const char *name, struct slipring_error *error);
void slr_name_control_path(const char *name, char path[SLR_PATH_BYTES]);
void slr_name_data_path(const char *name, const uint8_t uuid[16], char path[SLR_PATH_BYTES]);
/* Split a file's name ".NAME.UUID"; false if it is not one. */
bool slr_name_split(const char *file, char name[SLIPRING_NAME_MAX + 1], uint8_t uuid[16]);

/* Does the name lead to that inode now? 1, 0, or a negative errno. */
int slr_name_leads_to(const char *name, dev_t device, ino_t inode);
/* The name that leads to this control file; "" if none does. */
void slr_name_of(int control_fd, char name[SLIPRING_NAME_MAX + 1]);

/* Lock the control file's SLR_LOCK_UNLINK and check that the name still leads to it. control_fd is a
 * writable description of the caller's own. 0 and the lock is held until slr_name_unlock(); -ENOENT if
 * the name leads elsewhere by now; -ETIMEDOUT if another process stopped while it held the lock. */
int slr_name_lock(const char *name, int control_fd);
void slr_name_unlock(int control_fd);

/* All file names in /dev/shm, copied first, so that a loop over them may create and remove files. */
struct slr_file_names {
    char **names;
    size_t count, room;
};
/* 0, or a negative errno; then the list is empty, and there is nothing to free. */
int slr_file_names_read(struct slr_file_names *files);
void slr_file_names_free(struct slr_file_names *files);

#endif
