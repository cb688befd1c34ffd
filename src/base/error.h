/* SPDX-License-Identifier: Apache-2.0 */
/* Filling struct slipring_error, and the log. */
#ifndef SLR_ERROR_H
#define SLR_ERROR_H

#include <slipring/common.h>

/* Fill error (NULL allowed) and return code, so that `return slr_fail(error, -EINVAL, "create",
 * "slots is %u: must be ...", n)` reads as one step. call: the function or system call. */
__attribute__((format(printf, 4, 5))) int slr_fail(struct slipring_error *error, int code,
                                                   const char *call, const char *format, ...);

/* Tell the ring's log callback, if it has one. */
struct slr_log {
    slipring_log_fn fn;
    void *user;
};
__attribute__((format(printf, 3, 4))) void
slr_log(const struct slr_log *log, enum slipring_log_level level, const char *format, ...);

#endif
