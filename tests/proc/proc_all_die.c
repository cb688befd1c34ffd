/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: when every process of a named ring is killed at once (its process group, at any moment of
 * their work), again and again without making the ring anew, whoever opens it next can produce at
 * once, reads all that was published and whole, from where the lasting groups stood, and joins;
 * after all rounds no message is missing, no member is left and the name can be removed.
 * Faults: A11.
 */
#define _GNU_SOURCE
#include "proc.h"

#include <signal.h>
#include <sys/prctl.h>

enum { ROUNDS = 25, WORKERS = 2, MOST_US = 6000, SEQUENCES = 1 << 20 };

struct shared {
    _Atomic uint64_t logged;   /* the log's next sequence, noted before each release */
    _Atomic uint64_t returned; /* and after */
    _Atomic uint32_t ready;
    _Atomic uint8_t done[SEQUENCES]; /* worked on, by sequence */
};

struct story {
    const struct proc_ring *how;
    char name[64];
    struct shared *shared;
};

static struct slipring_ring *open_it(const struct story *story)
{
    struct slipring_ring *ring;
    struct slipring_error error = {0};
    if (slipring_ring_open(story->name, 0, &ring, &error) != 0) {
        FAIL("open: %d %s: %s", error.code, error.call, error.text);
    }
    return ring;
}

/* Read the log on until the deadline; the first message may have been read and not released. */
static void log_on(const struct story *story, struct slipring_consumer *log, int64_t deadline_ns)
{
    struct shared *shared = story->shared;
    struct slipring_view view;
    int code;
    while ((code = slipring_consumer_acquire(log, 1, &view, deadline_ns)) == 0) {
        CHECK(proc_view_whole(story->how, &view));
        const uint64_t sequence = view.slot.sequence;
        CHECK(sequence == shared->logged || sequence == shared->returned);
        shared->logged = sequence + 1;
        CHECK_EQ(slipring_consumer_release(log, &view), 0);
        shared->returned = sequence + 1;
    }
    CHECK(code == -ETIMEDOUT || code == -EOWNERDEAD);
}

static void work_on(const struct story *story, struct slipring_consumer *worker, int64_t deadline)
{
    struct slipring_view view;
    int code;
    while ((code = slipring_consumer_acquire(worker, 3, &view, deadline)) == 0) {
        CHECK(proc_view_whole(story->how, &view));
        for (uint64_t i = 0; i < view.slots; i++) {
            story->shared->done[(view.slot.sequence + i) % SEQUENCES]++;
        }
        CHECK_EQ(slipring_consumer_release(worker, &view), 0);
    }
    CHECK(code == -ETIMEDOUT || code == -EOWNERDEAD);
}

static void one_of_them(const struct story *story, int role)
{
    struct slipring_ring *ring = open_it(story);
    struct slipring_producer *producer = role == 0 ? proc_producer(ring) : NULL;
    struct slipring_consumer *consumer =
        role == 0 ? NULL : proc_member(ring, role == 1 ? "log" : "work", role == 1 ? 0 : 1, 0);
    story->shared->ready++;
    for (uint64_t i = 0;; i++) {
        if (role == 0) {
            const int code = proc_publish(producer, story->how, 1 + i % 4, proc_in_ms(20));
            CHECK(code == 0 || code == -ETIMEDOUT);
        } else if (role == 1) {
            log_on(story, consumer, proc_in_ms(20));
        } else {
            work_on(story, consumer, proc_in_ms(20));
        }
    }
}

/* Start all of them in a process group of their own, let them work, kill the group. */
static void live_and_die(const struct story *story, int64_t us)
{
    pid_t group = 0;
    story->shared->ready = 0;
    for (int role = 0; role < 2 + WORKERS; role++) {
        fflush(NULL);
        const pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            CHECK(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0);
            CHECK(setpgid(0, group) == 0);
            one_of_them(story, role);
        }
        group = group == 0 ? child : group;
        CHECK(setpgid(child, group) == 0 || errno == EACCES);
    }
    for (const int64_t end = proc_in_ms(10000); story->shared->ready < 2 + WORKERS;) {
        CHECK(slipring_now_ns() < end);
        proc_pause_us(100);
    }
    proc_pause_us(us);
    CHECK(kill(-group, SIGKILL) == 0);
    for (int role = 0; role < 2 + WORKERS; role++) {
        int status;
        CHECK(waitpid(-group, &status, 0) > 0);
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    }
}

/* A process that comes afterwards. */
static int come_after(struct proc *self, void *context)
{
    (void)self;
    const struct story *story = context;
    const int64_t begin = slipring_now_ns();
    struct slipring_ring *ring = open_it(story);
    struct slipring_consumer *log = proc_member(ring, "log", 0, 0);
    struct slipring_consumer *worker = proc_member(ring, "work", SLIPRING_MANY, 0);
    struct slipring_producer *producer = proc_producer(ring);
    CHECK(slipring_now_ns() - begin < PROC_NOTICE_MS * PROC_MS);
    log_on(story, log, 0);
    work_on(story, worker, proc_in_ms(1));
    CHECK_EQ(story->shared->returned, proc_info(ring).cursor);
    CHECK_EQ(proc_publish(producer, story->how, 2, proc_in_ms(PROC_GO_ON_MS)), 0);
    log_on(story, log, 0);
    work_on(story, worker, proc_in_ms(1));
    CHECK_EQ(story->shared->returned, proc_info(ring).cursor);
    struct slipring_reaped reaped;
    CHECK_EQ(slipring_ring_reap(story->name, &reaped, NULL), 0);
    CHECK_EQ(proc_info(ring).members, 2);
    slipring_consumer_detach(log);
    slipring_consumer_detach(worker);
    slipring_producer_detach(producer);
    slipring_ring_close(ring);
    return 0;
}

static void run(const struct proc_ring *how, uint64_t *random)
{
    const struct slipring_group lasting[] = {{.name = "log"},
                                             {.name = "work", .flags = SLIPRING_MANY}};
    struct story story = {.how = how, .shared = proc_share(sizeof(struct shared))};
    struct slipring_config config;
    struct slipring_ring *ring;
    snprintf(story.name, sizeof(story.name), "test-all-die-%d", (int)getpid());
    proc_config(how, &config);
    config.slots = 32;
    config.lasting = lasting;
    config.lasting_count = 2;
    CHECK_EQ(slipring_ring_create(story.name, &config, &ring, NULL), 0);
    slipring_ring_close(ring);
    for (int round = 0; round < ROUNDS; round++) {
        live_and_die(&story, (int64_t)(proc_random(random) % MOST_US));
        struct proc after = proc_start(come_after, &story);
        proc_end(&after);
    }
    ring = open_it(&story);
    const struct slipring_info info = proc_info(ring);
    struct slipring_group_info groups[2] = {{.struct_size = sizeof(groups[0])}};
    CHECK_EQ(slipring_ring_groups(ring, groups, 2), 2);
    CHECK_EQ(info.epoch, 2 * ROUNDS);
    CHECK_EQ(info.members, 0);
    uint64_t never = 0;
    for (uint64_t s = 0; s < info.cursor && s < SEQUENCES; s++) {
        never += story.shared->done[s] == 0;
    }
    printf("%s: %llu messages, %llu redelivered, %llu dead letters\n", how->name,
           (unsigned long long)info.cursor, (unsigned long long)groups[0].redelivered,
           (unsigned long long)info.dead_letters);
    CHECK(never <= info.dead_letters && info.cursor < SEQUENCES);
    slipring_ring_close(ring);
    CHECK_EQ(slipring_ring_unlink(story.name, NULL), 0);
    proc_unshare(story.shared, sizeof(*story.shared));
}

int main(void)
{
    proc_begin(120);
    uint64_t random = proc_seed();
    for (unsigned i = 0; i < PROC_GEOMETRIES; i++) {
        run(&proc_rings[3 * i], &random);
    }
    return 0;
}
