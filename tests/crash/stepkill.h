/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stops a process after exactly N instructions of a marked section, to kill it there or to leave
 * it frozen while others go on.
 *
 * A victim is a function run in a forked child. It prepares, calls sk_begin(), does what is to be
 * interrupted, calls sk_end() and ends with _exit(). "Step N" is the state after N instructions
 * since sk_begin() returned control.
 *
 * sk_record() walks a section once, instruction by instruction, and notes every program counter
 * and what each instruction did to what is shared. sk_run_to() brings a fresh victim to one of
 * those steps. It does not walk all the way again: it runs at full speed to a breakpoint on an
 * instruction that the recording passed seldom before the step, and walks from there, so that N
 * steps cost about N runs and not N * N / 2 steps. All victims are forked from one process, so
 * addresses are the same in each; whether a run came to the recorded program counter is checked,
 * and one that did not is told to the caller.
 *
 * Steps that are alike. Of a process that is killed there remain the shared memory and what the
 * kernel keeps: two steps with neither SK_STORE nor SK_CALL between them leave the same. One that
 * is frozen and resumed meets the others only where it touches what is shared: two steps without
 * SK_TOUCH between them have the same outcome. So one step of each kind stands for all that are
 * like it; crash_toy compares that with stopping at every one.
 *
 * What it cannot show: memory order (a killed process's stores are all visible, in program order)
 * and sections in which the victim has several threads.
 */
#ifndef STEPKILL_H
#define STEPKILL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* What the instruction before a step did. */
enum sk_kind {
    SK_CALL = 1 << 0,  /* a system call */
    SK_STORE = 1 << 1, /* changed a byte of memory shared with others */
    SK_TOUCH = 1 << 2  /* either, or read such a byte, or the clock */
};

struct sk_trace {
    uint64_t *pc;     /* at step i */
    uint32_t *nth;    /* how often pc[i] was met up to and with i */
    uint32_t *anchor; /* the step to run to at full speed before walking to i */
    uint8_t *kind;
    void *memory;   /* of these four */
    uint32_t count; /* steps 0 .. count - 1; the last stands at sk_end() */
};

typedef void (*sk_victim)(void *context); /* must not return */

/* For the victim; a breakpoint, so both are fatal where nobody traces. */
void sk_begin(void);
void sk_end(void);

/* May this process trace its children? (Some containers forbid it.) */
bool sk_possible(void);

/* Walk the section once. 0; -EINVAL: the victim ended before sk_begin(), *status says how;
 * -errno. */
int sk_record(sk_victim victim, void *context, struct sk_trace *trace, int *status);
void sk_trace_free(struct sk_trace *trace);

/* Start a victim and stop it at a step, without a trace at its first one. *pid is a traced, stopped child. 0: at that step; 1: it
 * strayed from the recording and stands somewhere else in, or at the end of, the section;
 * negative errno: no victim is left, *status says how it ended. */
int sk_run_to(sk_victim victim, void *context, const struct sk_trace *trace, uint32_t step,
              pid_t *pid, int *status);

/* SIGKILL, reaped: all locks are dropped when this returns. */
void sk_kill(pid_t pid);
/* Let it go on and wait for its end: its wait status; -1 if it outlives the limit (and is killed). */
int sk_resume(pid_t pid, int64_t limit_ns);

#endif
