/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One shared object: a file of /dev/shm, or memory without a name (a memfd). A ring has two of them, data
 * and control.
 *
 * A new object has no name while it is sized, allocated and filled, so that it is gone if its maker is
 * killed. slr_object_link() gives it its name at the end, or slr_object_seal() its fixed size.
 *
 * Memory is taken when the object is made: a full /dev/shm is an error then, and never a signal later.
 * What is opened may have been made by anybody, and is checked before it is mapped.
 */
#ifndef SLR_OBJECT_H
#define SLR_OBJECT_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#define SLR_HUGE_PAGE (UINT64_C(2) << 20)

/* The public call that fails, and what it makes or opens: for error texts. */
struct slr_caller {
    const char *call;    /* the public function */
    const char *thing;   /* "ring" */
    const char *smaller; /* what to ask for when memory is short: "fewer or smaller slots" */
    struct slipring_error *error;
};

/* ---- making one (object.c) ---- */

struct slr_object_config {
    bool named;      /* it gets a name in /dev/shm */
    bool huge;       /* memory of explicit huge pages; not with named */
    uint32_t mode;   /* permission bits */
    int64_t gid;     /* group, or -1 for the process's own */
    uint64_t bytes;  /* size; with huge a multiple of SLR_HUGE_PAGE */
    uint64_t needed; /* size of all its objects, for error texts */
};

/* Check that so much memory is available: 0 or -ENOSPC. A memfd has no quota, and /dev/shm may be as large
 * as the memory. So the allocation would succeed, and the OOM killer would act later. */
int slr_object_check_memory(uint64_t bytes, const struct slr_caller *caller);
/* Check that this process may write a file of so many bytes: 0 or -EFBIG. Beyond its limit the kernel
 * sends SIGXFSZ, which kills. */
int slr_object_check_limit(uint64_t bytes, const struct slr_caller *caller);

/* A new object without a name, of its final size, with nothing allocated yet: 0 and *fd. */
int slr_object_create(const struct slr_object_config *config, const struct slr_caller *caller,
                      int *fd);

/* Take the memory of a range: 0 or a negative errno. */
int slr_object_allocate(int fd, uint64_t from, uint64_t bytes);
/* The same for all of a new object, with an error text. */
int slr_object_allocate_all(int fd, const struct slr_object_config *config,
                            const struct slr_caller *caller);

/* Fix the size of a memfd; with writing, also refuse new writable mappings and write(). 0 or -errno. */
int slr_object_seal(int fd, bool writing);
/* Give an unnamed file of /dev/shm its path: 0, -EEXIST or another negative errno. */
int slr_object_link(int fd, const char *path);

/* ---- opening one (object.c) ---- */

/* Open a path that anybody may have planted: follows no symbolic link, waits for no terminal or fifo,
 * accepts only a regular file (-EBADMSG). A descriptor, or a negative errno as it came. */
int slr_object_open(const char *path, int access, struct stat *status);

/* Open a descriptor anew, for a description of the caller's own, and check that it is shared memory
 * that nobody can truncate: a sealed memfd, or a whole file of a tmpfs. part names it ("data"). On
 * failure *opened is -1 or a descriptor to be closed. */
int slr_object_adopt(int fd, int access, const char *part, const struct slr_caller *caller,
                     int *opened, struct stat *status);

/* Refuse (-EBADMSG) a file with holes: the first touch of a hole allocates, and kills by SIGBUS when
 * there is no room. */
int slr_object_check_whole(const struct stat *status, const char *part,
                           const struct slr_caller *caller);

/* Read bytes at an offset: 0, -EBADMSG if the file ends before, or the errno of pread(). */
int slr_object_read(int fd, void *buffer, size_t bytes, uint64_t offset);

/* ---- its memory (object_map.c) ---- */

/* Bytes of a page of this system. */
uint64_t slr_page_bytes(void);

/* Reserve address space, inaccessible, aligned to a power of two: 0 or a negative errno. */
int slr_object_reserve(uint64_t bytes, uint64_t align, uint8_t **memory);
/* Map a range of the object over reserved address space: 0 or a negative errno. */
int slr_object_map(int fd, uint64_t from, uint64_t bytes, bool write, uint8_t *memory);
/* Touch every page, so that no later access faults. With write, pages are made writable. */
void slr_object_populate(uint8_t *memory, uint64_t bytes, bool write);
/* Ask for transparent huge pages and touch the memory, before it is allocated. If memory is short, less of
 * it is touched, and no signal comes. */
void slr_object_ask_huge(void *memory, uint64_t bytes);
/* Join the allocated pages to huge ones where the kernel can. */
void slr_object_collapse(void *memory, uint64_t bytes);
/* Bytes of the mapping at this address that lie in transparent huge pages. */
uint64_t slr_object_huge_bytes(const void *memory);

#endif
