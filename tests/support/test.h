/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every test program needs: checks that end it, skipping, a time limit. Exit codes: 0 passed,
 * 1 failed, 77 skipped. A forked child that fails exits 1 too; CHECK_CHILD() passes that on.
 */
#ifndef TEST_H
#define TEST_H

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* A sanitizer makes system calls of its own; that for threads has a thread of its own too, and holds
 * signals back until a call of libc that may wait. */
#if defined(__SANITIZE_THREAD__)
#define SANITIZED_THREADS
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SANITIZED_THREADS
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(SANITIZED_THREADS)
#define SANITIZED
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED
#endif
#endif

#define FAIL(...)                                                                                  \
    do {                                                                                           \
        fprintf(stderr, "%s:%d: ", __FILE__, __LINE__);                                            \
        fprintf(stderr, __VA_ARGS__);                                                              \
        fputc('\n', stderr);                                                                       \
        exit(1);                                                                                   \
    } while (0)

#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            FAIL("not true: %s", #cond);                                                           \
        }                                                                                          \
    } while (0)

/* Two integers are equal; both are printed if not. */
#define CHECK_EQ(got, want)                                                                        \
    do {                                                                                           \
        const long long test_got = (long long)(got);                                               \
        const long long test_want = (long long)(want);                                             \
        if (test_got != test_want) {                                                               \
            FAIL("%s is %lld, not %s (%lld)", #got, test_got, #want, test_want);                   \
        }                                                                                          \
    } while (0)

/* A call that returns 0 or a negative errno succeeded. */
#define CHECK_OK(call)                                                                             \
    do {                                                                                           \
        const long long test_code = (long long)(call);                                             \
        if (test_code < 0) {                                                                       \
            FAIL("%s: %lld (%s)", #call, test_code, strerror((int)-test_code));                    \
        }                                                                                          \
    } while (0)

#define CHECK_STR(got, want)                                                                       \
    do {                                                                                           \
        const char *test_got = (got);                                                              \
        if (strcmp(test_got, (want)) != 0) {                                                       \
            FAIL("%s is \"%s\", not \"%s\"", #got, test_got, (want));                              \
        }                                                                                          \
    } while (0)

#define SKIP(reason)                                                                               \
    do {                                                                                           \
        printf("SKIPPED: %s\n", reason);                                                           \
        exit(77);                                                                                  \
    } while (0)

/* Wait for a forked child that must end with exit code 0. */
#define CHECK_CHILD(pid)                                                                           \
    do {                                                                                           \
        int test_status;                                                                           \
        CHECK(waitpid((pid), &test_status, 0) >= 0);                                               \
        if (!WIFEXITED(test_status) || WEXITSTATUS(test_status) != 0) {                            \
            FAIL("child ended with status 0x%x", (unsigned)test_status);                           \
        }                                                                                          \
    } while (0)

#endif
