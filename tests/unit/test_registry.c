/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: a ring that is open is opened again under its name with no system call at all (under a
 * filter that kills for any), as the same handle; not so once the name was removed, or another
 * ring took it; a forked child finds its parent's rings and is present of its own.
 */
#define _GNU_SOURCE
#include "base/os.h"
#include "ring/handle.h"
#include "ring/ring_name.h"
#include "kernel.h"
#include "test.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

static char name[64];

static struct slipring_ring *create(uint32_t flags)
{
    struct slipring_config config;
    struct slipring_ring *ring = NULL;
    slipring_config_init(&config);
    config.slot_bytes = 8;
    config.slots = 8;
    config.members_max = 2;
    config.groups_max = 1;
    config.flags = flags;
    const int code = slipring_ring_create(name, &config, &ring, NULL);
    CHECK(code == 0 || code == -EEXIST);
    return ring;
}

/* From here on this thread may do nothing but exit. */
#if !defined(SANITIZED)
static bool no_more_calls(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = 4, .filter = filter};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}
#endif

static void no_system_call(void)
{
    struct slipring_ring *ring = create(0), *again;
    CHECK_EQ(slipring_ring_open(name, 0, &again, NULL), 0);
    CHECK(again == ring);
    slipring_ring_close(again);
    const pid_t child = fork();
    if (child == 0) {
        /* The first open of a child is the long way; so is a thread's first lookup. */
        CHECK_EQ(slipring_ring_open(name, 0, &again, NULL), 0);
#if defined(SANITIZED)
        fprintf(stderr, "NOT CHECKED: system calls, the sanitizer makes its own\n");
#else
        if (kernel_filters()) {
            CHECK(no_more_calls());
        } else {
            fprintf(stderr, "NOT CHECKED: system calls, there are no filters of them here\n");
        }
#endif
        int code = 0;
        for (int i = 0; i < 1000 && code == 0; i++) {
            code = slipring_ring_open(name, 0, &again, NULL) != 0 || again != ring;
            slipring_ring_close(again);
        }
        _exit(code);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    if (WIFSIGNALED(status)) {
        FAIL("opening again made a system call (signal %d)", WTERMSIG(status));
    }
    CHECK_EQ(WEXITSTATUS(status), 0);

    const int64_t start = slipring_now_ns();
    for (int i = 0; i < 100000; i++) {
        CHECK_EQ(slipring_ring_open(name, 0, &again, NULL), 0);
        slipring_ring_close(again);
    }
    fprintf(stderr, "open again and close: %.0f ns\n",
            (double)(slipring_now_ns() - start) / 100000);

    /* The name goes to another ring. */
    CHECK_EQ(slipring_ring_unlink(name, NULL), 0);
    CHECK_EQ(slipring_ring_open(name, 0, &again, NULL), -ENOENT);
    struct slipring_ring *other = create(0);
    CHECK_EQ(slipring_ring_open(name, 0, &again, NULL), 0);
    CHECK(again == other && again != ring);
    slipring_ring_close(again);
    slipring_ring_close(ring);
    slipring_ring_close(other);
    CHECK_EQ(slipring_ring_open(name, 0, &again, NULL), 0); /* a new handle, from the files */
    slipring_ring_close(again);
    CHECK_EQ(slipring_ring_unlink(name, NULL), 0);
}

static bool present(const struct slipring_ring *ring)
{
    return slr_os_locked(ring->segment.control_fd, SLR_LOCK_PRESENCE) == 1;
}

static void forked(void)
{
    struct slipring_ring *ring = create(SLIPRING_VANISH), *again;
    int go[2], there[2];
    char byte = 0;
    CHECK(pipe(go) == 0 && pipe(there) == 0);
    const pid_t child = fork();
    if (child == 0) {
        close(go[1]);
        CHECK_EQ(ring->presence.fd, -1);
        CHECK_EQ(slipring_ring_open(name, 0, &again, NULL), 0);
        CHECK(again == ring && ring->presence.fd >= 0);
        CHECK(write(there[1], &byte, 1) == 1);
        CHECK(read(go[0], &byte, 1) == 0); /* the parent has closed its handle */
        CHECK(present(ring) &&
              slr_name_leads_to(name, ring->segment.device, ring->segment.control_inode));
        slipring_ring_close(again);
        slipring_ring_close(ring);
        CHECK_EQ(slipring_ring_open(name, 0, &again, NULL), -ENOENT);
        exit(0);
    }
    CHECK(child > 0);
    CHECK(read(there[0], &byte, 1) == 1);
    slipring_ring_close(ring);
    close(go[1]);
    CHECK_CHILD(child);
    close(go[0]);
    close(there[0]);
    close(there[1]);
}

int main(void)
{
    alarm(50);
    snprintf(name, sizeof name, "test-registry-%d", (int)getpid());
    no_system_call();
    forked();
    struct slipring_ring *ring;
    CHECK_EQ(slipring_ring_open(name, 0, &ring, NULL), -ENOENT);
    return 0;
}
