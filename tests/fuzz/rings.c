/* SPDX-License-Identifier: Apache-2.0 */
/* Rings to begin with: each geometry, blocking and overwriting, with members alive and dead. */
#define _GNU_SOURCE
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct start {
    uint32_t geometry, full, flags;
    uint64_t bytes, slots, sequence;
    uint64_t publish;     /* messages, then */
    uint64_t span;        /* one of so many slots, then half as many messages again */
    uint32_t member;      /* flags of the two without a group */
    bool fields, lasting; /* a schema; groups from the start */
    bool groups;          /* "many" with two members, "one" with one */
    uint32_t producer;    /* SLR_PRODUCER_NONE detached, _ATTACHED killed, _CLOSED; or LIVE */
};

enum { LIVE = 9 };
#define COMPACT .geometry = SLIPRING_GEOMETRY_COMPACT, .bytes = 56, .slots = 64
#define PAIR .geometry = SLIPRING_GEOMETRY_PAIR, .bytes = 100, .slots = 64
#define TENSOR .geometry = SLIPRING_GEOMETRY_TENSOR, .bytes = 512, .slots = 8
#define OVERWRITE .full = SLIPRING_OVERWRITE
#define ALL (SLIPRING_TIMESTAMP | SLIPRING_CHECKSUM | SLIPRING_VARIABLE_SHAPE)

static const struct start starts[] = {
    {COMPACT, .sequence = FUZZ_SEQUENCE, .publish = 20},
    {COMPACT, OVERWRITE, .publish = 100, .producer = SLR_PRODUCER_ATTACHED},
    {PAIR, .publish = 63, .member = SLIPRING_UNORDERED, .groups = true},
    {PAIR, OVERWRITE, .flags = SLIPRING_CHECKSUM, .publish = 80, .member = SLIPRING_VERIFY},
    {TENSOR, .publish = 2, .span = 3, .groups = true, .producer = SLR_PRODUCER_ATTACHED},
    {TENSOR, OVERWRITE, .publish = 9, .span = 3, .producer = SLR_PRODUCER_ATTACHED},
    {TENSOR, .fields = true, .flags = ALL, .publish = 5, .lasting = true, .groups = true},
    {TENSOR, OVERWRITE, .fields = true, .flags = ALL, .sequence = UINT64_MAX - 3, .publish = 6},
    {TENSOR, .sequence = UINT64_MAX - 2, .publish = 7, .producer = SLR_PRODUCER_CLOSED},
    {PAIR, .fields = true, .flags = ALL, .publish = 64, .producer = LIVE},
    {COMPACT, .publish = 64, .groups = true, .producer = SLR_PRODUCER_ATTACHED},
    {TENSOR, .publish = 0},
};
enum { RINGS = sizeof starts / sizeof starts[0] };

static struct fuzz_ring rings[RINGS];

void fuzz_broken(const char *file, int line, const char *what)
{
    fprintf(stderr, "%s:%d: not true: %s\n", file, line, what);
    abort();
}

static struct slipring_ring *create(const struct start *start)
{
    const bool small = start->geometry == SLIPRING_GEOMETRY_PAIR;
    const int64_t shape[2] = {small ? 2 : 5, 7};
    static const struct slipring_group lasting[2] = {{.name = "many", .flags = SLIPRING_MANY},
                                                     {.name = "last"}};
    struct slipring_field fields[3];
    struct slipring_config config;
    struct slipring_ring *ring;
    slipring_config_init(&config);
    config.geometry = start->geometry;
    config.full = start->full;
    config.flags = start->flags;
    config.slots = start->slots;
    config.start_sequence = start->sequence;
    config.slot_bytes = start->bytes;
    config.members_max = FUZZ_MEMBERS;
    config.groups_max = start->full == SLIPRING_BLOCK ? 2 : 0;
    config.releases_max = config.groups_max;
    if (start->fields) {
        MUST(slipring_field_init(&fields[0], "matrix", "f4", 2, shape) == 0);
        MUST(slipring_field_init(&fields[1], "row", "u1", 1, shape) == 0);
        MUST(slipring_field_init(&fields[2], "scalar", "i8", 0, NULL) == 0);
        config.fields = fields;
        config.field_count = 3;
        config.slot_bytes = 0;
    }
    if (start->lasting) {
        config.lasting = lasting;
        config.lasting_count = 2;
    }
    MUST(slipring_ring_create(NULL, &config, &ring, NULL) == 0);
    return ring;
}

static void publish(struct slipring_producer *producer, uint64_t messages)
{
    struct slipring_loan loan;
    for (uint64_t i = 0; i < messages; i++) {
        MUST(slipring_producer_try_claim(producer, 1, &loan) == 0);
        memset(loan.data, (int)i, 8);
        MUST(slipring_producer_publish(producer, 1, NULL) == 0);
    }
}

static struct slipring_consumer *attach(struct slipring_ring *ring, const char *group,
                                        uint32_t flags)
{
    struct slipring_consumer_config config;
    struct slipring_consumer *consumer;
    slipring_consumer_config_init(&config);
    config.group = group;
    config.flags = flags;
    config.start = SLIPRING_OLDEST;
    MUST(slipring_consumer_attach(ring, &config, &consumer, NULL) == 0);
    return consumer;
}

/* Members: 0 lives, 1 dies; of group "many" 2 lives, 3 dies; 4 is alone in "one" and dies. Each
 * has something in hand where that can be. */
static void people(struct fuzz_ring *made, const struct start *start)
{
    struct slipring_ring *ring = made->handle;
    struct slipring_consumer **members = made->members;
    const bool holds = start->full == SLIPRING_BLOCK || start->geometry == SLIPRING_GEOMETRY_TENSOR;
    members[0] = attach(ring, NULL, start->member);
    members[1] = attach(ring, NULL, start->member);
    if (start->groups) {
        members[2] = attach(ring, "many", SLIPRING_MANY);
        members[3] = attach(ring, "many", SLIPRING_MANY);
        members[4] = attach(ring, "one", 0);
    }
    MUST(slipring_producer_attach(ring, NULL, &made->producer, NULL) == 0);
    struct slipring_producer *producer = made->producer;
    publish(producer, start->publish);
    struct slipring_view view;
    for (int i = 0; holds && start->publish > 1 && i < 4; i++) {
        MUST(members[i] == NULL || slipring_consumer_try_acquire(members[i], 1, &view) == 0);
    }
    if (start->span != 0) {
        struct slipring_loan loan;
        MUST(slipring_producer_try_claim(producer, start->span, &loan) == 0);
        const struct slipring_slot header = {.bytes = loan.bytes - 8};
        MUST(slipring_producer_publish_spanning(producer, &header) == 0);
        publish(producer, start->span / 2);
    }
    if (start->producer == SLR_PRODUCER_CLOSED) {
        slipring_producer_close(producer);
    } else if (start->producer != LIVE) {
        slipring_producer_detach(producer); /* and its word put back, if it is to have died */
    }
}

/* What differs from run to run, and nothing depends on. */
static void settle(struct fuzz_ring *ring)
{
    struct slr_data *data = (struct slr_data *)(void *)ring->data;
    struct slr_control *control = (struct slr_control *)(void *)ring->control;
    memset(data->geometry.uuid, 7, sizeof data->geometry.uuid);
    memset(control->uuid, 7, sizeof control->uuid);
    data->geometry.created_ns = 1;
    data->geometry.creator_pid = 1;
    data->geometry.numa_node = 0;
    data->geometry.check = slr_geometry_hash(&data->geometry);
    ring->geometry = data->geometry;
}

static void set_regions(struct fuzz_ring *ring)
{
    const struct slr_geometry *g = &ring->geometry;
    const uint64_t groups = (uint64_t)g->groups_max + g->members_max;
    const struct fuzz_region regions[REGIONS] = {
        {false, 0, 0, 1, offsetof(struct slr_data, geometry.fields) / 8},
        {false, offsetof(struct slr_data, geometry.fields), 0, 1,
         sizeof g->fields / 8 + 1 /* check */},
        {false, offsetof(struct slr_data, cursor), SLR_PAD, 3, 1},
        {false, g->header_offset, g->header_stride, g->slots,
         (g->header_bytes == 0 ? SLR_LINE : g->header_bytes) / 8},
        {false, g->area_offset, 0, 1, g->area_bytes / 8},
        {true, 0, 0, 1, 4},
        {true, offsetof(struct slr_control, consumers_waiting), SLR_PAD, 5, 4},
        {true, offsetof(struct slr_control, letters), 0, 1, sizeof(struct slr_dead_letter) / 2},
        {true, g->cells_offset, sizeof(struct slr_cell), g->members_max, 1},
        {true, g->cells_offset + SLR_PAD, sizeof(struct slr_cell), g->members_max, 7},
        {true, g->groups_offset, SLR_PAD, 3 * groups, 2},
        {true, g->groups_offset + 2 * SLR_PAD, sizeof(struct slr_group), groups, 16},
        {true, g->holds_offset, 0, 1, (g->leases_offset - g->holds_offset) / 8 + 1},
        {true, g->leases_offset, 0, 1, (g->control_bytes - g->leases_offset) / 8},
    };
    memcpy(ring->regions, regions, sizeof regions);
}

static void *map(int fd, uint64_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    MUST(memory != MAP_FAILED);
    return memory;
}

static void *copy_of(const void *memory, uint64_t bytes)
{
    void *copy = malloc(bytes);
    MUST(copy != NULL);
    return memcpy(copy, memory, bytes);
}

static void make(struct fuzz_ring *ring, const struct start *start)
{
    ring->handle = create(start);
    slipring_ring_fds(ring->handle, &ring->data_fd, &ring->control_fd);
    ring->data = map(ring->data_fd, ring->handle->segment.geometry.data_bytes);
    ring->control = map(ring->control_fd, ring->handle->segment.geometry.control_bytes);
    people(ring, start);
    settle(ring);
    set_regions(ring);
    if (start->producer == SLR_PRODUCER_ATTACHED) {
        ((struct slr_data *)(void *)ring->data)->producer += SLR_PRODUCER_ATTACHED;
    }
    ring->data_then = copy_of(ring->data, ring->geometry.data_bytes);
    ring->control_then = copy_of(ring->control, ring->geometry.control_bytes);
    slipring_consumer_detach(ring->members[1]); /* a death, once the words are put back */
    slipring_consumer_detach(ring->members[3]);
    slipring_consumer_detach(ring->members[4]);
    fuzz_restore(ring);
}

uint32_t fuzz_rings(void)
{
    static uint32_t made;
    while (made < RINGS) {
        make(&rings[made], &starts[made]);
        made++;
    }
    return RINGS;
}

struct fuzz_ring *fuzz_ring(uint32_t index)
{
    return &rings[index % fuzz_rings()];
}

void fuzz_restore(struct fuzz_ring *ring)
{
    memcpy(ring->data, ring->data_then, ring->geometry.data_bytes);
    memcpy(ring->control, ring->control_then, ring->geometry.control_bytes);
}

_Atomic uint64_t *fuzz_word(struct fuzz_ring *ring, uint64_t region, uint64_t index)
{
    const struct fuzz_region *r = &ring->regions[region % REGIONS];
    const uint64_t at = r->offset + index / r->words % r->count * r->stride + index % r->words * 8;
    uint8_t *object = r->control ? ring->control : ring->data;
    MUST(at + 8 <= (r->control ? ring->geometry.control_bytes : ring->geometry.data_bytes));
    return (_Atomic uint64_t *)(void *)(object + at);
}
