/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves, with the words that a producer leaves when it is killed between its stores put there by
 * hand: a new producer finds the end of the stream by the stamps where the cursor lags them (a
 * reader may have acquired those slots already), and clears stamps left beyond the end, so that
 * they do not count as published once the sequences before them are.
 * Faults: A2.
 */
#include "ring/layout.h"
#include "proc.h"

#include <sys/mman.h>
#include <sys/stat.h>

struct story {
    const struct proc_ring *how;
    struct slipring_ring *ring;
};

struct words {
    struct slr_data *data;
    uint8_t *bytes;
    uint64_t size;
};

static struct words map_data(struct slipring_ring *ring)
{
    int data_fd, control_fd;
    struct stat status;
    slipring_ring_fds(ring, &data_fd, &control_fd);
    CHECK(fstat(data_fd, &status) == 0);
    void *bytes =
        mmap(NULL, (size_t)status.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, data_fd, 0);
    CHECK(bytes != MAP_FAILED);
    return (struct words){bytes, bytes, (uint64_t)status.st_size};
}

/* The stamp of a slot; in pair and tensor rings the payload's sequence follows it. */
static _Atomic uint64_t *stamp(const struct words *words, uint64_t sequence)
{
    const struct slr_geometry *geometry = &words->data->geometry;
    return (_Atomic uint64_t *)(void *)(words->bytes + geometry->header_offset +
                                        geometry->stamp_in_header +
                                        (sequence & (geometry->slots - 1)) *
                                            geometry->header_stride);
}

static int source(struct proc *self, void *context)
{
    const struct story *story = context;
    struct slipring_producer *producer = proc_producer(story->ring);
    CHECK_EQ(proc_publish(producer, story->how, 5, 0), 0);
    proc_tell(self, 0);
    proc_sleep();
}

static void run(const struct proc_ring *how, bool lagging, bool beyond)
{
    struct story story = {how, proc_make(how, 0)};
    struct words words = map_data(story.ring);
    struct slipring_consumer *reader = proc_consumer(story.ring, how, SLIPRING_OLDEST);
    struct slipring_view view;
    uint64_t next = 0, count = 0;
    struct proc child = proc_start(source, &story);
    proc_hear(&child);
    CHECK_EQ(atomic_load(stamp(&words, 4)), 4);
    CHECK_EQ(proc_drain(reader, how, &next, &count), -EAGAIN);
    CHECK_EQ(count, 5);
    proc_kill(&child);
    if (lagging) {
        atomic_store(&words.data->cursor, 2);
        CHECK(slipring_consumer_lag(reader) == 0); /* clamped, not negative */
    }
    if (beyond) {
        /* As stamped from last to first, or by a store still in flight: 6 and 7, but not 5. */
        for (uint64_t s = 6; s < 8; s++) {
            if (how->geometry != SLIPRING_GEOMETRY_COMPACT) {
                atomic_store(stamp(&words, s) + 1, s);
            }
            atomic_store(stamp(&words, s), s);
        }
        if (proc_info(story.ring).limit < 8) {
            atomic_store(&words.data->limit, 8);
        }
    }
    struct slipring_producer *producer = proc_producer(story.ring);
    CHECK_EQ(proc_info(story.ring).cursor, 5);
    CHECK_EQ(proc_take(reader, how, &view, 0), -EAGAIN);
    for (uint64_t s = 5; s < 9; s++) {
        CHECK_EQ(proc_publish(producer, how, 1, 0), 0);
        CHECK_EQ(proc_take(reader, how, &view, 0), 0);
        CHECK_EQ(view.slot.sequence, s);
        CHECK_EQ(view.missed, 0);
        CHECK_EQ(proc_take(reader, how, &view, 0), -EAGAIN);
    }
    slipring_consumer_detach(reader);
    slipring_producer_detach(producer);
    slipring_ring_close(story.ring);
    CHECK(munmap(words.bytes, words.size) == 0);
}

int main(void)
{
    proc_begin(60);
    for (unsigned i = 0; i < PROC_RINGS; i++) {
        for (unsigned variant = 0; variant < 4; variant++) {
            run(&proc_rings[i], (variant & 1) != 0, (variant & 2) != 0);
        }
    }
    return 0;
}
