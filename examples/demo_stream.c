/* SPDX-License-Identifier: Apache-2.0 */
/* The ring that carries the file, and the process that produces into it. */
#define _GNU_SOURCE
#include "demo.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

struct slipring_ring *demo_stream_ring(const char *name)
{
    const int64_t shape[] = {DEMO_BLOCK};
    struct slipring_field field;
    struct slipring_config config;
    struct slipring_ring *ring;
    struct slipring_error error;
    const int rc = slipring_field_init(&field, "block", "u1", 1, shape);
    if (rc < 0) {
        demo_failed("demo", "field", rc);
        return NULL;
    }
    slipring_config_init(&config);
    config.slots = DEMO_SLOTS;
    config.fields = &field;
    config.field_count = 1;
    config.flags = name != NULL ? SLIPRING_VANISH : 0;
    if (slipring_ring_create(name, &config, &ring, &error) < 0) {
        demo_error("demo", &error);
        return NULL;
    }
    return ring;
}

void *demo_shared(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        demo_refused("demo", "mmap", errno);
        return NULL;
    }
    return memory;
}

uint64_t demo_passes(const struct demo_input *input, uint64_t least_blocks)
{
    return (least_blocks + input->blocks - 1) / input->blocks;
}

/* Consecutive slots are consecutive memory: one read() fills all that were claimed. */
static int send_batch(const struct demo_stream *stream, struct slipring_producer *producer,
                      uint64_t pass, uint64_t block, uint64_t count)
{
    struct slipring_slot headers[DEMO_BATCH] = {{0}};
    struct slipring_loan loan;
    const uint64_t number = pass * stream->input->blocks + block;
    const int rc =
        slipring_producer_claim(producer, count, &loan, slipring_now_ns() + DEMO_PATIENCE_NS);
    if (rc < 0) {
        return rc;
    }
    for (uint64_t i = 0; i < count; i++) {
        if (stream->claimed_ns != NULL) {
            stream->claimed_ns[number + i] = slipring_now_ns();
        }
        headers[i].bytes = demo_block_bytes(stream->input, block + i);
        headers[i].tag = number + i;
    }
    if (loan.stride != DEMO_BLOCK || !demo_input_read(stream->input, block, count, loan.data)) {
        const int aborted = slipring_producer_abort(producer);
        return aborted < 0 ? aborted : -EIO;
    }
    return slipring_producer_publish(producer, count, headers);
}

bool demo_stream_produce(const struct demo_self *self)
{
    const struct demo_stream *stream = self->argument;
    const struct demo_input *input = stream->input;
    struct slipring_ring *ring = stream->ring;
    struct slipring_producer *producer;
    struct slipring_error error;
    struct demo_sent sent = {0};
    int rc = 0;
    if (ring == NULL && !demo_open(self, &ring)) {
        return false;
    }
    if (slipring_producer_attach(ring, NULL, &producer, &error) < 0) {
        slipring_ring_close(ring);
        return demo_error(self->role, &error);
    }
    sent.began_ns = slipring_now_ns();
    for (uint64_t pass = 0; pass < stream->passes && rc == 0; pass++) {
        for (uint64_t block = 0, count; block < input->blocks && rc == 0; block += count) {
            const uint64_t left = input->blocks - block;
            count = left < DEMO_BATCH ? left : DEMO_BATCH;
            rc = send_batch(stream, producer, pass, block, count);
            sent.blocks += rc == 0 ? count : 0;
        }
        sent.bytes += input->bytes;
    }
    slipring_producer_close(producer);
    slipring_ring_close(ring);
    if (rc < 0) {
        return demo_failed(self->role, "send", rc);
    }
    return demo_say(self->role, self->to, &sent, sizeof sent);
}

/* Beside the floor: each byte is copied once, by one processor, and hashed by each reader, by
 * what processors there are; no way of sending could be faster than this work. */
void demo_throughput(const struct demo_input *input, const struct demo_sent *sent, int64_t ended_ns,
                     int hashes)
{
    const double gib = (double)sent->bytes / (1 << 30);
    const double seconds = (double)(ended_ns - sent->began_ns) / 1e9;
    const double rate = gib / seconds;
    const double copy = 1 / input->memcpy_gib, hash = 1 / input->hash_gib;
    const long online = sysconf(_SC_NPROCESSORS_ONLN);
    const double share = (copy + hashes * hash) / (double)(online > 0 ? online : 1);
    double bound = share > copy ? share : copy;
    bound = bound > hash ? bound : hash;
    demo_line("    throughput: %.0f MiB in %.3f s = %.2f GiB/s sent, %.2f GiB/s read", gib * 1024,
              seconds, rate, rate * hashes);
    demo_line("    memcpy floor: %.2f GiB/s for 1 MiB blocks over %d slots by one processor: ratio "
              "%.2f",
              input->memcpy_gib, DEMO_SLOTS, rate / input->memcpy_gib);
    demo_line("    floor of the work: a copy and %d hashes (%.2f GiB/s) of each byte on %ld "
              "processors: %.2f GiB/s: ratio %.2f",
              hashes, input->hash_gib, online, 1 / bound, rate * bound);
}
