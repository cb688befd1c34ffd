/* SPDX-License-Identifier: Apache-2.0 */
/*
 * This process's table of rings that are open by name, in which slipring_ring_open() finds a ring
 * again with no system call; and the grace period before a ring is unmapped.
 *
 * The table is an RCU hash table (liburcu's rculfhash, "bulletproof" flavour, whose readers need
 * no registration). A lookup runs in a read-side section and takes a reference by increment unless
 * zero. Who drops the last reference removes the entry, waits for a grace period and only then
 * unmaps; until then a lookup may look at the entry and the control page, but gets no reference.
 * No call_rcu: it would start a thread, which a forked child does not have.
 */
#ifndef SLR_REGISTRY_H
#define SLR_REGISTRY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct slipring_ring;
struct slr_registry_entry;

/* What the table has to know of a ring. Pointers are valid until slr_registry_remove(). */
struct slr_registry_key {
    struct slipring_ring *ring;
    const char *name;
    _Atomic uint32_t *references;
    const _Atomic uint32_t *orphaned; /* NULL where control is not mapped: found by inode only */
    bool read_only;
    bool trusted; /* the owner is this user or root: needs no SLIPRING_ANY_OWNER */
    dev_t device;
    ino_t inode;
};

/* Before any ring is opened: the table, and what fork needs. 0 or -ENOMEM. Idempotent. */
int slr_registry_setup(void);

/* One mutex for opening, creating and being present again after fork; held over fork. */
void slr_registry_lock(void);
void slr_registry_unlock(void);

/* Memory for an entry, so that adding it cannot fail. */
struct slr_registry_entry *slr_registry_new(void);
void slr_registry_free(struct slr_registry_entry *entry); /* one that was never added */
void slr_registry_add(struct slr_registry_entry *entry, const struct slr_registry_key *key);

/* The ring open under this name, with a reference taken; or NULL: go the long way. No system call
 * but for the first one of a thread. */
struct slipring_ring *slr_registry_find(const char *name, bool read_only, bool any_owner);
/* The same for a name that is known to lead to this inode, whatever the orphaned flag says. */
struct slipring_ring *slr_registry_find_inode(const char *name, bool read_only, bool any_owner,
                                              dev_t device, ino_t inode);
/* After a fork, find() goes the long way until the ring is present in the child. */
void slr_registry_note_present(struct slr_registry_entry *entry);

/* Take the entry out (NULL allowed), wait for a grace period, free it. After that nobody looks at
 * what its key points to. Not from within a read-side section. */
void slr_registry_remove(struct slr_registry_entry *entry);

#endif
