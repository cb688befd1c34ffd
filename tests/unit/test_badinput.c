/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: each bad name, flag, group and member option has its errno and a text that names it, sets
 * no result, and leaves neither a descriptor, nor a mapping, nor a member behind; NULL for the
 * error is allowed. (Ring configs: test_badconfig.c.)
 * Faults: E6.
 */
#include "badinput.h"

#include <sys/resource.h>

static void names(void)
{
    char longest[SLIPRING_NAME_MAX + 2];
    memset(longest, 'x', sizeof(longest));
    longest[SLIPRING_NAME_MAX + 1] = '\0';
    const char *const bad[] = {"/",   "../x", "a/b",      ".hidden", ".",    "..",
                               "a b", "a\n",  "\xc3\xa4", "a%n",     longest};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct slipring_config config;
        struct slipring_ring *ring = NULL;
        struct slipring_error error = {0};
        proc_config(&proc_rings[0], &config);
        expect(slipring_ring_create(bad[i], &config, &ring, &error), -EINVAL, &error, "name");
        expect(slipring_ring_open(bad[i], 0, &ring, &error), -EINVAL, &error, "name");
        const int code = slipring_ring_unlink(bad[i], &error);
        CHECK(code == -EINVAL || code == -ENOENT);
        struct slipring_reaped reaped;
        CHECK(slipring_ring_reap(bad[i], &reaped, &error) < 0);
        CHECK(ring == NULL);
    }
    struct slipring_ring *ring = NULL;
    struct slipring_reaped reaped;
    struct slipring_error error = {0};
    expect(slipring_ring_open("test-no-such-ring", 0, &ring, &error), -ENOENT, &error,
           "test-no-such-ring");
    expect(slipring_ring_unlink("test-no-such-ring", &error), -ENOENT, &error, "test-no-such-ring");
    expect(slipring_ring_reap("test-no-such-ring", &reaped, &error), -ENOENT, &error,
           "test-no-such-ring");
    CHECK_EQ(slipring_ring_open("", 0, &ring, NULL), -EINVAL);
    CHECK_EQ(slipring_ring_open(NULL, 0, &ring, NULL), -EINVAL);
    longest[SLIPRING_NAME_MAX] = '\0'; /* as long as may be */
    struct slipring_config config;
    proc_config(&proc_rings[0], &config);
    CHECK_EQ(slipring_ring_create(longest, &config, &ring, &error), 0);
    CHECK_EQ(slipring_ring_open(longest, 1u << 20, &ring, &error), -EINVAL);
    CHECK_EQ(slipring_ring_open(longest, SLIPRING_READ_ONLY, &ring, &error), -EINVAL);
    slipring_ring_close(ring);
    CHECK_EQ(slipring_ring_unlink(longest, NULL), 0);
}

static void consumers(void)
{
    struct slipring_ring *ring = proc_make(&proc_rings[6], 0);
    char name[SLIPRING_GROUP_NAME_BYTES + 1];
    memset(name, 'g', sizeof(name));
    name[SLIPRING_GROUP_NAME_BYTES] = '\0';
    for (int i = 0;; i++) {
        struct slipring_consumer_config config;
        struct slipring_consumer *consumer = NULL;
        struct slipring_error error = {0};
        const char *word;
        slipring_consumer_config_init(&config);
        switch (i) {
        case 0:
            config.struct_size = 9;
            word = "struct_size";
            break;
        case 1:
            config.flags = 1u << 20;
            word = "flag";
            break;
        case 2:
            config.start = 3;
            word = "start";
            break;
        case 3:
            config.wait = 3;
            word = "wait";
            break;
        case 4:
            config.slow = 2;
            word = "slow";
            break;
        case 5:
            config.slow = SLIPRING_EVICT;
            word = "evict_after_ns";
            break;
        case 6:
            config.flags = SLIPRING_MANY;
            word = "group";
            break;
        case 7:
            config.group = "";
            word = "group";
            break;
        case 8:
            config.group = name;
            word = "group";
            break;
        case 9:
            config.flags = SLIPRING_VERIFY;
            word = "CHECKSUM";
            break;
        case 10:
            config.group = "work";
            config.flags = SLIPRING_MANY | SLIPRING_NEWEST;
            word = "NEWEST";
            break;
        default:
            CHECK_EQ(proc_info(ring).members, 0);
            slipring_ring_close(ring);
            return;
        }
        expect(slipring_consumer_attach(ring, &config, &consumer, &error), -EINVAL, &error, word);
        CHECK_EQ(slipring_consumer_attach(ring, &config, &consumer, NULL), -EINVAL);
        CHECK(consumer == NULL);
    }
}

static void infos(void)
{
    struct slipring_ring *ring = proc_make(&proc_rings[0], 0);
    struct slipring_info info = {.struct_size = 3};
    struct slipring_member member = {.struct_size = 0};
    CHECK_EQ(slipring_ring_info(ring, &info), -EINVAL);
    CHECK_EQ(slipring_ring_members(ring, &member, 1), -EINVAL);
    slipring_ring_close(ring);
    slipring_ring_close(NULL);
}

/* More memory than there is: told at once, nothing is taken, nobody is killed for it. */
static void too_large(void)
{
    struct slipring_config config;
    struct slipring_error error = {0};
    struct slipring_ring *ring = NULL;
#if !defined(SANITIZED) /* whose own memory is beyond any such limit */
    const struct rlimit net = {UINT64_C(1) << 40, UINT64_C(1) << 40}; /* should it be tried */
    CHECK_EQ(setrlimit(RLIMIT_AS, &net), 0);
#endif
    slipring_config_init(&config);
    config.slot_bytes = UINT64_C(1) << 30;
    config.slots = 4096;
    expect(slipring_ring_create(NULL, &config, &ring, &error), -ENOSPC, &error, "available");
    CHECK(ring == NULL);
}

int main(void)
{
    proc_begin(30);
    struct slipring_ring *warm = proc_make(&proc_rings[0], 0); /* first use opens what it needs */
    slipring_ring_close(warm);
    const unsigned descriptors = entries("/proc/self/fd", "");
    names();
    consumers();
    infos();
    too_large();
    CHECK_EQ(entries("/proc/self/fd", ""), descriptors);
    CHECK_EQ(mappings(), 0);
    return 0;
}
