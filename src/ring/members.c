/* SPDX-License-Identifier: Apache-2.0 */
#include "ring/members.h"

#include "base/sequence.h"
#include "ring/recover.h"

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
