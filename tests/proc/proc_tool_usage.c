/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: exit statuses of the command slipring are 0, 1 with the reason on standard error and
 * nothing on standard output, 2 for wrong usage; output that cannot be written is a failure; ls
 * names what it may not look into, names litter that it may not remove, and removes litter that it
 * may. The environment's SLIPRING_TOOL names the tool to run.
 */
#define _GNU_SOURCE
#include "tool.h"

#include <grp.h>
#include <sys/stat.h>

#define NOBODY 65534

static char name[64], litter[64];

static void usage(void)
{
    CHECK_EQ(tool_run("", "2>&1"), 2);
    CHECK_EQ(tool_run("nonsense", "2>&1"), 2);
    CHECK_EQ(tool_run("ls --nonsense", "2>&1"), 2);
    tool_says("--nonsense");
    CHECK_EQ(tool_run("ls extra", "2>&1"), 2);
    CHECK_EQ(tool_run("info", "2>&1"), 2);
    tool_says("the name of a ring is missing");
    CHECK_EQ(tool_run("info a b", "2>&1"), 2);
    CHECK_EQ(tool_run("reap a b", "2>&1"), 2);
    CHECK_EQ(tool_run("unlink", "2>&1"), 2);
    CHECK_EQ(tool_run("unlink --json a", "2>&1"), 2);
    CHECK_EQ(tool_run("--help", "2>/dev/null"), 0);
    tool_says("slipring info [--json] NAME");
    CHECK_EQ(tool_run("reap --help", "2>/dev/null"), 0);
    tool_says("Usage: slipring reap");
    CHECK_EQ(tool_run("--version", "2>/dev/null"), 0);
    tool_says(slipring_version());
}

static void failures(void)
{
    static const char *const commands[] = {"info", "info --json", "reap", "reap --json", "unlink"};
    char arguments[128];

    CHECK_EQ(tool_run("--help", "2>&1 >/dev/full"), 1);
    tool_says("cannot write");
    for (unsigned i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        snprintf(arguments, sizeof(arguments), "%s no-ring-%d", commands[i], (int)getpid());
        CHECK_EQ(tool_run(arguments, "2>/dev/null"), 1);
        CHECK_STR(output, "");
        CHECK_EQ(tool_run(arguments, "2>&1"), 1);
        tool_says("slipring: no-ring-");
    }
    CHECK_EQ(tool_run("info ../shm/x", "2>&1"), 1); /* a name cannot lead elsewhere */
}

static void row_says(const char *of, const char *text)
{
    const char *row = tool_row(of);
    if (row == NULL || strstr(row, text) == NULL) {
        FAIL("%s is not listed as %s but: %s", of, text, row != NULL ? row : "not at all");
    }
}

static int as_nobody(struct proc *self, void *context)
{
    (void)self;
    (void)context;
    CHECK(setgroups(0, NULL) == 0 && setgid(NOBODY) == 0 && setuid(NOBODY) == 0);
    if (tool_run("--version", "2>&1") != 0) {
        printf("NOT CHECKED: another user may not run %s\n", tool);
        return 0;
    }
    CHECK_EQ(tool_run("ls", "2>&1"), 0);
    row_says(name, "(denied)");
    CHECK_EQ(tool_run("ls", "2>&1"), 0);
    row_says(litter, "(litter)");
    return 0;
}

static void make(const char *ring_name)
{
    struct slipring_config config;
    struct slipring_ring *ring;
    slipring_config_init(&config);
    config.slots = 16;
    config.slot_bytes = 4096;
    CHECK_OK(slipring_ring_create(ring_name, &config, &ring, NULL));
    slipring_ring_close(ring);
}

int main(void)
{
    struct stat status;
    char path[256];

    tool_find();
    proc_begin(60);
    proc_alone();
    usage();
    failures();

    snprintf(name, sizeof(name), "tool-usage-%d", (int)getpid());
    snprintf(litter, sizeof(litter), "tool-litter-%d", (int)getpid());
    make(name);
    make(litter);
    snprintf(path, sizeof(path), "/dev/shm/%s", litter);
    CHECK(unlink(path) == 0); /* as if killed between the two links of a creation */
    if (geteuid() == 0) {
        struct proc child = proc_start(as_nobody, NULL);
        proc_end(&child);
    } else {
        printf("NOT CHECKED: what ls says of another user's ring (needs root)\n");
    }
    CHECK_EQ(tool_run("ls", "2>&1"), 0);
    CHECK(tool_row(litter) == NULL);
    CHECK_EQ(tool_run("ls", "2>&1"), 0);
    row_says(name, "tensor");
    CHECK_OK(slipring_ring_unlink(name, NULL));
    CHECK(stat(path, &status) != 0);
    snprintf(path, sizeof(path), "ls -A /dev/shm | grep -q -e '%s' -e '%s'", name, litter);
    CHECK(WEXITSTATUS(system(path)) == 1); /* none */
    return 0;
}
