/* SPDX-License-Identifier: Apache-2.0 */
#include "ring/members.h"

#include "base/sequence.h"
#include "ring/group.h"
#include "ring/hold.h"

#include <errno.h>

/* 0, -EAGAIN if it is somebody's, or what locking failed by. */
static int try_cell(struct slipring_consumer *consumer, uint32_t cell)
{
    struct slr_segment *segment = &consumer->ring->segment;
    struct slr_cell *c = &segment->cells[cell];
    const int result = slr_lock_take(&consumer->lock, SLR_LOCK_CELL + cell, false);
    if (result != 0) {
        return result; /* -EAGAIN: someone is joining, or was evicted and may still store */
    }
    const uint64_t word = slr_load64_acquire(&c->word); /* REAP */
    const uint64_t mine =
        slr_cell_word(slr_cell_generation(word) + 1, SLR_NO_GROUP, SLR_KIND_ONE, SLR_CELL_JOINING);
    if (slr_cell_state(word) != SLR_CELL_FREE || !slr_cas64(&c->word, word, mine)) { /* REAP */
        slr_lock_drop(&consumer->lock, SLR_LOCK_CELL + cell);
        return -EAGAIN; /* its last owner died between our look and our lock */
    }
    consumer->cell = cell;
    consumer->word = mine;
    /* The owner's words, before anybody reads them of this generation. */
    slr_store32(&c->releases, 0);
    slr_store32(&c->devices, 0);
    slr_store32(&c->pid, (uint32_t)slr_os_pid());
    slr_store32(&c->flags, consumer->flags);
    slr_store64(&c->missed, 0);
    slr_store64(&c->evict_after_ns, 0);
    slr_store64(&c->joined_ns, (uint64_t)slr_os_now());
    slr_raise32(&segment->control->cells_high, cell + 1); /* JOIN: before the cell is ACTIVE */
    return 0;
}

int slr_cell_take(struct slipring_consumer *consumer, struct slipring_error *error)
{
    struct slipring_ring *ring = consumer->ring;
    struct slr_segment *segment = &ring->segment;
    const uint32_t cells = segment->geometry.members_max;
    for (int pass = 0; pass < 2; pass++) { /* the dead are looked for only when there is no room */
        for (uint32_t i = 0; i < cells; i++) {
            uint64_t word = slr_load64_acquire(&segment->cells[i].word); /* REAP */
            if (slr_cell_state(word) != SLR_CELL_FREE) {
                if (pass == 0 || !slr_cell_dead(ring, i, word)) {
                    continue;
                }
                slr_cell_reap(ring, i, word, 1);
            }
            const int result = try_cell(consumer, i);
            if (result == 0) {
                return 0;
            }
            if (result != -EAGAIN) {
                return slr_fail(error, result, "fcntl(F_OFD_SETLK)",
                                "cannot lock the control object (errno %d)", -result);
            }
        }
    }
    return slr_fail(error, -EUSERS, "slipring_consumer_attach",
                    "all %u consumer cells are taken by live members; create the ring with a "
                    "larger members_max",
                    cells);
}

bool slr_cell_show(struct slipring_consumer *consumer, uint32_t group, uint32_t kind,
                   uint32_t state)
{
    struct slr_cell *cell = &consumer->ring->segment.cells[consumer->cell];
    const uint64_t word = slr_cell_word(slr_cell_generation(consumer->word), group, kind, state);
    if (!slr_cas64(&cell->word, consumer->word, word)) { /* JOIN: the gating words before it */
        return false;
    }
    consumer->word = word;
    return true;
}

int slr_cell_take_releases(struct slipring_consumer *consumer, struct slipring_error *error)
{
    const struct slr_segment *segment = &consumer->ring->segment;
    const uint32_t tables = segment->geometry.releases_max;
    struct slr_cell *mine = &segment->cells[consumer->cell];
    /* Show a choice, then look whether somebody else shows the same: of two that choose at once at
     * least one sees the other and takes another table, so that no table ever has two owners. */
    for (uint32_t try = 0; try < 2 * tables; try++) {
        const uint32_t table = (consumer->cell + try) % tables;
        bool taken = false;
        slr_store32(&mine->releases, table + 1);
        slr_fence_full(); /* OWN: our choice before the others' */
        for (uint32_t i = 0; i < segment->geometry.members_max && !taken; i++) {
            const struct slr_cell *cell = &segment->cells[i];
            const uint64_t word = slr_load64_acquire(&cell->word); /* REAP */
            taken = i != consumer->cell && slr_cell_state(word) != SLR_CELL_FREE &&
                    slr_load32_acquire(&cell->releases) == table + 1; /* OWN */
            if (taken && slr_cell_dead(consumer->ring, i, word)) {
                slr_cell_reap(consumer->ring, i, word, 1);
                taken = false;
            }
        }
        if (!taken) {
            consumer->releases = segment->releases + (uint64_t)table * slr_slots(segment);
            for (uint64_t i = 0; i < slr_slots(segment); i++) {
                slr_store64(&consumer->releases[i], 0); /* ours alone from here on */
            }
            return 0;
        }
    }
    slr_store32(&mine->releases, 0);
    return slr_fail(error, -EUSERS, "slipring_consumer_attach",
                    "all %u release tables are used by unordered consumers; create the ring with "
                    "a larger releases_max, or attach an ordered consumer",
                    tables);
}

uint64_t slr_cell_released(const struct slr_segment *segment, uint32_t cell, uint64_t word)
{
    const struct slr_cell *c = &segment->cells[cell];
    uint64_t released = slr_load64_acquire(&c->released); /* RELEASE */
    /* Relaxed: set before any device store that we could see. What a scribbler writes there makes us
     * look at a table, within its bounds. */
    if (__builtin_expect(slr_load32(&c->devices) == 0, 1)) {
        return released;
    }
    const uint32_t table = slr_load32(&c->releases) - 1; /* fixed before ACTIVE (JOIN) */
    if (table >= segment->geometry.releases_max) {
        return released;
    }
    const _Atomic uint64_t *words = segment->releases + (uint64_t)table * slr_slots(segment);
    for (uint64_t i = 0; i < slr_slots(segment); i++) {
        if (slr_load64_acquire(&words[slr_index(segment, released)]) !=
            slr_release_word(segment, cell, slr_cell_generation(word), released)) { /* RELEASE */
            break;
        }
        released++;
    }
    return released;
}

/* What a member leaves in the words of others. Repeatable: words carry {cell, generation}. */
static void undo(struct slipring_ring *ring, uint32_t cell, uint64_t word, uint32_t cause)
{
    const struct slr_segment *segment = &ring->segment;
    const uint32_t generation = slr_cell_generation(word);
    const uint32_t group = slr_cell_group(word);
    if (slr_cell_kind(word) == SLR_KIND_READER) {
        slr_hold_drop_all(segment, cell, generation);
        return;
    }
    if (group >= slr_groups_total(segment)) {
        return;
    }
    if (slr_group_many(segment, group)) {
        slr_lease_return_all(segment, group, cell, generation, cause);
    } else if (slr_group_lasting(segment, group)) {
        /* The next member goes on where this one stopped. The value is this member's only if the
         * cell is still its own after the load: who has it next stores its word first. */
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
