/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a config to every offset and size of the two objects, and back: a geometry read from a file
 * is turned into the config that it claims to come from and planned again. Whatever then differs
 * is damage or malice, so that no rule is written twice and no offset is trusted.
 *
 * For that, planning must be idempotent: the config made of a plan's own values gives that plan.
 * Slots that were raised make whole pages already; where raising them was refused and the stride
 * was raised instead, the same number of slots is refused again; a default that was worked out is
 * never 0 and so is taken as asked.
 */
#define _GNU_SOURCE
#include "base/object.h"
#include "ring/segment.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#define CALL "slipring_ring_create"
#define CALL_OPEN "slipring_ring_open"
#define SLOTS_DEFAULT 1024u
#define SLOTS_MAX (UINT64_C(1) << 32)
#define MEMBERS_DEFAULT 1024u
#define GROUPS_DEFAULT 64u
#define COUNTS_MAX SLR_MEMBERS_MAX
#define OBJECT_MAX (UINT64_C(1) << 46)
#define SMALL_AREA (UINT64_C(4) << 20) /* what rounding up may cost a small ring */
#define RAISE_MAX 64u                  /* times the slots asked for */
#define STRIDE_STEP_MAX (UINT64_C(64) << 10)
#define SMALL_ALIGN_MAX 16u
#define RING_FLAGS                                                                                 \
    (SLIPRING_TIMESTAMP | SLIPRING_CHECKSUM | SLIPRING_VARIABLE_SHAPE | SLIPRING_VANISH |          \
     SLIPRING_WRITE_SEALED | SLIPRING_HUGE_PAGES | SLIPRING_LOCK_PAGES)
#define HEADER_FLAGS (SLIPRING_TIMESTAMP | SLIPRING_CHECKSUM | SLIPRING_VARIABLE_SHAPE)

struct plan {
    const struct slipring_config *config;
    struct slr_geometry *g;
    struct slipring_error *error;
    uint64_t page; /* base page */
    uint64_t unit; /* what the payload area is a multiple of: page or huge page */
    uint32_t many; /* lasting groups of many */
};

_Static_assert(sizeof(struct slr_geometry) % 8 == 0, "compared and hashed without padding");

static uint64_t round_up(uint64_t value, uint64_t power_of_two)
{
    return (value + power_of_two - 1) & ~(power_of_two - 1);
}

static uint64_t max_of(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* Least common multiple; a * b must fit, as it does for a stride step and an element (each below
 * 2^24). */
static uint64_t lcm(uint64_t a, uint64_t b)
{
    uint64_t x = a;
    for (uint64_t y = b; y != 0;) {
        const uint64_t rest = x % y;
        x = y;
        y = rest;
    }
    return a / x * b;
}

/* Bytes that separate two elements; elements narrower than a byte are packed in whole bytes. */
static uint64_t element_bytes(struct slipring_dtype dtype)
{
    return max_of(1, ((uint64_t)dtype.bits * dtype.lanes + 7) / 8);
}

static int check_name(const struct plan *plan, const char *what, const char *name, size_t size)
{
    const size_t length = strnlen(name, size);
    if (length == 0 || length == size) {
        return slr_fail(plan->error, -EINVAL, CALL,
                        "a %s has no name, or one without end: 1 to %zu characters are needed",
                        what, size - 1);
    }
    return 0;
}

static int too_large(const struct plan *plan, const char *what)
{
    return slr_fail(plan->error, -EOVERFLOW, CALL,
                    "%s would exceed %" PRIu64 " bytes: ask for fewer or smaller slots", what,
                    OBJECT_MAX);
}

/* ---- schema ---- */

static int add_field(struct plan *plan, const struct slipring_field *given)
{
    struct slr_geometry *g = plan->g;
    int code = check_name(plan, "field", given->name, sizeof given->name);
    if (code < 0) {
        return code;
    }
    for (uint32_t i = 0; i < g->field_count; i++) {
        if (strcmp(g->fields[i].field.name, given->name) == 0) {
            return slr_fail(plan->error, -EINVAL, CALL, "two fields are named \"%s\"", given->name);
        }
    }
    uint64_t bytes = 0;
    code = slipring_tensor_bytes(given->dtype, given->ndim, given->shape, &bytes);
    if (code == -EOVERFLOW || bytes > OBJECT_MAX) {
        return too_large(plan, "one field");
    }
    if (code < 0 || bytes == 0) {
        return slr_fail(
            plan->error, -EINVAL, CALL,
            "field \"%s\": type code %u, %u bits, %u lanes, %u dimensions: needed are a "
            "DLPack code (no handle), 1 to 128 bits, lanes, up to %d dimensions and "
            "extents of 1 or more",
            given->name, given->dtype.code, given->dtype.bits, given->dtype.lanes, given->ndim,
            SLIPRING_DIMS_MAX);
    }
    struct slr_field *field = &g->fields[g->field_count];
    memcpy(field->field.name, given->name, strlen(given->name));
    field->field.dtype = given->dtype;
    field->field.ndim = given->ndim;
    memcpy(field->field.shape, given->shape, given->ndim * sizeof given->shape[0]);
    field->bytes = bytes;
    g->field_count++;
    g->dims += given->ndim;
    return 0;
}

static int plan_schema(struct plan *plan)
{
    const struct slipring_config *config = plan->config;
    const bool has_fields = config->fields != NULL;
    if (has_fields == (config->slot_bytes > 0) || has_fields != (config->field_count > 0) ||
        config->field_count > SLIPRING_FIELDS_MAX) {
        return slr_fail(plan->error, -EINVAL, CALL,
                        "fields %s, field_count %u, slot_bytes %" PRIu64 ": set either 1 to %d "
                        "fields, or slot_bytes",
                        has_fields ? "given" : "NULL", config->field_count, config->slot_bytes,
                        SLIPRING_FIELDS_MAX);
    }
    if (!has_fields) {
        if (config->slot_bytes > OBJECT_MAX) {
            return too_large(plan, "slot_bytes");
        }
        struct slipring_field data;
        const int64_t extent = (int64_t)config->slot_bytes;
        const int code = slipring_field_init(&data, "data", "uint8", 1, &extent);
        return code < 0 ? code : add_field(plan, &data);
    }
    for (uint32_t i = 0; i < config->field_count; i++) {
        const int code = add_field(plan, &config->fields[i]);
        if (code < 0) {
            return code;
        }
    }
    return 0;
}

/* Offsets of the fields; returns the payload's size. Sums cannot wrap: 28 fields of 2^46. */
static uint64_t place_fields(struct slr_geometry *g, bool tensor)
{
    uint64_t end = 0;
    for (uint32_t i = 0; i < g->field_count; i++) {
        struct slr_field *field = &g->fields[i];
        uint64_t align = 1;
        if (tensor) {
            align = g->field_count > 1 ? SLR_TENSOR_ALIGN : 1;
        } else {
            while (align < element_bytes(field->field.dtype) && align < SMALL_ALIGN_MAX) {
                align *= 2;
            }
        }
        field->offset = round_up(end, align);
        end = field->offset + field->bytes;
    }
    return end;
}

/* ---- geometry ---- */

/* Checksum and shapes lie behind the header line. */
static void set_header(struct slr_geometry *g)
{
    uint32_t bytes = sizeof(struct slr_header);
    if ((g->flags & SLIPRING_CHECKSUM) != 0) {
        g->check_in_header = bytes;
        bytes += 8;
    }
    if ((g->flags & SLIPRING_VARIABLE_SHAPE) != 0) {
        g->shapes_in_header = bytes;
        bytes += 8 * g->dims;
    }
    g->header_bytes = (uint32_t)round_up(bytes, SLR_LINE);
}

/* One of the two geometries whose payload shares the stride of its header. */
static int plan_small(struct plan *plan, uint32_t geometry)
{
    struct slr_geometry *g = plan->g;
    const bool compact = geometry == SLIPRING_GEOMETRY_COMPACT;
    const uint64_t most = compact ? SLR_COMPACT_BYTES : SLR_PAIR_BYTES;
    const char *name = compact ? "compact" : "pair";
    if (g->slot_bytes > most) {
        return slr_fail(plan->error, -EINVAL, CALL,
                        "a %s slot carries at most %" PRIu64 " bytes, the payload is %" PRIu64
                        ": ask for %sSLIPRING_GEOMETRY_TENSOR",
                        name, most, g->slot_bytes,
                        compact ? "SLIPRING_GEOMETRY_PAIR (up to 192) or " : "");
    }
    if (compact && ((g->flags & HEADER_FLAGS) != 0 || plan->config->hold_max > 0)) {
        return slr_fail(plan->error, -EINVAL, CALL,
                        "a compact ring has no header for timestamp, checksum, variable shape or "
                        "hold (flags 0x%x, hold_max %u): ask for SLIPRING_GEOMETRY_PAIR or "
                        "SLIPRING_GEOMETRY_TENSOR",
                        g->flags, plan->config->hold_max);
    }
    if (compact) {
        g->header_stride = SLR_LINE;
        g->stamp_in_header = SLR_COMPACT_BYTES;
    } else {
        set_header(g);
        g->header_stride = g->header_bytes + round_up(g->slot_bytes, SLR_LINE);
    }
    for (uint32_t i = 0; i < g->field_count; i++) { /* strides of a block count whole elements */
        const uint64_t element = element_bytes(g->fields[i].field.dtype);
        if (g->header_stride % element != 0) {
            return slr_fail(plan->error, -EINVAL, CALL,
                            "%" PRIu64 "-byte elements (field \"%s\") do not divide the %" PRIu64
                            " bytes of a %s slot: ask for SLIPRING_GEOMETRY_TENSOR",
                            element, g->fields[i].field.name, g->header_stride, name);
        }
    }
    g->geometry = geometry;
    g->payload_stride = g->header_stride;
    return 0;
}

/* step: what the slots' distance is a multiple of. One field fills its slot exactly. */
static int plan_tensor(struct plan *plan, uint64_t *step)
{
    struct slr_geometry *g = plan->g;
    g->slot_bytes = place_fields(g, true);
    set_header(g);
    g->geometry = SLIPRING_GEOMETRY_TENSOR;
    g->header_stride = g->header_bytes;
    *step = g->field_count > 1 ? SLR_TENSOR_ALIGN : 1;
    for (uint32_t i = 0; i < g->field_count; i++) {
        const uint64_t element = element_bytes(g->fields[i].field.dtype);
        *step = lcm(*step, element);
        if (g->field_count > 1 && *step > STRIDE_STEP_MAX) {
            return slr_fail(plan->error, -EINVAL, CALL,
                            "no slot of up to %" PRIu64 " bytes is a multiple of every field's "
                            "elements (field \"%s\": %" PRIu64 " bytes): use fewer lanes",
                            STRIDE_STEP_MAX, g->fields[i].field.name, element);
        }
    }
    g->payload_stride = (g->slot_bytes + *step - 1) / *step * *step;
    return 0;
}

static int plan_geometry(struct plan *plan, uint64_t *step)
{
    struct slr_geometry *g = plan->g;
    uint32_t wanted = plan->config->geometry;
    g->slot_bytes = place_fields(g, false);
    if (wanted == SLIPRING_GEOMETRY_AUTO) {
        wanted = g->slot_bytes <= SLR_COMPACT_BYTES ? SLIPRING_GEOMETRY_COMPACT
                 : g->slot_bytes <= SLR_PAIR_BYTES  ? SLIPRING_GEOMETRY_PAIR
                                                    : SLIPRING_GEOMETRY_TENSOR;
    }
    if ((g->flags & SLIPRING_VARIABLE_SHAPE) != 0 && g->dims == 0) {
        return slr_fail(plan->error, -EINVAL, CALL,
                        "SLIPRING_VARIABLE_SHAPE, but no field has a dimension that could vary");
    }
    *step = SLR_LINE;
    if (wanted == SLIPRING_GEOMETRY_TENSOR) {
        return plan_tensor(plan, step);
    }
    return plan_small(plan, wanted);
}

/* ---- sizes ---- */

/* Make slots * stride a whole number of pages: more slots if that is cheap, else a longer stride. */
static int round_area(struct plan *plan, uint64_t step)
{
    struct slr_geometry *g = plan->g;
    uint64_t asked;
    if (__builtin_mul_overflow(g->slots, g->payload_stride, &asked) || asked > OBJECT_MAX) {
        return too_large(plan, "the payload area");
    }
    const bool tensor = g->geometry == SLIPRING_GEOMETRY_TENSOR;
    /* Compact and pair slots are small: theirs are raised as far as it takes. */
    const uint64_t most = tensor ? max_of(SMALL_AREA, 2 * asked) : OBJECT_MAX;
    uint64_t times = 1;
    while (asked * times % plan->unit != 0) { /* at 0: refused */
        times *= 2;
        if ((tensor && times > RAISE_MAX) || asked * times > most || g->slots * times > SLOTS_MAX) {
            times = 0;
        }
    }
    if (times > 0) {
        g->slots *= times;
    } else {
        /* slots < unit here, both powers of two: unit / slots must divide the stride. */
        const uint64_t multiple = lcm(step, max_of(1, plan->unit / g->slots));
        g->payload_stride = (g->payload_stride + multiple - 1) / multiple * multiple;
    }
    g->area_bytes = g->slots * g->payload_stride; /* 2^46 and a unit times a step */
    return 0;
}

static int plan_data(struct plan *plan, uint64_t step)
{
    struct slr_geometry *g = plan->g;
    const int code = round_area(plan, step);
    if (code < 0) {
        return code;
    }
    if (g->geometry == SLIPRING_GEOMETRY_TENSOR) {
        g->header_offset = round_up(SLR_DATA_HEADER, plan->page);
        /* At most 2^32 headers of 2^11 bytes. */
        g->area_offset = round_up(g->header_offset + g->slots * g->header_stride, plan->unit);
        g->payload_offset = g->area_offset;
    } else {
        g->area_offset = round_up(SLR_DATA_HEADER, plan->unit);
        g->header_offset = g->area_offset;
        g->payload_offset = g->area_offset + g->header_bytes;
    }
    g->data_bytes = g->area_offset + g->area_bytes;
    return g->data_bytes > OBJECT_MAX ? too_large(plan, "the data object") : 0;
}

/* The default number of tables, fewer where slots are many. */
static uint32_t default_tables(const struct slr_geometry *g, uint32_t start)
{
    const uint64_t most = max_of(SMALL_AREA, g->area_bytes / 8);
    uint32_t tables = start;
    while (tables > 1 && tables * g->slots * 8 > most) {
        tables /= 2;
    }
    return tables;
}

static int plan_tables(struct plan *plan)
{
    const struct slipring_config *config = plan->config;
    struct slr_geometry *g = plan->g;
    if (g->full == SLIPRING_OVERWRITE) {
        g->groups_max = 1; /* nobody shares work or gates there; the tables only exist */
        g->releases_max = 1;
        return 0;
    }
    g->groups_max = config->groups_max;
    if (g->groups_max == 0) {
        g->groups_max = (uint32_t)max_of(default_tables(g, GROUPS_DEFAULT), plan->many);
    }
    g->releases_max = config->releases_max;
    if (g->releases_max == 0) {
        g->releases_max = default_tables(g, g->groups_max);
    }
    if (plan->many > g->groups_max) {
        return slr_fail(plan->error, -EINVAL, CALL,
                        "%u lasting groups of many, but groups_max is %u: raise it", plan->many,
                        g->groups_max);
    }
    return 0;
}

static int plan_holds(struct plan *plan)
{
    const struct slipring_config *config = plan->config;
    struct slr_geometry *g = plan->g;
    const bool offered =
        g->full == SLIPRING_OVERWRITE && g->geometry == SLIPRING_GEOMETRY_TENSOR && g->slots >= 4;
    if (config->hold_max > 0 && (!offered || config->hold_max >= g->slots)) {
        return slr_fail(plan->error, -EINVAL, CALL,
                        "hold_max is %u: only overwrite tensor rings of 4 slots or more can hold, "
                        "and fewer than all slots (%" PRIu64 "); leave it 0",
                        config->hold_max, g->slots);
    }
    if (offered) {
        g->hold_max = config->hold_max > 0 ? config->hold_max : (uint32_t)(g->slots / 4);
    }
    return 0;
}

static int plan_control(struct plan *plan)
{
    struct slr_geometry *g = plan->g;
    const uint64_t table = g->slots * 8; /* at most 2^35, of at most 2^12 */
    const uint64_t groups = (uint64_t)g->groups_max + g->members_max;
    g->cells_offset = SLR_CONTROL_HEADER;
    g->groups_offset =
        round_up(g->cells_offset + g->members_max * sizeof(struct slr_cell), SLR_PAD);
    g->holds_offset = round_up(g->groups_offset + groups * sizeof(struct slr_group), SLR_PAD);
    g->leases_offset = round_up(g->holds_offset + (uint64_t)g->hold_max * 8, SLR_PAD);
    g->releases_offset = round_up(g->leases_offset + g->groups_max * table, plan->page);
    g->control_bytes = round_up(g->releases_offset + g->releases_max * table, plan->page);
    return g->control_bytes > OBJECT_MAX ? too_large(plan, "the control object") : 0;
}

static int plan_scalars(struct plan *plan)
{
    const struct slipring_config *config = plan->config;
    struct slr_geometry *g = plan->g;
    g->layout_version = SLR_LAYOUT_VERSION;
    g->endian = SLR_ENDIAN;
    g->numa_node = -1;
    g->start_sequence = config->start_sequence;
    g->flags = config->flags;
    g->full = config->full;
    g->slots = config->slots == 0 ? SLOTS_DEFAULT : config->slots;
    g->members_max = config->members_max == 0 ? MEMBERS_DEFAULT : config->members_max;
    if ((config->flags & ~(uint32_t)RING_FLAGS) != 0 ||
        config->geometry > SLIPRING_GEOMETRY_TENSOR || config->full > SLIPRING_OVERWRITE) {
        return slr_fail(plan->error, -EINVAL, CALL,
                        "flags 0x%x, geometry %u, full %u: one is not of its enum in ring.h",
                        config->flags, config->geometry, config->full);
    }
    if (g->slots < 2 || g->slots > SLOTS_MAX || (g->slots & (g->slots - 1)) != 0) {
        return slr_fail(plan->error, -EINVAL, CALL,
                        "slots is %" PRIu64 ": a power of two from 2 to 2^32 is needed", g->slots);
    }
    if (g->members_max > COUNTS_MAX || config->groups_max > COUNTS_MAX ||
        config->releases_max > COUNTS_MAX || config->lasting_count > COUNTS_MAX) {
        return slr_fail(plan->error, -EINVAL, CALL,
                        "members_max %u, groups_max %u, releases_max %u, lasting_count %u: each "
                        "can be at most %u",
                        g->members_max, config->groups_max, config->releases_max,
                        config->lasting_count, COUNTS_MAX);
    }
    return 0;
}

static int check_lasting_one(struct plan *plan, uint32_t index)
{
    const struct slipring_group *group = &plan->config->lasting[index];
    const int code = check_name(plan, "lasting group", group->name, sizeof group->name);
    if (code < 0) {
        return code;
    }
    for (uint32_t i = 0; i < index; i++) {
        if (strcmp(plan->config->lasting[i].name, group->name) == 0) {
            return slr_fail(plan->error, -EINVAL, CALL, "two lasting groups are named \"%s\"",
                            group->name);
        }
    }
    if ((group->flags & ~(uint32_t)SLIPRING_MANY) != 0 || group->slow > SLIPRING_EVICT ||
        (group->slow == SLIPRING_EVICT && group->evict_after_ns == 0)) {
        return slr_fail(plan->error, -EINVAL, CALL,
                        "lasting group \"%s\": flags 0x%x, slow %u, evict_after_ns %" PRIu64
                        " do not go together: SLIPRING_MANY or 0, and a time with SLIPRING_EVICT",
                        group->name, group->flags, group->slow, group->evict_after_ns);
    }
    plan->many += (group->flags & SLIPRING_MANY) != 0;
    return 0;
}

static int plan_lasting(struct plan *plan)
{
    const struct slipring_config *config = plan->config;
    if (config->lasting_count == 0) {
        return 0;
    }
    if (config->lasting == NULL || config->full == SLIPRING_OVERWRITE) {
        return slr_fail(
            plan->error, -EINVAL, CALL, "lasting_count is %u, but %s", config->lasting_count,
            config->lasting == NULL ? "lasting is NULL" : "nothing gates an overwrite ring");
    }
    for (uint32_t i = 0; i < config->lasting_count; i++) {
        const int code = check_lasting_one(plan, i);
        if (code < 0) {
            return code;
        }
    }
    if (config->lasting_count - plan->many > plan->g->members_max) {
        return slr_fail(plan->error, -EINVAL, CALL,
                        "%u lasting groups of one, but members_max is %u: raise it",
                        config->lasting_count - plan->many, plan->g->members_max);
    }
    plan->g->lasting_count = config->lasting_count;
    return 0;
}

int slr_geometry_plan(const struct slipring_config *config, struct slr_geometry *geometry,
                      struct slipring_error *error)
{
    struct slr_geometry g;
    memset(&g, 0, sizeof g);
    struct plan plan = {.config = config, .g = &g, .error = error};
    plan.page = (uint64_t)sysconf(_SC_PAGESIZE);
    plan.unit =
        (config->flags & SLIPRING_HUGE_PAGES) != 0 ? max_of(SLR_HUGE_PAGE, plan.page) : plan.page;
    uint64_t step = 0;
    int code = plan_scalars(&plan);
    code = code < 0 ? code : plan_lasting(&plan);
    code = code < 0 ? code : plan_schema(&plan);
    code = code < 0 ? code : plan_geometry(&plan, &step);
    code = code < 0 ? code : plan_data(&plan, step);
    code = code < 0 ? code : plan_tables(&plan);
    code = code < 0 ? code : plan_holds(&plan);
    code = code < 0 ? code : plan_control(&plan);
    if (code == 0) {
        *geometry = g;
    }
    return code;
}

uint64_t slr_geometry_hash(const struct slr_geometry *geometry)
{
    struct slr_geometry copy = *geometry;
    copy.check = 0;
    return XXH3_64bits(&copy, sizeof copy);
}

/* ---- check ---- */

/* Plan again from what the geometry itself says; what no plan decides is taken as it is. */
static int check_planned(const struct slr_geometry *g, struct slipring_error *error)
{
    struct slipring_field fields[SLIPRING_FIELDS_MAX];
    for (uint32_t i = 0; i < SLIPRING_FIELDS_MAX; i++) {
        fields[i] = g->fields[i].field;
    }
    const struct slipring_config config = {
        .flags = g->flags,
        .geometry = g->geometry,
        .full = g->full,
        .slots = g->slots,
        .start_sequence = g->start_sequence,
        .fields = fields,
        .field_count = g->field_count,
        .members_max = g->members_max,
        .groups_max = g->groups_max,
        .releases_max = g->releases_max,
        .hold_max = g->hold_max,
    };
    struct slr_geometry again;
    struct slipring_error cause;
    if (slr_geometry_plan(&config, &again, &cause) < 0) {
        return slr_fail(error, -EBADMSG, CALL_OPEN, "damaged ring: no ring is like that (%.180s)",
                        cause.text);
    }
    memcpy(again.uuid, g->uuid, sizeof again.uuid);
    again.lasting_count = g->lasting_count;
    again.pages = g->pages;
    again.created_ns = g->created_ns;
    again.creator_pid = g->creator_pid;
    again.numa_node = g->numa_node;
    again.check = g->check;
    for (size_t i = 0; i < sizeof again / 8; i++) {
        if (memcmp((const char *)g + 8 * i, (const char *)&again + 8 * i, 8) != 0) {
            return slr_fail(error, -EBADMSG, CALL_OPEN,
                            "damaged ring: byte %zu of its geometry does not follow from the rest",
                            8 * i);
        }
    }
    return 0;
}

int slr_geometry_check(const struct slr_geometry *g, uint64_t data_bytes, uint64_t control_bytes,
                       struct slipring_error *error)
{
    if (g->endian != SLR_ENDIAN || g->layout_version != SLR_LAYOUT_VERSION) {
        return slr_fail(error, -EPROTONOSUPPORT, CALL_OPEN,
                        "the ring has layout version %u (byte order 0x%08x), this library %u "
                        "(0x%08x): use one library version for all members",
                        g->layout_version, g->endian, SLR_LAYOUT_VERSION, SLR_ENDIAN);
    }
    if (g->check != slr_geometry_hash(g)) {
        return slr_fail(error, -EBADMSG, CALL_OPEN,
                        "damaged ring: the checksum of its geometry does not match");
    }
    const int code = check_planned(g, error);
    if (code < 0) {
        return code;
    }
    const uint64_t lasting_max =
        g->full == SLIPRING_BLOCK ? (uint64_t)g->groups_max + g->members_max : 0;
    if (g->lasting_count > lasting_max || g->pages > SLIPRING_PAGES_HUGETLB) {
        return slr_fail(error, -EBADMSG, CALL_OPEN,
                        "damaged ring: lasting_count %u or pages %u is out of range",
                        g->lasting_count, g->pages);
    }
    if (g->data_bytes > data_bytes || g->control_bytes > control_bytes) {
        return slr_fail(error, -EBADMSG, CALL_OPEN,
                        "damaged ring: its files have %" PRIu64 " and %" PRIu64
                        " bytes, not %" PRIu64 " and %" PRIu64,
                        data_bytes, control_bytes, g->data_bytes, g->control_bytes);
    }
    return 0;
}
