/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: in `overwrite` a reader that was lapped, once or many times, is told exactly how many
 * slots and how many messages it missed, so that seen and missed make up all that was published;
 * a member that was opened read-only in another process learns the same and cannot write; the
 * counts go on over a takeover.
 * Faults: B4.
 */
#define _GNU_SOURCE
#include "proc.h"

#include <sys/mman.h>

struct story {
    const struct proc_ring *how;
    struct slipring_ring *ring;
    char name[64];
};

struct tally {
    uint64_t next, slots, messages;
};

/* Take all there is; every gap is checked by itself. */
static int tally(struct slipring_consumer *consumer, const struct proc_ring *how, struct tally *sum)
{
    struct slipring_view view;
    for (;;) {
        const int code = proc_take(consumer, how, &view, 0);
        if (code != 0) {
            return code;
        }
        CHECK_EQ(view.slot.sequence, sum->next + view.missed);
        CHECK_EQ(view.missed_messages, proc_messages_of(how, sum->next, view.slot.sequence));
        sum->next = view.slot.sequence + 1;
        sum->slots += 1 + view.missed;
        sum->messages += view.missed_messages + proc_messages_of(how, sum->next - 1, sum->next);
    }
}

static void publish(struct slipring_producer *producer, const struct proc_ring *how, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        CHECK_EQ(proc_publish(producer, how, 1, 0), 0);
    }
}

static int read_only(struct proc *self, void *context)
{
    const struct story *story = context;
    struct slipring_ring *ring;
    struct slipring_error error = {0};
    if (slipring_ring_open(story->name, SLIPRING_READ_ONLY, &ring, &error) != 0) {
        FAIL("open read-only: %d %s", error.code, error.text);
    }
    int data_fd, control_fd;
    slipring_ring_fds(ring, &data_fd, &control_fd);
    CHECK(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, data_fd, 0) == MAP_FAILED);
    struct slipring_producer *producer;
    CHECK_EQ(slipring_producer_attach(ring, NULL, &producer, NULL), -EPERM);
    struct slipring_consumer *consumer = proc_consumer(ring, story->how, SLIPRING_OLDEST);
    struct slipring_view view;
    struct proc_ring copying = *story->how;
    if (copying.geometry == SLIPRING_GEOMETRY_TENSOR) {
        copying.geometry = SLIPRING_GEOMETRY_PAIR; /* take by copy */
    }
    CHECK_EQ(slipring_consumer_try_acquire(consumer, 1, &view), -EINVAL);
    struct tally sum = {0};
    CHECK_EQ(tally(consumer, &copying, &sum), -EAGAIN);
    proc_tell(self, sum.next);
    proc_hear(self);
    CHECK_EQ(proc_take(consumer, &copying, &view, proc_in_ms(5000)), 0);
    CHECK_EQ(view.slot.sequence, sum.next + view.missed);
    sum.messages += proc_messages_of(story->how, sum.next, view.slot.sequence + 1);
    sum.next = view.slot.sequence + 1;
    sum.slots += 1 + view.missed;
    CHECK_EQ(tally(consumer, &copying, &sum), -EAGAIN);
    proc_tell(self, sum.slots);
    proc_tell(self, sum.messages);
    CHECK_EQ(proc_take(consumer, &copying, &view, proc_in_ms(5000)), -EPIPE);
    slipring_consumer_detach(consumer);
    slipring_ring_close(ring);
    return 0;
}

static void lapped(const struct proc_ring *how)
{
    struct story story = {.how = how};
    struct slipring_config config;
    struct slipring_ring *ring;
    proc_config(how, &config);
    config.flags = SLIPRING_VANISH;
    CHECK_EQ(slipring_ring_create(SLIPRING_AUTO_NAME, &config, &ring, NULL), 0);
    snprintf(story.name, sizeof(story.name), "%s", slipring_ring_name(ring));
    struct slipring_producer *producer = proc_producer(ring);
    const uint64_t slots = proc_info(ring).slots;
    struct slipring_consumer *once = proc_consumer(ring, how, SLIPRING_OLDEST);
    struct slipring_consumer *often = proc_consumer(ring, how, SLIPRING_OLDEST);
    struct tally sum = {0}, sums = {0};
    publish(producer, how, 3);
    struct proc child = proc_start(read_only, &story);
    CHECK_EQ(proc_hear(&child), 3);
    CHECK_EQ(tally(once, how, &sum), -EAGAIN);
    for (uint64_t k = 1; k <= 3 * slots; k += 1 + slots / 8) {
        publish(producer, how, k);
        CHECK_EQ(tally(often, how, &sums), -EAGAIN);
    }
    const uint64_t published = proc_info(ring).cursor;
    proc_tell(&child, 0);
    CHECK_EQ(proc_hear(&child), published);
    CHECK_EQ(proc_hear(&child), proc_messages_of(how, 0, published));
    CHECK_EQ(tally(once, how, &sum), -EAGAIN);
    CHECK_EQ(sum.slots, published);
    CHECK_EQ(sum.messages, proc_messages_of(how, 0, published));
    CHECK_EQ(sums.slots, published);
    CHECK_EQ(sums.messages, proc_messages_of(how, 0, published));
    struct slipring_stats stats = {.struct_size = sizeof(stats)};
    CHECK_EQ(slipring_consumer_stats(once, &stats), 0);
    CHECK(stats.missed > 0 && stats.missed_messages >= stats.missed);
    CHECK_EQ(stats.next, published);
    slipring_producer_close(producer);
    proc_end(&child);
    slipring_consumer_detach(once);
    slipring_consumer_detach(often);
    slipring_ring_close(ring);
}

static int short_lived(struct proc *self, void *context)
{
    const struct story *story = context;
    struct slipring_producer *producer = proc_producer(story->ring);
    publish(producer, story->how, 5);
    proc_tell(self, 0);
    proc_sleep();
}

/* The counts go on over a takeover. */
static void taken_over(const struct proc_ring *how)
{
    struct story story = {.how = how, .ring = proc_make(how, 0)};
    struct slipring_consumer *consumer = proc_consumer(story.ring, how, SLIPRING_OLDEST);
    struct tally sum = {0};
    for (int i = 0; i < 3; i++) {
        struct proc child = proc_start(short_lived, &story);
        proc_hear(&child);
        CHECK_EQ(tally(consumer, how, &sum), -EAGAIN);
        proc_kill(&child);
    }
    struct slipring_producer *producer = proc_producer(story.ring);
    publish(producer, how, 2 * proc_info(story.ring).slots);
    CHECK_EQ(tally(consumer, how, &sum), -EAGAIN);
    CHECK_EQ(sum.slots, proc_info(story.ring).cursor);
    slipring_consumer_detach(consumer);
    slipring_producer_detach(producer);
    slipring_ring_close(story.ring);
}

int main(void)
{
    proc_begin(60);
    for (unsigned i = 0; i < PROC_RINGS; i++) {
        if (proc_rings[i].full == SLIPRING_OVERWRITE) {
            lapped(&proc_rings[i]);
            taken_over(&proc_rings[i]);
        }
    }
    return 0;
}
