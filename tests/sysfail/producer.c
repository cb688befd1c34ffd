/* SPDX-License-Identifier: Apache-2.0 */
/* Scenarios of slipring/producer.h. */
#define _GNU_SOURCE
#include "base/sequence.h"
#include "ring/handle.h"
#include "scenario.h"

#include <slipring/inline.h>

static void ready_dead_producer(struct room *r)
{
    elsewhere(r, die_as_producer);
}

/* A mapping that may not be written yet. */
static void ready_received(struct room *r)
{
    int data, control;
    slipring_ring_fds(r->ring, &data, &control);
    CHECK_EQ(slipring_ring_from_fds(data, control, &r->mine, NULL), 0);
    r->locked_kib = wealth_of(r).locked_kib;
}

/* Made writable or not, it is locked in memory as it was. */
static void leave_received(struct room *r)
{
    CHECK(r->mine->segment.locked != 1 || wealth_of(r).locked_kib == r->locked_kib);
    leave_and_close(r);
}

static int act_detach_producer(struct room *r)
{
    slipring_producer_detach(r->producer);
    r->producer = NULL;
    return 0;
}

static void ready_own_stream(struct room *r)
{
    struct slipring_config config;
    house_config(r, &config);
    CHECK_EQ(slipring_ring_create(NULL, &config, &r->mine, NULL), 0);
    CHECK_EQ(attach_member(r), 0);
    CHECK_EQ(attach_producer(r), 0);
}

static int act_close_producer(struct room *r)
{
    slipring_producer_close(r->producer);
    r->producer = NULL;
    return slipring_consumer_acquire(r->member, 1, &r->view, proc_in_ms(LONG_MS));
}

static int act_wake_producer(struct room *r)
{
    slipring_producer_wake(r->producer);
    return 0;
}

/* At most a lap: one that is dead is not looked for yet. */
static void fill(struct room *r)
{
    struct slipring_loan loan;
    for (int i = 0; i < 8 && slipring_producer_try_claim(r->producer, 1, &loan) == 0; i++) {
        CHECK_EQ(slipring_producer_publish(r->producer, 1, NULL), 0);
    }
    proc_pause_us(1100); /* try_ calls look for the dead once per millisecond */
}

static void ready_full(struct room *r)
{
    ready_producer(r);
    fill(r);
}

static int act_claim_in_vain(struct room *r)
{
    struct slipring_loan loan;
    return slipring_producer_claim(r->producer, 1, &loan, proc_in_ms(SHORT_MS));
}

static int act_try_claim_in_vain(struct room *r)
{
    struct slipring_loan loan;
    return slipring_producer_try_claim(r->producer, 1, &loan);
}

/* All that is in the way is dead. */
static void ready_full_of_dead(struct room *r)
{
    elsewhere(r, die_as_member);
    ready_producer(r);
    fill(r);
}

static int act_claim(struct room *r)
{
    struct slipring_loan loan;
    return slipring_producer_claim(r->producer, 1, &loan, proc_in_ms(LONG_MS));
}

/* A whole lap of an overwrite ring, one slot of which a dead reader holds. */
static void ready_held(struct room *r)
{
    elsewhere(r, die_holding);
    ready_producer(r);
}

static int act_claim_lap(struct room *r)
{
    struct slipring_loan loan;
    return slipring_producer_claim(r->producer, 8, &loan, proc_in_ms(LONG_MS));
}

/* Beside a reader that is slow: sleeps, and is woken, several times. */
static int act_publish_lap(struct room *r)
{
    int code = 0;
    for (int i = 0; i < 12 && code == 0; i++) {
        code = publish(r, 1);
    }
    return code;
}

/* Beside a reader that sleeps. */
static void ready_sleeper(struct room *r)
{
    const int64_t until = proc_in_ms(LONG_MS);
    ready_producer(r);
    while (slr_load32(&r->ring->segment.control->consumers_waiting) == 0) {
        CHECK(slipring_now_ns() < until);
        proc_pause_us(50);
    }
}

static int act_publish(struct room *r)
{
    return publish(r, 1);
}

static int act_publish_spanning(struct room *r)
{
    const struct slipring_slot header = {.bytes = 600};
    struct slipring_loan loan;
    int code = slipring_producer_claim(r->producer, 2, &loan, proc_in_ms(LONG_MS));
    if (code == 0) {
        code = slipring_producer_publish_spanning(r->producer, &header);
        r->page->shown = loan.sequence + 2;
    }
    return code;
}

/* The calls of slipring/inline.h lead to the same ones where they cannot go on by themselves. */
static int act_claim_inline(struct room *r)
{
    void *data;
    return slipring_fast_try_claim(slipring_producer_fast(r->producer), 1, &data);
}

static int act_publish_inline(struct room *r)
{
    struct slipring_loan loan;
    int code = slipring_producer_claim(r->producer, 1, &loan, proc_in_ms(LONG_MS));
    if (code == 0) {
        code = slipring_fast_publish(slipring_producer_fast(r->producer), 1);
        r->page->shown = loan.sequence + 1;
    }
    return code;
}

const struct scenario producer_scenarios[] = {
    {SCENARIO("producer-attach", NULL, attach_producer, leave), .flags = TELLS | CONSUMES,
     .ring = SLIPRING_LOCK_PAGES, .also = {-EBUSY}},
    {SCENARIO("producer-attach-first", NULL, attach_producer, leave),
     .flags = TELLS | CONSUMES | FIRST | OPENED, .ring = SLIPRING_LOCK_PAGES,
     .also = {-EBUSY, -ENOENT}},
    {SCENARIO("producer-attach-received", ready_received, attach_producer, leave_received),
     .flags = TELLS | CONSUMES, .ring = SLIPRING_LOCK_PAGES, .also = {-EBUSY}},
    {SCENARIO("producer-take-over", ready_dead_producer, attach_producer, leave), .flags = TELLS,
     .also = {-EBUSY}},
    {SCENARIO("producer-detach", ready_producer, act_detach_producer, leave), .flags = CONSUMES},
    {SCENARIO("producer-close", ready_own_stream, act_close_producer, leave_and_close),
     .flags = CONSUMES, .wants = -EPIPE},
    {SCENARIO("producer-wake", ready_producer, act_wake_producer, leave), .flags = CONSUMES},
    {SCENARIO("claim-in-vain", ready_full, act_claim_in_vain, leave), .flags = CONSUMES,
     .wants = -ETIMEDOUT},
    {SCENARIO("claim-interruptible", ready_full, act_claim_in_vain, leave), .flags = CONSUMES,
     .member = SLIPRING_INTERRUPTIBLE, .wants = -ETIMEDOUT, .also = {-EINTR}},
    {SCENARIO("try-claim-in-vain", ready_full, act_try_claim_in_vain, leave), .flags = CONSUMES,
     .wants = -EAGAIN},
    {SCENARIO("claim-reaps", ready_full_of_dead, act_claim, leave_and_reap)},
    {SCENARIO("claim-reaps-group", ready_full_of_dead, act_claim, leave_and_reap),
     .member = SLIPRING_MANY, .group = "work"},
    {SCENARIO("claim-reaps-hold", ready_held, act_claim_lap, leave_and_reap), .flags = OVERWRITES},
    {SCENARIO("claim-waits", ready_producer, act_publish_lap, leave), .flags = PARTNER_READS},
    {SCENARIO("claim-in-vain-inline", ready_full, act_claim_inline, leave), .flags = CONSUMES,
     .wants = -EAGAIN},
    {SCENARIO("publish-wakes", ready_sleeper, act_publish, leave), .flags = PARTNER_READS},
    {SCENARIO("publish-wakes-inline", ready_sleeper, act_publish_inline, leave),
     .flags = PARTNER_READS},
    {SCENARIO("publish-wakes-spanning", ready_sleeper, act_publish_spanning, leave),
     .flags = PARTNER_READS},
    {.name = NULL},
};
