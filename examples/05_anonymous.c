/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A ring without a name, handed on over sockets. The first process makes it, writes and is gone;
 * the second goes on where that one stopped and hands it to the third, which reads all of it.
 *
 *     cc -std=c11 05_anonymous.c -o 05_anonymous $(pkg-config --cflags --libs slipring)
 *     ./05_anonymous
 */
#define _POSIX_C_SOURCE 200809L
#include <slipring/slipring.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { EACH = 5 };

static int failed(const char *what, const char *why)
{
    fprintf(stderr, "05_anonymous: %s: %s\n", what, why);
    return EXIT_FAILURE;
}

/* Publishes EACH numbers that are their own sequence, then leaves the place to the next. */
static int produce(struct slipring_ring *ring, void (*leave)(struct slipring_producer *))
{
    struct slipring_producer *producer;
    struct slipring_error error;
    struct slipring_loan loan;
    if (slipring_producer_attach(ring, NULL, &producer, &error) < 0) {
        return failed(error.call, error.text);
    }
    int rc = slipring_producer_try_claim(producer, EACH, &loan);
    for (uint64_t i = 0; i < EACH && rc == 0; i++) {
        *(uint64_t *)(void *)((char *)loan.data + i * loan.stride) = loan.sequence + i;
    }
    rc = rc < 0 ? rc : slipring_producer_publish(producer, EACH, NULL);
    leave(producer);
    return rc < 0 ? failed("produce", slipring_strerror(rc)) : EXIT_SUCCESS;
}

static int first(int to_second)
{
    struct slipring_config config;
    struct slipring_ring *ring;
    struct slipring_error error;
    slipring_config_init(&config);
    config.slot_bytes = sizeof(uint64_t);
    if (slipring_ring_create(NULL, &config, &ring, &error) < 0 ||
        slipring_ring_send(ring, to_second, 0, &error) < 0) {
        return failed(error.call, error.text);
    }
    const int status = produce(ring, slipring_producer_detach);
    slipring_ring_close(ring);
    return status;
}

static int third(int from_second)
{
    const struct slipring_consumer_config oldest = {.struct_size = sizeof oldest,
                                                    .start = SLIPRING_OLDEST};
    struct slipring_ring *ring;
    struct slipring_consumer *consumer;
    struct slipring_error error;
    struct slipring_view view;
    uint64_t number, expected = 0;
    int rc;
    if (slipring_ring_receive(from_second, &ring, &error) < 0 ||
        slipring_consumer_attach(ring, &oldest, &consumer, &error) < 0) {
        return failed(error.call, error.text);
    }
    const int64_t deadline_ns = slipring_now_ns() + INT64_C(10000000000);
    do {
        rc = slipring_consumer_copy(consumer, &number, sizeof number, &view, deadline_ns);
        expected += rc == 0 && number == expected;
    } while (rc == 0);
    slipring_consumer_detach(consumer);
    slipring_ring_close(ring);
    if (rc != -EPIPE || expected != 2 * EACH) {
        return failed("read", rc != -EPIPE ? slipring_strerror(rc) : "numbers are missing");
    }
    printf("05_anonymous: read %d numbers of two producers\n", 2 * EACH);
    return EXIT_SUCCESS;
}

static pid_t start(int (*role)(int), int *socket)
{
    int ends[2] = {-1, -1};
    const pid_t pid = socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends) == 0 ? fork() : -1;
    if (pid == 0) {
        exit(close(ends[0]) == 0 ? role(ends[1]) : EXIT_FAILURE);
    }
    *socket = ends[0];
    return pid > 0 && close(ends[1]) == 0 ? pid : -1;
}

int main(void)
{
    struct slipring_ring *ring;
    struct slipring_error error;
    int from_first, to_third, status = EXIT_FAILURE, others;
    const pid_t creator = start(first, &from_first), reader = start(third, &to_third);
    if (creator < 0 || reader < 0 || slipring_ring_receive(from_first, &ring, &error) < 0) {
        return creator < 0 || reader < 0 ? failed("start", "no process or socket left")
                                         : failed(error.call, error.text);
    }
    if (waitpid(creator, &others, 0) < 0 || others != 0) { /* whoever made it is gone now */
        failed("first", "did not end well");
    } else if (slipring_ring_send(ring, to_third, 0, &error) < 0) {
        failed(error.call, error.text);
    } else {
        status = produce(ring, slipring_producer_close);
    }
    slipring_ring_close(ring);
    close(to_third);
    return waitpid(reader, &others, 0) > 0 && others == 0 ? status : EXIT_FAILURE;
}
