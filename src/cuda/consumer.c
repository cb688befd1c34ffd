/* SPDX-License-Identifier: Apache-2.0 */
/* Copies from slots, and releases, on streams. What follows up on a release: helper.c. */
#include "part.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>

#define CALL_COPY "slipring_cuda_copy"
#define CALL_RELEASE "slipring_cuda_release"

/* ---- streams ---- */

static bool special(slr_cu_stream stream)
{
    return (uintptr_t)stream <= 2; /* the default streams */
}

int slr_cuda_enter(struct slipring_cuda *cuda, slr_cu_stream stream, slr_cu_context *context,
                   const char *call, struct slipring_error *error)
{
    const struct slr_cuda_driver *driver = cuda->driver;
    int capturing = 0;
    *context = cuda->context;
    int result = driver->push(cuda->context);
    if (result != SLR_CU_SUCCESS) {
        return slr_cuda_fail(error, result, "cuCtxPushCurrent", "the device's context is gone");
    }
    result = driver->stream_capturing(stream, &capturing);
    if (result == SLR_CU_SUCCESS && capturing == 0 && !special(stream)) {
        result = driver->stream_context(stream, context);
    }
    int code = 0;
    if (result != SLR_CU_SUCCESS) {
        code = slr_cuda_fail(error, result, "cuStreamIsCapturing", "the stream cannot be used");
    } else if (capturing != 0) {
        code = slr_cuda_error(error, -EINVAL, call,
                              "the stream is being captured into a graph, which would use this one "
                              "slot at each launch: copy from the ring outside the graph, into "
                              "memory that the graph reads");
    } else if (*context != cuda->context) {
        slr_cu_context ours;
        (void)driver->pop(&ours);
        result = driver->push(*context);
        return result == SLR_CU_SUCCESS ? 0
                                        : slr_cuda_fail(error, result, "cuCtxPushCurrent",
                                                        "the stream's context is gone");
    }
    if (code != 0) {
        slr_cuda_leave(cuda);
    }
    return code;
}

void slr_cuda_leave(struct slipring_cuda *cuda)
{
    slr_cu_context ours;
    (void)cuda->driver->pop(&ours);
}

/* ---- copies ---- */

static int copy_rows(struct slipring_cuda *cuda, const struct slr_cuda_copy *copy, uint8_t *host,
                     uint64_t device, uint64_t rows, slr_cu_stream stream)
{
    struct slr_cu_copy_2d c = {.src_type = SLR_CU_MEMORY_HOST,
                               .src_host = host,
                               .src_pitch = cuda->memory.payload_stride,
                               .dst_type = SLR_CU_MEMORY_DEVICE,
                               .dst_device = device,
                               .dst_pitch = copy->width,
                               .width = copy->width,
                               .height = rows};
    if (copy->to_host) {
        c = (struct slr_cu_copy_2d){.src_type = SLR_CU_MEMORY_DEVICE,
                                    .src_device = device,
                                    .src_pitch = copy->width,
                                    .dst_type = SLR_CU_MEMORY_HOST,
                                    .dst_host = host,
                                    .dst_pitch = cuda->memory.payload_stride,
                                    .width = copy->width,
                                    .height = rows};
    }
    return cuda->driver->copy_2d(&c, stream);
}

static int copy_run(struct slipring_cuda *cuda, const struct slr_cuda_copy *copy, uint64_t done,
                    uint64_t index, uint64_t run, slr_cu_stream stream)
{
    const struct slr_cuda_driver *driver = cuda->driver;
    const struct slipring_memory *memory = &cuda->memory;
    const uint64_t stride = memory->payload_stride;
    uint8_t *host = (uint8_t *)memory->payload + index * stride + copy->offset;
    uint64_t device = copy->device + done * copy->width;
    uint64_t bytes = copy->width;
    if (copy->bytes != 0) {
        /* In pair rings a header lies before each payload: behind the run's last one is that of the
         * next slot, perhaps in another chunk, and is left out. */
        const uint8_t *area = (const uint8_t *)memory->data + memory->area_offset;
        const uint64_t most = run * stride - (uint64_t)((const uint8_t *)memory->payload - area);
        const uint64_t left = copy->bytes - done * stride;
        device = copy->device + done * stride;
        bytes = left < most ? left : most;
    } else if (run > 1) {
        return copy_rows(cuda, copy, host, device, run, stream);
    }
    return copy->to_host ? driver->copy_to_host(host, device, bytes, stream)
                         : driver->copy_to_device(device, host, bytes, stream);
}

int slr_cuda_copy_all(struct slipring_cuda *cuda, const struct slr_cuda_copy *copy,
                      slr_cu_stream stream, struct slipring_error *error)
{
    const struct slipring_memory *memory = &cuda->memory;
    const uint64_t chunk = cuda->chunk_bytes / memory->payload_stride; /* slots */
    int result = SLR_CU_SUCCESS;
    for (uint64_t done = 0; done < copy->slots && result == SLR_CU_SUCCESS;) {
        const uint64_t index = (copy->first + done) & (memory->slots - 1);
        uint64_t run = copy->slots - done;
        run = run < chunk - index % chunk ? run : chunk - index % chunk;
        run = run < memory->slots - index ? run : memory->slots - index;
        result = copy_run(cuda, copy, done, index, run, stream);
        done += run;
    }
    return result == SLR_CU_SUCCESS
               ? 0
               : slr_cuda_fail(error, result,
                               copy->to_host ? "cuMemcpyDtoHAsync" : "cuMemcpyHtoDAsync",
                               "the slots cannot be copied");
}

/* Is that a view of slots of this ring? */
static bool ours(const struct slipring_cuda *cuda, const struct slipring_view *view)
{
    const struct slipring_memory *memory = &cuda->memory;
    const uint64_t index = view->slot.sequence & (memory->slots - 1);
    return view->slots != 0 && view->slots <= memory->slots &&
           view->stride == memory->payload_stride &&
           view->data == (uint8_t *)memory->payload + index * memory->payload_stride;
}

static int plan(const struct slipring_cuda *cuda, const struct slipring_consumer *consumer,
                const struct slipring_view *view, uint32_t field, struct slr_cuda_copy *copy)
{
    const uint64_t stride = cuda->memory.payload_stride;
    if (!ours(cuda, view)) {
        return -EINVAL;
    }
    copy->first = view->slot.sequence & (cuda->memory.slots - 1);
    copy->slots = view->slots;
    if (field == SLIPRING_CUDA_SLOTS) { /* a spanning message says so by its bytes */
        copy->bytes = view->slot.bytes > stride ? view->slot.bytes : view->slots * stride;
        const uint64_t most = view->slots * stride;
        copy->bytes = copy->bytes < most ? copy->bytes : most;
        return 0;
    }
    struct slipring_tensor tensor;
    const int code = slipring_view_field(consumer, view, field, &tensor);
    if (code != 0) {
        return code;
    }
    copy->offset = (uint64_t)((const uint8_t *)tensor.data - (const uint8_t *)view->data);
    copy->width = tensor.bytes / view->slots;
    copy->bytes = copy->width == stride ? tensor.bytes : 0;
    copy->slots = copy->width == 0 ? 0 : view->slots;
    return 0;
}

int slipring_cuda_copy(struct slipring_cuda *cuda, const struct slipring_consumer *consumer,
                       const struct slipring_view *view, uint32_t field, uint64_t to, void *stream,
                       struct slipring_error *error)
{
    const int unusable = slr_cuda_unusable(cuda, CALL_COPY, error);
    if (unusable != 0) {
        return unusable;
    }
    struct slr_cuda_copy copy = {.device = to};
    slr_cu_context context;
    int code = plan(cuda, consumer, view, field, &copy);
    if (code != 0) {
        return slr_cuda_error(error, code, CALL_COPY,
                              "not a view of this ring's slots, or no such field in it (of a "
                              "spanning message there are none: use SLIPRING_CUDA_SLOTS)");
    }
    code = slr_cuda_enter(cuda, stream, &context, CALL_COPY, error);
    if (code == 0) {
        code = slr_cuda_copy_all(cuda, &copy, stream, error);
        slr_cuda_leave(cuda);
    }
    return code;
}

/* ---- releases ---- */

/* The consumer's entry, found or made; mutex is held. */
static int find_member(struct slipring_cuda *cuda, struct slipring_consumer *consumer,
                       struct slr_cuda_member **out, struct slipring_error *error)
{
    for (struct slr_cuda_member *member = cuda->members; member != NULL; member = member->next) {
        if (member->consumer == consumer) {
            *out = member;
            return 0;
        }
    }
    struct slr_cuda_member *member = calloc(1, sizeof *member);
    if (member == NULL) {
        return slr_cuda_error(error, -ENOMEM, "calloc", "no memory for a release");
    }
    const int code = slipring_consumer_keep(consumer);
    if (code != 0) {
        free(member);
        return slr_cuda_error(error, code, CALL_RELEASE,
                              code == -EINVAL
                                  ? "an ordered consumer releases in order, streams do not: attach "
                                    "it with SLIPRING_UNORDERED"
                                  : "the handle is the parent's");
    }
    member->consumer = consumer;
    member->next = cuda->members;
    cuda->members = member;
    *out = member;
    return 0;
}

/* Are the words of a view where the device can store? */
static bool locked(const struct slipring_cuda *cuda, const struct slr_cuda_release *release)
{
    for (uint64_t i = 0; i < release->view.slots; i++) {
        uint64_t address;
        if (!slr_cuda_word(cuda, release->words[i].address, &address)) {
            return false;
        }
    }
    return true;
}

/* The stores that release the view, if the device can make them. 0, or what ends the call. */
static int take_words(struct slipring_cuda *cuda, struct slr_cuda_release *release)
{
    struct slr_cuda_member *member = release->member;
    if (!cuda->stores || member->strays) {
        return 0;
    }
    release->words = malloc(release->view.slots * sizeof *release->words);
    if (release->words == NULL) {
        return 0; /* the helper does it */
    }
    int code = slipring_consumer_device_words(member->consumer, &release->view, release->words);
    if (code == 0 && locked(cuda, release)) {
        if (!member->announced) {
            code = slipring_consumer_device_begin(member->consumer);
            member->announced = code == 0;
        }
        release->by_device = member->announced;
        code = 0;
    } else if (code == -EINVAL && !slipring_consumer_has_words(member->consumer)) {
        code = 0; /* a group of many, or a hold */
    }
    return code;
}

/* Put the stores on the stream; how many of them are. */
static uint64_t put_stores(struct slipring_cuda *cuda, const struct slr_cuda_release *release,
                           slr_cu_stream stream)
{
    const struct slr_cuda_driver *driver = cuda->driver;
    const uint64_t count = release->view.slots;
    struct slr_cu_mem_op ops[SLR_CU_MEM_OPS_MAX];
    uint64_t done = 0;
    while (done < count) {
        uint32_t n = 0;
        for (; n < SLR_CU_MEM_OPS_MAX && done + n < count; n++) {
            const struct slipring_word *word = &release->words[done + n];
            ops[n] =
                (struct slr_cu_mem_op){.operation = SLR_CU_WRITE_VALUE_64, .value = word->value};
            (void)slr_cuda_word(cuda, word->address, &ops[n].address);
            if (driver->mem_ops == NULL || count == 1) {
                n++;
                break;
            }
        }
        const int result = n == 1 ? driver->write_value(stream, ops[0].address, ops[0].value, 0)
                                  : driver->mem_ops(stream, n, ops, 0);
        if (result != SLR_CU_SUCCESS) {
            return done;
        }
        done += n;
    }
    return done;
}

static void host_function(void *user)
{
    struct slr_cuda_release *release = user;
    const int bell = release->cuda->bell;
    /* Release: GROUP, among threads. The helper may free it at once. */
    atomic_store_explicit(&release->called, true, memory_order_release);
    slr_cuda_ring(bell);
}

/* From here on nothing fails: the helper sees to what the stream cannot be told. */
static void hand_over(struct slipring_cuda *cuda, struct slr_cuda_release *release,
                      slr_cu_stream stream)
{
    struct slr_cuda_member *member = release->member;
    if (release->by_device) {
        const uint64_t done = put_stores(cuda, release, stream);
        release->by_device = done == release->view.slots;
        release->stores = true;
        member->stores++;
        /* Of a call for many that failed some may be on the stream. */
        if (!release->by_device &&
            cuda->driver->event_record(release->event, stream) != SLR_CU_SUCCESS) {
            member->strays = true;
        }
    }
    if (!release->by_device && cuda->driver->host_function != NULL) {
        release->calls =
            cuda->driver->host_function(stream, host_function, release) == SLR_CU_SUCCESS;
    }
    member->pending++;
    cuda->pending++;
    release->next = cuda->releases;
    cuda->releases = release;
    slr_cuda_ring(cuda->bell);
}

static int release_on(struct slipring_cuda *cuda, struct slipring_consumer *consumer,
                      const struct slipring_view *view, slr_cu_stream stream,
                      slr_cu_context context, struct slipring_error *error)
{
    struct slr_cuda_member *member = NULL;
    int code = slr_cuda_help(cuda, error);
    code = code != 0 ? code : find_member(cuda, consumer, &member, error);
    if (code != 0) {
        return code;
    }
    for (const struct slr_cuda_release *other = cuda->releases; other != NULL;
         other = other->next) {
        if (other->member == member && other->view.slot.sequence == view->slot.sequence) {
            return slr_cuda_error(error, -EINVAL, CALL_RELEASE, "released on a stream already");
        }
    }
    struct slr_cuda_release *release = calloc(1, sizeof *release);
    if (release == NULL) {
        return slr_cuda_error(error, -ENOMEM, "calloc", "no memory for a release");
    }
    release->member = member;
    release->view = *view;
    release->context = context;
    release->cuda = cuda;
    code = take_words(cuda, release);
    if (code != 0) {
        (void)slr_cuda_error(error, code, CALL_RELEASE, "not acquired, or released already");
    } else {
        int result = slr_cuda_event_take(cuda, context, &release->event);
        if (result == SLR_CU_SUCCESS) {
            result = cuda->driver->event_record(release->event, stream);
            if (result != SLR_CU_SUCCESS) {
                slr_cuda_event_give(cuda, context, release->event);
            }
        }
        if (result == SLR_CU_SUCCESS) {
            hand_over(cuda, release, stream);
            return 0;
        }
        code = slr_cuda_fail(error, result, "cuEventRecord",
                             "the stream takes no release, and the view is yours still");
    }
    free(release->words);
    free(release);
    slr_cuda_ring(cuda->bell); /* it forgets a member with nothing pending */
    return code;
}

int slipring_cuda_release(struct slipring_cuda *cuda, struct slipring_consumer *consumer,
                          const struct slipring_view *view, void *stream,
                          struct slipring_error *error)
{
    const int unusable = slr_cuda_unusable(cuda, CALL_RELEASE, error);
    if (unusable != 0) {
        return unusable;
    }
    if (!ours(cuda, view)) {
        return slr_cuda_error(error, -EINVAL, CALL_RELEASE, "not a view of this ring's slots");
    }
    slr_cu_context context;
    int code = slr_cuda_enter(cuda, stream, &context, CALL_RELEASE, error);
    if (code == 0) {
        pthread_mutex_lock(&cuda->mutex);
        code = release_on(cuda, consumer, view, stream, context, error);
        pthread_mutex_unlock(&cuda->mutex);
        slr_cuda_leave(cuda);
    }
    if (code == -ESTALE) {
        code = slipring_consumer_release(consumer, view);
        code = code == 0 ? -ESTALE : code;
        return slr_cuda_error(error, code, CALL_RELEASE,
                              "this consumer was evicted, or the slot overwritten while held: what "
                              "was copied is void");
    }
    return code;
}
