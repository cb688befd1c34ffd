/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What agents.h tells agent.c, on its standard input: a word that says what to do, and one with a
 * number. The answer, on standard output, is one word: a negative errno, or as told here.
 */
#ifndef ARM_AGENT_H
#define ARM_AGENT_H

enum agent_order {
    AGENT_MACHINE, /* answers 1 on aarch64, else 0 */
    AGENT_CREATE,  /* the ring of proc_rings[n]; pair and tensor with timestamp and checksum */
    AGENT_OPEN,    /* the same */
    AGENT_PRODUCE, /* attach */
    AGENT_READ,    /* attach a consumer of its own; checks checksums */
    AGENT_JOIN,    /* attach a member of the group "work" */
    AGENT_PUBLISH, /* n slots, one to three at a time, waiting for room; answers 0 */
    AGENT_TAKE,    /* until n slots in all, from the first, were seen or missed; answers how many */
    AGENT_CLAIM,   /* n slots, spoil them and leave the claim open */
    AGENT_HOLD,    /* acquire one slot; answers sequence + (deliveries << 32) */
    AGENT_RELEASE, /* all that it holds */
    AGENT_WORK,    /* acquire and release up to the end; answers how many, then each sequence */
    AGENT_CLOSE,   /* end the stream */
    AGENT_END      /* detach and exit */
};

#endif
