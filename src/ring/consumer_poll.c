/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "ring/consumer_poll.h"

#include "ring/acquire.h"
#include "ring/group.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct slr_pollable {
    struct slipring_consumer *consumer;
    struct slr_waiter waiter;
    int fd;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool armed, stop;
    uint64_t next;      /* the consumer's when it armed */
    uint64_t redeliver; /* of a group of many, then */
};

/* Would an acquire find something? Looks only; a hit that somebody else takes is a false alarm. */
static bool something(const struct slipring_consumer *consumer, uint64_t next, uint64_t redeliver,
                      bool slow)
{
    const struct slr_segment *segment = &consumer->ring->segment;
    if (consumer->kind == SLR_KIND_MANY) {
        const struct slr_group *group = &segment->groups[consumer->group];
        return slr_load64_acquire(&group->redeliver) != redeliver ||                 /* GROUP */
               slr_slot_look(segment, slr_load64(&group->take)) != SLR_SLOT_EMPTY || /* hint */
               /* The hints may be lost with who died giving them. */
               (slow && slr_group_has_work(segment, consumer->group));
    }
    return slr_slot_look(segment, next) != SLR_SLOT_EMPTY;
}

static int ready(void *context, bool slow)
{
    struct slr_pollable *pollable = context;
    struct slipring_consumer *consumer = pollable->consumer;
    pthread_mutex_lock(&pollable->lock);
    const uint64_t next = pollable->next;
    const uint64_t redeliver = pollable->redeliver;
    const bool idle = !pollable->armed || pollable->stop;
    pthread_mutex_unlock(&pollable->lock);
    if (idle) {
        return -ECANCELED;
    }
    if (slow) {
        pollable->waiter.step_ns = slr_sleep_step(consumer);
    }
    if (something(consumer, next, redeliver, false) ||
        slr_stream_end(consumer, next, slow) != -EAGAIN) {
        return 0;
    }
    return slow && something(consumer, next, redeliver, true) ? 0 : -EAGAIN; /* after recovery */
}

static void *watch(void *context)
{
    struct slr_pollable *pollable = context;
    for (;;) {
        pthread_mutex_lock(&pollable->lock);
        while (!pollable->armed && !pollable->stop) {
            pthread_cond_wait(&pollable->changed, &pollable->lock);
        }
        const bool stop = pollable->stop;
        pthread_mutex_unlock(&pollable->lock);
        if (stop) {
            return NULL;
        }
        const int result = slr_wait(&pollable->waiter, ready, pollable, SLIPRING_FOREVER);
        if (result == 0) {
            pthread_mutex_lock(&pollable->lock);
            if (pollable->armed) {
                pollable->armed = false;
                const uint64_t one = 1;
                ssize_t written;
                do {
                    written = write(pollable->fd, &one, sizeof one);
                } while (written < 0 && errno == EINTR);
            }
            pthread_mutex_unlock(&pollable->lock);
        }
    }
}

int slipring_consumer_fd(struct slipring_consumer *consumer, int *fd, struct slipring_error *error)
{
    SLR_NOT_CANCELLED;
    if (slr_consumer_forked(consumer)) {
        return slr_fail(error, -ECHILD, "slipring_consumer_fd",
                        "the handle is the parent's; attach anew in this process");
    }
    if (consumer->cell == UINT32_MAX) {
        return slr_fail(error, -EINVAL, "slipring_consumer_fd",
                        "a read-only consumer has nobody to wake it; poll with a timeout");
    }
    if (consumer->pollable != NULL) {
        *fd = consumer->pollable->fd;
        return 0;
    }
    struct slr_pollable *pollable = calloc(1, sizeof *pollable);
    if (pollable == NULL) {
        return slr_fail(error, -ENOMEM, "calloc", "no memory for the helper thread");
    }
    pollable->consumer = consumer;
    pollable->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (pollable->fd < 0) {
        const int result = -errno;
        free(pollable);
        return slr_fail(error, result, "eventfd", "no descriptor to poll: raise RLIMIT_NOFILE");
    }
    pthread_mutex_init(&pollable->lock, NULL);
    pthread_cond_init(&pollable->changed, NULL);
    slr_waiter_init(&pollable->waiter, consumer->waiter.bell, consumer->cell + 16,
                    SLIPRING_WAIT_SLEEP, false, SLR_SLEEP_STEP);
    pollable->waiter.cells = consumer->waiter.cells;
    sigset_t all, before; /* signals are the application's threads' */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int result = pthread_create(&pollable->thread, NULL, watch, pollable);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (result != 0) {
        close(pollable->fd);
        free(pollable);
        return slr_fail(error, -result, "pthread_create",
                        "no thread to watch the ring: raise "
                        "RLIMIT_NPROC");
    }
    consumer->pollable = pollable;
    *fd = pollable->fd;
    return 0;
}

int slipring_consumer_arm(struct slipring_consumer *consumer)
{
    struct slr_pollable *pollable = consumer->pollable;
    if (slr_consumer_forked(consumer)) {
        return -ECHILD;
    }
    if (pollable == NULL) {
        return -EINVAL;
    }
    const uint64_t next = consumer->fast->next;
    const uint64_t redeliver = consumer->redeliver_seen;
    uint64_t count = 0;
    pthread_mutex_lock(&pollable->lock);
    pollable->armed = false;
    while (read(pollable->fd, &count, sizeof count) < 0 && errno == EINTR) {
    }
    const bool now = slr_stream_end(consumer, next, true) != -EAGAIN ||
                     something(consumer, next, redeliver, true);
    if (!now) {
        pollable->armed = true;
        pollable->next = next;
        pollable->redeliver = redeliver;
        pthread_cond_signal(&pollable->changed);
    }
    pthread_mutex_unlock(&pollable->lock);
    return now ? 1 : 0;
}

void slr_poll_end(struct slipring_consumer *consumer)
{
    struct slr_pollable *pollable = consumer->pollable;
    if (pollable == NULL) {
        return;
    }
    consumer->pollable = NULL;
    if (!slr_consumer_forked(consumer)) { /* the thread stayed with the parent */
        pthread_mutex_lock(&pollable->lock);
        pollable->stop = true;
        pthread_cond_signal(&pollable->changed);
        pthread_mutex_unlock(&pollable->lock);
        slr_waiter_cancel(&pollable->waiter);
        pthread_join(pollable->thread, NULL);
        pthread_cond_destroy(&pollable->changed);
        pthread_mutex_destroy(&pollable->lock);
    }
    close(pollable->fd);
    free(pollable);
}
