/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GROUP, REAP: a group of two shares two messages in two slots; one member dies before its CRASHth
 * shared access (0: lives). NO_REAPER: the other works on meanwhile; ALONE: a third thread reaps
 * meanwhile; PRODUCER: nobody dies, and a third message is published into the first slot.
 * Forbidden: a message that nobody finishes; with no death, one that two finish; a payload
 * overwritten before its member finished; position past an unfinished message.
 * Fails with: position moved over what is only taken; slr_cas64() relaxed.
 * Faults: A5, E9.
 */
#define MODEL_MEMBERS 2
#define MODEL_GROUPS 1
#ifdef CRASH
#define MODEL_DIES CRASH
#else
#define MODEL_DIES 0
#endif
#include "core.h"

static _Atomic uint32_t finished[3];

static void work(struct slipring_consumer *c)
{
    struct slipring_view view;
    if (acquire_many(c, 1, &view) == 0) {
        const uint64_t s = view.slot.sequence;
        model_assert(model_read_payload(&model_payload[s % MODEL_SLOTS]) == 100 + s);
        if (release_many(c, &view) == 0) {
            model_count(finished[s]);
        }
    }
}

static void *member(void *context)
{
    const uint32_t cell = (uint32_t)(uintptr_t)context;
    struct slipring_consumer c;
    struct slipring_fast fast;
    model_consumer(&c, &fast, 2 + cell, cell, 0, SLR_KIND_MANY, 0);
    MODEL_MINE(model_own_steps) = cell == 0 ? MODEL_DIES : 0;
    work(&c);
    MODEL_MINE(model_own_steps) = 0;
    return (void *)0;
}

static void *reaper(void *context)
{
    (void)context;
    MODEL_MINE(model_own_id) = 4;
#ifdef PRODUCER
    struct slipring_producer p;
    struct slipring_fast fast;
    model_producer(&p, &fast, 1, 2);
    if (claim_room(&p, 1) == 0) {
        model_publish(&p, 102);
    }
#else
    slr_group_recover(MODEL_RING, 0);
#endif
    return (void *)0;
}

int main(void)
{
    struct slipring_producer p;
    struct slipring_fast fast;
    model_ring();
    model_producer(&p, &fast, 1, 0);
    model_group(0);
    model_attached(0, 0, SLR_KIND_MANY, 2);
    model_attached(1, 0, SLR_KIND_MANY, 3);
    model_published(&p, 2, 100);
    model_thread(0, member, 0);
#ifndef ALONE
    model_thread(1, member, 1);
#endif
#ifndef NO_REAPER
    model_thread(2, reaper, 0);
    model_join(2);
#endif
    model_join(0);
#ifndef ALONE
    model_join(1);
#endif
    /* What is left is given back and found by the one that lives; then all is finished. */
    struct slipring_consumer c;
    model_consumer(&c, &fast, 3, 1, 0, SLR_KIND_MANY, 0);
    slr_group_recover(MODEL_RING, 0);
    work(&c);
    work(&c);
    const uint64_t position = slr_load64_acquire(&model_groups[0].position);
    model_assert(position >= 2 && slr_group_finished(&c, position));
    for (int s = 0; s < 2; s++) {
        const uint32_t n = model_noted(finished[s]);
        /* A death between the finish and our note of it is no loss. */
        model_assert(n == 1 || (MODEL_DIES != 0 && n == 0));
    }
    return 0;
}
