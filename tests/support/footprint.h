/* SPDX-License-Identifier: Apache-2.0 */
/* What a process takes of the system: a leak shows as growth between two looks. */
#ifndef FOOTPRINT_H
#define FOOTPRINT_H

struct footprint {
    long fds, maps;
    long anon_kib; /* memory of its own, RssAnon: shared pages count for nobody */
};

struct footprint footprint_now(void);

/* Fails if the process takes more descriptors or mappings than at the earlier look, or more memory
 * than an allocator's pools explain. */
void footprint_check(const char *who, struct footprint earlier);

#endif
