/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Real input through slipring, with processes killed on the way:
 *
 *     demo [FILE]     FILE: what to send in parts 2 to 4; else a large file is looked for
 *
 * 1. the machine's own counters to a recorder and a dashboard (demo_counters.c),
 * 2. a file to three consumers, one of which is killed (demo_broadcast.c),
 * 3. the file to a group that shares the work and loses a member (demo_group.c),
 * 4. the file through a GPU, where there is one (demo_gpu.c).
 *
 * Says what happened and ends with 0 only if all of it came out as it should and nothing is left.
 */
#define _GNU_SOURCE
#include "demo.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#define COUNTERS_SECONDS 3.0

static bool is_ours(const struct demo_names *names, const char *entry)
{
    for (int i = 0; i < names->count; i++) {
        if (strstr(entry, names->name[i]) != NULL) {
            return true;
        }
    }
    return false;
}

struct search {
    const struct demo_names *names;
    int listed, found;
};

static int count_ring(void *user, const char *name, enum slipring_listed kind)
{
    struct search *search = user;
    (void)kind;
    search->listed++;
    search->found += is_ours(search->names, name);
    return 0;
}

static int count_entries(const char *path, const struct demo_names *names_or_null)
{
    DIR *directory = opendir(path);
    int count = 0;
    if (directory == NULL) {
        return -errno;
    }
    for (const struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        count += names_or_null == NULL || is_ours(names_or_null, entry->d_name);
    }
    closedir(directory);
    return count;
}

/* Rings, files in /dev/shm, processes, descriptors: there must be no more than before. */
static bool nothing_left(const struct demo_names *names, int descriptors_before)
{
    struct search search = {names, 0, 0};
    /* Files first: listing removes vanishing rings that nobody has open. */
    const int files = count_entries("/dev/shm", names);
    const int rc = slipring_ring_list(count_ring, &search);
    const int descriptors = count_entries("/proc/self/fd", NULL);
    const bool children = waitpid(-1, NULL, WNOHANG) != -1 || errno != ECHILD;
    if (rc < 0) {
        return demo_failed("demo", "list rings", rc);
    }
    const bool good =
        search.found == 0 && files == 0 && !children && descriptors == descriptors_before;
    demo_line("Left behind: %d of its %d named rings, %d files in /dev/shm, %s processes, "
              "%d descriptors",
              search.found, names->count, files, children ? "some" : "no",
              descriptors - descriptors_before);
    return good;
}

static bool run(const char *path_or_null, struct demo_names *names)
{
    struct demo_input input;
    if (!demo_input_open(&input, path_or_null)) {
        demo_input_close(&input);
        return false;
    }
    bool good = demo_counters(names, COUNTERS_SECONDS);
    if (!good) {
        demo_line("    which is NOT as it should be");
    }
    if (!demo_input_floor(&input)) { /* just before the throughput that stands beside it */
        demo_input_close(&input);
        return false;
    }
    demo_line("The file: %s, %.1f MiB in %" PRIu64 " blocks, XXH3 %016" PRIx64 "%s", input.path,
              (double)input.bytes / DEMO_BLOCK, input.blocks, input.digest,
              input.blocks < 64 ? "; it is small, so it is sent several times over" : "");
    if (!demo_broadcast(&input)) {
        demo_line("    which is NOT as it should be");
        good = false;
    }
    if (!demo_group(&input, names)) {
        demo_line("    which is NOT as it should be");
        good = false;
    }
#ifdef DEMO_GPU
    if (!demo_gpu(&input)) {
        demo_line("    which is NOT as it should be");
        good = false;
    }
#endif
    demo_input_close(&input);
    return good;
}

int main(int argc, char **argv)
{
    const int descriptors = count_entries("/proc/self/fd", NULL);
    const int64_t began_ns = slipring_now_ns();
    struct demo_names names = {.count = 0};
    if (argc > 2 || (argc == 2 && argv[1][0] == '-')) {
        fprintf(stderr, "usage: demo [FILE]\n");
        return EXIT_FAILURE;
    }
    if (signal(SIGPIPE, SIG_IGN) == SIG_ERR) {
        perror("demo: signal");
        return EXIT_FAILURE;
    }
    bool good = run(argc > 1 ? argv[1] : NULL, &names);
    good &= nothing_left(&names, descriptors);
    demo_line("%s, in %.1f s", good ? "All as it should be" : "Something is NOT as it should be",
              (double)(slipring_now_ns() - began_ns) / 1e9);
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
