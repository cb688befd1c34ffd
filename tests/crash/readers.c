/* SPDX-License-Identifier: Apache-2.0 */
/* What the survivors read, and whether it is what they were to get. */
#define _GNU_SOURCE
#include "op.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* ---- one message ---- */

/* At least the bytes that the message's header promises are the message's. */
static uint64_t sure_bytes(const struct world *w, uint64_t sequence)
{
    int64_t shapes[2];
    return w->later[(sequence - w->start) % LOG_MAX] || !w->variant->rich
               ? w->variant->bytes
               : message_header(w, sequence, BY_SURVIVOR, 1, shapes).bytes;
}

static void check_slot(struct world *w, const char *who, uint64_t sequence, const void *data)
{
    const uint64_t at = world_at(w, sequence);
    const unsigned author = payload_author(data, sure_bytes(w, sequence), sequence);
    if (author == 0) {
        violate(w, I1, "%s read a payload that nobody published as %" PRIu64, who, sequence);
    } else if (w->author[at] != 0 && w->author[at] != author) {
        violate(w, I1, "%s read the payload of %u under %" PRIu64 ", which is of %u", who, author,
                sequence, w->author[at]);
    } else if (at > 0 && w->author[at - 1] > author) {
        violate(w, I2, "%s read %" PRIu64 " of %u behind one of %u", who, sequence, author,
                w->author[at - 1]);
    }
    w->author[at] = (uint8_t)author;
}

/* The header is that of the message whose payload was read. */
static void check_header(struct world *w, const char *who, const struct slipring_slot *slot,
                         uint64_t slots)
{
    int64_t shapes[2];
    const unsigned author = w->author[world_at(w, slot->sequence)];
    const struct slipring_slot wanted = message_header(w, slot->sequence, author, slots, shapes);
    const bool timely = w->variant->rich ? slot->timestamp_ns >= w->began_ns &&
                                               slot->timestamp_ns <= slipring_now_ns()
                                         : slot->timestamp_ns == 0;
    const bool shaped = w->variant->rich
                            ? slot->shapes != NULL && memcmp(slot->shapes, shapes, 16) == 0
                            : slot->shapes == NULL;
    if (author != 0 && (slot->tag != wanted.tag || slot->messages != wanted.messages ||
                        slot->bytes != wanted.bytes || !timely || !shaped)) {
        violate(w, I1, "%s read a header that nobody published with %" PRIu64, who, slot->sequence);
    }
}

static void check_headers(struct world *w, const char *who,
                          const struct slipring_consumer *consumer,
                          const struct slipring_view *view)
{
    if (!world_has_headers(w)) {
        return;
    }
    const bool spans = view->slot.bytes > w->variant->bytes;
    check_header(w, who, &view->slot, spans ? view->slots : 1);
    for (uint64_t i = 1; i < view->slots && !spans; i++) {
        struct slipring_slot slot;
        const int rc = slipring_view_slot(consumer, view, i, &slot);
        if (rc) {
            violate(w, I1, "%s cannot look at slot %" PRIu64 " of a view: %d", who, i, rc);
            return;
        }
        check_header(w, who, &slot, 1);
    }
}

/* ---- broadcast ---- */

static void check_gap(struct world *w, const struct survivor *survivor,
                      const struct slipring_view *view)
{
    uint64_t gap = 0, messages = 0;
    for (uint64_t s = survivor->next; s != view->slot.sequence && gap < LOG_MAX; s++) {
        const uint64_t at = world_at(w, s);
        gap += w->passed[at] ? 0 : 1;
        messages += w->passed[at] || (w->later[at] && world_has_headers(w)) ? 0 : 1;
    }
    if (gap != view->missed || (gap != 0 && world_blocks(w))) {
        violate(w, I2, "%s stands at %" PRIu64 ", gets %" PRIu64 ", told of %" PRIu64 " missed",
                survivor->name, survivor->next, view->slot.sequence, view->missed);
    } else if (messages != view->missed_messages) {
        violate(w, I2, "%s missed %" PRIu64 " messages, told of %" PRIu64, survivor->name, messages,
                view->missed_messages);
    }
}

int survivor_drain(struct world *w, struct survivor *survivor)
{
    for (uint32_t turns = 0; turns < LOG_MAX && !w->stop; turns++) {
        uint64_t buffer[32];
        struct slipring_view view;
        const bool copy = !world_blocks(w);
        int rc = copy
                     ? slipring_consumer_try_copy(survivor->consumer, buffer, sizeof(buffer), &view)
                     : slipring_consumer_try_acquire(survivor->consumer, 3, &view);
        if (rc) {
            if (rc != -EAGAIN && rc != -EOWNERDEAD && rc != -EPIPE) {
                violate(w, rc == -EBADMSG ? I1 : I4, "%s cannot acquire: %d", survivor->name, rc);
                w->stop = true;
            }
            return rc;
        }
        const uint64_t stride = copy ? w->variant->bytes : view.stride; /* of a spanning copy */
        const bool spans = world_has_headers(w) && view.slot.bytes > w->variant->bytes;
        for (uint64_t i = 0; i < view.slots; i++) {
            w->later[world_at(w, view.slot.sequence + i)] = spans && i > 0;
        }
        check_gap(w, survivor, &view);
        for (uint64_t i = 0; i < view.slots; i++) {
            check_slot(w, survivor->name, view.slot.sequence + i,
                       (const char *)view.data + i * stride);
        }
        check_headers(w, survivor->name, survivor->consumer, &view);
        survivor->next = view.slot.sequence + view.slots;
        rc = copy ? 0 : slipring_consumer_release(survivor->consumer, &view);
        if (rc) {
            violate(w, I1, "%s cannot release %" PRIu64 ": %d", survivor->name, view.slot.sequence,
                    rc);
        }
    }
    return -ELOOP;
}

void world_drain(struct world *w)
{
    (void)survivor_drain(w, &w->one);
    if (w->two.consumer != NULL) {
        (void)survivor_drain(w, &w->two);
    }
    if (w->kept.consumer != NULL) {
        (void)survivor_drain(w, &w->kept);
    }
    if (w->member != NULL) {
        (void)member_drain(w);
    }
}

/* ---- groups ---- */

/* What the victim may have finished: it read the message and began to release it. */
static bool victim_may_have(const struct world *w, uint64_t at)
{
    return w->page->report.releasing[at] && w->page->report.processed[at];
}

/* Slots that the group dropped, by its own count. */
static uint64_t dropped(struct world *w, const char *name)
{
    struct slipring_group_info groups[4] = {{.struct_size = sizeof(groups[0])}};
    uint64_t count = 0;
    const int there = slipring_ring_groups(w->ring, groups, 4);
    for (int i = 0; i < there && i < 4; i++) {
        count += strcmp(groups[i].name, name) == 0 ? groups[i].dropped : 0;
    }
    return count;
}

void kept_return(struct world *w)
{
    struct patience patience = {0};
    struct slipring_consumer *consumer;
    while ((consumer = world_join(w, 0, "kept", SLIPRING_LATEST, world_evicts(w))) == NULL &&
           w->page->report.rc == -EBUSY && !over(&patience, GO_ON_NS)) {
        nap();
    }
    if (consumer == NULL) {
        violate(w, I4, "nobody can join the lasting group: %d", w->page->report.rc);
        w->stop = true;
        return;
    }
    w->kept.consumer = consumer;
    struct slipring_stats stats = {.struct_size = sizeof(stats)};
    if (slipring_consumer_stats(consumer, &stats)) {
        broken(w, "no stats");
    }
    uint64_t lost = 0;
    for (uint64_t s = w->kept.next; (int64_t)(stats.next - s) > 0; s++) {
        lost += victim_may_have(w, world_at(w, s)) ? 0 : 1;
    }
    if ((int64_t)(stats.next - w->kept.next) < 0 || lost > dropped(w, "kept") ||
        (lost != 0 && !world_evicts(w))) {
        violate(w, I3,
                "the lasting group stood at %" PRIu64 ", goes on at %" PRIu64 ", lost %" PRIu64,
                w->kept.next, stats.next, lost);
    }
    w->kept.next = stats.next;
}

int member_drain(struct world *w)
{
    const uint32_t most = w->op->flags & OP_FIFTH ? 5 : 4;
    for (uint32_t turns = 0; turns < LOG_MAX && !w->stop; turns++) {
        struct slipring_view view;
        int rc = slipring_consumer_try_acquire(w->member, 2, &view);
        if (rc) {
            if (rc != -EAGAIN && rc != -EOWNERDEAD && rc != -EPIPE) {
                violate(w, rc == -EBADMSG ? I1 : I4, "the member cannot acquire: %d", rc);
                w->stop = true;
            }
            return rc;
        }
        for (uint64_t i = 0; i < view.slots; i++) {
            const uint64_t sequence = view.slot.sequence + i;
            check_slot(w, "the member", sequence, (const char *)view.data + i * view.stride);
            w->done[world_at(w, sequence)]++;
        }
        check_headers(w, "the member", w->member, &view);
        if (view.slot.deliveries < 1 || view.slot.deliveries > most) {
            violate(w, I3, "%" PRIu64 " is delivered for the %u. time", view.slot.sequence,
                    view.slot.deliveries);
        }
        rc = slipring_consumer_release(w->member, &view);
        if (rc) {
            violate(w, I3, "the member cannot release %" PRIu64 ": %d", view.slot.sequence, rc);
        }
    }
    return -ELOOP;
}

/* Was it given up after its fifth delivery? Judges the list of dead letters too. */
static bool given_up(struct world *w, uint64_t sequence)
{
    struct slipring_dead_letter letters[8];
    struct slipring_info info = {.struct_size = sizeof(info)};
    int64_t shapes[2];
    const uint64_t tag =
        world_has_headers(w) ? message_header(w, sequence, BY_SETUP, 1, shapes).tag : 0;
    const uint32_t most_cause = w->freeze ? 2 : 1; /* evicted; died */
    const int count = slipring_ring_dead_letters(w->ring, letters, 8);
    bool right = count == 0 || (count == 1 && letters[0].sequence == sequence &&
                                letters[0].tag == tag && strcmp(letters[0].group, "work") == 0 &&
                                letters[0].cause >= 1 && letters[0].cause <= most_cause);
    right &= slipring_ring_info(w->ring, &info) == 0 && (int)info.dead_letters == count;
    if (!right) {
        violate(w, I3, "%d dead letters are listed, %" PRIu64 " counted", count, info.dead_letters);
        w->stop = true;
    }
    return right && count == 1;
}

/* How many messages the group has neither finished nor may the victim have; the first of them. */
static uint64_t member_lacks(struct world *w, uint64_t *first)
{
    uint64_t lacking = 0;
    for (uint64_t s = w->end; s != w->start; s--) {
        const uint64_t at = world_at(w, s - 1);
        if (w->done[at] == 0 && !w->excused[at] && !victim_may_have(w, at)) {
            *first = s - 1;
            lacking++;
        }
    }
    return lacking;
}

/* What is lacking may be: at the end of its deliveries, or dropped by a group that evicts. */
static bool settled(struct world *w, uint64_t *first)
{
    uint64_t lacking = member_lacks(w, first);
    if (lacking != 0 && w->op->flags & OP_FIFTH && given_up(w, *first)) {
        w->excused[world_at(w, *first)] = true;
        lacking = member_lacks(w, first);
    }
    return lacking == 0 || (world_evicts(w) && lacking <= dropped(w, "work"));
}

void member_settle(struct world *w)
{
    struct patience patience = {0};
    uint64_t lacking = 0;
    bool lacks;
    do {
        (void)member_drain(w);
        lacks = !settled(w, &lacking);
        if (lacks) {
            nap();
        }
    } while (lacks && !w->stop && !over(&patience, NOTICE_NS));
    took(w, &patience);
    if (lacks) {
        w->stop = true;
        violate(w, I3, "the group never finishes %" PRIu64, lacking);
    }
    for (uint64_t s = w->start; s != w->end && !w->stop; s++) {
        const uint64_t at = world_at(w, s);
        if (w->done[at] + w->excused[at] > 1 ||
            (w->done[at] == 1 && w->page->report.released[at])) {
            violate(w, I3, "%" PRIu64 " was finished twice", s);
        }
    }
}
