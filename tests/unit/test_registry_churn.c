/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: threads that open and close a name while another one creates, closes and unlinks it, and
 * forks at any moment, never get a ring that is unmapped or half there, and never hang; nor do
 * the children. Of two processes that create one name at once one has it, and the other leaves
 * nothing.
 * Faults: C5.
 */
#define _GNU_SOURCE
#include "ring/handle.h"
#include "test.h"

#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>

#define CHURNS 2000

static char name[64];

static struct slipring_ring *create(uint32_t flags)
{
    struct slipring_config config;
    struct slipring_ring *ring = NULL;
    slipring_config_init(&config);
    config.slot_bytes = 8;
    config.slots = 8;
    config.members_max = 2;
    config.groups_max = 1;
    config.flags = flags;
    const int code = slipring_ring_create(name, &config, &ring, NULL);
    CHECK(code == 0 || code == -EEXIST);
    return ring;
}

static _Atomic bool churned;
static _Atomic unsigned opened;

static void *opener(void *unused)
{
    struct slipring_ring *ring;
    while (!atomic_load(&churned)) {
        const int code = slipring_ring_open(name, 0, &ring, NULL);
        if (code == 0) {
            /* Mapped, and whole: neither unmapped under us nor half made. */
            CHECK(ring->segment.data->magic == SLR_MAGIC_DATA);
            CHECK(ring->segment.control->magic == SLR_MAGIC_CONTROL);
            CHECK(memcmp(ring->segment.control->uuid, ring->segment.geometry.uuid, 16) == 0);
            atomic_fetch_add(&opened, 1);
            slipring_ring_close(ring);
        } else {
            CHECK_EQ(code, -ENOENT);
        }
    }
    return unused;
}

static void churn(uint32_t flags)
{
    pthread_t threads[2];
    atomic_store(&opened, 0);
    atomic_store(&churned, false);
    for (int i = 0; i < 2; i++) {
        CHECK(pthread_create(&threads[i], NULL, opener, NULL) == 0);
    }
    for (int i = 0; i < CHURNS; i++) {
        struct slipring_ring *ring = create(flags);
        const unsigned before = atomic_load(&opened);
        while (i % 10 == 0 && ring != NULL && atomic_load(&opened) == before) {
            sched_yield(); /* somebody has it open as it goes */
        }
        if ((flags & SLIPRING_VANISH) == 0) {
            CHECK(ring != NULL);
            CHECK_EQ(slipring_ring_unlink(name, NULL), 0);
        }
        slipring_ring_close(ring);
        if (i % 100 == 0) {
            const pid_t child = fork(); /* with the other threads anywhere */
            if (child == 0) {
                const int code = slipring_ring_open(name, 0, &ring, NULL);
                _exit(code != 0 && code != -ENOENT); /* what other threads allocate is no leak */
            }
            CHECK_CHILD(child);
        }
    }
    atomic_store(&churned, true);
    for (int i = 0; i < 2; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
    fprintf(stderr, "%d rings, opened %u times meanwhile\n", CHURNS, atomic_load(&opened));
}

static unsigned files(void)
{
    unsigned count = 0;
    DIR *directory = opendir("/dev/shm");
    CHECK(directory != NULL);
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        count += strstr(entry->d_name, name) != NULL;
    }
    closedir(directory);
    return count;
}

/* Of two processes that create one name at once, one has it, and the other leaves nothing. */
static void at_once(void)
{
    for (int i = 0; i < 100; i++) {
        int go[2], made = 0, status;
        char byte;
        pid_t children[2];
        CHECK(pipe(go) == 0);
        for (int k = 0; k < 2; k++) {
            children[k] = fork();
            if (children[k] == 0) {
                close(go[1]);
                CHECK(read(go[0], &byte, 1) == 0);
                struct slipring_ring *ring = create(0);
                _exit(ring == NULL ? 2 : 0);
            }
        }
        close(go[1]);
        for (int k = 0; k < 2; k++) {
            CHECK(waitpid(children[k], &status, 0) == children[k]);
            CHECK(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 2));
            made += WEXITSTATUS(status) == 0;
        }
        close(go[0]);
        CHECK_EQ(made, 1);
        CHECK_EQ(files(), 2);
        CHECK_EQ(slipring_ring_unlink(name, NULL), 0);
    }
}

int main(void)
{
    alarm(55);
    snprintf(name, sizeof name, "test-churn-%d", (int)getpid());
    at_once();
    churn(0);
    churn(SLIPRING_VANISH);
    struct slipring_ring *ring;
    CHECK_EQ(slipring_ring_open(name, 0, &ring, NULL), -ENOENT);
    return 0;
}
