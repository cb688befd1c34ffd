/* SPDX-License-Identifier: Apache-2.0 */
/* The command-line tool: chooses the sub-command, and holds what they share. */
#define _GNU_SOURCE
#include "tool.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const struct tool_command commands[] = {
    {"ls", tool_ls, "ls [--json]",
     "List the named rings of this machine: geometry, slots, what a full ring does, producer,\n"
     "members, age and owner. Half-made rings and vanishing ones that nobody has open are removed\n"
     "on the way; where that is not permitted they are named as litter.\n",
     true},
    {"info", tool_info, "info [--json] NAME",
     "Describe one ring: schema, memory, where it stands, its members, groups and dead letters.\n",
     true},
    {"reap", tool_reap, "reap [--json] [NAME]",
     "Remove what dead processes left behind, in one ring or in all: their cells and what they\n"
     "held, vanishing rings that nobody has open, half-made rings. Other rings stay.\n",
     true},
    {"unlink", tool_unlink, "unlink NAME...",
     "Remove the names of rings. Members that are attached go on; the memory goes with the last\n"
     "of them.\n",
     false},
};
#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void print_help(void)
{
    printf("Look at, and clean up, the slipring rings of this machine.\n\nUsage:\n");
    for (size_t i = 0; i < COMMANDS; i++) {
        printf("  slipring %s\n", commands[i].usage);
    }
    printf("  slipring --version\n  slipring [COMMAND] --help\n\n"
           "Exit status: 0 done, 1 failed (the reason is on standard error), 2 wrong usage.\n");
}

static int usage_error(const struct tool_command *command)
{
    fprintf(stderr, "Usage: slipring %s\n", command != NULL ? command->usage : "COMMAND ...");
    fprintf(stderr, "Try 'slipring%s%s --help'.\n", command != NULL ? " " : "",
            command != NULL ? command->name : "");
    return TOOL_USAGE;
}

int tool_options(const struct tool_command *self, int argc, char **argv, int min, int max,
                 bool *json, int *status)
{
    static const struct option with_json[] = {
        {"help", no_argument, NULL, 'h'}, {"json", no_argument, NULL, 'j'}, {NULL, 0, NULL, 0}};
    static const struct option without[] = {{"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
    int option;

    optind = 0; /* anew, for the sub-command's own options */
    while ((option = getopt_long(argc, argv, "h", self->json ? with_json : without, NULL)) != -1) {
        if (option == 'j') {
            *json = true;
        } else if (option == 'h') {
            printf("Usage: slipring %s\n\n%s", self->usage, self->about);
            *status = TOOL_OK;
            return -1;
        } else {
            *status = usage_error(self);
            return -1;
        }
    }
    if (argc - optind < min || argc - optind > max) {
        fprintf(stderr, "%s: %s\n", argv[0],
                argc - optind < min ? "the name of a ring is missing" : "too many arguments");
        *status = usage_error(self);
        return -1;
    }
    return optind;
}

int tool_fail(const char *what, int code, const struct slipring_error *error)
{
    const char *text = error != NULL && error->text[0] != 0 ? error->text : slipring_strerror(code);

    fflush(stdout);
    fprintf(stderr, "slipring: %s: %s\n", what, text);
    return TOOL_FAILED;
}

int tool_open(const char *name, struct slipring_ring **ring, struct slipring_error *error)
{
    const int code = slipring_ring_open(name, SLIPRING_ANY_OWNER, ring, error);

    if (code != -EPERM && code != -EACCES) {
        return code;
    }
    /* The data of an overwrite ring may be open to readers who may not join. */
    const uint32_t flags = SLIPRING_ANY_OWNER | SLIPRING_READ_ONLY;
    return slipring_ring_open(name, flags, ring, NULL) == 0 ? 0 : code;
}

/* ---- words for values ---- */

const char *tool_geometry(uint32_t geometry)
{
    static const char *const names[] = {"auto", "compact", "pair", "tensor"};
    return geometry < 4 ? names[geometry] : "unknown";
}

const char *tool_full(uint32_t full)
{
    return full == SLIPRING_BLOCK ? "block" : full == SLIPRING_OVERWRITE ? "overwrite" : "unknown";
}

const char *tool_producer(uint32_t state)
{
    static const char *const names[] = {"none", "live", "dead", "closed"};
    return state < 4 ? names[state] : "unknown";
}

void tool_bytes(uint64_t bytes, char *text)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = (double)bytes;
    int unit = 0;

    for (; value >= 1024 && unit < 6; unit++) {
        value /= 1024;
    }
    if (value == (double)(uint64_t)value) {
        snprintf(text, TOOL_TEXT_BYTES, "%" PRIu64 " %s", (uint64_t)value, units[unit]);
    } else {
        snprintf(text, TOOL_TEXT_BYTES, "%.1f %s", value, units[unit]);
    }
}

void tool_age(int64_t since_ns, char *text)
{
    struct timespec now;

    timespec_get(&now, TIME_UTC);
    const int64_t age = (int64_t)now.tv_sec - since_ns / 1000000000;
    if (age < 60) {
        snprintf(text, TOOL_TEXT_BYTES, "%" PRId64 "s", age < 0 ? 0 : age);
    } else if (age < 3600) {
        snprintf(text, TOOL_TEXT_BYTES, "%" PRId64 "m", age / 60);
    } else if (age < 86400) {
        snprintf(text, TOOL_TEXT_BYTES, "%" PRId64 "h", age / 3600);
    } else {
        snprintf(text, TOOL_TEXT_BYTES, "%" PRId64 "d", age / 86400);
    }
}

void tool_duration(uint64_t ns, char *text)
{
    if (ns % 1000000000 == 0) {
        snprintf(text, TOOL_TEXT_BYTES, "%" PRIu64 "s", ns / 1000000000);
    } else if (ns >= 1000000) {
        snprintf(text, TOOL_TEXT_BYTES, "%.4gms", (double)ns / 1e6);
    } else {
        snprintf(text, TOOL_TEXT_BYTES, "%.4gus", (double)ns / 1e3);
    }
}

void tool_plain(const char *name, char *text)
{
    size_t i = 0;

    for (; name[i] != 0 && i < TOOL_NAME_BYTES - 1; i++) {
        text[i] = name[i];
        if (name[i] < 0x20 || name[i] > 0x7e) {
            text[i] = '?';
        }
    }
    text[i] = 0;
}

void tool_owner(uint32_t uid, char *text)
{
    const struct passwd *entry = getpwuid((uid_t)uid);

    if (entry != NULL && strlen(entry->pw_name) < TOOL_TEXT_BYTES) {
        tool_plain(entry->pw_name, text);
    } else {
        snprintf(text, TOOL_TEXT_BYTES, "%" PRIu32, uid);
    }
}

void tool_names(uint32_t bits, const char *const *names, char *text)
{
    size_t length = 0;

    text[0] = 0;
    for (; *names != NULL; names++, bits >>= 1) {
        if ((bits & 1) != 0 && length < TOOL_TEXT_BYTES) {
            length += (size_t)snprintf(text + length, TOOL_TEXT_BYTES - length, "%s%s",
                                       length > 0 ? " " : "", *names);
        }
    }
}

/* ---- tables ---- */

void tool_table_init(struct tool_table *table, int columns, const char *const *heads)
{
    *table = (struct tool_table){.columns = columns, .heads = heads};
}

void tool_table_add(struct tool_table *table, const char *format, ...)
{
    char *text = NULL;
    va_list arguments;

    if (table->count == table->room) {
        const size_t room = table->room * 2 + 64;
        char **texts = realloc(table->texts, room * sizeof(*texts));
        if (texts == NULL) {
            table->failed = true;
            return;
        }
        table->texts = texts;
        table->room = room;
    }
    va_start(arguments, format);
    if (vasprintf(&text, format, arguments) < 0) {
        table->failed = true;
        text = NULL;
    }
    va_end(arguments);
    table->texts[table->count++] = text;
}

/* Characters of a UTF-8 text. */
static size_t text_width(const char *text)
{
    size_t width = 0;

    for (; *text != 0; text++) {
        width += (*text & 0xc0) != 0x80 ? 1 : 0;
    }
    return width;
}

static void print_row(const struct tool_table *table, const char *indent, const size_t *widths,
                      char *const *texts)
{
    printf("%s", indent);
    for (int c = 0; c < table->columns; c++) {
        const bool right = table->heads[c][0] == '>';
        const char *text = texts != NULL ? texts[c] : table->heads[c] + (right ? 1 : 0);
        const int pad = (int)(widths[c] - text_width(text));
        const char *gap = c > 0 ? "  " : "";
        if (right) {
            printf("%s%*s%s", gap, pad, "", text);
        } else {
            printf("%s%s%*s", gap, text, c + 1 < table->columns ? pad : 0, "");
        }
    }
    putchar('\n');
}

bool tool_table_print(struct tool_table *table, const char *indent)
{
    size_t widths[TOOL_COLUMNS_MAX] = {0};
    const size_t columns = (size_t)table->columns;

    for (size_t c = 0; c < columns; c++) {
        widths[c] = text_width(table->heads[c]) - (table->heads[c][0] == '>' ? 1 : 0);
        for (size_t i = c; i < table->count && !table->failed; i += columns) {
            const size_t width = text_width(table->texts[i]);
            widths[c] = width > widths[c] ? width : widths[c];
        }
    }
    if (table->count > 0 && !table->failed) {
        print_row(table, indent, widths, NULL);
        for (size_t i = 0; i + columns <= table->count; i += columns) {
            print_row(table, indent, widths, table->texts + i);
        }
    }
    for (size_t i = 0; i < table->count; i++) {
        free(table->texts[i]);
    }
    free(table->texts);
    return !table->failed;
}

/* ---- JSON ---- */

static void json_string(const char *text)
{
    putchar('"');
    for (; *text != 0; text++) {
        const unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\') {
            printf("\\%c", c);
        } else if (c < 0x20 || c == 0x7f) {
            printf("\\u%04x", c);
        } else {
            putchar(c);
        }
    }
    putchar('"');
}

static void json_begin(struct tool_json *json, const char *key)
{
    printf("%s", json->more ? "," : "");
    if (json->depth > 0) {
        printf("\n%*s", 2 * json->depth, "");
    }
    if (key != NULL) {
        json_string(key);
        printf(": ");
    }
    json->more = true;
}

void tool_json_open(struct tool_json *json, const char *key, char bracket)
{
    json_begin(json, key);
    putchar(bracket);
    json->depth++;
    json->more = false;
}

void tool_json_close(struct tool_json *json, char bracket)
{
    json->depth--;
    if (json->more) {
        printf("\n%*s", 2 * json->depth, "");
    }
    putchar(bracket);
    if (json->depth == 0) {
        putchar('\n');
    }
    json->more = true;
}

void tool_json_text(struct tool_json *json, const char *key, const char *text)
{
    json_begin(json, key);
    json_string(text);
}

void tool_json_count(struct tool_json *json, const char *key, uint64_t value)
{
    json_begin(json, key);
    printf("%" PRIu64, value);
}

void tool_json_signed(struct tool_json *json, const char *key, int64_t value)
{
    json_begin(json, key);
    printf("%" PRId64, value);
}

void tool_json_bool(struct tool_json *json, const char *key, bool value)
{
    json_begin(json, key);
    printf("%s", value ? "true" : "false");
}

void tool_json_names(struct tool_json *json, const char *key, uint32_t bits,
                     const char *const *names)
{
    tool_json_open(json, key, '[');
    for (; *names != NULL; names++, bits >>= 1) {
        if ((bits & 1) != 0) {
            tool_json_text(json, NULL, *names);
        }
    }
    tool_json_close(json, ']');
}

/* ---- main ---- */

static int run(int argc, char **argv)
{
    if (argc < 2) {
        print_help();
        return TOOL_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_help();
        return TOOL_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("slipring %s\n", slipring_version());
        return TOOL_OK;
    }
    for (size_t i = 0; i < COMMANDS; i++) {
        char title[32];
        if (strcmp(argv[1], commands[i].name) == 0) {
            snprintf(title, sizeof(title), "slipring %s", commands[i].name);
            argv[1] = title; /* what getopt_long() names in its complaints */
            return commands[i].run(&commands[i], argc - 1, argv + 1);
        }
    }
    fprintf(stderr, "slipring: no command '%s'\n", argv[1]);
    return usage_error(NULL);
}

int main(int argc, char **argv)
{
    const int status = run(argc, argv);

    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "slipring: cannot write the output: %s\n", strerror(errno));
        return TOOL_FAILED;
    }
    return status;
}
