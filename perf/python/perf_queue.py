# SPDX-License-Identifier: Apache-2.0
"""Small dictionaries from one process to another through a queue, one by one and by the hundred."""
import multiprocessing
import os
import time

ITEM = {"id": 12345, "name": "sample", "x": 1.5, "y": 2.5, "ok": True, "tag": "train"}
MANY = 100


def pin(place):
    cpus = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cpus[place % len(cpus)]})


def rate(make, chunk):
    """make() gives (put(n), get(n)), each of n items in one process; the getter's clock counts."""

    def run(quick):
        put, get = make()
        size, chunks = chunk // (4 if quick else 1), 5 if quick else 11
        everywhere = os.sched_getaffinity(0)
        times, said = multiprocessing.Pipe(False)
        pid = os.fork()
        if pid == 0:
            try:
                pin(1)
                for _ in range(chunks + 1):
                    start = time.perf_counter()
                    get(size)
                    said.send(time.perf_counter() - start)
            finally:
                os._exit(0)
        pin(0)
        try:
            for i in range(chunks + 1):
                put(size)
                taken = times.recv()
                if i > 0:
                    yield "chunk", size / taken
        finally:
            os.waitpid(pid, 0)
            os.sched_setaffinity(0, everywhere)

    return run


def one_by_one(put, get):
    def put_all(count):
        for _ in range(count):
            put(ITEM)

    def get_all(count):
        for _ in range(count):
            get()

    return put_all, get_all


def by_the_hundred(put_many, get_many):
    batch = [ITEM] * MANY

    def put_all(count):
        for _ in range(count // MANY):
            put_many(batch)

    def get_all(count):
        while count > 0:
            count -= len(get_many(min(count, MANY)))

    return put_all, get_all


def ours():
    import slipring

    queue = slipring.Queue()
    return one_by_one(queue.put, queue.get)


def ours_many():
    import slipring

    queue = slipring.Queue()
    return by_the_hundred(queue.put_many, queue.get_many)


def pipe():
    receiver, sender = multiprocessing.Pipe(False)
    return one_by_one(sender.send, receiver.recv)


def standard():
    queue = multiprocessing.Queue()
    return one_by_one(queue.put, queue.get)


def simple():
    queue = multiprocessing.SimpleQueue()
    return one_by_one(queue.put, queue.get)


def faster_fifo(many):
    import faster_fifo

    queue = faster_fifo.Queue(1 << 24)
    if many:
        return by_the_hundred(queue.put_many, lambda count: queue.get_many(max_messages_to_get=count))
    return one_by_one(queue.put, queue.get)


def measures():
    one = {"slipring": rate(ours, 100_000), "Pipe": rate(pipe, 20_000),
           "SimpleQueue": rate(simple, 20_000), "mp.Queue": rate(standard, 20_000)}
    many = {"slipring": rate(ours_many, 100_000)}
    try:
        import faster_fifo as there
    except ImportError:
        there = None
    if there is not None:
        one["faster-fifo"] = rate(lambda: faster_fifo(False), 20_000)
        many["faster-fifo"] = rate(lambda: faster_fifo(True), 20_000)
    return {"py_queue_dict": ("1/s", None, one), "py_queue_dict_many100": ("1/s", None, many)}
