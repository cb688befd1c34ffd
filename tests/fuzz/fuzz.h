/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the fuzz targets share: rings in known states (rings.c), whose two objects an input changes
 * word by word, and the member that opens and uses what came of it (play.c).
 *
 * An input is a byte that chooses the ring, then records: a byte that says what to do, and its
 * arguments. corpus.txt holds some, in the names of the enums below; corpus.py translates.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include "ring/group.h"
#include "ring/handle.h"
#include "ring/members.h"
#include "ring/slot.h"

#include <slipring/slipring.h>

/* What must hold of every input; libFuzzer keeps the one that broke it. */
#define MUST(cond)                                                                                 \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            fuzz_broken(__FILE__, __LINE__, #cond);                                                \
        }                                                                                          \
    } while (0)
void fuzz_broken(const char *file, int line, const char *what) __attribute__((noreturn));

/* ---- rings.c ---- */

enum region {
    GEOMETRY,       /* and the magic before it */
    FIELDS,         /* and the checksum behind them */
    PRODUCER_WORDS, /* cursor, limit, producer */
    HEADERS,
    PAYLOAD,
    CONTROL_HEAD,
    CONTROL_WORDS, /* waiting, wake, ..., dead_letters */
    LETTERS,
    RELEASED, /* of the cells */
    CELLS,    /* the rest of them */
    GROUP_POSITIONS,
    GROUPS, /* the rest of them */
    HOLDS,
    LEASES, /* and release tables */
    REGIONS
};

/* Words that belong together: word i lies at offset + i / words % count * stride + i % words * 8. */
struct fuzz_region {
    bool control;
    uint64_t offset, stride, count, words;
};

enum { FUZZ_MEMBERS = 8, FUZZ_SEQUENCE = 1000 };

/* A ring in some state, its objects mapped apart from any handle, and copies to put back. Members
 * that are alive there are handles of this process, used no more; the others' locks are free. */
struct fuzz_ring {
    struct slipring_ring *handle; /* these three for good: they keep those alive who are */
    struct slipring_consumer *members[FUZZ_MEMBERS];
    struct slipring_producer *producer;
    int data_fd, control_fd;
    uint8_t *data, *control, *data_then, *control_then;
    struct slr_geometry geometry;
    struct fuzz_region regions[REGIONS];
};

uint32_t fuzz_rings(void); /* how many; makes them */
struct fuzz_ring *fuzz_ring(uint32_t index);
void fuzz_restore(struct fuzz_ring *ring);
_Atomic uint64_t *fuzz_word(struct fuzz_ring *ring, uint64_t region, uint64_t index);

/* ---- an input ---- */

/* What a record asks for; its arguments are in play.c. A ring, a producer or a consumer that an
 * action needs and is not there is made first. */
enum action {
    SET,         /* region, index, value */
    FLIP,        /* region, index, bit */
    ADD,         /* region, index, signed */
    NEAR_CURSOR, /* region, index, signed: what is added to the cursor */
    COPY_OF,     /* region, index, region, index */
    LOW_HALF,    /* region, index, value */
    HIGH_HALF,   /* region, index, value */
    SMALL,       /* region, index, value */
    CHECK_RIGHT, /* the geometry's checksum, as somebody would who made a geometry up */
    OPEN,        /* how */
    CLOSE,
    LOOK,
    NAMED, /* how */
    REAP,
    PRODUCE,
    STOP,    /* 7: close */
    CLAIM,   /* slots; 128 + slots waits */
    PUBLISH, /* slots, headers */
    SPAN,    /* headers */
    ABORT,
    PRODUCE_FAST, /* slots */
    JOIN,         /* consumer, flags, group and start */
    LEAVE,        /* consumer */
    ACQUIRE,      /* consumer, slots (127: as many as there are); 128 + slots waits */
    RELEASE,      /* consumer, view */
    COPY,         /* consumer, bytes */
    CONSUME_FAST, /* consumer, slots */
    EXPORT,       /* consumer, view and place */
    STAND,        /* consumer */
    ACTIONS
};

/* A change of one word. */
struct fuzz_edit {
    _Atomic uint64_t *word;
    uint64_t before, after;
};

enum { FUZZ_CONSUMERS = 4, FUZZ_VIEWS = 4, FUZZ_EXPORTS = 2 };

/* An input being played. */
struct play {
    const uint8_t *at, *end; /* the input's rest */
    struct fuzz_ring *ring;
    uint32_t next_ring;
    void (*edited)(const struct fuzz_edit *edit);
    bool steady;
    struct slipring_ring *open;
    struct slipring_producer *producer;
    struct slipring_loan loan;
    struct slipring_consumer *consumers[FUZZ_CONSUMERS];
    struct slipring_view views[FUZZ_CONSUMERS][FUZZ_VIEWS];
    unsigned view_count[FUZZ_CONSUMERS];
    struct DLManagedTensorVersioned *exports[FUZZ_EXPORTS];
};

/* Do what needs a producer, or a consumer (member.c); let go of all of them. */
void fuzz_produce(struct play *play, enum action action, const uint64_t arguments[4]);
void fuzz_consume(struct play *play, enum action action, const uint64_t arguments[4]);
void fuzz_let_go(struct play *play);

/* Play an input (play.c). edited: called for each change of a word, after it was made (NULL allowed).
 * steady: nobody else changes the objects meanwhile. */
void fuzz_play(const uint8_t *input, size_t size, void (*edited)(const struct fuzz_edit *edit),
               bool steady);

#endif
