/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A queue's shared file: making it, opening it, the cells of those who use it, the lanes of those
 * who put.
 *
 * A lock description is listed here, and closed in a forked child before anything else runs there,
 * so that a child never keeps its parent's cell alive.
 */
#include "lane_word.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define LANE_MAGIC UINT64_C(0x31304555514c5053)
#define LANE_LOCKS (INT64_C(1) << 60) /* cells' bytes, beyond any content */
#define CELL_MASK (LANE_CELLS - 1)
#define GENERATION_SHIFT 12
#define SPIN_NS 20000u

_Static_assert(CELL_MASK >> GENERATION_SHIFT == 0, "an identity holds a cell and a generation");
_Static_assert(sizeof(struct lane_head) == 192, "heads are whole lines");
_Static_assert(sizeof(struct lane_entry) == 32, "two entries a line");

static pthread_mutex_t list_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct lane_queue *list_first;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int once_code;

static void before_fork(void)
{
    pthread_mutex_lock(&list_mutex);
}

static void after_fork_parent(void)
{
    pthread_mutex_unlock(&list_mutex);
}

static void after_fork_child(void)
{
    const int saved = errno;
    for (struct lane_queue *queue = list_first; queue != NULL; queue = queue->next) {
        if (queue->lock_fd >= 0) {
            close(queue->lock_fd); /* not an unlock: the parent still holds the description */
        }
        queue->lock_fd = -1;
        queue->self = 0;
        queue->mine = 0;
        queue->feeding = 0;
        queue->started = 0;
        /* Another thread of the parent may have held them. */
        pthread_mutex_init(&queue->mutex, NULL);
        pthread_mutex_init(&queue->stream, NULL);
    }
    errno = saved;
    pthread_mutex_unlock(&list_mutex); /* of the thread that forked, which is this one */
}

static void set_up(void)
{
    once_code = -pthread_atfork(before_fork, after_fork_parent, after_fork_child);
}

static uint64_t pages(uint64_t bytes)
{
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    return (bytes + page - 1) / page * page;
}

static uint64_t head_bytes(uint32_t lanes)
{
    return pages(sizeof(struct lane_header) + lanes * sizeof(struct lane_head));
}

int lane_create(const struct lane_options *options, int *fd)
{
    const uint64_t ring = options->lane_bytes;
    if (options->lanes == 0 || options->lanes > LANE_CELLS || ring < 4096 ||
        ring > UINT64_C(1) << 30 || options->block_bytes > UINT64_C(1) << 40 ||
        (ring & (ring - 1)) != 0) {
        return -EINVAL;
    }
    struct lane_header header = {
        .magic = LANE_MAGIC,
        .lanes = options->lanes,
        .entries = LANE_ENTRIES,
        .ring_bytes = ring,
        .part_bytes = 4 * ring, /* two of them; a switch of processes for each */
        .lane_offset = head_bytes(options->lanes),
        .block_bytes = pages(options->block_bytes),
        .maxsize = options->maxsize,
    };
    header.lane_stride = pages(LANE_ENTRIES * sizeof(struct lane_entry) + ring +
                               2 * header.part_bytes + LANE_BLOCKS * sizeof(struct lane_block)) +
                         header.block_bytes;
    const uint64_t file_bytes = header.lane_offset + header.lane_stride * header.lanes;
    const int file = memfd_create("slipring-queue", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (file < 0) {
        return -errno;
    }
    int code = 0;
    if (fchmod(file, 0600) < 0 || ftruncate(file, (off_t)file_bytes) < 0) {
        code = -errno;
    } else {
        code = -posix_fallocate(file, 0, (off_t)header.lane_offset);
    }
    if (code == 0 && pwrite(file, &header, offsetof(struct lane_header, generations), 0) !=
                         (ssize_t)offsetof(struct lane_header, generations)) {
        code = -EIO;
    }
    if (code == 0 && fcntl(file, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
        code = -errno;
    }
    if (code < 0) {
        close(file);
        return code;
    }
    *fd = file;
    return 0;
}

static uint32_t learn_spin(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 1 ? SPIN_NS : 0;
}

int lane_open(int fd, int read_fd, int write_fd, struct lane_queue **queue)
{
    struct lane_header header;
    if (pread(fd, &header, sizeof header, 0) != (ssize_t)sizeof header ||
        header.magic != LANE_MAGIC || header.lanes == 0 || header.lanes > LANE_CELLS ||
        header.entries != LANE_ENTRIES || header.lane_offset != head_bytes(header.lanes)) {
        return -EBADMSG;
    }
    pthread_once(&once, set_up);
    if (once_code < 0) {
        return once_code;
    }
    struct lane_queue *q = calloc(1, sizeof *q);
    uint8_t **maps = calloc(header.lanes, sizeof *maps);
    void *head = mmap(NULL, header.lane_offset, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (q == NULL || maps == NULL || head == MAP_FAILED) {
        const int code = head == MAP_FAILED ? -errno : -ENOMEM;
        if (head != MAP_FAILED) {
            munmap(head, header.lane_offset);
        }
        free(maps);
        free(q);
        return code;
    }
    q->header = head;
    q->heads = (struct lane_head *)(q->header + 1);
    q->maps = maps;
    q->fd = fd;
    q->lock_fd = -1;
    q->holds = 1;
    q->read_fd = read_fd;
    q->write_fd = write_fd;
    q->spin_ns = learn_spin();
    pthread_mutex_init(&q->mutex, NULL);
    pthread_mutex_init(&q->stream, NULL);
    pthread_mutex_lock(&list_mutex);
    q->next = list_first;
    if (list_first != NULL) {
        list_first->previous = q;
    }
    list_first = q;
    pthread_mutex_unlock(&list_mutex);
    *queue = q;
    return 0;
}

void lane_hold(struct lane_queue *queue)
{
    __atomic_add_fetch(&queue->holds, 1u, __ATOMIC_RELAXED); /* by one who holds it */
}

void lane_close(struct lane_queue *queue)
{
    if (queue == NULL ||
        __atomic_sub_fetch(&queue->holds, 1u, __ATOMIC_ACQ_REL) != 0) { /* of our process */
        return;
    }
    pthread_mutex_lock(&list_mutex);
    if (queue->previous != NULL) {
        queue->previous->next = queue->next;
    } else {
        list_first = queue->next;
    }
    if (queue->next != NULL) {
        queue->next->previous = queue->previous;
    }
    if (queue->lock_fd >= 0) {
        close(queue->lock_fd);
    }
    pthread_mutex_unlock(&list_mutex);
    for (uint32_t i = 0; i < queue->header->lanes; i++) {
        if (queue->maps[i] != NULL) {
            munmap(queue->maps[i], queue->header->lane_stride);
        }
    }
    munmap(queue->header, queue->header->lane_offset);
    close(queue->fd);
    pthread_mutex_destroy(&queue->mutex);
    pthread_mutex_destroy(&queue->stream);
    free(queue->maps);
    free(queue);
}

/* Others of our threads may map at the same time: one mapping wins, the other is undone. */
int lane_map(struct lane_queue *queue, uint32_t lane, uint8_t **map)
{
    uint8_t *known = __atomic_load_n(&queue->maps[lane], __ATOMIC_ACQUIRE); /* of our process */
    if (known == NULL) {
        const struct lane_header *header = queue->header;
        uint8_t *fresh = mmap(NULL, header->lane_stride, PROT_READ | PROT_WRITE, MAP_SHARED,
                              queue->fd, (off_t)(header->lane_offset + lane * header->lane_stride));
        if (fresh == MAP_FAILED) {
            return -errno;
        }
        if (__atomic_compare_exchange_n(&queue->maps[lane], &known, fresh, false, __ATOMIC_ACQ_REL,
                                        __ATOMIC_ACQUIRE)) { /* of our process */
            known = fresh;
        } else {
            munmap(fresh, header->lane_stride);
        }
    }
    *map = known;
    return 0;
}

static struct flock lock_of(uint32_t cell, int type)
{
    return (struct flock){
        .l_type = (short)type, .l_whence = SEEK_SET, .l_start = LANE_LOCKS + cell, .l_len = 1};
}

static int open_locks(struct lane_queue *queue)
{
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", queue->fd);
    pthread_mutex_lock(&list_mutex); /* fork never sees a description that is not listed */
    const int fd = open(path, O_RDWR | O_CLOEXEC);
    const int code = fd < 0 ? -errno : 0;
    if (fd >= 0) {
        queue->lock_fd = fd;
    }
    pthread_mutex_unlock(&list_mutex);
    return code;
}

int lane_join(struct lane_queue *queue)
{
    if (__atomic_load_n(&queue->self, __ATOMIC_ACQUIRE) != 0) { /* of our process */
        return 0;
    }
    pthread_mutex_lock(&queue->mutex);
    int code = 0;
    if (queue->self == 0) {
        if (queue->lock_fd < 0) {
            code = open_locks(queue);
        }
        uint32_t cell = 0;
        for (; code == 0 && cell < LANE_CELLS; cell++) {
            struct flock lock = lock_of(cell, F_WRLCK);
            if (fcntl(queue->lock_fd, F_OFD_SETLK, &lock) == 0) {
                break;
            }
            code = errno == EAGAIN || errno == EACCES ? 0 : -errno;
        }
        if (code == 0 && cell == LANE_CELLS) {
            code = -EUSERS;
        }
        if (code == 0) {
            uint32_t *word = &queue->header->generations[cell];
            /* Relaxed: only the holder of the lock writes it. Never 0. */
            uint32_t generation = __atomic_load_n(word, __ATOMIC_RELAXED) + 1;
            generation = (generation << GENERATION_SHIFT) >> GENERATION_SHIFT;
            generation += generation == 0;
            __atomic_store_n(word, generation, __ATOMIC_RELEASE); /* CELL */
            __atomic_store_n(&queue->self, generation << GENERATION_SHIFT | cell,
                             __ATOMIC_RELEASE); /* of our process */
        }
    }
    pthread_mutex_unlock(&queue->mutex);
    return code;
}

bool lane_alive(struct lane_queue *queue, uint32_t identity)
{
    if (identity == queue->self) {
        return true; /* our own lock would not stop us */
    }
    if (identity == 0) {
        return false;
    }
    const uint32_t cell = identity & CELL_MASK;
    const uint32_t *word = &queue->header->generations[cell];
    if (__atomic_load_n(word, __ATOMIC_ACQUIRE) != identity >> GENERATION_SHIFT) { /* CELL */
        return false;
    }
    struct flock lock = lock_of(cell, F_WRLCK);
    /* Through the shared description, if we have none: nobody locks through that one. */
    const int fd = queue->lock_fd >= 0 ? queue->lock_fd : queue->fd;
    return fcntl(fd, F_OFD_GETLK, &lock) < 0 || lock.l_type != F_UNLCK;
}

static int allocate(struct lane_queue *queue, uint32_t lane)
{
    const struct lane_header *header = queue->header;
    /* Without room for it this is an error here, not SIGBUS later. Parts: at their first use. */
    const uint64_t from = header->lane_offset + lane * header->lane_stride;
    const uint64_t ring = LANE_ENTRIES * sizeof(struct lane_entry) + header->ring_bytes;
    const int code = posix_fallocate(queue->fd, (off_t)from, (off_t)ring);
    return code != 0 ? -code
                     : -posix_fallocate(queue->fd, (off_t)(from + ring + 2 * header->part_bytes),
                                        (off_t)(LANE_BLOCKS * sizeof(struct lane_block)));
}

/* Takes over a lane whose owner is `seen`, dead or none. */
static int adopt(struct lane_queue *queue, uint32_t lane, uint32_t seen)
{
    struct lane_head *head = &queue->heads[lane];
    if (!__atomic_compare_exchange_n(&head->owner, &seen, queue->self, false, __ATOMIC_ACQ_REL,
                                     __ATOMIC_RELAXED)) { /* OWNER; relaxed: somebody has it */
        return -EAGAIN;
    }
    uint8_t *map;
    int code = lane_map(queue, lane, &map);
    if (code == 0 && head->ready == 0) {
        code = allocate(queue, lane);
        head->ready = code == 0;
    }
    if (code < 0) {
        __atomic_store_n(&head->owner, 0u, __ATOMIC_RELEASE); /* OWNER */
        return code;
    }
    lane_adopt_blocks(queue, lane);
    /* What the dead one had reserved and not published is lost. */
    __atomic_store_n(&head->reserved, head->cursor, __ATOMIC_RELEASE);             /* PUBLISH */
    uint32_t used = __atomic_load_n(&queue->header->lanes_used, __ATOMIC_ACQUIRE); /* PUBLISH */
    while (used <= lane &&
           !__atomic_compare_exchange_n(&queue->header->lanes_used, &used, lane + 1, false,
                                        __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) { /* PUBLISH */
    }
    queue->tail_position = 0;
    queue->mine = lane + 1;
    return 0;
}

int lane_own(struct lane_queue *queue)
{
    if (queue->mine != 0) {
        return 0;
    }
    for (uint32_t lane = 0; lane < queue->header->lanes; lane++) {
        const uint32_t owner =
            __atomic_load_n(&queue->heads[lane].owner, __ATOMIC_ACQUIRE); /* OWNER */
        if (owner != 0 && lane_alive(queue, owner)) {
            continue;
        }
        const int code = adopt(queue, lane, owner);
        if (code != -EAGAIN) {
            return code;
        }
    }
    return -EUSERS;
}
