/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a kernel, or an emulator that stands in for one, may lack. A test asks here and skips, or
 * leaves that part out and says NOT CHECKED, where without it nothing could be shown.
 */
#ifndef TEST_KERNEL_H
#define TEST_KERNEL_H

#include "test.h"

#include <dirent.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

/* Filters of system calls (seccomp). */
static inline bool kernel_filters(void)
{
    return prctl(PR_GET_SECCOMP, 0, 0, 0, 0) >= 0;
}

/* The node of a page (move_pages). */
static inline bool kernel_tells_nodes(void)
{
    return syscall(SYS_move_pages, 0, 0ul, NULL, NULL, NULL, 0) == 0 || errno != ENOSYS;
}

/* Threads of this process; an emulator has some of its own, which show. */
static inline unsigned kernel_threads(void)
{
    unsigned count = 0;
    DIR *threads = opendir("/proc/self/task");
    CHECK(threads != NULL);
    for (const struct dirent *entry; (entry = readdir(threads)) != NULL;) {
        count += entry->d_name[0] != '.';
    }
    closedir(threads);
    return count;
}

/* Memory that is zero in a forked child. Tried out, since an emulator may say yes to any advice
 * and follow none. */
static inline bool kernel_wipes(void)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *memory = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED);
    memory[0] = 1;
    bool wipes = madvise(memory, page, MADV_WIPEONFORK) == 0;
    if (wipes) {
        int status;
        const pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            _exit(memory[0]);
        }
        CHECK(waitpid(child, &status, 0) == child);
        wipes = status == 0;
    }
    CHECK(munmap(memory, page) == 0);
    return wipes;
}

#endif
