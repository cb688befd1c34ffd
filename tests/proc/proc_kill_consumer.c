/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: a consumer that holds the producer back and is killed with -9 holds it back no longer,
 * in every block ring, for a lone consumer (ordered and unordered) and the only member of a group
 * of many, whether the producer waits in claim or only loops over try_claim; a live one does.
 * Faults: A4.
 */
#include "proc.h"

struct story {
    const struct proc_ring *how;
    struct slipring_ring *ring;
    bool many;
};

static int consumer(struct proc *self, void *context)
{
    const struct story *story = context;
    struct slipring_consumer *reader =
        story->many ? proc_member(story->ring, "work", SLIPRING_MANY, 0)
                    : proc_consumer(story->ring, story->how, SLIPRING_OLDEST);
    struct slipring_view view;
    proc_tell(self, 0);
    CHECK_EQ(slipring_consumer_acquire(reader, 2, &view, proc_in_ms(10000)), 0);
    CHECK(proc_view_whole(story->how, &view));
    proc_tell(self, view.slots);
    proc_sleep();
}

static void run(const struct story *story, bool try_only)
{
    const struct proc_ring *how = story->how;
    struct slipring_producer *producer = proc_producer(story->ring);
    struct proc child = proc_start(consumer, (void *)story);
    proc_hear(&child);
    CHECK_EQ(proc_publish(producer, how, 2, 0), 0);
    proc_hear(&child);
    CHECK_EQ(2 + proc_fill(producer, how), proc_info(story->ring).slots);
    CHECK_EQ(proc_publish(producer, how, 1, proc_in_ms(60)), -ETIMEDOUT);
    CHECK_EQ(proc_info(story->ring).members, 1);

    proc_kill(&child);
    const int64_t begin = slipring_now_ns();
    if (try_only) {
        int code;
        do {
            code = proc_publish(producer, how, 1, 0);
        } while (code == -EAGAIN && slipring_now_ns() - begin < PROC_GO_ON_MS * PROC_MS);
        CHECK_EQ(code, 0);
    } else {
        CHECK_EQ(proc_publish(producer, how, 1, begin + PROC_GO_ON_MS * PROC_MS), 0);
    }
    CHECK_EQ(proc_info(story->ring).members, 0);
    for (uint64_t i = 0; i < 3 * proc_info(story->ring).slots; i++) {
        CHECK_EQ(proc_publish(producer, how, 1, 0), 0);
    }
    slipring_producer_detach(producer);
}

int main(void)
{
    proc_begin(60);
    for (unsigned i = 0; i < PROC_RINGS; i++) {
        if (proc_rings[i].full == SLIPRING_OVERWRITE) {
            continue;
        }
        for (unsigned variant = 0; variant < 4; variant++) {
            const bool many = (variant & 1) != 0;
            if (many && proc_rings[i].member_flags != 0) {
                continue;
            }
            struct story story = {&proc_rings[i], proc_make(&proc_rings[i], 0), many};
            run(&story, (variant & 2) != 0);
            slipring_ring_close(story.ring);
        }
    }
    return 0;
}
