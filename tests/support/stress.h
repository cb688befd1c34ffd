/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stress engine: one producer, broadcast readers, the members of a work-sharing group and
 * visitors (visit.h), each a process, at full speed over one ring; a variant is a few lines of
 * struct stress. The payload carries its sequence in every word, the header its tag. What must come
 * out:
 *
 *     every reader    each sequence once and in order, or the exact gap in `overwrite`; all whole
 *     the group       each sequence at least once, and once only unless somebody was killed with it
 *     the end         whoever was not killed reads up to the producer's close
 *
 * With kills, the parent kills a random one with -9 every few milliseconds and starts another in
 * its place; the first reader and the first worker are spared, so that one saw all. The ring is
 * never reset, and afterwards nothing of it is used up.
 */
#ifndef STRESS_H
#define STRESS_H

#include "proc.h"

enum { STRESS_WINDOW = 1 << 21, STRESS_IN_HAND = 4, STRESS_WORKERS = 16 };

struct stress {
    const char *name;
    uint32_t geometry, full;
    uint64_t bytes, slots, start_sequence;
    uint32_t flags;            /* slipring_ring_flag, besides what `variable` asks for */
    uint64_t batch;            /* slots claimed at a time: 1 to this; 0 means 1 */
    unsigned readers, workers; /* processes; workers share one group of many */
    unsigned visitors;         /* processes that come and go */
    unsigned members;          /* that the ring has room for; 0: 32 */
    unsigned tables;           /* for groups of many and for unordered ones; 0: the default */
    bool unordered;            /* readers */
    bool hold;                 /* overwrite tensor: readers hold instead of copying */
    bool spanning;             /* some messages are larger than a slot */
    bool variable;             /* shapes vary; a tensor ring */
    bool kill_consumers, kill_producer;
    bool bury; /* nobody is started in place of the killed */
    bool soak; /* whoever is there for the whole run must take no more at its end than early on */
    unsigned run_ms;
    uint64_t kills; /* not 0: so many and no more, fast, and kill also who begins */
};

#define STRESS_COMPACT .geometry = SLIPRING_GEOMETRY_COMPACT, .bytes = 56, .slots = 64
#define STRESS_PAIR .geometry = SLIPRING_GEOMETRY_PAIR, .bytes = 128, .slots = 64
#define STRESS_TENSOR .geometry = SLIPRING_GEOMETRY_TENSOR, .bytes = 1024, .slots = 16

/* What the ring of a variant is made with (field is the schema, where shapes vary), and the ring,
 * anonymous. With visitors it has the lasting groups that they join. */
void stress_config(const struct stress *how, struct slipring_config *config,
                   struct slipring_field *field);
struct slipring_ring *stress_create(const struct stress *how);

/* Claim (deadline 0: try to) and publish what the variant asks for. What claim or publish returned;
 * *messages is how many were published. */
int stress_publish(const struct stress *how, struct slipring_producer *producer, uint64_t *random,
                   int64_t deadline_ns, uint64_t *messages);

/* Is the view, or the copy, as published? Of a view that was overwritten this may be any, and what
 * it reads lies in the ring. */
bool stress_whole(const struct stress *how, const struct slipring_view *view);

/* Run a variant and judge it; what was found is printed. */
void stress_run(const struct stress *how, uint64_t *random);

int stress_main(const struct stress *variants, size_t count);
#define STRESS_MAIN(variants)                                                                      \
    int main(void)                                                                                 \
    {                                                                                              \
        return stress_main(variants, sizeof(variants) / sizeof((variants)[0]));                    \
    }

#endif
