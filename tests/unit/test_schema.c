/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: the fields of a schema come out at the offsets promised, in loans and in views, for one
 * slot and for blocks, contiguous when one field fills the slot; variable shapes travel with each
 * message, end a block and are checked; and a reader sees the schema that the creator gave.
 */
#include "proc.h"

static struct slipring_ring *make(uint32_t geometry, const struct slipring_field *fields,
                                  uint32_t count, uint32_t flags)
{
    struct slipring_config config;
    slipring_config_init(&config);
    config.geometry = geometry;
    config.slots = 8;
    config.fields = fields;
    config.field_count = count;
    config.flags = flags;
    config.members_max = 8;
    return proc_create(&config);
}

static void fields(uint32_t geometry)
{
    const int64_t image[] = {4, 3, 3}, vector[] = {2};
    struct slipring_field schema[3], field;
    CHECK_EQ(slipring_field_init(&schema[0], "image", "u1", 3, image), 0);
    CHECK_EQ(slipring_field_init(&schema[1], "label", "int64", 0, NULL), 0);
    CHECK_EQ(slipring_field_init(&schema[2], "pose", "bf16", 1, vector), 0);
    struct slipring_ring *ring = make(geometry, schema, 3, 0);
    const uint64_t align = geometry == SLIPRING_GEOMETRY_TENSOR ? 256 : 8;
    const struct slipring_info info = proc_info(ring);
    CHECK_EQ(info.field_count, 3);
    CHECK_EQ(info.geometry, geometry);
    uint64_t offset[3];
    for (uint32_t i = 0; i < 3; i++) {
        CHECK_EQ(slipring_ring_field(ring, i, &field, &offset[i]), 0);
        CHECK_STR(field.name, schema[i].name);
        CHECK_EQ(field.ndim, schema[i].ndim);
        CHECK(memcmp(&field.dtype, &schema[i].dtype, sizeof(field.dtype)) == 0);
        CHECK_EQ(offset[i] % (i == 2 && align == 8 ? 2 : align), 0);
    }
    CHECK(offset[1] >= offset[0] + 36 && offset[2] >= offset[1] + 8);
    CHECK(info.slot_bytes >= offset[2] + 4);
    CHECK_EQ(slipring_ring_field(ring, 3, &field, NULL), -EINVAL);

    struct slipring_producer *producer = proc_producer(ring);
    struct slipring_consumer *consumer = proc_consumer(ring, &proc_rings[0], SLIPRING_OLDEST);
    struct slipring_loan loan;
    struct slipring_tensor tensor;
    struct slipring_view view;
    CHECK_EQ(slipring_producer_try_claim(producer, 1, &loan), 0);
    CHECK_EQ(slipring_loan_field(producer, &loan, 0, &tensor), 0);
    CHECK_EQ(tensor.ndim, 3);
    CHECK(tensor.shape[0] == 4 && tensor.shape[1] == 3 && tensor.shape[2] == 3);
    CHECK(tensor.strides[0] == 9 && tensor.strides[1] == 3 && tensor.strides[2] == 1);
    CHECK_EQ(tensor.bytes, 36);
    CHECK(tensor.data == (char *)loan.data + offset[0]);
    CHECK_EQ(slipring_loan_field(producer, &loan, 3, &tensor), -EINVAL);
    CHECK_EQ(slipring_producer_abort(producer), 0);
    CHECK_EQ(slipring_producer_try_claim(producer, 3, &loan), 0);
    CHECK_EQ(slipring_loan_field(producer, &loan, 1, &tensor), 0);
    CHECK_EQ(tensor.ndim, 1);
    CHECK_EQ(tensor.shape[0], 3);
    CHECK_EQ(tensor.strides[0] * 8, loan.stride);
    CHECK_EQ(tensor.bytes, 24);
    for (int64_t i = 0; i < 3; i++) {
        ((int64_t *)tensor.data)[i * tensor.strides[0]] = 1000 + i;
    }
    CHECK_EQ(slipring_producer_publish(producer, 3, NULL), 0);
    CHECK_EQ(slipring_consumer_try_acquire(consumer, 8, &view), 0);
    CHECK_EQ(view.slots, 3);
    CHECK_EQ(slipring_view_field(consumer, &view, 1, &tensor), 0);
    for (int64_t i = 0; i < 3; i++) {
        CHECK_EQ(((const int64_t *)tensor.data)[i * tensor.strides[0]], 1000 + i);
    }
    CHECK_EQ(slipring_view_field(consumer, &view, 2, &tensor), 0);
    CHECK(tensor.ndim == 2 && tensor.shape[0] == 3 && tensor.shape[1] == 2);
    CHECK_EQ(slipring_view_field(consumer, &view, 3, &tensor), -EINVAL);
    CHECK_EQ(slipring_consumer_release(consumer, &view), 0);
    slipring_consumer_detach(consumer);
    slipring_producer_detach(producer);
    slipring_ring_close(ring);
}

static void contiguous(void)
{
    const int64_t shape[] = {16, 32};
    struct slipring_field field;
    CHECK_EQ(slipring_field_init(&field, "x", "f4", 2, shape), 0);
    struct slipring_ring *ring = make(SLIPRING_GEOMETRY_TENSOR, &field, 1, 0);
    struct slipring_producer *producer = proc_producer(ring);
    struct slipring_loan loan;
    struct slipring_tensor tensor;
    CHECK_EQ(proc_info(ring).payload_stride, 2048);
    CHECK_EQ(slipring_producer_try_claim(producer, 5, &loan), 0);
    CHECK_EQ(slipring_loan_field(producer, &loan, 0, &tensor), 0);
    CHECK(tensor.ndim == 3 && tensor.shape[0] == 5 && tensor.shape[1] == 16);
    CHECK(tensor.strides[0] == 512 && tensor.strides[1] == 32 && tensor.strides[2] == 1);
    CHECK_EQ(tensor.bytes, 5 * 2048);
    slipring_producer_detach(producer);
    slipring_ring_close(ring);
}

static void variable(void)
{
    const int64_t largest[] = {4, 64}, a[] = {2, 64, 3}, b[] = {4, 10, 5}, over[] = {5, 1, 1};
    const int64_t negative[] = {-1, 1, 1}, row[] = {8};
    struct slipring_field schema[2];
    CHECK_EQ(slipring_field_init(&schema[0], "x", "f4", 2, largest), 0);
    CHECK_EQ(slipring_field_init(&schema[1], "y", "f8", 1, row), 0);
    struct slipring_ring *ring = make(SLIPRING_GEOMETRY_TENSOR, schema, 2, SLIPRING_VARIABLE_SHAPE);
    struct slipring_producer *producer = proc_producer(ring);
    struct slipring_consumer *consumer = proc_consumer(ring, &proc_rings[0], SLIPRING_OLDEST);
    struct slipring_loan loan;
    struct slipring_view view;
    struct slipring_tensor tensor;
    struct slipring_slot headers[4] = {{.shapes = a}, {.shapes = a}, {.shapes = b}, {0}};
    CHECK_EQ(slipring_producer_try_claim(producer, 4, &loan), 0);
    headers[3].shapes = over;
    CHECK_EQ(slipring_producer_publish(producer, 4, headers), -EINVAL);
    headers[3].shapes = negative;
    CHECK_EQ(slipring_producer_publish(producer, 4, headers), -EINVAL);
    headers[3].shapes = NULL; /* the largest */
    CHECK_EQ(slipring_producer_publish(producer, 4, headers), 0);
    const uint64_t counts[] = {2, 1, 1};
    const int64_t *const shapes[] = {a, b, NULL};
    for (unsigned i = 0; i < 3; i++) {
        CHECK_EQ(slipring_consumer_try_acquire(consumer, 8, &view), 0);
        CHECK_EQ(view.slots, counts[i]);
        CHECK(view.slot.shapes != NULL);
        const int64_t *shape = shapes[i] != NULL ? shapes[i] : largest;
        CHECK(view.slot.shapes[0] == shape[0] && view.slot.shapes[1] == shape[1]);
        CHECK_EQ(view.slot.shapes[2], shapes[i] != NULL ? shape[2] : row[0]);
        CHECK_EQ(slipring_view_field(consumer, &view, 0, &tensor), 0);
        const unsigned lead = view.slots > 1;
        CHECK_EQ(tensor.ndim, 2 + lead);
        CHECK(tensor.shape[lead] == shape[0] && tensor.shape[lead + 1] == shape[1]);
        CHECK_EQ(tensor.bytes, view.slots * (uint64_t)(shape[0] * shape[1]) * 4);
        CHECK_EQ(slipring_consumer_release(consumer, &view), 0);
    }
    slipring_consumer_detach(consumer);
    slipring_producer_detach(producer);
    slipring_ring_close(ring);
}

int main(void)
{
    proc_begin(30);
    fields(SLIPRING_GEOMETRY_COMPACT);
    fields(SLIPRING_GEOMETRY_PAIR);
    fields(SLIPRING_GEOMETRY_TENSOR);
    contiguous();
    variable();
    return 0;
}
