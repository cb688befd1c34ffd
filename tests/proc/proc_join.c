/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: a consumer that joins while the producer publishes at full speed is never overrun: its
 * first message and all after it come whole and in sequence, wherever it starts; in `overwrite`
 * every gap is told exactly. And who joins an idle ring at `oldest` that nobody held back finds at
 * least seven eighths of the last lap, not nothing.
 */
#include "proc.h"

enum { RUN_MS = 350 };

struct story {
    const struct proc_ring *how;
    struct slipring_ring *ring;
};

static int source(struct proc *self, void *context)
{
    const struct story *story = context;
    struct slipring_producer *producer = proc_producer(story->ring);
    proc_tell(self, 0);
    for (uint64_t i = 0;; i++) {
        const int code = proc_publish(producer, story->how, 1 + i % 3, proc_in_ms(10000));
        CHECK_EQ(code, 0);
    }
}

static struct slipring_consumer *join(const struct story *story, uint64_t trial)
{
    struct slipring_consumer_config config;
    struct slipring_consumer *consumer;
    slipring_consumer_config_init(&config);
    config.flags = story->how->member_flags;
    config.start = (uint32_t)(trial % 3);
    config.sequence = proc_info(story->ring).cursor;
    if (trial % 7 == 0 && story->how->full == SLIPRING_BLOCK) {
        config.group = "work";
        config.flags = SLIPRING_MANY;
    }
    CHECK_EQ(slipring_consumer_attach(story->ring, &config, &consumer, NULL), 0);
    return consumer;
}

static void busy(const struct proc_ring *how)
{
    struct story story = {how, proc_make(how, 0)};
    struct proc child = proc_start(source, &story);
    proc_hear(&child);
    const uint64_t slots = proc_info(story.ring).slots;
    const int64_t end = proc_in_ms(RUN_MS);
    uint64_t trials = 0, messages = 0;
    for (; slipring_now_ns() < end; trials++) {
        struct slipring_consumer *consumer = join(&story, trials);
        struct slipring_view view;
        uint64_t next = 0;
        for (uint64_t i = 0; i < 2 * slots; i++) {
            CHECK_EQ(proc_take(consumer, how, &view, proc_in_ms(10000)), 0);
            /* What it holds is passed over, which is neither a message nor a loss. */
            const uint64_t passed = i == 0 ? 0 : view.slot.sequence - next - view.missed;
            CHECK(passed == 0 || (how->geometry == SLIPRING_GEOMETRY_TENSOR &&
                                  how->full == SLIPRING_OVERWRITE && (int64_t)passed > 0));
            CHECK(how->full == SLIPRING_OVERWRITE || i == 0 || view.missed == 0);
            next = view.slot.sequence + 1;
            messages++;
        }
        slipring_consumer_detach(consumer);
    }
    proc_kill(&child);
    printf("%s: %llu joins, %llu messages\n", how->name, (unsigned long long)trials,
           (unsigned long long)messages);
    CHECK(trials > 3);
    slipring_ring_close(story.ring);
}

static void idle(const struct proc_ring *how)
{
    struct slipring_ring *ring = proc_make(how, 0);
    struct slipring_producer *producer = proc_producer(ring);
    const uint64_t slots = proc_info(ring).slots;
    for (uint64_t i = 0; i < 3 * slots + 5; i++) {
        CHECK_EQ(proc_publish(producer, how, 1, 0), 0);
        const struct slipring_info info = proc_info(ring);
        CHECK_EQ(info.cursor, i + 1);
        CHECK(info.limit - info.cursor <= slots / 8 + 1);
        struct slipring_consumer *consumer = proc_consumer(ring, how, SLIPRING_OLDEST);
        struct slipring_stats stats = {.struct_size = sizeof(stats)};
        CHECK_EQ(slipring_consumer_stats(consumer, &stats), 0);
        CHECK_EQ(stats.lag, slipring_consumer_lag(consumer));
        const uint64_t least = slots - slots / 8 - 1;
        CHECK(stats.lag >= (i + 1 < least ? i + 1 : least));
        if (i % 16 == 0) {
            uint64_t next = stats.next, count = 0;
            CHECK_EQ(proc_drain(consumer, how, &next, &count), -EAGAIN);
            CHECK_EQ(count, stats.lag);
            CHECK_EQ(next, i + 1);
        }
        slipring_consumer_detach(consumer);
    }
    slipring_producer_detach(producer);
    slipring_ring_close(ring);
}

int main(void)
{
    proc_begin(120);
    for (unsigned i = 0; i < PROC_RINGS; i++) {
        busy(&proc_rings[i]);
        idle(&proc_rings[i]);
    }
    return 0;
}
