/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: the first member fixes a group's options and others are refused; a second member of a
 * group of one gets -EBUSY, also under another handle; a group of many shares the messages out,
 * each to one member; it ends with its last member; what an evicted member of a group of one did
 * not get is counted; tables that are used up are -EUSERS with the name of what to raise; who is
 * kept from joining by a stopped process is told so.
 */
#define _GNU_SOURCE
#include "ring/layout.h"
#include "proc.h"

#include <fcntl.h>

static int attach(struct slipring_ring *ring, const struct slipring_consumer_config *config,
                  struct slipring_consumer **consumer)
{
    struct slipring_error error = {0};
    struct slipring_consumer *result = NULL;
    const int code = slipring_consumer_attach(ring, config, &result, &error);
    CHECK_EQ(error.code, code);
    CHECK(code == 0 ? result != NULL : result == NULL && error.text[0] != '\0');
    *consumer = result;
    return code;
}

static int refuse(struct slipring_ring *ring, const struct slipring_consumer_config *config)
{
    struct slipring_consumer *none;
    return attach(ring, config, &none);
}

static void options(const struct proc_ring *how)
{
    struct slipring_ring *ring = proc_make(how, 0);
    struct slipring_consumer_config config, other;
    struct slipring_consumer *first, *second;
    slipring_consumer_config_init(&config);
    config.group = "work";
    config.flags = SLIPRING_MANY;
    CHECK_EQ(attach(ring, &config, &first), 0);
    other = config;
    other.flags = 0;
    CHECK_EQ(refuse(ring, &other), -EINVAL);
    other = config;
    other.slow = SLIPRING_EVICT;
    other.evict_after_ns = 1000000;
    CHECK_EQ(refuse(ring, &other), -EINVAL);
    CHECK_EQ(attach(ring, &config, &second), 0);
    CHECK_EQ(proc_info(ring).members, 2);
    slipring_consumer_detach(first);
    CHECK_EQ(refuse(ring, &other), -EINVAL); /* the group lives on */
    slipring_consumer_detach(second);
    CHECK_EQ(attach(ring, &other, &first), 0); /* it ended */
    slipring_consumer_detach(first);

    config.group = "alone";
    config.flags = how->member_flags;
    CHECK_EQ(attach(ring, &config, &first), 0);
    CHECK_EQ(refuse(ring, &config), -EBUSY);
    other = config;
    other.flags |= SLIPRING_MANY;
    other.flags &= ~(uint32_t)SLIPRING_UNORDERED;
    CHECK_EQ(refuse(ring, &other), -EINVAL);
    slipring_consumer_detach(first);
    CHECK_EQ(proc_info(ring).members, 0);
    slipring_ring_close(ring);
}

static void sharing(const struct proc_ring *how)
{
    struct slipring_ring *ring = proc_make(how, 0);
    struct slipring_producer *producer = proc_producer(ring);
    struct slipring_consumer *members[3];
    for (unsigned m = 0; m < 3; m++) {
        members[m] = proc_member(ring, "work", SLIPRING_MANY, 0);
    }
    const uint64_t slots = proc_info(ring).slots;
    struct slipring_view view, views[3];
    for (uint64_t round = 0; round < 4; round++) {
        const uint64_t base = round * 2 * slots;
        CHECK_EQ(proc_fill(producer, how), slots);
        for (unsigned m = 0; m < 3; m++) {
            CHECK_EQ(slipring_consumer_try_acquire(members[m], 1 + m, &views[m]), 0);
            CHECK_EQ(views[m].slots, 1 + m);
            CHECK_EQ(views[m].slot.sequence, base + m * (m + 1) / 2);
            CHECK_EQ(views[m].slot.deliveries, 1);
            CHECK(proc_view_whole(how, &views[m]));
        }
        CHECK(slipring_consumer_release(members[0], &views[1]) != 0); /* not its own */
        for (unsigned m = 3; m-- > 0;) {
            CHECK_EQ(slipring_consumer_release(members[m], &views[m]), 0);
            CHECK_EQ(proc_fill(producer, how), m == 0 ? 6 : 0);
        }
        for (uint64_t i = 6; i < slots + 6; i++) {
            CHECK_EQ(proc_take(members[i % 3], how, &view, 0), 0);
            CHECK_EQ(view.slot.sequence, base + i);
        }
        for (uint64_t i = 6; i < slots; i++) {
            CHECK_EQ(proc_publish(producer, how, 1, 0), 0);
            CHECK_EQ(proc_take(members[0], how, &view, 0), 0);
        }
    }
    struct slipring_group_info group = {.struct_size = sizeof(group)};
    CHECK_EQ(slipring_ring_groups(ring, &group, 1), 1);
    CHECK_STR(group.name, "work");
    CHECK_EQ(group.flags, SLIPRING_MANY);
    CHECK_EQ(group.members, 3);
    CHECK_EQ(group.position, proc_info(ring).cursor);
    CHECK_EQ(group.lag + group.dropped + group.redelivered + group.lasting, 0);
    for (unsigned m = 0; m < 3; m++) {
        slipring_consumer_detach(members[m]);
    }
    CHECK_EQ(slipring_ring_groups(ring, &group, 1), 0);
    slipring_producer_detach(producer);
    slipring_ring_close(ring);
}

static void evicted(const struct proc_ring *how)
{
    struct slipring_ring *ring = proc_make(how, 0);
    struct slipring_producer *producer = proc_producer(ring);
    struct slipring_consumer *slow = proc_member(ring, "slow", how->member_flags, 1);
    struct slipring_view view;
    CHECK_EQ(proc_publish(producer, how, 1, 0), 0);
    CHECK_EQ(proc_take(slow, how, &view, 0), 0);
    const uint64_t unread = proc_fill(producer, how);
    CHECK_EQ(proc_publish(producer, how, 1, proc_in_ms(10000)), 0);
    struct slipring_group_info group = {.struct_size = sizeof(group)};
    CHECK_EQ(slipring_ring_groups(ring, &group, 1), 1);
    CHECK_EQ(group.dropped, unread);
    CHECK_EQ(slipring_consumer_try_acquire(slow, 1, &view), -ESTALE);
    slipring_consumer_detach(slow);
    slipring_producer_detach(producer);
    slipring_ring_close(ring);
}

static void used_up(const struct proc_ring *how)
{
    struct slipring_config config;
    proc_config(how, &config);
    config.members_max = 5;
    config.groups_max = 1;
    config.releases_max = 1;
    struct slipring_ring *ring = proc_create(&config);
    struct slipring_consumer *many = proc_member(ring, "a", SLIPRING_MANY, 0);
    struct slipring_consumer *unordered = proc_member(ring, NULL, SLIPRING_UNORDERED, 0);
    struct slipring_consumer_config wanted;
    struct slipring_consumer *consumer[3];
    slipring_consumer_config_init(&wanted);
    wanted.group = "b";
    wanted.flags = SLIPRING_MANY;
    CHECK_EQ(refuse(ring, &wanted), -EUSERS);
    wanted.group = NULL;
    wanted.flags = SLIPRING_UNORDERED;
    CHECK_EQ(refuse(ring, &wanted), -EUSERS);
    wanted.flags = 0;
    for (unsigned i = 0; i < 3; i++) {
        CHECK_EQ(attach(ring, &wanted, &consumer[i]), 0);
    }
    CHECK_EQ(refuse(ring, &wanted), -EUSERS);
    for (unsigned i = 0; i < 3; i++) {
        slipring_consumer_detach(consumer[i]);
    }
    slipring_consumer_detach(unordered);
    slipring_consumer_detach(many);
    many = proc_member(ring, "b", SLIPRING_MANY, 0);
    unordered = proc_member(ring, NULL, SLIPRING_UNORDERED, 0);
    slipring_consumer_detach(unordered);
    slipring_consumer_detach(many);
    slipring_ring_close(ring);
}

/* As if another process were stopped in the middle of joining. */
static void stopped_joiner(const struct proc_ring *how)
{
    struct slipring_ring *ring = proc_make(how, 0);
    struct slipring_consumer_config config;
    struct slipring_consumer *consumer = NULL;
    struct slipring_error error = {0};
    int data_fd, control_fd;
    char path[64];
    slipring_ring_fds(ring, &data_fd, &control_fd);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", control_fd);
    const int other = open(path, O_RDWR | O_CLOEXEC);
    struct flock lock = {.l_type = F_WRLCK, .l_start = SLR_LOCK_JOIN, .l_len = 1};
    CHECK(other >= 0 && fcntl(other, F_OFD_SETLK, &lock) == 0);
    slipring_consumer_config_init(&config);
    CHECK_EQ(attach(ring, &config, &consumer), 0); /* without a name nothing is in the way */
    slipring_consumer_detach(consumer);
    config.group = "work";
    CHECK_EQ(slipring_consumer_attach(ring, &config, &consumer, &error), -EBUSY);
    CHECK(strstr(error.text, "stopped") != NULL);
    CHECK_EQ(proc_info(ring).members, 0);
    close(other);
    CHECK_EQ(attach(ring, &config, &consumer), 0);
    slipring_consumer_detach(consumer);
    slipring_ring_close(ring);
}

int main(void)
{
    proc_begin(30);
    for (unsigned i = 0; i < PROC_RINGS; i++) {
        if (proc_rings[i].full == SLIPRING_BLOCK) {
            options(&proc_rings[i]);
            evicted(&proc_rings[i]);
        }
        if (i % 3 == 0) {
            sharing(&proc_rings[i]);
            used_up(&proc_rings[i]);
        }
    }
    stopped_joiner(&proc_rings[0]);
    return 0;
}
