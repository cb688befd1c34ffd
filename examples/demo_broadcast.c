/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Second part of the demo: a file to three consumers, each of which sees all of it and hashes it;
 * once undisturbed, for the throughput, and once with one of them killed while it holds the whole
 * ring. The ring has no name: the processes inherit it.
 */
#define _GNU_SOURCE
#include "demo.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include <xxhash.h>

enum { READERS = 3, VICTIM = 1, PRODUCER = READERS, LEAST_BLOCKS = 64, MEASURED_BLOCKS = 768 };

struct part {
    const struct demo_input *input;
    struct slipring_ring *ring;
    int victim; /* -1: none */
};

struct held {
    uint64_t first, slots;
};

struct account {
    uint64_t blocks, batches, most, passes_good;
    int64_t ended_ns;
};

static const char *const roles[READERS] = {"reader A", "reader B", "reader C"};

/* Hashes a view as what it is, one tensor (n, 1 MiB), up to the end of a pass through the file. */
static bool hash_view(const struct demo_input *input, struct slipring_consumer *consumer,
                      const struct slipring_view *view, XXH3_state_t *state,
                      struct account *account)
{
    struct slipring_tensor tensor;
    int rc = slipring_view_field(consumer, view, 0, &tensor);
    if (rc < 0 || tensor.strides[0] != (view->slots > 1 ? DEMO_BLOCK : 1)) {
        return demo_failed("reader", "the block is not contiguous", rc < 0 ? rc : -EINVAL);
    }
    for (uint64_t i = 0, run; i < view->slots; i += run) {
        const uint64_t block = (account->blocks + i) % input->blocks;
        struct slipring_slot last;
        run = view->slots - i < input->blocks - block ? view->slots - i : input->blocks - block;
        rc = slipring_view_slot(consumer, view, i + run - 1, &last);
        if (rc < 0 || last.tag != account->blocks + i + run - 1 ||
            last.bytes != demo_block_bytes(input, block + run - 1)) {
            return demo_failed("reader", "a header is not as sent", rc < 0 ? rc : -EBADMSG);
        }
        (void)XXH3_64bits_update(state, (const char *)tensor.data + i * DEMO_BLOCK,
                                 (size_t)((run - 1) * DEMO_BLOCK + last.bytes));
        if (block + run == input->blocks) {
            account->passes_good += XXH3_64bits_digest(state) == input->digest;
            (void)XXH3_64bits_reset(state);
        }
    }
    return true;
}

/* The one that will be killed takes slot after slot and gives none back, until there is no room
 * for another claim and the producer has to wait for it; then it says so, and waits for its end. */
static void take_all(const struct demo_self *self, struct slipring_consumer *consumer,
                     struct held held)
{
    while (held.slots + DEMO_BATCH <= DEMO_SLOTS) {
        struct slipring_view view;
        const int rc = slipring_consumer_acquire(consumer, DEMO_SLOTS, &view,
                                                 slipring_now_ns() + DEMO_PATIENCE_NS);
        if (rc < 0) {
            demo_failed(self->role, "take all", rc);
            return;
        }
        held.slots += view.slots;
    }
    if (demo_say(self->role, self->to, &held, sizeof held)) {
        for (;;) {
            pause();
        }
    }
}

static int read_all(const struct demo_self *self, struct slipring_consumer *consumer,
                    struct account *account, XXH3_state_t *state)
{
    const struct part *part = self->argument;
    const uint64_t batch = (uint64_t)(2 << self->index); /* each its own: 2, 4, 8 */
    struct slipring_view view;
    int rc;
    while ((rc = slipring_consumer_acquire(consumer, batch, &view,
                                           slipring_now_ns() + DEMO_PATIENCE_NS)) == 0) {
        if (view.slot.sequence != account->blocks || view.missed != 0) {
            return -EBADMSG;
        }
        if (self->index == part->victim && account->blocks >= part->input->blocks / 3 &&
            account->blocks >= LEAST_BLOCKS / 3) {
            take_all(self, consumer, (struct held){view.slot.sequence, view.slots});
            return -ECANCELED;
        }
        if (!hash_view(part->input, consumer, &view, state, account)) {
            return -EBADMSG;
        }
        account->blocks += view.slots;
        account->batches++;
        account->most = view.slots > account->most ? view.slots : account->most;
        if ((rc = slipring_consumer_release(consumer, &view)) < 0) {
            return rc;
        }
    }
    account->ended_ns = slipring_now_ns();
    return rc;
}

static bool reader(const struct demo_self *self)
{
    const struct part *part = self->argument;
    struct slipring_consumer *consumer;
    struct slipring_error error;
    struct account account = {0};
    XXH3_state_t *state = XXH3_createState();
    bool good = state != NULL && XXH3_64bits_reset(state) == XXH_OK;
    if (good && slipring_consumer_attach(part->ring, NULL, &consumer, &error) < 0) {
        good = demo_error(self->role, &error);
    } else if (good) {
        int rc = -EPIPE;
        good = demo_say(self->role, self->to, "r", 1);
        if (good) {
            rc = read_all(self, consumer, &account, state);
        }
        slipring_consumer_detach(consumer);
        good = good && (rc == -EPIPE || demo_failed(self->role, "read", rc));
    }
    slipring_ring_close(part->ring);
    XXH3_freeState(state);
    return good && demo_say(self->role, self->to, &account, sizeof account);
}

static bool judge(const struct demo_input *input, const struct account *account,
                  const struct demo_sent *sent, uint64_t passes, const char *role)
{
    const bool good = account->blocks == sent->blocks && account->passes_good == passes;
    demo_line("    %s: sequences 0 to %" PRIu64 ", each once and in order, in %" PRIu64
              " views of up to %" PRIu64 " MiB;\n              hash %016" PRIx64 " %s",
              role, account->blocks - 1, account->batches, account->most, input->digest,
              good ? "is right" : "is NOT what came");
    return good;
}

/* Kill the one that holds the ring, and find in the producer's notes when it could go on. */
static bool kill_victim(struct demo_family *family, int victim, struct held *held,
                        int64_t *killed_ns, int64_t *buried_ns)
{
    struct demo_child *child = &family->children[victim];
    const bool good =
        demo_hear(child->role, child->from, held, sizeof *held) && demo_kill(child, killed_ns);
    *buried_ns = slipring_now_ns();
    return good;
}

static void tell_death(const char *role, const struct held *held, int64_t killed_ns,
                       int64_t buried_ns, int64_t claimed_ns)
{
    demo_line("    %s held sequences %" PRIu64 " to %" PRIu64 ", %" PRIu64 " of the ring's %d "
              "slots, and was killed with -9;\n              it was gone after %.2f ms, and the "
              "producer went on %.2f ms after the kill",
              role, held->first, held->first + held->slots - 1, held->slots, DEMO_SLOTS,
              (double)(buried_ns - killed_ns) / 1e6, (double)(claimed_ns - killed_ns) / 1e6);
}

/* What the survivors and the producer say at their end; all must end well. */
static bool hear_all(struct demo_family *family, int victim, struct account *account,
                     struct demo_sent *sent)
{
    struct demo_child *producer = &family->children[PRODUCER];
    bool good =
        demo_hear(producer->role, producer->from, sent, sizeof *sent) && demo_finish(producer);
    for (int i = 0; i < READERS && good; i++) {
        struct demo_child *child = &family->children[i];
        good = i == victim || (demo_hear(child->role, child->from, &account[i], sizeof *account) &&
                               demo_finish(child));
    }
    return good;
}

static bool run(const struct demo_input *input, uint64_t passes, int victim)
{
    const size_t bytes = (size_t)(passes * input->blocks + DEMO_SLOTS) * sizeof(int64_t);
    struct demo_family family = {.count = 0};
    struct part part = {input, demo_stream_ring(NULL), victim};
    struct demo_stream stream = {input, part.ring, passes, demo_shared(bytes)};
    struct account account[READERS] = {{0}};
    struct demo_sent sent;
    struct held held = {0, 0};
    int64_t killed_ns = 0, buried_ns = 0, ended_ns = 0;
    bool good = part.ring != NULL && stream.claimed_ns != NULL;
    for (int i = 0; i < READERS && good; i++) {
        good = demo_start(&family, roles[i], reader, &part);
    }
    good = good && demo_ready(&family, 0, READERS) &&
           demo_start(&family, "producer", demo_stream_produce, &stream);
    slipring_ring_close(part.ring); /* nameless and without its maker, it lives in its members */
    if (good && victim >= 0) {
        good = kill_victim(&family, victim, &held, &killed_ns, &buried_ns);
    }
    good = good && hear_all(&family, victim, account, &sent);
    for (int i = 0; i < READERS && good; i++) {
        good = i == victim || judge(input, &account[i], &sent, passes, roles[i]);
        ended_ns = account[i].ended_ns > ended_ns ? account[i].ended_ns : ended_ns;
    }
    if (good && victim >= 0) {
        const int64_t claimed_ns = stream.claimed_ns[held.first + DEMO_SLOTS];
        tell_death(roles[victim], &held, killed_ns, buried_ns, claimed_ns);
        good = claimed_ns >= killed_ns;
    }
    if (good && victim < 0) {
        demo_throughput(input, &sent, ended_ns, READERS);
    }
    demo_end(&family);
    if (stream.claimed_ns != NULL) {
        munmap(stream.claimed_ns, bytes);
    }
    return good;
}

bool demo_broadcast(const struct demo_input *input)
{
    demo_line("2. The file to three consumers, each of which hashes all of it: a tensor ring "
              "without a name,\n   %d slots of 1 MiB, written %d at a time",
              DEMO_SLOTS, DEMO_BATCH);
    if (!run(input, demo_passes(input, MEASURED_BLOCKS), -1)) {
        return false;
    }
    demo_line("   The same again, and one of them is killed on the way:");
    return run(input, demo_passes(input, LEAST_BLOCKS), VICTIM);
}
