/* SPDX-License-Identifier: Apache-2.0 */
#include "ring/gate.h"

#include "ring/group.h"
#include "ring/recover.h"
#include "ring/released.h"
#include "ring/slot.h"

#include <errno.h>

/* How many slots behind next a gating sequence is, whatever was scribbled there: 0 to slots. */
static uint64_t behind(const struct slr_segment *segment, uint64_t next, uint64_t sequence)
{
    const int64_t distance = slr_distance(next, sequence);
    if (distance < 0) {
        return 0;
    }
    return (uint64_t)distance < slr_slots(segment) ? (uint64_t)distance : slr_slots(segment);
}

static bool cell_gates(uint64_t word)
{
    return slr_cell_state(word) == SLR_CELL_ACTIVE && slr_cell_kind(word) == SLR_KIND_ONE;
}

/* Of a group that lives. */
static bool live_gates(const struct slr_segment *segment, uint32_t i, uint64_t *sequence)
{
    const struct slr_group *group = &segment->groups[i];
    *sequence = slr_load64_acquire(&group->position); /* RELEASE */
    if (slr_group_many(segment, i)) {
        return true;
    }
    if (!slr_group_lasting(segment, i)) {
        return false;
    }
    const uint64_t owner = slr_load64(&group->owner); /* checked against the cell */
    const uint32_t cell = slr_owner_cell(owner);
    if (cell < segment->geometry.members_max) {
        const uint64_t word = slr_load64_acquire(&segment->cells[cell].word); /* JOIN */
        if (cell_gates(word) && slr_cell_group(word) == i &&
            slr_cell_generation(word) == slr_owner_generation(owner)) {
            const uint64_t released = slr_cell_released(segment, cell, word); /* RELEASE */
            if (slr_distance(released, *sequence) > 0) {
                *sequence = released;
            }
        }
    }
    return true;
}

/* Does the group gate by its position: groups of many, and lasting ones (with a member, at the
 * further of the two). Inline, since most entries were never used: the table of groups of many lies
 * before those of one. */
static inline bool group_gates(const struct slr_segment *segment, uint32_t i, uint64_t *sequence)
{
    return slr_group_gates(slr_load64_acquire(&segment->groups[i].word)) && /* JOIN */
           live_gates(segment, i, sequence);
}

/* The most slots that any gate is behind next; -1 with nobody to gate. */
static int64_t look(struct slipring_producer *producer, uint64_t next)
{
    const struct slr_segment *segment = &producer->ring->segment;
    int64_t most = -1;
    bool devices = false;
    for (uint32_t i = 0; i < slr_cells_high(segment); i++) {
        const uint64_t word = slr_load64_acquire(&segment->cells[i].word); /* JOIN */
        if (cell_gates(word)) {
            const uint64_t by =
                behind(segment, next, slr_cell_released(segment, i, word));   /* RELEASE */
            devices = devices || slr_load32(&segment->cells[i].devices) != 0; /* a hint */
            most = (int64_t)by > most ? (int64_t)by : most;
        }
    }
    for (uint32_t i = 0; i < slr_groups_high(segment); i++) {
        uint64_t sequence = 0;
        if (group_gates(segment, i, &sequence)) {
            const uint64_t by = behind(segment, next, sequence);
            most = (int64_t)by > most ? (int64_t)by : most;
        }
    }
    /* A device's store wakes nobody. Relaxed: for the next sleep. */
    slr_store32(&producer->short_steps, devices);
    return most;
}

static void announce(struct slipring_producer *producer, uint64_t limit)
{
    slr_store64_release(&producer->ring->segment.data->limit, limit); /* JOIN */
    producer->reported = limit;
}

int slr_gate_raise(struct slipring_producer *producer, uint64_t slots)
{
    const struct slr_segment *segment = &producer->ring->segment;
    struct slipring_fast *fast = producer->fast;
    const uint64_t next = fast->next;
    const uint64_t eighth = slr_slots(segment) / 8;
    if (slr_overwrites(segment)) {
        const uint64_t step = slots > eighth ? slots : eighth;
        announce(producer, next + step);
        fast->end = next + step;
        return 0;
    }
    int64_t most = look(producer, next);
    uint64_t end = most < 0 ? next + (slots > eighth ? slots : eighth)
                            : next + slr_slots(segment) - (uint64_t)most;
    if (slr_distance(end, producer->reported) > 0) {
        /* Nearly full, it will be raised again and again: once per eighth is enough. With room,
         * announcing more than is there would only hide messages from who joins. */
        const uint64_t ahead = most < 0 || end - next > eighth ? end : end + eighth;
        announce(producer, ahead);
        slr_fence_full(); /* JOIN: the limit before the look */
        most = look(producer, next);
        const uint64_t room = next + slr_slots(segment) - (uint64_t)(most < 0 ? 0 : most);
        end = slr_distance(end, room) > 0 ? room : end;
    }
    fast->end = end;
    return end - next >= slots ? 0 : -EAGAIN;
}

/* Has the producer's patience with one who joined then run out? The clock starts when it was first
 * held back, but not before the other came. Joined is the other's word: it can only harm itself. */
static bool out_of_patience(const struct slipring_producer *producer, uint64_t patience,
                            uint64_t joined, int64_t now)
{
    const uint64_t blocked = (uint64_t)producer->blocked_ns;
    const uint64_t since = joined > blocked && joined <= (uint64_t)now ? joined : blocked;
    return patience != 0 && (uint64_t)now - since >= patience;
}

/* The two below: true if somebody was evicted or something dropped. */
static bool clear_cell(struct slipring_producer *producer, uint32_t i, uint64_t slots, int64_t now)
{
    struct slipring_ring *ring = producer->ring;
    struct slr_segment *segment = &ring->segment;
    struct slr_cell *cell = &segment->cells[i];
    const uint64_t word = slr_load64_acquire(&cell->word); /* OWN */
    if (!cell_gates(word)) {
        return false;
    }
    const uint64_t by =
        behind(segment, producer->fast->next, slr_cell_released(segment, i, word)); /* RELEASE */
    if (by + slots <= slr_slots(segment)) {
        return false; /* not this one */
    }
    if (slr_cell_dead(ring, i, word)) {
        slr_cell_reap(ring, i, word, 1);
        return false;
    }
    const uint64_t patience = slr_load64(&cell->evict_after_ns); /* fixed before ACTIVE (JOIN) */
    if (out_of_patience(producer, patience, slr_load64(&cell->joined_ns), now) &&
        slr_cas64(&cell->word, word, slr_cell_to(word, SLR_CELL_EVICTED))) { /* OWN */
        slr_log(&ring->log, SLIPRING_LOG_WARNING, "evicted cell %u (process %u), %llu slots behind",
                i, slr_load32(&cell->pid), (unsigned long long)by);
        const uint32_t group = slr_cell_group(word);
        if (group < slr_groups_total(segment)) {
            (void)slr_add64(&segment->groups[group].dropped, by); /* counter */
            if (slr_group_lasting(segment, group)) {
                slr_raise64(&segment->groups[group].position, producer->fast->next); /* RELEASE */
            }
        }
        return true;
    }
    return false;
}

static bool clear_group(struct slipring_producer *producer, uint32_t i, uint64_t slots, int64_t now)
{
    struct slipring_ring *ring = producer->ring;
    struct slr_segment *segment = &ring->segment;
    uint64_t sequence = 0;
    if (!group_gates(segment, i, &sequence) ||
        behind(segment, producer->fast->next, sequence) + slots <= slr_slots(segment)) {
        return false;
    }
    if (slr_group_many(segment, i)) {
        slr_group_recover(ring, i);
    }
    if (slr_group_end_if_empty(ring, i)) {
        return false;
    }
    const uint64_t patience = slr_load64(&segment->groups[i].evict_after_ns); /* fixed in SETUP */
    if (!out_of_patience(producer, patience, slr_load64(&segment->groups[i].joined_ns), now) ||
        !group_gates(segment, i, &sequence) ||
        behind(segment, producer->fast->next, sequence) + slots <= slr_slots(segment)) {
        return false;
    }
    if (slr_group_many(segment, i)) {
        slr_group_evict(ring, i, slots);
    } else {
        /* A lasting group of one without a member: what nobody took is dropped and counted. */
        const uint64_t next = producer->fast->next;
        (void)slr_add64(&segment->groups[i].dropped, behind(segment, next, sequence)); /* counter */
        slr_raise64(&segment->groups[i].position, next);                               /* RELEASE */
    }
    return true;
}

void slr_gate_clear(struct slipring_producer *producer, uint64_t slots)
{
    const struct slr_segment *segment = &producer->ring->segment;
    const int64_t now = slr_os_now();
    bool evicted = false;
    if (producer->blocked_ns == 0) {
        producer->blocked_ns = now;
    }
    for (uint32_t i = 0; i < slr_cells_high(segment); i++) {
        evicted |= clear_cell(producer, i, slots, now);
    }
    for (uint32_t i = 0; i < slr_groups_high(segment); i++) {
        evicted |= clear_group(producer, i, slots, now);
    }
    if (evicted) {
        /* OWN: the eviction before the payload that it gives free changes. STAYS: a release fence
         * would do, and who comes here has waited already. */
        slr_fence_full();
        producer->blocked_ns =
            now; /* who inherits what the evicted held gets as long as they did */
    }
}
