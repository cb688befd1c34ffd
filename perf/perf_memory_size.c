/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory_8x800MB         what eight readers and the producer of one tensor of 800 MB take together:
 *                        the sum of the proportional set sizes (Pss) that the kernel gives for the
 *                        nine processes, all of each, while all hold the tensor and have read it.
 *                        Floor: the bytes of the tensor. (A ring has two slots at least: the tensor
 *                        is a batch of two, claimed and acquired as one.)
 * memory_8x800MB_member  by how much one of the readers grows for each further member it attaches
 */
#include "common.h"

#include <string.h>

#define READERS 8
#define SLOTS 2u
#define SLOT_BYTES UINT64_C(400001024) /* two of them are whole pages, so that no slot is added */
#define FURTHER 64

struct reading {
    _Alignas(BENCH_PAD) _Atomic uint64_t bytes; /* of all processes */
    uint64_t member_bytes;
    char name[SLIPRING_NAME_MAX + 1];
};

static uint64_t own_bytes(void)
{
    char line[256];
    unsigned long long kib = 0;
    FILE *file = fopen("/proc/self/smaps_rollup", "re");
    CHECK(file != NULL);
    while (fgets(line, sizeof line, file) != NULL && sscanf(line, "Pss: %llu kB", &kib) != 1) {
    }
    fclose(file);
    CHECK(kib != 0);
    return kib * 1024;
}

static struct slipring_consumer *attach_oldest(struct slipring_ring *ring)
{
    struct slipring_consumer_config config;
    struct slipring_consumer *consumer;
    struct slipring_error error = {0};
    slipring_consumer_config_init(&config);
    config.start = SLIPRING_OLDEST;
    if (slipring_consumer_attach(ring, &config, &consumer, &error) != 0) {
        FAIL("%s: %s", error.call, error.text);
    }
    return consumer;
}

static void hold_tensor(struct slipring_consumer *consumer)
{
    struct slipring_view view;
    CHECK(slipring_consumer_acquire(consumer, SLOTS, &view, SLIPRING_FOREVER) == 0);
    CHECK(view.slots == SLOTS && view.stride == SLOT_BYTES);
    const uint64_t *word = view.data;
    uint64_t sum = 0;
    const uint64_t words = SLOTS * SLOT_BYTES / sizeof *word;
    for (uint64_t i = 0; i < words; i++) {
        sum += word[i];
    }
    CHECK(sum == words);
}

static uint64_t per_member(struct slipring_ring *ring)
{
    struct slipring_consumer *consumers[FURTHER];
    const uint64_t before = own_bytes();
    for (int i = 0; i < FURTHER; i++) {
        struct slipring_view view;
        consumers[i] = attach_oldest(ring);
        CHECK(slipring_consumer_acquire(consumers[i], SLOTS, &view, SLIPRING_FOREVER) == 0);
    }
    const uint64_t after = own_bytes();
    for (int i = 0; i < FURTHER; i++) {
        slipring_consumer_detach(consumers[i]);
    }
    return after > before ? (after - before) / FURTHER : 0;
}

static void publish_tensor(struct slipring_producer *producer)
{
    struct slipring_loan loan;
    CHECK(slipring_producer_claim(producer, SLOTS, &loan, SLIPRING_FOREVER) == 0);
    CHECK(loan.stride == SLOT_BYTES);
    uint64_t *word = loan.data;
    for (uint64_t i = 0; i < SLOTS * SLOT_BYTES / sizeof *word; i++) {
        word[i] = 1;
    }
    CHECK(slipring_producer_publish(producer, SLOTS, NULL) == 0);
}

/* The ring is made here and found by name: nobody but the nine has it mapped. */
static struct slipring_ring *make_ring(struct reading *reading)
{
    struct slipring_config config;
    struct slipring_ring *ring;
    struct slipring_error error = {0};
    slipring_config_init(&config);
    config.slot_bytes = SLOT_BYTES;
    config.slots = SLOTS;
    config.flags = SLIPRING_VANISH;
    if (slipring_ring_create(SLIPRING_AUTO_NAME, &config, &ring, &error) != 0) {
        FAIL("%s: %s", error.call, error.text);
    }
    snprintf(reading->name, sizeof reading->name, "%s", slipring_ring_name(ring));
    return ring;
}

static int play(struct seat *seat, void *context)
{
    struct reading *reading = context;
    struct slipring_ring *ring = NULL;
    struct slipring_producer *producer = NULL;
    struct slipring_consumer *consumer = NULL;
    struct slipring_error error = {0};
    if (seat_index(seat) == 0) {
        ring = make_ring(reading);
        producer = ring_producer(ring, SLIPRING_WAIT_ADAPTIVE);
        publish_tensor(producer);
    }
    seat_meet(seat);
    if (seat_index(seat) != 0) {
        if (slipring_ring_open(reading->name, 0, &ring, &error) != 0) {
            FAIL("%s: %s", error.call, error.text);
        }
        consumer = attach_oldest(ring);
        hold_tensor(consumer);
    }
    seat_meet(seat);
    atomic_fetch_add(&reading->bytes, own_bytes());
    seat_meet(seat);
    if (seat_index(seat) == 1) {
        reading->member_bytes = per_member(ring);
    }
    seat_meet(seat); /* all stay until it is measured */
    slipring_producer_detach(producer);
    slipring_consumer_detach(consumer);
    slipring_ring_close(ring);
    return 0;
}

/* One run gives both figures; that of the members is kept for its measure. */
static int ours(const struct run *run, const void *context)
{
    static uint64_t member_bytes;
    static bool known;
    if (*(const bool *)context && known) {
        samples_add(run->chunks, (double)member_bytes);
        return 0;
    }
    struct reading *reading = shared_new(sizeof *reading);
    const int result = team_run(1 + READERS, play, reading);
    if (result == 0) {
        member_bytes = reading->member_bytes;
        known = true;
        samples_add(run->chunks, *(const bool *)context ? (double)member_bytes
                                                        : (double)atomic_load(&reading->bytes));
    }
    shared_free(reading, sizeof *reading);
    return result;
}

void perf_memory_size(struct bench *bench)
{
    static const bool whole = false, members = true;
    if (!bench_wants(bench, "memory_8x800MB") && !bench_wants(bench, "memory_8x800MB_member")) {
        return;
    }
    if (memory_available() < 2 * SLOTS * SLOT_BYTES) {
        bench_note(bench, "memory_8x800MB left out: not enough memory");
        return;
    }
    const struct measure measures[] = {
        {.name = "memory_8x800MB",
         .unit = "B",
         .rounds = 1,
         .floor = BENCH_NO_FLOOR,
         .floor_value = (double)(SLOTS * SLOT_BYTES),
         .contenders = {{"slipring", ours, &whole}}},
        {.name = "memory_8x800MB_member",
         .unit = "B",
         .rounds = 1,
         .floor = BENCH_NO_FLOOR,
         .contenders = {{"slipring", ours, &members}}},
    };
    bench_measure(bench, &measures[0]);
    bench_measure(bench, &measures[1]);
}
