/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: whatever a hostile member has written into control, looking at the ring ends, makes no
 * fault, and tells nothing that cannot be: no more members, groups and letters than there is room
 * for, no lag or loss beyond what was published, no name that is torn or drives a terminal.
 * Faults: E2.
 */
#define _GNU_SOURCE
#include "proc.h"

#include "ring/group.h"
#include "ring/handle.h"
#include "ring/members.h"

#define START (UINT64_MAX - 9)
#define PUBLISHED 12u /* past the wrap of sequences */
#define ROUNDS 300

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

static struct slipring_ring *make(uint32_t full)
{
    struct slipring_config config;
    slipring_config_init(&config);
    config.slots = 16;
    config.slot_bytes = 4096;
    config.full = full;
    config.start_sequence = START;
    config.members_max = 64;
    config.groups_max = 4;
    return proc_create(&config);
}

static void check_bounds(struct slipring_ring *ring)
{
    const uint64_t slots = ring->segment.geometry.slots;
    const int there = look_members(ring);
    CHECK(there >= 0 && there <= 64);
    for (int i = 0; i < there; i++) {
        CHECK(members[i].lag <= PUBLISHED && members[i].held <= 4 * slots);
        CHECK(members[i].missed <= PUBLISHED + slots);
        CHECK(strnlen(members[i].group, sizeof(members[i].group)) < sizeof(members[i].group));
        CHECK(strpbrk(members[i].group, "\033\n\r\177") == NULL);
    }
    const int known = look_groups(ring);
    CHECK(known >= 0 && known <= 64 + 4);
    for (int i = 0; i < known; i++) {
        CHECK(groups[i].lag <= PUBLISHED && groups[i].members <= 64);
        CHECK(strnlen(groups[i].name, sizeof(groups[i].name)) < sizeof(groups[i].name));
    }
    const int dead = slipring_ring_dead_letters(ring, letters, SLR_DEAD_LETTERS);
    CHECK(dead >= 0 && dead <= (int)SLR_DEAD_LETTERS);
    CHECK_EQ(proc_info(ring).cursor, START + PUBLISHED);
    CHECK(proc_info(ring).members <= 64);
}

/* A value that code may stumble over: all ones, small, near the cursor, a plausible word. */
static uint64_t hostile(uint64_t *seed)
{
    const uint64_t value = proc_random(seed);
    switch (value & 7) {
    case 0:
        return UINT64_MAX;
    case 1:
        return START + (value >> 60);
    case 2:
        return value >> 56;
    case 3:
        return slr_cell_word((uint32_t)(value >> 40), (uint32_t)(value >> 20) & 0xffff,
                             (uint32_t)(value >> 8) & 3, (uint32_t)(value >> 12) & 3);
    case 4:
        return slr_group_word((uint32_t)(value >> 32), 0, SLR_GROUP_LIVE);
    case 5:
        return slr_lease((uint32_t)(value >> 52) & 127, (uint32_t)(value >> 8) & 3,
                         (START + ((value >> 16) & 15)) >> 4 & 0xfffffff, SLR_LEASE_TAKEN, 1);
    case 6:
        return UINT64_C(1) << (value >> 58);
    default:
        return value;
    }
}

static void scribbled(uint32_t full)
{
    uint64_t seed = proc_seed();
    struct slipring_ring *ring = make(full);
    struct slipring_producer *producer = proc_producer(ring);
    for (unsigned i = 0; i < PUBLISHED; i++) {
        struct slipring_loan loan;
        CHECK_OK(slipring_producer_try_claim(producer, 1, &loan));
        CHECK_OK(slipring_producer_publish(producer, 1, NULL));
    }
    slipring_producer_detach(producer);
    uint8_t *control = (uint8_t *)ring->segment.control;
    const uint64_t first = offsetof(struct slr_control, consumers_waiting);
    const uint64_t bytes = ring->segment.geometry.control_bytes;
    for (int round = 0; round < ROUNDS; round++) {
        const uint64_t step = 8 * (1 + round % 5);
        for (uint64_t at = first; at + 8 <= bytes; at += step) {
            const uint64_t value = hostile(&seed);
            memcpy(control + at, &value, 8);
        }
        check_bounds(ring);
    }
    memset(control + first, 0xff, bytes - first);
    check_bounds(ring);
    slipring_ring_close(ring);
}

int main(void)
{
    proc_begin(50);
    scribbled(SLIPRING_BLOCK);
    scribbled(SLIPRING_OVERWRITE);
    return 0;
}
