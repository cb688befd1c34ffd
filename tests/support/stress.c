/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "ring/recover.h"
#include "stress.h"

#include "ring/handle.h"
#include "ring/members.h"
#include "crowd.h"
#include "footprint.h"
#include "visit.h"

#include <fcntl.h>

#define REPEATS 0x80u /* in begun[]: somebody was killed with it, it may be begun again */

struct run {
    struct crowd crowd; /* what the next child gets */
    uint64_t swept;     /* sequences (minus the start) whose work is checked */
    uint64_t never, again;
};

/* ---- the ring ---- */

void stress_config(const struct stress *how, struct slipring_config *config,
                   struct slipring_field *field)
{
    const int64_t shape[2] = {(int64_t)how->bytes / 16, 16};
    slipring_config_init(config);
    config->geometry = how->geometry;
    config->full = how->full;
    config->slots = how->slots;
    config->start_sequence = how->start_sequence;
    config->members_max = how->members == 0 ? 32 : how->members;
    config->slot_bytes = how->bytes;
    config->flags = how->flags;
    if (how->full == SLIPRING_BLOCK) {
        config->groups_max = how->tables;
        config->releases_max = how->tables;
        config->lasting = visit_lasting;
        config->lasting_count = how->visitors > 0 ? VISIT_LASTING : 0;
    }
    if (how->variable) {
        CHECK_EQ(slipring_field_init(field, "x", "u1", 2, shape), 0);
        config->slot_bytes = 0;
        config->fields = field;
        config->field_count = 1;
        config->flags |= SLIPRING_VARIABLE_SHAPE;
    }
}

struct slipring_ring *stress_create(const struct stress *how)
{
    struct slipring_config config;
    struct slipring_field field;
    stress_config(how, &config, &field);
    return proc_create(&config);
}

/* ---- the producer ---- */

static uint64_t rows(const struct stress *how, uint64_t sequence)
{
    return 1 + sequence % (how->bytes / 16);
}

int stress_publish(const struct stress *how, struct slipring_producer *producer, uint64_t *random,
                   int64_t deadline_ns, uint64_t *messages)
{
    struct slipring_loan loan;
    struct slipring_slot headers[32] = {{0}};
    int64_t shapes[32][2];
    const bool spanning = how->spanning && proc_random(random) % 2 == 0;
    const uint64_t n = spanning ? 2 + proc_random(random) % (how->slots / 2 - 1)
                                : 1 + proc_random(random) % (how->batch == 0 ? 1 : how->batch);
    const int code = deadline_ns == 0 ? slipring_producer_try_claim(producer, n, &loan)
                                      : slipring_producer_claim(producer, n, &loan, deadline_ns);
    *messages = 0;
    if (code != 0) {
        return code;
    }
    for (uint64_t i = 0; i < (spanning ? 1 : n); i++) {
        const uint64_t sequence = loan.sequence + i;
        const uint64_t bytes = spanning        ? (n - 1) * loan.stride + 8 * (1 + sequence % 8)
                               : how->variable ? rows(how, sequence) * 16
                                               : how->bytes;
        pattern_fill((char *)loan.data + i * loan.stride, bytes, sequence);
        shapes[i][0] = (int64_t)rows(how, sequence);
        shapes[i][1] = 16;
        headers[i] = (struct slipring_slot){.bytes = bytes, .tag = sequence};
        headers[i].shapes = how->variable ? shapes[i] : NULL;
    }
    *messages = spanning ? 1 : n;
    return spanning ? slipring_producer_publish_spanning(producer, headers)
                    : slipring_producer_publish(
                          producer, n, how->geometry == SLIPRING_GEOMETRY_COMPACT ? NULL : headers);
}

bool stress_whole(const struct stress *how, const struct slipring_view *view)
{
    const struct slipring_slot *slot = &view->slot;
    const bool compact = how->geometry == SLIPRING_GEOMETRY_COMPACT;
    const bool spans = how->spanning && slot->bytes > how->bytes;
    bool whole = compact || slot->tag == slot->sequence;
    for (uint64_t i = 0; i < (spans ? 1 : view->slots); i++) {
        const uint64_t bytes = compact || (i > 0 && !how->variable) ? how->bytes : slot->bytes;
        whole =
            pattern_whole((const char *)view->data + i * view->stride, bytes, slot->sequence + i) &&
            whole;
    }
    if (how->variable && !spans) {
        whole = whole && slot->shapes != NULL && (uint64_t)slot->shapes[0] * 16 == slot->bytes &&
                slot->shapes[0] == (int64_t)rows(how, slot->sequence);
    }
    return whole;
}

/* ---- a run ---- */

/* The first of each kind; of visitors only where one must be there all the time. */
static bool is_spared(const struct stress *how, unsigned person)
{
    return (person == 1 && how->readers > 0) || (person == how->readers + 1 && how->workers > 0) ||
           (person == how->readers + how->workers + 1 && how->soak);
}

static struct proc start(struct run *run, uint64_t *random, unsigned person)
{
    const struct stress *how = run->crowd.how;
    int (*body)(struct proc *, void *) = person == 0                             ? crowd_produce
                                         : person <= how->readers                ? crowd_read
                                         : person <= how->readers + how->workers ? crowd_work
                                                                                 : crowd_visit;
    run->crowd.seed = proc_random(random);
    run->crowd.worker = person - 1 - how->readers;
    struct proc child = proc_start(body, &run->crowd);
    if (how->kills == 0 || run->crowd.first) {
        proc_hear(&child);
    }
    return child;
}

/* What a killed worker had in hand may be worked on again. */
static void may_repeat(struct run *run, unsigned person)
{
    const unsigned worker = person - 1 - run->crowd.how->readers;
    for (unsigned i = 0; worker < run->crowd.how->workers && i < STRESS_IN_HAND; i++) {
        const uint64_t hand = run->crowd.shared->hands[worker][i];
        const uint64_t first = (hand & ((UINT64_C(1) << 56) - 1)) - 1;
        for (uint64_t k = 0; hand != 0 && k < hand >> 56; k++) {
            if (first + k - run->swept < STRESS_WINDOW) {
                run->crowd.shared->begun[(first + k) % STRESS_WINDOW] |= REPEATS;
            }
        }
        run->crowd.shared->hands[worker][i] = 0;
    }
}

/* Everything before the group's position is finished, for good: check it, and use it again. */
static void sweep(struct run *run, uint64_t to)
{
    struct crowd_shared *shared = run->crowd.shared;
    for (; run->swept < to; run->swept++) {
        const uint64_t at = run->swept % STRESS_WINDOW;
        const uint8_t begun = atomic_exchange(&shared->begun[at], 0);
        run->never += atomic_exchange(&shared->done[at], 0) == 0;
        run->again += (begun & ~REPEATS) > 1;
        if (begun > 1 && begun < REPEATS) {
            FAIL("sequence %llu was worked on %u times, and nobody was killed with it",
                 (unsigned long long)(run->crowd.how->start_sequence + run->swept), begun);
        }
    }
    shared->quota = run->swept + STRESS_WINDOW - 2 * run->crowd.how->slots;
}

static void sweep_finished(struct run *run)
{
    struct slipring_group_info groups[8] = {{.struct_size = sizeof(groups[0])}};
    const int count =
        run->crowd.how->workers == 0 ? 0 : slipring_ring_groups(run->crowd.ring, groups, 8);
    for (int i = 0; i < count; i++) {
        if (strcmp(groups[i].name, "work") == 0) {
            sweep(run, groups[i].position - run->crowd.how->start_sequence);
        }
    }
}

/* What is left when everybody has gone or is dead: nothing. A reaper frees the dead's; then no cell,
 * group, hold or lock is anybody's, and there is room for as many as at the start. */
static void nothing_left(const struct run *run)
{
    struct slr_segment *segment = &run->crowd.ring->segment;
    const struct slipring_info info = proc_info(run->crowd.ring);
    struct flock lock = {.l_type = F_WRLCK, .l_start = SLR_LOCK_PRODUCER};
    CHECK(fcntl(segment->control_fd, F_OFD_GETLK, &lock) == 0 && lock.l_type == F_UNLCK);
    (void)slr_members_reap_all(run->crowd.ring);
    CHECK_EQ(proc_info(run->crowd.ring).members, 0);
    CHECK_EQ(slipring_ring_groups(run->crowd.ring, NULL, 0), segment->geometry.lasting_count);
    for (uint32_t i = 0; i < info.hold_max; i++) {
        CHECK_EQ(atomic_load(&segment->holds[i]), 0);
    }
    struct slipring_consumer **consumers = calloc(info.members_max, sizeof(*consumers));
    CHECK(consumers != NULL);
    for (uint32_t i = 0; i < info.members_max; i++) { /* as many as ever of each kind */
        char name[16];
        const bool block = run->crowd.how->full == SLIPRING_BLOCK;
        const uint32_t lasting = segment->geometry.lasting_count > 0 ? 1 : 0; /* of many */
        const bool unordered = block && i < info.releases_max;
        const bool many = block && !unordered && i - info.releases_max < info.groups_max - lasting;
        struct slipring_consumer_config config;
        slipring_consumer_config_init(&config);
        snprintf(name, sizeof(name), "g%u", i);
        config.group = many ? name : NULL;
        config.flags = many ? SLIPRING_MANY : unordered ? SLIPRING_UNORDERED : 0;
        CHECK_EQ(slipring_consumer_attach(run->crowd.ring, &config, &consumers[i], NULL), 0);
    }
    for (uint32_t i = 0; i < info.members_max; i++) {
        slipring_consumer_detach(consumers[i]);
    }
    free(consumers);
}

static void judge(struct run *run, uint64_t kills)
{
    const struct stress *how = run->crowd.how;
    const struct slipring_info info = proc_info(run->crowd.ring);
    const uint64_t slots = info.cursor - how->start_sequence;
    if (how->workers > 0) {
        sweep(run, slots);
    }
    printf("%s: %llu slots, epoch %llu, %llu killed, %llu worked on again, %llu dead letters\n",
           how->name, (unsigned long long)slots, (unsigned long long)info.epoch,
           (unsigned long long)kills, (unsigned long long)run->again,
           (unsigned long long)info.dead_letters);
    CHECK(slots > 2 * how->slots);
    if (run->never > info.dead_letters) {
        FAIL("%llu slots were never worked on", (unsigned long long)run->never);
    }
    CHECK(kills > 0 || info.members == 0);
    nothing_left(run);
}

/* Kill people and start others in their place until the run is over; how many were killed. */
static uint64_t kill_some(struct run *run, struct proc *people, unsigned count, uint64_t *random)
{
    const struct stress *how = run->crowd.how;
    const int64_t end = proc_in_ms(how->run_ms);
    uint64_t kills = 0;
    while (kills < how->kills || slipring_now_ns() < end) {
        proc_pause_us((int64_t)(proc_random(random) % (how->kills != 0 ? 3000 : 8000)));
        const unsigned victim = (unsigned)(proc_random(random) % count);
        const bool may =
            victim == 0 ? how->kill_producer
                        : how->kill_consumers && !is_spared(how, victim) && people[victim].pid > 0;
        if (may && (how->kills == 0 || kills < how->kills)) {
            proc_kill(&people[victim]);
            may_repeat(run, victim);
            if (!how->bury) {
                people[victim] = start(run, random, victim);
            }
            kills++;
        }
        sweep_finished(run);
    }
    return kills;
}

void stress_run(const struct stress *how, uint64_t *random)
{
    const unsigned count = 1 + how->readers + how->workers + how->visitors;
    struct proc *people = calloc(count, sizeof(*people));
    CHECK(people != NULL && how->workers <= STRESS_WORKERS);
    const struct footprint before = footprint_now();
    struct run run = {
        .crowd = {.how = how, .ring = stress_create(how), .begin = slipring_now_ns()}};
    run.crowd.shared = (struct crowd_shared *)proc_share(sizeof(*run.crowd.shared));
    sweep(&run, 0);
    run.crowd.first = true;
    for (unsigned i = count; i-- > 0;) { /* the producer last, so that the others see all */
        people[i] = start(&run, random, i);
    }
    run.crowd.first = false;
    const uint64_t kills = kill_some(&run, people, count, random);
    run.crowd.shared->stop = 1;
    for (unsigned i = 0; i < count; i++) {
        if (people[i].pid > 0) {
            proc_end(&people[i]);
        }
    }
    CHECK(kills > 0 || (!how->kill_consumers && !how->kill_producer));
    judge(&run, kills);
    proc_unshare(run.crowd.shared, sizeof(*run.crowd.shared));
    slipring_ring_close(run.crowd.ring);
    free(people);
    CHECK_EQ(footprint_now().fds, before.fds);
}

int stress_main(const struct stress *variants, size_t count)
{
    proc_begin(240);
    uint64_t random = proc_seed();
    for (size_t i = 0; i < count; i++) {
        stress_run(&variants[i], &random);
    }
    return 0;
}
