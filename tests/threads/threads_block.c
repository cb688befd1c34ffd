/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves, under ThreadSanitizer: in block rings no access to a slot within its lease races with
 * anything: ordered, unordered and inlined readers, deleters on other threads, two groups, who
 * sleeps, who polls, who comes and goes and who is evicted, with a producer that is relieved.
 */
#include "threads.h"

#include <poll.h>
#include <slipring/dlpack.h>
#include <slipring/inline.h>

static void ordered(struct threads_peer *peer)
{
    struct slipring_consumer *consumer = threads_attach(peer, NULL, 0, 0);
    threads_read(peer, consumer, UINT64_MAX);
    slipring_consumer_detach(consumer);
}

static void sleeper(struct threads_peer *peer)
{
    struct slipring_consumer *consumer = threads_attach(peer, NULL, 0, 0);
    peer->all->sleeping = consumer;
    threads_read(peer, consumer, UINT64_MAX);
    pthread_mutex_lock(&peer->all->lock);
    peer->all->sleeping = NULL;
    pthread_mutex_unlock(&peer->all->lock);
    slipring_consumer_detach(consumer);
}

static void inlined(struct threads_peer *peer)
{
    struct slipring_consumer *consumer = threads_attach(peer, NULL, 0, 0);
    struct slipring_fast *fast = slipring_consumer_fast(consumer);
    const struct proc_ring *how = peer->all->how;
    for (;;) {
        const void *data;
        const int64_t count = slipring_fast_try_acquire(fast, 1 + threads_below(peer, 3), &data);
        if (count == -EPIPE) {
            break;
        }
        CHECK(count > 0 || count == -EAGAIN);
        if (count <= 0) {
            sched_yield();
            continue;
        }
        CHECK(pattern_whole(data, how->bytes, *(const uint64_t *)data));
        CHECK_EQ(slipring_fast_release(fast, (uint64_t)count), 0);
        peer->done++;
    }
    slipring_consumer_detach(consumer);
}

static void *delete_later(void *context)
{
    struct DLManagedTensorVersioned *tensor = context;
    CHECK(*(const volatile uint8_t *)tensor->dl_tensor.data <= UINT8_MAX);
    tensor->deleter(tensor);
    return NULL;
}

/* Views of an unordered consumer, each given back by another thread; the last after detach. */
static void exporter(struct threads_peer *peer)
{
    struct slipring_consumer *consumer = threads_attach(peer, NULL, SLIPRING_UNORDERED, 0);
    struct slipring_view view;
    pthread_t threads[2];
    unsigned count = 0;
    while (slipring_consumer_acquire(consumer, 1, &view, SLIPRING_FOREVER) == 0) {
        struct DLManagedTensorVersioned *tensor;
        threads_check(peer, &view);
        peer->done++;
        if (slipring_view_dlpack(consumer, &view, 0, &tensor) != 0) { /* a spanning message */
            CHECK_EQ(slipring_consumer_release(consumer, &view), 0);
            continue;
        }
        if (count == 2) {
            CHECK_EQ(pthread_join(threads[0], NULL), 0);
            threads[0] = threads[1];
            count--;
        }
        CHECK_EQ(pthread_create(&threads[count++], NULL, delete_later, tensor), 0);
    }
    slipring_consumer_detach(consumer);
    while (count > 0) {
        CHECK_EQ(pthread_join(threads[--count], NULL), 0);
    }
}

static void member(struct threads_peer *peer)
{
    struct slipring_consumer *consumer = threads_attach(peer, "work", SLIPRING_MANY, 0);
    threads_read(peer, consumer, UINT64_MAX);
    slipring_consumer_detach(consumer);
}

static void alone(struct threads_peer *peer)
{
    struct slipring_consumer *consumer = threads_attach(peer, "alone", 0, 0);
    threads_read(peer, consumer, UINT64_MAX);
    slipring_consumer_detach(consumer);
}

static void comer(struct threads_peer *peer)
{
    while (!peer->all->over) {
        static const uint32_t flags[] = {0, SLIPRING_UNORDERED, SLIPRING_NEWEST, SLIPRING_MANY};
        const uint64_t kind = threads_below(peer, 4);
        struct slipring_consumer *consumer =
            threads_attach(peer, kind == 3 ? "work" : NULL, flags[kind], 0);
        threads_read(peer, consumer, threads_below(peer, 8));
        slipring_consumer_detach(consumer);
    }
}

static void poller(struct threads_peer *peer)
{
    struct slipring_consumer *consumer = threads_attach(peer, NULL, 0, 0);
    struct pollfd wanted = {.events = POLLIN};
    struct slipring_view view;
    CHECK_EQ(slipring_consumer_fd(consumer, &wanted.fd, NULL), 0);
    for (;;) {
        const int code = slipring_consumer_try_acquire(consumer, 4, &view);
        if (code == -EPIPE) {
            break;
        }
        if (code == 0) {
            threads_check(peer, &view);
            CHECK_EQ(slipring_consumer_release(consumer, &view), 0);
            peer->done++;
        } else if (slipring_consumer_arm(consumer) == 0) {
            CHECK(poll(&wanted, 1, 1000) >= 0);
        }
    }
    slipring_consumer_detach(consumer);
}

/* Too slow on purpose, as a group of one and as a member of many. */
static void evicted(struct threads_peer *peer)
{
    const bool many = threads_below(peer, 2) == 0;
    while (!peer->all->over) {
        struct slipring_consumer *consumer =
            threads_attach(peer, many ? "slow" : NULL, many ? SLIPRING_MANY : 0, PROC_MS);
        struct slipring_view view;
        const int code = slipring_consumer_acquire(consumer, 1, &view, proc_in_ms(100));
        if (code == 0) {
            proc_pause_us(20000);
            const int released = slipring_consumer_release(consumer, &view);
            CHECK(released == 0 || released == -ESTALE);
            peer->done++;
        }
        slipring_consumer_detach(consumer);
    }
}

int main(void)
{
    proc_begin(240);
    uint64_t random = proc_seed();
    static const struct threads_peer cast[] = {
        {.role = threads_produce, .name = "producer"},
        {.role = ordered, .name = "ordered"},
        {.role = sleeper, .name = "sleeper"},
        {.role = inlined, .name = "inlined"},
        {.role = exporter, .name = "exporter"},
        {.role = member, .name = "member"},
        {.role = member, .name = "member"},
        {.role = alone, .name = "alone"},
        {.role = comer, .name = "comer"},
        {.role = poller, .name = "poller"},
        {.role = evicted, .name = "evicted"},
        {.role = evicted, .name = "evicted"},
        {.role = threads_look, .name = "looker"},
    };
    for (unsigned i = 0; i < PROC_GEOMETRIES; i++) {
        threads_play(&proc_rings[3 * i], cast, sizeof(cast) / sizeof(cast[0]), &random);
    }
    return 0;
}
