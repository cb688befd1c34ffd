/* SPDX-License-Identifier: Apache-2.0 */
/* Questions 1, 6 and 7: page-locked memory that is protected, refused, forked. */
#define _GNU_SOURCE
#include "gpu.h"

#include <pthread.h>
#include <sys/mman.h>

#define PAGE UINT64_C(4096)
#define PATIENCE_MS 20000

/* ---- 1 ---- */

/* As the kernel has it: may this process write there? */
static bool writable(const void *address)
{
    char line[512], mode[8];
    FILE *file = fopen("/proc/self/maps", "re");
    bool found = false, write = false;
    CHECK(file != NULL);
    while (!found && fgets(line, sizeof line, file) != NULL) {
        unsigned long long from, to;
        CHECK_EQ(sscanf(line, "%llx-%llx %7s", &from, &to, mode), 3);
        found = (uintptr_t)address >= from && (uintptr_t)address < to;
        write = mode[1] == 'w';
    }
    fclose(file);
    CHECK(found);
    return write;
}

static int produce_once(struct proc *self, void *context)
{
    struct slipring_producer *producer = proc_producer(context);
    publish(producer, GPU_SLOTS);
    proc_tell(self, 1);
    (void)proc_hear(self);
    slipring_producer_detach(producer);
    return 0;
}

struct watch {
    const struct gate *gate;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool returned, late;
};

/* A copy that is not asynchronous waits for the gate: end that. */
static void *open_late(void *context)
{
    struct watch *watch = context;
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_MS / 1000;
    pthread_mutex_lock(&watch->mutex);
    while (!watch->returned && !watch->late) {
        watch->late = pthread_cond_timedwait(&watch->changed, &watch->mutex, &until) != 0;
    }
    pthread_mutex_unlock(&watch->mutex);
    gate_open(watch->gate);
    return NULL;
}

void gpu_protected(void)
{
    struct scene scene = {.ring = cuda_ring(GPU_SLOTS, GPU_BYTES, SLIPRING_BLOCK)};
    struct gate gate = gate_new();
    struct proc child = proc_start(produce_once, scene.ring);
    scene.consumer = proc_member(scene.ring, NULL, SLIPRING_UNORDERED, 0);
    (void)proc_hear(&child);
    scene_open(&scene);
    gate_use(&gate);
    struct slipring_view view;
    CHECK_OK(slipring_consumer_acquire(scene.consumer, GPU_SLOTS, &view, proc_in_ms(PATIENCE_MS)));
    CHECK_EQ(view.slots, GPU_SLOTS);
    if (writable(view.data)) {
        denied("the mapping is still writable");
    }
    struct watch watch = {
        .gate = &gate, .mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    pthread_t thread;
    gate_close(&gate, scene.stream);
    CHECK_EQ(pthread_create(&thread, NULL, open_late, &watch), 0);
    int64_t since = slipring_now_ns();
    CHECK_OK(
        slipring_cuda_copy(scene.cuda, scene.consumer, &view, 0, scene.device, scene.stream, NULL));
    const double call_ms = ms_since(since);
    const bool pending = gpu.query(scene.stream) == 600;
    pthread_mutex_lock(&watch.mutex);
    watch.returned = true;
    pthread_cond_signal(&watch.changed);
    pthread_mutex_unlock(&watch.mutex);
    since = slipring_now_ns();
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_CU(gpu.synchronize(scene.stream));
    const double copy_ms = ms_since(since);
    if (watch.late || !pending) {
        denied("the copy is not asynchronous");
    }
    if (!on_device(&scene, 0, GPU_SLOTS)) {
        denied("what arrived is not what lay in the slots");
    }
    said("protected, the call of the copy took %.3f ms, its %u MiB came %.3f ms after the gate",
         call_ms, (unsigned)(GPU_SLOTS * GPU_BYTES >> 20), copy_ms);
    proc_tell(&child, 1);
    proc_end(&child);
    CHECK_OK(slipring_consumer_release(scene.consumer, &view));
    scene_close(&scene);
}

/* ---- 6 ---- */

static uint8_t *pages(uint64_t count, int protection)
{
    const int fd = memfd_create("pages", MFD_CLOEXEC);
    CHECK(fd >= 0 && ftruncate(fd, (off_t)(count * PAGE)) == 0);
    void *memory = mmap(NULL, count * PAGE, protection, MAP_SHARED, fd, 0);
    CHECK(memory != MAP_FAILED);
    close(fd);
    return memory;
}

/* Unlike what we rely on. */
static void want(const char *what, int code, int wanted)
{
    said("%s %d", what, code);
    if (code != wanted) {
        denied("where %d was expected", wanted);
    }
}

static void ask_driver(uint64_t device)
{
    uint8_t *memory = pages(8, PROT_READ | PROT_WRITE);
    uint8_t *constant = pages(4, PROT_READ);
    CHECK_CU(gpu.host_register(memory, 4 * PAGE, 3));
    want("CUresults: registered twice", gpu.host_register(memory, 4 * PAGE, 3), 712);
    want("a page within", gpu.host_register(memory + PAGE, PAGE, 3), 712);
    want("size 0", gpu.host_register(memory + 4 * PAGE, 0, 3), 1);
    want("not registered, given back", gpu.host_unregister(memory + 4 * PAGE), 713);
    CHECK_CU(gpu.host_register(memory + 4 * PAGE, 4 * PAGE, 3));
    const int both = gpu.to_device(device, memory, 8 * PAGE, NULL);
    said("a copy across two registrations %d", both); /* we never make one */
    const int plain = gpu.host_register(constant, 4 * PAGE, 3);
    said("read-only memory %d", plain);
    const int marked = plain == 0 ? 0 : gpu.host_register(constant, 4 * PAGE, 3 | 8);
    said("and said to be %d", marked);
    CHECK_CU(gpu.synchronize(NULL));
    if (plain == 0 || marked == 0) {
        CHECK_CU(gpu.host_unregister(constant));
    }
    CHECK_CU(gpu.host_unregister(memory));
    CHECK_CU(gpu.host_unregister(memory + 4 * PAGE));
    munmap(memory, 8 * PAGE);
    munmap(constant, 4 * PAGE);
}

void gpu_refused(void)
{
    struct scene scene = {.ring = cuda_ring(GPU_SLOTS, GPU_BYTES, SLIPRING_BLOCK)};
    struct slipring_cuda_config config;
    struct slipring_view view;
    scene.producer = proc_producer(scene.ring);
    scene.consumer = proc_member(scene.ring, NULL, SLIPRING_UNORDERED, 0);
    scene_open(&scene);
    ask_driver(scene.device);
    slipring_cuda_unregister(scene.cuda);
    slipring_cuda_config_init(&config);
    config.chunk_bytes = 1; /* a slot each */
    scene.cuda = cuda_registered(scene.ring, &config);
    publish(scene.producer, 3); /* so that the block wraps */
    CHECK_OK(slipring_consumer_try_acquire(scene.consumer, 3, &view));
    CHECK_OK(slipring_consumer_release(scene.consumer, &view));
    publish(scene.producer, GPU_SLOTS);
    CHECK_OK(slipring_consumer_try_acquire(scene.consumer, GPU_SLOTS, &view));
    CHECK_OK(
        slipring_cuda_copy(scene.cuda, scene.consumer, &view, 0, scene.device, scene.stream, NULL));
    if (!on_device(&scene, 3, GPU_SLOTS)) {
        denied("a block across chunks did not come whole");
    }
    said("a block across %u chunks came whole", cuda_info(scene.cuda).chunks);
    CHECK_OK(slipring_consumer_release(scene.consumer, &view));
    scene_close(&scene);
}

/* ---- 7 ---- */

static int use_ring_in_child(struct proc *self, void *context)
{
    const struct scene *scene = context;
    struct slipring_cuda_info info = {.struct_size = sizeof info};
    struct slipring_error error = {0};
    struct slipring_view view;
    CHECK_EQ(slipring_cuda_get_info(scene->cuda, &info), -ECHILD);
    CHECK_EQ(slipring_cuda_devices(&error), -ECHILD);
    struct slipring_consumer *consumer = proc_member(scene->ring, NULL, 0, 0);
    proc_tell(self, 1);
    CHECK_OK(slipring_consumer_acquire(consumer, 1, &view, proc_in_ms(PATIENCE_MS)));
    CHECK(pattern_whole(view.data, GPU_BYTES, view.slot.sequence));
    CHECK_OK(slipring_consumer_release(consumer, &view));
    slipring_consumer_detach(consumer);
    slipring_cuda_unregister(scene->cuda);
    return 0;
}

void gpu_forks(void)
{
    struct scene scene = {.ring = cuda_ring(GPU_SLOTS, GPU_BYTES, SLIPRING_BLOCK)};
    struct slipring_view view;
    scene.producer = proc_producer(scene.ring);
    scene.consumer = proc_member(scene.ring, NULL, SLIPRING_UNORDERED, 0);
    scene_open(&scene);
    for (unsigned i = 0; i < 3; i++) {
        struct proc child = proc_start(use_ring_in_child, &scene);
        (void)proc_hear(&child);
        publish(scene.producer, 1);
        CHECK_OK(slipring_consumer_acquire(scene.consumer, 1, &view, proc_in_ms(PATIENCE_MS)));
        const uint64_t sequence = view.slot.sequence;
        CHECK_OK(slipring_cuda_copy(scene.cuda, scene.consumer, &view, 0, scene.device,
                                    scene.stream, NULL));
        if (i == 1) {
            proc_end(&child); /* before the copy is looked at */
        }
        if (!on_device(&scene, sequence, 1)) {
            denied("fork %u: what arrived is not what lay in the slot", i);
        }
        CHECK_OK(slipring_cuda_release(scene.cuda, scene.consumer, &view, scene.stream, NULL));
        CHECK_OK(slipring_cuda_drain(scene.cuda, proc_in_ms(PATIENCE_MS), NULL));
        if (i != 1) {
            proc_end(&child);
        }
    }
    said("copies and releases came right beside, during and after three children, which read the "
         "ring "
         "by calls and were refused the GPU");
    scene_close(&scene);
}
