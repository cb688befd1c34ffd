/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The consumer: attaches, acquires published slots, reads them in place, releases.
 *
 * Which calls on ONE consumer handle may run at the same time:
 *
 *                           acquire, copy, arm, lag, stats   release   wake, fd   detach
 *     acquire, copy, arm, ...              no                   U        yes        no
 *     release                              U                    U        yes        no
 *     wake, fd                             yes                  yes      yes        no
 *     detach                               no                   no       no         no
 *
 * U: yes for SLIPRING_UNORDERED consumers, members of a group of many and overwrite rings (whose
 * releases may come from any thread); no for ordered ones.
 */
#ifndef SLIPRING_CONSUMER_H
#define SLIPRING_CONSUMER_H

#include <slipring/ring.h>

#ifdef __cplusplus
extern "C" {
#endif

struct DLManagedTensorVersioned; /* slipring/dlpack.h, or any DLPack 1.x header */

enum slipring_start {
    SLIPRING_LATEST = 0,  /**< what is published from now on */
    SLIPRING_OLDEST = 1,  /**< all that is sure to be there still */
    SLIPRING_SEQUENCE = 2 /**< a given sequence; if it is gone, the oldest, and the gap is told */
};

struct slipring_consumer_config {
    uint32_t struct_size;
    uint32_t flags;    /**< slipring_member_flag, and SLIPRING_MANY with a group */
    const char *group; /**< up to 47 characters; NULL: a group of one without a name */
    uint32_t start;    /**< slipring_start; for a group that exists, where it stands */
    uint32_t wait;     /**< slipring_wait */
    uint64_t sequence; /**< with SLIPRING_SEQUENCE */
    uint32_t slow;     /**< slipring_slow; block rings */
    uint32_t reserved;
    uint64_t evict_after_ns; /**< with SLIPRING_EVICT: the producer's patience once held back */
};

/** Published slots to read: whole messages of one shape, or one spanning message. */
struct slipring_view {
    struct slipring_slot slot; /**< the first message's header, a copy; bytes of that message */
    const void *data;          /**< first slot's payload; slot i lies i * stride further */
    uint64_t stride;           /**< bytes */
    uint64_t slots;            /**< slots in the view */
    uint64_t missed;           /**< slots lost just before this view (0 unless the ring, eviction or
                                    SLIPRING_NEWEST drops slots) */
    uint64_t missed_messages;  /**< messages in them, by their counts; as missed where counts are
                                    not known: compact rings, and a gap that attach found */
    uint64_t token;            /**< the library's */
};

struct slipring_stats {
    uint32_t struct_size; /**< set by the caller */
    uint32_t cell;        /**< its index; UINT32_MAX without one */
    uint64_t next;        /**< next sequence to acquire */
    uint64_t lag;         /**< published slots not yet acquired */
    uint64_t missed, missed_messages;
    uint64_t damaged; /**< messages whose checksum did not match */
};

/**
 * Set a consumer config to its defaults: its own group of one, latest, gate, adaptive wait.
 *
 * Thread: any.   Progress: wait-free.   Fork: yes.
 * Owner:  the caller keeps all.   Order: none.
 */
SLIPRING_API void slipring_consumer_config_init(struct slipring_consumer_config *config);

/**
 * Join the ring as a consumer.
 *
 * @param ring           any ring; opened read-only: no group, gates nothing, copies out only
 * @param config         copied; NULL for the defaults
 * @param[out] consumer  the handle
 * @param[out] error     cause and cure, or NULL
 * @retval 0             consumer is set
 * @retval -EUSERS       no free cell, group or release table; the text says which to raise
 * @retval -EBUSY        the group of one has a live member, named in the text; or another process
 *                       stopped in the middle of joining a named group
 * @retval -EINVAL       options that the ring or the group does not go with, named in the text
 * @retval -ENOENT       the ring is vanishing
 *
 * Thread: any.   Progress: may sleep.   Fork: no.
 * Owner:  the caller, until slipring_consumer_detach().   Order: JOIN.
 */
SLIPRING_API SLIPRING_CHECK int
slipring_consumer_attach(struct slipring_ring *ring, const struct slipring_consumer_config *config,
                         struct slipring_consumer **consumer, struct slipring_error *error);

/**
 * Leave. What this consumer acquired and did not release is void (a group of many redelivers it);
 * tensors exported from it keep the memory mapped but no longer protect their slots.
 *
 * Thread: setup.   Progress: may sleep.   Fork: yes (frees the child's copy only).
 * Owner:  ends the handle; NULL is allowed.   Order: release side of RELEASE.
 */
SLIPRING_API void slipring_consumer_detach(struct slipring_consumer *consumer);

/**
 * Borrow up to @p slots next published slots, or say at once that there is none.
 *
 * In an overwrite ring this holds the slot (tensor rings; one slot or message at a time): the
 * producer passes it over until it is released.
 *
 * @param consumer   from slipring_consumer_attach()
 * @param slots      1 or more; a spanning message is returned whole all the same
 * @param[out] view  the slots
 * @retval 0         view is set
 * @retval -EAGAIN   nothing is published that this consumer has not acquired
 * @retval -EPIPE    the producer closed and every slot was read; in a group of many every message
 *                   is finished, or in this member's own hands
 * @retval -EOWNERDEAD the producer died, else as -EPIPE (not with AWAIT_PRODUCER)
 * @retval -ESTALE   this member was evicted; detach and attach again, with SLIPRING_SEQUENCE to be
 *                   told what was missed
 * @retval -EBADMSG  VERIFY: the checksum does not match; view IS set, to name it and release it
 * @retval -ENOBUFS  overwrite: the ring's hold_max slots are held
 * @retval -EINVAL   slots is 0; overwrite but not a tensor ring, or read-only: use copy
 * @retval -ECHILD   the handle is the parent's
 *
 * Thread: owner of @p consumer.   Progress: lock-free.   Fork: no.
 * Owner:  the slots are the caller's to read until slipring_consumer_release().
 * Order:  acquire side of PUBLISH and CURSOR; GROUP; HOLD.
 */
SLIPRING_API SLIPRING_CHECK int slipring_consumer_try_acquire(struct slipring_consumer *consumer,
                                                              uint64_t slots,
                                                              struct slipring_view *view);

/**
 * Borrow up to @p slots next published slots, waiting for the first.
 *
 * @param consumer     from slipring_consumer_attach()
 * @param slots        1 or more
 * @param[out] view    the slots
 * @param deadline_ns  CLOCK_MONOTONIC, or SLIPRING_FOREVER
 * @retval 0           view is set
 * @retval -ETIMEDOUT  the deadline passed
 * @retval -EINTR      a signal, with SLIPRING_INTERRUPTIBLE
 * @retval -ECANCELED  slipring_consumer_wake()
 * @return             else as slipring_consumer_try_acquire()
 *
 * Thread: owner of @p consumer.   Progress: may sleep.   Fork: no.
 * Owner:  the slots are the caller's to read until slipring_consumer_release().
 * Order:  acquire side of PUBLISH and CURSOR; GROUP; HOLD; SLEEP.
 * Source: Disruptor SequenceBarrier.waitFor; example 01_consumer.c.
 */
SLIPRING_API SLIPRING_CHECK int slipring_consumer_acquire(struct slipring_consumer *consumer,
                                                          uint64_t slots,
                                                          struct slipring_view *view,
                                                          int64_t deadline_ns);

/**
 * Return a view's slots.
 *
 * @param consumer  that acquired it
 * @param view      as acquire set it; an ordered consumer returns views in the order acquired
 * @retval 0        returned, and all that was read was as published
 * @retval -ESTALE  this member was evicted, or the slot was overwritten while held: what was read
 *                  is void (the view is returned all the same)
 * @retval -EINVAL  not acquired, returned already, or out of order
 * @retval -ECHILD  the handle is the parent's
 *
 * Thread: owner of @p consumer; any where the matrix above says U.   Progress: lock-free.
 * Fork: no.   Owner: ends the view.   Order: release side of RELEASE; GROUP.
 */
SLIPRING_API SLIPRING_CHECK int slipring_consumer_release(struct slipring_consumer *consumer,
                                                          const struct slipring_view *view);

/**
 * Copy the next message out, verified to be whole, and release it at once. The way to read
 * compact and pair overwrite rings and rings opened read-only; works in all.
 *
 * @param consumer   from slipring_consumer_attach()
 * @param buffer     receives the payload
 * @param bytes      size of buffer; any smaller than the message is -EMSGSIZE and takes nothing
 * @param[out] view  header and misses; data is @p buffer, slots those of the message, stride 0
 * @retval 0         copied
 * @retval -EMSGSIZE buffer is too small; view->slot.bytes IS set
 * @retval -EINVAL   buffer is NULL; or an ordered consumer has views in hand
 * @return           else as slipring_consumer_try_acquire()
 *
 * Thread: owner of @p consumer.   Progress: lock-free.   Fork: no.
 * Owner:  the caller keeps all.   Order: COPY.
 * Source: Boehm, "Can seqlocks get along with programming language memory models?", 2012.
 */
SLIPRING_API SLIPRING_CHECK int slipring_consumer_try_copy(struct slipring_consumer *consumer,
                                                           void *buffer, uint64_t bytes,
                                                           struct slipring_view *view);

/**
 * As slipring_consumer_try_copy(), waiting as slipring_consumer_acquire() does.
 *
 * Thread: owner of @p consumer.   Progress: may sleep.   Fork: no.
 * Owner:  the caller keeps all.   Order: COPY; SLEEP.
 */
SLIPRING_API SLIPRING_CHECK int slipring_consumer_copy(struct slipring_consumer *consumer,
                                                       void *buffer, uint64_t bytes,
                                                       struct slipring_view *view,
                                                       int64_t deadline_ns);

/**
 * The header of the i-th slot of a view.
 *
 * @param consumer   that acquired it
 * @param view       not yet released
 * @param index      0 to view->slots - 1 (of a spanning message: 0)
 * @param[out] slot  shapes points into the ring and is valid until release
 * @retval 0         slot is set
 * @retval -EINVAL   no such slot
 *
 * Thread: any, while the view is held.   Progress: wait-free.   Fork: no.
 * Owner:  the caller keeps all.   Order: none.
 */
SLIPRING_API SLIPRING_CHECK int slipring_view_slot(const struct slipring_consumer *consumer,
                                                   const struct slipring_view *view, uint64_t index,
                                                   struct slipring_slot *slot);

/**
 * One field of a view: of one slot its own shape, of n slots (n, *shape).
 *
 * @param consumer     that acquired it
 * @param view         not yet released
 * @param field        index in the schema
 * @param[out] tensor  data, shape and strides; not to be written
 * @retval 0           tensor is set
 * @retval -EINVAL     no such field, or a spanning message (which has bytes, not fields)
 *
 * Thread: any, while the view is held.   Progress: wait-free.   Fork: no.
 * Owner:  the caller's to read until release.   Order: none.
 */
SLIPRING_API SLIPRING_CHECK int slipring_view_field(const struct slipring_consumer *consumer,
                                                    const struct slipring_view *view,
                                                    uint32_t field, struct slipring_tensor *tensor);

/**
 * Export one field of a view as a DLPack tensor (version 1.x, read-only, CPU). The tensor takes
 * the view over: its deleter releases it, from whichever thread, so do not release it yourself.
 *
 * @param consumer     unordered, a member of a group of many, or in an overwrite ring
 * @param view         not yet released
 * @param field        index in the schema
 * @param[out] tensor  to be ended by tensor->deleter(tensor)
 * @retval 0           tensor is set, the view is the tensor's
 * @retval -EINVAL     no such field; a spanning message; or an ordered consumer
 * @retval -ENOMEM     the view is still yours
 *
 * Thread: owner of @p consumer.   Progress: lock-free.   Fork: no.
 * Owner:  the tensor's holder; it keeps the ring mapped until deleted.   Order: none.
 */
SLIPRING_API SLIPRING_CHECK int slipring_view_dlpack(struct slipring_consumer *consumer,
                                                     const struct slipring_view *view,
                                                     uint32_t field,
                                                     struct DLManagedTensorVersioned **tensor);

/**
 * End this consumer's pending wait, or if none is pending the next one, with -ECANCELED.
 *
 * Thread: any, and signal handlers.   Progress: lock-free.   Fork: no.
 * Owner:  none.   Order: none.
 */
SLIPRING_API void slipring_consumer_wake(struct slipring_consumer *consumer);

/**
 * A descriptor for poll(): readable when slipring_consumer_arm() said 0 and data (or the stream's
 * end) came since. A helper thread, started by the first call, sleeps in this process on the
 * ring's wake word.
 *
 * @param consumer     with a cell (not read-only)
 * @param[out] fd      an eventfd; do not read or close it
 * @param[out] error   cause and cure, or NULL
 * @retval 0           fd is set
 * @retval -EINVAL     opened read-only
 * @return             else the negative errno of the system call named in the text
 *
 * Thread: any.   Progress: may sleep.   Fork: no.
 * Owner:  the consumer, until detach.   Order: none.
 */
SLIPRING_API SLIPRING_CHECK int slipring_consumer_fd(struct slipring_consumer *consumer, int *fd,
                                                     struct slipring_error *error);

/**
 * Prepare the descriptor for the next poll().
 *
 * @retval 1        an acquire would not return -EAGAIN now: do not poll
 * @retval 0        poll; the descriptor becomes readable
 * @retval -EINVAL  no descriptor was asked for
 * @retval -ECHILD  the handle is the parent's
 *
 * Thread: owner of @p consumer.   Progress: lock-free.   Fork: no.
 * Owner:  none.   Order: SLEEP.
 */
SLIPRING_API SLIPRING_CHECK int slipring_consumer_arm(struct slipring_consumer *consumer);

/**
 * Where a consumer stands.
 *
 * @param consumer       any
 * @param[in,out] stats  struct_size set by the caller
 * @retval 0             stats is set
 * @retval -EINVAL       struct_size is not one that this library knows
 * @retval -ECHILD       the handle is the parent's
 *
 * Thread: owner of @p consumer.   Progress: wait-free.   Fork: no.
 * Owner:  the caller keeps all.   Order: none.
 */
SLIPRING_API SLIPRING_CHECK int slipring_consumer_stats(const struct slipring_consumer *consumer,
                                                        struct slipring_stats *stats);

/**
 * Published slots that a consumer has not yet acquired; 0 in a forked child.
 *
 * Thread: owner of @p consumer.   Progress: wait-free.   Fork: no.
 * Owner:  none.   Order: none.
 */
SLIPRING_API uint64_t slipring_consumer_lag(const struct slipring_consumer *consumer);

#ifdef __cplusplus
}
#endif
#endif
