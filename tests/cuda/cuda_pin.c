/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Page-locking covers the payload area, the slot headers and the release words, in chunks of whole
 * slots and whole pages none of which is larger than asked for; in the background, with progress;
 * within a budget. What somebody else registered is used and left alone. A reader's mapping is
 * writable only meanwhile, and a producer of the same process is not disturbed. Each refusal of the
 * driver is told, with what happens instead, and leaves nothing registered behind at the end; a
 * write-sealed ring is -EPERM with the reason, and goes unpinned.
 */
#define _GNU_SOURCE
#include "cuda_test.h"

#include "../../src/cuda/part.h"

#include <signal.h>
#include <sys/stat.h>

#define SLOTS 32u
#define BYTES (3u * 4096 + 256) /* a slot is no whole number of pages */

static void check_chunks(void)
{
    struct slipring_ring *ring = cuda_ring(SLOTS, BYTES, SLIPRING_BLOCK);
    struct slipring_cuda_config config;
    struct slipring_memory memory = {.struct_size = sizeof memory};
    CHECK_OK(slipring_ring_memory(ring, &memory));
    slipring_cuda_config_init(&config);
    config.chunk_bytes = 1; /* the least that is possible */
    struct slipring_cuda *cuda = cuda_registered(ring, &config);
    const struct slipring_cuda_info info = cuda_info(cuda);
    CHECK_EQ(info.state, SLIPRING_CUDA_READY);
    CHECK_EQ(info.locked_bytes, info.total_bytes);
    CHECK_EQ(standin.registered(), info.total_bytes);
    CHECK_EQ(info.total_bytes, memory.area_offset + memory.area_bytes + memory.releases_bytes);
    CHECK_EQ(info.chunk_bytes % memory.payload_stride, 0);
    CHECK_EQ(info.chunk_bytes % 4096, 0);
    CHECK(info.chunks > 4 && info.longest_stall_ns > 0 && info.locking_ns >= info.longest_stall_ns);
    CHECK(strstr(info.driver, "stand-in") != NULL);
    for (uint64_t i = 0; i < memory.slots; i++) { /* each slot in one piece for the device */
        const uint8_t *slot = (const uint8_t *)memory.payload + i * memory.payload_stride;
        uint64_t address = 0;
        CHECK_OK(slipring_cuda_address(cuda, slot, memory.payload_stride, &address, NULL));
        CHECK(address != (uint64_t)(uintptr_t)slot);
        CHECK(standin.host(address, memory.payload_stride) == slot);
    }
    CHECK_EQ(info.reason[0], '\0');
    struct slipring_cuda *second = NULL;
    CHECK_EQ(slipring_cuda_register(ring, NULL, &second, NULL), -EBUSY);
    slipring_cuda_unregister(cuda);
    CHECK_EQ(standin.registered(), 0);
    slipring_ring_close(ring);
}

static void check_address(void)
{
    struct slipring_ring *ring = cuda_ring(SLOTS, 4096, SLIPRING_BLOCK);
    struct slipring_cuda_config config;
    struct slipring_memory memory = {.struct_size = sizeof memory};
    struct slipring_error error = {0};
    uint64_t address = 0;
    CHECK_OK(slipring_ring_memory(ring, &memory));
    slipring_cuda_config_init(&config);
    config.chunk_bytes = 4 * 4096;
    standin.scatter(true);
    struct slipring_cuda *cuda = cuda_registered(ring, &config);
    standin.scatter(false);
    const uint8_t *slots = memory.payload;
    CHECK_OK(slipring_cuda_address(cuda, slots, 4 * 4096, &address, &error));
    CHECK_EQ(slipring_cuda_address(cuda, slots + 3 * 4096, 2 * 4096, &address, &error), -ERANGE);
    CHECK(strstr(error.text, "lie apart") != NULL);
    const uint64_t last = (memory.slots - 1) * 4096;
    CHECK_EQ(slipring_cuda_address(cuda, slots + last, 2 * 4096, &address, &error), -ERANGE);
    CHECK(strstr(error.text, "wraps") != NULL);
    CHECK_EQ(slipring_cuda_address(cuda, slots - 1, 1, &address, &error), -EINVAL);
    CHECK_EQ(slipring_cuda_address(cuda, slots, 0, &address, &error), -EINVAL);
    CHECK_EQ(slipring_cuda_address(cuda, &address, 8, &address, &error), -EINVAL);
    slipring_cuda_unregister(cuda);
    slipring_ring_close(ring);
}

static void check_progress(void)
{
    struct slipring_ring *ring = cuda_ring(SLOTS, 4096, SLIPRING_BLOCK);
    struct slipring_memory memory = {.struct_size = sizeof memory};
    struct slipring_cuda *cuda = NULL;
    struct slipring_error error = {0};
    uint64_t address;
    CHECK_OK(slipring_ring_memory(ring, &memory));
    standin.stall_registration(true);
    CHECK_OK(slipring_cuda_register(ring, NULL, &cuda, &error));
    CHECK_EQ(slipring_cuda_ready(cuda, 0, &error), -ETIMEDOUT);
    CHECK_EQ(cuda_info(cuda).state, SLIPRING_CUDA_LOCKING);
    CHECK_EQ(slipring_cuda_address(cuda, memory.payload, 8, &address, &error), -EAGAIN);
    standin.stall_registration(false);
    CHECK_OK(slipring_cuda_ready(cuda, proc_in_ms(20000), &error));
    CHECK_EQ(cuda_info(cuda).state, SLIPRING_CUDA_READY);
    slipring_cuda_unregister(cuda);
    /* Given back in the middle. */
    standin.stall_registration(true);
    CHECK_OK(slipring_cuda_register(ring, NULL, &cuda, &error));
    standin.stall_registration(false);
    slipring_cuda_unregister(cuda);
    CHECK_EQ(standin.registered(), 0);
    slipring_ring_close(ring);
}

static void check_foreign(void)
{
    struct slipring_ring *ring = cuda_ring(SLOTS, 4096, SLIPRING_BLOCK);
    struct slipring_memory memory = {.struct_size = sizeof memory};
    struct slipring_cuda_config config;
    CHECK_OK(slipring_ring_memory(ring, &memory));
    slipring_cuda_config_init(&config);
    config.chunk_bytes = 4 * 4096;
    /* All of a chunk, by the application. */
    CHECK_CU(gpu.host_register(memory.payload, 4 * 4096, 3));
    struct slipring_cuda *cuda = cuda_registered(ring, &config);
    CHECK_EQ(cuda_info(cuda).state, SLIPRING_CUDA_READY);
    CHECK_EQ(cuda_info(cuda).foreign_bytes, 4 * 4096);
    slipring_cuda_unregister(cuda);
    CHECK_EQ(standin.registered(), 4 * 4096);
    CHECK_CU(gpu.host_unregister(memory.payload));
    /* Part of one: not to be had. */
    struct slipring_error error = {0};
    CHECK_CU(gpu.host_register(memory.payload, 4096, 3));
    CHECK_OK(slipring_cuda_register(ring, &config, &cuda, &error));
    CHECK(slipring_cuda_ready(cuda, proc_in_ms(20000), &error) < 0);
    CHECK(strstr(error.text, "part of it") != NULL);
    CHECK_EQ(cuda_info(cuda).state, SLIPRING_CUDA_PARTLY);
    slipring_cuda_unregister(cuda);
    CHECK_CU(gpu.host_unregister(memory.payload));
    CHECK_EQ(standin.registered(), 0);
    slipring_ring_close(ring);
}

/* Does writing there kill? */
static bool writable(void *address)
{
    const pid_t pid = fork();
    if (pid == 0) {
        signal(SIGSEGV, SIG_DFL);
        *(volatile uint8_t *)address = *(volatile uint8_t *)address;
        _exit(0);
    }
    int status = 0;
    CHECK(waitpid(pid, &status, 0) == pid);
    return WIFEXITED(status);
}

static void check_protection(void)
{
    struct slipring_ring *made = cuda_ring(SLOTS, 4096, SLIPRING_BLOCK);
    struct slipring_ring *ring = NULL;
    struct slipring_memory memory = {.struct_size = sizeof memory};
    int data = -1, control = -1;
    slipring_ring_fds(made, &data, &control);
    CHECK_OK(slipring_ring_from_fds(data, control, &ring, NULL));
    CHECK_OK(slipring_ring_memory(ring, &memory));
    CHECK(!writable(memory.payload));
    struct slipring_cuda *cuda = cuda_registered(ring, NULL);
    CHECK(!writable(memory.payload));
    slipring_cuda_unregister(cuda);
    /* A producer comes while it is being locked, and goes on after. */
    standin.stall_registration(true);
    CHECK_OK(slipring_cuda_register(ring, NULL, &cuda, NULL));
    struct slipring_producer *producer = proc_producer(ring);
    standin.stall_registration(false);
    CHECK_OK(slipring_cuda_ready(cuda, proc_in_ms(20000), NULL));
    CHECK(writable(memory.payload));
    slipring_producer_detach(producer);
    CHECK(!writable(memory.payload));
    slipring_cuda_unregister(cuda);
    slipring_ring_close(ring);
    slipring_ring_close(made);
}

static void check_sealed(void)
{
    struct slipring_config config;
    struct slipring_ring *ring = NULL;
    struct slipring_cuda *cuda = NULL;
    struct slipring_error error = {0};
    int data = -1, control = -1;
    slipring_config_init(&config);
    config.geometry = SLIPRING_GEOMETRY_TENSOR;
    config.slots = 4;
    config.slot_bytes = 4096;
    config.flags = SLIPRING_WRITE_SEALED;
    struct slipring_ring *made = proc_create(&config);
    slipring_ring_fds(made, &data, &control);
    CHECK_OK(slipring_ring_from_fds(data, control, &ring, NULL));
    CHECK_EQ(slipring_cuda_register(ring, NULL, &cuda, &error), -EPERM);
    CHECK(strstr(error.text, "write-sealed") != NULL);
    CHECK_EQ(slipring_ring_unprotect(ring, &error), -EPERM);
    CHECK(strstr(error.text, "write-sealed") != NULL);
    struct slipring_cuda_config unpinned;
    slipring_cuda_config_init(&unpinned);
    unpinned.flags = SLIPRING_CUDA_UNPINNED;
    cuda = cuda_registered(ring, &unpinned);
    CHECK_EQ(cuda_info(cuda).state, SLIPRING_CUDA_STAGED);
    CHECK(strstr(cuda_info(cuda).reason, "staged") != NULL);
    CHECK_EQ(standin.registered(), 0);
    slipring_cuda_unregister(cuda);
    slipring_ring_close(ring);
    slipring_ring_close(made);
}

static void check_refusals(void)
{
    struct slipring_ring *ring = cuda_ring(SLOTS, 4096, SLIPRING_BLOCK);
    struct slipring_cuda *cuda = NULL;
    struct slipring_error error = {0};
    struct slipring_cuda_config config;
    slipring_cuda_config_init(&config);
    config.chunk_bytes = 4 * 4096;
    const struct {
        const char *function;
        unsigned n;
        int result, code; /* of register or ready */
    } cases[] = {
        {"cuMemHostRegister", 1, 801, -ENOTSUP}, {"cuMemHostRegister", 3, 2, -ENOMEM},
        {"cuMemHostRegister", 2, 800, -EPERM},   {"cuMemHostRegister", 1, 1, -EINVAL},
        {"cuMemHostRegister", 2, 700, -EIO},     {"cuMemHostGetDevicePointer", 2, 1, -EINVAL},
        {"cuCtxPushCurrent", 2, 201, -EINVAL},   {"cuDevicePrimaryCtxRetain", 1, 2, -ENOMEM},
        {"cuDeviceGet", 1, 101, -ENODEV},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        memset(&error, 0, sizeof error);
        cuda = NULL;
        standin.fail(cases[i].function, cases[i].n, cases[i].result);
        int code = slipring_cuda_register(ring, &config, &cuda, &error);
        if (code == 0) {
            code = slipring_cuda_ready(cuda, proc_in_ms(20000), &error);
            const struct slipring_cuda_info info = cuda_info(cuda);
            CHECK(strstr(info.reason, "staged") != NULL);
            CHECK_EQ(info.state, cases[i].n == 1 ? SLIPRING_CUDA_STAGED : SLIPRING_CUDA_PARTLY);
            CHECK_EQ(standin.registered(), info.locked_bytes);
        }
        printf("%s %d: %s\n", cases[i].function, cases[i].result, error.text);
        CHECK_EQ(code, cases[i].code);
        CHECK_EQ(error.code, cases[i].code);
        slipring_cuda_unregister(cuda);
        CHECK_EQ(standin.registered(), 0);
    }
    standin.attribute(99, 0);
    CHECK_EQ(slipring_cuda_register(ring, &config, &cuda, &error), -ENOTSUP);
    standin.attribute(99, 1);
    config.device = 7;
    CHECK_EQ(slipring_cuda_register(ring, &config, &cuda, &error), -ENODEV);
    config.device = 0;
    config.budget_bytes = 4096;
    CHECK_EQ(slipring_cuda_register(ring, &config, &cuda, &error), -ENOMEM);
    CHECK(strstr(error.text, "budget") != NULL);
    config.chunk_bytes = 0;
    CHECK_EQ(slipring_cuda_register(ring, &config, &cuda, &error), -EINVAL);
    slipring_ring_close(ring);
}

static void put(const char *directory, const char *name, const char *text)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *file = fopen(path, "w");
    CHECK(file != NULL && fputs(text, file) >= 0 && fclose(file) == 0);
}

static void check_budget(void)
{
    char directory[] = "/tmp/slipring-budget-XXXXXX", path[512];
    CHECK(mkdtemp(directory) != NULL);
    const char *made[] = {"self", "a", "a/b", "memory", "memory/c"};
    for (size_t i = 0; i < sizeof made / sizeof *made; i++) {
        snprintf(path, sizeof path, "%s/%s", directory, made[i]);
        CHECK(mkdir(path, 0700) == 0);
    }
    put(directory, "meminfo", "MemTotal:       1000 kB\nMemFree: 1 kB\n");
    put(directory, "self/cgroup", "0::/\n");
    CHECK_EQ(slr_cuda_budget(directory, directory), 1000 * 1024 / 2);
    put(directory, "self/cgroup", "0::/a/b\n");
    put(directory, "a/b/memory.max", "max\n");
    put(directory, "a/memory.max", "600000\n"); /* the group above has the limit */
    CHECK_EQ(slr_cuda_budget(directory, directory), 300000);
    put(directory, "self/cgroup", "4:memory:/c\n3:cpu:/c\n");
    put(directory, "memory/c/memory.limit_in_bytes", "500000\n");
    CHECK_EQ(slr_cuda_budget(directory, directory), 250000);
    CHECK(slr_cuda_budget("/nowhere", "/nowhere") > UINT64_C(1) << 60);
    snprintf(path, sizeof path, "rm -r %s", directory);
    CHECK_EQ(system(path), 0);
}

int main(void)
{
    cuda_begin(60);
    cuda_calls();
    check_budget();
    check_chunks();
    check_address();
    check_progress();
    check_foreign();
    check_protection();
    check_sealed();
    check_refusals();
    return 0;
}
