/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks: the memory of large buffers, which whoever gets one keeps, and writes to, as long as it
 * likes. A lane's owner hands blocks out, those it handed out before first, so that few are in use
 * and those warm. A record names its blocks by index.
 *
 * A block's word says whose it is: FREE and FILLING it is the lane's owner's, FULL the record's,
 * LEASED a taker's, until that stores FREE. A taker leases a record's blocks before it finishes the
 * record; one that died is no longer the lessee once the record is DONE and the block still says so.
 */
#include "lane_word.h"

#include <errno.h>
#include <fcntl.h>

#define BLOCK_FREE UINT64_C(0)
#define BLOCK_FILLING (UINT64_C(1) << 32)
#define BLOCK_FULL (UINT64_C(2) << 32)
#define BLOCK_LEASED (UINT64_C(3) << 32) /* with the lessee's identity */
#define BLOCK_STATE (UINT64_C(3) << 32)

struct lane_block *lane_blocks(const struct lane_queue *queue, uint32_t lane)
{
    const struct lane_header *header = queue->header;
    return (struct lane_block *)(void *)lane_bytes(queue->maps[lane],
                                                   header->ring_bytes + 2 * header->part_bytes);
}

static uint8_t *block_data(const struct lane_queue *queue, uint32_t lane, uint64_t offset)
{
    const struct lane_header *header = queue->header;
    return queue->maps[lane] + header->lane_stride - header->block_bytes + offset;
}

static bool record_done(struct lane_queue *queue, uint32_t lane, uint64_t sequence)
{
    /* Relaxed: the entry's word is acquired below where the tail is not beyond it. */
    if (lane_before(sequence, __atomic_load_n(&queue->heads[lane].tail, __ATOMIC_ACQUIRE))) {
        return true; /* TAIL */
    }
    const uint64_t word = __atomic_load_n(&lane_entry(queue, queue->maps[lane], sequence)->word,
                                          __ATOMIC_ACQUIRE); /* DONE */
    return lane_is(word, sequence, LANE_DONE);
}

/* Frees what dead lessees left. */
static void reap_blocks(struct lane_queue *queue, uint32_t lane)
{
    struct lane_block *blocks = lane_blocks(queue, lane);
    for (uint32_t i = 0; i < queue->heads[lane].block_count; i++) {
        if (!record_done(queue, lane, blocks[i].sequence)) {
            continue;
        }
        uint64_t word = __atomic_load_n(&blocks[i].word, __ATOMIC_ACQUIRE); /* BLOCK */
        const uint64_t state = word & BLOCK_STATE;
        if (state == BLOCK_FULL || /* its taker failed to lease it */
            (state == BLOCK_LEASED && !lane_alive(queue, (uint32_t)word))) {
            /* Relaxed: if it is no longer so, there is nothing to do. */
            __atomic_compare_exchange_n(&blocks[i].word, &word, BLOCK_FREE, false, __ATOMIC_ACQ_REL,
                                        __ATOMIC_RELAXED); /* BLOCK */
        }
    }
}

void lane_adopt_blocks(struct lane_queue *queue, uint32_t lane)
{
    struct lane_head *head = &queue->heads[lane];
    struct lane_block *blocks = lane_blocks(queue, lane);
    for (uint32_t i = 0; i < head->block_count; i++) {
        const uint64_t state =
            __atomic_load_n(&blocks[i].word, __ATOMIC_ACQUIRE) & BLOCK_STATE; /* BLOCK */
        if (state == BLOCK_FILLING ||
            (state == BLOCK_FULL && !lane_before(blocks[i].sequence, head->cursor))) {
            __atomic_store_n(&blocks[i].word, BLOCK_FREE, __ATOMIC_RELEASE); /* BLOCK */
        }
    }
}

/* The first free block that is large enough, and not far too large. */
static struct lane_block *find_block(struct lane_queue *queue, uint32_t lane, uint64_t size)
{
    struct lane_block *blocks = lane_blocks(queue, lane);
    for (uint32_t i = 0; i < queue->heads[lane].block_count; i++) {
        if (__atomic_load_n(&blocks[i].word, __ATOMIC_ACQUIRE) == BLOCK_FREE && /* BLOCK */
            blocks[i].capacity >= size && blocks[i].capacity / 4 <= size) {
            return &blocks[i];
        }
    }
    return NULL;
}

static bool all_free(struct lane_queue *queue, uint32_t lane)
{
    const struct lane_block *blocks = lane_blocks(queue, lane);
    for (uint32_t i = 0; i < queue->heads[lane].block_count; i++) {
        if (__atomic_load_n(&blocks[i].word, __ATOMIC_ACQUIRE) != BLOCK_FREE) { /* BLOCK */
            return false;
        }
    }
    return true;
}

/* Where the next block would begin. It follows from the blocks that are counted, so that a process killed
 * while it adds one loses no memory. */
static uint64_t used_bytes(const struct lane_block *blocks, uint32_t count)
{
    return count == 0 ? 0 : blocks[count - 1].offset + blocks[count - 1].capacity;
}

/* A block behind the others, where there is room. */
static struct lane_block *add_block(struct lane_queue *queue, uint32_t lane, uint64_t size)
{
    struct lane_head *head = &queue->heads[lane];
    const struct lane_header *header = queue->header;
    const uint64_t page = 4096;
    const uint64_t capacity = (size + size / 8 + page - 1) / page * page;
    uint64_t used = used_bytes(lane_blocks(queue, lane), head->block_count);
    if (head->block_count == LANE_BLOCKS || capacity > header->block_bytes - used) {
        if (capacity > header->block_bytes || !all_free(queue, lane)) {
            return NULL;
        }
        head->block_count = 0; /* of other sizes than are wanted now */
        used = 0;
    }
    const uint64_t from =
        header->lane_offset + (lane + 1) * header->lane_stride - header->block_bytes + used;
    /* Nothing but blocks of the same place may be in use when this begins anew. */
    if (posix_fallocate(queue->fd, (off_t)from, (off_t)capacity) != 0) {
        return NULL; /* it goes through the lane */
    }
    struct lane_block *block = &lane_blocks(queue, lane)[head->block_count];
    block->offset = used;
    block->capacity = capacity;
    __atomic_store_n(&block->word, BLOCK_FREE, __ATOMIC_RELEASE); /* BLOCK */
    head->block_count++;
    return block;
}

/* -EAGAIN: when what is in the lane is taken; -ENOBUFS: arrays that live on have them all. */
int lane_take_block(struct lane_queue *queue, uint64_t size, uint32_t *index, uint8_t **data)
{
    int code = lane_join(queue);
    if (code < 0) {
        return code;
    }
    pthread_mutex_lock(&queue->mutex);
    code = lane_own(queue);
    if (code == 0) {
        const uint32_t lane = queue->mine - 1;
        struct lane_block *block = find_block(queue, lane, size);
        if (block == NULL) {
            reap_blocks(queue, lane);
            block = find_block(queue, lane, size);
        }
        if (block == NULL) {
            block = add_block(queue, lane, size);
        }
        if (block != NULL) {
            __atomic_store_n(&block->word, BLOCK_FILLING, __ATOMIC_RELEASE); /* BLOCK */
            block->sequence = queue->heads[lane].cursor;
            *index = (uint32_t)(block - lane_blocks(queue, lane));
            *data = block_data(queue, lane, block->offset);
        } else {
            code = lane_tail(queue, lane) != queue->heads[lane].cursor ? -EAGAIN : -ENOBUFS;
        }
    }
    pthread_mutex_unlock(&queue->mutex);
    return code;
}

/* It will not be put after all. */
void lane_drop_block(struct lane_queue *queue, uint32_t identity, uint32_t index)
{
    pthread_mutex_lock(&queue->mutex);
    if (queue->self == identity && queue->mine != 0) { /* else the parent's */
        __atomic_store_n(&lane_blocks(queue, queue->mine - 1)[index].word, BLOCK_FREE,
                         __ATOMIC_RELEASE); /* BLOCK */
    }
    pthread_mutex_unlock(&queue->mutex);
}

/* Part of publishing the record `sequence`; the mutex is held. */
void lane_fill_block(struct lane_queue *queue, uint32_t index, uint64_t sequence)
{
    struct lane_block *block = &lane_blocks(queue, queue->mine - 1)[index];
    block->sequence = sequence;
    __atomic_store_n(&block->word, BLOCK_FULL, __ATOMIC_RELEASE); /* BLOCK */
}

/* A taker's, before it finishes the record. NULL: the record is damaged. */
uint8_t *lane_lease_block(struct lane_queue *queue, uint32_t lane, uint64_t index, uint64_t size)
{
    if (index >= LANE_BLOCKS) {
        return NULL;
    }
    struct lane_block *block = &lane_blocks(queue, lane)[index];
    if (size > block->capacity || block->capacity > queue->header->block_bytes ||
        block->offset > queue->header->block_bytes - block->capacity) {
        return NULL;
    }
    __atomic_store_n(&block->word, BLOCK_LEASED | queue->self, __ATOMIC_RELEASE); /* BLOCK */
    return block_data(queue, lane, block->offset);
}

void lane_return_block(struct lane_queue *queue, uint32_t identity, uint32_t lane, uint32_t index)
{
    /* In a forked child the lease is the parent's. Relaxed: of our own process. */
    if (__atomic_load_n(&queue->self, __ATOMIC_RELAXED) == identity) {
        __atomic_store_n(&lane_blocks(queue, lane)[index].word, BLOCK_FREE,
                         __ATOMIC_RELEASE); /* BLOCK */
    }
}
