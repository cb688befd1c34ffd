/* SPDX-License-Identifier: Apache-2.0 */
/* The consumer's public calls: attach and detach, and waiting around acquire.c and consumer_overwrite.c. */
#include "ring/acquire.h"
#include "ring/consumer_poll.h"
#include "ring/group.h"
#include "ring/members.h"
#include "ring/reclaim.h"
#include "ring/recover.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FAST_BYTES 4096u
#define PROBE_EVERY INT64_C(1000000) /* ns */

void slipring_consumer_config_init(struct slipring_consumer_config *config)
{
    memset(config, 0, sizeof *config);
    config->struct_size = sizeof *config;
}

/* ---- attach ---- */

static int bad(struct slipring_error *error, const char *text)
{
    return slr_fail(error, -EINVAL, "slipring_consumer_attach", "%s", text);
}

static int check_group_name(const char *name, struct slipring_error *error)
{
    if (name[0] == '\0' || memchr(name, '\0', SLIPRING_GROUP_NAME_BYTES) == NULL) {
        return bad(error, "group: a name has 1 to 47 characters; NULL for a group without a name");
    }
    return 0;
}

static int check_config(const struct slipring_ring *ring,
                        const struct slipring_consumer_config *config, struct slipring_error *error)
{
    const uint32_t known = SLIPRING_MANY | SLIPRING_UNORDERED | SLIPRING_NEWEST | SLIPRING_VERIFY |
                           SLIPRING_INTERRUPTIBLE | SLIPRING_AWAIT_PRODUCER;
    const bool many = (config->flags & SLIPRING_MANY) != 0;
    if (config->struct_size != sizeof *config) {
        return bad(error, "config.struct_size: begin with slipring_consumer_config_init()");
    }
    if ((config->flags & ~known) != 0 || config->wait > SLIPRING_WAIT_SLEEP ||
        config->start > SLIPRING_SEQUENCE || config->slow > SLIPRING_EVICT) {
        return bad(error, "config: flags, wait, start or slow is not one that a consumer knows");
    }
    if (config->group != NULL && check_group_name(config->group, error) != 0) {
        return -EINVAL;
    }
    if (many && config->group == NULL) {
        return bad(error, "SLIPRING_MANY needs a group name that its members share");
    }
    if (many && (config->flags & SLIPRING_NEWEST) != 0) {
        return bad(error,
                   "SLIPRING_NEWEST skips messages, SLIPRING_MANY processes each: choose one");
    }
    if (config->slow == SLIPRING_EVICT && config->evict_after_ns == 0) {
        return bad(error, "SLIPRING_EVICT needs evict_after_ns, the producer's patience");
    }
    if ((config->flags & SLIPRING_VERIFY) != 0 &&
        (ring->segment.geometry.flags & SLIPRING_CHECKSUM) == 0) {
        return bad(error, "SLIPRING_VERIFY needs a ring with a checksum: create it with "
                          "SLIPRING_CHECKSUM");
    }
    if (slr_overwrites(&ring->segment) && (many || config->slow == SLIPRING_EVICT)) {
        return bad(error, "an overwrite ring waits for nobody: no work sharing and no eviction "
                          "there; create a block ring for them");
    }
    if (slr_overwrites(&ring->segment) && config->group != NULL) {
        return bad(error, "an overwrite ring has no groups: each reader reads for itself; leave "
                          "group NULL");
    }
    return 0;
}

static void consumer_free(struct slipring_consumer *consumer)
{
    slr_lock_close(&consumer->lock);
    slr_os_wiped_free(consumer->fast, FAST_BYTES);
    free(consumer->shapes);
    free(consumer);
}

static int consumer_new(struct slipring_ring *ring, const struct slipring_consumer_config *config,
                        struct slipring_consumer **out, struct slipring_error *error)
{
    struct slipring_consumer *consumer = calloc(1, sizeof *consumer);
    int64_t *shapes = calloc(ring->segment.geometry.dims + 1, sizeof *shapes);
    void *fast = NULL;
    const int result =
        consumer == NULL || shapes == NULL ? -ENOMEM : slr_os_wiped_alloc(FAST_BYTES, &fast);
    if (result != 0) {
        free(shapes);
        free(consumer);
        return slr_fail(error, result, "mmap", "no memory for a consumer handle (errno %d)",
                        -result);
    }
    consumer->fast = fast;
    consumer->shapes = shapes;
    consumer->lock.fd = -1;
    consumer->ring = ring;
    consumer->cell = UINT32_MAX;
    consumer->group = SLR_NO_GROUP;
    consumer->kind = slr_overwrites(&ring->segment) ? SLR_KIND_READER : SLR_KIND_ONE;
    consumer->flags = config->flags;
    consumer->slow = config->slow;
    consumer->references = 1;
    *out = consumer;
    return 0;
}

static void set_fast(struct slipring_consumer *consumer, uint64_t start)
{
    struct slr_segment *segment = &consumer->ring->segment;
    const struct slr_geometry *geometry = &segment->geometry;
    struct slipring_fast *fast = consumer->fast;
    fast->next = start;
    fast->end = start;
    fast->taken = start;
    fast->missed = start;
    fast->mask = geometry->slots - 1;
    fast->header_stride = geometry->header_stride;
    fast->payload_stride = geometry->payload_stride;
    fast->stamps = segment->headers + geometry->stamp_in_header;
    fast->payload = segment->payload;
    fast->cursor = (uint64_t *)(void *)&segment->data->cursor;
    fast->slot_bytes = geometry->slot_bytes;
    const bool plain = consumer->kind == SLR_KIND_ONE && consumer->releases == NULL &&
                       consumer->slow == SLIPRING_GATE &&
                       (consumer->flags & (SLIPRING_NEWEST | SLIPRING_VERIFY)) == 0 &&
                       !slr_is_tensor(segment);
    fast->mode = plain ? SLIPRING_FAST_COMPACT : SLIPRING_FAST_SLOW;
    if (segment->control != NULL) {
        fast->waiting = (uint32_t *)(void *)&segment->control->producer_waiting;
        if (consumer->cell != UINT32_MAX) {
            fast->released = (uint64_t *)(void *)&segment->cells[consumer->cell].released;
        }
    }
    fast->handle = consumer;
}

/* A group of one without a name, new: gate at the oldest, then see where the producer is. */
static int join_alone(struct slipring_consumer *consumer,
                      const struct slipring_consumer_config *config, uint64_t *start)
{
    struct slr_segment *segment = &consumer->ring->segment;
    struct slr_cell *cell = &segment->cells[consumer->cell];
    const uint64_t patience = config->slow == SLIPRING_EVICT ? config->evict_after_ns : 0;
    slr_store64(&cell->evict_after_ns, patience); /* shown by the next change of the word */
    /* REAP: not seen before the cell's word, by a reaper of its last owner. */
    slr_store64_release(&cell->released, slr_oldest(segment));
    if (!slr_cell_show(consumer, SLR_NO_GROUP, consumer->kind, SLR_CELL_ACTIVE)) {
        return -ESTALE;
    }
    slr_fence_full(); /* JOIN: the cell before the look at the limit */
    *start = slr_start(consumer, config);
    slr_store64_release(&cell->released, *start); /* RELEASE */
    return 0;
}

static int join_named(struct slipring_consumer *consumer,
                      const struct slipring_consumer_config *config, uint64_t *start,
                      struct slipring_error *error)
{
    struct slr_segment *segment = &consumer->ring->segment;
    struct slr_cell *cell = &segment->cells[consumer->cell];
    const bool many = (config->flags & SLIPRING_MANY) != 0;
    const uint64_t patience = config->slow == SLIPRING_EVICT ? config->evict_after_ns : 0;
    bool fresh = false;
    slr_store64(&cell->evict_after_ns, many ? 0 : patience); /* shown with the cell's word */
    const int result = slr_group_join(consumer, config, start, &fresh, error);
    if (result != 0) {
        return result;
    }
    consumer->kind = many ? SLR_KIND_MANY : SLR_KIND_ONE;
    if (!fresh) {
        return 0;
    }
    /* slr_group_join() fenced after it showed the cell (JOIN). */
    *start = slr_start(consumer, config);
    if (many) {
        struct slr_group *group = &segment->groups[consumer->group];
        slr_store64(&group->take, *start);             /* hint */
        slr_store64_release(&group->position, *start); /* RELEASE */
    } else {
        slr_store64_release(&cell->released, *start); /* RELEASE */
    }
    slr_lock_drop(&consumer->lock, SLR_LOCK_JOIN);
    return 0;
}

static int join(struct slipring_consumer *consumer, const struct slipring_consumer_config *config,
                uint64_t *start, struct slipring_error *error)
{
    struct slr_segment *segment = &consumer->ring->segment;
    int result = slr_lock_open(&consumer->lock, segment->control_fd);
    if (result != 0) {
        return slr_fail(error, result, "open", "cannot open the control object again: %s",
                        slipring_strerror(result));
    }
    result = slr_cell_take(consumer, error);
    if (result != 0) {
        return result;
    }
    if ((config->flags & SLIPRING_UNORDERED) != 0 && consumer->kind == SLR_KIND_ONE &&
        (config->flags & SLIPRING_MANY) == 0) {
        result = slr_cell_take_releases(consumer, error);
    }
    if (result == 0) {
        result = config->group == NULL ? join_alone(consumer, config, start)
                                       : join_named(consumer, config, start, error);
        if (result == -ESTALE) {
            result = slr_fail(error, -EBADMSG, "slipring_consumer_attach",
                              "the ring's control object is being overwritten");
        }
    }
    if (result != 0) {
        slr_cell_leave(consumer);
    }
    return result;
}

int slipring_consumer_attach(struct slipring_ring *ring,
                             const struct slipring_consumer_config *config,
                             struct slipring_consumer **out, struct slipring_error *error)
{
    SLR_NOT_CANCELLED;
    struct slipring_consumer_config defaults;
    slipring_consumer_config_init(&defaults);
    config = config == NULL ? &defaults : config;
    int result = check_config(ring, config, error);
    if (result == 0) {
        result = slr_ring_present(ring, error);
    }
    if (result != 0) {
        return result;
    }
    struct slr_segment *segment = &ring->segment;
    struct slipring_consumer *consumer = NULL;
    slr_segment_populate(segment, false); /* before the producer has to wait for this member */
    result = consumer_new(ring, config, &consumer, error);
    if (result != 0) {
        return result;
    }
    struct slr_bell bell = {NULL, NULL};
    uint64_t start = 0;
    if (ring->read_only) {
        start = slr_start(consumer, config);
    } else {
        result = join(consumer, config, &start, error);
        bell = (struct slr_bell){&segment->control->consumers_waiting,
                                 &segment->control->consumers_wake};
        consumer->producer = (struct slr_bell){&segment->control->producer_waiting,
                                               &segment->control->producer_wake};
    }
    if (result != 0) {
        consumer_free(consumer);
        return result;
    }
    slr_waiter_init(&consumer->waiter, bell, consumer->cell, config->wait,
                    (config->flags & SLIPRING_INTERRUPTIBLE) != 0, SLR_SLEEP_STEP);
    consumer->waiter.cells = ring->read_only ? NULL : &segment->control->cells_high;
    set_fast(consumer, start);
    slr_ring_hold(ring);
    *out = consumer;
    return 0;
}

void slr_consumer_drop(struct slipring_consumer *consumer)
{
    SLR_NOT_CANCELLED;
    if (slr_exported_last(consumer)) {
        struct slipring_ring *ring = consumer->ring;
        consumer_free(consumer);
        slr_ring_drop(ring);
    }
}

void slipring_consumer_detach(struct slipring_consumer *consumer)
{
    SLR_NOT_CANCELLED;
    if (consumer == NULL) {
        return;
    }
    bool pending = false;
    slr_poll_end(consumer);
    if (!slr_consumer_forked(consumer)) {
        slr_reclaim_detach(consumer); /* from here on no foreign release comes in */
        /* With stores of a device under way the cell and its lock stay ours until none is. */
        pending =
            slr_cas32(&consumer->devices, SLR_DEVICES_PENDING, SLR_DEVICES_DETACHED); /* OWN */
        if (consumer->cell != UINT32_MAX) {
            slr_cell_leave(consumer);
            slr_bell_check(consumer->producer);
        }
    }
    if (!pending) {
        slr_lock_close(&consumer->lock);
    }
    slr_consumer_drop(consumer);
}

/* ---- acquire and copy ---- */

/* The common case by the code of slipring/inline.h: a compact or pair ring, nothing to tell but
 * what lies there. */
static bool acquire_plain(struct slipring_consumer *consumer, uint64_t slots,
                          struct slipring_view *view)
{
    struct slipring_fast *fast = consumer->fast;
    const uint64_t first = fast->next;
    const void *data;
    if (fast->mode == SLIPRING_FAST_SLOW || slots == 0 ||
        (consumer->pending_missed | consumer->gap) != 0 ||
        consumer->ring->segment.geometry.shapes_in_header != 0) {
        return false;
    }
    const uint64_t count = slipring_fast_take(fast, slots, &data);
    if (count == 0) {
        return false;
    }
    slr_view_plain(consumer, first, count, view);
    return true;
}

static bool release_plain(struct slipring_consumer *consumer, const struct slipring_view *view)
{
    struct slipring_fast *fast = consumer->fast;
    return fast->mode != SLIPRING_FAST_SLOW && view->token == 0 && view->slots != 0 &&
           view->slot.sequence == fast->taken && view->slots <= fast->next - fast->taken &&
           slipring_fast_release(fast, view->slots) == 0;
}

struct call {
    struct slipring_consumer *consumer;
    uint64_t slots;
    void *buffer; /* NULL: acquire in place */
    uint64_t bytes;
    struct slipring_view *view;
};

/* Block rings: in place, then out and back at once. */
static int copy_out(struct call *call)
{
    struct slipring_consumer *consumer = call->consumer;
    if (slr_overwrites(&consumer->ring->segment)) {
        return slr_reader_copy(consumer, call->buffer, call->bytes, call->view);
    }
    return slr_acquire_copy(consumer, call->buffer, call->bytes, call->view);
}

static int attempt(struct call *call)
{
    return call->buffer != NULL ? copy_out(call)
                                : slr_acquire(call->consumer, call->slots, call->view);
}

static int ready(void *context, bool slow)
{
    struct call *call = context;
    int result = attempt(call);
    if (result == -EAGAIN) {
        if (slow) {
            call->consumer->waiter.step_ns = slr_sleep_step(call->consumer);
        }
        result = slr_stream_end(call->consumer, call->consumer->fast->next, slow);
        if (result == -EAGAIN && slow) {
            call->consumer->look_everywhere = true; /* recovery may have brought something back */
            result = attempt(call);
        }
    }
    return result;
}

static int check_call(const struct slipring_consumer *consumer, uint64_t slots)
{
    return slr_consumer_forked(consumer) ? -ECHILD : slots == 0 ? -EINVAL : 0;
}

/* Nothing came, and the producer is there as it was a moment ago. */
static bool quiet(struct slipring_consumer *consumer)
{
    /* Relaxed: who sees the word change goes and looks properly. */
    const uint64_t word = slr_load64(&consumer->ring->segment.data->producer);
    const uint64_t now = slr_os_ticks();
    if (slr_producer_state(word) == SLR_PRODUCER_ATTACHED && word == consumer->quiet_word &&
        now - consumer->quiet_ticks < SLR_OS_TICKS) {
        return true;
    }
    consumer->quiet_word = word;
    consumer->quiet_ticks = now;
    return false;
}

static int try_call(struct call *call)
{
    int result = attempt(call);
    if (result == -EAGAIN && !quiet(call->consumer)) {
        const int64_t now = slr_os_now();
        const bool slow = now - call->consumer->probed_ns >= PROBE_EVERY;
        if (slow) {
            call->consumer->probed_ns = now;
        }
        result = ready(call, slow);
    }
    return result;
}

static int wait_call(struct call *call, int64_t deadline_ns)
{
    const int result = attempt(call);
    return result != -EAGAIN ? result : slr_wait(&call->consumer->waiter, ready, call, deadline_ns);
}

int slipring_consumer_try_acquire(struct slipring_consumer *consumer, uint64_t slots,
                                  struct slipring_view *view)
{
    if (acquire_plain(consumer, slots, view)) {
        return 0;
    }
    struct call call = {.consumer = consumer, .slots = slots, .view = view};
    const int result = check_call(consumer, slots);
    return result != 0 ? result : try_call(&call);
}

int slipring_consumer_acquire(struct slipring_consumer *consumer, uint64_t slots,
                              struct slipring_view *view, int64_t deadline_ns)
{
    if (acquire_plain(consumer, slots, view)) {
        return 0;
    }
    struct call call = {.consumer = consumer, .slots = slots, .view = view};
    const int result = check_call(consumer, slots);
    return result != 0 ? result : wait_call(&call, deadline_ns);
}

int slipring_consumer_release(struct slipring_consumer *consumer, const struct slipring_view *view)
{
    if (release_plain(consumer, view)) {
        return 0;
    }
    return slr_consumer_forked(consumer) ? -ECHILD : slr_release(consumer, view);
}

int slipring_consumer_try_copy(struct slipring_consumer *consumer, void *buffer, uint64_t bytes,
                               struct slipring_view *view)
{
    struct call call = {.consumer = consumer, .buffer = buffer, .bytes = bytes, .view = view};
    const int result = check_call(consumer, buffer == NULL ? 0 : 1);
    return result != 0 ? result : try_call(&call);
}

int slipring_consumer_copy(struct slipring_consumer *consumer, void *buffer, uint64_t bytes,
                           struct slipring_view *view, int64_t deadline_ns)
{
    struct call call = {.consumer = consumer, .buffer = buffer, .bytes = bytes, .view = view};
    const int result = check_call(consumer, buffer == NULL ? 0 : 1);
    return result != 0 ? result : wait_call(&call, deadline_ns);
}

void slipring_consumer_wake(struct slipring_consumer *consumer)
{
    if (!slr_consumer_forked(consumer)) {
        slr_waiter_cancel(&consumer->waiter);
    }
}

/* ---- where it stands ---- */

uint64_t slipring_consumer_lag(const struct slipring_consumer *consumer)
{
    if (slr_consumer_forked(consumer)) {
        return 0;
    }
    const struct slr_segment *segment = &consumer->ring->segment;
    const uint64_t cursor = slr_load64_acquire(&segment->data->cursor); /* CURSOR */
    uint64_t next = __builtin_expect(consumer->kind == SLR_KIND_MANY, 0)
                        ? slr_load64(&segment->groups[consumer->group].take) /* display */
                        : consumer->fast->next;
    const int64_t lag = slr_distance(cursor, next);
    return lag > 0 ? (uint64_t)lag : 0;
}

int slipring_consumer_stats(const struct slipring_consumer *consumer, struct slipring_stats *stats)
{
    if (slr_consumer_forked(consumer)) {
        return -ECHILD;
    }
    if (stats->struct_size != sizeof *stats) {
        return -EINVAL;
    }
    const struct slr_segment *segment = &consumer->ring->segment;
    stats->cell = consumer->cell;
    stats->next = consumer->kind == SLR_KIND_MANY
                      ? slr_load64(&segment->groups[consumer->group].take) /* display */
                      : consumer->fast->next;
    stats->lag = slipring_consumer_lag(consumer);
    stats->missed = slr_load64(&consumer->missed); /* counters */
    stats->missed_messages = slr_load64(&consumer->missed_messages);
    stats->damaged = slr_load64(&consumer->damaged);
    return 0;
}

/* ---- slow paths of slipring/inline.h ---- */

struct slipring_fast *slipring_consumer_fast(struct slipring_consumer *consumer)
{
    return consumer->fast;
}

/* Releasing by count needs an order: groups of one in block rings, ordered. */
static bool counts(const struct slipring_consumer *consumer)
{
    return consumer->kind == SLR_KIND_ONE && consumer->releases == NULL;
}

int64_t slipring_fast_acquire_slow(struct slipring_fast *fast, uint64_t slots, const void **data)
{
    struct slipring_consumer *consumer = fast->handle;
    struct slipring_view view;
    if (consumer == NULL) {
        return -ECHILD;
    }
    if (!counts(consumer)) {
        return -EINVAL;
    }
    const int result = slipring_consumer_try_acquire(consumer, slots, &view);
    if (result != 0) {
        return result;
    }
    *data = view.data;
    return (int64_t)view.slots;
}

int slipring_fast_release_slow(struct slipring_fast *fast, uint64_t slots)
{
    struct slipring_consumer *consumer = fast->handle;
    if (consumer == NULL) {
        return -ECHILD;
    }
    if (!counts(consumer) || slots > fast->next - fast->taken) {
        return -EINVAL;
    }
    const struct slipring_view view = {.slot = {.sequence = fast->taken}, .slots = slots};
    return slr_release(consumer, &view);
}

void slipring_fast_wake(struct slipring_fast *fast)
{
    /* Producer and consumer structs differ in whom they wake; the flag's address says which. */
    uint32_t *waiting = fast->waiting;
    slr_bell_ring((struct slr_bell){
        (_Atomic uint32_t *)(void *)waiting,
        (_Atomic uint32_t *)(void *)((uint8_t *)waiting +
                                     (offsetof(struct slr_control, consumers_wake) -
                                      offsetof(struct slr_control, consumers_waiting)))});
}
