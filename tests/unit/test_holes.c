/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: where a process that may write the data of a tensor ring punches holes into it (zeros
 * come, and no signal), a slot whose header is gone is not delivered; a slot whose payload is gone
 * is told from a whole one by the checksum, where the ring has one and the reader verifies (else
 * its zeros are delivered, as ring.h says); and the ring goes on when its slots are written anew.
 * Faults: D3.
 */
#define _GNU_SOURCE
#include "ring/handle.h"
#include "proc.h"

#include <fcntl.h>

/* Slots of a page each, so that one of them can be punched out. */
static struct slipring_ring *create(uint32_t flags, uint32_t full)
{
    struct slipring_config config;
    slipring_config_init(&config);
    config.slots = 8;
    config.slot_bytes = (uint64_t)sysconf(_SC_PAGESIZE);
    config.start_sequence = 8; /* a header of zeros says sequence 0 */
    config.flags = flags;
    config.full = full;
    config.members_max = 4;
    return proc_create(&config);
}

static void punch(struct slipring_ring *ring, const void *from)
{
    const int64_t page = sysconf(_SC_PAGESIZE);
    const int64_t at = (const uint8_t *)from - (const uint8_t *)ring->segment.data;
    char path[40];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", ring->segment.data_fd);
    const int fd = open(path, O_RDWR | O_CLOEXEC);
    CHECK(fd >= 0);
    CHECK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at / page * page, page) == 0);
    close(fd);
}

static void publish(struct slipring_producer *producer, uint64_t bytes)
{
    struct slipring_loan loan;
    CHECK_EQ(slipring_producer_try_claim(producer, 1, &loan), 0);
    pattern_fill(loan.data, bytes, loan.sequence);
    CHECK_EQ(slipring_producer_publish(producer, 1, NULL), 0);
}

static void payload(uint32_t flags, int want)
{
    struct slipring_ring *ring = create(flags, SLIPRING_BLOCK);
    const uint64_t bytes = proc_info(ring).slot_bytes;
    struct slipring_producer *producer = proc_producer(ring);
    struct slipring_consumer_config config;
    struct slipring_consumer *consumer;
    struct slipring_view view;
    slipring_consumer_config_init(&config);
    config.flags = flags != 0 ? SLIPRING_VERIFY : 0;
    CHECK_EQ(slipring_consumer_attach(ring, &config, &consumer, NULL), 0);
    for (uint64_t s = 8; s < 24; s++) {
        publish(producer, bytes);
        if (s % 3 == 0) {
            punch(ring, ring->segment.payload + (s & 7) * ring->segment.geometry.payload_stride);
        }
        CHECK_EQ(slipring_consumer_try_acquire(consumer, 1, &view), s % 3 == 0 ? want : 0);
        CHECK_EQ(view.slot.sequence, s);
        CHECK(pattern_whole(view.data, bytes, s) == (s % 3 != 0));
        CHECK_EQ(slipring_consumer_release(consumer, &view), 0);
    }
    slipring_consumer_detach(consumer);
    slipring_producer_detach(producer);
    slipring_ring_close(ring);
}

/* All the headers are gone with messages in the ring. */
static void headers(uint32_t full)
{
    struct slipring_ring *ring = create(0, full);
    const uint64_t bytes = proc_info(ring).slot_bytes;
    struct slipring_producer *producer = proc_producer(ring);
    struct slipring_consumer *consumer = proc_consumer(ring, &proc_rings[6], SLIPRING_OLDEST);
    struct slipring_view view;
    for (int i = 0; i < 4; i++) {
        publish(producer, bytes);
    }
    CHECK_EQ(slipring_consumer_try_acquire(consumer, 1, &view), 0);
    CHECK_EQ(slipring_consumer_release(consumer, &view), 0);
    punch(ring, ring->segment.headers); /* in pages of their own */
    CHECK_EQ(slipring_consumer_acquire(consumer, 4, &view, proc_in_ms(50)), -ETIMEDOUT);
    slipring_consumer_detach(consumer);
    consumer = proc_consumer(ring, &proc_rings[6], SLIPRING_LATEST);
    for (uint64_t s = 12; s < 24; s++) { /* a reader that begins here misses nothing */
        publish(producer, bytes);
        CHECK_EQ(slipring_consumer_try_acquire(consumer, 1, &view), 0);
        CHECK_EQ(view.slot.sequence, s);
        CHECK(pattern_whole(view.data, bytes, s));
        CHECK_EQ(slipring_consumer_release(consumer, &view), 0);
    }
    slipring_consumer_detach(consumer);
    slipring_producer_detach(producer);
    slipring_ring_close(ring);
}

int main(void)
{
    proc_begin(30);
    payload(SLIPRING_CHECKSUM, -EBADMSG);
    payload(0, 0);
    headers(SLIPRING_BLOCK);
    headers(SLIPRING_OVERWRITE);
    return 0;
}
