/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a named group: FREE -> SETUP -> LIVE -> ENDING -> FREE, or back to LIVE.
 *
 * Joining is serialised by one kernel lock (SLR_LOCK_JOIN), which a death drops; so a name is never
 * there twice and a group's members never disagree on its options. Ending is not: anybody may find
 * that the last member is dead. It announces ENDING, looks once more for members, and frees the
 * entry or takes the announcement back; each change counts the version up, so that an ender that
 * slept changes nothing. A joiner shows its cell in the group first and looks at the word after:
 * either the ender sees the cell or the joiner sees the change (JOIN).
 */
#include "ring/group.h"

#include "ring/members.h"
#include "ring/recover.h"

#include <errno.h>
#include <string.h>

#define JOIN_WAIT INT64_C(2000000000) /* ns; longer than that a joiner must be stopped */

void slr_group_reset_leases(struct slr_segment *segment, uint32_t group, uint64_t start)
{
    const uint32_t generation = slr_group_generation(slr_load64(&segment->groups[group].word));
    const uint64_t before = SLR_LEASE_LAP_MASK; /* one lap back */
    for (uint64_t i = 0; i < slr_slots(segment); i++) {
        const uint64_t lap = (slr_lap(segment, start + i) + before) & SLR_LEASE_LAP_MASK;
        /* Relaxed: the group is not live yet. The generation makes these words differ from all
         * that a member of an earlier group may still expect to find. */
        slr_store64(slr_lease_word(segment, group, start + i),
                    slr_lease(SLR_MEMBERS_MAX + 1, generation, lap, SLR_LEASE_FREE, 0));
    }
}

static void name_words(const char *name, uint64_t words[6])
{
    char text[SLIPRING_GROUP_NAME_BYTES] = {0};
    memcpy(text, name, strlen(name));
    memcpy(words, text, sizeof text);
}

static bool named(const struct slr_group *group, const uint64_t words[6])
{
    bool same = true;
    for (int i = 0; i < 6; i++) {
        same = same && slr_load64(&group->name[i]) == words[i]; /* after the word (JOIN) */
    }
    return same;
}

/* Under SLR_LOCK_JOIN. The entry of that name, or total. */
static uint32_t find(struct slipring_ring *ring, const uint64_t words[6])
{
    struct slr_segment *segment = &ring->segment;
    const uint32_t high = slr_groups_high(segment);
    for (uint32_t i = 0; i < high; i++) {
        struct slr_group *group = &segment->groups[i];
        const uint64_t word = slr_load64_acquire(&group->word); /* JOIN */
        if (slr_group_gates(word) && named(group, words)) {
            return i;
        }
    }
    return slr_groups_total(segment);
}

/* Under SLR_LOCK_JOIN. A new entry, LIVE and gating at *start; or -EUSERS. */
static int make(struct slipring_consumer *consumer, const struct slipring_consumer_config *config,
                const uint64_t words[6], uint32_t *entry, struct slipring_error *error)
{
    struct slipring_ring *ring = consumer->ring;
    struct slr_segment *segment = &ring->segment;
    const bool many = (config->flags & SLIPRING_MANY) != 0;
    const uint32_t first = many ? 0 : segment->geometry.groups_max;
    const uint32_t last = many ? segment->geometry.groups_max : slr_groups_total(segment);
    uint32_t i = first;
    for (; i < last; i++) {
        struct slr_group *group = &segment->groups[i];
        if (slr_group_gates(slr_load64_acquire(&group->word))) { /* JOIN */
            slr_group_reap(ring, i);
            (void)slr_group_end_if_empty(ring, i);
        }
        uint64_t word = slr_load64_acquire(&group->word); /* JOIN */
        if (slr_group_state(word) != SLR_GROUP_FREE && !slr_group_gates(word) &&
            slr_cas64(&group->word, word, slr_group_to(word, SLR_GROUP_FREE))) { /* REAP */
            /* SETUP: its creator died under the lock we hold; no state at all: a scribbler's. */
            word = slr_group_to(word, SLR_GROUP_FREE);
        }
        const uint64_t setup = slr_group_word(slr_group_generation(word) + 1, 0, SLR_GROUP_SETUP);
        if (slr_group_state(word) == SLR_GROUP_FREE &&
            slr_cas64(&group->word, word, setup)) { /* JOIN */
            break;
        }
    }
    if (i == last) {
        return slr_fail(error, -EUSERS, "slipring_consumer_attach",
                        "all %u groups of %s are in use; create the ring with a larger %s",
                        last - first, many ? "many" : "one", many ? "groups_max" : "members_max");
    }
    struct slr_group *group = &segment->groups[i];
    const uint64_t start = slr_oldest(segment);
    for (int k = 0; k < 6; k++) {
        slr_store64(&group->name[k], words[k]); /* the rest: published by the word's change */
    }
    slr_store64(&group->position, start);
    slr_store64(&group->take, start);
    slr_store64(&group->redeliver, 0);
    slr_store64(&group->evict_after_ns,
                config->slow == SLIPRING_EVICT ? config->evict_after_ns : 0);
    slr_store64(&group->dropped, 0);
    slr_store64(&group->redelivered, 0);
    slr_store64(&group->dead_letters, 0);
    slr_store32(&group->flags, many ? SLIPRING_MANY : 0);
    slr_store64(&group->owner, 0);
    slr_store64(&group->joined_ns, (uint64_t)slr_os_now());
    if (many) {
        slr_group_reset_leases(segment, i, start);
    }
    *entry = i;
    return 0;
}

static int check_options(const struct slipring_ring *ring, uint32_t entry,
                         const struct slipring_consumer_config *config,
                         struct slipring_error *error)
{
    const struct slr_segment *segment = &ring->segment;
    const struct slr_group *group = &segment->groups[entry];
    const bool many = (config->flags & SLIPRING_MANY) != 0;
    if (many != slr_group_many(segment, entry)) {
        return slr_fail(error, -EINVAL, "slipring_consumer_attach",
                        "group \"%s\" is a group of %s; join it %s SLIPRING_MANY", config->group,
                        many ? "one" : "many", many ? "without" : "with");
    }
    const uint64_t wanted = config->slow == SLIPRING_EVICT ? config->evict_after_ns : 0;
    const uint64_t there = slr_load64(&group->evict_after_ns); /* fixed since SETUP */
    if (wanted != there) {
        return slr_fail(error, -EINVAL, "slipring_consumer_attach",
                        "group \"%s\" was made with %s (evict_after_ns %llu); ask for the same",
                        config->group, there == 0 ? "SLIPRING_GATE" : "SLIPRING_EVICT",
                        (unsigned long long)there);
    }
    return 0;
}

/* Under SLR_LOCK_JOIN: show the cell in an entry that exists. -EAGAIN: it ended, look again. */
static int enter(struct slipring_consumer *consumer, uint32_t entry, uint64_t *start)
{
    struct slr_segment *segment = &consumer->ring->segment;
    struct slr_group *group = &segment->groups[entry];
    const uint64_t before = slr_load64_acquire(&group->word); /* JOIN */
    const uint32_t kind = slr_group_many(segment, entry) ? SLR_KIND_MANY : SLR_KIND_ONE;
    const uint64_t position = slr_load64_acquire(&group->position); /* GROUP */
    *start = position;
    if (kind == SLR_KIND_ONE) {
        if (slr_distance(position, slr_load64_acquire(&segment->data->limit)) > 0) { /* JOIN */
            /* Ahead of what may be written: a scribbler's, and we would wait there for ever. */
            *start = slr_load64_acquire(&segment->data->cursor); /* CURSOR */
            (void)slr_cas64(&group->position, position, *start); /* RELEASE */
        }
        /* REAP: not seen before the cell's word, by a reaper of its last owner. */
        slr_store64_release(&segment->cells[consumer->cell].released, *start);
    }
    if (!slr_cell_show(consumer, entry, kind, SLR_CELL_ACTIVE)) {
        return -ESTALE; /* nobody evicts what has just appeared, but a scribbler may */
    }
    slr_fence_full(); /* JOIN: our cell before the look at the group */
    uint64_t word = slr_load64_acquire(&group->word); /* JOIN */
    if (slr_group_state(word) == SLR_GROUP_ENDING &&
        slr_group_generation(word) == slr_group_generation(before) &&
        slr_cas64(&group->word, word, slr_group_to(word, SLR_GROUP_LIVE))) { /* JOIN */
        word = slr_group_to(word, SLR_GROUP_LIVE);
    }
    if (slr_group_state(word) == SLR_GROUP_LIVE &&
        slr_group_generation(word) == slr_group_generation(before)) {
        /* Just before it could see us the producer may have dropped what nobody took. */
        *start = slr_load64_acquire(&group->position); /* JOIN; GROUP */
        if (kind == SLR_KIND_ONE) {
            slr_store64_release(&segment->cells[consumer->cell].released, *start); /* RELEASE */
        }
        slr_store64(&group->owner,
                    slr_owner_word(consumer->cell,
                                   slr_cell_generation(consumer->word))); /* under the lock */
        consumer->group = entry;
        return 0;
    }
    (void)slr_cell_show(consumer, SLR_NO_GROUP, SLR_KIND_ONE, SLR_CELL_JOINING);
    return -EAGAIN;
}

static int join_locked(struct slipring_consumer *consumer,
                       const struct slipring_consumer_config *config, uint64_t *start, bool *fresh,
                       struct slipring_error *error)
{
    struct slipring_ring *ring = consumer->ring;
    struct slr_segment *segment = &ring->segment;
    const uint32_t total = slr_groups_total(segment);
    uint64_t words[6];
    name_words(config->group, words);
    for (int tries = 0; tries < 64; tries++) {
        uint32_t entry = find(ring, words);
        *fresh = entry == total;
        if (entry != total) {
            uint32_t pid = 0;
            slr_group_reap(ring, entry);
            const bool peopled = slr_group_peopled(ring, entry, &pid);
            if (!peopled && !slr_group_lasting(segment, entry)) {
                (void)slr_group_end_if_empty(ring, entry);
                continue; /* a dead group ends before anybody joins: never resumed by chance */
            }
            const int result = check_options(ring, entry, config, error);
            if (result != 0) {
                return result;
            }
            if (peopled && !slr_group_many(segment, entry)) {
                return slr_fail(error, -EBUSY, "slipring_consumer_attach",
                                "group \"%s\" is a group of one and process %u is in it; choose "
                                "another name, or make it a group of many",
                                config->group, pid);
            }
        } else {
            const int result = make(consumer, config, words, &entry, error);
            if (result != 0) {
                return result;
            }
            slr_raise32(&segment->control->groups_high, entry + 1); /* JOIN: before it is LIVE */
            const uint64_t word = slr_load64(&segment->groups[entry].word); /* ours */
            (void)slr_cas64(&segment->groups[entry].word, word,
                            slr_group_to(word, SLR_GROUP_LIVE)); /* JOIN */
        }
        const int result = enter(consumer, entry, start);
        if (result != -EAGAIN) {
            return result == 0 ? 0
                               : slr_fail(error, result, "slipring_consumer_attach",
                                          "the ring's control object is being overwritten");
        }
    }
    return slr_fail(error, -EBUSY, "slipring_consumer_attach",
                    "group \"%s\" keeps ending while it is being joined; try again", config->group);
}

int slr_group_join(struct slipring_consumer *consumer,
                   const struct slipring_consumer_config *config, uint64_t *start, bool *fresh,
                   struct slipring_error *error)
{
    int result = slr_os_lock_wait(consumer->lock.fd, SLR_LOCK_JOIN, slr_os_now() + JOIN_WAIT);
    if (result == -ETIMEDOUT) {
        return slr_fail(error, -EBUSY, "slipring_consumer_attach",
                        "another process has been joining a named group of this ring for two "
                        "seconds; it is probably stopped: continue or kill it");
    }
    if (result != 0) {
        return slr_fail(error, result, "fcntl(F_OFD_SETLK)",
                        "cannot lock the control object to join a group (errno %d)", -result);
    }
    result = join_locked(consumer, config, start, fresh, error);
    if (result != 0 || !*fresh) {
        slr_lock_drop(&consumer->lock, SLR_LOCK_JOIN);
    }
    return result; /* of a fresh group the caller drops the lock, once the start is settled */
}
