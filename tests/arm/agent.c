/* SPDX-License-Identifier: Apache-2.0 */
/* One process of agents.h: agent NAME, built for either machine, does with the ring of that name
 * what agent.h says. */
#include "agent.h"
#include "proc.h"

enum { PATIENCE_MS = 30000, HELD_MAX = 4, WORK_MAX = 1 << 17 };

static const char *name;
static const struct proc_ring *how;
static struct slipring_ring *ring;
static struct slipring_producer *producer;
static struct slipring_consumer *consumer;
static struct slipring_view held[HELD_MAX];
static unsigned holding;
static uint64_t next, taken; /* the sequence to be taken; slots seen or missed so far */

static int64_t machine(void)
{
#if defined(__aarch64__)
    return 1;
#else
    return 0;
#endif
}

static int64_t create(uint64_t which)
{
    struct slipring_config config;
    how = &proc_rings[which];
    proc_config(how, &config);
    if (how->geometry != SLIPRING_GEOMETRY_COMPACT) {
        config.flags = SLIPRING_TIMESTAMP | SLIPRING_CHECKSUM;
    }
    return slipring_ring_create(name, &config, &ring, NULL);
}

static int64_t attach(const char *group)
{
    struct slipring_consumer_config config;
    slipring_consumer_config_init(&config);
    config.start = SLIPRING_OLDEST;
    config.flags = how->geometry != SLIPRING_GEOMETRY_COMPACT ? SLIPRING_VERIFY : 0;
    if (group != NULL) {
        config.group = group;
        config.flags |= SLIPRING_MANY;
    }
    return slipring_consumer_attach(ring, &config, &consumer, NULL);
}

static int64_t publish(uint64_t slots)
{
    int code = 0;
    for (uint64_t i = 0, n; i < slots && code == 0; i += n) {
        n = 1 + i % 3 < slots - i ? 1 + i % 3 : slots - i;
        code = proc_publish(producer, how, n, proc_in_ms(PATIENCE_MS));
    }
    return code;
}

static int64_t take(uint64_t slots)
{
    struct slipring_view view;
    while (taken < slots) {
        const int code = proc_take(consumer, how, &view, proc_in_ms(PATIENCE_MS));
        if (code != 0) {
            return code;
        }
        /* Sequences between them were passed over, because this reader held their slot. */
        const uint64_t passed = view.slot.sequence - next - view.missed;
        CHECK(how->full == SLIPRING_OVERWRITE ? passed < INT64_MAX : passed == 0);
        CHECK(how->full == SLIPRING_OVERWRITE || view.missed == 0);
        CHECK(how->geometry == SLIPRING_GEOMETRY_COMPACT ||
              (view.slot.timestamp_ns != 0 && view.slot.timestamp_ns <= slipring_now_ns()));
        next = view.slot.sequence + 1;
        taken += 1 + view.missed;
    }
    return (int64_t)taken;
}

static int64_t spoil(uint64_t slots)
{
    struct slipring_loan loan;
    const int code = slipring_producer_try_claim(producer, slots, &loan);
    if (code == 0) {
        memset(loan.data, 0xee, loan.bytes);
    }
    return code;
}

static int64_t hold(void)
{
    CHECK(holding < HELD_MAX);
    struct slipring_view *view = &held[holding];
    const int code = slipring_consumer_acquire(consumer, 1, view, proc_in_ms(PATIENCE_MS));
    if (code != 0) {
        return code;
    }
    CHECK(proc_view_whole(how, view));
    holding++;
    return (int64_t)(view->slot.sequence + ((uint64_t)view->slot.deliveries << 32));
}

static int64_t release(void)
{
    int code = 0;
    for (; holding > 0 && code == 0; holding--) {
        code = slipring_consumer_release(consumer, &held[holding - 1]);
    }
    return code;
}

static void work(const struct proc *self)
{
    static uint64_t done[WORK_MAX]; /* told at the end, not to hold the work up */
    struct slipring_view view;
    uint64_t count = 0;
    int code;
    while ((code = proc_take(consumer, how, &view, proc_in_ms(PATIENCE_MS))) == 0) {
        CHECK(count < WORK_MAX);
        done[count++] = view.slot.sequence;
    }
    CHECK_EQ(code, -EPIPE);
    proc_tell(self, count);
    for (uint64_t i = 0; i < count; i++) {
        proc_tell(self, done[i]);
    }
}

static int64_t obey(enum agent_order order, uint64_t n)
{
    switch (order) {
    case AGENT_MACHINE:
        return machine();
    case AGENT_CREATE:
        return create(n);
    case AGENT_OPEN:
        how = &proc_rings[n];
        return slipring_ring_open(name, 0, &ring, NULL);
    case AGENT_PRODUCE:
        return slipring_producer_attach(ring, NULL, &producer, NULL);
    case AGENT_READ:
        return attach(NULL);
    case AGENT_JOIN:
        return attach("work");
    case AGENT_PUBLISH:
        return publish(n);
    case AGENT_TAKE:
        return take(n);
    case AGENT_CLAIM:
        return spoil(n);
    case AGENT_HOLD:
        return hold();
    case AGENT_RELEASE:
        return release();
    case AGENT_CLOSE:
        slipring_producer_close(producer);
        producer = NULL;
        return 0;
    default:
        FAIL("no such order: %u", (unsigned)order);
    }
}

int main(int argc, char **argv)
{
    const struct proc self = {0, STDIN_FILENO, STDOUT_FILENO};
    proc_begin(120);
    CHECK_EQ(argc, 2);
    name = argv[1];
    for (;;) {
        const enum agent_order order = (enum agent_order)proc_hear(&self);
        const uint64_t n = proc_hear(&self);
        if (order == AGENT_END) {
            break;
        }
        if (order == AGENT_WORK) {
            work(&self);
        } else {
            proc_tell(&self, (uint64_t)obey(order, n));
        }
    }
    slipring_consumer_detach(consumer);
    slipring_producer_detach(producer);
    slipring_ring_close(ring);
    return 0;
}
