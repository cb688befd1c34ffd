/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Consumers with copies and releases pending on streams are killed, again and again, at random
 * moments. The producer goes on each time; a consumer that is there all the while gets every message
 * whole, once, in order; and each that comes anew never finds a slot released that it holds, though
 * the cells and tables of the dead have been about. At the end all are free again but for those that
 * still may not be taken.
 */
#define _GNU_SOURCE
#include "cuda_test.h"

#define SLOTS 8u
#define BYTES 1024u
#define STREAMS 3u
#define VICTIMS 25u

static int copy_until_killed(struct proc *self, void *user)
{
    struct slipring_ring *ring = user;
    uint64_t random = (uint64_t)getpid();
    cuda_calls();
    standin.delay(300, random);
    struct slipring_cuda *cuda = cuda_registered(ring, NULL);
    struct slipring_consumer *consumer = proc_member(ring, NULL, SLIPRING_UNORDERED, 0);
    void *streams[STREAMS];
    uint64_t devices[SLOTS];
    for (unsigned i = 0; i < STREAMS; i++) {
        CHECK_CU(gpu.stream_create(&streams[i], 0));
    }
    for (unsigned i = 0; i < SLOTS; i++) {
        CHECK_CU(gpu.alloc(&devices[i], BYTES));
    }
    proc_tell(self, 1);
    for (;;) {
        struct slipring_view view;
        CHECK_OK(slipring_consumer_acquire(consumer, 1, &view, SLIPRING_FOREVER));
        CHECK(pattern_whole(view.data, BYTES, view.slot.sequence));
        void *stream = streams[proc_random(&random) % STREAMS];
        CHECK_OK(slipring_cuda_copy(cuda, consumer, &view, 0, devices[view.slot.sequence % SLOTS],
                                    stream, NULL));
        CHECK_OK(slipring_cuda_release(cuda, consumer, &view, stream, NULL));
    }
}

static int witness(struct proc *self, void *user)
{
    struct slipring_consumer *consumer = proc_member(user, NULL, 0, 0);
    uint64_t next = 0;
    proc_tell(self, 1);
    for (;;) {
        struct slipring_view view;
        const int code = slipring_consumer_acquire(consumer, 4, &view, proc_in_ms(20000));
        if (code == -EPIPE) {
            slipring_consumer_detach(consumer);
            return 0;
        }
        CHECK_OK(code);
        CHECK_EQ(view.slot.sequence, next);
        for (uint64_t i = 0; i < view.slots; i++, next++) {
            CHECK(pattern_whole((const uint8_t *)view.data + i * view.stride, BYTES, next));
        }
        CHECK_OK(slipring_consumer_release(consumer, &view));
    }
}

static void publish(struct slipring_producer *producer)
{
    struct slipring_loan loan;
    CHECK_OK(slipring_producer_claim(producer, 1, &loan, proc_in_ms(10 * PROC_GO_ON_MS)));
    pattern_fill(loan.data, BYTES, loan.sequence);
    CHECK_OK(slipring_producer_publish(producer, 1, NULL));
}

int main(void)
{
    cuda_begin(110);
    uint64_t random = proc_seed();
    struct slipring_ring *ring = cuda_ring(SLOTS, BYTES, SLIPRING_BLOCK);
    struct slipring_producer *producer = proc_producer(ring);
    struct proc other = proc_start(witness, ring);
    (void)proc_hear(&other);
    for (unsigned i = 0; i < VICTIMS; i++) {
        struct proc victim = proc_start(copy_until_killed, ring);
        (void)proc_hear(&victim);
        for (uint64_t n = proc_random(&random) % 60; n > 0; n--) {
            publish(producer);
        }
        if (proc_random(&random) % 4 == 0) {
            proc_stop(&victim); /* a process that hangs, then dies */
        }
        proc_kill(&victim);
        for (unsigned n = 0; n < 3 * SLOTS; n++) {
            publish(producer);
        }
    }
    struct slipring_member members[VICTIMS + 2];
    members[0].struct_size = sizeof members[0];
    const int count = slipring_ring_members(ring, members, VICTIMS + 2);
    CHECK(count >= 2); /* the witness, and at least the last victim */
    for (int i = 0; i < count; i++) {
        CHECK(members[i].state == 4 || members[i].pid == other.pid);
    }
    slipring_producer_close(producer);
    proc_end(&other);
    slipring_ring_close(ring);
    return 0;
}
