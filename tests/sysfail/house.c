/* SPDX-License-Identifier: Apache-2.0 */
/* The house of a scenario: its ring, its members, and what they must see after each victim. */
#define _GNU_SOURCE
#include "base/names.h"
#include "base/os.h"
#include "ring/handle.h"
#include "heap.h"
#include "scenario.h"

#include <dirent.h>
#include <fcntl.h>

#define GROUP "work"
#define LASTING "lasting" /* gates without a member too */
#define NOTICED_NS (PROC_NOTICE_MS * PROC_MS)
#define UNKNOWN UINT64_MAX

/* ---- what a process has ---- */

static unsigned entries(const char *path, const char *part)
{
    unsigned count = 0;
    DIR *directory = opendir(path);
    CHECK(directory != NULL);
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        count += strstr(entry->d_name, part) != NULL;
    }
    closedir(directory);
    return count;
}

unsigned files(const struct room *r)
{
    return entries("/dev/shm", r->name);
}

/* The number behind a key in a file of /proc; an empty key: the first number. */
static int64_t number_in(const char *path, const char *key)
{
    char text[4096];
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    const ssize_t length = read(fd, text, sizeof(text) - 1);
    close(fd);
    CHECK(length > 0);
    text[length] = '\0';
    const char *at = strstr(text, key);
    return at == NULL ? 0 : strtoll(at + strlen(key), NULL, 10);
}

/* Bytes of control (and the one of data) that are locked, by whomever. /proc/locks would skip some
 * while others come and go. */
static int64_t locks_of(const struct slr_segment *segment)
{
    int64_t count = slr_os_locked(segment->data_fd, SLR_LOCK_PRESENCE) == 1;
    for (uint64_t byte = 0; byte < SLR_LOCK_CELL + segment->geometry.members_max; byte++) {
        count += slr_os_locked(segment->control_fd, byte) == 1;
    }
    return count;
}

struct wealth wealth_of(const struct room *r)
{
    struct wealth wealth = {0};
    if (r->ring != NULL) {
        struct slipring_member members[4] = {{.struct_size = sizeof(members[0])}};
        wealth.locks = locks_of(&r->ring->segment);
        wealth.cells = slipring_ring_members(r->ring, members, 4);
    }
    wealth.descriptors = entries("/proc/self/fd", "");
    wealth.pages = number_in("/proc/self/statm", "");
    wealth.locked_kib = number_in("/proc/self/status", "VmLck:");
    wealth.blocks = heap_blocks();
    return wealth;
}

static bool same(const char *what, int64_t before, int64_t after)
{
    if (before != after) {
        fprintf(stderr, "%s: %lld before, %lld after\n", what, (long long)before, (long long)after);
    }
    return before == after;
}

bool wealth_same(const struct wealth *before, const struct wealth *after, bool memory)
{
    bool all = same("descriptors", before->descriptors, after->descriptors);
    all &= same("locks", before->locks, after->locks);
    all &= same("cells", before->cells, after->cells);
    if (memory && heap_ours()) {
        all &= same("pages mapped", before->pages, after->pages);
        all &= same("KiB locked", before->locked_kib, after->locked_kib);
        all &= same("blocks of heap", before->blocks, after->blocks);
    }
    return all;
}

/* ---- the ring ---- */

void elsewhere(struct room *r, void (*body)(struct room *r))
{
    const pid_t pid = fork();
    if (pid == 0) {
        alarm(20);
        body(r);
        _exit(0);
    }
    CHECK(pid > 0);
    CHECK_CHILD(pid);
}

static bool lasts(const struct room *r)
{
    return r->scenario->group != NULL && strcmp(r->scenario->group, LASTING) == 0;
}

void house_config(const struct room *r, struct slipring_config *config)
{
    static const struct slipring_group lasting = {.name = LASTING};
    const bool overwrites = (r->scenario->flags & OVERWRITES) != 0;
    slipring_config_init(config);
    config->slot_bytes = 512;
    config->slots = 8;
    config->members_max =
        2; /* one for the house, one for the victim: what leaks is missed at once */
    config->groups_max = overwrites ? 0 : 1;
    config->releases_max = overwrites ? 0 : 1;
    config->flags = r->scenario->ring;
    if (lasts(r)) {
        config->lasting = &lasting;
        config->lasting_count = 1;
    }
    config->full = overwrites ? SLIPRING_OVERWRITE : SLIPRING_BLOCK;
}

static void make(struct room *r)
{
    struct slipring_config config;
    house_config(r, &config);
    const bool anonymous = (r->scenario->flags & ANONYMOUS) != 0;
    CHECK_EQ(slipring_ring_create(anonymous ? NULL : r->name, &config, &r->ring, NULL), 0);
}

/* ---- members ---- */

static struct slipring_consumer *attach(const struct room *r, const char *group)
{
    struct slipring_consumer_config config;
    struct slipring_consumer *consumer;
    struct slipring_error error;
    slipring_consumer_config_init(&config);
    config.group = group;
    config.flags = group != NULL && strcmp(group, GROUP) == 0 ? SLIPRING_MANY : 0;
    config.wait = SLIPRING_WAIT_SLEEP;
    if (slipring_consumer_attach(r->ring, &config, &consumer, &error) != 0) {
        FAIL("a fresh member is refused: %d %s: %s", error.code, error.call, error.text);
    }
    return consumer;
}

/* Read one message if there is one by then: what acquire returned. */
static int take(const struct room *r, struct slipring_consumer *consumer, uint64_t *next,
                int64_t deadline_ns)
{
    struct slipring_view view;
    const int code = deadline_ns == 0 ? slipring_consumer_try_acquire(consumer, 1, &view)
                                      : slipring_consumer_acquire(consumer, 1, &view, deadline_ns);
    if (code == 0) {
        if ((r->scenario->flags & (IN_GROUP | OVERWRITES)) == 0 && *next != UNKNOWN) {
            CHECK_EQ(view.slot.sequence, *next);
        }
        *next = view.slot.sequence + view.slots;
        CHECK_EQ(slipring_consumer_release(consumer, &view), 0);
    }
    return code;
}

/* The partner that reads: for ever, and a little late. */
static int read_slowly(struct proc *self, void *context)
{
    struct room *r = context;
    struct slipring_consumer *consumer = attach(r, NULL);
    proc_tell(self, 1);
    for (uint64_t next = UNKNOWN;;) {
        const int code = take(r, consumer, &next, proc_in_ms(PROC_NOTICE_MS));
        if (code == 0) {
            r->page->seen = next;
        } else if (code != -ETIMEDOUT && code != -EOWNERDEAD) {
            FAIL("the partner's acquire: %d", code);
        }
        proc_pause_us(500);
    }
}

static int write_for_ever(struct proc *self, void *context)
{
    struct room *r = context;
    struct slipring_producer *producer;
    struct slipring_loan loan;
    CHECK_EQ(slipring_producer_attach(r->ring, NULL, &producer, NULL), 0);
    proc_tell(self, 1);
    for (;;) {
        const int code = slipring_producer_claim(producer, 1, &loan, proc_in_ms(PROC_NOTICE_MS));
        if (code == 0) {
            CHECK_EQ(slipring_producer_publish(producer, 1, NULL), 0);
            proc_pause_us(200);
        } else if (code != -ETIMEDOUT) { /* nobody reads while the house looks around */
            FAIL("the partner's claim: %d", code);
        }
    }
}

void house_enter(struct room *r)
{
    const uint32_t flags = r->scenario->flags;
    r->next = UNKNOWN;
    if ((flags & NAMELESS) != 0) {
        return;
    }
    if ((flags & (OPENED | COLD)) != 0) {
        elsewhere(r, make);
    }
    if ((flags & COLD) != 0) {
        return;
    }
    if ((flags & OPENED) != 0) {
        CHECK_EQ(slipring_ring_open(r->name, 0, &r->ring, NULL), 0);
    } else {
        make(r);
    }
    if ((flags & CONSUMES) != 0) {
        r->consumer = attach(r, (flags & IN_GROUP) != 0 ? GROUP : NULL);
    }
    if ((flags & (PARTNER_READS | PARTNER_WRITES)) != 0) {
        r->partner = proc_start((flags & PARTNER_READS) != 0 ? read_slowly : write_for_ever, r);
        CHECK_EQ(proc_hear(&r->partner), 1);
    }
}

/* ---- after a victim ---- */

static void drain(struct room *r)
{
    int code = 0;
    while (r->consumer != NULL && code == 0) {
        code = take(r, r->consumer, &r->next, 0);
    }
    CHECK(code == 0 || code == -EAGAIN || code == -EOWNERDEAD);
}

/* The house's own consumer, and a fresh one, get what a fresh producer publishes. */
static void traffic(struct room *r)
{
    struct slipring_producer *producer;
    struct slipring_error error;
    struct slipring_loan loan;
    uint64_t next = UNKNOWN;
    drain(r);
    const bool in_group = (r->scenario->flags & IN_GROUP) != 0;
    struct slipring_consumer *fresh = attach(r, in_group ? GROUP : lasts(r) ? LASTING : NULL);
    if (slipring_producer_attach(r->ring, NULL, &producer, &error) != 0) {
        FAIL("a fresh producer is refused: %d %s: %s", error.code, error.call, error.text);
    }
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(slipring_producer_claim(producer, 1, &loan, slipring_now_ns() + NOTICED_NS), 0);
        CHECK_EQ(slipring_producer_publish(producer, 1, NULL), 0);
        if (!in_group) { /* else one of the two gets it */
            drain(r);
        }
        CHECK_EQ(take(r, fresh, &next, 0), 0);
    }
    slipring_producer_detach(producer);
    slipring_consumer_detach(fresh);
}

static void settle_partner(struct room *r)
{
    if ((r->scenario->flags & PARTNER_READS) != 0) {
        const int64_t until = slipring_now_ns() + NOTICED_NS;
        while (r->page->seen < r->page->shown) {
            if (slipring_now_ns() > until) {
                FAIL("the partner saw %llu messages of %llu", (unsigned long long)r->page->seen,
                     (unsigned long long)r->page->shown);
            }
            proc_pause_us(100);
        }
    }
    if (r->partner.pid != 0) {
        int status;
        CHECK(waitpid(r->partner.pid, &status, WNOHANG) == 0);
    }
}

/* Whatever is under the name is whole or nothing; a new ring can take the name; it goes without a
 * trace. */
static void check_name(struct room *r)
{
    struct slipring_config config;
    struct slipring_ring *ring;
    const int code = slipring_ring_open(r->name, 0, &ring, NULL);
    if (code == 0) {
        struct slipring_info info = {.struct_size = sizeof(info)};
        CHECK_EQ(slipring_ring_info(ring, &info), 0);
        CHECK_EQ(info.orphaned, 0);
        slipring_ring_close(ring);
        const int gone = slipring_ring_unlink(r->name, NULL);
        CHECK(gone == 0 || (gone == -ENOENT && (r->scenario->ring & SLIPRING_VANISH) != 0));
    } else {
        CHECK_EQ(code, -ENOENT);
    }
    house_config(r, &config);
    config.flags = 0;
    CHECK_EQ(slipring_ring_create(r->name, &config, &ring, NULL), 0);
    slipring_ring_close(ring);
    const int gone = slipring_ring_unlink(r->name, NULL);
    CHECK(gone == 0 || (gone == -ENOENT && (r->scenario->ring & SLIPRING_VANISH) != 0));
    CHECK_EQ(slipring_ring_reap(r->name, NULL, NULL), -ENOENT);
    CHECK_EQ(files(r), 0);
}

/* A ring that nobody has open is whole. */
static void check_open(struct room *r)
{
    struct slipring_ring *ring;
    CHECK_EQ(slipring_ring_open(r->name, 0, &ring, NULL), 0);
    slipring_ring_close(ring);
}

void house_check(struct room *r, bool killed)
{
    const uint32_t flags = r->scenario->flags;
    if ((flags & NAMELESS) != 0) {
        elsewhere(r, check_name);
        return;
    }
    if ((flags & COLD) != 0) {
        elsewhere(r, check_open);
        CHECK_EQ(files(r), 2);
        return;
    }
    struct slipring_member members[4] = {{.struct_size = sizeof(members[0])}};
    if (killed && (flags & ANONYMOUS) == 0) {
        CHECK_EQ(slipring_ring_reap(r->name, NULL, NULL), 0);
    }
    settle_partner(r);
    const bool wide = (flags & (PARTNER_READS | PARTNER_WRITES)) != 0;
    if (!wide) {
        traffic(r);
    }
    const int own = (r->consumer != NULL) + ((flags & PARTNER_READS) != 0);
    CHECK_EQ(slipring_ring_members(r->ring, members, 4), own);
    CHECK_EQ(files(r), (flags & ANONYMOUS) != 0 ? 0 : 2);
}

static void unlink_it(struct room *r)
{
    CHECK_EQ(slipring_ring_unlink(r->name, NULL), 0);
}

void house_leave(struct room *r)
{
    const uint32_t flags = r->scenario->flags;
    if (r->partner.pid != 0) {
        proc_kill(&r->partner);
    }
    slipring_consumer_detach(r->consumer);
    if ((flags & (NAMELESS | ANONYMOUS)) == 0) {
        elsewhere(r, unlink_it);
    }
    slipring_ring_close(r->ring);
    CHECK_EQ(files(r), 0);
}
