/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: a view exported as a DLPack tensor is a read-only versioned CPU tensor of the field's
 * dtype, shape and strides over the slot itself; its deleter, from another thread and in any
 * order, releases the slot, not before; the tensor keeps the memory mapped after detach and close;
 * several tensors of views of one consumer; and what is refused is refused.
 */
#include "proc.h"

#include <slipring/dlpack.h>

#include <pthread.h>

enum { ROWS = 8, COLUMNS = 256, BYTES = ROWS * COLUMNS * 4 };

static const int64_t shape[] = {ROWS, COLUMNS};

static struct slipring_ring *make(uint32_t full)
{
    struct slipring_config config;
    struct slipring_field field;
    CHECK_EQ(slipring_field_init(&field, "x", "f4", 2, shape), 0);
    slipring_config_init(&config);
    config.full = full;
    config.geometry = SLIPRING_GEOMETRY_TENSOR;
    config.slots = 8; /* 64 KiB: whole pages of any size */
    config.fields = &field;
    config.field_count = 1;
    config.members_max = 8;
    return proc_create(&config);
}

static void publish(struct slipring_producer *producer, uint64_t count)
{
    struct slipring_loan loan;
    CHECK_EQ(slipring_producer_try_claim(producer, count, &loan), 0);
    for (uint64_t i = 0; i < count; i++) {
        pattern_fill((char *)loan.data + i * loan.stride, BYTES, loan.sequence + i);
    }
    CHECK_EQ(slipring_producer_publish(producer, count, NULL), 0);
}

static struct slipring_consumer *attach(struct slipring_ring *ring, uint32_t flags,
                                        const char *group)
{
    struct slipring_consumer_config config;
    struct slipring_consumer *consumer;
    slipring_consumer_config_init(&config);
    config.flags = flags;
    config.group = group;
    CHECK_EQ(slipring_consumer_attach(ring, &config, &consumer, NULL), 0);
    return consumer;
}

static void *delete (void *context)
{
    struct DLManagedTensorVersioned *tensor = context;
    tensor->deleter(tensor);
    return NULL;
}

static void delete_elsewhere(struct DLManagedTensorVersioned *tensor)
{
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, delete, tensor), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
}

static bool room(struct slipring_producer *producer, uint64_t slots)
{
    struct slipring_loan loan;
    const int code = slipring_producer_try_claim(producer, slots, &loan);
    CHECK(code == -EAGAIN || (code == 0 && slipring_producer_abort(producer) == 0));
    return code == 0;
}

static void check(const struct DLManagedTensorVersioned *tensor, const struct slipring_view *view)
{
    const unsigned lead = view->slots > 1;
    CHECK(tensor->version.major == 1 && tensor->deleter != NULL);
    CHECK_EQ(tensor->flags, DLPACK_FLAG_BITMASK_READ_ONLY);
    CHECK_EQ(tensor->dl_tensor.device.device_type, kDLCPU);
    CHECK_EQ(tensor->dl_tensor.device.device_id, 0);
    CHECK_EQ(tensor->dl_tensor.ndim, 2 + (int)lead);
    CHECK_EQ(tensor->dl_tensor.dtype.code, kDLFloat);
    CHECK(tensor->dl_tensor.dtype.bits == 32 && tensor->dl_tensor.dtype.lanes == 1);
    CHECK_EQ(tensor->dl_tensor.shape[0], lead ? (int64_t)view->slots : ROWS);
    CHECK(tensor->dl_tensor.shape[lead] == ROWS && tensor->dl_tensor.shape[lead + 1] == COLUMNS);
    CHECK(tensor->dl_tensor.strides[lead] == COLUMNS && tensor->dl_tensor.strides[lead + 1] == 1);
    CHECK_EQ((uintptr_t)tensor->dl_tensor.data % 256, 0);
    const char *data = (const char *)tensor->dl_tensor.data + tensor->dl_tensor.byte_offset;
    CHECK(data == view->data);
    CHECK(pattern_whole(data, BYTES, view->slot.sequence));
}

static void out_of_order(uint32_t flags, const char *group)
{
    struct slipring_ring *ring = make(SLIPRING_BLOCK);
    struct slipring_producer *producer = proc_producer(ring);
    struct slipring_consumer *consumer = attach(ring, flags, group);
    struct DLManagedTensorVersioned *tensor[3];
    struct slipring_view view[3];
    publish(producer, 8);
    for (unsigned i = 0; i < 3; i++) {
        CHECK_EQ(slipring_consumer_try_acquire(consumer, 1 + i, &view[i]), 0);
        CHECK_EQ(slipring_view_dlpack(consumer, &view[i], 1, &tensor[i]), -EINVAL);
        CHECK_EQ(slipring_view_dlpack(consumer, &view[i], 0, &tensor[i]), 0);
        check(tensor[i], &view[i]);
    }
    CHECK(!room(producer, 1));
    delete_elsewhere(tensor[1]);
    CHECK(!room(producer, 1));
    tensor[0]->deleter(tensor[0]);
    struct slipring_view more;
    CHECK_EQ(slipring_consumer_try_acquire(consumer, 8, &more), 0); /* takes up the queue */
    CHECK_EQ(more.slot.sequence, 6);
    CHECK(room(producer, 3) && !room(producer, 4));
    delete_elsewhere(tensor[2]);
    CHECK_EQ(slipring_consumer_release(consumer, &more), 0);
    CHECK(room(producer, 8));
    slipring_consumer_detach(consumer);
    slipring_producer_detach(producer);
    slipring_ring_close(ring);
}

static void outlives(void)
{
    struct slipring_ring *ring = make(SLIPRING_BLOCK);
    struct slipring_producer *producer = proc_producer(ring);
    struct slipring_consumer *consumer = attach(ring, SLIPRING_UNORDERED, NULL);
    struct DLManagedTensorVersioned *tensor;
    struct slipring_view view;
    publish(producer, 1);
    CHECK_EQ(slipring_consumer_try_acquire(consumer, 1, &view), 0);
    CHECK_EQ(slipring_view_dlpack(consumer, &view, 0, &tensor), 0);
    slipring_consumer_detach(consumer);
    CHECK(room(producer, 8)); /* no longer protects its slot */
    slipring_producer_detach(producer);
    slipring_ring_close(ring);
    check(tensor, &view); /* still mapped */
    delete_elsewhere(tensor);
}

static void held(void)
{
    struct slipring_ring *ring = make(SLIPRING_OVERWRITE);
    struct slipring_producer *producer = proc_producer(ring);
    struct slipring_consumer *consumer = attach(ring, 0, NULL);
    struct DLManagedTensorVersioned *tensor;
    struct slipring_view view;
    publish(producer, 1);
    CHECK_EQ(slipring_consumer_try_acquire(consumer, 1, &view), 0);
    CHECK_EQ(slipring_view_dlpack(consumer, &view, 0, &tensor), 0);
    for (int i = 0; i < 30; i++) {
        publish(producer, 1);
    }
    check(tensor, &view);
    CHECK(!room(producer, 8));
    tensor->deleter(tensor);
    CHECK(room(producer, 8));
    slipring_consumer_detach(consumer);
    slipring_producer_detach(producer);
    slipring_ring_close(ring);
}

static void refused(void)
{
    struct slipring_ring *ring = make(SLIPRING_BLOCK);
    struct slipring_producer *producer = proc_producer(ring);
    struct slipring_consumer *ordered = attach(ring, 0, NULL);
    struct slipring_consumer *free_order = attach(ring, SLIPRING_UNORDERED, NULL);
    struct DLManagedTensorVersioned *tensor = NULL;
    struct slipring_view view;
    struct slipring_loan loan;
    publish(producer, 1);
    CHECK_EQ(slipring_consumer_try_acquire(ordered, 1, &view), 0);
    CHECK_EQ(slipring_view_dlpack(ordered, &view, 0, &tensor), -EINVAL);
    CHECK_EQ(slipring_consumer_release(ordered, &view), 0); /* still ours */
    CHECK_EQ(slipring_consumer_try_acquire(free_order, 1, &view), 0);
    CHECK_EQ(slipring_consumer_release(free_order, &view), 0);
    CHECK_EQ(slipring_producer_try_claim(producer, 2, &loan), 0);
    const struct slipring_slot header = {.bytes = loan.stride + 1};
    CHECK_EQ(slipring_producer_publish_spanning(producer, &header), 0);
    CHECK_EQ(slipring_consumer_try_acquire(free_order, 1, &view), 0);
    CHECK_EQ(slipring_view_dlpack(free_order, &view, 0, &tensor), -EINVAL);
    CHECK(tensor == NULL);
    slipring_consumer_detach(free_order);
    slipring_consumer_detach(ordered);
    slipring_producer_detach(producer);
    slipring_ring_close(ring);
}

int main(void)
{
    proc_begin(30);
    out_of_order(SLIPRING_UNORDERED, NULL);
    out_of_order(SLIPRING_MANY, "work");
    outlives();
    held();
    refused();
    return 0;
}
