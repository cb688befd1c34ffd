/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "cuda_test.h"

#include <dlfcn.h>
#include <stddef.h>

struct gpu gpu;
struct standin standin;
bool on_standin;
static void *library;

static void find(const char *name, void *to)
{
    void *found = dlsym(library, name);
    if (found == NULL) {
        FAIL("%s: not in the stand-in", name);
    }
    memcpy(to, &found, sizeof found);
}

void cuda_begin(unsigned seconds)
{
    proc_begin(seconds);
    const char *path = getenv("SLIPRING_CUDA_DRIVER");
    if (path == NULL) {
        SKIP("SLIPRING_CUDA_DRIVER names no stand-in driver, and this test steers one");
    }
    library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        FAIL("%s", dlerror());
    }
    find("standin_fail", &standin.fail);
    find("standin_calls", &standin.calls);
    find("standin_hide", &standin.hide);
    find("standin_attribute", &standin.attribute);
    find("standin_devices", &standin.devices);
    find("standin_hold", &standin.hold);
    find("standin_capture", &standin.capture);
    find("standin_delay", &standin.delay);
    find("standin_lose", &standin.lose);
    find("standin_scatter", &standin.scatter);
    find("standin_registered", &standin.registered);
    find("standin_host", &standin.host);
    find("standin_handed_on", &standin.handed_on);
    find("standin_stall_registration", &standin.stall_registration);
    on_standin = true;
    printf("on a stand-in driver, not a GPU: %s\n", path);
    fflush(stdout);
}

/* In a child, since no process that used CUDA may fork: what there is, for who reads the output. */
static int look_for_device(struct proc *self, void *context)
{
    struct slipring_error error = {0};
    (void)context;
    const int devices = slipring_cuda_devices(&error);
    printf("%s: %d devices\n", slipring_cuda_driver(), devices < 0 ? 0 : devices);
    if (devices < 0) {
        printf("SKIPPED: nothing was asked of a GPU: %s\n", error.text);
    }
    fflush(stdout);
    proc_tell(self, devices < 0);
    return 0;
}

void cuda_begin_anywhere(unsigned seconds)
{
    if (getenv("SLIPRING_CUDA_DRIVER") != NULL) {
        cuda_begin(seconds);
        return;
    }
    proc_begin(seconds);
    struct proc child = proc_start(look_for_device, NULL);
    const bool none = proc_hear(&child) != 0;
    proc_end(&child);
    if (none) {
        exit(77); /* it said why */
    }
}

static void entry(const char *name, int version, void *to)
{
    int (*get)(const char *, void **, int, uint64_t, int *);
    void *found = NULL;
    int status = 0;
    find("cuGetProcAddress_v2", &get);
    if (get(name, &found, version, 0, &status) != 0 || found == NULL) {
        FAIL("%s: not in the driver", name);
    }
    memcpy(to, &found, sizeof found);
}

void cuda_calls(void)
{
    void *context = NULL;
    if (library == NULL && (library = dlopen("libcuda.so.1", RTLD_NOW)) == NULL) {
        FAIL("%s", dlerror());
    }
    entry("cuInit", 2000, &gpu.init);
    entry("cuDeviceGetName", 2000, &gpu.device_name);
    entry("cuDevicePrimaryCtxRetain", 7000, &gpu.primary_retain);
    entry("cuCtxPushCurrent", 4000, &gpu.push);
    entry("cuCtxPopCurrent", 4000, &gpu.pop);
    entry("cuMemAlloc", 3020, &gpu.alloc);
    entry("cuMemFree", 3020, &gpu.free);
    entry("cuStreamCreate", 2000, &gpu.stream_create);
    entry("cuStreamDestroy", 4000, &gpu.stream_destroy);
    entry("cuStreamSynchronize", 2000, &gpu.synchronize);
    entry("cuStreamQuery", 2000, &gpu.query);
    entry("cuMemcpyDtoHAsync", 3020, &gpu.to_host);
    entry("cuMemcpyHtoDAsync", 3020, &gpu.to_device);
    entry("cuMemHostRegister", 6050, &gpu.host_register);
    entry("cuMemHostUnregister", 4000, &gpu.host_unregister);
    entry("cuMemHostGetDevicePointer", 3020, &gpu.host_device_pointer);
    entry("cuStreamWriteValue64", 11070, &gpu.write_value);
    entry("cuStreamWaitValue64", 11070, &gpu.wait_value);
    entry("cuStreamBeginCapture", 10010, &gpu.begin_capture);
    entry("cuStreamEndCapture", 10000, &gpu.end_capture);
    entry("cuGraphDestroy", 10000, &gpu.graph_destroy);
    entry("cuModuleLoadData", 2000, &gpu.module_load);
    entry("cuModuleGetFunction", 2000, &gpu.module_function);
    entry("cuLaunchKernel", 4000, &gpu.launch);
    CHECK_CU(gpu.init(0));
    CHECK_CU(gpu.primary_retain(&context, 0));
    CHECK_CU(gpu.push(context));
}

struct slipring_ring *cuda_ring(uint64_t slots, uint64_t slot_bytes, uint32_t full)
{
    struct slipring_config config;
    slipring_config_init(&config);
    config.geometry = SLIPRING_GEOMETRY_TENSOR;
    config.slots = slots;
    config.slot_bytes = slot_bytes;
    config.full = full;
    return proc_create(&config);
}

struct slipring_cuda *cuda_registered(struct slipring_ring *ring,
                                      const struct slipring_cuda_config *config)
{
    struct slipring_cuda *cuda = NULL;
    struct slipring_error error = {0};
    if (slipring_cuda_register(ring, config, &cuda, &error) != 0 ||
        slipring_cuda_ready(cuda, proc_in_ms(20000), &error) != 0) {
        FAIL("%s: %s", error.call, error.text);
    }
    return cuda;
}

struct slipring_cuda_info cuda_info(struct slipring_cuda *cuda)
{
    struct slipring_cuda_info info = {.struct_size = sizeof info};
    CHECK_OK(slipring_cuda_get_info(cuda, &info));
    return info;
}
