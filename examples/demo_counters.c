/* SPDX-License-Identifier: Apache-2.0 */
/*
 * First part of the demo: the machine's own counters, a thousand samples per second in one cache
 * line each. A recorder misses none of them, a dashboard reads only the newest.
 */
#define _GNU_SOURCE
#include "demo.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <xxhash.h>

enum { SLOTS = 4096, RATE = 1000, REFRESHES_PER_SECOND = 2, TEXT = 1 << 18 };
enum { RECORDER, DASHBOARD, SAMPLER };

/* 56 bytes: with the slot's sequence one cache line. */
struct sample {
    uint64_t time_ns, switches, interrupts, processes, busy_ticks, page_faults, available_kib;
};
enum { FIELDS = sizeof(struct sample) / sizeof(uint64_t) };
static const char *const field_names[FIELDS] = {
    "time_ns", "switches", "interrupts", "processes", "busy_ticks", "page_faults", "available_kib"};

/* What each process found, told to the parent at its end. */
struct account {
    uint64_t samples, first, last, missed, batches, most, late;
    int64_t longest_ns; /* sampler: one round of reading /proc; dashboard: oldest sample shown */
    double seconds;
    uint64_t digest;
};

struct proc {
    int stat, vmstat, meminfo;
    char *text;
};

/* A file of /proc is read whole, from its start, each time. */
static const char *proc_read(const struct proc *proc, int fd)
{
    ssize_t length = 0, got;
    do {
        got = pread(fd, proc->text + length, (size_t)(TEXT - 1 - length), (off_t)length);
        length += got > 0 ? got : 0;
    } while ((got > 0 && length < TEXT - 1) || (got < 0 && errno == EINTR));
    proc->text[length] = '\0';
    return proc->text;
}

static uint64_t number_after(const char *text, const char *word)
{
    const char *at = strstr(text, word);
    return at != NULL ? strtoull(at + strlen(word), NULL, 10) : 0;
}

static void take_sample(const struct proc *proc, struct sample *sample)
{
    struct sample new = {.time_ns = (uint64_t)slipring_now_ns()};
    uint64_t ticks[8] = {0};
    const char *text = proc_read(proc, proc->stat);
    new.switches = number_after(text, "\nctxt ");
    new.interrupts = number_after(text, "\nintr ");
    new.processes = number_after(text, "\nprocesses ");
    char *rest = strncmp(text, "cpu ", 4) == 0 ? proc->text + 4 : NULL;
    for (int i = 0; i < 8 && rest != NULL; i++) {
        ticks[i] = strtoull(rest, &rest, 10);
    }
    /* not: idle, waiting for disks, stolen */
    new.busy_ticks = ticks[0] + ticks[1] + ticks[2] + ticks[5] + ticks[6];
    new.page_faults = number_after(proc_read(proc, proc->vmstat), "\npgfault ");
    new.available_kib = number_after(proc_read(proc, proc->meminfo), "\nMemAvailable:");
    *sample = new;
}

static bool proc_open(struct proc *proc)
{
    proc->stat = open("/proc/stat", O_RDONLY | O_CLOEXEC);
    proc->vmstat = open("/proc/vmstat", O_RDONLY | O_CLOEXEC);
    proc->meminfo = open("/proc/meminfo", O_RDONLY | O_CLOEXEC);
    proc->text = malloc(TEXT);
    if (proc->stat < 0 || proc->vmstat < 0 || proc->meminfo < 0 || proc->text == NULL) {
        return demo_refused("sampler", "open /proc/{stat,vmstat,meminfo}", errno);
    }
    return true;
}

static void proc_close(struct proc *proc)
{
    const int fds[] = {proc->stat, proc->vmstat, proc->meminfo};
    for (int i = 0; i < 3; i++) {
        if (fds[i] >= 0) {
            close(fds[i]);
        }
    }
    free(proc->text);
}

static void sleep_until(int64_t time_ns)
{
    const struct timespec time = {.tv_sec = time_ns / DEMO_SECOND_NS,
                                  .tv_nsec = time_ns % DEMO_SECOND_NS};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL) == EINTR) {
    }
}

/* Straight from /proc into the slot. A round that took too long costs the ticks it overran. */
static int sample_all(const struct proc *proc, struct slipring_producer *producer, double seconds,
                      struct account *account, XXH3_state_t *hash)
{
    const int64_t step_ns = DEMO_SECOND_NS / RATE, began_ns = slipring_now_ns();
    const int64_t end_ns = began_ns + (int64_t)(seconds * 1e9);
    int rc = 0;
    for (int64_t next_ns = began_ns; next_ns < end_ns && rc == 0; next_ns += step_ns) {
        struct slipring_loan loan;
        sleep_until(next_ns);
        const int64_t now_ns = slipring_now_ns();
        rc = slipring_producer_claim(producer, 1, &loan, now_ns + DEMO_PATIENCE_NS);
        if (rc == 0) {
            take_sample(proc, loan.data);
            (void)XXH3_64bits_update(hash, loan.data, sizeof(struct sample));
            rc = slipring_producer_publish(producer, 1, NULL);
            account->samples++;
        }
        const int64_t took_ns = slipring_now_ns() - now_ns;
        account->longest_ns = took_ns > account->longest_ns ? took_ns : account->longest_ns;
        while (next_ns + step_ns < slipring_now_ns()) {
            next_ns += step_ns;
            account->late++;
        }
    }
    account->seconds = (double)(slipring_now_ns() - began_ns) / 1e9;
    account->digest = XXH3_64bits_digest(hash);
    return rc;
}

static bool sampler(const struct demo_self *self)
{
    struct slipring_ring *ring;
    struct slipring_producer *producer;
    struct slipring_error error;
    struct account account = {0};
    struct proc proc = {-1, -1, -1, NULL};
    XXH3_state_t *hash = XXH3_createState();
    bool good = hash != NULL && XXH3_64bits_reset(hash) == XXH_OK && demo_open(self, &ring);
    if (good) {
        good = slipring_producer_attach(ring, NULL, &producer, &error) == 0 ||
               demo_error(self->role, &error);
        if (good) {
            good = demo_say(self->role, self->to, "r", 1);
            const int rc =
                good && proc_open(&proc)
                    ? sample_all(&proc, producer, *(const double *)self->argument, &account, hash)
                    : -ENOENT;
            slipring_producer_close(producer);
            good = rc == 0 || demo_failed(self->role, "sample", rc);
            proc_close(&proc);
        }
        slipring_ring_close(ring);
    }
    XXH3_freeState(hash);
    return good && demo_say(self->role, self->to, &account, sizeof account);
}

/* Lossless: every sequence once, in order, in whatever batches they come. */
static int record(struct slipring_consumer *consumer, struct account *account, XXH3_state_t *hash)
{
    struct slipring_view view;
    int rc;
    while ((rc = slipring_consumer_acquire(consumer, 64, &view,
                                           slipring_now_ns() + DEMO_PATIENCE_NS)) == 0) {
        if (account->samples == 0) {
            account->first = view.slot.sequence;
        } else if (view.slot.sequence != account->last + 1) {
            return -EBADMSG;
        }
        for (uint64_t i = 0; i < view.slots; i++) {
            (void)XXH3_64bits_update(hash, (const char *)view.data + i * view.stride,
                                     sizeof(struct sample));
        }
        account->samples += view.slots;
        account->last = view.slot.sequence + view.slots - 1;
        account->missed += view.missed;
        account->batches++;
        account->most = view.slots > account->most ? view.slots : account->most;
        if ((rc = slipring_consumer_release(consumer, &view)) < 0) {
            return rc;
        }
    }
    account->digest = XXH3_64bits_digest(hash);
    return rc;
}

static void show(const struct sample *now, const struct sample *before, uint64_t sequence,
                 double processors)
{
    const double seconds = (double)(now->time_ns - before->time_ns) / 1e9;
    demo_line("    sample %5" PRIu64 ": per second %6.0f switches, %6.0f interrupts, %6.0f page "
              "faults, %3.0f new processes; %3.0f %% busy, %.1f GiB free",
              sequence, (double)(now->switches - before->switches) / seconds,
              (double)(now->interrupts - before->interrupts) / seconds,
              (double)(now->page_faults - before->page_faults) / seconds,
              (double)(now->processes - before->processes) / seconds,
              100 * (double)(now->busy_ticks - before->busy_ticks) /
                  (seconds * (double)sysconf(_SC_CLK_TCK) * processors),
              (double)now->available_kib / (1 << 20));
}

/* Newest first: looks a few times per second and takes what is newest then. */
static int watch(struct slipring_consumer *consumer, struct account *account)
{
    const int64_t began_ns = slipring_now_ns();
    int64_t age_ns = 0; /* of the sample shown last; the one after the end does not count */
    struct sample before = {0}, now;
    struct slipring_view view;
    int rc;
    while ((rc = slipring_consumer_acquire(consumer, 1, &view,
                                           slipring_now_ns() + DEMO_PATIENCE_NS)) == 0) {
        memcpy(&now, view.data, sizeof now);
        account->longest_ns = age_ns > account->longest_ns ? age_ns : account->longest_ns;
        age_ns = slipring_now_ns() - (int64_t)now.time_ns;
        account->first = account->samples++ == 0 ? view.slot.sequence : account->first;
        account->last = view.slot.sequence;
        account->missed += view.missed;
        if ((rc = slipring_consumer_release(consumer, &view)) < 0) {
            return rc;
        }
        if (now.time_ns - before.time_ns > DEMO_SECOND_NS / REFRESHES_PER_SECOND / 2) {
            if (before.time_ns != 0) {
                show(&now, &before, account->last, (double)sysconf(_SC_NPROCESSORS_ONLN));
            }
            before = now;
        }
        sleep_until(began_ns + (int64_t)account->samples * DEMO_SECOND_NS / REFRESHES_PER_SECOND);
    }
    return rc;
}

static bool reader(const struct demo_self *self)
{
    const struct slipring_consumer_config config = {
        .struct_size = sizeof config, .flags = self->index == DASHBOARD ? SLIPRING_NEWEST : 0};
    struct slipring_ring *ring;
    struct slipring_consumer *consumer;
    struct slipring_error error;
    struct account account = {0};
    XXH3_state_t *hash = XXH3_createState();
    bool good = hash != NULL && XXH3_64bits_reset(hash) == XXH_OK && demo_open(self, &ring);
    if (good) {
        good = slipring_consumer_attach(ring, &config, &consumer, &error) == 0 ||
               demo_error(self->role, &error);
        if (good) {
            int rc = -EPIPE;
            good = demo_say(self->role, self->to, "r", 1);
            if (good) {
                rc = self->index == DASHBOARD ? watch(consumer, &account)
                                              : record(consumer, &account, hash);
            }
            slipring_consumer_detach(consumer);
            good = good && (rc == -EPIPE || demo_failed(self->role, "read", rc));
        }
        slipring_ring_close(ring);
    }
    XXH3_freeState(hash);
    return good && demo_say(self->role, self->to, &account, sizeof account);
}

static bool make_ring(struct slipring_ring **ring)
{
    struct slipring_field fields[FIELDS];
    struct slipring_config config;
    struct slipring_error error;
    for (int i = 0; i < FIELDS; i++) {
        const int rc = slipring_field_init(&fields[i], field_names[i], "u8", 0, NULL);
        if (rc < 0) {
            return demo_failed("demo", field_names[i], rc);
        }
    }
    slipring_config_init(&config);
    config.slots = SLOTS;
    config.fields = fields;
    config.field_count = FIELDS;
    config.flags = SLIPRING_VANISH;
    if (slipring_ring_create(SLIPRING_AUTO_NAME, &config, ring, &error) < 0) {
        return demo_error("demo", &error);
    }
    return true;
}

static bool judge(const struct account *account, double seconds)
{
    const struct account *sent = &account[SAMPLER], *kept = &account[RECORDER],
                         *seen = &account[DASHBOARD];
    const bool lossless = kept->samples == sent->samples && kept->first == 0 &&
                          kept->last + 1 == sent->samples && kept->missed == 0 &&
                          kept->digest == sent->digest;
    const bool newest =
        seen->samples + seen->missed == sent->samples && seen->last + 1 == sent->samples;
    demo_line("    sampler:   %" PRIu64 " samples in %.2f s (%.0f per second); the slowest took "
              "%.2f ms, and %" PRIu64 " ticks went by meanwhile",
              sent->samples, sent->seconds, (double)sent->samples / sent->seconds,
              (double)sent->longest_ns / 1e6, sent->late);
    demo_line("    recorder:  sequences %" PRIu64 " to %" PRIu64 ", %s, in %" PRIu64
              " views of up to %" PRIu64 ";\n               XXH3 of the record %016" PRIx64 " %s",
              kept->first, kept->last,
              lossless ? "each once and in order" : "NOT all of what was sent", kept->batches,
              kept->most, kept->digest,
              kept->digest == sent->digest ? "is the sampler's" : "DIFFERS from the sampler's");
    demo_line("    dashboard: looked %" PRIu64 " times, at samples at most %.2f ms old, and was "
              "told of %" PRIu64 " passed over:\n               together %s",
              seen->samples, (double)seen->longest_ns / 1e6, seen->missed,
              newest ? "all of them" : "NOT all of them");
    return lossless && newest && sent->samples > 0 && sent->seconds >= seconds * 0.9;
}

bool demo_counters(struct demo_names *names, double seconds)
{
    struct demo_family family = {.count = 0};
    struct account account[3];
    struct slipring_ring *ring = NULL;
    demo_line("1. The machine's own counters: seven numbers of /proc, sampled every millisecond");
    bool good = demo_start(&family, "recorder", reader, NULL) &&
                demo_start(&family, "dashboard", reader, NULL) &&
                demo_start(&family, "sampler", sampler, &seconds) && make_ring(&ring);
    if (good) {
        const char *name = slipring_ring_name(ring);
        snprintf(names->name[names->count++], sizeof names->name[0], "%s", name);
        demo_line("    ring %s: compact, %d slots of 56 bytes, opened by name in three processes",
                  name, SLOTS);
        good = demo_tell_name(&family, RECORDER, 2, name) && demo_ready(&family, RECORDER, 2) &&
               demo_tell_name(&family, SAMPLER, 1, name) && demo_ready(&family, SAMPLER, 1);
        slipring_ring_close(ring); /* its maker leaves; the members go on */
    }
    for (int i = SAMPLER; i >= RECORDER && good; i--) {
        struct demo_child *child = &family.children[i];
        good = demo_hear(child->role, child->from, &account[i], sizeof account[i]) &&
               demo_finish(child);
    }
    demo_end(&family);
    return good && judge(account, seconds);
}
