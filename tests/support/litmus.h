/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A race tested by its outcomes, as in jcstress: many short trials of the two sides of one ordering
 * edge of src/ring/layout.h or src/base/sequence.h, each trial ending in one of the outcomes listed. A
 * forbidden outcome fails the test, and so does one that must be seen and never was: then the two sides
 * never met and the trials prove nothing.
 */
#ifndef LITMUS_H
#define LITMUS_H

#include "proc.h"

enum litmus_kind { LITMUS_ALLOWED, LITMUS_SEEN, LITMUS_FORBIDDEN };

struct litmus_outcome {
    const char *name;
    enum litmus_kind kind;
    uint64_t count;
};

static inline void litmus_judge(const char *title, const struct litmus_outcome *outcomes,
                                unsigned count)
{
    static const char *const kinds[] = {"allowed", "must be seen", "FORBIDDEN"};
    bool wrong = false;
    printf("%s\n", title);
    for (unsigned i = 0; i < count; i++) {
        const struct litmus_outcome *o = &outcomes[i];
        printf("    %12llu  %s (%s)\n", (unsigned long long)o->count, o->name, kinds[o->kind]);
        wrong |= (o->kind == LITMUS_FORBIDDEN && o->count != 0) ||
                 (o->kind == LITMUS_SEEN && o->count == 0);
    }
    if (wrong) {
        FAIL("%s: see the outcomes above", title);
    }
}

/* To go on until end_ns, and on a busy machine for longer: until each outcome that must be seen was seen,
 * or it is clear that one never will be. */
#define LITMUS_PATIENCE INT64_C(10000000000)
static inline bool litmus_goes_on(int64_t end_ns, const struct litmus_outcome *outcomes,
                                  unsigned count)
{
    const int64_t now = slipring_now_ns();
    bool unseen = false;
    for (unsigned i = 0; i < count; i++) {
        unseen |= outcomes[i].kind == LITMUS_SEEN && outcomes[i].count == 0;
    }
    return now < end_ns || (unseen && now < end_ns + LITMUS_PATIENCE);
}

/* Up to a few hundred processor cycles, most often none, so that the sides meet at every phase. */
static inline void litmus_jitter(uint64_t *random)
{
    const uint64_t r = proc_random(random);
    if (r % 4 != 0) {
        return;
    }
    for (volatile uint64_t i = r >> 32 & 127; i != 0; i--) {
    }
}

/* Seldom, and long enough for a side that is always slower to catch up. */
static inline void litmus_rest(uint64_t *random)
{
    if (proc_random(random) % 1024 == 0) {
        for (volatile uint64_t i = 0; i < 50000; i++) {
        }
    }
}

/* The other side: a producer that publishes 1 to most slots at a time until it is killed. */
struct litmus_source {
    const struct proc_ring *how;
    struct slipring_ring *ring;
    uint64_t most, seed;
    _Atomic uint64_t *gated; /* counts -EAGAIN, or NULL */
    bool patient;            /* waits for room and leaves the processor to others */
};

static inline int litmus_source_body(struct proc *self, void *context)
{
    const struct litmus_source *source = (const struct litmus_source *)context;
    struct slipring_producer *producer = proc_producer(source->ring);
    uint64_t random = source->seed;
    proc_pin(1);
    proc_tell(self, 0);
    for (;;) {
        const uint64_t n = 1 + proc_random(&random) % source->most;
        const int64_t deadline = source->patient ? proc_in_ms(100) : 0;
        const int code = proc_publish(producer, source->how, n, deadline);
        CHECK(code == 0 || code == -EAGAIN || code == -ETIMEDOUT);
        if (code != 0 && source->gated != NULL) {
            (*source->gated)++;
        }
        litmus_jitter(&random);
        litmus_rest(&random);
    }
}

static inline struct proc litmus_source_start(struct litmus_source *source)
{
    proc_pin(0);
    struct proc child = proc_start(litmus_source_body, source);
    proc_hear(&child);
    return child;
}

#endif
