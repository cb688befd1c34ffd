/* SPDX-License-Identifier: Apache-2.0 */
/* Error texts, the log, the version and the clock. */
#include "base/error.h"

#include "base/os.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#define LOG_BYTES 512

#define TEXT_OF(number) #number
#define VERSION_TEXT(major, minor, patch) TEXT_OF(major) "." TEXT_OF(minor) "." TEXT_OF(patch)

static const struct {
    int code;
    const char *text;
} meanings[] = {
    {EAGAIN, "not now: the ring is full, or nothing is published"},
    {ETIMEDOUT, "the deadline passed"},
    {EBUSY, "another live member has that place"},
    {EUSERS, "no free consumer cell, group or release table"},
    {ENOSPC, "no room for the ring's memory"},
    {EEXIST, "a ring of that name exists"},
    {EMSGSIZE, "larger than the ring or the buffer can carry"},
    {EPERM, "the rights given to this process do not allow it"},
    {ECANCELED, "a wake call ended the wait"},
    {EINVAL, "an argument is out of range or does not go with the ring; nothing was changed"},
    {EBADMSG, "not a slipring ring, or the ring or a message is damaged"},
    {EPROTONOSUPPORT, "the ring has another layout version"},
    {EOWNERDEAD, "the producer died without closing, and every slot is read"},
    {EPIPE, "the producer closed the stream, and every slot is read"},
    {ESTALE, "evicted or superseded: what was held is void"},
    {ECHILD, "a handle of the parent process, used after fork"},
    {ENOBUFS, "as many slots are held as the ring allows"},
    {EINTR, "a signal ended an interruptible wait"},
    {ENODEV, "no such device, or its driver is missing"},
    {ENOTSUP, "not supported by this build or this machine"},
    {ENOENT, "no ring of that name, or it is vanishing"},
    {EOVERFLOW, "sizes do not fit"},
    {EACCES, "permission to the ring's files was refused"},
    {ENOMEM, "out of memory or address space"},
    {EMFILE, "this process has too many open descriptors"},
    {ENFILE, "the machine has too many open descriptors"},
    {EBADF, "not an open descriptor"},
    {ENAMETOOLONG, "the name is too long"},
    {EFBIG, "larger than the file size limit of this process"},
    {ENOLCK, "the machine has no lock left"},
    {ENOSYS, "the kernel lacks a system call that this needs"},
};

const char *slipring_strerror(int code)
{
    if (code >= 0) {
        return "success";
    }
    for (size_t i = 0; i < sizeof meanings / sizeof meanings[0]; i++) {
        if (code == -meanings[i].code) {
            return meanings[i].text;
        }
    }
    return "an error of the operating system; see errno(3) for its number";
}

const char *slipring_version(void)
{
    return VERSION_TEXT(SLIPRING_VERSION_MAJOR, SLIPRING_VERSION_MINOR, SLIPRING_VERSION_PATCH);
}

int64_t slipring_now_ns(void)
{
    return slr_os_now();
}

int slr_fail(struct slipring_error *error, int code, const char *call, const char *format, ...)
{
    if (error != NULL) {
        const int saved = errno;
        va_list args;
        va_start(args, format);
        error->code = code;
        snprintf(error->call, sizeof error->call, "%s", call);
        vsnprintf(error->text, sizeof error->text, format, args);
        va_end(args);
        errno = saved;
    }
    return code;
}

void slr_log(const struct slr_log *log, enum slipring_log_level level, const char *format, ...)
{
    if (log == NULL || log->fn == NULL) {
        return;
    }
    const int saved = errno;
    char text[LOG_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    log->fn(log->user, level, text);
    errno = saved;
}
