/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shared-memory format: what lies where in the two objects of a ring. No logic.
 *
 * data (written by the producer alone, others map it read-only):
 *
 *     struct slr_data        geometry and schema, fixed at creation, then the producer's words
 *     slot headers           tensor rings only; header(i) = H + i * hs
 *     payload area           payload(i) = P + i * ps; mapped twice back to back
 *
 * control (written by every member, trusted by none):
 *
 *     struct slr_control     wake words, counters, dead letters
 *     cells[members_max]     one per member: liveness, gating sequence
 *     groups[groups_max + members_max]   named groups: word, name, options, position; the first
 *                            groups_max are of many (lease table = index), the rest groups of one
 *     holds[hold_max]        overwrite tensor rings: which slots readers hold
 *     leases[groups_max][slots]      one table per group of many
 *     releases[releases_max][slots]  one table per unordered consumer
 *
 * Slots. The *stamp* of slot s & mask is s once sequence s is published, and is compared by signed
 * distance. Creation stamps each slot with the sequence one lap before its first. A slot that is
 * being written carries s - 1, which belongs to no message of that slot: not yet s, no longer the
 * lap before. Tensor headers have a second word, `payload_sequence`: the sequence whose message lies
 * in the payload. Stamp s with another payload sequence means s was passed over. (Of a pair header
 * nobody reads it.)
 *
 * Words of control are read with the suspicion that a hostile member wrote them: indices are
 * masked or compared with the private copy of the geometry, sequences are clamped, loops bounded.
 *
 * Memory orders. An operation that is not relaxed names its edge from this table or from that of
 * base/sequence.h (SLEEP, COPY, ONCE):
 *
 * edge      writer, then                             reader, then                      protects
 * INIT      fields of data and control;              magic (acquire); fields           a half-made segment
 *           magic (release)                                                            is never used
 * PUBLISH   header words, payload;                   stamp (acquire); payload          slot content
 *           stamp (release)
 * CURSOR    stamps; cursor (release)                 cursor (acquire); payload         a batch by one load
 * RELEASE   payload reads; released or position      gate scan (acquire);              a slot being read
 *           (release)                                payload writes                    is not overwritten
 * JOIN      cell or group word live; full fence;     limit; full fence;                a joiner is never
 *           limit                                    gate scan                         overrun
 * GROUP     payload reads; lease done (CAS)          lease (acquire); position (CAS)   position passes
 *                                                                                      finished slots only
 * OWN       lease taken (CAS); full fence;           cell evicted (CAS); full fence;   a message is not taken
 *           cell word                                leases                            by one just evicted
 * REAP      reaper's CAS on words that carry         the same                          one death is undone
 *           {cell, generation}                                                         once
 * HOLD      hold word, holds_exist; full fence;      payload sequence marked;          a held payload is not
 *           payload sequence                         full fence; holds_exist           overwritten
 * CLAIM     payload sequence or stamp invalid;       payload reads; acquire fence;     an overwritten payload
 *           release fence; payload writes            the same word again               is noticed
 * TAKEOVER  the dead producer's stores;              lock taken, producer word         the new producer sees
 *           kernel drops its lock                    (acquire); stamps                 what the old one did
 * LEND      claims, headers; lent, or device_next    the same (acquire); claims,       a handle that two
 *           (release)                                stamps, cursor                    threads use in turn
 *
 * All integers are little- or big-endian as the machine is (checked at open); no pointers, no
 * bit-fields, no access to one word in two sizes. Futex words are 32 bits of their own.
 */
#ifndef SLR_LAYOUT_H
#define SLR_LAYOUT_H

#include <slipring/tensor.h>

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define SLR_MAGIC_DATA UINT64_C(0x474e495250494c53)    /* "SLIPRING" */
#define SLR_MAGIC_CONTROL UINT64_C(0x4c52544350494c53) /* "SLIPCTRL" */
#define SLR_LAYOUT_VERSION 2u
#define SLR_ENDIAN UINT32_C(0x01020304)

#define SLR_LINE 64u /* cache line; a stamp and what it publishes share one in compact rings */
#define SLR_PAD 128u /* words of different writers: adjacent-line prefetchers fetch pairs */
#define SLR_DATA_HEADER 8192u
#define SLR_CONTROL_HEADER 8192u
#define SLR_COMPACT_BYTES 56u
#define SLR_PAIR_BYTES 192u
#define SLR_TENSOR_ALIGN 256u /* of fields in tensor slots: what DLPack asks for */
#define SLR_MEMBERS_MAX 4094u
#define SLR_DEAD_LETTERS 64u
#define SLR_DELIVERIES_MAX 5u

/* Bytes of the control file that carry liveness locks (liveness.h), beside those of names.h. */
#define SLR_LOCK_PRODUCER 1u
#define SLR_LOCK_JOIN 3u  /* joining a named group */
#define SLR_LOCK_CELL 16u /* + index */

/* ---- data ---- */

struct slr_field {
    struct slipring_field field; /* 104 bytes */
    uint64_t offset;             /* in the slot's payload */
    uint64_t bytes;
};

/* Fixed at creation; `check` is XXH3 of all before it with itself left out. */
struct slr_geometry {
    uint32_t layout_version;
    uint32_t endian;
    uint8_t uuid[16];
    uint64_t data_bytes;    /* size of the object */
    uint64_t control_bytes; /* size of the other */
    uint64_t slots;
    uint64_t start_sequence;
    uint64_t header_offset; /* of slot 0's stamp line */
    uint64_t header_stride;
    uint64_t payload_offset; /* of slot 0's payload */
    uint64_t payload_stride;
    uint64_t area_offset; /* what is mapped twice: page-aligned, holds payload(0 .. slots-1) */
    uint64_t area_bytes;
    uint64_t slot_bytes;       /* payload that the schema uses */
    uint64_t stamp_in_header;  /* offset of the stamp in the header line: 56 in compact rings */
    uint32_t header_bytes;     /* 64 and the shapes and checksum behind it; compact: 0 */
    uint32_t shapes_in_header; /* offset of the shapes, 0 if fixed */
    uint32_t check_in_header;  /* offset of the checksum, 0 if none */
    uint32_t dims;             /* extents of all fields together */
    uint32_t geometry;         /* slipring_geometry, never AUTO */
    uint32_t full;
    uint32_t flags;
    uint32_t field_count;
    uint32_t members_max;
    uint32_t groups_max;   /* of many: lease tables */
    uint32_t releases_max; /* release tables */
    uint32_t hold_max;
    uint32_t lasting_count; /* groups made at creation, first in their part of the table */
    uint32_t pages;         /* slipring_pages obtained */
    uint64_t cells_offset, groups_offset, holds_offset, leases_offset, releases_offset;
    int64_t created_ns;  /* CLOCK_REALTIME, for display */
    int32_t creator_pid; /* for display */
    int32_t numa_node;
    struct slr_field fields[SLIPRING_FIELDS_MAX];
    uint64_t check;
};

/* state of the producer's word */
enum { SLR_PRODUCER_NONE = 0, SLR_PRODUCER_ATTACHED = 1, SLR_PRODUCER_CLOSED = 2 };
#define SLR_PRODUCER_EPOCH_SHIFT 8u
#define SLR_PRODUCER_STATE_MASK 0xffu

struct slr_data {
    _Atomic uint64_t magic; /* stored last (INIT) */
    uint64_t reserved;
    struct slr_geometry geometry;
    /* The producer's words, a pair of lines each. */
    _Alignas(SLR_PAD) _Atomic uint64_t cursor;   /* after the last published slot */
    _Alignas(SLR_PAD) _Atomic uint64_t limit;    /* may write up to here without looking */
    _Alignas(SLR_PAD) _Atomic uint64_t producer; /* epoch << 8 | state */
    _Atomic uint64_t devices; /* 1: a device may store stamps, which wakes nobody */
};

/* The header line of a pair or tensor slot; checksum and shapes follow it. */
struct slr_header {
    _Atomic uint64_t stamp;
    _Atomic uint64_t payload_sequence;
    _Atomic uint64_t bytes;
    _Atomic uint64_t tag;
    /* Running count of messages less the sequence, for exact gaps: constant while each slot is one
     * message. */
    _Atomic uint64_t messages_before;
    _Atomic uint64_t passed_before; /* running count of sequences passed over */
    _Atomic uint64_t timestamp_ns;
    _Atomic uint32_t messages;
    _Atomic uint32_t span; /* slots of the message; in its later slots SLR_SPAN_LATER | index */
};
#define SLR_SPAN_LATER UINT32_C(0x80000000)

/* A slot's payload sequence o while the producer looks whether it is held: o + 1 (section 2 of
 * hold.h). Distinct from s and s - 1 because a ring with holds has four slots or more. */

/* ---- control ---- */

struct slr_dead_letter {
    _Atomic uint64_t sequence;
    _Atomic uint64_t tag;
    _Atomic uint32_t group;
    _Atomic uint32_t cause;
    _Atomic uint64_t number; /* 1 + its place in the count; 0 while it is being written */
};

struct slr_control {
    _Atomic uint64_t magic; /* stored last (INIT) */
    uint32_t layout_version;
    uint32_t endian;
    uint8_t uuid[16];
    /* Consumers asleep: set by them, cleared by the producer as it wakes them. */
    _Alignas(SLR_PAD) _Atomic uint32_t consumers_waiting;
    _Alignas(SLR_PAD) _Atomic uint32_t consumers_wake; /* futex */
    /* The producer asleep. */
    _Alignas(SLR_PAD) _Atomic uint32_t producer_waiting;
    _Alignas(SLR_PAD) _Atomic uint32_t producer_wake; /* futex */
    _Alignas(SLR_PAD) _Atomic uint32_t holds_exist;
    _Alignas(SLR_PAD) _Atomic uint32_t cells_high; /* cells ever used are below; only grows */
    _Atomic uint32_t groups_high;                  /* the same for groups */
    _Atomic uint32_t orphaned;                     /* its name was removed */
    _Atomic uint32_t producer_pid;                 /* for display */
    _Atomic uint32_t reserved[2];
    _Atomic uint64_t dead_letters; /* count; the list holds the last SLR_DEAD_LETTERS */
    _Alignas(SLR_PAD) struct slr_dead_letter letters[SLR_DEAD_LETTERS];
};

/* Cell word: generation in bits 32..63, group index in 8..23 (SLR_NO_GROUP: none), kind in 4..7, state
 * in 0..3. It is one word, so that a cell's owner and its state change together. */
#define SLR_CELL_GENERATION_SHIFT 32u
#define SLR_CELL_GROUP_SHIFT 8u
#define SLR_CELL_KIND_SHIFT 4u
#define SLR_CELL_KIND_MASK 15u
#define SLR_CELL_STATE_MASK 15u
enum {
    SLR_CELL_FREE = 0,
    SLR_CELL_JOINING = 1,
    SLR_CELL_ACTIVE = 2,
    SLR_CELL_EVICTED = 3,
    SLR_CELL_RETIRED = 4 /* its owner is gone, and a device may still store its releases */
};
enum { SLR_KIND_ONE = 0, SLR_KIND_MANY = 1, SLR_KIND_READER = 2 /* overwrite: gates nothing */ };
#define SLR_NO_GROUP 0xffffu

struct slr_cell {
    _Atomic uint64_t released; /* gating sequence of a group of one; written by the owner alone */
    _Alignas(SLR_PAD) _Atomic uint64_t word;
    _Atomic uint64_t evict_after_ns; /* group of one: 0 gates for ever */
    _Atomic uint64_t joined_ns;      /* no patience runs out for what was before; RETIRED: since
                                      * when its owner was seen to be gone, 0 not yet */
    _Atomic uint64_t missed;
    _Atomic uint32_t pid;      /* for display */
    _Atomic uint32_t flags;    /* slipring_member_flag, for display */
    _Atomic uint32_t releases; /* 1 + its release table, 0 without */
    _Atomic uint32_t reserved;
    _Atomic uint32_t devices; /* 1: a device may store into its release table, which is looked at */
};

/* Group word: generation in bits 32..63, version in 8..31 (every change of state counts it up, so
 * that a late compare-and-swap fails), state in 0..7. */
#define SLR_GROUP_GENERATION_SHIFT 32u
#define SLR_GROUP_VERSION_SHIFT 8u
#define SLR_GROUP_VERSION_MASK 0xffffffu
#define SLR_GROUP_STATE_MASK 0xffu
enum { SLR_GROUP_FREE = 0, SLR_GROUP_SETUP = 1, SLR_GROUP_LIVE = 2, SLR_GROUP_ENDING = 3 };

struct slr_group {
    _Atomic uint64_t position;               /* gating sequence: all before it is finished */
    _Alignas(SLR_PAD) _Atomic uint64_t take; /* hint: all before it was taken at least once */
    _Atomic uint64_t redeliver;              /* hint: bumped when a lease became free again */
    _Alignas(SLR_PAD) _Atomic uint64_t word;
    _Atomic uint64_t owner; /* group of one: its member's generation << 32 | cell + 1; 0 none */
    _Atomic uint64_t evict_after_ns;
    _Atomic uint64_t dropped;
    _Atomic uint64_t redelivered;
    _Atomic uint64_t dead_letters;
    _Atomic uint32_t flags; /* SLIPRING_MANY */
    _Atomic uint32_t lasting;
    _Atomic uint64_t joined_ns; /* its first member did; 0 for what creation made */
    _Atomic uint64_t
        name[6]; /* 48 bytes, NUL-padded, in words so that it is never torn in a race */
};

/* Lease: deliveries in bits 0..2, state in 3..4, lap in 5..32 (28 bits), generation of the cell in
 * 33..51 (19 bits), cell in 52..63. A word of an earlier lap reads as: not yet taken. */
enum { SLR_LEASE_FREE = 0, SLR_LEASE_TAKEN = 1, SLR_LEASE_DONE = 2 };
#define SLR_LEASE_DELIVERIES_MASK 7u
#define SLR_LEASE_STATE_SHIFT 3u
#define SLR_LEASE_STATE_MASK 3u
#define SLR_LEASE_LAP_SHIFT 5u
#define SLR_LEASE_LAP_BITS 28u
#define SLR_LEASE_LAP_MASK ((UINT64_C(1) << SLR_LEASE_LAP_BITS) - 1)
#define SLR_LEASE_GENERATION_SHIFT 33u
#define SLR_LEASE_GENERATION_BITS 19u
#define SLR_LEASE_CELL_SHIFT 52u
#define SLR_LEASE_CELL_MASK 0xfffu

/* Release: as the lease of a message that this cell has finished at the first delivery. Stored
 * plainly, by the owner alone (a device may): counts only if cell, generation and lap agree. */

/* Hold: slot index in bits 0..32, generation of the cell in 33..51, cell + 1 in 52..63 (0: free).
 * While any hold names a slot the producer leaves its payload, so the slot alone is enough. */
#define SLR_HOLD_INDEX_BITS 33u
#define SLR_HOLD_GENERATION_SHIFT 33u
#define SLR_HOLD_CELL_SHIFT 52u

_Static_assert(sizeof(struct slr_field) == 120, "layout");
_Static_assert(sizeof(struct slr_header) == 64, "layout");
_Static_assert(sizeof(struct slr_data) <= SLR_DATA_HEADER, "layout");
_Static_assert(sizeof(struct slr_control) <= SLR_CONTROL_HEADER, "layout");
_Static_assert(sizeof(struct slr_cell) == 2 * SLR_PAD, "layout");
_Static_assert(sizeof(struct slr_group) == 3 * SLR_PAD, "layout");
_Static_assert(offsetof(struct slr_control, consumers_wake) -
                       offsetof(struct slr_control, consumers_waiting) ==
                   offsetof(struct slr_control, producer_wake) -
                       offsetof(struct slr_control, producer_waiting),
               "slipring_fast_wake() finds the one by the other");
_Static_assert(offsetof(struct slr_header, payload_sequence) == 8, "inline.h");
_Static_assert(offsetof(struct slr_header, bytes) == 16, "inline.h");
_Static_assert(offsetof(struct slr_header, tag) == 24, "inline.h");
_Static_assert(offsetof(struct slr_header, messages_before) == 32, "inline.h");
_Static_assert(offsetof(struct slr_header, passed_before) == 40, "inline.h");
_Static_assert(offsetof(struct slr_header, timestamp_ns) == 48, "inline.h");
_Static_assert(offsetof(struct slr_header, messages) == 56, "inline.h");
_Static_assert(offsetof(struct slr_header, span) == 60, "inline.h");
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2 && ATOMIC_INT_LOCK_FREE == 2, "lock-free atomics");

#endif
