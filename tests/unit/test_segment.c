/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: a new ring of each geometry has its stamps one lap back (also at start sequences about
 * the wraps), its payload area twice back to back, data that only who asks may write, the mode
 * asked for whatever the umask, and its lasting groups.
 * Faults: D8, E3.
 */
#define _GNU_SOURCE
#include "base/sequence.h"
#include "ring/group.h"
#include "ring/handle.h"
#include "ring/slot.h"
#include "test.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

static char name[64];

static struct slipring_ring *create(const char *as, struct slipring_config *config)
{
    struct slipring_ring *ring;
    struct slipring_error error;
    const int code = slipring_ring_create(as, config, &ring, &error);
    if (code != 0) {
        FAIL("%d %s: %s", code, error.call, error.text);
    }
    return ring;
}

static struct slipring_config config_of(uint64_t bytes, uint64_t start)
{
    struct slipring_config config;
    slipring_config_init(&config);
    config.slot_bytes = bytes;
    config.slots = 16;
    config.members_max = 8;
    config.groups_max = 2;
    config.start_sequence = start;
    return config;
}

static void contents(uint64_t bytes, uint64_t start)
{
    static const struct slipring_group lasting[] = {
        {.name = "many", .flags = SLIPRING_MANY},
        {.name = "one", .slow = SLIPRING_EVICT, .evict_after_ns = 5},
    };
    struct slipring_config config = config_of(bytes, start);
    config.lasting = lasting;
    config.lasting_count = 2;
    struct slipring_ring *ring = create(NULL, &config);
    struct slr_segment *s = &ring->segment;
    const uint64_t slots = s->geometry.slots;

    for (uint64_t i = start; i != start + slots; i++) {
        CHECK_EQ(slr_load64(slr_stamp(s, i)), i - slots);
        if (s->geometry.header_bytes != 0) {
            CHECK_EQ(slr_load64(&slr_header(s, i)->payload_sequence), i - slots);
            CHECK_EQ(slr_load32(&slr_header(s, i)->span), 1);
        }
        CHECK_EQ(slr_lease_lap(s, slr_load64(slr_lease_word(s, 0, i)), i), -1);
    }
    CHECK_EQ(slr_load64(&s->data->cursor), start);
    CHECK_EQ(slr_load64(&s->data->limit), start);
    CHECK_EQ(slr_load32(&s->control->groups_high), 3); /* many at 0, one behind the two tables */
    CHECK_EQ(slr_group_state(slr_load64(&s->groups[0].word)), SLR_GROUP_LIVE);
    CHECK_EQ(slr_group_state(slr_load64(&s->groups[1].word)), SLR_GROUP_FREE);
    CHECK_EQ(slr_group_state(slr_load64(&s->groups[2].word)), SLR_GROUP_LIVE);
    CHECK_EQ(slr_load64(&s->groups[2].evict_after_ns), 5);
    CHECK(memcmp((const void *)s->groups[2].name, "one", 4) == 0);

    CHECK_EQ(slr_segment_write(s, NULL), 0);
    uint8_t *area = (uint8_t *)s->data + s->geometry.area_offset;
    const uint64_t at = (uint64_t)(s->payload - area) + s->geometry.payload_stride;
    area[at] = 77;
    CHECK_EQ(area[s->geometry.area_bytes + at], 77);
    area[2 * s->geometry.area_bytes - 1] = 78;
    CHECK_EQ(area[s->geometry.area_bytes - 1], 78);
    slr_segment_write_end(s);
    slipring_ring_close(ring);
}

static void write_byte(struct slr_segment *s)
{
    *(volatile uint8_t *)s->payload = 1;
}

/* A store to data outside write() kills; inside it does not. */
static void protection(void)
{
    struct slipring_config config = config_of(64, 0);
    struct slipring_ring *made = create(name, &config), *ring;
    slipring_ring_close(made);
    CHECK_EQ(slipring_ring_open(name, 0, &ring, NULL), 0); /* an opener: mapped anew to write */
    for (int i = 0; i < 2; i++) {
        const pid_t child = fork();
        if (child == 0) {
            struct rlimit none = {0, 0};
            setrlimit(RLIMIT_CORE, &none);
            signal(SIGSEGV, SIG_DFL);
            write_byte(&ring->segment);
            exit(0);
        }
        int status;
        CHECK(child > 0 && waitpid(child, &status, 0) == child);
        CHECK(!WIFEXITED(status) || WEXITSTATUS(status) != 0);
        CHECK_EQ(slr_segment_write(&ring->segment, NULL), 0);
        write_byte(&ring->segment);
        slr_segment_write_end(&ring->segment);
    }
    slipring_ring_close(ring);
}

static void modes(void)
{
    struct slipring_config config = config_of(64, 0);
    struct slipring_ring *ring;
    struct stat status;
    const mode_t old = umask(0777);
    CHECK_EQ(slipring_ring_unlink(name, NULL), 0);
    config.mode = 0664;
    ring = create(name, &config);
    umask(old);
    CHECK(fstat(ring->segment.control_fd, &status) == 0 && (status.st_mode & 0777) == 0664);
    CHECK(fstat(ring->segment.data_fd, &status) == 0 && (status.st_mode & 0777) == 0644);
    slipring_ring_close(ring);
    const uint32_t bad[] = {0, 0400, 0666 | 0100, 04600};
    for (size_t i = 0; i < 4; i++) {
        config.mode = bad[i];
        CHECK_EQ(slipring_ring_create(NULL, &config, &ring, NULL), -EINVAL);
    }
}

int main(void)
{
    alarm(30);
    snprintf(name, sizeof name, "test-segment-%d", (int)getpid());
    const uint64_t starts[] = {0, 7, (UINT64_C(1) << 32) - 3, (UINT64_C(1) << 63) - 3,
                               UINT64_MAX - 2};
    const uint64_t sizes[] = {8, 100, 5000};
    for (size_t i = 0; i < 15; i++) {
        contents(sizes[i % 3], starts[i / 3]);
    }
    protection();
    modes();
    CHECK_EQ(slipring_ring_unlink(name, NULL), 0);
    return 0;
}
