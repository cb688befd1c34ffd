/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: what is told of a ring is so: states of its producer, positions across the wrap of
 * sequences, lag, held slots, names, policies, dead letters; wrong arguments are refused.
 */
#define _GNU_SOURCE
#include "proc.h"

#include "base/sequence.h"
#include "ring/handle.h"

#define START (UINT64_MAX - 9)

enum { ROOM = 80 };

static struct slipring_member members[ROOM];
static struct slipring_group_info groups[ROOM];
static struct slipring_dead_letter letters[SLR_DEAD_LETTERS];

static int look_members(struct slipring_ring *ring)
{
    members[0].struct_size = sizeof(members[0]);
    return slipring_ring_members(ring, members, ROOM);
}

static int look_groups(struct slipring_ring *ring)
{
    groups[0].struct_size = sizeof(groups[0]);
    return slipring_ring_groups(ring, groups, ROOM);
}

static void publish(struct slipring_producer *producer, uint64_t count)
{
    struct slipring_loan loan;
    for (uint64_t i = 0; i < count; i++) {
        CHECK_OK(slipring_producer_try_claim(producer, 1, &loan));
        CHECK_OK(slipring_producer_publish(producer, 1, NULL));
    }
}

static struct slipring_ring *make(uint32_t full, uint64_t start)
{
    struct slipring_config config;
    slipring_config_init(&config);
    config.slots = 16;
    config.slot_bytes = 4096;
    config.full = full;
    config.start_sequence = start;
    config.members_max = 64;
    config.groups_max = 4;
    return proc_create(&config);
}

static int produce_and_sleep(struct proc *self, void *context)
{
    struct slipring_producer *producer = proc_producer(context);
    publish(producer, 2);
    proc_tell(self, 1);
    proc_sleep();
}

static void producer_states(void)
{
    struct slipring_ring *ring = make(SLIPRING_BLOCK, START);
    CHECK_EQ(proc_info(ring).producer, SLIPRING_PRODUCER_NONE);
    CHECK_EQ(proc_info(ring).cursor, START);
    CHECK_EQ(proc_info(ring).oldest, START);
    struct proc child = proc_start(produce_and_sleep, ring);
    CHECK_EQ(proc_hear(&child), 1);
    CHECK_EQ(proc_info(ring).producer, SLIPRING_PRODUCER_LIVE);
    CHECK_EQ(proc_info(ring).producer_pid, child.pid);
    CHECK_EQ(proc_info(ring).epoch, 1);
    proc_kill(&child);
    CHECK_EQ(proc_info(ring).producer, SLIPRING_PRODUCER_DEAD);
    CHECK_EQ(proc_info(ring).cursor, START + 2);
    struct slipring_producer *producer = proc_producer(ring);
    CHECK_EQ(proc_info(ring).producer, SLIPRING_PRODUCER_LIVE);
    CHECK_EQ(proc_info(ring).epoch, 2);
    slipring_producer_detach(producer);
    CHECK_EQ(proc_info(ring).producer, SLIPRING_PRODUCER_NONE);
    slipring_producer_close(proc_producer(ring));
    CHECK_EQ(proc_info(ring).producer, SLIPRING_PRODUCER_CLOSED);
    CHECK_EQ(proc_info(ring).producer_pid, 0);
    slipring_ring_close(ring);
}

static void arguments(void)
{
    struct slipring_ring *ring = make(SLIPRING_BLOCK, 0);
    struct slipring_info info = {.struct_size = 8};
    struct slipring_field field;
    uint64_t offset = 1;
    CHECK_EQ(slipring_ring_info(ring, &info), -EINVAL);
    CHECK_EQ(proc_info(ring).oldest, 0);
    CHECK_OK(slipring_ring_field(ring, 0, &field, &offset));
    CHECK_STR(field.name, "data");
    CHECK_EQ(field.shape[0], 4096);
    CHECK_EQ(offset, 0);
    CHECK_EQ(slipring_ring_field(ring, 1, &field, NULL), -EINVAL);
    members[0].struct_size = 1;
    groups[0].struct_size = 1;
    CHECK_EQ(slipring_ring_members(ring, members, 1), -EINVAL);
    CHECK_EQ(slipring_ring_groups(ring, groups, 1), -EINVAL);
    CHECK_EQ(slipring_ring_members(ring, NULL, 0), 0);
    CHECK_EQ(slipring_ring_groups(ring, NULL, 0), 0);
    CHECK_EQ(slipring_ring_dead_letters(ring, NULL, 0), 0);
    slipring_ring_close(ring);
}

static void members_and_groups(void)
{
    struct slipring_ring *ring = make(SLIPRING_BLOCK, START);
    struct slipring_producer *producer = proc_producer(ring);
    struct slipring_consumer *one = proc_member(ring, "one", 0, 0);
    struct slipring_consumer *many = proc_member(ring, "gro\033\xc3\x9f\xff", SLIPRING_MANY, 250);
    struct slipring_consumer *other = proc_member(ring, "gro\033\xc3\x9f\xff", SLIPRING_MANY, 250);
    struct slipring_view view;
    publish(producer, 12); /* past the wrap of sequences */
    CHECK_EQ(proc_info(ring).cursor, 2);
    CHECK_EQ(proc_info(ring).oldest, proc_info(ring).limit - 16);
    CHECK_EQ(proc_info(ring).members, 3);
    CHECK_OK(slipring_consumer_try_acquire(one, 5, &view));
    CHECK_OK(slipring_consumer_release(one, &view));
    CHECK_OK(slipring_consumer_try_acquire(many, 3, &view));
    const uint64_t held = view.slots;
    CHECK_EQ(look_members(ring), 3);
    CHECK_EQ(members[0].lag, 7);
    CHECK_EQ(members[0].alive, 1);
    CHECK_EQ(members[0].state, SLR_CELL_ACTIVE);
    CHECK_EQ(members[0].pid, getpid());
    CHECK_STR(members[0].group, "one");
    CHECK_EQ(members[1].held, held);
    CHECK_EQ(members[1].lag, 12);
    CHECK_STR(members[1].group, "gro?\xc3\x9f?"); /* the control character and the stray byte */
    CHECK_EQ(members[2].held, 0);
    CHECK_EQ(slipring_ring_members(ring, members, 1), 3);
    CHECK_EQ(look_groups(ring), 2);
    const int g = groups[0].flags == SLIPRING_MANY ? 0 : 1;
    CHECK_EQ(groups[g].members, 2);
    CHECK_EQ(groups[g].slow, SLIPRING_EVICT);
    CHECK_EQ(groups[g].evict_after_ns, 250 * PROC_MS);
    CHECK_EQ(groups[g].lag, 12);
    CHECK_EQ(groups[1 - g].lag, 7);
    CHECK_EQ(groups[1 - g].flags, 0);
    slipring_consumer_detach(other);
    slipring_consumer_detach(many);
    slipring_consumer_detach(one);
    slipring_producer_detach(producer);
    slipring_ring_close(ring);
}

static void holds(void)
{
    struct slipring_ring *ring = make(SLIPRING_OVERWRITE, START);
    struct slipring_producer *producer = proc_producer(ring);
    struct slipring_consumer *reader = proc_member(ring, NULL, 0, 0);
    struct slipring_view view;
    publish(producer, 3);
    CHECK_OK(slipring_consumer_try_acquire(reader, 1, &view));
    CHECK_EQ(look_members(ring), 1);
    CHECK_EQ(members[0].held, 1);
    CHECK_OK(slipring_consumer_release(reader, &view));
    CHECK_EQ(look_members(ring), 1);
    CHECK_EQ(members[0].held, 0);
    slipring_consumer_detach(reader);
    slipring_producer_detach(producer);
    slipring_ring_close(ring);
}

static void dead_letters(void)
{
    struct slipring_ring *ring = make(SLIPRING_BLOCK, START);
    struct slr_control *control = ring->segment.control;
    for (uint64_t number = 1; number <= 100; number++) {
        struct slr_dead_letter *letter = &control->letters[(number - 1) % SLR_DEAD_LETTERS];
        slr_store64(&letter->sequence, 1000 + number);
        slr_store32(&letter->group, UINT32_MAX);
        slr_store32(&letter->cause, number == 99 ? 7 : 2);
        slr_store64(&letter->number, number == 98 ? 0 : number); /* 98: its writer was killed */
    }
    CHECK_EQ(slipring_ring_dead_letters(ring, letters, 3), SLR_DEAD_LETTERS - 1);
    CHECK_EQ(letters[0].sequence, 1100);
    CHECK_EQ(letters[0].cause, 2);
    CHECK_STR(letters[0].group, "");
    CHECK_EQ(letters[1].sequence, 1099);
    CHECK_EQ(letters[1].cause, 0);
    CHECK_EQ(letters[2].sequence, 1097);
    slipring_ring_close(ring);
}

int main(void)
{
    proc_begin(50);
    arguments();
    producer_states();
    members_and_groups();
    holds();
    dead_letters();
    return 0;
}
