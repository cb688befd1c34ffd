/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: memory lies on the node that was asked for, wishes that no machine can grant are refused
 * with a text, near_cpus() names allowed processors that share a last-level cache (by the kernel's
 * own lists, and on machines described to hwloc), and looking around leaves this thread's
 * affinity mask and errno as they were.
 */
#define _GNU_SOURCE
#include "base/topology.h"
#include "kernel.h"
#include "test.h"

#include <slipring/ring.h>

#include <dirent.h>
#include <sched.h>
#include <stdbool.h>
#include <sys/mman.h>

#define BYTES 65536u
#define KEPT 4711

static struct slipring_error error;

static void refuse(int32_t node, const char *near_pci, int code, const char *word)
{
    int32_t found = 77;
    memset(&error, 0, sizeof error);
    CHECK_EQ(slr_topology_find(node, near_pci, &found, &error), code);
    CHECK(found == 77 && error.code == code);
    CHECK(strstr(error.text, word) != NULL);
}

/* Each node that has memory, bound and looked up. */
static void test_nodes(void)
{
    int nodes = 0;
    for (int32_t node = 0; node < 64; node++) {
        char path[64];
        int32_t found = -1;
        snprintf(path, sizeof path, "/sys/devices/system/node/node%d/meminfo", node);
        if (access(path, R_OK) < 0 || slr_topology_find(node, NULL, &found, &error) < 0) {
            continue; /* not there, or not allowed to us */
        }
        CHECK_EQ(found, node);
        const int fd = memfd_create("pages", MFD_CLOEXEC);
        CHECK(fd >= 0 && ftruncate(fd, BYTES) == 0);
        char *memory = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        CHECK(memory != MAP_FAILED);
        const bool told = kernel_tells_nodes();
        errno = KEPT;
        CHECK_OK(slr_topology_bind(memory, BYTES, node, &error));
        memset(memory, 1, BYTES);
        if (told) {
            CHECK_EQ(slr_topology_node_of(memory), node);
            CHECK_EQ(slr_topology_node_of(memory + BYTES - 1), node);
        } else {
            printf("NOT CHECKED: where pages lie, there is no move_pages() here\n");
            CHECK_EQ(slr_topology_node_of(memory), -1);
        }
        CHECK_EQ(errno, KEPT);
        CHECK(munmap(memory, BYTES) == 0 && close(fd) == 0);
        nodes++;
    }
    printf("%d nodes\n", nodes);
    CHECK(nodes >= 1 || access("/sys/devices/system/node/node0", F_OK) < 0);
    CHECK_OK(slr_topology_bind(NULL, BYTES, -1, &error)); /* nothing asked */
}

static void test_wishes(void)
{
    int32_t found = 77;
    CHECK_OK(slr_topology_find(-1, NULL, &found, &error));
    CHECK_EQ(found, -1);
    refuse(-2, NULL, -EINVAL, "-2");
    refuse(100000, NULL, -EINVAL, "100000");
    refuse(0, "0000:00:00.0", -EINVAL, "near_pci");
    refuse(-1, "ffff:fe:1e.6", -EINVAL, "ffff:fe:1e.6");
    refuse(-1, "my GPU", -EINVAL, "lspci");
    refuse(-1, "", -EINVAL, "lspci");
    DIR *dir = opendir("/sys/bus/pci/devices");
    const struct dirent *entry = NULL;
    while (dir != NULL && (entry = readdir(dir)) != NULL && entry->d_name[0] == '.') {
    }
    if (entry == NULL) {
        printf("no PCI device here: near_pci is tested for refusal only\n");
    } else {
        found = 77;
        CHECK_OK(slr_topology_find(-1, entry->d_name, &found, &error));
        CHECK(found >= -1 && found < 77);
        printf("%s is near node %d\n", entry->d_name, found);
    }
    if (dir != NULL) {
        closedir(dir);
    }
}

/* Does the kernel say that b shares a's last cache? -1: it says nothing. */
static int share_cache(int a, int b)
{
    char path[96], line[4096];
    int answer = -1;
    for (int index = 0; index < 10; index++) {
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/cache/index%d/shared_cpu_list",
                 a, index);
        FILE *file = fopen(path, "r");
        if (file == NULL || fgets(line, sizeof line, file) == NULL) {
            line[0] = 0;
        }
        if (file != NULL) {
            fclose(file);
            answer = 0; /* the largest cache has the last index */
        }
        for (char *part = strtok(line, ","); part != NULL; part = strtok(NULL, ",")) {
            int first, last;
            const int read = sscanf(part, "%d-%d", &first, &last);
            if (read >= 1 && b >= first && b <= (read == 2 ? last : first)) {
                answer = 1;
            }
        }
    }
    return answer;
}

static void test_near(void)
{
    cpu_set_t allowed, after;
    CHECK(sched_getaffinity(0, sizeof allowed, &allowed) == 0);
    const int available = CPU_COUNT(&allowed);
    int cpus[64];
    errno = KEPT;
    const int distinct = slipring_near_cpus(cpus, 64);
    CHECK_EQ(errno, KEPT);
    if (distinct == -ENOTSUP) {
        CHECK(access("/sys/devices/system/cpu/cpu0/cache/index0", F_OK) < 0);
        printf("this machine tells nothing about its caches: near_cpus() is -ENOTSUP\n");
        return;
    }
    CHECK(distinct >= 1 && distinct <= available);
    for (int i = 0; i < 64; i++) {
        CHECK(cpus[i] >= 0 && CPU_ISSET(cpus[i], &allowed));
        CHECK_EQ(cpus[i], cpus[i % distinct]);
        for (int j = 0; j < i && i < distinct; j++) {
            CHECK(cpus[j] != cpus[i]);
        }
        CHECK(share_cache(cpus[0], cpus[i]) != 0);
    }
    printf("%d of %d processors share a cache\n", distinct, available);
    CHECK_EQ(slipring_near_cpus(cpus, 1), 1);
    CHECK_EQ(slipring_near_cpus(cpus, 0), -EINVAL);
    CHECK_EQ(slipring_near_cpus(NULL, 2), -EINVAL);
    CHECK(sched_getaffinity(0, sizeof after, &after) == 0 && CPU_EQUAL(&allowed, &after));

    if (kernel_threads() > 1) {
        printf("NOT CHECKED: a narrower mask, there are threads that keep theirs\n");
        return;
    }
    cpu_set_t one; /* the mask in force counts, not the one at the first call */
    CPU_ZERO(&one);
    CPU_SET(cpus[0], &one);
    CHECK(sched_setaffinity(0, sizeof one, &one) == 0);
    CHECK_EQ(slipring_near_cpus(cpus + 1, 2), 1);
    CHECK(cpus[1] == cpus[0] && cpus[2] == cpus[0]);
    CHECK(sched_setaffinity(0, sizeof allowed, &allowed) == 0);
}

/* Each runs in a child of its own, for its environment. */
static void test_described(const char *machine, bool this_system, int want)
{
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        int cpus[4] = {-7, -7, -7, -7};
        cpu_set_t allowed;
        CHECK(sched_getaffinity(0, sizeof allowed, &allowed) == 0);
        CHECK(setenv("HWLOC_SYNTHETIC", machine, 1) == 0);
        CHECK(setenv("HWLOC_THISSYSTEM", this_system ? "1" : "0", 1) == 0);
        if (!this_system) {
            refuse(0, NULL, -ENOTSUP, "HWLOC_SYNTHETIC");
        } else if (!CPU_ISSET(0, &allowed) || !CPU_ISSET(1, &allowed)) {
            printf("processors 0 and 1 are not both ours: \"%s\" is not tested\n", machine);
            _exit(0);
        }
        CHECK_EQ(slipring_near_cpus(cpus, 4), want);
        CHECK(want < 0 ? cpus[0] == -7 : cpus[0] == 0 && cpus[3] == (want == 2 ? 1 : 0));
        if (strncmp(machine, "node:2", 6) == 0) {
            char *memory = mmap(NULL, BYTES, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
            CHECK(memory != MAP_FAILED && slr_topology_node_of(memory) == -1); /* untouched */
            CHECK(slr_topology_bind(memory, BYTES, 1, &error) < 0 ||
                  access("/sys/devices/system/node/node1", F_OK) == 0);
            CHECK_EQ(slr_topology_bind(memory, BYTES, 2, &error), -EINVAL);
        }
        _exit(0);
    }
    CHECK_CHILD(child);
}

int main(void)
{
    alarm(60);
    setbuf(stdout, NULL);
    test_described("pack:1 l3:1 core:2 pu:1", true, 2);
    test_described("node:2 l3:1 core:1 pu:1", true, 1);
    test_described("pack:1 core:2 pu:1", true, -ENOTSUP);
    test_described("pack:1 l3:1 core:2 pu:1", false, -ENOTSUP);
    test_wishes();
    test_nodes();
    test_near();
    return 0;
}
