/* SPDX-License-Identifier: Apache-2.0 */
/* The kernels of the tests and of the bench, for nvcc; run by the processor: standin_kernels.cpp. */
#include <slipring/slipring_device.cuh>

/* Sum the bytes of so many messages, read in place; the reader as it is then goes to *end. */
extern "C" __global__ void slipring_sum(slipring_device_reader reader, uint64_t messages,
                                        unsigned long long *sum, slipring_device_reader *end)
{
    __shared__ slipring_device_message message;
    __shared__ int code;
    int released = SLIPRING_DEVICE_OK; /* of thread 0 */
    for (uint64_t i = 0; i < messages; i++) {
        if (threadIdx.x == 0) {
            code = released != SLIPRING_DEVICE_OK
                       ? released
                       : slipring_device_poll(&reader, 10000000000, &message);
        }
        __syncthreads();
        if (code != SLIPRING_DEVICE_OK) {
            break;
        }
        const unsigned char *bytes = static_cast<const unsigned char *>(message.data);
        for (uint64_t at = threadIdx.x; at < message.bytes; at += blockDim.x) {
            atomicAdd(sum, static_cast<unsigned long long>(bytes[at]));
        }
        __syncthreads(); /* all have read the slot, the message and the code */
        if (threadIdx.x == 0) {
            released = slipring_device_release(&reader, &message);
        }
    }
    if (threadIdx.x == 0) {
        *end = reader;
    }
}

/* Answer each of so many messages by its sequence plus one, in a word of the host; then as above. */
extern "C" __global__ void slipring_echo(slipring_device_reader reader, uint64_t messages,
                                         uint64_t answer, slipring_device_reader *end)
{
    slipring_device_message message;
    int code = SLIPRING_DEVICE_OK;
    for (uint64_t i = 0; i < messages && code == SLIPRING_DEVICE_OK; i++) {
        code = slipring_device_poll(&reader, 10000000000, &message);
        if (code == SLIPRING_DEVICE_OK) {
            slipring_device_store(answer, message.sequence + 1);
            code = slipring_device_release(&reader, &message);
        }
    }
    *end = reader;
}

/* The floor of the same: answer a word of the host by another, up to a value. */
extern "C" __global__ void slipring_pong(uint64_t question, uint64_t answer, uint64_t last)
{
    for (uint64_t seen = 0; seen < last;) {
        const uint64_t word = slipring_device_load(question);
        if (word != seen) {
            seen = word;
            slipring_device_store(answer, seen);
        }
    }
}

/* Be busy for a time. */
extern "C" __global__ void slipring_spin(uint64_t ns)
{
    const uint64_t start = slipring_device_now();
    while (slipring_device_now() - start < ns) {
    }
}
