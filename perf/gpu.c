/* SPDX-License-Identifier: Apache-2.0 */
#include "gpu.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#define STAND_IN "SLIPRING_CUDA_DRIVER"

/* ---- the driver's calls ---- */

static void entry(void *library, const char *name, int version, void *to)
{
    int (*get)(const char *, void **, int, uint64_t, int *);
    void *found = dlsym(library, "cuGetProcAddress_v2");
    int status = 0;
    CHECK(found != NULL);
    memcpy(&get, &found, sizeof found);
    found = NULL;
    if (get(name, &found, version, 0, &status) != 0 || found == NULL) {
        FAIL("the driver has no %s", name);
    }
    memcpy(to, &found, sizeof found);
}

void gpu_begin(struct gpu *gpu)
{
    const char *path = getenv(STAND_IN);
    void *library = dlopen(path != NULL ? path : "libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    void *context = NULL;
    int device = 0;
    CHECK(library != NULL);
    entry(library, "cuInit", 2000, &gpu->init);
    entry(library, "cuDeviceGet", 2000, &gpu->device_get);
    entry(library, "cuDevicePrimaryCtxRetain", 7000, &gpu->primary_retain);
    entry(library, "cuCtxPushCurrent", 4000, &gpu->push);
    entry(library, "cuMemAlloc", 3020, &gpu->alloc);
    entry(library, "cuStreamCreate", 2000, &gpu->stream_create);
    entry(library, "cuStreamSynchronize", 2000, &gpu->synchronize);
    entry(library, "cuMemcpyHtoDAsync", 3020, &gpu->to_device);
    entry(library, "cuMemcpyDtoHAsync", 3020, &gpu->to_host);
    entry(library, "cuMemHostAlloc", 2020, &gpu->host_alloc);
    entry(library, "cuMemHostRegister", 6050, &gpu->host_register);
    entry(library, "cuMemHostUnregister", 4000, &gpu->host_unregister);
    entry(library, "cuMemHostGetDevicePointer", 3020, &gpu->host_device_pointer);
    entry(library, "cuStreamWriteValue64", 11070, &gpu->write_value);
    entry(library, "cuModuleLoadData", 2000, &gpu->module_load);
    entry(library, "cuModuleGetFunction", 2000, &gpu->module_function);
    entry(library, "cuLaunchKernel", 4000, &gpu->launch);
    GPU_CHECK(gpu->init(0));
    GPU_CHECK(gpu->device_get(&device, 0));
    GPU_CHECK(gpu->primary_retain(&context, device));
    GPU_CHECK(gpu->push(context));
}

void *gpu_stream(const struct gpu *gpu)
{
    void *stream = NULL;
    GPU_CHECK(gpu->stream_create(&stream, 1)); /* 1: apart from the default stream */
    return stream;
}

uint64_t gpu_memory(const struct gpu *gpu, uint64_t bytes)
{
    uint64_t address = 0;
    GPU_CHECK(gpu->alloc(&address, bytes));
    return address;
}

uint64_t gpu_register(const struct gpu *gpu, void *memory, uint64_t bytes)
{
    uint64_t address = 0;
    GPU_CHECK(gpu->host_register(memory, bytes, 3)); /* for every context, and mapped */
    GPU_CHECK(gpu->host_device_pointer(&address, memory, 0));
    return address;
}

static bool read_kernels(char *image, size_t size)
{
    FILE *file = fopen(GPU_KERNELS, "re");
    const size_t length = file == NULL ? 0 : fread(image, 1, size - 1, file);
    image[length] = '\0';
    if (file != NULL) {
        fclose(file);
    }
    return length != 0;
}

void *gpu_kernel(const struct gpu *gpu, const char *name)
{
    static char image[1 << 20];
    void *module = NULL, *function = NULL;
    CHECK(read_kernels(image, sizeof image) || gpu_on_standin());
    GPU_CHECK(gpu->module_load(&module, image));
    GPU_CHECK(gpu->module_function(&function, module, name));
    return function;
}

void gpu_launch(const struct gpu *gpu, void *kernel, void *stream, void **parameters)
{
    GPU_CHECK(gpu->launch(kernel, 1, 1, 1, 1, 1, 1, 0, stream, parameters, NULL));
}

/* ---- rings ---- */

struct slipring_cuda *gpu_registered(struct slipring_ring *ring)
{
    struct slipring_cuda *cuda = NULL;
    struct slipring_error error = {0};
    if (slipring_cuda_register(ring, NULL, &cuda, &error) != 0 ||
        slipring_cuda_ready(cuda, SLIPRING_FOREVER, &error) != 0) {
        FAIL("%s: %s", error.call, error.text);
    }
    return cuda;
}

struct slipring_consumer *gpu_consumer(struct slipring_ring *ring)
{
    struct slipring_consumer_config config;
    struct slipring_consumer *consumer = NULL;
    struct slipring_error error = {0};
    slipring_consumer_config_init(&config);
    config.flags = SLIPRING_UNORDERED;
    config.start = SLIPRING_OLDEST;
    config.wait = SLIPRING_WAIT_SPIN;
    if (slipring_consumer_attach(ring, &config, &consumer, &error) != 0) {
        FAIL("%s: %s", error.call, error.text);
    }
    return consumer;
}

/* ---- measures ---- */

bool gpu_on_standin(void)
{
    return getenv(STAND_IN) != NULL;
}

void gpu_measure(struct bench *bench, const char *name, const char *unit,
                 int (*run)(const struct run *run, const void *context), const void *ours,
                 const char *other, const void *floor)
{
    static char texts[64][BENCH_NAME_BYTES]; /* the results point to what the systems are called */
    static size_t used;
    const char *systems[2] = {"slipring", other};
    if (!bench_wants(bench, name)) {
        return;
    }
    for (int i = 0; i < 2 && gpu_on_standin(); i++) {
        CHECK(used < sizeof texts / sizeof *texts);
        snprintf(texts[used], sizeof texts[used], "NO GPU: %s", systems[i]);
        systems[i] = texts[used++];
    }
    const struct measure measure = {
        .name = name,
        .unit = unit,
        .rounds = gpu_on_standin() ? 1 : 0,
        .floor = 1,
        .contenders = {{systems[0], run, ours}, {systems[1], run, floor}}};
    bench_measure(bench, &measure);
}

struct found {
    int code;
    bool kernels;
    struct slipring_error error;
    char driver[256];
};

static int look(struct seat *seat, void *context)
{
    static char image[1 << 20];
    struct found *found = context;
    (void)seat;
    found->code = slipring_cuda_devices(&found->error);
    found->kernels = read_kernels(image, sizeof image) || gpu_on_standin();
    snprintf(found->driver, sizeof found->driver, "%s", slipring_cuda_driver());
    return 0;
}

void perf_gpu(struct bench *bench)
{
    static const char *const names[] = {GPU_COPY_NAMES, GPU_LATENCY_NAMES, GPU_PIN_NAMES};
    bool wanted = false;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        wanted = wanted || bench_wants(bench, names[i]);
    }
    if (!wanted) {
        return;
    }
    struct found *found = shared_new(sizeof *found);
    if (team_run(1, look, found) != 0 || found->code <= 0) {
        bench_note(bench,
                   "h2d_*, gpu_release, d2h_publish, gpu_reader_latency, pin_*: no device: %s",
                   found->error.text);
    } else {
        bench_note(bench, "beside a GPU: %s", found->driver);
        if (gpu_on_standin()) {
            bench_note(bench, "which is none: these figures only say that the measures run");
        }
        if (!found->kernels) {
            bench_note(bench,
                       "h2d_overlap, gpu_reader_latency left out: their kernels are built where "
                       "nvcc is");
        }
        perf_gpu_copy(bench, found->kernels);
        perf_gpu_latency(bench, found->kernels);
        perf_gpu_pin(bench);
    }
    shared_free(found, sizeof *found);
}
