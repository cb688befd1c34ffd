/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whoever hands a release or a publish to a device is killed, and frozen, at every instruction of what
 * the processor does for it (src/device.h): libslipring-cuda touches what is shared by these calls
 * alone. The device is played: its stores are made by the victim, and what a device would still have
 * under way when its process dies is stored after the death. Survivors go on and read each message
 * whole, in order; such a store frees nobody's slot, and is in time for whoever takes over; then all
 * cells can be had again.
 *
 *     crash_device [--full]
 *
 * Without --full gcc's victims are killed in every other story and frozen in the rest, and clang's the
 * other way round.
 */
#define _GNU_SOURCE
#include "proc.h"
#include "stepkill.h"
#include "device.h"

#define SLOTS 8u /* asked for, which become a page's worth */
#define SLOTS_MOST 64u
#define BYTES 256u
#define MEMBERS_MOST 4u /* the witness, the victim, a joiner, another */
#define TABLES 2u       /* of release words: the victim's and the joiner's */
#define WORKERS 12u     /* most of the time they wait until a device's store can come no more */
#define EVICT_MS 1
#define RETIRED_NS (2000 * PROC_MS) /* as README says */
#define PATIENCE_MS 20000
#define REPEATS 4u /* of a loop's instructions */
#ifdef __clang__
#define HALF 1u
#else
#define HALF 0u
#endif

/* Memory that victim and worker share. */
struct page {
    struct slipring_word words[SLOTS];
    uint64_t word_count, stored; /* on the stream; of these, made */
    uint64_t published;          /* headers written: stamps are on the stream */
    uint64_t sequence;
};

struct world {
    const struct story *story;
    bool freeze;
    bool tight; /* room for the witness and the victim alone: who comes next wants its cell */
    struct slipring_ring *ring;
    struct page *page;
    struct slipring_producer *producer; /* NULL: the victim's */
    struct slipring_consumer *witness;
    uint64_t next, end; /* read and published by us */
};

static void store(const struct slipring_word *word)
{
    __atomic_store_n((uint64_t *)word->address, word->value, __ATOMIC_RELEASE);
}

static bool fine(int code)
{
    return code == 0 || code == -ESTALE;
}

/* ---- victims ---- */

static struct slipring_consumer *hold(const struct world *w, struct slipring_view *view)
{
    struct slipring_consumer *consumer =
        proc_member(w->ring, NULL, SLIPRING_UNORDERED, w->freeze ? EVICT_MS : 0);
    CHECK_OK(slipring_consumer_try_acquire(consumer, 3, view));
    CHECK_EQ(view->slots, 3);
    return consumer;
}

/* A release by stores: as slipring_cuda_release(), then as its helper. */
static void release_by_store(void *context)
{
    const struct world *w = context;
    struct page *page = w->page;
    struct slipring_view view;
    struct slipring_consumer *consumer = hold(w, &view);
    sk_begin();
    CHECK_OK(slipring_consumer_keep(consumer));
    int code = slipring_consumer_device_words(consumer, &view, page->words);
    CHECK(fine(code));
    if (code == 0) {
        CHECK_OK(slipring_consumer_device_begin(consumer));
        page->word_count = view.slots; /* on the stream */
        for (uint64_t i = 0; i < view.slots; i++) {
            store(&page->words[i]);
            page->stored = i + 1;
            CHECK(fine(slipring_consumer_device_advance(consumer)));
        }
        CHECK(slipring_consumer_device_released(consumer, &view) == 1);
        slipring_consumer_device_end(consumer);
    }
    slipring_consumer_drop(consumer);
    sk_end();
    slipring_consumer_detach(consumer);
    _exit(0);
}

/* A release by the helper alone. */
static void release_by_call(void *context)
{
    struct slipring_view view;
    struct slipring_consumer *consumer = hold(context, &view);
    sk_begin();
    CHECK_OK(slipring_consumer_keep(consumer));
    CHECK(fine(slipring_consumer_release_late(consumer, &view)));
    slipring_consumer_drop(consumer);
    sk_end();
    slipring_consumer_detach(consumer);
    _exit(0);
}

/* Detached while stores are under way, which come after. */
static void detach_before_stores(void *context)
{
    const struct world *w = context;
    struct page *page = w->page;
    struct slipring_view view;
    struct slipring_consumer *consumer = hold(w, &view);
    CHECK_OK(slipring_consumer_keep(consumer));
    CHECK_OK(slipring_consumer_device_words(consumer, &view, page->words));
    CHECK_OK(slipring_consumer_device_begin(consumer));
    page->word_count = view.slots;
    sk_begin();
    slipring_consumer_detach(consumer);
    for (uint64_t i = 0; i < view.slots; i++) {
        store(&page->words[i]);
        page->stored = i + 1;
    }
    const int code = slipring_consumer_device_advance(consumer);
    CHECK(fine(code) || code == -ECANCELED);
    slipring_consumer_device_end(consumer);
    slipring_consumer_drop(consumer);
    sk_end();
    _exit(0);
}

/* What a device copies and stores for a publish. */
static void stamp(const struct world *w, uint64_t sequence)
{
    struct slipring_memory memory = {.struct_size = sizeof memory};
    CHECK_OK(slipring_ring_memory(w->ring, &memory));
    const uint64_t index = sequence & (memory.slots - 1);
    const struct slipring_word word = {(uint8_t *)memory.stamps + index * memory.header_stride,
                                       sequence};
    if (__atomic_load_n((uint64_t *)word.address, __ATOMIC_RELAXED) != sequence) {
        pattern_fill((uint8_t *)memory.payload + index * memory.payload_stride, BYTES, sequence);
        store(&word);
    }
}

/* As slipring_cuda_claim(), _publish() and the helper: two by the device and one in its place, one
 * passed over, one aborted. */
static void publish_by_store(void *context)
{
    const struct world *w = context;
    struct page *page = w->page;
    struct slipring_producer *producer = proc_producer(w->ring);
    struct slipring_loan loan;
    const struct slipring_slot headers[3] = {{.bytes = BYTES}, {.bytes = BYTES}, {.bytes = BYTES}};
    uint64_t first = 0;
    sk_begin();
    CHECK_OK(slipring_producer_device_begin(producer, &first));
    CHECK_OK(slipring_producer_device_claim(producer, 4, &loan));
    CHECK_OK(slipring_producer_device_check(producer, 4, 3, headers));
    page->sequence = first;
    CHECK_OK(slipring_producer_device_publish(producer, 3, headers));
    page->published = 2; /* the third is not on the stream */
    stamp(w, first);
    stamp(w, first + 1);
    (void)!slipring_producer_device_settle(producer);
    pattern_fill((uint8_t *)loan.data + 2 * loan.stride, BYTES, first + 2);
    slipring_producer_device_stamp(producer, first + 2, 1, 1);
    CHECK(slipring_producer_device_settle(producer) == 1);
    CHECK_OK(slipring_producer_device_claim(producer, 1, &loan));
    CHECK_OK(slipring_producer_device_publish(producer, 1, headers));
    slipring_producer_device_stamp(producer, first + 3, 1, 0);
    CHECK(slipring_producer_device_settle(producer) == 1);
    CHECK_OK(slipring_producer_device_claim(producer, 1, &loan));
    CHECK_OK(slipring_producer_device_abort(producer));
    slipring_producer_device_end(producer);
    sk_end();
    slipring_producer_detach(producer);
    _exit(0);
}

static const struct story {
    const char *name;
    sk_victim victim;
    bool produces;
} stories[] = {{"release by store", release_by_store, false},
               {"release by call", release_by_call, false},
               {"detach before stores", detach_before_stores, false},
               {"publish by store", publish_by_store, true}};
#define STORIES (sizeof stories / sizeof *stories)

/* ---- survivors ---- */

static void drain(struct world *w)
{
    struct slipring_view view;
    int code;
    while ((code = slipring_consumer_try_acquire(w->witness, 1, &view)) == 0) {
        CHECK(w->producer == NULL || view.slot.sequence == w->next);
        CHECK_EQ(view.missed, 0);
        CHECK(pattern_whole(view.data, BYTES, view.slot.sequence));
        w->next = view.slot.sequence + 1;
        CHECK_OK(slipring_consumer_release(w->witness, &view));
    }
    CHECK(code == -EAGAIN || code == -EOWNERDEAD);
}

static void publish(struct world *w, uint64_t count)
{
    const int64_t until = proc_in_ms(PATIENCE_MS);
    while (count-- > 0) {
        struct slipring_loan loan;
        int code;
        while ((code = slipring_producer_try_claim(w->producer, 1, &loan)) == -EAGAIN) {
            drain(w);
            CHECK(slipring_now_ns() < until);
        }
        CHECK_OK(code);
        pattern_fill(loan.data, BYTES, loan.sequence);
        CHECK_OK(slipring_producer_publish(w->producer, 1, NULL));
        w->end = loan.sequence + 1;
    }
}

static void build(struct world *w)
{
    struct slipring_config config;
    slipring_config_init(&config);
    config.geometry = SLIPRING_GEOMETRY_TENSOR;
    config.slots = SLOTS;
    config.slot_bytes = BYTES;
    config.members_max = w->tight ? 2 : MEMBERS_MOST;
    config.groups_max = 1;
    config.releases_max = w->tight ? 1 : TABLES;
    w->ring = proc_create(&config);
    memset(w->page, 0, sizeof *w->page);
    w->witness = proc_member(w->ring, NULL, 0, 0);
    w->next = w->end = 0;
    w->producer = w->story->produces ? NULL : proc_producer(w->ring);
    if (w->producer != NULL) {
        publish(w, proc_info(w->ring).slots);
    }
}

static void tear_down(struct world *w)
{
    slipring_consumer_detach(w->witness);
    slipring_producer_detach(w->producer);
    slipring_ring_close(w->ring);
}

/* One more can join, by and by. */
static struct slipring_consumer *join(struct world *w, uint32_t flags)
{
    struct slipring_consumer_config config;
    struct slipring_consumer *consumer = NULL;
    const int64_t until = proc_in_ms(PATIENCE_MS);
    slipring_consumer_config_init(&config);
    config.flags = flags;
    config.start = SLIPRING_LATEST;
    int code;
    while ((code = slipring_consumer_attach(w->ring, &config, &consumer, NULL)) != 0) {
        CHECK(code == -EUSERS && slipring_now_ns() < until);
        proc_pause_us(20000);
    }
    return consumer;
}

/* While stores of the dead, or of who was evicted, come, somebody else has released all but its oldest
 * slot: that one is not freed by them, nor any release lost. */
static void check_releases(struct world *w, pid_t frozen, int64_t since)
{
    struct slipring_view views[SLOTS_MOST];
    const uint64_t slots = proc_info(w->ring).slots;
    publish(w, slots + 3); /* the victim holds nobody up */
    drain(w);
    struct slipring_consumer *joiner = join(w, SLIPRING_UNORDERED);
    /* Later than that its cell may be the victim's, and rightly so. */
    const bool in_time = slipring_now_ns() - since < RETIRED_NS;
    CHECK(slots <= SLOTS_MOST);
    CHECK(!w->tight || !in_time || w->page->stored == w->page->word_count);
    publish(w, slots);
    drain(w);
    for (uint64_t i = 0; i < slots; i++) {
        CHECK_OK(slipring_consumer_try_acquire(joiner, 1, &views[i]));
    }
    for (uint64_t i = 1; i < slots; i++) {
        CHECK_OK(slipring_consumer_release(joiner, &views[i]));
    }
    for (uint64_t i = w->page->stored; in_time && frozen == 0 && i < w->page->word_count; i++) {
        store(&w->page->words[i]);
    }
    if (frozen != 0) { /* it stores them itself */
        const int status = sk_resume(frozen, PATIENCE_MS * PROC_MS);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
            FAIL("resumed it ended with status 0x%x", (unsigned)status);
        }
    }
    struct slipring_loan loan;
    CHECK_EQ(slipring_producer_try_claim(w->producer, 1, &loan), -EAGAIN);
    CHECK(pattern_whole(views[0].data, BYTES, views[0].slot.sequence));
    CHECK_OK(slipring_consumer_release(joiner, &views[0]));
    CHECK_OK(slipring_producer_claim(w->producer, slots, &loan, proc_in_ms(PATIENCE_MS)));
    CHECK_OK(slipring_producer_abort(w->producer));
    slipring_consumer_detach(joiner);
}

/* Who takes over waits for the device's stamps, and goes on behind them. */
static void check_publishes(struct world *w, bool late, int64_t since)
{
    for (uint64_t i = 0; late && i < w->page->published; i++) {
        stamp(w, w->page->sequence + i);
    }
    w->producer = proc_producer(w->ring);
    CHECK(w->page->published == 0 || slipring_now_ns() - since >= RETIRED_NS ||
          proc_info(w->ring).cursor > w->page->sequence + w->page->published);
    if (late) {
        drain(w);
        CHECK(w->next >= w->page->sequence + w->page->published);
    }
    drain(w);
    w->next = w->end = proc_info(w->ring).cursor;
}

static void check_all_free(struct world *w)
{
    struct slipring_consumer *members[MEMBERS_MOST - 1];
    const unsigned count = w->tight ? 1 : MEMBERS_MOST - 1;
    for (unsigned i = 0; i < count; i++) {
        members[i] = join(w, i < TABLES ? SLIPRING_UNORDERED : 0);
    }
    publish(w, 2);
    drain(w);
    CHECK_EQ(w->next, w->end);
    for (unsigned i = 0; i < count; i++) {
        slipring_consumer_detach(members[i]);
    }
}

static void stop_at(struct world *w, const struct sk_trace *trace, uint32_t step)
{
    int status = 0;
    pid_t pid = 0;
    w->tight = !w->freeze && !w->story->produces && step % 2 == 0;
    build(w);
    const int code = sk_run_to(w->story->victim, w, trace, step, &pid, &status);
    if (code < 0) {
        FAIL("%s: no victim at %u: %d, status 0x%x", w->story->name, step, code, (unsigned)status);
    }
    const int64_t since = slipring_now_ns();
    if (!w->freeze) {
        sk_kill(pid);
    }
    if (!w->story->produces) {
        check_releases(w, w->freeze ? pid : 0, since);
    } else if (w->freeze) {
        struct slipring_producer *other = NULL;
        CHECK_EQ(slipring_producer_attach(w->ring, NULL, &other, NULL), -EBUSY);
        status = sk_resume(pid, PATIENCE_MS * PROC_MS);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        w->producer = proc_producer(w->ring);
        drain(w);
        CHECK_EQ(proc_info(w->ring).cursor, 4);
        w->next = w->end = 4;
    } else {
        check_publishes(w, step % 2 == 0, since);
    }
    publish(w, SLOTS + 3);
    check_all_free(w);
    tear_down(w);
}

/* ---- all ---- */

static uint32_t unlike(const struct world *w)
{
    return w->freeze ? SK_TOUCH : SK_STORE | SK_CALL;
}

struct share {
    uint64_t worker;
    bool full;
};

static int work(struct proc *self, void *context)
{
    const struct share *share = context;
    uint64_t stops = 0, at = 0;
    struct world w = {.page = proc_share(sizeof *w.page)};
    for (size_t i = 0; i < 2 * STORIES; i++) {
        struct sk_trace trace;
        int status = 0;
        w.story = &stories[i / 2];
        w.freeze = i % 2 != 0;
        if (!share->full && (i / 2 + i) % 2 != HALF) {
            continue;
        }
        w.tight = false;
        for (int again = 0; again < 2; again++) { /* the first time it is not yet as it will be */
            if (again != 0) {
                sk_trace_free(&trace);
            }
            build(&w);
            CHECK_OK(sk_record(w.story->victim, &w, &trace, &status));
            CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
            tear_down(&w);
        }
        for (uint32_t s = 0; s < trace.count; s++) {
            const bool edge = s == 0 || s + 1 == trace.count;
            if ((edge || ((trace.kind[s] & unlike(&w)) != 0 && trace.nth[s] <= REPEATS)) &&
                at++ % WORKERS == share->worker) {
                stop_at(&w, &trace, s);
                stops++;
            }
        }
        sk_trace_free(&trace);
    }
    proc_tell(self, stops);
    return 0;
}

int main(int argc, char **argv)
{
    const bool full = argc > 1 && strcmp(argv[1], "--full") == 0;
    struct proc workers[WORKERS];
    struct share shares[WORKERS];
    uint64_t stops = 0;
    if (!sk_possible()) {
        SKIP("this process may not trace its children");
    }
    proc_begin(280);
    for (uint64_t i = 0; i < WORKERS; i++) {
        shares[i] = (struct share){i, full};
        workers[i] = proc_start(work, &shares[i]);
    }
    for (unsigned i = 0; i < WORKERS; i++) {
        int status;
        CHECK_EQ(waitpid(workers[i].pid, &status, 0), workers[i].pid);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        stops += proc_hear(&workers[i]);
    }
    printf("%llu stops in %s of the stories\n", (unsigned long long)stops, full ? "all" : "half");
    CHECK(stops > 50);
    return 0;
}
