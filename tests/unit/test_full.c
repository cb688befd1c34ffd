/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: however little room there is in /dev/shm (a tmpfs of every size from too small to large
 * enough, page by page), create either says -ENOSPC, with a text that names the place, and leaves
 * no file; or makes a ring all of whose memory can be used, also by who opens it when the rest is
 * full, without SIGBUS. Needs the right to mount.
 * Faults: D1.
 */
#define _GNU_SOURCE
#include "proc.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>

#define SHM "/dev/shm"
#define HOW (&proc_rings[6]) /* tensor */

static char name[64];

static unsigned files(void)
{
    unsigned count = 0;
    DIR *directory = opendir(SHM);
    CHECK(directory != NULL);
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    }
    closedir(directory);
    return count;
}

static void fill_the_rest(void)
{
    static const char zeros[4096];
    const int fd = open(SHM "/filler", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    while (write(fd, zeros, sizeof(zeros)) > 0) {
    }
    CHECK_EQ(errno, ENOSPC);
    close(fd);
}

/* In another process: every slot, and every cell and table that members can have. */
static int use(struct proc *self, void *context)
{
    (void)self;
    const struct slipring_config *config = context;
    struct slipring_ring *ring;
    struct slipring_consumer *consumers[64];
    struct slipring_view view;
    CHECK_EQ(slipring_ring_open(name, 0, &ring, NULL), 0);
    struct slipring_producer *producer = proc_producer(ring);
    for (uint32_t i = 0; i < config->members_max; i++) {
        const struct proc_ring unordered = {.member_flags = SLIPRING_UNORDERED};
        consumers[i] = i < config->releases_max
                           ? proc_consumer(ring, &unordered, SLIPRING_OLDEST)
                           : proc_member(ring, i % 2 == 0 ? "even" : "odd", SLIPRING_MANY, 0);
    }
    for (uint64_t k = 0; k < 2 * proc_info(ring).slots; k++) {
        CHECK_EQ(proc_publish(producer, HOW, 1, 0), 0);
        for (uint32_t i = 0; i < config->members_max; i++) {
            const int code = proc_take(consumers[i], HOW, &view, 0);
            CHECK(code == 0 || (code == -EAGAIN && i >= config->releases_max));
        }
    }
    for (uint32_t i = 0; i < config->members_max; i++) {
        slipring_consumer_detach(consumers[i]);
    }
    slipring_producer_detach(producer);
    slipring_ring_close(ring);
    return 0;
}

/* Did the ring fit into so much? */
static bool fits(struct slipring_config *config, unsigned long bytes)
{
    char size[40];
    struct slipring_ring *ring;
    struct slipring_error error = {0};
    snprintf(size, sizeof(size), "size=%lu", bytes);
    CHECK(mount("none", SHM, "tmpfs", 0, size) == 0);
    const int code = slipring_ring_create(name, config, &ring, &error);
    if (code != 0) {
        CHECK_EQ(code, -ENOSPC);
        CHECK(strstr(error.text, SHM) != NULL);
        CHECK_EQ(files(), 0);
    } else {
        CHECK_EQ(files(), 2);
        slipring_ring_close(ring);
        fill_the_rest();
        struct proc child = proc_start(use, config);
        proc_end(&child);
        CHECK_EQ(slipring_ring_unlink(name, NULL), 0);
        CHECK_EQ(files(), 1);
    }
    CHECK(umount(SHM) == 0);
    return code == 0;
}

int main(void)
{
    proc_begin(60);
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", SHM, "tmpfs", 0, "size=64k") != 0) {
        SKIP("file systems may not be mounted here (unshare(CLONE_NEWNS), mount; root can)");
    }
    CHECK(umount(SHM) == 0);
    struct slipring_config config;
    struct slipring_ring *ring;
    snprintf(name, sizeof(name), "test-full-%d", (int)getpid());
    proc_config(HOW, &config);
    CHECK_EQ(slipring_ring_create(NULL, &config, &ring, NULL), 0);
    const struct slipring_info info = proc_info(ring);
    slipring_ring_close(ring);
    const unsigned long page = (unsigned long)sysconf(_SC_PAGESIZE);
    const unsigned long needed = info.data_bytes + info.control_bytes;
    unsigned fitted = 0, refused = 0;
    for (unsigned long bytes = page; bytes < needed + 8 * page; bytes += page) {
        const bool fit = fits(&config, bytes);
        CHECK(fit || fitted == 0);
        fitted += fit;
        refused += !fit;
    }
    printf("%u sizes refused, %u with room\n", refused, fitted);
    CHECK(fitted > 0 && refused > 0);
    return 0;
}
