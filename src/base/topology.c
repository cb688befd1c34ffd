/* SPDX-License-Identifier: Apache-2.0 */
/* NUMA nodes for memory, and processors that share a cache, by hwloc. */
#define _GNU_SOURCE
#include "base/topology.h"

#include "base/os.h"

#include <slipring/ring.h>

#include <errno.h>
#include <hwloc.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CALL "slipring_ring_create"
#define CACHE_LEVELS 5

/* The machine is looked at anew each time: hwloc leaves out what it could not open, so what it saw
 * while descriptors or memory were short must not be kept. Without I/O devices, unless they are asked
 * for: their discovery takes ten times as long. NULL: unknown. */
static hwloc_topology_t load_topology(bool with_devices)
{
    hwloc_topology_t topology;
    if (hwloc_topology_init(&topology) < 0) {
        return NULL;
    }
    /* Without this flag hwloc moves the calling thread from processor to processor. */
    if (hwloc_topology_set_flags(topology, HWLOC_TOPOLOGY_FLAG_DONT_CHANGE_BINDING) < 0 ||
        (with_devices &&
         hwloc_topology_set_io_types_filter(topology, HWLOC_TYPE_FILTER_KEEP_ALL) < 0) ||
        hwloc_topology_load(topology) < 0) {
        hwloc_topology_destroy(topology);
        return NULL;
    }
    /* The environment can name a description of another machine, on which binding does nothing
     * and says that all is well. */
    if (!hwloc_topology_is_thissystem(topology)) {
        hwloc_topology_destroy(topology);
        return NULL;
    }
    return topology;
}

static void forget_topology(hwloc_topology_t topology)
{
    if (topology != NULL) {
        hwloc_topology_destroy(topology);
    }
}

static int unknown_machine(struct slipring_error *error)
{
    return slr_fail(error, -ENOTSUP, CALL,
                    "memory cannot be placed: the topology of this machine is unknown (is /sys "
                    "mounted? is HWLOC_XMLFILE or HWLOC_SYNTHETIC set?); leave out numa_node and "
                    "near_pci");
}

/* ---- nodes ---- */

static hwloc_obj_t node_object(hwloc_topology_t topology, int32_t node)
{
    hwloc_obj_t object = NULL;
    while ((object = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_NUMANODE, object)) != NULL) {
        if (node >= 0 && object->os_index == (unsigned)node) {
            return object;
        }
    }
    return NULL;
}

static int node_near(const char *near_pci, int32_t *found, struct slipring_error *error)
{
    hwloc_topology_t topology = load_topology(true);
    if (topology == NULL) {
        return unknown_machine(error);
    }
    int code = 0;
    hwloc_obj_t device = hwloc_get_pcidev_by_busidstring(topology, near_pci);
    if (device == NULL) {
        code = slr_fail(error, -EINVAL, CALL,
                        "near_pci is \"%.40s\": no such PCI device; lspci -D names them, as in "
                        "\"0000:01:00.0\"",
                        near_pci);
    } else {
        /* A device hangs below what is nearest to it; one node there is an answer, several are
         * all as near. */
        hwloc_obj_t above = hwloc_get_non_io_ancestor_obj(topology, device);
        const bool one = above != NULL && hwloc_bitmap_weight(above->nodeset) == 1;
        *found = one ? (int32_t)hwloc_bitmap_first(above->nodeset) : -1;
    }
    hwloc_topology_destroy(topology);
    return code;
}

int slr_topology_find(int32_t node, const char *near_pci, int32_t *found,
                      struct slipring_error *error)
{
    if (node < -1 || (node >= 0 && near_pci != NULL)) {
        return slr_fail(error, -EINVAL, CALL,
                        "numa_node is %" PRId32 " and near_pci \"%.40s\": set one of them, or -1 "
                        "and NULL",
                        node, near_pci != NULL ? near_pci : "");
    }
    if (near_pci != NULL) {
        return node_near(near_pci, found, error);
    }
    if (node >= 0) {
        hwloc_topology_t topology = load_topology(false);
        if (topology == NULL) {
            return unknown_machine(error);
        }
        const bool there = node_object(topology, node) != NULL;
        forget_topology(topology);
        if (!there) {
            return slr_fail(error, -EINVAL, CALL,
                            "numa_node is %" PRId32 ": this process may use no such node; see "
                            "/sys/devices/system/node",
                            node);
        }
    }
    *found = node;
    return 0;
}

static int bind_on(hwloc_topology_t topology, void *memory, uint64_t bytes, int32_t node,
                   struct slipring_error *error)
{
    hwloc_obj_t object = node_object(topology, node);
    if (object == NULL) {
        return slr_fail(error, -EINVAL, CALL, "numa_node is %" PRId32 ": there is no such node",
                        node);
    }
    /* Not strict: a bound page on a full node is killed for, a preferred one lies elsewhere. */
    if (hwloc_set_area_membind(topology, memory, bytes, object->nodeset, HWLOC_MEMBIND_BIND,
                               HWLOC_MEMBIND_BYNODESET) == 0 ||
        hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_NUMANODE) == 1) {
        return 0; /* with one node there is nothing to choose, whatever mbind says */
    }
    const int code = -errno;
    return slr_fail(error, code, "mbind",
                    "memory cannot be placed on node %" PRId32 ": %s; allow the call (containers "
                    "often forbid it) or leave out numa_node and near_pci",
                    node, strerror(-code));
}

int slr_topology_bind(void *memory, uint64_t bytes, int32_t node, struct slipring_error *error)
{
    if (node < 0 || bytes == 0) {
        return 0;
    }
    const int saved = errno;
    hwloc_topology_t topology = load_topology(false);
    const int code =
        topology == NULL ? unknown_machine(error) : bind_on(topology, memory, bytes, node, error);
    forget_topology(topology);
    errno = saved;
    return code;
}

/* Not by hwloc, which would read the whole machine (a millisecond) for one page's node: every
 * creation asks. */
int32_t slr_topology_node_of(const void *address)
{
    const int saved = errno;
    const long page = sysconf(_SC_PAGESIZE);
    void *start = (void *)((uintptr_t)address & ~((uintptr_t)page - 1));
    int node = -1;
    const long result = syscall(SYS_move_pages, 0, 1ul, &start, NULL, &node, 0);
    errno = saved;
    return result == 0 && node >= 0 ? node : -1; /* a negative errno: not there yet */
}

/* ---- processors ---- */

/* How many members of the set lie before this processor on the same core: 0 for the first. */
static int rank_on_core(hwloc_topology_t topology, hwloc_const_cpuset_t set, int cpu)
{
    hwloc_obj_t pu = hwloc_get_pu_obj_by_os_index(topology, (unsigned)cpu);
    hwloc_obj_t core =
        pu == NULL ? NULL : hwloc_get_ancestor_obj_by_type(topology, HWLOC_OBJ_CORE, pu);
    int rank = 0;
    for (int other = core == NULL ? cpu : hwloc_bitmap_first(core->cpuset);
         other >= 0 && other < cpu; other = hwloc_bitmap_next(core->cpuset, other)) {
        rank += hwloc_bitmap_isset(set, (unsigned)other) ? 1 : 0;
    }
    return rank;
}

/* Members of the set, one of each core before the second of any; cpus NULL: only count those that
 * are the first of their core. */
static uint32_t choose(hwloc_topology_t topology, hwloc_const_cpuset_t set, int *cpus,
                       uint32_t count)
{
    uint32_t chosen = 0;
    const int most = hwloc_bitmap_weight(set);
    for (int rank = 0; rank < (cpus == NULL ? 1 : most) && chosen < count; rank++) {
        for (int cpu = hwloc_bitmap_first(set); cpu >= 0 && chosen < count;
             cpu = hwloc_bitmap_next(set, cpu)) {
            if (rank_on_core(topology, set, cpu) == rank) {
                if (cpus != NULL) {
                    cpus[chosen] = cpu;
                }
                chosen++;
            }
        }
    }
    return chosen;
}

/* The allowed processors under the last-level cache that has most cores (then processors) for us;
 * of two that are equal the first. Left empty if no cache is known. */
static int widest_cache(hwloc_topology_t topology, hwloc_const_cpuset_t allowed,
                        hwloc_cpuset_t widest)
{
    hwloc_bitmap_t shared = hwloc_bitmap_alloc();
    if (shared == NULL) {
        return -ENOMEM;
    }
    uint64_t best = 0;
    int code = 0;
    for (int level = CACHE_LEVELS; level > 0 && best == 0 && code == 0; level--) {
        const hwloc_obj_type_t type = (hwloc_obj_type_t)(HWLOC_OBJ_L1CACHE + level - 1);
        hwloc_obj_t cache = NULL;
        while ((cache = hwloc_get_next_obj_by_type(topology, type, cache)) != NULL) {
            if (hwloc_bitmap_and(shared, cache->cpuset, allowed) < 0) {
                code = -ENOMEM;
                break;
            }
            const uint64_t cores = choose(topology, shared, NULL, UINT32_MAX);
            const uint64_t room = cores << 32 | (uint32_t)hwloc_bitmap_weight(shared);
            if (room > best) {
                best = room;
                code = hwloc_bitmap_copy(widest, shared) < 0 ? -ENOMEM : 0;
            }
        }
    }
    hwloc_bitmap_free(shared);
    return code;
}

/* Where the process may run now: its affinity mask, and what the machine offers of it. */
static int allowed_cpus(hwloc_topology_t topology, hwloc_cpuset_t allowed)
{
    hwloc_const_cpuset_t offered = hwloc_topology_get_allowed_cpuset(topology);
    if (hwloc_get_cpubind(topology, allowed, HWLOC_CPUBIND_PROCESS) < 0) {
        return hwloc_bitmap_copy(allowed, offered) < 0 ? -ENOMEM : 0;
    }
    return hwloc_bitmap_and(allowed, allowed, offered) < 0 ? -ENOMEM : 0;
}

static int near_cpus(hwloc_topology_t topology, int *cpus, uint32_t count)
{
    hwloc_bitmap_t allowed = hwloc_bitmap_alloc();
    hwloc_bitmap_t widest = hwloc_bitmap_alloc();
    int code = allowed == NULL || widest == NULL ? -ENOMEM : allowed_cpus(topology, allowed);
    code = code < 0 ? code : widest_cache(topology, allowed, widest);
    if (code == 0) {
        const uint32_t chosen = choose(topology, widest, cpus, count);
        for (uint32_t i = chosen; chosen > 0 && i < count; i++) {
            cpus[i] = cpus[i - chosen];
        }
        code = chosen > 0 ? (int)chosen : -ENOTSUP;
    }
    hwloc_bitmap_free(widest);
    hwloc_bitmap_free(allowed);
    return code;
}

int slipring_near_cpus(int *cpus, uint32_t count)
{
    SLR_NOT_CANCELLED;
    if (cpus == NULL || count == 0 || count > INT32_MAX) {
        return -EINVAL;
    }
    const int saved = errno;
    hwloc_topology_t topology = load_topology(false);
    const int code = topology == NULL ? -ENOTSUP : near_cpus(topology, cpus, count);
    forget_topology(topology);
    errno = saved;
    return code;
}
