/* SPDX-License-Identifier: Apache-2.0 */
/* The file that the demo sends: found on the machine, hashed beforehand, read into claims. */
#define _GNU_SOURCE
#include "demo.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <xxhash.h>

enum { LEAST_MIB = 20, MOST_MIB = 400, FLOOR_BLOCKS = 64, FLOOR_ROUNDS = 5 };

/* Compilers, their libraries and other big files that many machines have. */
static const char *const places[] = {
    "/usr/lib/gcc/*/*/*",      "/usr/libexec/gcc/*/*/*", "/usr/lib/*/libLLVM*",
    "/usr/lib/llvm*/lib/lib*", "/usr/lib/*/libclang*",   "/usr/lib/locale/locale-archive",
    "/usr/lib/*/libicudata*",  "/usr/lib/*/libpython*",  "/usr/lib/*/lib*.so*",
    "/usr/lib64/lib*.so*",     "/usr/bin/python3*",
};
/* Where those hold nothing that is large: whatever there is. */
static const char *const last_places[] = {"/usr/bin/*", "/usr/lib/*", "/bin/*", "/proc/self/exe"};

/* The largest readable regular file that is not larger than it need be. */
static void look_in(const char *place, struct demo_input *input)
{
    glob_t found;
    if (glob(place, GLOB_NOSORT, NULL, &found) != 0) {
        return;
    }
    for (size_t i = 0; i < found.gl_pathc; i++) {
        struct stat status;
        if (stat(found.gl_pathv[i], &status) == 0 && S_ISREG(status.st_mode) &&
            (uint64_t)status.st_size > input->bytes &&
            status.st_size <= (off_t)MOST_MIB * DEMO_BLOCK &&
            strlen(found.gl_pathv[i]) < DEMO_PATH && access(found.gl_pathv[i], R_OK) == 0) {
            input->bytes = (uint64_t)status.st_size;
            memcpy(input->path, found.gl_pathv[i], strlen(found.gl_pathv[i]) + 1);
        }
    }
    globfree(&found);
}

static bool find(struct demo_input *input)
{
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        look_in(places[i], input);
    }
    for (size_t i = 0; i < sizeof last_places / sizeof *last_places; i++) {
        if (input->bytes < (uint64_t)LEAST_MIB * DEMO_BLOCK) {
            look_in(last_places[i], input);
        }
    }
    if (input->bytes == 0) {
        fprintf(stderr, "demo: found no file to send; name one: demo FILE\n");
        return false;
    }
    return true;
}

uint64_t demo_block_bytes(const struct demo_input *input, uint64_t block)
{
    const uint64_t rest = input->bytes - block * DEMO_BLOCK;
    return rest < DEMO_BLOCK ? rest : DEMO_BLOCK;
}

bool demo_input_read(const struct demo_input *input, uint64_t block, uint64_t count, void *data)
{
    uint64_t offset = block * DEMO_BLOCK;
    const uint64_t last = block + count - 1;
    const uint64_t end = last * DEMO_BLOCK + demo_block_bytes(input, last);
    char *to = data;
    while (offset < end) {
        const ssize_t got = pread(input->fd, to, end - offset, (off_t)offset);
        if (got == 0 || (got < 0 && errno != EINTR)) {
            return demo_refused(input->path, "read", got == 0 ? EIO : errno);
        }
        if (got > 0) {
            to += got;
            offset += (uint64_t)got;
        }
    }
    return true;
}

/* What the readers must find, by a pass that has nothing to do with any ring. */
static bool hash_all(struct demo_input *input)
{
    XXH3_state_t *state = XXH3_createState();
    void *buffer = malloc(DEMO_BLOCK);
    input->hashes = malloc(input->blocks * sizeof *input->hashes);
    bool good = state != NULL && buffer != NULL && input->hashes != NULL;
    if (!good) {
        demo_refused("hash", "malloc", ENOMEM);
    } else {
        (void)XXH3_64bits_reset(state);
    }
    for (uint64_t block = 0; block < input->blocks && good; block++) {
        const size_t bytes = (size_t)demo_block_bytes(input, block);
        good = demo_input_read(input, block, 1, buffer);
        if (good) {
            input->hashes[block] = XXH3_64bits(buffer, bytes);
            (void)XXH3_64bits_update(state, buffer, bytes);
        }
    }
    if (good) {
        input->digest = XXH3_64bits_digest(state);
    }
    free(buffer);
    XXH3_freeState(state);
    return good;
}

bool demo_input_open(struct demo_input *input, const char *path_or_null)
{
    struct stat status;
    *input = (struct demo_input){.fd = -1};
    if (path_or_null == NULL && !find(input)) {
        return false;
    }
    if (path_or_null != NULL) {
        snprintf(input->path, sizeof input->path, "%s", path_or_null);
    }
    input->fd = open(input->path, O_RDONLY | O_CLOEXEC);
    if (input->fd < 0 || fstat(input->fd, &status) < 0) {
        return demo_refused(input->path, "open", errno);
    }
    if (!S_ISREG(status.st_mode) || status.st_size == 0) {
        fprintf(stderr, "demo: %s: is not a regular file with something in it\n", input->path);
        return false;
    }
    input->bytes = (uint64_t)status.st_size;
    if (input->bytes > (uint64_t)MOST_MIB * DEMO_BLOCK) {
        demo_line("%s is larger than %d MiB; the demo takes its first %d MiB", input->path,
                  MOST_MIB, MOST_MIB);
        input->bytes = (uint64_t)MOST_MIB * DEMO_BLOCK;
    }
    input->blocks = (input->bytes + DEMO_BLOCK - 1) / DEMO_BLOCK;
    return hash_all(input);
}

void demo_input_close(struct demo_input *input)
{
    free(input->hashes);
    input->hashes = NULL;
    if (input->fd >= 0) {
        close(input->fd);
        input->fd = -1;
    }
}

/* The best of a few rounds: the floor is what the machine can do, not what it did under load. */
static void measure(struct demo_input *input, const char *source, uint64_t sources, char *target,
                    volatile uint64_t *sink)
{
    for (int round = 0; round < FLOOR_ROUNDS; round++) {
        const int64_t began_ns = slipring_now_ns();
        for (uint64_t i = 0; i < FLOOR_BLOCKS; i++) {
            memcpy(target + i % DEMO_SLOTS * DEMO_BLOCK, source + i % sources * DEMO_BLOCK,
                   DEMO_BLOCK);
            *sink += (unsigned char)target[i % DEMO_SLOTS * DEMO_BLOCK];
        }
        const int64_t copied_ns = slipring_now_ns();
        for (uint64_t i = 0; i < FLOOR_BLOCKS; i++) {
            *sink += XXH3_64bits(target + i % DEMO_SLOTS * DEMO_BLOCK, DEMO_BLOCK);
        }
        const double gib = (double)FLOOR_BLOCKS * DEMO_BLOCK / (1 << 30);
        const double copy = gib * 1e9 / (double)(copied_ns - began_ns);
        const double hash = gib * 1e9 / (double)(slipring_now_ns() - copied_ns);
        input->memcpy_gib = copy > input->memcpy_gib ? copy : input->memcpy_gib;
        input->hash_gib = hash > input->hash_gib ? hash : input->hash_gib;
    }
}

/* Copies the file's own bytes, over as many slots as the rings have. */
bool demo_input_floor(struct demo_input *input)
{
    const uint64_t sources = input->blocks < FLOOR_BLOCKS ? input->blocks : FLOOR_BLOCKS;
    volatile uint64_t sink = 0;
    char *source = calloc(sources, DEMO_BLOCK), *target = calloc(DEMO_SLOTS, DEMO_BLOCK);
    bool good = source != NULL && target != NULL;
    if (!good) {
        demo_refused("floor", "calloc", ENOMEM);
    }
    good = good && demo_input_read(input, 0, sources, source);
    if (good) {
        memset(target, 1, (size_t)DEMO_SLOTS * DEMO_BLOCK);
        measure(input, source, sources, target, &sink);
    }
    free(source);
    free(target);
    return good;
}
