/* SPDX-License-Identifier: Apache-2.0 */
/* Questions 12 and 13: GPU memory handed on between namespaces, and the same under MPS. */
#define _GNU_SOURCE
#include "gpu.h"

#include <slipring/cuda_slots.h>

#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define PATIENCE_MS 20000
#define BYTES 65536u

/* ---- 12 ---- */

struct apart {
    char path[108];
    bool alone; /* in namespaces of its own */
};

static int connected(const char *path, bool listens)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0);
    if (listens) {
        CHECK(bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && listen(fd, 1) == 0);
        return fd;
    }
    CHECK(connect(fd, (struct sockaddr *)&address, sizeof address) == 0);
    return fd;
}

/* Receives ring and slots, and reads each message from the GPU's memory. */
static int receive_and_read(const struct apart *apart)
{
    struct slipring_ring *ring = NULL;
    struct slipring_cuda_slots *slots = NULL;
    struct slipring_error error = {0};
    struct slipring_view view;
    uint8_t *got = malloc(BYTES);
    void *stream = NULL;
    const int fd = connected(apart->path, false);
    CHECK(got != NULL);
    CHECK_OK(slipring_ring_receive(fd, &ring, &error));
    cuda_calls();
    struct slipring_cuda *cuda = cuda_registered(ring, NULL);
    if (slipring_cuda_slots_receive(cuda, fd, &slots, &error) != 0) {
        fprintf(stderr, "%s: %s\n", error.call, error.text);
        return 1;
    }
    struct slipring_consumer *consumer = proc_member(ring, NULL, SLIPRING_UNORDERED, 0);
    CHECK_CU(gpu.stream_create(&stream, 1));
    const char ready = 1;
    CHECK_EQ(write(fd, &ready, 1), 1);
    uint64_t next = 0;
    int code;
    while ((code = slipring_consumer_acquire(consumer, 1, &view, proc_in_ms(PATIENCE_MS))) == 0) {
        struct slipring_tensor tensor;
        CHECK_OK(slipring_cuda_slots_tensor(slots, view.slot.sequence, 1, 0, &tensor));
        CHECK_CU(gpu.to_host(got, (uint64_t)(uintptr_t)tensor.data, BYTES, stream));
        CHECK_CU(gpu.synchronize(stream));
        CHECK(pattern_whole(got, BYTES, next));
        CHECK_OK(slipring_cuda_release(cuda, consumer, &view, stream, &error));
        next++;
    }
    CHECK_EQ(code, -EPIPE);
    CHECK_EQ(next, 3 * GPU_SLOTS);
    CHECK_OK(slipring_cuda_drain(cuda, proc_in_ms(PATIENCE_MS), &error));
    slipring_consumer_detach(consumer);
    slipring_cuda_slots_close(slots);
    slipring_cuda_unregister(cuda);
    CHECK_CU(gpu.stream_destroy(stream));
    slipring_ring_close(ring);
    free(got);
    return 0;
}

static int in_own_namespaces(struct proc *self, void *context)
{
    const struct apart *apart = context;
    (void)proc_hear(self);
    if (!apart->alone) {
        return receive_and_read(apart);
    }
    CHECK(unshare(CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC) == 0);
    fflush(NULL);
    const pid_t pid = fork(); /* the first process of the new one */
    CHECK(pid >= 0);
    if (pid == 0) {
        const int code = receive_and_read(apart);
        fflush(NULL);
        _exit(code);
    }
    CHECK_CHILD(pid);
    return 0;
}

static int try_namespaces(struct proc *self, void *context)
{
    (void)self;
    (void)context;
    return unshare(CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC) == 0 ? 0 : 77;
}

static bool may_unshare(void)
{
    struct proc child = proc_start(try_namespaces, NULL);
    int status;
    CHECK_EQ(waitpid(child.pid, &status, 0), child.pid);
    close(child.in);
    close(child.out);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

void gpu_handed_on(void)
{
    struct apart apart = {.alone = may_unshare()};
    struct slipring_ring *ring = cuda_ring(GPU_SLOTS, 512, SLIPRING_BLOCK);
    struct slipring_cuda_slots *slots = NULL;
    struct slipring_error error = {0};
    struct slipring_field field;
    const int64_t extent = BYTES;
    uint8_t *pattern = malloc(BYTES);
    void *stream = NULL;
    char folder[] = "/tmp/slipring-gpu-XXXXXX", ready;
    CHECK(pattern != NULL && mkdtemp(folder) != NULL);
    snprintf(apart.path, sizeof apart.path, "%s/socket", folder);
    struct proc child = proc_start(in_own_namespaces, &apart);
    const int listener = connected(apart.path, true);
    proc_tell(&child, 1);
    const int fd = accept(listener, NULL, NULL);
    CHECK(fd >= 0 && unlink(apart.path) == 0 && rmdir(folder) == 0);
    CHECK_OK(slipring_field_init(&field, "data", "u1", 1, &extent));
    cuda_calls();
    struct slipring_cuda *cuda = cuda_registered(ring, NULL);
    const int code = slipring_cuda_slots_create(cuda, &field, 1, &slots, &error);
    if (code != 0) {
        denied("%s: %s", error.call, error.text);
        exit(0);
    }
    struct slipring_producer *producer = proc_producer(ring);
    CHECK_OK(slipring_ring_send(ring, fd, 0, &error));
    CHECK_OK(slipring_cuda_slots_send(slots, fd, &error));
    CHECK_CU(gpu.stream_create(&stream, 1));
    if (read(fd, &ready, 1) != 1) {
        denied("the other process could not receive them");
        exit(0);
    }
    for (uint64_t i = 0; i < 3 * GPU_SLOTS; i++) {
        struct slipring_loan loan;
        struct slipring_tensor tensor;
        CHECK_OK(slipring_cuda_claim(cuda, producer, 1, stream, &loan, &error));
        CHECK_OK(slipring_cuda_slots_tensor(slots, loan.sequence, 1, 0, &tensor));
        pattern_fill(pattern, BYTES, loan.sequence);
        CHECK_CU(gpu.to_device((uint64_t)(uintptr_t)tensor.data, pattern, BYTES, stream));
        CHECK_OK(slipring_cuda_publish(cuda, producer, 1, NULL, stream, &error));
        CHECK_CU(gpu.synchronize(stream));
    }
    CHECK_OK(slipring_cuda_drain(cuda, proc_in_ms(PATIENCE_MS), &error));
    slipring_producer_close(producer);
    proc_end(&child);
    said("%u messages of %u bytes, written on the GPU by one process and read there by another %s",
         3 * GPU_SLOTS, BYTES,
         apart.alone ? "in process, network and IPC namespaces of its own"
                     : "beside it (no namespaces may be made here)");
    slipring_cuda_slots_close(slots);
    slipring_cuda_unregister(cuda);
    CHECK_CU(gpu.stream_destroy(stream));
    close(fd);
    close(listener);
    free(pattern);
    slipring_ring_close(ring);
}

/* ---- 13 ---- */

static int control(const char *command)
{
    const int status = system(command);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void gpu_mps(void)
{
    static const unsigned numbers[] = {1, 2, 3, 4, 5, 7, 8, 9, 10, 12};
    char pipe[] = "/tmp/slipring-mps-XXXXXX", again[128];
    if (on_standin) {
        not_asked("the stand-in has no MPS");
    }
    if (control("command -v nvidia-cuda-mps-control >/dev/null") != 0) {
        not_asked("there is no nvidia-cuda-mps-control");
    }
    CHECK(mkdtemp(pipe) != NULL);
    CHECK(setenv("CUDA_MPS_PIPE_DIRECTORY", pipe, 1) == 0);
    CHECK(setenv("CUDA_MPS_LOG_DIRECTORY", pipe, 1) == 0);
    CHECK(setenv("SLIPRING_GPU_SECONDS", "3", 1) == 0);
    if (control("nvidia-cuda-mps-control -d") != 0) {
        not_asked("nvidia-cuda-mps-control does not start");
    }
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (!ask_again(numbers[i])) {
            denied("question %u: not yes under MPS", numbers[i]);
        }
    }
    said("questions 1 to 5, 7 to 10 and 12 were asked again, each in processes that are its "
         "clients");
    CHECK_EQ(control("echo quit | nvidia-cuda-mps-control"), 0);
    snprintf(again, sizeof again, "rm -rf %s", pipe);
    (void)control(again);
}
