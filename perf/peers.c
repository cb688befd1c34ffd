/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Other people's queues beside ours: each a program of its own in the folder peers/ beside this
 * one, built where what it needs is installed. One that is not there is not in the table; which
 * ones are, the head of the table says.
 */
#include "bench.h"

#include <stdlib.h>
#include <string.h>

struct peer {
    const char *system;
    const char *program; /* beside the bench */
    const char *first;   /* argument before the measure's name, or NULL */
    const char *measures;
};

#define QUEUE                                                                                      \
    " latency_32B latency_56B latency_64B rate_56B_single rate_56B_batch4 rate_56B_batch16 "       \
    "rate_56B_batch64 rate_56B_batch256 rate_64B_batch64 "
#define SIZED "size_64B size_512B size_4KiB size_32KiB size_256KiB size_2MiB size_16MiB "

static const struct peer peers[] = {
    {"rte_ring", "peers/rte_ring", NULL, QUEUE "group_4_batch16 "},
    {"boost spsc_queue", "peers/boost_spsc", NULL, QUEUE},
    {"ck_ring", "peers/ck_ring", NULL, QUEUE},
    {"ZeroMQ ipc", "peers/zeromq", NULL, QUEUE},
    {"pipe", "peers/pipe", NULL, QUEUE SIZED},
    {"socketpair", "peers/socketpair", NULL, QUEUE SIZED},
    {"iceoryx2 (Python)", "peers/python_peers", "iceoryx2", " latency_64B rate_56B_single "},
    {"faster-fifo (Python)", "peers/python_peers", "faster_fifo", " latency_64B rate_56B_single "},
    {"mp.Queue (Python)", "peers/python_peers", "mp_queue", " latency_64B rate_56B_single " SIZED},
};

static bool knows(const struct peer *peer, const char *measure)
{
    char word[BENCH_NAME_BYTES + 2];
    snprintf(word, sizeof word, " %s ", measure);
    return strstr(peer->measures, word) != NULL;
}

/* Is it there, and what it stands on? */
static bool here(const struct peer *peer, char *path, size_t size)
{
    char command[640];
    if (!program_path(peer->program, path, size)) {
        return false;
    }
    if (peer->first == NULL) {
        return true;
    }
    snprintf(command, sizeof command, "'%s' %s check 2>/dev/null", path, peer->first);
    fflush(NULL);
    return system(command) == 0;
}

struct call {
    const struct peer *peer;
    char measure[BENCH_NAME_BYTES];
};

static int peer_run(const struct run *run, const void *context)
{
    const struct call *call = context;
    return program_run(run, call->peer->program, call->peer->first, call->measure);
}

void peers_add(struct measure *measure)
{
    static struct call calls[sizeof peers / sizeof *peers]; /* of the measure that runs */
    char path[512];
    int at = 0;
    while (at < BENCH_CONTENDERS && measure->contenders[at].system != NULL) {
        at++;
    }
    for (size_t i = 0; i < sizeof peers / sizeof *peers && at < BENCH_CONTENDERS; i++) {
        if (knows(&peers[i], measure->name) && here(&peers[i], path, sizeof path)) {
            calls[i].peer = &peers[i];
            snprintf(calls[i].measure, sizeof calls[i].measure, "%s", measure->name);
            measure->contenders[at++] = (struct contender){peers[i].system, peer_run, &calls[i]};
        }
    }
}

void peers_print(void)
{
    char path[512];
    const char *before = "peers:";
    for (size_t i = 0; i < sizeof peers / sizeof *peers; i++) {
        if (here(&peers[i], path, sizeof path)) {
            printf("%s %s", before, peers[i].system);
            before = ",";
        }
    }
    printf("%s\n", strcmp(before, ",") == 0 ? "" : "peers: none of their programs are here");
}
