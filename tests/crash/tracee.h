/* SPDX-License-Identifier: Apache-2.0 */
/* What stepkill.c and record.c share: a stopped child, its registers, its next instruction. */
#ifndef TRACEE_H
#define TRACEE_H

#include "stepkill.h"

/* A fresh victim, stopped behind sk_begin()'s breakpoint. 0, or as sk_record(). */
int tracee_start(sk_victim victim, void *context, pid_t *child, int *status);

/* Go on by request until the next stop by `awaited` or SIGTRAP, whose signal is returned; other
 * signals are handed to the victim. -ESRCH: it ended, *status says how. */
int tracee_go(pid_t pid, long request, int awaited, int *status);

uint64_t tracee_pc(pid_t pid);
int tracee_set_pc(pid_t pid, uint64_t pc);

/* The victim makes a system call for us; its registers are as before when this returns. */
int tracee_call(pid_t pid, long number, uint64_t a, uint64_t b, uint64_t c);

/* Looks at the text of an instruction. */
bool tracee_is_call(uint64_t text);
bool tracee_is_clock(uint64_t text);

#endif
