/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tests of libslipring-cuda share: the driver's own calls for streams and device memory, by
 * the driver that the library uses (the stand-in, or a real one in suite gpu), and the stand-in's
 * strings to pull.
 */
#ifndef CUDA_TEST_H
#define CUDA_TEST_H

#include "../support/proc.h"
#include "standin.h"
#include "device.h"

#include <slipring/cuda.h>
struct gpu {
    int (*init)(unsigned flags);
    int (*device_name)(char *name, int bytes, int device);
    int (*primary_retain)(void **context, int device);
    int (*push)(void *context);
    int (*pop)(void **context);
    int (*alloc)(uint64_t *address, size_t bytes);
    int (*free)(uint64_t address);
    int (*stream_create)(void **stream, unsigned flags);
    int (*stream_destroy)(void *stream);
    int (*synchronize)(void *stream);
    int (*query)(void *stream);
    int (*to_host)(void *to, uint64_t from, size_t bytes, void *stream);
    int (*to_device)(uint64_t to, const void *from, size_t bytes, void *stream);
    int (*host_register)(void *start, size_t bytes, unsigned flags);
    int (*host_unregister)(void *start);
    int (*host_device_pointer)(uint64_t *address, void *host, unsigned flags);
    int (*write_value)(void *stream, uint64_t address, uint64_t value, unsigned flags);
    int (*wait_value)(void *stream, uint64_t address, uint64_t value, unsigned flags);
    int (*begin_capture)(void *stream, int mode);
    int (*end_capture)(void *stream, void **graph);
    int (*graph_destroy)(void *graph);
    int (*module_load)(void **module, const void *image);
    int (*module_function)(void **function, void *module, const char *name);
    int (*launch)(void *function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                  unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared_bytes,
                  void *stream, void **parameters, void **extra);
};
extern struct gpu gpu;

/* NULL where a real driver is in use. */
struct standin {
    void (*fail)(const char *function, unsigned n, int code);
    unsigned (*calls)(const char *function);
    void (*hide)(const char *function, bool hidden);
    void (*attribute)(int attribute, int value);
    void (*devices)(int count);
    void (*hold)(void *stream, bool held);
    void (*capture)(void *stream, bool capturing);
    void (*delay)(unsigned most_us, uint64_t seed);
    void (*lose)(int code);
    void (*scatter)(bool scattered);
    uint64_t (*registered)(void);
    void *(*host)(uint64_t address, uint64_t bytes);
    unsigned (*handed_on)(void);
    void (*stall_registration)(bool stalled);
};
extern struct standin standin;

/* Begin: a limit of seconds, the stand-in at hand (else the test is skipped), its name printed. Calls
 * nothing of CUDA. */
void cuda_begin(unsigned seconds);
/* The same, for a real driver too: without a stand-in the test is skipped unless there are driver and
 * device, and on_standin is false. */
void cuda_begin_anywhere(unsigned seconds);
extern bool on_standin;
/* Load the driver's calls for the test itself, and make the device's context current here. */
void cuda_calls(void);

/* A call of the driver succeeded. */
#define CHECK_CU(call) CHECK_EQ(call, 0)

/* A tensor ring, anonymous. */
struct slipring_ring *cuda_ring(uint64_t slots, uint64_t slot_bytes, uint32_t full);
/* Registered, and all of it locked. */
struct slipring_cuda *cuda_registered(struct slipring_ring *ring,
                                      const struct slipring_cuda_config *config);
struct slipring_cuda_info cuda_info(struct slipring_cuda *cuda);

#endif
