#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""python_peers.py SYSTEM MEASURE quick|full: queues of the Python world.

Messages are 64 bytes; in the measures size_* NumPy arrays of that size, as sizes.h has it. SYSTEM
is iceoryx2, faster_fifo or mp_queue; `python_peers.py SYSTEM check` exits 0 if it is installed.
Prints `chunk V` and `tail V` lines as the other peers do (peer.h).
"""
import ctypes
import multiprocessing
import os
import sys
import time

ROUND_NS = {"quick": 100_000_000, "full": 400_000_000}
CHUNK = 200  # round trips, or messages
SIZES = {"size_64B": 64, "size_512B": 512, "size_4KiB": 1 << 12, "size_32KiB": 1 << 15,
         "size_256KiB": 1 << 18, "size_2MiB": 1 << 21, "size_16MiB": 1 << 24}
PAYLOAD = bytes(range(64))
LAST = bytes(64)


class Line(ctypes.Structure):
    _fields_ = [("data", ctypes.c_uint8 * 64)]


class IceoryxEnd:
    """One way, one end: made in the process that uses it."""

    def __init__(self, name, writes):
        import iceoryx2
        iceoryx2.set_log_level(iceoryx2.LogLevel.Fatal)
        node = iceoryx2.NodeBuilder.new().create(iceoryx2.ServiceType.Ipc)
        service = (node.service_builder(iceoryx2.ServiceName.new(name)).publish_subscribe(Line)
                   .enable_safe_overflow(False).subscriber_max_buffer_size(64).open_or_create())
        self.keep = node, service
        self.port = (service.publisher_builder() if writes else service.subscriber_builder()).create()

    def put(self, data):
        self.port.loan_uninit().write_payload(Line.from_buffer_copy(data)).send()

    def get(self):
        while True:
            sample = self.port.receive()
            if sample is not None:
                return bytes(sample.payload().contents)


def ends(system, measure):
    """For each way a function that makes its end."""
    if system == "mp_queue":
        most = 4 if measure == "size_16MiB" else 64
        queues = [multiprocessing.Queue(most), multiprocessing.Queue(most)]
    elif system == "faster_fifo":
        import faster_fifo
        queues = [faster_fifo.Queue(1 << 20), faster_fifo.Queue(1 << 20)]
    else:
        import iceoryx2  # noqa: F401
        names = [f"slipring/peer/{os.getpid()}/{way}" for way in range(2)]
        return [lambda writes, name=name: IceoryxEnd(name, writes) for name in names]
    return [lambda writes, queue=queue: queue for queue in queues]


def pin(place):
    processors = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {processors[place % len(processors)]})


def echo(there, back, ready):
    pin(1)
    source, sink = there(False), back(True)
    ready.wait()
    data = source.get()
    while data != LAST:
        sink.put(data)
        data = source.get()


def pingpong(there, back, ready, length):
    sink, source = there(True), back(False)
    ready.wait()
    time.sleep(0.05)  # the two ends find each other; not timed
    end = time.monotonic_ns() + length
    now = start = time.monotonic_ns()
    while now < end:
        for _ in range(CHUNK):
            began = time.monotonic_ns()
            sink.put(PAYLOAD)
            assert source.get() == PAYLOAD
            print("tail", (time.monotonic_ns() - began) / 2)
        now = time.monotonic_ns()
        print("chunk", (now - start) / (2 * CHUNK))
        start = now
    sink.put(LAST)


def drain(there, ready, results, length):
    pin(1)
    source = there(False)
    ready.wait()
    rates = []
    start = time.monotonic_ns()
    count = 0
    data = source.get()
    while data != LAST:
        assert data == PAYLOAD
        count += 1
        if count % CHUNK == 0:
            now = time.monotonic_ns()
            rates.append(CHUNK * 1e9 / (now - start))
            start = now
        data = source.get()
    results.put(rates)


def stream(there, ready, length):
    sink = there(True)
    ready.wait()
    time.sleep(0.05)
    end = time.monotonic_ns() + length
    while time.monotonic_ns() < end:
        for _ in range(CHUNK):
            sink.put(PAYLOAD)
    sink.put(LAST)


def drain_sized(there, ready, results, size, chunks, chunk):
    import numpy
    pin(1)
    source = there(False)
    expected = int(numpy.arange(size // 8, dtype=numpy.uint64).sum())
    rates = []
    ready.wait()
    for number in range(chunks):
        start = time.monotonic_ns()
        for i in range(chunk):
            assert int(source.get().sum()) == expected + number * chunk + i
        if number != 0:
            rates.append(chunk * 1e9 / (time.monotonic_ns() - start))
    results.put(rates)


def sized(there, ready, size, length):
    """Each message an array, the first word of which is its number; all words are summed."""
    import numpy
    chunk = max(1, min(CHUNK, (1 << 22) // size))
    chunks = max(4, min(40, length * 4 // (chunk * (20_000 + size // 2))))
    results = multiprocessing.SimpleQueue()
    other = multiprocessing.Process(target=drain_sized, daemon=True,
                                    args=(there, ready, results, size, chunks, chunk))
    other.start()
    pin(0)
    sink = there(True)
    source = numpy.arange(size // 8, dtype=numpy.uint64)
    ready.wait()
    for number in range(chunks * chunk):
        array = source.copy()  # put() returns before it is pickled
        array[0] = number
        sink.put(array)
    for rate in results.get():
        print("chunk", rate)
    other.join(10)
    sys.exit(0 if other.exitcode == 0 else 1)


def main():
    system, measure = sys.argv[1:3]
    there, back = ends(system, measure)
    if measure == "check":
        return
    length = ROUND_NS[sys.argv[3]]
    ready = multiprocessing.Barrier(2)
    if measure in SIZES:
        sized(there, ready, SIZES[measure], length)
    results = multiprocessing.SimpleQueue()
    latency = measure.startswith("latency")
    other = multiprocessing.Process(target=echo if latency else drain, daemon=True,
                                    args=(there, back, ready) if latency
                                    else (there, ready, results, length))
    other.start()
    pin(0)
    if latency:
        pingpong(there, back, ready, length)
    else:
        stream(there, ready, length)
        for rate in results.get():
            print("chunk", rate)
    other.join(10)
    sys.exit(0 if other.exitcode == 0 else 1)


if __name__ == "__main__":
    multiprocessing.set_start_method("fork")
    main()
