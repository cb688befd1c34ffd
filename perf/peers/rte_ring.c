/* SPDX-License-Identifier: Apache-2.0 */
/* DPDK's rte_ring, one producer and one consumer; for work sharing its head/tail sync mode. */
#include "peer.h"

#include <rte_ring.h>
#include <rte_ring_elem.h>

#include <sched.h>

#define SLOTS 1024u

static struct rte_ring *ring_make(unsigned flags)
{
    const ssize_t bytes = rte_ring_get_memsize_elem(sizeof(struct message), SLOTS);
    CHECK(bytes > 0);
    struct rte_ring *ring = shared_new((uint64_t)bytes);
    CHECK(rte_ring_init(ring, "peer", SLOTS, flags) == 0);
    return ring;
}

static void *queue_new(void)
{
    return ring_make(RING_F_SP_ENQ | RING_F_SC_DEQ);
}

static void queue_delete(void *queue)
{
    shared_free(queue, (uint64_t)rte_ring_get_memsize_elem(sizeof(struct message), SLOTS));
}

static void *queue_open(void *queue, bool writes)
{
    (void)writes;
    return queue;
}

static inline unsigned queue_put(void *end, const struct message *messages, unsigned count)
{
    return rte_ring_sp_enqueue_burst_elem(end, messages, sizeof *messages, count, NULL);
}

static inline unsigned queue_get(void *end, struct message *messages, unsigned count)
{
    return rte_ring_sc_dequeue_burst_elem(end, messages, sizeof *messages, count, NULL);
}

#include "queue.h"

/* ---- group_4_batch16 ---- */

#define MEMBERS 4
#define GROUP_BATCH 16u

struct sharing {
    _Alignas(BENCH_PAD) _Atomic uint64_t count, sum;
    _Alignas(BENCH_PAD) _Atomic bool done;
    const struct run *run;
    struct rte_ring *ring;
    uint64_t messages;
};

static void share_out(struct sharing *sharing)
{
    struct message messages[GROUP_BATCH];
    for (uint64_t s = 0; s < sharing->messages; s += GROUP_BATCH) {
        for (unsigned i = 0; i < GROUP_BATCH; i++) {
            words_fill(messages[i].words, 7, s + i);
        }
        for (unsigned n = 0; n < GROUP_BATCH;) {
            n += rte_ring_sp_enqueue_burst_elem(sharing->ring, messages + n, sizeof *messages,
                                                GROUP_BATCH - n, NULL);
        }
    }
    atomic_store(&sharing->done, true);
}

static void take_some(struct sharing *sharing)
{
    struct message messages[GROUP_BATCH];
    uint64_t count = 0, sum = 0;
    for (;;) {
        const bool done = atomic_load(&sharing->done);
        const unsigned n = rte_ring_mc_hts_dequeue_burst_elem(sharing->ring, messages,
                                                              sizeof *messages, GROUP_BATCH, NULL);
        if (n == 0) {
            if (done) {
                break;
            }
            if (bench_processors() <= MEMBERS) {
                sched_yield();
            }
        }
        for (unsigned i = 0; i < n; i++) {
            CHECK(words_right(messages[i].words, 7, messages[i].words[0]));
            sum += messages[i].words[0];
        }
        count += n;
    }
    atomic_fetch_add(&sharing->count, count);
    atomic_fetch_add(&sharing->sum, sum);
}

static int play_group(struct seat *seat, void *context)
{
    struct sharing *sharing = context;
    const int64_t start = seat_meet(seat);
    seat_index(seat) == 0 ? share_out(sharing) : take_some(sharing);
    const int64_t end = seat_meet(seat);
    if (seat_index(seat) == 0) {
        const uint64_t n = sharing->messages;
        samples_add(sharing->run->chunks, (double)n * 1e9 / (double)(end - start));
        CHECK(atomic_load(&sharing->count) == n && atomic_load(&sharing->sum) == n * (n - 1) / 2);
    }
    return 0;
}

static int run_group(const struct run *run, const void *context)
{
    (void)context;
    struct sharing *sharing = shared_new(sizeof *sharing);
    int result = 0;
    for (int window = 0; window < 4 && result == 0; window++) {
        atomic_store(&sharing->count, 0);
        atomic_store(&sharing->sum, 0);
        atomic_store(&sharing->done, false);
        sharing->run = run;
        sharing->messages = UINT64_C(1) << (run->quick ? 18 : 21);
        sharing->ring = ring_make(RING_F_SP_ENQ | RING_F_MC_HTS_DEQ);
        result = team_run(1 + MEMBERS, play_group, sharing);
        queue_delete(sharing->ring);
    }
    shared_free(sharing, sizeof *sharing);
    return result;
}

const struct peer_measure peer_measures[] = {
    QUEUE_MEASURES, {"group_4_batch16", run_group, NULL}, {NULL, NULL, NULL}};
