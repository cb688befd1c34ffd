/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fast path, compiled into the caller: two million ticks of 56 bytes, one cache line each,
 * from one process to another. Where there is nothing to do, the calls of 01 do the waiting.
 *
 *     cc -std=c11 -O2 04_fast.c -o 04_fast $(pkg-config --cflags --libs slipring)
 *     ./04_fast
 */
#define _POSIX_C_SOURCE 200809L
#include <slipring/inline.h>

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TICKS = 2000000, BATCH = 64 };
#define PATIENCE_NS INT64_C(10000000000)

struct tick {
    uint64_t number;
    double bid, ask, last, volume, high, low;
    uint64_t of_the_ring; /* the slot's sequence shares the cache line; not ours to write */
};

static int failed(const char *what, const char *why)
{
    fprintf(stderr, "04_fast: %s: %s\n", what, why);
    return EXIT_FAILURE;
}

static int send_ticks(struct slipring_ring *ring)
{
    struct slipring_producer *producer;
    struct slipring_error error;
    int rc = 0;
    if (slipring_producer_attach(ring, NULL, &producer, &error) < 0) {
        return failed(error.call, error.text);
    }
    struct slipring_fast *fast = slipring_producer_fast(producer);
    for (uint64_t number = 0; number < TICKS && rc == 0; number++) {
        void *slot;
        rc = slipring_fast_try_claim(fast, 1, &slot);
        if (rc == -EAGAIN) {
            struct slipring_loan loan;
            rc = slipring_producer_claim(producer, 1, &loan, slipring_now_ns() + PATIENCE_NS);
            slot = loan.data;
        }
        if (rc == 0) {
            struct tick *tick = slot;
            tick->number = number;
            tick->last = (double)number / 100;
            rc = slipring_fast_publish(fast, 1);
        }
    }
    slipring_producer_close(producer);
    return rc < 0 ? failed("send", slipring_strerror(rc)) : EXIT_SUCCESS;
}

static int read_ticks(struct slipring_consumer *consumer)
{
    struct slipring_fast *fast = slipring_consumer_fast(consumer);
    const int64_t began_ns = slipring_now_ns();
    uint64_t number = 0;
    int64_t count = 0;
    while (count >= 0) {
        const void *data;
        struct slipring_view view;
        count = slipring_fast_try_acquire(fast, BATCH, &data);
        if (count == -EAGAIN) {
            count = slipring_consumer_acquire(consumer, BATCH, &view, began_ns + PATIENCE_NS);
            if (count < 0) {
                break;
            }
            count = (int64_t)view.slots;
            data = view.data;
        }
        for (int64_t i = 0; i < count; i++, number++) {
            if (((const struct tick *)data)[i].number != number) {
                return failed("read", "a tick is missing or out of order");
            }
        }
        count = count > 0 ? slipring_fast_release(fast, (uint64_t)count) : count;
    }
    if (count != -EPIPE || number != TICKS) {
        return failed("read", count != -EPIPE ? slipring_strerror((int)count) : "ticks missing");
    }
    printf("04_fast: %d ticks in order, %.1f million per second\n", TICKS,
           1e3 * TICKS / (double)(slipring_now_ns() - began_ns));
    return EXIT_SUCCESS;
}

int main(void)
{
    struct slipring_config config;
    struct slipring_ring *ring = NULL;
    struct slipring_consumer *consumer;
    struct slipring_error error;
    int status, sender_status = 0;
    slipring_config_init(&config);
    config.slot_bytes = offsetof(struct tick, of_the_ring); /* 56: a compact ring */
    if (slipring_ring_create(NULL, &config, &ring, &error) < 0 ||
        slipring_consumer_attach(ring, NULL, &consumer, &error) < 0) {
        slipring_ring_close(ring);
        return failed(error.call, error.text);
    }
    const pid_t sender = fork();
    if (sender == 0) {
        exit(send_ticks(ring));
    }
    status = sender < 0 ? failed("fork", "no process left") : read_ticks(consumer);
    slipring_consumer_detach(consumer); /* a sender that still waits for it goes on */
    if (sender > 0 && (waitpid(sender, &sender_status, 0) < 0 || sender_status != 0)) {
        status = EXIT_FAILURE;
    }
    slipring_ring_close(ring);
    return status;
}
