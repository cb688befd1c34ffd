/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: a ring that asks for locked or huge pages where they cannot be had is made all the same,
 * says in its info what it got (the errno of the lock, the kind of pages), and works; where pages
 * can be locked it says that, and so does the kernel.
 * Faults: D5.
 */
#define _GNU_SOURCE
#include "proc.h"

#include <sys/prctl.h>
#include <sys/resource.h>

#define HOW (&proc_rings[6]) /* tensor */

static void use(struct slipring_ring *ring)
{
    struct slipring_producer *producer = proc_producer(ring);
    struct slipring_consumer *consumer = proc_consumer(ring, HOW, SLIPRING_OLDEST);
    struct slipring_view view;
    for (uint64_t i = 0; i < 2 * proc_info(ring).slots; i++) {
        CHECK_EQ(proc_publish(producer, HOW, 1, 0), 0);
        CHECK_EQ(proc_take(consumer, HOW, &view, 0), 0);
    }
    slipring_consumer_detach(consumer);
    slipring_producer_detach(producer);
}

static uint64_t memory_kib(const char *file, const char *key)
{
    char line[256];
    unsigned long long kib = 0;
    FILE *status = fopen(file, "r");
    CHECK(status != NULL);
    while (fgets(line, sizeof(line), status) != NULL) {
        if (strncmp(line, key, strlen(key)) == 0) {
            kib = strtoull(line + strlen(key), NULL, 10);
        }
    }
    fclose(status);
    return kib;
}

static struct slipring_ring *create(const char *name, uint32_t flags)
{
    struct slipring_config config;
    struct slipring_ring *ring;
    struct slipring_error error = {0};
    proc_config(HOW, &config);
    config.flags = flags;
    if (slipring_ring_create(name, &config, &ring, &error) != 0) {
        FAIL("create: %d %s: %s", error.code, error.call, error.text);
    }
    return ring;
}

/* May lock so many bytes and has no privilege to lock more. */
static int limited(struct proc *self, void *context)
{
    (void)self;
    const struct rlimit limit = {*(rlim_t *)context, *(rlim_t *)context};
    CHECK(setrlimit(RLIMIT_MEMLOCK, &limit) == 0);
    if (geteuid() == 0) {
        CHECK(setgid(65534) == 0 && setuid(65534) == 0);
    }
    struct slipring_ring *ring = create(NULL, SLIPRING_LOCK_PAGES);
    const struct slipring_info info = proc_info(ring);
    const uint64_t locked = memory_kib("/proc/self/status", "VmLck:");
    printf("%llu bytes may be locked: locked %d, %llu KiB\n", (unsigned long long)limit.rlim_cur,
           info.locked, (unsigned long long)locked);
    if (limit.rlim_cur < info.data_bytes + info.control_bytes) {
        CHECK(info.locked == -ENOMEM || info.locked == -EPERM);
        CHECK_EQ(locked, 0); /* all or nothing */
    } else {
        CHECK_EQ(info.locked, 1);
        CHECK(locked * 1024 >= info.data_bytes + info.control_bytes);
    }
    use(ring);
    slipring_ring_close(ring);
    CHECK_EQ(memory_kib("/proc/self/status", "VmLck:"), 0);
    return 0;
}

static void huge(const char *name)
{
    const uint64_t pool = memory_kib("/proc/meminfo", "HugePages_Free:");
    struct slipring_ring *ring = create(name, SLIPRING_HUGE_PAGES);
    const struct slipring_info info = proc_info(ring);
    printf("%s, %llu huge pages free: pages %u\n", name == NULL ? "anonymous" : "named",
           (unsigned long long)pool, info.pages);
    CHECK(info.pages != SLIPRING_PAGES_HUGETLB || (name == NULL && pool > 0));
    use(ring);
    slipring_ring_close(ring);
    if (name != NULL) {
        CHECK_EQ(slipring_ring_unlink(name, NULL), 0);
    }
}

int main(void)
{
    proc_begin(30);
    struct slipring_ring *ring = create(NULL, 0);
    CHECK_EQ(proc_info(ring).locked, 0);
    const struct slipring_info info = proc_info(ring);
    slipring_ring_close(ring);
    const rlim_t limits[] = {0, (rlim_t)info.data_bytes, /* without control */
                             (rlim_t)(info.data_bytes + info.control_bytes)};
#ifdef SANITIZED
    const unsigned count = 0;
    printf("NOT CHECKED: a sanitizer's mlock() locks nothing\n");
#else
    const unsigned count = sizeof(limits) / sizeof(limits[0]);
#endif
    for (unsigned i = 0; i < count; i++) {
        struct rlimit most;
        CHECK(getrlimit(RLIMIT_MEMLOCK, &most) == 0);
        if (limits[i] > most.rlim_max && geteuid() != 0) {
            printf("NOT CHECKED: this user may lock %llu bytes at most\n",
                   (unsigned long long)most.rlim_max);
            continue;
        }
        struct proc child = proc_start(limited, (void *)&limits[i]);
        proc_end(&child);
    }
    char name[64];
    snprintf(name, sizeof(name), "test-refused-%d", (int)getpid());
    huge(NULL);
    huge(name);
    return 0;
}
