/* SPDX-License-Identifier: Apache-2.0 */
#include "ring/recover.h"

#include "ring/released.h"

/* ---- holds ---- */

/* Drop all that {cell, generation} holds. */
static void drop_holds(const struct slr_segment *segment, uint32_t cell, uint32_t generation)
{
    for (uint32_t i = 0; i < segment->geometry.hold_max; i++) {
        const uint64_t word = slr_load64_acquire(&segment->holds[i]); /* REAP */
        if (word != 0 && word == slr_hold_word(cell, generation, slr_hold_index(word))) {
            (void)slr_cas64(&segment->holds[i], word, 0); /* REAP */
        }
    }
}

/* ---- leases ---- */

static bool listed(const struct slr_control *control, uint32_t group, uint64_t sequence)
{
    for (uint32_t i = 0; i < SLR_DEAD_LETTERS; i++) {
        const struct slr_dead_letter *letter = &control->letters[i];
        if (slr_load64_acquire(&letter->number) != 0 && /* INIT, of this entry */
            slr_load64(&letter->sequence) == sequence && slr_load32(&letter->group) == group) {
            return true;
        }
    }
    return false;
}

static void list_dead_letter(const struct slr_segment *segment, uint32_t group, uint64_t sequence,
                             uint64_t tag, uint32_t cause)
{
    struct slr_control *control = segment->control;
    if (listed(control, group, sequence)) {
        return; /* by a reaper that died before it got further */
    }
    const uint64_t number = slr_add64(&control->dead_letters, 1); /* a ticket */
    struct slr_dead_letter *letter = &control->letters[number % SLR_DEAD_LETTERS];
    slr_store64(&letter->number, 0);
    slr_fence_release(); /* INIT, of this entry: empty before it changes */
    slr_store64(&letter->sequence, sequence);
    slr_store64(&letter->tag, tag);
    slr_store32(&letter->group, group);
    slr_store32(&letter->cause, cause);
    slr_store64_release(&letter->number, number + 1);         /* INIT, of this entry */
    (void)slr_add64(&segment->groups[group].dead_letters, 1); /* counter */
}

static void give_back(const struct slr_segment *segment, uint32_t group, uint64_t sequence,
                      uint64_t word, uint32_t cause)
{
    struct slr_group *g = &segment->groups[group];
    _Atomic uint64_t *lease = slr_lease_word(segment, group, sequence);
    const uint32_t deliveries = slr_lease_deliveries(word);
    const bool dead = deliveries >= SLR_DELIVERIES_MAX;
    const uint64_t next = slr_lease(SLR_MEMBERS_MAX + 1, 0, slr_lap(segment, sequence),
                                    dead ? SLR_LEASE_DONE : SLR_LEASE_FREE, deliveries);
    /* Read while the lease keeps the slot. */
    const uint64_t tag =
        slr_is_compact(segment) ? 0 : slr_load64(&slr_header(segment, sequence)->tag);
    /* A dead member cannot finish any more: list first, so that a reaper's death loses nothing.
     * An evicted one may finish this very moment: let the swap decide first. */
    if (dead && cause == 1) {
        list_dead_letter(segment, group, sequence, tag, cause);
    }
    if (!slr_cas64(lease, word, next)) { /* REAP */
        return;                          /* finished, or given back by somebody else */
    }
    if (dead && cause != 1) {
        list_dead_letter(segment, group, sequence, tag, cause);
    }
    if (!dead) {
        (void)slr_add64(&g->redelivered, 1); /* counter */
        (void)slr_add64(&g->redeliver, 1);   /* hint */
    }
}

void slr_lease_return_all(const struct slr_segment *segment, uint32_t group, uint32_t cell,
                          uint32_t generation, uint32_t cause)
{
    const uint64_t position = slr_load64_acquire(&segment->groups[group].position); /* GROUP */
    const uint32_t cut = slr_lease_cut(generation);
    for (uint64_t i = 0; i < slr_slots(segment); i++) {
        const uint64_t sequence = position + i;
        const uint64_t word =
            slr_load64_acquire(slr_lease_word(segment, group, sequence)); /* REAP */
        if (slr_lease_state(word) == SLR_LEASE_TAKEN && slr_lease_cell(word) == cell &&
            slr_lease_generation(word) == cut && slr_lease_lap(segment, word, sequence) == 0) {
            give_back(segment, group, sequence, word, cause);
        }
    }
    if (slr_group_advance(segment, group)) {
        slr_bell_check((struct slr_bell){&segment->control->producer_waiting,
                                         &segment->control->producer_wake});
    }
    /* Members that sleep take what came back. */
    slr_bell_check(
        (struct slr_bell){&segment->control->consumers_waiting, &segment->control->consumers_wake});
}

/* ---- cells ---- */

/* What a member leaves in the words of others. Repeatable: words carry {cell, generation}. */
static void undo(struct slipring_ring *ring, uint32_t cell, uint64_t word, uint32_t cause)
{
    const struct slr_segment *segment = &ring->segment;
    const uint32_t generation = slr_cell_generation(word);
    const uint32_t group = slr_cell_group(word);
    if (slr_cell_kind(word) == SLR_KIND_READER) {
        drop_holds(segment, cell, generation);
        return;
    }
    if (group >= slr_groups_total(segment)) {
        return;
    }
    if (slr_group_many(segment, group)) {
        slr_lease_return_all(segment, group, cell, generation, cause);
    } else if (slr_group_lasting(segment, group)) {
        /* The next member goes on where this one stopped. The value is this member's only if the
         * cell is still its own after the load: its next owner stores its word first. */
        const uint64_t released = slr_cell_released(segment, cell, word); /* RELEASE */
        if (slr_load64(&segment->cells[cell].word) == word) {
            slr_raise64(&segment->groups[group].position, released); /* RELEASE */
        }
    }
}

void slr_cell_leave(struct slipring_consumer *consumer)
{
    struct slipring_ring *ring = consumer->ring;
    struct slr_cell *cell = &ring->segment.cells[consumer->cell];
    uint64_t word = slr_load64_acquire(&cell->word); /* REAP: it may have been evicted */
    if (slr_cell_generation(word) == slr_cell_generation(consumer->word) &&
        slr_cell_state(word) != SLR_CELL_FREE) {
        undo(ring, consumer->cell, word, 1);
        const uint32_t state =
            slr_load32(&consumer->devices) != SLR_DEVICES_NONE ? SLR_CELL_RETIRED : SLR_CELL_FREE;
        if (state == SLR_CELL_RETIRED) {
            slr_store64(&cell->joined_ns, 0); /* we are here still */
        }
        /* Only an eviction can come between, which changes the state alone. */
        if (!slr_cas64(&cell->word, word, slr_cell_to(word, state))) { /* REAP */
            word = slr_load64_acquire(&cell->word);
            if (slr_cell_generation(word) == slr_cell_generation(consumer->word)) {
                (void)slr_cas64(&cell->word, word, slr_cell_to(word, state)); /* REAP */
            }
        }
    }
    if (consumer->group < slr_groups_total(&ring->segment)) {
        (void)slr_group_end_if_empty(ring, consumer->group);
    }
}

bool slr_cell_dead(const struct slipring_ring *ring, uint32_t cell, uint64_t word)
{
    const struct slr_segment *segment = &ring->segment;
    if (slr_cell_state(word) == SLR_CELL_FREE ||
        slr_alive(segment->control_fd, SLR_LOCK_CELL + cell)) {
        return false;
    }
    if (slr_cell_state(word) == SLR_CELL_RETIRED) {
        _Atomic uint64_t *since = &segment->cells[cell].joined_ns;
        const uint64_t now = (uint64_t)slr_os_now();
        const uint64_t then = slr_load64(since); /* a scribbled time makes it sooner or later */
        if (then == 0) {
            slr_store64(since, now); /* its owner was there until now, perhaps */
        }
        if (then == 0 || now - then < SLR_RETIRED_NS) {
            return false;
        }
    }
    /* Unlocked, and still showing the same word: nobody else took it meanwhile. */
    return slr_load64_acquire(&segment->cells[cell].word) == word; /* REAP */
}

void slr_cell_reap(struct slipring_ring *ring, uint32_t cell, uint64_t word, uint32_t cause)
{
    struct slr_segment *segment = &ring->segment;
    struct slr_cell *c = &segment->cells[cell];
    const uint32_t pid = slr_load32(&c->pid); /* display */
    uint32_t state = SLR_CELL_FREE;
    if (slr_cell_state(word) != SLR_CELL_RETIRED) {
        undo(ring, cell, word, cause);
        if (slr_load32(&c->devices) !=
            0) { /* the dead one's: its stores are before its lock's end */
            state = SLR_CELL_RETIRED;
            slr_store64(&c->joined_ns, (uint64_t)slr_os_now()); /* harms nobody who came since */
        }
    }
    if (!slr_cas64(&c->word, word, slr_cell_to(word, state))) { /* REAP */
        return; /* somebody else finished the same work */
    }
    if (slr_cell_state(word) == SLR_CELL_RETIRED) {
        return; /* told before */
    }
    slr_log(&ring->log, SLIPRING_LOG_INFO, "reaped cell %u of dead process %u", cell, pid);
    const uint32_t group = slr_cell_group(word);
    if (group < slr_groups_total(segment)) {
        (void)slr_group_end_if_empty(ring, group);
    }
}

int slr_members_reap_all(struct slipring_ring *ring)
{
    struct slr_segment *segment = &ring->segment;
    int reaped = 0;
    if (segment->control == NULL) {
        return 0;
    }
    for (uint32_t i = 0; i < slr_cells_high(segment); i++) {
        const uint64_t word = slr_load64_acquire(&segment->cells[i].word); /* REAP */
        if (slr_cell_dead(ring, i, word)) {
            slr_cell_reap(ring, i, word, 1);
            reaped++;
        }
    }
    for (uint32_t g = 0; g < slr_groups_high(segment); g++) {
        if (slr_group_gates(slr_load64_acquire(&segment->groups[g].word))) { /* JOIN */
            if (slr_group_many(segment, g)) {
                slr_group_recover(ring, g);
            }
            (void)slr_group_end_if_empty(ring, g);
        }
    }
    return reaped;
}

void slr_hold_reap(struct slipring_ring *ring)
{
    const struct slr_segment *segment = &ring->segment;
    for (uint32_t i = 0; i < segment->geometry.hold_max; i++) {
        const uint64_t word = slr_load64_acquire(&segment->holds[i]); /* REAP */
        const uint32_t cell = slr_hold_cell(word);
        if (word == 0) {
            continue;
        }
        const uint64_t shown = cell < segment->geometry.members_max
                                   ? slr_load64_acquire(&segment->cells[cell].word) /* REAP */
                                   : 0; /* nobody's: scribbled */
        if (word != slr_hold_word(cell, slr_cell_generation(shown), slr_hold_index(word)) ||
            slr_cell_state(shown) == SLR_CELL_FREE) {
            (void)slr_cas64(&segment->holds[i], word, 0); /* REAP: its owner is gone */
        } else if (slr_cell_dead(ring, cell, shown)) {
            slr_cell_reap(ring, cell, shown, 1);
        }
    }
}

/* ---- groups ---- */

bool slr_group_peopled(struct slipring_ring *ring, uint32_t group, uint32_t *pid)
{
    struct slr_segment *segment = &ring->segment;
    for (uint32_t i = 0; i < slr_cells_high(segment); i++) {
        const uint64_t word = slr_load64_acquire(&segment->cells[i].word); /* JOIN */
        if (slr_cell_state(word) != SLR_CELL_ACTIVE || slr_cell_group(word) != group) {
            continue;
        }
        if (!slr_cell_dead(ring, i, word)) {
            *pid = slr_load32(&segment->cells[i].pid); /* display */
            return true;
        }
    }
    return false;
}

void slr_group_reap(struct slipring_ring *ring, uint32_t group)
{
    struct slr_segment *segment = &ring->segment;
    for (uint32_t i = 0; i < slr_cells_high(segment); i++) {
        const uint64_t word = slr_load64_acquire(&segment->cells[i].word); /* REAP */
        if (slr_cell_group(word) == group && slr_cell_dead(ring, i, word)) {
            slr_cell_reap(ring, i, word, 1);
        }
    }
}

bool slr_group_end_if_empty(struct slipring_ring *ring, uint32_t group)
{
    struct slr_segment *segment = &ring->segment;
    struct slr_group *g = &segment->groups[group];
    uint64_t word = slr_load64_acquire(&g->word); /* JOIN */
    uint32_t pid = 0;
    if (!slr_group_gates(word) || slr_group_lasting(segment, group)) {
        return false;
    }
    const uint64_t ending = slr_group_to(word, SLR_GROUP_ENDING);
    if (slr_group_peopled(ring, group, &pid) || !slr_cas64(&g->word, word, ending)) { /* JOIN */
        return false;
    }
    slr_fence_full(); /* JOIN: the announcement before the look */
    if (slr_group_peopled(ring, group, &pid)) {
        (void)slr_cas64(&g->word, ending, slr_group_to(ending, SLR_GROUP_LIVE)); /* JOIN */
        return false;
    }
    const uint64_t position = slr_load64_acquire(&g->position);               /* GROUP */
    if (!slr_cas64(&g->word, ending, slr_group_to(ending, SLR_GROUP_FREE))) { /* JOIN */
        return false;
    }
    if (slr_group_many(segment, group)) {
        const int64_t left =
            slr_distance(slr_load64_acquire(&segment->data->cursor), position); /* CURSOR */
        if (left > 0) {
            slr_log(&ring->log, SLIPRING_LOG_INFO,
                    "group %u ended with its last member, %lld slots unread", group,
                    (long long)left);
        }
    }
    return true;
}

void slr_group_recover(struct slipring_ring *ring, uint32_t group)
{
    struct slr_segment *segment = &ring->segment;
    slr_group_reap(ring, group);
    /* What was taken by one that was evicted, or left, in the same moment. */
    const uint64_t position = slr_load64_acquire(&segment->groups[group].position); /* GROUP */
    for (uint64_t i = 0; i < slr_slots(segment); i++) {
        const uint64_t sequence = position + i;
        const uint64_t word =
            slr_load64_acquire(slr_lease_word(segment, group, sequence)); /* REAP */
        if (slr_lease_lap(segment, word, sequence) != 0 ||
            slr_lease_state(word) != SLR_LEASE_TAKEN) {
            continue;
        }
        const uint32_t cell = slr_lease_cell(word);
        const uint64_t shown = cell < segment->geometry.members_max
                                   ? slr_load64_acquire(&segment->cells[cell].word) /* OWN */
                                   : 0;
        const uint64_t cut = slr_lease_cut(slr_cell_generation(shown));
        if (slr_cell_state(shown) != SLR_CELL_ACTIVE || slr_cell_group(shown) != group ||
            cut != slr_lease_generation(word)) {
            give_back(segment, group, sequence, word,
                      slr_cell_state(shown) == SLR_CELL_EVICTED ? 2 : 1);
        }
    }
    if (slr_group_advance(segment, group)) {
        slr_bell_check((struct slr_bell){&segment->control->producer_waiting,
                                         &segment->control->producer_wake});
    }
}
