/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The victims. Each runs in a forked child of the worker: the ring handle is its to use, the
 * survivors' handles are not. Those that go on after a freeze say by their exit code what came:
 * 0 done, EXIT_STALE noticed the eviction, 90 preparation failed, 91 read a wrong payload and was
 * told it was right, 92 a hold did not protect, 93 an error that may not be (report.rc).
 */
#include "op.h"

#include "stepkill.h"

#include <slipring/inline.h>

#include <errno.h>
#include <unistd.h>

static void leave(struct world *w, int rc)
{
    w->page->report.rc = rc;
    _exit(rc == 0 ? 0 : rc == -ESTALE ? EXIT_STALE : 93);
}

static struct slipring_producer *produce(struct world *w)
{
    struct slipring_producer *producer = NULL;
    w->page->report.rc = slipring_producer_attach(w->ring, NULL, &producer, NULL);
    if (w->page->report.rc) {
        _exit(90);
    }
    return producer;
}

static struct slipring_consumer *join(struct world *w)
{
    const uint32_t flags = w->op->flags;
    const bool many = flags & (OP_MEMBER | OP_SOLO);
    return world_join(w,
                      (flags & OP_UNORDERED ? SLIPRING_UNORDERED : 0u) |
                          (flags & OP_NEWEST ? SLIPRING_NEWEST : 0u) | (many ? SLIPRING_MANY : 0u),
                      flags & OP_KEPT   ? "kept"
                      : flags & OP_SOLO ? "solo"
                      : many            ? "work"
                                        : NULL,
                      SLIPRING_OLDEST, world_evicts(w));
}

static struct slipring_consumer *consume(struct world *w)
{
    struct slipring_consumer *const consumer = join(w);
    if (consumer == NULL) {
        _exit(90);
    }
    return consumer;
}

/* Is it nothing to worry about that there was nothing to be had? */
static int nothing_there(const struct world *w, int rc)
{
    const bool nothing = rc == -EAGAIN && (w->fill->eighths == 0 || w->op->flags & OP_MEMBER);
    return nothing || rc == -EOWNERDEAD ? 0 : rc;
}

static void fill(const struct world *w, void *data, uint64_t stride, uint64_t sequence, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        payload_fill((char *)data + i * stride, w->variant->bytes, sequence + i, BY_VICTIM);
    }
}

static int publish_inline(struct world *w, struct slipring_producer *producer, uint64_t n)
{
    struct slipring_fast *const fast = slipring_producer_fast(producer);
    void *data;
    int rc = slipring_fast_try_claim(fast, n, &data);
    if (rc == 0) {
        fill(w, data, fast->payload_stride, fast->next, n);
        rc = slipring_fast_publish(fast, n);
    }
    if (rc == 0) {
        w->page->report.published = fast->next;
    }
    return rc;
}

/* Claim, fill, publish n. */
static int publish(struct world *w, struct slipring_producer *producer, uint64_t n)
{
    if (w->op->flags & OP_INLINE) {
        return publish_inline(w, producer, n);
    }
    struct slipring_loan loan;
    int rc = slipring_producer_try_claim(producer, n, &loan);
    if (rc) {
        return rc;
    }
    fill(w, loan.data, loan.stride, loan.sequence, n);
    const bool spans = w->op->flags & OP_SPANS && n > 1;
    struct slipring_slot headers[SPAN];
    int64_t shapes[SPAN][2];
    for (uint64_t i = 0; i < n && i < SPAN; i++) {
        headers[i] = message_header(w, loan.sequence + i, BY_VICTIM, spans ? n : 1, shapes[i]);
    }
    if (spans) {
        rc = slipring_producer_publish_spanning(producer, headers);
    } else {
        rc = slipring_producer_publish(producer, n, world_has_headers(w) ? headers : NULL);
    }
    if (rc == 0) {
        w->page->report.published = loan.sequence + n;
    }
    return rc;
}

/* Where the ring is full: the publisher cannot. */
static int no_room(const struct world *w, int rc)
{
    return rc == -EAGAIN && w->fill->eighths == 8 ? 0 : rc;
}

/* Acquire two. */
static int acquire(struct world *w, struct slipring_consumer *consumer, struct slipring_view *view)
{
    if (!(w->op->flags & OP_INLINE)) {
        return slipring_consumer_try_acquire(consumer, 2, view);
    }
    struct slipring_fast *const fast = slipring_consumer_fast(consumer);
    const void *data;
    const int64_t got = slipring_fast_try_acquire(fast, 2, &data);
    if (got > 0) {
        *view = (struct slipring_view){.data = data,
                                       .stride = fast->payload_stride,
                                       .slots = (uint64_t)got,
                                       .slot.bytes = w->variant->bytes,
                                       .slot.sequence = fast->next - (uint64_t)got};
    }
    return got > 0 ? 0 : (int)got;
}

static int release(struct world *w, struct slipring_consumer *consumer,
                   const struct slipring_view *view)
{
    return w->op->flags & OP_INLINE
               ? slipring_fast_release(slipring_consumer_fast(consumer), view->slots)
               : slipring_consumer_release(consumer, view);
}

/* Is each slot as somebody published it? */
static bool whole(const struct world *w, const struct slipring_view *view, uint64_t stride)
{
    const uint64_t bytes = view->slots > 1 ? w->variant->bytes : view->slot.bytes;
    bool whole = true;
    for (uint64_t i = 0; i < view->slots; i++) {
        whole &= payload_author((const char *)view->data + i * stride, bytes,
                                view->slot.sequence + i) != 0;
    }
    return whole;
}

static void note(struct world *w, const struct slipring_view *view, _Atomic uint8_t *log)
{
    for (uint64_t i = 0; i < view->slots; i++) {
        log[(view->slot.sequence + i - w->start) % LOG_MAX] = 1;
    }
}

/* Process a view as a careful consumer does: read, act, release. */
static int process(struct world *w, struct slipring_consumer *consumer,
                   const struct slipring_view *view)
{
    const bool right = whole(w, view, view->stride);
    note(w, view, w->page->report.processed);
    note(w, view, w->page->report.releasing);
    const int rc = release(w, consumer, view);
    if (rc == 0) {
        note(w, view, w->page->report.released);
    }
    if (!right && rc == 0) {
        _exit(91);
    }
    if (!world_blocks(w) && (!right || rc)) {
        _exit(92);
    }
    return rc;
}

void victim_publish(void *world)
{
    struct world *const w = world;
    struct slipring_producer *const producer = produce(w);
    sk_begin();
    const int rc = publish(w, producer, w->op->arg);
    sk_end();
    leave(w, no_room(w, rc));
}

void victim_acquire(void *world)
{
    struct world *const w = world;
    struct slipring_consumer *const consumer = consume(w);
    struct slipring_view view;
    sk_begin();
    const int rc = acquire(w, consumer, &view);
    if (rc == 0) {
        w->page->report.note =
            whole(w, &view, view.stride) ? 0 : 2; /* reads while it may be evicted */
    }
    sk_end();
    leave(w, rc ? nothing_there(w, rc) : process(w, consumer, &view));
}

void victim_release(void *world)
{
    struct world *const w = world;
    struct slipring_consumer *const consumer = consume(w);
    struct slipring_view view;
    const int rc = acquire(w, consumer, &view);
    if (rc || !whole(w, &view, view.stride)) {
        w->page->report.rc = rc;
        _exit(90);
    }
    note(w, &view, w->page->report.processed);
    note(w, &view, w->page->report.releasing);
    w->page->report.note = 1; /* who waits for room may try now */
    while (w->op->flags & OP_WAKES && !(w->page->report.sleeper_ready == 2 && asleep(w->sleeper))) {
        nap();
    }
    sk_begin();
    const int released = release(w, consumer, &view);
    sk_end();
    if (released == 0) {
        note(w, &view, w->page->report.released);
    }
    if (!world_blocks(w) && released) {
        _exit(92);
    }
    leave(w, released);
}

void victim_copy(void *world)
{
    struct world *const w = world;
    struct slipring_consumer *const consumer = consume(w);
    struct slipring_view view;
    uint64_t buffer[32];
    sk_begin();
    const int rc = slipring_consumer_try_copy(consumer, buffer, sizeof(buffer), &view);
    sk_end();
    if (rc == 0 && !whole(w, &view, w->variant->bytes)) {
        _exit(91);
    }
    leave(w, rc == -EAGAIN ? 0 : rc);
}

/* Acquires and releases; with nothing more to be had it looks for what the dead have. */
void victim_work(void *world)
{
    struct world *const w = world;
    struct slipring_consumer *const consumer = consume(w);
    struct slipring_view view;
    bool in_vain = false;
    int rc = 0;
    sk_begin();
    for (uint32_t got = 0; rc == 0 && (w->op->arg == 0 || got < w->op->arg); got++) {
        rc = acquire(w, consumer, &view);
        if (rc == -ENOBUFS && !in_vain) { /* until the holds of the dead were looked for */
            in_vain = true;
            rc = acquire(w, consumer, &view);
        }
        if (rc == 0) {
            rc = process(w, consumer, &view);
        }
    }
    sk_end();
    leave(w, rc == -EAGAIN && w->op->arg == 0 ? 0 : nothing_there(w, rc));
}

/* The ring is full behind one who is dead: the claim has to free its cell. */
void victim_reap_gate(void *world)
{
    struct world *const w = world;
    struct slipring_producer *const producer = produce(w);
    sk_begin();
    const int rc = publish(w, producer, 1);
    sk_end();
    leave(w, rc == -EAGAIN ? 0 : rc);
}

/* The ring is full behind one who lives, and the producer has waited long enough for it. */
void victim_evict(void *world)
{
    struct world *const w = world;
    struct slipring_producer *const producer = produce(w);
    int rc = publish(w, producer, 1); /* the clock starts; behind another victim there is room */
    const int64_t since = slipring_now_ns();
    while (slipring_now_ns() - since < 2 * (int64_t)EVICT_NS) {
        nap();
    }
    sk_begin();
    rc = publish(w, producer, 1);
    sk_end();
    leave(w, rc == -EAGAIN ? 0 : rc);
}

/* Clear up after the dead, as the tool does. */
void victim_reap(void *world)
{
    struct world *const w = world;
    struct slipring_reaped reaped;
    sk_begin();
    const int rc = slipring_ring_reap(w->name, &reaped, NULL);
    sk_end();
    leave(w, rc == -ENOENT ? 0 : rc);
}

void victim_take_over(void *world)
{
    struct world *const w = world;
    struct slipring_producer *producer = NULL;
    sk_begin();
    const int rc = slipring_producer_attach(w->ring, NULL, &producer, NULL);
    sk_end();
    if (rc) {
        leave(w, rc == -EBUSY && w->op->flags & OP_LOCK_MOVES ? 0 : rc);
    }
    leave(w, no_room(w, publish(w, producer, 1)));
}

void victim_producer_detach(void *world)
{
    struct world *const w = world;
    struct slipring_producer *const producer = produce(w);
    struct slipring_loan loan;
    const int rc = publish(w, producer, 1);
    if (no_room(w, rc) || (rc == 0 && slipring_producer_try_claim(producer, 1, &loan))) {
        _exit(90);
    }
    sk_begin();
    slipring_producer_detach(producer);
    sk_end();
    leave(w, 0);
}

void victim_producer_close(void *world)
{
    struct world *const w = world;
    struct slipring_producer *const producer = produce(w);
    if (no_room(w, publish(w, producer, 1))) {
        _exit(90);
    }
    sk_begin();
    slipring_producer_close(producer);
    sk_end();
    leave(w, 0);
}

void victim_attach(void *world)
{
    struct world *const w = world;
    sk_begin();
    const struct slipring_consumer *const consumer = join(w);
    sk_end();
    leave(w, consumer == NULL ? w->page->report.rc : 0);
}

void victim_detach(void *world)
{
    struct world *const w = world;
    struct slipring_consumer *const consumer = consume(w);
    struct slipring_view view;
    const int rc = world_copies(w) ? 0 : slipring_consumer_try_acquire(consumer, w->op->arg, &view);
    if (nothing_there(w, rc)) {
        _exit(90);
    }
    sk_begin();
    slipring_consumer_detach(consumer);
    sk_end();
    leave(w, 0);
}

void victim_create(void *world)
{
    struct world *const w = world;
    struct slipring_config config;
    struct slipring_ring *ring = NULL;
    world_config(w, &config);
    sk_begin();
    const int rc = slipring_ring_create(w->op->arg == 1 ? NULL : w->name, &config, &ring, NULL);
    sk_end();
    w->page->report.rc = rc;
    _exit(rc == 0 || rc == -EEXIST ? 0 : 93);
}

void victim_open(void *world)
{
    struct world *const w = world;
    struct slipring_ring *ring = NULL;
    sk_begin();
    const int rc = slipring_ring_open(w->name, 0, &ring, NULL);
    sk_end();
    leave(w, rc);
}

void victim_unlink(void *world)
{
    struct world *const w = world;
    sk_begin();
    const int rc = slipring_ring_unlink(w->name, NULL);
    sk_end();
    w->page->report.rc = rc;
    _exit(rc == 0 || rc == -ENOENT ? 0 : 93);
}

void victim_ring_close(void *world)
{
    struct world *const w = world;
    struct slipring_config config;
    struct slipring_ring *ring = NULL;
    world_config(w, &config);
    w->page->report.rc = slipring_ring_create(w->name, &config, &ring, NULL);
    if (w->page->report.rc) {
        _exit(90);
    }
    sk_begin();
    slipring_ring_close(ring);
    sk_end();
    leave(w, 0);
}
