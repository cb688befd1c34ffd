/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "inject.h"

#include "test.h"

#include <elf.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>

#define MARK_END 0x534b42ffL /* to prctl(), which does not know it */
#define GET_SYSCALL_INFO 0x420e
#define ERRORS_MAX 6

/* What PTRACE_GET_SYSCALL_INFO fills. */
struct call {
    uint8_t op; /* 1 entry, 2 exit */
    uint8_t reserved[3];
    uint32_t arch;
    uint64_t instruction, stack;
    uint64_t number, arguments[6]; /* at entry */
};

/* ---- the processor ---- */

static void get_registers(pid_t tid, struct user_regs_struct *registers)
{
    struct iovec all = {registers, sizeof(*registers)};
    CHECK(ptrace(PTRACE_GETREGSET, tid, (void *)NT_PRSTATUS, &all) == 0);
}

static void set_registers(pid_t tid, struct user_regs_struct *registers)
{
    struct iovec all = {registers, sizeof(*registers)};
    CHECK(ptrace(PTRACE_SETREGSET, tid, (void *)NT_PRSTATUS, &all) == 0);
}

/* What the call at whose exit the thread stands returns. */
static void set_result(pid_t tid, int64_t result)
{
    struct user_regs_struct registers;
    get_registers(tid, &registers);
#if defined(__x86_64__)
    registers.rax = (uint64_t)result;
#elif defined(__aarch64__)
    registers.regs[0] = (uint64_t)result;
#else
#error "inject knows x86-64 and aarch64"
#endif
    set_registers(tid, &registers);
}

/* At its entry: it is not made. The kernel leaves a call of number -1 alone, and its result too. */
static void skip_call(pid_t tid, int64_t result)
{
#if defined(__x86_64__)
    struct user_regs_struct registers;
    get_registers(tid, &registers);
    registers.orig_rax = UINT64_MAX;
    set_registers(tid, &registers);
#else
    int none = -1;
    struct iovec number = {&none, sizeof(none)};
    CHECK(ptrace(PTRACE_SETREGSET, tid, (void *)NT_ARM_SYSTEM_CALL, &number) == 0);
#endif
    set_result(tid, result);
}

/* ---- which errors ---- */

static const struct errors {
    long number;
    const char *name;
    int codes[ERRORS_MAX]; /* 0 ends it */
} table[] = {
    {SYS_openat, "openat", {EMFILE, ENFILE, ENOMEM, EACCES, EINTR}},
    {SYS_close, "close", {EINTR, EIO}},
    {SYS_mmap, "mmap", {ENOMEM, EAGAIN}},
    {SYS_munmap, "munmap", {ENOMEM}},
    {SYS_mprotect, "mprotect", {ENOMEM, EACCES}},
    {SYS_madvise, "madvise", {EAGAIN, ENOMEM, EINVAL}},
    {SYS_mlock, "mlock", {EPERM, ENOMEM, EAGAIN}},
    {SYS_munlock, "munlock", {ENOMEM}},
    {SYS_mbind, "mbind", {EPERM, ENOMEM, ENOSYS}},
    {SYS_move_pages, "move_pages", {EPERM, ENOMEM, ENOSYS}},
    {SYS_memfd_create, "memfd_create", {EMFILE, ENFILE, ENOMEM, EINVAL}},
    {SYS_ftruncate, "ftruncate", {ENOSPC, EINTR, EFBIG, EIO}},
    {SYS_fallocate, "fallocate", {ENOSPC, EINTR, EFBIG, EIO, ENOMEM}},
    {SYS_fchmod, "fchmod", {EPERM, EIO}},
    {SYS_fchown, "fchown", {EPERM, EIO}},
    {SYS_newfstatat, "newfstatat", {ENOMEM, EACCES, EIO}},
    {SYS_fstat, "fstat", {ENOMEM, EIO}},
    {SYS_fstatfs, "fstatfs", {ENOMEM, EIO}},
    {SYS_readlinkat, "readlinkat", {ENOMEM, EACCES, EIO}},
    {SYS_linkat, "linkat", {ENOSPC, ENOMEM, EACCES, EEXIST, EIO}},
    {SYS_unlinkat, "unlinkat", {EACCES, EBUSY, EIO}},
    {SYS_getdents64, "getdents64", {EIO, ENOMEM}},
    {SYS_read, "read", {EINTR, EIO}},
    {SYS_write, "write", {EINTR}},
    {SYS_pread64, "pread64", {EINTR, EIO}},
    {SYS_eventfd2, "eventfd2", {EMFILE, ENFILE, ENOMEM}},
    {SYS_sendmsg, "sendmsg", {EINTR, EAGAIN, ENOBUFS, ETOOMANYREFS}},
    {SYS_recvmsg, "recvmsg", {EINTR, EAGAIN, ENOMEM, ECONNRESET}},
    {SYS_clone, "clone", {EAGAIN, ENOMEM}},
    {SYS_clone3, "clone3", {EAGAIN, ENOMEM}},
#if !defined(SANITIZED) /* which asks each new thread for its stack so */
    {SYS_sched_getaffinity, "sched_getaffinity", {EPERM, ENOSYS}},
#endif
    {SYS_clock_nanosleep, "clock_nanosleep", {EINTR}},
    {SYS_getrandom, "getrandom", {EINTR, ENOSYS}},
    {SYS_prlimit64, "prlimit64", {EPERM, ENOSYS}},
#if defined(__x86_64__) /* where there are older forms */
    {SYS_open, "open", {EMFILE, ENFILE, ENOMEM, EACCES, EINTR}},
    {SYS_readlink, "readlink", {ENOMEM, EACCES, EIO}},
    {SYS_unlink, "unlink", {EACCES, EBUSY, EIO}},
    {SYS_lstat, "lstat", {ENOMEM, EACCES, EIO}},
#endif
};

static const struct errors of_lock = {SYS_fcntl, "fcntl(lock)", {EINVAL, ENOLCK, EINTR, EAGAIN}};
static const struct errors of_probe = {SYS_fcntl, "fcntl(F_OFD_GETLK)", {EINVAL, EINTR}};
static const struct errors of_duplicate = {SYS_fcntl, "fcntl(F_DUPFD_CLOEXEC)", {EMFILE}};
static const struct errors of_seal = {SYS_fcntl, "fcntl(seals)", {EPERM, EBUSY, EINVAL}};
static const struct errors of_wait = {SYS_futex, "futex(wait)", {EINTR, EAGAIN}};
static const struct errors of_timed = {SYS_futex, "futex(wait)", {EINTR, EAGAIN, ETIMEDOUT}};
static const struct errors of_touch = {
    SYS_madvise, "madvise(populate)", {EINTR, EAGAIN, ENOMEM, EINVAL}};

static const struct errors *of_fcntl(uint64_t command)
{
    switch (command) {
    case F_OFD_SETLK:
        return &of_lock;
    case F_OFD_GETLK:
        return &of_probe;
    case F_DUPFD_CLOEXEC:
        return &of_duplicate;
    case F_ADD_SEALS:
    case F_GET_SEALS:
        return &of_seal;
    default:
        return NULL;
    }
}

/* NULL: none that it could meet, or none that anybody looks at. */
static const struct errors *errors_of(const struct call *call)
{
    const uint64_t *arguments = call->arguments;
    const uint64_t operation = arguments[1] & FUTEX_CMD_MASK;
    const bool touches = call->number == SYS_madvise && (arguments[2] == MADV_POPULATE_READ ||
                                                         arguments[2] == MADV_POPULATE_WRITE);
    if (touches) {
        return &of_touch;
    }
    switch (call->number) {
    case SYS_fcntl:
        return of_fcntl(arguments[1]);
    case SYS_futex:
        if (operation != FUTEX_WAIT && operation != FUTEX_WAIT_BITSET) {
            return NULL;
        }
        return arguments[3] != 0 ? &of_timed : &of_wait;
    default:
        for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
            if ((uint64_t)table[i].number == call->number) {
                return &table[i];
            }
        }
        return NULL;
    }
}

/* Hundreds of these in a row are one thing: hwloc goes through /sys. */
static bool only_looks(const struct call *call)
{
    static const uint64_t numbers[] = {
        SYS_openat,
        SYS_close,
        SYS_read,
        SYS_newfstatat,
        SYS_getdents64,
        SYS_readlinkat,
        SYS_faccessat,
        SYS_lseek,
#if defined(__x86_64__)
        SYS_readlink,
        SYS_access,
#endif
    };
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        if (call->number == numbers[i]) {
            return true;
        }
    }
    return false;
}

/* ---- whose calls ---- */

#if defined(SANITIZED)
/* A sanitizer makes calls of its own, and ends the process if they fail: only those of the C
 * library are disturbed. Forked children have it where we have it. */
static bool disturbs(const struct call *call)
{
    static uint64_t from, to;
    char line[512];
    FILE *const maps = from == 0 ? fopen("/proc/self/maps", "re") : NULL;
    while (maps != NULL && fgets(line, sizeof(line), maps) != NULL) {
        unsigned long long first, last;
        char rights[5];
        if (strstr(line, "/libc.so") != NULL &&
            sscanf(line, "%llx-%llx %4s", &first, &last, rights) == 3 && rights[2] == 'x') {
            from = first;
            to = last;
        }
    }
    if (maps != NULL) {
        fclose(maps);
    }
    CHECK(from != 0);
    return call->instruction >= from && call->instruction < to;
}
#else
static bool disturbs(const struct call *call)
{
    return call->op == 1;
}
#endif

/* ---- the victim ---- */

void inject_begin(void)
{
    /* It stops on the way out of this call, with no other behind it. */
    syscall(SYS_tgkill, getpid(), gettid(), SIGSTOP);
}

void inject_end(void)
{
    syscall(SYS_prctl, MARK_END, 0, 0, 0, 0);
}

bool inject_trace_me(void)
{
    return ptrace(PTRACE_TRACEME, 0, (void *)0, (void *)0) == 0;
}

bool inject_possible(void)
{
    int status;
    const pid_t pid = fork();
    if (pid == 0) {
        _exit(inject_trace_me() ? 0 : 1);
    }
    return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) &&
           WEXITSTATUS(status) == 0;
}

/* ---- the tracer ---- */

struct run {
    struct inject *inject;
    pid_t pid;
    bool inside;                  /* between the marks */
    uint32_t next;                /* number of the call that begins next */
    uint32_t looks;               /* calls that only look at files, so far */
    pid_t waiting;                /* the thread at whose exit something is to be done; 0 none */
    const struct errors *failing; /* the kind of call that failed */
};

/* The call that begins fails, by the error chosen. */
static void fail_call(struct run *run, pid_t tid, const struct call *call)
{
    if (call->number == SYS_close) {
        run->waiting = tid;
    } else {
        skip_call(tid, -run->inject->code);
    }
}

static void choose_error(struct run *run, pid_t tid, const struct call *call,
                         const struct errors *errors)
{
    struct inject *const inject = run->inject;
    const uint32_t i = inject->error;
    inject->code = errors == NULL || i >= ERRORS_MAX ? 0 : errors->codes[i];
    inject->done = inject->code != 0;
    /* Whoever cannot ask whether another lives takes it as alive: then nobody is ever reaped. */
    if (inject->how == INJECT_FOR_GOOD &&
        (inject->code == EINTR || inject->code == EAGAIN || errors == &of_probe)) {
        inject->code = 0;
    }
    if (inject->code != 0) {
        run->failing = errors;
        fail_call(run, tid, call);
    }
}

static void at_entry(struct run *run, pid_t tid, const struct call *call)
{
    struct inject *const inject = run->inject;
    if (call->number == SYS_prctl && call->arguments[0] == MARK_END) {
        run->inside = false;
        return;
    }
    if (!disturbs(call)) {
        return;
    }
    const struct errors *errors = errors_of(call);
    if (run->failing != NULL) {
        if (inject->how == INJECT_FOR_GOOD && run->failing == errors) {
            fail_call(run, tid, call);
        }
        return;
    }
    if (inject->sample != 0 && only_looks(call) && run->looks++ % inject->sample != 0) {
        return;
    }
    if (run->next++ != inject->call) {
        return;
    }
    inject->met = true;
    inject->name = errors != NULL ? errors->name : "another";
    if (inject->how == INJECT_KILL_BEFORE) {
        inject->done = true;
        CHECK(kill(run->pid, SIGKILL) == 0);
    } else if (inject->how == INJECT_KILL_AFTER) {
        run->waiting = tid; /* a thread may still be in there at the end of the section */
    } else {
        choose_error(run, tid, call, errors);
    }
}

static void at_exit_of(struct run *run, pid_t tid)
{
    if (run->waiting != tid) {
        return;
    }
    run->waiting = 0;
    if (run->inject->how == INJECT_KILL_AFTER) {
        run->inject->done = true;
        CHECK(kill(run->pid, SIGKILL) == 0);
    } else {
        set_result(tid, -run->inject->code);
    }
}

/* A thread stopped; how it is to go on: the signal that it gets. */
static int at_stop(struct run *run, pid_t tid, int status)
{
    struct call call = {0};
    const int signal_number = WSTOPSIG(status);
    if (signal_number == (SIGTRAP | 0x80)) {
        if (run->inside &&
            ptrace((enum __ptrace_request)GET_SYSCALL_INFO, tid, (void *)sizeof(call), &call) > 0) {
            if (call.op == 1) {
                at_entry(run, tid, &call);
            } else if (call.op == 2) {
                at_exit_of(run, tid);
            }
        }
        return 0;
    }
    if (status >> 16 != 0) {
        return 0; /* a thread was started */
    }
    if (signal_number == SIGSTOP) {
        if (tid == run->pid) { /* inject_begin() */
            run->inside = true;
            CHECK(ptrace(PTRACE_SETOPTIONS, tid, (void *)0,
                         (void *)(long)(PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL |
                                        PTRACE_O_TRACECLONE)) == 0);
        }
        return 0; /* else a new thread */
    }
    return signal_number;
}

void inject_run(pid_t pid, struct inject *inject)
{
    struct run run = {.inject = inject, .pid = pid};
    (void)setpgid(pid, pid); /* the victim does too: whoever comes first */
    inject->met = false;
    inject->done = false;
    inject->name = "";
    inject->code = 0;
    for (;;) {
        int status;
        const pid_t tid = waitpid(-pid, &status, __WALL);
        CHECK(tid > 0);
        if (!WIFSTOPPED(status)) {
            if (tid == pid) {
                inject->status = status;
                return;
            }
            continue;
        }
        const int signal_number = at_stop(&run, tid, status);
        const long how = run.inside ? PTRACE_SYSCALL : PTRACE_CONT;
        /* Fails where the thread was killed meanwhile. */
        (void)ptrace((enum __ptrace_request)how, tid, (void *)0, (void *)(long)signal_number);
    }
}
