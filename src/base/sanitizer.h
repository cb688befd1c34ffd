/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the thread sanitizer is told where it cannot see for itself: liburcu's grace periods, and
 * the one function that races by intent (copy.h). Nothing in any other build.
 */
#ifndef SLR_SANITIZER_H
#define SLR_SANITIZER_H

#if defined(__SANITIZE_THREAD__)
#define SLR_THREAD_SANITIZER
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SLR_THREAD_SANITIZER
#endif
#endif

#ifdef SLR_THREAD_SANITIZER
#include <sanitizer/tsan_interface.h>
/* In the runtimes of gcc and clang, but in no header of theirs. */
void AnnotateIgnoreReadsBegin(const char *file, int line);
void AnnotateIgnoreReadsEnd(const char *file, int line);
#define SLR_TELL_ACQUIRE(tag) __tsan_acquire(tag)
#define SLR_TELL_RELEASE(tag) __tsan_release(tag)
#define SLR_TELL_RACY_BEGIN() AnnotateIgnoreReadsBegin(__FILE__, __LINE__)
#define SLR_TELL_RACY_END() AnnotateIgnoreReadsEnd(__FILE__, __LINE__)
#else
#define SLR_TELL_ACQUIRE(tag) ((void)(tag))
#define SLR_TELL_RELEASE(tag) ((void)(tag))
#define SLR_TELL_RACY_BEGIN() ((void)0)
#define SLR_TELL_RACY_END() ((void)0)
#endif

#endif
