/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "proc.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <time.h>

#define HEAR_MS 60000

void proc_begin(unsigned seconds)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    CHECK(signal(SIGPIPE, SIG_IGN) != SIG_ERR);
    alarm(seconds);
}

uint64_t proc_seed(void)
{
    const char *given = getenv("SLIPRING_SEED");
    const uint64_t seed = given != NULL ? strtoull(given, NULL, 0) : (uint64_t)slipring_now_ns();
    printf("seed: SLIPRING_SEED=%llu\n", (unsigned long long)seed);
    return seed;
}

/* splitmix64, by Sebastiano Vigna. */
uint64_t proc_random(uint64_t *state)
{
    *state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = *state;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static bool write_all(const char *path, const char *text)
{
    const int fd = open(path, O_WRONLY);
    const bool written = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0) {
        close(fd);
    }
    return written;
}

/* Who is not root may mount only where a user namespace makes it the one who may. */
static bool leave_mounts(void)
{
    char user[32], group[32];
    if (unshare(CLONE_NEWNS) == 0) {
        return true;
    }
    snprintf(user, sizeof(user), "%d %d 1", (int)geteuid(), (int)geteuid());
    snprintf(group, sizeof(group), "%d %d 1", (int)getegid(), (int)getegid());
    return unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0 && write_all("/proc/self/uid_map", user) &&
           write_all("/proc/self/setgroups", "deny") && write_all("/proc/self/gid_map", group);
}

void proc_alone(void)
{
    if (!leave_mounts() || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "size=64m") != 0) {
        printf("NOT ALONE: file systems may not be mounted here; whoever lists or reaps rings "
               "meanwhile disturbs this test\n");
    }
}

int64_t proc_in_ms(int64_t ms)
{
    return slipring_now_ns() + ms * PROC_MS;
}

void proc_pause_us(int64_t us)
{
    const struct timespec pause = {us / 1000000, us % 1000000 * 1000};
    nanosleep(&pause, NULL);
}

void proc_pin(unsigned i)
{
    static cpu_set_t allowed; /* before the first pin; children inherit it */
    static unsigned count;
    if (count == 0) {
        CHECK(sched_getaffinity(0, sizeof(allowed), &allowed) == 0);
        count = (unsigned)CPU_COUNT(&allowed);
    }
    for (unsigned cpu = 0, seen = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &allowed) && seen++ == i % count) {
            cpu_set_t one;
            CPU_ZERO(&one);
            CPU_SET(cpu, &one);
            CHECK(sched_setaffinity(0, sizeof(one), &one) == 0);
        }
    }
}

struct proc proc_start(int (*body)(struct proc *self, void *context), void *context)
{
    int down[2], up[2];
    CHECK(pipe2(down, O_CLOEXEC) == 0 && pipe2(up, O_CLOEXEC) == 0);
    fflush(NULL);
    const pid_t parent = getpid();
    const pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        CHECK(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0);
        CHECK(getppid() == parent || getppid() == 0); /* 0: first of a PID namespace */
        close(down[1]);
        close(up[0]);
        struct proc self = {0, down[0], up[1]};
        const int code = body(&self, context);
        fflush(NULL);
        _exit(code);
    }
    close(down[0]);
    close(up[1]);
    return (struct proc){pid, up[0], down[1]};
}

void proc_tell(const struct proc *other, uint64_t word)
{
    CHECK_EQ(write(other->out, &word, sizeof(word)), sizeof(word));
}

uint64_t proc_hear(const struct proc *other)
{
    struct pollfd ready = {.fd = other->in, .events = POLLIN};
    if (poll(&ready, 1, HEAR_MS) != 1) {
        FAIL("nothing heard from %s", other->pid == 0 ? "the parent" : "a child");
    }
    uint64_t word;
    const ssize_t got = read(other->in, &word, sizeof(word));
    if (got != (ssize_t)sizeof(word)) {
        FAIL("%s is gone", other->pid == 0 ? "the parent" : "a child");
    }
    return word;
}

bool proc_silent(const struct proc *other, int64_t ms)
{
    struct pollfd ready = {.fd = other->in, .events = POLLIN};
    return poll(&ready, 1, (int)ms) == 0;
}

void proc_sleep(void)
{
    for (;;) {
        pause();
    }
}

static int proc_wait(struct proc *child)
{
    int status;
    CHECK_EQ(waitpid(child->pid, &status, 0), child->pid);
    close(child->in);
    close(child->out);
    child->pid = -1;
    return status;
}

void proc_kill(struct proc *child)
{
    CHECK(kill(child->pid, SIGKILL) == 0);
    const int status = proc_wait(child);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) {
        FAIL("a child to be killed had ended with status 0x%x", (unsigned)status);
    }
}

void proc_stop(const struct proc *child)
{
    int status;
    CHECK(kill(child->pid, SIGSTOP) == 0);
    CHECK_EQ(waitpid(child->pid, &status, WUNTRACED), child->pid);
    CHECK(WIFSTOPPED(status));
}

void proc_continue(const struct proc *child)
{
    CHECK(kill(child->pid, SIGCONT) == 0);
}

void proc_end(struct proc *child)
{
    const int status = proc_wait(child);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        FAIL("a child ended with status 0x%x", (unsigned)status);
    }
}

void *proc_share(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED);
    return memory;
}

void proc_unshare(void *memory, size_t bytes)
{
    CHECK(munmap(memory, bytes) == 0);
}

static uint64_t pattern_word(uint64_t sequence, uint64_t i)
{
    return sequence + i * (sequence * 2 + UINT64_C(0x9e3779b97f4a7c15));
}

void pattern_fill(void *data, uint64_t bytes, uint64_t sequence)
{
    uint64_t *words = data;
    for (uint64_t i = 0; i < bytes / sizeof(*words); i++) {
        words[i] = pattern_word(sequence, i);
    }
}

bool pattern_whole(const void *data, uint64_t bytes, uint64_t sequence)
{
    const uint64_t *words = data;
    uint64_t wrong = 0;
    for (uint64_t i = 0; i < bytes / sizeof(*words); i++) {
        wrong |= words[i] ^ pattern_word(sequence, i);
    }
    return wrong == 0;
}

#define RINGS_OF(name, geometry, bytes)                                                            \
    {name " block ordered", geometry, SLIPRING_BLOCK, bytes, 0},                                   \
        {name " block unordered", geometry, SLIPRING_BLOCK, bytes, SLIPRING_UNORDERED},            \
    {                                                                                              \
        name " overwrite", geometry, SLIPRING_OVERWRITE, bytes, 0                                  \
    }

const struct proc_ring proc_rings[PROC_RINGS] = {
    RINGS_OF("compact", SLIPRING_GEOMETRY_COMPACT, 56),
    RINGS_OF("pair", SLIPRING_GEOMETRY_PAIR, 120),
    RINGS_OF("tensor", SLIPRING_GEOMETRY_TENSOR, 512),
};

void proc_config(const struct proc_ring *how, struct slipring_config *config)
{
    slipring_config_init(config);
    config->geometry = how->geometry;
    config->full = how->full;
    config->slots = 8;
    config->slot_bytes = how->bytes;
    config->members_max = 16;
    config->groups_max = 2;
    config->releases_max = 4;
    if (how->full == SLIPRING_OVERWRITE) {
        config->groups_max = 0;
        config->releases_max = 0;
    }
}

struct slipring_ring *proc_create(const struct slipring_config *config)
{
    struct slipring_ring *ring;
    struct slipring_error error = {0};
    if (slipring_ring_create(NULL, config, &ring, &error) != 0) {
        FAIL("create: %d %s: %s", error.code, error.call, error.text);
    }
    return ring;
}

struct slipring_ring *proc_make(const struct proc_ring *how, uint64_t start_sequence)
{
    struct slipring_config config;
    proc_config(how, &config);
    config.start_sequence = start_sequence;
    return proc_create(&config);
}

struct slipring_info proc_info(struct slipring_ring *ring)
{
    struct slipring_info info = {.struct_size = sizeof(info)};
    CHECK_EQ(slipring_ring_info(ring, &info), 0);
    return info;
}

bool proc_holds(const struct proc_ring *how)
{
    return how->full == SLIPRING_BLOCK || how->geometry == SLIPRING_GEOMETRY_TENSOR;
}

struct slipring_producer *proc_producer(struct slipring_ring *ring)
{
    struct slipring_producer *producer;
    struct slipring_error error = {0};
    if (slipring_producer_attach(ring, NULL, &producer, &error) != 0) {
        FAIL("producer: %d %s: %s", error.code, error.call, error.text);
    }
    return producer;
}

static struct slipring_consumer *attach(struct slipring_ring *ring,
                                        const struct slipring_consumer_config *config)
{
    struct slipring_consumer *consumer;
    struct slipring_error error = {0};
    if (slipring_consumer_attach(ring, config, &consumer, &error) != 0) {
        FAIL("consumer: %d %s: %s", error.code, error.call, error.text);
    }
    return consumer;
}

struct slipring_consumer *proc_consumer(struct slipring_ring *ring, const struct proc_ring *how,
                                        uint32_t start)
{
    struct slipring_consumer_config config;
    slipring_consumer_config_init(&config);
    config.flags = how->member_flags;
    config.start = start;
    return attach(ring, &config);
}

struct slipring_consumer *proc_member(struct slipring_ring *ring, const char *group, uint32_t flags,
                                      int64_t evict_ms)
{
    struct slipring_consumer_config config;
    slipring_consumer_config_init(&config);
    config.group = group;
    config.flags = flags;
    config.start = SLIPRING_OLDEST;
    if (evict_ms != 0) {
        config.slow = SLIPRING_EVICT;
        config.evict_after_ns = (uint64_t)(evict_ms * PROC_MS);
    }
    return attach(ring, &config);
}

uint32_t proc_messages(uint64_t sequence)
{
    return 1 + (uint32_t)(sequence % 3);
}

uint64_t proc_messages_of(const struct proc_ring *how, uint64_t from, uint64_t to)
{
    uint64_t sum = 0;
    for (uint64_t s = from; s != to; s++) {
        sum += how->geometry == SLIPRING_GEOMETRY_COMPACT ? 1 : proc_messages(s);
    }
    return sum;
}

int proc_publish(struct slipring_producer *producer, const struct proc_ring *how, uint64_t n,
                 int64_t deadline_ns)
{
    struct slipring_loan loan;
    struct slipring_slot headers[1024]; /* slots of 64 bytes that fill a page of 64 KiB */
    CHECK(n <= 1024);
    memset(headers, 0, n * sizeof(headers[0]));
    const int code = deadline_ns == 0 ? slipring_producer_try_claim(producer, n, &loan)
                                      : slipring_producer_claim(producer, n, &loan, deadline_ns);
    if (code != 0) {
        return code;
    }
    CHECK_EQ(loan.slots, n);
    CHECK_EQ(loan.bytes, n * loan.stride);
    for (uint64_t i = 0; i < n; i++) {
        pattern_fill((char *)loan.data + i * loan.stride, how->bytes, loan.sequence + i);
        headers[i].tag = loan.sequence + i;
        headers[i].messages = proc_messages(loan.sequence + i);
    }
    const bool compact = how->geometry == SLIPRING_GEOMETRY_COMPACT;
    return slipring_producer_publish(producer, n, compact ? NULL : headers);
}

uint64_t proc_fill(struct slipring_producer *producer, const struct proc_ring *how)
{
    for (uint64_t count = 0;; count++) {
        const int code = proc_publish(producer, how, 1, 0);
        if (code != 0) {
            CHECK_EQ(code, -EAGAIN);
            return count;
        }
    }
}

bool proc_view_whole(const struct proc_ring *how, const struct slipring_view *view)
{
    for (uint64_t i = 0; i < view->slots; i++) {
        const char *data = (const char *)view->data + i * view->stride;
        if (!pattern_whole(data, how->bytes, view->slot.sequence + i)) {
            return false;
        }
    }
    return how->geometry == SLIPRING_GEOMETRY_COMPACT ||
           (view->slot.tag == view->slot.sequence &&
            view->slot.messages == proc_messages(view->slot.sequence));
}

int proc_take(struct slipring_consumer *consumer, const struct proc_ring *how,
              struct slipring_view *view, int64_t deadline_ns)
{
    uint64_t buffer[64];
    int code;
    if (proc_holds(how)) {
        code = deadline_ns == 0 ? slipring_consumer_try_acquire(consumer, 1, view)
                                : slipring_consumer_acquire(consumer, 1, view, deadline_ns);
    } else {
        CHECK(how->bytes <= sizeof(buffer));
        code = deadline_ns == 0
                   ? slipring_consumer_try_copy(consumer, buffer, sizeof(buffer), view)
                   : slipring_consumer_copy(consumer, buffer, sizeof(buffer), view, deadline_ns);
    }
    if (code != 0) {
        return code;
    }
    CHECK_EQ(view->slots, 1);
    CHECK(proc_view_whole(how, view));
    if (proc_holds(how)) {
        CHECK_EQ(slipring_consumer_release(consumer, view), 0);
    }
    return 0;
}

int proc_drain(struct slipring_consumer *consumer, const struct proc_ring *how, uint64_t *next,
               uint64_t *count)
{
    struct slipring_view view;
    for (;;) {
        const int code = proc_take(consumer, how, &view, 0);
        if (code != 0) {
            return code;
        }
        CHECK_EQ(view.slot.sequence, *next + view.missed);
        *next = view.slot.sequence + 1;
        (*count)++;
    }
}
