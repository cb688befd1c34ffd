/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: when all members of a group were killed, whoever joins it next finds the old group ended
 * and begins a new one, always: it never gets what the dead one held or left unread, its options
 * are free to differ, and what was left is not held against the producer.
 */
#include "proc.h"

enum { TRIALS = 12 };

struct story {
    const struct proc_ring *how;
    struct slipring_ring *ring;
    bool many;
};

static struct slipring_consumer *join_latest(const struct story *story, bool many)
{
    struct slipring_consumer_config config;
    struct slipring_consumer *consumer;
    struct slipring_error error = {0};
    slipring_consumer_config_init(&config);
    config.group = "work";
    config.flags = many ? SLIPRING_MANY : story->how->member_flags;
    config.start = SLIPRING_LATEST;
    if (slipring_consumer_attach(story->ring, &config, &consumer, &error) != 0) {
        FAIL("join: %d %s", error.code, error.text);
    }
    return consumer;
}

static int member(struct proc *self, void *context)
{
    const struct story *story = context;
    struct slipring_consumer *consumer = join_latest(story, story->many);
    struct slipring_view view;
    proc_tell(self, 0);
    proc_hear(self);
    CHECK_EQ(slipring_consumer_try_acquire(consumer, 1, &view), 0);
    proc_tell(self, view.slot.sequence);
    proc_sleep();
}

static void run(const struct proc_ring *how, bool many)
{
    struct story story = {how, proc_make(how, 0), many};
    struct slipring_producer *producer = proc_producer(story.ring);
    uint64_t sequence = 0;
    const uint64_t slots = proc_info(story.ring).slots;
    for (int trial = 0; trial < TRIALS; trial++) {
        struct proc a = proc_start(member, &story);
        proc_hear(&a);
        struct proc b = {0};
        if (many) {
            b = proc_start(member, &story);
            proc_hear(&b);
        }
        CHECK_EQ(proc_publish(producer, how, 4, 0), 0);
        sequence += 4;
        proc_tell(&a, 0);
        proc_hear(&a);
        if (many) {
            proc_tell(&b, 0);
            proc_hear(&b);
            proc_kill(&b);
        }
        proc_kill(&a);

        struct slipring_view view;
        struct slipring_consumer *fresh = join_latest(&story, trial % 2 != 0 ? many : !many);
        CHECK_EQ(slipring_consumer_try_acquire(fresh, 1, &view), -EAGAIN);
        CHECK_EQ(proc_info(story.ring).members, 1);
        CHECK_EQ(proc_publish(producer, how, 1, 0), 0);
        CHECK_EQ(proc_take(fresh, how, &view, 0), 0);
        CHECK_EQ(view.slot.sequence, sequence);
        CHECK_EQ(view.slot.deliveries, 1);
        CHECK_EQ(view.missed, 0);
        sequence++;
        CHECK_EQ(proc_fill(producer, how), slots);
        sequence += slots;
        slipring_consumer_detach(fresh);
    }
    slipring_producer_detach(producer);
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
