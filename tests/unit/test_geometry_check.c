/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: whatever is planned is sound by rules written here anew, and is accepted again; a
 * geometry with one bit changed, another version or byte order, or smaller files is refused; and no
 * changed bit of one, under a right checksum, gets past the check into anything unsound.
 * Faults: C7, E1.
 */
#include "ring/segment.h"
#include "test.h"

static struct slr_geometry g;
static struct slipring_error error;
static uint64_t page;
static uint64_t seed = 20240229;

static uint64_t random_below(uint64_t n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed % n;
}

/* What everything else relies on, from first principles. */
static bool sound(void)
{
    const uint64_t payload_first = g.payload_offset - g.area_offset;
    bool ok = g.slots >= 2 && g.slots <= UINT64_C(1) << 32 && (g.slots & (g.slots - 1)) == 0;
    ok = ok && g.area_offset % page == 0 && g.area_bytes % page == 0 && g.area_bytes > 0;
    ok = ok && g.payload_stride > 0 && g.slots <= g.area_bytes / g.payload_stride;
    ok = ok && g.payload_offset >= g.area_offset &&
         payload_first + g.slot_bytes <= g.payload_stride && g.slot_bytes > 0;
    ok = ok && g.area_offset + g.area_bytes <= g.data_bytes && g.header_offset >= SLR_DATA_HEADER;
    ok = ok && g.header_offset % 64 == 0 && g.header_stride % 64 == 0 && g.header_stride >= 64;
    ok = ok && g.header_offset + g.slots * g.header_stride <=
                   (g.geometry == SLIPRING_GEOMETRY_TENSOR ? g.area_offset : g.data_bytes);
    ok = ok && g.field_count >= 1 && g.field_count <= SLIPRING_FIELDS_MAX;
    for (uint32_t i = 0; ok && i < g.field_count; i++) {
        const struct slipring_dtype dtype = g.fields[i].field.dtype;
        uint64_t bytes = 0;
        ok = slipring_tensor_bytes(dtype, g.fields[i].field.ndim, g.fields[i].field.shape,
                                   &bytes) == 0 &&
             bytes == g.fields[i].bytes && bytes <= g.slot_bytes &&
             g.fields[i].offset <= g.slot_bytes - bytes &&
             (i == 0 || g.fields[i].offset >= g.fields[i - 1].offset + g.fields[i - 1].bytes) &&
             g.payload_stride % ((dtype.bits * dtype.lanes + 7u) / 8) == 0 &&
             memchr(g.fields[i].field.name, 0, SLIPRING_FIELD_NAME_BYTES) != NULL;
    }
    const uint64_t groups = (uint64_t)g.groups_max + g.members_max;
    ok = ok && g.members_max >= 1 && g.members_max <= SLR_MEMBERS_MAX && groups < SLR_NO_GROUP;
    ok = ok && g.cells_offset == SLR_CONTROL_HEADER && g.hold_max < g.slots;
    ok = ok && g.cells_offset + 256ull * g.members_max <= g.groups_offset;
    ok = ok && g.groups_offset + 384 * groups <= g.holds_offset && g.groups_offset % 128 == 0;
    ok = ok && g.holds_offset + 8ull * g.hold_max <= g.leases_offset && g.leases_offset % 128 == 0;
    ok = ok && g.leases_offset + 8 * g.slots * g.groups_max <= g.releases_offset;
    ok = ok && g.releases_offset + 8 * g.slots * g.releases_max <= g.control_bytes;
    ok = ok && g.releases_offset % page == 0 && g.groups_max >= 1 && g.releases_max >= 1;
    return ok && g.lasting_count <= groups && g.full <= 1 && g.pages <= 2;
}

/* Any schema and any counts, most of them possible. */
static int plan_random(void)
{
    static struct slipring_field fields[6];
    static const char *const dtypes[] = {"u1", "f4", "i8", "c16", "float4_e2m1fn", "b1"};
    struct slipring_config config = {.fields = fields, .field_count = 1 + random_below(6)};
    for (uint32_t i = 0; i < config.field_count; i++) {
        const char name[2] = {(char)('a' + i), 0};
        int64_t shape[2]; /* one statement each, so that every compiler draws the same */
        shape[0] = 1 + (int64_t)random_below(i == 0 ? 70 : 9);
        shape[1] = 1 + (int64_t)random_below(8);
        const char *dtype = dtypes[random_below(6)];
        CHECK_OK(slipring_field_init(&fields[i], name, dtype, (uint32_t)random_below(3), shape));
        fields[i].dtype.lanes = random_below(6) == 0 ? 3 : 1;
    }
    config.slots = UINT64_C(2) << random_below(14);
    config.geometry = (uint32_t)random_below(4);
    config.full = (uint32_t)random_below(2);
    config.flags = (uint32_t)random_below(128);
    config.start_sequence = seed;
    config.members_max = (uint32_t)random_below(3) * 100;
    config.groups_max = (uint32_t)random_below(4);
    config.hold_max = (uint32_t)random_below(3) / 2;
    const int code = slr_geometry_plan(&config, &g, &error);
    if (code == 0 && g.full == SLIPRING_BLOCK) {
        g.lasting_count = (uint32_t)random_below(2);
    }
    return code;
}

static int check(void)
{
    g.check = slr_geometry_hash(&g);
    return slr_geometry_check(&g, g.data_bytes, g.control_bytes, &error);
}

/* Every bit of the words, and a few values that overflow what they enter. */
static void test_mutations(void)
{
    static const uint64_t values[] = {0, 1, UINT32_MAX, INT64_MAX, UINT64_MAX, 1ull << 63};
    const struct slr_geometry good = g;
    const uint64_t data_bytes = g.data_bytes, control_bytes = g.control_bytes;
    for (size_t at = 0; at < offsetof(struct slr_geometry, check); at += 8) {
        for (int change = 0; change < 70; change++) {
            uint64_t word;
            g = good;
            memcpy(&word, (char *)&g + at, 8);
            word = change < 64 ? word ^ (1ull << change) : values[change - 64];
            memcpy((char *)&g + at, &word, 8);
            g.check = slr_geometry_hash(&g);
            const int code = slr_geometry_check(&g, data_bytes, control_bytes, &error);
            if (code == 0) {
                if (!sound() || g.data_bytes > data_bytes || g.control_bytes > control_bytes) {
                    FAIL("byte %zu, change %d: unsound, but accepted", at, change);
                }
            } else {
                CHECK(code == error.code && error.text[0] != 0);
                CHECK(code == -EBADMSG || code == -EPROTONOSUPPORT);
            }
        }
    }
    g = good;
    for (size_t bit = 0; bit < 8 * sizeof g; bit++) { /* without a right checksum nothing passes */
        ((unsigned char *)&g)[bit / 8] ^= (unsigned char)(1u << bit % 8);
        CHECK(slr_geometry_check(&g, data_bytes, control_bytes, &error) < 0);
        ((unsigned char *)&g)[bit / 8] ^= (unsigned char)(1u << bit % 8);
    }
    CHECK_OK(slr_geometry_check(&g, data_bytes, control_bytes, &error));
}

static void test_refused(void)
{
    const struct slipring_config config = {.slot_bytes = 4096, .slots = 8};
    CHECK_OK(slr_geometry_plan(&config, &g, &error));
    CHECK_OK(check());
    CHECK_EQ(slr_geometry_check(&g, g.data_bytes - 1, g.control_bytes, &error), -EBADMSG);
    CHECK_EQ(slr_geometry_check(&g, g.data_bytes, g.control_bytes - 1, &error), -EBADMSG);
    CHECK_OK(slr_geometry_check(&g, g.data_bytes + 1, UINT64_MAX, &error));
    g.layout_version++;
    CHECK_EQ(check(), -EPROTONOSUPPORT);
    g.layout_version--;
    g.endian = UINT32_C(0x04030201);
    CHECK_EQ(check(), -EPROTONOSUPPORT);
    g.endian = SLR_ENDIAN;
    g.lasting_count = 1;
    CHECK_OK(check());
    g.lasting_count = g.groups_max + g.members_max + 1;
    CHECK_EQ(check(), -EBADMSG);
    g.lasting_count = 0;
    g.payload_stride += 8;
    CHECK_EQ(check(), -EBADMSG);
    char where[32];
    snprintf(where, sizeof where, "byte %zu ", offsetof(struct slr_geometry, payload_stride));
    CHECK(strstr(error.text, where) != NULL);
    memset(&g, 0, sizeof g);
    CHECK_EQ(check(), -EPROTONOSUPPORT);
}

int main(void)
{
    page = (uint64_t)sysconf(_SC_PAGESIZE);
    printf("seed %llu\n", (unsigned long long)seed);
    test_refused();
    int planned[4] = {0}, mutated[4] = {0}, refused = 0;
    for (int i = 0; i < 20000; i++) {
        if (plan_random() < 0) {
            CHECK(error.code == -EINVAL && error.text[0] != 0);
            refused++;
            continue;
        }
        if (!sound() || check() < 0) {
            FAIL("round %d: sound %d, check %d: %s", i, sound(), check(), error.text);
        }
        planned[g.geometry]++;
        if (mutated[g.geometry]++ < 3) {
            test_mutations();
        }
    }
    printf("compact %d, pair %d, tensor %d, refused %d\n", planned[1], planned[2], planned[3],
           refused);
    CHECK(planned[1] > 100 && planned[2] > 100 && planned[3] > 1000 && refused > 1000);
    return 0;
}
