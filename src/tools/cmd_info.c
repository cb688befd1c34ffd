/* SPDX-License-Identifier: Apache-2.0 */
/* slipring info: everything that can be told about one ring. */
#include "tool.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define LETTERS_MAX 64

struct about {
    const char *name;
    struct slipring_ring *ring;
    struct slipring_info info;
    struct slipring_field fields[SLIPRING_FIELDS_MAX];
    uint64_t offsets[SLIPRING_FIELDS_MAX];
    struct slipring_member *members;
    struct slipring_group_info *groups;
    struct slipring_dead_letter letters[LETTERS_MAX];
    uint32_t member_count, group_count, letter_count;
    bool read_only; /* control is not ours to write: members and groups are unknown */
};

/* By bit, from 0. */
static const char *const ring_flags[] = {"timestamp",    "checksum",   "variable_shape", "vanish",
                                         "write_sealed", "huge_pages", "lock_pages",     NULL};
static const char *const member_flags[] = {"many",          "unordered",      "newest", "verify",
                                           "interruptible", "await_producer", NULL};

static const char *pages_word(uint32_t pages)
{
    static const char *const names[] = {"base", "transparent", "hugetlb"};
    return pages < 3 ? names[pages] : "unknown";
}

static const char *state_word(uint32_t state)
{
    static const char *const names[] = {"free", "joining", "active", "evicted", "retired"};
    return state < 5 ? names[state] : "unknown";
}

static const char *cause_word(uint32_t cause)
{
    return cause == 1 ? "died" : cause == 2 ? "evicted" : "unknown";
}

static void uuid_text(const uint8_t *uuid, char *text)
{
    for (int i = 0; i < 16; i++) {
        const bool dash = i == 4 || i == 6 || i == 8 || i == 10;
        text += sprintf(text, "%s%02x", dash ? "-" : "", uuid[i]);
    }
}

/* ---- collecting ---- */

static int collect_members(struct about *about)
{
    const int there = slipring_ring_members(about->ring, NULL, 0);
    if (there <= 0) {
        return there;
    }
    about->members = calloc((size_t)there, sizeof(*about->members));
    if (about->members == NULL) {
        return -ENOMEM;
    }
    about->members[0].struct_size = sizeof(*about->members);
    const int now = slipring_ring_members(about->ring, about->members, (uint32_t)there);
    about->member_count = (uint32_t)(now < there ? now : there);
    return now < 0 ? now : 0;
}

static int collect_groups(struct about *about)
{
    const int there = slipring_ring_groups(about->ring, NULL, 0);
    if (there <= 0) {
        return there;
    }
    about->groups = calloc((size_t)there, sizeof(*about->groups));
    if (about->groups == NULL) {
        return -ENOMEM;
    }
    about->groups[0].struct_size = sizeof(*about->groups);
    const int now = slipring_ring_groups(about->ring, about->groups, (uint32_t)there);
    about->group_count = (uint32_t)(now < there ? now : there);
    return now < 0 ? now : 0;
}

static int collect(struct about *about)
{
    int data_fd, control_fd;

    slipring_ring_fds(about->ring, &data_fd, &control_fd);
    about->read_only = control_fd < 0;
    about->info.struct_size = sizeof(about->info);
    int code = slipring_ring_info(about->ring, &about->info);
    for (uint32_t i = 0; code == 0 && i < about->info.field_count; i++) {
        code = i < SLIPRING_FIELDS_MAX
                   ? slipring_ring_field(about->ring, i, &about->fields[i], &about->offsets[i])
                   : -EBADMSG;
    }
    if (code == 0) {
        code = collect_members(about);
    }
    if (code == 0) {
        code = collect_groups(about);
    }
    if (code == 0) {
        const int there = slipring_ring_dead_letters(about->ring, about->letters, LETTERS_MAX);
        about->letter_count = (uint32_t)(there < 0 ? 0 : there < LETTERS_MAX ? there : LETTERS_MAX);
        code = there < 0 ? there : 0;
    }
    return code;
}

/* ---- text ---- */

static void line(const char *label)
{
    printf("%-14s", label);
}

static void print_sequences(const struct about *about)
{
    const struct slipring_info *info = &about->info;

    line("sequences");
    printf("oldest %" PRIu64 ", cursor %" PRIu64 ", limit %" PRIu64 ", start %" PRIu64 "\n",
           info->oldest, info->cursor, info->limit, info->start_sequence);
    line("producer");
    printf("%s", about->read_only && info->producer == SLIPRING_PRODUCER_LIVE
                     ? "live, as far as can be told"
                     : tool_producer(info->producer));
    if (info->producer_pid != 0) {
        printf(", pid %" PRId32, info->producer_pid);
    }
    printf(", epoch %" PRIu64 "\n", info->epoch);
    if (about->read_only) {
        printf("The control object is not yours to write: members and groups are not shown.\n");
        return;
    }
    line("members");
    printf("%" PRIu32 " of %" PRIu32 "; at most %" PRIu32 " groups of many, %" PRIu32
           " release tables, %" PRIu32 " holds\n",
           info->members, info->members_max, info->groups_max, info->releases_max, info->hold_max);
    line("dead letters");
    printf("%" PRIu64 "\n", info->dead_letters);
}

static void print_head(const struct about *about)
{
    const struct slipring_info *info = &about->info;
    char text[TOOL_TEXT_BYTES], uuid[40];

    uuid_text(info->uuid, uuid);
    line("ring");
    printf("%s%s\n", about->name, info->orphaned ? " (this name was removed)" : "");
    line("uuid");
    printf("%s, layout %" PRIu32 "\n", uuid, info->layout_version);
    tool_bytes(info->slot_bytes, text);
    line("geometry");
    printf("%s, %" PRIu64 " slots of %s, %" PRIu64 " bytes apart\n", tool_geometry(info->geometry),
           info->slots, text, info->payload_stride);
    line("when full");
    printf("%s\n", tool_full(info->full));
    tool_names(info->flags, ring_flags, text);
    line("flags");
    printf("%s\n", text[0] != 0 ? text : "none");
    tool_bytes(info->data_bytes, text);
    line("memory");
    printf("data %s, ", text);
    tool_bytes(info->control_bytes, text);
    printf("control %s; %s pages, %s here; ", text, pages_word(info->pages),
           info->locked == 1 ? "locked" : "not locked");
    if (info->numa_node >= 0) {
        printf("NUMA node %" PRId32 "\n", info->numa_node);
    } else {
        printf("NUMA node unknown\n");
    }
    tool_age(info->created_ns, text);
    line("created");
    printf("%s ago by pid %" PRId32 ", owner ", text, info->creator_pid);
    tool_owner(info->uid, text);
    printf("%s\n", text);
}

static bool print_fields(const struct about *about)
{
    static const char *const heads[] = {"FIELD", "TYPE", "SHAPE", ">OFFSET"};
    struct tool_table table;
    char dtype[TOOL_TEXT_BYTES], shape[TOOL_TEXT_BYTES];

    tool_table_init(&table, 4, heads);
    for (uint32_t i = 0; i < about->info.field_count; i++) {
        const struct slipring_field *field = &about->fields[i];
        size_t length = 0;
        shape[0] = 0;
        for (uint32_t d = 0; d < field->ndim && d < SLIPRING_DIMS_MAX; d++) {
            length += (size_t)snprintf(shape + length, sizeof(shape) - length, "%s%" PRId64,
                                       d > 0 ? " x " : "", field->shape[d]);
        }
        slipring_dtype_name(field->dtype, dtype, sizeof(dtype));
        tool_table_add(&table, "%s", field->name);
        tool_table_add(&table, "%s", dtype);
        tool_table_add(&table, "%s", length > 0 ? shape : "scalar");
        tool_table_add(&table, "%" PRIu64, about->offsets[i]);
    }
    printf("\n");
    return tool_table_print(&table, "  ");
}

static bool print_members(const struct about *about)
{
    static const char *const heads[] = {">CELL", ">PID",    "GROUP", "STATE", "ALIVE",
                                        ">LAG",  ">MISSED", ">HELD", "FLAGS"};
    struct tool_table table;
    char flags[TOOL_TEXT_BYTES];

    tool_table_init(&table, 9, heads);
    for (uint32_t i = 0; i < about->member_count; i++) {
        const struct slipring_member *member = &about->members[i];
        tool_names(member->flags, member_flags, flags);
        tool_table_add(&table, "%" PRIu32, member->cell);
        tool_table_add(&table, "%" PRId32, member->pid);
        tool_table_add(&table, "%s", member->group[0] != 0 ? member->group : "-");
        tool_table_add(&table, "%s", state_word(member->state));
        tool_table_add(&table, "%s", member->alive ? "yes" : "no");
        tool_table_add(&table, "%" PRIu64, member->lag);
        tool_table_add(&table, "%" PRIu64, member->missed);
        tool_table_add(&table, "%" PRIu64, member->held);
        tool_table_add(&table, "%s", flags[0] != 0 ? flags : "-");
    }
    printf("%s", about->member_count > 0 ? "\n" : "");
    return tool_table_print(&table, "  ");
}

static bool print_groups(const struct about *about)
{
    static const char *const heads[] = {"GROUP",     "KIND",         "LASTING",
                                        "WHEN SLOW", ">MEMBERS",     ">LAG",
                                        ">DROPPED",  ">REDELIVERED", ">DEAD LETTERS"};
    struct tool_table table;
    char patience[TOOL_TEXT_BYTES];

    tool_table_init(&table, 9, heads);
    for (uint32_t i = 0; i < about->group_count; i++) {
        const struct slipring_group_info *group = &about->groups[i];
        tool_duration(group->evict_after_ns, patience);
        tool_table_add(&table, "%s", group->name);
        tool_table_add(&table, "%s", (group->flags & SLIPRING_MANY) != 0 ? "many" : "one");
        tool_table_add(&table, "%s", group->lasting ? "yes" : "no");
        tool_table_add(&table, "%s%s", group->slow == SLIPRING_EVICT ? "evict after " : "gate",
                       group->slow == SLIPRING_EVICT ? patience : "");
        tool_table_add(&table, "%" PRIu32, group->members);
        tool_table_add(&table, "%" PRIu64, group->lag);
        tool_table_add(&table, "%" PRIu64, group->dropped);
        tool_table_add(&table, "%" PRIu64, group->redelivered);
        tool_table_add(&table, "%" PRIu64, group->dead_letters);
    }
    printf("%s", about->group_count > 0 ? "\n" : "");
    return tool_table_print(&table, "  ");
}

static bool print_letters(const struct about *about)
{
    static const char *const heads[] = {">DEAD LETTER", ">TAG", "GROUP", "LAST MEMBER"};
    struct tool_table table;

    tool_table_init(&table, 4, heads);
    for (uint32_t i = 0; i < about->letter_count; i++) {
        const struct slipring_dead_letter *letter = &about->letters[i];
        tool_table_add(&table, "%" PRIu64, letter->sequence);
        tool_table_add(&table, "%" PRIu64, letter->tag);
        tool_table_add(&table, "%s", letter->group[0] != 0 ? letter->group : "-");
        tool_table_add(&table, "%s", cause_word(letter->cause));
    }
    printf("%s", about->letter_count > 0 ? "\n" : "");
    return tool_table_print(&table, "  ");
}

/* ---- JSON ---- */

static void json_ring(struct tool_json *json, const struct about *about)
{
    const struct slipring_info *info = &about->info;
    char text[TOOL_TEXT_BYTES];

    tool_json_text(json, "name", about->name);
    uuid_text(info->uuid, text);
    tool_json_text(json, "uuid", text);
    tool_json_count(json, "layout_version", info->layout_version);
    tool_json_bool(json, "read_only", about->read_only);
    tool_json_text(json, "geometry", tool_geometry(info->geometry));
    tool_json_text(json, "full", tool_full(info->full));
    tool_json_names(json, "flags", info->flags, ring_flags);
    tool_json_count(json, "slots", info->slots);
    tool_json_count(json, "slot_bytes", info->slot_bytes);
    tool_json_count(json, "payload_stride", info->payload_stride);
    tool_json_count(json, "data_bytes", info->data_bytes);
    tool_json_count(json, "control_bytes", info->control_bytes);
    tool_json_count(json, "members_max", info->members_max);
    tool_json_count(json, "groups_max", info->groups_max);
    tool_json_count(json, "releases_max", info->releases_max);
    tool_json_count(json, "hold_max", info->hold_max);
    tool_json_text(json, "pages", pages_word(info->pages));
    tool_json_signed(json, "locked", info->locked);
    tool_json_signed(json, "numa_node", info->numa_node);
    tool_json_signed(json, "created_ns", info->created_ns);
    tool_json_signed(json, "creator_pid", info->creator_pid);
    tool_json_count(json, "uid", info->uid);
    tool_owner(info->uid, text);
    tool_json_text(json, "owner", text);
    tool_json_bool(json, "orphaned", info->orphaned != 0);
    tool_json_count(json, "start_sequence", info->start_sequence);
    tool_json_count(json, "oldest", info->oldest);
    tool_json_count(json, "cursor", info->cursor);
    tool_json_count(json, "limit", info->limit);
    tool_json_count(json, "epoch", info->epoch);
    tool_json_text(json, "producer", tool_producer(info->producer));
    tool_json_signed(json, "producer_pid", info->producer_pid);
    tool_json_count(json, "dead_letters", info->dead_letters);
}

static void json_fields(struct tool_json *json, const struct about *about)
{
    char dtype[TOOL_TEXT_BYTES];

    tool_json_open(json, "fields", '[');
    for (uint32_t i = 0; i < about->info.field_count; i++) {
        const struct slipring_field *field = &about->fields[i];
        slipring_dtype_name(field->dtype, dtype, sizeof(dtype));
        tool_json_open(json, NULL, '{');
        tool_json_text(json, "name", field->name);
        tool_json_text(json, "dtype", dtype);
        tool_json_open(json, "shape", '[');
        for (uint32_t d = 0; d < field->ndim && d < SLIPRING_DIMS_MAX; d++) {
            tool_json_signed(json, NULL, field->shape[d]);
        }
        tool_json_close(json, ']');
        tool_json_count(json, "offset", about->offsets[i]);
        tool_json_close(json, '}');
    }
    tool_json_close(json, ']');
}

static void json_members(struct tool_json *json, const struct about *about)
{
    tool_json_open(json, "members", '[');
    for (uint32_t i = 0; i < about->member_count; i++) {
        const struct slipring_member *member = &about->members[i];
        tool_json_open(json, NULL, '{');
        tool_json_count(json, "cell", member->cell);
        tool_json_signed(json, "pid", member->pid);
        tool_json_text(json, "group", member->group);
        tool_json_text(json, "state", state_word(member->state));
        tool_json_bool(json, "alive", member->alive != 0);
        tool_json_names(json, "flags", member->flags, member_flags);
        tool_json_count(json, "released", member->released);
        tool_json_count(json, "lag", member->lag);
        tool_json_count(json, "missed", member->missed);
        tool_json_count(json, "held", member->held);
        tool_json_close(json, '}');
    }
    tool_json_close(json, ']');
}

static void json_groups(struct tool_json *json, const struct about *about)
{
    tool_json_open(json, "groups", '[');
    for (uint32_t i = 0; i < about->group_count; i++) {
        const struct slipring_group_info *group = &about->groups[i];
        tool_json_open(json, NULL, '{');
        tool_json_text(json, "name", group->name);
        tool_json_bool(json, "many", (group->flags & SLIPRING_MANY) != 0);
        tool_json_bool(json, "lasting", group->lasting != 0);
        tool_json_text(json, "slow", group->slow == SLIPRING_EVICT ? "evict" : "gate");
        tool_json_count(json, "evict_after_ns", group->evict_after_ns);
        tool_json_count(json, "members", group->members);
        tool_json_count(json, "position", group->position);
        tool_json_count(json, "lag", group->lag);
        tool_json_count(json, "dropped", group->dropped);
        tool_json_count(json, "redelivered", group->redelivered);
        tool_json_count(json, "dead_letters", group->dead_letters);
        tool_json_close(json, '}');
    }
    tool_json_close(json, ']');
}

static void print_json(const struct about *about)
{
    struct tool_json json = {0};

    tool_json_open(&json, NULL, '{');
    json_ring(&json, about);
    json_fields(&json, about);
    json_members(&json, about);
    json_groups(&json, about);
    tool_json_open(&json, "dead_letter_list", '[');
    for (uint32_t i = 0; i < about->letter_count; i++) {
        const struct slipring_dead_letter *letter = &about->letters[i];
        tool_json_open(&json, NULL, '{');
        tool_json_count(&json, "sequence", letter->sequence);
        tool_json_count(&json, "tag", letter->tag);
        tool_json_text(&json, "group", letter->group);
        tool_json_text(&json, "cause", cause_word(letter->cause));
        tool_json_close(&json, '}');
    }
    tool_json_close(&json, ']');
    tool_json_close(&json, '}');
}

int tool_info(const struct tool_command *self, int argc, char **argv)
{
    static struct about about; /* zero, and too large for the stack's taste */
    struct slipring_error error = {0};
    bool json = false;
    int status = TOOL_OK;

    const int first = tool_options(self, argc, argv, 1, 1, &json, &status);
    if (first < 0) {
        return status;
    }
    about.name = argv[first];
    int code = tool_open(about.name, &about.ring, &error);
    if (code < 0) {
        return tool_fail(about.name, code, &error);
    }
    code = collect(&about);
    if (code < 0) {
        status = tool_fail(about.name, code, NULL);
    } else if (json) {
        print_json(&about);
    } else {
        print_head(&about);
        print_sequences(&about);
        if (!print_fields(&about) || !print_members(&about) || !print_groups(&about) ||
            !print_letters(&about)) {
            status = tool_fail(about.name, -ENOMEM, NULL);
        }
    }
    free(about.members);
    free(about.groups);
    slipring_ring_close(about.ring);
    return status;
}
