/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves the edge INIT: while rings are created and removed under one name by one process, another
 * one that opens the name finds no ring or a complete one, never anything between; so do two that
 * create it at once: one of them gets it.
 * Faults: C5, E9.
 */
#include "litmus.h"

enum { RUN_MS = 1200 };
enum { ABSENT, COMPLETE, VANISHING, OTHER_ERROR, WRONG_CONTENT, TAKEN, OUTCOMES };

struct story {
    char name[64];
    _Atomic uint64_t *taken;
};

static struct slipring_ring *create(const char *name, uint64_t start)
{
    const struct slipring_group lasting = {.name = "position"};
    struct slipring_config config;
    struct slipring_ring *ring;
    proc_config(&proc_rings[0], &config);
    config.lasting = &lasting;
    config.lasting_count = 1;
    config.flags = start % 2 == 0 ? SLIPRING_VANISH : 0;
    config.start_sequence = start;
    config.members_max = 4;
    config.groups_max = 1;
    config.releases_max = 1;
    const int code = slipring_ring_create(name, &config, &ring, NULL);
    CHECK(code == 0 || code == -EEXIST);
    return code == 0 ? ring : NULL;
}

static int creator(struct proc *self, void *context)
{
    const struct story *story = context;
    proc_tell(self, 0);
    for (uint64_t start = 0;; start++) {
        struct slipring_ring *ring = create(story->name, start);
        if (ring == NULL) {
            (*story->taken)++;
            continue;
        }
        if (start % 2 != 0) {
            CHECK_EQ(slipring_ring_unlink(story->name, NULL), 0);
        }
        slipring_ring_close(ring);
    }
}

int main(void)
{
    proc_begin(60);
    struct litmus_outcome outcomes[OUTCOMES] = {
        {"no such ring", LITMUS_SEEN, 0},
        {"a complete ring", LITMUS_SEEN, 0},
        {"a ring that was just vanishing", LITMUS_ALLOWED, 0},
        {"any other error", LITMUS_FORBIDDEN, 0},
        {"a ring with other words than its creator's", LITMUS_FORBIDDEN, 0},
        {"two created, one got it", LITMUS_ALLOWED, 0},
    };
    struct story story = {.taken = proc_share(sizeof(*story.taken))};
    snprintf(story.name, sizeof(story.name), "test-litmus-init-%d", (int)getpid());
    struct proc children[2] = {proc_start(creator, &story), proc_start(creator, &story)};
    proc_hear(&children[0]);
    proc_hear(&children[1]);
    for (const int64_t end = proc_in_ms(RUN_MS); litmus_goes_on(end, outcomes, OUTCOMES);) {
        struct slipring_ring *ring;
        struct slipring_error error = {0};
        const int code = slipring_ring_open(story.name, 0, &ring, &error);
        if (code == -ENOENT) {
            outcomes[ABSENT].count++;
            continue;
        }
        if (code != 0) {
            printf("%d %s: %s\n", code, error.call, error.text);
            outcomes[OTHER_ERROR].count++;
            continue;
        }
        const struct slipring_info info = proc_info(ring);
        struct slipring_group_info group = {.struct_size = sizeof(group)};
        const bool right = slipring_ring_groups(ring, &group, 1) == 1 &&
                           group.position == info.start_sequence && /* data and control agree */
                           info.slots >= 8 && info.slot_bytes == 56 && info.members_max == 4 &&
                           info.cursor == info.start_sequence && info.field_count == 1 &&
                           info.geometry == SLIPRING_GEOMETRY_COMPACT;
        struct slipring_consumer *consumer = NULL;
        const int attached = slipring_consumer_attach(ring, NULL, &consumer, NULL);
        CHECK(attached == 0 || attached == -ENOENT);
        outcomes[!right ? WRONG_CONTENT : attached == 0 ? COMPLETE : VANISHING].count++;
        slipring_consumer_detach(consumer);
        slipring_ring_close(ring);
    }
    proc_kill(&children[0]);
    proc_kill(&children[1]);
    outcomes[TAKEN].count = *story.taken;
    const int left = slipring_ring_unlink(story.name, NULL); /* by the kill */
    CHECK(left == 0 || left == -ENOENT);
    struct slipring_reaped reaped;
    CHECK_EQ(slipring_ring_reap(NULL, &reaped, NULL), 0);
    litmus_judge("create and open", outcomes, OUTCOMES);
    return 0;
}
