/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves, under ThreadSanitizer: in overwrite rings held slots are read without a race, and the
 * validated copy-out (src/base/copy.h), annotated as the one exception, is all that races: with
 * copiers, holders, readers of the newest, who comes and goes, and a producer that is relieved.
 */
#include "threads.h"

static void copies(struct threads_peer *peer, struct slipring_consumer *consumer, uint64_t most)
{
    static const uint64_t bytes = 3 * 4096;
    void *buffer = malloc(bytes);
    struct slipring_view view;
    CHECK(buffer != NULL);
    for (uint64_t i = 0; i < most; i++) {
        const int code = slipring_consumer_copy(consumer, buffer, bytes, &view, SLIPRING_FOREVER);
        if (code == -EPIPE) {
            break;
        }
        if (code != -ECANCELED) {
            CHECK_EQ(code, 0);
            view.slots = 1;
            threads_check(peer, &view);
            peer->done++;
        }
    }
    free(buffer);
}

static void copier(struct threads_peer *peer)
{
    struct slipring_consumer *consumer = threads_attach(peer, NULL, 0, 0);
    copies(peer, consumer, UINT64_MAX);
    slipring_consumer_detach(consumer);
}

static void sleeper(struct threads_peer *peer)
{
    struct slipring_consumer *consumer = threads_attach(peer, NULL, SLIPRING_NEWEST, 0);
    peer->all->sleeping = consumer;
    copies(peer, consumer, UINT64_MAX);
    pthread_mutex_lock(&peer->all->lock);
    peer->all->sleeping = NULL;
    pthread_mutex_unlock(&peer->all->lock);
    slipring_consumer_detach(consumer);
}

static void comer(struct threads_peer *peer)
{
    while (!peer->all->over) {
        struct slipring_consumer *consumer =
            threads_attach(peer, NULL, (uint32_t)threads_below(peer, 2) * SLIPRING_NEWEST, 0);
        if (proc_holds(peer->all->how) && threads_below(peer, 2) == 0) {
            threads_read(peer, consumer, threads_below(peer, 8));
        } else {
            copies(peer, consumer, threads_below(peer, 8));
        }
        slipring_consumer_detach(consumer);
    }
}

static void holder(struct threads_peer *peer)
{
    struct slipring_consumer *consumer = threads_attach(peer, NULL, 0, 0);
    threads_read(peer, consumer, UINT64_MAX);
    slipring_consumer_detach(consumer);
}

int main(void)
{
    proc_begin(240);
    uint64_t random = proc_seed();
    static const struct threads_peer cast[] = {
        {.role = threads_produce, .name = "producer"},
        {.role = threads_look, .name = "looker"},
        {.role = copier, .name = "copier"},
        {.role = sleeper, .name = "newest"},
        {.role = comer, .name = "comer"},
        {.role = holder, .name = "holder"},
        {.role = holder, .name = "holder"},
    };
    const unsigned count = sizeof(cast) / sizeof(cast[0]);
    for (unsigned i = 0; i < PROC_GEOMETRIES; i++) {
        const struct proc_ring *how = &proc_rings[3 * i + 2];
        threads_play(how, cast, proc_holds(how) ? count : count - 2, &random);
    }
    return 0;
}
