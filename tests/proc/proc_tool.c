/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: the command slipring shows a ring and its members as they are, as text and as
 * well-formed JSON; ls and info change nothing in the ring; reap frees the dead; unlink removes
 * the name. The environment's SLIPRING_TOOL names the tool to run.
 */
#define _GNU_SOURCE
#include "tool.h"

#include <sys/mman.h>
#include <sys/stat.h>

static char name[64];

/* Run "COMMAND NAME [REST]" for our ring. */
static int run_ring(const char *command, const char *rest)
{
    char arguments[256];
    snprintf(arguments, sizeof(arguments), "%s %s %s", command, name, rest);
    return tool_run(arguments, "2>&1");
}

/* The end of the JSON value at text, NULL if it is not well-formed. */
static const char *json_value(const char *text)
{
    text += strspn(text, " \n");
    if (*text == '{' || *text == '[') {
        const char close = *text == '{' ? '}' : ']';
        bool more = false;
        for (text++;; more = true) {
            text += strspn(text, " \n");
            if (*text == close) {
                return text + 1;
            }
            if (more && *text++ != ',') {
                return NULL;
            }
            text += strspn(text, " \n");
            if (close == '}') {
                text = *text == '"' ? json_value(text) : NULL;
                if (text == NULL || *text++ != ':') {
                    return NULL;
                }
            }
            text = json_value(text);
            if (text == NULL) {
                return NULL;
            }
        }
    }
    if (*text == '"') {
        for (text++; *text != '"'; text++) {
            text += *text == '\\' ? 1 : 0;
            if ((unsigned char)*text < 0x20) {
                return NULL;
            }
        }
        return text + 1;
    }
    const size_t word = strncmp(text, "true", 4) == 0 ? 4 : strncmp(text, "false", 5) == 0 ? 5 : 0;
    const size_t digits = strspn(text + (*text == '-'), "0123456789");
    return word > 0 ? text + word : digits > 0 ? text + (*text == '-') + digits : NULL;
}

static void check_json(void)
{
    const char *end = json_value(output);
    if (end == NULL || *output != '{' || strcmp(end, "\n") != 0) {
        FAIL("not one well-formed JSON object: %s", output);
    }
}

static int hold_and_sleep(struct proc *self, void *context)
{
    struct slipring_view view;
    struct slipring_consumer *consumer = proc_member(context, "work \"er\\", SLIPRING_MANY, 0);
    CHECK_OK(slipring_consumer_acquire(consumer, 1, &view, proc_in_ms(10000)));
    proc_tell(self, consumer != NULL);
    proc_sleep();
}

static void look(struct slipring_ring *ring, struct proc *child)
{
    char want[96];
    struct stat status;
    int data_fd, control_fd;
    slipring_ring_fds(ring, &data_fd, &control_fd);
    CHECK(fstat(control_fd, &status) == 0);
    const size_t bytes = (size_t)status.st_size;
    void *control = mmap(NULL, bytes, PROT_READ, MAP_SHARED, control_fd, 0);
    void *before = malloc(bytes);
    CHECK(control != MAP_FAILED && before != NULL);
    memcpy(before, control, bytes);

    CHECK_EQ(tool_run("ls", "2>&1"), 0);
    tool_says(name);
    CHECK_EQ(tool_run("ls --json", "2>&1"), 0);
    check_json();
    tool_says(name);
    CHECK_EQ(run_ring("info", ""), 0);
    tool_says("live, pid");
    CHECK_EQ(run_ring("info", "--json"), 0);
    check_json();
    tool_says("\"producer\": \"live\"");
    tool_says("\"group\": \"work \\\"er\\\\\"");
    snprintf(want, sizeof(want), "\"pid\": %d", (int)child->pid);
    tool_says(want);
    tool_says("\"held\": 1\n");
    tool_says("\"alive\": true");
    tool_says("\"cursor\": 3,");
    CHECK(memcmp(before, control, bytes) == 0);

    proc_kill(child);
    CHECK_EQ(run_ring("info", "--json"), 0);
    check_json();
    tool_says("\"alive\": false");
    CHECK(memcmp(before, control, bytes) == 0);
    free(before);
    munmap(control, bytes);
}

int main(void)
{
    tool_find();
    proc_begin(60);
    proc_alone();
    struct slipring_config config;
    struct slipring_ring *ring;
    slipring_config_init(&config);
    config.slots = 16;
    config.slot_bytes = 4096;
    config.flags = SLIPRING_VANISH; /* nothing is left where this test fails */
    snprintf(name, sizeof(name), "proc-tool-%d", (int)getpid());
    CHECK_OK(slipring_ring_create(name, &config, &ring, NULL));
    struct slipring_producer *producer = proc_producer(ring);
    struct slipring_consumer *first = proc_member(ring, "work \"er\\", SLIPRING_MANY, 0);
    struct proc child = proc_start(hold_and_sleep, ring);
    for (int i = 0; i < 3; i++) {
        struct slipring_loan loan;
        CHECK_OK(slipring_producer_try_claim(producer, 1, &loan));
        CHECK_OK(slipring_producer_publish(producer, 1, NULL));
    }
    CHECK_EQ(proc_hear(&child), 1);
    look(ring, &child);

    CHECK_EQ(run_ring("reap", "--json"), 0);
    check_json();
    tool_says("\"members\": 1,");
    CHECK_EQ(proc_info(ring).members, 1);
    CHECK_EQ(run_ring("unlink", ""), 0);
    CHECK_EQ(proc_info(ring).orphaned, 1);
    CHECK_EQ(run_ring("unlink", ""), 1);
    tool_says(name);
    slipring_consumer_detach(first);
    slipring_producer_detach(producer);
    slipring_ring_close(ring);
    return 0;
}
