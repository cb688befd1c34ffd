/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SLEEP, the chain of wakes: a sleeper that was woken looks whether there may be more than the ringer
 * woke, while another consumer joins and goes to sleep.
 * Forbidden: that it says no, and the other sleeps on the word as it was before the wake.
 * Fails with: the fence of crowded() weaker, or that of the join.
 * Faults: E9.
 */
#define MODEL_MEMBERS 2
#include "core.h"

static _Atomic uint32_t asleep; /* 1: on the word of before */
static _Atomic uint32_t alone;  /* 1: the word moved, and the woken one saw nobody else */

static void *joiner(void *context)
{
    struct slipring_consumer_config config;
    struct slipring_consumer c;
    struct slipring_fast fast;
    uint64_t start = 0;
    (void)context;
    model_consumer(&c, &fast, 3, 1, SLR_NO_GROUP, SLR_KIND_ONE, 0);
    config.start = SLIPRING_OLDEST;
    config.slow = SLIPRING_GATE;
    model_assert(try_cell(&c, 1) == 0);
    model_assert(join_alone(&c, &config, &start) == 0);
    if (slr_load32_acquire(&model_control.consumers_wake) == 0) { /* as raise_flag() begins */
        model_note(asleep, 1);
    }
    return (void *)0;
}

static void *woken(void *context)
{
    struct slr_waiter waiter;
    (void)context;
    MODEL_MINE(model_own_id) = 2;
    slr_waiter_init(
        &waiter, (struct slr_bell){&model_control.consumers_waiting, &model_control.consumers_wake},
        0, SLIPRING_WAIT_SLEEP, false, SLR_SLEEP_STEP);
    waiter.cells = &model_control.cells_high;
    if (slr_load32(waiter.bell.wake) != 0 && !crowded(&waiter)) { /* as sleep_on() does */
        model_note(alone, 1);
    }
    return (void *)0;
}

static void *ringer(void *context)
{
    (void)context;
    MODEL_MINE(model_own_id) = 1;
    slr_bell_ring(
        (struct slr_bell){&model_control.consumers_waiting, &model_control.consumers_wake});
    return (void *)0;
}

int main(void)
{
    model_ring();
    model_attached(0, SLR_NO_GROUP, SLR_KIND_ONE, 2);
    model_thread(0, joiner, 0);
    model_thread(1, woken, 0);
    model_thread(2, ringer, 0);
    model_join(0);
    model_join(1);
    model_join(2);
    model_assert(model_noted(asleep) == 0 || model_noted(alone) == 0);
    return 0;
}
