# SPDX-License-Identifier: Apache-2.0
"""py_*: Ring from Python, of one producer and its readers in processes of their own.

Touch rule: who copies in copies all; who reads reads one float per page, in place.
"""
import ctypes
import importlib.util
import mmap
import multiprocessing
import os
import resource
import subprocess
import time

import common
import numpy as np
import slipring

MIB = 1 << 20


def handshake(kind, *numbers):
    def run(quick):
        done = subprocess.run([os.environ["SLIPRING_HANDSHAKE"], kind, *map(str, numbers),
                               str(common.round_seconds(quick))], capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit("the bare handshake failed")
        for line in done.stdout.splitlines():
            yield "chunk", float(line.split()[1])
    return run


# ---- latency ----

def pingpong(quick, ends):
    """ends(place) gives put(array) and get() of one process: get reads and lets go."""
    seconds = common.round_seconds(quick)
    data = np.ones(1024, "f4")

    def ask(meet):
        put, get = ends(0)
        meet()
        out, end = [], time.monotonic() + seconds
        begun = common.now()
        while time.monotonic() < end:
            for _ in range(200):
                put(data)
                get()
            done = common.now()
            out.append(("chunk", (done - begun) / 400))
            begun = done
        data[0] = -1
        put(data)
        return out

    def answer(meet):
        put, get = ends(1)
        meet()
        while get() != -1:
            put(data)

    return common.team(ask, answer)[0]


def latency_ours(quick):
    rings = [slipring.Ring.create(schema=("float32", (1024,)), slots=4, lasting=["reader"])
             for _ in range(2)]

    def ends(place):
        producer = rings[place].producer(wait="spin")
        consumer = rings[1 - place].consumer("reader", wait="spin")

        def get():
            with consumer.acquire() as view:
                return view.array[0]

        return producer.send, get

    return pingpong(quick, ends)


def latency_pipe(quick):
    left, right = multiprocessing.Pipe()

    def ends(place):
        end = (left, right)[place]
        return end.send, lambda: end.recv()[0]

    return pingpong(quick, ends)


def iceoryx(name, writes, payload, buffer=16):
    import iceoryx2
    iceoryx2.set_log_level(iceoryx2.LogLevel.Fatal)
    node = iceoryx2.NodeBuilder.new().create(iceoryx2.ServiceType.Ipc)
    service = (node.service_builder(iceoryx2.ServiceName.new(name)).publish_subscribe(payload)
               .enable_safe_overflow(False).subscriber_max_buffer_size(buffer).open_or_create())
    port = (service.publisher_builder() if writes else service.subscriber_builder()).create()
    return port, (node, service)


class Page(ctypes.Structure):
    _fields_ = [("data", ctypes.c_uint8 * 4096)]


class Block(ctypes.Structure):
    _fields_ = [("data", ctypes.c_uint8 * MIB)]


def latency_iceoryx(quick):
    names = [f"slipring/bench/{os.getpid()}/{way}" for way in range(2)]
    kept = []

    def ends(place):
        writer, keep1 = iceoryx(names[place], True, Page)
        reader, keep2 = iceoryx(names[1 - place], False, Page)
        kept.extend((keep1, keep2))
        time.sleep(0.1)  # the two find each other; not timed

        def put(data):
            loan = writer.loan_uninit()
            ctypes.memmove(loan.payload_ptr, data.ctypes.data, 4096)
            loan.assume_init().send()

        def get():
            while True:
                sample = reader.receive()
                if sample is not None:
                    return np.ctypeslib.as_array(sample.payload().contents.data).view("f4")[0]

        return put, get

    return pingpong(quick, ends)


# ---- waking a sleeper ----

LIBC = ctypes.CDLL(None, use_errno=True)
FUTEX, WAIT, WAKE = 202, 0, 1


def wakes(quick, ends):
    """One way to a reader that sleeps: the time is sent along."""
    count = 60 if quick else 200

    def send(meet):
        put = ends(0)
        meet()
        for _ in range(count):
            time.sleep(0.002)
            put()
        time.sleep(0.05)

    def receive(meet):
        get = ends(1)
        meet()
        return [("chunk", get()) for _ in range(count)]

    return common.team(send, receive)[1]


def wake_ours(quick):
    ring = slipring.Ring.create(schema=("int64", (512,)), slots=4, lasting=["reader"])

    def ends(place):
        if place == 0:
            producer, data = ring.producer(), np.zeros(512, "i8")

            def put():
                data[0] = common.now()
                producer.send(data)
            return put
        consumer = ring.consumer("reader", wait="sleep")

        def get():
            with consumer.acquire() as view:
                return common.now() - int(view.array[0])
        return get

    return wakes(quick, ends)


def wake_futex(quick):
    memory = mmap.mmap(-1, 4096)
    word = ctypes.c_uint32.from_buffer(memory)
    stamp = ctypes.c_int64.from_buffer(memory, 64)
    address = ctypes.c_void_p(ctypes.addressof(word))

    def ends(place):
        if place == 0:
            def put():
                stamp.value = common.now()
                word.value += 1
                LIBC.syscall(FUTEX, address, WAKE, 1, None, None, 0)
            return put
        seen = [0]

        def get():
            while word.value == seen[0]:
                LIBC.syscall(FUTEX, address, WAIT, seen[0], None, None, 0)
            seen[0] += 1
            return common.now() - stamp.value
        return get

    return wakes(quick, ends)


# ---- rates ----

def through(quick, slots, bytes_, write, read, readers=1, chunk=256, amount=1, schema=None, **options):
    """Readers take until the end; the first one's clock counts. write(producer) and read(consumer)
    handle so many slots a call as read returns."""
    ring = slipring.Ring.create(schema=schema or ("float32", (bytes_ // 4,)), slots=slots,
                                lasting=[f"reader{i}" for i in range(readers)])
    seconds = common.round_seconds(quick)

    def produce(meet):
        producer = ring.producer(**options)
        step = write(producer)
        meet()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for _ in range(max(1, chunk // 4)):
                step()
        producer.close()

    def consume(number):
        def body(meet):
            consumer = ring.consumer(f"reader{number}", **options)
            step, marks, done, next_mark = read(consumer), [], 0, chunk
            meet()
            begun = common.now()
            try:
                while True:
                    done += step()
                    if done >= next_mark:
                        marks.append((common.now(), done))
                        next_mark = done + chunk
            except slipring.Closed:
                pass
            out = []
            for (then, before), (moment, after) in zip([(begun, 0), *marks], marks):
                out.append(("chunk", (after - before) * amount * 1e9 / (moment - then)))
            return out[2:] or out  # the first time around is to warm up
        return body

    return common.team(produce, *[consume(i) for i in range(readers)])[1]


def touch(array):
    return float(array[::1024].sum())


def stream(slots, bytes_, readers=1, amount=None):
    def write(producer):
        data = np.ones(bytes_ // 4, "f4")
        return lambda: producer.send(data)

    def read(consumer):
        def step():
            view = consumer.acquire()
            if touch(view.array) == 0:
                raise SystemExit("not what was sent")
            view.release()
            return 1
        return step

    # Spinning, more processes than processors keep each other from them.
    wait = "spin" if 1 + readers <= len(os.sched_getaffinity(0)) else "adaptive"
    return lambda quick: through(quick, slots, bytes_, write, read, readers,
                                 max(1, (1 << 26) // bytes_), amount or bytes_ / 1e9, wait=wait)


def inplace(slots, block):
    def write(producer):
        def step():
            producer.claim(block).publish()
        return step

    def read(consumer):
        def step():
            view = consumer.acquire(block)
            taken = view.slots
            view.release()
            return taken
        return step

    return lambda quick: through(quick, slots, MIB, write, read, chunk=20000, wait="spin")


def inplace_iceoryx(quick):
    name = f"slipring/bench/{os.getpid()}"
    seconds = common.round_seconds(quick)

    def produce(meet):
        port, keep = iceoryx(name, True, Block)
        meet()
        time.sleep(0.1)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for _ in range(1000):
                port.loan_uninit().assume_init().send()

    def consume(meet):
        port, keep = iceoryx(name, False, Block)
        meet()
        out, idle = [], 0
        count, begun = 0, common.now()
        while idle < 3_000_000:
            if port.receive() is None:
                idle += 1 if out else 0
                continue
            idle, count = 0, count + 1
            if count % 5000 == 0:
                done = common.now()
                out.append(("chunk", 5000e9 / (done - begun)))
                begun = done
        return out[1:]

    return common.team(produce, consume)[1]


def queues(readers, bytes_, amount):
    """As many multiprocessing.Queues, each item put into every one."""
    def run(quick):
        every = [common.FORK.Queue(8) for _ in range(readers)]
        seconds = common.round_seconds(quick) * 2

        def produce(meet):
            data = np.ones(bytes_ // 4, "f4")
            meet()
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                for queue in every:
                    queue.put(data)
            for queue in every:
                queue.put(None)

        def consume(queue):
            def body(meet):
                meet()
                out, begun, chunk = [], common.now(), max(1, (1 << 22) // bytes_)
                for count in range(1, 1 << 60):
                    item = queue.get()
                    if item is None:
                        return out
                    touch(item)
                    if count % chunk == 0:
                        done = common.now()
                        out.append(("chunk", chunk * amount * 1e9 / (done - begun)))
                        begun = done
            return body

        return common.team(produce, *[consume(queue) for queue in every])[1]
    return run


def idle_cpu(quick):
    ring = slipring.Ring.create(slot_bytes=4096, slots=4)
    consumer = ring.consumer()
    producer = ring.producer()
    for _ in range(1 if quick else 3):
        # Of this thread: another is NumPy's, which spins for some 40 ms after it was begun.
        before, begun = resource.getrusage(resource.RUSAGE_THREAD), time.monotonic()
        try:
            consumer.acquire(timeout=1 if quick else 2)
        except TimeoutError:
            pass
        after = resource.getrusage(resource.RUSAGE_THREAD)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        yield "chunk", 100 * used / (time.monotonic() - begun)
    del producer


def measures():
    found = {
        "py_latency_4KiB": ("ns", "two flags", {
            "slipring": latency_ours, "two flags": handshake("latency", 4096),
            "mp.Pipe": latency_pipe}),
        "py_wake_4KiB": ("ns", "futex", {"slipring": wake_ours, "futex": wake_futex}),
        "py_inplace_1MiB": ("1/s", None, {"slipring": inplace(16, 1)}),
        "py_inplace_1MiB_block16": ("1/s", None, {"slipring": inplace(64, 16)}),
        # A ring has a power of two of slots: 16 for the 10 of the name, in both.
        "py_stream_1MiB_10slots": ("GB/s", "two flags", {
            "slipring": stream(16, MIB), "two flags": handshake("stream", 16, MIB),
            "mp.Queue": queues(1, MIB, MIB / 1e9)}),
        "py_stream_1MiB_4slots": ("GB/s", "two flags", {
            "slipring": stream(4, MIB), "two flags": handshake("stream", 4, MIB)}),
        "py_stream_64MiB": ("GB/s", "two flags", {
            "slipring": stream(4, 64 * MIB), "two flags": handshake("stream", 4, 64 * MIB)}),
        "py_broadcast_4_1MiB": ("1/s", None, {
            "slipring": stream(8, MIB, 4, 1), "4 mp.Queues": queues(4, MIB, 1)}),
        "py_idle_cpu": ("%", None, {"slipring": idle_cpu}),
    }
    if importlib.util.find_spec("iceoryx2") is not None:
        found["py_latency_4KiB"][2]["iceoryx2"] = latency_iceoryx
        found["py_inplace_1MiB"][2]["iceoryx2"] = inplace_iceoryx
    return found
