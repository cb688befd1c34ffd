/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Liveness: is a member's process alive? A member holds an open-file-description lock on its byte of
 * the control file. The kernel drops the lock when the process dies, however it dies, and at no other
 * time: not when the process is stopped, closes another descriptor of the file, or has a pid that is
 * used again later. A probe costs a system call, so only slow paths make one.
 *
 * Each handle has a private description. A forked child would keep its parent's locks alive, so every
 * description is listed here and closed in the child (pthread_atfork). A child made by _Fork() or a raw
 * clone() skips that and keeps its parent "alive" until it execs or exits.
 */
#ifndef SLR_LIVENESS_H
#define SLR_LIVENESS_H

#include <stdbool.h>
#include <stdint.h>

struct slr_lock {
    int fd; /* -1: none, also after fork */
    struct slr_lock *next, *previous;
};

/* What slr_lock_open() sets up in a process first: 0, or -ENOMEM. */
int slr_lock_setup(void);
/* Open a private description of control (its descriptor) and list it. No byte is locked yet. */
int slr_lock_open(struct slr_lock *lock, int control_fd);
/* Close it: every byte that it locked is free. NULL-safe for an unopened lock (fd -1). */
void slr_lock_close(struct slr_lock *lock);

int slr_lock_take(struct slr_lock *lock, uint64_t byte, bool shared); /* 0, -EAGAIN, -errno */
void slr_lock_drop(struct slr_lock *lock, uint64_t byte);

/* Is somebody else's description holding the byte? Errors count as alive. */
bool slr_alive(int control_fd, uint64_t byte);

#endif
