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
#include <sys/socket.h>
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

/* Does recvmsg() say by MSG_CTRUNC that descriptors were left out? */
static inline bool kernel_tells_truncation(void)
{
    union {
        char bytes[CMSG_SPACE(2 * sizeof(int))];
        struct cmsghdr align;
    } control = {{0}};
    const int two[2] = {0, 0};
    int ends[2], got = -1;
    char byte = 0;
    struct iovec part = {.iov_base = &byte, .iov_len = 1};
    struct msghdr head = {.msg_iov = &part,
                          .msg_iovlen = 1,
                          .msg_control = control.bytes,
                          .msg_controllen = sizeof control.bytes};
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    struct cmsghdr *rights = CMSG_FIRSTHDR(&head);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof two);
    memcpy(CMSG_DATA(rights), two, sizeof two);
    CHECK(sendmsg(ends[0], &head, 0) == 1);
    head.msg_controllen = CMSG_LEN(sizeof(int)); /* room for one */
    CHECK(recvmsg(ends[1], &head, MSG_CMSG_CLOEXEC) == 1);
    memcpy(&got, CMSG_DATA(rights), sizeof got);
    close(got);
    close(ends[0]);
    close(ends[1]);
    return (head.msg_flags & MSG_CTRUNC) != 0;
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
