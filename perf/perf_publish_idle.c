/* SPDX-License-Identifier: Apache-2.0 */
/*
 * publish_idle        claim, write of 56 bytes and publish with nobody asleep and nobody reading
 *                     at the time: bursts of half the ring, drained in between by a consumer of
 *                     the same process. Floor: the same bursts into a bare ring, whose publish is
 *                     one release store: a fence in ours would show as its multiple.
 * publish_idle_calls  system calls per hundred publishes, of both kinds (inline.h and the
 *                     library's functions). Counted by the kernel: a seccomp filter traps every
 *                     system call of the process, and a first one made on purpose must be seen.
 */
#include "bare.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SLOTS BARE_SLOTS
#define BURST (SLOTS / 2)
#define COUNTED 100000u

struct idle {
    const struct run *run;
    struct slipring_ring *ring;
    struct bare_ring *bare;
    uint64_t chunks;
};

static void burst_ours(struct slipring_fast *fast, uint64_t first)
{
    for (uint64_t s = first; s < first + BURST; s++) {
        void *data;
        CHECK(slipring_fast_try_claim(fast, 1, &data) == 0);
        words_fill(data, 7, s);
        CHECK(slipring_fast_publish(fast, 1) == 0);
    }
}

static void drain_ours(struct slipring_fast *fast, uint64_t first)
{
    for (uint64_t s = first; s < first + BURST; s++) {
        const void *data;
        CHECK(slipring_fast_try_acquire(fast, 1, &data) == 1 && words_right(data, 7, s));
        CHECK(slipring_fast_release(fast, 1) == 0);
    }
}

static void burst_bare(struct bare_ring *ring, struct bare_writer *writer)
{
    for (unsigned i = 0; i < BURST; i++) {
        struct bare_slot *slot = bare_claim(ring, writer);
        CHECK(slot != NULL);
        words_fill(slot->payload, 7, writer->next);
        bare_publish(slot, writer);
    }
}

static void drain_bare(struct bare_ring *ring, uint64_t first)
{
    for (uint64_t s = first; s < first + BURST; s++) {
        const struct bare_slot *slot = bare_acquire(ring, s);
        CHECK(slot != NULL && words_right(slot->payload, 7, s));
        bare_release(ring, s);
    }
}

static int play(struct seat *seat, void *context)
{
    const struct idle *idle = context;
    struct slipring_producer *producer = NULL;
    struct slipring_consumer *consumer = NULL;
    struct bare_writer writer = {0, 0};
    (void)seat;
    if (idle->ring != NULL) {
        producer = ring_producer(idle->ring, SLIPRING_WAIT_SPIN);
        consumer = ring_consumer(idle->ring, SLIPRING_WAIT_SPIN);
    }
    for (uint64_t c = 0; c < idle->chunks; c++) {
        const uint64_t first = c * BURST;
        const int64_t start = now_ns();
        if (idle->ring != NULL) {
            burst_ours(slipring_producer_fast(producer), first);
        } else {
            burst_bare(idle->bare, &writer);
        }
        samples_add(idle->run->chunks, (double)(now_ns() - start) / BURST);
        if (idle->ring != NULL) {
            drain_ours(slipring_consumer_fast(consumer), first);
        } else {
            drain_bare(idle->bare, first);
        }
    }
    slipring_producer_detach(producer);
    slipring_consumer_detach(consumer);
    return 0;
}

static int ours(const struct run *run, const void *context)
{
    (void)context;
    struct idle idle = {
        .run = run, .ring = ring_simple(56, SLOTS), .chunks = run->quick ? 5000 : 20000};
    const int result = team_run(1, play, &idle);
    slipring_ring_close(idle.ring);
    return result;
}

static int bare(const struct run *run, const void *context)
{
    (void)context;
    struct idle idle = {
        .run = run, .bare = shared_new(sizeof *idle.bare), .chunks = run->quick ? 5000 : 20000};
    bare_init(idle.bare);
    const int result = team_run(1, play, &idle);
    shared_free(idle.bare, sizeof *idle.bare);
    return result;
}

/* ---- system calls ---- */

static volatile sig_atomic_t trapped;

static void on_trap(int number)
{
    (void)number;
    trapped++;
}

/* From here on every system call of this process is counted instead of made, but for those that
 * counting and ending need. */
static void trap_calls(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_rt_sigreturn, 3, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_write, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog program = {.len = sizeof filter / sizeof *filter, .filter = filter};
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_trap;
    CHECK(sigaction(SIGSYS, &action, NULL) == 0);
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

static void publish_shared(struct slipring_producer *producer, uint64_t s)
{
    struct slipring_loan loan;
    CHECK(slipring_producer_try_claim(producer, 1, &loan) == 0);
    words_fill(loan.data, 7, s);
    CHECK(slipring_producer_publish(producer, 1, NULL) == 0);
}

static int play_counted(struct seat *seat, void *context)
{
    const struct idle *idle = context;
    struct slipring_producer *producer = ring_producer(idle->ring, SLIPRING_WAIT_SPIN);
    struct slipring_consumer *consumer = ring_consumer(idle->ring, SLIPRING_WAIT_SPIN);
    uint64_t s = 0;
    (void)seat;
    trap_calls();
    (void)syscall(SYS_getppid);
    CHECK(trapped == 1);
    trapped = 0;
    while (s < COUNTED) {
        const uint64_t first = s;
        if (s / BURST % 2 == 0) {
            burst_ours(slipring_producer_fast(producer), s);
            s += BURST;
        } else {
            for (const uint64_t end = s + BURST; s < end; s++) {
                publish_shared(producer, s);
            }
        }
        const sig_atomic_t count = trapped;
        drain_ours(slipring_consumer_fast(consumer), first);
        trapped = count;
    }
    samples_add(idle->run->chunks, 100 * (double)trapped / (double)s);
    return 0; /* detaching is system calls: left to the kernel */
}

static int counted(const struct run *run, const void *context)
{
    (void)context;
    struct idle idle = {.run = run, .ring = ring_simple(56, SLOTS)};
    const int result = team_run(1, play_counted, &idle);
    slipring_ring_close(idle.ring);
    return result;
}

void perf_publish_idle(struct bench *bench)
{
    const struct measure cost = {
        .name = "publish_idle",
        .unit = "ns",
        .floor = 1,
        .contenders = {{"slipring", ours, NULL}, {"bare ring", bare, NULL}}};
    const struct measure calls = {.name = "publish_idle_calls",
                                  .unit = "%",
                                  .floor = BENCH_NO_FLOOR,
                                  .contenders = {{"slipring", counted, NULL}}};
    bench_measure(bench, &cost);
    bench_measure(bench, &calls);
}
