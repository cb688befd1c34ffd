/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fourth part of the demo, where there is a GPU: the file from a ring to the GPU's memory and from
 * there into a second ring, whose reader hashes each block. One process uses the GPU, and all it does
 * is to put copies, releases and publishes on a stream: the GPU gives the slots of the first ring back
 * and fills and publishes those of the second.
 */
#define _GNU_SOURCE
#include "demo.h"

#include <slipring/cuda_slots.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <xxhash.h>

enum { GPU, READER, PRODUCER, LEAST_BLOCKS = 256 };

struct part {
    const struct demo_input *input;
    struct slipring_ring *in, *out;
};

/* What the process beside the GPU finds there. */
struct found {
    int devices;
    uint32_t release_by;
    char driver[128], missing[256];
};

struct account {
    uint64_t blocks, right;
    int64_t ended_ns;
};

/* ---- beside the GPU ---- */

struct gpu {
    const char *role;
    struct slipring_cuda *in, *out;
    struct slipring_cuda_slots *slots; /* a place on the GPU for each block under way */
    struct slipring_consumer *consumer;
    struct slipring_producer *producer;
};

static bool register_ring(const char *role, struct slipring_ring *ring, struct slipring_cuda **cuda)
{
    struct slipring_error error;
    if (slipring_cuda_register(ring, NULL, cuda, &error) < 0 ||
        slipring_cuda_ready(*cuda, slipring_now_ns() + DEMO_PATIENCE_NS, &error) < 0) {
        return demo_error(role, &error);
    }
    return true;
}

static bool begin(struct gpu *gpu, const struct part *part)
{
    const int64_t shape[] = {DEMO_BLOCK};
    struct slipring_consumer_config config;
    struct slipring_field field;
    struct slipring_error error;
    slipring_consumer_config_init(&config);
    config.flags = SLIPRING_UNORDERED; /* copies end in an order of their own */
    if (!register_ring(gpu->role, part->in, &gpu->in) ||
        !register_ring(gpu->role, part->out, &gpu->out)) {
        return false;
    }
    if (slipring_field_init(&field, "block", "u1", 1, shape) < 0 ||
        slipring_cuda_slots_create(gpu->in, &field, 1, &gpu->slots, &error) < 0 ||
        slipring_consumer_attach(part->in, &config, &gpu->consumer, &error) < 0 ||
        slipring_producer_attach(part->out, NULL, &gpu->producer, &error) < 0) {
        return demo_error(gpu->role, &error);
    }
    return true;
}

static void end(struct gpu *gpu)
{
    slipring_consumer_detach(gpu->consumer);
    slipring_producer_close(gpu->producer);
    slipring_cuda_slots_close(gpu->slots);
    slipring_cuda_unregister(gpu->in);
    slipring_cuda_unregister(gpu->out);
}

/* Where streams cannot wait for slots, we do. */
static int claim(struct gpu *gpu, struct slipring_loan *loan, struct slipring_error *error)
{
    const int64_t until = slipring_now_ns() + DEMO_PATIENCE_NS;
    int rc;
    while ((rc = slipring_cuda_claim(gpu->out, gpu->producer, 1, NULL, loan, error)) == -EAGAIN &&
           slipring_now_ns() < until) {
        (void)nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
    }
    return rc;
}

/* All on one stream, in this order; nothing of it is waited for here. */
static int pass_on(struct gpu *gpu, const struct slipring_view *view, struct slipring_error *error)
{
    struct slipring_tensor there;
    struct slipring_loan loan;
    const struct slipring_slot header = {.bytes = view->slot.bytes, .tag = view->slot.tag};
    int rc = slipring_cuda_slots_tensor(gpu->slots, view->slot.sequence, 1, 0, &there);
    const uint64_t address = (uint64_t)(uintptr_t)there.data;
    if (rc < 0 ||
        (rc = slipring_cuda_copy(gpu->in, gpu->consumer, view, 0, address, NULL, error)) < 0) {
        return rc;
    }
    if ((rc = slipring_cuda_release(gpu->in, gpu->consumer, view, NULL, error)) < 0 ||
        (rc = claim(gpu, &loan, error)) < 0 ||
        (rc = slipring_cuda_fill(gpu->out, gpu->producer, &loan, 0, address, NULL, error)) < 0) {
        return rc;
    }
    return slipring_cuda_publish(gpu->out, gpu->producer, 1, &header, NULL, error);
}

static bool pass_all(struct gpu *gpu, struct account *account)
{
    struct slipring_error error = {.text = "acquire failed"};
    struct slipring_view view;
    int rc;
    while ((rc = slipring_consumer_acquire(gpu->consumer, 1, &view,
                                           slipring_now_ns() + DEMO_PATIENCE_NS)) == 0) {
        if (pass_on(gpu, &view, &error) < 0) {
            return demo_error(gpu->role, &error);
        }
        account->blocks++;
    }
    if (rc != -EPIPE) {
        return demo_failed(gpu->role, "acquire", rc);
    }
    const int64_t until = slipring_now_ns() + DEMO_PATIENCE_NS;
    if (slipring_cuda_drain(gpu->in, until, &error) < 0 ||
        slipring_cuda_drain(gpu->out, until, &error) < 0) {
        return demo_error(gpu->role, &error);
    }
    return true;
}

static bool beside_gpu(const struct demo_self *self)
{
    const struct part *part = self->argument;
    struct gpu gpu = {.role = self->role};
    struct account account = {0};
    struct found found = {0};
    struct slipring_error error = {0};
    bool good = true;
    found.devices = slipring_cuda_devices(&error);
    snprintf(found.driver, sizeof found.driver, "%.127s", slipring_cuda_driver());
    snprintf(found.missing, sizeof found.missing, "%.255s", error.text);
    if (found.devices > 0) {
        struct slipring_cuda_info info = {.struct_size = sizeof info};
        good = begin(&gpu, part) && slipring_cuda_get_info(gpu.in, &info) == 0;
        found.release_by = info.release_by;
    }
    good = good && demo_say(self->role, self->to, &found, sizeof found);
    if (good && found.devices > 0) {
        good = pass_all(&gpu, &account) && demo_say(self->role, self->to, &account, sizeof account);
    }
    if (found.devices > 0) {
        end(&gpu);
    }
    slipring_ring_close(part->in);
    slipring_ring_close(part->out);
    return good;
}

/* ---- the reader of what comes back ---- */

static bool read_back(const struct demo_self *self)
{
    const struct part *part = self->argument;
    struct slipring_consumer *consumer = NULL;
    struct slipring_error error;
    struct slipring_view view;
    struct account account = {0};
    int rc = -EPIPE;
    bool good = slipring_consumer_attach(part->out, NULL, &consumer, &error) == 0 ||
                demo_error(self->role, &error);
    good = good && demo_say(self->role, self->to, "r", 1);
    while (good && (rc = slipring_consumer_acquire(consumer, 1, &view,
                                                   slipring_now_ns() + DEMO_PATIENCE_NS)) == 0) {
        const uint64_t block = view.slot.tag % part->input->blocks;
        account.right += view.slot.tag == account.blocks &&
                         view.slot.bytes == demo_block_bytes(part->input, block) &&
                         XXH3_64bits(view.data, view.slot.bytes) == part->input->hashes[block];
        account.blocks++;
        good = slipring_consumer_release(consumer, &view) == 0;
    }
    account.ended_ns = slipring_now_ns();
    good = good && (rc == -EPIPE || demo_failed(self->role, "acquire", rc));
    slipring_consumer_detach(consumer);
    slipring_ring_close(part->in);
    slipring_ring_close(part->out);
    return good && demo_say(self->role, self->to, &account, sizeof account);
}

/* ---- the part ---- */

static bool send_through(struct demo_family *family, struct part *part)
{
    const uint64_t passes = demo_passes(part->input, LEAST_BLOCKS);
    const struct demo_stream stream = {part->input, part->in, passes, NULL};
    struct account passed, read;
    struct demo_sent sent;
    bool good = demo_start(family, "reader of what comes back", read_back, part) &&
                demo_ready(family, READER, 1) &&
                demo_start(family, "producer", demo_stream_produce, &stream);
    slipring_ring_close(part->in);
    slipring_ring_close(part->out);
    part->in = part->out = NULL;
    struct demo_child *children = family->children;
    good = good &&
           demo_hear(children[PRODUCER].role, children[PRODUCER].from, &sent, sizeof sent) &&
           demo_finish(&children[PRODUCER]) &&
           demo_hear(children[GPU].role, children[GPU].from, &passed, sizeof passed) &&
           demo_finish(&children[GPU]) &&
           demo_hear(children[READER].role, children[READER].from, &read, sizeof read) &&
           demo_finish(&children[READER]);
    if (!good) {
        return false;
    }
    const double seconds = (double)(read.ended_ns - sent.began_ns) / 1e9;
    demo_line("    %" PRIu64 " blocks to the GPU and back, %" PRIu64 " of them right, in order; "
              "%.2f GiB/s each way",
              passed.blocks, read.right, (double)sent.bytes / (1 << 30) / seconds);
    return passed.blocks == sent.blocks && read.blocks == sent.blocks && read.right == sent.blocks;
}

bool demo_gpu(const struct demo_input *input)
{
    static const char *const ways[] = {"by a store of the GPU",
                                       "by a process that the driver calls",
                                       "by a process that asks the driver"};
    struct demo_family family = {.count = 0};
    struct part part = {input, demo_stream_ring(NULL), demo_stream_ring(NULL)};
    struct found found = {0};
    bool good = part.in != NULL && part.out != NULL &&
                demo_start(&family, "beside the GPU", beside_gpu, &part) &&
                demo_hear("beside the GPU", family.children[GPU].from, &found, sizeof found);
    if (good && found.devices <= 0) {
        demo_line("4. Beside a GPU: left out, there is none here (%s)", found.missing);
        good = demo_finish(&family.children[GPU]);
    } else if (good) {
        demo_line("4. The file through a GPU (%s):\n   from a ring to its memory, and from there "
                  "into a second ring; slots are released %s",
                  found.driver, ways[found.release_by % 3]);
        good = send_through(&family, &part);
    }
    slipring_ring_close(part.in);
    slipring_ring_close(part.out);
    demo_end(&family);
    return good;
}
