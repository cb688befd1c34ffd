/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of bad input share: errors name their cause, and nothing is left behind. */
#ifndef BADINPUT_H
#define BADINPUT_H

#include "proc.h"

#include <dirent.h>

static inline unsigned entries(const char *path, const char *containing)
{
    DIR *directory = opendir(path);
    CHECK(directory != NULL);
    unsigned count = 0;
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        count += strstr(entry->d_name, containing) != NULL;
    }
    closedir(directory);
    return count;
}

static inline unsigned mappings(void)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[512];
    unsigned count = 0;
    CHECK(maps != NULL);
    while (fgets(line, sizeof(line), maps) != NULL) {
        count += strstr(line, "memfd") != NULL || strstr(line, "/dev/shm") != NULL;
    }
    fclose(maps);
    return count;
}

static inline void expect(int code, int wanted, const struct slipring_error *error,
                          const char *names)
{
    if (code != wanted) {
        FAIL("%s: %d, not %d: %s", names, code, wanted, error->text);
    }
    CHECK_EQ(error->code, wanted);
    if (error->text[0] == '\0' || strstr(error->text, names) == NULL) {
        FAIL("the text does not name %s: %s", names, error->text);
    }
    CHECK(error->call[0] != '\0');
    CHECK(memchr(error->text, '\0', sizeof(error->text)) != NULL);
    CHECK(strchr(error->text, '\n') == NULL);
}

#endif
