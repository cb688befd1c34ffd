/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ring that a victim is killed in, those who survive it, and what they must see: guarantees
 * I1 to I6, which README lists.
 *
 *     I1  a payload is delivered as it was published
 *     I2  a broadcast consumer sees each sequence once, in order, or is told the exact gap
 *     I3  a group processes each message at least once, exactly once if nobody died or was
 *         evicted holding it; what an evicting group drops, or gives up, is counted
 *     I4  survivors go on within the bound
 *     I5  no signal in a survivor (the driver sees to that)
 *     I6  nothing leaks: cells, holds, descriptors, files
 */
#ifndef WORLD_H
#define WORLD_H

#include <slipring/slipring.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define LOG_MAX 1024u /* sequences that one run may use */
#define SPAN 3u       /* slots of a message that spans */
#define MEMBERS_MAX 8u
#define GO_ON_NS INT64_C(1000000000)  /* fifty times 20 ms, of a machine that others use too */
#define NOTICE_NS INT64_C(5000000000) /* fifty times 100 ms */
#define JOIN_NS INT64_C(30000000000)  /* for who meets a process stopped in the middle of set-up */
#define LOOK_NS INT64_C(1000000)      /* between two looks: what is more, somebody else had */
#define EVICT_NS UINT64_C(1000000)
#define EXIT_STALE 42 /* of a victim that noticed its eviction */

enum { I1 = 1, I2, I3, I4, I5, I6, CLASSES };

/* Who wrote a message, in the order in which they may follow each other. */
enum { BY_SETUP = 1, BY_VICTIM, BY_SURVIVOR, AUTHORS };

struct variant {
    const char *name;
    uint32_t geometry, full;
    uint64_t bytes;
    uint64_t wrap; /* a sequence at which the ring wraps */
    bool rich;     /* slots with timestamp, checksum and shapes */
};

/* How full the ring is, and where. */
struct fill {
    const char *name;
    uint32_t eighths; /* of the ring are published and not yet read */
    uint32_t prefill; /* messages that were published and read before */
    uint64_t at;      /* sequence of the next but one message after those; 0 with wrap: 2^64 */
    bool wrap;        /* the variant's wrap instead */
};

/* What the driver, the worker and the victim share besides the ring. */
struct page {
    /* worker to driver */
    _Atomic uint32_t step, strayed, violations[CLASSES];
    _Atomic uint64_t steps, stops, cut;   /* of victims; stopped at; stood for by none */
    _Atomic uint64_t deaths, deaths_left; /* of victims before the victim; not tried */
    _Atomic int64_t slowest_ns;           /* of all waits for a death to be made good */
    /* victim to worker, made anew for each run */
    struct report {
        _Atomic int32_t rc; /* what the victim's call returned */
        _Atomic uint32_t note;
        _Atomic uint64_t published; /* sequence after the last that publish() returned 0 for */
        _Atomic uint8_t processed[LOG_MAX], releasing[LOG_MAX], released[LOG_MAX];
        _Atomic int32_t sleeper_rc;
        _Atomic uint32_t sleeper_ready;
        _Atomic uint64_t held; /* by a bystander: its first sequence */
    } report;
};

struct survivor {
    const char *name;
    struct slipring_consumer *consumer;
    uint64_t next;
};

/* Time that we may take, less what others had the processor, or the host the whole machine, while we
 * wanted it: of what passes from one look to the next, LOOK_NS count at most. */
struct patience {
    int64_t seen, spent;
    uint32_t tries;
};

struct op;

struct world {
    const struct variant *variant;
    const struct fill *fill;
    const struct op *op;
    struct page *page;
    bool freeze, went_on; /* frozen victims may have ended before the step */
    uint32_t step;
    uint64_t step_pc;
    struct slipring_ring *ring;
    char name[64];
    int64_t began_ns;
    uint64_t slots, start, end;         /* end: after the last sequence known to be published */
    struct slipring_producer *producer; /* the worker's own, NULL while the victim is it */
    struct survivor one, two;           /* ordered; unordered where the ring has those */
    struct survivor kept;               /* of the lasting group of one, when it is ours */
    struct slipring_consumer *member;   /* of the group "work" */
    uint8_t author[LOG_MAX];            /* of each sequence, as known so far */
    uint8_t done[LOG_MAX];              /* how often `member` finished it */
    bool passed[LOG_MAX], later[LOG_MAX], excused[LOG_MAX];
    pid_t sleeper, bystander;
    uint32_t others;      /* members that live on in other processes */
    uint64_t may_publish; /* messages that the victim may have made visible */
    bool stop;            /* this run cannot be judged further */
};

/* ---- reporting ---- */

/* Count and print a violation. */
__attribute__((format(printf, 3, 4))) void violate(struct world *w, int which, const char *format,
                                                   ...);
/* The test itself does not work: ends the process with code 3. */
_Noreturn __attribute__((format(printf, 2, 3))) void broken(const struct world *w,
                                                            const char *format, ...);

/* ---- messages ---- */

void payload_fill(void *data, uint64_t bytes, uint64_t sequence, unsigned author);
/* Whose it is; 0: nobody's, or torn. */
unsigned payload_author(const void *data, uint64_t bytes, uint64_t sequence);
bool world_has_headers(const struct world *w);
/* The header of that author's message of so many slots; shapes: room for them. */
struct slipring_slot message_header(const struct world *w, uint64_t sequence, unsigned author,
                                    uint64_t slots, int64_t shapes[2]);

/* ---- making (world.c) ---- */

void world_config(const struct world *w, struct slipring_config *config);
/* Make w->ring (anonymous unless w->name is set). */
void world_create(struct world *w);
/* Note how many slots w->ring has. */
void world_measure(struct world *w);
/* Make a ring with survivors, the prefill read. */
void world_make(struct world *w);
/* Begin a run: all but what the driver set is as new. */
void world_reset(struct world *w);
void world_drop(struct world *w);
struct slipring_consumer *world_join(struct world *w, uint32_t flags, const char *group,
                                     uint32_t start, bool evicts);
/* Do the members that are in the victim's place evict? */
bool world_evicts(const struct world *w);
bool world_copies(const struct world *w); /* its readers cannot acquire, only copy */
bool world_blocks(const struct world *w);
/* How many messages (slots, if they span) are pending when the victim starts. */
uint64_t world_pending(const struct world *w);
/* Index of a sequence in the logs. */
uint64_t world_at(struct world *w, uint64_t sequence);

/* Become producer within the bound. */
void world_take_over(struct world *w);
/* Publish n messages one by one, survivors reading whenever the ring is full. */
void world_publish(struct world *w, uint64_t n, unsigned author);
/* Publish without reading until the ring is full, or n; span: as messages of so many slots. */
uint64_t world_fill(struct world *w, uint64_t n, uint64_t span, unsigned author);

/* ---- reading (readers.c) ---- */

/* Read all that there is: what the last acquire returned. */
int survivor_drain(struct world *w, struct survivor *survivor);
int member_drain(struct world *w);
void world_drain(struct world *w);
/* Join the lasting group of one after its member's death, and judge where it stands. */
void kept_return(struct world *w);
/* Wait until the group finished all that was published, and judge I3. */
void member_settle(struct world *w);

/* ---- what may leak, and time ---- */

/* Descriptors open in this process. */
uint32_t count_fds(void);
/* Files of the ring's name in /dev/shm: also `.NAME.UUID`. */
uint32_t count_files(const char *name);
void nap(void);
/* Is it over, and were there tries enough? Start with a patience of zeros. */
bool over(struct patience *patience, int64_t limit_ns);
/* How long something took, for the report. */
void took(struct world *w, const struct patience *patience);

#endif
