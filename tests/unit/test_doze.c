/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: a waiter's first sleep is a doze of at most SLR_DOZE on the wake word, and each sleep after it
 * lasts a whole step, on the same value of the word. It dozes again, with its flag up, where the word
 * moved, the flag was lowered or the doze was cut short, and nowhere else. A thread that was woken passes
 * the wake on where others may sleep, from a doze too; one that was woken spuriously does not. A message
 * that came before the flag was up is found by the first look, without a sleep. A message of a publisher
 * that missed the flag is found by the look after the doze.
 *
 * The program stands in front of syscall() and of the clock: a script says what happens in place of each
 * sleep, so that nothing here depends on time.
 */
#define _GNU_SOURCE
#include "base/sequence.h"
#include "ring/handle.h"
#include "futex_watch.h"
#include "proc.h"

#define HOW (&proc_rings[0])
#define WAIT_MS 60000             /* longer than a script ever takes */
#define SPINS_NO_LONGER_NS 500000 /* ends any spin, but is too short for a look for dead members */

enum kind { NONE, DOZE, STEP };
enum act {
    NOTHING,
    MOVE_WORD,
    LOWER_FLAG,
    PUBLISH, /* which ends the wait */
    MISS,    /* the same by a publisher that loaded the flag before it went up */
    CANCEL   /* which ends the wait with -ECANCELED */
};

/* One sleep: what kind it must be, what happens in place of it, and what it returns. */
struct nap {
    enum kind kind;
    enum act act;
    int code;
};

struct script {
    const char *name;
    struct nap naps[6];
    unsigned passed; /* wakes that the sleeper passes on, where others may sleep */
};

#define TIMES_OUT NOTHING, -ETIMEDOUT
#define END                                                                                        \
    {                                                                                              \
        STEP, CANCEL, -EAGAIN                                                                      \
    }

static const struct script scripts[] = {
    {"idle", {{DOZE, TIMES_OUT}, {STEP, TIMES_OUT}, {STEP, TIMES_OUT}, END}, 0},
    {"woken from the doze in vain", {{DOZE, MOVE_WORD, 0}, {DOZE, TIMES_OUT}, END}, 1},
    {"woken from a step in vain",
     {{DOZE, TIMES_OUT}, {STEP, MOVE_WORD, 0}, {DOZE, TIMES_OUT}, END},
     1},
    {"the word moves as the doze ends", {{DOZE, MOVE_WORD, -ETIMEDOUT}, {DOZE, TIMES_OUT}, END}, 0},
    {"the word moves before a step",
     {{DOZE, TIMES_OUT}, {STEP, MOVE_WORD, -EAGAIN}, {DOZE, TIMES_OUT}, END},
     0},
    {"the flag is lowered in the doze",
     {{DOZE, LOWER_FLAG, -ETIMEDOUT}, {DOZE, TIMES_OUT}, END},
     0},
    {"the flag is lowered in a step",
     {{DOZE, TIMES_OUT}, {STEP, LOWER_FLAG, -ETIMEDOUT}, {DOZE, TIMES_OUT}, END},
     0},
    {"a signal cuts the doze short", {{DOZE, NOTHING, -EINTR}, {DOZE, TIMES_OUT}, END}, 0},
    {"a spurious wake cuts the doze short", {{DOZE, NOTHING, 0}, {DOZE, TIMES_OUT}, END}, 0},
    {"a signal ends a step", {{DOZE, TIMES_OUT}, {STEP, NOTHING, -EINTR}, END}, 0},
    {"a spurious wake ends a step", {{DOZE, TIMES_OUT}, {STEP, NOTHING, 0}, END}, 0},
};

static const struct script published[] = {
    {"a message before the flag is up", {{NONE, PUBLISH, 0}}, 0}, /* see clock_gettime() */
    {"a message in the doze", {{DOZE, PUBLISH, 0}}, 1},
    {"a message as the doze ends", {{DOZE, PUBLISH, -ETIMEDOUT}}, 0},
    {"a message of a publisher that missed the flag", {{DOZE, MISS, -ETIMEDOUT}}, 0},
    {"a message in a step", {{DOZE, TIMES_OUT}, {STEP, PUBLISH, 0}}, 1},
};

static struct side {
    struct slipring_producer *producer;
    struct slipring_consumer *consumer;
    struct slr_control *control;
    bool producer_waits;
} side;

static const struct script *script;
static struct {
    unsigned count;
    uint32_t value; /* of the last one */
    int64_t began_ns;
} sleeps;
static unsigned wakes;
/* 1: the next reading of the clock begins the spin; 2: the next one ends it; 0: they do nothing. */
static unsigned clock_reads;

/* The reading that ends the spin publishes first: after the last look of the spin. */
int clock_gettime(clockid_t clock, struct timespec *time)
{
    static int (*next)(clockid_t, struct timespec *);
    static struct timespec began;
    if (next == NULL) {
        void *found = dlsym(RTLD_NEXT, "clock_gettime");
        CHECK(found != NULL);
        memcpy(&next, &found, sizeof(next));
    }
    const int result = next(clock, time);
    if (clock_reads == 1) {
        clock_reads = 2;
        began = *time;
    } else if (clock_reads == 2) {
        clock_reads = 0;
        CHECK_EQ(proc_publish(side.producer, HOW, 1, 0), 0);
        *time = began;
        time->tv_nsec += SPINS_NO_LONGER_NS; /* may pass a second: the difference is what counts */
    }
    return result;
}

static void act(enum act act, _Atomic uint32_t *word, _Atomic uint32_t *flag)
{
    switch (act) {
    case NOTHING:
        break;
    case MOVE_WORD:
        (void)slr_add32_seq(word, 1);
        break;
    case LOWER_FLAG:
        slr_store32(flag, 0);
        break;
    case PUBLISH:
        CHECK_EQ(proc_publish(side.producer, HOW, 1, 0), 0);
        break;
    case MISS:
        slr_store32(flag, 0);
        CHECK_EQ(proc_publish(side.producer, HOW, 1, 0), 0);
        slr_store32(flag, 1);
        break;
    case CANCEL:
        if (side.producer_waits) {
            slipring_producer_wake(side.producer);
        } else {
            slipring_consumer_wake(side.consumer);
        }
        break;
    }
}

static int on_sleep(const struct futex_sleep *sleep)
{
    struct slr_control *control = side.control;
    _Atomic uint32_t *word =
        side.producer_waits ? &control->producer_wake : &control->consumers_wake;
    _Atomic uint32_t *flag =
        side.producer_waits ? &control->producer_waiting : &control->consumers_waiting;
    const struct nap *nap = &script->naps[sleeps.count];
    const int64_t step_ns = side.producer_waits ? SLR_SLEEP_STEP_PRODUCER : SLR_SLEEP_STEP;
    const int64_t now = slipring_now_ns();
    const int64_t before = sleeps.began_ns;
    if (nap->kind == NONE) {
        FAIL("%s: a sleep too many, number %u", script->name, sleeps.count + 1);
    }
    CHECK(sleep->word == word);
    CHECK_EQ(sleep->value, slr_load32(word));
    CHECK_EQ(slr_load32(flag), 1);
    /* This holds however late we run: the deadline was computed after the sleep before had begun. */
    if (sleep->deadline_ns - before < (nap->kind == DOZE ? SLR_DOZE : step_ns) ||
        (nap->kind == DOZE && sleep->deadline_ns - now > SLR_DOZE)) {
        FAIL("%s: sleep %u is to last %lld ns", script->name, sleeps.count + 1,
             (long long)(sleep->deadline_ns - now));
    }
    CHECK(nap->kind == DOZE || sleep->value == sleeps.value);
    sleeps.count++;
    sleeps.value = sleep->value;
    sleeps.began_ns = now;
    act(nap->act, word, flag);
    return nap->code;
}

static void on_wake(long woken)
{
    (void)woken;
    wakes++;
}

static void play(const struct script *played, bool others)
{
    struct slipring_loan loan;
    struct slipring_view view;
    const struct nap *last = played->naps;
    script = played;
    memset(&sleeps, 0, sizeof(sleeps));
    slr_store32(&side.control->consumers_waiting, 0); /* as the wait before may have left it */
    slr_store32(&side.control->producer_waiting, 0);
    wakes = 0;
    const int64_t deadline = proc_in_ms(WAIT_MS);
    sleeps.began_ns = slipring_now_ns();
    clock_reads = last->kind == NONE;
    watch_sleep = on_sleep;
    watch_wakes = on_wake;
    const int code = side.producer_waits
                         ? slipring_producer_claim(side.producer, 1, &loan, deadline)
                         : slipring_consumer_acquire(side.consumer, 1, &view, deadline);
    watch_sleep = NULL;
    watch_wakes = NULL;
    unsigned wanted = 0;
    for (; wanted < 6 && last[wanted].kind != NONE; wanted++) {
    }
    const enum act end = wanted == 0 ? PUBLISH : last[wanted - 1].act;
    const bool comes = end == PUBLISH || end == MISS;
    const unsigned told = wanted == 0 || end == MISS ? 0 : 1; /* by the publish, or by the cancel */
    if (code != (comes ? 0 : -ECANCELED) || sleeps.count != wanted ||
        wakes != told + (others ? played->passed : 0)) {
        FAIL("%s: %d after %u sleeps and %u wakes", played->name, code, sleeps.count, wakes);
    }
    if (code == 0) {
        CHECK_EQ(slipring_consumer_release(side.consumer, &view), 0);
    }
    CHECK(last->kind != NONE ||
          slr_load32(&side.control->consumers_waiting) == 1); /* not by spinning */
}

static void play_all(const struct proc_ring *how, uint32_t strategy, bool others)
{
    struct slipring_ring *ring = proc_make(how, 0);
    struct slipring_producer_config producing;
    struct slipring_consumer_config consuming;
    slipring_producer_config_init(&producing);
    slipring_consumer_config_init(&consuming);
    producing.wait = strategy;
    consuming.wait = strategy;
    side.control = ring->segment.control;
    side.producer_waits = false;
    CHECK_EQ(slipring_producer_attach(ring, &producing, &side.producer, NULL), 0);
    CHECK_EQ(slipring_consumer_attach(ring, &consuming, &side.consumer, NULL), 0);
    struct slipring_consumer *other = others ? proc_consumer(ring, how, SLIPRING_OLDEST) : NULL;
    for (unsigned i = 0; i < sizeof(scripts) / sizeof(scripts[0]); i++) {
        play(&scripts[i], others);
    }
    const bool spins = strategy == SLIPRING_WAIT_ADAPTIVE;
    for (unsigned i = spins ? 0 : 1; how == HOW && i < sizeof(published) / sizeof(published[0]);
         i++) {
        play(&published[i], others);
    }
    (void)proc_fill(side.producer, how);
    side.producer_waits = true;
    for (unsigned i = 0; i < sizeof(scripts) / sizeof(scripts[0]); i++) {
        play(&scripts[i], false); /* only the producer sleeps there */
    }
    slipring_consumer_detach(other);
    slipring_consumer_detach(side.consumer);
    slipring_producer_detach(side.producer);
    slipring_ring_close(ring);
}

int main(void)
{
    proc_begin(60);
    for (unsigned i = 0; i < PROC_RINGS; i++) {
        if (proc_rings[i].full == SLIPRING_BLOCK) {
            play_all(&proc_rings[i], SLIPRING_WAIT_SLEEP, true);
            play_all(&proc_rings[i], SLIPRING_WAIT_ADAPTIVE, false);
        }
    }
    return 0;
}
