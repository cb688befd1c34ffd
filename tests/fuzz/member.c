/* SPDX-License-Identifier: Apache-2.0 */
/* Producing and consuming as an input says. */
#include "fuzz.h"

#include <errno.h>
#include <slipring/dlpack.h>
#include <stdlib.h>
#include <string.h>

/* ---- memory ---- */

static volatile uint8_t sum;

static void touch(const void *memory, uint64_t bytes)
{
    for (uint64_t i = 0; i < bytes; i++) {
        sum = (uint8_t)(sum + ((const volatile uint8_t *)memory)[i]);
    }
}

/* Does that lie in what a view or a loan of so many slots may show? */
static void inside(const struct play *play, const void *memory, uint64_t bytes)
{
    const struct slr_segment *segment = &play->open->segment;
    const uint64_t at = (uint64_t)((const uint8_t *)memory - segment->payload);
    const uint64_t all = segment->mapped_bytes - segment->geometry.payload_offset;
    MUST((const uint8_t *)memory >= segment->payload && at <= all && bytes <= all - at);
}

static void look_at_fields(struct play *play, const struct slipring_consumer *consumer,
                           const struct slipring_view *view, uint64_t room)
{
    struct slipring_tensor tensor;
    for (uint32_t f = 0; slipring_view_field(consumer, view, f, &tensor) == 0; f++) {
        const uint64_t offset = (uint64_t)((uint8_t *)tensor.data - (const uint8_t *)view->data);
        const uint64_t each = tensor.bytes / view->slots;
        MUST(offset <= room && (view->slots - 1) * view->stride + each <= room - offset);
        if (view->stride != 0) {
            inside(play, tensor.data, (view->slots - 1) * view->stride + each);
        }
        touch(tensor.data, each);
    }
}

static void look_at_view(struct play *play, struct slipring_consumer *consumer,
                         const struct slipring_view *view)
{
    const struct slr_geometry *g = &play->open->segment.geometry;
    struct slipring_slot slot;
    MUST(view->slots >= 1 && view->slots <= g->slots && view->stride == g->payload_stride);
    for (uint64_t i = 0; i < view->slots && slipring_view_slot(consumer, view, i, &slot) == 0;
         i++) {
        const uint64_t most = i == 0 && view->slots > 1 ? view->slots * view->stride : view->stride;
        MUST(!play->steady || slot.bytes <= most);
        inside(play, (const uint8_t *)view->data + i * view->stride, slot.bytes);
        touch((const uint8_t *)view->data + i * view->stride, slot.bytes);
    }
    if (view->slot.shapes != NULL) {
        touch(view->slot.shapes, g->dims * sizeof(int64_t));
    }
    look_at_fields(play, consumer, view, view->slots * view->stride);
}

static void fill_loan(struct play *play, void *data, uint64_t slots)
{
    const struct slr_geometry *g = &play->open->segment.geometry;
    MUST(slots >= 1 && slots <= g->slots);
    for (uint64_t i = 0; i < slots; i++) {
        inside(play, (uint8_t *)data + i * g->payload_stride, g->slot_bytes);
        memset((uint8_t *)data + i * g->payload_stride, (int)slots, g->slot_bytes);
    }
}

/* ---- producing ---- */

static void produce(struct play *play)
{
    struct slipring_producer_config config;
    slipring_producer_config_init(&config);
    config.wait = SLIPRING_WAIT_SLEEP;
    play->loan.slots = 0;
    if (play->producer == NULL &&
        slipring_producer_attach(play->open, &config, &play->producer, NULL) < 0) {
        play->producer = NULL;
    }
}

static void stop(struct play *play, bool close)
{
    if (close) {
        slipring_producer_close(play->producer);
    } else {
        slipring_producer_detach(play->producer);
    }
    play->producer = NULL;
}

static void claim(struct play *play, uint64_t how)
{
    const uint64_t slots = how % 64;
    const int code = (how & 0x80) != 0
                         ? slipring_producer_claim(play->producer, slots, &play->loan, 0)
                         : slipring_producer_try_claim(play->producer, slots, &play->loan);
    if (code == 0) {
        MUST(play->loan.slots == slots);
        fill_loan(play, play->loan.data, slots);
    }
}

static void publish(struct play *play, bool spanning, uint64_t slots, uint64_t how)
{
    const struct slr_geometry *g = &play->open->segment.geometry;
    struct slipring_slot headers[64];
    int64_t shapes[SLIPRING_DIMS_MAX * 4];
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        shapes[i] = (int64_t)(how >> 4);
    }
    for (int i = 0; i < 64; i++) {
        headers[i] = (struct slipring_slot){.bytes = how & 1 ? how : 0, .tag = how};
        headers[i].shapes = (how & 2) != 0 && g->dims <= SLIPRING_DIMS_MAX * 4 ? shapes : NULL;
    }
    if (spanning) {
        headers[0].bytes = play->loan.slots * play->loan.stride - (how & 4);
        (void)!slipring_producer_publish_spanning(play->producer, headers);
    } else {
        (void)!slipring_producer_publish(play->producer, slots % 64,
                                         (how & 8) != 0 ? headers : NULL);
    }
}

static void produce_fast(struct play *play, uint64_t slots)
{
    struct slipring_fast *fast = slipring_producer_fast(play->producer);
    void *data;
    if (slipring_fast_try_claim(fast, slots, &data) == 0) {
        fill_loan(play, data, slots);
        MUST(slipring_fast_publish(fast, slots) == 0);
    }
}

/* ---- consuming ---- */

static void join(struct play *play, unsigned c, uint64_t flags, uint64_t how)
{
    static const char *const groups[] = {NULL, "many", "one", "new"};
    const struct slr_data *data = (const struct slr_data *)(const void *)play->ring->data;
    struct slipring_consumer_config config;
    slipring_consumer_config_init(&config);
    config.flags = (uint32_t)flags & (SLIPRING_UNORDERED | SLIPRING_NEWEST | SLIPRING_VERIFY |
                                      SLIPRING_AWAIT_PRODUCER | SLIPRING_MANY);
    config.group = groups[how % 4];
    config.start = (uint32_t)(how / 4 % 3);
    config.sequence = slr_load64(&data->cursor) - how;
    config.wait = SLIPRING_WAIT_SLEEP;
    if ((flags & 0xc0) != 0) {
        config.slow = SLIPRING_EVICT;
        config.evict_after_ns = flags & 0x40 ? 1 : UINT64_MAX;
    }
    if (play->consumers[c] == NULL &&
        slipring_consumer_attach(play->open, &config, &play->consumers[c], NULL) < 0) {
        play->consumers[c] = NULL;
    }
    play->view_count[c] = 0;
}

static void release(struct play *play, unsigned c, unsigned which)
{
    struct slipring_view *views = play->views[c];
    const int code = slipring_consumer_release(play->consumers[c], &views[which]);
    MUST(code == 0 || code == -ESTALE || code == -EINVAL);
    play->view_count[c]--;
    memmove(&views[which], &views[which + 1], (play->view_count[c] - which) * sizeof views[0]);
}

static void acquire(struct play *play, unsigned c, uint64_t how)
{
    const uint64_t slots = how % 128 == 127 ? UINT64_MAX : how % 128;
    struct slipring_view view;
    const int code = (how & 0x80) != 0
                         ? slipring_consumer_acquire(play->consumers[c], slots, &view, 0)
                         : slipring_consumer_try_acquire(play->consumers[c], slots, &view);
    if (code != 0 && code != -EBADMSG) {
        return;
    }
    look_at_view(play, play->consumers[c], &view);
    if (play->view_count[c] == FUZZ_VIEWS) {
        release(play, c, 0);
    }
    play->views[c][play->view_count[c]++] = view;
}

static void copy(struct play *play, unsigned c, uint64_t bytes)
{
    uint8_t *buffer = malloc(bytes + 1); /* exactly: the sanitizer sees what goes beyond */
    struct slipring_view view;
    MUST(buffer != NULL);
    if (slipring_consumer_try_copy(play->consumers[c], buffer, bytes, &view) == 0) {
        MUST(view.slot.bytes <= bytes && view.data == buffer && view.stride == 0);
        touch(view.data, view.slot.bytes);
        if (bytes >= play->open->segment.geometry.slot_bytes) {
            memset(buffer, 0, bytes);
            look_at_fields(play, play->consumers[c], &view, bytes);
        }
    }
    free(buffer);
}

static void consume_fast(struct play *play, unsigned c, uint64_t how)
{
    struct slipring_fast *fast = slipring_consumer_fast(play->consumers[c]);
    const struct slr_geometry *g = &play->open->segment.geometry;
    const void *data;
    const int64_t slots =
        slipring_fast_try_acquire(fast, how % 128 == 127 ? UINT64_MAX : how % 128, &data);
    if (slots <= 0) {
        return;
    }
    MUST((uint64_t)slots <= g->slots);
    inside(play, data, ((uint64_t)slots - 1) * g->payload_stride + g->slot_bytes);
    touch(data, g->slot_bytes);
    (void)!slipring_fast_release(fast, (uint64_t)slots);
}

static void export(struct play *play, unsigned c, uint64_t how)
{
    struct DLManagedTensorVersioned **place = &play->exports[how % FUZZ_EXPORTS];
    if (*place != NULL) {
        (*place)->deleter(*place);
        *place = NULL;
    }
    if (play->view_count[c] == 0) {
        return;
    }
    const struct slipring_view *view = &play->views[c][how / FUZZ_EXPORTS % play->view_count[c]];
    if (slipring_view_dlpack(play->consumers[c], view, (uint32_t)how / 64, place) < 0) {
        *place = NULL;
    }
}

static void standing(struct play *play, unsigned c)
{
    struct slipring_stats stats = {.struct_size = sizeof stats};
    MUST(slipring_consumer_stats(play->consumers[c], &stats) == 0);
    MUST(stats.cell == UINT32_MAX || stats.cell < play->open->segment.geometry.members_max);
    MUST((int64_t)slipring_consumer_lag(play->consumers[c]) >= 0);
}

static void leave(struct play *play, unsigned c)
{
    slipring_consumer_detach(play->consumers[c]);
    play->consumers[c] = NULL;
    play->view_count[c] = 0;
}

void fuzz_produce(struct play *play, enum action action, const uint64_t arguments[4])
{
    if (play->producer == NULL) {
        produce(play);
    }
    if (play->producer == NULL) {
        return;
    }
    switch (action) {
    case STOP:
        stop(play, arguments[0] % 8 == 7);
        break;
    case CLAIM:
        claim(play, arguments[0]);
        break;
    case PUBLISH:
        publish(play, false, arguments[0], arguments[1]);
        break;
    case SPAN:
        publish(play, true, 0, arguments[0]);
        break;
    case ABORT:
        (void)!slipring_producer_abort(play->producer);
        break;
    case PRODUCE_FAST:
        produce_fast(play, arguments[0] % 64);
        break;
    default: /* PRODUCE */
        break;
    }
}

void fuzz_consume(struct play *play, enum action action, const uint64_t arguments[4])
{
    const unsigned c = arguments[0] % FUZZ_CONSUMERS;
    if (play->consumers[c] == NULL) {
        join(play, c, action == JOIN ? arguments[1] : 0,
             action == JOIN ? arguments[2] : 4 * SLIPRING_OLDEST);
    }
    if (play->consumers[c] == NULL) {
        return;
    }
    switch (action) {
    case LEAVE:
        leave(play, c);
        break;
    case ACQUIRE:
        acquire(play, c, arguments[1]);
        break;
    case RELEASE:
        if (play->view_count[c] != 0) {
            release(play, c, arguments[1] % play->view_count[c]);
        }
        break;
    case COPY:
        copy(play, c, arguments[1] % 8192);
        break;
    case CONSUME_FAST:
        consume_fast(play, c, arguments[1]);
        break;
    case EXPORT:
        export(play, c, arguments[1]);
        break;
    case STAND:
        standing(play, c);
        break;
    default: /* JOIN */
        break;
    }
}

void fuzz_let_go(struct play *play)
{
    for (unsigned c = 0; c < FUZZ_CONSUMERS; c++) {
        leave(play, c);
    }
    stop(play, false);
    for (unsigned i = 0; i < FUZZ_EXPORTS; i++) { /* they outlive their consumer */
        if (play->exports[i] != NULL) {
            play->exports[i]->deleter(play->exports[i]);
            play->exports[i] = NULL;
        }
    }
}
