/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * A kernel as a reader: polls a slot's sequence, reads the slot in place from page-locked memory,
 * releases it. Header only; for nvcc (sm_70 and later) and, for tests, any C++17 compiler.
 *
 * ONE thread polls and releases, the others wait for it:
 *
 *     __shared__ slipring_device_message message;
 *     __shared__ int code;
 *     int released = SLIPRING_DEVICE_OK; // of thread 0
 *     for (;;) {
 *         if (threadIdx.x == 0) {
 *             code = released != SLIPRING_DEVICE_OK
 *                        ? released
 *                        : slipring_device_poll(&reader, 1000000, &message);
 *         }
 *         __syncthreads();
 *         const int all = code;
 *         if (all == SLIPRING_DEVICE_OK) {
 *             read(message.data); // all of it, unless messages span slots: see rest
 *         }
 *         __syncthreads(); // all have read the slot, the message and the code
 *         if (all != SLIPRING_DEVICE_OK && all != SLIPRING_DEVICE_TIMEOUT) {
 *             break;
 *         }
 *         if (threadIdx.x == 0 && all == SLIPRING_DEVICE_OK) {
 *             released = slipring_device_release(&reader, &message);
 *         }
 *     }
 *
 * Every wait ends: by what it waits for, by its time-out, or by the abort word, which
 * slipring_cuda_reader_abort() sets from the host. Read slots by plain loads, never through __ldg()
 * or pointers to const __restrict__: a slot's memory holds another message a lap later. Launch no more
 * blocks than run at once if any waits for another.
 *
 * The orders are those of PUBLISH and RELEASE in src/ring/layout.h, at system scope.
 */
#ifndef SLIPRING_SLIPRING_DEVICE_CUH
#define SLIPRING_SLIPRING_DEVICE_CUH

#include <slipring/cuda.h>

#if defined(__CUDACC__)
#define SLIPRING_DEVICE __host__ __device__ static inline
#else
#define SLIPRING_DEVICE static inline
#endif

enum slipring_device_code {
    SLIPRING_DEVICE_OK = 0,
    SLIPRING_DEVICE_TIMEOUT = 1, /**< call again */
    SLIPRING_DEVICE_ABORTED = 2, /**< the host wants the kernel to end */
    SLIPRING_DEVICE_GONE = 3     /**< evicted: what was read last may be void */
};

/** A message, which is the kernel's to read until slipring_device_release(). */
struct slipring_device_message {
    const void *data;
    uint64_t whole;   /**< of its bytes, those that lie at data; less than all only of a spanning */
    const void *rest; /**< message that wraps at the ring's end, which goes on here */
    uint64_t sequence, slots;
    uint64_t bytes, tag; /**< of a compact ring: a slot's, and 0 */
};

SLIPRING_DEVICE uint64_t slipring_device_load(uint64_t address)
{
#if defined(__CUDA_ARCH__)
    uint64_t value;
    asm volatile("ld.acquire.sys.u64 %0, [%1];" : "=l"(value) : "l"(address) : "memory");
    return value;
#else
    return __atomic_load_n(reinterpret_cast<const uint64_t *>(address), __ATOMIC_ACQUIRE);
#endif
}

SLIPRING_DEVICE void slipring_device_store(uint64_t address, uint64_t value)
{
#if defined(__CUDA_ARCH__)
    asm volatile("st.release.sys.u64 [%0], %1;" : : "l"(address), "l"(value) : "memory");
#else
    __atomic_store_n(reinterpret_cast<uint64_t *>(address), value, __ATOMIC_RELEASE);
#endif
}

SLIPRING_DEVICE uint64_t slipring_device_now()
{
#if defined(__CUDA_ARCH__)
    uint64_t ns;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(ns));
    return ns;
#else
    return static_cast<uint64_t>(slipring_now_ns());
#endif
}

/* Twice as long each time: a word in the host's memory is read over the bus. */
SLIPRING_DEVICE void slipring_device_pause(unsigned *ns)
{
#if defined(__CUDA_ARCH__)
    asm volatile("nanosleep.u32 %0;" : : "r"(*ns));
#endif
    *ns = *ns < 2000u ? 2u * *ns : *ns;
}

SLIPRING_DEVICE uint64_t slipring_device_stamp(const struct slipring_device_reader *reader,
                                               uint64_t sequence)
{
    return reader->stamps + (sequence & (reader->slots - 1)) * reader->header_stride;
}

/* Store the release words of so many slots, each once the count has passed over those of the lap
 * before: its word lies in the same place. */
SLIPRING_DEVICE int slipring_device_give(const struct slipring_device_reader *reader,
                                         uint64_t sequence, uint64_t slots)
{
    for (uint64_t s = sequence; s != sequence + slots; s++) {
        unsigned ns = 32;
        while (static_cast<int64_t>(s - slipring_device_load(reader->counted)) >=
               static_cast<int64_t>(reader->slots)) {
            if (slipring_device_load(reader->abort) != 0) {
                return SLIPRING_DEVICE_ABORTED;
            }
            slipring_device_pause(&ns);
        }
        const uint64_t lap = s / reader->slots & reader->lap_mask;
        slipring_device_store(reader->releases + (s & (reader->slots - 1)) * 8,
                              reader->word | lap << reader->lap_shift);
    }
    return SLIPRING_DEVICE_OK;
}

/* What lies in the slot whose stamp says that it is published: its message, or nothing (0). */
SLIPRING_DEVICE uint64_t slipring_device_look(const struct slipring_device_reader *reader,
                                              struct slipring_device_message *message)
{
    const uint64_t s = reader->next;
    const uint64_t header = slipring_device_stamp(reader, s);
    message->data = reinterpret_cast<const void *>(
        reader->payload + (s & (reader->slots - 1)) * reader->payload_stride);
    message->sequence = s;
    message->slots = 1;
    message->bytes = reader->slot_bytes;
    message->tag = 0;
    message->whole = message->bytes;
    message->rest = reinterpret_cast<const void *>(reader->payload);
    if (reader->has_header == 0) {
        return 1;
    }
    if (slipring_device_load(header + 8) != s) {
        return 0; /* passed over */
    }
    message->bytes = slipring_device_load(header + 16);
    message->tag = slipring_device_load(header + 24);
    const uint64_t span = slipring_device_load(header + 56) >> 32; /* little-endian, as every GPU */
    message->slots = span == 0 || span > reader->slots ? 1 : span;
    const uint64_t most = (reader->slots - (s & (reader->slots - 1))) * reader->payload_stride;
    message->whole = message->bytes < most ? message->bytes : most;
    return 1;
}

/**
 * Wait for the next message.
 *
 * @param reader        from slipring_cuda_reader_begin(), a copy of the kernel's own
 * @param timeout_ns    of the device's clock; 0 to look once
 * @param[out] message  what to read, until slipring_device_release()
 * @return              slipring_device_code; message is set if it is SLIPRING_DEVICE_OK
 *
 * Thread: owner of @p reader (one thread).   Progress: may sleep.   Fork: no.
 * Owner:  the message is the kernel's to read until release.   Order: acquire side of PUBLISH.
 */
SLIPRING_DEVICE int slipring_device_poll(struct slipring_device_reader *reader, uint64_t timeout_ns,
                                         struct slipring_device_message *message)
{
    const uint64_t start = slipring_device_now();
    unsigned ns = 32;
    for (;;) {
        const uint64_t stamp = slipring_device_load(slipring_device_stamp(reader, reader->next));
        const int64_t ahead = static_cast<int64_t>(stamp - reader->next);
        if (ahead == 0 && slipring_device_look(reader, message) != 0) {
            reader->next += message->slots;
            return SLIPRING_DEVICE_OK;
        }
        if (ahead == 0) {
            const int code = slipring_device_give(reader, reader->next, 1);
            if (code != SLIPRING_DEVICE_OK) {
                return code;
            }
            reader->next++;
            continue;
        }
        if (ahead > 0) {
            return SLIPRING_DEVICE_GONE;
        }
        if (slipring_device_load(reader->abort) != 0) {
            return SLIPRING_DEVICE_ABORTED;
        }
        if (slipring_device_now() - start >= timeout_ns) {
            return SLIPRING_DEVICE_TIMEOUT;
        }
        slipring_device_pause(&ns);
    }
}

/**
 * Give a message's slots back; the producer sees it by itself. In any order.
 *
 * @return  SLIPRING_DEVICE_OK; or SLIPRING_DEVICE_ABORTED, not given back
 *
 * Thread: owner of @p reader (one thread), after all others have read.   Progress: may sleep.
 * Fork: no.   Owner: ends the message.   Order: release side of RELEASE.
 */
SLIPRING_DEVICE int slipring_device_release(const struct slipring_device_reader *reader,
                                            const struct slipring_device_message *message)
{
    return slipring_device_give(reader, message->sequence, message->slots);
}

#endif
