/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: under a storm of signals (two timers, a few thousand a second, handled without
 * SA_RESTART) and of wakes for no reason, every call does what it does without: waits of each kind
 * end by data, by room or at their deadline, not before it and not by -EINTR; creating (with
 * memory to allocate), opening, attaching, handing on, removing succeed. Asked to be interruptible,
 * a wait ends by -EINTR at once.
 * Faults: B6.
 */
#define _GNU_SOURCE
#include "ring/handle.h"
#include "proc.h"

#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>

enum { WAIT_MS = 60, LATE_MS = PROC_NOTICE_MS, MESSAGES = 400 };

static volatile sig_atomic_t handled;

static void on_signal(int number)
{
    (void)number;
    handled++;
}

static void storm(bool on)
{
    const struct sigaction action = {.sa_handler = on_signal}; /* no SA_RESTART */
    const struct itimerval often = {{0, on ? 400 : 0}, {0, on ? 400 : 0}};
    CHECK(sigaction(SIGALRM, &action, NULL) == 0 && sigaction(SIGVTALRM, &action, NULL) == 0);
    CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
    CHECK(setitimer(ITIMER_VIRTUAL, &often, NULL) == 0);
}

/* Wakes whoever sleeps on a ring, for nothing. In a process of its own. */
static int wake_for_nothing(struct proc *self, void *context)
{
    struct slipring_ring *ring = context;
    while (self->pid == 0) { /* always */
        (void)slr_os_futex_wake(&ring->segment.control->consumers_wake, 1, UINT32_MAX);
        (void)slr_os_futex_wake(&ring->segment.control->producer_wake, 1, UINT32_MAX);
        proc_pause_us(50);
    }
    return 1;
}

static int produce(struct proc *self, void *context)
{
    struct slipring_ring *ring = context;
    struct slipring_producer *producer = proc_producer(ring);
    proc_hear(self);
    storm(true);
    for (int i = 0; i < MESSAGES; i++) {
        proc_pause_us(100);
        CHECK_EQ(proc_publish(producer, &proc_rings[0], 1, proc_in_ms(20000)), 0);
    }
    slipring_producer_close(producer);
    return 0;
}

/* A stream between two processes under the storm, each waiting for the other. */
static void stream(uint32_t strategy)
{
    struct slipring_ring *ring = proc_make(&proc_rings[0], 0);
    struct slipring_consumer_config config;
    struct slipring_consumer *consumer;
    struct slipring_view view;
    slipring_consumer_config_init(&config);
    config.wait = strategy;
    CHECK_EQ(slipring_consumer_attach(ring, &config, &consumer, NULL), 0);
    struct proc child = proc_start(produce, ring);
    struct proc waker = proc_start(wake_for_nothing, ring);
    storm(true);
    proc_tell(&child, 0);
    for (uint64_t i = 0; i < MESSAGES; i++) {
        CHECK_EQ(proc_take(consumer, &proc_rings[0], &view, proc_in_ms(20000)), 0);
        CHECK_EQ(view.slot.sequence, i);
    }
    CHECK_EQ(proc_take(consumer, &proc_rings[0], &view, proc_in_ms(20000)), -EPIPE);
    storm(false);
    proc_end(&child);
    proc_kill(&waker);
    slipring_consumer_detach(consumer);
    slipring_ring_close(ring);
}

static void expect(int code, int want, int64_t deadline_ns)
{
    const int64_t now = slipring_now_ns();
    CHECK_EQ(code, want);
    CHECK(want != -ETIMEDOUT || (now >= deadline_ns && now < deadline_ns + LATE_MS * PROC_MS));
    CHECK(want != -EINTR || now < deadline_ns);
}

/* Every kind of wait, with nothing to come. */
static void deadlines(const struct proc_ring *how, uint32_t flags)
{
    struct slipring_ring *ring = proc_make(how, 0);
    struct slipring_producer_config producing;
    struct slipring_consumer_config consuming;
    struct slipring_producer *producer;
    struct slipring_consumer *consumer;
    struct slipring_view view;
    slipring_producer_config_init(&producing);
    slipring_consumer_config_init(&consuming);
    producing.flags = flags;
    consuming.flags = flags | how->member_flags;
    const int want = flags != 0 ? -EINTR : -ETIMEDOUT;
    CHECK_EQ(slipring_producer_attach(ring, &producing, &producer, NULL), 0);
    CHECK_EQ(slipring_consumer_attach(ring, &consuming, &consumer, NULL), 0);
    struct proc waker = proc_start(wake_for_nothing, ring);
    storm(true);
    int64_t deadline = proc_in_ms(flags != 0 ? 20000 : WAIT_MS);
    expect(proc_take(consumer, how, &view, deadline), want, deadline);
    if (how->full == SLIPRING_BLOCK) {
        proc_fill(producer, how);
        deadline = proc_in_ms(flags != 0 ? 20000 : WAIT_MS);
        expect(proc_publish(producer, how, 1, deadline), want, deadline);
    }
    storm(false);
    proc_kill(&waker);
    slipring_consumer_detach(consumer);
    slipring_producer_detach(producer);
    slipring_ring_close(ring);
}

/* Set-up calls, among them one that has the kernel busy for longer than the timers wait. */
static void set_up(void)
{
    const struct slipring_group work = {.name = "work", .flags = SLIPRING_MANY};
    struct slipring_config config;
    struct slipring_ring *ring, *got;
    struct slipring_reaped reaped;
    char name[64];
    int ends[2];
    slipring_config_init(&config);
    config.slots = 16;
    config.slot_bytes = 2 << 20;
    config.lasting = &work;
    config.lasting_count = 1;
    snprintf(name, sizeof(name), "test-signals-%d", (int)getpid());
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    storm(true);
    for (int i = 0; i < 8; i++) {
        CHECK_EQ(slipring_ring_create(i % 2 == 0 ? name : NULL, &config, &ring, NULL), 0);
        CHECK_EQ(slipring_ring_send(ring, ends[0], 0, NULL), 0);
        CHECK_EQ(slipring_ring_receive(ends[1], &got, NULL), 0);
        slipring_producer_detach(proc_producer(got));
        slipring_consumer_detach(proc_member(got, "work", SLIPRING_MANY, 0));
        slipring_ring_close(got);
        slipring_ring_close(ring);
        if (i % 2 == 0) {
            CHECK_EQ(slipring_ring_open(name, 0, &got, NULL), 0);
            slipring_ring_close(got);
            CHECK_EQ(slipring_ring_reap(name, &reaped, NULL), 0);
            CHECK_EQ(slipring_ring_unlink(name, NULL), 0);
        }
    }
    storm(false);
    close(ends[0]);
    close(ends[1]);
}

int main(void)
{
    proc_begin(0); /* the alarm is the storm's; the time limit is the caller's */
    for (uint32_t strategy = SLIPRING_WAIT_ADAPTIVE; strategy <= SLIPRING_WAIT_SLEEP; strategy++) {
        stream(strategy);
    }
    for (unsigned i = 0; i < PROC_RINGS; i++) {
        deadlines(&proc_rings[i], 0);
        deadlines(&proc_rings[i], SLIPRING_INTERRUPTIBLE);
    }
    set_up();
    printf("%d signals\n", (int)handled);
    CHECK(handled > 500);
    return 0;
}
