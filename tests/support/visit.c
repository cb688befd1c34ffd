/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "visit.h"

#include <poll.h>
#include <slipring/inline.h>
#include <stddef.h>
#include <time.h>

#ifdef SANITIZED
#define CPU_MS 2000
#else
#define CPU_MS 250 /* a call takes microseconds; one that reaps, some of these per member */
#endif
#define WALL_MS 5000 /* others have the processor, and stop us */
#define JOIN_MS 2000 /* an attach waits so long for who is stopped in another */
#define STAY_MS 6

enum way { ACQUIRE, COPY, INLINE, POLL };

struct role {
    const char *group;
    uint32_t flags;
    int64_t evict_ms;
    enum way way;
    bool read_only;
};

const struct slipring_group visit_lasting[VISIT_LASTING] = {
    {.name = "crew", .flags = SLIPRING_MANY, .slow = SLIPRING_EVICT, .evict_after_ns = 2 * PROC_MS},
    {.name = "keeper", .slow = SLIPRING_EVICT, .evict_after_ns = 2 * PROC_MS},
};

static const struct role block_roles[] = {
    {.way = ACQUIRE},
    {.way = INLINE},
    {.way = COPY},
    {.flags = SLIPRING_UNORDERED},
    {.flags = SLIPRING_NEWEST},
    {.flags = SLIPRING_UNORDERED, .evict_ms = 1},
    {.evict_ms = 1},
    {.group = "solo"},
    {.group = "keeper", .evict_ms = 2},
    {.group = "team", .flags = SLIPRING_MANY},
    {.group = "hasty", .flags = SLIPRING_MANY, .evict_ms = 1},
    {.group = "crew", .flags = SLIPRING_MANY, .evict_ms = 2, .way = COPY},
    {.group = "crew", .flags = SLIPRING_MANY, .evict_ms = 2},
    /* with a thread */
    {.way = POLL},
    {.group = "team", .flags = SLIPRING_MANY, .way = POLL},
};
static const struct role overwrite_roles[] = {
    {.way = COPY},
    {.way = COPY, .flags = SLIPRING_NEWEST},
    {.way = COPY, .read_only = true},
    {.way = ACQUIRE}, /* it and the rest: tensor rings alone */
    {.way = ACQUIRE, .flags = SLIPRING_NEWEST},
    {.way = POLL},
};
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

struct stay {
    const struct visit *visit;
    const struct role *role;
    struct slipring_consumer *consumer;
    struct slipring_view views[STRESS_IN_HAND];
    unsigned count;
    uint64_t slots, next;
    bool known; /* next */
    bool gone, ended;
};

/* ---- calls ---- */

static int64_t cpu_now(void)
{
    struct timespec now;
    CHECK(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now) == 0);
    return (int64_t)now.tv_sec * 1000 * PROC_MS + now.tv_nsec;
}

struct visit_clock visit_begin(const struct visit *visit, const char *call)
{
    if (visit->log != NULL) {
        visit->log->call = call;
    }
    const struct visit_clock clock = {call, cpu_now(), slipring_now_ns()};
    if (visit->mark != NULL) {
        visit->mark(call, true);
    }
    return clock;
}

void visit_end(const struct visit *visit, struct visit_clock begin, int64_t wait_ms)
{
    if (visit->mark != NULL) {
        visit->mark(begin.call, false);
        return;
    }
    const int64_t cpu = (cpu_now() - begin.cpu) / PROC_MS;
    const int64_t wall = (slipring_now_ns() - begin.wall) / PROC_MS;
    if (cpu > CPU_MS || wall > wait_ms + WALL_MS) {
        FAIL("%s took %lld ms, %lld of them computing", begin.call, (long long)wall,
             (long long)cpu);
    }
    if (visit->log != NULL) {
        visit->log->call = "no call";
    }
}

static void count(const struct visit *visit, size_t counter)
{
    if (visit->log != NULL) {
        (*(_Atomic uint64_t *)(void *)((char *)visit->log + counter))++;
    }
}
#define LOG(visit, counter) count(visit, offsetof(struct visit_log, counter))

static bool tensor(const struct visit *visit)
{
    return visit->how->geometry == SLIPRING_GEOMETRY_TENSOR;
}

static bool overwrites(const struct visit *visit)
{
    return visit->how->full == SLIPRING_OVERWRITE;
}

/* Is what was overwritten told even where somebody scribbles? */
static bool told(const struct visit *visit)
{
    return !visit->scribbled || tensor(visit) || overwrites(visit);
}

/* What an acquire or copy may return, other than 0; notes what follows from it. */
static void refused(struct stay *stay, int code)
{
    const bool scribbled = stay->visit->scribbled;
    switch (code) {
    case -EAGAIN:
    case -ETIMEDOUT:
        return;
    case -EPIPE:
        stay->ended = true;
        stay->gone = true;
        return;
    case -EOWNERDEAD:
        stay->gone = true;
        return;
    case -ESTALE:
        CHECK(scribbled || stay->role->evict_ms != 0);
        stay->gone = true;
        return;
    case -ENOBUFS:
        CHECK(overwrites(stay->visit));
        return;
    case -EMSGSIZE:
        CHECK(stay->role->way == COPY);
        return;
    default:
        CHECK(scribbled && code == -EBADMSG);
    }
}

/* A message was handed out: it is in its place, and the gap before it is told. */
static void seen(struct stay *stay, const struct slipring_view *view)
{
    const struct visit *visit = stay->visit;
    const bool many = (stay->role->flags & SLIPRING_MANY) != 0;
    const bool holds = overwrites(visit) && tensor(visit); /* some are passed over */
    const int64_t off = (int64_t)(view->slot.sequence - stay->next - view->missed);
    CHECK(view->slots >= 1 && view->slots <= stay->slots);
    if (!many && stay->known && (holds ? off < 0 : off != 0)) {
        FAIL("sequence %llu comes after %llu and a gap of %llu",
             (unsigned long long)view->slot.sequence, (unsigned long long)stay->next,
             (unsigned long long)view->missed);
    }
    CHECK(visit->scribbled || overwrites(visit) || view->missed == 0 || !stay->known ||
          (stay->role->flags & SLIPRING_NEWEST) != 0 || stay->role->evict_ms != 0);
    stay->next = view->slot.sequence + view->slots;
    stay->known = true;
    LOG(visit, read);
}

static void must_be_whole(const struct stay *stay, const struct slipring_view *view, bool whole)
{
    if (!whole && told(stay->visit)) {
        FAIL("sequence %llu is not as published, and nobody said so",
             (unsigned long long)view->slot.sequence);
    }
}

/* ---- ways of reading ---- */

static void let_go(struct stay *stay, unsigned at)
{
    const struct slipring_view *view = &stay->views[at];
    const bool whole = stress_whole(stay->visit->how, view);
    const struct visit_clock begin = visit_begin(stay->visit, "release");
    const int code = slipring_consumer_release(stay->consumer, view);
    visit_end(stay->visit, begin, 0);
    if (code == 0) {
        must_be_whole(stay, view, whole);
    } else {
        CHECK(stay->visit->scribbled || stay->role->evict_ms != 0);
        CHECK(code == -ESTALE || code == -EINVAL);
        LOG(stay->visit, told);
    }
    stay->count--;
    memmove(&stay->views[at], &stay->views[at + 1], (stay->count - at) * sizeof(stay->views[0]));
}

static void let_some_go(struct stay *stay, uint64_t *random, bool all)
{
    const bool any_order =
        (stay->role->flags & (SLIPRING_UNORDERED | SLIPRING_MANY)) != 0 || overwrites(stay->visit);
    while (stay->count == STRESS_IN_HAND ||
           (stay->count > 0 && (all || proc_random(random) % 2 == 0))) {
        let_go(stay, any_order ? (unsigned)(proc_random(random) % stay->count) : 0);
    }
}

static void acquire(struct stay *stay, uint64_t *random)
{
    struct slipring_view *view = &stay->views[stay->count];
    const uint64_t slots = proc_random(random) % 4 == 0 ? 1000 : 1 + proc_random(random) % 4;
    const bool wait = stay->count == 0 && proc_random(random) % 2 == 0;
    const struct visit_clock begin = visit_begin(stay->visit, wait ? "acquire" : "try_acquire");
    const int code = wait ? slipring_consumer_acquire(stay->consumer, slots, view, proc_in_ms(1))
                          : slipring_consumer_try_acquire(stay->consumer, slots, view);
    visit_end(stay->visit, begin, wait ? 1 : 0);
    if (code == 0) {
        seen(stay, view);
        stay->count++;
    } else {
        refused(stay, code);
    }
    let_some_go(stay, random, code != 0);
}

static void copy(struct stay *stay, uint64_t *random)
{
    static uint64_t buffer[1 << 14];
    struct slipring_view view;
    const uint64_t bytes = proc_random(random) % 16 == 0 ? 64 : sizeof(buffer);
    const bool wait = proc_random(random) % 2 == 0;
    const struct visit_clock begin = visit_begin(stay->visit, wait ? "copy" : "try_copy");
    const int code =
        wait ? slipring_consumer_copy(stay->consumer, buffer, bytes, &view, proc_in_ms(1))
             : slipring_consumer_try_copy(stay->consumer, buffer, bytes, &view);
    visit_end(stay->visit, begin, wait ? 1 : 0);
    if (code != 0) {
        refused(stay, code);
        return;
    }
    seen(stay, &view);
    must_be_whole(stay, &view, stress_whole(stay->visit->how, &view));
}

static void acquire_inline(struct stay *stay, uint64_t *random)
{
    struct slipring_fast *fast = slipring_consumer_fast(stay->consumer);
    const uint64_t sequence = fast->next;
    const uint64_t slots = proc_random(random) % 2 == 0 ? 1000 : 1 + proc_random(random) % 4;
    const void *data = NULL;
    struct visit_clock begin = visit_begin(stay->visit, "inline acquire");
    const int64_t count = slipring_fast_try_acquire(fast, slots, &data);
    visit_end(stay->visit, begin, 0);
    if (count < 0) {
        refused(stay, (int)count);
        return;
    }
    CHECK(count >= 1 && (uint64_t)count <= stay->slots);
    bool whole = true;
    for (uint64_t i = 0; i < (uint64_t)count; i++) {
        whole = pattern_whole((const char *)data + i * fast->payload_stride,
                              stay->visit->how->bytes, sequence + i) &&
                whole;
    }
    CHECK(whole || !told(stay->visit));
    begin = visit_begin(stay->visit, "inline release");
    const int code = slipring_fast_release(fast, (uint64_t)count);
    visit_end(stay->visit, begin, 0);
    CHECK(code == 0 || stay->visit->scribbled);
}

static void acquire_by_poll(struct stay *stay, uint64_t *random)
{
    struct pollfd ready = {.events = POLLIN};
    const struct visit_clock begin = visit_begin(stay->visit, "arm and poll");
    CHECK_EQ(slipring_consumer_fd(stay->consumer, &ready.fd, NULL), 0);
    const int armed = slipring_consumer_arm(stay->consumer);
    CHECK(armed == 0 || armed == 1);
    if (armed == 0) {
        (void)!poll(&ready, 1, 1);
    }
    visit_end(stay->visit, begin, 1);
    acquire(stay, random);
}

static void read_some(struct stay *stay, uint64_t *random)
{
    switch (stay->role->way) {
    case ACQUIRE:
        acquire(stay, random);
        break;
    case COPY:
        copy(stay, random);
        break;
    case INLINE:
        acquire_inline(stay, random);
        break;
    case POLL:
        acquire_by_poll(stay, random);
        break;
    }
}

/* ---- coming and going ---- */

static const struct role *choose(const struct visit *visit, uint64_t *random)
{
    const uint64_t chance = visit->role > 0 ? visit->role - 1 : proc_random(random);
    if (overwrites(visit)) {
        return &overwrite_roles[chance % (tensor(visit) ? COUNT(overwrite_roles) : 3)];
    }
    const struct role *role = &block_roles[chance % COUNT(block_roles)];
    /* The inline calls have a way of their own in plain rings only; elsewhere they are acquire. */
    const bool plain = !tensor(visit) && visit->how->flags == 0 && !visit->how->variable;
    return role->way == INLINE && !plain ? &block_roles[0] : role;
}

/* NULL: refused, as may be. */
static struct slipring_consumer *join(const struct visit *visit, const struct role *role,
                                      struct slipring_ring *ring, uint64_t *random)
{
    struct slipring_consumer_config config;
    struct slipring_consumer *consumer;
    struct slipring_error error = {0};
    slipring_consumer_config_init(&config);
    config.group = role->group;
    config.flags = role->flags | (proc_random(random) % 2 == 0 ? SLIPRING_AWAIT_PRODUCER : 0);
    config.start = (uint32_t)(proc_random(random) % 3);
    config.sequence = proc_info(ring).cursor - proc_random(random) % (3 * visit->how->slots);
    config.wait = (uint32_t)(proc_random(random) % 2) * SLIPRING_WAIT_SLEEP;
    config.slow = role->evict_ms != 0 ? SLIPRING_EVICT : SLIPRING_GATE;
    config.evict_after_ns = (uint64_t)(role->evict_ms * PROC_MS);
    const struct visit_clock begin = visit_begin(visit, "attach");
    const int code = slipring_consumer_attach(ring, &config, &consumer, &error);
    visit_end(visit, begin, JOIN_MS);
    if (code == 0) {
        LOG(visit, joined);
        return consumer;
    }
    LOG(visit, refused);
    const bool taken = code == -EUSERS || (code == -EBUSY && role->group != NULL);
    if (!taken && !(visit->scribbled && (code == -EINVAL || code == -EBADMSG))) {
        FAIL("attach: %d %s", code, error.text);
    }
    return NULL;
}

bool visit(const struct visit *visit, uint64_t *random)
{
    struct stay stay = {.visit = visit, .role = choose(visit, random)};
    struct slipring_ring *ring = visit->ring;
    if (stay.role->read_only) {
        int data_fd, control_fd;
        slipring_ring_fds(ring, &data_fd, &control_fd);
        CHECK_EQ(slipring_ring_from_fds(data_fd, -1, &ring, NULL), 0);
    }
    stay.consumer = join(visit, stay.role, ring, random);
    stay.slots = proc_info(ring).slots;
    if (stay.consumer != NULL) {
        const int64_t end = slipring_now_ns() + (int64_t)(proc_random(random) % STAY_MS) * PROC_MS;
        for (unsigned round = 0;
             !stay.gone && (visit->rounds > 0 ? round < visit->rounds : slipring_now_ns() < end);
             round++) {
            read_some(&stay, random);
        }
        if (proc_random(random) % 4 != 0) { /* else it leaves with what it has in hand */
            let_some_go(&stay, random, true);
        }
        const struct visit_clock begin = visit_begin(visit, "detach");
        slipring_consumer_detach(stay.consumer);
        visit_end(visit, begin, 0);
    }
    if (stay.role->read_only) {
        slipring_ring_close(ring);
    }
    return !stay.ended;
}
