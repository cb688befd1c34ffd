/* SPDX-License-Identifier: Apache-2.0 */
/* slipring ls: every ring of this machine, one line each. */
#define _GNU_SOURCE
#include "tool.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct listed {
    char name[TOOL_NAME_BYTES];
    const char *kind; /* "ring", or why it is none that can be shown */
    struct slipring_info info;
    bool read_only; /* control is not ours: members are not known */
};

struct list {
    struct listed *rings;
    size_t count, room;
};

static int note_name(void *user, const char *name, enum slipring_listed kind)
{
    struct list *list = user;

    if (list->count == list->room) {
        const size_t room = list->room * 2 + 16;
        struct listed *rings = realloc(list->rings, room * sizeof(*rings));
        if (rings == NULL) {
            return -ENOMEM;
        }
        list->rings = rings;
        list->room = room;
    }
    struct listed *ring = &list->rings[list->count++];
    *ring = (struct listed){.kind = kind == SLIPRING_LISTED_LITTER   ? "litter"
                                    : kind == SLIPRING_LISTED_DENIED ? "denied"
                                                                     : "ring"};
    snprintf(ring->name, sizeof(ring->name), "%s", name);
    return 0;
}

/* Look into the ring. False: it was removed since it was listed. */
static bool look(struct listed *listed)
{
    struct slipring_ring *ring;
    const int code = tool_open(listed->name, &ring, NULL);

    if (code == 0) {
        int data_fd, control_fd;
        slipring_ring_fds(ring, &data_fd, &control_fd);
        listed->read_only = control_fd < 0;
        listed->info.struct_size = sizeof(listed->info);
        const int failed = slipring_ring_info(ring, &listed->info);
        slipring_ring_close(ring);
        listed->kind = failed == 0 ? "ring" : "unknown";
    } else if (code == -EPERM || code == -EACCES) {
        listed->kind = "denied";
    } else if (code == -EPROTONOSUPPORT) {
        listed->kind = "other version";
    } else if (code == -EBADMSG) {
        listed->kind = "damaged";
    } else {
        listed->kind = "unknown";
    }
    return code != -ENOENT;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct listed *)a)->name, ((const struct listed *)b)->name);
}

static int print_text(const struct list *list)
{
    static const char *const heads[] = {"NAME",     "GEOMETRY", ">SLOTS x BYTES", "WHEN FULL",
                                        "PRODUCER", ">MEMBERS", ">AGE",           "OWNER"};
    struct tool_table table;
    char name[TOOL_NAME_BYTES], bytes[TOOL_TEXT_BYTES], age[TOOL_TEXT_BYTES];
    char owner[TOOL_TEXT_BYTES];

    tool_table_init(&table, 8, heads);
    for (size_t i = 0; i < list->count; i++) {
        const struct slipring_info *info = &list->rings[i].info;
        tool_plain(list->rings[i].name, name);
        tool_table_add(&table, "%s", name);
        if (strcmp(list->rings[i].kind, "ring") != 0) {
            tool_table_add(&table, "(%s)", list->rings[i].kind);
            for (int c = 2; c < 8; c++) {
                tool_table_add(&table, "-");
            }
            continue;
        }
        tool_bytes(info->slot_bytes, bytes);
        tool_age(info->created_ns, age);
        tool_owner(info->uid, owner);
        tool_table_add(&table, "%s", tool_geometry(info->geometry));
        tool_table_add(&table, "%" PRIu64 " x %s", info->slots, bytes);
        tool_table_add(&table, "%s", tool_full(info->full));
        tool_table_add(&table, "%s", tool_producer(info->producer));
        if (list->rings[i].read_only) {
            tool_table_add(&table, "-");
        } else {
            tool_table_add(&table, "%" PRIu32, info->members);
        }
        tool_table_add(&table, "%s", age);
        tool_table_add(&table, "%s", owner);
    }
    return tool_table_print(&table, "") ? TOOL_OK : tool_fail("ls", -ENOMEM, NULL);
}

static void print_json(const struct list *list)
{
    struct tool_json json = {0};
    char name[TOOL_NAME_BYTES], owner[TOOL_TEXT_BYTES];

    tool_json_open(&json, NULL, '{');
    tool_json_open(&json, "rings", '[');
    for (size_t i = 0; i < list->count; i++) {
        const struct slipring_info *info = &list->rings[i].info;
        tool_plain(list->rings[i].name, name);
        tool_json_open(&json, NULL, '{');
        tool_json_text(&json, "name", name);
        tool_json_text(&json, "kind", list->rings[i].kind);
        if (strcmp(list->rings[i].kind, "ring") == 0) {
            tool_owner(info->uid, owner);
            tool_json_bool(&json, "read_only", list->rings[i].read_only);
            tool_json_text(&json, "geometry", tool_geometry(info->geometry));
            tool_json_count(&json, "slots", info->slots);
            tool_json_count(&json, "slot_bytes", info->slot_bytes);
            tool_json_count(&json, "data_bytes", info->data_bytes);
            tool_json_count(&json, "control_bytes", info->control_bytes);
            tool_json_text(&json, "full", tool_full(info->full));
            tool_json_text(&json, "producer", tool_producer(info->producer));
            tool_json_count(&json, "members", info->members);
            tool_json_signed(&json, "created_ns", info->created_ns);
            tool_json_count(&json, "uid", info->uid);
            tool_json_text(&json, "owner", owner);
        }
        tool_json_close(&json, '}');
    }
    tool_json_close(&json, ']');
    tool_json_close(&json, '}');
}

int tool_ls(const struct tool_command *self, int argc, char **argv)
{
    struct list list = {0};
    bool json = false;
    int status = TOOL_OK;

    if (tool_options(self, argc, argv, 0, 0, &json, &status) < 0) {
        return status;
    }
    const int code = slipring_ring_list(note_name, &list);
    if (code < 0) {
        free(list.rings);
        return tool_fail("cannot list the rings", code, NULL);
    }
    size_t kept = 0;
    for (size_t i = 0; i < list.count; i++) {
        if (strcmp(list.rings[i].kind, "ring") != 0 || look(&list.rings[i])) {
            list.rings[kept++] = list.rings[i];
        }
    }
    list.count = kept;
    if (kept > 0) {
        qsort(list.rings, kept, sizeof(*list.rings), by_name);
    }
    if (json) {
        print_json(&list);
    } else {
        status = print_text(&list);
    }
    free(list.rings);
    return status;
}
