/* SPDX-License-Identifier: Apache-2.0 */
/* A kernel that sums what it reads in place: for nvcc to compile (compile.sh). */
#include <slipring/slipring_device.cuh>

extern "C" __global__ void slipring_sum(slipring_device_reader reader, uint64_t messages,
                                        unsigned long long *sum, slipring_device_reader *end)
{
    __shared__ slipring_device_message message;
    __shared__ int code;
    for (uint64_t i = 0; i < messages; i++) {
        if (threadIdx.x == 0) {
            code = slipring_device_poll(&reader, 1000000000, &message);
        }
        __syncthreads();
        if (code != SLIPRING_DEVICE_OK) {
            break;
        }
        const unsigned char *bytes = static_cast<const unsigned char *>(message.data);
        for (uint64_t at = threadIdx.x; at < message.bytes; at += blockDim.x) {
            atomicAdd(sum, static_cast<unsigned long long>(bytes[at]));
        }
        __syncthreads();
        if (threadIdx.x == 0) {
            code = slipring_device_release(&reader, &message);
        }
        __syncthreads();
    }
    if (threadIdx.x == 0) {
        *end = reader;
    }
}
