/* SPDX-License-Identifier: Apache-2.0 */
/* Views as versioned DLPack tensors whose deleter releases the slot. */
#include "ring/acquire.h"
#include "ring/reclaim.h"

#include <slipring/dlpack.h>

#include <errno.h>
#include <stdlib.h>

struct exported {
    struct DLManagedTensorVersioned managed;
    int64_t shape[SLIPRING_DIMS_MAX + 1];
    int64_t strides[SLIPRING_DIMS_MAX + 1];
    struct slipring_consumer *consumer;
    struct slipring_view view;
};

static void delete (struct DLManagedTensorVersioned *managed)
{
    struct exported *exported = managed->manager_ctx;
    /* -ESTALE has nobody to be told to: the tensor's user is gone. */
    (void)slr_release_foreign(exported->consumer, &exported->view);
    slr_consumer_drop(exported->consumer);
    free(exported);
}

int slipring_view_dlpack(struct slipring_consumer *consumer, const struct slipring_view *view,
                         uint32_t field, struct DLManagedTensorVersioned **out)
{
    struct slipring_tensor tensor;
    const int result = slipring_view_field(consumer, view, field, &tensor);
    if (result != 0) {
        return result;
    }
    if (view->stride == 0 || (consumer->kind == SLR_KIND_ONE && consumer->releases == NULL)) {
        return -EINVAL; /* a copy has no slot; an ordered consumer releases in order, deleters not */
    }
    struct exported *exported = calloc(1, sizeof *exported);
    if (exported == NULL) {
        return -ENOMEM;
    }
    for (uint32_t d = 0; d < tensor.ndim; d++) {
        exported->shape[d] = tensor.shape[d];
        exported->strides[d] = tensor.strides[d];
    }
    exported->consumer = consumer;
    exported->view = *view;
    exported->managed = (struct DLManagedTensorVersioned){
        .version = {DLPACK_MAJOR_VERSION, DLPACK_MINOR_VERSION},
        .manager_ctx = exported,
        .deleter = delete,
        .flags = DLPACK_FLAG_BITMASK_READ_ONLY,
        .dl_tensor = {.data = tensor.data,
                      .device = {kDLCPU, 0},
                      .ndim = (int32_t)tensor.ndim,
                      .dtype = {tensor.dtype.code, tensor.dtype.bits, tensor.dtype.lanes},
                      .shape = exported->shape,
                      .strides = exported->strides,
                      .byte_offset = 0}};
    slr_exported_hold(consumer);
    *out = &exported->managed;
    return 0;
}
