/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Processes of two machines, told what to do: agent.c built for this one, and for aarch64 where it
 * runs under qemu-user. TEST AGENT COMMAND...: the one, and what runs the other.
 */
#ifndef ARM_AGENTS_H
#define ARM_AGENTS_H

#include "agent.h"
#include "proc.h"

enum { COMPACT = 0, PAIR = 3, TENSOR = 6, OVERWRITE = 8 }; /* of proc_rings */

struct side {
    char *command[8]; /* room for the name of the ring and NULL */
    int words;
    bool large_pages;
};

static char name[64];

static inline int agents_run(struct proc *self, void *context)
{
    struct side *side = context;
    CHECK(dup2(self->in, STDIN_FILENO) >= 0 && dup2(self->out, STDOUT_FILENO) >= 0);
    CHECK(!side->large_pages || setenv("QEMU_PAGESIZE", "65536", 1) == 0);
    side->command[side->words] = name;
    execvp(side->command[0], side->command);
    FAIL("cannot run %s: %s", side->command[0], strerror(errno));
}

static inline struct proc start(struct side *side)
{
    return proc_start(agents_run, side);
}

static inline void tell(const struct proc *agent, enum agent_order order, uint64_t n)
{
    proc_tell(agent, order);
    proc_tell(agent, n);
}

static inline int64_t ask(const struct proc *agent, enum agent_order order, uint64_t n)
{
    tell(agent, order, n);
    return (int64_t)proc_hear(agent);
}

static inline void end(struct proc *agent)
{
    tell(agent, AGENT_END, 0);
    proc_end(agent);
}

static inline void unlink_ring(void)
{
    CHECK_EQ(slipring_ring_unlink(name, NULL), 0);
}

/* An agent with that ring open, the maker's one made. */
static inline struct proc begin(struct side *side, unsigned kind, bool maker)
{
    struct proc agent = start(side);
    CHECK_EQ(ask(&agent, maker ? AGENT_CREATE : AGENT_OPEN, kind), 0);
    return agent;
}

/* Both ways round: run story(one, other) with each of them first. */
static inline void agents_both(int argc, char **argv,
                               void (*story)(struct side *one, struct side *other))
{
    struct side native = {.words = 1}, foreign = {.words = argc - 2};
    const char *reason = getenv("SLIPRING_NO_ARM"); /* ./dev says so */
    CHECK(argc >= 4 && argc < 9);
    if (reason != NULL) {
        SKIP(reason);
    }
    if (access(argv[argc - 1], X_OK) != 0) {
        SKIP("nothing is built for aarch64: ./dev test arm does that");
    }
    native.command[0] = argv[1];
    memcpy(foreign.command, argv + 2, (size_t)foreign.words * sizeof(argv[0]));
    snprintf(name, sizeof(name), "arm-share-%d", (int)getpid());
    struct side *const sides[] = {&native, &foreign};
    for (unsigned i = 0; i < 2; i++) {
        struct proc agent = start(sides[i]);
        CHECK_EQ(ask(&agent, AGENT_MACHINE, 0), i);
        end(&agent);
        story(sides[i], sides[1 - i]);
    }
}

#endif
