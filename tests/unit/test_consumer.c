/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves, for block rings of every kind, what consumer.h says of each call: starts, blocks and
 * their limits, the order of releases, refusals that change nothing, copies, slots of a view
 * and statistics.
 */
#include "proc.h"

static void blocks(const struct proc_ring *how)
{
    struct slipring_ring *ring = proc_make(how, 0);
    struct slipring_producer *producer = proc_producer(ring);
    struct slipring_consumer *consumer = proc_consumer(ring, how, SLIPRING_OLDEST);
    struct slipring_view view, all, untouched;
    const uint64_t slots = proc_info(ring).slots;
    const bool unordered = how->member_flags != 0;
    memset(&view, 0x5a, sizeof(view));
    untouched = view;
    CHECK_EQ(slipring_consumer_try_acquire(consumer, 1, &view), -EAGAIN);
    CHECK_EQ(slipring_consumer_try_acquire(consumer, 0, &view), -EINVAL);
    CHECK_EQ(slipring_consumer_acquire(consumer, 1, &view, proc_in_ms(5)), -ETIMEDOUT);
    CHECK_EQ(slipring_consumer_acquire(consumer, 0, &view, proc_in_ms(5)), -EINVAL);
    CHECK(memcmp(&view, &untouched, sizeof(view)) == 0);

    CHECK_EQ(proc_publish(producer, how, 6, 0), 0);
    CHECK_EQ(slipring_consumer_lag(consumer), 6);
    CHECK_EQ(slipring_consumer_try_acquire(consumer, 2, &view), 0);
    CHECK_EQ(view.slot.sequence, 0);
    CHECK_EQ(view.slots, 2);
    CHECK(proc_view_whole(how, &view));
    CHECK_EQ(slipring_consumer_lag(consumer), 4);
    CHECK_EQ(slipring_consumer_try_acquire(consumer, slots * 2, &all), 0);
    CHECK_EQ(all.slot.sequence, 2);
    CHECK_EQ(all.slots, 4);
    CHECK(proc_view_whole(how, &all));
    CHECK_EQ(slipring_consumer_try_acquire(consumer, 1, &untouched), -EAGAIN);

    CHECK_EQ(proc_fill(producer, how), slots - 6);
    CHECK_EQ(slipring_consumer_release(consumer, &all), unordered ? 0 : -EINVAL);
    CHECK_EQ(slipring_consumer_release(consumer, &all), -EINVAL); /* once is enough */
    CHECK_EQ(proc_fill(producer, how), 0);                        /* the first two still gate */
    CHECK_EQ(slipring_consumer_release(consumer, &view), 0);
    CHECK_EQ(proc_fill(producer, how), unordered ? 6 : 2);
    CHECK_EQ(slipring_consumer_release(consumer, &all), unordered ? -EINVAL : 0);
    CHECK_EQ(slipring_consumer_release(consumer, &view), -EINVAL);
    CHECK_EQ(proc_fill(producer, how), unordered ? 0 : 4);
    struct slipring_view forged = all;
    forged.slot.sequence += 4 * slots;
    forged.token += 4 * slots;
    CHECK_EQ(slipring_consumer_release(consumer, &forged), -EINVAL);

    struct slipring_slot slot;
    CHECK_EQ(slipring_consumer_try_acquire(consumer, slots, &view), 0);
    CHECK_EQ(view.slots, slots); /* over the wrap, contiguous */
    CHECK(proc_view_whole(how, &view));
    for (uint64_t i = 0; i < view.slots; i++) {
        CHECK_EQ(slipring_view_slot(consumer, &view, i, &slot), 0);
        CHECK_EQ(slot.sequence, view.slot.sequence + i);
        CHECK(slot.shapes == NULL);
        CHECK(how->geometry == SLIPRING_GEOMETRY_COMPACT || slot.tag == slot.sequence);
    }
    CHECK_EQ(slipring_view_slot(consumer, &view, view.slots, &slot), -EINVAL);
    slipring_consumer_detach(consumer); /* with the view in hand */
    CHECK_EQ(proc_publish(producer, how, slots / 2, 0), 0);
    slipring_consumer_detach(NULL);
    slipring_producer_detach(producer);
    slipring_ring_close(ring);
}

static void copies(const struct proc_ring *how)
{
    struct slipring_ring *ring = proc_make(how, 0);
    struct slipring_producer *producer = proc_producer(ring);
    struct slipring_consumer *consumer = proc_consumer(ring, how, SLIPRING_OLDEST);
    struct slipring_view view = {0};
    uint64_t buffer[64] = {0};
    CHECK_EQ(slipring_consumer_try_copy(consumer, buffer, sizeof(buffer), &view), -EAGAIN);
    CHECK_EQ(slipring_consumer_copy(consumer, buffer, sizeof(buffer), &view, proc_in_ms(5)),
             -ETIMEDOUT);
    CHECK_EQ(proc_publish(producer, how, 2, 0), 0);
    CHECK_EQ(slipring_consumer_try_copy(consumer, buffer, how->bytes - 1, &view), -EMSGSIZE);
    CHECK_EQ(view.slot.bytes, how->bytes);
    CHECK_EQ(slipring_consumer_try_copy(consumer, buffer, how->bytes, &view), 0);
    CHECK_EQ(view.slot.sequence, 0); /* -EMSGSIZE took nothing */
    CHECK(view.data == buffer && view.slots == 1 && view.stride == 0);
    CHECK(proc_view_whole(how, &view));
    CHECK_EQ(slipring_consumer_copy(consumer, buffer, sizeof(buffer), &view, proc_in_ms(1000)), 0);
    CHECK_EQ(view.slot.sequence, 1);
    CHECK_EQ(proc_fill(producer, how), proc_info(ring).slots); /* released at once */
    slipring_consumer_detach(consumer);
    slipring_producer_detach(producer);
    slipring_ring_close(ring);
}

static void starts(const struct proc_ring *how)
{
    struct slipring_ring *ring = proc_make(how, 100);
    struct slipring_producer *producer = proc_producer(ring);
    struct slipring_consumer_config config;
    struct slipring_consumer *consumer;
    struct slipring_view view;
    const uint64_t slots = proc_info(ring).slots;
    for (uint64_t i = 0; i < 3 * slots; i++) {
        CHECK_EQ(proc_publish(producer, how, 1, 0), 0);
    }
    const uint64_t end = 100 + 3 * slots;
    const uint64_t oldest = proc_info(ring).oldest;
    CHECK(oldest >= end - slots && oldest <= end - slots + slots / 8 + 1);
    slipring_consumer_config_init(&config);
    CHECK_EQ(config.struct_size, sizeof(config));
    CHECK_EQ(config.start, SLIPRING_LATEST);
    config.flags = how->member_flags;
    config.start = SLIPRING_SEQUENCE;
    const uint64_t asked[] = {100, oldest, end - 1, end};
    for (unsigned i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
        config.sequence = asked[i];
        CHECK_EQ(slipring_consumer_attach(ring, &config, &consumer, NULL), 0);
        const uint64_t first = asked[i] < oldest ? oldest : asked[i];
        const int code = proc_take(consumer, how, &view, 0);
        CHECK_EQ(code, first == end ? -EAGAIN : 0);
        if (code == 0) {
            CHECK_EQ(view.slot.sequence, first);
            CHECK_EQ(view.missed, first - asked[i]);
        }
        slipring_consumer_detach(consumer);
    }
    consumer = proc_consumer(ring, how, SLIPRING_OLDEST);
    CHECK_EQ(proc_take(consumer, how, &view, 0), 0);
    CHECK_EQ(view.slot.sequence, oldest);
    CHECK_EQ(view.missed, 0);
    struct slipring_stats stats = {.struct_size = sizeof(stats)}, bad = {.struct_size = 1};
    CHECK_EQ(slipring_consumer_stats(consumer, &stats), 0);
    CHECK_EQ(stats.next, oldest + 1);
    CHECK_EQ(stats.lag, end - oldest - 1);
    CHECK_EQ(stats.missed + stats.damaged, 0);
    CHECK(stats.cell < proc_info(ring).members_max);
    CHECK_EQ(slipring_consumer_stats(consumer, &bad), -EINVAL);
    slipring_consumer_detach(consumer);
    slipring_producer_detach(producer);
    slipring_ring_close(ring);
}

int main(void)
{
    proc_begin(30);
    for (unsigned i = 0; i < PROC_RINGS; i++) {
        if (proc_rings[i].full == SLIPRING_BLOCK) {
            blocks(&proc_rings[i]);
            copies(&proc_rings[i]);
            starts(&proc_rings[i]);
        }
    }
    return 0;
}
