/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SLEEP: a consumer sleeps for messages, or (PRODUCER_SLEEPS) the producer for room, in the real
 * slr_wait(). No sleep but the doze ends by itself, and a wake reaches every thread that sleeps on the
 * old word. FAST (GenMC only): the other one publishes, or releases, by the code of slipring/inline.h.
 * TWO: two consumers sleep on the same word.
 * Forbidden: that one sleeps for ever (checked as liveness).
 * GenMC: --check-liveness
 * Fails with: either side's fence removed (GenMC); no doze, no look after it, or the word loaded again
 * after it (the explorer); the word moved before the flag is lowered.
 * Faults: E9.
 */
#ifdef TWO
#define MODEL_MEMBERS 2
#else
#define MODEL_MEMBERS 1
#endif
#ifndef MESSAGES
#define MESSAGES 2
#endif
#include "core.h"

static void *producer(void *context)
{
    struct slipring_producer p;
    struct slipring_fast fast;
    struct slipring_loan loan;
    (void)context;
    model_producer(&p, &fast, 1, 0);
    slr_waiter_init(
        &p.waiter, (struct slr_bell){&model_control.producer_waiting, &model_control.producer_wake},
        0, SLIPRING_WAIT_SLEEP, false, SLR_SLEEP_STEP_PRODUCER);
    for (uint64_t s = 0; s < MESSAGES; s++) {
#ifdef PRODUCER_SLEEPS
        model_assert(slipring_producer_claim(&p, 2, &loan, SLIPRING_FOREVER) == 0);
        fast.taken = 1;
#else
        (void)loan;
        model_assert(claim_room(&p, 1) == 0);
#endif
#if defined(FAST) && !defined(PRODUCER_SLEEPS)
        model_inline(&fast, 1, &model_control.consumers_waiting, (_Atomic uint64_t *)0);
        model_assert(slipring_fast_publish(&fast, 1) == 0);
#else
        model_publish(&p, 100 + s);
#endif
    }
    return (void *)0;
}

static void *consumer(void *context)
{
    const uint32_t cell = (uint32_t)(uintptr_t)context;
    struct slipring_consumer c;
    struct slipring_fast fast;
    struct slipring_view view;
    model_consumer(&c, &fast, 2 + cell, cell, SLR_NO_GROUP, SLR_KIND_ONE, 0);
    c.flags = SLIPRING_AWAIT_PRODUCER;
    slr_waiter_init(
        &c.waiter,
        (struct slr_bell){&model_control.consumers_waiting, &model_control.consumers_wake}, cell,
        SLIPRING_WAIT_SLEEP, false, SLR_SLEEP_STEP);
    for (uint64_t s = 0; s < MESSAGES; s++) {
#ifdef PRODUCER_SLEEPS
        while (acquire_one(&c, 1, &view) != 0) {
            model_again();
        }
#else
        struct call call = {.consumer = &c, .slots = 1, .view = &view};
        model_assert(wait_call(&call, SLIPRING_FOREVER) == 0);
#endif
        model_assert(view.slot.sequence == s);
#if defined(FAST) && defined(PRODUCER_SLEEPS)
        model_inline(&fast, s, &model_control.producer_waiting, &model_cells[0].released);
        model_assert(slipring_fast_release(&fast, 1) == 0);
#else
        model_assert(release_one(&c, &view) == 0);
#endif
    }
    return (void *)0;
}

int main(void)
{
    model_ring();
    for (uint32_t cell = 0; cell < MODEL_MEMBERS; cell++) {
        model_attached(cell, SLR_NO_GROUP, SLR_KIND_ONE, 2 + cell);
    }
    model_thread(0, producer, 0);
    model_thread(1, consumer, 0);
#ifdef TWO
    model_thread(2, consumer, 1);
#endif
    return 0;
}
