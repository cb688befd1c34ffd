/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The three ways to read, behind the public calls of consumer.c:
 *
 *     groups of one in block rings     acquire.c   gate by their own `released` word
 *     members of groups of many        acquire.c   leases (group.h), gate by the group's position
 *     readers of overwrite rings       consumer_overwrite.c    gate nothing: hold, or copy and validate
 */
#ifndef SLR_ACQUIRE_H
#define SLR_ACQUIRE_H

#include "ring/handle.h"
#include "ring/slot.h"

/* One attempt to acquire; 0, -EAGAIN, -ESTALE, -EBADMSG (view set), ... */
int slr_acquire(struct slipring_consumer *consumer, uint64_t slots, struct slipring_view *view);
int slr_release(struct slipring_consumer *consumer, const struct slipring_view *view);

/* Of an unordered group of one, from any thread: may so many slots be released from sequence on? 0, or
 * -EINVAL. And move its count over what is released, by words that a device stored too. */
int slr_release_check(struct slipring_consumer *consumer, uint64_t sequence, uint64_t slots);
void slr_release_advance(struct slipring_consumer *consumer);

/* Are a view's slots as they were published? */
bool slr_view_intact(const struct slr_segment *segment, const struct slipring_view *view);
/* Was this member evicted? */
bool slr_evicted(const struct slipring_consumer *consumer);

/* Copy the next message out and release it at once; as slipring_consumer_try_copy(). */
int slr_acquire_copy(struct slipring_consumer *consumer, void *buffer, uint64_t bytes,
                     struct slipring_view *view);

/* consumer_overwrite.c */
int slr_reader_hold(struct slipring_consumer *consumer, struct slipring_view *view);
int slr_reader_release(struct slipring_consumer *consumer, const struct slipring_view *view);
int slr_reader_copy(struct slipring_consumer *consumer, void *buffer, uint64_t bytes,
                    struct slipring_view *view);

/* The stream's end, seen from a consumer that found nothing at next: -EPIPE, -EOWNERDEAD or
 * -EAGAIN. slow: system calls are allowed. */
int slr_stream_end(struct slipring_consumer *consumer, uint64_t next, bool slow);

/* The longest sleep of one who waits for a message: shorter while a device may store its stamp. */
static inline int64_t slr_sleep_step(const struct slipring_consumer *consumer)
{
    /* Relaxed: a hint; set before the device is asked for its first store. */
    return slr_load64(&consumer->ring->segment.data->devices) != 0 ||
                   consumer->ring->segment.control == NULL
               ? SLR_SLEEP_STEP_BLIND
               : SLR_SLEEP_STEP;
}

/* Where to begin, once the cell or group is shown and gates (JOIN); sets pending_missed. */
uint64_t slr_start(struct slipring_consumer *consumer,
                   const struct slipring_consumer_config *config);

/* The running counts in a message's header, from which the size of a gap is worked out. */
struct slr_counts {
    bool known; /* compact rings have none */
    uint64_t messages_before, passed_before;
    uint32_t messages;
};
void slr_counts_read(const struct slr_segment *segment, uint64_t sequence,
                     struct slr_counts *counts);

/* Note that the slots from `from` up to `to` are lost; counts are those of the message at `to`. */
void slr_lose(struct slipring_consumer *consumer, uint64_t from, uint64_t to,
              const struct slr_counts *counts);

/* Read a header's words into a plain copy (relaxed: published, and gated, held or validated). */
void slr_slot_read(const struct slr_segment *segment, uint64_t sequence,
                   struct slipring_slot *slot);

/* The rest of a view of slots slots whose slot is filled in: by the last message's counts; takes over
 * what is pending. */
void slr_view_set(struct slipring_consumer *consumer, uint64_t slots, const struct slr_counts *last,
                  struct slipring_view *view);

/* All of a view, for schemas without variable shapes in compact and pair rings, with nothing pending. */
void slr_view_plain(struct slipring_consumer *consumer, uint64_t first, uint64_t slots,
                    struct slipring_view *view);

/* Does the checksum of the message at sequence match? */
bool slr_verify(const struct slr_segment *segment, uint64_t sequence);

#endif
