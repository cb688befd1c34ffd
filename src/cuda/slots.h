/* SPDX-License-Identifier: Apache-2.0 */
/* The struct behind struct slipring_cuda_slots. */
#ifndef SLR_CUDA_SLOTS_H
#define SLR_CUDA_SLOTS_H

#include "part.h"

#include <slipring/cuda_slots.h>

/* What two members must agree on: sent as it is. */
struct slr_cuda_slots_plan {
    uint64_t magic;
    uint32_t version, field_count;
    uint8_t ring[16]; /* the ring's uuid */
    uint8_t device[SLR_CU_UUID_BYTES];
    uint64_t slots, slot_bytes, stride;
    struct slipring_field fields[SLIPRING_FIELDS_MAX];
};

struct slipring_cuda_slots {
    const struct slr_cuda_driver *driver;
    slr_cu_context context; /* retained on its own: these outlive the handle they were made by */
    int device, ordinal;
    int descriptor; /* the memory's, to be sent on */
    uint64_t bytes;
    uint64_t address; /* of twice as much: the memory, and once more behind its end */
    uint64_t offsets[SLIPRING_FIELDS_MAX];
    struct slr_cuda_slots_plan plan;
};

#define SLR_CUDA_SLOTS_MAGIC UINT64_C(0x544f4c5355504753) /* "SGPUSLOT" */
#define SLR_CUDA_SLOTS_VERSION 1u

/* Lay fields out: offsets and slot_bytes, from plan's fields. call: for the error. */
int slr_cuda_slots_lay_out(struct slr_cuda_slots_plan *plan, uint64_t *offsets, const char *call,
                           struct slipring_error *error);

/* A handle for a plan, with device and context, no memory yet; what the plan says of the ring and the
 * device is set, or, if it came from elsewhere, compared. */
int slr_cuda_slots_new(struct slipring_cuda *cuda, const struct slr_cuda_slots_plan *plan,
                       bool received, struct slipring_cuda_slots **slots, const char *call,
                       struct slipring_error *error);

/* Map the memory twice, and let its device use it. Drops the handle of the driver in any case. */
int slr_cuda_slots_map(struct slipring_cuda_slots *slots, uint64_t handle,
                       struct slipring_error *error);

#endif
