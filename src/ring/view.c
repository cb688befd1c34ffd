/* SPDX-License-Identifier: Apache-2.0 */
/* What a loan or a view looks like as tensors: one field of one slot, or of n slots as (n, ...). */
#include "ring/acquire.h"

#include <errno.h>

/* extents: this message's, all fields one after another, or NULL for the schema's. */
static int field_tensor(const struct slr_segment *segment, uint32_t index, const void *data,
                        uint64_t slots, const int64_t *extents, struct slipring_tensor *tensor)
{
    const struct slr_geometry *geometry = &segment->geometry;
    if (index >= geometry->field_count) {
        return -EINVAL;
    }
    for (uint32_t f = 0; extents != NULL && f < index; f++) {
        extents += geometry->fields[f].field.ndim;
    }
    const struct slipring_field *field = &geometry->fields[index].field;
    const uint64_t bits = (uint64_t)field->dtype.bits * field->dtype.lanes;
    const uint32_t lead = slots > 1 ? 1 : 0;
    tensor->dtype = field->dtype;
    tensor->ndim = field->ndim + lead;
    /* The view's user promised not to write what came from a view. */
    tensor->data = (void *)((uintptr_t)data + geometry->fields[index].offset);
    uint64_t elements = 1;
    for (uint32_t d = field->ndim; d-- > 0;) {
        /* Read once: it may lie in the ring, where a scribbled gate lets the producer write. */
        const int64_t extent = extents != NULL ? slr_extent(&extents[d]) : field->shape[d];
        tensor->shape[d + lead] = extent < 0 || extent > field->shape[d] ? 0 : extent;
        tensor->strides[d + lead] = (int64_t)elements;
        elements *= (uint64_t)tensor->shape[d + lead];
    }
    if (lead != 0) {
        tensor->shape[0] = (int64_t)slots;
        tensor->strides[0] = (int64_t)(geometry->payload_stride * 8 / bits);
    }
    tensor->bytes = (elements * bits + 7) / 8 * slots;
    return 0;
}

int slipring_loan_field(const struct slipring_producer *producer, const struct slipring_loan *loan,
                        uint32_t field, struct slipring_tensor *tensor)
{
    if (slr_producer_forked(producer)) {
        return -ECHILD;
    }
    return field_tensor(&producer->ring->segment, field, loan->data, loan->slots, NULL, tensor);
}

static bool spanning(const struct slr_segment *segment, const struct slipring_view *view)
{
    /* By the view alone: a header may change under a copy. A message of several slots has more
     * bytes than one of them; a block's first message has not. */
    return slr_is_tensor(segment) && view->slot.bytes > segment->geometry.payload_stride;
}

int slipring_view_field(const struct slipring_consumer *consumer, const struct slipring_view *view,
                        uint32_t field, struct slipring_tensor *tensor)
{
    if (slr_consumer_forked(consumer)) {
        return -ECHILD;
    }
    if (spanning(&consumer->ring->segment, view)) {
        return -EINVAL;
    }
    return field_tensor(&consumer->ring->segment, field, view->data, view->slots, view->slot.shapes,
                        tensor);
}

int slipring_view_slot(const struct slipring_consumer *consumer, const struct slipring_view *view,
                       uint64_t index, struct slipring_slot *slot)
{
    if (slr_consumer_forked(consumer)) {
        return -ECHILD;
    }
    if (index == 0) {
        *slot = view->slot;
        return 0;
    }
    const struct slr_segment *segment = &consumer->ring->segment;
    if (index >= view->slots || spanning(segment, view) || view->stride == 0) {
        return -EINVAL;
    }
    slr_slot_read(segment, view->slot.sequence + index, slot);
    slot->deliveries = view->slot.deliveries;
    return 0;
}
