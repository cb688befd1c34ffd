/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Seeded bugs: victims that break the protocol, and survivors that are told lies, so that each
 * check is seen to find what it is there for. None of it touches the library.
 */
#define _GNU_SOURCE
#include "ring/released.h"
#include "op.h"

#include "ring/group.h"
#include "stepkill.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

static void stay(struct world *w, int rc)
{
    w->page->report.rc = rc;
    _exit(rc == 0 ? 0 : rc == -ESTALE ? EXIT_STALE : 93);
}

static struct slipring_producer *produce(struct world *w)
{
    struct slipring_producer *producer = NULL;
    if (slipring_producer_attach(w->ring, NULL, &producer, NULL)) {
        _exit(90);
    }
    return producer;
}

/* I1: the stamp before the payload. */
static void publish_early(void *world)
{
    struct world *const w = world;
    struct slipring_producer *const producer = produce(w);
    struct slipring_loan loan;
    sk_begin();
    int rc = slipring_producer_try_claim(producer, 1, &loan);
    rc = rc ? rc : slipring_producer_publish(producer, 1, NULL);
    if (rc == 0) {
        payload_fill(loan.data, w->variant->bytes, loan.sequence, BY_VICTIM);
    }
    sk_end();
    stay(w, rc);
}

/* I2: said to be published before it is. */
static void publish_late(void *world)
{
    struct world *const w = world;
    struct slipring_producer *const producer = produce(w);
    struct slipring_loan loan;
    sk_begin();
    int rc = slipring_producer_try_claim(producer, 1, &loan);
    if (rc == 0) {
        payload_fill(loan.data, w->variant->bytes, loan.sequence, BY_VICTIM);
        w->page->report.published = loan.sequence + 1;
        rc = slipring_producer_publish(producer, 1, NULL);
    }
    sk_end();
    stay(w, rc);
}

/* I2: one of those that a lapped reader missed counts as passed over: it was told one too many. */
static void check_miscount(struct world *w)
{
    world_drain(w);
    (void)world_fill(w, w->slots + 5, 1, BY_SURVIVOR);
    w->passed[world_at(w, w->end - w->slots - 3)] = true;
    (void)survivor_drain(w, &w->one);
}

static void take_two(struct world *w, struct slipring_consumer **consumer,
                     struct slipring_view *view)
{
    *consumer = world_join(w, SLIPRING_MANY, "work", SLIPRING_OLDEST, false);
    if (*consumer == NULL || slipring_consumer_try_acquire(*consumer, 2, view)) {
        _exit(90);
    }
}

static void note(struct world *w, const struct slipring_view *view, _Atomic uint8_t *log)
{
    for (uint64_t i = 0; i < view->slots; i++) {
        log[(view->slot.sequence + i - w->start) % LOG_MAX] = 1;
    }
}

/* I3: released before it is processed: lost with its member. */
static void release_early(void *world)
{
    struct world *const w = world;
    struct slipring_consumer *consumer;
    struct slipring_view view;
    take_two(w, &consumer, &view);
    note(w, &view, w->page->report.releasing);
    sk_begin();
    const int rc = slipring_consumer_release(consumer, &view);
    note(w, &view, w->page->report.processed);
    sk_end();
    stay(w, rc);
}

/* I3: counted as released before it is: finished twice. */
static void release_late(void *world)
{
    struct world *const w = world;
    struct slipring_consumer *consumer;
    struct slipring_view view;
    take_two(w, &consumer, &view);
    note(w, &view, w->page->report.processed);
    note(w, &view, w->page->report.releasing);
    sk_begin();
    note(w, &view, w->page->report.released);
    const int rc = slipring_consumer_release(consumer, &view);
    sk_end();
    stay(w, rc);
}

/* I4, I6: a consumer that gates, or a reader, that does not die (the driver leaves it stopped). */
static void linger(void *world)
{
    struct world *const w = world;
    if (world_join(w, 0, NULL, SLIPRING_OLDEST, false) == NULL) {
        _exit(90);
    }
    sk_begin();
    sk_end();
    stay(w, 0);
}

/* I1 after a freeze: who goes on releases what others still read, by a plain store. */
static void trample(void *world)
{
    struct world *const w = world;
    struct slipring_consumer *const consumer = world_join(w, 0, NULL, SLIPRING_OLDEST, true);
    struct slipring_view view;
    if (consumer == NULL || slipring_consumer_try_acquire(consumer, 1, &view)) {
        _exit(90);
    }
    sk_begin();
    sk_end();
    const struct slr_segment *const segment = &w->ring->segment;
    for (uint32_t i = 0; i < segment->geometry.members_max; i++) {
        segment->cells[i].released += 2;
    }
    stay(w, slipring_consumer_release(consumer, &view));
}

/* I5: the file is cut short under the survivors. */
static void setup_file(struct world *w)
{
    snprintf(w->name, sizeof(w->name), "stepkill.%d", (int)getpid());
    world_make(w);
    (void)!slipring_ring_unlink(w->name, NULL); /* the worker will not live to do it */
    w->name[0] = 0;
}

static void truncate_it(void *world)
{
    struct world *const w = world;
    int data = -1, control = -1;
    char path[64];
    slipring_ring_fds(w->ring, &data, &control);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", data);
    const int fd = open(path, O_RDWR | O_CLOEXEC);
    sk_begin();
    const int rc = fd < 0 ? -errno : ftruncate(fd, 0) ? -errno : 0;
    sk_end();
    stay(w, rc);
}

/* I6: a descriptor per run stays open. */
static void setup_leak(struct world *w)
{
    setup_consumer(w);
    (void)!open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* I6: half a ring is left in /dev/shm. */
static void litter(void *world)
{
    struct world *const w = world;
    char path[128];
    snprintf(path, sizeof(path), "/dev/shm/%s.litter", w->name);
    sk_begin();
    const int fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    (void)unlink(path);
    sk_end();
    stay(w, fd < 0 ? -errno : 0);
}

static void check_litter(struct world *w)
{
    char path[128];
    snprintf(path, sizeof(path), "/dev/shm/%s.litter", w->name);
    check_open(w);
    (void)unlink(path);
}

/* I4: the cursor before the stamps. */
static void publish_backwards(void *world)
{
    struct world *const w = world;
    struct slipring_producer *const producer = produce(w);
    struct slipring_loan loan;
    int rc = slipring_producer_try_claim(producer, 3, &loan);
    for (uint64_t i = 0; rc == 0 && i < 3; i++) {
        payload_fill((char *)loan.data + i * loan.stride, w->variant->bytes, loan.sequence + i,
                     BY_VICTIM);
    }
    sk_begin();
    w->ring->segment.data->cursor = loan.sequence + 3;
    rc = rc ? rc : slipring_producer_publish(producer, 3, NULL);
    sk_end();
    stay(w, rc);
}

/* I2: a successor that gives a sequence out again. */
static void take_over_again(void *world)
{
    struct world *const w = world;
    struct slipring_producer *const producer = produce(w);
    struct slipring_loan loan;
    if (slipring_producer_try_claim(producer, 1, &loan)) {
        _exit(90);
    }
    payload_fill(loan.data, w->variant->bytes, loan.sequence, BY_VICTIM);
    if (slipring_producer_publish(producer, 1, NULL)) {
        _exit(90);
    }
    w->page->report.published = loan.sequence + 1;
    sk_begin();
    *slr_stamp(&w->ring->segment, loan.sequence) = loan.sequence - 1;
    w->ring->segment.data->cursor = loan.sequence;
    sk_end();
    stay(w, 0);
}

/* I3: a reaper that gives back in two steps, so that its own death between them loses a message. */
static void reap_in_steps(void *world)
{
    struct world *const w = world;
    const struct slr_segment *const segment = &w->ring->segment;
    sk_begin();
    for (uint64_t s = w->start; s != w->end; s++) {
        _Atomic uint64_t *const lease = slr_lease_word(segment, 0, s);
        const uint64_t lap = slr_lap(segment, s);
        if (slr_lease_state(*lease) == SLR_LEASE_TAKEN && slr_lease_lap(segment, *lease, s) == 0) {
            *lease = slr_lease(SLR_MEMBERS_MAX + 1, 0, lap, SLR_LEASE_DONE, 1);
            *lease = slr_lease(SLR_MEMBERS_MAX + 1, 0, lap, SLR_LEASE_FREE, 1);
        }
    }
    sk_end();
    stay(w, 0);
}

/* I3: given up, or dropped, and nobody is told. */
static void give_up(void *world)
{
    struct world *const w = world;
    const struct slr_segment *const segment = &w->ring->segment;
    const uint64_t s = segment->groups[0].position;
    sk_begin();
    *slr_lease_word(segment, 0, s) =
        slr_lease(SLR_MEMBERS_MAX + 1, 0, slr_lap(segment, s), SLR_LEASE_DONE, 5);
    (void)slr_group_advance(segment, 0);
    sk_end();
    stay(w, 0);
}

/* I3: the lasting group of one is moved on before its member has released. */
static void keep_ahead(void *world)
{
    struct world *const w = world;
    const struct slr_segment *const segment = &w->ring->segment;
    if (world_join(w, 0, "kept", SLIPRING_OLDEST, false) == NULL) {
        _exit(90);
    }
    sk_begin();
    segment->groups[segment->geometry.groups_max].position += 2;
    sk_end();
    stay(w, 0);
}

/* I1 after a freeze: reads what it no longer holds, and says that it was right. */
static void read_bare(void *world)
{
    struct world *const w = world;
    const struct slr_segment *const segment = &w->ring->segment;
    struct slipring_consumer *const consumer =
        world_join(w, 0, NULL, SLIPRING_OLDEST, world_evicts(w));
    struct slipring_view view;
    uint64_t buffer[32];
    const int rc = consumer == NULL ? -EINVAL
                   : !world_copies(w)
                       ? slipring_consumer_try_acquire(consumer, 1, &view)
                       : slipring_consumer_try_copy(consumer, buffer, sizeof(buffer), &view);
    if (rc || (!world_copies(w) && slipring_consumer_release(consumer, &view))) {
        _exit(90);
    }
    sk_begin();
    const void *const data = slr_payload(segment, view.slot.sequence);
    const unsigned author = payload_author(data, w->variant->bytes, view.slot.sequence);
    sk_end();
    _exit(author == BY_SETUP ? 0 : 91);
}

/* I4: a name that leads to something which is no ring yet. */
static void expose(void *world)
{
    struct world *const w = world;
    char path[128];
    snprintf(path, sizeof(path), "/dev/shm/%s", w->name);
    sk_begin();
    const int fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    (void)unlink(path);
    sk_end();
    stay(w, fd < 0 ? -errno : 0);
}

static void check_exposed(struct world *w)
{
    char path[128];
    snprintf(path, sizeof(path), "/dev/shm/%s", w->name);
    check_open(w);
    (void)unlink(path);
}

#define DIES(victim_, setup_, check_) WRAP, .victim = victim_, .setup = setup_, .check = check_
#define STOPS(victim_)                                                                             \
    WRAP, .victim = victim_, .setup = setup_consumer, .frozen = frozen_consumer,                   \
          .check = check_consumer

static const struct op first_member = {"acquire-member", OP_BLOCK | OP_GROUP | OP_MEMBER | OP_FEW,
                                       DIES(victim_acquire, setup_consumer, check_consumer)};

const struct op seeded[] = {
    {"publish-early", OP_PRODUCES, DIES(publish_early, setup_producer, check_producer), .arg = 1,
     .expect = I1},
    {"publish-early-rich", OP_PRODUCES | OP_RICH,
     DIES(publish_early, setup_producer, check_producer), .arg = 1, .expect = I1},
    {"publish-late", OP_PRODUCES, DIES(publish_late, setup_producer, check_producer), .arg = 1,
     .expect = I2},
    {"publish-backwards", OP_PRODUCES, DIES(publish_backwards, setup_producer, check_producer),
     .arg = 3, .expect = I4},
    {"takeover-again", OP_PRODUCES, DIES(take_over_again, setup_producer, check_producer), .arg = 1,
     .expect = I2},
    {"miscount", OP_OVERWRITE, DIES(victim_attach, setup_consumer, check_miscount), .expect = I2},
    {"release-early", OP_GROUP, DIES(release_early, setup_consumer, check_consumer), .expect = I3},
    {"release-late", OP_GROUP, DIES(release_late, setup_consumer, check_consumer), .expect = I3},
    {"reap-in-steps", OP_GROUP, DIES(reap_in_steps, setup_dead_member, check_consumer),
     .expect = I3},
    {"acquire-member, reap-in-steps", OP_GROUP, DIES(reap_in_steps, behind_member, check_consumer),
     .first = &first_member, .expect = I3},
    {"given-up", OP_GROUP | OP_FIFTH, DIES(give_up, setup_dead_letter, check_consumer), .arg = 5,
     .expect = I3},
    {"dropped", OP_GROUP | OP_EVICTS, DIES(give_up, setup_consumer, check_consumer), .expect = I3},
    {"kept-ahead", OP_KEPT, DIES(keep_ahead, setup_consumer, check_consumer), .expect = I3},
    {"linger", OP_STOPPED, DIES(linger, setup_consumer, check_consumer), .expect = I4},
    {"linger-reader", OP_STOPPED | OP_OVERWRITE, DIES(linger, setup_consumer, check_consumer),
     .expect = I6},
    {"trample", 0, STOPS(trample), .expect = I1},
    {"read-released", 0, STOPS(read_bare), .expect = I1},
    {"read-dropped", OP_OVERWRITE | OP_TENSOR, STOPS(read_bare), .expect = I1},
    {"read-copied", OP_OVERWRITE, STOPS(read_bare), .expect = I1},
    {"truncate", 0, DIES(truncate_it, setup_file, check_consumer), .expect = I5},
    {"expose", 0, DIES(expose, setup_name, check_exposed), .expect = I4},
    {"leak", 0, DIES(victim_attach, setup_leak, check_consumer), .expect = I6},
    {"litter", 0, DIES(litter, setup_name, check_litter), .expect = I6},
};
const uint32_t seeded_count = sizeof(seeded) / sizeof(seeded[0]);
