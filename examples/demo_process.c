/* SPDX-License-Identifier: Apache-2.0 */
/* Processes of the demo. Whoever waits does so for an event, with a bound on the time. */
#define _GNU_SOURCE
#include "demo.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

bool demo_failed(const char *role, const char *what, int rc)
{
    fprintf(stderr, "demo: %s: %s: %s\n", role, what, slipring_strerror(rc));
    return false;
}

bool demo_error(const char *role, const struct slipring_error *error)
{
    fprintf(stderr, "demo: %s: %s: %s\n", role, error->call, error->text);
    return false;
}

bool demo_refused(const char *role, const char *call, int error_number)
{
    fprintf(stderr, "demo: %s: %s: %s\n", role, call, strerror(error_number));
    return false;
}

/* Several processes write to one terminal or file: whole lines, at once. */
void demo_line(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
    fflush(stdout);
}

static void close_pipes(struct demo_child *child)
{
    if (child->to >= 0) {
        close(child->to);
    }
    if (child->from >= 0) {
        close(child->from);
    }
    child->to = child->from = -1;
}

static void be_child(struct demo_family *family, const char *role, int to_child[2],
                     int from_child[2], bool (*run)(const struct demo_self *), const void *argument,
                     pid_t parent)
{
    /* No process of the demo outlives it; and the ends of the other children's pipes are closed,
     * or their end would not be noticed. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent) {
        exit(EXIT_FAILURE);
    }
    for (int i = 0; i < family->count; i++) {
        close_pipes(&family->children[i]);
    }
    close(to_child[1]);
    close(from_child[0]);
    const struct demo_self self = {role, family->count, to_child[0], from_child[1], argument};
    exit(run(&self) ? EXIT_SUCCESS : EXIT_FAILURE);
}

bool demo_start(struct demo_family *family, const char *role,
                bool (*run)(const struct demo_self *self), const void *argument)
{
    int to_child[2] = {-1, -1}, from_child[2] = {-1, -1};
    const pid_t parent = getpid();
    pid_t pid = -1;
    fflush(NULL);
    if (pipe(to_child) == 0 && pipe(from_child) == 0) {
        pid = fork();
    }
    if (pid == 0) {
        be_child(family, role, to_child, from_child, run, argument, parent);
    }
    if (pid < 0) {
        const int error_number = errno;
        for (int i = 0; i < 2; i++) {
            struct demo_child ends = {role, 0, to_child[i], from_child[i]};
            close_pipes(&ends);
        }
        return demo_refused(role, "start", error_number);
    }
    close(to_child[0]);
    close(from_child[1]);
    family->children[family->count++] = (struct demo_child){role, pid, to_child[1], from_child[0]};
    return true;
}

bool demo_say(const char *role, int fd, const void *what, size_t bytes)
{
    const char *rest = what;
    while (bytes > 0) {
        const ssize_t done = write(fd, rest, bytes);
        if (done < 0 && errno != EINTR) {
            return demo_refused(role, "write to pipe", errno);
        }
        if (done > 0) {
            rest += done;
            bytes -= (size_t)done;
        }
    }
    return true;
}

static int wait_readable(int fd, int64_t deadline_ns)
{
    for (;;) {
        struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
        const int64_t left_ns = deadline_ns - slipring_now_ns();
        const int rc = poll(&poll_fd, 1, left_ns > 0 ? (int)(left_ns / 1000000) + 1 : 0);
        if (rc > 0) {
            return 0;
        }
        if (rc == 0) {
            return -ETIMEDOUT;
        }
        if (errno != EINTR) {
            return -errno;
        }
    }
}

bool demo_hear(const char *role, int fd, void *what, size_t bytes)
{
    const int64_t deadline_ns = slipring_now_ns() + DEMO_PATIENCE_NS;
    char *rest = what;
    while (bytes > 0) {
        const int rc = wait_readable(fd, deadline_ns);
        if (rc < 0) {
            return demo_refused(role, "hear from it", -rc);
        }
        const ssize_t done = read(fd, rest, bytes);
        if (done == 0) {
            fprintf(stderr, "demo: %s: it ended before it said what was expected\n", role);
            return false;
        }
        if (done < 0 && errno != EINTR) {
            return demo_refused(role, "read from pipe", errno);
        }
        if (done > 0) {
            rest += done;
            bytes -= (size_t)done;
        }
    }
    return true;
}

/* Waits for a process to end, whichever way; a descriptor of it bounds the time. */
static int wait_end(struct demo_child *child, int *status)
{
    const int fd = (int)syscall(SYS_pidfd_open, child->pid, 0);
    if (fd < 0) {
        return -errno;
    }
    int rc = wait_readable(fd, slipring_now_ns() + DEMO_PATIENCE_NS);
    close(fd);
    if (rc == 0) {
        rc = waitpid(child->pid, status, 0) < 0 ? -errno : 0;
        child->pid = 0;
    }
    return rc;
}

bool demo_finish(struct demo_child *child)
{
    int status = 0;
    const int rc = wait_end(child, &status);
    if (rc < 0) {
        return demo_refused(child->role, "wait for its end", -rc);
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != EXIT_SUCCESS) {
        fprintf(stderr, "demo: %s: %s %d\n", child->role,
                WIFSIGNALED(status) ? "died of signal" : "ended with status",
                WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
        return false;
    }
    return true;
}

bool demo_kill(struct demo_child *child, int64_t *killed_ns)
{
    int status = 0;
    *killed_ns = slipring_now_ns();
    int rc = kill(child->pid, SIGKILL) < 0 ? -errno : 0;
    if (rc == 0) {
        rc = wait_end(child, &status);
    }
    if (rc < 0) {
        return demo_refused(child->role, "kill -9", -rc);
    }
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) {
        fprintf(stderr, "demo: %s: ended before it could be killed\n", child->role);
        return false;
    }
    return true;
}

void demo_end(struct demo_family *family)
{
    for (int i = 0; i < family->count; i++) {
        struct demo_child *child = &family->children[i];
        if (child->pid > 0) {
            kill(child->pid, SIGKILL);
            while (waitpid(child->pid, NULL, 0) < 0 && errno == EINTR) {
            }
        }
        close_pipes(child);
    }
    family->count = 0;
}

bool demo_ready(struct demo_family *family, int first, int count)
{
    bool good = true;
    for (int i = first; i < first + count && good; i++) {
        char byte;
        good = demo_hear(family->children[i].role, family->children[i].from, &byte, 1);
    }
    return good;
}

bool demo_tell_name(struct demo_family *family, int first, int count, const char *name)
{
    char fixed[SLIPRING_NAME_MAX + 1] = {0};
    bool good = true;
    memcpy(fixed, name, strlen(name));
    for (int i = first; i < first + count && good; i++) {
        good = demo_say(family->children[i].role, family->children[i].to, fixed, sizeof fixed);
    }
    return good;
}

bool demo_open(const struct demo_self *self, struct slipring_ring **ring)
{
    char name[SLIPRING_NAME_MAX + 1];
    struct slipring_error error;
    if (!demo_hear(self->role, self->from, name, sizeof name)) {
        return false;
    }
    return slipring_ring_open(name, 0, ring, &error) < 0 ? demo_error(self->role, &error) : true;
}
