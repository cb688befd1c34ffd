/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Work sharing: three processes join the group "workers" and each job goes to exactly one of them.
 *
 *     cc -std=c11 02_group.c -o 02_group $(pkg-config --cflags --libs slipring)
 *     ./02_group
 */
#define _POSIX_C_SOURCE 200809L
#include <slipring/slipring.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WORKERS = 3, JOBS = 3000 };
#define PATIENCE_NS INT64_C(10000000000)

struct result {
    uint64_t jobs, sum;
};

static int failed(const char *what, const char *why)
{
    fprintf(stderr, "02_group: %s: %s\n", what, why);
    return EXIT_FAILURE;
}

static int work(struct slipring_ring *ring, int number, int results)
{
    struct result result = {0, 0};
    struct slipring_consumer_config config;
    struct slipring_consumer *consumer;
    struct slipring_view view;
    struct slipring_error error;
    int rc;
    slipring_consumer_config_init(&config);
    config.group = "workers";
    config.flags = SLIPRING_MANY;
    if (slipring_consumer_attach(ring, &config, &consumer, &error) < 0) {
        return failed(error.call, error.text);
    }
    while ((rc = slipring_consumer_acquire(consumer, 1, &view, slipring_now_ns() + PATIENCE_NS)) ==
           0) {
        result.sum += *(const uint64_t *)view.data;
        result.jobs++;
        if ((rc = slipring_consumer_release(consumer, &view)) < 0) {
            break;
        }
    }
    slipring_consumer_detach(consumer);
    if (rc != -EPIPE) { /* the end of the stream is told once every job is finished */
        return failed("worker", slipring_strerror(rc));
    }
    printf("02_group: worker %d did %llu jobs\n", number, (unsigned long long)result.jobs);
    return write(results, &result, sizeof result) == (ssize_t)sizeof result
               ? EXIT_SUCCESS
               : failed("write", "cannot report the result");
}

static int send_jobs(struct slipring_ring *ring)
{
    struct slipring_producer *producer;
    struct slipring_error error;
    struct slipring_loan loan;
    int rc = 0;
    if (slipring_producer_attach(ring, NULL, &producer, &error) < 0) {
        return failed(error.call, error.text);
    }
    for (uint64_t job = 1; job <= JOBS && rc == 0; job++) {
        rc = slipring_producer_claim(producer, 1, &loan, slipring_now_ns() + PATIENCE_NS);
        if (rc == 0) {
            *(uint64_t *)loan.data = job;
            rc = slipring_producer_publish(producer, 1, NULL);
        }
    }
    slipring_producer_close(producer);
    return rc < 0 ? failed("produce", slipring_strerror(rc)) : EXIT_SUCCESS;
}

int main(void)
{
    /* A group named at creation keeps the jobs that are sent before its first member is there. */
    const struct slipring_group workers = {.name = "workers", .flags = SLIPRING_MANY};
    struct slipring_config config;
    struct slipring_ring *ring;
    struct slipring_error error;
    struct result result = {0, 0}, total = {0, 0};
    int results[2], status, started = 0;
    if (pipe(results) < 0) {
        return failed("pipe", "no descriptors left");
    }
    slipring_config_init(&config);
    config.slots = 64;
    config.slot_bytes = sizeof(uint64_t);
    config.lasting = &workers;
    config.lasting_count = 1;
    if (slipring_ring_create(NULL, &config, &ring, &error) < 0) {
        return failed(error.call, error.text);
    }
    for (pid_t pid = 1; started < WORKERS && pid > 0; started += pid > 0) {
        pid = fork(); /* the ring's handle goes along; each process attaches for itself */
        if (pid == 0) {
            status = work(ring, started + 1, results[1]);
            slipring_ring_close(ring);
            exit(status);
        }
    }
    int good = started == WORKERS && send_jobs(ring) == EXIT_SUCCESS;
    slipring_ring_close(ring);
    close(results[1]);
    for (int i = 0; i < started; i++) {
        good &= wait(&status) > 0 && WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS;
        good &= read(results[0], &result, sizeof result) == (ssize_t)sizeof result;
        total.jobs += result.jobs;
        total.sum += result.sum;
    }
    good &= total.jobs == JOBS && total.sum == (uint64_t)JOBS * (JOBS + 1) / 2;
    printf("02_group: %llu of %d jobs done, %s\n", (unsigned long long)total.jobs, JOBS,
           good ? "each once" : "NOT as it should be");
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
