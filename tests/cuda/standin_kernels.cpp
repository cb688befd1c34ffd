/* SPDX-License-Identifier: Apache-2.0 */
/* The kernels of device_kernel.cu, run by the processor on the addresses of the stand-in's device. */
#include "standin_inner.h"

#include <slipring/slipring_device.cuh>

#include <string.h>
#include <time.h>

/* The header's clock: the stand-in is loaded by programs that do not export theirs. */
extern "C" int64_t slipring_now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<int64_t>(now.tv_sec) * 1000000000 + now.tv_nsec;
}

namespace
{

constexpr uint64_t patience_ns = 10000000000;

/* The processor's address of memory that the device would use. */
uint64_t here(uint64_t address)
{
    return reinterpret_cast<uint64_t>(standin_translate(address, 8));
}

template <typename T> T parameter(void *const *parameters, unsigned index)
{
    T value;
    memcpy(&value, parameters[index], sizeof value);
    return value;
}

struct slipring_device_reader reader_here(struct slipring_device_reader reader)
{
    reader.stamps = here(reader.stamps);
    reader.payload = here(reader.payload);
    reader.releases = here(reader.releases);
    reader.counted = here(reader.counted);
    reader.abort = here(reader.abort);
    return reader;
}

/* Read messages until there were so many, or a wait has ended; where the reader then stands. */
template <typename Use> void read(void *const *parameters, unsigned end, Use use)
{
    const auto given = parameter<struct slipring_device_reader>(parameters, 0);
    struct slipring_device_reader reader = reader_here(given), after = given;
    slipring_device_message message;
    int code = SLIPRING_DEVICE_OK;
    for (uint64_t i = 0; i < parameter<uint64_t>(parameters, 1) && code == SLIPRING_DEVICE_OK;
         i++) {
        code = slipring_device_poll(&reader, patience_ns, &message);
        if (code == SLIPRING_DEVICE_OK) {
            use(message);
            code = slipring_device_release(&reader, &message);
        }
    }
    after.next = reader.next;
    memcpy(reinterpret_cast<void *>(here(parameter<uint64_t>(parameters, end))), &after,
           sizeof after);
}

void sum(void *const *parameters)
{
    uint64_t *total = reinterpret_cast<uint64_t *>(here(parameter<uint64_t>(parameters, 2)));
    read(parameters, 3, [total](const slipring_device_message &message) {
        for (uint64_t at = 0; at < message.bytes; at++) {
            *total += static_cast<const unsigned char *>(message.data)[at];
        }
    });
}

void echo(void *const *parameters)
{
    const uint64_t answer = here(parameter<uint64_t>(parameters, 2));
    read(parameters, 3, [answer](const slipring_device_message &message) {
        slipring_device_store(answer, message.sequence + 1);
    });
}

void pong(void *const *parameters)
{
    const uint64_t question = here(parameter<uint64_t>(parameters, 0));
    const uint64_t answer = here(parameter<uint64_t>(parameters, 1));
    const uint64_t last = parameter<uint64_t>(parameters, 2);
    for (uint64_t seen = 0; seen < last && standin_lost() == 0;) {
        const uint64_t word = slipring_device_load(question);
        if (word != seen) {
            seen = word;
            slipring_device_store(answer, seen);
        }
    }
}

void spin(void *const *parameters)
{
    const uint64_t start = slipring_device_now();
    while (slipring_device_now() - start < parameter<uint64_t>(parameters, 0)) {
    }
}

void fault(void *const *)
{
    standin_fault(700);
}

constexpr size_t word = sizeof(uint64_t), reader = sizeof(struct slipring_device_reader);

const struct standin_kernel kernels[] = {
    {"slipring_sum", sum, {reader, word, word, word}},
    {"slipring_echo", echo, {reader, word, word, word}},
    {"slipring_pong", pong, {word, word, word}},
    {"slipring_spin", spin, {word}},
    {"slipring_fault", fault, {}},
};

} // namespace

const struct standin_kernel *standin_kernel(const char *name)
{
    for (const struct standin_kernel &kernel : kernels) {
        if (strcmp(kernel.name, name) == 0) {
            return &kernel;
        }
    }
    return nullptr;
}
