/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fast path from C++17. Handles end by themselves, errors are std::system_error.
 *
 *     c++ -std=c++17 -O2 04_fast_cpp.cpp -o 04_fast_cpp $(pkg-config --cflags --libs slipring)
 *     ./04_fast_cpp
 */
#include <slipring/inline.h>

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <system_error>
#include <sys/wait.h>
#include <unistd.h>

namespace
{

constexpr std::uint64_t ticks = 2000000, batch = 64;
struct tick {
    std::uint64_t number;
    double bid, ask, last, volume, high, low;
    std::uint64_t of_the_ring; // the slot's sequence shares the cache line; not ours to write
};

std::int64_t patience()
{
    return slipring_now_ns() + 10'000'000'000;
}
template <auto end> struct ender {
    template <typename handle> void operator()(handle *h) const
    {
        end(h);
    }
};
using ring = std::unique_ptr<slipring_ring, ender<slipring_ring_close>>;
using producer = std::unique_ptr<slipring_producer, ender<slipring_producer_close>>;
using consumer = std::unique_ptr<slipring_consumer, ender<slipring_consumer_detach>>;

void check(std::int64_t result, const char *what)
{
    if (result < 0) {
        throw std::system_error(static_cast<int>(-result), std::generic_category(), what);
    }
}

template <typename owner, typename call, typename... arguments>
owner make(call attach, arguments... given)
{
    typename owner::pointer handle = nullptr;
    slipring_error error{};
    check(attach(given..., &handle, &error), error.text);
    return owner(handle);
}

void send(slipring_ring *where)
{
    const auto sender = make<producer>(slipring_producer_attach, where, nullptr);
    slipring_fast *fast = slipring_producer_fast(sender.get());
    for (std::uint64_t number = 0; number < ticks; number++) {
        void *slot = nullptr;
        int rc = slipring_fast_try_claim(fast, 1, &slot);
        if (rc == -EAGAIN) {
            slipring_loan loan{};
            rc = slipring_producer_claim(sender.get(), 1, &loan, patience());
            slot = loan.data;
        }
        check(rc, "claim");
        static_cast<tick *>(slot)->number = number;
        static_cast<tick *>(slot)->last = static_cast<double>(number) / 100;
        check(slipring_fast_publish(fast, 1), "publish");
    }
}

std::uint64_t receive(slipring_consumer *reader)
{
    slipring_fast *fast = slipring_consumer_fast(reader);
    for (std::uint64_t number = 0;;) {
        const void *data = nullptr;
        std::int64_t count = slipring_fast_try_acquire(fast, batch, &data);
        if (count == -EAGAIN) {
            slipring_view view{};
            const int rc = slipring_consumer_acquire(reader, batch, &view, patience());
            count = rc < 0 ? rc : static_cast<std::int64_t>(view.slots);
            data = view.data;
        }
        if (count == -EPIPE) {
            return number;
        }
        check(count, "acquire");
        for (std::int64_t i = 0; i < count; i++, number++) {
            check(static_cast<const tick *>(data)[i].number == number ? 0 : -EBADMSG, "order");
        }
        check(slipring_fast_release(fast, static_cast<std::uint64_t>(count)), "release");
    }
}

} // namespace

int main()
try {
    slipring_config config;
    slipring_config_init(&config);
    config.slot_bytes = offsetof(tick, of_the_ring); // 56: a compact ring
    const auto where = make<ring>(slipring_ring_create, nullptr, &config);
    auto reader = make<consumer>(slipring_consumer_attach, where.get(), nullptr);
    const pid_t child = fork();
    if (child == 0) {
        send(where.get());
        return EXIT_SUCCESS;
    }
    check(child < 0 ? -EAGAIN : 0, "fork");
    const std::int64_t began_ns = slipring_now_ns();
    const bool whole = receive(reader.get()) == ticks;
    const double rate = 1e3 * ticks / static_cast<double>(slipring_now_ns() - began_ns);
    reader.reset(); // a sender that still waits for it goes on
    int status = 0;
    check(waitpid(child, &status, 0) < 0 || status != 0 || !whole ? -EIO : 0, "ticks are missing");
    std::printf("04_fast_cpp: %llu ticks in order, %.1f million per second\n",
                static_cast<unsigned long long>(ticks), rate);
    return EXIT_SUCCESS;
} catch (const std::exception &error) {
    std::fprintf(stderr, "04_fast_cpp: %s\n", error.what());
    return EXIT_FAILURE;
}
