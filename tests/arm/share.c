/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: a process of this machine and one built for aarch64 share a named ring, whichever of them
 * made it: one produces and the other reads, in each geometry, in block and overwrite rings (there
 * by holds), waiting awake and asleep; and a group shares its messages out over
 * both, each once. One whose pages are of another size is refused.
 */
#define _GNU_SOURCE
#include "agents.h"

enum { MESSAGES = 20000, SHARED = 40000 };

static void stream(struct side *from, struct side *to, unsigned kind)
{
    struct proc producer = begin(from, kind, true);
    struct proc reader = begin(to, kind, false);
    CHECK_EQ(ask(&reader, AGENT_READ, 0), 0);
    CHECK_EQ(ask(&producer, AGENT_PRODUCE, 0), 0);
    tell(&reader, AGENT_TAKE, MESSAGES);
    tell(&producer, AGENT_PUBLISH, MESSAGES);
    CHECK(proc_hear(&producer) == 0);
    CHECK_EQ(proc_hear(&reader), MESSAGES);
    CHECK_EQ(ask(&producer, AGENT_CLOSE, 0), 0);
    CHECK_EQ(ask(&reader, AGENT_TAKE, UINT64_MAX), -EPIPE);
    end(&reader);
    end(&producer);
    unlink_ring();
}

static void group(struct side *one, struct side *other)
{
    static uint8_t seen[SHARED];
    struct proc producer = begin(one, COMPACT, true);
    struct proc members[] = {begin(one, COMPACT, false), begin(other, COMPACT, false)};
    memset(seen, 0, sizeof(seen));
    CHECK_EQ(ask(&producer, AGENT_PRODUCE, 0), 0);
    CHECK_EQ(ask(&members[0], AGENT_JOIN, 0), 0);
    CHECK_EQ(ask(&members[1], AGENT_JOIN, 0), 0);
    CHECK_EQ(ask(&producer, AGENT_PUBLISH, 2), 0);
    for (unsigned i = 0; i < 2; i++) { /* so that each has a share */
        seen[ask(&members[i], AGENT_HOLD, 0) & 1]++;
    }
    CHECK(seen[0] == 1 && seen[1] == 1);
    for (unsigned i = 0; i < 2; i++) {
        CHECK_EQ(ask(&members[i], AGENT_RELEASE, 0), 0);
        tell(&members[i], AGENT_WORK, 0);
    }
    tell(&producer, AGENT_PUBLISH, SHARED - 2);
    tell(&producer, AGENT_CLOSE, 0);
    for (unsigned i = 0; i < 2; i++) {
        for (uint64_t left = proc_hear(&members[i]); left > 0; left--) {
            const uint64_t sequence = proc_hear(&members[i]);
            CHECK(sequence < SHARED && seen[sequence]++ == 0);
        }
    }
    CHECK(memchr(seen, 0, sizeof(seen)) == NULL);
    CHECK(proc_hear(&producer) == 0 && proc_hear(&producer) == 0);
    end(&members[0]);
    end(&members[1]);
    end(&producer);
    unlink_ring();
}

static void other_pages(struct side *native, struct side *foreign)
{
    struct proc maker = begin(native, TENSOR, true);
    foreign->large_pages = true;
    struct proc agent = start(foreign);
    CHECK_EQ(ask(&agent, AGENT_OPEN, TENSOR), -EBADMSG);
    foreign->large_pages = false;
    end(&agent);
    end(&maker);
    unlink_ring();
}

static void story(struct side *one, struct side *other)
{
    stream(one, other, COMPACT);
    stream(one, other, PAIR);
    stream(one, other, TENSOR);
    stream(one, other, OVERWRITE);
    group(one, other);
    if (other->words > 1) {
        other_pages(one, other);
    }
}

int main(int argc, char **argv)
{
    proc_begin(150);
    agents_both(argc, argv, story);
    return 0;
}
