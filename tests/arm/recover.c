/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: of a process of this machine and one built for aarch64 that share a named ring, each
 * recovers from the other's being killed with -9: what a member of a group had in hand comes to the
 * other one again; a producer that was held back goes on; a consumer learns that its producer is
 * dead and takes over as producer, without a gap.
 */
#define _GNU_SOURCE
#include "agents.h"

static void dead_member(struct side *dead, struct side *survivor)
{
    const int64_t again = INT64_C(2) << 32, once = INT64_C(1) << 32;
    struct proc producer = begin(survivor, TENSOR, true);
    struct proc holder = begin(dead, TENSOR, false), other = begin(survivor, TENSOR, false);
    CHECK_EQ(ask(&producer, AGENT_PRODUCE, 0), 0);
    CHECK_EQ(ask(&holder, AGENT_JOIN, 0), 0);
    CHECK_EQ(ask(&other, AGENT_JOIN, 0), 0);
    CHECK_EQ(ask(&producer, AGENT_PUBLISH, 3), 0);
    CHECK_EQ(ask(&holder, AGENT_HOLD, 0), once + 0);
    CHECK_EQ(ask(&holder, AGENT_HOLD, 0), once + 1);
    CHECK_EQ(ask(&other, AGENT_HOLD, 0), once + 2);
    proc_kill(&holder);
    CHECK_EQ(ask(&other, AGENT_HOLD, 0), again + 0);
    CHECK_EQ(ask(&other, AGENT_HOLD, 0), again + 1);
    CHECK_EQ(ask(&other, AGENT_RELEASE, 0), 0);
    tell(&producer, AGENT_PUBLISH, 100);
    tell(&producer, AGENT_CLOSE, 0);
    CHECK_EQ(ask(&other, AGENT_WORK, 0), 100);
    for (uint64_t i = 0; i < 100; i++) {
        CHECK_EQ(proc_hear(&other), 3 + i);
    }
    CHECK(proc_hear(&producer) == 0 && proc_hear(&producer) == 0);
    end(&other);
    end(&producer);
    unlink_ring();
}

static void dead_producer(struct side *dead, struct side *survivor, unsigned kind)
{
    struct proc producer = begin(dead, kind, true), other = begin(survivor, kind, false);
    CHECK_EQ(ask(&producer, AGENT_PRODUCE, 0), 0);
    CHECK_EQ(ask(&other, AGENT_READ, 0), 0);
    CHECK_EQ(ask(&other, AGENT_PRODUCE, 0), -EBUSY);
    CHECK_EQ(ask(&producer, AGENT_PUBLISH, 5), 0);
    CHECK_EQ(ask(&producer, AGENT_CLAIM, 2), 0);
    proc_kill(&producer);
    CHECK_EQ(ask(&other, AGENT_TAKE, 5), 5);
    CHECK_EQ(ask(&other, AGENT_TAKE, 6), -EOWNERDEAD);
    CHECK_EQ(ask(&other, AGENT_PRODUCE, 0), 0);
    CHECK_EQ(ask(&other, AGENT_PUBLISH, 3), 0);
    CHECK_EQ(ask(&other, AGENT_TAKE, 8), 8);
    end(&other);
    unlink_ring();
}

static void dead_reader(struct side *dead, struct side *survivor, unsigned kind)
{
    struct proc producer = begin(survivor, kind, true), reader = begin(dead, kind, false);
    CHECK_EQ(ask(&producer, AGENT_PRODUCE, 0), 0);
    CHECK_EQ(ask(&reader, AGENT_READ, 0), 0);
    CHECK_EQ(ask(&producer, AGENT_PUBLISH, 3), 0);
    CHECK_EQ(ask(&reader, AGENT_HOLD, 0), INT64_C(1) << 32);
    tell(&producer, AGENT_PUBLISH, 200); /* does not fit beside what the reader has */
    CHECK(proc_silent(&producer, 100));
    proc_kill(&reader);
    CHECK(proc_hear(&producer) == 0);
    end(&producer);
    unlink_ring();
}

static void story(struct side *dead, struct side *survivor)
{
    dead_member(dead, survivor);
    for (unsigned kind = COMPACT; kind <= TENSOR; kind += PAIR - COMPACT) {
        dead_producer(dead, survivor, kind);
        dead_reader(dead, survivor, kind);
    }
}

int main(int argc, char **argv)
{
    proc_begin(100);
    agents_both(argc, argv, story);
    return 0;
}
