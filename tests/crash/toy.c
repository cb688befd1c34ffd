/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves that stepkill itself finds what it is for, on a toy ring of one writer and 64-byte
 * messages: the right order of stores survives a kill at every instruction, and each of two wrong
 * ones (the stamp before the payload; a plain store of a lock that a kill leaves taken) does not.
 * That every instruction is reached, by breakpoint and by walking alike. And that steps which
 * the recording calls alike are: killed at each step, and frozen at each while another member
 * goes on, a victim leaves the same memory as at the first of the steps alike.
 */
#define _GNU_SOURCE
#include "stepkill.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SLOTS = 4, WORDS = 8 };

struct toy {
    _Atomic uint64_t stamp[SLOTS]; /* sequence + 1 once published */
    _Atomic uint64_t payload[SLOTS][WORDS];
    _Atomic uint64_t locked;
    _Atomic uint64_t sum;
};

static struct toy *toy;

static uint64_t word(uint64_t sequence, int i)
{
    return (sequence + 1) * UINT64_C(0x9e3779b97f4a7c15) + (uint64_t)i;
}

static void fill(uint64_t sequence)
{
    for (int i = 0; i < WORDS; i++) {
        toy->payload[sequence % SLOTS][i] = word(sequence, i);
    }
}

static void publish(void *context)
{
    (void)context;
    sk_begin();
    fill(1);
    toy->stamp[1] = 2;
    sk_end();
    _exit(0);
}

static void publish_early(void *context)
{
    (void)context;
    sk_begin();
    toy->stamp[1] = 2;
    fill(1);
    sk_end();
    _exit(0);
}

static void publish_locked(void *context)
{
    (void)context;
    sk_begin();
    toy->locked = 1;
    fill(1);
    toy->stamp[1] = 2;
    toy->locked = 0;
    sk_end();
    _exit(0);
}

/* Reads and writes that another member's may come between, with a system call among them. */
static void add_up(void *context)
{
    (void)context;
    sk_begin();
    for (int i = 0; i < WORDS; i++) {
        const uint64_t now = toy->sum;
        toy->sum = now * 3 + toy->payload[0][i];
        if (i == WORDS / 2) {
            (void)getppid();
        }
    }
    sk_end();
    _exit(0);
}

static bool holds(void)
{
    if (toy->locked) {
        return false;
    }
    for (uint64_t s = 0; s < 2; s++) {
        for (int i = 0; toy->stamp[s] == s + 1 && i < WORDS; i++) {
            if (toy->payload[s][i] != word(s, i)) {
                return false;
            }
        }
    }
    return toy->stamp[0] == 1;
}

static void reset(void)
{
    memset(toy, 0, sizeof(*toy));
    fill(0);
    toy->stamp[0] = 1;
}

/* Kill at every step: how many broke the toy; negative: the harness itself went wrong. */
static int kill_everywhere(const char *what, sk_victim victim, bool walk_all)
{
    struct sk_trace trace;
    int status = 0, broken = 0;
    uint32_t stores = 0;
    reset();
    if (sk_record(victim, NULL, &trace, &status) || status != 0) {
        printf("%s: could not be recorded, status %#x\n", what, (unsigned)status);
        return -1;
    }
    for (uint32_t step = 0; step < trace.count; step++) {
        pid_t pid;
        reset();
        stores += trace.kind[step] & SK_STORE ? 1 : 0;
        if (walk_all) {
            trace.anchor[step] = 0;
        }
        if (sk_run_to(victim, NULL, &trace, step, &pid, &status) != 0) {
            printf("%s: step %u of %u was not reached\n", what, step, trace.count);
            return -1;
        }
        sk_kill(pid);
        broken += holds() ? 0 : 1;
    }
    printf("%-24s %4u steps, %2u shared stores, %d violations\n", what, trace.count, stores,
           broken);
    sk_trace_free(&trace);
    return stores < WORDS + 1 ? -1 : broken;
}

/* Stop at every step, and compare with the first of the steps like it. */
static bool alike(const char *what, sk_victim victim, bool freeze)
{
    const int mask = freeze ? SK_TOUCH : SK_CALL | SK_STORE;
    struct sk_trace trace;
    struct toy first;
    uint32_t kinds = 0, differ = 0, calls = 0;
    int status = 0;
    pid_t pid;
    reset();
    if (sk_record(victim, NULL, &trace, &status) || status != 0) {
        printf("%s: could not be recorded, status %#x\n", what, (unsigned)status);
        return false;
    }
    for (uint32_t step = 0; step < trace.count; step++) {
        reset();
        if (sk_run_to(victim, NULL, &trace, step, &pid, &status) != 0) {
            printf("%s: step %u of %u was not reached\n", what, step, trace.count);
            return false;
        }
        if (freeze) {
            toy->sum += 1000;
            toy->payload[0][WORDS - 1] += 1000;
            (void)sk_resume(pid, INT64_C(5000000000));
        } else {
            sk_kill(pid);
        }
        calls += trace.kind[step] & SK_CALL ? 1 : 0;
        if (step == 0 || trace.kind[step] & mask) {
            kinds++;
            memcpy(&first, toy, sizeof(first));
        } else if (memcmp(&first, toy, sizeof(first)) != 0) {
            printf("%s: step %u is not like those before it\n", what, step);
            differ++;
        }
    }
    printf("%-24s %4u steps of %u kinds\n", what, trace.count, kinds);
    const bool right = differ == 0 && calls == 1 && kinds < trace.count &&
                       kinds == (freeze ? 1 + 3 * WORDS + 1 : 1 + WORDS + 1);
    sk_trace_free(&trace);
    return right;
}

int main(void)
{
    if (!sk_possible()) {
        printf("SKIPPED: this process may not trace its children\n");
        return 77;
    }
    toy = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (toy == MAP_FAILED) {
        perror("mmap");
        return 1;
    }
    const int right = kill_everywhere("right order", publish, false);
    const int walked = kill_everywhere("right order, walked", publish, true);
    const int early = kill_everywhere("stamp before payload", publish_early, false);
    const int early_walked = kill_everywhere("the same, walked", publish_early, true);
    const int locked = kill_everywhere("plain lock", publish_locked, false);
    const bool killed = alike("alike when killed", add_up, false);
    const bool frozen = alike("alike when frozen", add_up, true);
    if (right < 0 || walked < 0 || early < 0 || early_walked < 0 || locked < 0) {
        return 1;
    }
    return right == 0 && walked == 0 && early > 0 && early == early_walked && locked > 0 &&
                   killed && frozen
               ? 0
               : 1;
}
