/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: 1024 consumers, in eight processes, attach to a ring made with the default for members,
 * one more gets -EUSERS with a text that says what to raise; all of them wait asleep, each gets
 * each message once, though publish wakes no more than a few (a wake of all takes milliseconds);
 * when one of the processes is killed the rest go on and its cells are free for others.
 * Faults: B7.
 */
#define _GNU_SOURCE
#include "futex_watch.h"
#include "proc.h"

#include <pthread.h>
#include <sys/resource.h>

enum { PROCESSES = 8, EACH = 128, ROUNDS = 3, WAKES_MOST = 8 };
#define HOW (&proc_rings[0])

struct reader {
    pthread_t thread;
    struct slipring_consumer *consumer;
};

static long woken; /* by this process */

static void count_wakes(long more)
{
    woken += more > 0 ? more : 0;
}

static void *read_all(void *context)
{
    struct reader *reader = context;
    struct slipring_view view;
    for (uint64_t i = 0; i < ROUNDS; i++) {
        CHECK_EQ(proc_take(reader->consumer, HOW, &view, proc_in_ms(30000)), 0);
        CHECK_EQ(view.slot.sequence, i);
    }
    return NULL;
}

static int process(struct proc *self, void *context)
{
    static struct reader readers[EACH];
    struct slipring_consumer_config config;
    slipring_consumer_config_init(&config);
    config.start = SLIPRING_OLDEST;
    config.wait = SLIPRING_WAIT_SLEEP;
    pthread_attr_t small;
    CHECK(pthread_attr_init(&small) == 0 && pthread_attr_setstacksize(&small, 256 * 1024) == 0);
    for (unsigned i = 0; i < EACH; i++) {
        CHECK_EQ(slipring_consumer_attach(context, &config, &readers[i].consumer, NULL), 0);
        CHECK_EQ(pthread_create(&readers[i].thread, &small, read_all, &readers[i]), 0);
    }
    proc_tell(self, 0);
    for (unsigned i = 0; i < EACH; i++) {
        CHECK_EQ(pthread_join(readers[i].thread, NULL), 0);
    }
    proc_tell(self, 0);
    proc_hear(self);
    return 0;
}

int main(void)
{
    proc_begin(120);
    struct rlimit files;
    CHECK(getrlimit(RLIMIT_NOFILE, &files) == 0);
    if (files.rlim_cur < EACH + 64) {
        files.rlim_cur = files.rlim_max < EACH + 64 ? files.rlim_max : EACH + 64;
        CHECK(setrlimit(RLIMIT_NOFILE, &files) == 0);
        if (files.rlim_cur < EACH + 64) {
            SKIP("fewer than 192 descriptors per process are allowed");
        }
    }
    struct slipring_config config;
    slipring_config_init(&config);
    config.slots = 64;
    config.slot_bytes = HOW->bytes;
    struct slipring_ring *ring = proc_create(&config);
    CHECK_EQ(proc_info(ring).members_max, PROCESSES * EACH);
    struct slipring_producer *producer = proc_producer(ring);
    struct proc children[PROCESSES];
    for (unsigned i = 0; i < PROCESSES; i++) {
        children[i] = proc_start(process, ring);
    }
    for (unsigned i = 0; i < PROCESSES; i++) {
        proc_hear(&children[i]);
    }
    CHECK_EQ(proc_info(ring).members, PROCESSES * EACH);
    struct slipring_consumer *extra = NULL;
    struct slipring_error error = {0};
    CHECK_EQ(slipring_consumer_attach(ring, NULL, &extra, &error), -EUSERS);
    CHECK(extra == NULL && strstr(error.text, "members_max") != NULL);

    watch_wakes = count_wakes;
    for (uint64_t i = 0; i < ROUNDS; i++) {
        const int64_t begin = slipring_now_ns();
        woken = 0;
        CHECK_EQ(proc_publish(producer, HOW, 1, 0), 0);
        printf("publish to %u sleepers: %lld us, %ld woken\n", PROCESSES * EACH,
               (long long)(slipring_now_ns() - begin) / 1000, woken);
        CHECK(woken <= WAKES_MOST);
    }
    watch_wakes = NULL;
    for (unsigned i = 0; i < PROCESSES; i++) {
        proc_hear(&children[i]);
    }
    proc_kill(&children[0]);
    CHECK_EQ(slipring_consumer_attach(ring, NULL, &extra, &error), 0);
    uint64_t published = ROUNDS;
    for (const int64_t end = proc_in_ms(5000); published < 64 && slipring_now_ns() < end;) {
        published += proc_publish(producer, HOW, 1, 0) == 0;
    }
    CHECK_EQ(published, 64);
    struct slipring_member members[2] = {{.struct_size = sizeof(members[0])}};
    CHECK(slipring_ring_members(ring, members, 2) <= (PROCESSES - 1) * EACH + 1 + EACH);
    for (unsigned i = 1; i < PROCESSES; i++) {
        proc_tell(&children[i], 0);
        proc_end(&children[i]);
    }
    slipring_consumer_detach(extra);
    slipring_producer_detach(producer);
    slipring_ring_close(ring);
    return 0;
}
