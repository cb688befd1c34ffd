/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: try_claim, publish, try_acquire (or try_copy) and release may be called from a signal
 * handler, whatever the program was doing: it allocates, makes and removes rings, attaches and
 * detaches all the time, and sleepers in another process are woken by what the handler publishes.
 * In the handler the library allocates nothing, takes no lock and keeps errno; no message is lost.
 * Faults: D10.
 */
#define _GNU_SOURCE
#include "proc.h"

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <sys/time.h>

enum { ROUNDS = 30, KEPT = 4711 };

static volatile sig_atomic_t in_handler;

static void not_in_handler(const char *what)
{
    if (in_handler) {
        static const char text[] = " was called in a signal handler\n";
        const bool written = write(2, what, strlen(what)) > 0 && write(2, text, sizeof(text)) > 0;
        _exit(written ? 1 : 2);
    }
}

#ifndef SANITIZED                  /* which has an allocator of its own */
void *__libc_malloc(size_t bytes); /* NOLINT: the names of the C library */
void *__libc_calloc(size_t count, size_t bytes);
void __libc_free(void *memory);

void *malloc(size_t bytes)
{
    not_in_handler("malloc()");
    return __libc_malloc(bytes);
}

void *calloc(size_t count, size_t bytes)
{
    not_in_handler("calloc()");
    return __libc_calloc(count, bytes);
}

void free(void *memory)
{
    not_in_handler("free()");
    __libc_free(memory);
}
#endif

int pthread_mutex_lock(pthread_mutex_t *mutex)
{
    static int (*next)(pthread_mutex_t *);
    not_in_handler("pthread_mutex_lock()");
    if (next == NULL) {
        void *found = dlsym(RTLD_NEXT, "pthread_mutex_lock");
        CHECK(found != NULL);
        memcpy(&next, &found, sizeof(next));
    }
    return next(mutex);
}

static const struct proc_ring *how;
static struct slipring_producer *producer;
static struct slipring_consumer *consumer;
static volatile uint64_t published, taken, full, failed;

static void on_alarm(int number)
{
    struct slipring_view view;
    const int saved = errno;
    (void)number;
    errno = KEPT;
    in_handler = 1;
    for (int i = 0; i < 3; i++) { /* more than is taken: the ring fills */
        const int code = proc_publish(producer, how, 1, 0);
        published += code == 0;
        full += code == -EAGAIN;
        failed += code != 0 && code != -EAGAIN;
    }
    for (int i = 0; i < 2; i++) {
        const int code = proc_take(consumer, how, &view, 0);
        taken += code == 0;
        failed += code != 0 && code != -EAGAIN;
    }
    in_handler = 0;
    failed += errno != KEPT;
    errno = saved;
}

/* Sleeps for each message, so that publish has somebody to wake. */
static int sleeper(struct proc *self, void *context)
{
    struct slipring_consumer_config config;
    struct slipring_consumer *mine;
    struct slipring_view view;
    uint64_t next = 0;
    slipring_consumer_config_init(&config);
    config.wait = SLIPRING_WAIT_SLEEP;
    config.start = SLIPRING_OLDEST;
    CHECK_EQ(slipring_consumer_attach(context, &config, &mine, NULL), 0);
    proc_tell(self, 0);
    int code;
    while ((code = proc_take(mine, how, &view, proc_in_ms(20000))) == 0) {
        CHECK((int64_t)(view.slot.sequence - next - view.missed) >= 0);
        CHECK(how->full == SLIPRING_OVERWRITE || view.slot.sequence == next);
        next = view.slot.sequence + 1;
    }
    CHECK_EQ(code, -EPIPE);
    return 0;
}

/* All that takes locks and memory. */
static void be_busy(void)
{
    struct slipring_config config;
    struct slipring_ring *ring;
    proc_config(&proc_rings[0], &config);
    CHECK_EQ(slipring_ring_create(SLIPRING_AUTO_NAME, &config, &ring, NULL), 0);
    struct slipring_producer *other = proc_producer(ring);
    slipring_consumer_detach(proc_consumer(ring, &proc_rings[0], SLIPRING_OLDEST));
    slipring_producer_detach(other);
    CHECK_EQ(slipring_ring_unlink(slipring_ring_name(ring), NULL), 0);
    slipring_ring_close(ring);
    for (size_t bytes = 16; bytes < 100000; bytes *= 2) {
        void *memory = malloc(bytes);
        CHECK(memory != NULL);
        free(memory);
    }
}

static void run(void)
{
    const struct itimerval often = {{0, 300}, {0, 300}}, never = {{0, 0}, {0, 0}};
    struct slipring_ring *ring = proc_make(how, 0);
    struct proc child = proc_start(sleeper, ring);
    proc_hear(&child);
    producer = proc_producer(ring);
    consumer = proc_consumer(ring, how, SLIPRING_OLDEST);
    published = taken = full = failed = 0;
    CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
    const bool fills = how->full == SLIPRING_BLOCK;
    for (int i = 0; i < ROUNDS || published < 100 || (fills && full == 0); i++) {
        be_busy();
    }
    CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
    printf("%s: %llu published, %llu taken in handlers\n", how->name, (unsigned long long)published,
           (unsigned long long)taken);
    CHECK_EQ(failed, 0);
    CHECK(taken > 0);
    CHECK(fills || full == 0);
    slipring_producer_close(producer);
    slipring_consumer_detach(consumer);
    proc_end(&child);
    slipring_ring_close(ring);
}

int main(void)
{
#ifdef SANITIZED_THREADS
    SKIP("stands in front of a lock that the thread sanitizer must see itself");
#endif
    proc_begin(0); /* the alarm is the test's own; the time limit is the caller's */
    const struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    for (unsigned i = 0; i < PROC_RINGS; i++) {
        how = &proc_rings[i];
        run();
    }
    return 0;
}
