/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The producer: claims slots, fills them in place, publishes.
 *
 * Which calls on ONE producer handle may run at the same time:
 *
 *                          claim, publish, abort   wake   detach, close
 *     claim, publish, abort         no              yes         no
 *     wake                          yes             yes         no
 *     detach, close                 no              no          no
 *
 * "Thread: owner" is whichever one thread uses the handle at a time; it may change.
 */
#ifndef SLIPRING_PRODUCER_H
#define SLIPRING_PRODUCER_H

#include <slipring/ring.h>

#ifdef __cplusplus
extern "C" {
#endif

struct slipring_producer_config {
    uint32_t struct_size;
    uint32_t flags; /**< SLIPRING_INTERRUPTIBLE or 0 */
    uint32_t wait;  /**< slipring_wait */
    uint32_t reserved;
};

/** Consecutive slots to write. A plain value. */
struct slipring_loan {
    uint64_t sequence; /**< of the first slot */
    uint64_t slots;
    void *data;      /**< first slot's payload; slot i lies i * stride further, also at the wrap */
    uint64_t stride; /**< bytes */
    uint64_t bytes;  /**< slots * stride: what one spanning message may use */
};

/**
 * Set a producer config to its defaults: adaptive wait, not interruptible.
 *
 * Thread: any.   Progress: wait-free.   Fork: yes.
 * Owner:  the caller keeps all.   Order: none.
 */
SLIPRING_API void slipring_producer_config_init(struct slipring_producer_config *config);

/**
 * Become the ring's producer. After one that died, this takes over: sequences go on without a
 * gap, the epoch goes up by one.
 *
 * @param ring           any ring that the caller may write
 * @param config         copied; NULL for the defaults
 * @param[out] producer  the handle
 * @param[out] error     cause and cure, or NULL
 * @retval 0             producer is set
 * @retval -EBUSY        another producer lives; the text names its pid
 * @retval -EPIPE        the stream was closed
 * @retval -EPERM        the data object may not be written, or is write-sealed
 * @retval -ENOENT       the ring is vanishing
 *
 * Thread: any.   Progress: may sleep.   Fork: no.
 * Owner:  the caller, until slipring_producer_detach() or _close().   Order: TAKEOVER.
 */
SLIPRING_API SLIPRING_CHECK int
slipring_producer_attach(struct slipring_ring *ring, const struct slipring_producer_config *config,
                         struct slipring_producer **producer, struct slipring_error *error);

/**
 * Stop producing; another may attach, consumers wait. An open claim is aborted.
 *
 * Thread: setup.   Progress: may sleep.   Fork: yes (frees the child's copy only).
 * Owner:  ends the handle; NULL is allowed.   Order: none.
 */
SLIPRING_API void slipring_producer_detach(struct slipring_producer *producer);

/**
 * End the stream: consumers read what is there, then get -EPIPE for ever. Then as detach.
 *
 * Thread: setup.   Progress: may sleep.   Fork: yes (frees the child's copy only).
 * Owner:  ends the handle; NULL is allowed.   Order: release side of CURSOR.
 */
SLIPRING_API void slipring_producer_close(struct slipring_producer *producer);

/**
 * Borrow the next slots to write, or say at once that there are not enough.
 *
 * @param producer   from slipring_producer_attach()
 * @param slots      1 to the ring's slots (compact and pair too: slot i lies i * stride on)
 * @param[out] loan  the slots
 * @retval 0         loan is set
 * @retval -EAGAIN   a consumer holds one of them
 * @retval -EINVAL   slots is 0, or a claim is open already
 * @retval -EMSGSIZE more slots than the ring has
 * @retval -ECHILD   the handle is the parent's
 *
 * Thread: owner of @p producer.   Progress: lock-free.   Fork: no.
 * Owner:  the slots are the caller's until publish or abort.   Order: acquire side of RELEASE.
 * Source: Disruptor SingleProducerSequencer.next, with its cached gating sequence.
 */
SLIPRING_API SLIPRING_CHECK int slipring_producer_try_claim(struct slipring_producer *producer,
                                                            uint64_t slots,
                                                            struct slipring_loan *loan);

/**
 * Borrow the next slots to write, waiting for them. In an overwrite ring it waits only where
 * every run of so many slots contains one that a reader holds.
 *
 * @param producer     from slipring_producer_attach()
 * @param slots        1 to the ring's slots
 * @param[out] loan    the slots
 * @param deadline_ns  CLOCK_MONOTONIC, or SLIPRING_FOREVER
 * @retval 0           loan is set
 * @retval -ETIMEDOUT  the deadline passed
 * @retval -EINTR      a signal, with SLIPRING_INTERRUPTIBLE
 * @retval -ECANCELED  slipring_producer_wake()
 * @return             else as slipring_producer_try_claim()
 *
 * Thread: owner of @p producer.   Progress: may sleep.   Fork: no.
 * Owner:  the slots are the caller's until publish or abort.   Order: acquire side of RELEASE.
 */
SLIPRING_API SLIPRING_CHECK int slipring_producer_claim(struct slipring_producer *producer,
                                                        uint64_t slots, struct slipring_loan *loan,
                                                        int64_t deadline_ns);

/**
 * Make the first claimed slots visible, each as one message; the rest is given back.
 *
 * Becomes visible in order, a prefix at any moment. Makes no system call when nobody sleeps.
 *
 * @param producer  with an open claim
 * @param slots     0 (as abort) to the number claimed
 * @param headers   one per slot, or NULL for the defaults; sequence and timestamp are ignored.
 *                  A compact ring has no headers: NULL
 * @retval 0        visible
 * @retval -EINVAL  no open claim, more slots than claimed, or a header that the ring cannot carry
 *                  (headers in a compact ring, shapes where they are fixed, an extent larger than
 *                  the schema's); the claim stays open
 * @retval -EMSGSIZE bytes larger than a slot; the claim stays open
 * @retval -ECHILD  the handle is the parent's
 *
 * Thread: owner of @p producer.   Progress: lock-free.   Fork: no.
 * Owner:  the slots are the readers'.   Order: release side of PUBLISH and CURSOR; SLEEP.
 */
SLIPRING_API SLIPRING_CHECK int slipring_producer_publish(struct slipring_producer *producer,
                                                          uint64_t slots,
                                                          const struct slipring_slot *headers);

/**
 * Make all claimed slots visible as one message larger than a slot, at once. Tensor rings.
 *
 * @param producer  with an open claim of as many slots as the message needs
 * @param header    bytes: of the whole message, more than the claimed slots but one hold
 * @retval 0        visible
 * @retval -EINVAL  no open claim; not a tensor ring; fewer bytes than so many slots need
 * @retval -EMSGSIZE more bytes than claimed
 * @retval -ECHILD  the handle is the parent's
 *
 * Thread: owner of @p producer.   Progress: lock-free.   Fork: no.
 * Owner:  the slots are the readers'.   Order: release side of PUBLISH and CURSOR; SLEEP.
 */
SLIPRING_API SLIPRING_CHECK int
slipring_producer_publish_spanning(struct slipring_producer *producer,
                                   const struct slipring_slot *header);

/**
 * Give the claimed slots back unused; the next claim gets the same sequences.
 *
 * @retval 0        no claim is open
 * @retval -EINVAL  none was
 * @retval -ECHILD  the handle is the parent's
 *
 * Thread: owner of @p producer.   Progress: wait-free.   Fork: no.
 * Owner:  ends the loan.   Order: none.
 */
SLIPRING_API SLIPRING_CHECK int slipring_producer_abort(struct slipring_producer *producer);

/**
 * One field of the claimed slots: of one slot its own shape, of n slots (n, *shape).
 *
 * @param producer     with an open claim
 * @param loan         from that claim
 * @param field        index in the schema
 * @param[out] tensor  data, shape and strides
 * @retval 0           tensor is set
 * @retval -EINVAL     no such field
 *
 * Thread: owner of @p producer.   Progress: wait-free.   Fork: no.
 * Owner:  the caller's to write until publish or abort.   Order: none.
 */
SLIPRING_API SLIPRING_CHECK int slipring_loan_field(const struct slipring_producer *producer,
                                                    const struct slipring_loan *loan,
                                                    uint32_t field, struct slipring_tensor *tensor);

/**
 * End this producer's pending wait, or if none is pending the next one, with -ECANCELED.
 *
 * Thread: any, and signal handlers.   Progress: lock-free.   Fork: no.
 * Owner:  none.   Order: none.
 */
SLIPRING_API void slipring_producer_wake(struct slipring_producer *producer);

#ifdef __cplusplus
}
#endif
#endif
