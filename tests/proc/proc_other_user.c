/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: what another user may do with a named ring is what its mode says, whatever the umask of
 * its creator: nothing by default; with read bits, read without announcing itself; with write bits,
 * be a consumer like any other; never produce, write data or remove the name. A ring of a user who
 * is neither oneself nor root is opened if one says so. Who may read control can hold the
 * producer's lock, as ring.h says, until it ends; by default nobody else can. Needs root.
 * Faults: E5, E7.
 */
#define _GNU_SOURCE
#include "base/os.h"
#include "ring/ring_name.h"
#include "proc.h"

#include <fcntl.h>
#include <grp.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define NOBODY 65534u
#define SOMEBODY 65533u
#define GROUP 65532u
#define HOW (&proc_rings[8]) /* tensor overwrite: it can be opened read-only */

enum { NOTHING, READS, CONSUMES };

struct story {
    char name[64], control[SLR_PATH_BYTES], data[SLR_PATH_BYTES];
    uid_t uid;  /* who comes */
    gid_t gid;  /* and with which group */
    int may;    /* what is expected */
    bool owned; /* by a user that who comes has no reason to trust */
};

static void become(uid_t uid, gid_t gid)
{
    CHECK(setgroups(0, NULL) == 0 && setgid(gid) == 0 && setuid(uid) == 0);
}

static int try_open(const struct story *story, uint32_t flags, struct slipring_ring **ring)
{
    return slipring_ring_open(story->name, flags, ring, NULL);
}

static void read_it(const struct story *story, uint32_t flags)
{
    struct slipring_ring *ring;
    struct slipring_view view;
    uint64_t buffer[64];
    CHECK_EQ(try_open(story, flags, &ring), 0);
    struct slipring_consumer *consumer = proc_consumer(ring, HOW, SLIPRING_OLDEST);
    CHECK_EQ(slipring_consumer_try_copy(consumer, buffer, sizeof(buffer), &view), 0);
    CHECK(pattern_whole(buffer, HOW->bytes, view.slot.sequence));
    slipring_consumer_detach(consumer);
    slipring_ring_close(ring);
}

static void consume(const struct story *story, uint32_t flags)
{
    struct slipring_ring *ring;
    struct slipring_producer *producer = NULL;
    struct slipring_view view;
    CHECK_EQ(try_open(story, flags, &ring), 0);
    struct slipring_consumer *consumer = proc_consumer(ring, HOW, SLIPRING_OLDEST);
    CHECK_EQ(slipring_consumer_try_acquire(consumer, 1, &view), 0);
    CHECK(proc_view_whole(HOW, &view));
    CHECK_EQ(slipring_consumer_release(consumer, &view), 0);
    CHECK_EQ(slipring_producer_attach(ring, NULL, &producer, NULL), -EPERM);
    int data_fd, control_fd;
    slipring_ring_fds(ring, &data_fd, &control_fd);
    CHECK_EQ(slr_os_reopen(data_fd, O_RDWR), -EACCES);
    slipring_consumer_detach(consumer);
    slipring_ring_close(ring);
}

/* Another user. */
static int come(struct proc *self, void *context)
{
    (void)self;
    const struct story *story = context;
    struct slipring_ring *ring;
    struct slipring_reaped reaped;
    become(story->uid, story->gid);
    const uint32_t trust = story->owned ? SLIPRING_ANY_OWNER : 0;
    CHECK(open(story->data, O_RDWR) < 0 && errno == EACCES);
    CHECK(truncate(story->data, 0) < 0 && errno == EACCES);
    CHECK_EQ(slipring_ring_unlink(story->name, NULL), -EPERM);
    if (story->owned && story->may != NOTHING) {
        CHECK_EQ(try_open(story, SLIPRING_READ_ONLY, &ring), -EPERM);
    }
    if (story->may == NOTHING) {
        CHECK(open(story->control, O_RDONLY) < 0 && errno == EACCES);
        CHECK(open(story->data, O_RDONLY) < 0 && errno == EACCES);
        CHECK_EQ(try_open(story, trust | SLIPRING_READ_ONLY, &ring), -EPERM);
    } else {
        read_it(story, trust | SLIPRING_READ_ONLY);
    }
    if (story->may == CONSUMES) {
        consume(story, trust);
    } else {
        CHECK(open(story->control, O_RDWR) < 0 && errno == EACCES);
        CHECK_EQ(try_open(story, trust, &ring), -EPERM);
        CHECK(slipring_ring_reap(story->name, &reaped, NULL) < 0);
    }
    return 0;
}

/* Holds the producer's byte for reading, being no member. */
static int hold_lock(struct proc *self, void *context)
{
    const struct story *story = context;
    become(story->uid, story->gid);
    const int fd = open(story->control, O_RDONLY | O_CLOEXEC);
    CHECK_EQ(fd >= 0, story->may != NOTHING);
    proc_tell(self, (uint64_t)(fd >= 0 && slr_os_lock(fd, SLR_LOCK_PRODUCER, true) == 0));
    proc_sleep();
}

static void locks(struct story *story, struct slipring_ring *ring)
{
    struct slipring_producer *producer = NULL;
    struct proc child = proc_start(hold_lock, story);
    const bool held = proc_hear(&child) != 0;
    CHECK_EQ(held, story->may != NOTHING);
    CHECK_EQ(slipring_producer_attach(ring, NULL, &producer, NULL), held ? -EBUSY : 0);
    slipring_producer_detach(producer);
    proc_kill(&child);
    slipring_producer_detach(proc_producer(ring));
}

/* The creator: root, or another user. */
static int run(struct proc *self, void *context)
{
    (void)self;
    const struct {
        mode_t mode;
        uid_t uid;
        gid_t gid;
        int may;
    } cases[] = {
        {0600, NOBODY, NOBODY, NOTHING},  {0640, NOBODY, NOBODY, NOTHING},
        {0640, NOBODY, GROUP, READS},     {0660, NOBODY, GROUP, CONSUMES},
        {0660, NOBODY, NOBODY, NOTHING},  {0644, NOBODY, NOBODY, READS},
        {0666, NOBODY, NOBODY, CONSUMES},
    };
    const mode_t masks[] = {0, 022, 0777};
    const bool owned = *(bool *)context;
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]) * 3; i++) {
        struct story story = {.uid = cases[i / 3].uid,
                              .gid = cases[i / 3].gid,
                              .may = cases[i / 3].may,
                              .owned = owned};
        struct slipring_config config;
        struct slipring_ring *ring;
        snprintf(story.name, sizeof(story.name), "test-other-user-%d", (int)getpid());
        proc_config(HOW, &config);
        config.mode = cases[i / 3].mode;
        config.gid = GROUP;
        umask(masks[i % 3]);
        CHECK_EQ(slipring_ring_create(story.name, &config, &ring, NULL), 0);
        umask(022);
        slr_name_control_path(story.name, story.control);
        slr_name_data_path(story.name, proc_info(ring).uuid, story.data);
        CHECK(!owned || (chown(story.control, SOMEBODY, GROUP) == 0 &&
                         chown(story.data, SOMEBODY, GROUP) == 0));
        struct slipring_producer *producer = proc_producer(ring);
        CHECK_EQ(proc_publish(producer, HOW, 2, 0), 0);
        slipring_producer_detach(producer);
        slipring_ring_close(ring); /* the child finds it by its name */
        struct proc child = proc_start(come, &story);
        proc_end(&child);
        CHECK_EQ(slipring_ring_open(story.name, SLIPRING_ANY_OWNER, &ring, NULL), 0);
        locks(&story, ring);
        slipring_ring_close(ring);
        CHECK_EQ(slipring_ring_unlink(story.name, NULL), 0);
    }
    return 0;
}

int main(void)
{
    proc_begin(60);
    if (geteuid() != 0) {
        SKIP("not root: nobody else can be become here");
    }
    for (int owned = 0; owned < 2; owned++) {
        bool by_another = owned == 1;
        struct proc child = proc_start(run, &by_another);
        proc_end(&child);
    }
    return 0;
}
