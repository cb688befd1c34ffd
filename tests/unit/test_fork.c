/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: in a forked child every call on the parent's producer and consumer says -ECHILD and
 * touches nothing; what the parent had acquired stays readable there; the child can attach anew
 * with the parent's ring handle; ending its copies does not end the parent's; and the parent's
 * death is seen by others while such a child lives on.
 * Faults: C3.
 */
#define _GNU_SOURCE
#include "kernel.h"
#include "proc.h"

#include <slipring/inline.h>

struct handles {
    const struct proc_ring *how;
    struct slipring_ring *ring;
    struct slipring_producer *producer;
    struct slipring_consumer *consumer;
    struct slipring_view view;
    bool held;
};

static void dead_producer(struct slipring_producer *producer)
{
    struct slipring_loan loan = {0};
    struct slipring_tensor tensor;
    void *data;
    CHECK_EQ(slipring_producer_try_claim(producer, 1, &loan), -ECHILD);
    CHECK_EQ(slipring_producer_claim(producer, 1, &loan, SLIPRING_FOREVER), -ECHILD);
    CHECK_EQ(slipring_producer_publish(producer, 1, NULL), -ECHILD);
    const struct slipring_slot header = {.bytes = 8};
    CHECK_EQ(slipring_producer_publish_spanning(producer, &header), -ECHILD);
    CHECK_EQ(slipring_producer_abort(producer), -ECHILD);
    CHECK(slipring_loan_field(producer, &loan, 0, &tensor) <= 0);
    CHECK_EQ(slipring_fast_try_claim(slipring_producer_fast(producer), 1, &data), -ECHILD);
    CHECK_EQ(slipring_fast_publish(slipring_producer_fast(producer), 1), -ECHILD);
    slipring_producer_wake(producer);
}

static void dead_consumer(const struct handles *all)
{
    struct slipring_consumer *consumer = all->consumer;
    struct slipring_view view = {0};
    struct slipring_stats stats = {.struct_size = sizeof(stats)};
    uint64_t buffer[64];
    const void *data;
    CHECK_EQ(slipring_consumer_try_acquire(consumer, 1, &view), -ECHILD);
    CHECK_EQ(slipring_consumer_acquire(consumer, 1, &view, SLIPRING_FOREVER), -ECHILD);
    CHECK_EQ(slipring_consumer_release(consumer, &all->view), -ECHILD);
    CHECK_EQ(slipring_consumer_try_copy(consumer, buffer, sizeof(buffer), &view), -ECHILD);
    CHECK_EQ(slipring_consumer_copy(consumer, buffer, sizeof(buffer), &view, SLIPRING_FOREVER),
             -ECHILD);
    CHECK_EQ(slipring_consumer_arm(consumer), -ECHILD);
    CHECK_EQ(slipring_consumer_stats(consumer, &stats), -ECHILD);
    CHECK_EQ(slipring_consumer_lag(consumer), 0);
    CHECK_EQ(slipring_fast_try_acquire(slipring_consumer_fast(consumer), 1, &data), -ECHILD);
    CHECK_EQ(slipring_fast_release(slipring_consumer_fast(consumer), 1), -ECHILD);
    slipring_consumer_wake(consumer);
}

static int child_body(struct proc *self, void *context)
{
    struct handles *all = context;
    dead_producer(all->producer);
    dead_consumer(all);
    CHECK(!all->held || proc_view_whole(all->how, &all->view));
    struct slipring_producer *second;
    CHECK_EQ(slipring_producer_attach(all->ring, NULL, &second, NULL), -EBUSY);
    slipring_producer_close(all->producer); /* the copies: neither closes nor detaches */
    slipring_consumer_detach(all->consumer);
    struct slipring_consumer *own = proc_consumer(all->ring, all->how, SLIPRING_LATEST);
    proc_tell(self, 0);
    CHECK_EQ(proc_take(own, all->how, &all->view, proc_in_ms(5000)), 0);
    proc_tell(self, all->view.slot.sequence);
    slipring_consumer_detach(own);
    slipring_ring_close(all->ring);
    return 0;
}

static void handles(const struct proc_ring *how)
{
    struct handles all = {.how = how, .ring = proc_make(how, 0)};
    all.producer = proc_producer(all.ring);
    all.consumer = proc_consumer(all.ring, how, SLIPRING_OLDEST);
    all.held = proc_holds(how);
    CHECK_EQ(proc_publish(all.producer, how, 1, 0), 0);
    if (all.held) {
        CHECK_EQ(slipring_consumer_try_acquire(all.consumer, 1, &all.view), 0);
    } else {
        CHECK_EQ(proc_take(all.consumer, how, &all.view, 0), 0);
    }
    struct proc child = proc_start(child_body, &all);
    proc_hear(&child);
    CHECK_EQ(proc_info(all.ring).producer, SLIPRING_PRODUCER_LIVE);
    CHECK_EQ(proc_publish(all.producer, how, 1, 0), 0);
    CHECK_EQ(proc_hear(&child), 1);
    proc_end(&child);
    if (all.held) {
        CHECK(proc_view_whole(how, &all.view));
        CHECK_EQ(slipring_consumer_release(all.consumer, &all.view), 0);
    }
    CHECK_EQ(proc_take(all.consumer, how, &all.view, 0), 0);
    CHECK_EQ(all.view.slot.sequence, 1);
    slipring_consumer_detach(all.consumer);
    slipring_producer_detach(all.producer);
    slipring_ring_close(all.ring);
}

/* A producer and gating consumer that forks a child and is killed; the child lives until told. */
static int family(struct proc *self, void *context)
{
    const struct handles *all = context;
    struct slipring_producer *producer = proc_producer(all->ring);
    struct slipring_consumer *consumer = proc_consumer(all->ring, all->how, SLIPRING_OLDEST);
    CHECK_EQ(proc_publish(producer, all->how, 1, 0), 0);
    const pid_t heir = fork(); /* no death signal: it outlives this process */
    CHECK(heir >= 0);
    if (heir == 0) {
        alarm(30);
        proc_tell(self, (uint64_t)getpid());
        proc_hear(self);
        struct slipring_loan loan;
        struct slipring_view view;
        CHECK_EQ(slipring_producer_try_claim(producer, 1, &loan), -ECHILD);
        CHECK_EQ(slipring_consumer_try_acquire(consumer, 1, &view), -ECHILD);
        proc_tell(self, 7);
        _exit(0);
    }
    proc_sleep();
}

static void death(const struct proc_ring *how)
{
    struct handles all = {.how = how, .ring = proc_make(how, 0)};
    struct slipring_view view;
    struct slipring_consumer *reader = proc_consumer(all.ring, how, SLIPRING_OLDEST);
    struct proc child = proc_start(family, &all);
    proc_hear(&child);
    struct proc heir = child;
    heir.in = dup(child.in);
    heir.out = dup(child.out);
    CHECK(heir.in >= 0 && heir.out >= 0);
    CHECK_EQ(proc_take(reader, how, &view, 0), 0);
    proc_kill(&child);
    CHECK_EQ(proc_take(reader, how, &view, proc_in_ms(PROC_NOTICE_MS)), -EOWNERDEAD);
    struct slipring_producer *producer = proc_producer(all.ring);
    const uint64_t slots = proc_info(all.ring).slots;
    for (uint64_t i = 1; i < 3 * slots; i++) { /* its dead consumer gates no more */
        CHECK_EQ(proc_publish(producer, how, 1, proc_in_ms(PROC_GO_ON_MS)), 0);
        CHECK_EQ(proc_take(reader, how, &view, 0), 0);
        CHECK_EQ(view.slot.sequence, i);
    }
    if (how->full == SLIPRING_BLOCK) {
        CHECK_EQ(proc_info(all.ring).members, 1);
    }
    proc_tell(&heir, 0);
    CHECK_EQ(proc_hear(&heir), 7);
    close(heir.in);
    close(heir.out);
    slipring_producer_detach(producer);
    slipring_consumer_detach(reader);
    slipring_ring_close(all.ring);
}

int main(void)
{
    proc_begin(60);
    if (!kernel_wipes()) {
        SKIP("memory cannot be wiped on fork here (MADV_WIPEONFORK), so no child is told");
    }
    for (unsigned i = 0; i < PROC_RINGS; i++) {
        handles(&proc_rings[i]);
        death(&proc_rings[i]);
    }
    return 0;
}
