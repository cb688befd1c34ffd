/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: the pollable descriptor becomes readable when data comes after arm() said 0, and when
 * the stream ends or its producer dies; arm() says 1 when there is data already; no wake is lost
 * over many rounds; it does not stay readable for nothing; arm without a descriptor and a
 * read-only member are refused.
 */
#include "proc.h"

#include <poll.h>

struct story {
    const struct proc_ring *how;
    struct slipring_ring *ring;
};

enum { ROUNDS = 200 };

static int source(struct proc *self, void *context)
{
    const struct story *story = context;
    struct slipring_producer *producer = proc_producer(story->ring);
    proc_tell(self, 0);
    for (int i = 0; i < ROUNDS; i++) {
        proc_hear(self);
        CHECK_EQ(proc_publish(producer, story->how, 1, 0), 0);
    }
    if (proc_hear(self) == 1) {
        slipring_producer_close(producer);
    }
    proc_sleep();
}

static bool readable(int fd, int ms)
{
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    const int count = poll(&ready, 1, ms);
    CHECK(count >= 0);
    return count == 1;
}

static void await(struct slipring_consumer *consumer, int fd)
{
    const int armed = slipring_consumer_arm(consumer);
    CHECK(armed == 0 || armed == 1);
    if (armed == 0) {
        CHECK(readable(fd, PROC_NOTICE_MS));
    }
}

static void run(const struct proc_ring *how, bool close_it)
{
    struct story story = {how, proc_make(how, 0)};
    struct slipring_consumer *consumer = proc_consumer(story.ring, how, SLIPRING_OLDEST);
    struct slipring_view view;
    int fd = -1, again = -1;
    struct slipring_error error = {0};
    /* Before the helper thread is there: a sanitizer's allocator does not outlive a fork beside it. */
    struct proc child = proc_start(source, &story);
    proc_hear(&child);
    CHECK_EQ(slipring_consumer_arm(consumer), -EINVAL);
    CHECK_EQ(slipring_consumer_fd(consumer, &fd, &error), 0);
    CHECK(fd >= 0);
    CHECK_EQ(slipring_consumer_fd(consumer, &again, &error), 0);
    CHECK_EQ(again, fd);
    CHECK_EQ(slipring_consumer_arm(consumer), 0);
    CHECK(!readable(fd, 60));
    for (int i = 0; i < ROUNDS; i++) {
        if (i % 2 == 0) {
            CHECK_EQ(slipring_consumer_arm(consumer), 0);
            CHECK(i % 20 != 0 || !readable(fd, 5));
            proc_tell(&child, 0);
            CHECK(readable(fd, PROC_NOTICE_MS));
        } else {
            proc_tell(&child, 0);
        }
        int code;
        while ((code = proc_take(consumer, how, &view, 0)) == -EAGAIN) {
            await(consumer, fd);
        }
        CHECK_EQ(code, 0);
        CHECK_EQ(view.slot.sequence, i);
    }
    CHECK_EQ(slipring_consumer_arm(consumer), 0);
    proc_tell(&child, close_it);
    if (close_it) {
        CHECK(readable(fd, PROC_NOTICE_MS));
    }
    proc_kill(&child);
    await(consumer, fd);
    const int code = proc_take(consumer, how, &view, proc_in_ms(PROC_NOTICE_MS));
    CHECK_EQ(code, close_it ? -EPIPE : -EOWNERDEAD);
    CHECK_EQ(slipring_consumer_arm(consumer), 1);
    slipring_consumer_detach(consumer);
    slipring_ring_close(story.ring);
}

static void read_only(const struct proc_ring *how)
{
    struct slipring_ring *ring = proc_make(how, 0), *data_alone;
    int data_fd, control_fd, fd = -1;
    slipring_ring_fds(ring, &data_fd, &control_fd);
    CHECK_EQ(slipring_ring_from_fds(data_fd, -1, &data_alone, NULL), 0);
    struct slipring_consumer *consumer = proc_consumer(data_alone, how, SLIPRING_LATEST);
    struct slipring_error error = {0};
    CHECK_EQ(slipring_consumer_fd(consumer, &fd, &error), -EINVAL);
    CHECK(fd == -1 && error.text[0] != '\0');
    slipring_consumer_detach(consumer);
    slipring_ring_close(data_alone);
    slipring_ring_close(ring);
}

int main(void)
{
    proc_begin(60);
    for (unsigned i = 0; i < PROC_RINGS; i++) {
        run(&proc_rings[i], i % 2 == 0);
        if (proc_rings[i].full == SLIPRING_OVERWRITE) {
            read_only(&proc_rings[i]);
        }
    }
    return 0;
}
