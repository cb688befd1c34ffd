/* SPDX-License-Identifier: Apache-2.0 */
/* What the sub-commands of the tool share. Sits on the public API alone. */
#ifndef TOOL_H
#define TOOL_H

#include <slipring/slipring.h>

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum { TOOL_OK = 0, TOOL_FAILED = 1, TOOL_USAGE = 2 }; /* exit status */

/* A sub-command: argv[0] is "slipring NAME". Each returns an exit status. */
struct tool_command {
    const char *name;
    int (*run)(const struct tool_command *self, int argc, char **argv);
    const char *usage; /* what follows "slipring " */
    const char *about; /* what it does, whole lines */
    bool json;         /* takes --json */
};

int tool_ls(const struct tool_command *self, int argc, char **argv);
int tool_info(const struct tool_command *self, int argc, char **argv);
int tool_reap(const struct tool_command *self, int argc, char **argv);
int tool_unlink(const struct tool_command *self, int argc, char **argv);

/* Read the options: --help, and --json where the command takes it. Returns the index of the first
 * operand, of which there are at least min and at most max; or -1 and *status, to be returned. */
int tool_options(const struct tool_command *self, int argc, char **argv, int min, int max,
                 bool *json, int *status);

/* Say on standard error what failed, and return TOOL_FAILED. */
int tool_fail(const char *what, int code, const struct slipring_error *error);

/* Open a ring to look at: with control where permitted, else the data alone. */
int tool_open(const char *name, struct slipring_ring **ring, struct slipring_error *error);

/* ---- words for values ---- */

#define TOOL_TEXT_BYTES 256
#define TOOL_NAME_BYTES 256

const char *tool_geometry(uint32_t geometry);
const char *tool_full(uint32_t full);
const char *tool_producer(uint32_t state);
/* A name that may be anything, made plain ASCII; text: TOOL_NAME_BYTES. */
void tool_plain(const char *name, char *text);
void tool_bytes(uint64_t bytes, char *text); /* "1.5 MiB"; text: TOOL_TEXT_BYTES */
void tool_age(int64_t since_ns, char *text); /* of a CLOCK_REALTIME time: "5m" */
void tool_duration(uint64_t ns, char *text); /* "250ms" */
void tool_owner(uint32_t uid, char *text);   /* the user's name, else the number */
void tool_names(uint32_t bits, const char *const *names, char *text); /* of bits 0.., by spaces */

/* ---- tables: columns as wide as their widest text, two spaces apart ---- */

#define TOOL_COLUMNS_MAX 12

struct tool_table {
    int columns;
    const char *const *heads; /* a head that begins with '>' is of a column aligned right */
    char **texts;             /* row by row */
    size_t count, room;       /* of texts */
    bool failed;              /* out of memory */
};

void tool_table_init(struct tool_table *table, int columns, const char *const *heads);
/* Append the next text, row by row. */
__attribute__((format(printf, 2, 3))) void tool_table_add(struct tool_table *table,
                                                          const char *format, ...);
/* Print and free. False: out of memory. */
bool tool_table_print(struct tool_table *table, const char *indent);

/* ---- JSON: one value, written as it comes ---- */

struct tool_json {
    int depth;
    bool more; /* the next member follows another */
};

/* Open an object '{' or array '['; key NULL inside arrays and for the outermost. */
void tool_json_open(struct tool_json *json, const char *key, char bracket);
void tool_json_close(struct tool_json *json, char bracket);
void tool_json_text(struct tool_json *json, const char *key, const char *text);
void tool_json_count(struct tool_json *json, const char *key, uint64_t value);
void tool_json_signed(struct tool_json *json, const char *key, int64_t value);
void tool_json_bool(struct tool_json *json, const char *key, bool value);
void tool_json_names(struct tool_json *json, const char *key, uint32_t bits,
                     const char *const *names);

#endif
