/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: with nobody asleep, claim, publish, acquire and release make no system call: a child in
 * which the kernel allows none but write and _exit (strict seccomp) runs them thousands of times.
 * A child that does make another call is seen to be killed, or the test would prove nothing.
 * Faults: D10.
 */
#define _GNU_SOURCE
#include "proc.h"

#include <linux/seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

struct story {
    const struct proc_ring *how;
    struct slipring_ring *ring;
    bool cheat;
};

/* _exit() is exit_group(), which strict mode forbids. */
static void leave(long code)
{
    syscall(SYS_exit, code);
}

static long traffic(const struct story *story, struct slipring_producer *producer,
                    struct slipring_consumer *consumer)
{
    uint64_t buffer[64];
    for (uint64_t i = 0; i < 5000; i++) {
        struct slipring_loan loan;
        struct slipring_view view;
        const uint64_t n = 1 + i % 3;
        const bool copies =
            story->how->full == SLIPRING_OVERWRITE &&
            !(proc_holds(story->how) && i % 2 == 0); /* by hold and by copy in turn */
        if (slipring_producer_try_claim(producer, n, &loan) != 0) {
            return 2;
        }
        for (uint64_t k = 0; k < n; k++) {
            pattern_fill((char *)loan.data + k * loan.stride, story->how->bytes, loan.sequence + k);
        }
        if (slipring_producer_publish(producer, n, NULL) != 0) {
            return 3;
        }
        for (uint64_t left = n; left > 0; left -= view.slots) {
            if (copies) {
                if (slipring_consumer_try_copy(consumer, buffer, sizeof(buffer), &view) != 0) {
                    return 4;
                }
            } else if (slipring_consumer_try_acquire(consumer, left, &view) != 0 ||
                       slipring_consumer_release(consumer, &view) != 0) {
                return 5;
            }
        }
    }
    return 0;
}

static int body(struct proc *self, void *context)
{
    (void)self;
    const struct story *story = context;
    struct slipring_producer *producer = proc_producer(story->ring);
    struct slipring_consumer *consumer = proc_consumer(story->ring, story->how, SLIPRING_OLDEST);
    slipring_now_ns();
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) != 0) {
        leave(77);
    }
    if (story->cheat) {
        getppid();
    }
    leave(traffic(story, producer, consumer));
    return 1;
}

static int run(const struct proc_ring *how, bool cheat)
{
    struct story story = {how, proc_make(how, 0), cheat};
    struct proc child = proc_start(body, &story);
    int status;
    CHECK_EQ(waitpid(child.pid, &status, 0), child.pid);
    slipring_ring_close(story.ring);
    if (WIFEXITED(status)) {
        return WEXITSTATUS(status);
    }
    CHECK_EQ(WTERMSIG(status), SIGKILL);
    return -SIGKILL;
}

int main(void)
{
    proc_begin(30);
#if defined(SANITIZED_THREADS)
    SKIP("the thread sanitizer's own thread outlives the child's last call");
#endif
    const int cheated = run(&proc_rings[0], true);
    if (cheated == 77) {
        SKIP("the kernel has no strict seccomp");
    }
    CHECK_EQ(cheated, -SIGKILL);
    for (unsigned i = 0; i < PROC_RINGS; i++) {
        const int code = run(&proc_rings[i], false);
        if (code != 0) {
            FAIL("%s: %d", proc_rings[i].name, code);
        }
    }
    return 0;
}
