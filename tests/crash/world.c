/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "world.h"

#include "op.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- messages ---- */

static uint64_t word(uint64_t sequence, uint64_t author, uint64_t i)
{
    uint64_t x = (sequence * 8 + author) * UINT64_C(0x9e3779b97f4a7c15) + i + 1;
    x ^= x >> 29;
    return x * UINT64_C(0xbf58476d1ce4e5b9);
}

void payload_fill(void *data, uint64_t bytes, uint64_t sequence, unsigned author)
{
    uint64_t *const words = data;
    for (uint64_t i = 0; i < bytes / 8; i++) {
        words[i] = word(sequence, author, i);
    }
}

unsigned payload_author(const void *data, uint64_t bytes, uint64_t sequence)
{
    const uint64_t *const words = data;
    for (unsigned author = 1; author < AUTHORS; author++) {
        uint64_t i = 0;
        while (i < bytes / 8 && words[i] == word(sequence, author, i)) {
            i++;
        }
        if (i == bytes / 8) {
            return author;
        }
    }
    return 0;
}

struct slipring_slot message_header(const struct world *w, uint64_t sequence, unsigned author,
                                    uint64_t slots, int64_t shapes[2])
{
    /* inline.h and the seeded victims publish without headers. */
    const bool plain = author == BY_VICTIM && (w->op->flags & OP_INLINE || w->op->expect != 0);
    struct slipring_slot header = {.bytes = slots * w->variant->bytes, .messages = 1};
    header.tag = plain ? 0 : word(sequence, author, UINT64_C(1) << 32);
    shapes[0] = shapes[1] = 8;
    if (w->variant->rich && slots == 1 && !plain) {
        shapes[0] = 1 + (int64_t)(sequence / 4 % 8); /* some neighbours are of one shape */
        header.bytes = (uint64_t)(shapes[0] * shapes[1]);
    }
    header.shapes = w->variant->rich ? shapes : NULL;
    return header;
}

/* ---- making ---- */

bool world_has_headers(const struct world *w)
{
    return w->variant->geometry != SLIPRING_GEOMETRY_COMPACT;
}

bool world_blocks(const struct world *w)
{
    return w->variant->full == SLIPRING_BLOCK;
}

bool world_copies(const struct world *w)
{
    return !world_blocks(w) && w->variant->geometry != SLIPRING_GEOMETRY_TENSOR;
}

/* Not where a producer sleeps behind the victim: on a busy machine it would evict the victim before
 * that even starts, and nobody would be left to be woken. */
bool world_evicts(const struct world *w)
{
    return world_blocks(w) && !(w->op->flags & OP_WAKES) && (w->freeze || w->op->flags & OP_EVICTS);
}

uint64_t world_pending(const struct world *w)
{
    const uint64_t all = w->slots * w->fill->eighths / 8;
    const uint64_t few = w->op->flags & OP_SPANS ? 2 * SPAN : 4;
    return w->op->flags & OP_FEW && all > few ? few : all;
}

uint64_t world_at(struct world *w, uint64_t sequence)
{
    const uint64_t at = sequence - w->start;
    if (at >= LOG_MAX) {
        violate(w, I2, "sequence %" PRIu64 " is not of this ring's first %u", sequence, LOG_MAX);
        w->stop = true;
        return LOG_MAX - 1;
    }
    return at;
}

struct slipring_consumer *world_join(struct world *w, uint32_t flags, const char *group,
                                     uint32_t start, bool evicts)
{
    struct slipring_consumer_config config;
    struct slipring_consumer *consumer = NULL;
    struct slipring_error error = {0};
    slipring_consumer_config_init(&config);
    config.flags = flags | (w->variant->rich ? SLIPRING_VERIFY : 0u);
    config.group = group;
    config.start = start;
    config.wait = SLIPRING_WAIT_SLEEP;
    if (evicts) {
        config.slow = SLIPRING_EVICT;
        config.evict_after_ns = EVICT_NS;
    }
    const int rc = slipring_consumer_attach(w->ring, &config, &consumer, &error);
    w->page->report.rc = rc;
    if (rc) {
        w->page->report.note = 1;
        return NULL;
    }
    return consumer;
}

void world_config(const struct world *w, struct slipring_config *config)
{
    static struct slipring_field field;
    static struct slipring_group lasting;
    const bool kept = w->op->flags & OP_KEPT;
    slipring_config_init(config);
    config->geometry = w->variant->geometry;
    config->full = w->variant->full;
    config->slot_bytes = w->variant->bytes;
    config->slots = 8;
    config->start_sequence = w->start;
    config->members_max = MEMBERS_MAX;
    config->groups_max = 2;
    config->releases_max = 2;
    config->hold_max = w->op->flags & OP_ONE_HOLD ? 1 : config->hold_max;
    config->flags |= w->op->flags & OP_VANISH ? SLIPRING_VANISH : 0;
    if (w->variant->rich) {
        config->flags |= SLIPRING_TIMESTAMP | SLIPRING_CHECKSUM | SLIPRING_VARIABLE_SHAPE;
        if (slipring_field_init(&field, "data", "u1", 2, (const int64_t[]){8, 8})) {
            broken(w, "no field");
        }
        config->fields = &field;
        config->field_count = 1;
        config->slot_bytes = 0;
    }
    if (w->op->flags & (OP_KEPT | OP_LASTING)) {
        lasting = (struct slipring_group){.flags = kept ? 0 : SLIPRING_MANY};
        snprintf(lasting.name, sizeof(lasting.name), "%s", kept ? "kept" : "work");
        lasting.slow = world_evicts(w) ? SLIPRING_EVICT : SLIPRING_GATE;
        lasting.evict_after_ns = world_evicts(w) ? EVICT_NS : 0;
        config->lasting = &lasting;
        config->lasting_count = 1;
    }
}

void world_create(struct world *w)
{
    struct slipring_config config;
    struct slipring_error error = {0};
    world_config(w, &config);
    const int rc = slipring_ring_create(w->name[0] ? w->name : NULL, &config, &w->ring, &error);
    if (rc) {
        broken(w, "create: %d %s: %s", rc, error.call, error.text);
    }
    world_measure(w);
}

void world_measure(struct world *w)
{
    struct slipring_info info = {.struct_size = sizeof(info)};
    const int rc = slipring_ring_info(w->ring, &info);
    if (rc) {
        broken(w, "info: %d", rc);
    }
    w->slots = info.slots;
}

static void join_all(struct world *w)
{
    bool made = true;
    w->one = (struct survivor){"one", world_join(w, 0, NULL, SLIPRING_LATEST, false), w->start};
    made &= w->one.consumer != NULL;
    if (world_blocks(w)) {
        w->two = (struct survivor){
            "two", world_join(w, SLIPRING_UNORDERED, NULL, SLIPRING_LATEST, false), w->start};
        made &= w->two.consumer != NULL;
    }
    if (w->op->flags & OP_GROUP) {
        w->member = world_join(w, SLIPRING_MANY, "work", SLIPRING_LATEST, world_evicts(w));
        made &= w->member != NULL;
    }
    if (w->op->flags & OP_KEPT) {
        w->kept = (struct survivor){
            "kept", world_join(w, 0, "kept", SLIPRING_LATEST, world_evicts(w)), w->start};
        made &= w->kept.consumer != NULL;
    }
    if (!made) {
        broken(w, "a survivor could not attach: %d", w->page->report.rc);
    }
}

void world_make(struct world *w)
{
    world_create(w);
    world_take_over(w);
    join_all(w);
    world_publish(w, w->fill->prefill, BY_SETUP);
    world_drain(w);
    if (w->stop || w->one.next != w->end) {
        broken(w, "set-up: read up to %" PRIu64 " of %" PRIu64, w->one.next, w->end);
    }
    if (w->op->flags & OP_KEPT) { /* the victim's from here on */
        slipring_consumer_detach(w->kept.consumer);
        w->kept.consumer = NULL;
    }
}

void world_reset(struct world *w)
{
    const uint64_t at = w->fill->wrap ? w->variant->wrap : w->fill->at;
    const struct world fresh = {.variant = w->variant,
                                .fill = w->fill,
                                .op = w->op,
                                .page = w->page,
                                .freeze = w->freeze,
                                .step = w->step,
                                .step_pc = w->step_pc,
                                .began_ns = slipring_now_ns(),
                                .start = at - w->fill->prefill - 1,
                                .end = at - w->fill->prefill - 1};
    *w = fresh;
    memset(&w->page->report, 0, sizeof(w->page->report));
}

void world_drop(struct world *w)
{
    slipring_consumer_detach(w->member);
    slipring_consumer_detach(w->kept.consumer);
    slipring_consumer_detach(w->two.consumer);
    slipring_consumer_detach(w->one.consumer);
    slipring_producer_detach(w->producer);
    slipring_ring_close(w->ring);
    w->member = w->kept.consumer = w->two.consumer = w->one.consumer = NULL;
    w->producer = NULL;
    w->ring = NULL;
}

/* ---- producing ---- */

void world_take_over(struct world *w)
{
    struct slipring_producer_config config;
    struct slipring_error error = {0};
    slipring_producer_config_init(&config);
    config.wait = SLIPRING_WAIT_SLEEP;
    struct patience patience = {0};
    int rc;
    while ((rc = slipring_producer_attach(w->ring, &config, &w->producer, &error)) == -EBUSY &&
           !over(&patience, GO_ON_NS)) {
        nap();
    }
    if (rc) {
        violate(w, I4, "no new producer: %d (%s: %s)", rc, error.call, error.text);
        w->producer = NULL;
        w->stop = true;
    }
    took(w, &patience);
}

/* One claim of so many slots, filled and published as one message. What claim said. */
static int publish_one(struct world *w, uint64_t slots, unsigned author)
{
    struct slipring_loan loan;
    int64_t shapes[2];
    const int rc = slipring_producer_try_claim(w->producer, slots, &loan);
    if (rc) {
        return rc;
    }
    for (; loan.sequence != w->end && !world_blocks(w) && !w->stop; w->end++) {
        w->passed[world_at(w, w->end)] = true;
    }
    if (loan.sequence != w->end) {
        violate(w, I2, "claim gave sequence %" PRIu64 " and not %" PRIu64, loan.sequence, w->end);
        w->stop = true;
    }
    for (uint64_t i = 0; i < slots; i++) {
        payload_fill((char *)loan.data + i * loan.stride, w->variant->bytes, loan.sequence + i,
                     author);
        w->author[world_at(w, loan.sequence + i)] = (uint8_t)author;
        w->later[world_at(w, loan.sequence + i)] = i > 0;
    }
    const struct slipring_slot header = message_header(w, loan.sequence, author, slots, shapes);
    const int published =
        slots > 1
            ? slipring_producer_publish_spanning(w->producer, &header)
            : slipring_producer_publish(w->producer, 1, world_has_headers(w) ? &header : NULL);
    if (published) {
        violate(w, I4, "publish: %d", published);
        w->stop = true;
    }
    w->end = loan.sequence + slots;
    return 0;
}

void world_publish(struct world *w, uint64_t n, unsigned author)
{
    for (uint64_t i = 0; i < n && !w->stop; i++) {
        struct patience patience = {0};
        int rc;
        while ((rc = publish_one(w, 1, author)) == -EAGAIN && !over(&patience, GO_ON_NS)) {
            world_drain(w);
            nap();
        }
        if (rc) {
            violate(w, I4, "the producer does not get on: claim of %" PRIu64 " says %d", w->end,
                    rc);
            w->stop = true;
        }
        took(w, &patience);
        if (i % 8 == 7) {
            world_drain(w);
        }
    }
}

uint64_t world_fill(struct world *w, uint64_t n, uint64_t span, unsigned author)
{
    uint64_t i = 0;
    while (i + span <= n && !w->stop && publish_one(w, span, author) == 0) {
        i += span;
    }
    return i;
}

/* ---- what may leak, and time ---- */

uint32_t count_fds(void)
{
    uint32_t count = 0;
    DIR *const directory = opendir("/proc/self/fd");
    while (directory != NULL && readdir(directory) != NULL) {
        count++;
    }
    if (directory != NULL) {
        closedir(directory);
    }
    return count;
}

uint32_t count_files(const char *name)
{
    uint32_t count = 0;
    DIR *const directory = opendir("/dev/shm");
    const struct dirent *entry;
    while (directory != NULL && (entry = readdir(directory)) != NULL) {
        const char *const file = entry->d_name + (entry->d_name[0] == '.' ? 1 : 0);
        count += strncmp(file, name, strlen(name)) == 0 ? 1 : 0;
    }
    if (directory != NULL) {
        closedir(directory);
    }
    return count;
}

bool over(struct patience *patience, int64_t limit_ns)
{
    const int64_t now = slipring_now_ns();
    if (patience->tries++ != 0) {
        const int64_t passed = now - patience->seen;
        patience->spent += passed < LOOK_NS ? passed : LOOK_NS;
    }
    patience->seen = now;
    return patience->tries > 200 && patience->spent > limit_ns;
}

void took(struct world *w, const struct patience *patience)
{
    if (patience->spent > w->page->slowest_ns) {
        w->page->slowest_ns = patience->spent;
    }
}

void nap(void)
{
    const struct timespec time = {0, 100000};
    (void)nanosleep(&time, NULL);
}
