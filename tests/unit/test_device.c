/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A device's stores into a consumer's release words (made by hand here): the producer sees them by
 * itself and claims what they release, in any order of the stores, lap after lap, though nobody on
 * the consumer's side counts them; an announced consumer goes on releasing by calls as well. A store
 * by an evicted consumer, or of another generation of the cell, releases nothing. One that leaves or
 * dies with stores announced keeps its cell from others, as long as such stores may come, and no
 * longer.
 */
#include "proc.h"

#include "ring/recover.h"
#include "ring/slot.h"
#include "device.h"

#define SLOTS 1024u /* a compact ring has no fewer: a page, which may be of 64 KiB */

static void store(const struct slipring_word *word)
{
    slr_store64_release((_Atomic uint64_t *)word->address, word->value); /* RELEASE, as a device */
}

static struct slipring_ring *make(uint32_t geometry, uint32_t members, uint32_t releases)
{
    struct slipring_config config;
    slipring_config_init(&config);
    config.geometry = geometry;
    config.slots = SLOTS;
    config.slot_bytes = geometry == SLIPRING_GEOMETRY_COMPACT ? 56 : 4096;
    config.members_max = members;
    config.releases_max = releases;
    return proc_create(&config);
}

static struct slipring_consumer *unordered(struct slipring_ring *ring, int64_t evict_ms)
{
    return proc_member(ring, NULL, SLIPRING_UNORDERED, evict_ms);
}

static void publish(struct slipring_producer *producer, uint64_t slots)
{
    struct slipring_loan loan;
    for (uint64_t i = 0; i < slots; i++) {
        CHECK_OK(slipring_producer_try_claim(producer, 1, &loan));
        CHECK_OK(slipring_producer_publish(producer, 1, NULL));
    }
}

static bool full(struct slipring_producer *producer)
{
    struct slipring_loan loan;
    const int result = slipring_producer_try_claim(producer, 1, &loan);
    if (result == 0) {
        CHECK_OK(slipring_producer_abort(producer));
    }
    CHECK(result == 0 || result == -EAGAIN);
    return result != 0;
}

/* The consumer counts nothing: the producer goes by the words alone. */
static void check_laps(uint32_t geometry)
{
    struct slipring_ring *ring = make(geometry, 16, 4);
    struct slipring_producer *producer = proc_producer(ring);
    struct slipring_consumer *consumer = unordered(ring, 0);
    struct slipring_view view;
    struct slipring_word words[SLOTS], kept[SLOTS];
    struct slipring_view old = {0}; /* of the lap before */
    CHECK_OK(slipring_consumer_device_begin(consumer));
    CHECK_EQ(slipring_consumer_device_begin(consumer), -EBUSY);
    for (unsigned lap = 0; lap < 5; lap++) {
        publish(producer, SLOTS);
        CHECK(full(producer));
        for (unsigned i = 0; i < SLOTS; i++) {
            CHECK_OK(slipring_consumer_try_acquire(consumer, 1, &view));
            CHECK_OK(slipring_consumer_device_words(consumer, &view, &kept[i]));
        }
        for (unsigned i = SLOTS - 1; i > 0; i--) { /* the first comes last */
            store(&kept[i]);
            CHECK(full(producer));
        }
        CHECK_EQ(slipring_consumer_device_released(consumer, &view), 1); /* the last one */
        view.slot.sequence -= SLOTS - 1;
        CHECK_EQ(slipring_consumer_device_released(consumer, &view), 0);
        store(&kept[0]);
        CHECK_EQ(slipring_consumer_device_released(consumer, &view), 1);
        if (lap > 0) { /* its word is this lap's by now */
            CHECK_EQ(slipring_consumer_device_released(consumer, &old), 1);
        }
        old = view;
        CHECK(!full(producer));
        store(&kept[3]); /* once more does no harm */
    }
    /* A block of them, and one by a call among them. */
    publish(producer, SLOTS);
    CHECK_OK(slipring_consumer_try_acquire(consumer, 3, &view));
    CHECK_EQ(view.slots, 3);
    CHECK_OK(slipring_consumer_device_words(consumer, &view, words));
    struct slipring_view other;
    CHECK_OK(slipring_consumer_try_acquire(consumer, 1, &other));
    CHECK_OK(slipring_consumer_release(consumer, &other));
    CHECK_EQ(slipring_consumer_release(consumer, &other), -EINVAL);
    CHECK_EQ(slipring_consumer_device_words(consumer, &other, words), -EINVAL);
    CHECK_OK(slipring_consumer_device_words(consumer, &view, words));
    for (unsigned i = 0; i < 3; i++) {
        CHECK(full(producer) == (i == 0));
        store(&words[i]);
    }
    struct slipring_loan loan;
    CHECK_OK(slipring_producer_try_claim(producer, 4, &loan));
    CHECK_OK(slipring_producer_abort(producer));
    CHECK_EQ(slipring_producer_try_claim(producer, 5, &loan), -EAGAIN);
    CHECK_OK(slipring_consumer_device_advance(consumer));
    slipring_consumer_device_end(consumer);
    CHECK_EQ(slipring_producer_try_claim(producer, 5, &loan), -EAGAIN);
    CHECK_OK(slipring_producer_try_claim(producer, 4, &loan));
    slipring_consumer_detach(consumer);
    slipring_producer_detach(producer);
    slipring_ring_close(ring);
}

/* Only the words of this consumer, in this generation, count. */
static void check_foreign_words(void)
{
    struct slipring_ring *ring = make(SLIPRING_GEOMETRY_TENSOR, 16, 1);
    struct slipring_producer *producer = proc_producer(ring);
    struct slipring_consumer *first = unordered(ring, 0);
    struct slipring_view view;
    struct slipring_word late, word;
    publish(producer, 1);
    CHECK_OK(slipring_consumer_device_begin(first));
    CHECK_OK(slipring_consumer_try_acquire(first, 1, &view));
    CHECK_OK(slipring_consumer_device_words(first, &view, &late));
    slipring_consumer_device_end(first); /* not true */
    slipring_consumer_detach(first);
    struct slipring_consumer *blocker = unordered(ring, 0); /* takes the one table, and its cell */
    CHECK_OK(slipring_consumer_device_begin(blocker));
    publish(producer, SLOTS - 1);
    store(&late);
    CHECK(full(producer));
    for (unsigned i = 0; i < SLOTS; i++) {
        CHECK_OK(slipring_consumer_try_acquire(blocker, 1, &view));
        CHECK_OK(slipring_consumer_device_words(blocker, &view, &word));
        CHECK(word.value != late.value);
        word.value = late.value;
        store(&word);
        CHECK(full(producer));
    }
    CHECK(late.address != NULL);
    slipring_consumer_device_end(blocker);
    slipring_consumer_detach(blocker);
    slipring_producer_detach(producer);
    slipring_ring_close(ring);
}

static void check_evicted(void)
{
    struct slipring_ring *ring = make(SLIPRING_GEOMETRY_TENSOR, 16, 4);
    struct slipring_producer *producer = proc_producer(ring);
    struct slipring_consumer *consumer = unordered(ring, 20);
    struct slipring_view view;
    struct slipring_word word, other;
    struct slipring_loan loan;
    publish(producer, SLOTS);
    CHECK_OK(slipring_consumer_device_begin(consumer));
    CHECK_OK(slipring_consumer_try_acquire(consumer, 1, &view));
    CHECK_OK(slipring_consumer_device_words(consumer, &view, &word));
    CHECK_OK(slipring_producer_claim(producer, 1, &loan, proc_in_ms(5000)));
    CHECK_EQ(slipring_consumer_device_words(consumer, &view, &other), -ESTALE);
    store(&word); /* lands where nobody looks */
    CHECK_EQ(slipring_consumer_device_advance(consumer), -ESTALE);
    slipring_consumer_device_end(consumer);
    slipring_consumer_detach(consumer);
    slipring_producer_detach(producer);
    slipring_ring_close(ring);
}

static void check_kinds(void)
{
    struct slipring_ring *ring = make(SLIPRING_GEOMETRY_TENSOR, 16, 4);
    struct slipring_consumer *ordered = proc_member(ring, NULL, 0, 0);
    struct slipring_consumer *many = proc_member(ring, "many", SLIPRING_MANY, 0);
    CHECK_EQ(slipring_consumer_device_begin(ordered), -EINVAL);
    CHECK_EQ(slipring_consumer_keep(ordered), -EINVAL);
    CHECK(!slipring_consumer_has_words(ordered));
    CHECK_EQ(slipring_consumer_device_begin(many), -EINVAL);
    CHECK_OK(slipring_consumer_keep(many));
    struct slipring_producer *producer = proc_producer(ring);
    struct slipring_view view;
    publish(producer, 1);
    CHECK_OK(slipring_consumer_try_acquire(many, 1, &view));
    CHECK_OK(slipring_consumer_release_late(many, &view));
    publish(producer, 1);
    CHECK_OK(slipring_consumer_try_acquire(many, 1, &view));
    slipring_consumer_detach(many);
    CHECK_EQ(slipring_consumer_release_late(many, &view), -ECANCELED);
    slipring_consumer_drop(many);
    slipring_consumer_detach(ordered);
    slipring_producer_detach(producer);
    slipring_ring_close(ring);
}

static uint32_t state_of(struct slipring_ring *ring, uint32_t cell)
{
    return slr_cell_state(slr_load64_acquire(&ring->segment.cells[cell].word));
}

/* Detached with stores announced: the cell and its table are nobody's until the end is told. */
static void check_detached(void)
{
    struct slipring_ring *ring = make(SLIPRING_GEOMETRY_TENSOR, 16, 1);
    struct slipring_consumer *consumer = unordered(ring, 0);
    struct slipring_consumer *other = NULL;
    struct slipring_consumer_config config;
    slipring_consumer_config_init(&config);
    config.flags = SLIPRING_UNORDERED;
    CHECK_OK(slipring_consumer_device_begin(consumer));
    slipring_consumer_detach(consumer);
    CHECK_EQ(state_of(ring, 0), SLR_CELL_RETIRED);
    CHECK_EQ(slipring_consumer_attach(ring, &config, &other, NULL), -EUSERS);
    slr_store64(&ring->segment.cells[0].joined_ns, 1); /* long ago; but its owner is there */
    CHECK_EQ(slipring_consumer_attach(ring, &config, &other, NULL), -EUSERS);
    CHECK_EQ(slipring_consumer_device_advance(consumer), -ECANCELED);
    slipring_consumer_device_end(consumer);
    CHECK_EQ(state_of(ring, 0), SLR_CELL_FREE);
    CHECK_OK(slipring_consumer_attach(ring, &config, &other, NULL));
    slipring_consumer_detach(other);
    slipring_ring_close(ring);
}

static int die_announced(struct proc *self, void *context)
{
    struct slipring_consumer *consumer = unordered(context, 0);
    CHECK_OK(slipring_consumer_device_begin(consumer));
    proc_tell(self, 1);
    proc_sleep();
}

/* Killed: its cell does not gate, and is taken by nobody until it is sure that no store comes. */
static void check_killed(void)
{
    struct slipring_ring *ring = make(SLIPRING_GEOMETRY_TENSOR, 16, 1);
    struct slipring_producer *producer = proc_producer(ring);
    struct slipring_consumer *other = NULL;
    struct slipring_consumer_config config;
    slipring_consumer_config_init(&config);
    config.flags = SLIPRING_UNORDERED;
    struct proc child = proc_start(die_announced, ring);
    (void)proc_hear(&child);
    proc_kill(&child);
    publish(producer, SLOTS);
    struct slipring_loan loan;
    CHECK_OK(slipring_producer_claim(producer, 1, &loan, proc_in_ms(2000)));
    CHECK_OK(slipring_producer_abort(producer));
    CHECK_EQ(state_of(ring, 0), SLR_CELL_RETIRED);
    CHECK_EQ(slipring_consumer_attach(ring, &config, &other, NULL), -EUSERS);
    CHECK_EQ(state_of(ring, 0), SLR_CELL_RETIRED);
    const uint64_t since = slr_load64(&ring->segment.cells[0].joined_ns);
    slr_store64(&ring->segment.cells[0].joined_ns, since - SLR_RETIRED_NS); /* time passes */
    CHECK_OK(slipring_consumer_attach(ring, &config, &other, NULL));
    slipring_consumer_detach(other);
    slipring_producer_detach(producer);
    slipring_ring_close(ring);
}

int main(void)
{
    proc_begin(60);
    check_laps(SLIPRING_GEOMETRY_TENSOR);
    check_laps(SLIPRING_GEOMETRY_COMPACT);
    check_foreign_words();
    check_evicted();
    check_kinds();
    check_detached();
    check_killed();
    return 0;
}
