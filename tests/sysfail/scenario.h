/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is disturbed: one call, or a few, of the library.
 *
 * A scenario lives in a process of its own, the house, which has a ring and members of it that
 * survive. The house forks one victim after the other. A victim makes ready, acts, and undoes what
 * it did: once undisturbed, once with one fault, and once more undisturbed, which must go as the
 * first time and leave the process as rich as it was. Then the house checks that its own members
 * go on, that a fresh one finds a place, and that nothing was left behind.
 */
#ifndef SCENARIO_H
#define SCENARIO_H

#include "inject.h"
#include "proc.h"

enum scenario_flag {
    TELLS = 1 << 0,       /* the act fills r->error when it fails */
    MAY_SUCCEED = 1 << 1, /* disturbed, the act may return 0, whatever it returns else */
    FIRST = 1 << 2,       /* the act is the first of its process, not undisturbed once before */
    COLD = 1 << 3,        /* so is the library's first call: the house makes none */
    HWLOC = 1 << 4,       /* goes through hwloc, which forgets a descriptor in want of memory */
    /* the house's ring */
    NAMELESS = 1 << 5, /* there is none: victims make theirs, and leave no file behind */
    ANONYMOUS = 1 << 6,
    OVERWRITES = 1 << 7,
    OPENED = 1 << 8, /* made by somebody else */
    /* who else is there */
    CONSUMES = 1 << 9,       /* the house has a consumer */
    IN_GROUP = 1 << 10,      /* which is in the group "work" of many */
    PARTNER_READS = 1 << 11, /* a process that reads all there is, a little late */
    PARTNER_WRITES = 1 << 12 /* one that publishes for ever */
};

/* What the house, its partner and its victims share. */
struct page {
    struct inject inject;
    uint32_t allocation;    /* heap_fail() of it, where it is to fail; else UINT32_MAX */
    bool failed;            /* it did */
    _Atomic uint64_t seen;  /* by a partner that reads: the sequence after the last */
    _Atomic uint64_t shown; /* by victims: the sequence after the last published */
};

struct room {
    const struct scenario *scenario;
    struct page *page;
    char name[64];
    /* of the house */
    struct slipring_ring *ring;
    struct slipring_consumer *consumer;
    struct proc partner;
    uint64_t next; /* of the consumer */
    /* of the victim */
    struct slipring_ring *mine;
    struct slipring_producer *producer;
    struct slipring_consumer *member;
    struct slipring_view view;
    bool viewing;
    struct DLManagedTensorVersioned *tensor;
    int sockets[2];
    int64_t locked_kib;
    int code; /* what the act returned */
    struct slipring_error error;
};

struct scenario {
    const char *name;
    void (*ready)(struct room *r); /* NULL: nothing to do */
    int (*act)(struct room *r);
    void (*undo)(struct room *r); /* whatever the act returned: as before ready */
    uint32_t flags;
    int wants;         /* what the act returns */
    int also[2];       /* what it may return under a fault besides the fault's own code */
    uint32_t ring;     /* flags of the ring, slipring_ring_flag */
    uint32_t member;   /* flags of the victim, slipring_member_flag */
    const char *group; /* which it joins */
    uint32_t sample;   /* inject.h */
};

#define SCENARIO(title, prepares, does, undoes)                                                    \
    .name = title, .ready = prepares, .act = does, .undo = undoes

/* Each ends with one without a name. */
extern const struct scenario ring_scenarios[], producer_scenarios[], consumer_scenarios[];

/* What no call returns: a result was touched on failure, or the like. */
#define TOUCHED (-EXDEV)
#define SHORT_MS 3
#define LONG_MS 5000

/* ---- house.c ---- */

void house_config(const struct room *r, struct slipring_config *config);
void house_enter(struct room *r);
/* After a victim that ended by itself, or was killed. */
void house_check(struct room *r, bool killed);
void house_leave(struct room *r);

/* In a process of its own, which must end well. */
void elsewhere(struct room *r, void (*body)(struct room *r));
/* Files of /dev/shm with the room's name in theirs. */
unsigned files(const struct room *r);

/* What a process has: descriptors, pages of address space and of them locked, blocks of heap; and
 * locks on the house's ring, cells of it in use, whoever has them. */
struct wealth {
    int64_t descriptors, pages, locked_kib, blocks, locks, cells;
};
struct wealth wealth_of(const struct room *r);
/* Print what grew. */
bool wealth_same(const struct wealth *before, const struct wealth *after, bool memory);

/* ---- member.c ---- */

/* r->producer and r->member, of r->mine or the house's ring, as the scenario says. */
int attach_producer(struct room *r);
int attach_member(struct room *r);
void ready_producer(struct room *r);
void ready_member(struct room *r);
int publish(struct room *r, uint64_t slots);
void leave(struct room *r);
void leave_and_close(struct room *r); /* r->mine too */
void leave_and_reap(struct room *r);
/* For elsewhere(): they end without a word, so that their locks are dropped and their words stay. */
void die_as_member(struct room *r);
void die_holding(struct room *r); /* a message of its own */
void die_as_producer(struct room *r);

#endif
