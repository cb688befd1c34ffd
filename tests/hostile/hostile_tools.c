/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: slipring info, ls and reap, and opening and creating by name, end with a result of their
 * own over a ring whose control object is being scribbled over, its head too, while others use it;
 * and when the head is as it was, the ring can be removed and leaves no file.
 * Faults: E2.
 */
#define _GNU_SOURCE
#include "ring/handle.h"
#include "hostile.h"
#include "tool.h"
#include "visit.h"

#include <glob.h>

enum { ROUNDS = 12, HEAD_BYTES = offsetof(struct slr_control, consumers_waiting) };

static const struct stress how = {.geometry = SLIPRING_GEOMETRY_TENSOR,
                                  .bytes = 1024,
                                  .slots = 8,
                                  .visitors = 1,
                                  .tables = 3,
                                  .batch = 3};

struct story {
    struct slipring_ring *ring;
    uint32_t parts;
    uint64_t seed;
};

static char name[64];

static int scribble(struct proc *self, void *context)
{
    const struct story *story = (const struct story *)context;
    uint64_t random = story->seed;
    proc_tell(self, 0);
    for (;;) {
        hostile_write(story->ring, story->parts, 1 + (unsigned)(proc_random(&random) % 500),
                      &random);
        proc_pause_us((int64_t)(proc_random(&random) % 2000));
    }
    return 0;
}

static int use(struct proc *self, void *context)
{
    const struct story *story = (const struct story *)context;
    const struct visit as = {.how = &how, .ring = story->ring, .scribbled = true};
    struct slipring_producer *producer = proc_producer(story->ring);
    uint64_t random = story->seed, messages;
    proc_tell(self, 0);
    for (;;) {
        for (int i = 0; i < 16; i++) {
            const int code = stress_publish(&how, producer, &random, 0, &messages);
            CHECK(code == 0 || code == -EAGAIN);
        }
        (void)visit(&as, &random);
    }
    return 0;
}

/* Not killed, not unheard-of. What it says is for whoever reads it. */
static int run_tool(const char *command)
{
    char arguments[128];
    snprintf(arguments, sizeof(arguments), "%s %s", command,
             strcmp(command, "ls") == 0 ? "" : name);
    const int status = tool_run(arguments, "2>&1");
    if (status > 2) {
        FAIL("slipring %s ends with status %d: %s", arguments, status, output);
    }
    return status;
}

/* As a process that has not opened it yet, which a forked child is not. */
static void open_anew(void)
{
    struct slipring_ring *ring;
    struct slipring_config config;
    struct slipring_field field;
    struct slipring_error error = {0};
    stress_config(&how, &config, &field);
    CHECK_EQ(slipring_ring_create(name, &config, &ring, &error), -EEXIST);
    CHECK(error.text[0] != 0);
}

/* How many runs of the tools succeeded. */
static unsigned look(struct story *story)
{
    unsigned succeeded = 0;
    struct proc scribbler = proc_start(scribble, story);
    proc_hear(&scribbler);
    struct proc user = proc_start(use, story);
    proc_hear(&user);
    for (int i = 0; i < ROUNDS; i++) {
        succeeded += run_tool("info") == 0;
        succeeded += run_tool("info --json") == 0;
        succeeded += run_tool("ls") == 0;
        if (i == ROUNDS / 2) {
            proc_kill(&user); /* for reap */
        }
        succeeded += run_tool("reap") == 0;
        open_anew();
    }
    proc_kill(&scribbler);
    return succeeded;
}

int main(void)
{
    proc_begin(120);
    tool_find();
    struct story story = {.parts = HOSTILE_ALL & ~(uint32_t)(HOSTILE_HEAD | HOSTILE_ANYWHERE),
                          .seed = proc_seed()};
    struct slipring_config config;
    struct slipring_field field;
    char head[HEAD_BYTES], pattern[128];
    glob_t found;
    snprintf(name, sizeof(name), "hostile-tools-%d", (int)getpid());
    stress_config(&how, &config, &field);
    CHECK_EQ(slipring_ring_create(name, &config, &story.ring, NULL), 0);
    memcpy(head, story.ring->segment.control, HEAD_BYTES);
    CHECK_EQ(look(&story), 4 * ROUNDS);
    story.parts = HOSTILE_ALL;
    (void)look(&story);
    memcpy(story.ring->segment.control, head, HEAD_BYTES);
    CHECK_EQ(slipring_ring_unlink(name, NULL), 0);
    slipring_ring_close(story.ring);
    snprintf(pattern, sizeof(pattern), "/dev/shm/.%s.*", name);
    CHECK_EQ(glob(pattern, 0, NULL, &found), GLOB_NOMATCH);
    return 0;
}
