/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the demo share: processes that are started, talked to over pipes, killed and
 * waited for; the file that is sent; the parts of the demo.
 */
#ifndef DEMO_H
#define DEMO_H

#include <slipring/slipring.h>

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define DEMO_SECOND_NS INT64_C(1000000000)
#define DEMO_PATIENCE_NS (10 * DEMO_SECOND_NS) /* longer than any single step may take */

enum {
    DEMO_BLOCK = 1 << 20, /* bytes of a slot of the rings that carry the file */
    DEMO_SLOTS = 16,
    DEMO_BATCH = 4, /* slots that the producer claims at once */
    DEMO_CHILDREN = 4,
    DEMO_PATH = 4096,
    DEMO_NAMES = 8
};

/* ---- demo_process.c ---- */

/* A process of the demo, as its parent sees it. */
struct demo_child {
    const char *role;
    pid_t pid; /* 0 once waited for */
    int to;    /* the parent writes, the child reads */
    int from;  /* the child writes, the parent reads */
};

struct demo_family {
    struct demo_child children[DEMO_CHILDREN];
    int count;
};

/* A process of the demo, as it sees itself. */
struct demo_self {
    const char *role;
    int index;    /* in the family */
    int from, to; /* its parent's ends are .to and .from */
    const void *argument;
};

/* All report what failed on stderr and return false then. */
bool demo_start(struct demo_family *family, const char *role,
                bool (*run)(const struct demo_self *self), const void *argument);
bool demo_say(const char *role, int fd, const void *what, size_t bytes);
bool demo_hear(const char *role, int fd, void *what, size_t bytes);
bool demo_finish(struct demo_child *child);                   /* it must end by itself and well */
bool demo_kill(struct demo_child *child, int64_t *killed_ns); /* with -9, and see it dead */
void demo_end(struct demo_family *family); /* kills what still lives; closes pipes */
bool demo_ready(struct demo_family *family, int first, int count); /* hears one byte of each */
/* Say on stderr what failed, in slipring's words or the system's, and return false. */
bool demo_failed(const char *role, const char *what, int rc);
bool demo_error(const char *role, const struct slipring_error *error);
bool demo_refused(const char *role, const char *call, int error_number);
/* Child: hear a ring's name and open it. Parent: tell it. */
bool demo_open(const struct demo_self *self, struct slipring_ring **ring);
bool demo_tell_name(struct demo_family *family, int first, int count, const char *name);
void demo_line(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ---- demo_input.c ---- */

/* The file, as a stream of blocks: `passes` times over, the last block of each pass shorter. */
struct demo_input {
    char path[DEMO_PATH];
    int fd;
    uint64_t bytes;              /* of the file */
    uint64_t blocks;             /* of one pass */
    uint64_t digest;             /* XXH3 of the whole file, from a pass of its own */
    uint64_t *hashes;            /* XXH3 of each block, likewise */
    double memcpy_gib, hash_gib; /* GiB per second, one processor, blocks of DEMO_BLOCK */
};

bool demo_input_open(struct demo_input *input, const char *path_or_null);
void demo_input_close(struct demo_input *input);
uint64_t demo_block_bytes(const struct demo_input *input, uint64_t block);
/* Reads consecutive blocks of one pass, straight into a claim. */
bool demo_input_read(const struct demo_input *input, uint64_t block, uint64_t count, void *data);
bool demo_input_floor(struct demo_input *input); /* measures memcpy_gib and hash_gib */

/* ---- demo_stream.c ---- */

/* Sends the file: the producer of both parts that carry it. */
struct demo_stream {
    const struct demo_input *input;
    struct slipring_ring *ring; /* NULL: the name comes over the pipe */
    uint64_t passes;
    int64_t *claimed_ns; /* shared memory, one per block: when its claim succeeded; or NULL */
};

struct demo_sent {
    uint64_t blocks, bytes;
    int64_t began_ns;
};

bool demo_stream_produce(const struct demo_self *self);   /* argument: struct demo_stream */
struct slipring_ring *demo_stream_ring(const char *name); /* NULL: said why */
uint64_t demo_passes(const struct demo_input *input, uint64_t least_blocks);
void demo_throughput(const struct demo_input *input, const struct demo_sent *sent, int64_t ended_ns,
                     int hashes); /* hashes: of each byte, by all readers */
void *demo_shared(size_t bytes);  /* zeroed memory that children share; NULL said why */

/* ---- the parts ---- */

/* Each says what happened and returns whether it came out as it should. Names of the rings that
 * were made are noted, so that the end can look for what is left of them. */
struct demo_names {
    char name[DEMO_NAMES][SLIPRING_NAME_MAX + 1];
    int count;
};

bool demo_counters(struct demo_names *names, double seconds);
bool demo_broadcast(const struct demo_input *input);
bool demo_group(const struct demo_input *input, struct demo_names *names);
bool demo_gpu(const struct demo_input *input); /* where libslipring-cuda is built */

#endif
