/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where memory lies: NUMA placement of the segment. Nodes are operating system indices, as numactl
 * and /sys/devices/system/node name them. topology.c is the only file that includes hwloc.
 *
 * The machine is looked at whenever something here is asked for (1 ms on a small machine); a ring
 * without a wish for a node costs nothing.
 */
#ifndef SLR_TOPOLOGY_H
#define SLR_TOPOLOGY_H

#include "base/error.h"

#include <stdint.h>

/* The node that a config asks for: by index (node, or -1), or the one nearest to a PCI device
 * (near_pci such as "0000:01:00.0", or NULL). *found is -1 if nothing is asked, or if all nodes
 * are as near. -EINVAL: no such node or device, or both are given; -ENOTSUP: unknown machine. */
int slr_topology_find(int32_t node, const char *near_pci, int32_t *found,
                      struct slipring_error *error);

/* Have the pages of a mapping allocated on a node, from the first touch on. Call it between mmap
 * and fallocate: pages that exist stay where they are. It prefers the node: with no room there
 * pages come from others, which slr_topology_node_of() shows. node -1 does nothing. */
int slr_topology_bind(void *memory, uint64_t bytes, int32_t node, struct slipring_error *error);

/* The node on which the page at this address lies; -1 if it is unknown or the page not mapped in. */
int32_t slr_topology_node_of(const void *address);

#endif
