/* SPDX-License-Identifier: Apache-2.0 */
/*
 * resume_after_kill            from the moment when a third process first finds the dead reader's
 *                              lock free to the return of the producer's claim, which waits for
 *                              that reader
 * resume_after_kill_from_kill  from before the SIGKILL: with what the kernel takes to end a process
 *                              with 34 MiB mapped
 *
 * The producer waits in its default way; the kill comes at another point of its sleeps each time.
 */
#include "common.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define SLOTS 16u
#define SLOT_BYTES (UINT64_C(1) << 20)
#define FIRST_MEMBER_BYTE 16 /* of the control file: before it are locks of the ring itself */
#define PHASES_US 5000u

struct scene {
    _Alignas(BENCH_PAD) _Atomic uint64_t attached; /* readers so far */
    _Atomic uint64_t blocked;                      /* times that the ring was full */
    _Atomic uint64_t resumed;                      /* times that the claim returned */
    _Atomic uint64_t over;                         /* deaths that were looked at */
    _Atomic int64_t killed_ns, free_ns;
    const struct run *run;
    struct slipring_ring *ring;
    uint64_t rounds;
    bool from_kill;
};

static void wait_for(_Atomic uint64_t *word, uint64_t value)
{
    while (atomic_load(word) < value) {
        (void)usleep(50);
    }
}

static void produce(struct scene *scene)
{
    struct slipring_producer *producer = ring_producer(scene->ring, SLIPRING_WAIT_ADAPTIVE);
    for (uint64_t i = 1; i <= scene->rounds; i++) {
        struct slipring_loan loan;
        wait_for(&scene->attached, i);
        int code;
        while ((code = slipring_producer_try_claim(producer, 1, &loan)) == 0) {
            CHECK(slipring_producer_publish(producer, 1, NULL) == 0);
        }
        CHECK(code == -EAGAIN);
        atomic_store(&scene->blocked, i);
        CHECK(slipring_producer_claim(producer, 1, &loan, SLIPRING_FOREVER) == 0);
        const int64_t now = now_ns();
        CHECK(slipring_producer_abort(producer) == 0);
        atomic_store(&scene->resumed, i);
        wait_for(&scene->over, i);
        const int64_t from = scene->from_kill ? scene->killed_ns : scene->free_ns;
        CHECK(now >= scene->killed_ns);
        samples_add(scene->run->tails, now > from ? (double)(now - from) : 0); /* it saw it first */
    }
    slipring_producer_detach(producer);
}

static pid_t start_reader(struct scene *scene, uint64_t round)
{
    const pid_t parent = getpid();
    const pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        CHECK(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == parent);
        bench_pin(bench_processors() > 2 ? 2 : 0); /* not where its death is watched */
        (void)ring_consumer(scene->ring, SLIPRING_WAIT_SLEEP);
        atomic_store(&scene->attached, round);
        for (;;) {
            (void)pause();
        }
    }
    return pid;
}

/* Is the lock of any member held? There is one member at most. */
static bool member_alive(int fd)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = FIRST_MEMBER_BYTE};
    CHECK(fcntl(fd, F_OFD_GETLK, &lock) == 0);
    return lock.l_type != F_UNLCK;
}

static void kill_readers(struct scene *scene)
{
    int data_fd, control_fd;
    char path[64];
    slipring_ring_fds(scene->ring, &data_fd, &control_fd);
    snprintf(path, sizeof path, "/proc/self/fd/%d", control_fd);
    const int fd = open(path, O_RDWR | O_CLOEXEC);
    CHECK(fd >= 0);
    for (uint64_t i = 1; i <= scene->rounds; i++) {
        const pid_t reader = start_reader(scene, i);
        wait_for(&scene->blocked, i);
        (void)usleep((useconds_t)(2000 + i * 1847 % PHASES_US));
        CHECK(member_alive(fd));
        atomic_store(&scene->killed_ns, now_ns());
        CHECK(kill(reader, SIGKILL) == 0);
        while (member_alive(fd)) {
        }
        atomic_store(&scene->free_ns, now_ns());
        CHECK(waitpid(reader, NULL, 0) == reader);
        wait_for(&scene->resumed, i);
        atomic_store(&scene->over, i);
    }
    close(fd);
}

static int play(struct seat *seat, void *context)
{
    struct scene *scene = context;
    seat_meet(seat);
    if (seat_index(seat) == 0) {
        produce(scene);
    } else {
        kill_readers(scene);
    }
    return 0;
}

static int ours(const struct run *run, const void *context)
{
    struct scene *scene = shared_new(sizeof *scene);
    scene->run = run;
    scene->ring = ring_simple(SLOT_BYTES, SLOTS);
    scene->rounds = run->quick ? 50 : 250;
    scene->from_kill = *(const bool *)context;
    const int result = team_run(2, play, scene);
    slipring_ring_close(scene->ring);
    shared_free(scene, sizeof *scene);
    return result;
}

void perf_kill_latency(struct bench *bench)
{
    static const bool from_free = false, from_kill = true;
    const struct measure measures[] = {
        {.name = "resume_after_kill",
         .unit = "ns",
         .floor = BENCH_NO_FLOOR,
         .contenders = {{"slipring", ours, &from_free}}},
        {.name = "resume_after_kill_from_kill",
         .unit = "ns",
         .floor = BENCH_NO_FLOOR,
         .contenders = {{"slipring", ours, &from_kill}}},
    };
    bench_measure(bench, &measures[0]);
    bench_measure(bench, &measures[1]);
}
