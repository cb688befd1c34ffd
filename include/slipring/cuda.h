/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * slipring beside an NVIDIA GPU (libslipring-cuda): the ring's memory page-locked, so that the GPU
 * reads and writes slots in place.
 *
 * Link with libslipring-cuda (slipring-cuda.pc). It links nothing of CUDA: the driver is opened by
 * the first call of this header, none is called at load, attach or fork. Without driver or device
 * each call returns -ENODEV with a text that says what is missing, and all of slipring else works: a
 * program that is to run there too goes on without what failed. A handle that is NULL is -EINVAL. In a
 * child of a process that used CUDA each call returns -ECHILD.
 *
 * Errors of the driver come back as negative errno values, with its own name for them in the text;
 * none is left behind for the application's own CUDA code to find.
 *
 * For tests a stand-in of the driver is loaded where the environment's SLIPRING_CUDA_DRIVER names its
 * file; slipring_cuda_driver() then says so.
 */
#ifndef SLIPRING_CUDA_H
#define SLIPRING_CUDA_H

#include <slipring/slipring.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SLIPRING_CUDA_PCI_BYTES 16 /**< of a PCI bus id with its NUL */

/** A ring whose memory this process has page-locked for its GPUs. */
struct slipring_cuda;

/**
 * How many devices there are.
 *
 * @param[out] error  what is missing, or NULL
 * @return            devices, at least 1
 * @retval -ENODEV    no driver, or no device that it sees
 * @retval -ECHILD    the parent used CUDA before it forked this process
 *
 * Thread: any.   Progress: may sleep.   Fork: no.
 * Owner:  none.   Order: none.
 */
SLIPRING_API SLIPRING_CHECK int slipring_cuda_devices(struct slipring_error *error);

/**
 * What was opened as the driver, for logs and test reports: its file and CUDA version, and whether it
 * is a stand-in.
 *
 * Thread: any.   Progress: wait-free.   Fork: yes.
 * Owner:  the library.   Order: none.
 */
SLIPRING_API const char *slipring_cuda_driver(void);

/**
 * The PCI bus id of a device, for slipring_config.near_pci: create the ring near its GPU. Where this
 * fails, for instance by -ENODEV, leave near_pci NULL: a device that is not there is -EINVAL to
 * slipring_ring_create().
 *
 * @param device      0 to slipring_cuda_devices() - 1
 * @param[out] text   such as "0000:65:00.0"
 * @param bytes       of text, SLIPRING_CUDA_PCI_BYTES suffice
 * @param[out] error  cause and cure, or NULL
 * @retval 0          text is set
 * @retval -ENODEV    no such device; else as slipring_cuda_devices()
 *
 * Thread: any.   Progress: may sleep.   Fork: no.
 * Owner:  the caller keeps all.   Order: none.
 */
SLIPRING_API SLIPRING_CHECK int slipring_cuda_pci(int device, char *text, size_t bytes,
                                                  struct slipring_error *error);

/* ---- page-locking ---- */

enum slipring_cuda_flag {
    SLIPRING_CUDA_UNPINNED = 1 << 0 /**< lock nothing: the driver stages each copy in memory of its
                                         own, and slots go back by way of this process */
};

struct slipring_cuda_config {
    uint32_t struct_size;
    uint32_t flags; /**< slipring_cuda_flag */
    int32_t device; /**< whose primary context is used where a stream does not say */
    uint32_t reserved;
    /** At most so many bytes are locked by one call of the driver, during which other CUDA calls of
     * this machine may wait (about 0.1 s per GB): the longest stall. Rounded to whole slots and
     * pages. Default 256 MiB. */
    uint64_t chunk_bytes;
    /** At most so many bytes locked by this library in this process; 0: half of the machine's memory,
     * or of the cgroup's limit if that is less. */
    uint64_t budget_bytes;
};

enum slipring_cuda_state {
    SLIPRING_CUDA_LOCKING = 0, /**< at it, in the background */
    SLIPRING_CUDA_READY = 1,   /**< all of it is locked */
    SLIPRING_CUDA_PARTLY = 2,  /**< the driver refused some: copies from there are staged */
    SLIPRING_CUDA_STAGED = 3   /**< nothing is locked: refused, or not asked for */
};

/** How a release on a stream comes about. */
enum slipring_cuda_release_by {
    SLIPRING_CUDA_BY_STORE =
        0,                     /**< the GPU stores it, the producer sees it there: no CPU between */
    SLIPRING_CUDA_BY_CALL = 1, /**< the driver calls this process, whose helper releases */
    SLIPRING_CUDA_BY_POLLING = 2, /**< the helper looks whether the stream has come so far */
};

/** How far page-locking is, and what it came to. */
struct slipring_cuda_info {
    uint32_t struct_size; /**< set by the caller */
    uint32_t state;       /**< slipring_cuda_state */
    int32_t device;
    uint32_t chunks;        /**< calls of the driver that it takes */
    uint64_t chunk_bytes;   /**< as rounded */
    uint64_t total_bytes;   /**< to be locked */
    uint64_t locked_bytes;  /**< so far, foreign ones included */
    uint64_t foreign_bytes; /**< of these, registered by somebody else in this process before: used,
                                  and not ours to unregister */
    uint64_t budget_bytes;
    int64_t longest_stall_ns; /**< the longest call */
    int64_t locking_ns;       /**< all calls together */
    uint32_t release_by;      /**< slipring_cuda_release_by, of unordered groups of one */
    uint32_t reserved;
    uint64_t pending; /**< releases on streams whose time has not come yet */
    uint64_t stale;   /**< so far, of slots that were void: the consumer was evicted */
    uint64_t lost;    /**< so far, by this process since the context was lost under them */
    char driver[96];  /**< the beginning of slipring_cuda_driver() */
    char reason[256]; /**< why not all of it is locked, and what happens instead; or "" */
};

/**
 * Set a config to its defaults: device 0, 256 MiB at a time, half of the memory.
 *
 * Thread: any.   Progress: wait-free.   Fork: yes.
 * Owner:  the caller keeps all.   Order: none.
 */
SLIPRING_API void slipring_cuda_config_init(struct slipring_cuda_config *config);

/**
 * Begin to page-lock a ring's slots and release words for the GPU, in the background. After huge pages
 * and NUMA placement, which slipring_ring_create() has done. The ring can be used meanwhile, by the
 * GPU too: what is not locked yet is staged by the driver.
 *
 * @param ring        any ring with a control object; kept open until slipring_cuda_unregister()
 * @param config      copied; NULL for the defaults
 * @param[out] cuda   the handle, one per ring and process
 * @param[out] error  cause and cure, or NULL
 * @retval 0          cuda is set, locking goes on in the background
 * @retval -ENODEV    no driver or no such device
 * @retval -ENOTSUP   the device cannot use registered memory (UNPINNED works)
 * @retval -EPERM     the ring is write-sealed, or this user may not write it (UNPINNED works)
 * @retval -ENOMEM    more than the budget; the text says how much
 * @retval -EBUSY     this process has registered the ring already
 * @retval -EINVAL    config; or a ring opened read-only
 * @retval -ECHILD    the parent used CUDA before it forked this process
 *
 * Thread: any.   Progress: may sleep.   Fork: no.
 * Owner:  the caller, until slipring_cuda_unregister().   Order: none.
 */
SLIPRING_API SLIPRING_CHECK int slipring_cuda_register(struct slipring_ring *ring,
                                                       const struct slipring_cuda_config *config,
                                                       struct slipring_cuda **cuda,
                                                       struct slipring_error *error);

/**
 * Wait until page-locking has come to its end.
 *
 * @param cuda         from slipring_cuda_register()
 * @param deadline_ns  CLOCK_MONOTONIC; 0 to look only
 * @param[out] error   why not all of it is locked, or NULL
 * @retval 0           all of it is locked (or nothing was to be)
 * @retval -ETIMEDOUT  not yet
 * @return             else what the driver refused it with; copies from there are staged
 *
 * Thread: any.   Progress: may sleep.   Fork: no.
 * Owner:  the caller keeps all.   Order: none.
 */
SLIPRING_API SLIPRING_CHECK int slipring_cuda_ready(struct slipring_cuda *cuda, int64_t deadline_ns,
                                                    struct slipring_error *error);

/**
 * How far page-locking is.
 *
 * @param cuda          from slipring_cuda_register()
 * @param[in,out] info  struct_size set by the caller
 * @retval 0            info is set
 * @retval -EINVAL      struct_size is not one that this library knows; cuda is NULL
 * @retval -ECHILD      the handle is the parent's
 *
 * Thread: any.   Progress: may sleep.   Fork: no.
 * Owner:  the caller keeps all.   Order: none.
 */
SLIPRING_API SLIPRING_CHECK int slipring_cuda_get_info(struct slipring_cuda *cuda,
                                                       struct slipring_cuda_info *info);

/**
 * The device's address of memory of the ring, for kernels that read or write it in place.
 *
 * @param cuda          from slipring_cuda_register()
 * @param host          into a slot: view->data, a tensor's data, loan->data
 * @param bytes         that will be used from there on
 * @param[out] address  a CUdeviceptr
 * @param[out] error    cause and cure, or NULL
 * @retval 0            address is set
 * @retval -EAGAIN      not locked yet, or refused: see slipring_cuda_ready()
 * @retval -ERANGE      not in one piece for the device: it wraps at the ring's end, or crosses two
 *                      chunks that lie apart there
 * @retval -EINVAL      not in the ring's slots
 *
 * Thread: any.   Progress: may sleep.   Fork: no.
 * Owner:  as the slot's.   Order: none.
 */
SLIPRING_API SLIPRING_CHECK int slipring_cuda_address(struct slipring_cuda *cuda, const void *host,
                                                      uint64_t bytes, uint64_t *address,
                                                      struct slipring_error *error);

/* ---- consumers ---- */

#define SLIPRING_CUDA_SLOTS UINT32_MAX /**< in place of a field: the slots themselves */

/**
 * Copy a view to the device, on a stream: one field of all its slots, packed as (n, *shape); or, with
 * SLIPRING_CUDA_SLOTS, the slots as they lie, n * stride bytes (what lies between their payloads means
 * nothing), or a spanning message's bytes. Keep the view until slipring_cuda_release().
 *
 * @param cuda        of the consumer's ring
 * @param consumer    that acquired the view
 * @param view        not yet released
 * @param field       index in the schema, or SLIPRING_CUDA_SLOTS
 * @param to          a CUdeviceptr, with room for all of it
 * @param stream      a CUstream or cudaStream_t; NULL: the device's default stream
 * @param[out] error  cause and cure, or NULL
 * @retval 0          the copy is on the stream
 * @retval -EINVAL    no such field, not a view of this ring; or the stream is being captured into a
 *                    graph, which would copy the same slot for ever
 * @retval -ECHILD    the handle is the parent's
 * @return            else what the driver refused it with; parts of it may be on the stream
 *
 * Thread: any, while the view is held.   Progress: may sleep.   Fork: no.
 * Owner:  the view stays the caller's.   Order: none.
 */
SLIPRING_API SLIPRING_CHECK int slipring_cuda_copy(struct slipring_cuda *cuda,
                                                   const struct slipring_consumer *consumer,
                                                   const struct slipring_view *view, uint32_t field,
                                                   uint64_t to, void *stream,
                                                   struct slipring_error *error);

/**
 * Release a view when all that is on the stream so far has run: copies, or kernels that read it in
 * place. For SLIPRING_UNORDERED groups of one in block rings by a store of the GPU, that the producer
 * sees by itself; for members of a group of many, holders in an overwrite ring, and where the device
 * cannot store, by a helper thread of this process. The consumer may be detached meanwhile.
 *
 * @param cuda        of the consumer's ring
 * @param consumer    SLIPRING_UNORDERED, a member of a group of many, or in an overwrite ring
 * @param view        not yet released
 * @param stream      the one that uses the view; others must be ordered before it by events
 * @param[out] error  cause and cure, or NULL
 * @retval 0          it will be released, whatever comes
 * @retval -ESTALE    evicted, or overwritten while held: what was copied is void, the view is released
 * @retval -EINVAL    an ordered consumer; not acquired, or released already; or the stream is being
 *                    captured into a graph
 * @retval -ECHILD    the handle is the parent's
 * @return            else what failed; the view is still the caller's
 *
 * Thread: any, while the view is held.   Progress: may sleep.   Fork: no.
 * Owner:  ends the view.   Order: RELEASE.
 */
SLIPRING_API SLIPRING_CHECK int slipring_cuda_release(struct slipring_cuda *cuda,
                                                      struct slipring_consumer *consumer,
                                                      const struct slipring_view *view,
                                                      void *stream, struct slipring_error *error);

/* ---- the producer ---- */

/**
 * Borrow the next slots for the device to fill, whether they are free yet or not: what comes on the
 * stream from here on waits until they are. A dead consumer, or one out of the ring's patience, ends
 * that wait as it ends a producer's. Tensor rings with the `block` policy, without timestamps and
 * checksums. Ask for SLIPRING_GEOMETRY_TENSOR: small slots (up to 192 bytes) are laid out otherwise by
 * default.
 *
 * From the first such claim until slipring_cuda_drain() the producer's handle is lent: its claims and
 * publishes by call are -EAGAIN, since they would overtake those on streams. Drain before it is
 * detached or closed.
 *
 * @param cuda        of the producer's ring
 * @param producer    without an open claim
 * @param slots       1 to the ring's slots
 * @param stream      that will fill the slots and publish them
 * @param[out] loan   the slots; not to be touched by the processor
 * @param[out] error  cause and cure, or NULL
 * @retval 0          loan is set, the stream waits if it must
 * @retval -EAGAIN    not free, and the device's streams cannot wait (see SLIPRING_CUDA_BY_STORE)
 * @retval -EINVAL    slots is 0; a claim is open; another kind of ring; a stream that is captured
 * @retval -EMSGSIZE  more slots than the ring has
 * @retval -EBUSY     another producer's claims are pending here
 * @retval -ECHILD    the handle is the parent's
 * @return            else what the driver refused it with
 *
 * Thread: owner of @p producer.   Progress: may sleep.   Fork: no.
 * Owner:  the slots are the stream's until publish or abort.   Order: acquire side of RELEASE.
 */
SLIPRING_API SLIPRING_CHECK int
slipring_cuda_claim(struct slipring_cuda *cuda, struct slipring_producer *producer, uint64_t slots,
                    void *stream, struct slipring_loan *loan, struct slipring_error *error);

/**
 * Copy from the device into claimed slots, on the stream of the claim: one field of all of them, from
 * (n, *shape) packed; or with SLIPRING_CUDA_SLOTS all their bytes.
 *
 * @param cuda        in which the loan was claimed
 * @param producer    with an open claim on a stream
 * @param loan        from slipring_cuda_claim()
 * @param field       index in the schema, or SLIPRING_CUDA_SLOTS
 * @param from        a CUdeviceptr
 * @param stream      of the claim
 * @param[out] error  cause and cure, or NULL
 * @return            as slipring_cuda_copy()
 *
 * Thread: owner of @p producer.   Progress: may sleep.   Fork: no.
 * Owner:  the loan stays the caller's.   Order: none.
 */
SLIPRING_API SLIPRING_CHECK int slipring_cuda_fill(struct slipring_cuda *cuda,
                                                   const struct slipring_producer *producer,
                                                   const struct slipring_loan *loan, uint32_t field,
                                                   uint64_t from, void *stream,
                                                   struct slipring_error *error);

/**
 * Publish the first claimed slots when all that is on the stream so far has run: by stores of the GPU,
 * and consumers see an ordinary publish. The rest is given back. The next claim may follow at once.
 *
 * @param cuda        in which the slots were claimed
 * @param producer    with an open claim on a stream
 * @param slots       1 to the number claimed
 * @param headers     one per slot, copied, or NULL; what they say must be known now
 * @param stream      of the claim
 * @param[out] error  cause and cure, or NULL
 * @retval 0          they will be published; if the context is lost before, they are passed over
 * @retval -EINVAL    no claim is open; more slots than claimed; a header that the ring cannot carry;
 *                    a stream that is captured. The claim stays open
 * @retval -EMSGSIZE  bytes larger than a slot; the claim stays open
 * @retval -ECHILD    the handle is the parent's
 * @return            else what failed; the claim stays open
 *
 * Thread: owner of @p producer.   Progress: may sleep.   Fork: no.
 * Owner:  the slots are the readers' once stamped.   Order: release side of PUBLISH; CURSOR; SLEEP.
 */
SLIPRING_API SLIPRING_CHECK int slipring_cuda_publish(struct slipring_cuda *cuda,
                                                      struct slipring_producer *producer,
                                                      uint64_t slots,
                                                      const struct slipring_slot *headers,
                                                      void *stream, struct slipring_error *error);

/**
 * Give the claimed slots back unused, when all that is on the stream so far has run: copies into them
 * may be among it.
 *
 * @param cuda        in which the slots were claimed
 * @param producer    with an open claim on a stream
 * @param stream      of the claim
 * @param[out] error  cause and cure, or NULL
 * @retval 0          no claim is open
 * @retval -EINVAL    none was; or a stream that is captured
 * @retval -ECHILD    the handle is the parent's
 * @return            else what failed; the claim stays open (slipring_cuda_unregister() ends it)
 *
 * Thread: owner of @p producer.   Progress: may sleep.   Fork: no.
 * Owner:  ends the loan.   Order: none.
 */
SLIPRING_API SLIPRING_CHECK int slipring_cuda_abort(struct slipring_cuda *cuda,
                                                    struct slipring_producer *producer,
                                                    void *stream, struct slipring_error *error);

/* ---- a kernel as a reader ---- */

/** What a kernel needs to read by itself (slipring_device.cuh): a plain value, its argument. */
struct slipring_device_reader {
    uint64_t stamps, header_stride; /**< addresses are the device's */
    uint64_t payload, payload_stride;
    uint64_t slots, slot_bytes, has_header;
    uint64_t releases, word, lap_mask, lap_shift;
    uint64_t counted, abort;
    uint64_t next; /**< the next sequence to read; the kernel moves its copy */
};

/**
 * Let a kernel read in place of a consumer, which acquires nothing until slipring_cuda_reader_end().
 *
 * @param cuda         all of it locked, in one piece for the device (see chunk_bytes)
 * @param consumer     SLIPRING_UNORDERED, a group of one in a block ring, nothing in hand or pending
 * @param[out] reader  for the kernel
 * @param[out] error   cause and cure, or NULL
 * @retval 0           reader is set
 * @retval -EAGAIN     not all is locked, or it lies apart for the device
 * @retval -EBUSY      a kernel reads already, or releases are pending on streams
 * @retval -EINVAL     another kind of consumer
 * @retval -ECHILD     the handle is the parent's
 *
 * Thread: owner of @p consumer.   Progress: may sleep.   Fork: no.
 * Owner:  the consumer is the kernel's.   Order: RELEASE.
 */
SLIPRING_API SLIPRING_CHECK int slipring_cuda_reader_begin(struct slipring_cuda *cuda,
                                                           struct slipring_consumer *consumer,
                                                           struct slipring_device_reader *reader,
                                                           struct slipring_error *error);

/**
 * Ask the kernel to end: its waits return SLIPRING_DEVICE_ABORTED.
 *
 * Thread: any.   Progress: may sleep.   Fork: no.
 * Owner:  none.   Order: none.
 */
SLIPRING_API void slipring_cuda_reader_abort(struct slipring_cuda *cuda);

/**
 * The kernel has ended, as its stream says: the consumer is its owner's again. Before its detach.
 *
 * @param cuda  as given to slipring_cuda_reader_begin()
 * @param next  the kernel's reader.next, from which the consumer goes on; every message before it
 *              was released
 *
 * Thread: owner of the consumer.   Progress: may sleep.   Fork: no.
 * Owner:  the consumer is its owner's.   Order: RELEASE.
 */
SLIPRING_API void slipring_cuda_reader_end(struct slipring_cuda *cuda, uint64_t next);

/* ---- both ---- */

/**
 * Wait until nothing that was handed to streams by slipring_cuda_release() and slipring_cuda_publish()
 * is pending. A producer's handle that was lent is its owner's again, unless a claim is open.
 *
 * @param cuda         from slipring_cuda_register()
 * @param deadline_ns  CLOCK_MONOTONIC
 * @param[out] error   cause and cure, or NULL
 * @retval 0           nothing is
 * @retval -ETIMEDOUT  the deadline passed
 * @retval -ESTALE     nothing is, but since the last call a consumer was evicted under a copy, whose
 *                     data is void
 * @retval -EIO        nothing is, but since the last call the context was lost: copies may not have
 *                     run; slots were released all the same, and what was to be published is passed over
 * @retval -ECHILD     the handle is the parent's
 *
 * Thread: any.   Progress: may sleep.   Fork: no.
 * Owner:  none.   Order: none.
 */
SLIPRING_API SLIPRING_CHECK int slipring_cuda_drain(struct slipring_cuda *cuda, int64_t deadline_ns,
                                                    struct slipring_error *error);

/**
 * Give the page-locks back. Waits until streams are done with what was handed to them, and ends the
 * chunk that is being locked.
 *
 * Thread: setup.   Progress: may sleep.   Fork: yes (frees the child's copy only).
 * Owner:  ends the handle; NULL is allowed.   Order: none.
 */
SLIPRING_API void slipring_cuda_unregister(struct slipring_cuda *cuda);

#ifdef __cplusplus
}
#endif
#endif
