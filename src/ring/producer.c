/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The producer: attach and takeover, claim, publish.
 *
 * Takeover. The end of the stream is the first sequence, from the cursor on, that is not stamped
 * (the cursor is stored once per batch and may lag). Stamps beyond it, up to the limit, are of
 * messages that were never whole (a spanning one is stamped from its last slot to its first):
 * they are cleared before the epoch goes up, or they would count as published once the sequences
 * before them are. Each step may be repeated, so a death on the way does no harm.
 */
#include "ring/gate.h"
#include "ring/hold.h"
#include "ring/recover.h"
#include "ring/slot.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FAST_BYTES 4096u

/* ---- attach ---- */

void slipring_producer_config_init(struct slipring_producer_config *config)
{
    memset(config, 0, sizeof *config);
    config->struct_size = sizeof *config;
}

static void find_counts(struct slipring_fast *fast, const struct slr_segment *segment, uint64_t end)
{
    fast->messages = 0;
    fast->passed = 0;
    if (slr_is_compact(segment)) {
        return;
    }
    uint64_t passed = 0; /* between the last message and the end */
    for (uint64_t back = 1; back <= slr_slots(segment); back++) {
        const uint64_t s = end - back;
        if (slr_distance(s, segment->geometry.start_sequence) < 0) {
            fast->passed = passed;
            return;
        }
        const struct slr_header *header = slr_header(segment, s);
        const enum slr_slot_state state = slr_slot_look(segment, s);
        /* Relaxed below: published, and nobody else writes data any more. */
        if (state == SLR_SLOT_PASSED) {
            passed++;
        } else if (state == SLR_SLOT_HERE && slr_span(segment, s) != 0) {
            fast->messages =
                s + slr_load64(&header->messages_before) + slr_load32(&header->messages);
            fast->passed = slr_load64(&header->passed_before) + passed;
            return;
        }
    }
}

static void take_over(struct slipring_producer *producer, uint64_t word)
{
    const struct slr_segment *segment = &producer->ring->segment;
    struct slipring_fast *fast = producer->fast;
    struct slr_data *data = segment->data;
    uint64_t end = slr_load64_acquire(&data->cursor);        /* TAKEOVER */
    const uint64_t limit = slr_load64_acquire(&data->limit); /* TAKEOVER */
    const uint64_t cursor = end;
    while (end - cursor < slr_slots(segment) &&
           slr_load64_acquire(slr_stamp(segment, end)) == end) { /* TAKEOVER */
        end++;
    }
    for (uint64_t s = end; slr_distance(limit, s) > 0 && s - end < slr_slots(segment); s++) {
        _Atomic uint64_t *stamp = slr_stamp(segment, s);
        if (slr_load64_acquire(stamp) == s) {  /* TAKEOVER */
            slr_store64_release(stamp, s - 1); /* PUBLISH, of nothing */
        }
    }
    fast->next = end;
    fast->end = end;
    fast->taken = 0;
    fast->plain = end; /* whatever the ones before wrote */
    find_counts(fast, segment, end);
    producer->reported = limit;
    producer->epoch = slr_producer_epoch(word) + 1;
    slr_store64_release(&data->cursor, end); /* CURSOR */
    slr_store64_release(&data->producer,
                        slr_producer_word(producer->epoch, SLR_PRODUCER_ATTACHED)); /* TAKEOVER */
}

static void set_fast(struct slipring_producer *producer)
{
    const struct slr_segment *segment = &producer->ring->segment;
    const struct slr_geometry *geometry = &segment->geometry;
    struct slipring_fast *fast = producer->fast;
    fast->mask = geometry->slots - 1;
    fast->header_stride = geometry->header_stride;
    fast->payload_stride = geometry->payload_stride;
    fast->stamps = segment->headers + geometry->stamp_in_header;
    fast->payload = segment->payload;
    fast->cursor = (uint64_t *)(void *)&segment->data->cursor;
    fast->waiting = (uint32_t *)(void *)&segment->control->consumers_waiting;
    fast->slot_bytes = geometry->slot_bytes;
    const bool plain =
        !slr_overwrites(segment) &&
        (geometry->flags & (SLIPRING_TIMESTAMP | SLIPRING_CHECKSUM | SLIPRING_VARIABLE_SHAPE)) == 0;
    fast->mode = SLIPRING_FAST_SLOW;
    if (plain && slr_is_compact(segment)) {
        fast->mode = SLIPRING_FAST_COMPACT;
    } else if (plain && !slr_is_tensor(segment)) {
        fast->mode = SLIPRING_FAST_HEADER;
    }
    fast->handle = producer;
}

static int check_config(const struct slipring_producer_config *config, struct slipring_error *error)
{
    if (config->struct_size != sizeof *config || config->wait > SLIPRING_WAIT_SLEEP ||
        (config->flags & ~(uint32_t)SLIPRING_INTERRUPTIBLE) != 0) {
        return slr_fail(error, -EINVAL, "slipring_producer_attach",
                        "config: struct_size, flags or wait is not one that a producer knows; "
                        "begin with slipring_producer_config_init()");
    }
    return 0;
}

static void producer_free(struct slipring_producer *producer)
{
    slr_lock_close(&producer->lock);
    slr_os_wiped_free(producer->fast, FAST_BYTES);
    free(producer);
}

static int lock_producer(struct slipring_producer *producer, struct slipring_error *error)
{
    struct slr_segment *segment = &producer->ring->segment;
    int result = slr_lock_open(&producer->lock, segment->control_fd);
    if (result == 0) {
        result = slr_lock_take(&producer->lock, SLR_LOCK_PRODUCER, false);
    }
    if (result == -EAGAIN) {
        return slr_fail(error, -EBUSY, "slipring_producer_attach",
                        "process %u is the ring's producer and lives, and there can be one at a "
                        "time: let it detach or end it, or create another ring",
                        slr_load32(&segment->control->producer_pid)); /* display */
    }
    if (result != 0) {
        return slr_fail(error, result, "fcntl(F_OFD_SETLK)", "cannot lock the control object: %s",
                        slipring_strerror(result));
    }
    return 0;
}

int slipring_producer_attach(struct slipring_ring *ring,
                             const struct slipring_producer_config *config,
                             struct slipring_producer **out, struct slipring_error *error)
{
    SLR_NOT_CANCELLED;
    struct slipring_producer_config defaults;
    slipring_producer_config_init(&defaults);
    config = config == NULL ? &defaults : config;
    int result = check_config(config, error);
    if (result == 0 && ring->read_only) {
        result = slr_fail(error, -EPERM, "slipring_producer_attach",
                          "the ring was opened read-only; open it without SLIPRING_READ_ONLY");
    }
    if (result == 0) {
        result = slr_ring_present(ring, error);
    }
    if (result != 0) {
        return result;
    }
    struct slr_segment *segment = &ring->segment;
    struct slipring_producer *producer = calloc(1, sizeof *producer);
    if (producer == NULL) {
        return slr_fail(error, -ENOMEM, "calloc", "no memory for a producer handle");
    }
    producer->ring = ring;
    producer->lock.fd = -1;
    void *fast = NULL;
    result = slr_os_wiped_alloc(FAST_BYTES, &fast);
    if (result != 0) {
        free(producer);
        return slr_fail(error, result, "mmap", "no memory for a producer handle (errno %d)",
                        -result);
    }
    producer->fast = fast;
    result = lock_producer(producer, error);
    if (result != 0) {
        producer_free(producer);
        return result;
    }
    const uint64_t word = slr_load64_acquire(&segment->data->producer); /* TAKEOVER */
    if (slr_producer_state(word) == SLR_PRODUCER_CLOSED) {
        result = slr_fail(error, -EPIPE, "slipring_producer_attach",
                          "the stream was closed by its producer; create a new ring");
    } else {
        result = slr_segment_write(segment, error);
    }
    if (result != 0) {
        producer_free(producer);
        return result;
    }
    producer->consumers =
        (struct slr_bell){&segment->control->consumers_waiting, &segment->control->consumers_wake};
    slr_waiter_init(
        &producer->waiter,
        (struct slr_bell){&segment->control->producer_waiting, &segment->control->producer_wake}, 0,
        config->wait, (config->flags & SLIPRING_INTERRUPTIBLE) != 0, SLR_SLEEP_STEP_PRODUCER);
    slr_segment_populate(segment, true);
    if (slr_load64_acquire(&segment->data->devices) != 0) { /* TAKEOVER */
        /* One that died, or left, with stamps to be stored by its device: until no more can come. A
         * late one would show a message of ours half written. */
        const int64_t until = slr_os_now() + SLR_RETIRED_NS;
        while (slr_os_sleep(until) == -EINTR) {
        }
        slr_store64(&segment->data->devices, 0); /* relaxed: a hint to sleepers from here on */
    }
    slr_store32(&segment->control->producer_pid, (uint32_t)slr_os_pid()); /* display */
    take_over(producer, word);
    set_fast(producer);
    slr_bell_ring(producer->consumers); /* those that await a producer, or report its death */
    slr_ring_hold(ring);
    *out = producer;
    return 0;
}

static void end(struct slipring_producer *producer, uint32_t state)
{
    SLR_NOT_CANCELLED;
    if (producer == NULL) {
        return;
    }
    struct slipring_ring *ring = producer->ring;
    if (!slr_producer_forked(producer)) {
        producer->fast->taken = 0;
        if (slr_lent(producer)) {
            slr_device_wait(producer);
        }
        slr_store64_release(&ring->segment.data->producer,
                            slr_producer_word(producer->epoch, state)); /* CURSOR; TAKEOVER */
        slr_store32(&ring->segment.control->producer_pid, 0);           /* display */
        slr_bell_ring(producer->consumers);
        slr_segment_write_end(&ring->segment);
    }
    producer_free(producer);
    slr_ring_drop(ring);
}

void slipring_producer_detach(struct slipring_producer *producer)
{
    end(producer, SLR_PRODUCER_NONE);
}

void slipring_producer_close(struct slipring_producer *producer)
{
    end(producer, SLR_PRODUCER_CLOSED);
}

struct slipring_fast *slipring_producer_fast(struct slipring_producer *producer)
{
    return producer->fast;
}

/* ---- claim ---- */

/* Pass over what readers hold and invalidate what will be written; -EAGAIN if no run of slots
 * without a held one is to be had. */
static int clear_slots(struct slipring_producer *producer, uint64_t slots)
{
    const struct slr_segment *segment = &producer->ring->segment;
    struct slipring_fast *fast = producer->fast;
    uint64_t base = fast->next;
    for (;;) {
        if (base - fast->next + slots > slr_slots(segment)) {
            return -EAGAIN; /* a whole lap was looked through */
        }
        const uint64_t held = slr_hold_pass(producer, base, slots);
        if (held == base + slots) {
            break;
        }
        base = held + 1;
    }
    if (slr_distance(base + slots, fast->end) > 0) {
        (void)slr_gate_raise(producer, base + slots - fast->next); /* overwrite: cannot fail */
    }
    for (; fast->next != base; fast->next++) {
        fast->passed++;
        slr_store64_release(slr_stamp(segment, fast->next), fast->next); /* PUBLISH, of a pass */
        slr_store64_release((_Atomic uint64_t *)(void *)fast->cursor, fast->next + 1); /* CURSOR */
    }
    return 0;
}

static void invalidate_stamps(const struct slr_segment *segment, uint64_t base, uint64_t slots)
{
    for (uint64_t s = base; s != base + slots; s++) {
        slr_store64(slr_stamp(segment, s), s - 1); /* CLAIM: by the fence below */
    }
    slr_fence_release(); /* CLAIM */
}

static int claim_room(struct slipring_producer *producer, uint64_t slots)
{
    const struct slr_segment *segment = &producer->ring->segment;
    struct slipring_fast *fast = producer->fast;
    if (fast->end - fast->next < slots) {
        const int result = slr_gate_raise(producer, slots);
        if (result != 0) {
            return result;
        }
    }
    if (slr_is_tensor(segment) && segment->geometry.hold_max == 0) {
        slr_invalidate(segment, fast->next, slots); /* CLAIM */
    } else if (slr_is_tensor(segment)) {
        const int result = clear_slots(producer, slots);
        if (result != 0) {
            return result;
        }
    } else if (slr_overwrites(segment)) {
        invalidate_stamps(segment, fast->next, slots);
    }
    producer->blocked_ns = 0;
    fast->taken = slots;
    return 0;
}

/* Look for the dead that hold us back. */
static void clear(struct slipring_producer *producer, uint64_t slots)
{
    producer->probed_ticks = slr_os_ticks();
    producer->probed_ns = slr_os_now();
    if (slr_overwrites(&producer->ring->segment)) {
        slr_hold_reap(producer->ring);
    } else {
        slr_gate_clear(producer, slots);
    }
}

/* The same once per millisecond at most; true if it was done. */
static bool clear_sometimes(struct slipring_producer *producer, uint64_t slots)
{
    const uint64_t ticks = slr_os_ticks();
    if (ticks - producer->probed_ticks < SLR_OS_TICKS) {
        return false;
    }
    producer->probed_ticks = ticks;
    if (slr_os_now() - producer->probed_ns < 1000000) {
        return false;
    }
    clear(producer, slots);
    return true;
}

static int check_claim(const struct slipring_producer *producer, uint64_t slots)
{
    if (slr_producer_forked(producer)) {
        return -ECHILD;
    }
    if (slots == 0 || producer->fast->taken != 0) {
        return -EINVAL;
    }
    return slots > slr_slots(&producer->ring->segment) ? -EMSGSIZE : 0;
}

static int claim_ready(void *context, bool slow)
{
    struct slipring_producer *producer = context;
    const bool lent = slr_lent(producer);
    producer->waiter.step_ns = lent || slr_load32(&producer->short_steps) != 0 /* a hint */
                                   ? SLR_SLEEP_STEP_BLIND
                                   : SLR_SLEEP_STEP_PRODUCER;
    if (lent) {
        return -EAGAIN;
    }
    const int allowed = check_claim(producer, producer->wanted);
    int result = allowed != 0 ? allowed : claim_room(producer, producer->wanted);
    if (result == -EAGAIN && slow) {
        clear(producer, producer->wanted);
        result = claim_room(producer, producer->wanted);
    }
    return result;
}

static void set_loan(const struct slipring_producer *producer, struct slipring_loan *loan)
{
    const struct slipring_fast *fast = producer->fast;
    loan->sequence = fast->next;
    loan->slots = fast->taken;
    loan->data = fast->payload + (fast->next & fast->mask) * fast->payload_stride;
    loan->stride = fast->payload_stride;
    loan->bytes = fast->taken * fast->payload_stride;
}

/* The common case by the code of slipring/inline.h: a compact or pair block ring with room. */
static bool claim_plain(struct slipring_producer *producer, uint64_t slots,
                        struct slipring_loan *loan)
{
    struct slipring_fast *fast = producer->fast;
    void *data;
    if (fast->mode == SLIPRING_FAST_SLOW || fast->taken != 0 || slots == 0 ||
        fast->end - fast->next < slots || slipring_fast_try_claim(fast, slots, &data) != 0) {
        return false;
    }
    producer->blocked_ns = 0;
    set_loan(producer, loan);
    return true;
}

int slipring_producer_try_claim(struct slipring_producer *producer, uint64_t slots,
                                struct slipring_loan *loan)
{
    if (claim_plain(producer, slots, loan)) {
        return 0;
    }
    return !slr_producer_forked(producer) && slr_lent(producer)
               ? -EAGAIN
               : slr_claim_try(producer, slots, loan);
}

int slr_claim_try(struct slipring_producer *producer, uint64_t slots, struct slipring_loan *loan)
{
    int result = check_claim(producer, slots);
    if (result == 0) {
        result = claim_room(producer, slots);
        if (result == -EAGAIN && clear_sometimes(producer, slots)) {
            result = claim_room(producer, slots);
        }
    }
    if (result == 0) {
        set_loan(producer, loan);
    }
    return result;
}

int slipring_producer_claim(struct slipring_producer *producer, uint64_t slots,
                            struct slipring_loan *loan, int64_t deadline_ns)
{
    if (claim_plain(producer, slots, loan)) {
        return 0;
    }
    const bool wait = !slr_producer_forked(producer) && slr_lent(producer);
    int result = wait ? 0 : check_claim(producer, slots);
    if (result == 0) {
        result = wait ? -EAGAIN : claim_room(producer, slots);
        if (result == -EAGAIN) {
            producer->wanted = slots;
            result = slr_wait(&producer->waiter, claim_ready, producer, deadline_ns);
        }
    }
    if (result == 0) {
        set_loan(producer, loan);
    }
    return result;
}

int slipring_producer_abort(struct slipring_producer *producer)
{
    if (slr_producer_forked(producer)) {
        return -ECHILD;
    }
    if (slr_lent(producer)) {
        return -EAGAIN;
    }
    if (producer->fast->taken == 0) {
        return -EINVAL;
    }
    producer->fast->taken = 0;
    return 0;
}

void slipring_producer_wake(struct slipring_producer *producer)
{
    if (!slr_producer_forked(producer)) {
        slr_waiter_cancel(&producer->waiter);
    }
}

/* ---- slow path of slipring/inline.h ---- */

int slipring_fast_claim_slow(struct slipring_fast *fast, uint64_t slots, void **data)
{
    struct slipring_producer *producer = fast->handle;
    struct slipring_loan loan;
    const int result =
        producer == NULL ? -ECHILD : slipring_producer_try_claim(producer, slots, &loan);
    if (result == 0) {
        *data = loan.data;
    }
    return result;
}
