/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: creating a name that exists is -EEXIST with owner, age and cure in the text; made-up
 * names differ; members of an unlinked ring go on and see that it is orphaned, while the name is
 * free for another ring, which who opens it gets, also where the old one is still open.
 * Faults: C6.
 */
#include "proc.h"

#include <pwd.h>

struct story {
    const struct proc_ring *how;
    char name[64];
};

static int member(struct proc *self, void *context)
{
    const struct story *story = context;
    struct slipring_ring *ring, *again;
    CHECK_EQ(slipring_ring_open(story->name, 0, &ring, NULL), 0);
    CHECK_EQ(slipring_ring_open(story->name, 0, &again, NULL), 0);
    CHECK(memcmp(proc_info(ring).uuid, proc_info(again).uuid, 16) == 0);
    slipring_ring_close(again);
    struct slipring_consumer *consumer = proc_consumer(ring, story->how, SLIPRING_LATEST);
    struct slipring_view view;
    CHECK_STR(slipring_ring_name(ring), story->name);
    CHECK_EQ(proc_info(ring).orphaned, 0);
    proc_tell(self, 0);
    proc_hear(self); /* unlinked */
    CHECK_EQ(proc_info(ring).orphaned, 1);
    CHECK_EQ(slipring_ring_open(story->name, 0, &again, NULL), -ENOENT);
    proc_tell(self, 0);
    CHECK_EQ(proc_take(consumer, story->how, &view, proc_in_ms(5000)), 0);
    proc_tell(self, view.slot.sequence);
    proc_hear(self); /* made anew */
    CHECK_EQ(slipring_ring_open(story->name, 0, &again, NULL), 0);
    CHECK(memcmp(proc_info(ring).uuid, proc_info(again).uuid, 16) != 0);
    CHECK_EQ(proc_info(again).orphaned, 0);
    slipring_ring_close(again);
    CHECK_EQ(proc_take(consumer, story->how, &view, proc_in_ms(5000)), 0);
    proc_tell(self, view.slot.sequence);
    slipring_consumer_detach(consumer);
    slipring_ring_close(ring);
    return 0;
}

static void expect_taken(const struct story *story, const struct slipring_config *config)
{
    struct slipring_ring *second = NULL;
    struct slipring_error error = {0};
    CHECK_EQ(slipring_ring_create(story->name, config, &second, &error), -EEXIST);
    CHECK(second == NULL);
    CHECK_EQ(error.code, -EEXIST);
    const struct passwd *user = getpwuid(getuid());
    char uid[16];
    snprintf(uid, sizeof(uid), "%u", (unsigned)getuid());
    const bool owner = strstr(error.text, uid) != NULL ||
                       (user != NULL && strstr(error.text, user->pw_name) != NULL);
    if (!owner || strstr(error.text, story->name) == NULL || strstr(error.text, "ago") == NULL) {
        FAIL("does not name the ring, its owner and its age: %s", error.text);
    }
    if (strstr(error.text, "unlink") == NULL && strstr(error.text, "open") == NULL) {
        FAIL("names no cure: %s", error.text);
    }
}

static void run(const struct proc_ring *how)
{
    struct story story = {.how = how};
    struct slipring_config config;
    struct slipring_ring *ring, *second;
    snprintf(story.name, sizeof(story.name), "test-names.%d_A-z+0", (int)getpid());
    proc_config(how, &config);
    CHECK_EQ(slipring_ring_create(story.name, &config, &ring, NULL), 0);
    expect_taken(&story, &config);
    struct slipring_producer *producer = proc_producer(ring);
    struct proc child = proc_start(member, &story);
    proc_hear(&child);
    CHECK_EQ(slipring_ring_unlink(story.name, NULL), 0);
    CHECK_EQ(slipring_ring_unlink(story.name, NULL), -ENOENT);
    proc_tell(&child, 0);
    proc_hear(&child);
    CHECK_EQ(proc_publish(producer, how, 1, 0), 0);
    CHECK_EQ(proc_hear(&child), 0);
    CHECK_EQ(slipring_ring_create(story.name, &config, &second, NULL), 0);
    CHECK(memcmp(proc_info(ring).uuid, proc_info(second).uuid, 16) != 0);
    proc_tell(&child, 0);
    CHECK_EQ(proc_publish(producer, how, 1, 0), 0);
    CHECK_EQ(proc_hear(&child), 1);
    proc_end(&child);
    slipring_producer_detach(producer);
    slipring_ring_close(ring);
    CHECK_EQ(slipring_ring_open(story.name, 0, &ring, NULL), 0);
    CHECK(memcmp(proc_info(ring).uuid, proc_info(second).uuid, 16) == 0);
    slipring_ring_close(ring);
    slipring_ring_close(second);
    CHECK_EQ(slipring_ring_unlink(story.name, NULL), 0);
}

static void made_up(const struct proc_ring *how)
{
    struct slipring_ring *a, *b;
    struct slipring_config config;
    proc_config(how, &config);
    config.flags = SLIPRING_VANISH;
    CHECK_EQ(slipring_ring_create(SLIPRING_AUTO_NAME, &config, &a, NULL), 0);
    CHECK_EQ(slipring_ring_create(SLIPRING_AUTO_NAME, &config, &b, NULL), 0);
    CHECK(slipring_ring_name(a)[0] != '\0' && slipring_ring_name(b)[0] != '\0');
    CHECK(strcmp(slipring_ring_name(a), slipring_ring_name(b)) != 0);
    slipring_ring_close(a);
    slipring_ring_close(b);
}

int main(void)
{
    proc_begin(60);
    for (unsigned i = 0; i < PROC_RINGS; i++) {
        run(&proc_rings[i]);
        made_up(&proc_rings[i]);
    }
    return 0;
}
