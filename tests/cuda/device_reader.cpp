/* SPDX-License-Identifier: Apache-2.0 */
/* The device's reader, run by the processor for cuda_device.c. */
#include <slipring/slipring_device.cuh>

extern "C" {
int reader_take(struct slipring_device_reader *reader, uint64_t timeout_ns, const void **parts,
                uint64_t *sequence, uint64_t *slots, uint64_t *bytes, uint64_t *tag);
int reader_give(const struct slipring_device_reader *reader, uint64_t sequence, uint64_t slots);
}

int reader_take(struct slipring_device_reader *reader, uint64_t timeout_ns, const void **parts,
                uint64_t *sequence, uint64_t *slots, uint64_t *bytes, uint64_t *tag)
{
    slipring_device_message message;
    const int code = slipring_device_poll(reader, timeout_ns, &message);
    if (code == SLIPRING_DEVICE_OK) {
        parts[0] = message.data;
        parts[1] = message.rest;
        parts[2] = static_cast<const char *>(message.data) + message.whole; /* where it ends */
        *sequence = message.sequence;
        *slots = message.slots;
        *bytes = message.bytes;
        *tag = message.tag;
    }
    return code;
}

int reader_give(const struct slipring_device_reader *reader, uint64_t sequence, uint64_t slots)
{
    slipring_device_message message = {};
    message.sequence = sequence;
    message.slots = slots;
    return slipring_device_release(reader, &message);
}
