/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves that a queue's shared file survives the kill -9 of a putter or a getter at every instruction
 * of a put and of a get: what was there before comes out once, in order; the victim's own item at most
 * once, and exactly once if its put had returned, or if it had not yet copied it; no place, no byte of
 * the pipe and no block is lost.
 *
 * The victim is stepped n instructions into its work and killed, for every n until it ends by itself,
 * or with SLIPRING_STRIDE for every so many-th, 11 by default, beginning at another one each time.
 */
#include "lane.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#define ITEMS 3
#define MAXSIZE 5
#define BLOCK UINT64_C(40960)
#define BLOCKS 4 /* that fit */
#define VICTIMS 99

/* How far the victim came; in memory that it shares with us. */
struct progress {
    int copied, done;
};

static struct progress *progress;
static const char *scenario;
static long step;

static void require(int condition, const char *what)
{
    if (!condition) {
        printf("FAILED: %s after %ld instructions: %s\n", scenario, step, what);
        exit(1);
    }
}

static int put(struct lane_queue *queue, int value)
{
    const struct lane_piece piece = {&value, sizeof value};
    const struct lane_record record = {&piece, 1, sizeof value, 0, NULL, 0};
    const int code = lane_admit(queue, true);
    return code < 0 ? code : lane_put(queue, &record, false);
}

static int put_block(struct lane_queue *queue, int value)
{
    uint32_t index;
    uint8_t *data;
    int code = lane_admit(queue, true);
    if (code < 0 || (code = lane_take_block(queue, BLOCK, &index, &data)) < 0) {
        return code;
    }
    memcpy(data, &value, sizeof value);
    const struct lane_piece piece = {&index, sizeof index};
    const struct lane_record record = {&piece, 1, sizeof index, LANE_BUFFERS, &index, 1};
    return lane_put(queue, &record, false);
}

/* The next item's value; the block it came in is given back. */
static int get(struct lane_queue *queue, int *value, struct progress *told)
{
    struct lane_item item;
    const int code = lane_take(queue, &item);
    if (code < 0) {
        return code;
    }
    uint32_t index = 0;
    const uint8_t *block = NULL;
    if ((item.flags & LANE_BUFFERS) != 0) {
        memcpy(&index, item.data, sizeof index);
        block = lane_lease_block(queue, item.lane, index, BLOCK);
        require(block != NULL, "the block that a record names");
    }
    memcpy(value, block != NULL ? block : item.data, sizeof *value);
    told->copied = 1;
    lane_finish(queue, &item);
    if (block != NULL) {
        lane_return_block(queue, queue->self, item.lane, index);
    }
    told->done = 1;
    return 0;
}

static void victim_puts(struct lane_queue *queue)
{
    progress->done = put(queue, VICTIMS) == 0;
}

static void victim_puts_block(struct lane_queue *queue)
{
    progress->done = put_block(queue, VICTIMS) == 0;
}

static void victim_gets(struct lane_queue *queue)
{
    int value;
    (void)get(queue, &value, progress);
}

static bool readable(const struct lane_queue *queue)
{
    struct pollfd pipe = {.fd = queue->read_fd, .events = POLLIN};
    return poll(&pipe, 1, 0) == 1;
}

/* Kills the victim after `step` instructions; true if it had ended before. */
static bool kill_within(struct lane_queue *queue, void (*work)(struct lane_queue *), bool joined)
{
    memset(progress, 0, sizeof *progress);
    const pid_t pid = fork();
    if (pid == 0) {
        if (joined && lane_join(queue) < 0) {
            _exit(2);
        }
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        raise(SIGSTOP);
        work(queue);
        _exit(0);
    }
    int status;
    require(waitpid(pid, &status, 0) == pid && WIFSTOPPED(status), "the victim stops");
    for (long i = 0; i < step; i++) {
        ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL);
        require(waitpid(pid, &status, 0) == pid, "the victim steps");
        if (WIFEXITED(status)) {
            require(WEXITSTATUS(status) == 0, "the victim's work");
            return true;
        }
    }
    kill(pid, SIGKILL);
    require(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status), "the victim is dead");
    return false;
}

static void drain(struct lane_queue *queue, bool polled, bool putter)
{
    int value, next = 0, victims = 0;
    struct progress own;
    lane_reap(queue);
    for (;;) {
        require(!polled || !lane_any(queue) || readable(queue), "items, and nothing in the pipe");
        if (get(queue, &value, &own) < 0) {
            break;
        }
        if (value == VICTIMS) {
            victims++;
            continue;
        }
        next += !putter && next == 0 && value == 1 && progress->copied;
        require(value == next++, "items are lost, or out of order");
    }
    require(next == ITEMS, "not all items came");
    require(victims <= (putter ? 1 : 0), "the victim's item came twice");
    require(!putter || !progress->done || victims == 1, "what was put is lost");
}

static void check_whole(struct lane_queue *queue, bool polled)
{
    int value;
    struct progress own;
    require(!lane_any_announced(queue) && lane_size(queue, 0) == 0, "the queue is not empty");
    require(!polled || !readable(queue), "bytes are left in the pipe");
    for (int i = 0; i < MAXSIZE; i++) {
        require(put(queue, i) == 0, "a place is lost");
    }
    require(put(queue, 0) == -EAGAIN, "there is a place too many");
    for (int i = 0; i < MAXSIZE; i++) {
        require(get(queue, &value, &own) == 0 && value == i, "items after that");
    }
    for (int i = 0; i < BLOCKS; i++) {
        uint32_t index;
        uint8_t *data;
        require(lane_take_block(queue, BLOCK, &index, &data) == 0, "a block is lost");
    }
}

static bool trial(void (*work)(struct lane_queue *), bool putter, bool blocks, bool polled,
                  bool joined)
{
    const struct lane_options options = {
        .lanes = 1 + putter, .lane_bytes = 4096, .block_bytes = 200 << 10, .maxsize = MAXSIZE};
    struct lane_queue *queue;
    int fd, ends[2];
    require(lane_create(&options, &fd) == 0 && pipe2(ends, O_NONBLOCK | O_CLOEXEC) == 0 &&
                lane_open(fd, ends[0], ends[1], &queue) == 0,
            "a queue");
    if (polled) {
        lane_poll_on(queue);
    }
    for (int i = 0; i < ITEMS; i++) {
        require((blocks ? put_block(queue, i) : put(queue, i)) == 0, "the first items");
    }
    const bool ended = kill_within(queue, work, joined);
    drain(queue, polled, putter);
    check_whole(queue, polled);
    if (putter) { /* the dead one's lane is the next one's, with all that is in it */
        const pid_t pid = fork();
        if (pid == 0) {
            uint32_t index;
            uint8_t *data;
            bool well = put(queue, 7) == 0 && lane_size(queue, 0) == 1;
            for (int i = 0; i < BLOCKS; i++) {
                well = well && lane_take_block(queue, BLOCK, &index, &data) == 0;
            }
            _exit(well ? 0 : 1);
        }
        int status, value;
        struct progress own;
        require(waitpid(pid, &status, 0) == pid && status == 0, "the dead one's lane");
        require(get(queue, &value, &own) == 0 && value == 7, "an item from the dead one's lane");
    }
    lane_close(queue);
    close(ends[0]);
    close(ends[1]);
    return ended;
}

int main(void)
{
    static const struct {
        const char *name;
        void (*work)(struct lane_queue *);
        bool putter, blocks, polled, joined;
        long stride; /* times this: joining is long, and of one kind */
    } scenarios[] = {
        {"a put", victim_puts, true, false, false, true, 1},
        {"a put, waited for", victim_puts, true, false, true, true, 1},
        {"a put of a block", victim_puts_block, true, true, false, true, 1},
        {"a first put", victim_puts, true, false, false, false, 5},
        {"a get", victim_gets, false, false, false, true, 1},
        {"a get, waited for", victim_gets, false, false, true, true, 1},
        {"a get of a block", victim_gets, false, true, false, true, 1},
        {"a first get", victim_gets, false, false, false, false, 5},
    };
    progress =
        mmap(NULL, sizeof *progress, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (progress == MAP_FAILED) {
        return 1;
    }
    const char *asked = getenv("SLIPRING_STRIDE");
    const long stride = asked != NULL && atol(asked) > 0 ? atol(asked) : 11;
    const long seed = (long)getpid();
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("seed %ld\n", seed);
    for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++) {
        scenario = scenarios[i].name;
        const long every = stride * scenarios[i].stride;
        int trials = 0;
        step = seed % every;
        while (!trial(scenarios[i].work, scenarios[i].putter, scenarios[i].blocks,
                      scenarios[i].polled, scenarios[i].joined)) {
            step += every;
            trials++;
        }
        printf("%s: killed in %d places\n", scenario, trials);
    }
    return 0;
}
