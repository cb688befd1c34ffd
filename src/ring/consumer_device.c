/* SPDX-License-Identifier: Apache-2.0 */
/* What a part that serves a device asks of the core (src/device.h). */
#include "ring/acquire.h"
#include "ring/reclaim.h"
#include "ring/words.h"
#include "device.h"

#include <errno.h>

int slipring_ring_memory(const struct slipring_ring *ring, struct slipring_memory *memory)
{
    if (memory->struct_size != sizeof *memory) {
        return -EINVAL;
    }
    const struct slr_segment *segment = &ring->segment;
    const struct slr_geometry *g = &segment->geometry;
    *memory = (struct slipring_memory){
        .struct_size = sizeof *memory,
        .write_sealed = (g->flags & SLIPRING_WRITE_SEALED) != 0 && !segment->may_write,
        .data = segment->data,
        .area_offset = g->area_offset,
        .area_bytes = g->area_bytes,
        .payload = segment->payload,
        .payload_stride = g->payload_stride,
        .slots = g->slots,
        .stamps = segment->headers + g->stamp_in_header,
        .header_stride = g->header_stride,
        .releases = segment->control == NULL ? NULL : (void *)segment->releases,
        .releases_bytes = segment->control == NULL ? 0 : g->control_bytes - g->releases_offset,
    };
    return 0;
}

int slipring_ring_unprotect(struct slipring_ring *ring, struct slipring_error *error)
{
    SLR_NOT_CANCELLED;
    struct slipring_error why;
    const int code = slr_segment_write(&ring->segment, &why);
    if (code == -EPERM && (ring->segment.geometry.flags & SLIPRING_WRITE_SEALED) != 0) {
        return slr_fail(
            error, code, "slipring_ring_unprotect",
            "the ring is write-sealed, and a device can only page-lock what is mapped "
            "writable: create it without SLIPRING_WRITE_SEALED, or copy from it as from "
            "any memory");
    }
    return code == 0 ? 0
                     : slr_fail(error, code, "slipring_ring_unprotect",
                                "a device can only page-lock what is mapped writable, and: "
                                "%.150s",
                                why.text);
}

void slipring_ring_protect(struct slipring_ring *ring)
{
    SLR_NOT_CANCELLED;
    slr_segment_write_end(&ring->segment);
}

/* ---- releases by a device ---- */

int slipring_consumer_has_words(const struct slipring_consumer *consumer)
{
    return consumer->kind == SLR_KIND_ONE && consumer->releases != NULL;
}

int slipring_consumer_device_begin(struct slipring_consumer *consumer)
{
    if (slr_consumer_forked(consumer)) {
        return -ECHILD;
    }
    if (!slipring_consumer_has_words(consumer)) {
        return -EINVAL;
    }
    if (!slr_cas32(&consumer->devices, SLR_DEVICES_NONE, SLR_DEVICES_PENDING)) { /* OWN */
        return -EBUSY;
    }
    /* Release: before any store of the device, which is asked for by who called us. */
    slr_store32_release(&consumer->ring->segment.cells[consumer->cell].devices, 1); /* RELEASE */
    slr_exported_hold(consumer);
    return 0;
}

void slipring_consumer_device_end(struct slipring_consumer *consumer)
{
    SLR_NOT_CANCELLED;
    struct slr_cell *cell = &consumer->ring->segment.cells[consumer->cell];
    if (!slr_consumer_forked(consumer)) {
        slr_store32_release(&cell->devices, 0); /* RELEASE: after all the stores */
        if (!slr_cas32(&consumer->devices, SLR_DEVICES_PENDING, SLR_DEVICES_NONE)) { /* OWN */
            const uint64_t word = slr_load64_acquire(&cell->word);                   /* REAP */
            if (slr_cell_generation(word) == slr_cell_generation(consumer->word) &&
                slr_cell_state(word) == SLR_CELL_RETIRED) {
                (void)slr_cas64(&cell->word, word, slr_cell_to(word, SLR_CELL_FREE)); /* REAP */
            }
            slr_lock_close(&consumer->lock);
        }
    }
    slr_consumer_drop(consumer);
}

int slipring_consumer_device_words(struct slipring_consumer *consumer,
                                   const struct slipring_view *view, struct slipring_word *words)
{
    const struct slr_segment *segment = &consumer->ring->segment;
    const uint64_t first = view->slot.sequence;
    if (slr_consumer_forked(consumer)) {
        return -ECHILD;
    }
    if (!slipring_consumer_has_words(consumer) || view->slots == 0 ||
        view->slots > slr_slots(segment)) {
        return -EINVAL;
    }
    const bool whole = slr_view_intact(segment, view);
    if (slr_evicted(consumer) || !whole) {
        return -ESTALE;
    }
    const int result = slr_release_check(consumer, first, view->slots);
    for (uint64_t i = 0; i < view->slots && result == 0; i++) {
        words[i].address = (void *)&consumer->releases[slr_index(segment, first + i)];
        words[i].value = slr_release_word(segment, consumer->cell,
                                          slr_cell_generation(consumer->word), first + i);
    }
    return result;
}

int slipring_consumer_device_released(const struct slipring_consumer *consumer,
                                      const struct slipring_view *view)
{
    const struct slr_segment *segment = &consumer->ring->segment;
    const struct slr_cell *cell = &segment->cells[consumer->cell];
    for (uint64_t i = view->slots; i-- > 0;) {
        const uint64_t s = view->slot.sequence + i;
        const uint64_t word =
            slr_load64_acquire(&consumer->releases[slr_index(segment, s)]); /* RELEASE */
        /* The word may be a later lap's by now; our count passed over this one before that could be
         * asked for. */
        if (word !=
                slr_release_word(segment, consumer->cell, slr_cell_generation(consumer->word), s) &&
            slr_distance(slr_load64_acquire(&cell->released), s) <= 0) { /* GROUP, among threads */
            return 0;
        }
    }
    return 1;
}

int slipring_consumer_device_advance(struct slipring_consumer *consumer)
{
    return slr_advance_foreign(consumer);
}

int slipring_consumer_release_late(struct slipring_consumer *consumer,
                                   const struct slipring_view *view)
{
    return slr_release_foreign(consumer, view);
}

int slipring_consumer_keep(struct slipring_consumer *consumer)
{
    if (slr_consumer_forked(consumer)) {
        return -ECHILD;
    }
    if (consumer->cell == UINT32_MAX ||
        (consumer->kind == SLR_KIND_ONE && !slipring_consumer_has_words(consumer))) {
        return -EINVAL;
    }
    slr_exported_hold(consumer);
    return 0;
}

void slipring_consumer_drop(struct slipring_consumer *consumer)
{
    slr_consumer_drop(consumer);
}

void slipring_consumer_device_table(const struct slipring_consumer *consumer,
                                    struct slipring_release_table *table)
{
    const struct slr_segment *segment = &consumer->ring->segment;
    *table = (struct slipring_release_table){
        .words = (void *)consumer->releases,
        .value =
            slr_lease(consumer->cell, slr_cell_generation(consumer->word), 0, SLR_LEASE_DONE, 1),
        .lap_mask = SLR_LEASE_LAP_MASK,
        .lap_shift = SLR_LEASE_LAP_SHIFT,
        .has_header = !slr_is_compact(segment),
        .slot_bytes = segment->geometry.slot_bytes,
        .next = consumer->fast->next,
    };
}

uint64_t slipring_consumer_device_count(const struct slipring_consumer *consumer)
{
    return slr_load64_acquire(
        &consumer->ring->segment.cells[consumer->cell].released); /* RELEASE */
}

void slipring_consumer_device_goto(struct slipring_consumer *consumer, uint64_t sequence)
{
    consumer->fast->next = sequence;
    consumer->fast->end = sequence;
    consumer->counted = false; /* what a gap held is known again from the next message on */
}
