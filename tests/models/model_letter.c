/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The list of dead letters (INIT, COPY of an entry): a reader copies the oldest entry out while
 * another letter takes its place. CRASH: a message has failed for the last time; a reaper gives it
 * up and dies before its CRASHth shared access, and the next one does the work again.
 * Forbidden: an entry made of two letters; CRASH: a message that is listed twice, or is not.
 * Fails with: either fence of an entry removed; CRASH: a letter listed after its message is given
 * up, or without a look whether it is there.
 * Faults: A7, E9.
 */
#define MODEL_MEMBERS 2
#define MODEL_GROUPS 1
#include "core.h"

#include "ring/ring_inspect.c"

#ifdef CRASH
static void *reaper(void *context)
{
    MODEL_MINE(model_own_id) = 3 + (uint32_t)(uintptr_t)context;
    MODEL_MINE(model_own_steps) = context == (void *)0 ? CRASH : 0;
    slr_group_recover(MODEL_RING, 0);
    return (void *)0;
}

int main(void)
{
    struct slipring_producer p;
    struct slipring_fast fast;
    uint32_t listed_here = 0;
    model_ring();
    model_producer(&p, &fast, 1, 0);
    model_group(0);
    model_published(&p, 2, 100);
    model_attached(0, 0, SLR_KIND_MANY, 2);
    slr_store64(slr_lease_word(&model_mapping.segment, 0, 0),
                slr_lease(0, 1, 0, SLR_LEASE_TAKEN, 1));
    slr_store64(slr_lease_word(&model_mapping.segment, 0, 1),
                slr_lease(1, 1, 0, SLR_LEASE_TAKEN, SLR_DELIVERIES_MAX));
    model_thread(0, reaper, 0);
    model_join(0);
    model_thread(1, reaper, 1);
    model_join(1);
    for (uint32_t i = 0; i < SLR_DEAD_LETTERS; i++) {
        const struct slr_dead_letter *letter = &model_control.letters[i];
        listed_here +=
            slr_load64_acquire(&letter->number) != 0 && slr_load64(&letter->sequence) == 1;
    }
    model_assert(listed_here == 1);
    const uint64_t lease = slr_load64_acquire(slr_lease_word(&model_mapping.segment, 0, 1));
    model_assert(slr_lease_state(lease) == SLR_LEASE_DONE);
    return 0;
}
#else
static void *lister(void *context)
{
    (void)context;
    MODEL_MINE(model_own_id) = 2;
    list_dead_letter(&model_mapping.segment, 0, 7, 107, 2);
    return (void *)0;
}

static void *reader(void *context)
{
    struct slipring_dead_letter letter;
    uint64_t number;
    (void)context;
    MODEL_MINE(model_own_id) = 3;
    if (read_letter(&model_mapping.segment, 0, &number, &letter)) {
        model_assert(number == 1 || number == SLR_DEAD_LETTERS + 1);
        model_assert(letter.sequence == (number == 1 ? 5 : 7));
        model_assert(letter.tag == 100 + letter.sequence);
        model_assert(letter.cause == (number == 1 ? 1 : 2));
    }
    return (void *)0;
}

int main(void)
{
    struct slr_dead_letter *oldest = &model_control.letters[0];
    model_ring();
    slr_store64(&oldest->sequence, 5);
    slr_store64(&oldest->tag, 105);
    slr_store32(&oldest->group, UINT32_MAX); /* none: names are not modelled */
    slr_store32(&oldest->cause, 1);
    slr_store64(&oldest->number, 1);
    slr_store64(&model_control.dead_letters, SLR_DEAD_LETTERS); /* the next one goes there */
    model_thread(0, lister, 0);
    model_thread(1, reader, 0);
    return 0;
}
#endif
