/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: creating, opening, attaching, handing on and giving back, thousands of times, and every
 * refusal that ends one of them half-way, leave as many descriptors, mappings, files, threads and
 * bytes of heap as there were after the first time.
 * Faults: D7.
 */
#define _GNU_SOURCE
#include "ring/ring_name.h"
#include "proc.h"

#include <dirent.h>
#include <fcntl.h>
#include <malloc.h>
#include <slipring/dlpack.h>
#include <sys/socket.h>

enum { ROUNDS = 1200, OPENS = 80 };

static char name[64], garbage[64], missing[64];

static unsigned entries(const char *path)
{
    unsigned count = 0;
    DIR *directory = opendir(path);
    CHECK(directory != NULL);
    while (readdir(directory) != NULL) {
        count++;
    }
    closedir(directory);
    return count;
}

struct usage {
    uint64_t descriptors, threads, maps, heap;
};

static struct usage measure(void)
{
    struct usage usage = {entries("/proc/self/fd"), entries("/proc/self/task"), 0, 0};
#ifndef SANITIZED /* whose own memory grows */
    FILE *maps = fopen("/proc/self/maps", "r");
    CHECK(maps != NULL);
    for (int c; (c = fgetc(maps)) != EOF;) {
        usage.maps += c == '\n';
    }
    fclose(maps);
    usage.heap = mallinfo2().uordblks;
#endif
    return usage;
}

static struct slipring_config config_of(uint32_t flags)
{
    struct slipring_config config;
    slipring_config_init(&config);
    config.slots = 8;
    config.slot_bytes = 256;
    config.members_max = 3;
    config.groups_max = 1;
    config.releases_max = 1;
    config.flags = flags;
    return config;
}

/* What must be refused, of a ring that has a producer and a consumer. */
static void refused(struct slipring_ring *ring, const struct slipring_config *config)
{
    struct slipring_ring *none = NULL;
    struct slipring_producer *producer = NULL;
    struct slipring_consumer *consumer = NULL;
    struct slipring_consumer_config member;
    struct slipring_config wrong = *config;
    slipring_consumer_config_init(&member);
    member.group = "one";
    wrong.slots = 3;
    CHECK_EQ(slipring_ring_create(name, config, &none, NULL), -EEXIST);
    CHECK_EQ(slipring_ring_create(NULL, &wrong, &none, NULL), -EINVAL);
    CHECK_EQ(slipring_ring_open(missing, 0, &none, NULL), -ENOENT);
    CHECK_EQ(slipring_ring_open(garbage, 0, &none, NULL), -EBADMSG);
    CHECK_EQ(slipring_ring_open(name, SLIPRING_READ_ONLY, &none, NULL), -EINVAL);
    CHECK_EQ(slipring_ring_from_fds(0, 0, &none, NULL), -EBADMSG);
    CHECK_EQ(slipring_producer_attach(ring, NULL, &producer, NULL), -EBUSY);
    CHECK_EQ(slipring_consumer_attach(ring, &member, &consumer, NULL), -EBUSY);
    member.flags = SLIPRING_MANY;
    CHECK_EQ(slipring_consumer_attach(ring, &member, &consumer, NULL), -EINVAL);
    member.group = NULL;
    member.flags = SLIPRING_UNORDERED;
    CHECK_EQ(slipring_consumer_attach(ring, &member, &consumer, NULL), -EUSERS);
}

static void hand_on(struct slipring_ring *ring)
{
    struct slipring_ring *got;
    int ends[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    CHECK_EQ(slipring_ring_send(ring, ends[0], 0, NULL), 0);
    CHECK_EQ(slipring_ring_send(ring, ends[0], 0, NULL), 0); /* and not received */
    CHECK_EQ(slipring_ring_receive(ends[1], &got, NULL), 0);
    slipring_ring_close(got);
    close(ends[0]);
    close(ends[1]);
}

static void round_of(uint32_t flags, bool helper)
{
    const struct slipring_config config = config_of(flags);
    struct slipring_consumer_config member;
    struct slipring_consumer *consumer, *unordered;
    struct slipring_ring *ring, *again;
    struct slipring_view view;
    struct DLManagedTensorVersioned *tensor;
    int fd;
    CHECK_EQ(slipring_ring_create(name, &config, &ring, NULL), 0);
    for (int i = 0; i < OPENS; i++) {
        CHECK_EQ(slipring_ring_open(name, 0, &again, NULL), 0);
        slipring_ring_close(again);
    }
    struct slipring_producer *producer = proc_producer(ring);
    slipring_consumer_config_init(&member);
    member.group = "one";
    CHECK_EQ(slipring_consumer_attach(ring, &member, &consumer, NULL), 0);
    member.group = NULL;
    member.flags = SLIPRING_UNORDERED;
    CHECK_EQ(slipring_consumer_attach(ring, &member, &unordered, NULL), 0);
    CHECK(!helper || slipring_consumer_fd(consumer, &fd, NULL) == 0);
    refused(ring, &config);
    hand_on(ring);
    struct slipring_loan loan;
    CHECK_EQ(slipring_producer_try_claim(producer, 1, &loan), 0);
    CHECK_EQ(slipring_producer_publish(producer, 1, NULL), 0);
    CHECK_EQ(slipring_consumer_try_acquire(unordered, 1, &view), 0);
    CHECK_EQ(slipring_view_dlpack(unordered, &view, 0, &tensor), 0);
    slipring_producer_detach(producer);
    slipring_consumer_detach(unordered);
    slipring_consumer_detach(consumer);
    if ((flags & SLIPRING_VANISH) == 0) {
        CHECK_EQ(slipring_ring_unlink(name, NULL), 0);
    }
    slipring_ring_close(ring);
    tensor->deleter(tensor);
    CHECK_EQ(slipring_ring_open(name, 0, &ring, NULL), -ENOENT);
}

int main(void)
{
    proc_begin(60);
    char path[SLR_PATH_BYTES];
    const int id = (int)getpid();
    snprintf(name, sizeof(name), "test-often-%d", id);
    snprintf(garbage, sizeof(garbage), "test-often-garbage-%d", id);
    snprintf(missing, sizeof(missing), "test-often-missing-%d", id);
    slr_name_control_path(garbage, path);
    const int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    CHECK(fd >= 0 && ftruncate(fd, 65536) == 0 && close(fd) == 0);
    for (int i = 0; i < 4; i++) { /* what is set up for good */
        round_of(i % 2 == 0 ? 0 : SLIPRING_VANISH, true);
    }
    const struct usage before = measure();
    for (int i = 0; i < ROUNDS; i++) {
        round_of(i % 2 == 0 ? 0 : SLIPRING_VANISH, i % 10 == 0);
    }
    const struct usage after = measure();
    CHECK(unlink(path) == 0);
    CHECK_EQ(after.descriptors, before.descriptors);
    CHECK(after.threads <= before.threads); /* an emulator has some that come and go */
    CHECK_EQ(after.maps, before.maps);
    CHECK(after.heap < before.heap + ROUNDS * 8); /* less than one block each; malloc has caches */
    printf("%d rounds, %d opens\n", ROUNDS, ROUNDS * OPENS);
    return 0;
}
