/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RELEASE by a device's stores: an unordered consumer of a ring of two slots has a device read and
 * release what it acquires, one store each; the producer goes by these words alone.
 * RETIRED (story 1): the consumer detaches with a store pending, or dies before its CRASHth shared
 * access (and its device's store comes whenever it does); another one attaches as soon as it gets
 * the one release table, and after a death reads while the producer goes on.
 * Forbidden: a payload overwritten while the device, or the second consumer, reads it; a release that
 * never counts; that the table has a second owner while a store may come and the first one lives.
 * Fails with: a word that counts whatever its generation or lap; the words loaded relaxed; RETIRED: a
 * cell that is free at once.
 * Faults: E9.
 */
#ifdef RETIRED
#define MODEL_MEMBERS 2
#else
#define MODEL_MEMBERS 1
#endif
#define MODEL_RELEASES 1
#ifndef MESSAGES
#define MESSAGES 3
#endif
#ifndef CRASH
#define CRASH 0
#endif
#include "core.h"

static struct slipring_consumer first;
static struct slipring_fast first_fast;
static struct slipring_word words[MESSAGES];
static _Atomic uint64_t asked; /* words that the device may store once it has read their slots */
static _Atomic uint32_t inherited; /* the table has another owner */

static void *producer(void *context)
{
    struct slipring_producer p;
    struct slipring_fast fast;
    (void)context;
#ifdef RETIRED
    model_producer(&p, &fast, 1, 2);
    if (claim_room(&p, 1) == 0) {
        model_publish(&p, 102);
    }
#else
    model_producer(&p, &fast, 1, 0);
    for (uint64_t s = 0; s < MESSAGES; s++) {
        while (claim_room(&p, 1) != 0) {
            model_again();
        }
        model_publish(&p, 100 + s);
    }
#endif
    return (void *)0;
}

static void *owner(void *context)
{
    struct slipring_view view;
    (void)context;
    MODEL_MINE(model_own_id) = 2;
    MODEL_MINE(model_own_steps) = CRASH;
    model_assert(slipring_consumer_device_begin(&first) == 0);
#ifdef RETIRED
    model_assert(acquire_one(&first, 1, &view) == 0);
    model_assert(slipring_consumer_device_words(&first, &view, &words[0]) == 0);
    slr_store64_release(&asked, 1); /* as a stream's order */
    slipring_consumer_detach(&first);
#else
    for (uint64_t s = 0; s < MESSAGES; s++) {
        while (acquire_one(&first, 1, &view) != 0) {
            model_again();
        }
        model_assert(view.slot.sequence == s);
        model_assert(slipring_consumer_device_words(&first, &view, &words[s]) == 0);
        slr_store64_release(&asked, s + 1); /* as a stream's order */
    }
#endif
    return (void *)0;
}

static void *device(void *context)
{
    (void)context;
#ifdef RETIRED
    if (slr_load64_acquire(&asked) != 0) { /* else it died before it came to that */
        model_assert(CRASH != 0 || model_noted(inherited) == 0);
        slr_store64_release((_Atomic uint64_t *)words[0].address, words[0].value);
        if (CRASH == 0) {
            slipring_consumer_device_end(&first);
        }
    }
#else
    for (uint64_t s = 0; s < MESSAGES; s++) {
        while (slr_load64_acquire(&asked) <= s) {
            model_again();
        }
        model_assert(model_read_payload(&model_payload[s % MODEL_SLOTS]) == 100 + s);
        slr_store64_release((_Atomic uint64_t *)words[s].address, words[s].value);
    }
#endif
    return (void *)0;
}

#ifdef RETIRED
static void *second(void *context)
{
    struct slipring_consumer_config config;
    struct slipring_consumer c;
    struct slipring_fast fast;
    struct slipring_view view;
    uint64_t start = 0;
    (void)context;
    model_consumer(&c, &fast, 4, 1, SLR_NO_GROUP, SLR_KIND_ONE, 0);
    config.start = SLIPRING_OLDEST;
    config.slow = SLIPRING_GATE;
    if (slr_cell_take(&c, (struct slipring_error *)0) == 0 &&
        slr_cell_take_releases(&c, (struct slipring_error *)0) == 0) {
        model_note(inherited, 1);
        if (CRASH == 0) {
            return (void *)0;
        }
        model_assert(join_alone(&c, &config, &start) == 0);
        fast.next = start;
        if (slipring_consumer_device_begin(&c) == 0 && acquire_one(&c, 1, &view) == 0) {
            model_assert(model_read_payload((const uint64_t *)view.data) ==
                         100 + view.slot.sequence);
        }
    }
    return (void *)0;
}
#endif

int main(void)
{
    struct slipring_producer p;
    struct slipring_fast fast;
    model_ring();
    model_producer(&p, &fast, 1, 0);
    model_attached(0, SLR_NO_GROUP, SLR_KIND_ONE, 2);
    slr_store32(&model_cells[0].releases, 1);
    model_consumer(&first, &first_fast, 2, 0, SLR_NO_GROUP, SLR_KIND_ONE, 0);
    first.releases = model_releases;
#ifdef RETIRED
    model_published(&p, 2, 100);
#endif
    model_thread(0, owner, 0);
    model_thread(1, device, 0);
#ifdef RETIRED
    model_thread(2, second, 0);
#endif
#if !defined(RETIRED) || CRASH
    model_thread(3, producer, 0);
    model_join(3);
#endif
    model_join(0);
    model_join(1);
#ifndef RETIRED
    model_assert(slr_cell_released(&model_mapping.segment, 0, first.word) == MESSAGES);
#endif
    return 0;
}
