/* SPDX-License-Identifier: Apache-2.0 */
/*
 * LEND and PUBLISH by a device's stamps: a tensor ring's producer lends its handle, claims two slots
 * and writes their headers; a device fills and stamps them; a helper thread settles the cursor, ends
 * the loan, and the producer publishes the next message itself. PASSED: the device fails, the helper
 * stamps what it did not, and the second slot is passed over. SLEEPS: one thread does all that for
 * one message, and the consumer sleeps for it; no sleep ends by itself.
 * Forbidden: a payload that is not the one published; a message of the owner that overtakes the
 * device's; a cursor beyond what is stamped; SLEEPS: that the consumer sleeps for ever.
 * GenMC: --check-liveness
 * Fails with: a cursor raised to all that was claimed; a handle given back before its loan ends; no
 * look at the sleepers once the cursor is raised; the stamps, or `lent`, loaded or stored relaxed.
 * Faults: E9.
 */
#define MODEL_GEOMETRY SLIPRING_GEOMETRY_TENSOR
#define MODEL_SLOTS 4
#define MODEL_MEMBERS 1
#ifdef SLEEPS
#define FROM_DEVICE UINT64_C(1)
#define MESSAGES FROM_DEVICE
#else
#define FROM_DEVICE UINT64_C(2)
#define MESSAGES (FROM_DEVICE + 1)
#endif
#include "core.h"

static struct slipring_producer lent;
static struct slipring_fast lent_fast;
static _Atomic uint64_t asked; /* stamps that the device may store */

static void device_stores(uint64_t s)
{
    struct slipring_word word;
    model_write_payload(&model_payload[s], 100 + s);
    slipring_producer_device_word(&lent, s, &word);
    slr_store64_release((_Atomic uint64_t *)word.address, word.value);
}

static void *owner(void *context)
{
    struct slipring_loan loan;
    uint64_t next;
    (void)context;
    MODEL_MINE(model_own_id) = 1;
    model_assert(slipring_producer_device_begin(&lent, &next) == 0 && next == 0);
    for (uint64_t s = 0; s < FROM_DEVICE; s++) {
        model_assert(slipring_producer_device_claim(&lent, 1, &loan) == 0 && loan.sequence == s);
        model_assert(slipring_producer_device_publish(&lent, 1, (const struct slipring_slot *)0) ==
                     0);
#ifdef SLEEPS
        device_stores(s);
        model_assert(slipring_producer_device_settle(&lent) == 1);
#else
        slr_store64_release(&asked, s + 1); /* as a stream's order */
#endif
    }
#ifdef SLEEPS
    slipring_producer_device_end(&lent);
    return (void *)0;
#endif
    while (slipring_producer_try_claim(&lent, 1, &loan) != 0) {
        model_again();
    }
    model_assert(loan.sequence == FROM_DEVICE);
    model_assert(slr_load64_acquire(&model_data.cursor) == FROM_DEVICE);
    model_publish(&lent, 100 + FROM_DEVICE);
    return (void *)0;
}

#ifndef SLEEPS
static void *device(void *context)
{
    (void)context;
    for (uint64_t s = 0; s < FROM_DEVICE; s++) {
        while (slr_load64_acquire(&asked) <= s) {
            model_again();
        }
#ifdef PASSED
        if (s == 1) {
            break; /* it fails, and tells the helper */
        }
#endif
        device_stores(s);
    }
    return (void *)0;
}

static void *helper(void *context)
{
    uint64_t cursor = 0;
    (void)context;
    while (cursor < FROM_DEVICE) {
        const uint64_t before = cursor;
        (void)!slipring_producer_device_settle(&lent);
        cursor = slr_load64_acquire(&model_data.cursor);
        model_assert(cursor <= slr_load64_acquire(&asked));
#ifdef PASSED
        if (cursor == 1 && slr_load64_acquire(&asked) == FROM_DEVICE) {
            slipring_producer_device_stamp(&lent, 1, 1, 0);
            continue;
        }
#endif
        if (cursor == before) {
            model_again();
        }
    }
    slipring_producer_device_end(&lent);
    return (void *)0;
}
#endif

static void *consumer(void *context)
{
    struct slipring_consumer c;
    struct slipring_fast fast;
    struct slipring_view view;
    (void)context;
    model_consumer(&c, &fast, 2, 0, SLR_NO_GROUP, SLR_KIND_ONE, 0);
    c.flags = SLIPRING_AWAIT_PRODUCER;
    slr_waiter_init(
        &c.waiter,
        (struct slr_bell){&model_control.consumers_waiting, &model_control.consumers_wake}, 0,
        SLIPRING_WAIT_SLEEP, false, SLR_SLEEP_STEP);
    for (uint64_t s = 0; s < MESSAGES; s++) {
#ifdef PASSED
        s += s == 1;
#endif
#ifdef SLEEPS
        struct call call = {.consumer = &c, .slots = 1, .view = &view};
        model_assert(wait_call(&call, SLIPRING_FOREVER) == 0);
#else
        while (acquire_one(&c, 1, &view) != 0) {
            model_again();
        }
#endif
        model_assert(view.slot.sequence == s && view.missed == 0);
        model_assert(model_read_payload((const uint64_t *)view.data) == 100 + s);
        model_assert(release_one(&c, &view) == 0);
    }
    return (void *)0;
}

int main(void)
{
    model_ring();
    model_attached(0, SLR_NO_GROUP, SLR_KIND_ONE, 2);
    model_producer(&lent, &lent_fast, 1, 0);
    model_thread(0, owner, 0);
    model_thread(1, consumer, 0);
#ifndef SLEEPS
    model_thread(2, device, 0);
    model_thread(3, helper, 0);
#endif
    return 0;
}
