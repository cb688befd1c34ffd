/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: timestamps and checksums are made where the ring asks for them; a consumer that verifies
 * is told of a damaged slot by -EBADMSG and by name, can release it and goes on; one that does not
 * is not.
 * Faults: D3.
 */
#include "proc.h"

static void damaged(uint32_t geometry, uint64_t bytes)
{
    const int64_t shape[] = {(int64_t)bytes};
    struct slipring_field field;
    CHECK_EQ(slipring_field_init(&field, "x", "u1", 1, shape), 0);
    struct slipring_config ring_config;
    slipring_config_init(&ring_config);
    ring_config.geometry = geometry;
    ring_config.slots = 8;
    ring_config.fields = &field;
    ring_config.field_count = 1;
    ring_config.flags = SLIPRING_CHECKSUM | SLIPRING_TIMESTAMP;
    struct slipring_ring *ring = proc_create(&ring_config);
    struct slipring_producer *producer = proc_producer(ring);
    struct slipring_consumer_config config;
    struct slipring_consumer *checks, *trusts;
    slipring_consumer_config_init(&config);
    CHECK_EQ(slipring_consumer_attach(ring, &config, &trusts, NULL), 0);
    config.flags = SLIPRING_VERIFY;
    CHECK_EQ(slipring_consumer_attach(ring, &config, &checks, NULL), 0);
    struct slipring_loan loan;
    struct slipring_view view;
    const int64_t before = slipring_now_ns();
    CHECK_EQ(slipring_producer_try_claim(producer, 3, &loan), 0);
    for (uint64_t i = 0; i < 3; i++) {
        pattern_fill((char *)loan.data + i * loan.stride, bytes, i);
    }
    char *middle = (char *)loan.data + loan.stride;
    CHECK_EQ(slipring_producer_publish(producer, 3, NULL), 0);
    middle[bytes / 2] ^= 1; /* a stray store of the producer's process */
    int damages = 0;
    for (uint64_t seen = 0; seen < 3; seen += view.slots) {
        const int code = slipring_consumer_try_acquire(checks, 3, &view);
        CHECK_EQ(code, seen == 1 ? -EBADMSG : 0);
        CHECK_EQ(view.slots, 1); /* a block ends before what is damaged */
        CHECK_EQ(view.slot.sequence, seen);
        CHECK(view.slot.timestamp_ns >= before && view.slot.timestamp_ns <= slipring_now_ns());
        damages += code != 0;
        CHECK_EQ(slipring_consumer_release(checks, &view), 0);
    }
    CHECK_EQ(damages, 1);
    struct slipring_stats stats = {.struct_size = sizeof(stats)};
    CHECK_EQ(slipring_consumer_stats(checks, &stats), 0);
    CHECK_EQ(stats.damaged, 1);
    CHECK_EQ(slipring_consumer_try_acquire(trusts, 3, &view), 0);
    CHECK_EQ(view.slots, 3);
    slipring_consumer_detach(trusts);
    slipring_consumer_detach(checks);
    slipring_producer_detach(producer);
    slipring_ring_close(ring);
}

int main(void)
{
    proc_begin(30);
    damaged(SLIPRING_GEOMETRY_PAIR, 128);
    damaged(SLIPRING_GEOMETRY_TENSOR, 2048);
    return 0;
}
