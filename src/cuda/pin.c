/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Page-locking, piece by piece, on a thread of its own.
 *
 * A registration holds up other CUDA calls, of other processes too, for as long as it takes: hence
 * chunks, and a pause between them. The driver wants memory that is mapped writable, so the data
 * object is writable from the first piece to the last, and read-only again after. Each piece is
 * faulted in first, which needs no lock of the driver.
 */
#define _GNU_SOURCE
#include "part.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PAUSE_NS 100000 /* between two pieces: others get at the driver's lock */
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/* ---- pieces ---- */

static uint64_t chunk_bytes(const struct slipring_memory *memory, uint64_t wanted, uint64_t page)
{
    /* Whole slots and whole pages. */
    uint64_t unit = memory->payload_stride;
    while (unit % page != 0 && unit < memory->area_bytes) {
        unit += memory->payload_stride;
    }
    const uint64_t chunk = wanted < unit ? unit : wanted - wanted % unit;
    return chunk < memory->area_bytes ? chunk : memory->area_bytes;
}

static uint32_t cut(struct slr_cuda_piece *pieces, uint8_t *start, uint64_t bytes, uint64_t chunk)
{
    uint32_t count = 0;
    for (uint64_t at = 0; at < bytes; at += chunk, count++) {
        if (pieces != NULL) {
            pieces[count] = (struct slr_cuda_piece){
                .start = start + at, .bytes = bytes - at < chunk ? bytes - at : chunk};
        }
    }
    return count;
}

int slr_cuda_pin_plan(struct slipring_cuda *cuda, struct slipring_error *error)
{
    const struct slipring_memory *memory = &cuda->memory;
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    const uint64_t words = cuda->chunk_bytes < page ? page : cuda->chunk_bytes & ~(page - 1);
    uint8_t *area = (uint8_t *)memory->data + memory->area_offset;
    cuda->chunk_bytes = chunk_bytes(memory, cuda->chunk_bytes, page);
    struct slr_cuda_piece *pieces = NULL;
    for (int pass = 0; pass < 2; pass++) { /* count, then fill */
        uint32_t n = cut(pieces, memory->data, memory->area_offset, memory->area_offset);
        cuda->chunk_count =
            cut(pieces == NULL ? NULL : pieces + n, area, memory->area_bytes, cuda->chunk_bytes);
        n += cuda->chunk_count;
        n += cut(pieces == NULL ? NULL : pieces + n, memory->releases, memory->releases_bytes,
                 words);
        cuda->piece_count = n;
        if (pieces == NULL) {
            pieces = calloc(n, sizeof *pieces);
        }
        if (pieces == NULL) {
            return slr_cuda_error(error, -ENOMEM, "calloc", "no memory for %" PRIu32 " pieces", n);
        }
    }
    cuda->pieces = pieces;
    cuda->total_bytes = memory->area_offset + memory->area_bytes + memory->releases_bytes;
    return 0;
}

struct slr_cuda_piece *slr_cuda_piece_of(const struct slipring_cuda *cuda, const void *host)
{
    const struct slipring_memory *memory = &cuda->memory;
    const uint64_t at = (uint64_t)((const uint8_t *)host - (const uint8_t *)memory->data);
    if (at < memory->area_offset) {
        return &cuda->pieces[0];
    }
    const uint64_t chunk = (at - memory->area_offset) / cuda->chunk_bytes;
    return &cuda->pieces[1 + chunk];
}

bool slr_cuda_word(const struct slipring_cuda *cuda, const void *word, uint64_t *address)
{
    for (uint32_t i = 1 + cuda->chunk_count; i < cuda->piece_count; i++) {
        const struct slr_cuda_piece *piece = &cuda->pieces[i];
        const uint64_t in = (uint64_t)((const uint8_t *)word - piece->start);
        if (in < piece->bytes) {
            *address = piece->address + in;
            return piece->state == SLR_PIECE_OURS || piece->state == SLR_PIECE_FOREIGN;
        }
    }
    return false;
}

/* ---- locking ---- */

#define PART_FOREIGN (-1) /* no result of the driver */

/* Somebody registered pages of the piece: is it all of them, in one piece for the device? */
static bool all_foreign(const struct slr_cuda_driver *driver, const struct slr_cuda_piece *piece,
                        uint64_t *address)
{
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    if (driver->host_device_pointer(address, piece->start, 0) != SLR_CU_SUCCESS) {
        return false;
    }
    for (uint64_t at = page; at < piece->bytes; at += page) {
        uint64_t there = 0;
        if (driver->host_device_pointer(&there, piece->start + at, 0) != SLR_CU_SUCCESS ||
            there != *address + at) {
            return false;
        }
    }
    return true;
}

static int64_t pin_piece(struct slipring_cuda *cuda, const struct slr_cuda_piece *piece,
                         int *result, uint64_t *address)
{
    const struct slr_cuda_driver *driver = cuda->driver;
    (void)madvise(piece->start, piece->bytes, MADV_POPULATE_WRITE); /* else the driver does it */
    const int64_t before = slipring_now_ns();
    *result = driver->push(cuda->context);
    if (*result != SLR_CU_SUCCESS) {
        return slipring_now_ns() - before;
    }
    *result = driver->host_register(piece->start, piece->bytes,
                                    SLR_CU_REGISTER_PORTABLE | SLR_CU_REGISTER_DEVICEMAP);
    const int64_t stall = slipring_now_ns() - before;
    if (*result == SLR_CU_SUCCESS) {
        *result = driver->host_device_pointer(address, piece->start, 0);
        if (*result != SLR_CU_SUCCESS) {
            (void)driver->host_unregister(piece->start);
        }
    } else if (*result == SLR_CU_ALREADY_REGISTERED && !all_foreign(driver, piece, address)) {
        *result = PART_FOREIGN;
    }
    slr_cu_context ours;
    (void)driver->pop(&ours);
    return stall;
}

static const char *consequence(int result)
{
    switch (result) {
    case SLR_CU_OUT_OF_MEMORY:
        return "the driver locks no more memory: what is not locked is staged; lower the ring's "
               "slots, or free memory locked by others";
    case SLR_CU_NOT_PERMITTED:
    case SLR_CU_NOT_SUPPORTED:
        return "the driver may not lock shared memory here: copies are staged; look at the "
               "container's rights, or use SLIPRING_CUDA_UNPINNED";
    default:
        return "page-locking ended early: what is not locked is staged";
    }
}

/* Note what came of a piece; false: no use to go on. */
static bool note(struct slipring_cuda *cuda, struct slr_cuda_piece *piece, int result,
                 uint64_t address, int64_t stall)
{
    const bool ours = result == SLR_CU_SUCCESS;
    const bool foreign = result == SLR_CU_ALREADY_REGISTERED;
    pthread_mutex_lock(&cuda->mutex);
    cuda->locking_ns += stall;
    cuda->longest_stall_ns = stall > cuda->longest_stall_ns ? stall : cuda->longest_stall_ns;
    if (ours || foreign) {
        piece->state = ours ? SLR_PIECE_OURS : SLR_PIECE_FOREIGN;
        piece->address = address;
        cuda->locked_bytes += piece->bytes;
        cuda->foreign_bytes += foreign ? piece->bytes : 0;
    } else {
        piece->state = SLR_PIECE_REFUSED;
        cuda->code =
            result == PART_FOREIGN
                ? slr_cuda_error(&cuda->reason, -EBUSY, "cuMemHostRegister",
                                 "a chunk of %" PRIu64
                                 " bytes: somebody in this process registered "
                                 "part of it: what is not locked is staged; unregister that first",
                                 piece->bytes)
                : slr_cuda_fail(&cuda->reason, result, "cuMemHostRegister", consequence(result));
    }
    pthread_mutex_unlock(&cuda->mutex);
    return ours || foreign;
}

static void *pin(void *context)
{
    struct slipring_cuda *cuda = context;
    bool going = true;
    (void)slr_cuda_captures_leave(cuda->driver);
    for (uint32_t i = 0; i < cuda->piece_count && going; i++) {
        pthread_mutex_lock(&cuda->mutex);
        going = !cuda->stop;
        pthread_mutex_unlock(&cuda->mutex);
        if (going) {
            int result = SLR_CU_SUCCESS;
            uint64_t address = 0;
            const int64_t stall = pin_piece(cuda, &cuda->pieces[i], &result, &address);
            going = note(cuda, &cuda->pieces[i], result, address, stall);
            const struct timespec pause = {.tv_nsec = PAUSE_NS};
            (void)nanosleep(&pause, NULL);
        }
    }
    slipring_ring_protect(cuda->ring);
    pthread_mutex_lock(&cuda->mutex);
    cuda->unprotected = false;
    cuda->state = cuda->locked_bytes == cuda->total_bytes ? SLIPRING_CUDA_READY
                  : cuda->locked_bytes > 0                ? SLIPRING_CUDA_PARTLY
                                                          : SLIPRING_CUDA_STAGED;
    for (uint32_t i = 0; i < cuda->piece_count; i++) {
        if (cuda->pieces[i].state == SLR_PIECE_WAITING) {
            cuda->pieces[i].state = SLR_PIECE_REFUSED;
        }
    }
    pthread_cond_broadcast(&cuda->changed);
    pthread_mutex_unlock(&cuda->mutex);
    return NULL;
}

int slr_cuda_pin_begin(struct slipring_cuda *cuda, struct slipring_error *error)
{
    int code = slipring_ring_unprotect(cuda->ring, error);
    if (code != 0) {
        return code;
    }
    cuda->unprotected = true;
    cuda->state = SLIPRING_CUDA_LOCKING;
    sigset_t all, before; /* signals are the application's threads' */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    code = pthread_create(&cuda->thread, NULL, pin, cuda);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (code != 0) {
        slipring_ring_protect(cuda->ring);
        return slr_cuda_error(error, -code, "pthread_create",
                              "no thread to page-lock on: raise RLIMIT_NPROC");
    }
    cuda->running = true;
    return 0;
}

void slr_cuda_pin_end(struct slipring_cuda *cuda)
{
    if (cuda->running) {
        pthread_mutex_lock(&cuda->mutex);
        cuda->stop = true;
        pthread_mutex_unlock(&cuda->mutex);
        pthread_join(cuda->thread, NULL);
        cuda->running = false;
    }
    /* Errors are of no use here: where the context is gone the locks went with it. */
    if (cuda->driver->push(cuda->context) == SLR_CU_SUCCESS) {
        for (uint32_t i = cuda->piece_count; i-- > 0;) {
            if (cuda->pieces[i].state == SLR_PIECE_OURS) {
                (void)cuda->driver->host_unregister(cuda->pieces[i].start);
            }
        }
        slr_cu_context ours;
        (void)cuda->driver->pop(&ours);
    }
}
