/* SPDX-License-Identifier: Apache-2.0 */
/* What must hold while the victim is frozen, and when it is dead or done. */
#define _GNU_SOURCE
#include "op.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- parts ---- */

/* Find out how far the victim got with publishing, and that all survivors agree. */
static void settle_end(struct world *w)
{
    survivor_drain(w, &w->one);
    const uint64_t more = w->one.next - w->end, published = w->page->report.published;
    if (more > w->may_publish) {
        violate(w, I2, "%" PRIu64 " messages came from a victim that may have published %" PRIu64,
                more, w->may_publish);
    }
    if (w->op->flags & OP_SPANS && w->op->victim == victim_publish && more % SPAN != 0) {
        violate(w, I1, "%" PRIu64 " of the %u slots of one message are there", more, SPAN);
    }
    if (published != 0 && (int64_t)(w->one.next - published) < 0) {
        violate(w, I2,
                "publish() returned for all before %" PRIu64 ", seen are those before %" PRIu64,
                published, w->one.next);
    }
    w->end = w->one.next;
}

static void all_read(struct world *w)
{
    world_drain(w);
    const struct survivor *const all[] = {&w->one, &w->two, &w->kept};
    for (int i = 0; i < 3 && !w->stop; i++) {
        if (all[i]->consumer != NULL && all[i]->next != w->end) {
            violate(w, I2, "%s read up to %" PRIu64 ", published is up to %" PRIu64, all[i]->name,
                    all[i]->next, w->end);
        }
    }
    if (w->member != NULL && !w->stop) {
        member_settle(w);
    }
}

/* Cells, release tables and groups of the dead can be had again: as many can join as there is room
 * for by the ring's config, and they hear what is published next. */
static void late_joiners(struct world *w)
{
    struct slipring_consumer *late[MEMBERS_MAX] = {NULL};
    struct slipring_member members[MEMBERS_MAX] = {{.struct_size = sizeof(members[0])}};
    const uint32_t there = 1u + (w->two.consumer != NULL) + (w->member != NULL) +
                           (w->kept.consumer != NULL) + w->others;
    uint32_t joined = 0;
    for (; joined < MEMBERS_MAX - there; joined++) {
        const bool unordered = joined == 1 && world_blocks(w),
                   member = joined == 2 && world_blocks(w);
        late[joined] =
            world_join(w, (unordered ? SLIPRING_UNORDERED : 0u) | (member ? SLIPRING_MANY : 0u),
                       member ? "late" : NULL, SLIPRING_LATEST, false);
        if (late[joined] == NULL) {
            violate(w, I6, "only %u can join beside %u: %d", joined, there, w->page->report.rc);
            break;
        }
    }
    const int count = slipring_ring_members(w->ring, members, MEMBERS_MAX);
    int dead = 0;
    for (int i = 0; i < count && i < (int)MEMBERS_MAX; i++) {
        dead += members[i].alive ? 0 : 1;
    }
    if (dead != 0 || count != (int)(there + joined)) {
        violate(w, I6, "%d cells in use, %d by dead members; %u should be", count, dead,
                there + joined);
    }
    struct survivor first = {"the late joiner", late[0], w->end};
    for (uint32_t i = 1; i < joined; i++) {
        slipring_consumer_detach(late[i]);
    }
    world_publish(w, 1, BY_SURVIVOR);
    if (first.consumer != NULL) {
        (void)survivor_drain(w, &first);
    }
    if (!w->stop && first.next != w->end) {
        violate(w, I2, "the late joiner read up to %" PRIu64 " of %" PRIu64, first.next, w->end);
    }
    slipring_consumer_detach(first.consumer);
}

/* In an overwrite ring: lapped readers are told exactly, and no hold of the dead is left. */
static void lap(struct world *w)
{
    (void)world_fill(w, w->slots + 5, 1, BY_SURVIVOR);
    survivor_drain(w, &w->one);
    if (!w->stop && w->one.next != w->end) {
        violate(w, I2, "after a lap read up to %" PRIu64 " of %" PRIu64, w->one.next, w->end);
    }
    if (w->variant->geometry != SLIPRING_GEOMETRY_TENSOR || w->stop) {
        return;
    }
    world_fill(w, 1, 1, BY_SURVIVOR);
    struct patience patience = {0};
    struct slipring_view view;
    int rc;
    while ((rc = slipring_consumer_try_acquire(w->one.consumer, 1, &view)) == -ENOBUFS &&
           !over(&patience, GO_ON_NS)) {
        nap();
    }
    if (rc || slipring_consumer_release(w->one.consumer, &view)) {
        violate(w, rc == -ENOBUFS ? I6 : I4, "a survivor cannot hold: %d", rc);
    }
    w->one.next = w->end;
}

/* One that stood by goes on: it was evicted, and is told so; or what it held is as it was. */
static void bystander_goes_on(struct world *w)
{
    struct patience patience = {0};
    int status = 0;
    do {
        (void)kill(w->bystander, SIGCONT);
        nap();
    } while (waitpid(w->bystander, &status, WNOHANG) == 0 && !over(&patience, NOTICE_NS));
    const int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    w->bystander = 0;
    if (code != (w->op->flags & OP_EVICTS ? EXIT_STALE : 0)) {
        violate(w, I1, "who stood by went on and ended with %d", code);
    }
}

/* Survivors go on for more than a lap, and nothing of the victim is left. */
static void go_on(struct world *w)
{
    if (w->op->flags & OP_KEPT) {
        kept_return(w);
        /* Before the next claim, which would evict it if this process were held up for EVICT_NS. */
        (void)survivor_drain(w, &w->kept);
    }
    if (!w->stop) {
        world_publish(w, w->slots + 3, BY_SURVIVOR);
        all_read(w);
    }
    if (!w->stop) {
        late_joiners(w);
    }
    if (!w->stop && !world_blocks(w)) {
        lap(w);
    }
    if (!w->stop) {
        all_read(w);
    }
    if (!w->stop && w->bystander != 0) {
        bystander_goes_on(w);
    }
}

/* Remove the name: nothing of it may be left. */
static void gone(struct world *w, int allowed)
{
    world_drop(w);
    const int rc = slipring_ring_unlink(w->name, NULL);
    if (rc != 0 && rc != allowed) {
        violate(w, I6, "the name cannot be removed: %d", rc);
    }
    if (count_files(w->name) != 0) {
        violate(w, I6, "%u files are left of a ring that is gone", count_files(w->name));
    }
}

/* ---- the victim consumes ---- */

void frozen_consumer(struct world *w)
{
    world_publish(w, w->slots + 3, BY_SURVIVOR);
    if (w->op->flags & OP_JOINS && w->page->stops % 32 == 0) {
        /* It may stand in the middle of joining: others join, or are told so after a while (which
         * is why not every run asks). */
        const int64_t since = slipring_now_ns();
        struct slipring_consumer *const other =
            world_join(w, SLIPRING_MANY, "work", SLIPRING_OLDEST, true);
        if (other == NULL && w->page->report.rc != -EBUSY) {
            violate(w, I4, "nobody can join: %d", w->page->report.rc);
        }
        if (slipring_now_ns() - since > JOIN_NS) {
            violate(w, I4, "joining took %" PRId64 " ms", (slipring_now_ns() - since) / 1000000);
        }
        slipring_consumer_detach(other);
        w->page->report.rc = 0;
    }
    if (world_blocks(w) && !w->stop) {
        /* Only `one` holds the ring full when the victim goes on. */
        struct patience patience = {0};
        while (w->end - w->one.next < w->slots && !w->stop && !over(&patience, GO_ON_NS)) {
            (void)world_fill(w, w->slots, 1, BY_SURVIVOR);
            (void)survivor_drain(w, &w->two);
            if (w->member != NULL) {
                member_settle(w);
            }
        }
    }
}

void check_consumer(struct world *w)
{
    struct slipring_loan loan;
    if (w->went_on && world_blocks(w) && !w->stop) {
        const int rc = slipring_producer_try_claim(w->producer, 1, &loan);
        if (rc != -EAGAIN || w->end - w->one.next != w->slots) {
            violate(w, I1,
                    "the victim went on, and `one`, %" PRIu64 " of %" PRIu64
                    " slots behind, does not hold the producer back: claim %d",
                    w->end - w->one.next, w->slots, rc);
            w->stop = true;
        }
    }
    if (!w->stop) {
        go_on(w);
    }
    if (w->op->flags & OP_NAMED) {
        gone(w, 0);
    }
}

/* ---- the victim produces ---- */

void frozen_producer(struct world *w)
{
    struct slipring_producer *other = NULL;
    const int rc = slipring_producer_attach(w->ring, NULL, &other, NULL);
    slipring_producer_detach(other);
    if (rc != -EBUSY && !((rc == 0 || rc == -EPIPE) && w->op->flags & OP_LOCK_MOVES)) {
        violate(w, I4, "a second producer beside a stopped one: %d", rc);
    }
    world_drain(w);
}

static void sleeper_wakes(struct world *w)
{
    struct patience patience = {0};
    int status;
    while (waitpid(w->sleeper, &status, WNOHANG) == 0) {
        if (over(&patience, NOTICE_NS)) {
            violate(w, I4, "the sleeper sleeps on after %" PRId64 " ms", NOTICE_NS / 1000000);
            (void)kill(w->sleeper, SIGKILL);
            (void)waitpid(w->sleeper, &status, 0);
            break;
        }
        nap();
    }
    w->sleeper = 0;
    const int rc = w->page->report.sleeper_rc;
    const bool came = w->one.next != w->end;
    if (w->op->flags & OP_WAKES) {
        if (rc != 0) {
            violate(w, I4, "the producer that waited for room got %d", rc);
        }
    } else if (rc == -EBADMSG || (rc == 0) != came || (rc != 0 && rc != -EOWNERDEAD)) {
        violate(w, rc == -EBADMSG ? I1 : I2, "the sleeper got %d, and %s was published", rc,
                came ? "a message" : "none");
    }
}

void check_producer(struct world *w)
{
    if (w->sleeper != 0) {
        survivor_drain(w, &w->one);
        sleeper_wakes(w);
    }
    settle_end(w);
    if (w->op->flags & OP_WAITS && w->page->stops % 16 == 0 && world_blocks(w)) {
        struct slipring_view view;
        const int rc =
            slipring_consumer_acquire(w->one.consumer, 1, &view, slipring_now_ns() + JOIN_NS);
        if (rc != -EOWNERDEAD) {
            violate(w, I4, "who waits for a dead producer is told %d", rc);
        }
    }
    if (w->op->flags & OP_CLOSES && survivor_drain(w, &w->one) == -EPIPE) {
        struct slipring_producer *other = NULL;
        all_read(w);
        if (survivor_drain(w, &w->one) != -EPIPE ||
            (w->two.consumer != NULL && survivor_drain(w, &w->two) != -EPIPE)) {
            violate(w, I2, "the stream has ended for one and not for another");
        }
        const int rc = slipring_producer_attach(w->ring, NULL, &other, NULL);
        if (rc != -EPIPE) {
            violate(w, I2, "a producer after the end: %d", rc);
        }
        slipring_producer_detach(other);
        return;
    }
    world_take_over(w);
    if (!w->stop) {
        go_on(w);
    }
}

/* ---- rings come and go ---- */

void check_anonymous(struct world *w)
{
    world_create(w);
    slipring_ring_close(w->ring);
    w->ring = NULL;
}

/* A ring found by its name works as if nothing had happened. */
static void use(struct world *w)
{
    world_measure(w);
    world_take_over(w);
    w->one = (struct survivor){"one", world_join(w, 0, NULL, SLIPRING_OLDEST, false), w->start};
    if (w->one.consumer == NULL) {
        violate(w, I4, "nobody can join: %d", w->page->report.rc);
        return;
    }
    world_publish(w, w->slots + 3, BY_SURVIVOR);
    all_read(w);
}

/* The name leads to a whole ring or to none, and then it can be made. */
void check_open(struct world *w)
{
    struct slipring_error error = {0};
    int rc = slipring_ring_open(w->name, 0, &w->ring, &error);
    if (rc == -ENOENT) {
        struct slipring_config config;
        world_config(w, &config);
        rc = slipring_ring_create(w->name, &config, &w->ring, &error);
    }
    if (rc) {
        violate(w, I4, "the name can neither be opened nor made: %d (%s: %s)", rc, error.call,
                error.text);
        return;
    }
    use(w);
    gone(w, 0);
}

void frozen_create(struct world *w)
{
    struct slipring_config config;
    world_config(w, &config);
    const int rc = slipring_ring_create(w->name, &config, &w->ring, NULL);
    if (rc != 0 && rc != -EEXIST) {
        violate(w, I4, "nobody can create beside a stopped process: %d", rc);
    }
    world_drop(w);
    w->may_publish = rc == 0; /* ours is there */
}

void check_create(struct world *w)
{
    if (w->went_on && (w->page->report.rc == 0) == (w->may_publish == 1)) {
        violate(w, I4, "one name made by two, or by none: the victim got %d", w->page->report.rc);
    }
    check_open(w);
}

/* Remove the ring under the victim's hands and make the name anew. */
void frozen_unlink(struct world *w)
{
    struct slipring_config config;
    world_config(w, &config);
    const int64_t since = slipring_now_ns();
    w->page->report.note = (uint32_t)-slipring_ring_unlink(w->name, NULL);
    w->may_publish = slipring_ring_create(w->name, &config, &w->ring, NULL) == 0;
    if (slipring_now_ns() - since > JOIN_NS) {
        violate(w, I4, "unlink or create hung on a stopped process");
    }
    world_drop(w);
}

void check_unlink(struct world *w)
{
    if (w->went_on) {
        /* Two rings at most were made; as many successes as rings that are gone. */
        const uint32_t made = 1 + (uint32_t)w->may_publish;
        const uint32_t removed = (w->page->report.note == 0) + (w->page->report.rc == 0);
        const int rc = slipring_ring_open(w->name, 0, &w->ring, NULL);
        if (removed + (rc == 0) != made) {
            violate(w, I6, "%u rings were made, %u removed, and opening says %d", made, removed,
                    rc);
        }
        world_drop(w);
    }
    check_open(w);
}

/* Nobody has it open: it must go, at the latest when somebody looks. */
void check_vanish(struct world *w)
{
    struct slipring_reaped reaped;
    const int rc = slipring_ring_reap(w->name, &reaped, NULL);
    if (rc != 0 && rc != -ENOENT) {
        violate(w, I6, "reap: %d", rc);
    }
    if (slipring_ring_open(w->name, 0, &w->ring, NULL) == 0) {
        violate(w, I6, "a vanishing ring outlived its last member");
        world_drop(w);
    }
    gone(w, -ENOENT);
}
