/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A visit: join a ring as a consumer of a random kind (group of one or of many, lasting, evicting,
 * newest, unordered, by the inline calls, by poll, copying, holding, read-only), read for some
 * milliseconds, keep some views in hand, return them in any order that the kind allows, leave.
 *
 * Everything that a visitor is told is checked: results against what the headers allow, payload
 * against what was published, gaps against what was missed. In a ring whose control object somebody
 * scribbles over (`scribbled`) less can be promised: messages may be lost and results may be any
 * that the headers name. But no call may take long, no view may leave the ring, and
 * what was overwritten in a tensor ring is never returned without being told.
 */
#ifndef VISIT_H
#define VISIT_H

#include "stress.h"

struct visit {
    const struct stress *how;
    struct slipring_ring *ring;
    bool scribbled;
    struct visit_log *log; /* may be NULL */
    /* Before and after each call; may be NULL. With it calls may take long: a tracer walks them. */
    void (*mark)(const char *call, bool begins);
    unsigned role;   /* 1 to VISIT_ROLES_..., those without threads; 0: any */
    unsigned rounds; /* stay for so many acquires; 0: for some milliseconds */
};

enum { VISIT_ROLES_BLOCK = 13, VISIT_ROLES_OVERWRITE = 5 };

/* What visitors and others have done, for who watches them. */
struct visit_log {
    const char *_Atomic call;                     /* where it is, should it be stuck there */
    _Atomic uint64_t joined, refused, read, told; /* told: at its return, that it was overwritten */
};

/* The lasting groups that visitors join. */
enum { VISIT_LASTING = 2 };
extern const struct slipring_group visit_lasting[VISIT_LASTING];

/* false: the stream has ended. */
bool visit(const struct visit *visit, uint64_t *random);

/* Around a call that may take time: it is FAIL if it used too much of the processor, or came back
 * long after wait_ms. */
struct visit_clock {
    const char *call;
    int64_t cpu, wall;
};
struct visit_clock visit_begin(const struct visit *visit, const char *call);
void visit_end(const struct visit *visit, struct visit_clock begin, int64_t wait_ms);

#endif
