/* SPDX-License-Identifier: Apache-2.0 */
/* Concurrency Kit's ring, one producer and one consumer, messages by value; it has no batches. */
#include "peer.h"

#include <ck_ring.h>

#define SLOTS 1024u

CK_RING_PROTOTYPE(message, message)

struct queue {
    ck_ring_t ring;
    struct message slots[SLOTS];
};

static void *queue_new(void)
{
    struct queue *queue = shared_new(sizeof *queue);
    ck_ring_init(&queue->ring, SLOTS);
    return queue;
}

static void queue_delete(void *queue)
{
    shared_free(queue, sizeof(struct queue));
}

static void *queue_open(void *queue, bool writes)
{
    (void)writes;
    return queue;
}

static inline unsigned queue_put(void *end, const struct message *messages, unsigned count)
{
    struct queue *queue = end;
    unsigned done = 0;
    while (done < count) {
        struct message copy = messages[done]; /* its pointer is not to const */
        if (!CK_RING_ENQUEUE_SPSC(message, &queue->ring, queue->slots, &copy)) {
            break;
        }
        done++;
    }
    return done;
}

static inline unsigned queue_get(void *end, struct message *messages, unsigned count)
{
    struct queue *queue = end;
    unsigned done = 0;
    while (done < count &&
           CK_RING_DEQUEUE_SPSC(message, &queue->ring, queue->slots, &messages[done])) {
        done++;
    }
    return done;
}

#include "queue.h"

const struct peer_measure peer_measures[] = {QUEUE_MEASURES, {NULL, NULL, NULL}};
