/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: what a scribble has broken, and what survivors can tell to be nobody's, is put right by
 * whoever meets it, when the scribbling has ended: cells, groups and holds of nobody are used again,
 * hints that lead away from a message do not keep it from who polls or waits, and who continues in a
 * lasting group is not led beyond what can be published.
 * Faults: E2.
 */
#include "ring/group.h"
#include "ring/handle.h"
#include "ring/members.h"
#include "hostile.h"

#include <poll.h>

static const struct stress block = {
    .geometry = SLIPRING_GEOMETRY_PAIR, .bytes = 128, .slots = 32, .tables = 2};
static const struct stress lasting = {
    .geometry = SLIPRING_GEOMETRY_PAIR, .bytes = 128, .slots = 32, .visitors = 1};
static const struct stress overwrite = {
    .geometry = SLIPRING_GEOMETRY_TENSOR, .full = SLIPRING_OVERWRITE, .bytes = 512, .slots = 8};

static void publish(const struct stress *how, struct slipring_producer *producer)
{
    uint64_t random = 1, messages;
    CHECK_EQ(stress_publish(how, producer, &random, proc_in_ms(1000), &messages), 0);
}

/* Cells, groups and holds with every value that a word can have in its lowest and highest bits. */
static void nobody_is_there(const struct stress *how)
{
    struct slipring_ring *ring = stress_create(how);
    struct slr_segment *segment = &ring->segment;
    struct slipring_consumer *consumers[64];
    const struct slipring_info info = proc_info(ring);
    CHECK(info.members_max <= 64);
    for (uint64_t low = 0; low < 256; low += 15) {
        for (uint32_t i = 0; i < info.members_max; i++) {
            atomic_store(&segment->cells[i].word, UINT64_C(0xabcd00000000ff00) | low);
            atomic_store(&segment->cells[i].joined_ns, 1); /* RETIRED: long enough */
        }
        for (uint32_t i = 0; i < slr_groups_total(segment); i++) {
            atomic_store(&segment->groups[i].word, UINT64_C(0xabcd000000000000) | low);
        }
        for (uint32_t i = 0; i < info.hold_max; i++) {
            atomic_store(&segment->holds[i], (low % 2 == 0 ? low : ~low) << 52 | i | 1 << 20);
        }
        struct slipring_producer *producer = proc_producer(ring);
        for (uint32_t i = 0; i < 2 * info.slots; i++) {
            publish(how, producer);
        }
        for (uint32_t i = 0; i < info.members_max; i++) {
            const bool many = i < info.groups_max && how->full == SLIPRING_BLOCK;
            char name[16];
            snprintf(name, sizeof(name), "g%u", i);
            consumers[i] = proc_member(ring, many ? name : NULL, many ? SLIPRING_MANY : 0, 0);
        }
        for (uint32_t i = 0; i < info.hold_max; i++) { /* the first finds out that there is room */
            struct slipring_view view;
            const int code = slipring_consumer_try_acquire(consumers[i], 1, &view);
            CHECK(code == 0 || (i == 0 && code == -ENOBUFS));
        }
        for (uint32_t i = 0; i < info.members_max; i++) {
            slipring_consumer_detach(consumers[i]);
        }
        slipring_producer_detach(producer);
    }
    slipring_ring_close(ring);
}

/* The hints of a group of many say that there is nothing, and there is. */
static void hints_lead_away(bool polls)
{
    static const uint64_t away[] = {1, 5, 40, UINT64_C(1) << 40, UINT64_C(1) << 63, UINT64_MAX};
    struct slipring_ring *ring = stress_create(&block);
    struct slipring_producer *producer = proc_producer(ring);
    struct slipring_consumer *consumer = proc_member(ring, "team", SLIPRING_MANY, 0);
    struct slr_group *group = &ring->segment.groups[consumer->group];
    struct slipring_view view;
    for (size_t i = 0; i < sizeof(away) / sizeof(away[0]); i++) {
        struct pollfd ready = {.events = POLLIN};
        if (polls) {
            CHECK_EQ(slipring_consumer_fd(consumer, &ready.fd, NULL), 0);
            CHECK_EQ(slipring_consumer_arm(consumer), 0);
        }
        atomic_store(&group->take, proc_info(ring).cursor + away[i]);
        publish(&block, producer);
        if (polls) {
            CHECK_EQ(poll(&ready, 1, PROC_NOTICE_MS), 1);
        }
        CHECK_EQ(slipring_consumer_acquire(consumer, 1, &view, proc_in_ms(PROC_NOTICE_MS)), 0);
        CHECK_EQ(slipring_consumer_release(consumer, &view), 0);
        atomic_store(&group->take, proc_info(ring).cursor);
    }
    slipring_consumer_detach(consumer);
    slipring_producer_detach(producer);
    slipring_ring_close(ring);
}

/* The position of a lasting group of one leads nowhere: its next member reads all the same. */
static void position_leads_away(void)
{
    static const uint64_t away[] = {100, UINT64_C(1) << 40, UINT64_C(1) << 62};
    struct slipring_ring *ring = stress_create(&lasting);
    struct slr_segment *segment = &ring->segment;
    struct slipring_producer *producer = proc_producer(ring);
    for (size_t i = 0; i < sizeof(away) / sizeof(away[0]); i++) {
        for (int behind = 0; behind < 2; behind++) {
            struct slipring_consumer *consumer = proc_member(ring, "keeper", 0, 2);
            struct slipring_view view;
            const uint32_t group = consumer->group;
            const uint64_t cursor = proc_info(ring).cursor;
            slipring_consumer_detach(consumer);
            atomic_store(&segment->groups[group].position,
                         behind != 0 ? cursor - away[i] : cursor + away[i]);
            consumer = proc_member(ring, "keeper", 0, 2);
            publish(&lasting, producer);
            CHECK_EQ(slipring_consumer_acquire(consumer, 1, &view, proc_in_ms(PROC_NOTICE_MS)), 0);
            CHECK_EQ(slipring_consumer_release(consumer, &view), 0);
            slipring_consumer_detach(consumer);
        }
    }
    slipring_producer_detach(producer);
    slipring_ring_close(ring);
}

int main(void)
{
    proc_begin(60);
    nobody_is_there(&block);
    nobody_is_there(&overwrite);
    hints_lead_away(false);
    hints_lead_away(true);
    position_leads_away();
    return 0;
}
