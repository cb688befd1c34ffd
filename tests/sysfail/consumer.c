/* SPDX-License-Identifier: Apache-2.0 */
/* Scenarios of slipring/consumer.h. */
#define _GNU_SOURCE
#include "scenario.h"

#include <slipring/dlpack.h>
#include <slipring/inline.h>

#include <poll.h>

static void ready_dead_member(struct room *r)
{
    elsewhere(r, die_as_member);
}

static int act_detach_member(struct room *r)
{
    slipring_consumer_detach(r->member);
    r->member = NULL;
    return 0;
}

static void ready_polled(struct room *r)
{
    int fd;
    ready_member(r);
    CHECK_EQ(slipring_consumer_fd(r->member, &fd, NULL), 0);
    CHECK_EQ(slipring_consumer_arm(r->member), 0);
}

static int act_wake_consumer(struct room *r)
{
    slipring_consumer_wake(r->member);
    return 0;
}

static int act_acquire_in_vain(struct room *r)
{
    return slipring_consumer_acquire(r->member, 1, &r->view, proc_in_ms(SHORT_MS));
}

static int act_try_acquire(struct room *r)
{
    return slipring_consumer_try_acquire(r->member, 1, &r->view);
}

static int act_try_copy(struct room *r)
{
    char buffer[512];
    return slipring_consumer_try_copy(r->member, buffer, sizeof(buffer), &r->view);
}

static int act_acquire_inline(struct room *r)
{
    const void *data;
    return (int)slipring_fast_try_acquire(slipring_consumer_fast(r->member), 1, &data);
}

static int act_acquire(struct room *r)
{
    const int code = slipring_consumer_acquire(r->member, 1, &r->view, proc_in_ms(LONG_MS));
    r->viewing = code == 0;
    return code;
}

/* Everything is read, and the producer is dead. */
static void ready_orphaned(struct room *r)
{
    ready_member(r);
    elsewhere(r, die_as_producer);
    CHECK_EQ(act_acquire(r), 0);
    CHECK_EQ(slipring_consumer_release(r->member, &r->view), 0);
    r->viewing = false;
}

/* The group's one message is in the hands of a dead member. */
static void ready_returned(struct room *r)
{
    ready_member(r);
    struct slipring_consumer *const member = r->member;
    r->member = NULL;
    elsewhere(r, die_holding);
    r->member = member;
}

static void ready_message(struct room *r)
{
    ready_member(r);
    ready_producer(r);
    CHECK_EQ(publish(r, 1), 0);
}

static int act_hold(struct room *r)
{
    const int code = act_acquire(r);
    if (code == 0) {
        r->viewing = false;
        return slipring_consumer_release(r->member, &r->view);
    }
    return code;
}

static int act_export(struct room *r)
{
    int code = act_acquire(r);
    code = code < 0 ? code : slipring_view_dlpack(r->member, &r->view, 0, &r->tensor);
    if (code == 0) {
        r->viewing = false;
        r->tensor->deleter(r->tensor);
    }
    return code;
}

/* Read-only: no cell, nobody to be woken by. */
static void ready_read_only(struct room *r)
{
    int data, control;
    slipring_ring_fds(r->ring, &data, &control);
    CHECK_EQ(slipring_ring_from_fds(data, -1, &r->mine, NULL), 0);
    CHECK_EQ(attach_member(r), 0);
}

static int act_copy_in_vain(struct room *r)
{
    char buffer[512];
    return slipring_consumer_copy(r->member, buffer, sizeof(buffer), &r->view,
                                  proc_in_ms(SHORT_MS));
}

/* Beside a producer whose ring is full: sleeps, is woken, and wakes. */
static int act_read_lap(struct room *r)
{
    int code = 0;
    for (int i = 0; i < 20 && code == 0; i++) {
        code = act_hold(r);
    }
    return code;
}

/* The helper thread is started, sleeps, and tells of a message. */
static int act_poll(struct room *r)
{
    struct pollfd ready = {.fd = -1, .events = POLLIN};
    int code = slipring_consumer_fd(r->member, &ready.fd, &r->error);
    if (code < 0) {
        return ready.fd != -1 ? TOUCHED : code;
    }
    code = slipring_consumer_arm(r->member);
    if (code != 0) {
        return code;
    }
    code = publish(r, 1);
    if (code != 0 || poll(&ready, 1, PROC_NOTICE_MS) != 1) {
        return code != 0 ? code : -ETIMEDOUT;
    }
    return slipring_consumer_arm(r->member) == 1 ? act_acquire(r) : -EAGAIN;
}

static void ready_both(struct room *r)
{
    ready_member(r);
    ready_producer(r);
}

#define JOINS(title, prepares) SCENARIO(title, prepares, attach_member, leave)

const struct scenario consumer_scenarios[] = {
    {JOINS("attach", NULL), .flags = TELLS | CONSUMES},
    {JOINS("attach-first", NULL), .flags = TELLS | CONSUMES | FIRST, .also = {-ENOENT}},
    {JOINS("attach-unordered", NULL), .flags = TELLS | CONSUMES, .member = SLIPRING_UNORDERED},
    {JOINS("attach-many", NULL), .flags = TELLS | CONSUMES | IN_GROUP, .member = SLIPRING_MANY,
     .group = "work"},
    {JOINS("attach-founder", NULL), .flags = TELLS | CONSUMES, .member = SLIPRING_MANY,
     .group = "work"},
    {JOINS("attach-one", NULL), .flags = TELLS | CONSUMES, .group = "alone"},
    {JOINS("attach-lasting", NULL), .flags = TELLS | CONSUMES, .group = "lasting"},
    {JOINS("attach-reader", NULL), .flags = TELLS | CONSUMES | OVERWRITES},
    {SCENARIO("attach-reaps", ready_dead_member, attach_member, leave_and_reap),
     .flags = TELLS | CONSUMES, .also = {-EUSERS}},
    {SCENARIO("attach-reaps-unordered", ready_dead_member, attach_member, leave_and_reap),
     .flags = TELLS, .member = SLIPRING_UNORDERED, .also = {-EUSERS}},
    {SCENARIO("attach-reaps-group", ready_dead_member, attach_member, leave_and_reap),
     .flags = TELLS, .member = SLIPRING_MANY, .group = "work"},
    {SCENARIO("attach-reaps-one", ready_dead_member, attach_member, leave_and_reap), .flags = TELLS,
     .group = "alone", .also = {-EBUSY}},
    {SCENARIO("detach", ready_member, act_detach_member, leave), .flags = CONSUMES},
    {SCENARIO("detach-many", ready_member, act_detach_member, leave), .flags = CONSUMES,
     .member = SLIPRING_MANY, .group = "work"},
    {SCENARIO("detach-polled", ready_polled, act_detach_member, leave), .flags = CONSUMES},
    {SCENARIO("consumer-wake", ready_member, act_wake_consumer, leave), .flags = CONSUMES},
    {SCENARIO("acquire-in-vain", ready_member, act_acquire_in_vain, leave), .wants = -ETIMEDOUT},
    {SCENARIO("acquire-interruptible", ready_member, act_acquire_in_vain, leave),
     .member = SLIPRING_INTERRUPTIBLE, .wants = -ETIMEDOUT, .also = {-EINTR}},
    {SCENARIO("try-acquire-orphaned", ready_orphaned, act_try_acquire, leave), .wants = -EOWNERDEAD,
     .also = {-EAGAIN}},
    {SCENARIO("try-copy-orphaned", ready_orphaned, act_try_copy, leave), .wants = -EOWNERDEAD,
     .also = {-EAGAIN}},
    {SCENARIO("try-acquire-orphaned-inline", ready_orphaned, act_acquire_inline, leave),
     .wants = -EOWNERDEAD, .also = {-EAGAIN}},
    {SCENARIO("acquire-orphaned", ready_orphaned, act_acquire, leave), .wants = -EOWNERDEAD},
    {SCENARIO("acquire-returned", ready_returned, act_acquire, leave_and_reap),
     .member = SLIPRING_MANY, .group = "work"},
    {SCENARIO("acquire-and-hold", ready_message, act_hold, leave), .flags = OVERWRITES},
    {SCENARIO("acquire-and-export", ready_message, act_export, leave), .flags = CONSUMES,
     .member = SLIPRING_UNORDERED},
    {SCENARIO("copy-read-only", ready_read_only, act_copy_in_vain, leave_and_close),
     .flags = OVERWRITES, .wants = -ETIMEDOUT},
    {SCENARIO("read-and-wake", ready_member, act_read_lap, leave), .flags = PARTNER_WRITES},
    /* the C library says EAGAIN for whatever a thread lacks */
    {SCENARIO("poll", ready_both, act_poll, leave), .flags = TELLS | CONSUMES, .also = {-EAGAIN}},
    {.name = NULL},
};
