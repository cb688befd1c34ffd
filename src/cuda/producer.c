/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Claims and publishes on streams.
 *
 *     claim     the stream waits for a ticket in *granted, a word that this process alone writes
 *     helper    claims the slots as a producer would (recovers from the dead, evicts), writes the
 *               headers if they are known by then, and stores the ticket: in the order of the claims
 *     publish   writes the headers if the claim is granted, or leaves them to the helper; the stream
 *               stores the slots' stamps, which publish them
 *     helper    moves the cursor over the stamps and wakes who sleeps
 *
 * So a stamp never comes before its header. Where the device cannot store it, or the call for it
 * failed, the helper stamps once the event after the copies has passed; where the context is lost, the
 * slots are passed over: nobody knows what lies in them.
 */
#define _GNU_SOURCE
#include "part.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CALL_ABORT "slipring_cuda_abort"
#define CALL_CLAIM "slipring_cuda_claim"
#define CALL_FILL "slipring_cuda_fill"
#define CALL_PUBLISH "slipring_cuda_publish"
#define ERRORS 3u /* as in helper.c */

/* ---- the helper's part ---- */

static void forget_headers(struct slr_cuda_claim *claim)
{
    free(claim->headers);
    free(claim->shapes);
    claim->headers = NULL;
    claim->shapes = NULL;
}

/* Claim the slots of the next that waits, and write what headers there are; false: not yet. An aborted
 * one too: its stream may have copies for them. */
static bool try_grant(struct slipring_cuda *cuda, struct slr_cuda_claim *claim)
{
    struct slipring_loan loan;
    if (slipring_producer_device_claim(cuda->producer, claim->claimed, &loan) != 0) {
        return false;
    }
    if (claim->published != 0 &&
        slipring_producer_device_publish(cuda->producer, claim->published, claim->headers) != 0) {
        return false; /* it was checked before */
    }
    forget_headers(claim);
    claim->granted = true;
    if (cuda->granted != NULL) {
        /* Release: headers and marks in the slots come before the device's copies. */
        __atomic_store_n(cuda->granted, claim->ticket, __ATOMIC_RELEASE);
    }
    return true;
}

/* Has the stream run what it had for the claim? If the context is lost, it never will. */
static bool passed(struct slipring_cuda *cuda, struct slr_cuda_claim *claim)
{
    if (claim->event == NULL) {
        return true; /* given up with the handle */
    }
    int result = cuda->driver->push(claim->context);
    if (result == SLR_CU_SUCCESS) {
        result = cuda->driver->event_query(claim->event);
        slr_cuda_leave(cuda);
    }
    if (result == SLR_CU_SUCCESS || result == SLR_CU_NOT_READY) {
        claim->errors = 0;
        return result == SLR_CU_SUCCESS;
    }
    claim->lost = ++claim->errors >= ERRORS;
    return claim->lost;
}

/* A granted claim, published or aborted: stamp what the device will not, or give the slots back. */
static void see_to(struct slipring_cuda *cuda, struct slr_cuda_claim *claim)
{
    if (claim->stamped || !passed(cuda, claim)) {
        return;
    }
    if (claim->aborted) {
        const int code = slipring_producer_device_abort(cuda->producer);
        (void)code; /* it is open */
    } else if (claim->lost) {
        slipring_producer_device_stamp(cuda->producer, claim->sequence, claim->published, 0);
    } else {
        slipring_producer_device_stamp(cuda->producer, claim->sequence + claim->stores,
                                       claim->published - claim->stores, 1);
    }
    claim->stamped = true;
}

static bool all_stamped(const struct slipring_cuda *cuda, const struct slr_cuda_claim *claim)
{
    for (uint64_t i = 0; i < claim->published; i++) {
        struct slipring_word word;
        slipring_producer_device_word(cuda->producer, claim->sequence + i, &word);
        /* Not before, in signed distance: it may be a later lap's. Relaxed: settling acquires. */
        const uint64_t stamp = __atomic_load_n((const uint64_t *)word.address, __ATOMIC_RELAXED);
        if ((int64_t)(stamp - word.value) < 0) {
            return false;
        }
    }
    return true;
}

static void free_claim(struct slipring_cuda *cuda, struct slr_cuda_claim *claim)
{
    if (claim->event != NULL) {
        if (claim->lost) {
            (void)cuda->driver->event_destroy(claim->event);
        } else {
            slr_cuda_event_give(cuda, claim->context, claim->event);
        }
    }
    forget_headers(claim);
    free(claim);
}

bool slr_cuda_produce(struct slipring_cuda *cuda)
{
    bool came = false;
    if (cuda->producer == NULL) {
        return false;
    }
    for (struct slr_cuda_claim *claim = cuda->claims; claim != NULL; claim = claim->next) {
        if (!claim->granted) {
            if (!try_grant(cuda, claim)) {
                break;
            }
            came = true;
        }
        if (claim != cuda->open) {
            see_to(cuda, claim);
        }
    }
    while (cuda->claims != NULL && cuda->claims->granted && cuda->claims != cuda->open) {
        struct slr_cuda_claim *claim = cuda->claims;
        if (!claim->stamped || !all_stamped(cuda, claim)) {
            break;
        }
        cuda->lost += claim->lost;
        cuda->claims = claim->next;
        free_claim(cuda, claim);
        came = true;
    }
    const bool settled = slipring_producer_device_settle(cuda->producer) != 0;
    if (settled && cuda->claims == NULL) {
        slipring_producer_device_end(cuda->producer);
        cuda->producer = NULL;
    }
    return came;
}

void slr_cuda_produce_end(struct slipring_cuda *cuda)
{
    if (cuda->granted != NULL) {
        if (cuda->driver->push(cuda->context) == SLR_CU_SUCCESS) {
            (void)cuda->driver->host_unregister(cuda->granted);
            slr_cuda_leave(cuda);
        }
        free(cuda->granted);
    }
}

/* ---- claim ---- */

/* The word that streams wait for; without one a claim that is not free at once is -EAGAIN. */
static void make_granted(struct slipring_cuda *cuda)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (cuda->granted != NULL || !cuda->stores || cuda->driver->wait_value == NULL) {
        return;
    }
    uint64_t *word = aligned_alloc(page, page);
    if (word == NULL) {
        return;
    }
    memset(word, 0, page);
    if (cuda->driver->host_register(
            word, page, SLR_CU_REGISTER_PORTABLE | SLR_CU_REGISTER_DEVICEMAP) != SLR_CU_SUCCESS) {
        free(word);
        return;
    }
    if (cuda->driver->host_device_pointer(&cuda->granted_address, word, 0) != SLR_CU_SUCCESS) {
        (void)cuda->driver->host_unregister(word);
        free(word);
        return;
    }
    *word = cuda->tickets;
    cuda->granted = word;
}

static int lend(struct slipring_cuda *cuda, struct slipring_producer *producer,
                struct slipring_error *error)
{
    if (cuda->producer == producer) {
        return 0;
    }
    if (cuda->producer != NULL) {
        return slr_cuda_error(error, -EBUSY, CALL_CLAIM, "another producer's claims are pending");
    }
    const int code = slipring_producer_device_begin(producer, &cuda->next_sequence);
    if (code == 0) {
        cuda->producer = producer;
        return 0;
    }
    return slr_cuda_error(
        error, code, CALL_CLAIM,
        code == -EINVAL ? "a GPU publishes in tensor rings (small slots: only those created with "
                          "SLIPRING_GEOMETRY_TENSOR) with the block policy, without timestamps "
                          "and checksums, and while no other claim is open"
                        : "the producer's handle is the parent's, or lent already");
}

static int claim_on(struct slipring_cuda *cuda, struct slipring_producer *producer, uint64_t slots,
                    slr_cu_stream stream, slr_cu_context context, struct slipring_error *error)
{
    int code = slr_cuda_help(cuda, error);
    code = code != 0 ? code : lend(cuda, producer, error);
    if (code != 0) {
        return code;
    }
    struct slr_cuda_claim *claim = calloc(1, sizeof *claim);
    if (claim == NULL) {
        return slr_cuda_error(error, -ENOMEM, "calloc", "no memory for a claim");
    }
    const int before = slr_cuda_captures_leave(cuda->driver);
    make_granted(cuda);
    slr_cuda_captures_back(cuda->driver, before);
    *claim = (struct slr_cuda_claim){.ticket = cuda->tickets + 1,
                                     .sequence = cuda->next_sequence,
                                     .claimed = slots,
                                     .context = context};
    struct slr_cuda_claim **last = &cuda->claims;
    bool waits = false;
    for (; *last != NULL; last = &(*last)->next) {
        waits = waits || !(*last)->granted;
    }
    if (!waits && try_grant(cuda, claim)) {
        code = 0;
    } else if (cuda->granted == NULL) {
        code =
            slr_cuda_error(error, -EAGAIN, CALL_CLAIM,
                           "the slots are not free yet, and this device's streams cannot wait for "
                           "them: try again");
    } else {
        const int result =
            cuda->driver->wait_value(stream, cuda->granted_address, claim->ticket, SLR_CU_WAIT_GEQ);
        code = result == SLR_CU_SUCCESS ? 0
                                        : slr_cuda_fail(error, result, "cuStreamWaitValue64",
                                                        "the stream cannot wait for the slots");
    }
    if (code != 0) {
        free(claim);
        return code;
    }
    cuda->tickets++;
    *last = claim;
    cuda->open = claim;
    return 0;
}

int slipring_cuda_claim(struct slipring_cuda *cuda, struct slipring_producer *producer,
                        uint64_t slots, void *stream, struct slipring_loan *loan,
                        struct slipring_error *error)
{
    slr_cu_context context;
    const int unusable = slr_cuda_unusable(cuda, CALL_CLAIM, error);
    if (unusable != 0) {
        return unusable;
    }
    const struct slipring_memory *memory = &cuda->memory;
    if (slots == 0 || slots > memory->slots) {
        return slr_cuda_error(error, slots == 0 ? -EINVAL : -EMSGSIZE, CALL_CLAIM,
                              "1 to the ring's slots can be claimed");
    }
    int code = slr_cuda_enter(cuda, stream, &context, CALL_CLAIM, error);
    if (code != 0) {
        return code;
    }
    pthread_mutex_lock(&cuda->mutex);
    code = cuda->open != NULL
               ? slr_cuda_error(error, -EINVAL, CALL_CLAIM, "a claim is open: publish or abort it")
               : claim_on(cuda, producer, slots, stream, context, error);
    if (code == 0) {
        const uint64_t index = cuda->open->sequence & (memory->slots - 1);
        *loan = (struct slipring_loan){.sequence = cuda->open->sequence,
                                       .slots = slots,
                                       .data = (uint8_t *)memory->payload +
                                               index * memory->payload_stride,
                                       .stride = memory->payload_stride,
                                       .bytes = slots * memory->payload_stride};
    }
    pthread_mutex_unlock(&cuda->mutex);
    slr_cuda_leave(cuda);
    slr_cuda_ring(cuda->bell);
    return code;
}

void slr_cuda_give_up(struct slipring_cuda *cuda)
{
    if (cuda->open != NULL) {
        cuda->open->aborted = true;
        cuda->open = NULL;
    }
}

/* An event behind what the stream has for the open claim. */
static int record(struct slipring_cuda *cuda, slr_cu_stream stream, slr_cu_context context,
                  struct slipring_error *error)
{
    struct slr_cuda_claim *claim = cuda->open;
    claim->context = context;
    int result = slr_cuda_event_take(cuda, context, &claim->event);
    if (result == SLR_CU_SUCCESS) {
        result = cuda->driver->event_record(claim->event, stream);
        if (result != SLR_CU_SUCCESS) {
            slr_cuda_event_give(cuda, context, claim->event);
        }
    }
    if (result == SLR_CU_SUCCESS) {
        return 0;
    }
    claim->event = NULL;
    return slr_cuda_fail(error, result, "cuEventRecord",
                         "the stream cannot be followed, and the claim stays open");
}

int slipring_cuda_abort(struct slipring_cuda *cuda, struct slipring_producer *producer,
                        void *stream, struct slipring_error *error)
{
    slr_cu_context context;
    const int unusable = slr_cuda_unusable(cuda, CALL_ABORT, error);
    if (unusable != 0) {
        return unusable;
    }
    int code = slr_cuda_enter(cuda, stream, &context, CALL_ABORT, error);
    if (code != 0) {
        return code;
    }
    pthread_mutex_lock(&cuda->mutex);
    code = cuda->open == NULL || cuda->producer != producer
               ? slr_cuda_error(error, -EINVAL, CALL_ABORT, "no claim on a stream is open")
               : record(cuda, stream, context, error);
    if (code == 0) {
        slr_cuda_give_up(cuda);
    }
    pthread_mutex_unlock(&cuda->mutex);
    slr_cuda_leave(cuda);
    slr_cuda_ring(cuda->bell);
    return code;
}

/* ---- fill ---- */

int slipring_cuda_fill(struct slipring_cuda *cuda, const struct slipring_producer *producer,
                       const struct slipring_loan *loan, uint32_t field, uint64_t from,
                       void *stream, struct slipring_error *error)
{
    const int unusable = slr_cuda_unusable(cuda, CALL_FILL, error);
    if (unusable != 0) {
        return unusable;
    }
    const struct slipring_memory *memory = &cuda->memory;
    const uint64_t index = loan->sequence & (memory->slots - 1);
    struct slr_cuda_copy copy = {.first = index,
                                 .slots = loan->slots,
                                 .bytes = loan->bytes,
                                 .device = from,
                                 .to_host = true};
    struct slipring_tensor tensor = {.bytes = 0};
    int code = loan->slots != 0 && loan->slots <= memory->slots &&
                       loan->data == (uint8_t *)memory->payload + index * memory->payload_stride
                   ? 0
                   : -EINVAL;
    if (code == 0 && field != SLIPRING_CUDA_SLOTS) {
        code = slipring_loan_field(producer, loan, field, &tensor);
        copy.offset = code != 0 ? 0 : (uint64_t)((uint8_t *)tensor.data - (uint8_t *)loan->data);
        copy.width = tensor.bytes / loan->slots;
        copy.bytes = copy.width == memory->payload_stride ? tensor.bytes : 0;
        copy.slots = copy.width == 0 ? 0 : loan->slots;
    }
    if (code != 0) {
        return slr_cuda_error(error, code, CALL_FILL, "not a loan of this ring, or no such field");
    }
    slr_cu_context context;
    code = slr_cuda_enter(cuda, stream, &context, CALL_FILL, error);
    if (code == 0) {
        code = slr_cuda_copy_all(cuda, &copy, stream, error);
        slr_cuda_leave(cuda);
    }
    return code;
}

/* ---- publish ---- */

/* Keep copies of the headers for the helper. */
static int keep_headers(const struct slipring_cuda *cuda, struct slr_cuda_claim *claim,
                        uint64_t slots, const struct slipring_slot *headers)
{
    if (headers == NULL) {
        return 0;
    }
    struct slipring_info info = {.struct_size = sizeof info};
    uint64_t dims = 0;
    int code = slipring_ring_info(cuda->ring, &info);
    for (uint32_t i = 0; code == 0 && i < info.field_count; i++) {
        struct slipring_field field;
        code = slipring_ring_field(cuda->ring, i, &field, NULL);
        dims += field.ndim;
    }
    claim->headers = calloc(slots, sizeof *headers);
    claim->shapes = calloc(slots * dims + 1, sizeof *claim->shapes);
    if (code != 0 || claim->headers == NULL || claim->shapes == NULL) {
        forget_headers(claim);
        return code != 0 ? code : -ENOMEM;
    }
    for (uint64_t i = 0; i < slots; i++) {
        claim->headers[i] = headers[i];
        if (headers[i].shapes != NULL) {
            memcpy(claim->shapes + i * dims, headers[i].shapes, dims * sizeof(int64_t));
            claim->headers[i].shapes = claim->shapes + i * dims;
        }
    }
    return 0;
}

/* Put the stamps on the stream; how many of them are. */
static uint64_t put_stamps(struct slipring_cuda *cuda, const struct slr_cuda_claim *claim,
                           slr_cu_stream stream)
{
    const struct slr_cuda_piece *piece = &cuda->pieces[0]; /* of a tensor ring's headers */
    if (!cuda->stores || (piece->state != SLR_PIECE_OURS && piece->state != SLR_PIECE_FOREIGN)) {
        return 0;
    }
    for (uint64_t i = 0; i < claim->published; i++) {
        struct slipring_word word;
        slipring_producer_device_word(cuda->producer, claim->sequence + i, &word);
        const uint64_t in = (uint64_t)((uint8_t *)word.address - piece->start);
        if (cuda->driver->write_value(stream, piece->address + in, word.value, 0) !=
            SLR_CU_SUCCESS) {
            return i;
        }
    }
    return claim->published;
}

static int publish_on(struct slipring_cuda *cuda, uint64_t slots,
                      const struct slipring_slot *headers, slr_cu_stream stream,
                      slr_cu_context context, struct slipring_error *error)
{
    struct slr_cuda_claim *claim = cuda->open;
    int code = slipring_producer_device_check(cuda->producer, claim->claimed, slots, headers);
    if (code == 0 && !claim->granted) {
        code = keep_headers(cuda, claim, slots, headers);
    }
    if (code != 0) {
        return slr_cuda_error(error, code, CALL_PUBLISH,
                              "more slots than claimed, or headers that the ring cannot carry; the "
                              "claim stays open");
    }
    code = record(cuda, stream, context, error);
    if (code != 0) {
        forget_headers(claim);
        return code;
    }
    claim->published = slots;
    if (claim->granted) {
        code = slipring_producer_device_publish(cuda->producer, slots, headers);
    }
    claim->stores = put_stamps(cuda, claim, stream);
    cuda->next_sequence = claim->sequence + slots;
    cuda->open = NULL;
    return code;
}

int slipring_cuda_publish(struct slipring_cuda *cuda, struct slipring_producer *producer,
                          uint64_t slots, const struct slipring_slot *headers, void *stream,
                          struct slipring_error *error)
{
    slr_cu_context context;
    const int unusable = slr_cuda_unusable(cuda, CALL_PUBLISH, error);
    if (unusable != 0) {
        return unusable;
    }
    int code = slr_cuda_enter(cuda, stream, &context, CALL_PUBLISH, error);
    if (code != 0) {
        return code;
    }
    pthread_mutex_lock(&cuda->mutex);
    code = cuda->open == NULL || cuda->producer != producer
               ? slr_cuda_error(error, -EINVAL, CALL_PUBLISH, "no claim on a stream is open")
               : publish_on(cuda, slots, headers, stream, context, error);
    pthread_mutex_unlock(&cuda->mutex);
    slr_cuda_leave(cuda);
    if (code == 0) {
        slr_cuda_ring(cuda->bell);
    }
    return code;
}
