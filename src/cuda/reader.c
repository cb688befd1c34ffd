/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A kernel as a reader (slipring/slipring_device.cuh): what it must know, and the count of what it has
 * released, which it waits for before it stores a word again a lap later.
 */
#define _GNU_SOURCE
#include "part.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CALL_BEGIN "slipring_cuda_reader_begin"
#define COUNT 0 /* words of the page, a pair of lines each */
#define ABORT 16

bool slr_cuda_count_reader(struct slipring_cuda *cuda)
{
    if (cuda->reader == NULL) {
        return false;
    }
    const int code = slipring_consumer_device_advance(cuda->reader);
    (void)code; /* evicted: the kernel sees the slots go */
    /* Release: RELEASE, our count passed over the words before the kernel stores them anew. */
    __atomic_store_n(&cuda->reader_words[COUNT], slipring_consumer_device_count(cuda->reader),
                     __ATOMIC_RELEASE);
    return true;
}

/* The device's address of n bytes that lie in one piece for it; 0 if they do not. mutex is held. */
static uint64_t whole(const struct slipring_cuda *cuda, uint32_t first, uint32_t count)
{
    const struct slr_cuda_piece *pieces = &cuda->pieces[first];
    for (uint32_t i = 0; i < count; i++) {
        if ((pieces[i].state != SLR_PIECE_OURS && pieces[i].state != SLR_PIECE_FOREIGN) ||
            pieces[i].address - pieces[0].address !=
                (uint64_t)(pieces[i].start - pieces[0].start)) {
            return 0;
        }
    }
    return pieces[0].address;
}

static int make_page(struct slipring_cuda *cuda, uint64_t *address, struct slipring_error *error)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint64_t *words = aligned_alloc(page, page);
    if (words == NULL) {
        return slr_cuda_error(error, -ENOMEM, "aligned_alloc", "no memory for a reader");
    }
    memset(words, 0, page);
    int result = cuda->driver->push(cuda->context);
    if (result == SLR_CU_SUCCESS) {
        result = cuda->driver->host_register(words, page,
                                             SLR_CU_REGISTER_PORTABLE | SLR_CU_REGISTER_DEVICEMAP);
        if (result == SLR_CU_SUCCESS) {
            result = cuda->driver->host_device_pointer(address, words, 0);
            if (result != SLR_CU_SUCCESS) {
                (void)cuda->driver->host_unregister(words);
            }
        }
        slr_cuda_leave(cuda);
    }
    if (result != SLR_CU_SUCCESS) {
        free(words);
        return slr_cuda_fail(error, result, "cuMemHostRegister", "no page for a reader");
    }
    cuda->reader_words = words;
    return 0;
}

static void free_page(struct slipring_cuda *cuda)
{
    if (cuda->driver->push(cuda->context) == SLR_CU_SUCCESS) {
        (void)cuda->driver->host_unregister(cuda->reader_words);
        slr_cuda_leave(cuda);
    }
    free(cuda->reader_words);
    cuda->reader_words = NULL;
}

static int begin(struct slipring_cuda *cuda, struct slipring_consumer *consumer,
                 struct slipring_device_reader *reader, struct slipring_error *error)
{
    const struct slipring_memory *memory = &cuda->memory;
    const uint32_t words = 1 + cuda->chunk_count;
    /* In a tensor ring the stamps lie in the head, else in the payload area. */
    const uint64_t data = whole(cuda, 0, words);
    const uint64_t releases = whole(cuda, words, cuda->piece_count - words);
    uint64_t page = 0;
    if (cuda->reader != NULL) {
        return slr_cuda_error(error, -EBUSY, CALL_BEGIN, "a kernel of this process reads the ring");
    }
    if (data == 0 || releases == 0) {
        return slr_cuda_error(error, -EAGAIN, CALL_BEGIN,
                              "a kernel needs all of the ring page-locked, in one piece for the "
                              "device: wait for slipring_cuda_ready(), or register with a "
                              "chunk_bytes as large as the ring");
    }
    int code = slr_cuda_help(cuda, error);
    code = code != 0 ? code : make_page(cuda, &page, error);
    if (code != 0) {
        return code;
    }
    code = slipring_consumer_device_begin(consumer);
    if (code != 0) {
        free_page(cuda);
        return slr_cuda_error(error, code, CALL_BEGIN,
                              "a kernel reads for a SLIPRING_UNORDERED group of one in a block "
                              "ring, that has no releases pending on streams");
    }
    struct slipring_release_table table;
    slipring_consumer_device_table(consumer, &table);
    const uint8_t *base = memory->data;
    *reader = (struct slipring_device_reader){
        .stamps = data + (uint64_t)((const uint8_t *)memory->stamps - base),
        .header_stride = memory->header_stride,
        .payload = data + (uint64_t)((const uint8_t *)memory->payload - base),
        .payload_stride = memory->payload_stride,
        .slots = memory->slots,
        .slot_bytes = table.slot_bytes,
        .has_header = table.has_header,
        .releases = releases + (uint64_t)((uint8_t *)table.words - (uint8_t *)memory->releases),
        .word = table.value,
        .lap_mask = table.lap_mask,
        .lap_shift = table.lap_shift,
        .counted = page + COUNT * 8,
        .abort = page + ABORT * 8,
        .next = table.next,
    };
    cuda->reader = consumer;
    (void)slr_cuda_count_reader(cuda);
    slr_cuda_ring(cuda->bell);
    return 0;
}

int slipring_cuda_reader_begin(struct slipring_cuda *cuda, struct slipring_consumer *consumer,
                               struct slipring_device_reader *reader, struct slipring_error *error)
{
    const int unusable = slr_cuda_unusable(cuda, CALL_BEGIN, error);
    if (unusable != 0) {
        return unusable;
    }
    const int before = slr_cuda_captures_leave(cuda->driver);
    pthread_mutex_lock(&cuda->mutex);
    const int code = begin(cuda, consumer, reader, error);
    pthread_mutex_unlock(&cuda->mutex);
    slr_cuda_captures_back(cuda->driver, before);
    return code;
}

void slipring_cuda_reader_abort(struct slipring_cuda *cuda)
{
    if (cuda != NULL && !slr_cuda_forked()) {
        pthread_mutex_lock(&cuda->mutex);
        if (cuda->reader != NULL) {
            __atomic_store_n(&cuda->reader_words[ABORT], 1, __ATOMIC_RELEASE); /* orders nothing */
        }
        pthread_mutex_unlock(&cuda->mutex);
    }
}

void slipring_cuda_reader_end(struct slipring_cuda *cuda, uint64_t next)
{
    if (cuda == NULL || slr_cuda_forked()) {
        return;
    }
    pthread_mutex_lock(&cuda->mutex);
    if (cuda->reader != NULL) {
        (void)slr_cuda_count_reader(cuda);
        slipring_consumer_device_goto(cuda->reader, next);
        slipring_consumer_device_end(cuda->reader);
        cuda->reader = NULL;
        const int before = slr_cuda_captures_leave(cuda->driver);
        free_page(cuda);
        slr_cuda_captures_back(cuda->driver, before);
    }
    pthread_mutex_unlock(&cuda->mutex);
}
