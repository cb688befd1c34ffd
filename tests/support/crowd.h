/* SPDX-License-Identifier: Apache-2.0 */
/* The people of a stress run: the bodies of its processes, and what they share with the parent. */
#ifndef CROWD_H
#define CROWD_H

#include "stress.h"

struct crowd_shared {
    _Atomic uint32_t stop;
    _Atomic uint64_t messages; /* published; right only if no producer was killed */
    _Atomic uint64_t quota;    /* the producer stays below it: the two arrays are a window */
    /* What workers have in hand: slots << 56 | sequence - start + 1. */
    _Atomic uint64_t hands[STRESS_WORKERS][STRESS_IN_HAND];
    _Atomic uint8_t begun[STRESS_WINDOW], done[STRESS_WINDOW]; /* work on it: how often */
};

struct crowd {
    const struct stress *how;
    struct slipring_ring *ring;
    struct crowd_shared *shared;
    uint64_t seed;
    unsigned worker; /* a worker's number */
    bool first;      /* this process was there before the producer and sees everything */
    int64_t begin;   /* of the run */
};

/* The context is a struct crowd. */
int crowd_produce(struct proc *self, void *context);
int crowd_read(struct proc *self, void *context);
int crowd_work(struct proc *self, void *context);
int crowd_visit(struct proc *self, void *context);

#endif
