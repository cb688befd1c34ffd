/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lets one system call of a marked section fail, or kills the process there.
 *
 * A victim is a forked child. It prepares, calls inject_begin(), does what is to be disturbed,
 * calls inject_end() and goes on undisturbed. Its calls in between are counted in the order in
 * which they begin, those of threads that it starts there too. Nothing is recorded beforehand: at
 * the call to be disturbed a table says which errors it may plausibly meet, so that a section whose
 * calls differ from run to run can be gone through as well.
 *
 * The call that fails is not made, except for close(), which Linux carries out whatever it returns.
 */
#ifndef INJECT_H
#define INJECT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum inject_how {
    INJECT_ERROR,
    INJECT_FOR_GOOD, /* and so do all calls of that kind after it; not EINTR and EAGAIN, which pass */
    INJECT_KILL_BEFORE,
    INJECT_KILL_AFTER
};

/* What is to be done, and what became of it. */
struct inject {
    enum inject_how how;
    uint32_t sample; /* of calls that only look at files, count one in so many; 0: all */
    uint32_t call;   /* which, from 0 */
    uint32_t error;  /* which of those that this call may meet, from 0 */

    bool met;  /* there is such a call */
    bool done; /* and such an error */
    const char *name;
    int code;   /* the error, as a positive number */
    int status; /* of the victim, as waitpid() gives it */
};

/* For the victim: both are no calls of the section. */
void inject_begin(void);
void inject_end(void);
/* A victim that is not traced has no section; it must not call the two above. */
bool inject_trace_me(void);

/* For the parent, right after the fork: run the victim to its end. */
void inject_run(pid_t pid, struct inject *inject);

/* May this process trace its children? (Some containers forbid it.) */
bool inject_possible(void);

#endif
