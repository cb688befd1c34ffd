/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the stand-in driver share. */
#ifndef STANDIN_INNER_H
#define STANDIN_INNER_H

#include "standin.h"

#include <stddef.h>

/* What this call shall return instead of running: an injected fault, the lost context, no context
 * current; 0 to go on. */
int standin_enter(const char *function, bool needs_context);

/* Is a range wholly inside one registration (1), wholly outside all (0), or neither (-1)? */
int standin_range(const void *start, size_t bytes);

/* Now, under no lock of the caller's: the host's memory of a device's range, or NULL. */
void *standin_translate(uint64_t address, uint64_t bytes);

int standin_lost(void); /* the lost context's error, 0 */

/* Lose the context from within an operation. */
void standin_fault(int code);

/* Wake every stream that looks at a word or at whether it may run. */
void standin_stir(void);
/* The context is lost: wait until no operation runs, and drop those that never will. */
void standin_settle(void);

void *standin_stream_entry(const char *name);

#endif
