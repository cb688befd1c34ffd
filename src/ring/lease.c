/* SPDX-License-Identifier: Apache-2.0 */
/* Leases of groups of many; the states are drawn in group.h. */
#include "ring/group.h"
#include "ring/recover.h"
#include "ring/released.h"

#include <errno.h>

/* ---- finishing ---- */

int slr_lease_finish(struct slipring_consumer *consumer, uint64_t sequence)
{
    const struct slr_segment *segment = &consumer->ring->segment;
    _Atomic uint64_t *lease = slr_lease_word(segment, consumer->group, sequence);
    const uint32_t generation = slr_cell_generation(consumer->word);
    const uint64_t word = slr_load64(lease); /* the swap decides */
    const uint64_t mine = slr_lease(consumer->cell, generation, slr_lap(segment, sequence),
                                    SLR_LEASE_TAKEN, slr_lease_deliveries(word));
    const uint64_t done = slr_lease(consumer->cell, generation, slr_lap(segment, sequence),
                                    SLR_LEASE_DONE, slr_lease_deliveries(word));
    /* GROUP: release what was read. Of two who finish neighbours at once one sees both done and moves
     * position over them; where a processor lets neither see it, who finishes next or recovers does. */
    if (word == done) {
        return -EINVAL; /* returned already */
    }
    return word == mine && slr_cas64(lease, mine, done) ? 0 : -ESTALE;
}

bool slr_group_finished(struct slipring_consumer *consumer, uint64_t end)
{
    struct slipring_ring *ring = consumer->ring;
    const struct slr_segment *segment = &ring->segment;
    slr_group_recover(ring, consumer->group);
    uint64_t s = slr_load64_acquire(&segment->groups[consumer->group].position); /* GROUP */
    if (slr_distance(end, s) > (int64_t)slr_slots(segment)) {
        return false; /* position gates: further back only a scribbler puts it */
    }
    while (slr_distance(end, s) > 0) {
        const uint64_t word =
            slr_load64_acquire(slr_lease_word(segment, consumer->group, s)); /* GROUP */
        const uint64_t mine =
            slr_lease(consumer->cell, slr_cell_generation(consumer->word), slr_lap(segment, s),
                      SLR_LEASE_TAKEN, slr_lease_deliveries(word));
        const bool done =
            slr_lease_lap(segment, word, s) == 0 && slr_lease_state(word) == SLR_LEASE_DONE;
        const uint64_t slots = slr_lease_slots(segment, s);
        if (!done && word != mine) {
            return false;
        }
        s += slots;
    }
    return true;
}

/* ---- evicting (the producer) ---- */

static void evict_holder(struct slipring_ring *ring, uint32_t group, uint64_t lease)
{
    struct slr_segment *segment = &ring->segment;
    const uint32_t cell = slr_lease_cell(lease);
    if (cell >= segment->geometry.members_max) {
        return;
    }
    const uint64_t word = slr_load64_acquire(&segment->cells[cell].word); /* OWN */
    if (slr_cell_state(word) == SLR_CELL_ACTIVE && slr_cell_group(word) == group &&
        slr_cas64(&segment->cells[cell].word, word,
                  slr_cell_to(word, SLR_CELL_EVICTED))) { /* OWN */
        slr_log(&ring->log, SLIPRING_LOG_WARNING, "evicted cell %u (process %u) of group %u", cell,
                slr_load32(&segment->cells[cell].pid), group);
        slr_fence_full(); /* OWN: the eviction before the look at its leases */
        slr_lease_return_all(segment, group, cell, slr_cell_generation(word), 2);
    }
}

/* Drop the message at sequence for this group, unless somebody takes it at this moment. */
static void drop(const struct slr_segment *segment, uint32_t group, uint64_t sequence,
                 uint64_t word, uint64_t span)
{
    const uint32_t deliveries =
        slr_lease_lap(segment, word, sequence) == 0 ? slr_lease_deliveries(word) : 0;
    const uint64_t done =
        slr_lease(SLR_MEMBERS_MAX + 1, 0, slr_lap(segment, sequence), SLR_LEASE_DONE, deliveries);
    /* Counted first: of a producer that dies here one too many is counted, never one too few. */
    (void)slr_add64(&segment->groups[group].dropped, span);                 /* counter */
    if (!slr_cas64(slr_lease_word(segment, group, sequence), word, done)) { /* OWN */
        (void)slr_add64(&segment->groups[group].dropped, 0 - span);         /* counter */
    }
}

void slr_group_evict(struct slipring_ring *ring, uint32_t group, uint64_t slots)
{
    struct slr_segment *segment = &ring->segment;
    const uint64_t quarter = slr_slots(segment) / 4; /* lest it hold us back again at once */
    const uint64_t room = slots > quarter ? slots : quarter;
    const uint64_t from = slr_load64_acquire(&segment->groups[group].position); /* GROUP */
    const uint64_t cursor = slr_load64(&segment->data->cursor); /* the producer's own word */
    bool evicting = false; /* the first slot is somebody's: who holds goes, what is free stays */
    uint64_t to = from;
    while (to - from < room && slr_distance(cursor, to) > 0) {
        const uint64_t word = slr_load64_acquire(slr_lease_word(segment, group, to)); /* GROUP */
        const bool this_lap = slr_lease_lap(segment, word, to) == 0;
        const bool taken = this_lap && slr_lease_state(word) == SLR_LEASE_TAKEN;
        const bool done = this_lap && slr_lease_state(word) == SLR_LEASE_DONE;
        const uint64_t span = slr_lease_slots(segment, to);
        evicting = evicting || (to == from && taken);
        if (taken && !evicting) {
            break;
        }
        if (taken) {
            evict_holder(ring, group, word);
        } else if (!done && !evicting) {
            drop(segment, group, to, word, span);
        }
        to += span;
    }
    (void)slr_group_advance(segment, group);
}

/* ---- taking ---- */

bool slr_group_has_work(const struct slr_segment *segment, uint32_t group)
{
    const uint64_t position = slr_load64_acquire(&segment->groups[group].position); /* GROUP */
    for (uint64_t i = 0; i < slr_slots(segment); i++) {
        const uint64_t sequence = position + i;
        const enum slr_slot_state slot = slr_slot_look(segment, sequence);
        if (slot == SLR_SLOT_EMPTY) {
            break;
        }
        const uint64_t word =
            slr_load64_acquire(slr_lease_word(segment, group, sequence)); /* GROUP */
        const int32_t lap = slr_lease_lap(segment, word, sequence);
        const bool later = slot == SLR_SLOT_HERE && slr_span(segment, sequence) == 0;
        if (slot != SLR_SLOT_GONE && !later &&
            (lap < 0 || (lap == 0 && slr_lease_state(word) == SLR_LEASE_FREE))) {
            return true;
        }
    }
    return false;
}

struct taking {
    struct slipring_consumer *consumer;
    uint64_t first, count; /* taken so far */
    uint32_t deliveries;
};

enum step { STEP_NEXT, STEP_AGAIN, STEP_STOP };

/* Try the message at *at; moves *at on. */
static enum step take_one(struct taking *t, uint64_t *at)
{
    struct slipring_consumer *consumer = t->consumer;
    const struct slr_segment *segment = &consumer->ring->segment;
    const uint32_t group = consumer->group;
    const uint32_t generation = slr_cell_generation(consumer->word);
    const uint64_t s = *at;
    _Atomic uint64_t *lease = slr_lease_word(segment, group, s);
    const uint64_t word = slr_load64_acquire(lease); /* GROUP */
    const int32_t lap = slr_lease_lap(segment, word, s);
    const enum slr_slot_state slot = slr_slot_look(segment, s);
    const uint64_t span = slot == SLR_SLOT_HERE ? slr_span(segment, s) : 1;
    if (slot == SLR_SLOT_EMPTY) {
        return STEP_STOP;
    }
    if (slot == SLR_SLOT_GONE || lap > 0 || span == 0) {
        *at = slr_load64_acquire(&segment->groups[group].position); /* GROUP: we are behind */
        return t->count == 0 ? STEP_AGAIN : STEP_STOP;
    }
    if (lap == 0 && slr_lease_state(word) != SLR_LEASE_FREE) {
        *at = s + span;
        return t->count == 0 ? STEP_NEXT : STEP_STOP;
    }
    const uint32_t before = lap == 0 ? slr_lease_deliveries(word) : 0;
    if (slot == SLR_SLOT_PASSED) {
        (void)slr_cas64(
            lease, word,
            slr_lease(SLR_MEMBERS_MAX + 1, 0, slr_lap(segment, s), SLR_LEASE_DONE, 0)); /* GROUP */
        (void)slr_group_advance(segment, group);
        *at = s + 1;
        return t->count == 0 ? STEP_NEXT : STEP_STOP;
    }
    if (t->count != 0 && (before != 0 || span > 1 || !slr_same_shapes(segment, t->first, s))) {
        return STEP_STOP;
    }
    if (!slr_cas64(lease, word,
                   slr_lease(consumer->cell, generation, slr_lap(segment, s), SLR_LEASE_TAKEN,
                             before + 1))) { /* OWN */
        return t->count == 0 ? STEP_AGAIN : STEP_STOP;
    }
    if (t->count == 0) {
        t->first = s;
    }
    t->count += span;
    t->deliveries = before + 1;
    *at = s + span;
    /* A message that came back is delivered alone, and so is one that spans. */
    return before != 0 || span > 1 ? STEP_STOP : STEP_NEXT;
}

void slr_lease_untake(struct slipring_consumer *consumer, uint64_t first, uint64_t count,
                      uint32_t deliveries)
{
    const struct slr_segment *segment = &consumer->ring->segment;
    for (uint64_t s = first; s != first + count; s++) {
        const uint64_t lap = slr_lap(segment, s);
        const uint64_t mine = slr_lease(consumer->cell, slr_cell_generation(consumer->word), lap,
                                        SLR_LEASE_TAKEN, deliveries);
        const uint64_t back =
            slr_lease(SLR_MEMBERS_MAX + 1, 0, lap, SLR_LEASE_FREE, deliveries - 1);
        (void)slr_cas64(slr_lease_word(segment, consumer->group, s), mine, back); /* OWN */
    }
    (void)slr_add64(&segment->groups[consumer->group].redeliver, 1); /* hint */
}

/* A swap waits for all loads before it: have the lines of what will be taken under way. */
static void fetch(const struct slr_segment *segment, uint64_t at, uint64_t slots)
{
    const uint64_t cursor = slr_load64_acquire(&segment->data->cursor); /* CURSOR */
    const int64_t there = slr_distance(cursor, at);
    const uint64_t most = there < 0 ? 0 : (uint64_t)there;
    for (uint64_t i = 0; i < slots && i < most && i < SLIPRING_FAST_BATCH_AHEAD; i++) {
        __builtin_prefetch((const void *)(uintptr_t)slr_stamp(segment, at + i));
    }
}

int slr_lease_take(struct slipring_consumer *consumer, uint64_t slots, uint64_t *first,
                   uint64_t *count, uint32_t *deliveries)
{
    const struct slr_segment *segment = &consumer->ring->segment;
    struct slr_group *group = &segment->groups[consumer->group];
    const struct slr_cell *cell = &segment->cells[consumer->cell];
    struct taking t = {.consumer = consumer};
    const uint64_t position = slr_load64_acquire(&group->position); /* GROUP */
    const uint64_t hint = slr_load64(&group->take); /* hint: walking from position finds all too */
    const uint64_t redeliver = slr_load64_acquire(&group->redeliver); /* GROUP */
    uint64_t at = position;
    const bool everywhere = consumer->look_everywhere || redeliver != consumer->redeliver_seen;
    consumer->look_everywhere = false;
    if (!everywhere && slr_distance(hint, position) > 0 && hint - position <= slr_slots(segment)) {
        at = hint;
    }
    fetch(segment, at, slots);
    uint64_t steps = 0;
    enum step step = STEP_NEXT;
    while (step != STEP_STOP && t.count < slots && steps++ < 2 * slr_slots(segment)) {
        step = take_one(&t, &at);
    }
    if (t.count == 0) {
        consumer->redeliver_seen = redeliver; /* looked everything through */
        return slr_cell_state(slr_load64_acquire(&cell->word)) == SLR_CELL_ACTIVE
                   ? -EAGAIN
                   : -ESTALE; /* OWN */
    }
    if (consumer->slow == SLIPRING_EVICT) {
        slr_fence_full(); /* OWN: our leases before the look at the cell */
        if (slr_load64(&cell->word) != consumer->word) {
            slr_lease_untake(consumer, t.first, t.count, t.deliveries);
            return -ESTALE; /* evicted in the moment of taking */
        }
    }
    if (slr_distance(t.first, hint) >= 0) {
        consumer->redeliver_seen = redeliver; /* nothing came back below */
    }
    if (slr_distance(at, slr_load64(&group->take)) > 0) {
        slr_store64(&group->take, at); /* hint */
    }
    *first = t.first;
    *count = t.count;
    *deliveries = t.deliveries;
    return 0;
}
