/* SPDX-License-Identifier: Apache-2.0 */
/* Running the command slipring, which the environment's SLIPRING_TOOL names. */
#ifndef TEST_TOOL_H
#define TEST_TOOL_H

#include "proc.h"

static const char *tool;
static char output[65536];

static inline void tool_find(void)
{
    tool = getenv("SLIPRING_TOOL");
    if (tool == NULL) {
        SKIP("SLIPRING_TOOL does not name the tool to run");
    }
}

/* Run the tool by the shell; its exit status. Its standard output, or what `redirect` makes of
 * that, is in output. */
static inline int tool_run(const char *arguments, const char *redirect)
{
    char command[1024];
    const char *wrapper = getenv("MESON_EXE_WRAPPER"); /* set where the tests are cross-built */
    snprintf(command, sizeof(command), "%s '%s' %s %s", wrapper != NULL ? wrapper : "", tool,
             arguments, redirect);
    FILE *pipe = popen(command, "r");
    CHECK(pipe != NULL);
    const size_t got = fread(output, 1, sizeof(output) - 1, pipe);
    output[got] = 0;
    const int status = pclose(pipe);
    CHECK(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static inline void tool_says(const char *text)
{
    if (strstr(output, text) == NULL) {
        FAIL("\"%s\" is missing in: %s", text, output);
    }
}

/* The line of a table that begins with this name, cut off after it. */
static inline char *tool_row(const char *name)
{
    for (char *line = strtok(output, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        const size_t length = strlen(name);
        if (strncmp(line, name, length) == 0 && line[length] == ' ') {
            return line;
        }
    }
    return NULL;
}

#endif
