/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves of a group of many, in moments that are rare elsewhere and made by hand here: what was
 * given back at once counts as never delivered, and what came back by a death is delivered alone
 * though fresh messages lie before it; a reaper that died between listing a dead letter and giving
 * it up leaves it listed once; what an earlier owner of a live member's cell took is given back;
 * the group goes past what was passed over; a producer that runs out of patience with a message
 * that nobody has evicts nobody for it; no lease word of an ended group comes again.
 */
#include "ring/recover.h"
#include "proc.h"

#include "ring/group.h"
#include "ring/members.h"
#include "device.h"

static struct slipring_consumer *join(struct slipring_ring *ring)
{
    return proc_member(ring, "work", SLIPRING_MANY, 0);
}

/* Asked for so many, one comes. */
static void acquire(struct slipring_consumer *member, uint64_t slots, uint64_t sequence,
                    uint32_t deliveries, struct slipring_view *view)
{
    CHECK_EQ(slipring_consumer_try_acquire(member, slots, view), 0);
    CHECK_EQ(view->slot.sequence, sequence);
    CHECK_EQ(view->slots, 1);
    CHECK_EQ(view->slot.deliveries, deliveries);
}

static struct slipring_group_info info(struct slipring_ring *ring)
{
    struct slipring_group_info group = {.struct_size = sizeof(group)};
    CHECK_EQ(slipring_ring_groups(ring, &group, 1), 1);
    return group;
}

/* As if `cell` had taken the message in that generation and were in the middle of it. */
static void taken(struct slipring_ring *ring, uint64_t sequence, uint32_t cell, uint32_t generation,
                  uint32_t deliveries)
{
    const struct slr_segment *segment = &ring->segment;
    slr_store64(
        slr_lease_word(segment, 0, sequence),
        slr_lease(cell, generation, slr_lap(segment, sequence), SLR_LEASE_TAKEN, deliveries));
}

static void given_back(const struct proc_ring *how)
{
    struct slipring_ring *ring = proc_make(how, 0);
    struct slipring_producer *producer = proc_producer(ring);
    struct slipring_consumer *undecided = join(ring), *dying = join(ring), *member = join(ring);
    struct slipring_view view;
    uint64_t first, count;
    uint32_t deliveries;
    CHECK_EQ(proc_publish(producer, how, 3, 0), 0);
    CHECK_EQ(slr_lease_take(undecided, 1, &first, &count, &deliveries), 0);
    acquire(dying, 1, 1, 1, &view);
    slr_lease_untake(undecided, first, count, deliveries);
    slipring_consumer_detach(dying);
    acquire(member, 3, 0, 1, &view);
    acquire(member, 3, 1, 2, &view);
    acquire(member, 3, 2, 1, &view);
    slipring_consumer_detach(member);
    slipring_consumer_detach(undecided);
    slipring_producer_detach(producer);
    slipring_ring_close(ring);
}

static void by_the_dead(const struct proc_ring *how)
{
    struct slipring_ring *ring = proc_make(how, 0);
    struct slipring_producer *producer = proc_producer(ring);
    struct slipring_consumer *member = join(ring);
    const uint32_t generation = slr_cell_generation(member->word);
    const uint32_t nobody = member->cell + 1; /* a cell that was never used */
    struct slipring_dead_letter letters[4];
    struct slipring_view first, view;
    CHECK_EQ(proc_publish(producer, how, 3, 0), 0);
    acquire(member, 1, 0, 1, &first); /* so that the group stays here */

    taken(ring, 1, nobody, 1, SLR_DELIVERIES_MAX);
    slr_group_recover(ring, 0);
    taken(ring, 1, nobody, 1, SLR_DELIVERIES_MAX); /* the reaper had not come to its swap */
    slr_group_recover(ring, 0);
    CHECK_EQ(slipring_ring_dead_letters(ring, letters, 4), 1);
    CHECK_EQ(letters[0].sequence, 1);
    CHECK_EQ(info(ring).dead_letters, 1);

    taken(ring, 2, member->cell, generation - 1, 1);
    slr_group_recover(ring, 0);
    acquire(member, 1, 2, 2, &view);
    CHECK_EQ(info(ring).redelivered, 1);
    CHECK_EQ(slipring_consumer_release(member, &view), 0);
    CHECK_EQ(slipring_consumer_release(member, &first), 0);
    CHECK_EQ(info(ring).position, 3);
    slipring_consumer_detach(member);
    slipring_producer_detach(producer);
    slipring_ring_close(ring);
}

static void passed(const struct proc_ring *how)
{
    struct slipring_ring *ring = proc_make(how, 0);
    struct slipring_producer *producer = proc_producer(ring);
    struct slipring_consumer *member = join(ring);
    struct slipring_loan loan;
    struct slipring_view view;
    uint64_t next;
    CHECK_EQ(proc_publish(producer, how, 1, 0), 0);
    CHECK_EQ(slipring_producer_device_begin(producer, &next), 0);
    CHECK_EQ(slipring_producer_device_claim(producer, 1, &loan), 0);
    CHECK_EQ(slipring_producer_device_publish(producer, 1, NULL), 0);
    slipring_producer_device_stamp(producer, next, 1, 0); /* its device never wrote it */
    CHECK_EQ(slipring_producer_device_settle(producer), 1);
    slipring_producer_device_end(producer);
    CHECK_EQ(proc_publish(producer, how, 1, 0), 0);
    acquire(member, 1, 0, 1, &view);
    CHECK_EQ(slipring_consumer_release(member, &view), 0);
    acquire(member, 1, 2, 1, &view);
    CHECK_EQ(slipring_consumer_release(member, &view), 0);
    CHECK_EQ(info(ring).position, 3);
    slipring_consumer_detach(member);
    slipring_producer_detach(producer);
    slipring_ring_close(ring);
}

static void nobody_evicted(const struct proc_ring *how)
{
    struct slipring_ring *ring = proc_make(how, 0);
    struct slipring_producer *producer = proc_producer(ring);
    struct slipring_consumer *leaving = proc_member(ring, "work", SLIPRING_MANY, 1);
    struct slipring_consumer *busy = proc_member(ring, "work", SLIPRING_MANY, 1);
    struct slipring_view view;
    (void)proc_fill(producer, how);
    CHECK_EQ(slipring_consumer_try_acquire(leaving, 1, &view), 0);
    CHECK_EQ(slipring_consumer_try_acquire(busy, 1, &view), 0);
    CHECK_EQ(view.slot.sequence, 1);
    slipring_consumer_detach(leaving);
    CHECK_EQ(proc_publish(producer, how, 1, proc_in_ms(10000)), 0);
    CHECK_EQ(info(ring).dropped, 1);
    CHECK_EQ(slipring_consumer_release(busy, &view), 0);
    slipring_consumer_detach(busy);
    slipring_producer_detach(producer);
    slipring_ring_close(ring);
}

static void ended(const struct proc_ring *how)
{
    struct slipring_ring *ring = proc_make(how, 0);
    struct slipring_consumer *member = join(ring);
    const uint64_t before = slr_load64(slr_lease_word(&ring->segment, 0, 0));
    slipring_consumer_detach(member);
    member = join(ring);
    CHECK(slr_load64(slr_lease_word(&ring->segment, 0, 0)) != before);
    slipring_consumer_detach(member);
    slipring_ring_close(ring);
}

int main(void)
{
    proc_begin(30);
    for (unsigned i = 0; i < PROC_GEOMETRIES; i++) {
        const struct proc_ring *how = &proc_rings[3 * i];
        given_back(how);
        by_the_dead(how);
        nobody_evicted(how);
        ended(how);
        if (how->geometry == SLIPRING_GEOMETRY_TENSOR) {
            passed(how);
        }
    }
    return 0;
}
