/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: what another user planted in /dev/shm under a ring's name (symbolic links, to a file and
 * to nothing, a fifo, a socket, a directory, an empty file, a copy of a whole ring) is refused by
 * open, create and unlink, at once, by an errno; it and what it leads to stay as they are; and when
 * it is gone the name is free. Needs root, which all of it would be dangerous to.
 * Faults: E4.
 */
#define _GNU_SOURCE
#include "ring/ring_name.h"
#include "proc.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define NOBODY 65534u
enum { LINK, DANGLING, FIFO, SOCKET, DIRECTORY, EMPTY, FORGED, PLANTS };

static char name[64], real[64], target[64], nothing[64], path[SLR_PATH_BYTES];
static uint8_t real_uuid[16];

static void copy_file(const char *from, const char *to)
{
    char bytes[4096];
    ssize_t count;
    const int in = open(from, O_RDONLY | O_CLOEXEC);
    const int out = open(to, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0666);
    CHECK(in >= 0 && out >= 0);
    while ((count = read(in, bytes, sizeof(bytes))) > 0) {
        CHECK(write(out, bytes, (size_t)count) == count);
    }
    CHECK(close(in) == 0 && close(out) == 0);
}

/* Both files of the real ring, which may be read, under the other name. */
static void forge(void)
{
    char from[SLR_PATH_BYTES], to[SLR_PATH_BYTES];
    slr_name_control_path(real, from);
    copy_file(from, path);
    slr_name_data_path(real, real_uuid, from);
    slr_name_data_path(name, real_uuid, to);
    copy_file(from, to);
}

static int plant(struct proc *self, void *context)
{
    (void)self;
    CHECK(setgid(NOBODY) == 0 && setuid(NOBODY) == 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "%.100s", path);
    umask(0);
    switch (*(int *)context) {
    case LINK:
        CHECK(symlink(target, path) == 0);
        break;
    case DANGLING:
        CHECK(symlink(nothing, path) == 0);
        break;
    case FIFO:
        CHECK(mkfifo(path, 0666) == 0);
        break;
    case SOCKET:
        CHECK(bind(socket(AF_UNIX, SOCK_STREAM, 0), (void *)&address, sizeof(address)) == 0);
        break;
    case DIRECTORY:
        CHECK(mkdir(path, 0777) == 0);
        break;
    case EMPTY:
        CHECK(open(path, O_CREAT | O_EXCL, 0666) >= 0);
        break;
    default:
        forge();
    }
    return 0;
}

static int note(void *user, const char *listed, enum slipring_listed kind)
{
    (void)kind;
    *(bool *)user |= strcmp(listed, name) == 0;
    return 0;
}

static void refuse(int what)
{
    struct slipring_config config;
    struct slipring_ring *ring;
    struct slipring_error error = {0};
    struct slipring_reaped reaped;
    bool listed = false;
    const int64_t begin = slipring_now_ns();
    const int want = what == FORGED ? -EPERM : -EBADMSG;
    proc_config(&proc_rings[5], &config);
    for (uint32_t flags = 0; flags <= SLIPRING_READ_ONLY; flags++) {
        const int code = slipring_ring_open(name, flags, &ring, &error);
        if (code != want && !(what == EMPTY && code == -EPERM)) { /* whichever is seen first */
            FAIL("plant %d, flags %u: %d %s", what, flags, code, error.text);
        }
    }
    CHECK_EQ(slipring_ring_create(name, &config, &ring, &error), -EEXIST);
    CHECK(error.text[0] != '\0');
    CHECK_EQ(slipring_ring_list(note, &listed), 0);
    CHECK(slipring_ring_reap(name, &reaped, NULL) < 0);
    CHECK_EQ(slipring_ring_reap(NULL, &reaped, NULL), 0);
    if (what != FORGED) { /* root may remove another user's ring */
        CHECK_EQ(slipring_ring_unlink(name, NULL), -EBADMSG);
    }
    CHECK(slipring_now_ns() - begin < 2000 * PROC_MS); /* nobody waited for a fifo's other end */
}

static void run(int what)
{
    struct stat before, after;
    struct proc child = proc_start(plant, &what);
    proc_end(&child);
    CHECK(lstat(path, &before) == 0 && before.st_uid == NOBODY);
    refuse(what);
    CHECK(lstat(path, &after) == 0);
    CHECK(after.st_ino == before.st_ino && after.st_uid == NOBODY && after.st_nlink > 0);
    CHECK(after.st_mode == before.st_mode && after.st_size == before.st_size);
    CHECK(after.st_mtim.tv_sec == before.st_mtim.tv_sec &&
          after.st_mtim.tv_nsec == before.st_mtim.tv_nsec);
    CHECK((S_ISDIR(after.st_mode) ? rmdir(path) : unlink(path)) == 0);
    if (what == FORGED) {
        slr_name_data_path(name, real_uuid, path);
        CHECK(unlink(path) == 0);
        slr_name_control_path(name, path);
    }
    struct slipring_config config;
    struct slipring_ring *ring;
    proc_config(&proc_rings[5], &config);
    CHECK_EQ(slipring_ring_create(name, &config, &ring, NULL), 0);
    slipring_ring_close(ring);
    CHECK_EQ(slipring_ring_unlink(name, NULL), 0);
}

int main(void)
{
    proc_begin(30);
    if (geteuid() != 0) {
        SKIP("not root: files of another user cannot be planted");
    }
    proc_alone();
    const int id = (int)getpid();
    struct slipring_config config;
    struct slipring_ring *ring;
    struct stat status;
    snprintf(name, sizeof(name), "test-planted-%d", id);
    snprintf(real, sizeof(real), "test-planted-real-%d", id);
    snprintf(target, sizeof(target), "/dev/shm/test-planted-target-%d", id);
    snprintf(nothing, sizeof(nothing), "/dev/shm/test-planted-nothing-%d", id);
    slr_name_control_path(name, path);
    proc_config(&proc_rings[5], &config);
    config.mode = 0644;
    CHECK_EQ(slipring_ring_create(real, &config, &ring, NULL), 0);
    memcpy(real_uuid, proc_info(ring).uuid, sizeof(real_uuid));
    slipring_ring_close(ring);
    copy_file("/proc/self/status", target);
    CHECK(chmod(target, 0600) == 0);
    struct stat first;
    CHECK(stat(target, &first) == 0);
    for (int what = 0; what < PLANTS; what++) {
        run(what);
    }
    CHECK(stat(target, &status) == 0 && status.st_size == first.st_size);
    CHECK(status.st_mtim.tv_sec == first.st_mtim.tv_sec && status.st_mode == first.st_mode);
    CHECK(stat(nothing, &status) < 0 && errno == ENOENT);
    CHECK_EQ(slipring_ring_open(real, 0, &ring, NULL), 0);
    slipring_ring_close(ring);
    CHECK(unlink(target) == 0);
    CHECK_EQ(slipring_ring_unlink(real, NULL), 0);
    return 0;
}
