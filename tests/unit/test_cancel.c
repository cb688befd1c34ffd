/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: a thread that is cancelled (pthread_cancel) while it creates, opens, attaches, sends,
 * waits, detaches, lists, closes and unlinks is not ended inside a call of slipring: what it had
 * got is whole, and other threads find neither a lock taken nor a descriptor, mapping or file left.
 * Faults: A10.
 */
#define _GNU_SOURCE
#include "proc.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/socket.h>

enum { ROUNDS = 150, MOST_US = 3000 };
#define HOW (&proc_rings[6]) /* tensor */

static char name[64];

/* What a round has to give back, by whoever ends it. */
struct round {
    struct slipring_ring *ring, *received;
    struct slipring_producer *producer;
    struct slipring_consumer *consumer;
    int ends[2];
};

static int list_one(void *user, const char *listed, enum slipring_listed kind)
{
    (void)kind;
    *(bool *)user |= strcmp(listed, name) == 0;
    return 0;
}

static void begin(struct round *round)
{
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, round->ends) == 0);
}

static void work(struct round *round)
{
    struct slipring_config config;
    struct slipring_view view;
    struct slipring_reaped reaped;
    bool listed = false;
    int fd;
    proc_config(HOW, &config);
    CHECK_EQ(slipring_ring_create(name, &config, &round->ring, NULL), 0);
    CHECK_EQ(slipring_consumer_attach(round->ring, NULL, &round->consumer, NULL), 0);
    CHECK_EQ(slipring_consumer_fd(round->consumer, &fd, NULL), 0);
    CHECK_EQ(slipring_producer_attach(round->ring, NULL, &round->producer, NULL), 0);
    CHECK_EQ(proc_publish(round->producer, HOW, 1, 0), 0);
    CHECK_EQ(slipring_consumer_acquire(round->consumer, 1, &view, proc_in_ms(1000)), 0);
    CHECK_EQ(slipring_consumer_release(round->consumer, &view), 0);
    CHECK_EQ(slipring_ring_send(round->ring, round->ends[0], 0, NULL), 0);
    CHECK_EQ(slipring_ring_receive(round->ends[1], &round->received, NULL), 0);
    CHECK_EQ(slipring_ring_list(list_one, &listed), 0);
    CHECK(listed);
    CHECK_EQ(slipring_ring_reap(name, &reaped, NULL), 0);
    CHECK_EQ(slipring_ring_unlink(name, NULL), 0);
}

static void finish(struct round *round)
{
    struct slipring_producer *const producer = round->producer;
    struct slipring_consumer *const consumer = round->consumer;
    struct slipring_ring *const ring = round->ring, *const received = round->received;
    round->producer = NULL;
    slipring_producer_detach(producer);
    round->consumer = NULL;
    slipring_consumer_detach(consumer);
    round->received = NULL;
    slipring_ring_close(received);
    round->ring = NULL;
    slipring_ring_close(ring);
    CHECK(round->producer == NULL && round->consumer == NULL);
}

static void *until_cancelled(void *context)
{
    struct round *round = context;
    while (round != NULL) { /* always */
        work(round);
        finish(round);
        pthread_testcancel();
    }
    return NULL;
}

static int open_fds(void)
{
    int count = 0;
    for (int fd = 0; fd < 256; fd++) {
        count += fcntl(fd, F_GETFD) >= 0;
    }
    return count;
}

int main(void)
{
    proc_begin(60);
    uint64_t random = proc_seed();
    struct round round = {.ring = NULL};
    snprintf(name, sizeof(name), "test-cancel-%d", (int)getpid());
    begin(&round);
    work(&round); /* what is set up for good */
    finish(&round);
    const int fds = open_fds();
    for (int i = 0; i < ROUNDS; i++) {
        pthread_t thread;
        void *result;
        CHECK_EQ(pthread_create(&thread, NULL, until_cancelled, &round), 0);
        proc_pause_us((int64_t)(proc_random(&random) % MOST_US));
        CHECK_EQ(pthread_cancel(thread), 0);
        CHECK_EQ(pthread_join(thread, &result), 0);
        CHECK(result == PTHREAD_CANCELED);
        finish(&round);
        close(round.ends[0]); /* with a ring in it that was sent and not received */
        close(round.ends[1]);
        const int code = slipring_ring_unlink(name, NULL);
        CHECK(code == 0 || code == -ENOENT);
        begin(&round);
        CHECK_EQ(open_fds(), fds);
    }
    work(&round);
    finish(&round);
    CHECK_EQ(open_fds(), fds);
    return 0;
}
