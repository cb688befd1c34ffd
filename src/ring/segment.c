/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mapping of a ring's two objects (opening: segment_open.c, creation: segment_create.c).
 *
 * data is mapped [0, area_offset + area_bytes), and right behind it the payload area once more, so
 * that slots that follow one another past the end of the ring are consecutive memory. Both lie in
 * one reservation of address space; a mapping only ever replaces pages of that reservation.
 */
#define _GNU_SOURCE
#include "ring/segment.h"

#include "base/object.h"
#include "base/os.h"
#include "base/sequence.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define WRITE_LOCK_STEP INT64_C(20000) /* ns */

/* ---- mapping ---- */

/* Data with its second mapping of the area, over the reservation at base. */
static int map_data(const struct slr_segment *segment, uint8_t *base, bool write, int fd)
{
    const struct slr_geometry *g = &segment->geometry;
    const uint64_t first = g->area_offset + g->area_bytes;
    const int code = slr_object_map(fd, 0, first, write, base);
    return code < 0 ? code : slr_object_map(fd, g->area_offset, g->area_bytes, write, base + first);
}

static void set_pointers(struct slr_segment *segment, uint8_t *base, uint8_t *control)
{
    const struct slr_geometry *g = &segment->geometry;
    segment->data = (struct slr_data *)(void *)base;
    segment->headers = base + g->header_offset;
    segment->payload = base + g->payload_offset;
    segment->slots_log2 = (uint32_t)__builtin_ctzll(g->slots);
    segment->control = (struct slr_control *)(void *)control;
    if (control != NULL) {
        segment->cells = (struct slr_cell *)(void *)(control + g->cells_offset);
        segment->groups = (struct slr_group *)(void *)(control + g->groups_offset);
        segment->holds = (_Atomic uint64_t *)(void *)(control + g->holds_offset);
        segment->leases = (_Atomic uint64_t *)(void *)(control + g->leases_offset);
        segment->releases = (_Atomic uint64_t *)(void *)(control + g->releases_offset);
    }
}

static int fail_map(struct slipring_error *error, int code, uint64_t bytes)
{
    return slr_fail(error, code == -EACCES ? -EPERM : code, "mmap",
                    "cannot map %" PRIu64 " bytes (errno %d): look at the limits of address space "
                    "(ulimit -v) and of mappings (vm.max_map_count)",
                    bytes, -code);
}

int slr_segment_map(struct slr_segment *segment, bool write, struct slipring_error *error)
{
    const struct slr_geometry *g = &segment->geometry;
    const uint64_t bytes = g->area_offset + 2 * g->area_bytes; /* each at most 2^46 */
    const bool huge = (g->flags & SLIPRING_HUGE_PAGES) != 0;
    uint8_t *base, *control = NULL;

    int code = slr_object_reserve(bytes, huge ? SLR_HUGE_PAGE : slr_page_bytes(), &base);
    if (code < 0) {
        return fail_map(error, code, bytes);
    }
    code = map_data(segment, base, write, segment->data_fd);
    if (code < 0) {
        munmap(base, bytes);
        return fail_map(error, code, bytes);
    }
    if (segment->control_fd >= 0) {
        control = mmap(NULL, g->control_bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
                       segment->control_fd, 0);
        if (control == MAP_FAILED) {
            code = -errno;
            munmap(base, bytes);
            return fail_map(error, code, g->control_bytes);
        }
    }
    segment->mapped_bytes = bytes;
    segment->may_write = write;
    set_pointers(segment, base, control);
    return 0;
}

void slr_segment_populate(struct slr_segment *segment, bool write)
{
    /* A forked child has its own page tables to fill. Relaxed: of two threads that come at once both
     * fill them, which does no harm. */
    const uint32_t pid = (uint32_t)slr_os_pid();
    if (!write && slr_load32(&segment->populated_pid) == pid) {
        return;
    }
    slr_object_populate((uint8_t *)segment->data, segment->mapped_bytes,
                        write && segment->may_write);
    if (segment->control != NULL) {
        slr_object_populate((uint8_t *)segment->control, segment->geometry.control_bytes, true);
    }
    slr_store32(&segment->populated_pid, pid);
}

void slr_segment_lock_pages(struct slr_segment *segment)
{
    const struct slr_geometry *g = &segment->geometry;
    segment->locked = 0;
    if ((g->flags & SLIPRING_LOCK_PAGES) == 0) {
        return;
    }
    /* Once: the area's second mapping shows the same pages and would count twice. */
    if (mlock(segment->data, g->area_offset + g->area_bytes) < 0 ||
        (segment->control != NULL && mlock(segment->control, g->control_bytes) < 0)) {
        segment->locked = -errno;
        munlock(segment->data, g->area_offset + g->area_bytes);
        return;
    }
    segment->locked = 1;
}

/* ---- writing ---- */

static int fail_write(const struct slr_segment *segment, int code, struct slipring_error *error)
{
    if ((segment->geometry.flags & SLIPRING_WRITE_SEALED) != 0) {
        return slr_fail(error, -EPERM, "slipring_producer_attach",
                        "the ring is write-sealed: only its creator and the children that it "
                        "forks can produce");
    }
    if (code == -EACCES || code == -EPERM || code == -EROFS) {
        return slr_fail(error, -EPERM, "slipring_producer_attach",
                        "this user may not write the ring's data (owner uid %u): only the owner "
                        "produces",
                        segment->uid);
    }
    return slr_fail(error, code, "slipring_producer_attach",
                    "cannot make the ring's data writable (errno %d)", -code);
}

/* Not a mutex: a child forked while a thread of its parent is here must get by. */
static void write_lock(struct slr_segment *segment)
{
    const uint32_t pid = (uint32_t)slr_os_pid();
    for (;;) {
        const uint32_t holder = slr_load32(&segment->write_holder); /* the swap decides */
        if ((holder == 0 || holder != pid) && slr_cas32(&segment->write_holder, holder, pid)) {
            break; /* ONCE */
        }
        (void)slr_os_sleep(slr_os_now() + WRITE_LOCK_STEP);
    }
    if (segment->writers_pid != pid) {
        segment->writers = 0; /* those of the parent are void here */
        segment->writers_pid = pid;
    }
}

static void write_unlock(struct slr_segment *segment)
{
    slr_store32_release(&segment->write_holder, 0); /* ONCE */
}

static int make_writable(struct slr_segment *segment, struct slipring_error *error)
{
    uint8_t *base = (uint8_t *)segment->data;
    int code = 0;

    if (segment->may_write) {
        if (mprotect(base, segment->mapped_bytes, PROT_READ | PROT_WRITE) < 0) {
            return fail_write(segment, -errno, error);
        }
    } else {
        const int fd = slr_os_reopen(segment->data_fd, O_RDWR);
        if (fd < 0) {
            return fail_write(segment, fd, error);
        }
        /* Replaces the pages under readers of this process: each finds the old or the new
         * mapping of the same bytes. */
        code = map_data(segment, base, true, fd);
        close(fd);
        if (code < 0) {
            (void)mprotect(base, segment->mapped_bytes, PROT_READ);
        }
        slr_store32(&segment->populated_pid, 0); /* a hint, as above */
        slr_segment_lock_pages(segment); /* what was replaced, all or half, took its lock along */
        if (code < 0) {
            return fail_write(segment, code, error);
        }
        segment->may_write = true;
    }
    return 0;
}

int slr_segment_write(struct slr_segment *segment, struct slipring_error *error)
{
    write_lock(segment);
    const int code = segment->writers == 0 ? make_writable(segment, error) : 0;
    segment->writers += code == 0;
    write_unlock(segment);
    return code;
}

void slr_segment_write_end(struct slr_segment *segment)
{
    write_lock(segment);
    if (segment->writers > 0 && --segment->writers == 0) {
        /* Fails only where it must split or merge mappings and there are too many; then the memory
         * stays writable, which breaks nothing. */
        (void)mprotect(segment->data, segment->mapped_bytes, PROT_READ);
    }
    write_unlock(segment);
}

void slr_segment_close(struct slr_segment *segment)
{
    if (segment->data != NULL) {
        munmap(segment->data, segment->mapped_bytes);
    }
    if (segment->control != NULL) {
        munmap(segment->control, segment->geometry.control_bytes);
    }
    if (segment->data_fd >= 0) {
        close(segment->data_fd);
    }
    if (segment->control_fd >= 0) {
        close(segment->control_fd);
    }
    segment->data = NULL;
    segment->control = NULL;
    segment->data_fd = -1;
    segment->control_fd = -1;
}
