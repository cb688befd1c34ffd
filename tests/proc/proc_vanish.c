/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: a ring created to vanish goes with its last open handle, whoever holds it, and not
 * before; one whose last member was killed goes at the next reap, open, create or listing; nothing
 * is left in /dev/shm. A persistent ring stays through all of it.
 */
#include "proc.h"

#include <dirent.h>

struct story {
    const struct proc_ring *how;
    char name[64];
    uint32_t flags;
};

static unsigned files_of(const char *name)
{
    DIR *directory = opendir("/dev/shm");
    CHECK(directory != NULL);
    unsigned count = 0;
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        count += strstr(entry->d_name, name) != NULL;
    }
    closedir(directory);
    return count;
}

static struct slipring_ring *make(const struct story *story)
{
    struct slipring_config config;
    struct slipring_ring *ring;
    struct slipring_error error = {0};
    proc_config(story->how, &config);
    config.flags = story->flags;
    if (slipring_ring_create(story->name, &config, &ring, &error) != 0) {
        FAIL("create %s: %d %s", story->name, error.code, error.text);
    }
    return ring;
}

static int opener(struct proc *self, void *context)
{
    const struct story *story = context;
    struct slipring_ring *ring;
    proc_hear(self);
    CHECK_EQ(slipring_ring_open(story->name, 0, &ring, NULL), 0);
    struct slipring_consumer *consumer = proc_consumer(ring, story->how, SLIPRING_OLDEST);
    proc_tell(self, 0);
    proc_hear(self);
    slipring_consumer_detach(consumer);
    slipring_ring_close(ring);
    proc_tell(self, 0);
    return 0;
}

static int killed(struct proc *self, void *context)
{
    const struct story *story = context;
    struct slipring_ring *ring = make(story);
    struct slipring_producer *producer = proc_producer(ring);
    struct slipring_consumer *consumer = proc_consumer(ring, story->how, SLIPRING_OLDEST);
    CHECK_EQ(proc_publish(producer, story->how, 1, 0), 0);
    CHECK(consumer != NULL);
    proc_tell(self, 0);
    proc_sleep();
}

static void last_handle(struct story *story)
{
    struct proc child = proc_start(opener, story); /* before it could inherit a handle */
    struct slipring_ring *ring = make(story), *none = NULL;
    proc_tell(&child, 0);
    proc_hear(&child);
    slipring_ring_close(ring);
    CHECK_EQ(files_of(story->name), 2);
    CHECK_EQ(slipring_ring_open(story->name, 0, &ring, NULL), 0);
    slipring_ring_close(ring);
    CHECK_EQ(files_of(story->name), 2);
    proc_tell(&child, 0);
    proc_hear(&child);
    proc_end(&child);
    const bool vanishes = (story->flags & SLIPRING_VANISH) != 0;
    CHECK_EQ(files_of(story->name), vanishes ? 0 : 2);
    CHECK_EQ(slipring_ring_open(story->name, 0, &none, NULL), vanishes ? -ENOENT : 0);
    slipring_ring_close(none);
    if (!vanishes) {
        CHECK_EQ(slipring_ring_unlink(story->name, NULL), 0);
    }
    CHECK_EQ(files_of(story->name), 0);
}

static int unwanted(void *user, const char *name, enum slipring_listed kind)
{
    (void)kind;
    return strcmp(name, ((const struct story *)user)->name) == 0 ? 1 : 0;
}

static void last_killed(struct story *story, unsigned finder)
{
    struct proc child = proc_start(killed, story);
    struct slipring_ring *ring = NULL;
    struct slipring_reaped reaped = {0};
    proc_hear(&child);
    CHECK_EQ(slipring_ring_reap(story->name, &reaped, NULL), 0);
    CHECK_EQ(reaped.rings + reaped.members, 0);
    proc_kill(&child);
    CHECK_EQ(files_of(story->name), 2);
    switch (finder) {
    case 0:
        CHECK_EQ(slipring_ring_reap(story->name, &reaped, NULL), 0);
        CHECK_EQ(reaped.rings, 1);
        break;
    case 1:
        CHECK_EQ(slipring_ring_open(story->name, 0, &ring, NULL), -ENOENT);
        break;
    case 2:
        CHECK_EQ(slipring_ring_list(unwanted, story), 0);
        break;
    case 3:
        ring = make(story);
        CHECK_EQ(proc_info(ring).cursor, 0);
        slipring_ring_close(ring);
        break;
    default:
        CHECK_EQ(slipring_ring_reap(NULL, &reaped, NULL), 0);
        CHECK(reaped.rings >= 1);
    }
    CHECK_EQ(files_of(story->name), 0);
}

static void persistent_killed(struct story *story)
{
    struct proc child = proc_start(killed, story);
    struct slipring_ring *ring;
    struct slipring_reaped reaped = {0};
    proc_hear(&child);
    proc_kill(&child);
    CHECK_EQ(slipring_ring_reap(story->name, &reaped, NULL), 0);
    CHECK_EQ(reaped.rings, 0);
    CHECK_EQ(reaped.members, 1);
    CHECK_EQ(slipring_ring_open(story->name, 0, &ring, NULL), 0);
    CHECK_EQ(proc_info(ring).cursor, 1);
    CHECK_EQ(proc_info(ring).members, 0);
    CHECK_EQ(slipring_ring_unlink(story->name, NULL), 0);
    slipring_ring_close(ring);
    CHECK_EQ(files_of(story->name), 0);
}

int main(void)
{
    proc_begin(60);
    proc_alone();
    for (unsigned i = 0; i < PROC_RINGS; i++) {
        struct story story = {.how = &proc_rings[i], .flags = SLIPRING_VANISH};
        snprintf(story.name, sizeof(story.name), "test-vanish-%d", (int)getpid());
        last_handle(&story);
        last_killed(&story, i % 5);
        last_killed(&story, (i + 1) % 5);
        story.flags = 0;
        last_handle(&story);
        persistent_killed(&story);
    }
    return 0;
}
