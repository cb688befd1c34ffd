/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: each bad value in the config of a new ring has its errno and a text that names it, sets
 * no result, and leaves neither a descriptor, nor a mapping, nor a file behind; NULL for the error
 * is allowed.
 */
#include "badinput.h"

/* One case: change a good config, see it refused. names: a word that the text must have. */
struct bad {
    const char *names;
    int code;
    void (*spoil)(struct slipring_config *config);
};

static struct slipring_field field;
static struct slipring_field pair_of_fields[2];
static struct slipring_group group[2];

#define SPOIL(label, ...)                                                                          \
    static void label(struct slipring_config *c)                                                   \
    {                                                                                              \
        __VA_ARGS__;                                                                               \
    }
SPOIL(struct_size, c->struct_size = 7)
SPOIL(struct_size_0, c->struct_size = 0)
SPOIL(slots_3, c->slots = 3)
SPOIL(slots_1, c->slots = 1)
SPOIL(slots_many, c->slots = UINT64_C(1) << 33)
SPOIL(no_payload, c->slot_bytes = 0)
SPOIL(both_payloads, c->fields = &field; c->field_count = 1)
SPOIL(no_fields, c->slot_bytes = 0; c->fields = &field; c->field_count = 0)
SPOIL(null_fields, c->slot_bytes = 0; c->field_count = 1)
SPOIL(too_many_fields, c->slot_bytes = 0; c->fields = &field;
      c->field_count = SLIPRING_FIELDS_MAX + 1)
SPOIL(twins, c->slot_bytes = 0; c->fields = pair_of_fields; c->field_count = 2)
SPOIL(geometry, c->geometry = 9)
SPOIL(full, c->full = 2)
SPOIL(flags, c->flags = 1u << 30)
SPOIL(compact_big, c->geometry = SLIPRING_GEOMETRY_COMPACT; c->slot_bytes = 57)
SPOIL(pair_big, c->geometry = SLIPRING_GEOMETRY_PAIR; c->slot_bytes = 193)
SPOIL(compact_stamp, c->slot_bytes = 8; c->geometry = SLIPRING_GEOMETRY_COMPACT;
      c->flags = SLIPRING_TIMESTAMP)
SPOIL(compact_check, c->slot_bytes = 8; c->geometry = SLIPRING_GEOMETRY_COMPACT;
      c->flags = SLIPRING_CHECKSUM)
SPOIL(compact_shape, c->slot_bytes = 8; c->geometry = SLIPRING_GEOMETRY_COMPACT;
      c->flags = SLIPRING_VARIABLE_SHAPE)
SPOIL(compact_hold, c->slot_bytes = 8; c->geometry = SLIPRING_GEOMETRY_COMPACT;
      c->full = SLIPRING_OVERWRITE; c->hold_max = 4)
SPOIL(members, c->members_max = 4095)
SPOIL(sealed_name, c->flags = SLIPRING_WRITE_SEALED)
SPOIL(lasting_overwrite, c->full = SLIPRING_OVERWRITE; c->lasting = group; c->lasting_count = 1)
SPOIL(lasting_null, c->lasting_count = 1)
SPOIL(lasting_many, c->lasting = group; c->lasting_count = 2; c->groups_max = 1;
      group[0].flags = group[1].flags = SLIPRING_MANY)
SPOIL(lasting_twins, c->lasting = group; c->lasting_count = 2; group[1] = group[0])
SPOIL(lasting_evict, c->lasting = group; c->lasting_count = 1; group[0].slow = SLIPRING_EVICT)
SPOIL(mode, c->mode = 01777)
SPOIL(node, c->numa_node = 4000)
SPOIL(huge, c->slot_bytes = UINT64_C(1) << 61; c->geometry = SLIPRING_GEOMETRY_TENSOR)

static const struct bad bad_configs[] = {
    {"struct_size", -EINVAL, struct_size},
    {"struct_size", -EINVAL, struct_size_0},
    {"slots", -EINVAL, slots_3},
    {"slots", -EINVAL, slots_1},
    {"slots", -EINVAL, slots_many},
    {"slot_bytes", -EINVAL, no_payload},
    {"slot_bytes", -EINVAL, both_payloads},
    {"field", -EINVAL, no_fields},
    {"field", -EINVAL, null_fields},
    {"field", -EINVAL, too_many_fields},
    {"field", -EINVAL, twins},
    {"geometry", -EINVAL, geometry},
    {"full", -EINVAL, full},
    {"flag", -EINVAL, flags},
    {"compact", -EINVAL, compact_big},
    {"pair", -EINVAL, pair_big},
    {"compact", -EINVAL, compact_stamp},
    {"compact", -EINVAL, compact_check},
    {"compact", -EINVAL, compact_shape},
    {"hold", -EINVAL, compact_hold},
    {"members_max", -EINVAL, members},
    {"seal", -EINVAL, sealed_name},
    {"lasting", -EINVAL, lasting_overwrite},
    {"lasting", -EINVAL, lasting_null},
    {"groups_max", -EINVAL, lasting_many},
    {"lasting", -EINVAL, lasting_twins},
    {"evict_after_ns", -EINVAL, lasting_evict},
    {"mode", -EINVAL, mode},
    {"node", -EINVAL, node},
    {"", -EOVERFLOW, huge},
};

static void configs(const char *name)
{
    for (size_t i = 0; i < sizeof(bad_configs) / sizeof(bad_configs[0]); i++) {
        struct slipring_config config;
        struct slipring_ring *ring = NULL;
        struct slipring_error error = {0};
        proc_config(&proc_rings[6], &config);
        memset(group, 0, sizeof(group));
        strcpy(group[0].name, "lasting");
        strcpy(group[1].name, "other");
        bad_configs[i].spoil(&config);
        expect(slipring_ring_create(name, &config, &ring, &error), bad_configs[i].code, &error,
               bad_configs[i].names);
        CHECK_EQ(slipring_ring_create(name, &config, &ring, NULL), bad_configs[i].code);
        CHECK(ring == NULL);
    }
}

int main(void)
{
    proc_begin(30);
    CHECK_EQ(slipring_field_init(&field, "x", "u1", 0, NULL), 0);
    pair_of_fields[0] = pair_of_fields[1] = field;
    char name[64];
    snprintf(name, sizeof(name), "test-badconfig-%d", (int)getpid());
    struct slipring_ring *warm = proc_make(&proc_rings[0], 0); /* first use opens what it needs */
    slipring_ring_close(warm);
    const unsigned descriptors = entries("/proc/self/fd", "");
    configs(name);
    CHECK_EQ(entries("/dev/shm", name), 0);
    CHECK_EQ(entries("/proc/self/fd", ""), descriptors);
    CHECK_EQ(mappings(), 0);
    return 0;
}
