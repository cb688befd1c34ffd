/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The body of test_inline.c and test_inline_cpp.cpp: the fast path of slipring/inline.h means the
 * same as the functions, from C and from C++, alone and mixed with them, in every geometry, in
 * fast and in slow mode, with views, batches, the wrap, a full ring, refusals, and a producer that
 * sleeps until an inline release rings.
 */
#ifndef TEST_INLINE_H
#define TEST_INLINE_H

#include "proc.h"

#include <slipring/inline.h>

static void inline_fill(struct slipring_fast *fast, void *data, const struct proc_ring *how,
                        uint64_t slots, uint64_t sequence)
{
    for (uint64_t i = 0; i < slots; i++) {
        pattern_fill((char *)data + i * fast->payload_stride, how->bytes, sequence + i);
    }
}

/* Claim and publish n slots if they fit into room; how many were published. */
static uint64_t inline_write(struct slipring_producer *producer, const struct proc_ring *how,
                             uint64_t *random, uint64_t n, uint64_t sequence, uint64_t room)
{
    struct slipring_fast *out = slipring_producer_fast(producer);
    const int wanted = n <= room ? 0 : -EAGAIN;
    void *data = NULL;
    if (proc_random(random) % 8 == 0) {
        CHECK_EQ(proc_publish(producer, how, n, 0), wanted);
        return n <= room ? n : 0;
    }
    CHECK_EQ(slipring_fast_try_claim(out, n, &data), wanted);
    if (n > room) {
        return 0;
    }
    inline_fill(out, data, how, n, sequence);
    CHECK_EQ(slipring_fast_try_claim(out, 1, &data), -EINVAL);
    CHECK_EQ(slipring_fast_publish(out, n + 1), -EINVAL);
    CHECK_EQ(slipring_fast_publish(out, n), 0);
    return n;
}

/* Acquire up to n slots and leave them in hand; sometimes by the functions. */
static uint64_t inline_read(struct slipring_consumer *consumer, const struct proc_ring *how,
                            uint64_t *random, uint64_t n, uint64_t seen, uint64_t written)
{
    struct slipring_fast *in = slipring_consumer_fast(consumer);
    struct slipring_view view;
    const void *data = NULL;
    int64_t got;
    if (proc_random(random) % 8 == 0) {
        got = slipring_consumer_try_acquire(consumer, n, &view);
        data = view.data;
        CHECK(got != 0 || view.slot.sequence == seen);
        got = got == 0 ? (int64_t)view.slots : got;
    } else {
        got = slipring_fast_try_acquire(in, n, &data);
    }
    if (written == seen) {
        CHECK_EQ(got, -EAGAIN);
        return 0;
    }
    CHECK(got >= 1 && got <= (int64_t)n);
    for (uint64_t i = 0; i < (uint64_t)got; i++) {
        CHECK(pattern_whole((const char *)data + i * in->payload_stride, how->bytes, seen + i));
    }
    return (uint64_t)got;
}

static void inline_mixed(const struct proc_ring *how)
{
    struct slipring_ring *ring = proc_make(how, UINT64_C(0) - 5);
    struct slipring_producer *producer = proc_producer(ring);
    struct slipring_consumer *consumer = proc_consumer(ring, how, SLIPRING_OLDEST);
    struct slipring_fast *out = slipring_producer_fast(producer);
    struct slipring_fast *in = slipring_consumer_fast(consumer);
    const uint64_t slots = proc_info(ring).slots;
    uint64_t written = UINT64_C(0) - 5, seen = written, released = written, random = 1;
    for (int step = 0; step < 6000; step++) {
        const uint64_t n = 1 + proc_random(&random) % 4;
        switch (proc_random(&random) % 4) {
        case 0:
        case 1:
            written +=
                inline_write(producer, how, &random, n, written, slots - (written - released));
            break;
        case 2:
            seen += inline_read(consumer, how, &random, n, seen, written);
            break;
        default:
            if (released != seen) { /* in part, so that the rest must stay protected */
                const uint64_t back = 1 + proc_random(&random) % (seen - released);
                CHECK_EQ(slipring_fast_release(in, seen - released + 1), -EINVAL);
                CHECK_EQ(slipring_fast_release(in, back), 0);
                released += back;
            }
        }
    }
    CHECK(written - (UINT64_C(0) - 5) > 4 * slots);
    void *data = NULL;
    const void *none = NULL;
    CHECK_EQ(slipring_fast_try_claim(out, 0, &data), -EINVAL);
    CHECK_EQ(slipring_fast_try_claim(out, slots + 1, &data), -EMSGSIZE);
    CHECK_EQ(slipring_fast_try_acquire(in, 0, &none), -EINVAL);
    slipring_consumer_detach(consumer);
    slipring_producer_close(producer);
    slipring_ring_close(ring);
}

static int inline_reader(struct proc *self, void *context)
{
    struct slipring_ring *ring = (struct slipring_ring *)context;
    struct slipring_consumer *consumer = proc_consumer(ring, &proc_rings[0], SLIPRING_OLDEST);
    struct slipring_fast *in = slipring_consumer_fast(consumer);
    proc_tell(self, 0);
    uint64_t seen = 0;
    for (;;) {
        const void *data = NULL;
        const int64_t got = slipring_fast_try_acquire(in, 64, &data);
        if (got == -EPIPE) {
            break;
        }
        CHECK(got > 0 || got == -EAGAIN);
        for (int64_t i = 0; i < got; i++, seen++) {
            CHECK(pattern_whole((const char *)data + (uint64_t)i * in->payload_stride, 56, seen));
        }
        CHECK(got < 0 || slipring_fast_release(in, (uint64_t)got) == 0);
    }
    proc_tell(self, seen);
    slipring_consumer_detach(consumer);
    return 0;
}

/* Across processes, the producer asleep whenever the ring is full. */
static void inline_bell(void)
{
    const uint64_t count = 20000;
    struct slipring_ring *ring = proc_make(&proc_rings[0], 0);
    struct slipring_producer_config config;
    struct slipring_producer *producer;
    slipring_producer_config_init(&config);
    config.wait = SLIPRING_WAIT_SLEEP;
    CHECK_EQ(slipring_producer_attach(ring, &config, &producer, NULL), 0);
    struct slipring_fast *out = slipring_producer_fast(producer);
    struct proc child = proc_start(inline_reader, ring);
    proc_hear(&child);
    for (uint64_t sequence = 0; sequence < count; sequence++) {
        void *data = NULL;
        int code = slipring_fast_try_claim(out, 1, &data);
        if (code == -EAGAIN) {
            struct slipring_loan loan;
            code = slipring_producer_claim(producer, 1, &loan, proc_in_ms(10000));
            data = loan.data;
        }
        CHECK_EQ(code, 0);
        inline_fill(out, data, &proc_rings[0], 1, sequence);
        CHECK_EQ(slipring_fast_publish(out, 1), 0);
    }
    slipring_producer_close(producer);
    CHECK_EQ(proc_hear(&child), count);
    proc_end(&child);
    slipring_ring_close(ring);
}

static int inline_main(void)
{
    proc_begin(30);
    for (unsigned i = 0; i < PROC_RINGS; i++) {
        if (proc_rings[i].full == SLIPRING_BLOCK && proc_rings[i].member_flags == 0) {
            inline_mixed(&proc_rings[i]);
        }
    }
    inline_bell();
    return 0;
}

#endif
