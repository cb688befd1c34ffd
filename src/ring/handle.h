/* SPDX-License-Identifier: Apache-2.0 */
/* The private structs behind the three public handles. */
#ifndef SLR_HANDLE_H
#define SLR_HANDLE_H

#include "base/liveness.h"
#include "base/sequence.h"
#include "base/wait.h"
#include "ring/segment.h"

#include <slipring/inline.h>
#include <slipring/slipring.h>

#include <stdbool.h>

struct slipring_ring {
    struct slr_segment segment;
    struct slr_lock presence; /* SLR_LOCK_PRESENCE, shared; reopened in a forked child */
    struct slr_log log;
    char name[SLIPRING_NAME_MAX + 1];
    bool read_only;
    _Atomic uint32_t references;      /* opens, producers, consumers, exported tensors */
    struct slr_registry_entry *entry; /* ring_registry.c; NULL if not listed */
};

struct slipring_producer {
    struct slipring_fast *fast; /* on wiped memory: handle is NULL in a forked child */
    struct slipring_ring *ring;
    struct slr_lock lock; /* SLR_LOCK_PRODUCER */
    struct slr_waiter waiter;
    struct slr_bell consumers; /* rung when they sleep */
    uint64_t epoch;
    uint64_t reported;  /* limit announced in data */
    uint64_t wanted;    /* slots of the claim that waits */
    int64_t blocked_ns; /* since when held back, 0: not */
    int64_t probed_ns;  /* when the dead were last looked for */
    uint64_t probed_ticks;
    _Atomic uint32_t short_steps; /* a consumer's device stores releases: a hint */
    _Atomic uint32_t lent; /* 1: to a device's part (producer_device.c): no claims of others */
    _Atomic uint64_t device_next; /* what that published ends here: to be stamped by the device */
};

struct slipring_consumer {
    struct slipring_fast *fast; /* on wiped memory: handle is NULL in a forked child */
    struct slipring_ring *ring;
    struct slr_lock lock; /* SLR_LOCK_CELL + cell */
    struct slr_waiter waiter;
    struct slr_bell producer; /* rung when it sleeps */
    uint32_t cell;            /* UINT32_MAX without */
    uint32_t group;           /* SLR_NO_GROUP without */
    uint32_t kind;            /* SLR_KIND_* */
    uint32_t flags;
    uint32_t slow;
    uint64_t word; /* the cell's word as we showed it */
    int64_t probed_ns;
    uint64_t quiet_ticks; /* when try_ last looked at more than the slots, */
    uint64_t quiet_word;  /* and the producer's word then */
    uint64_t passed;      /* sequences passed over before fast->next, */
    uint64_t messages;    /* and messages, as far as known */
    bool counted;         /* they are known */
    bool losing;          /* overwrite: lost its place; slots from lost_from on, */
    uint64_t lost_from;   /* to be counted once a message is read again */
    int64_t *shapes;      /* copies of a message's shapes, where they vary */
    uint64_t gap;         /* ordered: sequences just before fast->next that no view covers */
    uint64_t pending_missed, pending_messages; /* to be told by the next view */
    _Atomic uint64_t missed, missed_messages, damaged;
    _Atomic uint64_t *releases; /* release table of an unordered group of one */
    uint64_t redeliver_seen;    /* group->redeliver when all of it was looked through */
    bool look_everywhere;       /* the hints may be lost with who died giving them */
    uint32_t hold_hint;
    _Atomic uint32_t references; /* the handle, and tensors exported from it */
    _Atomic uint32_t detached;
    _Atomic uint32_t devices;      /* SLR_DEVICES_* */
    struct slr_pollable *pollable; /* consumer_poll.c */
};

/* Does a device store releases of a consumer: none; some are under way; it was detached meanwhile, and
 * who began that gives the cell free when none is (consumer_device.c). */
enum { SLR_DEVICES_NONE = 0, SLR_DEVICES_PENDING = 1, SLR_DEVICES_DETACHED = 2 };

/* In a forked child the fast struct is zeroed: handles of the parent are void there. */
static inline bool slr_producer_forked(const struct slipring_producer *producer)
{
    return producer->fast->handle == NULL;
}
static inline bool slr_consumer_forked(const struct slipring_consumer *consumer)
{
    return consumer->fast->handle == NULL;
}

/* Is the handle lent to a device's part? Then what its owner wants to claim or publish must wait. */
static inline bool slr_lent(const struct slipring_producer *producer)
{
    return slr_load32_acquire(&producer->lent) != 0; /* LEND */
}

/* What claim and publish do, for a device's part too (producer.c, producer_publish.c): an attempt to
 * claim that looks for the dead once per millisecond; a check of what shall be published, and all of
 * it but the stamps, cursor and wake. */
int slr_claim_try(struct slipring_producer *producer, uint64_t slots, struct slipring_loan *loan);
void slr_device_wait(struct slipring_producer *producer); /* producer_device.c */
int slr_publish_check(const struct slipring_producer *producer, uint64_t slots,
                      const struct slipring_slot *headers);
int slr_publish_headers_check(const struct slipring_producer *producer, uint64_t slots,
                              const struct slipring_slot *headers);
void slr_publish_headers(struct slipring_producer *producer, uint64_t slots,
                         const struct slipring_slot *headers, int64_t now);

/* References of a ring; the last one unmaps (ring.c). */
void slr_ring_hold(struct slipring_ring *ring);
void slr_ring_drop(struct slipring_ring *ring);
/* Be present in this process (again after fork). -ENOENT: the ring is vanishing. */
int slr_ring_present(struct slipring_ring *ring, struct slipring_error *error);

#endif
