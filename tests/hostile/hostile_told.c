/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: in a tensor ring a view that was overwritten, because the word that protected it was
 * scribbled over, is never returned with 0: a gate that was moved on, a cell, a group's position or
 * a lease that was freed, members and groups hidden, a hold or the flag of holds taken away.
 * Faults: E2.
 */
#include "ring/group.h"
#include "ring/handle.h"
#include "ring/members.h"
#include "ring/released.h"
#include "hostile.h"

static const struct stress block = {
    .geometry = SLIPRING_GEOMETRY_TENSOR, .bytes = 512, .slots = 8, .tables = 2};
static const struct stress overwrite = {
    .geometry = SLIPRING_GEOMETRY_TENSOR, .full = SLIPRING_OVERWRITE, .bytes = 512, .slots = 8};

struct story {
    const char *name;
    const struct stress *how;
    const char *group;
    uint32_t flags;
    void (*scribble)(struct slipring_consumer *consumer);
};

static struct slr_cell *cell_of(struct slipring_consumer *consumer)
{
    return &consumer->ring->segment.cells[consumer->cell];
}

static void move_gate(struct slipring_consumer *consumer)
{
    atomic_store(&cell_of(consumer)->released, 1000);
}

static void free_cell(struct slipring_consumer *consumer)
{
    atomic_store(&cell_of(consumer)->word, slr_cell_to(consumer->word, SLR_CELL_FREE));
}

static void hide(struct slipring_consumer *consumer)
{
    hostile_open_gates(consumer->ring);
}

static void move_position(struct slipring_consumer *consumer)
{
    atomic_store(&consumer->ring->segment.groups[consumer->group].position, 1000);
}

static void finish_leases(struct slipring_consumer *consumer)
{
    const struct slr_segment *segment = &consumer->ring->segment;
    for (uint64_t s = 0; s < slr_slots(segment); s++) {
        atomic_store(slr_lease_word(segment, consumer->group, s),
                     slr_lease(0, 0, slr_lap(segment, s), SLR_LEASE_DONE, 1));
    }
    CHECK(slr_group_advance(segment, consumer->group));
}

static void free_group(struct slipring_consumer *consumer)
{
    atomic_store(&consumer->ring->segment.groups[consumer->group].word, 0);
}

static void take_holds(struct slipring_consumer *consumer)
{
    const struct slr_segment *segment = &consumer->ring->segment;
    for (uint32_t i = 0; i < segment->geometry.hold_max; i++) {
        atomic_store(&segment->holds[i], 0);
    }
}

static void lower_flag(struct slipring_consumer *consumer)
{
    atomic_store(&consumer->ring->segment.control->holds_exist, 0);
}

static const struct story stories[] = {
    {"gate moved on", &block, NULL, 0, move_gate},
    {"gate moved on, unordered", &block, NULL, SLIPRING_UNORDERED, move_gate},
    {"gate moved on, group of one", &block, "solo", 0, move_gate},
    {"cell freed", &block, NULL, 0, free_cell},
    {"cell freed, unordered", &block, NULL, SLIPRING_UNORDERED, free_cell},
    {"members hidden", &block, NULL, 0, hide},
    {"members hidden, unordered", &block, NULL, SLIPRING_UNORDERED, hide},
    {"group hidden", &block, "team", SLIPRING_MANY, hide},
    {"position moved on", &block, "team", SLIPRING_MANY, move_position},
    {"leases finished", &block, "team", SLIPRING_MANY, finish_leases},
    {"group freed", &block, "team", SLIPRING_MANY, free_group},
    {"holds taken away", &overwrite, NULL, 0, take_holds},
    {"flag of holds lowered", &overwrite, NULL, 0, lower_flag},
    {"cell of a holder freed", &overwrite, NULL, 0, free_cell},
};

/* Publish up to the lap of the reader's slot, and claim that and write it, and no more. */
static void overwrite_it(const struct stress *how, struct slipring_producer *producer,
                         const struct slipring_view *view)
{
    uint64_t random = 1, messages;
    struct slipring_loan loan;
    for (uint64_t i = 1; i < how->slots; i++) {
        CHECK_EQ(stress_publish(how, producer, &random, proc_in_ms(1000), &messages), 0);
    }
    if (slipring_producer_claim(producer, 1, &loan, proc_in_ms(20)) == 0 &&
        loan.sequence == view->slot.sequence + how->slots) {
        pattern_fill(loan.data, how->bytes, loan.sequence);
    }
}

int main(void)
{
    proc_begin(60);
    unsigned overwritten = 0;
    const size_t count = sizeof(stories) / sizeof(stories[0]);
    for (size_t i = 0; i < count; i++) {
        const struct story *story = &stories[i];
        struct slipring_ring *ring = stress_create(story->how);
        struct slipring_producer *producer = proc_producer(ring);
        struct slipring_consumer *consumer = proc_member(ring, story->group, story->flags, 0);
        struct slipring_view view;
        uint64_t random = 1, messages;
        CHECK_EQ(stress_publish(story->how, producer, &random, 0, &messages), 0);
        CHECK_EQ(slipring_consumer_try_acquire(consumer, 1, &view), 0);
        story->scribble(consumer);
        overwrite_it(story->how, producer, &view);
        const bool whole = stress_whole(story->how, &view);
        const int code = slipring_consumer_release(consumer, &view);
        overwritten += !whole;
        /* Unordered, what lies before the gate counts as returned already. */
        if (!whole && code != -ESTALE && (code != -EINVAL || story->flags != SLIPRING_UNORDERED)) {
            FAIL("%s: overwritten, and the release says %d", story->name, code);
        }
        printf("%s: %s, release %d\n", story->name, whole ? "whole" : "overwritten", code);
        slipring_consumer_detach(consumer);
        slipring_producer_detach(producer);
        slipring_ring_close(ring);
    }
    CHECK(overwritten >= count - 1); /* who frees the cell of a holder takes no hold */
    return 0;
}
