/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: whoever is stopped between two instructions of a call, at any of them, finds the control
 * object overwritten and the ring some laps further when it goes on, and still ends the call
 * without a fault, within the ring, and in tensor rings told of what it lost. Every call of a
 * consumer of every kind, from joining to leaving; the producer's, from taking over to leaving.
 *
 *     hostile_step [STOPS]      at so many instructions of a call; of a short one at each
 *
 * Faults: E2.
 */
#define _GNU_SOURCE
#include "../crash/stepkill.h"
#include "ring/handle.h"
#include "hostile.h"
#include "visit.h"

#ifdef SANITIZED
#define STOPS 3 /* forking costs fifty times as much */
#define ROUNDS 1
#else
#define STOPS 30
#define ROUNDS 2
#endif

#define RING .visitors = 1, .tables = 3
#define TENSOR .geometry = SLIPRING_GEOMETRY_TENSOR, .bytes = 512, .slots = 8, RING

static const struct stress variants[] = {
    {.name = "compact",
     .bytes = 56,
     .geometry = SLIPRING_GEOMETRY_COMPACT,
     .slots = 64,
     RING,
     .batch = 16},
    {.name = "pair",
     .bytes = 128,
     .geometry = SLIPRING_GEOMETRY_PAIR,
     .slots = 16,
     RING,
     .batch = 8},
    {.name = "tensor", TENSOR, .spanning = true, .batch = 3},
    {.name = "tensor overwrite", TENSOR, .full = SLIPRING_OVERWRITE, .spanning = true, .batch = 3},
};
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const char *const calls[] = {"attach",         "try_acquire", "acquire",
                                    "try_copy",       "copy",        "inline acquire",
                                    "inline release", "release",     "detach"};
static const char *const producer_calls[] = {"attach", "claim and publish", "detach"};

struct world {
    const struct stress *how;
    struct slipring_ring *ring;
    struct slipring_producer *producer;
    struct slipring_consumer *reader, *dead;
    struct slipring_view view; /* in the reader's hand */
    unsigned role;             /* the victim's; 0: it produces */
    const char *call;          /* where the victim is stopped */
    uint64_t seed;             /* the victim's */
};

static void publish_some(const struct world *w, uint64_t *random, uint64_t times)
{
    uint64_t messages;
    for (uint64_t i = 0; i < times; i++) {
        const int code = stress_publish(w->how, w->producer, random, 0, &messages);
        CHECK(code == 0 || code == -EAGAIN);
    }
}

/* A ring in use: a reader with a view in hand, a member that died with one, messages to read. */
static void build(struct world *w, uint64_t *random)
{
    const bool block = w->how->full == SLIPRING_BLOCK;
    struct slipring_view view;
    w->ring = stress_create(w->how);
    w->producer = proc_producer(w->ring);
    w->reader = proc_member(w->ring, NULL, 0, 0);
    w->dead = proc_member(w->ring, block ? "team" : NULL, block ? SLIPRING_MANY : 0, 0);
    publish_some(w, random, 2);
    if (slipring_consumer_try_acquire(w->reader, 2, &w->view) != 0) {
        w->view.slots = 0; /* a message of more slots than can be held */
    }
    (void)!slipring_consumer_try_acquire(w->dead, 1, &view);
    slr_lock_close(&w->dead->lock); /* dead, as far as anybody can see */
    publish_some(w, random, proc_random(random) % 16);
    if (w->role == 0) {
        slr_lock_close(&w->producer->lock);
    }
}

static void tear_down(struct world *w)
{
    if (w->view.slots > 0) {
        const bool whole = stress_whole(w->how, &w->view);
        const int code = slipring_consumer_release(w->reader, &w->view);
        CHECK(code == 0 || code == -ESTALE || code == -EINVAL);
        CHECK(code != 0 || whole || w->how->geometry != SLIPRING_GEOMETRY_TENSOR);
    }
    slipring_consumer_detach(w->reader);
    slipring_consumer_detach(w->dead);
    slipring_producer_detach(w->producer);
    slipring_ring_close(w->ring);
    w->view.slots = 0;
}

/* ---- victims ---- */

static const char *marked; /* in the victim: the call to be stopped in, until it was made */

static void mark(const char *call, bool begins)
{
    if (marked == NULL || strcmp(call, marked) != 0) {
        return;
    }
    if (begins) {
        sk_begin();
    } else {
        marked = NULL;
        sk_end();
    }
}

static void publish(const struct world *w, const struct visit *how, uint64_t *random)
{
    uint64_t messages;
    struct visit_clock begin = visit_begin(how, "attach");
    struct slipring_producer *producer = proc_producer(w->ring);
    visit_end(how, begin, 0);
    begin = visit_begin(how, "claim and publish");
    for (int i = 0; i < 3; i++) {
        const int64_t deadline = i == 2 ? proc_in_ms(2) : 0;
        const int code = stress_publish(w->how, producer, random, deadline, &messages);
        CHECK(code == 0 || code == -EAGAIN || code == -ETIMEDOUT);
    }
    visit_end(how, begin, 2);
    begin = visit_begin(how, "detach");
    slipring_producer_detach(producer);
    visit_end(how, begin, 0);
}

static void victim(void *context)
{
    const struct world *w = (const struct world *)context;
    const struct visit how = {.how = w->how,
                              .ring = w->ring,
                              .scribbled = true,
                              .mark = mark,
                              .role = w->role,
                              .rounds = 4};
    uint64_t random = w->seed;
    marked = w->call;
    if (w->role > 0) {
        (void)visit(&how, &random);
    } else {
        publish(w, &how, &random);
    }
    fflush(NULL);
    _exit(0);
}

/* ---- stops ---- */

/* While the victim is stopped. */
static void disturb(struct world *w, uint64_t *random)
{
    const uint64_t chance = proc_random(random);
    const uint32_t parts = (uint32_t)(chance >> 8) % HOSTILE_ALL | HOSTILE_ANYWHERE;
    if ((chance >> 48) % 4 != 0) {
        hostile_open_gates(w->ring);
    } else {
        hostile_write(w->ring, parts, 1u << chance % 10, random);
    }
    if (w->role > 0) {
        publish_some(w, random, (chance >> 32) % 4 == 0 ? 0 : 2 * w->how->slots);
        hostile_write(w->ring, parts, (chance >> 40) % 2 == 0 ? 0 : 100, random);
    }
}

static void stop_at(struct world *w, const struct sk_trace *trace, uint32_t step, uint64_t *random)
{
    int status = 0;
    pid_t pid;
    build(w, random);
    if (sk_run_to(victim, w, trace, step, &pid, &status) >= 0) {
        disturb(w, random);
        status = sk_resume(pid, INT64_C(20000000000));
    }
    if (status == -1 || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        FAIL("%s, role %u: disturbed in \"%s\" at instruction %u of %u it ended with %s 0x%x",
             w->how->name, w->role, w->call, step, trace->count,
             status == -1 ? "no end, and" : "status", (unsigned)status);
    }
    tear_down(w);
}

/* How many stops were made; 0 if this role makes no such call. */
static uint64_t stop_in(struct world *w, uint64_t stops, uint64_t *random)
{
    struct sk_trace trace;
    int status;
    uint64_t new = 0, made = 0;
    w->seed = proc_random(random);
    build(w, random);
    const int code = sk_record(victim, w, &trace, &status);
    CHECK(code == 0 || code == -EINVAL);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    tear_down(w);
    if (code != 0) {
        return 0;
    }
    for (uint32_t i = 0; i < trace.count; i++) {
        new += trace.nth[i] <= 2; /* the rest of a loop is more of the same */
    }
    const uint64_t every = new > 5 * stops ? new / stops : 1, first = proc_random(random) % every;
    for (uint32_t i = 0, at = 0; i < trace.count; i++) {
        if (trace.nth[i] <= 2 && at++ % every == first) {
            stop_at(w, &trace, i, random);
            made++;
        }
    }
    sk_trace_free(&trace);
    return made;
}

int main(int argc, char **argv)
{
    const uint64_t stops = argc > 1 ? strtoull(argv[1], NULL, 0) : STOPS;
    if (!sk_possible()) {
        SKIP("this process may not trace its children");
    }
    proc_begin(200 + (unsigned)stops * 10);
    uint64_t random = proc_seed();
    for (size_t i = 0; i < ROUNDS * COUNT(variants); i++) {
        const struct stress *how = &variants[i % COUNT(variants)];
        struct world w = {.how = how};
        uint64_t made = 0;
        for (size_t k = 0; k < COUNT(producer_calls); k++) {
            w.call = producer_calls[k];
            made += stop_in(&w, stops, &random);
        }
        const bool block = how->full == SLIPRING_BLOCK;
        for (w.role = 1; w.role <= (block ? VISIT_ROLES_BLOCK : VISIT_ROLES_OVERWRITE); w.role++) {
            for (size_t k = 0; k < COUNT(calls); k++) {
                w.call = calls[k];
                made += stop_in(&w, stops, &random);
            }
        }
        printf("%s: %llu stops\n", how->name, (unsigned long long)made);
    }
    return 0;
}
