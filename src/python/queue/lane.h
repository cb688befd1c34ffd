/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shared file of a Queue, and what may be done with it. Nothing here knows Python.
 *
 * One memfd, inherited by all who use the queue: a header, the generations of the cells, a head
 * per lane, and the lanes. Each putting process owns a lane, a ring of records of any size, which
 * it alone writes; every process takes records from all lanes, the oldest first. A lane whose owner
 * died or left is adopted by the next process that needs one, with what is still in it.
 *
 * A record's entry has one word that says who has it: READY, then TAKEN by a cell, then DONE, each
 * with the low bits of the record's sequence. Whoever swaps READY for TAKEN copies the record out
 * and stores DONE. If it dies between, somebody swaps TAKEN for READY again: that record is
 * delivered once, by somebody else. One that died after DONE had received the item.
 *
 * Who lives: a cell is a byte of the file locked (an OFD lock on a description of the process's
 * own, closed in forked children). An identity is a cell and its generation, so that a cell that is
 * used again is not its dead owner. The kernel drops the lock with the process, whatever kills it.
 *
 * No count here is changed by hand where a death could lose it: how full the queue is follows from
 * the entries, the cursors and `reserved`, which is void when its lane's owner is dead.
 *
 * Edges (every access that is not relaxed names one):
 *   PUBLISH  record, entry, then cursor (release)  | taker loads cursor (acquire): the record
 *   TAKE     READY to TAKEN (acquire-release)      | the same swap by others: one taker
 *   DONE     taker's reads, then DONE (release)    | tail scan (acquire): bytes are used again
 *   TAIL     tail moved on (release)               | owner loads tail (acquire): as DONE
 *   SLEEP    asleep, then look (store-load)        | change, then look at asleep (store-load)
 *   POLLED   polled, then scan (store-load)        | READY uncounted, then polled (store-load)
 *   STREAM   part written, then given (release)    | taker loads given (acquire), and mirrored:
 *            part copied out, then asked (release) | owner loads asked (acquire)
 *   BLOCK    filled, or read, then its word (rel.) | who has it next loads the word (acquire)
 *   CELL     lock, then generation (release)       | prober loads generation (acquire), then probes
 *   OWNER    lane's words, then owner (acq.-rel.)  | who swaps the dead owner for itself
 */
#ifndef SLIPRING_PYTHON_LANE_H
#define SLIPRING_PYTHON_LANE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LANE_CELLS 4096u
#define LANE_ENTRIES 2048u
#define LANE_BLOCKS 64u
#define LANE_PATIENCE_NS INT64_C(50000000) /* deaths are looked for this often, by who waits */

/* Sleepers on one word. Who changed what they wait for rings it, if somebody is asleep. */
struct lane_bell {
    uint32_t asleep;
    uint32_t word;
};

struct lane_entry {
    uint64_t word;  /* LANE_READY ... | sequence << 40 | identity */
    uint64_t stamp; /* CLOCK_MONOTONIC of the put: a getter takes the oldest of all lanes */
    uint64_t position;
    uint32_t size;
    uint32_t flags; /* enum lane_flag */
};

enum lane_flag {
    LANE_BUFFERS = 1, /* a count, sizes, a pickle, then its buffers; else a pickle alone */
    LANE_PLAIN = 4,   /* of its putter's own form (queue_plain.c) */
    LANE_STREAM = 2   /* struct lane_stream: the record follows in parts */
};

/* Memory of a large buffer (lane_block.c). */
struct lane_block {
    uint64_t word;
    uint64_t offset, capacity;
    uint64_t sequence; /* of the record that carries it, or did last */
};

/* The record of one that is larger than a lane. */
struct lane_stream {
    uint64_t size;
    uint32_t identity; /* of the putting process, which keeps it until it was taken whole */
    uint32_t flags;
};

struct lane_head {
    /* Written by the owner. */
    uint32_t owner; /* identity, 0: never had one */
    uint32_t ready; /* its memory is allocated */
    uint64_t cursor;
    uint64_t reserved; /* items put, with those that wait in the owner's feeder */
    uint64_t write_position;
    uint64_t given;     /* attempt << 32 | parts written */
    uint64_t cancelled; /* sequence + 1 of a stream that its putter gave up */
    uint64_t pad0;
    uint32_t block_count;
    uint32_t announcing; /* the owner is between an item's byte in the pipe and the item */
    /* Written by takers. */
    uint64_t hint;  /* no READY record before it, but after `again` */
    uint32_t again; /* something behind the hint is READY again */
    uint32_t pad1;
    uint64_t asked; /* attempt << 32 | parts copied out */
    uint8_t pad2[40];
    uint64_t tail; /* all before it is DONE */
    uint64_t wait_sequence;
    struct lane_bell space; /* the owner waits for room, or for a part to be taken */
    struct lane_bell parts; /* a taker waits for a part */
    uint8_t pad3[32];
};

struct lane_header {
    uint64_t magic;
    uint32_t lanes;
    uint32_t entries;
    uint64_t ring_bytes;
    uint64_t part_bytes;
    uint64_t block_bytes; /* of each lane, its last */
    uint64_t lane_offset, lane_stride;
    int64_t maxsize;
    /* Changes rarely. */
    uint32_t lanes_used; /* lanes from 0 on that ever had an owner */
    uint32_t polled;     /* somebody asked for the descriptor: keep a byte in the pipe per item */
    uint32_t uncounted;  /* the pipe was full: some READY records have no byte in it */
    uint32_t shut;       /* 1: no more puts; 2: nor gets */
    uint8_t pad0[48];
    struct lane_bell items;
    uint8_t pad1[56];
    struct lane_bell room;
    uint8_t pad2[56];
    struct lane_bell joined;
    uint64_t finished;  /* task_done() so far */
    uint32_t admitting; /* identity of who counts and reserves; stolen from the dead */
    uint32_t pad3;
    uint8_t pad4[32];
    uint32_t generations[LANE_CELLS];
};

struct lane_options {
    uint32_t lanes;
    uint64_t lane_bytes;  /* for records; a power of two */
    uint64_t block_bytes; /* for large buffers */
    int64_t maxsize;      /* 0 or less: none */
};

/* This process's hold on a queue. */
struct lane_queue {
    struct lane_header *header;
    struct lane_head *heads;
    uint8_t **maps; /* of the lanes mapped so far */
    int fd;         /* the shared file */
    int lock_fd;    /* a description of our own, -1 before the first put or get */
    int read_fd;    /* the pipe's, -1 when closed */
    int write_fd;
    uint32_t self;          /* our identity, 0 before the first put or get, and after fork */
    uint32_t mine;          /* our lane + 1 */
    uint32_t spin_ns;       /* learned */
    uint64_t tail_position; /* of our lane: nothing before it is in use */
    int64_t reaped_ns;      /* when we last looked for the dead */
    uint32_t holds;         /* handles that share this */
    uint32_t started;       /* a feeder thread exists */
    uint32_t feeding;       /* a feeder thread has items: whoever puts now puts behind them */
    pthread_mutex_t mutex;  /* our lane's writers, joining, mapping; never across a wait */
    pthread_mutex_t stream; /* one stream at a time; the one lock that is held across waits */
    struct lane_queue *next, *previous;
};

struct lane_piece {
    const void *data;
    size_t size;
};

/* What is to be put: pieces one after another. */
struct lane_record {
    const struct lane_piece *pieces;
    size_t count;
    uint64_t size;
    uint32_t flags;
    const uint32_t *blocks; /* that it names, ours so far */
    size_t block_count;
};

/* A record that we have taken and not finished. */
struct lane_item {
    struct lane_entry *entry;
    const uint8_t *data;
    uint64_t sequence;
    uint32_t lane;
    uint32_t size;
    uint32_t flags;
    struct lane_stream stream; /* with LANE_STREAM */
    uint32_t attempt;
};

/* lane_file.c */
int lane_create(const struct lane_options *options, int *fd);
int lane_open(int fd, int read_fd, int write_fd, struct lane_queue **queue);
void lane_hold(struct lane_queue *queue); /* one more handle; lane_close() ends each */
void lane_close(struct lane_queue *queue);
int lane_map(struct lane_queue *queue, uint32_t lane, uint8_t **map);
int lane_join(struct lane_queue *queue); /* a cell, if we have none */
int lane_own(struct lane_queue *queue);  /* a lane, if we have none; mutex held */
bool lane_alive(struct lane_queue *queue, uint32_t identity);

/* lane_put.c */
int lane_put(struct lane_queue *queue, const struct lane_record *record, bool reserve);
int lane_put_stream(struct lane_queue *queue, const struct lane_record *record, bool reserve,
                    int (*interrupted)(void *), void *user);
int lane_wait_space(struct lane_queue *queue, int64_t deadline_ns, int64_t spin_ns);
int lane_admit(struct lane_queue *queue, bool bounded); /* reserve a place: -EAGAIN if full */
void lane_forgo(struct lane_queue *queue);              /* give the place back */
int lane_wait_room(struct lane_queue *queue, int64_t deadline_ns);

/* lane_take.c */
int lane_take(struct lane_queue *queue, struct lane_item *item);
void lane_finish(struct lane_queue *queue, struct lane_item *item);
void lane_uncount(struct lane_queue *queue); /* takes a byte from the pipe */
void lane_give_back(struct lane_queue *queue, struct lane_item *item);
int lane_copy_stream(struct lane_queue *queue, struct lane_item *item, uint8_t *buffer,
                     uint64_t *done, int64_t deadline_ns);
bool lane_any(struct lane_queue *queue);
bool lane_any_announced(struct lane_queue *queue); /* also what the pipe says is about to come */
int lane_wait_item(struct lane_queue *queue, int64_t deadline_ns);
void lane_reap(struct lane_queue *queue);
int lane_poll_on(struct lane_queue *queue); /* from now on the pipe has a byte per item */

/* lane_block.c */
struct lane_block *lane_blocks(const struct lane_queue *queue, uint32_t lane);
void lane_adopt_blocks(struct lane_queue *queue, uint32_t lane);
int lane_take_block(struct lane_queue *queue, uint64_t size, uint32_t *index, uint8_t **data);
void lane_drop_block(struct lane_queue *queue, uint32_t identity, uint32_t index);
void lane_fill_block(struct lane_queue *queue, uint32_t index, uint64_t sequence);
uint8_t *lane_lease_block(struct lane_queue *queue, uint32_t lane, uint64_t index, uint64_t size);
void lane_return_block(struct lane_queue *queue, uint32_t identity, uint32_t lane, uint32_t index);

/* lane_count.c */
uint64_t lane_tail(struct lane_queue *queue, uint32_t lane);
int64_t lane_size(struct lane_queue *queue, int64_t enough);
int64_t lane_unfinished(struct lane_queue *queue);
int lane_task_done(struct lane_queue *queue);
int lane_wait_joined(struct lane_queue *queue, int64_t deadline_ns);
void lane_shut(struct lane_queue *queue, bool immediate);

#endif
