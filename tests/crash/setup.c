/* SPDX-License-Identifier: Apache-2.0 */
/* What lies in the ring, and who has died in it already, when the victim starts. */
#define _GNU_SOURCE
#include "op.h"

#include "stepkill.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static void name(struct world *w)
{
    snprintf(w->name, sizeof(w->name), "stepkill.%d", (int)getpid());
}

static void leave_producer(struct world *w)
{
    slipring_producer_detach(w->producer);
    w->producer = NULL;
}

void setup_consumer(struct world *w)
{
    if (w->op->flags & OP_NAMED) {
        name(w);
    }
    world_make(w);
    const uint64_t n = world_pending(w);
    const bool spans = w->op->flags & OP_SPANS && !(w->op->flags & OP_PRODUCES);
    const uint64_t filled = world_fill(w, n, spans ? SPAN : 1, BY_SETUP);
    if (filled + (spans ? SPAN - 1 : 0) < n) {
        broken(w, "set-up: %u messages do not fit", (unsigned)n);
    }
    w->kept.next = w->end - filled;
}

void setup_producer(struct world *w)
{
    setup_consumer(w);
    if (w->op->flags & OP_FILLS) {
        world_drain(w);
        (void)world_fill(w, w->slots - w->op->arg, 1, BY_SETUP);
    }
    leave_producer(w);
    w->may_publish = w->op->arg;
}

/* ---- predecessors: members that are dead before the victim starts ---- */

/* Fork a child that runs body and then dies by SIGKILL. */
static void die(struct world *w, void (*body)(struct world *w))
{
    int status = 0;
    const pid_t pid = fork();
    if (pid == 0) {
        body(w);
        (void)raise(SIGKILL);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFSIGNALED(status)) {
        broken(w, "set-up: a predecessor ended with status %#x, rc %d", (unsigned)status,
               w->page->report.rc);
    }
}

/* Acquire n slots, two at a time, or as many as there are. */
static void acquire_and_stay(struct world *w, struct slipring_consumer *consumer, uint64_t n)
{
    struct slipring_view view;
    for (uint64_t got = 0; consumer != NULL && got < n; got += view.slots) {
        const int rc = slipring_consumer_try_acquire(consumer, 2, &view);
        if (rc == -EAGAIN) {
            break;
        }
        w->page->report.rc = rc;
        if (rc) {
            _exit(90);
        }
        w->page->report.held = got == 0 ? view.slot.sequence : w->page->report.held;
    }
    if (consumer == NULL) {
        _exit(90);
    }
}

static void holder_dies(struct world *w)
{
    acquire_and_stay(w, world_join(w, 0, NULL, SLIPRING_OLDEST, false), 1);
}

static void member_dies(struct world *w)
{
    acquire_and_stay(w, world_join(w, SLIPRING_MANY, "work", SLIPRING_OLDEST, world_evicts(w)),
                     w->slots);
}

static void founder_dies(struct world *w)
{
    acquire_and_stay(w, world_join(w, SLIPRING_MANY, "solo", SLIPRING_OLDEST, world_evicts(w)), 2);
}

static void kept_dies(struct world *w)
{
    acquire_and_stay(w, world_join(w, 0, "kept", SLIPRING_OLDEST, world_evicts(w)), 2);
}

static void worker_dies(struct world *w)
{
    acquire_and_stay(w, world_join(w, SLIPRING_MANY, "work", SLIPRING_OLDEST, world_evicts(w)), 1);
}

void setup_dead_member(struct world *w)
{
    setup_consumer(w);
    die(w, member_dies);
}

void setup_dead_group(struct world *w)
{
    setup_consumer(w);
    die(w, founder_dies);
}

void setup_dead_holder(struct world *w)
{
    setup_consumer(w);
    die(w, holder_dies);
}

void setup_dead_kept(struct world *w)
{
    setup_consumer(w);
    die(w, kept_dies);
}

/* Each that joins gives back what the one before it died with. */
void setup_dead_letter(struct world *w)
{
    world_make(w);
    (void)world_fill(w, 1, 1, BY_SETUP);
    for (uint32_t i = 0; i < w->op->arg; i++) {
        die(w, worker_dies);
    }
}

/* ---- bystanders: members that live, and do nothing ---- */

/* Wait to be let go on; then what became of what we hold? */
static _Noreturn void stand_by(struct world *w, struct slipring_consumer *consumer)
{
    struct slipring_view view;
    const int rc = consumer == NULL ? 1 : slipring_consumer_try_acquire(consumer, 1, &view);
    if (rc) {
        w->page->report.rc = rc;
        _exit(90);
    }
    w->page->report.held = view.slot.sequence;
    w->page->report.sleeper_ready = 1;
    (void)raise(SIGSTOP);
    const bool whole = payload_author(view.data, view.slot.bytes, view.slot.sequence) == BY_SETUP;
    const int released = slipring_consumer_release(consumer, &view);
    _exit(released == -ESTALE ? EXIT_STALE : released == 0 && whole ? 0 : 91);
}

static _Noreturn void gate_until_killed(struct world *w)
{
    holder_dies(w);
    w->page->report.sleeper_ready = 1;
    for (;;) {
        pause();
    }
}

static _Noreturn void evictable_one(struct world *w)
{
    stand_by(w, world_join(w, 0, NULL, SLIPRING_OLDEST, world_evicts(w)));
}

static _Noreturn void evictable_member(struct world *w)
{
    stand_by(w, world_join(w, SLIPRING_MANY, "work", SLIPRING_OLDEST, true));
}

static pid_t beside(struct world *w, void (*body)(struct world *w))
{
    const pid_t pid = fork();
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        body(w);
        _exit(90);
    }
    struct patience patience = {0};
    while (!w->page->report.sleeper_ready && !over(&patience, NOTICE_NS)) {
        nap();
    }
    if (!w->page->report.sleeper_ready) {
        broken(w, "set-up: no bystander, rc %d", w->page->report.rc);
    }
    return pid;
}

void behind_member(struct world *w)
{
    (void)survivor_drain(w, &w->one);
    (void)survivor_drain(w, &w->two);
}

/* Fill the ring behind who stands at a sequence. Not one more: a claim in vain would already clear
 * up after the dead, or start the clock of an eviction. */
static void fill_behind(struct world *w, uint64_t sequence)
{
    behind_member(w);
    (void)world_fill(w, sequence + w->slots - w->end, 1, BY_SETUP);
}

void setup_dead_consumer(struct world *w)
{
    setup_consumer(w);
    const pid_t pid = beside(w, gate_until_killed);
    do {
        world_drain(w);
    } while (world_fill(w, w->slots, 1, BY_SETUP) != 0 && !w->stop);
    sk_kill(pid);
    leave_producer(w);
    w->may_publish = 1;
}

void setup_evicted_one(struct world *w)
{
    setup_consumer(w);
    w->bystander = beside(w, evictable_one);
    w->others = 1;
    fill_behind(w, w->page->report.held);
    leave_producer(w);
    w->may_publish = 1;
}

void setup_evicted_member(struct world *w)
{
    setup_consumer(w);
    w->bystander = beside(w, evictable_member);
    w->others = 1;
    fill_behind(w, w->page->report.held);
    leave_producer(w);
    w->may_publish = 1;
}

void setup_dropped(struct world *w)
{
    setup_consumer(w);
    fill_behind(w, w->end - world_pending(w));
    leave_producer(w);
    w->may_publish = 1;
}

/* The first of the slots that the victim would claim is held by a reader. */
void setup_past_hold(struct world *w)
{
    setup_consumer(w);
    w->bystander = beside(w, evictable_one);
    w->others = 1;
    const uint64_t held = w->page->report.held + w->slots;
    (void)world_fill(w, held - w->end, 1, BY_SETUP);
    w->passed[world_at(w, held)] = true;
    leave_producer(w);
    w->may_publish = w->op->arg + 1;
}

/* ---- behind a first victim ---- */

void behind_producer(struct world *w)
{
    if (w->op->arg == 0) {
        world_drain(w);
        w->end = w->one.next;
        w->may_publish = 1;
    } else {
        w->may_publish = 4;
    }
}

void behind_consumer(struct world *w)
{
    fill_behind(w, w->end - world_pending(w));
    leave_producer(w);
    w->may_publish = 1;
}

void behind_nothing(struct world *w)
{
    (void)w;
}

/* ---- a sleeper ---- */

bool asleep(pid_t pid)
{
    char path[64], text[512] = "";
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    const ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (fd >= 0) {
        (void)close(fd);
    }
    const char *const end = got > 0 ? strrchr(text, ')') : NULL;
    return end != NULL && end[1] == ' ' && end[2] == 'S';
}

static void sleep_for_message(struct world *w)
{
    struct report *const report = &w->page->report;
    struct slipring_view view;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    struct slipring_consumer *const consumer = world_join(w, 0, NULL, SLIPRING_LATEST, false);
    if (consumer == NULL) {
        _exit(90);
    }
    report->sleeper_ready = 1;
    uint64_t buffer[32];
    const int64_t deadline = slipring_now_ns() + 2 * JOIN_NS;
    const bool copy = !world_blocks(w);
    int rc = copy ? slipring_consumer_copy(consumer, buffer, sizeof(buffer), &view, deadline)
                  : slipring_consumer_acquire(consumer, 1, &view, deadline);
    if (rc == 0 && payload_author(view.data, view.slot.bytes, view.slot.sequence) != BY_VICTIM) {
        rc = -EBADMSG;
    }
    report->sleeper_rc = rc;
    _exit(0);
}

void setup_sleeper(struct world *w)
{
    struct patience patience = {0};
    setup_producer(w);
    w->sleeper = fork();
    if (w->sleeper == 0) {
        sleep_for_message(w);
    }
    for (int looks = 0; looks < 2;) {
        if (over(&patience, NOTICE_NS)) {
            broken(w, "set-up: the sleeper does not sleep, rc %d", w->page->report.rc);
        }
        looks = w->page->report.sleeper_ready && asleep(w->sleeper) ? looks + 1 : 0;
        nap();
    }
}

/* The producer, once it is told that a consumer is in its way. */
static _Noreturn void sleep_for_room(struct world *w)
{
    struct report *const report = &w->page->report;
    struct slipring_producer_config config;
    struct slipring_producer *producer = NULL;
    struct slipring_loan loan;
    int64_t shapes[2];
    slipring_producer_config_init(&config);
    config.wait = SLIPRING_WAIT_SLEEP;
    int rc = slipring_producer_attach(w->ring, &config, &producer, NULL);
    report->sleeper_ready = 1;
    while (rc == 0 && report->note == 0) {
        nap();
    }
    report->sleeper_ready = 2;
    rc = rc ? rc : slipring_producer_claim(producer, 1, &loan, slipring_now_ns() + 2 * JOIN_NS);
    if (rc == 0) {
        const struct slipring_slot header = message_header(w, loan.sequence, BY_VICTIM, 1, shapes);
        payload_fill(loan.data, w->variant->bytes, loan.sequence, BY_VICTIM);
        rc = slipring_producer_publish(producer, 1, world_has_headers(w) ? &header : NULL);
    }
    report->sleeper_rc = rc;
    _exit(0);
}

void setup_sleeping_producer(struct world *w)
{
    setup_producer(w);
    behind_member(w);
    w->sleeper = beside(w, sleep_for_room);
    w->may_publish = 1;
}

/* ---- names ---- */

/* What a process does once, such as looking at the machine's topology, is done before. */
void setup_nothing(struct world *w)
{
    world_create(w);
    slipring_ring_close(w->ring);
    w->ring = NULL;
}

void setup_name(struct world *w)
{
    setup_nothing(w);
    name(w);
}

void setup_named(struct world *w)
{
    setup_name(w);
    world_create(w);
    slipring_ring_close(w->ring);
    w->ring = NULL;
}
