/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: a hostile member that moves a group's position whenever somebody is about to move it on
 * over the finished messages holds no member of the group for ever. Without a bound on that walk it
 * would be slots * slots steps, here four thousand million. (The hostile member is a signal handler
 * here, so that it comes in between as often on one processor as on many.)
 * Faults: E2.
 */
#define _GNU_SOURCE
#include "ring/group.h"
#include "ring/handle.h"
#include "ring/released.h"
#include "hostile.h"
#include "visit.h"

#include <signal.h>
#include <time.h>

#define EVERY_NS 30000 /* a walk takes longer */

static const struct stress how = {
    .geometry = SLIPRING_GEOMETRY_COMPACT, .bytes = 56, .slots = 1 << 16, .tables = 1};

static _Atomic uint64_t *position;
static uint64_t begins, written;

static void write_it(int number)
{
    (void)number;
    atomic_store(position, begins + ++written % 1024);
}

static timer_t start_writing(void)
{
    const struct itimerspec every = {{0, EVERY_NS}, {0, EVERY_NS}};
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    timer_t timer;
    CHECK(signal(SIGUSR1, write_it) != SIG_ERR);
    CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
    CHECK(timer_settime(timer, 0, &every, NULL) == 0);
    return timer;
}

int main(void)
{
    proc_begin(60);
    struct slipring_ring *ring = stress_create(&how);
    struct slipring_consumer *consumer = proc_member(ring, "team", SLIPRING_MANY, 0);
    struct slr_segment *segment = &ring->segment;
    const struct visit watch = {.how = &how, .ring = ring, .scribbled = true};
    position = &segment->groups[consumer->group].position;
    begins = atomic_load(position);
    for (uint64_t s = begins; s != begins + slr_slots(segment); s++) {
        atomic_store(slr_lease_word(segment, consumer->group, s),
                     slr_lease(0, 0, slr_lap(segment, s), SLR_LEASE_DONE, 1));
    }
    const timer_t timer = start_writing();
    for (int i = 0; i < 20; i++) {
        const struct visit_clock begin = visit_begin(&watch, "moving the position on");
        (void)slr_group_advance(segment, consumer->group);
        visit_end(&watch, begin, 0);
    }
    CHECK(timer_delete(timer) == 0);
    CHECK(written > 0);
    slipring_consumer_detach(consumer);
    slipring_ring_close(ring);
    return 0;
}
