/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Third part of the demo: the same file to a group that shares the work. One member is killed
 * while it holds blocks; the others are given those again, and every block is hashed.
 */
#define _GNU_SOURCE
#include "demo.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <xxhash.h>

enum { MEMBERS = 3, VICTIM = 0, PRODUCER = MEMBERS, LEAST_BLOCKS = 64, BATCH = 4 };
#define GROUP "hashers"

struct part {
    const struct demo_input *input;
    uint64_t blocks;        /* all passes together */
    _Atomic uint32_t *done; /* shared memory: how often each block was hashed and released */
};

struct account {
    uint64_t blocks, redelivered, group_redelivered, group_lost;
    int64_t redelivered_ns, ended_ns;
};

struct held {
    uint64_t first, slots;
};

static const char *const roles[MEMBERS] = {"member A", "member B", "member C"};

/* The events that make the run the same each time: the first member stops while it holds a view
 * out of the second quarter or later; the others do not go past the half before it is dead. */
static bool meet(const struct demo_self *self, const struct slipring_view *view, bool *met)
{
    const struct part *part = self->argument;
    if (self->index == VICTIM && view->slot.sequence >= part->blocks / 4) {
        const struct held held = {view->slot.sequence, view->slots};
        if (demo_say(self->role, self->to, &held, sizeof held)) {
            for (;;) {
                pause();
            }
        }
        return false;
    }
    if (self->index != VICTIM && !*met && view->slot.sequence >= part->blocks / 2) {
        char byte;
        *met = demo_hear(self->role, self->from, &byte, 1);
        return *met;
    }
    return true;
}

static int hash_blocks(const struct part *part, const struct slipring_consumer *consumer,
                       const struct slipring_view *view, struct account *account)
{
    for (uint64_t i = 0; i < view->slots; i++) {
        struct slipring_slot slot;
        const int rc = slipring_view_slot(consumer, view, i, &slot);
        if (rc < 0) {
            return rc;
        }
        const char *data = (const char *)view->data + i * view->stride;
        if (slot.tag >= part->blocks || XXH3_64bits(data, (size_t)slot.bytes) !=
                                            part->input->hashes[slot.tag % part->input->blocks]) {
            return -EBADMSG;
        }
        if (slot.deliveries > 1) {
            account->redelivered_ns =
                account->redelivered++ == 0 ? slipring_now_ns() : account->redelivered_ns;
        }
    }
    return 0;
}

static int work(const struct demo_self *self, struct slipring_consumer *consumer,
                struct account *account)
{
    const struct part *part = self->argument;
    struct slipring_view view;
    bool met = false;
    int rc;
    while ((rc = slipring_consumer_acquire(consumer, BATCH, &view,
                                           slipring_now_ns() + DEMO_PATIENCE_NS)) == 0) {
        uint64_t tags[BATCH];
        if (!meet(self, &view, &met)) {
            return -ECANCELED;
        }
        rc = hash_blocks(part, consumer, &view, account);
        for (uint64_t i = 0; i < view.slots && rc == 0; i++) {
            struct slipring_slot slot;
            rc = slipring_view_slot(consumer, &view, i, &slot);
            tags[i] = slot.tag;
        }
        if (rc < 0 || (rc = slipring_consumer_release(consumer, &view)) < 0) {
            return rc;
        }
        for (uint64_t i = 0; i < view.slots; i++) {
            atomic_fetch_add_explicit(&part->done[tags[i]], 1, memory_order_relaxed);
        }
        account->blocks += view.slots;
    }
    account->ended_ns = slipring_now_ns();
    return rc;
}

/* What the ring itself has counted for the group. */
static bool ask_group(const struct demo_self *self, struct slipring_ring *ring,
                      struct account *account)
{
    struct slipring_group_info info[4] = {{.struct_size = sizeof *info}};
    const int count = slipring_ring_groups(ring, info, 4);
    for (int i = 0; i < count && i < 4; i++) {
        if (strcmp(info[i].name, GROUP) == 0) {
            account->group_redelivered = info[i].redelivered;
            account->group_lost = info[i].dropped + info[i].dead_letters;
            return true;
        }
    }
    return demo_failed(self->role, "the ring does not list its group", count < 0 ? count : -ENOENT);
}

static bool member(const struct demo_self *self)
{
    const struct slipring_consumer_config config = {.struct_size = sizeof config,
                                                    .flags = SLIPRING_MANY,
                                                    .group = GROUP,
                                                    .start = SLIPRING_OLDEST};
    struct slipring_ring *ring;
    struct slipring_consumer *consumer;
    struct slipring_error error;
    struct account account = {0};
    if (!demo_open(self, &ring)) {
        return false;
    }
    bool good = slipring_consumer_attach(ring, &config, &consumer, &error) == 0 ||
                demo_error(self->role, &error);
    if (good) {
        int rc = -EPIPE;
        good = demo_say(self->role, self->to, "r", 1);
        if (good) {
            rc = work(self, consumer, &account);
        }
        good = good && (rc == -EPIPE || demo_failed(self->role, "work", rc)) &&
               ask_group(self, ring, &account);
        slipring_consumer_detach(consumer);
    }
    slipring_ring_close(ring);
    return good && demo_say(self->role, self->to, &account, sizeof account);
}

static bool judge(const struct part *part, const struct account *account, const struct held *held,
                  int64_t killed_ns)
{
    uint64_t missing = 0, repeated = 0, redelivered = 0, by_ring = 0, lost = 0;
    int64_t first_ns = INT64_MAX, ended_ns = 0;
    for (uint64_t i = 0; i < part->blocks; i++) {
        missing += part->done[i] == 0;
        repeated += part->done[i] > 1;
    }
    for (int i = 0; i < MEMBERS; i++) {
        redelivered += account[i].redelivered;
        by_ring = account[i].group_redelivered > by_ring ? account[i].group_redelivered : by_ring;
        lost += account[i].group_lost;
        ended_ns = account[i].ended_ns > ended_ns ? account[i].ended_ns : ended_ns;
        if (account[i].redelivered > 0 && account[i].redelivered_ns < first_ns) {
            first_ns = account[i].redelivered_ns;
        }
    }
    const bool good = missing == 0 && repeated == 0 && lost == 0 && redelivered == held->slots &&
                      by_ring == redelivered;
    demo_line("    member A held sequences %" PRIu64 " to %" PRIu64
              " and was killed with -9; %" PRIu64 " of these %" PRIu64
              " were given\n              to the others (the ring "
              "counted %" PRIu64 "), the first %.2f ms after the kill",
              held->first, held->first + held->slots - 1, redelivered, held->slots, by_ring,
              redelivered > 0 ? (double)(first_ns - killed_ns) / 1e6 : 0.0);
    demo_line("    member B hashed %" PRIu64 " blocks, member C %" PRIu64 ", member A had done the "
              "other %" PRIu64 ";\n              of all %" PRIu64 " blocks %" PRIu64
              " are missing and %" PRIu64 " were finished twice; each hash is right",
              account[1].blocks, account[2].blocks,
              part->blocks - missing - account[1].blocks - account[2].blocks, part->blocks, missing,
              repeated);
    return good;
}

static bool run(struct demo_family *family, struct part *part, struct slipring_ring *ring,
                const char *name, const struct demo_stream *stream)
{
    struct account account[MEMBERS] = {{0}};
    struct demo_child *victim = &family->children[VICTIM];
    struct demo_child *producer = &family->children[PRODUCER];
    struct demo_sent sent;
    struct held held;
    int64_t killed_ns;
    bool good = demo_tell_name(family, 0, MEMBERS, name) && demo_ready(family, 0, MEMBERS) &&
                demo_tell_name(family, PRODUCER, 1, name) &&
                demo_hear(victim->role, victim->from, &held, sizeof held);
    slipring_ring_close(ring);
    good = good && demo_kill(victim, &killed_ns);
    for (int i = VICTIM + 1; i < MEMBERS && good; i++) {
        good = demo_say(roles[i], family->children[i].to, "g", 1);
    }
    good = good && demo_hear(producer->role, producer->from, &sent, sizeof sent) &&
           demo_finish(producer);
    for (int i = VICTIM + 1; i < MEMBERS && good; i++) {
        struct demo_child *child = &family->children[i];
        good = demo_hear(child->role, child->from, &account[i], sizeof account[i]) &&
               demo_finish(child);
    }
    return good && sent.blocks == stream->passes * stream->input->blocks &&
           judge(part, account, &held, killed_ns);
}

bool demo_group(const struct demo_input *input, struct demo_names *names)
{
    const uint64_t passes = demo_passes(input, LEAST_BLOCKS);
    const size_t bytes = (size_t)(passes * input->blocks) * sizeof(uint32_t);
    struct demo_family family = {.count = 0};
    struct part part = {input, passes * input->blocks, demo_shared(bytes)};
    const struct demo_stream stream = {input, NULL, passes, NULL};
    char *name = names->name[names->count++];
    snprintf(name, sizeof names->name[0], "slipring-demo-%ld", (long)getpid());
    demo_line("3. The file to a group of three that share the work: tensor ring %s, and one "
              "member is killed",
              name);
    bool good = part.done != NULL;
    for (int i = 0; i < MEMBERS && good; i++) {
        good = demo_start(&family, roles[i], member, &part);
    }
    good = good && demo_start(&family, "producer", demo_stream_produce, &stream);
    struct slipring_ring *ring = good ? demo_stream_ring(name) : NULL;
    good = ring != NULL && run(&family, &part, ring, name, &stream);
    demo_end(&family);
    if (part.done != NULL) {
        munmap(part.done, bytes);
    }
    return good;
}
