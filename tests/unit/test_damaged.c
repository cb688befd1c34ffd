/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: a ring any bit of whose geometry is not right is refused, as is one with another magic,
 * version or uuid, with files too short or with holes; opening and closing, also in vain, leaks
 * neither descriptors nor mappings; too few descriptors (at every count) and a limit of file size
 * are errors that leave nothing, and no signals.
 * Faults: C7, D4, D7.
 */
#define _GNU_SOURCE
#include "base/os.h"
#include "ring/handle.h"
#include "ring/ring_name.h"
#include "test.h"

#include <fcntl.h>
#include <sys/resource.h>

static char name[64];

static struct slipring_config config_of(uint64_t bytes)
{
    struct slipring_config config;
    slipring_config_init(&config);
    config.slot_bytes = bytes;
    config.slots = 16;
    config.members_max = 8;
    config.groups_max = 2;
    return config;
}

static unsigned count_maps(void)
{
    unsigned lines = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    CHECK(maps != NULL);
    for (int c; (c = fgetc(maps)) != EOF;) {
        lines += c == '\n';
    }
    fclose(maps);
    return lines;
}

static int open_fds(void)
{
    int count = 0;
    for (int fd = 0; fd < 256; fd++) {
        count += fcntl(fd, F_GETFD) >= 0;
    }
    return count;
}

/* Change bytes of one of the files, open, change them back. */
static void expect_damaged(int fd, off_t at, const void *bytes, size_t size, int code)
{
    char before[64];
    struct slipring_ring *ring;
    struct slipring_error error = {0};
    CHECK(pread(fd, before, size, at) == (ssize_t)size);
    CHECK(pwrite(fd, bytes, size, at) == (ssize_t)size);
    CHECK_EQ(slipring_ring_open(name, 0, &ring, &error), code);
    CHECK(error.text[0] != '\0');
    CHECK(pwrite(fd, before, size, at) == (ssize_t)size);
}

static void damage(void)
{
    struct slipring_ring *ring;
    CHECK_EQ(slipring_ring_open(name, 0, &ring, NULL), 0);
    const off_t data_bytes = (off_t)ring->segment.geometry.data_bytes;
    const off_t control_bytes = (off_t)ring->segment.geometry.control_bytes;
    char path[SLR_PATH_BYTES];
    slr_name_control_path(name, path);
    const int control = open(path, O_RDWR);
    slr_name_data_path(name, ring->segment.geometry.uuid, path);
    const int data = open(path, O_RDWR);
    CHECK(control >= 0 && data >= 0);
    /* Whoever looks at /dev/shm meanwhile must not take one of them for what somebody left. */
    CHECK_EQ(slr_os_lock(data, SLR_LOCK_PRESENCE, true), 0);
    CHECK_EQ(slr_os_lock(control, SLR_LOCK_PRESENCE, true), 0);
    slipring_ring_close(ring);

    const int fds = open_fds();
    const unsigned maps = count_maps();
    const uint32_t version = SLR_LAYOUT_VERSION + 1;
    const off_t geometry = offsetof(struct slr_data, geometry);
    expect_damaged(control, 0, "x", 1, -EBADMSG);
    expect_damaged(control, offsetof(struct slr_control, layout_version), &version, 4,
                   -EPROTONOSUPPORT);
    expect_damaged(control, offsetof(struct slr_control, uuid), "xyz", 3, -EBADMSG);
    expect_damaged(data, 0, "x", 1, -EBADMSG);
    for (size_t bit = 0; bit < 8 * sizeof(struct slr_geometry); bit++) {
        const size_t i = bit / 8;
        char byte;
        CHECK(pread(data, &byte, 1, geometry + (off_t)i) == 1);
        byte = (char)(byte ^ 1 << bit % 8);
        const bool known = i < offsetof(struct slr_geometry, uuid); /* version, byte order */
        expect_damaged(data, geometry + (off_t)i, &byte, 1, known ? -EPROTONOSUPPORT : -EBADMSG);
    }
    CHECK(ftruncate(data, data_bytes - 1) == 0);
    expect_damaged(control, 100, "x", 1, -EBADMSG);
    CHECK(ftruncate(data, data_bytes) == 0);
    CHECK(fallocate(data, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, data_bytes - 4096, 4096) ==
          0);
    expect_damaged(control, 100, "x", 1, -EBADMSG); /* holes */
    CHECK(posix_fallocate(data, 0, data_bytes) == 0);
    CHECK(ftruncate(control, control_bytes / 2) == 0);
    expect_damaged(control, 100, "x", 1, -EBADMSG);
    CHECK(ftruncate(control, 16) == 0);
    expect_damaged(control, 8, "x", 1, -EBADMSG);
    CHECK_EQ(open_fds(), fds);
    CHECK_EQ(count_maps(), maps);
    close(control);
    close(data);
    char litter[SLR_PATH_BYTES];
    slr_name_control_path(name, litter);
    CHECK(unlink(path) == 0 && unlink(litter) == 0);
}

static void few_descriptors(void)
{
    struct slipring_config config = config_of(64);
    struct slipring_ring *ring;
    struct slipring_error error;
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    for (int as = 0; as < 2; as++) {
        int code = -1;
        const int fds = open_fds();
        for (rlim_t most = 4; code != 0; most++) {
            const struct rlimit few = {most, limit.rlim_max};
            CHECK(setrlimit(RLIMIT_NOFILE, &few) == 0);
            code = slipring_ring_create(as == 1 ? name : NULL, &config, &ring, &error);
            CHECK(code == 0 || (code == -EMFILE && error.text[0] != '\0'));
            CHECK(code == 0 || open_fds() == fds);
            CHECK(most < 40);
        }
        slipring_ring_close(ring);
        CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    }
    CHECK_EQ(slipring_ring_unlink(name, NULL), 0);
    CHECK_EQ(slipring_ring_reap(name, NULL, NULL), -ENOENT);
}

static void file_size(void)
{
    struct slipring_config config = config_of(1 << 20);
    struct slipring_ring *ring;
    struct slipring_error error;
    const struct rlimit small = {1 << 20, RLIM_INFINITY};
    CHECK(setrlimit(RLIMIT_FSIZE, &small) == 0);
    CHECK_EQ(slipring_ring_create(NULL, &config, &ring, &error), -EFBIG);
    CHECK_EQ(slipring_ring_create(name, &config, &ring, &error), -EFBIG);
    CHECK(strstr(error.text, "ulimit") != NULL);
}

int main(void)
{
    alarm(30);
    snprintf(name, sizeof name, "test-damaged-%d", (int)getpid());
    struct slipring_config config = config_of(64);
    struct slipring_ring *ring;
    CHECK_EQ(slipring_ring_create(name, &config, &ring, NULL), 0);
    slipring_ring_close(ring);
    const int fds = open_fds();
    const unsigned maps = count_maps();
    for (int i = 0; i < 200; i++) {
        CHECK_EQ(slipring_ring_open(name, 0, &ring, NULL), 0);
        slipring_ring_close(ring);
    }
    CHECK_EQ(open_fds(), fds);
    CHECK_EQ(count_maps(), maps);
    damage();
    few_descriptors();
    file_size();
    return 0;
}
