/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: a message larger than a slot is published whole and acquired whole, over the wrap as
 * elsewhere, whatever number of slots was asked for, alone in its view, ordered, unordered, in a
 * group of many, held and copied; joiners begin at its first slot; and its refusals.
 */
#include "proc.h"

static int publish(struct slipring_producer *producer, const struct proc_ring *how, uint64_t slots,
                   uint64_t tag)
{
    struct slipring_loan loan;
    if (slots == 1) {
        return proc_publish(producer, how, 1, 0);
    }
    const int code = slipring_producer_try_claim(producer, slots, &loan);
    if (code != 0) {
        return code;
    }
    const struct slipring_slot header = {.bytes = (slots - 1) * loan.stride + 8, .tag = tag};
    pattern_fill(loan.data, header.bytes, loan.sequence);
    return slipring_producer_publish_spanning(producer, &header);
}

static void check(const struct proc_ring *how, const struct slipring_view *view, uint64_t slots,
                  uint64_t sequence)
{
    CHECK_EQ(view->slot.sequence, sequence);
    CHECK_EQ(view->slots, slots);
    CHECK_EQ(view->slot.messages, slots == 1 ? proc_messages(sequence) : 1);
    const uint64_t bytes = slots == 1 ? how->bytes : (slots - 1) * how->bytes + 8;
    CHECK_EQ(view->slot.bytes, bytes);
    CHECK(pattern_whole(view->data, bytes, sequence));
}

static void refusals(const struct proc_ring *how)
{
    struct slipring_ring *ring = proc_make(how, 0);
    struct slipring_producer *producer = proc_producer(ring);
    struct slipring_loan loan;
    struct slipring_slot header = {.bytes = 4};
    CHECK_EQ(slipring_producer_publish_spanning(producer, &header), -EINVAL);
    CHECK_EQ(slipring_producer_try_claim(producer, 3, &loan), 0);
    header.bytes = 2 * loan.stride;
    CHECK_EQ(slipring_producer_publish_spanning(producer, &header), -EINVAL);
    if (how->geometry == SLIPRING_GEOMETRY_TENSOR) {
        header.bytes = 3 * loan.stride + 1;
        CHECK_EQ(slipring_producer_publish_spanning(producer, &header), -EMSGSIZE);
        header.bytes = 3 * loan.stride;
        CHECK_EQ(slipring_producer_publish_spanning(producer, &header), 0);
        CHECK_EQ(slipring_producer_publish_spanning(producer, &header), -EINVAL);
        CHECK_EQ(proc_info(ring).cursor, 3);
    } else {
        header.bytes = 2 * loan.stride + 1;
        CHECK_EQ(slipring_producer_publish_spanning(producer, &header), -EINVAL);
        CHECK_EQ(slipring_producer_abort(producer), 0);
    }
    slipring_producer_detach(producer);
    slipring_ring_close(ring);
}

static void whole(const struct proc_ring *how, bool many)
{
    struct slipring_config config;
    proc_config(how, &config);
    config.slots = (uint64_t)sysconf(_SC_PAGESIZE) / how->bytes; /* creation would raise them */
    config.hold_max = how->full == SLIPRING_OVERWRITE ? (uint32_t)config.slots - 1 : 0;
    struct slipring_ring *ring = proc_create(&config);
    CHECK_EQ(proc_info(ring).slots, config.slots);
    struct slipring_producer *producer = proc_producer(ring);
    struct slipring_consumer *consumer = many ? proc_member(ring, "work", SLIPRING_MANY, 0)
                                              : proc_consumer(ring, how, SLIPRING_OLDEST);
    struct slipring_view view;
    struct slipring_slot slot;
    struct slipring_tensor tensor;
    const uint64_t slots = proc_info(ring).slots;
    uint64_t sequence = 0;
    for (uint64_t n = 1; n < slots; n++) { /* every phase of the wrap */
        const uint64_t sizes[] = {1, n, 1};
        for (unsigned i = 0; i < 3; i++) {
            CHECK_EQ(publish(producer, how, sizes[i], n), 0);
            CHECK_EQ(slipring_consumer_try_acquire(consumer, i == 1 ? 1 : slots, &view), 0);
            check(how, &view, sizes[i], sequence);
            if (sizes[i] > 1) {
                CHECK_EQ(view.slot.tag, n);
                CHECK_EQ(slipring_view_slot(consumer, &view, 0, &slot), 0);
                CHECK_EQ(slot.bytes, view.slot.bytes);
                CHECK_EQ(slipring_view_field(consumer, &view, 0, &tensor), -EINVAL);
            }
            CHECK_EQ(slipring_consumer_release(consumer, &view), 0);
            sequence += sizes[i];
        }
    }
    if (how->full == SLIPRING_BLOCK) { /* a block ends where a spanning message begins */
        CHECK_EQ(publish(producer, how, 1, 0), 0);
        CHECK_EQ(publish(producer, how, 1, 0), 0);
        CHECK_EQ(publish(producer, how, 3, 0), 0);
        CHECK_EQ(publish(producer, how, 1, 0), 0);
        const uint64_t counts[] = {2, 3, 1};
        for (unsigned i = 0; i < 3; i++) {
            CHECK_EQ(slipring_consumer_try_acquire(consumer, slots, &view), 0);
            CHECK_EQ(view.slots, counts[i]);
            CHECK_EQ(slipring_consumer_release(consumer, &view), 0);
        }
        CHECK_EQ(proc_fill(producer, how), slots);
    }
    slipring_consumer_detach(consumer);
    slipring_producer_detach(producer);
    slipring_ring_close(ring);
}

static void joining(const struct proc_ring *how)
{
    struct slipring_ring *ring = proc_make(how, 0);
    struct slipring_producer *producer = proc_producer(ring);
    struct slipring_view view;
    uint64_t buffer[1024];
    const uint64_t slots = proc_info(ring).slots;
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(publish(producer, how, 3, 0), 0);
        struct slipring_consumer_config config;
        slipring_consumer_config_init(&config);
        config.start = SLIPRING_SEQUENCE;
        config.flags = how->member_flags;
        config.sequence = proc_info(ring).cursor - 2; /* inside the message */
        struct slipring_consumer *inside, *oldest = proc_consumer(ring, how, SLIPRING_OLDEST);
        CHECK_EQ(slipring_consumer_attach(ring, &config, &inside, NULL), 0);
        struct slipring_consumer *latest = proc_consumer(ring, how, SLIPRING_LATEST);
        CHECK_EQ(slipring_consumer_try_copy(oldest, buffer, sizeof(buffer), &view), 0);
        CHECK_EQ(view.slot.sequence % 3, 0);
        CHECK_EQ(view.slots, 3);
        CHECK(view.slot.sequence + slots >= proc_info(ring).cursor);
        CHECK(pattern_whole(buffer, view.slot.bytes, view.slot.sequence));
        const int code = slipring_consumer_try_copy(inside, buffer, sizeof(buffer), &view);
        CHECK_EQ(code, 0);
        CHECK_EQ(view.slot.sequence, proc_info(ring).cursor - 3); /* its first slot */
        CHECK_EQ(view.missed, 0);
        CHECK_EQ(slipring_consumer_try_copy(latest, buffer, sizeof(buffer), &view), -EAGAIN);
        slipring_consumer_detach(inside);
        slipring_consumer_detach(oldest);
        slipring_consumer_detach(latest);
    }
    slipring_producer_detach(producer);
    slipring_ring_close(ring);
}

/* A message of more slots than can be held is refused, and leaves none of them held. */
static void half_held(const struct proc_ring *how)
{
    struct slipring_config config;
    proc_config(how, &config);
    config.hold_max = 1;
    struct slipring_ring *ring = proc_create(&config);
    struct slipring_producer *producer = proc_producer(ring);
    struct slipring_consumer *consumer = proc_consumer(ring, how, SLIPRING_OLDEST);
    struct slipring_view view;
    static uint64_t buffer[1024];
    CHECK(how->bytes * 2 <= sizeof(buffer));
    CHECK_EQ(publish(producer, how, 2, 0), 0);
    CHECK_EQ(publish(producer, how, 1, 0), 0);
    CHECK_EQ(slipring_consumer_try_acquire(consumer, 1, &view), -ENOBUFS);
    CHECK_EQ(slipring_consumer_try_copy(consumer, buffer, sizeof(buffer), &view), 0);
    CHECK_EQ(view.slots, 2);
    CHECK_EQ(slipring_consumer_try_acquire(consumer, 1, &view), 0);
    check(how, &view, 1, 2);
    slipring_consumer_detach(consumer);
    slipring_producer_detach(producer);
    slipring_ring_close(ring);
}

int main(void)
{
    proc_begin(30);
    for (unsigned i = 0; i < PROC_RINGS; i++) {
        refusals(&proc_rings[i]);
        if (i >= 6) {
            whole(&proc_rings[i], false);
            joining(&proc_rings[i]);
        }
    }
    whole(&proc_rings[6], true);
    half_held(&proc_rings[8]);
    return 0;
}
