/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looking at a ring: what was obtained at creation, where it stands, who its members are.
 *
 * Nothing is written here. The words of control may be any values: counts are compared with the
 * private geometry before they bound a loop or become an index, positions are clamped to what the
 * published sequences allow, names are made printable. A word that changes under the reader gives
 * a snapshot that is off by that change; it is for display.
 *
 * Held slots are counted in one pass per table, not one per member: an element is found from a
 * lease or hold word by its cell (the array is in the order of cells).
 */
#define _GNU_SOURCE
#include "base/sequence.h"
#include "ring/handle.h"
#include "ring/words.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

/* How often a pair of words is read again when it changed in between. */
#define ATTEMPTS 8

struct position {
    uint64_t cursor, limit, oldest;
    uint64_t published; /* cursor minus start sequence */
};

/* ---- the producer's words ---- */

static struct position read_position(const struct slr_segment *segment)
{
    const struct slr_geometry *geometry = &segment->geometry;
    const uint64_t start = geometry->start_sequence;
    struct position at = {0};

    for (int i = 0; i < ATTEMPTS; i++) {
        at.cursor = slr_load64_acquire(&segment->data->cursor); /* CURSOR */
        at.limit = slr_load64_acquire(&segment->data->limit);   /* JOIN */
        at.oldest = at.limit - geometry->slots;
        if (slr_distance(at.oldest, at.cursor) <= 0) {
            break;
        }
    }
    if (slr_distance(at.cursor, start) < 0) {
        at.cursor = start;
    }
    if (slr_distance(at.oldest, at.cursor) > 0) {
        at.oldest = at.cursor;
    }
    if (slr_distance(at.oldest, start) < 0) {
        at.oldest = start;
    }
    at.published = at.cursor - start;
    return at;
}

static uint32_t producer_state(const struct slr_segment *segment, uint64_t *epoch)
{
    uint64_t word = slr_load64_acquire(&segment->data->producer); /* TAKEOVER */
    uint32_t state = SLIPRING_PRODUCER_NONE;

    for (int i = 0; i < ATTEMPTS; i++) {
        const bool held =
            segment->control_fd < 0 || slr_alive(segment->control_fd, SLR_LOCK_PRODUCER);
        const uint64_t now = slr_load64_acquire(&segment->data->producer); /* TAKEOVER */

        if (slr_producer_state(now) == SLR_PRODUCER_CLOSED) {
            state = SLIPRING_PRODUCER_CLOSED;
        } else if (slr_producer_state(now) == SLR_PRODUCER_ATTACHED) {
            /* One that detached or was replaced between the two looks did not die. */
            state = held ? SLIPRING_PRODUCER_LIVE : SLIPRING_PRODUCER_DEAD;
        } else {
            state = SLIPRING_PRODUCER_NONE;
        }
        if (now == word) {
            break;
        }
        word = now;
    }
    *epoch = slr_producer_epoch(word);
    return state;
}

/* ---- clamping ---- */

static uint32_t cells_used(const struct slr_segment *segment)
{
    return segment->control != NULL ? slr_cells_high(segment) : 0;
}

/* A sequence of a member or group as far from the cursor as it can be: behind by at most `behind`,
 * ahead by at most a lap (the cursor is stored once per batch, readers also go by the stamps). */
static uint64_t clamp_sequence(const struct slr_segment *segment, uint64_t cursor, uint64_t behind,
                               uint64_t sequence)
{
    const int64_t ahead = slr_distance(sequence, cursor);

    if (ahead >= 0) {
        const uint64_t slots = slr_slots(segment);
        return (uint64_t)ahead > slots ? cursor + slots : sequence;
    }
    return cursor - sequence > behind ? cursor - behind : sequence;
}

static uint64_t lag_of(uint64_t cursor, uint64_t sequence)
{
    return slr_distance(cursor, sequence) > 0 ? cursor - sequence : 0;
}

static uint64_t at_most(uint64_t value, uint64_t bound)
{
    return value < bound ? value : bound;
}

/* How far behind a member or group can be: by a lap where it holds the producer back. */
static uint64_t behind_bound(const struct slr_segment *segment, const struct position *at,
                             bool gates)
{
    return gates && !slr_overwrites(segment) ? at_most(at->published, slr_slots(segment))
                                             : at->published;
}

/* A counter of slots cannot have counted more than were ever claimed. */
static uint64_t clamp_count(const struct slr_segment *segment, const struct position *at,
                            uint64_t count)
{
    return at_most(count, at->published + slr_slots(segment));
}

/* ---- names ---- */

/* Length of the well-formed UTF-8 sequence of a printable character at text; 0 if there is none. */
static size_t printable_at(const uint8_t *text, size_t size)
{
    if (text[0] >= 0x20 && text[0] < 0x7f) {
        return 1;
    }
    const size_t length = text[0] >= 0xc2 && text[0] < 0xe0   ? 2
                          : text[0] >= 0xe0 && text[0] < 0xf0 ? 3
                          : text[0] >= 0xf0 && text[0] < 0xf5 ? 4
                                                              : 0;
    if (length == 0 || length > size) {
        return 0;
    }
    uint32_t code = text[0] & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        if ((text[i] & 0xc0) != 0x80) {
            return 0;
        }
        code = code << 6 | (text[i] & 0x3f);
    }
    const bool shortest = length == 2 || code >= (length == 3 ? 0x800u : 0x10000u);
    const bool surrogate = code >= 0xd800 && code < 0xe000;
    /* U+0080 to U+009F are control characters, 202A.. and 2066.. turn the text of a line around. */
    const bool control =
        code < 0xa0 || (code >= 0x202a && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);
    return shortest && !surrogate && !control && code <= 0x10ffff ? length : 0;
}

static void make_printable(char *name, size_t size)
{
    uint8_t *text = (uint8_t *)name;

    text[size - 1] = 0;
    for (size_t i = 0; i < size && text[i] != 0;) {
        const size_t length = printable_at(text + i, size - i);
        if (length == 0) {
            text[i] = '?';
        }
        i += length == 0 ? 1 : length;
    }
}

static void group_name(const struct slr_group *group, char *name)
{
    for (size_t i = 0; i < SLIPRING_GROUP_NAME_BYTES / 8; i++) {
        const uint64_t part = slr_load64(&group->name[i]); /* display */
        memcpy(name + 8 * i, &part, 8);
    }
    make_printable(name, SLIPRING_GROUP_NAME_BYTES);
}

/* The group of that index while it is in use, else NULL. */
static const struct slr_group *group_at(const struct slr_segment *segment, uint32_t index)
{
    if (segment->control == NULL || index >= slr_groups_total(segment)) {
        return NULL;
    }
    const struct slr_group *group = &segment->groups[index];
    return slr_group_gates(slr_load64_acquire(&group->word)) ? group : NULL; /* JOIN */
}

/* ---- the ring ---- */

static bool is_orphaned(const struct slipring_ring *ring)
{
    struct stat status;

    if (ring->segment.control != NULL) {
        return slr_load32(&ring->segment.control->orphaned) != 0; /* display */
    }
    return ring->name[0] != 0 && fstat(ring->segment.data_fd, &status) == 0 && status.st_nlink == 0;
}

static void fill_geometry(const struct slr_segment *segment, struct slipring_info *info)
{
    const struct slr_geometry *geometry = &segment->geometry;

    info->layout_version = geometry->layout_version;
    memcpy(info->uuid, geometry->uuid, sizeof(info->uuid));
    info->geometry = geometry->geometry;
    info->full = geometry->full;
    info->flags = geometry->flags;
    info->field_count = geometry->field_count;
    info->slots = geometry->slots;
    info->slot_bytes = geometry->slot_bytes;
    info->payload_stride = geometry->payload_stride;
    info->data_bytes = geometry->data_bytes;
    info->control_bytes = geometry->control_bytes;
    info->members_max = geometry->members_max;
    info->groups_max = geometry->groups_max;
    info->releases_max = geometry->releases_max;
    info->hold_max = geometry->hold_max;
    info->start_sequence = geometry->start_sequence;
    info->created_ns = geometry->created_ns;
    info->creator_pid = geometry->creator_pid;
    info->pages = geometry->pages;
    info->numa_node = geometry->numa_node;
    info->uid = (uint32_t)segment->uid;
    info->locked = segment->locked;
}

int slipring_ring_info(struct slipring_ring *ring, struct slipring_info *info)
{
    if (ring == NULL || info == NULL || info->struct_size != sizeof(*info)) {
        return -EINVAL;
    }
    const struct slr_segment *segment = &ring->segment;
    const struct position at = read_position(segment);
    struct slipring_info now = {.struct_size = sizeof(now)};

    fill_geometry(segment, &now);
    now.cursor = at.cursor;
    now.limit = at.limit;
    now.oldest = at.oldest;
    now.producer = producer_state(segment, &now.epoch);
    now.orphaned = is_orphaned(ring) ? 1 : 0;
    if (segment->control != NULL) {
        if (now.producer == SLIPRING_PRODUCER_LIVE || now.producer == SLIPRING_PRODUCER_DEAD) {
            now.producer_pid = (int32_t)slr_load32(&segment->control->producer_pid); /* display */
        }
        now.dead_letters = slr_load64(&segment->control->dead_letters); /* display */
    }
    const uint32_t used = cells_used(segment);
    for (uint32_t i = 0; i < used; i++) {
        const uint64_t word = slr_load64(&segment->cells[i].word); /* counted for display */
        now.members += slr_cell_state(word) != SLR_CELL_FREE ? 1 : 0;
    }
    *info = now;
    return 0;
}

int slipring_ring_field(const struct slipring_ring *ring, uint32_t index,
                        struct slipring_field *field, uint64_t *offset)
{
    if (ring == NULL || field == NULL || index >= ring->segment.geometry.field_count ||
        index >= SLIPRING_FIELDS_MAX) {
        return -EINVAL;
    }
    const struct slr_field *entry = &ring->segment.geometry.fields[index];

    *field = entry->field;
    make_printable(field->name, sizeof(field->name));
    if (offset != NULL) {
        *offset = entry->offset;
    }
    return 0;
}

/* ---- members ---- */

static void fill_member(const struct slr_segment *segment, const struct position *at,
                        uint32_t index, uint64_t word, struct slipring_member *member)
{
    const uint32_t known = SLIPRING_UNORDERED | SLIPRING_NEWEST | SLIPRING_VERIFY |
                           SLIPRING_INTERRUPTIBLE | SLIPRING_AWAIT_PRODUCER;
    const struct slr_cell *cell = &segment->cells[index];
    const struct slr_group *group = group_at(segment, slr_cell_group(word));
    const bool gates =
        slr_cell_state(word) == SLR_CELL_ACTIVE && slr_cell_kind(word) != SLR_KIND_READER;
    uint64_t released = slr_load64_acquire(&cell->released); /* RELEASE */

    if (slr_cell_state(word) == SLR_CELL_JOINING) {
        released = at->cursor; /* the word is its predecessor's still */
    }
    *member = (struct slipring_member){.struct_size = sizeof(*member), .cell = index};
    member->pid = (int32_t)slr_load32(&cell->pid); /* display, as all below */
    member->state = slr_cell_state(word);
    member->flags = slr_load32(&cell->flags) & known;
    if (group != NULL) {
        group_name(group, member->group);
    }
    if (slr_cell_kind(word) == SLR_KIND_MANY) {
        member->flags |= SLIPRING_MANY;
        released = group != NULL ? slr_load64_acquire(&group->position) : at->cursor; /* RELEASE */
    }
    member->released =
        clamp_sequence(segment, at->cursor, behind_bound(segment, at, gates), released);
    member->lag = lag_of(at->cursor, member->released);
    member->missed = clamp_count(segment, at, slr_load64(&cell->missed));
}

/* Count one more held slot for the member in that cell, if it is of that generation still. */
static void count_held(const struct slr_segment *segment, struct slipring_member *array,
                       uint32_t count, uint32_t cell, uint32_t generation)
{
    uint32_t low = 0;
    uint32_t high = count;

    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (array[middle].cell < cell) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low == count || array[low].cell != cell) {
        return;
    }
    const uint64_t word = slr_load64(&segment->cells[cell].word); /* display */
    if (slr_lease_cut(slr_cell_generation(word)) == slr_lease_cut(generation)) {
        array[low].held++;
    }
}

/* Slots that members of groups of many took and did not finish: of one lap from the position. */
static void count_leases(const struct slr_segment *segment, struct slipring_member *array,
                         uint32_t count)
{
    const uint32_t high = slr_groups_high(segment);

    for (uint32_t g = 0; g < high && slr_group_many(segment, g); g++) {
        const struct slr_group *group = group_at(segment, g);
        if (group == NULL) {
            continue;
        }
        const uint64_t position = slr_load64_acquire(&group->position); /* GROUP */
        for (uint64_t i = 0; i < slr_slots(segment); i++) {
            const uint64_t sequence = position + i;
            const uint64_t lease = slr_load64(slr_lease_word(segment, g, sequence)); /* display */
            if (slr_lease_state(lease) == SLR_LEASE_TAKEN &&
                slr_lease_lap(segment, lease, sequence) == 0) {
                count_held(segment, array, count, slr_lease_cell(lease),
                           slr_lease_generation(lease));
            }
        }
    }
}

static void count_holds(const struct slr_segment *segment, struct slipring_member *array,
                        uint32_t count)
{
    for (uint32_t i = 0; i < segment->geometry.hold_max; i++) {
        const uint64_t hold = slr_load64(&segment->holds[i]); /* display */
        if (hold != 0) { /* a scribbled one that names no cell is not counted */
            count_held(segment, array, count, slr_hold_cell(hold), slr_hold_generation(hold));
        }
    }
}

int slipring_ring_members(struct slipring_ring *ring, struct slipring_member *array, uint32_t max)
{
    if (ring == NULL || (max > 0 && (array == NULL || array[0].struct_size != sizeof(*array)))) {
        return -EINVAL;
    }
    const struct slr_segment *segment = &ring->segment;
    const struct position at = read_position(segment);
    const uint32_t used = cells_used(segment);
    uint32_t count = 0;

    for (uint32_t i = 0; i < used; i++) {
        const uint64_t word = slr_load64_acquire(&segment->cells[i].word); /* REAP */
        if (slr_cell_state(word) == SLR_CELL_FREE) {
            continue;
        }
        if (count < max) {
            fill_member(segment, &at, i, word, &array[count]);
            array[count].alive = slr_alive(segment->control_fd, SLR_LOCK_CELL + i) ? 1 : 0;
        }
        count++;
    }
    const uint32_t filled = count < max ? count : max;
    if (filled > 0 && slr_overwrites(segment)) {
        count_holds(segment, array, filled);
    } else if (filled > 0) {
        count_leases(segment, array, filled);
    }
    return (int)count;
}

/* ---- groups ---- */

static uint32_t members_of(const struct slr_segment *segment, uint32_t index)
{
    const uint32_t used = cells_used(segment);
    uint32_t count = 0;

    for (uint32_t i = 0; i < used; i++) {
        const uint64_t word = slr_load64(&segment->cells[i].word); /* counted for display */
        const uint32_t state = slr_cell_state(word);
        if ((state == SLR_CELL_JOINING || state == SLR_CELL_ACTIVE) &&
            slr_cell_group(word) == index) {
            count++;
        }
    }
    return count;
}

/* The position of a group of one is its member's while it has one. */
static uint64_t group_position(const struct slr_segment *segment, uint32_t index)
{
    const uint32_t used = slr_group_many(segment, index) ? 0 : cells_used(segment);
    uint64_t position = slr_load64_acquire(&segment->groups[index].position); /* RELEASE */

    for (uint32_t i = 0; i < used; i++) {
        const uint64_t word = slr_load64_acquire(&segment->cells[i].word); /* REAP */
        if (slr_cell_state(word) != SLR_CELL_ACTIVE || slr_cell_group(word) != index) {
            continue;
        }
        const uint64_t released = slr_load64_acquire(&segment->cells[i].released); /* RELEASE */
        position = slr_distance(released, position) > 0 ? released : position;
    }
    return position;
}

static void fill_group(const struct slr_segment *segment, const struct position *at, uint32_t index,
                       const struct slr_group *group, struct slipring_group_info *info)
{
    *info = (struct slipring_group_info){.struct_size = sizeof(*info)};
    group_name(group, info->name);
    info->flags = slr_group_many(segment, index) ? SLIPRING_MANY : 0;
    info->evict_after_ns = slr_load64(&group->evict_after_ns); /* display, as all below */
    info->slow = info->evict_after_ns != 0 ? SLIPRING_EVICT : SLIPRING_GATE;
    info->lasting = slr_group_lasting(segment, index) ? 1 : 0;
    info->members = members_of(segment, index);
    info->position = clamp_sequence(segment, at->cursor, behind_bound(segment, at, true),
                                    group_position(segment, index));
    info->lag = lag_of(at->cursor, info->position);
    info->dropped = clamp_count(segment, at, slr_load64(&group->dropped));
    info->redelivered = slr_load64(&group->redelivered);
    info->dead_letters = slr_load64(&group->dead_letters);
}

int slipring_ring_groups(struct slipring_ring *ring, struct slipring_group_info *array,
                         uint32_t max)
{
    if (ring == NULL || (max > 0 && (array == NULL || array[0].struct_size != sizeof(*array)))) {
        return -EINVAL;
    }
    const struct slr_segment *segment = &ring->segment;
    if (segment->control == NULL) {
        return 0;
    }
    const struct position at = read_position(segment);
    const uint32_t high = slr_groups_high(segment);
    uint32_t count = 0;

    for (uint32_t i = 0; i < high; i++) {
        const struct slr_group *group = group_at(segment, i);
        if (group == NULL) {
            continue;
        }
        if (count < max) {
            fill_group(segment, &at, i, group, &array[count]);
        }
        count++;
    }
    return (int)count;
}

/* ---- dead letters ---- */

/* Read one entry whole; false while it is being written. */
static bool read_letter(const struct slr_segment *segment, uint32_t index, uint64_t *number,
                        struct slipring_dead_letter *letter)
{
    const struct slr_dead_letter *entry = &segment->control->letters[index];

    *number = slr_load64_acquire(&entry->number); /* COPY: as a slot copied out */
    *letter = (struct slipring_dead_letter){
        .sequence = slr_load64(&entry->sequence), /* checked by the number below */
        .tag = slr_load64(&entry->tag),
        .cause = slr_load32(&entry->cause),
    };
    const uint32_t group = slr_load32(&entry->group);
    slr_fence_acquire(); /* COPY */
    if (*number == 0 || slr_load64(&entry->number) != *number) {
        return false;
    }
    if (letter->cause > 2) {
        letter->cause = 0;
    }
    if (group_at(segment, group) != NULL) {
        group_name(&segment->groups[group], letter->group);
    }
    return true;
}

int slipring_ring_dead_letters(struct slipring_ring *ring, struct slipring_dead_letter *array,
                               uint32_t max)
{
    struct slipring_dead_letter letters[SLR_DEAD_LETTERS];
    uint64_t numbers[SLR_DEAD_LETTERS];
    uint32_t count = 0;

    if (ring == NULL || (max > 0 && array == NULL)) {
        return -EINVAL;
    }
    /* Sorted by their own numbers: the count may be a step ahead of the list, or scribbled. */
    for (uint32_t i = 0; ring->segment.control != NULL && i < SLR_DEAD_LETTERS; i++) {
        struct slipring_dead_letter letter;
        uint64_t number;
        if (!read_letter(&ring->segment, i, &number, &letter)) {
            continue;
        }
        uint32_t place = count++;
        for (; place > 0 && slr_distance(number, numbers[place - 1]) > 0; place--) {
            numbers[place] = numbers[place - 1];
            letters[place] = letters[place - 1];
        }
        numbers[place] = number;
        letters[place] = letter;
    }
    for (uint32_t i = 0; i < count && i < max; i++) {
        array[i] = letters[i];
    }
    return (int)count;
}
