/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ordered consumers: views die in any order and on any thread, the core wants their slots back in
 * the order they were acquired, and not while another thread acquires. So each view has a node in
 * a list, oldest first; who ends one marks it, and whoever holds the consumer's lock returns what
 * is done at the list's front. Is that another thread, it may be asleep for a producer that waits
 * for these very slots: it is woken to do it.
 */
#include "ring/consumer.h"

#include <stdlib.h>

struct order_node {
    struct slipring_view view;
    struct order_node *next;
    bool done;
};

struct order_node *order_add(struct consumer_object *self, const struct slipring_view *view)
{
    struct order_node *node = malloc(sizeof *node);
    if (node == NULL) {
        return NULL;
    }
    *node = (struct order_node){.view = *view};
    pthread_mutex_lock(&self->guard);
    if (self->newest == NULL) {
        self->oldest = node;
    } else {
        self->newest->next = node;
    }
    self->newest = node;
    pthread_mutex_unlock(&self->guard);
    return node;
}

/* The front of the list, if it is done, taken out of it. */
static struct order_node *take_done(struct consumer_object *self)
{
    pthread_mutex_lock(&self->guard);
    struct order_node *node = self->oldest;
    if (node != NULL && node->done) {
        self->oldest = node->next;
        self->newest = node->next == NULL ? NULL : self->newest;
    } else {
        node = NULL;
    }
    pthread_mutex_unlock(&self->guard);
    return node;
}

static int drain(struct consumer_object *self, const struct order_node *mine)
{
    int result = 0;
    struct order_node *node;
    while ((node = take_done(self)) != NULL) {
        const int released =
            self->consumer == NULL ? 0 : slipring_consumer_release(self->consumer, &node->view);
        result = node == mine ? released : result;
        free(node);
    }
    return result;
}

void order_drain(struct consumer_object *self)
{
    (void)drain(self, NULL);
}

static bool front_done(struct consumer_object *self)
{
    pthread_mutex_lock(&self->guard);
    const bool done = self->oldest != NULL && self->oldest->done;
    pthread_mutex_unlock(&self->guard);
    return done;
}

int order_done(struct consumer_object *self, struct order_node *node)
{
    pthread_mutex_lock(&self->guard);
    node->done = true;
    pthread_mutex_unlock(&self->guard);
    int result = 0;
    /* Who gives the lock looks at the list once more after that, so one of the two sees it done. */
    while (front_done(self)) {
        if (!lock_try(&self->lock)) {
            pthread_mutex_lock(&self->guard);
            if (self->consumer != NULL) {
                slipring_consumer_wake(self->consumer);
            }
            pthread_mutex_unlock(&self->guard);
            break;
        }
        result = drain(self, node);
        lock_give(&self->lock);
    }
    return result;
}

void consumer_unlock(struct consumer_object *self)
{
    lock_give(&self->lock);
    while (self->ordered && front_done(self) && lock_try(&self->lock)) {
        order_drain(self);
        lock_give(&self->lock);
    }
}
