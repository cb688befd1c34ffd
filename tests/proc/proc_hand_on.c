/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: an anonymous ring handed on over a socket outlives the process that made it, by kill -9:
 * who received it takes over as producer, and can hand it on again; read-only hands on no right to
 * write; a closed socket is -EPIPE. The same by inherited descriptors.
 */
#define _GNU_SOURCE
#include "proc.h"

#include <sys/mman.h>
#include <sys/socket.h>

struct story {
    const struct proc_ring *how;
    int socket[2];
    uint32_t flags;
};

static int creator(struct proc *self, void *context)
{
    const struct story *story = context;
    struct slipring_error error = {0};
    struct slipring_ring *ring = proc_make(story->how, 0);
    struct slipring_producer *producer = proc_producer(ring);
    CHECK_EQ(proc_publish(producer, story->how, 3, 0), 0);
    if (slipring_ring_send(ring, story->socket[1], 0, &error) != 0) {
        FAIL("send: %d %s", error.code, error.text);
    }
    proc_tell(self, 0);
    proc_sleep();
}

static struct slipring_ring *receive(int socket)
{
    struct slipring_ring *ring;
    struct slipring_error error = {0};
    if (slipring_ring_receive(socket, &ring, &error) != 0) {
        FAIL("receive: %d %s", error.code, error.text);
    }
    CHECK_STR(slipring_ring_name(ring), "");
    return ring;
}

static int receiver(struct proc *self, void *context)
{
    const struct story *story = context;
    struct slipring_ring *ring = receive(story->socket[0]);
    struct slipring_view view;
    if (story->flags & SLIPRING_READ_ONLY) {
        struct slipring_producer *producer;
        int data_fd, control_fd;
        CHECK_EQ(slipring_producer_attach(ring, NULL, &producer, NULL), -EPERM);
        slipring_ring_fds(ring, &data_fd, &control_fd);
        CHECK(mmap(NULL, 4096, PROT_WRITE, MAP_SHARED, data_fd, 0) == MAP_FAILED);
    }
    struct proc_ring how = *story->how;
    if (story->flags != 0 && how.geometry == SLIPRING_GEOMETRY_TENSOR) {
        how.geometry = SLIPRING_GEOMETRY_PAIR; /* take by copy */
    }
    struct slipring_consumer *consumer = proc_consumer(ring, &how, SLIPRING_LATEST);
    proc_tell(self, 0);
    CHECK_EQ(proc_take(consumer, &how, &view, proc_in_ms(5000)), 0);
    CHECK_EQ(view.slot.sequence, 3);
    slipring_consumer_detach(consumer);
    slipring_ring_close(ring);
    return 0;
}

static void run(const struct proc_ring *how, uint32_t flags, int type)
{
    struct story story = {.how = how, .flags = flags};
    CHECK(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, story.socket) == 0);
    struct proc maker = proc_start(creator, &story);
    proc_hear(&maker);
    proc_kill(&maker);
    struct slipring_ring *ring = receive(story.socket[0]);
    struct slipring_consumer *consumer = proc_consumer(ring, how, SLIPRING_OLDEST);
    struct slipring_view view;
    for (uint64_t i = 0; i < 3; i++) {
        CHECK_EQ(proc_take(consumer, how, &view, 0), 0);
        CHECK_EQ(view.slot.sequence, i);
    }
    CHECK_EQ(proc_take(consumer, how, &view, proc_in_ms(PROC_NOTICE_MS)), -EOWNERDEAD);
    struct slipring_producer *producer = proc_producer(ring);
    struct proc child = proc_start(receiver, &story);
    CHECK_EQ(slipring_ring_send(ring, story.socket[1], flags, NULL), 0);
    proc_hear(&child);
    CHECK_EQ(proc_publish(producer, how, 1, 0), 0);
    proc_end(&child);

    close(story.socket[1]);
    struct slipring_error error = {0};
    struct slipring_ring *none = NULL;
    CHECK_EQ(slipring_ring_receive(story.socket[0], &none, &error), -EPIPE);
    CHECK(error.text[0] != '\0' && none == NULL);
    close(story.socket[0]);
    slipring_consumer_detach(consumer);
    slipring_producer_detach(producer);
    slipring_ring_close(ring);
}

static void by_descriptors(const struct proc_ring *how)
{
    struct slipring_ring *ring = proc_make(how, 0), *same;
    struct slipring_producer *producer = proc_producer(ring);
    int data_fd, control_fd;
    slipring_ring_fds(ring, &data_fd, &control_fd);
    const int data = dup(data_fd), control = dup(control_fd);
    CHECK(data >= 0 && control >= 0);
    CHECK_EQ(slipring_ring_from_fds(data, control, &same, NULL), 0);
    close(data);
    close(control);
    CHECK(memcmp(proc_info(same).uuid, proc_info(ring).uuid, 16) == 0);
    struct slipring_consumer *consumer = proc_consumer(same, how, SLIPRING_OLDEST);
    struct slipring_view view;
    CHECK_EQ(proc_publish(producer, how, 1, 0), 0);
    CHECK_EQ(proc_take(consumer, how, &view, 0), 0);
    struct slipring_ring *data_alone;
    const int code = slipring_ring_from_fds(data_fd, -1, &data_alone, NULL);
    CHECK_EQ(code, how->full == SLIPRING_OVERWRITE ? 0 : -EINVAL);
    if (code == 0) {
        slipring_ring_close(data_alone);
    }
    slipring_producer_detach(producer);
    slipring_ring_close(ring);
    slipring_ring_close(same);
    CHECK_EQ(proc_take(consumer, how, &view, 0), -EAGAIN); /* keeps the ring mapped by itself */
    slipring_consumer_detach(consumer);
}

int main(void)
{
    proc_begin(60);
    for (unsigned i = 0; i < PROC_RINGS; i++) {
        run(&proc_rings[i], 0, i % 2 == 0 ? SOCK_STREAM : SOCK_SEQPACKET);
        if (proc_rings[i].full == SLIPRING_OVERWRITE) {
            run(&proc_rings[i], SLIPRING_READ_ONLY, SOCK_STREAM);
        }
        by_descriptors(&proc_rings[i]);
    }
    return 0;
}
