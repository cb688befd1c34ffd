/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: no decision hangs on a pid. A member is killed and another process, no member, gets its
 * pid: the member is as dead as ever, for a consumer that held the producer back, a member of a
 * group and a producer. Needs the right to choose a child's pid.
 * Faults: C1.
 */
#define _GNU_SOURCE
#include "proc.h"

#include <linux/sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

struct story {
    const struct proc_ring *how;
    struct slipring_ring *ring;
};

static int reader(struct proc *self, void *context)
{
    const struct story *story = context;
    struct slipring_consumer *consumer = proc_consumer(story->ring, story->how, SLIPRING_OLDEST);
    struct slipring_view view;
    proc_tell(self, 0);
    CHECK_EQ(slipring_consumer_acquire(consumer, 1, &view, proc_in_ms(10000)), 0);
    proc_tell(self, 0);
    proc_sleep();
}

static int worker(struct proc *self, void *context)
{
    const struct story *story = context;
    struct slipring_consumer *consumer = proc_member(story->ring, "work", SLIPRING_MANY, 0);
    struct slipring_view view;
    proc_tell(self, 0);
    CHECK_EQ(slipring_consumer_acquire(consumer, 1, &view, proc_in_ms(10000)), 0);
    proc_tell(self, 0);
    proc_sleep();
}

static int producer_body(struct proc *self, void *context)
{
    const struct story *story = context;
    struct slipring_producer *producer = proc_producer(story->ring);
    CHECK_EQ(proc_publish(producer, story->how, 2, 0), 0);
    proc_tell(self, 0);
    proc_sleep();
}

/* A child with that pid; 0 where it may not be chosen. */
static pid_t start_as(pid_t pid)
{
    struct clone_args how = {
        .exit_signal = SIGCHLD, .set_tid = (uint64_t)(uintptr_t)&pid, .set_tid_size = 1};
    for (int tries = 0; tries < 100; tries++) {
        const long child = syscall(SYS_clone3, &how, sizeof(how));
        if (child == 0) {
            CHECK(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0);
            close_range(3, ~0u, 0); /* no handle of its parent's: a raw clone skips their hooks */
            proc_sleep();
        }
        if (child > 0) {
            CHECK_EQ(child, pid);
            return (pid_t)child;
        }
        if (errno != EEXIST) {
            return 0;
        }
        proc_pause_us(1000); /* the pid is still the dead one's, or another process got it */
    }
    return 0;
}

/* Kill a member and give its pid to another process. */
static struct proc replace(struct proc *member)
{
    const pid_t pid = member->pid;
    proc_kill(member);
    const struct proc other = {start_as(pid), -1, -1};
    if (other.pid == 0) {
        SKIP("the pid of a child cannot be chosen here (clone3 with set_tid; root can)");
    }
    CHECK(kill(pid, 0) == 0); /* what a look at pids would say: alive */
    return other;
}

static void end(const struct proc *other)
{
    CHECK(kill(other->pid, SIGKILL) == 0);
    CHECK_EQ(waitpid(other->pid, NULL, 0), other->pid);
}

static void consumers(const struct proc_ring *how, int (*body)(struct proc *, void *))
{
    struct story story = {how, proc_make(how, 0)};
    struct slipring_producer *producer = proc_producer(story.ring);
    struct proc child = proc_start(body, &story);
    proc_hear(&child);
    CHECK_EQ(proc_publish(producer, how, 1, 0), 0);
    proc_hear(&child);
    proc_fill(producer, how);
    CHECK_EQ(proc_publish(producer, how, 1, proc_in_ms(20)), -ETIMEDOUT);
    const struct proc other = replace(&child);
    CHECK_EQ(proc_publish(producer, how, 1, proc_in_ms(PROC_GO_ON_MS)), 0);
    CHECK_EQ(proc_info(story.ring).members, 0);
    end(&other);
    slipring_producer_detach(producer);
    slipring_ring_close(story.ring);
}

static void producers(const struct proc_ring *how)
{
    struct story story = {how, proc_make(how, 0)};
    struct slipring_consumer *consumer = proc_consumer(story.ring, how, SLIPRING_OLDEST);
    struct slipring_view view;
    struct proc child = proc_start(producer_body, &story);
    proc_hear(&child);
    const struct proc other = replace(&child);
    CHECK_EQ(proc_take(consumer, how, &view, 0), 0);
    CHECK_EQ(proc_take(consumer, how, &view, 0), 0);
    CHECK_EQ(proc_take(consumer, how, &view, proc_in_ms(PROC_NOTICE_MS)), -EOWNERDEAD);
    CHECK_EQ(proc_info(story.ring).producer, SLIPRING_PRODUCER_DEAD);
    struct slipring_producer *next = proc_producer(story.ring);
    CHECK_EQ(proc_publish(next, how, 1, 0), 0);
    CHECK_EQ(proc_take(consumer, how, &view, 0), 0);
    CHECK_EQ(view.slot.sequence, 2);
    end(&other);
    slipring_producer_detach(next);
    slipring_consumer_detach(consumer);
    slipring_ring_close(story.ring);
}

int main(void)
{
    proc_begin(60);
    for (unsigned i = 0; i < PROC_RINGS; i++) {
        if (proc_rings[i].full == SLIPRING_BLOCK) {
            consumers(&proc_rings[i], reader);
            consumers(&proc_rings[i], worker);
        }
        producers(&proc_rings[i]);
    }
    return 0;
}
