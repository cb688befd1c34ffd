/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The struct behind struct slipring_cuda, and what its files share.
 *
 * What is locked is cut into pieces beforehand: the head of the data object with the slot headers, the
 * payload area in chunks of whole slots and whole pages, the release words. A copy is cut at the
 * same places, so that none straddles two registrations, whether they are locked by then or not.
 */
#ifndef SLR_CUDA_PART_H
#define SLR_CUDA_PART_H

#include "driver.h"
#include "device.h"

#include <pthread.h>
#include <stdbool.h>

enum slr_cuda_piece_state {
    SLR_PIECE_WAITING,
    SLR_PIECE_OURS,
    SLR_PIECE_FOREIGN,
    SLR_PIECE_REFUSED
};

struct slr_cuda_piece {
    uint8_t *start;
    uint64_t bytes;
    uint64_t address; /* the device's; once locked */
    enum slr_cuda_piece_state state;
};

/* Views whose release was handed to streams (helper.c). */
struct slr_cuda_member { /* a consumer with such views, or that had some */
    struct slr_cuda_member *next;
    struct slipring_consumer *consumer; /* kept */
    uint64_t pending;                   /* releases, of both kinds */
    uint64_t stores;                    /* of these, with stores by the device: announced while
                                         * not 0 */
    bool announced;
    bool strays; /* a store may come of which we would not learn: the cell is given up */
};

struct slr_cuda_release {
    struct slr_cuda_release *next;
    struct slr_cuda_member *member;
    struct slipring_view view;
    slr_cu_context context;
    slr_cu_event event;  /* recorded after the copies, before the stores; or behind what there is of
                          * stores that were refused */
    bool by_device;      /* all its stores are on the stream: done when they are seen */
    bool stores;         /* some may be */
    unsigned errors;     /* of the event, one after another */
    bool calls;          /* a host function will say when */
    _Atomic bool called; /* it did */
    struct slipring_cuda *cuda;
    struct slipring_word *words; /* by_device: view.slots of them */
};

/* A claim handed to a stream, from then until its slots are stamped (producer.c). */
struct slr_cuda_claim {
    struct slr_cuda_claim *next;
    uint64_t ticket; /* what the stream waits for, in *granted */
    uint64_t sequence, claimed, published;
    struct slipring_slot *headers; /* copies, for as long as it is not granted; or NULL */
    int64_t *shapes;
    slr_cu_context context;
    slr_cu_event event; /* recorded after the copies, by publish or abort */
    unsigned errors;
    uint64_t stores; /* of stamps, by the device */
    bool granted, aborted, lost, stamped;
};

struct slipring_cuda {
    struct slipring_ring *ring;
    struct slipring_memory memory;
    const struct slr_cuda_driver *driver;
    int device; /* the driver's handle */
    slr_cu_context context;
    uint64_t budget_bytes, chunk_bytes;
    int32_t ordinal;
    struct slipring_cuda *next; /* in the process's list (register.c) */

    /* pieces: the head, then chunks of the area, then the release words */
    struct slr_cuda_piece *pieces;
    uint32_t piece_count, chunk_count;

    pthread_mutex_t mutex; /* of what follows, and of the pieces' state and address */
    pthread_cond_t changed;
    pthread_t thread;
    bool running, stop, unprotected;
    enum slipring_cuda_state state;
    int code; /* why not all is locked */
    struct slipring_error reason;
    uint64_t total_bytes, locked_bytes, foreign_bytes;
    int64_t longest_stall_ns, locking_ns;

    /* releases on streams */
    bool stores; /* the device can store 64 bits from a stream */
    pthread_t helper;
    bool helping, helper_stop;
    int bell; /* an eventfd that wakes it */
    struct slr_cuda_member *members;
    struct slr_cuda_release *releases;
    uint64_t pending;
    uint64_t stale_told, lost_told; /* by drain */
    uint64_t stale,
        lost; /* releases so far whose copies were void; that the context was lost under */
    /* claims on streams */
    struct slipring_producer *producer; /* lent to us, or NULL */
    struct slr_cuda_claim *claims;      /* the oldest first */
    struct slr_cuda_claim *open;        /* the newest, if it is not published yet */
    /* a kernel that reads (reader.c) */
    struct slipring_consumer *reader;
    uint64_t *reader_words; /* a page of our own: the reader's count, and its abort word */

    uint64_t next_sequence, tickets;
    uint64_t *granted; /* a page of our own: the last ticket granted; streams wait for it */
    uint64_t granted_address;

    slr_cu_event *events; /* spare ones */
    uint32_t event_count, event_room;
};

/* Half of what this process may have: the machine's memory, or its cgroup's limit if that is less
 * (budget.c). proc and cgroup: where those file systems are mounted. */
uint64_t slr_cuda_budget(const char *proc, const char *cgroup);

/* The piece that an address of the data object lies in. */
struct slr_cuda_piece *slr_cuda_piece_of(const struct slipring_cuda *cuda, const void *host);

/* The device's address of a release word; false if it is not locked. mutex is held. */
bool slr_cuda_word(const struct slipring_cuda *cuda, const void *word, uint64_t *address);

/* Page-lock in the background (pin.c): cut into pieces, begin, end and give back. */
int slr_cuda_pin_plan(struct slipring_cuda *cuda, struct slipring_error *error);
int slr_cuda_pin_begin(struct slipring_cuda *cuda, struct slipring_error *error);
void slr_cuda_pin_end(struct slipring_cuda *cuda);

/* The context of a stream, current on this thread from here to slr_cuda_leave(); refused where the
 * stream is being captured. */
int slr_cuda_enter(struct slipring_cuda *cuda, slr_cu_stream stream, slr_cu_context *context,
                   const char *call, struct slipring_error *error);
void slr_cuda_leave(struct slipring_cuda *cuda);

/* The helper (helper.c): started by the first release on a stream. mutex is held. */
int slr_cuda_help(struct slipring_cuda *cuda, struct slipring_error *error);
/* Waits for what is pending, and ends the helper. */
void slr_cuda_help_end(struct slipring_cuda *cuda);
/* What the helper does for claims: grant, see stamped. Did anything come? mutex is held. */
bool slr_cuda_produce(struct slipring_cuda *cuda);
void slr_cuda_produce_end(struct slipring_cuda *cuda);
/* Count what a kernel has released, for it and the producer; is there one? mutex is held. */
bool slr_cuda_count_reader(struct slipring_cuda *cuda);
/* Abort the open claim, if there is one. mutex is held. */
void slr_cuda_give_up(struct slipring_cuda *cuda);
/* Copies between a field's slots and the device, cut where a chunk or the ring ends. */
struct slr_cuda_copy {
    uint64_t first;  /* slot's index */
    uint64_t slots;  /* rows */
    uint64_t offset; /* in the slot's payload */
    uint64_t width;  /* bytes of a row */
    uint64_t bytes;  /* of one row after the other, where they lie so; else 0 */
    uint64_t device;
    bool to_host;
};
int slr_cuda_copy_all(struct slipring_cuda *cuda, const struct slr_cuda_copy *copy,
                      slr_cu_stream stream, struct slipring_error *error);
/* An event to record, and back to the spare ones. The context is current, mutex is held. */
int slr_cuda_event_take(struct slipring_cuda *cuda, slr_cu_context context, slr_cu_event *event);
void slr_cuda_event_give(struct slipring_cuda *cuda, slr_cu_context context, slr_cu_event event);
/* Wake it. Calls nothing of CUDA: host functions may. */
void slr_cuda_ring(int bell);

#endif
