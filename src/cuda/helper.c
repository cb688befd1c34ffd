/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The helper: a thread that follows up on releases handed to streams, while there are any.
 *
 * Each release has an event, recorded behind the copies. Asking for it is what keeps a device going
 * that nobody else asks anything (a host thread that only watches memory may wait for ever), and what
 * tells that the context was lost. Then:
 *
 *     by the device   done when its stores are seen in the release words; the helper counts them and
 *                     wakes the producer, which sees them by itself at its next look
 *     by the helper   released from here once the host function was called, or the event has passed
 *     context lost    nothing that is pending runs any more: released from here
 *
 * Events rather than streams are asked: a stream may be destroyed by its owner at any time.
 */
#define _GNU_SOURCE
#include "part.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define LEAST_NS INT64_C(20000)  /* between two looks, */
#define MOST_NS INT64_C(1000000) /* twice as long each time that nothing came */
#define ERRORS 3u                /* looks at an event that end in an error: the context is lost */

/* ---- events ---- */

int slr_cuda_event_take(struct slipring_cuda *cuda, slr_cu_context context, slr_cu_event *event)
{
    if (context == cuda->context && cuda->event_count > 0) { /* an event has a context */
        *event = cuda->events[--cuda->event_count];
        return SLR_CU_SUCCESS;
    }
    return cuda->driver->event_create(event, SLR_CU_EVENT_DISABLE_TIMING);
}

void slr_cuda_event_give(struct slipring_cuda *cuda, slr_cu_context context, slr_cu_event event)
{
    if (context != cuda->context) {
        (void)cuda->driver->event_destroy(event);
        return;
    }
    if (cuda->event_count == cuda->event_room) {
        const uint32_t room = 2 * cuda->event_room + 16;
        slr_cu_event *events = realloc(cuda->events, room * sizeof *events);
        if (events == NULL) {
            (void)cuda->driver->event_destroy(event);
            return;
        }
        cuda->events = events;
        cuda->event_room = room;
    }
    cuda->events[cuda->event_count++] = event;
}

/* ---- one release ---- */

static bool stored(const struct slipring_word *word)
{
    /* Acquire: RELEASE, as the producer. */
    return __atomic_load_n((const uint64_t *)word->address, __ATOMIC_ACQUIRE) == word->value;
}

/* Release from here; what a device has stored of it is released already. */
static int release_here(const struct slr_cuda_release *release)
{
    struct slipring_consumer *consumer = release->member->consumer;
    if (release->words == NULL || !slipring_consumer_has_words(consumer)) {
        return slipring_consumer_release_late(consumer, &release->view);
    }
    int code = 0;
    for (uint64_t i = 0; i < release->view.slots; i++) {
        struct slipring_view slot = release->view;
        slot.slot.sequence += i;
        slot.slots = 1;
        if (!stored(&release->words[i])) {
            const int one = slipring_consumer_release_late(consumer, &slot);
            code = code == 0 || code == -EINVAL ? one : code;
        }
    }
    return code;
}

enum outcome { PENDING, DONE, LOST };

static enum outcome look(struct slipring_cuda *cuda, struct slr_cuda_release *release)
{
    if (release->by_device &&
        slipring_consumer_device_released(release->member->consumer, &release->view)) {
        return DONE;
    }
    if (release->calls && atomic_load_explicit(&release->called, memory_order_acquire)) {
        return DONE; /* GROUP, among threads */
    }
    int result = cuda->driver->push(release->context);
    if (result == SLR_CU_SUCCESS) {
        result = cuda->driver->event_query(release->event);
        slr_cuda_leave(cuda);
    }
    if (result != SLR_CU_SUCCESS && result != SLR_CU_NOT_READY) {
        return ++release->errors < ERRORS ? PENDING : LOST; /* what passes is not a lost context */
    }
    release->errors = 0;
    return result == SLR_CU_SUCCESS && !release->by_device && !release->calls ? DONE : PENDING;
}

static void finish(struct slipring_cuda *cuda, struct slr_cuda_release *release, bool lost)
{
    struct slr_cuda_member *member = release->member;
    int code = 0;
    if (lost || !release->by_device) {
        code = release_here(release);
    }
    cuda->lost += lost;
    cuda->stale += code == -ESTALE;
    member->pending--;
    member->stores -= release->stores;
    cuda->pending--;
    if (lost) {
        (void)cuda->driver->event_destroy(
            release->event); /* of a context that is gone, most often */
    } else {
        slr_cuda_event_give(cuda, release->context, release->event);
    }
    free(release->words);
    if (lost && release->calls) {
        return; /* not called after an error, says the driver; if it were, here is its memory */
    }
    free(release);
}

/* ---- all of them ---- */

/* Count what the device has released. */
static bool evicted(struct slr_cuda_member *member)
{
    return slipring_consumer_device_advance(member->consumer) == -ESTALE;
}

static void count(struct slipring_cuda *cuda)
{
    for (struct slr_cuda_member **at = &cuda->members; *at != NULL;) {
        struct slr_cuda_member *member = *at;
        if (member->announced) {
            (void)evicted(member);
        }
        if (member->announced && member->stores == 0 && !member->strays) {
            slipring_consumer_device_end(member->consumer);
            member->announced = false;
        }
        if (member->pending == 0 && !member->announced) {
            *at = member->next;
            slipring_consumer_drop(member->consumer);
            free(member);
        } else {
            at = &member->next;
        }
    }
}

/* One look at everything; did anything come? mutex is held. */
static bool look_through(struct slipring_cuda *cuda)
{
    bool came = false;
    for (struct slr_cuda_release **at = &cuda->releases; *at != NULL;) {
        struct slr_cuda_release *release = *at;
        const enum outcome outcome = look(cuda, release);
        if (outcome == PENDING) {
            at = &release->next;
            continue;
        }
        *at = release->next;
        if (outcome == DONE && release->by_device && evicted(release->member)) {
            cuda->stale++;
        }
        finish(cuda, release, outcome == LOST);
        came = true;
    }
    count(cuda);
    came = slr_cuda_produce(cuda) || came;
    came = slr_cuda_count_reader(cuda) || came;
    if (came) {
        pthread_cond_broadcast(&cuda->changed);
    }
    return came;
}

/* A claim that waits for its owner's publish is nothing that a stream has to do. */
static bool busy(const struct slipring_cuda *cuda)
{
    return cuda->pending != 0 || (cuda->producer != NULL && cuda->claims == NULL) ||
           (cuda->claims != NULL && cuda->claims != cuda->open);
}

static void *help(void *context)
{
    struct slipring_cuda *cuda = context;
    int64_t pause = LEAST_NS;
    (void)slr_cuda_captures_leave(cuda->driver);
    for (;;) {
        pthread_mutex_lock(&cuda->mutex);
        pause = look_through(cuda) ? LEAST_NS : 2 * pause;
        pause = pause < MOST_NS ? pause : MOST_NS;
        const bool idle =
            !busy(cuda) && cuda->reader == NULL && (cuda->open == NULL || cuda->open->granted);
        const bool stop = cuda->helper_stop && idle;
        pthread_mutex_unlock(&cuda->mutex);
        if (stop) {
            return NULL;
        }
        struct pollfd bell = {.fd = cuda->bell, .events = POLLIN};
        const struct timespec time = {.tv_nsec = pause};
        uint64_t rings;
        if (ppoll(&bell, 1, idle ? NULL : &time, NULL) > 0 &&
            read(cuda->bell, &rings, sizeof rings) > 0) {
            pause = LEAST_NS / 2;
        }
    }
}

void slr_cuda_ring(int bell)
{
    const uint64_t one = 1;
    while (write(bell, &one, sizeof one) < 0 && errno == EINTR) {
    }
}

int slr_cuda_help(struct slipring_cuda *cuda, struct slipring_error *error)
{
    if (cuda->helping) {
        return 0;
    }
    if (cuda->bell < 0) {
        cuda->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    }
    if (cuda->bell < 0) {
        return slr_cuda_error(error, -errno, "eventfd",
                              "no descriptor to follow up on releases: raise RLIMIT_NOFILE");
    }
    sigset_t all, before; /* signals are the application's threads' */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int code = pthread_create(&cuda->helper, NULL, help, cuda);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (code != 0) {
        return slr_cuda_error(error, -code, "pthread_create",
                              "no thread to follow up on releases: raise RLIMIT_NPROC");
    }
    cuda->helping = true;
    return 0;
}

void slr_cuda_help_end(struct slipring_cuda *cuda)
{
    if (cuda->helping) {
        pthread_mutex_lock(&cuda->mutex);
        slr_cuda_give_up(cuda);
        cuda->helper_stop = true;
        pthread_mutex_unlock(&cuda->mutex);
        slr_cuda_ring(cuda->bell);
        pthread_join(cuda->helper, NULL);
    }
    for (uint32_t i = 0; i < cuda->event_count; i++) {
        (void)cuda->driver->event_destroy(cuda->events[i]);
    }
    for (struct slr_cuda_member *member = cuda->members, *next; member != NULL; member = next) {
        next = member->next; /* with strays: the cell stays announced, and its handle kept */
        free(member);
    }
    free(cuda->events);
    if (cuda->bell >= 0) {
        close(cuda->bell);
    }
}

int slipring_cuda_drain(struct slipring_cuda *cuda, int64_t deadline_ns,
                        struct slipring_error *error)
{
    static const char call[] = "slipring_cuda_drain";
    const int unusable = slr_cuda_unusable(cuda, call, error);
    if (unusable != 0) {
        return unusable;
    }
    const struct timespec until = {.tv_sec = deadline_ns / 1000000000,
                                   .tv_nsec = deadline_ns % 1000000000};
    int code = 0;
    pthread_mutex_lock(&cuda->mutex);
    for (int waited = 0; busy(cuda) && waited == 0;) {
        waited = deadline_ns == SLIPRING_FOREVER
                     ? pthread_cond_wait(&cuda->changed, &cuda->mutex)
                     : pthread_cond_timedwait(&cuda->changed, &cuda->mutex, &until);
    }
    if (busy(cuda)) {
        code = slr_cuda_error(error, -ETIMEDOUT, call, "%llu releases%s are pending on streams",
                              (unsigned long long)cuda->pending,
                              cuda->claims != NULL ? ", and claims," : "");
    } else if (cuda->lost != cuda->lost_told) {
        code =
            slr_cuda_error(error, -EIO, call,
                           "the device's context was lost under %llu releases and claims: copies "
                           "may not have run; slots were released, and claimed ones passed over",
                           (unsigned long long)(cuda->lost - cuda->lost_told));
    } else if (cuda->stale != cuda->stale_told) {
        code = slr_cuda_error(error, -ESTALE, call,
                              "a consumer was evicted under its copies: they are void");
    }
    if (code != -ETIMEDOUT) {
        cuda->lost_told = cuda->lost;
        cuda->stale_told = cuda->stale;
    }
    pthread_mutex_unlock(&cuda->mutex);
    return code;
}
