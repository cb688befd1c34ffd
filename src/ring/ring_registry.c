/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of rings open by name (ring_registry.h).
 *
 * Ordering: an entry is complete before it is added; the table publishes it. The reference is
 * taken by a compare-and-swap that fails at zero, and the count never leaves zero again.
 * Progress: lookups are wait-free but for the compare-and-swap; removal waits for readers.
 * Fork: the mutex is held over fork, and liburcu's own hooks run in the same handlers; they block
 * signals, so they come last before and first after. liveness.c holds its mutex over fork too, and
 * is called with ours held: its handlers are registered first, so that they run inside ours.
 */
#define _GNU_SOURCE
#include "ring/ring_registry.h"

#include "base/liveness.h"
#include "base/once.h"
#include "base/sanitizer.h"
#include "base/sequence.h"

#include <urcu/urcu-bp.h>
#include <urcu/rculfhash.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS 256u /* fixed: resizing would need a thread */

struct slr_registry_entry {
    struct cds_lfht_node node;
    struct slr_registry_key key;
    unsigned long hash;
    _Atomic uint32_t generation; /* of the process, when the ring was last made present */
};

struct lookup {
    const char *name;
    bool read_only;
};

static pthread_mutex_t open_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct slr_once setup_once;
static struct cds_lfht *table;
static _Atomic uint32_t process_generation; /* counts forks on the way from the first process */

static void before_fork(void)
{
    pthread_mutex_lock(&open_mutex);
    urcu_bp_before_fork();
}

static void after_fork_parent(void)
{
    urcu_bp_after_fork_parent();
    pthread_mutex_unlock(&open_mutex);
}

static void after_fork_child(void)
{
    urcu_bp_after_fork_child();
    slr_store32(&process_generation, slr_load32(&process_generation) + 1);
    pthread_mutex_unlock(&open_mutex);
}

static int setup(void)
{
    const int code = slr_lock_setup(); /* its handlers first */
    if (code < 0) {
        return code;
    }
    if (table == NULL) { /* not one that an earlier call made before it failed */
        table = cds_lfht_new_flavor(BUCKETS, BUCKETS, BUCKETS, 0, &urcu_bp_flavor, NULL);
    }
    return table == NULL ? -ENOMEM
                         : -pthread_atfork(before_fork, after_fork_parent, after_fork_child);
}

int slr_registry_setup(void)
{
    return slr_once(&setup_once, setup);
}

void slr_registry_lock(void)
{
    pthread_mutex_lock(&open_mutex);
}

void slr_registry_unlock(void)
{
    pthread_mutex_unlock(&open_mutex);
}

/* FNV-1a: names are short, and nobody but this process fills the table. */
static unsigned long hash_name(const char *name)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (; *name != '\0'; name++) {
        hash = (hash ^ (uint8_t)*name) * UINT64_C(0x100000001b3);
    }
    return (unsigned long)(hash ^ hash >> 32);
}

static int match(struct cds_lfht_node *node, const void *key)
{
    struct slr_registry_entry *entry = caa_container_of(node, struct slr_registry_entry, node);
    const struct lookup *wanted = key;
    SLR_TELL_ACQUIRE(entry);
    return entry->key.read_only == wanted->read_only && strcmp(entry->key.name, wanted->name) == 0;
}

struct slr_registry_entry *slr_registry_new(void)
{
    return calloc(1, sizeof(struct slr_registry_entry));
}

void slr_registry_free(struct slr_registry_entry *entry)
{
    free(entry);
}

void slr_registry_add(struct slr_registry_entry *entry, const struct slr_registry_key *key)
{
    entry->key = *key;
    entry->hash = hash_name(key->name);
    slr_registry_note_present(entry);
    cds_lfht_node_init(&entry->node);
    SLR_TELL_RELEASE(entry);
    urcu_bp_read_lock();
    cds_lfht_add(table, entry->hash, &entry->node);
    urcu_bp_read_unlock();
}

static bool take_reference(_Atomic uint32_t *references)
{
    uint32_t count = slr_load32(references);
    while (count != 0) {
        if (slr_cas32(references, count, count + 1)) {
            return true;
        }
        count = slr_load32(references); /* the owner's own word: the CAS orders it */
    }
    return false;
}

static bool is_current(const struct slr_registry_entry *entry)
{
    /* Acquire: pairs with the removal's release, so that who sees the name taken by another ring
     * sees the flag too. */
    return entry->key.orphaned != NULL && slr_load32_acquire(entry->key.orphaned) == 0 &&
           slr_load32_acquire(&entry->generation) == slr_load32(&process_generation);
}

static struct slipring_ring *find(const char *name, bool read_only, bool any_owner,
                                  const dev_t *device, ino_t inode)
{
    const struct lookup wanted = {.name = name, .read_only = read_only};
    struct slipring_ring *ring = NULL;
    struct cds_lfht_iter at;
    struct cds_lfht_node *node;

    if (slr_registry_setup() < 0) {
        return NULL;
    }
    urcu_bp_read_lock();
    cds_lfht_lookup(table, hash_name(name), match, &wanted, &at);
    /* Several entries when a name was unlinked and made anew: an old one is skipped. */
    while (ring == NULL && (node = cds_lfht_iter_get_node(&at)) != NULL) {
        const struct slr_registry_key *key =
            &caa_container_of(node, struct slr_registry_entry, node)->key;
        const bool right =
            device != NULL ? key->device == *device && key->inode == inode
                           : is_current(caa_container_of(node, struct slr_registry_entry, node));
        if (right && (key->trusted || any_owner) && take_reference(key->references)) {
            ring = key->ring;
        }
        cds_lfht_next_duplicate(table, match, &wanted, &at);
    }
    SLR_TELL_RELEASE(&table);
    urcu_bp_read_unlock();
    return ring;
}

struct slipring_ring *slr_registry_find(const char *name, bool read_only, bool any_owner)
{
    return find(name, read_only, any_owner, NULL, 0);
}

struct slipring_ring *slr_registry_find_inode(const char *name, bool read_only, bool any_owner,
                                              dev_t device, ino_t inode)
{
    return find(name, read_only, any_owner, &device, inode);
}

void slr_registry_note_present(struct slr_registry_entry *entry)
{
    if (entry != NULL) {
        slr_store32_release(&entry->generation, slr_load32(&process_generation));
    }
}

void slr_registry_remove(struct slr_registry_entry *entry)
{
    if (entry != NULL) {
        urcu_bp_read_lock();
        (void)cds_lfht_del(table, &entry->node);
        urcu_bp_read_unlock();
    }
    urcu_bp_synchronize_rcu();
    SLR_TELL_ACQUIRE(&table);
    free(entry);
}
