/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: a consumer cannot write payload by accident or through what it was handed: the mapping
 * of who opened a ring by name, received it or inherited its descriptors cannot be made writable
 * (mprotect), nor written through /proc/self/mem; a store into it kills the writer alone; and the
 * descriptor that it holds gives no writable mapping and takes no write. The producer goes on.
 * Faults: E3.
 */
#define _GNU_SOURCE
#include "proc.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>

enum { BY_NAME, BY_SOCKET, BY_DESCRIPTORS, WAYS };

struct story {
    const struct proc_ring *how;
    char name[64];
    int way, socket, descriptors[2];
};

static struct slipring_ring *get(const struct story *story)
{
    struct slipring_ring *ring = NULL;
    switch (story->way) {
    case BY_NAME:
        CHECK_EQ(slipring_ring_open(story->name, 0, &ring, NULL), 0);
        break;
    case BY_SOCKET:
        CHECK_EQ(slipring_ring_receive(story->socket, &ring, NULL), 0);
        break;
    default:
        CHECK_EQ(slipring_ring_from_fds(story->descriptors[0], story->descriptors[1], &ring, NULL),
                 0);
    }
    return ring;
}

static void expect_read_only(struct slipring_ring *ring, const void *data)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    char *start = (char *)((uintptr_t)data & ~(page - 1));
    int data_fd, control_fd;
    CHECK(mprotect(start, page, PROT_READ | PROT_WRITE) < 0 && errno == EACCES);
    const int memory = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
    CHECK(memory < 0 || pwrite(memory, "x", 1, (off_t)(uintptr_t)data) < 0);
    slipring_ring_fds(ring, &data_fd, &control_fd);
    CHECK_EQ(fcntl(data_fd, F_GETFL) & O_ACCMODE, O_RDONLY);
    CHECK(mmap(NULL, page, PROT_WRITE, MAP_SHARED, data_fd, 0) == MAP_FAILED && errno == EACCES);
    CHECK(pwrite(data_fd, "x", 1, 0) < 0 && errno == EBADF);
    CHECK(ftruncate(data_fd, 0) < 0);
    CHECK(memory < 0 || close(memory) == 0);
}

static int consumer(struct proc *self, void *context)
{
    const struct story *story = context;
    const struct rlimit no_core = {0, 0};
    CHECK(setrlimit(RLIMIT_CORE, &no_core) == 0 && signal(SIGSEGV, SIG_DFL) != SIG_ERR);
    struct slipring_ring *ring = get(story);
    struct slipring_consumer *mine = proc_consumer(ring, story->how, SLIPRING_OLDEST);
    struct slipring_view view;
    proc_tell(self, 0);
    CHECK_EQ(slipring_consumer_acquire(mine, 1, &view, proc_in_ms(10000)), 0);
    CHECK(proc_view_whole(story->how, &view));
    expect_read_only(ring, view.data);
    CHECK(proc_view_whole(story->how, &view));
    proc_tell(self, 0);
    *(volatile char *)(uintptr_t)view.data = 1;
    return 0; /* not reached */
}

static void run(const struct proc_ring *how, int way)
{
    struct story story = {.how = how, .way = way};
    struct slipring_config config;
    struct slipring_ring *ring;
    int ends[2], status;
    snprintf(story.name, sizeof(story.name), "test-readonly-%d", (int)getpid());
    proc_config(how, &config);
    CHECK_EQ(slipring_ring_create(way == BY_NAME ? story.name : NULL, &config, &ring, NULL), 0);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    CHECK_EQ(slipring_ring_send(ring, ends[0], 0, NULL), 0);
    story.socket = ends[1];
    if (way == BY_DESCRIPTORS) { /* as they are handed on: opened for reading */
        struct slipring_ring *got;
        int data_fd, control_fd;
        CHECK_EQ(slipring_ring_receive(ends[1], &got, NULL), 0);
        slipring_ring_fds(got, &data_fd, &control_fd);
        story.descriptors[0] = dup(data_fd);
        story.descriptors[1] = dup(control_fd);
        slipring_ring_close(got);
    }
    const struct proc_ring *const first = how;
    struct slipring_producer *producer = NULL;
    if (way != BY_NAME) {
        producer = proc_producer(ring);
    } else { /* the child must find the ring by its name, not as its parent's */
        slipring_ring_close(ring);
    }
    struct proc child = proc_start(consumer, &story);
    proc_hear(&child);
    if (way == BY_NAME) {
        CHECK_EQ(slipring_ring_open(story.name, 0, &ring, NULL), 0);
        producer = proc_producer(ring);
    }
    CHECK_EQ(proc_publish(producer, first, 1, 0), 0);
    proc_hear(&child);
    CHECK_EQ(waitpid(child.pid, &status, 0), child.pid);
    CHECK(!WIFEXITED(status) || WEXITSTATUS(status) != 0); /* a sanitizer's report, or SIGSEGV */
    for (uint64_t i = 0; i < 2 * proc_info(ring).slots; i++) {
        CHECK_EQ(proc_publish(producer, how, 1, proc_in_ms(PROC_GO_ON_MS)), 0);
    }
    slipring_producer_detach(producer);
    slipring_ring_close(ring);
    CHECK(way != BY_NAME || slipring_ring_unlink(story.name, NULL) == 0);
    close(ends[0]);
    close(ends[1]);
    close(story.descriptors[0]);
    close(story.descriptors[1]);
}

int main(void)
{
    proc_begin(30);
    for (unsigned i = 0; i < PROC_RINGS; i++) {
        for (int way = 0; way < WAYS; way++) {
            if (proc_holds(&proc_rings[i])) {
                run(&proc_rings[i], way);
            }
        }
    }
    return 0;
}
