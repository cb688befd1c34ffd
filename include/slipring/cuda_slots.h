/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Slots in GPU memory (libslipring-cuda): memory of a GPU with a slot for each of a ring's, so that
 * what was made on the GPU is read there by other processes.
 *
 * The ring itself is an ordinary one: sequences, headers, tags and a small payload of its own lie in
 * the host's memory, and claim, publish, acquire and release, by call or on streams, are those of the
 * ring. Whoever has claimed a sequence may write its slot here; whoever has acquired it may read it.
 * Create the ring with SLIPRING_GEOMETRY_TENSOR: a payload this small makes it compact by default, and
 * slipring_cuda_claim() refuses that by -EINVAL. examples/06_gpu_slots.c is a whole program.
 *
 * The memory outlives who made it: it goes with the last process that has it. Each member of the ring
 * gets it from another one, over a socket; one that lies in the file system works between containers
 * with process and network namespaces of their own.
 *
 * What reads a slot on the device must begin after the message was acquired: a kernel that runs
 * already may see what lay there before.
 */
#ifndef SLIPRING_CUDA_SLOTS_H
#define SLIPRING_CUDA_SLOTS_H

#include <slipring/cuda.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Memory of a GPU with a slot for each of a ring's. */
struct slipring_cuda_slots;

/** A plain value. */
struct slipring_cuda_slots_info {
    uint32_t struct_size; /**< set by the caller */
    int32_t device;       /**< whose memory it is, as this process counts them */
    uint32_t field_count;
    uint32_t reserved;
    uint64_t slots;       /**< the ring's */
    uint64_t slot_bytes;  /**< by the schema */
    uint64_t stride;      /**< from slot to slot: raised until the driver's pages fit */
    uint64_t total_bytes; /**< of the GPU's memory */
    uint64_t address; /**< a CUdeviceptr: slot 0's. The memory is mapped once more behind its end */
};

/**
 * Make slots in the memory of the handle's device.
 *
 * @param cuda         of the ring, of any kind, SLIPRING_CUDA_UNPINNED or not
 * @param fields       what a slot holds, each aligned to 256 bytes; elements of 1, 2, 4 ... bytes
 * @param field_count  1 to SLIPRING_FIELDS_MAX
 * @param[out] slots   independent of @p cuda from now on
 * @param[out] error   cause and cure, or NULL
 * @retval 0           slots is set
 * @retval -EINVAL     a field, named in the text
 * @retval -EOVERFLOW  the sizes do not fit
 * @retval -ENOTSUP    the device or its driver cannot hand memory on as a descriptor
 * @retval -ENOMEM     the GPU has no room for it
 * @retval -ECHILD     the handle is the parent's
 * @return             else what the driver refused it with
 *
 * Thread: any.   Progress: may sleep.   Fork: no.
 * Owner:  the caller, until slipring_cuda_slots_close().   Order: none.
 */
SLIPRING_API SLIPRING_CHECK int slipring_cuda_slots_create(struct slipring_cuda *cuda,
                                                           const struct slipring_field *fields,
                                                           uint32_t field_count,
                                                           struct slipring_cuda_slots **slots,
                                                           struct slipring_error *error);

/**
 * Send the slots to another member of the ring, for slipring_cuda_slots_receive(). Whoever has them
 * can, so that they outlive who made them.
 *
 * @param slots       made or received
 * @param socket      a connected AF_UNIX socket, stream or seqpacket; also the one that the ring itself
 *                    was sent over
 * @param[out] error  cause and cure, or NULL
 * @retval 0          sent
 * @retval -ECHILD    the handle is the parent's
 * @return            else the negative errno of sendmsg()
 *
 * Thread: any.   Progress: may sleep.   Fork: no.
 * Owner:  the caller keeps all.   Order: none.
 */
SLIPRING_API SLIPRING_CHECK int slipring_cuda_slots_send(const struct slipring_cuda_slots *slots,
                                                         int socket, struct slipring_error *error);

/**
 * Receive slots that slipring_cuda_slots_send() sent, and map them.
 *
 * @param cuda        of the same ring, for the same GPU
 * @param socket      the other end of the sender's
 * @param[out] slots  independent of @p cuda from now on
 * @param[out] error  cause and cure, or NULL
 * @retval 0          slots is set
 * @retval -EPIPE     the other end closed the socket
 * @retval -EBADMSG   what came are no slots of a ring
 * @retval -EPROTONOSUPPORT another version of this library sent them
 * @retval -EINVAL    they are of another ring
 * @retval -ENODEV    they lie on another GPU than the handle's
 * @retval -ENOTSUP   as slipring_cuda_slots_create()
 * @retval -EMFILE    no descriptor is left
 * @retval -ECHILD    the handle is the parent's
 * @return            else what the driver, or recvmsg(), refused it with
 *
 * Thread: any.   Progress: may sleep.   Fork: no.
 * Owner:  the caller, until slipring_cuda_slots_close().   Order: none.
 */
SLIPRING_API SLIPRING_CHECK int slipring_cuda_slots_receive(struct slipring_cuda *cuda, int socket,
                                                            struct slipring_cuda_slots **slots,
                                                            struct slipring_error *error);

/**
 * What they are.
 *
 * @param slots         made or received
 * @param[in,out] info  struct_size set by the caller
 * @retval 0            info is set
 * @retval -EINVAL      struct_size is not one that this library knows
 *
 * Thread: any.   Progress: wait-free.   Fork: yes.
 * Owner:  the caller keeps all.   Order: none.
 */
SLIPRING_API SLIPRING_CHECK int
slipring_cuda_slots_get_info(const struct slipring_cuda_slots *slots,
                             struct slipring_cuda_slots_info *info);

/**
 * One field of their schema.
 *
 * @param slots        made or received
 * @param index        0 to field_count - 1
 * @param[out] field   name, dtype, shape
 * @param[out] offset  bytes from the start of a slot; NULL is allowed
 * @retval 0           set
 * @retval -EINVAL     no such field
 *
 * Thread: any.   Progress: wait-free.   Fork: yes.
 * Owner:  the caller keeps all.   Order: none.
 */
SLIPRING_API SLIPRING_CHECK int slipring_cuda_slots_field(const struct slipring_cuda_slots *slots,
                                                          uint32_t index,
                                                          struct slipring_field *field,
                                                          uint64_t *offset);

/**
 * A field of one slot, or of n consecutive ones as (n, *shape), in the device's memory; also where
 * they wrap at the ring's end.
 *
 * @param slots        made or received
 * @param sequence     of the first: a loan's or a view's
 * @param count        1 to the ring's slots
 * @param index        0 to field_count - 1
 * @param[out] tensor  data is a CUdeviceptr; strides in elements
 * @retval 0           tensor is set
 * @retval -EINVAL     no such field, or more slots than there are
 *
 * Thread: any.   Progress: wait-free.   Fork: no.
 * Owner:  as the sequences are the caller's, by claim or acquire.   Order: none.
 */
SLIPRING_API SLIPRING_CHECK int slipring_cuda_slots_tensor(const struct slipring_cuda_slots *slots,
                                                           uint64_t sequence, uint64_t count,
                                                           uint32_t index,
                                                           struct slipring_tensor *tensor);

/**
 * Give the memory back; it is freed when the last process has. Nothing on streams of this process may
 * still use it.
 *
 * Thread: setup.   Progress: may sleep.   Fork: yes (frees the child's copy only).
 * Owner:  ends the handle; NULL is allowed.   Order: none.
 */
SLIPRING_API void slipring_cuda_slots_close(struct slipring_cuda_slots *slots);

#ifdef __cplusplus
}
#endif
#endif
