/* SPDX-License-Identifier: Apache-2.0 */
/* What victims are interrupted in: the table of operations, and what goes with each. */
#ifndef OP_H
#define OP_H

#include "world.h"

enum op_flag {
    OP_SETS_UP = 1 << 0,   /* long: even --full stops once for all steps that are alike */
    OP_PRODUCES = 1 << 1,  /* the victim is, or becomes, the producer */
    OP_GROUP = 1 << 2,     /* there is a group "work", with a survivor in it */
    OP_BLOCK = 1 << 3,     /* only in block rings */
    OP_OVERWRITE = 1 << 4, /* only in overwrite rings */
    OP_TENSOR = 1 << 5,    /* only in tensor rings */
    OP_NO_FREEZE = 1 << 6,
    OP_ONE_HOLD = 1 << 7, /* hold_max is 1 */
    OP_VANISH = 1 << 8,
    OP_SLOW = 1 << 9,        /* each run waits: fewer of them */
    OP_LOCK_MOVES = 1 << 10, /* the victim takes or drops the producer's lock in the section */
    OP_FILLS = 1 << 11,      /* the victim's publish fills the ring to the last slot */
    OP_UNORDERED = 1 << 12,  /* the victim consumes unordered */
    OP_MEMBER = 1 << 13,     /* the victim is in the group "work" */
    OP_WAITS = 1 << 14,      /* a survivor waits for the dead producer */
    OP_CLOSES = 1 << 15,     /* the victim ends the stream */
    OP_STOPPED = 1 << 16,    /* seeded: left stopped where it should be killed */
    OP_JOINS = 1 << 17,      /* the victim joins the group "work" in the section */
    OP_SPANS = 1 << 18,      /* the messages that matter span three slots */
    OP_INLINE = 1 << 19,     /* the victim calls slipring/inline.h */
    OP_RICH = 1 << 20,       /* also where slots have timestamp, checksum and shapes */
    OP_NEWEST = 1 << 21,     /* the victim asks for the newest */
    OP_LASTING = 1 << 22,    /* the group "work" is lasting */
    OP_KEPT = 1 << 23,       /* the victim is in the lasting group of one "kept" */
    OP_SOLO = 1 << 24,       /* the victim is in the group of many "solo", with nobody else */
    OP_EVICTS = 1 << 25,     /* groups that evict, whether the victim is frozen or killed */
    OP_NAMED = 1 << 26,      /* the ring has a name */
    OP_FEW = 1 << 27,        /* few messages are pending */
    OP_FIFTH = 1 << 28,      /* a message is on its last delivery */
    OP_TWO_RINGS = 1 << 29,  /* twice: in a block and an overwrite ring only */
    OP_WAKES = 1 << 30       /* the victim makes room for a producer that sleeps */
};

/* How full the ring is when the victim starts, and where in it. */
enum { EMPTY = 1 << 0, HALF = 1 << 1, FULL = 1 << 2, WRAP = 1 << 3, TURN = 1 << 4 };
#define SOME (HALF | FULL | WRAP | TURN)
#define ROOM (EMPTY | HALF | WRAP | TURN)
#define ANY (SOME | EMPTY)

struct op {
    const char *name;
    uint32_t flags;
    uint32_t fills;
    void (*victim)(void *world);
    void (*setup)(struct world *w);  /* behind a first victim: what is done before this one */
    void (*frozen)(struct world *w); /* while the victim is stopped */
    void (*check)(struct world *w);  /* when it is dead, or has ended */
    uint32_t arg;
    const struct op *first; /* who was killed before: at each of its steps, or */
    uint32_t permille;      /* where so many permille of its shared stores were done */
    int expect;             /* seeded bugs: the class that must be violated, else 0 */
};

extern const struct op ops[], twice[], seeded[];
extern const uint32_t ops_count, twice_count, seeded_count;

static inline bool op_twice(const struct op *op)
{
    return op->first != NULL && op->permille == 0;
}

/* ---- setup.c: before the victim starts. After a first victim: what is done behind it ---- */

void setup_consumer(struct world *w);          /* messages are pending, the worker produces */
void setup_producer(struct world *w);          /* the same, but the worker's producer has left */
void setup_sleeper(struct world *w);           /* and somebody sleeps for the next message */
void setup_sleeping_producer(struct world *w); /* it will sleep until the victim makes room */
void setup_dead_consumer(struct world *w);
void setup_dead_member(struct world *w);
void setup_dead_group(struct world *w);
void setup_dead_holder(struct world *w);
void setup_dead_kept(struct world *w);
void setup_dead_letter(struct world *w); /* arg members have died of the one message */
void setup_evicted_one(struct world *w); /* somebody is stopped who will have to be evicted */
void setup_evicted_member(struct world *w);
void setup_dropped(struct world *w); /* nobody took what holds the producer back */
void setup_past_hold(struct world *w);
void setup_nothing(struct world *w);
void setup_name(struct world *w);  /* a name, no ring */
void setup_named(struct world *w); /* a ring of that name, open nowhere */

bool asleep(pid_t pid);

void behind_producer(struct world *w); /* readers may be past the cursor, or (arg 1) not */
void behind_consumer(struct world *w); /* it alone holds the producer back */
void behind_member(struct world *w);
void behind_nothing(struct world *w);

/* ---- victim.c: the victims ---- */

void victim_publish(void *world); /* arg: how many */
void victim_acquire(void *world);
void victim_release(void *world);
void victim_copy(void *world);
void victim_work(void *world); /* acquires and releases until there is nothing more */
void victim_take_over(void *world);
void victim_producer_detach(void *world);
void victim_producer_close(void *world);
void victim_attach(void *world);
void victim_detach(void *world); /* arg: how many messages it holds */
void victim_create(void *world); /* arg 1: anonymous */
void victim_open(void *world);
void victim_unlink(void *world);
void victim_ring_close(void *world);
void victim_reap(void *world);
void victim_reap_gate(void *world);
void victim_reap_member(void *world);
void victim_evict(void *world);

/* ---- check.c: what must hold ---- */

void frozen_consumer(struct world *w);
void frozen_producer(struct world *w);
void frozen_create(struct world *w);
void frozen_unlink(struct world *w);
void check_consumer(struct world *w);
void check_producer(struct world *w);
void check_anonymous(struct world *w);
void check_create(struct world *w);
void check_open(struct world *w);
void check_unlink(struct world *w);
void check_vanish(struct world *w);

#endif
