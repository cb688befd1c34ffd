/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What tests with several processes share: children with a pipe of words each way (their
 * barriers), deadlines, kills and freezes, a payload that tells its sequence and whether it is
 * whole, and the rings and members that stories loop over.
 */
#ifndef PROC_H
#define PROC_H

#include "test.h"

#include <slipring/slipring.h>

#include <stdbool.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- time and chance ---- */

/* End the test, and with it its children, after so many seconds. Call first. */
void proc_begin(unsigned seconds);
/* Move to a /dev/shm that only this process and its children see, where that is permitted: whoever
 * lists rings removes the litter of all. For tests that plant some or count what there is; before
 * any thread. */
void proc_alone(void);
/* The seed of this run, printed: from the environment's SLIPRING_SEED, or the clock. */
uint64_t proc_seed(void);
uint64_t proc_random(uint64_t *state);

#define PROC_MS INT64_C(1000000)
int64_t proc_in_ms(int64_t ms); /* a deadline */
void proc_pause_us(int64_t us);

/* The promises of the design (a producer goes on within 20 ms of a death, a waiter notices within
 * 100 ms) with the factor of ten that tests allow. */
#define PROC_GO_ON_MS 200
#define PROC_NOTICE_MS 1000

/* Run on the i-th processor that the test may use (again from the first, if there are fewer), so
 * that the two sides of a race run at the same time. */
void proc_pin(unsigned i);

/* ---- children ---- */

struct proc {
    pid_t pid; /* 0 in the child */
    int in, out;
};

/* Fork a child that runs body(self, context) and exits with what it returns. It dies with the
 * test. Its handles are the parent's and of no use to it; ring handles it may use. */
struct proc proc_start(int (*body)(struct proc *self, void *context), void *context);
void proc_tell(const struct proc *other, uint64_t word);
uint64_t proc_hear(const struct proc *other); /* fails the test if the other is gone */
bool proc_silent(const struct proc *other, int64_t ms);
void proc_sleep(void) __attribute__((noreturn)); /* until killed */
void proc_kill(struct proc *child);              /* SIGKILL; returns when it is dead */
void proc_stop(const struct proc *child);        /* SIGSTOP; returns when it is stopped */
void proc_continue(const struct proc *child);
void proc_end(struct proc *child); /* it must exit 0 */

/* Zeroed memory that children share; proc_unshare() gives it back. */
void *proc_share(size_t bytes);
void proc_unshare(void *memory, size_t bytes);

/* ---- payload ---- */

/* bytes is a multiple of 8. Every word depends on the sequence, the first one is it. */
void pattern_fill(void *data, uint64_t bytes, uint64_t sequence);
bool pattern_whole(const void *data, uint64_t bytes, uint64_t sequence);

/* ---- rings ---- */

/* One way to make and read a ring; stories loop over proc_rings[]. */
struct proc_ring {
    const char *name;
    uint32_t geometry, full;
    uint64_t bytes;        /* of payload */
    uint32_t member_flags; /* SLIPRING_UNORDERED or 0 */
};

extern const struct proc_ring proc_rings[];
#define PROC_RINGS 9u      /* three geometries, each block ordered, block unordered, overwrite */
#define PROC_GEOMETRIES 3u /* proc_rings[3 * i] is the ordered block ring of each */

void proc_config(const struct proc_ring *how, struct slipring_config *config);
struct slipring_ring *proc_create(const struct slipring_config *config); /* anonymous */
struct slipring_ring *proc_make(const struct proc_ring *how, uint64_t start_sequence);
struct slipring_info proc_info(struct slipring_ring *ring);
bool proc_holds(const struct proc_ring *how); /* can acquire: not compact or pair overwrite */

struct slipring_producer *proc_producer(struct slipring_ring *ring);
struct slipring_consumer *proc_consumer(struct slipring_ring *ring, const struct proc_ring *how,
                                        uint32_t start);
/* A member of a group; flags e.g. SLIPRING_MANY. evict_ms 0: gates. */
struct slipring_consumer *proc_member(struct slipring_ring *ring, const char *group, uint32_t flags,
                                      int64_t evict_ms);

/* Claim n slots, fill each by its sequence, publish with tag = sequence and messages = 1 + a
 * number made of it (not in compact rings). What claim or publish returned. */
int proc_publish(struct slipring_producer *producer, const struct proc_ring *how, uint64_t n,
                 int64_t deadline_ns);
uint32_t proc_messages(uint64_t sequence);
/* Of all sequences from, up to and without to; in compact rings each is one. */
uint64_t proc_messages_of(const struct proc_ring *how, uint64_t from, uint64_t to);
/* Publish single slots until try_claim has none; how many. */
uint64_t proc_fill(struct slipring_producer *producer, const struct proc_ring *how);

/* Are all slots of a view as published? */
bool proc_view_whole(const struct proc_ring *how, const struct slipring_view *view);
/* Acquire, check and release (or copy and check) the next message; what acquire returned. */
int proc_take(struct slipring_consumer *consumer, const struct proc_ring *how,
              struct slipring_view *view, int64_t deadline_ns);
/* Take until something else than 0 comes, and return that; *count is raised by the takes. */
int proc_drain(struct slipring_consumer *consumer, const struct proc_ring *how, uint64_t *next,
               uint64_t *count);

#ifdef __cplusplus
}
#endif
#endif
