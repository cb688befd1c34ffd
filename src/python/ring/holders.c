/* SPDX-License-Identifier: Apache-2.0 */
/* Who holds a full ring's slots, for the text of a claim that timed out. */
#include "core.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

struct holder {
    const char *group;
    int pid; /* 0: a lasting group without members */
    uint64_t slots;
};

/* An array of what list() tells; *count of it. Freed by the caller. */
static void *all(const struct core *core, size_t size, int *count,
                 int (*list)(struct slipring_ring *ring, void *array, uint32_t max))
{
    uint32_t room = 64;
    for (;;) {
        void *array = calloc(room, size);
        if (array == NULL) {
            *count = 0;
            return NULL;
        }
        *(uint32_t *)array = (uint32_t)size; /* struct_size of the first */
        *count = list(core->ring, array, room);
        if (*count <= (int)room) {
            return array;
        }
        free(array);
        room = (uint32_t)*count;
    }
}

static int list_members(struct slipring_ring *ring, void *array, uint32_t max)
{
    return slipring_ring_members(ring, array, max);
}

static int list_groups(struct slipring_ring *ring, void *array, uint32_t max)
{
    return slipring_ring_groups(ring, array, max);
}

/* In a block ring the one furthest behind, in an overwrite ring the one that holds most. */
static bool find_holder(const struct core *core, const struct slipring_member *members,
                        int member_count, const struct slipring_group_info *groups, int group_count,
                        struct holder *holder)
{
    const bool block = core->full == SLIPRING_BLOCK;
    *holder = (struct holder){0};
    for (int i = 0; i < member_count; i++) {
        const struct slipring_member *m = &members[i];
        const uint64_t slots = block ? m->lag : m->held;
        if (m->alive != 0 && slots > holder->slots) {
            *holder = (struct holder){.group = m->group, .pid = m->pid, .slots = slots};
        }
    }
    for (int i = 0; block && i < group_count; i++) {
        const struct slipring_group_info *g = &groups[i];
        if (g->lasting != 0 && g->members == 0 && g->lag != 0 && g->lag >= holder->slots) {
            *holder = (struct holder){.group = g->name, .slots = g->lag};
        }
    }
    return holder->slots != 0;
}

static PyObject *describe(const struct core *core, const struct holder *holder)
{
    char who[128], name[SLIPRING_GROUP_NAME_BYTES + 16] = "";
    if (holder->group[0] != '\0') {
        PyOS_snprintf(name, sizeof name, " of group \"%s\"", holder->group);
    }
    if (holder->pid == (int)getpid()) {
        PyOS_snprintf(who, sizeof who, "a consumer%s in this process", name);
    } else {
        PyOS_snprintf(who, sizeof who, "the consumer%s in process %d", name, holder->pid);
    }
    const unsigned long long slots = holder->slots, all_slots = core->slots;
    if (core->full == SLIPRING_OVERWRITE) {
        return PyUnicode_FromFormat("claim: timed out: %s holds %llu of the ring's %llu slots: let "
                                    "its views go, or create the ring with a smaller hold_max",
                                    who, slots, all_slots);
    }
    if (holder->pid == 0) {
        return PyUnicode_FromFormat("claim: timed out: nobody reads for the lasting group \"%s\", "
                                    "and %llu of the ring's %llu slots wait for it: start a "
                                    "consumer with group=\"%s\"",
                                    holder->group, slots, all_slots, holder->group);
    }
    return PyUnicode_FromFormat("claim: timed out: %s has not released the last %llu of the ring's "
                                "%llu slots: let it go on, and its views go, or give it "
                                "slow=(\"evict\", seconds)",
                                who, slots, all_slots);
}

PyObject *raise_full(const struct core *core)
{
    int member_count, group_count;
    struct slipring_member *members = all(core, sizeof *members, &member_count, list_members);
    struct slipring_group_info *groups = all(core, sizeof *groups, &group_count, list_groups);
    struct holder holder;
    const bool found = members != NULL && groups != NULL &&
                       find_holder(core, members, member_count, groups, group_count, &holder);
    PyObject *text = found ? describe(core, &holder) : PyUnicode_FromString("claim: timed out");
    free(members);
    free(groups);
    return raise_text(core->state, -ETIMEDOUT, text);
}
