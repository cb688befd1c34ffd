/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GROUP, among threads: two threads release two neighbouring slots of one unordered consumer.
 * Forbidden: that what it released stays behind them. TABLE: two unordered consumers join a ring
 * with one release table. Forbidden: that both get it.
 * Fails with: the full fence of mark_released(), or of slr_cell_take_releases(), weaker.
 * Faults: E9.
 */
#define MODEL_MEMBERS 2
#define MODEL_RELEASES 1
#include "core.h"

#ifdef TABLE
static _Atomic uint32_t owners;

static void *thread(void *context)
{
    const uint32_t cell = (uint32_t)(uintptr_t)context;
    struct slipring_consumer c;
    struct slipring_fast fast;
    model_consumer(&c, &fast, 2 + cell, cell, SLR_NO_GROUP, SLR_KIND_ONE, 0);
    if (slr_cell_take_releases(&c, (struct slipring_error *)0) == 0) {
        model_count(owners);
    }
    return (void *)0;
}
#else
static struct slipring_consumer shared;
static struct slipring_fast shared_fast;

static void *thread(void *context)
{
    model_assert(mark_released(&shared, (uintptr_t)context, 1) == 0);
    return (void *)0;
}
#endif

int main(void)
{
    model_ring();
    model_attached(0, SLR_NO_GROUP, SLR_KIND_ONE, 2);
    model_attached(1, SLR_NO_GROUP, SLR_KIND_ONE, 3);
#ifndef TABLE
    model_consumer(&shared, &shared_fast, 2, 0, SLR_NO_GROUP, SLR_KIND_ONE, 0);
    shared.releases = model_releases;
#endif
    model_thread(0, thread, 0);
    model_thread(1, thread, 1);
    model_join(0);
    model_join(1);
#ifdef TABLE
    model_assert(model_noted(owners) <= 1);
#else
    model_assert(slr_load64_acquire(&model_cells[0].released) == 2);
#endif
    return 0;
}
