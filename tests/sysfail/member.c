/* SPDX-License-Identifier: Apache-2.0 */
/* The members that a victim may have, living and dead. */
#define _GNU_SOURCE
#include "scenario.h"

int attach_producer(struct room *r)
{
    struct slipring_producer_config config;
    slipring_producer_config_init(&config);
    config.wait = SLIPRING_WAIT_SLEEP;
    config.flags = r->scenario->member & SLIPRING_INTERRUPTIBLE;
    struct slipring_ring *ring = r->mine != NULL ? r->mine : r->ring;
    const int code = slipring_producer_attach(ring, &config, &r->producer, &r->error);
    return code < 0 && r->producer != NULL ? TOUCHED : code;
}

int attach_member(struct room *r)
{
    const struct scenario *s = r->scenario;
    struct slipring_consumer_config config;
    slipring_consumer_config_init(&config);
    config.flags = s->member;
    config.group = s->group;
    config.wait = SLIPRING_WAIT_SLEEP;
    struct slipring_ring *ring = r->mine != NULL ? r->mine : r->ring;
    const int code = slipring_consumer_attach(ring, &config, &r->member, &r->error);
    return code < 0 && r->member != NULL ? TOUCHED : code;
}

void ready_member(struct room *r)
{
    CHECK_EQ(attach_member(r), 0);
}

void ready_producer(struct room *r)
{
    CHECK_EQ(attach_producer(r), 0);
}

int publish(struct room *r, uint64_t slots)
{
    struct slipring_loan loan;
    int code = slipring_producer_claim(r->producer, slots, &loan, proc_in_ms(LONG_MS));
    if (code == 0) {
        code = slipring_producer_publish(r->producer, slots, NULL);
        r->page->shown = loan.sequence + slots;
    }
    return code;
}

void leave(struct room *r)
{
    if (r->viewing) {
        const int code = slipring_consumer_release(r->member, &r->view);
        CHECK(code == 0 || code == -ESTALE);
        r->viewing = false;
    }
    slipring_consumer_detach(r->member);
    slipring_producer_detach(r->producer);
    r->member = NULL;
    r->producer = NULL;
}

void leave_and_close(struct room *r)
{
    leave(r);
    slipring_ring_close(r->mine);
    r->mine = NULL;
}

void leave_and_reap(struct room *r)
{
    leave(r);
    CHECK_EQ(slipring_ring_reap(r->name, NULL, NULL), 0);
}

/* ---- the dead ---- */

/* Ended without a word: its locks are dropped, its words stay. */
void die_as_member(struct room *r)
{
    CHECK_EQ(attach_member(r), 0);
}

void die_holding(struct room *r)
{
    CHECK_EQ(attach_member(r), 0);
    CHECK_EQ(attach_producer(r), 0);
    CHECK_EQ(publish(r, 1), 0);
    CHECK_EQ(slipring_consumer_acquire(r->member, 1, &r->view, proc_in_ms(LONG_MS)), 0);
}

void die_as_producer(struct room *r)
{
    CHECK_EQ(attach_producer(r), 0);
    CHECK_EQ(publish(r, 1), 0);
}
