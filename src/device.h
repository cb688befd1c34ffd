/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * What libslipring-cuda and the Python extension need of the core: where the memory lies that a device
 * reads and writes, and the steps of claim, publish and release that a device takes. This header is not
 * installed, and its functions may change in any release (node SLIPRING_PRIVATE of slipring.map).
 */
#ifndef SLIPRING_DEVICE_H
#define SLIPRING_DEVICE_H

#include <slipring/slipring.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A ring's memory as this process maps it. */
struct slipring_memory {
    uint32_t struct_size;  /**< set by the caller */
    uint32_t write_sealed; /**< 1: this process can never map the data writable */
    void *data;            /**< the data object: header, slot headers, then the payload area */
    uint64_t area_offset;  /**< where in it the payload area begins; a multiple of the page */
    uint64_t area_bytes;   /**< the payload area's; mapped once more right behind its end */
    void *payload;         /**< slot 0's; slot i lies i * payload_stride further */
    uint64_t payload_stride;
    uint64_t slots;
    void *stamps; /**< slot 0's sequence, 64 bits; slot i's lies i * header_stride further */
    uint64_t header_stride;
    void *releases;          /**< the release words of all unordered consumers; NULL if read-only */
    uint64_t releases_bytes; /**< a multiple of the page */
};

/**
 * Where a ring's memory lies.
 *
 * @param ring            any ring
 * @param[in,out] memory  struct_size set by the caller; all else is filled
 * @retval 0              memory is set
 * @retval -EINVAL        struct_size is not one that this library knows
 *
 * Thread: any.   Progress: wait-free.   Fork: yes.
 * Owner:  the ring; valid until slipring_ring_close().   Order: none.
 */
SLIPRING_API SLIPRING_CHECK int slipring_ring_memory(const struct slipring_ring *ring,
                                                     struct slipring_memory *memory);

/**
 * Map the data writable, in place, as page-locking for a device needs it; end with
 * slipring_ring_protect(), which makes it read-only again unless a producer of this process uses it.
 *
 * @param ring        any ring
 * @param[out] error  cause and cure, or NULL
 * @retval 0          writable
 * @retval -EPERM     a write-sealed ring, or one that this user may not write; the text says which
 *
 * Thread: any.   Progress: may sleep.   Fork: yes.
 * Owner:  none.   Order: none.
 */
SLIPRING_API SLIPRING_CHECK int slipring_ring_unprotect(struct slipring_ring *ring,
                                                        struct slipring_error *error);

/**
 * End what slipring_ring_unprotect() began.
 *
 * Thread: any.   Progress: may sleep.   Fork: yes.
 * Owner:  none.   Order: none.
 */
SLIPRING_API void slipring_ring_protect(struct slipring_ring *ring);

/* ---- releases by a device ----
 *
 * A device releases a slot by one plain store of 64 bits into a word that this consumer alone writes.
 * The producer sees it there by itself. While such stores are under way the consumer's cell says so:
 * the producer looks at its words and sleeps in short steps, and should this process die the cell is
 * kept from others until no store can come any more. Which slots a device has released is not known
 * to the consumer's own count until slipring_consumer_device_advance(), which also wakes the producer:
 * call it from a thread of your own while stores are under way. */

/** One store that a device is to make, not before it has read the slot. */
struct slipring_word {
    void *address; /**< in the release words of slipring_memory; 8-byte aligned */
    uint64_t value;
};

/**
 * Announce stores of a device into this consumer's release words, and keep the handle until
 * slipring_consumer_device_end(), also after its detach.
 *
 * @param consumer  SLIPRING_UNORDERED, a group of one in a block ring
 * @retval 0        announced
 * @retval -EBUSY   it was already
 * @retval -EINVAL  another kind of consumer: it has no such words
 * @retval -ECHILD  the handle is the parent's
 *
 * Thread: any, while a view is held.   Progress: lock-free.   Fork: no.
 * Owner:  a reference to the handle, until slipring_consumer_device_end().   Order: RELEASE.
 */
SLIPRING_API SLIPRING_CHECK int slipring_consumer_device_begin(struct slipring_consumer *consumer);

/**
 * Every announced store has been seen, or can never come. The last call may free the handle.
 *
 * Thread: any.   Progress: may sleep.   Fork: no.
 * Owner:  ends what slipring_consumer_device_begin() began.   Order: RELEASE; REAP.
 */
SLIPRING_API void slipring_consumer_device_end(struct slipring_consumer *consumer);

/**
 * The stores that release a view. Made by a device, they stand for slipring_consumer_release().
 *
 * @param consumer    that acquired it
 * @param view        not yet released
 * @param[out] words  room for view->slots
 * @retval 0          words are set
 * @retval -ESTALE    evicted, or overwritten while held: what was read is void
 * @retval -EINVAL    another kind of consumer; not acquired, or released already
 * @retval -ECHILD    the handle is the parent's
 *
 * Thread: any, while the view is held.   Progress: lock-free.   Fork: no.
 * Owner:  the caller keeps all.   Order: RELEASE.
 */
SLIPRING_API SLIPRING_CHECK int slipring_consumer_device_words(struct slipring_consumer *consumer,
                                                               const struct slipring_view *view,
                                                               struct slipring_word *words);

/**
 * Has the device released all slots of a view? While its stores are announced.
 *
 * @param consumer  that acquired it
 * @param view      whose words slipring_consumer_device_words() gave
 * @return          1 yes, 0 not yet
 *
 * Thread: any, until slipring_consumer_device_end().   Progress: wait-free.   Fork: no.
 * Owner:  none.   Order: RELEASE.
 */
SLIPRING_API int slipring_consumer_device_released(const struct slipring_consumer *consumer,
                                                   const struct slipring_view *view);

/**
 * Count what a device has released, and wake the producer if that is more than before.
 *
 * @retval 0           counted
 * @retval -ESTALE     the consumer was evicted: its stores release nothing, what it copied is void
 * @retval -ECANCELED  it was detached
 * @retval -ECHILD     the handle is the parent's
 *
 * Thread: any, until slipring_consumer_device_end().   Progress: lock-free.   Fork: no.
 * Owner:  none.   Order: RELEASE; SLEEP.
 */
SLIPRING_API SLIPRING_CHECK int
slipring_consumer_device_advance(struct slipring_consumer *consumer);

/**
 * Keep a handle's memory, also after its detach, for slipring_consumer_release_late().
 *
 * @param consumer  whose views may be released from any thread (see consumer.h)
 * @retval 0        kept until slipring_consumer_drop()
 * @retval -EINVAL  an ordered consumer, or a read-only one
 * @retval -ECHILD  the handle is the parent's
 *
 * Thread: any, while a view is held.   Progress: wait-free.   Fork: no.
 * Owner:  a reference to the handle.   Order: none.
 */
SLIPRING_API SLIPRING_CHECK int slipring_consumer_keep(struct slipring_consumer *consumer);

/**
 * End what slipring_consumer_keep() began; the last reference frees the handle.
 *
 * Thread: any.   Progress: may sleep.   Fork: no.
 * Owner:  ends the reference.   Order: none.
 */
SLIPRING_API void slipring_consumer_drop(struct slipring_consumer *consumer);

/** How a device works release words out by itself: that of sequence s lies 8 * (s & (slots - 1)) bytes
 * after words, and gets value | (s / slots & lap_mask) << lap_shift. */
struct slipring_release_table {
    void *words;
    uint64_t value, lap_mask;
    uint32_t lap_shift;
    uint32_t has_header; /**< 1: a slot's header words follow its sequence; 0 in compact rings */
    uint64_t slot_bytes;
    uint64_t next; /**< the first sequence that this consumer has not acquired */
};

/**
 * The release words of an announced consumer, for a kernel that reads by itself. A word may be stored
 * anew a lap later only once slipring_consumer_device_count() has passed over it.
 *
 * @param consumer    between slipring_consumer_device_begin() and _end(); it acquires nothing itself
 * @param[out] table  values valid until then
 *
 * Thread: owner of @p consumer.   Progress: wait-free.   Fork: no.
 * Owner:  the caller keeps all.   Order: none.
 */
SLIPRING_API void slipring_consumer_device_table(const struct slipring_consumer *consumer,
                                                 struct slipring_release_table *table);

/**
 * The sequence up to which an announced consumer has released all, as it was last counted.
 *
 * Thread: any, until slipring_consumer_device_end().   Progress: wait-free.   Fork: no.
 * Owner:  none.   Order: RELEASE.
 */
SLIPRING_API uint64_t slipring_consumer_device_count(const struct slipring_consumer *consumer);

/**
 * A kernel has read up to here: go on acquiring from there.
 *
 * Thread: owner of @p consumer.   Progress: wait-free.   Fork: no.
 * Owner:  none.   Order: none.
 */
SLIPRING_API void slipring_consumer_device_goto(struct slipring_consumer *consumer,
                                                uint64_t sequence);

/**
 * Does a consumer have release words, that a device can store into?
 *
 * Thread: any, while the handle is kept.   Progress: wait-free.   Fork: no.
 * Owner:  none.   Order: none.
 */
SLIPRING_API int slipring_consumer_has_words(const struct slipring_consumer *consumer);

/**
 * As slipring_consumer_release(), at any time while the handle is kept.
 *
 * @retval -ECANCELED  it was detached: the view is void
 * @return             else as slipring_consumer_release()
 *
 * Thread: any, while the handle is kept.   Progress: lock-free.   Fork: no.
 * Owner:  ends the view.   Order: release side of RELEASE; GROUP.
 */
SLIPRING_API SLIPRING_CHECK int slipring_consumer_release_late(struct slipring_consumer *consumer,
                                                               const struct slipring_view *view);

/* ---- publishing by a device ----
 *
 * A device publishes a slot by one plain store of its sequence, after its copy into the slot. Between
 * begin and end the handle is lent to who serves the device: its owner's claims and publishes are
 * -EAGAIN, since they would overtake what has yet to be stamped, and the functions below are called by
 * one thread at a time. The ring is a tensor ring with the `block` policy, without timestamps and
 * checksums, which are the work of a publish by the processor. */

/**
 * Lend the handle.
 *
 * @param producer   without an open claim
 * @param[out] next  the sequence that the next claim will get
 * @retval 0        lent
 * @retval -EBUSY   it is already
 * @retval -EINVAL  another kind of ring (see above), or a claim is open
 * @retval -ECHILD  the handle is the parent's
 *
 * Thread: owner of @p producer.   Progress: wait-free.   Fork: no.
 * Owner:  the borrower, until slipring_producer_device_end().   Order: PUBLISH.
 */
SLIPRING_API SLIPRING_CHECK int slipring_producer_device_begin(struct slipring_producer *producer,
                                                               uint64_t *next);

/**
 * Give it back: everything published is settled, and no claim is open.
 *
 * Thread: any, one at a time.   Progress: wait-free.   Fork: no.
 * Owner:  the owner's again.   Order: LEND.
 */
SLIPRING_API void slipring_producer_device_end(struct slipring_producer *producer);

/**
 * As slipring_producer_try_claim().
 *
 * Thread: any, one at a time.   Progress: lock-free.   Fork: no.
 * Owner:  the slots are the caller's until publish or abort.   Order: acquire side of RELEASE.
 */
SLIPRING_API SLIPRING_CHECK int slipring_producer_device_claim(struct slipring_producer *producer,
                                                               uint64_t slots,
                                                               struct slipring_loan *loan);

/**
 * As slipring_producer_abort().
 *
 * Thread: any, one at a time.   Progress: wait-free.   Fork: no.
 * Owner:  ends the loan.   Order: none.
 */
SLIPRING_API SLIPRING_CHECK int slipring_producer_device_abort(struct slipring_producer *producer);

/**
 * Would slipring_producer_device_publish() take these headers, once so many slots are claimed?
 *
 * @return  0, or as slipring_producer_publish()
 *
 * Thread: any.   Progress: wait-free.   Fork: no.
 * Owner:  the caller keeps all.   Order: none.
 */
SLIPRING_API SLIPRING_CHECK int
slipring_producer_device_check(const struct slipring_producer *producer, uint64_t claimed,
                               uint64_t slots, const struct slipring_slot *headers);

/**
 * Write the headers of the first claimed slots, which are then the device's to stamp. The next claim
 * may follow at once.
 *
 * @param producer with an open claim
 * @param slots    1 to the number claimed; the rest is given back
 * @param headers  one per slot, or NULL
 * @return         0, or as slipring_producer_publish()
 *
 * Thread: any, one at a time.   Progress: lock-free.   Fork: no.
 * Owner:  the slots are the device's until it has stamped them.   Order: PUBLISH.
 */
SLIPRING_API SLIPRING_CHECK int
slipring_producer_device_publish(struct slipring_producer *producer, uint64_t slots,
                                 const struct slipring_slot *headers);

/**
 * The store that publishes a sequence: to be made after its copy, and after the one before it.
 *
 * Thread: any.   Progress: wait-free.   Fork: no.
 * Owner:  the caller keeps all.   Order: PUBLISH.
 */
SLIPRING_API void slipring_producer_device_word(const struct slipring_producer *producer,
                                                uint64_t sequence, struct slipring_word *word);

/**
 * Move the cursor over what the device has stamped, and wake those who sleep.
 *
 * @return  1 if all that was published is stamped, else 0
 *
 * Thread: any.   Progress: lock-free.   Fork: no.
 * Owner:  none.   Order: CURSOR; SLEEP.
 */
SLIPRING_API SLIPRING_CHECK int slipring_producer_device_settle(struct slipring_producer *producer);

/**
 * Stamp in place of a device: what it has copied (whole), or what it never will (not whole: readers
 * pass it over). What the device has stamped stays.
 *
 * Thread: any, one at a time.   Progress: lock-free.   Fork: no.
 * Owner:  the slots are the readers'.   Order: PUBLISH.
 */
SLIPRING_API void slipring_producer_device_stamp(struct slipring_producer *producer,
                                                 uint64_t sequence, uint64_t slots, int whole);

#ifdef __cplusplus
}
#endif
#endif
