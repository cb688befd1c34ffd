/* SPDX-License-Identifier: Apache-2.0 */
/* ZeroMQ, PUSH to PULL over ipc: on a name in the abstract namespace. */
#include "peer.h"

#include <string.h>
#include <unistd.h>
#include <zmq.h>

struct queue {
    char address[64];
};

static void *queue_new(void)
{
    static int number;
    struct queue *queue = shared_new(sizeof *queue);
    snprintf(queue->address, sizeof queue->address, "ipc://@slipring-peer-%ld-%d", (long)getpid(),
             number++);
    return queue;
}

static void queue_delete(void *queue)
{
    shared_free(queue, sizeof(struct queue));
}

static void *queue_open(void *queue, bool writes)
{
    static void *context; /* one per process; its end is the process's */
    if (context == NULL) {
        context = zmq_ctx_new();
    }
    void *socket = zmq_socket(context, writes ? ZMQ_PUSH : ZMQ_PULL);
    CHECK(socket != NULL);
    const char *address = ((const struct queue *)queue)->address;
    CHECK((writes ? zmq_connect(socket, address) : zmq_bind(socket, address)) == 0);
    return socket;
}

static inline unsigned queue_put(void *end, const struct message *messages, unsigned count)
{
    (void)count;
    CHECK(zmq_send(end, messages, sizeof *messages, 0) == (int)sizeof *messages);
    return 1;
}

static inline unsigned queue_get(void *end, struct message *messages, unsigned count)
{
    (void)count;
    CHECK(zmq_recv(end, messages, sizeof *messages, 0) == (int)sizeof *messages);
    return 1;
}

#include "queue.h"

const struct peer_measure peer_measures[] = {QUEUE_MEASURES, {NULL, NULL, NULL}};
