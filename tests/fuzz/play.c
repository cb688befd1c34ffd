/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The member that opens a changed ring and uses it as an input says: whatever lies in the two
 * objects, each call ends soon, gives an error or something within the ring, and nothing leaks.
 */
#define _GNU_SOURCE
#include "ring/recover.h"
#include "ring/ring_name.h"
#include "fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { RECORDS = 96, CPU_MS = 3000 };

/* ---- the input ---- */

/* The width of each argument, in bytes. */
static const char *const formats[ACTIONS] = {
    [SET] = "128",        [FLIP] = "121",     [ADD] = "121",         [NEAR_CURSOR] = "121",
    [COPY_OF] = "1212",   [LOW_HALF] = "124", [HIGH_HALF] = "124",   [SMALL] = "121",
    [CHECK_RIGHT] = "",   [OPEN] = "1",       [CLOSE] = "",          [LOOK] = "",
    [NAMED] = "1",        [REAP] = "",        [PRODUCE] = "",        [STOP] = "1",
    [CLAIM] = "1",        [PUBLISH] = "11",   [SPAN] = "1",          [ABORT] = "",
    [PRODUCE_FAST] = "1", [JOIN] = "111",     [LEAVE] = "1",         [ACQUIRE] = "11",
    [RELEASE] = "11",     [COPY] = "12",      [CONSUME_FAST] = "11", [EXPORT] = "11",
    [STAND] = "1",
};

static uint64_t number(struct play *play, int bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < bytes && play->at < play->end; i++) {
        value |= (uint64_t)*play->at++ << 8 * i;
    }
    return value;
}

static enum action record(struct play *play, uint64_t arguments[4])
{
    const enum action action = (enum action)(number(play, 1) % ACTIONS);
    for (int i = 0; formats[action][i] != '\0'; i++) {
        arguments[i] = number(play, formats[action][i] - '0');
    }
    return action;
}

/* ---- changing words ---- */

static void edit(struct play *play, enum action how, const uint64_t arguments[4])
{
    const struct slr_data *data = (const struct slr_data *)(const void *)play->ring->data;
    struct fuzz_edit e = {.word = fuzz_word(play->ring, arguments[0], arguments[1])};
    const uint64_t value = arguments[2];
    e.before = slr_load64(e.word);
    switch (how) {
    case FLIP:
        e.after = e.before ^ UINT64_C(1) << value % 64;
        break;
    case ADD:
        e.after = e.before + (uint64_t)(int8_t)value;
        break;
    case NEAR_CURSOR:
        e.after = slr_load64(&data->cursor) + (uint64_t)(int8_t)value;
        break;
    case COPY_OF:
        e.after = slr_load64(fuzz_word(play->ring, value, arguments[3]));
        break;
    case LOW_HALF:
        e.after = (e.before & ~(uint64_t)UINT32_MAX) | value;
        break;
    case HIGH_HALF:
        e.after = (e.before & UINT32_MAX) | value << 32;
        break;
    default: /* SET, SMALL */
        e.after = value;
        break;
    }
    slr_store64(e.word, e.after);
    if (play->edited != NULL) {
        play->edited(&e);
    }
}

static void right_check(struct play *play)
{
    struct slr_geometry *geometry = &((struct slr_data *)(void *)play->ring->data)->geometry;
    geometry->check = slr_geometry_hash(geometry);
}

/* ---- the ring ---- */

static void open_ring(struct play *play, uint64_t how)
{
    const struct fuzz_ring *other = fuzz_ring(play->next_ring);
    struct slipring_error error = {0};
    how %= 8;
    const int data_fd = how == 5   ? play->ring->control_fd
                        : how == 7 ? other->data_fd
                                   : play->ring->data_fd;
    const int control_fd = how == 4 || how == 7 ? -1
                           : how == 5           ? play->ring->data_fd
                           : how == 6           ? other->control_fd
                                                : play->ring->control_fd;
    const int code = slipring_ring_from_fds(data_fd, control_fd, &play->open, &error);
    if (code < 0) {
        play->open = NULL;
        MUST(error.code == code && error.text[0] != '\0');
        MUST(code == -EBADMSG || code == -EPROTONOSUPPORT || code == -EINVAL);
    }
}

static void look(struct slipring_ring *ring, bool steady)
{
    static struct slipring_member members[FUZZ_MEMBERS + 1];
    static struct slipring_group_info groups[FUZZ_MEMBERS + 4];
    static struct slipring_dead_letter letters[SLR_DEAD_LETTERS];
    const struct slr_geometry *g = &ring->segment.geometry;
    struct slipring_info info = {.struct_size = sizeof info};
    struct slipring_field field;
    members[0].struct_size = sizeof members[0];
    groups[0].struct_size = sizeof groups[0];
    MUST(slipring_ring_info(ring, &info) == 0 && info.members <= g->members_max);
    const int there = slipring_ring_members(ring, members, FUZZ_MEMBERS + 1);
    MUST(there >= 0 && there <= (int)g->members_max);
    for (int i = 0; i < there && i < FUZZ_MEMBERS + 1; i++) {
        MUST(members[i].cell < g->members_max);
        MUST(!steady || members[i].lag <= info.cursor - g->start_sequence);
        MUST(memchr(members[i].group, 0, sizeof members[i].group) != NULL);
    }
    const int known = slipring_ring_groups(ring, groups, FUZZ_MEMBERS + 4);
    MUST(known >= 0 && known <= (int)(g->groups_max + g->members_max));
    for (int i = 0; i < known && i < FUZZ_MEMBERS + 4; i++) {
        MUST(groups[i].members <= g->members_max);
        MUST(memchr(groups[i].name, 0, sizeof groups[i].name) != NULL);
    }
    const int dead = slipring_ring_dead_letters(ring, letters, SLR_DEAD_LETTERS);
    MUST(dead >= 0 && dead <= (int)SLR_DEAD_LETTERS);
    for (uint32_t i = 0; slipring_ring_field(ring, i, &field, NULL) == 0; i++) {
        MUST(memchr(field.name, 0, sizeof field.name) != NULL && i < SLIPRING_FIELDS_MAX);
    }
}

/* ---- as a named ring ---- */

static void write_file(const char *path, const uint8_t *bytes, uint64_t size)
{
    const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    MUST(fd >= 0 && write(fd, bytes, size) == (ssize_t)size && close(fd) == 0);
}

static int listed(void *user, const char *name, enum slipring_listed kind)
{
    (void)user;
    (void)kind;
    MUST(strlen(name) <= SLIPRING_NAME_MAX);
    return 0;
}

/* The two objects as files: list, open, reap, unlink. Where /dev/shm is nobody else's (run.sh). */
static void named(struct play *play, uint64_t how)
{
    if (getenv("SLIPRING_FUZZ_NAMES") == NULL) {
        return;
    }
    const struct slr_control *control =
        (const struct slr_control *)(const void *)play->ring->control;
    const uint64_t cut = (how & 4) != 0 ? SLR_PAD : 0;
    static const char name[] = "fuzz";
    char path[SLR_PATH_BYTES], data_path[SLR_PATH_BYTES];
    uint8_t uuid[16];
    struct slipring_ring *ring;
    memcpy(uuid, (how & 2) != 0 ? control->uuid : play->ring->geometry.uuid, sizeof uuid);
    slr_name_control_path(name, path);
    slr_name_data_path(name, uuid, data_path);
    write_file(path, play->ring->control, play->ring->geometry.control_bytes);
    write_file(data_path, play->ring->data, play->ring->geometry.data_bytes - cut);
    MUST(slipring_ring_list(listed, NULL) == 0);
    if (slipring_ring_open(name, how % 2 * SLIPRING_READ_ONLY, &ring, NULL) == 0) {
        look(ring, play->steady);
        slipring_ring_close(ring);
    }
    (void)!slipring_ring_reap(name, NULL, NULL);
    (void)!slipring_ring_unlink(name, NULL);
    (void)unlink(path);
    (void)unlink(data_path);
}

/* ---- playing ---- */

static void close_all(struct play *play)
{
    fuzz_let_go(play);
    slipring_ring_close(play->open);
    play->open = NULL;
}

static void act(struct play *play, enum action action, const uint64_t arguments[4])
{
    if (action < CHECK_RIGHT) {
        edit(play, action, arguments);
        return;
    }
    if (action == CHECK_RIGHT) {
        right_check(play);
        return;
    }
    if (action == CLOSE) {
        close_all(play);
        return;
    }
    if (action == NAMED) {
        named(play, arguments[0]);
        return;
    }
    if (play->open == NULL) {
        open_ring(play, action == OPEN ? arguments[0] : 0);
    }
    if (play->open == NULL || action == OPEN) {
        return;
    }
    if (action == LOOK) {
        look(play->open, play->steady);
    } else if (action == REAP) {
        MUST(slr_members_reap_all(play->open) >= 0);
    } else if (action < JOIN) {
        fuzz_produce(play, action, arguments);
    } else {
        fuzz_consume(play, action, arguments);
    }
}

static int64_t cpu_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int lowest_descriptor(void)
{
    const int fd = fcntl(0, F_DUPFD, 0);
    close(fd);
    return fd;
}

void fuzz_play(const uint8_t *input, size_t size, void (*edited)(const struct fuzz_edit *edit),
               bool steady)
{
    struct play play = {.at = input, .end = input + size, .edited = edited, .steady = steady};
    const uint32_t index = (uint32_t)number(&play, 1);
    play.ring = fuzz_ring(index);
    play.next_ring = index + 1;
    const int descriptor = lowest_descriptor();
    const int64_t begin = cpu_ms();
    for (int i = 0; i < RECORDS && play.at < play.end; i++) {
        uint64_t arguments[4];
        const enum action action = record(&play, arguments);
        act(&play, action, arguments);
        MUST(cpu_ms() - begin < CPU_MS);
    }
    close_all(&play);
    MUST(lowest_descriptor() == descriptor);
    MUST(cpu_ms() - begin < CPU_MS);
}
