/* SPDX-License-Identifier: Apache-2.0 */
/* Scenarios of slipring/ring.h. */
#define _GNU_SOURCE
#include "scenario.h"

#include <sys/mman.h>
#include <sys/socket.h>

static int result(int code, const void *made)
{
    return code < 0 && made != NULL ? TOUCHED : code;
}

static void close_mine(struct room *r)
{
    slipring_ring_close(r->mine);
    r->mine = NULL;
}

/* ---- create ---- */

static int create(struct room *r, const char *name, int32_t node)
{
    struct slipring_config config;
    house_config(r, &config);
    config.numa_node = node;
    return result(slipring_ring_create(name, &config, &r->mine, &r->error), r->mine);
}

static int act_create(struct room *r)
{
    return create(r, r->name, -1);
}

static int act_create_anonymous(struct room *r)
{
    return create(r, NULL, -1);
}

static int act_create_numa(struct room *r)
{
    return create(r, NULL, 0);
}

/* What failed left nothing; what was made goes. */
static void undo_create(struct room *r)
{
    if (r->mine == NULL) {
        CHECK_EQ(files(r), 0);
        return;
    }
    close_mine(r);
    const int code = slipring_ring_unlink(r->name, NULL);
    CHECK(code == 0 || code == -ENOENT);
    CHECK_EQ(files(r), 0);
}

/* The name is taken by what a killed member of a vanishing ring left, which gives way. */
static void die_with_ring(struct room *r)
{
    CHECK_EQ(create(r, r->name, -1), 0);
}

static void ready_vanishing(struct room *r)
{
    elsewhere(r, die_with_ring);
}

static void undo_vanishing(struct room *r)
{
    if (r->mine != NULL) {
        close_mine(r);
    }
    const int code = slipring_ring_reap(r->name, NULL, NULL);
    CHECK(code == 0 || code == -ENOENT);
    CHECK_EQ(files(r), 0);
}

/* ---- open ---- */

static int act_open(struct room *r)
{
    const uint32_t flags = (r->scenario->flags & OVERWRITES) != 0 ? SLIPRING_READ_ONLY : 0;
    return result(slipring_ring_open(r->name, flags, &r->mine, &r->error), r->mine);
}

static int act_from_fds(struct room *r)
{
    int data, control;
    slipring_ring_fds(r->ring, &data, &control);
    if ((r->scenario->flags & OVERWRITES) != 0) {
        control = -1;
    }
    return result(slipring_ring_from_fds(data, control, &r->mine, &r->error), r->mine);
}

static void undo_open(struct room *r)
{
    close_mine(r);
    CHECK_EQ(slipring_ring_unlink(r->name, NULL), 0);
    CHECK_EQ(files(r), 0);
}

/* A memory file that could be cut short under us, whatever it holds. */
static void ready_unsealed(struct room *r)
{
    r->sockets[0] = memfd_create("unsealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    CHECK(r->sockets[0] >= 0 && ftruncate(r->sockets[0], 1 << 16) == 0);
}

static int act_from_unsealed(struct room *r)
{
    return result(slipring_ring_from_fds(r->sockets[0], -1, &r->mine, &r->error), r->mine);
}

static void undo_unsealed(struct room *r)
{
    CHECK(strstr(r->error.text, "sealed") != NULL || r->code != r->scenario->wants);
    close(r->sockets[0]);
}

/* ---- close, unlink, reap ---- */

static void ready_mine(struct room *r)
{
    CHECK_EQ(create(r, r->name, -1), 0);
}

static void ready_closed(struct room *r)
{
    ready_mine(r);
    close_mine(r);
}

static int act_close(struct room *r)
{
    close_mine(r);
    return 0;
}

static int act_unlink(struct room *r)
{
    return slipring_ring_unlink(r->name, &r->error);
}

/* What was not removed is whole. */
static void undo_unlink(struct room *r)
{
    if (r->code != 0) {
        CHECK_EQ(act_open(r), 0);
        struct slipring_info info = {.struct_size = sizeof(info)};
        CHECK_EQ(slipring_ring_info(r->mine, &info), 0);
        CHECK_EQ(info.orphaned, 0);
        close_mine(r);
        CHECK_EQ(act_unlink(r), 0);
    }
    const int code = slipring_ring_reap(r->name, NULL, NULL); /* data whose removal failed */
    CHECK(code == 0 || code == -ENOENT);
    CHECK_EQ(files(r), 0);
}

static void ready_dead_member(struct room *r)
{
    elsewhere(r, die_as_member);
}

static int act_reap(struct room *r)
{
    return slipring_ring_reap(r->name, NULL, &r->error);
}

static int act_reap_all(struct room *r)
{
    return slipring_ring_reap(NULL, NULL, &r->error);
}

static void undo_reap(struct room *r)
{
    struct slipring_member members[4] = {{.struct_size = sizeof(members[0])}};
    if (r->code != 0 || slipring_ring_members(r->ring, members, 4) != 1) {
        CHECK_EQ(act_reap(r), 0);
    }
    CHECK_EQ(slipring_ring_members(r->ring, members, 4), 1);
}

/* ---- look ---- */

static int note_name(void *context, const char *name, enum slipring_listed kind)
{
    struct room *r = context;
    r->viewing |= kind != SLIPRING_LISTED_LITTER && strcmp(name, r->name) == 0;
    return 0;
}

/* A list that leaves one out says that something failed. */
static int act_list(struct room *r)
{
    const int code = slipring_ring_list(note_name, r);
    return code == 0 && !r->viewing ? TOUCHED : code;
}

static int act_look(struct room *r)
{
    struct slipring_info info = {.struct_size = sizeof(info)};
    struct slipring_member members[4] = {{.struct_size = sizeof(members[0])}};
    struct slipring_group_info groups[4] = {{.struct_size = sizeof(groups[0])}};
    struct slipring_dead_letter letters[4];
    int code = slipring_ring_info(r->ring, &info);
    code = code < 0 ? code : slipring_ring_members(r->ring, members, 4);
    code = code < 0 ? code : slipring_ring_groups(r->ring, groups, 4);
    code = code < 0 ? code : slipring_ring_dead_letters(r->ring, letters, 4);
    return code;
}

static int act_near(struct room *r)
{
    int cpus[2];
    (void)r;
    const int code = slipring_near_cpus(cpus, 2);
    return code > 0 ? 0 : code;
}

/* ---- hand on ---- */

static void ready_sockets(struct room *r)
{
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, r->sockets) == 0);
}

static int act_send(struct room *r)
{
    const uint32_t flags = (r->scenario->flags & OVERWRITES) != 0 ? SLIPRING_READ_ONLY : 0;
    return slipring_ring_send(r->ring, r->sockets[0], flags, &r->error);
}

static void ready_sent(struct room *r)
{
    ready_sockets(r);
    CHECK_EQ(act_send(r), 0);
}

static int act_receive(struct room *r)
{
    return result(slipring_ring_receive(r->sockets[1], &r->mine, &r->error), r->mine);
}

/* If a message was left in the socket, it goes with it. */
static void undo_sockets(struct room *r)
{
    close(r->sockets[0]);
    close(r->sockets[1]);
    close_mine(r);
}

#define LOCK SLIPRING_LOCK_PAGES
#define SEALED_HUGE (SLIPRING_HUGE_PAGES | SLIPRING_WRITE_SEALED)
#define READS (CONSUMES | OVERWRITES) /* read-only */

const struct scenario ring_scenarios[] = {
    {SCENARIO("create-first", NULL, act_create, undo_create), .flags = TELLS | NAMELESS | COLD},
    {SCENARIO("create-anonymous-first", NULL, act_create_anonymous, close_mine),
     .flags = TELLS | NAMELESS | COLD},
    {SCENARIO("create", NULL, act_create, undo_create), .flags = TELLS | NAMELESS, .ring = LOCK},
    {SCENARIO("create-huge", NULL, act_create, undo_create), .flags = TELLS | NAMELESS,
     .ring = SLIPRING_HUGE_PAGES, .sample = 5},
    {SCENARIO("create-anonymous", NULL, act_create_anonymous, close_mine),
     .flags = TELLS | NAMELESS, .ring = LOCK},
    {SCENARIO("create-anonymous-huge", NULL, act_create_anonymous, close_mine),
     .flags = TELLS | NAMELESS, .ring = SEALED_HUGE, .sample = 5},
    {SCENARIO("create-numa", NULL, act_create_numa, close_mine), .flags = TELLS | NAMELESS | HWLOC,
     .also = {-ENOTSUP, -EINVAL}, .sample = 61},
    {SCENARIO("create-taken", ready_closed, act_create, undo_unlink), .flags = TELLS | NAMELESS,
     .wants = -EEXIST},
    {SCENARIO("create-over-vanishing", ready_vanishing, act_create, undo_vanishing),
     .flags = TELLS | NAMELESS, .ring = SLIPRING_VANISH, .also = {-EEXIST}},
    {SCENARIO("open-first", NULL, act_open, close_mine), .flags = TELLS | COLD},
    {SCENARIO("open", ready_closed, act_open, undo_open), .flags = TELLS | NAMELESS, .ring = LOCK},
    {SCENARIO("open-read-only", ready_closed, act_open, undo_open),
     .flags = TELLS | NAMELESS | OVERWRITES},
    {SCENARIO("open-vanishing", ready_vanishing, act_open, undo_vanishing),
     .flags = TELLS | NAMELESS | MAY_SUCCEED, .ring = SLIPRING_VANISH, .wants = -ENOENT},
    {SCENARIO("open-in-child", NULL, act_open, close_mine), .flags = TELLS | CONSUMES | FIRST,
     .also = {-ENOENT}},
    {SCENARIO("from-fds", NULL, act_from_fds, close_mine), .flags = TELLS | CONSUMES | ANONYMOUS,
     .also = {-ENOENT}},
    {SCENARIO("from-fds-named", NULL, act_from_fds, close_mine), .flags = TELLS | CONSUMES,
     .also = {-ENOENT}},
    {SCENARIO("from-fds-read-only", NULL, act_from_fds, close_mine),
     .flags = TELLS | READS | ANONYMOUS},
    {SCENARIO("from-unsealed", ready_unsealed, act_from_unsealed, undo_unsealed),
     .flags = TELLS | NAMELESS, .wants = -EBADMSG},
    {SCENARIO("send", ready_sockets, act_send, undo_sockets),
     .flags = TELLS | CONSUMES | ANONYMOUS},
    {SCENARIO("send-read-only", ready_sockets, act_send, undo_sockets),
     .flags = TELLS | READS | ANONYMOUS},
    {SCENARIO("receive", ready_sent, act_receive, undo_sockets),
     .flags = TELLS | CONSUMES | ANONYMOUS, .also = {-ENOENT}},
    {SCENARIO("receive-read-only", ready_sent, act_receive, undo_sockets),
     .flags = TELLS | READS | ANONYMOUS},
    {SCENARIO("close", ready_mine, act_close, undo_open), .flags = NAMELESS},
    {SCENARIO("close-vanishing", ready_mine, act_close, undo_vanishing), .flags = NAMELESS,
     .ring = SLIPRING_VANISH},
    {SCENARIO("unlink", ready_closed, act_unlink, undo_unlink), .flags = TELLS | NAMELESS},
    {SCENARIO("reap", ready_dead_member, act_reap, undo_reap), .flags = TELLS | CONSUMES},
    {SCENARIO("reap-all", ready_dead_member, act_reap_all, undo_reap), .flags = TELLS | CONSUMES},
    {SCENARIO("list", NULL, act_list, NULL), .flags = CONSUMES},
    {SCENARIO("look", NULL, act_look, NULL), .flags = CONSUMES},
    {SCENARIO("near-cpus", NULL, act_near, NULL), .flags = NAMELESS | HWLOC, .also = {-ENOTSUP},
     .sample = 31},
    {.name = NULL},
};
