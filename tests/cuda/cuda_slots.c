/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slots in GPU memory: what one process writes there another reads, also blocks across the ring's end;
 * sequences, waits and releases are the ring's. The memory outlives its maker, who may be killed, and
 * goes on to others from whoever has it; a reader that is killed holds nobody up. What is no such
 * slots, of another ring or another GPU, and what no device can do, is refused with a text. Each call
 * of the driver fails once: nothing is half made, and nothing left.
 */
#define _GNU_SOURCE
#include "cuda/slots.h"
#include "cuda_test.h"

#include <dirent.h>
#include <sys/socket.h>

#define SLOTS 16u
#define WORDS 24000 /* of a slot's second field: no multiple of a page */
#define BYTES (WORDS * 8u)
#define MESSAGES 200u

static struct slipring_ring *make_ring(void)
{
    return cuda_ring(SLOTS, 256, SLIPRING_BLOCK);
}

static void schema(struct slipring_field *fields)
{
    const int64_t few[] = {3, 5}, many = WORDS;
    CHECK_OK(slipring_field_init(&fields[0], "label", "i4", 2, few));
    CHECK_OK(slipring_field_init(&fields[1], "data", "u8", 1, &many));
}

static struct slipring_cuda_slots *make_slots(struct slipring_cuda *cuda)
{
    struct slipring_field fields[2];
    struct slipring_cuda_slots *slots = NULL;
    struct slipring_error error = {0};
    schema(fields);
    if (slipring_cuda_slots_create(cuda, fields, 2, &slots, &error) != 0) {
        FAIL("%s: %s", error.call, error.text);
    }
    return slots;
}

static unsigned descriptors(void)
{
    unsigned count = 0;
    DIR *directory = opendir("/proc/self/fd");
    CHECK(directory != NULL);
    while (readdir(directory) != NULL) {
        count++;
    }
    closedir(directory);
    return count;
}

/* ---- messages ---- */

struct side {
    struct slipring_ring *ring;
    struct slipring_cuda *cuda;
    struct slipring_cuda_slots *slots;
    void *stream;
    uint64_t *words; /* of the host's, for the copies */
};

static void side_begin(struct side *side)
{
    cuda_calls();
    side->cuda = cuda_registered(side->ring, NULL);
    side->words = malloc((size_t)SLOTS * BYTES);
    CHECK(side->words != NULL);
    CHECK_CU(gpu.stream_create(&side->stream, 0));
}

static void side_end(struct side *side)
{
    CHECK_CU(gpu.synchronize(side->stream));
    slipring_cuda_slots_close(side->slots);
    slipring_cuda_unregister(side->cuda);
    CHECK_CU(gpu.stream_destroy(side->stream));
    CHECK_EQ(standin.handed_on(), 0);
    free(side->words);
}

static void side_receive(struct side *side, int fd)
{
    struct slipring_error error = {0};
    side_begin(side);
    if (slipring_cuda_slots_receive(side->cuda, fd, &side->slots, &error) != 0) {
        FAIL("%s: %s", error.call, error.text);
    }
}

/* The producer's: slots filled on the device, published by its stream. */
static void publish(struct side *side, struct slipring_producer *producer, uint64_t count)
{
    struct slipring_loan loan;
    struct slipring_tensor tensor;
    struct slipring_error error = {0};
    CHECK_OK(slipring_cuda_claim(side->cuda, producer, count, side->stream, &loan, &error));
    for (uint64_t i = 0; i < count; i++) {
        CHECK_OK(slipring_cuda_slots_tensor(side->slots, loan.sequence + i, 1, 1, &tensor));
        pattern_fill(side->words, BYTES, loan.sequence + i);
        CHECK_CU(gpu.to_device((uint64_t)(uintptr_t)tensor.data, side->words, BYTES, side->stream));
    }
    CHECK_OK(slipring_cuda_publish(side->cuda, producer, count, NULL, side->stream, &error));
}

/* The reader's: a block as one tensor, strided, read on the device, released by its stream. */
static void read_block(struct side *side, struct slipring_consumer *consumer,
                       const struct slipring_view *view)
{
    struct slipring_tensor tensor;
    struct slipring_error error = {0};
    CHECK_OK(slipring_cuda_slots_tensor(side->slots, view->slot.sequence, view->slots, 1, &tensor));
    CHECK_EQ(tensor.ndim, view->slots > 1 ? 2 : 1);
    CHECK_EQ(tensor.shape[tensor.ndim - 1], WORDS);
    CHECK_EQ(tensor.bytes, view->slots * BYTES);
    for (uint64_t i = 0; i < view->slots; i++) {
        const uint64_t stride = view->slots > 1 ? (uint64_t)tensor.strides[0] * 8 : 0;
        CHECK_CU(gpu.to_host(side->words, (uint64_t)(uintptr_t)tensor.data + i * stride, BYTES,
                             side->stream));
        CHECK_CU(gpu.synchronize(side->stream));
        CHECK(pattern_whole(side->words, BYTES, view->slot.sequence + i));
    }
    CHECK_OK(slipring_cuda_release(side->cuda, consumer, view, side->stream, &error));
}

struct channel {
    struct slipring_ring *ring;
    int fds[2];
    uint64_t until; /* so many messages, then end or die */
};

static int consume(struct proc *self, void *context)
{
    const struct channel *channel = context;
    struct side side = {.ring = channel->ring};
    struct slipring_consumer *consumer = proc_member(side.ring, NULL, SLIPRING_UNORDERED, 0);
    uint64_t next = 0, blocks = 0;
    proc_tell(self, 1);
    side_receive(&side, channel->fds[1]);
    proc_tell(self, 2);
    for (;;) {
        struct slipring_view view;
        const int code = slipring_consumer_acquire(consumer, 3, &view, proc_in_ms(20000));
        if (code == -EPIPE) {
            break;
        }
        CHECK_OK(code);
        CHECK(next == 0 || view.slot.sequence == next);
        next = view.slot.sequence + view.slots;
        blocks += view.slots > 1 && (view.slot.sequence & (SLOTS - 1)) + view.slots > SLOTS;
        read_block(&side, consumer, &view);
        if (channel->until != 0 && next >= channel->until) {
            proc_tell(self, 3);
            proc_sleep(); /* with releases pending */
        }
    }
    printf("%llu blocks wrapped\n", (unsigned long long)blocks);
    CHECK_EQ(next, MESSAGES);
    CHECK_OK(slipring_cuda_drain(side.cuda, proc_in_ms(20000), NULL));
    slipring_consumer_detach(consumer);
    side_end(&side);
    return 0;
}

/* Two readers, one of which is killed on the way; the maker produces. */
static int produce_for_two(struct proc *self, void *context)
{
    struct side side = {.ring = make_ring()};
    struct channel channels[2] = {{.ring = side.ring}, {.ring = side.ring, .until = 40}};
    struct proc readers[2];
    (void)self;
    (void)context;
    for (unsigned i = 0; i < 2; i++) {
        CHECK(socketpair(AF_UNIX, i == 0 ? SOCK_STREAM : SOCK_SEQPACKET, 0, channels[i].fds) == 0);
        readers[i] = proc_start(consume, &channels[i]);
        (void)proc_hear(&readers[i]);
    }
    side_begin(&side);
    side.slots = make_slots(side.cuda);
    struct slipring_producer *producer = proc_producer(side.ring);
    for (unsigned i = 0; i < 2; i++) {
        CHECK_OK(slipring_cuda_slots_send(side.slots, channels[i].fds[0], NULL));
        (void)proc_hear(&readers[i]);
    }
    for (uint64_t i = 0; i < MESSAGES; i += 2) {
        publish(&side, producer, 2);
        if (i == 40) {
            (void)proc_hear(&readers[1]);
            proc_kill(&readers[1]);
        }
    }
    CHECK_OK(slipring_cuda_drain(side.cuda, proc_in_ms(20000), NULL));
    slipring_producer_close(producer);
    proc_end(&readers[0]);
    side_end(&side);
    slipring_ring_close(side.ring);
    return 0;
}

/* ---- the maker dies ---- */

static int make_and_die(struct proc *self, void *context)
{
    const struct channel *channel = context;
    struct side side = {.ring = channel->ring};
    side_begin(&side);
    side.slots = make_slots(side.cuda);
    struct slipring_producer *producer = proc_producer(side.ring);
    publish(&side, producer, 3);
    CHECK_OK(slipring_cuda_drain(side.cuda, proc_in_ms(20000), NULL));
    CHECK_OK(slipring_cuda_slots_send(side.slots, channel->fds[1], NULL));
    proc_tell(self, 1);
    proc_sleep();
}

static int receive_of_heir(struct proc *self, void *context)
{
    const struct channel *channel = context;
    struct side side = {.ring = channel->ring};
    struct slipring_consumer *consumer = proc_member(side.ring, NULL, SLIPRING_UNORDERED, 0);
    struct slipring_view view;
    proc_tell(self, 1);
    side_receive(&side, channel->fds[1]);
    CHECK_OK(slipring_consumer_try_acquire(consumer, 3, &view));
    CHECK_EQ(view.slots, 3);
    read_block(&side, consumer, &view);
    CHECK_OK(slipring_cuda_drain(side.cuda, proc_in_ms(20000), NULL));
    slipring_consumer_detach(consumer);
    side_end(&side);
    return 0;
}

/* What was made by one that is dead, and sent to one that comes later still. */
static int inherit(struct proc *self, void *context)
{
    struct side side = {.ring = make_ring()};
    struct channel first = {.ring = side.ring}, second = {.ring = side.ring};
    struct slipring_view view;
    (void)self;
    (void)context;
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, first.fds) == 0);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, second.fds) == 0);
    struct slipring_consumer *consumer = proc_member(side.ring, NULL, SLIPRING_UNORDERED, 0);
    struct proc heir = proc_start(receive_of_heir, &second);
    (void)proc_hear(&heir);
    struct proc maker = proc_start(make_and_die, &first);
    (void)proc_hear(&maker);
    proc_kill(&maker); /* before anybody has received it */
    side_receive(&side, first.fds[0]);
    CHECK_OK(slipring_consumer_try_acquire(consumer, 3, &view));
    read_block(&side, consumer, &view);
    CHECK_OK(slipring_cuda_slots_send(side.slots, second.fds[0], NULL));
    proc_end(&heir);
    CHECK_OK(slipring_cuda_drain(side.cuda, proc_in_ms(20000), NULL));
    slipring_consumer_detach(consumer);
    side_end(&side);
    slipring_ring_close(side.ring);
    return 0;
}

/* ---- refused ---- */

static void want_create(struct slipring_cuda *cuda, const struct slipring_field *fields,
                        uint32_t count, int wanted, const char *text)
{
    struct slipring_cuda_slots *slots = NULL;
    struct slipring_error error = {0};
    CHECK_EQ(slipring_cuda_slots_create(cuda, fields, count, &slots, &error), wanted);
    CHECK_EQ(error.code, wanted);
    if (strstr(error.text, text) == NULL || slots != NULL) {
        FAIL("\"%s\" does not say \"%s\"", error.text, text);
    }
    CHECK_EQ(standin.handed_on(), 0);
}

static void check_schema(struct slipring_cuda *cuda)
{
    struct slipring_field fields[2], bad[2];
    const int64_t large[] = {INT64_C(1) << 40, INT64_C(1) << 20};
    schema(fields);
    want_create(cuda, fields, 0, -EINVAL, "1 to");
    want_create(cuda, fields, SLIPRING_FIELDS_MAX + 1, -EINVAL, "1 to");
    want_create(cuda, NULL, 1, -EINVAL, "1 to");
    memcpy(bad, fields, sizeof bad);
    memcpy(bad[1].name, bad[0].name, sizeof bad[0].name);
    want_create(cuda, bad, 2, -EINVAL, "field 1");
    memcpy(bad, fields, sizeof bad);
    bad[0].dtype.lanes = 3;
    want_create(cuda, bad, 2, -EINVAL, "field 0");
    memcpy(bad, fields, sizeof bad);
    bad[1].shape[0] = 0;
    want_create(cuda, bad, 2, -EINVAL, "field 1");
    memset(bad[1].name, 'x', sizeof bad[1].name);
    want_create(cuda, bad, 2, -EINVAL, "field 1");
    CHECK_OK(slipring_field_init(&bad[0], "large", "u8", 2, large));
    want_create(cuda, bad, 1, -EOVERFLOW, "too large");
    CHECK_OK(slipring_field_init(&bad[0], "large", "u1", 2, large));
    want_create(cuda, bad, 1, -EOVERFLOW, "smaller");
}

static void check_device(struct slipring_cuda *cuda)
{
    struct slipring_field fields[2];
    static const int attributes[] = {102, 103};
    schema(fields);
    for (unsigned i = 0; i < 2; i++) {
        standin.attribute(attributes[i], 0);
        want_create(cuda, fields, 2, -ENOTSUP, "handed on");
        standin.attribute(attributes[i], 1);
    }
}

/* Take a message off the socket, change it, and put it back. */
static void tamper(const int *fds, struct slr_cuda_slots_plan *plan, int *descriptor)
{
    char control[CMSG_SPACE(sizeof(int))];
    struct iovec part = {.iov_base = plan, .iov_len = sizeof *plan};
    struct msghdr head = {.msg_iov = &part,
                          .msg_iovlen = 1,
                          .msg_control = control,
                          .msg_controllen = sizeof control};
    CHECK_EQ(recvmsg(fds[1], &head, MSG_WAITALL), sizeof *plan);
    memcpy(descriptor, CMSG_DATA(CMSG_FIRSTHDR(&head)), sizeof *descriptor);
}

static void put(const int *fds, const struct slr_cuda_slots_plan *plan, size_t bytes,
                const int *sent, size_t count)
{
    char control[CMSG_SPACE(8 * sizeof(int))];
    struct iovec part = {.iov_base = (void *)(uintptr_t)plan, .iov_len = bytes};
    struct msghdr head = {.msg_iov = &part, .msg_iovlen = 1};
    memset(control, 0, sizeof control);
    if (count != 0) {
        head.msg_control = control;
        head.msg_controllen = CMSG_SPACE(count * sizeof(int));
        struct cmsghdr *rights = CMSG_FIRSTHDR(&head);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(rights), sent, count * sizeof(int));
    }
    CHECK_EQ(sendmsg(fds[0], &head, 0), (ssize_t)bytes);
}

static void want_receive(struct slipring_cuda *cuda, int fd, int wanted, const char *text)
{
    struct slipring_cuda_slots *slots = NULL;
    struct slipring_error error = {0};
    const unsigned before = descriptors(), handed_on = standin.handed_on();
    CHECK_EQ(slipring_cuda_slots_receive(cuda, fd, &slots, &error), wanted);
    if (strstr(error.text, text) == NULL || slots != NULL) {
        FAIL("\"%s\" does not say \"%s\"", error.text, text);
    }
    CHECK_EQ(descriptors(), before);
    CHECK_EQ(standin.handed_on(), handed_on);
}

/* One wrong thing each. */
static void check_messages(struct slipring_cuda *cuda, struct slipring_cuda *other,
                           const struct slipring_cuda_slots *slots)
{
    struct slr_cuda_slots_plan good, plan;
    int fds[2], descriptor = -1;
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
    CHECK_OK(slipring_cuda_slots_send(slots, fds[0], NULL));
    want_receive(other, fds[1], -EINVAL, "another ring");
    CHECK_OK(slipring_cuda_slots_send(slots, fds[0], NULL));
    tamper(fds, &good, &descriptor);
    const int two[2] = {descriptor, descriptor};
    const struct {
        size_t offset;
        uint64_t value;
        size_t width;
        int wanted;
        const char *text;
    } wrongs[] = {
#define AT(member) offsetof(struct slr_cuda_slots_plan, member), UINT64_MAX >> 2, sizeof good.member
        {AT(version), -EPROTONOSUPPORT, "another version"},
        {AT(field_count), -EBADMSG, "no slots"},
        {AT(stride), -EBADMSG, "no slots"},
        {AT(slots), -EBADMSG, "no slots"},
        {AT(fields[0].dtype.bits), -EINVAL, "field 0"},
        {AT(fields[1].ndim), -EINVAL, "field 1"},
        {offsetof(struct slr_cuda_slots_plan, stride), 256, 8, -EBADMSG, "do not hold"},
        {offsetof(struct slr_cuda_slots_plan, stride), 1 << 24, 8, -EINVAL, "cannot be mapped"},
        {offsetof(struct slr_cuda_slots_plan, device), 7, 1, -ENODEV, "another"},
        {offsetof(struct slr_cuda_slots_plan, ring), 7, 1, -EINVAL, "another ring"},
    };
    for (size_t i = 0; i < sizeof wrongs / sizeof *wrongs; i++) {
        plan = good;
        memcpy((char *)&plan + wrongs[i].offset, &wrongs[i].value,
               wrongs[i].width < 8 ? wrongs[i].width : 8);
        put(fds, &plan, sizeof plan, &descriptor, 1);
        want_receive(cuda, fds[1], wrongs[i].wanted,
                     wrongs[i].wanted == -ENODEV ? "GPU" : wrongs[i].text);
    }
    put(fds, &good, sizeof good, two, 2);
    want_receive(cuda, fds[1], -EBADMSG, "no slots");
    put(fds, &good, sizeof good, NULL, 0);
    want_receive(cuda, fds[1], -EBADMSG, "no slots");
    const int wrong_kind = fds[0];
    put(fds, &good, sizeof good, &wrong_kind, 1);
    want_receive(cuda, fds[1], -EINVAL, "no GPU memory");
    plan = good;
    plan.magic++;
    put(fds, &plan, 16, &descriptor, 1); /* a short one, of somebody else */
    want_receive(cuda, fds[1], -EBADMSG, "no slots");
    put(fds, &good, 100, &descriptor, 1); /* it ends in the middle */
    close(fds[0]);
    want_receive(cuda, fds[1], -EBADMSG, "no slots");
    want_receive(cuda, fds[1], -EPIPE, "closed it");
    want_receive(cuda, descriptor, -ENOTSOCK, "AF_UNIX");
    struct slipring_error error = {0};
    CHECK_EQ(slipring_cuda_slots_send(slots, fds[1], &error), -EPIPE);
    CHECK(strstr(error.text, "AF_UNIX") != NULL);
    close(fds[1]);
    close(descriptor);
}

static int use_in_child(struct proc *self, void *context)
{
    void **both = context;
    struct slipring_cuda *cuda = both[0];
    struct slipring_cuda_slots *slots = both[1], *none = NULL;
    struct slipring_cuda_slots_info info = {.struct_size = sizeof info};
    struct slipring_field fields[2];
    (void)self;
    schema(fields);
    CHECK_EQ(slipring_cuda_slots_create(cuda, fields, 2, &none, NULL), -ECHILD);
    CHECK_EQ(slipring_cuda_slots_receive(cuda, 0, &none, NULL), -ECHILD);
    CHECK_EQ(slipring_cuda_slots_send(slots, 0, NULL), -ECHILD);
    CHECK_OK(slipring_cuda_slots_get_info(slots, &info));
    slipring_cuda_slots_close(slots); /* frees the copy, calls no driver */
    return 0;
}

/* ---- errors of the driver ---- */

static void check_errors(struct slipring_cuda *cuda)
{
    static const struct {
        const char *function;
        unsigned calls; /* of it, by create and receive */
    } calls[] = {{"cuDeviceGetAttribute", 4},
                 {"cuDeviceGetUuid", 2},
                 {"cuDevicePrimaryCtxRetain", 2},
                 {"cuCtxPushCurrent", 2}, /* the later ones are those of close */
                 {"cuMemGetAllocationGranularity", 1},
                 {"cuMemCreate", 1},
                 {"cuMemExportToShareableHandle", 1},
                 {"cuMemAddressReserve", 2},
                 {"cuMemMap", 4},
                 {"cuMemSetAccess", 2},
                 {"cuMemImportFromShareableHandle", 1}};
    struct slipring_field fields[2];
    int fds[2];
    schema(fields);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
    struct slipring_cuda_slots *source = make_slots(cuda);
    const unsigned before = descriptors(), handed_on = standin.handed_on();
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        for (unsigned n = 1; n <= calls[i].calls; n++) {
            struct slipring_cuda_slots *made = NULL, *received = NULL;
            struct slipring_error error = {0};
            standin.fail(calls[i].function, n, 999);
            const int code = slipring_cuda_slots_create(cuda, fields, 2, &made, &error);
            CHECK(code == 0 || (code == -EIO && strstr(error.text, "999") != NULL));
            CHECK_OK(slipring_cuda_slots_send(source, fds[0], NULL));
            const int other = slipring_cuda_slots_receive(cuda, fds[1], &received, &error);
            CHECK(other == 0 || (other == -EIO && strstr(error.text, "999") != NULL));
            if ((code == 0) == (other == 0)) {
                FAIL("%s fails at call %u: create %d, receive %d", calls[i].function, n, code,
                     other);
            }
            standin.fail(calls[i].function, 0, 0);
            slipring_cuda_slots_close(made);
            slipring_cuda_slots_close(received);
            CHECK_EQ(descriptors(), before);
            CHECK_EQ(standin.handed_on(), handed_on);
        }
    }
    slipring_cuda_slots_close(source);
    close(fds[0]);
    close(fds[1]);
}

/* An older driver. */
static int without(struct proc *self, void *context)
{
    struct slipring_ring *ring = make_ring();
    struct slipring_field fields[2];
    (void)self;
    (void)context;
    standin.hide("cuMemExportToShareableHandle", true);
    struct slipring_cuda *cuda = cuda_registered(ring, NULL);
    schema(fields);
    want_create(cuda, fields, 2, -ENOTSUP, "older");
    slipring_cuda_unregister(cuda);
    slipring_ring_close(ring);
    return 0;
}

int main(void)
{
    static int (*const stories[])(struct proc * self, void *context) = {without, produce_for_two,
                                                                        inherit};
    cuda_begin(110);
    for (size_t i = 0; i < sizeof stories / sizeof *stories; i++) {
        struct proc child = proc_start(stories[i], NULL);
        proc_end(&child);
    }
    struct side side = {.ring = make_ring()}, other = {.ring = make_ring()};
    struct slipring_cuda_slots_info info = {.struct_size = sizeof info};
    side_begin(&side);
    side_begin(&other);
    check_schema(side.cuda);
    check_device(side.cuda);
    side.slots = make_slots(side.cuda);
    CHECK_OK(slipring_cuda_slots_get_info(side.slots, &info));
    CHECK(info.stride >= info.slot_bytes && info.total_bytes == SLOTS * info.stride);
    CHECK_EQ(info.slot_bytes, 256 + BYTES);
    CHECK_EQ(slipring_cuda_slots_get_info(side.slots, &(struct slipring_cuda_slots_info){0}),
             -EINVAL);
    struct slipring_tensor tensor;
    struct slipring_field field;
    uint64_t offset = 0;
    CHECK_EQ(slipring_cuda_slots_tensor(side.slots, 0, SLOTS + 1, 0, &tensor), -EINVAL);
    CHECK_EQ(slipring_cuda_slots_tensor(side.slots, 0, 0, 0, &tensor), -EINVAL);
    CHECK_EQ(slipring_cuda_slots_tensor(side.slots, 0, 1, 2, &tensor), -EINVAL);
    CHECK_EQ(slipring_cuda_slots_field(side.slots, 2, &field, NULL), -EINVAL);
    CHECK_OK(slipring_cuda_slots_field(side.slots, 1, &field, &offset));
    CHECK(offset == 256 && strcmp(field.name, "data") == 0);
    check_messages(side.cuda, other.cuda, side.slots);
    void *both[2] = {side.cuda, side.slots};
    struct proc child = proc_start(use_in_child, both);
    proc_end(&child);
    slipring_cuda_slots_close(side.slots);
    side.slots = NULL;
    check_errors(side.cuda);
    side_end(&side);
    side_end(&other);
    slipring_ring_close(side.ring);
    slipring_ring_close(other.ring);
    return 0;
}
