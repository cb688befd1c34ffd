/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: a config becomes the geometry that ring.h and layout.h say, or is refused, changing
 * nothing, with a text that names the culprit or the cure.
 */
#include "ring/segment.h"
#include "test.h"

#define MIB (UINT64_C(1) << 20)

static struct slr_geometry g;
static struct slipring_error error;
static uint64_t page;

static struct slipring_config bytes_config(uint64_t bytes, uint64_t slots, uint32_t flags)
{
    return (struct slipring_config){.slot_bytes = bytes, .slots = slots, .flags = flags};
}

static void plan(struct slipring_config config)
{
    memset(&g, 0xaa, sizeof g);
    const int code = slr_geometry_plan(&config, &g, &error);
    if (code < 0) {
        FAIL("plan: %d %s", code, error.text);
    }
    g.check = slr_geometry_hash(&g);
}

static void refuse(struct slipring_config config, int code, const char *word)
{
    const struct slr_geometry before = g;
    memset(&error, 0, sizeof error);
    CHECK_EQ(slr_geometry_plan(&config, &g, &error), code);
    CHECK(error.code == code && error.call[0] != 0);
    if (strstr(error.text, word) == NULL) {
        FAIL("\"%s\" does not say \"%s\"", error.text, word);
    }
    CHECK(memcmp(&before, &g, sizeof g) == 0);
}

static void test_small(void)
{
    plan(bytes_config(8, 0, 0));
    CHECK(g.geometry == SLIPRING_GEOMETRY_COMPACT && g.header_bytes == 0 && g.slots == 1024);
    CHECK(g.header_stride == 64 && g.payload_stride == 64 && g.stamp_in_header == 56);
    CHECK(g.header_offset == g.area_offset && g.payload_offset == g.area_offset);
    CHECK(g.members_max == 1024 && g.groups_max == 64 && g.releases_max == 64 && g.hold_max == 0);
    CHECK_STR(g.fields[0].field.name, "data");
    plan(bytes_config(56, 2, 0));
    CHECK(g.geometry == SLIPRING_GEOMETRY_COMPACT && g.slots == page / 64);
    plan(bytes_config(57, 0, 0));
    CHECK(g.geometry == SLIPRING_GEOMETRY_PAIR && g.header_bytes == 64 && g.payload_stride == 128);
    CHECK(g.payload_offset == g.header_offset + 64 && g.stamp_in_header == 0);
    plan(bytes_config(192, 0, SLIPRING_CHECKSUM | SLIPRING_VARIABLE_SHAPE));
    CHECK(g.geometry == SLIPRING_GEOMETRY_PAIR && g.header_bytes == 128 && g.header_stride == 320);
    CHECK(g.check_in_header == 64 && g.shapes_in_header == 72 && g.dims == 1);
    plan(bytes_config(193, 0, SLIPRING_VARIABLE_SHAPE));
    CHECK(g.geometry == SLIPRING_GEOMETRY_TENSOR && g.shapes_in_header == 64);
    refuse(bytes_config(8, 0, SLIPRING_CHECKSUM), -EINVAL, "SLIPRING_GEOMETRY_PAIR");
    refuse(bytes_config(8, 0, SLIPRING_TIMESTAMP), -EINVAL, "SLIPRING_GEOMETRY_PAIR");
    refuse(bytes_config(8, 0, SLIPRING_VARIABLE_SHAPE), -EINVAL, "SLIPRING_GEOMETRY_PAIR");
    struct slipring_config config = bytes_config(57, 0, 0);
    config.geometry = SLIPRING_GEOMETRY_COMPACT;
    refuse(config, -EINVAL, "57");
    config.geometry = SLIPRING_GEOMETRY_PAIR;
    config.slot_bytes = 193;
    refuse(config, -EINVAL, "193");
}

static void test_tensor(void)
{
    plan(bytes_config(1000, 4, 0)); /* 512 slots would be 128 times those asked for */
    CHECK(g.slots == 4 && g.payload_stride == page / 4 && g.slot_bytes == 1000);
    plan(bytes_config(1000, 16, 0));
    CHECK(page != 4096 || (g.slots == 512 && g.payload_stride == 1000));
    plan(bytes_config(MIB, 4, SLIPRING_HUGE_PAGES));
    CHECK(g.slots == 4 && g.area_offset % (2 * MIB) == 0 && g.data_bytes % (2 * MIB) == 0);
    plan(bytes_config(MIB + 64, 4, 0)); /* 64 slots would do, but take 64 MiB */
    CHECK(g.slots == 4 && g.payload_stride == MIB + page / 4);

    struct slipring_field fields[3];
    CHECK_OK(slipring_field_init(&fields[0], "image", "u1", 3, (int64_t[]){224, 224, 3}));
    CHECK_OK(slipring_field_init(&fields[1], "label", "i8", 0, NULL));
    CHECK_OK(slipring_field_init(&fields[2], "box", "f4", 2, (int64_t[]){5, 4}));
    struct slipring_config config = {.fields = fields, .field_count = 3, .slots = 64};
    plan(config);
    CHECK(g.fields[1].offset == 150528 && g.fields[2].offset == 150784 && g.dims == 5);
    CHECK(g.slot_bytes == 150864 && g.payload_stride == 151040);
    fields[2].dtype.lanes = 3; /* 12 bytes: 768 is the least common multiple with 256 */
    plan(config);
    CHECK(g.payload_stride % 768 == 0 && g.payload_stride >= g.slot_bytes);
    fields[2].dtype.lanes = 4999;
    refuse(config, -EINVAL, "\"box\"");
    fields[2].dtype = (struct slipring_dtype){SLIPRING_FLOAT4_E2M1FN, 4, 1};
    fields[2].shape[0] = 0;
    refuse(config, -EINVAL, "\"box\"");
    CHECK_OK(slipring_field_init(&fields[2], "label", "f4", 0, NULL));
    refuse(config, -EINVAL, "\"label\"");
    config.fields = &fields[1];
    config.field_count = 2;
    CHECK_OK(slipring_field_init(&fields[2], "box", "c16", 0, NULL));
    plan(config);
    CHECK(g.geometry == SLIPRING_GEOMETRY_COMPACT && g.fields[1].offset == 16);
    CHECK_OK(slipring_field_init(&fields[2], "box", "f4", 0, NULL));
    plan(config);
    CHECK(g.geometry == SLIPRING_GEOMETRY_COMPACT && g.fields[1].offset == 8 && g.slot_bytes == 12);
    fields[2].dtype.lanes = 3;
    refuse(config, -EINVAL, "SLIPRING_GEOMETRY_TENSOR"); /* 12 does not divide 64 */
}

static void test_counts(void)
{
    struct slipring_config config = bytes_config(4096, 16, 0);
    config.full = SLIPRING_OVERWRITE;
    plan(config);
    CHECK(g.hold_max == 4 && g.groups_max == 1 && g.releases_max == 1);
    config.hold_max = 16;
    refuse(config, -EINVAL, "16");
    config.hold_max = 15;
    config.full = SLIPRING_BLOCK;
    refuse(config, -EINVAL, "overwrite");
    plan(bytes_config(8, UINT64_C(1) << 20, 0)); /* 64 MiB of slots: 8 MiB of each table */
    CHECK(g.groups_max == 1 && g.releases_max == 1);
    config = bytes_config(8, UINT64_C(1) << 20, 0);
    config.groups_max = 7;
    plan(config);
    CHECK(g.groups_max == 7 && g.releases_max == 1);
    struct slipring_group groups[2] = {{.name = "a", .flags = SLIPRING_MANY}, {.name = "b"}};
    config = (struct slipring_config){
        .slot_bytes = 8, .lasting = groups, .lasting_count = 2, .groups_max = 1};
    plan(config);
    CHECK(g.lasting_count == 2 && g.groups_max == 1);
    groups[1].flags = SLIPRING_MANY;
    refuse(config, -EINVAL, "groups_max");
    groups[1] = groups[0];
    refuse(config, -EINVAL, "\"a\"");
    groups[1] = (struct slipring_group){.name = "b", .slow = SLIPRING_EVICT};
    refuse(config, -EINVAL, "\"b\"");
    groups[1].name[0] = 0;
    refuse(config, -EINVAL, "name");
    config.full = SLIPRING_OVERWRITE;
    refuse(config, -EINVAL, "overwrite");
    config = bytes_config(8, 0, 0);
    config.members_max = 4095;
    refuse(config, -EINVAL, "4095");
}

static void test_refused(void)
{
    struct slipring_field field;
    CHECK_OK(slipring_field_init(&field, "x", "f4", 1, (int64_t[]){4}));
    refuse(bytes_config(0, 0, 0), -EINVAL, "slot_bytes");
    refuse((struct slipring_config){.fields = &field}, -EINVAL, "field_count");
    refuse((struct slipring_config){.field_count = 1}, -EINVAL, "field_count");
    refuse((struct slipring_config){.fields = &field, .field_count = 1, .slot_bytes = 1}, -EINVAL,
           "slot_bytes");
    refuse((struct slipring_config){.fields = &field, .field_count = 29}, -EINVAL, "29");
    refuse(bytes_config(8, 1, 0), -EINVAL, "slots is 1:");
    refuse(bytes_config(8, 1000, 0), -EINVAL, "1000");
    refuse(bytes_config(8, UINT64_C(1) << 33, 0), -EINVAL, "2^32");
    refuse(bytes_config(8, 0, 1u << 20), -EINVAL, "0x100000");
    refuse((struct slipring_config){.slot_bytes = 8, .geometry = 4}, -EINVAL, "geometry 4");
    refuse((struct slipring_config){.slot_bytes = 8, .full = 2}, -EINVAL, "full 2");
    refuse(bytes_config(UINT64_MAX, 2, 0), -EOVERFLOW, "slot_bytes");
    refuse(bytes_config(UINT64_C(1) << 45, 4, 0), -EOVERFLOW, "payload area");
    refuse(bytes_config(UINT64_C(1) << 40, UINT64_C(1) << 32, 0), -EOVERFLOW, "payload area");
    refuse(bytes_config(UINT64_C(1) << 44, 4, 0), -EOVERFLOW, "data object");
    refuse(bytes_config(16384, UINT64_C(1) << 32, 0), -EOVERFLOW, "data object");
    field.dtype.code = 3;
    refuse((struct slipring_config){.fields = &field, .field_count = 1}, -EINVAL, "\"x\"");
    field.dtype.code = SLIPRING_FLOAT;
    field.ndim = 9;
    refuse((struct slipring_config){.fields = &field, .field_count = 1}, -EINVAL, "\"x\"");
    field.ndim = 0;
    refuse((struct slipring_config){.fields = &field,
                                    .field_count = 1,
                                    .geometry = SLIPRING_GEOMETRY_PAIR,
                                    .flags = SLIPRING_VARIABLE_SHAPE},
           -EINVAL, "dimension");
    memset(field.name, 'n', sizeof field.name);
    refuse((struct slipring_config){.fields = &field, .field_count = 1}, -EINVAL, "name");
}

int main(void)
{
    page = (uint64_t)sysconf(_SC_PAGESIZE);
    test_small();
    test_tensor();
    test_counts();
    test_refused();
    return 0;
}
