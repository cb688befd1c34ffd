/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "crowd.h"

#include "footprint.h"
#include "visit.h"

/* ---- what a process takes, where the variant asks ---- */

struct taken {
    bool noted;
    struct footprint early;
};

/* At moments of which each has as much in use as any other: once, after a quarter of the run. */
static void note_taken(const struct crowd *crowd, struct taken *taken)
{
    if (crowd->how->soak && crowd->first && !taken->noted &&
        slipring_now_ns() - crowd->begin > crowd->how->run_ms / 4 * PROC_MS) {
        (void)footprint_now(); /* the C library's own buffers */
        taken->early = footprint_now();
        taken->noted = true;
    }
}

static void check_taken(const struct taken *taken, const char *who)
{
    if (taken->noted) {
        footprint_check(who, taken->early);
    }
}

/* ---- the producer ---- */

int crowd_produce(struct proc *self, void *context)
{
    const struct crowd *crowd = (const struct crowd *)context;
    struct slipring_producer *producer = proc_producer(crowd->ring);
    uint64_t random = crowd->seed, messages;
    struct taken taken = {.noted = false};
    proc_tell(self, 0);
    while (crowd->shared->stop == 0) {
        note_taken(crowd, &taken);
        if (crowd->how->workers > 0 &&
            proc_info(crowd->ring).cursor - crowd->how->start_sequence >= crowd->shared->quota) {
            proc_pause_us(1000);
            continue;
        }
        const int code = stress_publish(crowd->how, producer, &random, proc_in_ms(50), &messages);
        CHECK(code == 0 || code == -ETIMEDOUT);
        crowd->shared->messages += messages;
    }
    check_taken(&taken, "the producer");
    slipring_producer_close(producer);
    return 0;
}

/* ---- readers, workers, visitors ---- */

static void check(const struct stress *how, const struct slipring_view *view)
{
    if (!stress_whole(how, view)) {
        FAIL("sequence %llu is not as published", (unsigned long long)view->slot.sequence);
    }
}

static struct slipring_consumer *attach(const struct crowd *crowd, const char *group)
{
    struct slipring_consumer_config config;
    struct slipring_consumer *consumer;
    struct slipring_error error = {0};
    slipring_consumer_config_init(&config);
    config.group = group;
    config.start = crowd->first ? SLIPRING_OLDEST : (uint32_t)(crowd->seed % 2);
    config.wait = (uint32_t)(crowd->seed >> 8 & 1) * SLIPRING_WAIT_SLEEP;
    config.flags = SLIPRING_AWAIT_PRODUCER | (group != NULL           ? SLIPRING_MANY
                                              : crowd->how->unordered ? SLIPRING_UNORDERED
                                                                      : 0);
    if (slipring_consumer_attach(crowd->ring, &config, &consumer, &error) != 0) {
        FAIL("attach: %d %s", error.code, error.text);
    }
    return consumer;
}

struct hand {
    struct slipring_view views[STRESS_IN_HAND];
    unsigned count;
};

static void let_go(struct slipring_consumer *consumer, struct hand *hand, unsigned at)
{
    const int code = slipring_consumer_release(consumer, &hand->views[at]);
    CHECK_EQ(code, 0);
    hand->count--;
    memmove(&hand->views[at], &hand->views[at + 1], (hand->count - at) * sizeof(hand->views[0]));
}

/* Waits only with nothing in hand: what it holds is what the producer may be waiting for. */
static int next_view(const struct crowd *crowd, struct slipring_consumer *consumer,
                     uint64_t *random, struct slipring_view *view, bool wait)
{
    static uint64_t buffer[1 << 14];
    const uint64_t slots = 1 + proc_random(random) % 4;
    if (crowd->how->full == SLIPRING_OVERWRITE && !crowd->how->hold) {
        return slipring_consumer_copy(consumer, buffer, sizeof(buffer), view, SLIPRING_FOREVER);
    }
    return wait ? slipring_consumer_acquire(consumer, slots, view, SLIPRING_FOREVER)
                : slipring_consumer_try_acquire(consumer, slots, view);
}

int crowd_read(struct proc *self, void *context)
{
    const struct crowd *crowd = (const struct crowd *)context;
    const struct stress *how = crowd->how;
    struct slipring_consumer *consumer = attach(crowd, NULL);
    const bool copy = how->full == SLIPRING_OVERWRITE && !how->hold;
    const bool any_order = how->unordered || how->hold;
    struct hand hand = {.count = 0};
    struct slipring_view view;
    uint64_t random = crowd->seed, next = how->start_sequence, views = 0, messages = 0;
    struct taken taken = {.noted = false};
    proc_tell(self, 0);
    for (;; views++) {
        note_taken(crowd, &taken);
        const int code = next_view(crowd, consumer, &random, &view, hand.count == 0);
        if (code == -EPIPE) {
            break;
        }
        if (code == -EAGAIN || code == -ENOBUFS) { /* others may hold all that can be held */
            if (hand.count > 0) {
                let_go(consumer, &hand, 0);
            }
            views--;
            continue;
        }
        CHECK_EQ(code, 0);
        check(how, &view);
        CHECK(how->full == SLIPRING_OVERWRITE || view.missed == 0);
        const bool known = crowd->first || views > 0;
        if (how->hold ? (int64_t)(view.slot.sequence - next - view.missed) < 0 && known
                      : view.slot.sequence != next + view.missed && known) {
            FAIL("sequence %llu comes after %llu and a gap of %llu",
                 (unsigned long long)view.slot.sequence, (unsigned long long)next,
                 (unsigned long long)view.missed);
        }
        next = view.slot.sequence + view.slots;
        const bool spans = how->spanning && view.slot.bytes > how->bytes;
        messages += view.missed_messages + (spans ? 1 : view.slots);
        if (copy) {
            continue;
        }
        hand.views[hand.count++] = view;
        while (hand.count == STRESS_IN_HAND || (hand.count > 0 && proc_random(&random) % 2 == 0)) {
            const unsigned at = any_order ? (unsigned)(proc_random(&random) % hand.count) : 0;
            check(how, &hand.views[at]);
            let_go(consumer, &hand, at);
        }
    }
    while (hand.count > 0) {
        let_go(consumer, &hand, 0);
    }
    check_taken(&taken, "a reader");
    if (crowd->first) {
        CHECK(how->hold || next == proc_info(crowd->ring).cursor);
        if (!how->kill_producer && how->geometry != SLIPRING_GEOMETRY_COMPACT) {
            CHECK_EQ(messages, crowd->shared->messages);
        }
    }
    slipring_consumer_detach(consumer);
    return 0;
}

/* For the parent, should this process be killed: nothing that is in hand is ever missing there. */
static void show_hand(const struct crowd *crowd, const struct hand *hand)
{
    for (unsigned i = 0; i < STRESS_IN_HAND; i++) {
        const struct slipring_view *view = &hand->views[i];
        crowd->shared->hands[crowd->worker][i] =
            i < hand->count
                ? view->slots << 56 | (view->slot.sequence - crowd->how->start_sequence + 1)
                : 0;
    }
}

static void count_work(const struct crowd *crowd, _Atomic uint8_t *counts,
                       const struct slipring_view *view)
{
    for (uint64_t i = 0; i < view->slots; i++) {
        counts[(view->slot.sequence + i - crowd->how->start_sequence) % STRESS_WINDOW]++;
    }
}

int crowd_work(struct proc *self, void *context)
{
    const struct crowd *crowd = (const struct crowd *)context;
    struct slipring_consumer *consumer = attach(crowd, "work");
    struct hand hand = {.count = 0};
    struct slipring_view view;
    uint64_t random = crowd->seed;
    struct taken taken = {.noted = false};
    proc_tell(self, 0);
    for (;;) {
        note_taken(crowd, &taken);
        const int code =
            slipring_consumer_try_acquire(consumer, 1 + proc_random(&random) % 4, &view);
        if (code == 0) {
            check(crowd->how, &view);
            CHECK(view.slot.deliveries == 1 || view.slots == 1 || crowd->how->spanning);
            hand.views[hand.count++] = view;
            show_hand(crowd, &hand);
            count_work(crowd, crowd->shared->begun, &view);
        } else if (code == -EPIPE && hand.count == 0) {
            break;
        } else {
            CHECK(code == -EAGAIN || code == -EPIPE);
        }
        while (hand.count == STRESS_IN_HAND ||
               (hand.count > 0 && (code != 0 || proc_random(&random) % 2 == 0))) {
            const unsigned at = (unsigned)(proc_random(&random) % hand.count);
            check(crowd->how, &hand.views[at]);
            count_work(crowd, crowd->shared->done, &hand.views[at]);
            let_go(consumer, &hand, at);
            show_hand(crowd, &hand);
        }
    }
    check_taken(&taken, "a worker");
    slipring_consumer_detach(consumer);
    return 0;
}

int crowd_visit(struct proc *self, void *context)
{
    const struct crowd *crowd = (const struct crowd *)context;
    const struct visit how = {.how = crowd->how, .ring = crowd->ring};
    uint64_t random = crowd->seed;
    struct taken taken = {.noted = false};
    proc_tell(self, 0);
    while (visit(&how, &random)) {
        note_taken(crowd, &taken);
    }
    check_taken(&taken, "a visitor");
    return 0;
}
