/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The peers of a ring as threads over one mapping, so that ThreadSanitizer sees both sides of each edge
 * (the tables of src/ring/layout.h and src/base/sequence.h). It sees nothing where the two sides map the
 * ring at different addresses. A role is a function; a variant lists the roles that take part. All read
 * with plain loads what they were given, until it is given back, and never what may be taken away
 * meanwhile: a role that can be evicted leaves the payload alone.
 */
#ifndef THREADS_H
#define THREADS_H

#include "ring/handle.h"
#include "ring/slot.h"
#include "proc.h"

#include <pthread.h>
#include <stdatomic.h>

enum { THREADS_PEERS = 16, THREADS_RUN_MS = 1000 };

struct threads {
    const struct proc_ring *how;
    struct slipring_ring *ring;
    _Atomic bool over;
    _Atomic(struct slipring_consumer *) sleeping; /* for others to wake, while it lives */
    pthread_mutex_t lock;                         /* of `sleeping` */
};

struct threads_peer {
    struct threads *all;
    void (*role)(struct threads_peer *peer);
    const char *name;
    uint64_t random, done; /* what it did; must be something */
    pthread_t thread;
};

static inline uint64_t threads_below(struct threads_peer *peer, uint64_t n)
{
    return proc_random(&peer->random) % n;
}

static inline struct slipring_consumer *threads_attach(struct threads_peer *peer, const char *group,
                                                       uint32_t flags, uint64_t evict_after_ns)
{
    struct slipring_consumer_config config;
    struct slipring_consumer *consumer;
    struct slipring_error error = {0};
    slipring_consumer_config_init(&config);
    config.group = group;
    config.flags = flags | SLIPRING_AWAIT_PRODUCER;
    config.slow = evict_after_ns != 0 ? SLIPRING_EVICT : SLIPRING_GATE;
    config.evict_after_ns = evict_after_ns;
    config.start = (uint32_t)threads_below(peer, 2);
    config.wait = (uint32_t)threads_below(peer, 2) * SLIPRING_WAIT_SLEEP;
    if (slipring_consumer_attach(peer->all->ring, &config, &consumer, &error) != 0) {
        FAIL("%s: attach: %d %s", peer->name, error.code, error.text);
    }
    return consumer;
}

static inline void threads_check(const struct threads_peer *peer, const struct slipring_view *view)
{
    const struct proc_ring *how = peer->all->how;
    const bool spans = view->slot.bytes > how->bytes;
    for (uint64_t i = 0; i < (spans ? 1 : view->slots); i++) {
        if (!pattern_whole((const char *)view->data + i * view->stride,
                           spans ? view->slot.bytes : how->bytes, view->slot.sequence + i)) {
            FAIL("%s: sequence %llu is not whole", peer->name,
                 (unsigned long long)(view->slot.sequence + i));
        }
    }
}

/* ---- roles of all rings ---- */

static inline int threads_publish(struct threads_peer *peer, struct slipring_producer *producer)
{
    const struct proc_ring *how = peer->all->how;
    /* No message that spans more slots than may be held. */
    const uint64_t n = 1 + threads_below(peer, how->full == SLIPRING_BLOCK ? 3 : 2);
    struct slipring_loan loan;
    if (how->geometry != SLIPRING_GEOMETRY_TENSOR || n == 1 || threads_below(peer, 2) == 0) {
        return proc_publish(producer, how, n, proc_in_ms(20));
    }
    const int code = slipring_producer_claim(producer, n, &loan, proc_in_ms(20));
    if (code != 0) {
        return code;
    }
    const struct slipring_slot header = {.bytes = loan.bytes - 64};
    pattern_fill(loan.data, header.bytes, loan.sequence);
    return slipring_producer_publish_spanning(producer, &header);
}

static inline void threads_produce(struct threads_peer *peer)
{
    while (!peer->all->over) {
        struct slipring_producer *producer = proc_producer(peer->all->ring);
        for (int i = 0; i < 2000 && !peer->all->over; i++) {
            const int code = threads_publish(peer, producer);
            CHECK(code == 0 || code == -ETIMEDOUT);
            peer->done += code == 0;
        }
        slipring_producer_detach(producer);
    }
    slipring_producer_close(proc_producer(peer->all->ring));
}

static inline void threads_look(struct threads_peer *peer)
{
    struct slipring_member members[16] = {{.struct_size = sizeof(members[0])}};
    struct slipring_group_info groups[16] = {{.struct_size = sizeof(groups[0])}};
    struct slipring_dead_letter letters[64];
    while (!peer->all->over) {
        CHECK(proc_info(peer->all->ring).members <= 16);
        CHECK(slipring_ring_members(peer->all->ring, members, 16) >= 0);
        CHECK(slipring_ring_groups(peer->all->ring, groups, 16) >= 0);
        CHECK_EQ(slipring_ring_dead_letters(peer->all->ring, letters, 64), 0);
        pthread_mutex_lock(&peer->all->lock);
        if (peer->all->sleeping != NULL) {
            slipring_consumer_wake(peer->all->sleeping);
        }
        pthread_mutex_unlock(&peer->all->lock);
        proc_pause_us(500);
        peer->done++;
    }
}

/* Of a view that came back void: what its slots and the holds say, each less what they should be. */
static inline void threads_tell(const struct threads_peer *peer, int code,
                                const struct slipring_consumer *consumer,
                                const struct slipring_view *view)
{
    const struct slr_segment *segment = &consumer->ring->segment;
    const uint64_t first = view->slot.sequence;
    fprintf(stderr,
            "%s in cell %u (word %llx, its own %llx): release of %llu is %d; cursor %+lld\n",
            peer->name, consumer->cell,
            (unsigned long long)slr_load64(&segment->cells[consumer->cell].word),
            (unsigned long long)consumer->word, (unsigned long long)first, code,
            (long long)(slr_load64(&segment->data->cursor) - first));
    for (uint64_t s = first; !slr_is_compact(segment) && s != first + view->slots; s++) {
        fprintf(stderr, "slot %llu: stamp %+lld payload %+lld span %x\n", (unsigned long long)s,
                (long long)(slr_load64(slr_stamp(segment, s)) - s),
                (long long)(slr_load64(&slr_header(segment, s)->payload_sequence) - s),
                slr_load32(&slr_header(segment, s)->span));
    }
    for (uint32_t i = 0; i < segment->geometry.hold_max; i++) {
        fprintf(stderr, "hold %llx, flag %u\n", (unsigned long long)slr_load64(&segment->holds[i]),
                slr_load32(&segment->control->holds_exist));
    }
}

static inline void threads_read(struct threads_peer *peer, struct slipring_consumer *consumer,
                                uint64_t most)
{
    struct slipring_view view;
    for (uint64_t i = 0; i < most; i++) {
        const int code = slipring_consumer_acquire(consumer, 1 + threads_below(peer, 3), &view,
                                                   SLIPRING_FOREVER);
        if (code == -EPIPE) {
            break;
        }
        if (code == -ECANCELED || code == -ENOBUFS) { /* woken; others hold all that may be held */
            sched_yield();
            continue;
        }
        CHECK_EQ(code, 0);
        threads_check(peer, &view);
        if (threads_below(peer, 16) == 0) {
            proc_pause_us(100);
            threads_check(peer, &view);
        }
        const int released = slipring_consumer_release(consumer, &view);
        if (released != 0) {
            threads_tell(peer, released, consumer, &view);
        }
        CHECK_EQ(released, 0);
        peer->done++;
    }
}

/* ---- the play ---- */

static inline void *threads_run(void *context)
{
    struct threads_peer *peer = (struct threads_peer *)context;
    peer->role(peer);
    return NULL;
}

static inline void threads_play(const struct proc_ring *how, const struct threads_peer *cast,
                                unsigned count, uint64_t *random)
{
    struct threads all = {.how = how, .ring = proc_make(how, 0)};
    struct threads_peer peers[THREADS_PEERS];
    CHECK(count <= THREADS_PEERS && pthread_mutex_init(&all.lock, NULL) == 0);
    for (unsigned i = 0; i < count; i++) {
        peers[i] = cast[i];
        peers[i].all = &all;
        peers[i].random = proc_random(random);
        CHECK_EQ(pthread_create(&peers[i].thread, NULL, threads_run, &peers[i]), 0);
    }
    proc_pause_us(THREADS_RUN_MS * 1000);
    all.over = true;
    for (unsigned i = 0; i < count; i++) {
        CHECK_EQ(pthread_join(peers[i].thread, NULL), 0);
    }
    printf("%s:", how->name);
    for (unsigned i = 0; i < count; i++) {
        printf(" %s %llu", peers[i].name, (unsigned long long)peers[i].done);
        CHECK(peers[i].done > 0);
    }
    printf("\n");
    CHECK_EQ(proc_info(all.ring).members, 0);
    pthread_mutex_destroy(&all.lock);
    slipring_ring_close(all.ring);
}

#endif
