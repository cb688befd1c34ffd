/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: names that break the rule are refused; what is planted under a name (link, fifo,
 * directory, hard link, garbage, somebody else's file) is neither opened, nor followed, nor
 * removed; another user is denied what the mode denies, and the listing says so.
 * Faults: E4, E5, E6.
 */
#define _GNU_SOURCE
#include "ring/handle.h"
#include "ring/ring_name.h"
#include "proc.h"

#include <fcntl.h>
#include <sys/stat.h>

static char name[64];

static struct slipring_ring *create(void)
{
    struct slipring_config config;
    struct slipring_ring *ring;
    struct slipring_error error;
    slipring_config_init(&config);
    config.slot_bytes = 64;
    config.slots = 8;
    config.members_max = 4;
    const int code = slipring_ring_create(name, &config, &ring, &error);
    if (code != 0) {
        FAIL("%d %s: %s", code, error.call, error.text);
    }
    return ring;
}

static int open_it(void)
{
    struct slipring_ring *ring = NULL;
    struct slipring_error error = {0};
    const int code = slipring_ring_open(name, 0, &ring, &error);
    CHECK_EQ(error.code, code);
    CHECK((code < 0) == (error.text[0] != '\0'));
    slipring_ring_close(ring);
    return code;
}

static bool exists(const char *path)
{
    struct stat status;
    return lstat(path, &status) == 0;
}

static void rules(void)
{
    char longest[SLIPRING_NAME_MAX + 2], back[SLIPRING_NAME_MAX + 1], path[SLR_PATH_BYTES];
    uint8_t uuid[16], found[16];
    memset(longest, 'x', sizeof longest);
    longest[SLIPRING_NAME_MAX + 1] = '\0';
    const char *bad[] = {"",   ".",   "..",  "../x",     "/",    "a/b",
                         ".x", "a b", "a\n", "\xc3\xa4", longest};
    struct slipring_ring *ring;
    struct slipring_error error;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        CHECK_EQ(slipring_ring_open(bad[i], 0, &ring, &error), -EINVAL);
        CHECK(strstr(error.text, "A-Z") != NULL);
        CHECK_EQ(slipring_ring_unlink(bad[i], NULL), -EINVAL);
    }
    CHECK_EQ(slipring_ring_open(NULL, 0, &ring, NULL), -EINVAL);
    longest[SLIPRING_NAME_MAX] = '\0';
    CHECK_EQ(slr_name_check(longest, NULL), 0);
    for (size_t i = 0; i < sizeof uuid; i++) {
        uuid[i] = (uint8_t)(i * 17 + 3);
    }
    slr_name_data_path(longest, uuid, path);
    CHECK(slr_name_split(path + strlen(SLR_SHM "/"), back, found));
    CHECK_STR(back, longest);
    CHECK(memcmp(uuid, found, sizeof uuid) == 0);
    CHECK(!slr_name_split(".x.0123", back, found) && !slr_name_split("x", back, found));
    CHECK(!slr_name_split(".a.b.zz112233445566778899aabbccddeeff", back, found));
}

/* Under the name lies no ring: open and unlink refuse it and leave it, create says it exists. */
static void expect_refused(const char *path, int open_code)
{
    struct slipring_config config;
    struct slipring_ring *ring;
    struct slipring_error error;
    slipring_config_init(&config);
    config.slot_bytes = 8;
    CHECK_EQ(open_it(), open_code);
    CHECK_EQ(slipring_ring_unlink(name, NULL), -EBADMSG);
    CHECK_EQ(slipring_ring_create(name, &config, &ring, &error), -EEXIST);
    CHECK(strstr(error.text, "choose another name") != NULL);
    CHECK(exists(path));
}

static void planted(void)
{
    char path[SLR_PATH_BYTES], other[SLR_PATH_BYTES + 8];
    slr_name_control_path(name, path);
    snprintf(other, sizeof other, "%s.other", path);

    CHECK(symlink("/etc/passwd", path) == 0);
    expect_refused(path, -EBADMSG);
    CHECK(unlink(path) == 0 && mkfifo(path, 0600) == 0);
    expect_refused(path, -EBADMSG);
    CHECK(unlink(path) == 0 && mkdir(path, 0700) == 0);
    expect_refused(path, -EBADMSG);
    CHECK(rmdir(path) == 0);
    const int fd = open(path, O_CREAT | O_RDWR, 0600);
    CHECK(fd >= 0);
    expect_refused(path, -EBADMSG); /* empty */
    CHECK(ftruncate(fd, 65536) == 0);
    expect_refused(path, -EBADMSG); /* zeros */
    close(fd);
    CHECK(unlink(path) == 0);

    struct slipring_ring *ring = create();
    slipring_ring_close(ring);
    CHECK(link(path, other) == 0);
    CHECK_EQ(open_it(), -EBADMSG);
    CHECK(unlink(other) == 0);
    CHECK_EQ(open_it(), 0);
    CHECK(rename(path, other) == 0 && symlink(other, path) == 0); /* a link to a good ring */
    CHECK_EQ(open_it(), -EBADMSG);
    CHECK(unlink(path) == 0 && rename(other, path) == 0);
    CHECK_EQ(open_it(), 0);
    if (geteuid() == 0) {
        CHECK(chown(path, 65534, 65534) == 0);
        CHECK_EQ(open_it(), -EPERM);
        CHECK(chown(path, 0, 0) == 0);
    }
    CHECK_EQ(slipring_ring_unlink(name, NULL), 0);
}

static int note(void *user, const char *listed, enum slipring_listed kind)
{
    if (strcmp(listed, name) == 0) {
        *(int *)user = (int)kind;
    }
    return 0;
}

static void denied(void)
{
    slipring_ring_close(create());
    int kind = -1;
    CHECK_EQ(slipring_ring_list(note, &kind), 0);
    CHECK_EQ(kind, SLIPRING_LISTED_RING);
    if (geteuid() == 0) {
        const pid_t child = fork();
        if (child == 0) {
            CHECK(setgid(65534) == 0 && setuid(65534) == 0);
            CHECK_EQ(open_it(), -EPERM);
            CHECK_EQ(slipring_ring_unlink(name, NULL), -EPERM);
            kind = -1;
            CHECK_EQ(slipring_ring_list(note, &kind), 0);
            CHECK_EQ(kind, SLIPRING_LISTED_DENIED);
            exit(0);
        }
        CHECK_CHILD(child);
    } else {
        printf("not root: what another user is denied was not looked at\n");
    }
    CHECK_EQ(slipring_ring_unlink(name, NULL), 0);
    kind = -1;
    CHECK_EQ(slipring_ring_list(note, &kind), 0);
    CHECK_EQ(kind, -1);
}

int main(void)
{
    proc_begin(30);
    proc_alone();
    snprintf(name, sizeof name, "test-names-unit-%d", (int)getpid());
    rules();
    planted();
    denied();
    return 0;
}
