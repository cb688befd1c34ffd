/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "tracee.h"

#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- the processor ---- */

#if defined(__x86_64__)
#define BREAK_WORD UINT64_C(0xcc)
#define BREAK_MASK UINT64_C(0xff)
#define BREAK_SKIP 1 /* the counter stands behind a breakpoint that was hit */
#define TEXT_ALIGN 1
#define BREAK_HERE() __asm__ volatile("int3" ::: "memory")
#define CALL_TEXT "syscall\n\tint3"
static uint64_t *counter(struct user_regs_struct *registers)
{
    return (uint64_t *)&registers->rip;
}
static void set_call(struct user_regs_struct *registers, long number, uint64_t a, uint64_t b,
                     uint64_t c)
{
    registers->orig_rax = (unsigned long long)-1; /* no call is to be begun anew */
    registers->rax = (unsigned long long)number;
    registers->rdi = a;
    registers->rsi = b;
    registers->rdx = c;
}
static int64_t result(const struct user_regs_struct *registers)
{
    return (int64_t)registers->rax;
}
bool tracee_is_call(uint64_t text)
{
    return (text & 0xffff) == 0x050f;
}
bool tracee_is_clock(uint64_t text)
{
    return (text & 0xffff) == 0x310f || (text & 0xffffff) == 0xf9010f; /* rdtsc, rdtscp */
}
#elif defined(__aarch64__)
/* Needs a build with -march=armv8.1-a: a walk breaks a pair of exclusive load and store. */
#define BREAK_WORD UINT64_C(0xd4200000)
#define BREAK_MASK UINT64_C(0xffffffff)
#define BREAK_SKIP 0
#define TEXT_ALIGN 4
#define BREAK_HERE() __asm__ volatile("brk #0" ::: "memory")
#define CALL_TEXT "svc #0\n\tbrk #0"
static uint64_t *counter(struct user_regs_struct *registers)
{
    return (uint64_t *)&registers->pc;
}
static void set_call(struct user_regs_struct *registers, long number, uint64_t a, uint64_t b,
                     uint64_t c)
{
    registers->regs[8] = (unsigned long long)number;
    registers->regs[0] = a;
    registers->regs[1] = b;
    registers->regs[2] = c;
}
static int64_t result(const struct user_regs_struct *registers)
{
    return (int64_t)registers->regs[0];
}
bool tracee_is_call(uint64_t text)
{
    return (text & 0xffffffff) == 0xd4000001u;
}
bool tracee_is_clock(uint64_t text)
{
    return (text & 0xffffffe0) == 0xd53be040u; /* mrs of the virtual counter */
}
#else
#error "stepkill knows x86-64 and aarch64"
#endif

__attribute__((noinline)) void sk_begin(void)
{
    BREAK_HERE();
}

__attribute__((noinline)) void sk_end(void)
{
    __asm__ volatile("" ::: "memory");
}

/* Never called: a traced victim is sent here. */
__attribute__((noinline, used)) static void call_here(void)
{
    __asm__ volatile(CALL_TEXT ::: "memory");
}

static int registers_get(pid_t pid, struct user_regs_struct *registers)
{
    struct iovec all = {registers, sizeof(*registers)};
    return ptrace(PTRACE_GETREGSET, pid, (void *)NT_PRSTATUS, &all) ? -errno : 0;
}

static int registers_set(pid_t pid, struct user_regs_struct *registers)
{
    struct iovec all = {registers, sizeof(*registers)};
    return ptrace(PTRACE_SETREGSET, pid, (void *)NT_PRSTATUS, &all) ? -errno : 0;
}

uint64_t tracee_pc(pid_t pid)
{
    struct user_regs_struct registers;
    return registers_get(pid, &registers) ? 0 : *counter(&registers);
}

int tracee_set_pc(pid_t pid, uint64_t pc)
{
    struct user_regs_struct registers;
    const int rc = registers_get(pid, &registers);
    if (rc) {
        return rc;
    }
    *counter(&registers) = pc;
    return registers_set(pid, &registers);
}

/* The call instruction lies behind what the compiler put before it, if anything. */
static uint64_t find_call(pid_t pid)
{
    for (uint64_t at = (uint64_t)(uintptr_t)call_here;; at += TEXT_ALIGN) {
        const long text = ptrace(PTRACE_PEEKTEXT, pid, (void *)(uintptr_t)at, (void *)0);
        if (tracee_is_call((uint64_t)text)) {
            return at;
        }
    }
}

int tracee_call(pid_t pid, long number, uint64_t a, uint64_t b, uint64_t c)
{
    static uint64_t call; /* all victims are copies of this process */
    struct user_regs_struct before, registers;
    int status = 0, rc = registers_get(pid, &before);
    if (rc) {
        return rc;
    }
    call = call != 0 ? call : find_call(pid);
    registers = before;
    set_call(&registers, number, a, b, c);
    *counter(&registers) = call;
    rc = registers_set(pid, &registers);
    if (rc == 0) {
        rc = tracee_go(pid, PTRACE_CONT, 0, &status);
    }
    if (rc == SIGTRAP) {
        rc = registers_get(pid, &registers);
        rc = rc ? rc : (int)result(&registers);
    }
    const int restored = registers_set(pid, &before);
    return rc ? rc : restored;
}

/* ---- a victim's life ---- */

int tracee_go(pid_t pid, long request, int awaited, int *status)
{
    for (long signal_number = 0;;) {
        if (ptrace((enum __ptrace_request)request, pid, (void *)0, (void *)signal_number)) {
            return -errno;
        }
        if (waitpid(pid, status, 0) != pid || !WIFSTOPPED(*status)) {
            return -ESRCH;
        }
        if (WSTOPSIG(*status) == SIGTRAP || WSTOPSIG(*status) == awaited) {
            return WSTOPSIG(*status);
        }
        signal_number = WSTOPSIG(*status);
    }
}

int tracee_start(sk_victim victim, void *context, pid_t *child, int *status)
{
    fflush(NULL);
    const pid_t pid = fork();
    if (pid < 0) {
        return -errno;
    }
    if (pid == 0) {
        if (ptrace(PTRACE_TRACEME, 0, (void *)0, (void *)0) == 0) {
            victim(context);
        }
        _exit(125);
    }
    for (;;) {
        if (waitpid(pid, status, 0) != pid || !WIFSTOPPED(*status)) {
            return -EINVAL;
        }
        if (WSTOPSIG(*status) == SIGTRAP) {
            break;
        }
        if (ptrace(PTRACE_CONT, pid, (void *)0, (void *)(long)WSTOPSIG(*status))) {
            return -errno;
        }
    }
    (void)ptrace(PTRACE_SETOPTIONS, pid, (void *)0, (void *)(long)PTRACE_O_EXITKILL);
    if (BREAK_SKIP == 0) {
        (void)tracee_set_pc(pid, tracee_pc(pid) + 4);
    }
    *child = pid;
    return 0;
}

bool sk_possible(void)
{
    int status = 0;
    fflush(NULL);
    const pid_t pid = fork();
    if (pid == 0) {
        _exit(ptrace(PTRACE_TRACEME, 0, (void *)0, (void *)0) ? 1 : 0);
    }
    return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) &&
           WEXITSTATUS(status) == 0;
}

/* ---- running to a step ---- */

static int step(pid_t pid, int *status)
{
    const int rc = tracee_go(pid, PTRACE_SINGLESTEP, 0, status);
    return rc < 0 ? rc : 0;
}

/* At full speed to the times-th arrival at pc. */
static int run_to_break(pid_t pid, uint64_t pc, uint32_t times, int *status)
{
    errno = 0;
    void *const address = (void *)(uintptr_t)pc;
    const uint64_t text = (uint64_t)ptrace(PTRACE_PEEKTEXT, pid, address, (void *)0);
    const uint64_t broken = (text & ~BREAK_MASK) | BREAK_WORD;
    for (uint32_t i = 0; i < times; i++) {
        int rc = 0;
        if (i > 0 || tracee_pc(pid) == pc) {
            rc = step(pid, status);
        }
        if (rc == 0 && tracee_pc(pid) == pc) { /* a repeated instruction stays where it is */
            continue;
        }
        if (rc == 0 && ptrace(PTRACE_POKETEXT, pid, address, (void *)broken)) {
            rc = -errno;
        }
        if (rc == 0) {
            rc = tracee_go(pid, PTRACE_CONT, 0, status);
        }
        if (rc < 0 || ptrace(PTRACE_POKETEXT, pid, address, (void *)text)) {
            return rc < 0 ? rc : -errno;
        }
        if (tracee_pc(pid) != pc + BREAK_SKIP) {
            return 1;
        }
        if (BREAK_SKIP != 0) {
            (void)tracee_set_pc(pid, pc);
        }
    }
    return 0;
}

int sk_run_to(sk_victim victim, void *context, const struct sk_trace *trace, uint32_t at,
              pid_t *pid, int *status)
{
    int rc = tracee_start(victim, context, pid, status);
    if (trace == NULL) {
        return rc;
    }
    const uint32_t anchor = trace->anchor[at];
    if (rc == 0 && anchor > 0) {
        const uint32_t here = trace->pc[anchor] == trace->pc[0] ? 1 : 0;
        rc = run_to_break(*pid, trace->pc[anchor], trace->nth[anchor] - here, status);
    }
    for (uint32_t i = anchor; rc == 0 && i < at; i++) {
        if (tracee_pc(*pid) == (uint64_t)(uintptr_t)sk_end) {
            return 1;
        }
        rc = step(*pid, status);
    }
    return rc ? rc : tracee_pc(*pid) != trace->pc[at];
}

void sk_kill(pid_t pid)
{
    int status;
    (void)kill(pid, SIGKILL);
    while (waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status)) {
    }
}

int sk_resume(pid_t pid, int64_t limit_ns)
{
    struct timespec nap = {0, 20000};
    (void)ptrace(PTRACE_DETACH, pid, (void *)0, (void *)0);
    for (int64_t waited = 0; waited < limit_ns; waited += nap.tv_nsec) {
        int status;
        if (waitpid(pid, &status, WNOHANG) == pid) {
            return status;
        }
        (void)nanosleep(&nap, NULL);
        nap.tv_nsec = nap.tv_nsec < 1000000 ? nap.tv_nsec * 2 : nap.tv_nsec;
    }
    sk_kill(pid);
    return -1;
}
