/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: no value of the words of either object, put there before or between its calls, makes a
 * member that opens a ring and uses it crash, hang, leave the ring or leak. With MUTATE a second
 * thread changes the words to and fro during the calls, so that a word that is read twice is seen
 * with two values.
 * Faults: E1, E8.
 */
#include "fuzz.h"

#include <pthread.h>
#include <sched.h>

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

#ifndef MUTATE

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    fuzz_play(input, size, NULL, true);
    fuzz_restore(fuzz_ring(size == 0 ? 0 : input[0]));
    return 0;
}

#else

enum { EDITS_MAX = 32, BURST = 64 };

static struct fuzz_edit edits[EDITS_MAX];
static _Atomic uint32_t edit_count;
static _Atomic bool playing, busy; /* each side stores its own and then looks at the other's */

static void edited(const struct fuzz_edit *edit)
{
    const uint32_t count = edit_count;
    if (count < EDITS_MAX) {
        edits[count] = *edit;
        edit_count = count + 1;
    }
}

static void *mutator(void *unused)
{
    uint64_t random = 88172645463325252;
    for (;;) {
        busy = true;
        const uint32_t count = playing ? edit_count : 0;
        for (int i = 0; count > 0 && i < BURST; i++) {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            const struct fuzz_edit *edit = &edits[random % count];
            slr_store64(edit->word, random >> 40 & 1 ? edit->after : edit->before);
        }
        busy = false;
        if (count == 0) {
            sched_yield();
        }
    }
    return unused;
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    static bool started;
    pthread_t thread;
    MUST(started || pthread_create(&thread, NULL, mutator, NULL) == 0);
    started = true;
    edit_count = 0;
    playing = true;
    fuzz_play(input, size, edited, false);
    playing = false;
    while (busy) {
        sched_yield();
    }
    fuzz_restore(fuzz_ring(size == 0 ? 0 : input[0]));
    return 0;
}

#endif
