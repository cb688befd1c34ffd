/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * What all of slipring's headers share: version, errors, the log, the clock.
 *
 * Every fallible function returns 0 (or a count) on success and a negative errno value on failure;
 * results come by out-parameter and are untouched on failure. Functions that end a handle return
 * void and accept NULL.
 */
#ifndef SLIPRING_COMMON_H
#define SLIPRING_COMMON_H

#include <stdint.h>

#define SLIPRING_VERSION_MAJOR 0
#define SLIPRING_VERSION_MINOR 1
#define SLIPRING_VERSION_PATCH 0

#define SLIPRING_API __attribute__((visibility("default")))
#define SLIPRING_CHECK __attribute__((warn_unused_result))

/** A deadline that never passes. All deadlines are CLOCK_MONOTONIC times in nanoseconds. */
#define SLIPRING_FOREVER INT64_MAX

#define SLIPRING_NAME_MAX 200 /**< bytes of a name, without the NUL */

#ifdef __cplusplus
extern "C" {
#endif

struct slipring_ring;
struct slipring_producer;
struct slipring_consumer;

/** Why a set-up call failed. Filled by the calls that take one; NULL is allowed everywhere. */
struct slipring_error {
    int code;       /**< the negative errno value that the call returned */
    char call[32];  /**< the function or system call that failed */
    char text[256]; /**< cause and cure, one line, no final full stop */
};

enum slipring_log_level { SLIPRING_LOG_ERROR = 0, SLIPRING_LOG_WARNING = 1, SLIPRING_LOG_INFO = 2 };

/**
 * Receives events that have no caller to tell, such as a reaped member or a damaged slot.
 * Called on the thread that met the event, never on a fast path; must not call slipring back.
 */
typedef void (*slipring_log_fn)(void *user, enum slipring_log_level level, const char *text);

/**
 * How a producer or consumer waits. While nobody is asleep, waking costs a publish or release neither a
 * system call nor a fence. In exchange, a thread that goes to sleep wakes up once after 50 to 100 us to
 * look again, which costs it some microseconds of processor time. After that it looks in steps of at most
 * 40 ms (a producer 4 ms), or when it is woken.
 */
enum slipring_wait {
    SLIPRING_WAIT_ADAPTIVE = 0, /**< spins for a bounded, learned time, then sleeps */
    SLIPRING_WAIT_SPIN = 1,     /**< never sleeps; for a processor of one's own */
    SLIPRING_WAIT_SLEEP = 2     /**< sleeps at once */
};

/** Flags of producers and consumers (one set of values, so that none can be mistaken). */
enum slipring_member_flag {
    SLIPRING_UNORDERED = 1 << 1,     /**< consumer: releases in any order, from any thread */
    SLIPRING_NEWEST = 1 << 2,        /**< consumer: each acquire returns the newest slot */
    SLIPRING_VERIFY = 1 << 3,        /**< consumer: checks each message's checksum on acquire */
    SLIPRING_INTERRUPTIBLE = 1 << 4, /**< a signal ends a wait with -EINTR */
    SLIPRING_AWAIT_PRODUCER = 1 << 5 /**< consumer: waits on through a producer's death */
};

/** The header of a message. Taken by publish; given by views. */
struct slipring_slot {
    uint64_t sequence;    /**< of its first slot; publish ignores it */
    uint64_t bytes;       /**< used; publish: 0 for all that the schema names */
    uint64_t tag;         /**< the user's own */
    int64_t timestamp_ns; /**< when it was published, CLOCK_MONOTONIC, 0 if not asked for */
    uint32_t messages;    /**< messages that the user counts in it; publish: 0 means 1 */
    uint32_t deliveries;  /**< in a group of many: this is the n-th delivery; else 1 */
    const int64_t
        *shapes; /**< variable shape: every field's extents, one after another; else NULL */
};

/**
 * The meaning of an error code in slipring.
 *
 * @param code  a value returned by any slipring function
 * @return      a constant string, never NULL
 *
 * Thread: any.   Progress: wait-free.   Fork: yes.
 * Owner:  the library.   Order: none.
 */
SLIPRING_API const char *slipring_strerror(int code);

/**
 * The version of the library in use, as "major.minor.patch".
 *
 * Thread: any.   Progress: wait-free.   Fork: yes.
 * Owner:  the library.   Order: none.
 */
SLIPRING_API const char *slipring_version(void);

/**
 * CLOCK_MONOTONIC in nanoseconds, the clock of every deadline and timestamp.
 *
 * Thread: any.   Progress: wait-free.   Fork: yes.
 * Owner:  none.   Order: none.
 */
SLIPRING_API int64_t slipring_now_ns(void);

#ifdef __cplusplus
}
#endif
#endif
