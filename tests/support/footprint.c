/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "footprint.h"

#include "test.h"

#include <dirent.h>

#define POOL_KIB 256

static long count_fds(void)
{
    long count = 0;
    DIR *directory = opendir("/proc/self/fd");
    CHECK(directory != NULL);
    while (readdir(directory) != NULL) {
        count++;
    }
    closedir(directory);
    return count;
}

struct footprint footprint_now(void)
{
    struct footprint now = {.fds = count_fds()};
    char line[512];
    FILE *file = fopen("/proc/self/maps", "re");
    CHECK(file != NULL);
    while (fgets(line, sizeof(line), file) != NULL) {
        now.maps += strchr(line, '\n') != NULL;
    }
    fclose(file);
    file = fopen("/proc/self/status", "re");
    CHECK(file != NULL);
    while (fgets(line, sizeof(line), file) != NULL) {
        (void)!sscanf(line, "RssAnon: %ld", &now.anon_kib);
    }
    fclose(file);
    CHECK(now.maps > 0 && now.anon_kib > 0);
    return now;
}

void footprint_check(const char *who, struct footprint earlier)
{
    const struct footprint now = footprint_now();
    if (now.fds != earlier.fds || now.maps > earlier.maps ||
        now.anon_kib > earlier.anon_kib + POOL_KIB) {
        FAIL("%s: %ld descriptors, %ld mappings, %ld KiB; it had %ld, %ld, %ld", who, now.fds,
             now.maps, now.anon_kib, earlier.fds, earlier.maps, earlier.anon_kib);
    }
}
