/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the stand-in driver share. */
#ifndef STANDIN_INNER_H
#define STANDIN_INNER_H

#include "standin.h"

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

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

/* The driver's page of memory that is handed on. */
#define STANDIN_PAGE (UINT64_C(1) << 16)
#define STANDIN_MEMORY_OFFSET                                                                      \
    (UINT64_C(1) << 61) /* from the host's to the device's own addresses */

/* The device may use memory from now on, or no longer. */
int standin_give(uint8_t *start, size_t bytes);
void standin_withdraw(const uint8_t *start, size_t bytes);
int standin_devices_now(void);

/* A potentially unsafe call of a thread that does not stay out of captures: 900, and they are void. */
int standin_unsafe(void);

/* A kernel by its name, with the size of each of its parameters, 0 after the last; or NULL. */
#define STANDIN_PARAMETERS 4
struct standin_kernel {
    const char *name;
    void (*run)(void *const *parameters);
    size_t sizes[STANDIN_PARAMETERS + 1];
};
const struct standin_kernel *standin_kernel(const char *name);

void *standin_stream_entry(const char *name);
void *standin_memory_entry(const char *name);

#ifdef __cplusplus
}
#endif
#endif
