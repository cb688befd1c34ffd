/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: a group named at creation holds the producer back from the first sequence on, with no
 * member at all; the next member continues where the group stood, also after one was killed; the
 * lasting group of many gives what the dead member held to the next one.
 */
#include "proc.h"

struct story {
    const struct proc_ring *how;
    struct slipring_ring *ring;
    bool many;
};

static struct slipring_ring *make(const struct proc_ring *how, bool many)
{
    struct slipring_group group = {.flags = many ? SLIPRING_MANY : 0};
    struct slipring_config config;
    snprintf(group.name, sizeof(group.name), "recorder");
    proc_config(how, &config);
    config.lasting = &group;
    config.lasting_count = 1;
    return proc_create(&config);
}

static struct slipring_consumer *join(const struct story *story)
{
    /* start is not asked for: a lasting group stands where it stands */
    return proc_member(story->ring, "recorder",
                       story->many ? SLIPRING_MANY : story->how->member_flags, 0);
}

static int member(struct proc *self, void *context)
{
    const struct story *story = context;
    struct slipring_consumer *consumer = join(story);
    struct slipring_view view;
    for (uint64_t i = 0; i < 3; i++) {
        CHECK_EQ(proc_take(consumer, story->how, &view, 0), 0);
        CHECK_EQ(view.slot.sequence, i);
    }
    CHECK_EQ(slipring_consumer_try_acquire(consumer, 1, &view), 0);
    CHECK_EQ(view.slot.sequence, 3);
    proc_tell(self, 0);
    proc_sleep();
}

static void run(const struct proc_ring *how, bool many)
{
    struct story story = {how, make(how, many), many};
    struct slipring_producer *producer = proc_producer(story.ring);
    struct slipring_view view;
    const uint64_t slots = proc_info(story.ring).slots;
    CHECK_EQ(proc_fill(producer, how), slots);
    CHECK_EQ(proc_publish(producer, how, 1, proc_in_ms(100)), -ETIMEDOUT);

    struct proc child = proc_start(member, &story);
    proc_hear(&child);
    proc_kill(&child);
    uint64_t more = 0;
    for (const int64_t end = proc_in_ms(PROC_GO_ON_MS); more < 3 && slipring_now_ns() < end;) {
        more += proc_publish(producer, how, 1, 0) == 0;
    }
    CHECK_EQ(more, 3);
    CHECK_EQ(proc_publish(producer, how, 1, proc_in_ms(100)), -ETIMEDOUT);

    struct slipring_consumer *next = join(&story);
    for (uint64_t i = 0; i < slots; i++) {
        CHECK_EQ(proc_take(next, how, &view, proc_in_ms(1000)), 0);
        CHECK_EQ(view.slot.sequence, 3 + i);
        CHECK_EQ(view.slot.deliveries, many && i == 0 ? 2 : 1);
        CHECK_EQ(view.missed, 0);
    }
    CHECK_EQ(proc_take(next, how, &view, 0), -EAGAIN);
    slipring_consumer_detach(next);
    CHECK_EQ(proc_fill(producer, how), slots);
    CHECK_EQ(proc_publish(producer, how, 1, proc_in_ms(20)), -ETIMEDOUT);
    slipring_producer_close(producer);
    next = join(&story);
    uint64_t at = 3 + slots, count = 0;
    CHECK_EQ(proc_drain(next, how, &at, &count), -EPIPE);
    CHECK_EQ(count, slots);
    slipring_consumer_detach(next);
    slipring_ring_close(story.ring);
}

int main(void)
{
    proc_begin(60);
    for (unsigned i = 0; i < PROC_RINGS; i++) {
        if (proc_rings[i].full == SLIPRING_BLOCK) {
            run(&proc_rings[i], false);
            if (proc_rings[i].member_flags == 0) {
                run(&proc_rings[i], true);
            }
        }
    }
    return 0;
}
