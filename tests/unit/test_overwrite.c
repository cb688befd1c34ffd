/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves, for overwrite rings: the producer is never held back; what consumer.h says of acquire
 * and copy there, of holds and their release, of a view kept while its slot is passed over, of
 * starts, that gating, eviction and work sharing are refused, that what is passed over is no loss,
 * whichever producer did, and that a claim which finds no room loses nobody a message.
 */
#include "proc.h"

static void publish(struct slipring_producer *producer, const struct proc_ring *how, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        CHECK_EQ(proc_publish(producer, how, 1, 0), 0);
    }
}

static void refused(const struct proc_ring *how)
{
    struct slipring_ring *ring = proc_make(how, 0);
    struct slipring_consumer_config config, bad;
    struct slipring_consumer *consumer = NULL;
    struct slipring_error error = {0};
    slipring_consumer_config_init(&config);
    bad = config;
    bad.group = "work";
    bad.flags = SLIPRING_MANY;
    CHECK_EQ(slipring_consumer_attach(ring, &bad, &consumer, &error), -EINVAL);
    CHECK(error.text[0] != '\0');
    bad = config;
    bad.slow = SLIPRING_EVICT;
    bad.evict_after_ns = 1;
    CHECK_EQ(slipring_consumer_attach(ring, &bad, &consumer, &error), -EINVAL);
    CHECK(consumer == NULL);
    CHECK_EQ(proc_info(ring).members, 0);
    slipring_ring_close(ring);
}

static void copying(const struct proc_ring *how)
{
    struct slipring_ring *ring = proc_make(how, 0);
    struct slipring_producer *producer = proc_producer(ring);
    struct slipring_consumer *consumer = proc_consumer(ring, how, SLIPRING_OLDEST);
    struct slipring_view view;
    uint64_t buffer[64];
    const uint64_t slots = proc_info(ring).slots;
    CHECK_EQ(slipring_consumer_try_copy(consumer, buffer, sizeof(buffer), &view), -EAGAIN);
    if (!proc_holds(how)) {
        CHECK_EQ(slipring_consumer_try_acquire(consumer, 1, &view), -EINVAL);
        CHECK_EQ(slipring_consumer_acquire(consumer, 1, &view, proc_in_ms(10)), -EINVAL);
    }
    publish(producer, how, 3 * slots);
    CHECK_EQ(slipring_consumer_try_copy(consumer, buffer, 8, &view), -EMSGSIZE);
    CHECK_EQ(slipring_consumer_try_copy(consumer, buffer, sizeof(buffer), &view), 0);
    CHECK(proc_view_whole(how, &view));
    CHECK_EQ(view.missed, view.slot.sequence);
    CHECK(view.slot.sequence >= 2 * slots);
    CHECK(view.slot.sequence <= 2 * slots + slots / 4 + 1); /* not more than it must */
    uint64_t next = view.slot.sequence + 1, count = 0;
    CHECK_EQ(proc_drain(consumer, how, &next, &count), -EAGAIN);
    CHECK_EQ(next, 3 * slots);
    slipring_consumer_detach(consumer);

    struct slipring_consumer *late = proc_consumer(ring, how, SLIPRING_LATEST);
    CHECK_EQ(slipring_consumer_try_copy(late, buffer, sizeof(buffer), &view), -EAGAIN);
    publish(producer, how, 1);
    CHECK_EQ(slipring_consumer_try_copy(late, buffer, 8, &view), -EMSGSIZE); /* takes nothing */
    CHECK_EQ(slipring_consumer_try_copy(late, buffer, sizeof(buffer), &view), 0);
    CHECK_EQ(view.slot.sequence, 3 * slots);
    CHECK_EQ(view.missed, 0);
    slipring_consumer_detach(late);
    slipring_producer_detach(producer);
    slipring_ring_close(ring);
}

static void blocks(const struct proc_ring *how)
{
    struct slipring_ring *ring = proc_make(how, 0);
    struct slipring_producer *producer = proc_producer(ring);
    struct slipring_consumer *consumer = proc_consumer(ring, how, SLIPRING_OLDEST);
    struct slipring_loan loan;
    const uint64_t slots = proc_info(ring).slots;
    uint64_t next = 0, count = 0;
    CHECK_EQ(proc_publish(producer, how, slots / 2 + 1, 0), 0);
    CHECK_EQ(proc_publish(producer, how, slots / 2 + 1, 0), 0); /* over the wrap */
    CHECK_EQ(proc_drain(consumer, how, &next, &count), -EAGAIN);
    CHECK_EQ(next, 2 * (slots / 2 + 1));
    CHECK(count >= slots / 2);
    /* An aborted claim may cost what it would have overwritten, never more, and nothing torn. */
    CHECK_EQ(slipring_producer_try_claim(producer, 2, &loan), 0);
    memset(loan.data, 0xee, how->bytes);
    CHECK_EQ(slipring_producer_abort(producer), 0);
    CHECK_EQ(proc_drain(consumer, how, &next, &count), -EAGAIN);
    publish(producer, how, 1);
    CHECK_EQ(proc_drain(consumer, how, &next, &count), -EAGAIN);
    CHECK_EQ(next, 2 * (slots / 2 + 1) + 1);
    CHECK_EQ(slipring_producer_try_claim(producer, slots, &loan), 0);
    CHECK_EQ(slipring_producer_publish(producer, 0, NULL), 0);
    slipring_consumer_detach(consumer);
    slipring_producer_detach(producer);
    slipring_ring_close(ring);
}

static void holding(const struct proc_ring *how)
{
    struct slipring_ring *ring = proc_make(how, 0);
    struct slipring_producer *producer = proc_producer(ring);
    struct slipring_consumer *consumer = proc_consumer(ring, how, SLIPRING_OLDEST);
    struct slipring_view a, b, view;
    struct slipring_slot slot;
    publish(producer, how, 4);
    CHECK_EQ(slipring_consumer_try_acquire(consumer, 3, &a), 0);
    CHECK_EQ(a.slots, 1); /* one at a time */
    CHECK_EQ(slipring_consumer_try_acquire(consumer, 1, &b), 0);
    CHECK_EQ(b.slot.sequence, 1);
    publish(producer, how, 2 * proc_info(ring).slots + 4); /* passes both over, twice and more */
    CHECK(proc_view_whole(how, &a) && proc_view_whole(how, &b));
    CHECK_EQ(slipring_view_slot(consumer, &a, 0, &slot), 0);
    CHECK_EQ(slot.sequence, 0); /* the view's own copy of the header */
    CHECK_EQ(slot.tag, 0);
    CHECK_EQ(slipring_consumer_release(consumer, &b), 0); /* any order */
    CHECK_EQ(slipring_consumer_release(consumer, &a), 0);
    CHECK_EQ(slipring_consumer_release(consumer, &a), -EINVAL);
    CHECK_EQ(slipring_consumer_try_acquire(consumer, 1, &view), 0);
    CHECK(view.missed > 0);
    CHECK(proc_view_whole(how, &view));
    CHECK_EQ(slipring_consumer_release(consumer, &view), 0);
    slipring_consumer_detach(consumer);
    slipring_producer_detach(producer);
    slipring_ring_close(ring);
}

/* What one producer passed over at its end the next one counts too: it is nobody's loss. */
static void passing_on(const struct proc_ring *how)
{
    struct slipring_ring *ring = proc_make(how, 0);
    struct slipring_producer *producer = proc_producer(ring);
    struct slipring_consumer *holder = proc_consumer(ring, how, SLIPRING_OLDEST);
    struct slipring_consumer *reader = proc_consumer(ring, how, SLIPRING_OLDEST);
    const uint64_t slots = proc_info(ring).slots;
    struct slipring_view held, view;
    struct slipring_loan loan;
    uint64_t buffer[64], next = 0, count = 0;
    publish(producer, how, slots);
    CHECK_EQ(slipring_consumer_try_acquire(holder, 1, &held), 0);
    CHECK_EQ(held.slot.sequence, 0);
    CHECK_EQ(proc_drain(reader, how, &next, &count), -EAGAIN);
    CHECK_EQ(next, slots);
    CHECK_EQ(slipring_producer_try_claim(producer, 1, &loan), 0);
    CHECK_EQ(loan.sequence, slots + 1);
    slipring_producer_detach(producer);
    producer = proc_producer(ring);
    CHECK_EQ(slipring_consumer_release(holder, &held), 0);
    publish(producer, how, 3 * slots);
    CHECK_EQ(slipring_consumer_try_copy(reader, buffer, sizeof(buffer), &view), 0);
    CHECK_EQ(view.missed, view.slot.sequence - slots - 1);
    slipring_consumer_detach(reader);
    slipring_consumer_detach(holder);
    slipring_producer_detach(producer);
    slipring_ring_close(ring);
}

static void claimed_in_vain(const struct proc_ring *how)
{
    struct slipring_config config;
    proc_config(how, &config);
    struct slipring_ring *ring = proc_create(&config);
    const uint64_t slots = proc_info(ring).slots; /* as many as fill pages */
    slipring_ring_close(ring);
    config.slots = slots;
    config.hold_max = (uint32_t)slots / 4 + 1;
    ring = proc_create(&config);
    struct slipring_producer *producer = proc_producer(ring);
    struct slipring_consumer *holder = proc_consumer(ring, how, SLIPRING_OLDEST);
    struct slipring_consumer *reader = proc_consumer(ring, how, SLIPRING_OLDEST);
    struct slipring_loan loan;
    struct slipring_view view;
    publish(producer, how, slots);
    for (uint64_t i = 0; i < slots; i++) { /* it keeps each fourth */
        CHECK_EQ(slipring_consumer_try_acquire(holder, 1, &view), 0);
        CHECK_EQ(i % 4 == 3 ? 0 : slipring_consumer_release(holder, &view), 0);
    }
    CHECK_EQ(slipring_producer_try_claim(producer, 4, &loan), -EAGAIN);
    for (uint64_t i = 0; i < slots; i++) {
        CHECK_EQ(proc_take(reader, how, &view, 0), 0);
        CHECK_EQ(view.slot.sequence, i);
    }
    slipring_consumer_detach(reader);
    slipring_consumer_detach(holder);
    slipring_producer_detach(producer);
    slipring_ring_close(ring);
}

int main(void)
{
    proc_begin(30);
    for (unsigned i = 2; i < PROC_RINGS; i += 3) {
        refused(&proc_rings[i]);
        copying(&proc_rings[i]);
        blocks(&proc_rings[i]);
    }
    holding(&proc_rings[8]);
    passing_on(&proc_rings[8]);
    claimed_in_vain(&proc_rings[8]);
    return 0;
}
