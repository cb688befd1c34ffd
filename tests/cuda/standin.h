/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stand-in of the CUDA driver, for tests on machines without a GPU. It is a shared object that is
 * loaded in place of libcuda.so.1 (SLIPRING_CUDA_DRIVER names its file), and no GPU: it keeps the
 * driver's rules that slipring relies on, and breaks them where a test asks for it.
 *
 *   streams       one thread each; every operation runs late, by a random time, out of step with the
 *                 other streams; copies read and write their memory only then
 *   addresses     a device's address is never the host's: what was not translated is refused
 *   registration  overlap is 712, what is not registered 713, size 0 is 1; a copy that straddles two
 *                 registrations is 1; one from memory not registered is staged at the call
 *   words         8-byte alignment, registered memory or the device's; waits compare cyclically
 *   context       once lost, everything returns that error, and nothing that is pending runs
 *   captures      while any stream is captured, what the driver calls potentially unsafe is refused to
 *                 threads that did not say that they stay out of it, and ends the capture
 *   handed on     memory of cuMemCreate() is a memfd, so that processes share it; in whole pages, not
 *                 used before access was given
 *   kernels       those of device_kernel.cu, run by the processor (standin_kernels.cpp)
 *
 * The functions below steer it; tests find them by dlsym() (cuda_test.h).
 */
#ifndef STANDIN_H
#define STANDIN_H

#include <stdbool.h>
#include <stdint.h>

#define STANDIN_API __attribute__((visibility("default")))

/* The n-th call from now of that function returns code, n from 1. */
STANDIN_API void standin_fail(const char *function, unsigned n, int code);
/* How often it was called. */
STANDIN_API unsigned standin_calls(const char *function);
/* The driver has no such function, or has it again: for who asks from now on. */
STANDIN_API void standin_hide(const char *function, bool hidden);
/* What cuDeviceGetAttribute() says. */
STANDIN_API void standin_attribute(int attribute, int value);
STANDIN_API void standin_devices(int count);
/* A stream runs nothing while it is held. NULL: the default stream. */
STANDIN_API void standin_hold(void *stream, bool held);
/* A stream is being captured into a graph. */
STANDIN_API void standin_capture(void *stream, bool capturing);
/* The longest delay of an operation, in microseconds, and the seed of them all. */
STANDIN_API void standin_delay(unsigned most_us, uint64_t seed);
/* The context is lost with that error from now on; 0: a new one. Returns when nothing runs. */
STANDIN_API void standin_lose(int code);
/* Each registration lies elsewhere for the device. */
STANDIN_API void standin_scatter(bool scattered);
/* Bytes registered now, and the host's memory behind a device's address (NULL if there is none). */
STANDIN_API uint64_t standin_registered(void);
STANDIN_API void *standin_host(uint64_t address, uint64_t bytes);
/* Handles of memory to be handed on, reserved ranges and mappings that there are now. */
STANDIN_API unsigned standin_handed_on(void);
/* A call of cuMemHostRegister() waits while this is true. */
STANDIN_API void standin_stall_registration(bool stalled);

#endif
