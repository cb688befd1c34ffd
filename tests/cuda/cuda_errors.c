/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each call of the driver fails once, whatever it is called for: every public GPU call that is refused
 * says so with a text and leaves things as they were, so that it succeeds when it is made again; every
 * message arrives whole, once, in order; nothing stays registered, mapped or open, no context stays
 * current, no cell or slot is lost. The library's own threads go on.
 */
#define _GNU_SOURCE
#include "cuda_test.h"

#include <slipring/cuda_slots.h>

#include <dirent.h>
#include <sys/socket.h>

#define SLOTS 8u
#define BYTES 4096u
#define CODE 999
#define PER_FUNCTION 14u /* calls of one function that fail, one at a time, spread over all */
#define PATIENCE_MS 20000

static const char *const functions[] = {"cuInit",
                                        "cuDeviceGetCount",
                                        "cuDeviceGet",
                                        "cuDeviceGetAttribute",
                                        "cuDeviceGetPCIBusId",
                                        "cuDeviceGetUuid",
                                        "cuDriverGetVersion",
                                        "cuDevicePrimaryCtxRetain",
                                        "cuDevicePrimaryCtxRelease",
                                        "cuCtxPushCurrent",
                                        "cuCtxPopCurrent",
                                        "cuMemHostRegister",
                                        "cuMemHostUnregister",
                                        "cuMemHostGetDevicePointer",
                                        "cuMemcpyHtoDAsync",
                                        "cuMemcpyDtoHAsync",
                                        "cuMemcpy2DAsync",
                                        "cuStreamGetCtx",
                                        "cuStreamIsCapturing",
                                        "cuEventCreate",
                                        "cuEventRecord",
                                        "cuEventQuery",
                                        "cuEventDestroy",
                                        "cuStreamWriteValue64",
                                        "cuStreamWaitValue64",
                                        "cuStreamBatchMemOp",
                                        "cuLaunchHostFunc",
                                        "cuThreadExchangeStreamCaptureMode",
                                        "cuMemGetAllocationGranularity",
                                        "cuMemCreate",
                                        "cuMemRelease",
                                        "cuMemExportToShareableHandle",
                                        "cuMemImportFromShareableHandle",
                                        "cuMemAddressReserve",
                                        "cuMemAddressFree",
                                        "cuMemMap",
                                        "cuMemUnmap",
                                        "cuMemSetAccess"};
#define FUNCTIONS (sizeof functions / sizeof *functions)

/* What may stay behind when giving it back is what was refused. */
static bool keeps(const char *function)
{
    static const char *const names[] = {"cuMemHostUnregister", "cuCtxPushCurrent", "cuMemUnmap",
                                        "cuMemRelease", "cuMemAddressFree"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(function, names[i]) == 0) {
            return true;
        }
    }
    return false;
}

struct scene {
    struct slipring_ring *ring;
    struct slipring_cuda *cuda;
    struct slipring_producer *producer;
    struct slipring_consumer *consumer, *many;
    void *stream;
    uint64_t device;
    uint64_t next; /* to be published */
    unsigned refused;
};

/* A call that may be refused once: with a text, and then it succeeds. */
#define AGAIN(scene, made)                                                                         \
    do {                                                                                           \
        struct slipring_error why = {0};                                                           \
        const int first_code = (made);                                                             \
        if (first_code < 0) {                                                                      \
            refused(scene, #made, first_code, &why);                                               \
            memset(&why, 0, sizeof why);                                                           \
            const int then = (made);                                                               \
            if (then < 0) {                                                                        \
                FAIL("%s again: %d, %s: %s", #made, then, why.call, why.text);                     \
            }                                                                                      \
        }                                                                                          \
    } while (0)

static void refused(struct scene *scene, const char *call, int code,
                    const struct slipring_error *error)
{
    scene->refused++;
    if (error->code != code || error->text[0] == '\0' || error->call[0] == '\0') {
        FAIL("%s: %d, without its text (%d, \"%s\", \"%s\")", call, code, error->code, error->call,
             error->text);
    }
    if (scene->refused > 1) {
        FAIL("%s is refused, and is not the only one: %s", call, error->text);
    }
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

/* ---- the parts ---- */

static struct slipring_ring *make_ring(void)
{
    struct slipring_config config;
    struct slipring_field fields[2];
    const int64_t small = 512, large = BYTES - 1024;
    CHECK_OK(slipring_field_init(&fields[0], "small", "u1", 1, &small));
    CHECK_OK(slipring_field_init(&fields[1], "large", "u1", 1, &large));
    slipring_config_init(&config);
    config.geometry = SLIPRING_GEOMETRY_TENSOR;
    config.slots = SLOTS;
    config.fields = fields;
    config.field_count = 2;
    return proc_create(&config);
}

/* What could not be locked is staged: begin anew, and all is. */
static void register_ring(struct scene *scene)
{
    struct slipring_cuda_config config;
    struct slipring_error error = {0};
    char pci[SLIPRING_CUDA_PCI_BYTES];
    uint64_t address = 0;
    struct slipring_memory memory = {.struct_size = sizeof memory};
    slipring_cuda_config_init(&config);
    AGAIN(scene, slipring_cuda_devices(&why));
    AGAIN(scene, slipring_cuda_pci(0, pci, sizeof pci, &why));
    AGAIN(scene, slipring_cuda_register(scene->ring, &config, &scene->cuda, &why));
    int code = slipring_cuda_ready(scene->cuda, proc_in_ms(PATIENCE_MS), &error);
    if (code != 0) {
        refused(scene, "slipring_cuda_ready", code, &error);
        CHECK(cuda_info(scene->cuda).state != SLIPRING_CUDA_READY);
        slipring_cuda_unregister(scene->cuda);
        CHECK_OK(slipring_cuda_register(scene->ring, &config, &scene->cuda, &error));
        CHECK_OK(slipring_cuda_ready(scene->cuda, proc_in_ms(PATIENCE_MS), &error));
    }
    CHECK_OK(slipring_ring_memory(scene->ring, &memory));
    AGAIN(scene, slipring_cuda_address(scene->cuda, memory.payload, BYTES, &address, &why));
}

static void publish(struct scene *scene, uint64_t slots)
{
    struct slipring_loan loan;
    for (uint64_t i = 0; i < slots; i++) {
        CHECK_OK(slipring_producer_claim(scene->producer, 1, &loan, proc_in_ms(PATIENCE_MS)));
        CHECK_EQ(loan.sequence, scene->next++);
        pattern_fill(loan.data, 512, loan.sequence);
        CHECK_OK(slipring_producer_publish(scene->producer, 1, NULL));
    }
}

static void take(struct slipring_consumer *consumer, uint64_t sequence, uint64_t slots,
                 struct slipring_view *view)
{
    CHECK_OK(slipring_consumer_acquire(consumer, slots, view, proc_in_ms(PATIENCE_MS)));
    CHECK_EQ(view->slots, slots);
    CHECK_EQ(view->slot.sequence, sequence);
    for (uint64_t i = 0; i < slots; i++) {
        CHECK(pattern_whole((const uint8_t *)view->data + i * view->stride, 512, sequence + i));
    }
}

/* By copies and releases on the stream: a field of several slots, and slots; one and many at once; by
 * stores and by the helper. */
static void consume_on_stream(struct scene *scene)
{
    struct slipring_view view;
    const uint64_t first = scene->next;
    publish(scene, SLOTS);
    for (uint64_t i = 0; i < SLOTS; i += i == 0 ? 1 : SLOTS - 1) {
        const uint64_t slots = i == 0 ? 1 : SLOTS - 1;
        take(scene->consumer, first + i, slots, &view);
        AGAIN(scene, slipring_cuda_copy(scene->cuda, scene->consumer, &view, 0, scene->device,
                                        scene->stream, &why));
        AGAIN(scene, slipring_cuda_copy(scene->cuda, scene->consumer, &view, SLIPRING_CUDA_SLOTS,
                                        scene->device, scene->stream, &why));
        AGAIN(scene,
              slipring_cuda_release(scene->cuda, scene->consumer, &view, scene->stream, &why));
    }
    for (uint64_t i = 0; i < SLOTS; i++) {
        take(scene->many, first + i, 1, &view);
        AGAIN(scene, slipring_cuda_release(scene->cuda, scene->many, &view, scene->stream, &why));
    }
    AGAIN(scene, slipring_cuda_drain(scene->cuda, proc_in_ms(PATIENCE_MS), &why));
    CHECK_EQ(cuda_info(scene->cuda).lost, 0);
    struct slipring_loan loan;
    CHECK_OK(slipring_producer_claim(scene->producer, SLOTS, &loan, proc_in_ms(PATIENCE_MS)));
    CHECK_OK(slipring_producer_abort(scene->producer));
}

static void claim_on_stream(struct scene *scene, uint64_t slots, struct slipring_loan *loan)
{
    AGAIN(scene,
          slipring_cuda_claim(scene->cuda, scene->producer, slots, scene->stream, loan, &why));
    CHECK_EQ(loan->sequence, scene->next);
}

/* By the device: one claim that is free, one that waits for readers, one aborted. */
static void publish_on_stream(struct scene *scene)
{
    struct slipring_loan loan;
    struct slipring_view view, held;
    uint8_t pattern[512];
    const uint64_t first = scene->next;
    for (uint64_t i = 0; i < SLOTS + 1; i++) {
        claim_on_stream(scene, 1, &loan);
        pattern_fill(pattern, sizeof pattern, loan.sequence);
        const uint64_t source = scene->device + i * 512;
        CHECK(gpu.to_device(source, pattern, 512, scene->stream) == 0 ||
              gpu.to_device(source, pattern, 512, scene->stream) == 0); /* ours may fail, too */
        AGAIN(scene, slipring_cuda_fill(scene->cuda, scene->producer, &loan, 0,
                                        scene->device + i * 512, scene->stream, &why));
        AGAIN(scene,
              slipring_cuda_publish(scene->cuda, scene->producer, 1, NULL, scene->stream, &why));
        scene->next++;
        if (i == SLOTS - 1) { /* full of what is held: the next waits */
            take(scene->consumer, first, 1, &held);
        }
    }
    for (uint64_t i = 0; i < SLOTS; i++) {
        take(scene->many, first + i, 1, &view);
        CHECK_OK(slipring_consumer_release(scene->many, &view));
        if (i != 0) {
            take(scene->consumer, first + i, 1, &view);
            CHECK_OK(slipring_consumer_release(scene->consumer, &view));
        }
    }
    CHECK(pattern_whole(held.data, 512, first));
    CHECK_OK(slipring_consumer_release(scene->consumer, &held));
    take(scene->many, first + SLOTS, 1, &view);
    CHECK_OK(slipring_consumer_release(scene->many, &view));
    take(scene->consumer, first + SLOTS, 1, &view);
    CHECK_OK(slipring_consumer_release(scene->consumer, &view));
    claim_on_stream(scene, 2, &loan);
    AGAIN(scene, slipring_cuda_abort(scene->cuda, scene->producer, scene->stream, &why));
    AGAIN(scene, slipring_cuda_drain(scene->cuda, proc_in_ms(PATIENCE_MS), &why));
}

static void read_by_kernel(struct scene *scene)
{
    struct slipring_device_reader reader;
    AGAIN(scene, slipring_cuda_reader_begin(scene->cuda, scene->consumer, &reader, &why));
    slipring_cuda_reader_abort(scene->cuda);
    slipring_cuda_reader_end(scene->cuda, reader.next);
}

static int hand_on(struct scene *scene, const int *fds, struct slipring_cuda_slots *slots,
                   struct slipring_cuda_slots **other, struct slipring_error *error)
{
    CHECK_OK(slipring_cuda_slots_send(slots, fds[0], NULL));
    return slipring_cuda_slots_receive(scene->cuda, fds[1], other, error);
}

static void use_slots(struct scene *scene)
{
    struct slipring_field field;
    struct slipring_cuda_slots *slots = NULL, *other = NULL;
    const int64_t extent = 100;
    int fds[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
    CHECK_OK(slipring_field_init(&field, "data", "f4", 1, &extent));
    AGAIN(scene, slipring_cuda_slots_create(scene->cuda, &field, 1, &slots, &why));
    AGAIN(scene, hand_on(scene, fds, slots, &other, &why));
    slipring_cuda_slots_close(slots);
    slipring_cuda_slots_close(other);
    close(fds[0]);
    close(fds[1]);
}

/* ---- one run ---- */

struct run {
    const char *function; /* NULL: none fails, all are counted */
    unsigned n;
    unsigned calls[FUNCTIONS];
    unsigned refused;
};

static int go(struct proc *self, void *context)
{
    struct run *run = context;
    struct scene scene = {.next = 0};
    void *before = NULL;
    (void)self;
    cuda_calls();
    standin.delay(20, 1);
    CHECK_CU(gpu.stream_create(&scene.stream, 0));
    CHECK_CU(gpu.alloc(&scene.device, (uint64_t)SLOTS * 2 * BYTES));
    unsigned counted[FUNCTIONS];
    for (size_t i = 0; i < FUNCTIONS; i++) {
        counted[i] = standin.calls(functions[i]);
    }
    const unsigned open = descriptors();
    if (run->function != NULL) {
        standin.fail(run->function, run->n, CODE);
    }
    scene.ring = make_ring();
    register_ring(&scene);
    scene.producer = proc_producer(scene.ring);
    scene.consumer = proc_member(scene.ring, NULL, SLIPRING_UNORDERED, 0);
    scene.many = proc_member(scene.ring, "many", SLIPRING_MANY, 0);
    consume_on_stream(&scene);
    publish_on_stream(&scene);
    read_by_kernel(&scene);
    use_slots(&scene);
    consume_on_stream(&scene); /* as if nothing had happened */
    slipring_consumer_detach(scene.many);
    slipring_consumer_detach(scene.consumer);
    slipring_producer_detach(scene.producer);
    struct slipring_member member = {.struct_size = sizeof member};
    CHECK_EQ(slipring_ring_members(scene.ring, &member, 1), 0);
    slipring_cuda_unregister(scene.cuda);
    slipring_ring_close(scene.ring);
    for (size_t i = 0; i < FUNCTIONS; i++) {
        run->calls[i] = standin.calls(functions[i]) - counted[i];
    }
    run->refused = scene.refused;
    if (run->function != NULL) { /* how often the helper looks differs from run to run */
        standin.fail(run->function, 0, 0);
    }
    if (run->function == NULL || !keeps(run->function)) {
        CHECK_EQ(standin.registered(), 0);
        CHECK_EQ(standin.handed_on(), 0);
        CHECK_EQ(descriptors(), open);
    }
    CHECK_CU(gpu.pop(&before)); /* our own */
    CHECK_EQ(gpu.pop(&before), 201);
    return 0;
}

int main(void)
{
    cuda_begin(110);
    struct run *run = proc_share(sizeof *run);
    unsigned calls[FUNCTIONS], runs = 0;
    struct proc child = proc_start(go, run);
    proc_end(&child);
    CHECK_EQ(run->refused, 0);
    memcpy(calls, run->calls, sizeof calls);
    for (size_t i = 0; i < FUNCTIONS; i++) {
        unsigned refusals = 0;
        if (calls[i] == 0) {
            FAIL("%s is never called", functions[i]);
        }
        const unsigned most = calls[i] < PER_FUNCTION ? calls[i] : PER_FUNCTION;
        for (unsigned k = 0; k < most; k++) {
            run->function = functions[i];
            run->n = 1 + k * calls[i] / most;
            child = proc_start(go, run);
            int status;
            CHECK_EQ(waitpid(child.pid, &status, 0), child.pid);
            close(child.in);
            close(child.out);
            if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
                FAIL("%s fails at call %u of %u: status 0x%x", functions[i], run->n, calls[i],
                     (unsigned)status);
            }
            refusals += run->refused;
            runs++;
        }
        printf("%s: %u of %u failures were seen by a caller\n", functions[i], refusals, most);
    }
    printf("%u runs\n", runs);
    return 0;
}
