/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who is alive. A member holds an open-file-description lock on its byte of the control file; the
 * kernel drops it when the process dies, however it dies, and at no other time: not when it is
 * stopped, not when it closes another descriptor of the file, not when its pid is reused. Probing
 * costs a system call, so it is done on slow paths only.
 *
 * One private description per handle. A forked child would keep its parent's locks alive, so every
 * description is listed here and closed in the child (pthread_atfork); a child made by _Fork() or
 * a raw clone() skips that and keeps its parent "alive" until it execs or exits.
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
