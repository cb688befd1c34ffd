/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "hostile.h"

#include "ring/group.h"
#include "ring/handle.h"
#include "ring/members.h"
#include "visit.h"

#include <signal.h>
#include <slipring/inline.h>

enum { VISITORS = 3, PEOPLE = 1 + VISITORS, STUCK_MS = 30000 };

/* ---- where ---- */

struct part {
    uint8_t *at;
    uint64_t bytes;
};

static struct part part_of(const struct slr_segment *segment, uint32_t part)
{
    const struct slr_geometry *g = &segment->geometry;
    struct slr_control *control = segment->control;
    uint8_t *const base = (uint8_t *)control;
    const uint64_t table = g->slots * 8;
    switch (part) {
    case HOSTILE_HEAD:
        return (struct part){base, offsetof(struct slr_control, consumers_waiting)};
    case HOSTILE_WAKE:
        return (struct part){(uint8_t *)&control->consumers_waiting,
                             offsetof(struct slr_control, holds_exist) -
                                 offsetof(struct slr_control, consumers_waiting)};
    case HOSTILE_WORDS:
        return (struct part){(uint8_t *)&control->holds_exist,
                             offsetof(struct slr_control, letters) -
                                 offsetof(struct slr_control, holds_exist)};
    case HOSTILE_LETTERS:
        return (struct part){(uint8_t *)control->letters, sizeof(control->letters)};
    case HOSTILE_CELLS:
        return (struct part){base + g->cells_offset, g->members_max * sizeof(struct slr_cell)};
    case HOSTILE_GROUPS:
        return (struct part){base + g->groups_offset,
                             slr_groups_total(segment) * sizeof(struct slr_group)};
    case HOSTILE_HOLDS:
        return (struct part){base + g->holds_offset, g->hold_max * UINT64_C(8)};
    case HOSTILE_LEASES:
        return (struct part){base + g->leases_offset, g->groups_max * table};
    case HOSTILE_RELEASES:
        return (struct part){base + g->releases_offset, g->releases_max * table};
    default:
        return (struct part){base, g->control_bytes};
    }
}

/* A random one of the parts that is not empty. */
static struct part choose_part(const struct slr_segment *segment, uint32_t parts, uint64_t *random)
{
    for (;;) {
        const uint32_t part = UINT32_C(1) << proc_random(random) % 10;
        const struct part found = part_of(segment, part);
        if ((parts & part) != 0 && found.bytes != 0) {
            return found;
        }
    }
}

/* ---- what ---- */

static uint64_t some_sequence(const struct slr_segment *segment, uint64_t *random)
{
    const uint64_t chance = proc_random(random);
    const uint64_t slots = segment->geometry.slots;
    uint64_t base = chance % 8 == 0   ? 0
                    : chance % 8 == 1 ? segment->geometry.start_sequence
                    : chance % 8 == 2 ? atomic_load(&segment->data->limit)
                                      : atomic_load(&segment->data->cursor);
    base += (chance >> 3) % 4 == 0 ? (chance >> 5) % 8 * slots - 4 * slots : 0;
    base += (chance >> 8) % 16 == 0 ? UINT64_C(1) << 63 : 0;
    return base + (chance >> 12) % (2 * slots + 3) - slots - 1;
}

/* A cell that is there, or one just out of range; and its generation, or the next or last one. */
static uint32_t some_cell(const struct slr_segment *segment, uint64_t *random, uint32_t *generation)
{
    const uint32_t cells = segment->geometry.members_max;
    const uint64_t chance = proc_random(random);
    const uint32_t cell = (uint32_t)(chance >> 32) % (cells + 2);
    const uint64_t word =
        cell < cells ? atomic_load(&segment->cells[cell].word) : proc_random(random);
    *generation =
        slr_cell_generation(word) + (chance % 4 == 0 ? (uint32_t)(chance >> 8) % 3 - 1 : 0);
    return chance % 16 == 1 ? 4095 : cell;
}

/* A word of the protocol. */
static uint64_t some_word(const struct slr_segment *segment, uint64_t *random)
{
    const uint64_t chance = proc_random(random);
    const uint32_t low = (uint32_t)(chance >> 8);
    const uint64_t sequence = some_sequence(segment, random);
    uint32_t generation;
    const uint32_t cell = some_cell(segment, random, &generation);
    const uint32_t group = low % (slr_groups_total(segment) + 2);
    switch (chance % 6) {
    case 0:
        return slr_cell_word(generation, low % 8 == 0 ? SLR_NO_GROUP : group, (low >> 16) % 4,
                             (low >> 18) % 6);
    case 1:
        return slr_group_word((uint32_t)(chance >> 40) % 4, low, low % 5);
    case 2:
        return slr_lease(cell, generation, slr_lap(segment, sequence), low % 4, (low >> 2) % 8);
    case 3:
        return slr_release_word(segment, cell, generation, sequence);
    case 4: /* a hold */
        return (uint64_t)(cell + 1) << 52 | (uint64_t)(generation & 0x7ffff) << 33 |
               (low % 4 == 0 ? low : sequence & (segment->geometry.slots - 1));
    default: /* the owner of a group of one */
        return (uint64_t)generation << 32 | (cell + 1);
    }
}

static uint64_t some_value(const struct slr_segment *segment, const struct part *part, uint64_t now,
                           uint64_t *random)
{
    const uint64_t chance = proc_random(random);
    const uint64_t at = (chance >> 8) % (part->bytes / 8) * 8;
    switch (chance % 12) {
    case 0:
        return UINT64_MAX;
    case 1:
        return 0;
    case 2:
        return now + 1;
    case 3:
        return now - 1;
    case 4:
        return now ^ UINT64_C(1) << (chance >> 8) % 64;
    case 5:
        return (chance >> 8) % 80;
    case 6:
        return atomic_load((_Atomic uint64_t *)(void *)(part->at + at));
    case 7:
        return proc_random(random);
    case 8:
    case 9:
        return some_sequence(segment, random);
    default:
        return some_word(segment, random);
    }
}

void hostile_write(struct slipring_ring *ring, uint32_t parts, unsigned count, uint64_t *random)
{
    const struct slr_segment *segment = &ring->segment;
    for (unsigned i = 0; i < count; i++) {
        const struct part part = choose_part(segment, parts, random);
        const uint64_t chance = proc_random(random);
        uint8_t *const at = part.at + chance % (part.bytes / 8) * 8;
        _Atomic uint64_t *const word = (_Atomic uint64_t *)(void *)at;
        const uint64_t value = some_value(segment, &part, atomic_load(word), random);
        if ((chance >> 32) % 4 != 0) {
            atomic_store(word, value);
        } else { /* half of it, as flags and indices are */
            _Atomic uint32_t *const halves = (_Atomic uint32_t *)(void *)at;
            atomic_store(&halves[(chance >> 34) % 2], (uint32_t)value);
        }
    }
}

void hostile_open_gates(struct slipring_ring *ring)
{
    struct slr_control *control = ring->segment.control;
    atomic_store(&control->cells_high, 0);
    atomic_store(&control->groups_high, 0);
    atomic_store(&control->holds_exist, 0);
}

/* ---- the people of a storm ---- */

struct storm {
    const struct stress *how;
    struct slipring_ring *ring;
    uint32_t parts;
    uint64_t seed;
    unsigned person;
    struct {
        _Atomic uint32_t stop;
        struct visit_log logs[PEOPLE];
    } * shared;
};

static struct visit visit_of(const struct storm *storm)
{
    return (struct visit){.how = storm->how,
                          .ring = storm->ring,
                          .scribbled = true,
                          .log = &storm->shared->logs[storm->person]};
}

/* One word and another value back and forth: what is read twice is not the same. */
static void hammer(const struct storm *storm, uint32_t parts, uint64_t *random)
{
    const struct slr_segment *segment = &storm->ring->segment;
    const struct part part = choose_part(segment, parts, random);
    _Atomic uint64_t *const word =
        (_Atomic uint64_t *)(void *)(part.at + proc_random(random) % (part.bytes / 8) * 8);
    const uint64_t now = atomic_load(word);
    const uint64_t other = some_value(segment, &part, now, random);
    for (const int64_t end = slipring_now_ns() + PROC_MS / 2; slipring_now_ns() < end;) {
        for (int i = 0; i < 100; i++) {
            atomic_store(word, i % 2 == 0 ? other : now);
        }
    }
}

/* In phases: some parts or all, from a word now and then, which lets the others get far, to as much
 * as can be written. */
static int scribble(struct proc *self, void *context)
{
    const struct storm *storm = (const struct storm *)context;
    uint64_t random = storm->seed;
    proc_tell(self, 0);
    while (storm->shared->stop == 0) {
        const uint64_t chance = proc_random(&random);
        const uint32_t some = storm->parts & (uint32_t)(chance >> 32);
        const uint32_t parts = chance % 4 == 0 || some == 0 ? storm->parts : some;
        const unsigned burst = 1 + (unsigned)(chance >> 8) % 64 / (1u << (chance >> 16) % 7);
        const int64_t pause_us = INT64_C(1) << (chance >> 24) % 12;
        for (const int64_t end = proc_in_ms(20); slipring_now_ns() < end;) {
            hostile_write(storm->ring, parts | HOSTILE_ANYWHERE, burst, &random);
            if ((chance >> 40) % 4 == 0) {
                hammer(storm, parts | HOSTILE_ANYWHERE, &random);
            }
            if (pause_us > 1) {
                proc_pause_us(pause_us);
            }
        }
    }
    return 0;
}

/* By the calls of inline.h; abort a claim now and then, or publish less than claimed. */
static void publish_plain(const struct storm *storm, struct slipring_producer *producer,
                          uint64_t *random)
{
    struct slipring_fast *fast = slipring_producer_fast(producer);
    const uint64_t n = 1 + proc_random(random) % storm->how->slots;
    const uint64_t sequence = fast->next;
    void *data = NULL;
    if (slipring_fast_try_claim(fast, n, &data) != 0) {
        return;
    }
    for (uint64_t i = 0; i < n; i++) {
        pattern_fill((char *)data + i * fast->payload_stride, storm->how->bytes, sequence + i);
    }
    if (storm->how->geometry == SLIPRING_GEOMETRY_COMPACT) {
        CHECK_EQ(slipring_fast_publish(fast, 1 + proc_random(random) % n), 0);
    } else {
        CHECK_EQ(slipring_producer_abort(producer), 0); /* the others' headers name the tag */
    }
}

static int produce(struct proc *self, void *context)
{
    const struct storm *storm = (const struct storm *)context;
    const struct visit watch = visit_of(storm);
    uint64_t random = storm->seed, messages;
    struct slipring_producer *producer = proc_producer(storm->ring);
    proc_tell(self, 0);
    while (storm->shared->stop == 0) {
        const uint64_t chance = proc_random(&random);
        const int64_t wait_ms = chance % 4 == 0 ? 2 : 0;
        struct visit_clock begin = visit_begin(&watch, "claim");
        const int code = stress_publish(storm->how, producer, &random,
                                        wait_ms == 0 ? 0 : proc_in_ms(wait_ms), &messages);
        visit_end(&watch, begin, wait_ms);
        CHECK(code == 0 || code == -EAGAIN || code == -ETIMEDOUT);
        if (chance % 16 == 1) {
            begin = visit_begin(&watch, "inline claim");
            publish_plain(storm, producer, &random);
            visit_end(&watch, begin, 0);
        } else if (chance % 256 == 2) {
            begin = visit_begin(&watch, "attach as producer");
            slipring_producer_detach(producer);
            producer = proc_producer(storm->ring);
            visit_end(&watch, begin, 0);
        } else if (code != 0 || chance % 64 == 3) {
            proc_pause_us((int64_t)(chance >> 56));
        }
    }
    slipring_producer_detach(producer);
    return 0;
}

static int come_and_go(struct proc *self, void *context)
{
    const struct storm *storm = (const struct storm *)context;
    const struct visit how = visit_of(storm);
    struct slipring_group_info groups[4] = {{.struct_size = sizeof(groups[0])}};
    struct slipring_member members[4] = {{.struct_size = sizeof(members[0])}};
    struct slipring_dead_letter letters[4];
    uint64_t random = storm->seed;
    proc_tell(self, 0);
    while (storm->shared->stop == 0) {
        (void)visit(&how, &random);
        const struct visit_clock begin = visit_begin(&how, "looking at the ring");
        CHECK(slipring_ring_groups(storm->ring, groups, 4) >= 0);
        CHECK(slipring_ring_members(storm->ring, members, 4) >= 0);
        CHECK(slipring_ring_dead_letters(storm->ring, letters, 4) >= 0);
        visit_end(&how, begin, 0);
    }
    return 0;
}

/* ---- the storm ---- */

static struct proc start(struct storm *storm, unsigned person, uint64_t *random)
{
    storm->seed = proc_random(random);
    storm->person = person;
    storm->shared->logs[person].call = "not begun";
    struct proc child = proc_start(person == 0 ? produce : come_and_go, storm);
    proc_hear(&child);
    return child;
}

/* Stop or kill somebody in whatever it is doing, write, and let things go on. */
static void disturb(struct storm *storm, struct proc *people, uint64_t *random)
{
    const uint64_t chance = proc_random(random);
    const unsigned person = (unsigned)(chance % PEOPLE);
    struct proc *victim = &people[person];
    if ((chance >> 8) % 16 == 0) {
        proc_kill(victim);
        *victim = start(storm, person, random);
        return;
    }
    int status;
    CHECK(kill(victim->pid, SIGSTOP) == 0 && waitpid(victim->pid, &status, WUNTRACED) > 0);
    if (!WIFSTOPPED(status)) {
        FAIL("%s: somebody ended with status 0x%x, last in: %s", storm->how->name, (unsigned)status,
             storm->shared->logs[person].call);
    }
    if ((chance >> 12) % 8 == 0) {
        hostile_open_gates(storm->ring);
    }
    hostile_write(storm->ring, storm->parts, 1 + (unsigned)((chance >> 16) % 200), random);
    proc_pause_us((int64_t)((chance >> 32) % 300));
    proc_continue(victim);
}

static void end_person(const struct storm *storm, struct proc *person, unsigned index)
{
    const int64_t end = proc_in_ms(STUCK_MS);
    siginfo_t info = {0};
    while (waitid(P_PID, (id_t)person->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid == 0) {
        if (slipring_now_ns() > end) {
            FAIL("%s: somebody is stuck in: %s", storm->how->name, storm->shared->logs[index].call);
        }
        proc_pause_us(200);
    }
    proc_end(person);
}

/* That nobody failed proves little if nobody did anything. */
static void judge(const struct storm *storm, uint64_t disturbed)
{
    const struct slipring_info info = proc_info(storm->ring);
    const uint64_t slots = info.cursor - storm->how->start_sequence;
    uint64_t joined = 0, refused = 0, read = 0, told = 0;
    for (unsigned i = 0; i < PEOPLE; i++) {
        joined += storm->shared->logs[i].joined;
        refused += storm->shared->logs[i].refused;
        read += storm->shared->logs[i].read;
        told += storm->shared->logs[i].told;
    }
    printf(
        "%s: %llu slots, epoch %llu, %llu times disturbed; joined %llu, refused %llu, read %llu, "
        "told so %llu\n",
        storm->how->name, (unsigned long long)slots, (unsigned long long)info.epoch,
        (unsigned long long)disturbed, (unsigned long long)joined, (unsigned long long)refused,
        (unsigned long long)read, (unsigned long long)told);
    CHECK(slots > 100 && disturbed > 10 && joined > 10 && read > 100);
}

void hostile_storm(const struct stress *how, uint32_t parts, unsigned run_ms, uint64_t *random)
{
    struct storm storm = {.how = how, .ring = stress_create(how), .parts = parts};
    struct proc people[PEOPLE];
    uint64_t disturbed = 0;
    storm.shared = proc_share(sizeof(*storm.shared));
    for (unsigned i = 0; i < PEOPLE; i++) {
        people[i] = start(&storm, i, random);
    }
    storm.seed = proc_random(random);
    struct proc scribbler = proc_start(scribble, &storm);
    for (const int64_t end = proc_in_ms(run_ms); slipring_now_ns() < end; disturbed++) {
        proc_pause_us((int64_t)(proc_random(random) % 1000));
        disturb(&storm, people, random);
    }
    storm.shared->stop = 1;
    for (unsigned i = 0; i < PEOPLE; i++) {
        end_person(&storm, &people[i], i);
    }
    proc_end(&scribbler);
    judge(&storm, disturbed);
    proc_unshare(storm.shared, sizeof(*storm.shared));
    slipring_ring_close(storm.ring);
}

int hostile_main(const struct stress *variants, size_t count, unsigned run_ms)
{
    proc_begin(60 + (unsigned)count * 30);
    uint64_t random = proc_seed();
    for (size_t i = 0; i < count; i++) {
        hostile_storm(&variants[i], HOSTILE_ALL, run_ms, &random);
    }
    return 0;
}
