/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attach_first           open by name and attach as a consumer, of a ring (with the default of 1024
 *                        members) that this process has not open, less the faulting in. Floor: the
 *                        same system calls in bare C, in the same order, on files of the same sizes
 * attach_first_faulting  the faulting in: madvise(2) over both mappings. Floor: the same calls
 * attach_again           open by name of a ring that this process has open, and close
 * attach_in_new_process  as attach_first and its faulting in, each time by a newly forked process of
 *                        two threads
 *
 * The ring belongs to another process. The last measure includes what a process does once, as far as the
 * bench has not done it before the fork (run it alone for all of it). The others leave out their first
 * repetition.
 */
#include "common.h"
#include "interposed.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHUNK 1000u
#define CELL_BYTE 16 /* the lock of some member */

enum what { FIRST, FAULTING, AGAIN, NEW_PROCESS };

struct site {
    char name[SLIPRING_NAME_MAX + 1];
    char data_path[256], control_path[256]; /* bare: files of the same sizes */
    uint64_t data_bytes, control_bytes, area_bytes;
    const struct run *run;
    enum what what;
    bool bare;
    uint64_t repeats;
};

static void put(const struct site *site, int64_t start_ns, int64_t populate_before)
{
    const int64_t all = now_ns() - start_ns;
    const int64_t faulting = populate_ns() - populate_before;
    const int64_t took = site->what == FAULTING      ? faulting
                         : site->what == NEW_PROCESS ? all
                                                     : all - faulting;
    samples_add(site->run->tails, (double)took);
}

static void open_ring(const struct site *site, struct slipring_ring **ring)
{
    struct slipring_error error = {0};
    if (slipring_ring_open(site->name, 0, ring, &error) != 0) {
        FAIL("%s: %s", error.call, error.text);
    }
}

static void attach_ours_once(const struct site *site, bool counted)
{
    struct slipring_ring *ring;
    const int64_t before = populate_ns();
    const int64_t start = now_ns();
    open_ring(site, &ring);
    struct slipring_consumer *consumer = ring_consumer(ring, SLIPRING_WAIT_ADAPTIVE);
    if (counted) {
        put(site, start, before);
    }
    slipring_consumer_detach(consumer);
    slipring_ring_close(ring);
}

static void attach_again(const struct site *site)
{
    struct slipring_ring *ring;
    open_ring(site, &ring);
    for (uint64_t c = 0; c < site->repeats; c++) {
        const int64_t start = now_ns();
        for (unsigned i = 0; i < CHUNK; i++) {
            struct slipring_ring *again;
            open_ring(site, &again);
            slipring_ring_close(again);
        }
        samples_add(site->run->chunks, (double)(now_ns() - start) / CHUNK);
    }
    slipring_ring_close(ring);
}

static int open_again(int control_fd)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", control_fd);
    const int fd = open(path, O_RDWR | O_CLOEXEC);
    CHECK(fd >= 0);
    return fd;
}

static bool lock_byte(int fd, short type, off_t byte)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    return fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

static void *map(void *at, uint64_t bytes, int protection, int flags, int fd, uint64_t offset)
{
    void *memory = mmap(at, bytes, protection, flags, fd, (off_t)offset);
    CHECK(memory != MAP_FAILED);
    return memory;
}

/* The system calls of opening and attaching, in their order. */
static void attach_bare_once(const struct site *site, bool counted)
{
    const int flags = O_NOCTTY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC;
    const uint64_t twice = site->data_bytes + site->area_bytes;
    struct stat status;
    uint8_t head[32];
    const int64_t before = populate_ns();
    const int64_t start = now_ns();
    CHECK(lstat(site->control_path, &status) == 0);
    const int control_fd = open(site->control_path, O_RDWR | flags);
    CHECK(control_fd >= 0 && fstat(control_fd, &status) == 0 && geteuid() == status.st_uid);
    CHECK(fstat(control_fd, &status) == 0 &&
          pread(control_fd, head, sizeof head, 0) == sizeof head);
    const int data_fd = open(site->data_path, O_RDONLY | flags);
    CHECK(data_fd >= 0 && fstat(data_fd, &status) == 0);
    const uint8_t *look = map(NULL, site->data_bytes, PROT_READ, MAP_SHARED, data_fd, 0);
    (void)*(const volatile uint8_t *)look; /* the geometry */
    CHECK(munmap((void *)(uintptr_t)look, site->data_bytes) == 0);
    uint8_t *data = map(NULL, twice, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    (void)map(data, site->data_bytes, PROT_READ, MAP_SHARED | MAP_FIXED, data_fd, 0);
    (void)map(data + site->data_bytes, site->area_bytes, PROT_READ, MAP_SHARED | MAP_FIXED, data_fd,
              site->data_bytes - site->area_bytes);
    uint8_t *control =
        map(NULL, site->control_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, control_fd, 0);
    const int presence_fd = open_again(control_fd);
    CHECK(!lock_byte(presence_fd, F_WRLCK, 0) && lock_byte(presence_fd, F_RDLCK, 0));
    CHECK(lstat(site->control_path, &status) == 0);
    CHECK(madvise(data, twice, MADV_POPULATE_READ) == 0);
    CHECK(madvise(control, site->control_bytes, MADV_POPULATE_WRITE) == 0);
    void *wiped = map(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(madvise(wiped, 4096, MADV_WIPEONFORK) == 0);
    *(volatile uint8_t *)wiped = 1;
    const int cell_fd = open_again(control_fd);
    CHECK(lock_byte(cell_fd, F_WRLCK, CELL_BYTE));
    if (counted) {
        put(site, start, before);
    }
    CHECK(close(cell_fd) == 0 && close(presence_fd) == 0 && munmap(wiped, 4096) == 0);
    CHECK(munmap(data, twice) == 0 && munmap(control, site->control_bytes) == 0);
    CHECK(close(data_fd) == 0 && close(control_fd) == 0);
}

/* A file as large as the ring's, all of it there. */
static void make_file(const char *path, uint64_t bytes)
{
    const int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    CHECK(fd >= 0 && posix_fallocate(fd, 0, (off_t)bytes) == 0);
    uint8_t *memory = map(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    memset(memory, 1, bytes);
    CHECK(munmap(memory, bytes) == 0 && close(fd) == 0);
}

static struct slipring_ring *make_ring(struct site *site)
{
    struct slipring_config config;
    struct slipring_ring *ring;
    struct slipring_error error = {0};
    struct slipring_info info = {.struct_size = sizeof info};
    slipring_config_init(&config);
    config.slot_bytes = 56;
    config.flags = SLIPRING_VANISH;
    if (slipring_ring_create(SLIPRING_AUTO_NAME, &config, &ring, &error) != 0) {
        FAIL("%s: %s", error.call, error.text);
    }
    CHECK(slipring_ring_info(ring, &info) == 0);
    snprintf(site->name, sizeof site->name, "%s", slipring_ring_name(ring));
    site->data_bytes = info.data_bytes;
    site->control_bytes = info.control_bytes;
    site->area_bytes = info.slots * info.payload_stride;
    return ring;
}

static void attach_once(const struct site *site, bool counted)
{
    if (site->bare) {
        attach_bare_once(site, counted);
    } else {
        attach_ours_once(site, counted);
    }
}

static void *idle_thread(void *context)
{
    (void)context;
    for (;;) {
        (void)pause();
    }
    return NULL;
}

static void attach_in_new_process(const struct site *site)
{
    fflush(NULL);
    const pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, idle_thread, NULL) == 0);
        attach_once(site, true);
        _exit(0);
    }
    int status;
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
}

static int play(struct seat *seat, void *context)
{
    struct site *site = context;
    if (seat_index(seat) == 0) { /* the owner */
        struct slipring_ring *ring = make_ring(site);
        if (site->bare) {
            make_file(site->data_path, site->data_bytes);
            make_file(site->control_path, site->control_bytes);
            CHECK(lock_byte(open(site->control_path, O_RDWR | O_CLOEXEC), F_RDLCK, 0));
        }
        seat_meet(seat);
        seat_meet(seat);
        slipring_ring_close(ring);
        return 0;
    }
    seat_meet(seat);
    if (site->what == AGAIN) {
        attach_again(site);
    } else {
        for (uint64_t i = 0; i <= site->repeats; i++) {
            if (site->what == NEW_PROCESS) {
                attach_in_new_process(site);
            } else {
                attach_once(site, i != 0);
            }
        }
    }
    seat_meet(seat);
    return 0;
}

static int attach(const struct run *run, enum what what, bool bare)
{
    struct site *site = shared_new(sizeof *site);
    site->run = run;
    site->what = what;
    site->bare = bare;
    site->repeats = run->quick ? 400 : 2000;
    const int pid = (int)getpid();
    snprintf(site->data_path, sizeof site->data_path, "/dev/shm/slipring-bench-%d-data", pid);
    snprintf(site->control_path, sizeof site->control_path, "/dev/shm/slipring-bench-%d-control",
             pid);
    const int result = team_run(2, play, site);
    (void)unlink(site->data_path);
    (void)unlink(site->control_path);
    shared_free(site, sizeof *site);
    return result;
}

static int ours(const struct run *run, const void *context)
{
    return attach(run, *(const enum what *)context, false);
}

static int bare(const struct run *run, const void *context)
{
    return attach(run, *(const enum what *)context, true);
}

void perf_attach_latency(struct bench *bench)
{
    static const enum what first = FIRST, faulting = FAULTING, again = AGAIN, fresh = NEW_PROCESS;
    const struct measure measures[] = {
        {.name = "attach_first",
         .unit = "ns",
         .floor = 1,
         .contenders = {{"slipring", ours, &first}, {"bare system calls", bare, &first}}},
        {.name = "attach_first_faulting",
         .unit = "ns",
         .floor = 1,
         .contenders = {{"slipring", ours, &faulting}, {"bare system calls", bare, &faulting}}},
        {.name = "attach_again",
         .unit = "ns",
         .floor = BENCH_NO_FLOOR,
         .contenders = {{"slipring", ours, &again}}},
        {.name = "attach_in_new_process",
         .unit = "ns",
         .floor = 1,
         .contenders = {{"slipring", ours, &fresh}, {"bare system calls", bare, &fresh}}},
    };
    for (unsigned i = 0; i < sizeof measures / sizeof *measures; i++) {
        bench_measure(bench, &measures[i]);
    }
}
