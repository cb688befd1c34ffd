/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves, for every kind of ring, what producer.h says of each call: config defaults, attach,
 * claim, partial publish, abort, headers and their refusals, detach with an open claim, close,
 * fields of a loan, blocks that wrap; and that a refused call changes nothing. A header that lies of
 * its bytes leads nobody out of the slot.
 */
#include "proc.h"

#include "ring/handle.h"
#include "ring/slot.h"

static void claims(const struct proc_ring *how)
{
    struct slipring_ring *ring = proc_make(how, 0);
    struct slipring_producer *producer = proc_producer(ring), *second = NULL;
    struct slipring_loan loan, untouched;
    const uint64_t slots = proc_info(ring).slots;
    memset(&loan, 0x5a, sizeof(loan));
    untouched = loan;
    CHECK_EQ(slipring_producer_attach(ring, NULL, &second, NULL), -EBUSY);
    CHECK(second == NULL);
    CHECK_EQ(slipring_producer_try_claim(producer, 0, &loan), -EINVAL);
    CHECK_EQ(slipring_producer_claim(producer, 0, &loan, 0), -EINVAL);
    CHECK_EQ(slipring_producer_try_claim(producer, slots + 1, &loan), -EMSGSIZE);
    CHECK_EQ(slipring_producer_try_claim(producer, UINT64_MAX, &loan), -EMSGSIZE);
    CHECK_EQ(slipring_producer_claim(producer, slots + 1, &loan, SLIPRING_FOREVER), -EMSGSIZE);
    CHECK(memcmp(&loan, &untouched, sizeof(loan)) == 0);
    CHECK_EQ(slipring_producer_publish(producer, 1, NULL), -EINVAL);
    CHECK_EQ(slipring_producer_abort(producer), -EINVAL);

    CHECK_EQ(slipring_producer_try_claim(producer, 3, &loan), 0);
    CHECK_EQ(loan.sequence, 0);
    CHECK_EQ(loan.slots, 3);
    CHECK_EQ(loan.bytes, 3 * loan.stride);
    CHECK_EQ(loan.stride, proc_info(ring).payload_stride);
    CHECK_EQ((uintptr_t)loan.data % (how->geometry == SLIPRING_GEOMETRY_TENSOR ? 256 : 8), 0);
    untouched = loan;
    CHECK_EQ(slipring_producer_try_claim(producer, 1, &loan), -EINVAL);
    CHECK_EQ(slipring_producer_claim(producer, 1, &loan, proc_in_ms(1000)), -EINVAL);
    CHECK(memcmp(&loan, &untouched, sizeof(loan)) == 0);
    CHECK_EQ(slipring_producer_publish(producer, 4, NULL), -EINVAL);
    CHECK_EQ(proc_info(ring).cursor, 0);
    for (uint64_t i = 0; i < 3; i++) {
        pattern_fill((char *)loan.data + i * loan.stride, how->bytes, i);
    }
    CHECK_EQ(slipring_producer_publish(producer, 2, NULL), 0);
    CHECK_EQ(proc_info(ring).cursor, 2);
    CHECK_EQ(slipring_producer_publish(producer, 1, NULL), -EINVAL);
    CHECK_EQ(slipring_producer_abort(producer), -EINVAL);
    CHECK_EQ(slipring_producer_try_claim(producer, 2, &loan), 0);
    CHECK_EQ(loan.sequence, 2);
    CHECK_EQ(slipring_producer_publish(producer, 0, NULL), 0); /* as abort */
    CHECK_EQ(slipring_producer_try_claim(producer, 1, &loan), 0);
    CHECK_EQ(loan.sequence, 2);
    CHECK_EQ(slipring_producer_abort(producer), 0);
    CHECK_EQ(slipring_producer_try_claim(producer, slots, &loan), 0);
    CHECK_EQ(loan.sequence, 2);
    for (uint64_t i = 0; i < slots; i++) { /* over the wrap, contiguous */
        pattern_fill((char *)loan.data + i * loan.stride, how->bytes, 2 + i);
    }
    CHECK_EQ(slipring_producer_publish(producer, slots, NULL), 0);
    CHECK_EQ(proc_info(ring).cursor, 2 + slots);

    CHECK_EQ(slipring_producer_try_claim(producer, 1, &loan), 0);
    slipring_producer_detach(producer); /* aborts */
    CHECK_EQ(proc_info(ring).cursor, 2 + slots);
    CHECK_EQ(proc_info(ring).producer, SLIPRING_PRODUCER_NONE);
    producer = proc_producer(ring);
    CHECK_EQ(proc_info(ring).epoch, 2);
    CHECK_EQ(slipring_producer_try_claim(producer, 1, &loan), 0);
    CHECK_EQ(loan.sequence, 2 + slots);
    slipring_producer_close(producer);
    CHECK_EQ(slipring_producer_attach(ring, NULL, &second, NULL), -EPIPE);
    slipring_producer_detach(NULL);
    slipring_producer_close(NULL);
    slipring_ring_close(ring);
}

static void gated(const struct proc_ring *how)
{
    struct slipring_ring *ring = proc_make(how, 0);
    struct slipring_producer *producer = proc_producer(ring);
    struct slipring_consumer *consumer = proc_consumer(ring, how, SLIPRING_OLDEST);
    struct slipring_view view;
    struct slipring_loan loan;
    const uint64_t slots = proc_info(ring).slots;
    CHECK_EQ(proc_publish(producer, how, 2, 0), 0);
    CHECK_EQ(slipring_producer_try_claim(producer, slots - 1, &loan), -EAGAIN);
    CHECK_EQ(slipring_producer_claim(producer, slots - 1, &loan, proc_in_ms(20)), -ETIMEDOUT);
    CHECK_EQ(proc_take(consumer, how, &view, 0), 0);
    CHECK_EQ(slipring_producer_try_claim(producer, slots - 1, &loan), 0);
    CHECK_EQ(slipring_producer_abort(producer), 0);
    CHECK_EQ(proc_fill(producer, how), slots - 1);
    slipring_consumer_detach(consumer); /* nobody to gate */
    CHECK_EQ(slipring_producer_try_claim(producer, slots, &loan), 0);
    slipring_producer_close(producer);
    slipring_ring_close(ring);
}

static void headers(const struct proc_ring *how)
{
    struct slipring_ring *ring = proc_make(how, 0);
    struct slipring_producer *producer = proc_producer(ring);
    struct slipring_consumer *consumer = proc_consumer(ring, how, SLIPRING_OLDEST);
    struct slipring_loan loan;
    const int64_t shape[1] = {1};
    struct slipring_slot good[2] = {{.tag = UINT64_MAX, .messages = 7, .bytes = 24}, {0}};
    struct slipring_slot bad[2] = {{0}, {.bytes = 1 + proc_info(ring).payload_stride}};
    struct slipring_slot shaped[2] = {{0}, {.shapes = shape}};
    CHECK_EQ(slipring_producer_try_claim(producer, 2, &loan), 0);
    if (how->geometry == SLIPRING_GEOMETRY_COMPACT) {
        CHECK_EQ(slipring_producer_publish(producer, 2, good), -EINVAL);
        CHECK_EQ(slipring_producer_publish(producer, 2, NULL), 0); /* the claim stayed open */
    } else {
        CHECK_EQ(slipring_producer_publish(producer, 2, bad), -EMSGSIZE);
        CHECK_EQ(slipring_producer_publish(producer, 2, shaped), -EINVAL);
        CHECK_EQ(proc_info(ring).cursor, 0);
        CHECK_EQ(slipring_producer_publish(producer, 2, good), 0);
        uint64_t buffer[64];
        struct slipring_view view;
        CHECK_EQ(slipring_consumer_try_copy(consumer, buffer, sizeof(buffer), &view), 0);
        CHECK_EQ(view.slot.tag, UINT64_MAX);
        CHECK_EQ(view.slot.messages, 7);
        CHECK_EQ(view.slot.bytes, 24);
        CHECK_EQ(view.slot.deliveries, 1);
        CHECK_EQ(slipring_consumer_try_copy(consumer, buffer, sizeof(buffer), &view), 0);
        CHECK_EQ(view.slot.tag, 0);
        CHECK_EQ(view.slot.messages, 1);
        CHECK_EQ(view.slot.bytes, proc_info(ring).slot_bytes);
        CHECK_EQ(view.slot.timestamp_ns, 0);
    }
    slipring_consumer_detach(consumer);
    slipring_producer_detach(producer);
    slipring_ring_close(ring);
}

static void lies(const struct proc_ring *how)
{
    struct slipring_ring *ring = proc_make(how, 0);
    struct slipring_producer *producer = proc_producer(ring);
    struct slipring_consumer *consumer = proc_consumer(ring, how, SLIPRING_OLDEST);
    struct slipring_view view;
    CHECK_EQ(proc_publish(producer, how, 1, 0), 0);
    slr_store64(&slr_header(&ring->segment, 0)->bytes, UINT64_MAX); /* a stray store */
    CHECK_EQ(slipring_consumer_try_acquire(consumer, 1, &view), 0);
    CHECK(view.slot.bytes <= view.stride);
    CHECK_EQ(slipring_consumer_release(consumer, &view), 0);
    slipring_consumer_detach(consumer);
    slipring_producer_detach(producer);
    slipring_ring_close(ring);
}

static void configs(void)
{
    struct slipring_ring *ring = proc_make(&proc_rings[0], 0);
    struct slipring_producer *producer = NULL;
    struct slipring_producer_config config, bad;
    slipring_producer_config_init(&config);
    CHECK_EQ(config.struct_size, sizeof(config));
    CHECK_EQ(config.flags, 0);
    CHECK_EQ(config.wait, SLIPRING_WAIT_ADAPTIVE);
    struct slipring_error error = {0};
    bad = config;
    bad.struct_size = 3;
    CHECK_EQ(slipring_producer_attach(ring, &bad, &producer, &error), -EINVAL);
    CHECK(error.text[0] != '\0');
    bad = config;
    bad.wait = 9;
    CHECK_EQ(slipring_producer_attach(ring, &bad, &producer, &error), -EINVAL);
    bad = config;
    bad.flags = SLIPRING_NEWEST;
    CHECK_EQ(slipring_producer_attach(ring, &bad, &producer, &error), -EINVAL);
    CHECK(producer == NULL);
    CHECK_EQ(proc_info(ring).epoch, 0);
    CHECK_EQ(slipring_producer_attach(ring, &config, &producer, &error), 0);
    CHECK_EQ(proc_info(ring).epoch, 1);
    slipring_ring_close(ring); /* the producer keeps the ring */
    CHECK_EQ(proc_publish(producer, &proc_rings[0], 1, 0), 0);
    slipring_producer_detach(producer);
}

int main(void)
{
    proc_begin(30);
    for (unsigned i = 0; i < PROC_RINGS; i++) {
        claims(&proc_rings[i]);
        headers(&proc_rings[i]);
        if (proc_rings[i].full == SLIPRING_BLOCK) {
            gated(&proc_rings[i]);
        }
    }
    lies(&proc_rings[3]);
    lies(&proc_rings[6]);
    configs();
    return 0;
}
