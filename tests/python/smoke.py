# SPDX-License-Identifier: Apache-2.0
"""Run by compat.sh under other interpreters, without pytest: the package's core in brief, with
NumPy and torch where they are."""
import asyncio
import gc
import multiprocessing
import os
import sys
import sysconfig
import threading

import slipring

try:
    import numpy
except ImportError:
    numpy = None
try:
    import torch
except ImportError:
    torch = None


def expect(kind, call, *args, **options):
    try:
        call(*args, **options)
    except kind:
        return
    raise AssertionError(f"{call} did not raise {kind}")


def child(there, back):
    with back.producer() as producer:
        for view in there.consumer(start="oldest"):
            producer.send(bytes(view.buffer)[::-1])


def processes(method):
    there, back = (slipring.Ring.create(slot_bytes=300, slots=8, lasting=["g"]) for _ in range(2))
    consumer = back.consumer()
    process = multiprocessing.get_context(method).Process(target=child, args=(there, back))
    process.start()
    with there.producer() as producer:
        for i in range(8):
            producer.send(bytes([i, i + 1, 9]))
    assert [bytes(view.buffer) for view in consumer] == [bytes([9, i + 1, i]) for i in range(8)]
    process.join()
    assert process.exitcode == 0


def leases():
    ring = slipring.Ring.create(schema={"a": ("float32", (16, 4)), "n": ("int64", ())}, slots=8)
    producer, consumer = ring.producer(), ring.consumer()
    loan = producer.claim()
    loan.buffer[:4] = b"\0\0\x80?"
    loan.tag = 5
    loan.publish()
    view = consumer.acquire(timeout=5)
    window = memoryview(view.field("a"))
    assert window[0, 0] == 1.0 and window.shape == (16, 4) and view.tag == 5
    expect(BufferError, view.release)
    del window
    view.release()
    expect(TimeoutError, consumer.acquire, timeout=0.01)
    expect(ValueError, slipring.Ring.create, schema=">f4")
    threading.Timer(0.05, consumer.wake).start()
    expect(slipring.Canceled, consumer.acquire)
    return ring, producer, consumer


def arrays(ring, producer, consumer):
    with producer.claim(2) as loan:
        loan["a"][...] = numpy.arange(128).reshape(2, 16, 4)
        loan["n"] = [3, 4]
    view = consumer.acquire(2)
    assert view["n"].tolist() == [3, 4] and view["a"][1, 15, 3] == 127
    assert numpy.asarray(view.field("a")).ctypes.data == view["a"].ctypes.data
    producer.send({"a": numpy.ones((16, 4), "f4"), "n": 1})
    array = consumer.acquire()["a"]
    del view
    gc.collect()
    assert ring.members()[0].released == 3
    del array
    assert ring.members()[0].released == 4


def tensors(ring, producer, consumer):
    producer.send({"a": torch.arange(64.0).reshape(16, 4), "n": 1})
    view = consumer.acquire()
    tensor = torch.from_dlpack(view.field("a"))
    assert tensor.data_ptr() == view["a"].ctypes.data and tensor[15, 3] == 63
    before = ring.members()[0].released
    del view
    gc.collect()
    assert ring.members()[0].released == before
    del tensor
    assert ring.members()[0].released == before + 1


def loaders():
    import loader_data as data

    for dataset, options in (
        (data.Mixed(), dict(batch_size=7, shuffle=True, generator=3, num_workers=2)),
        (data.Seeds(), dict(batch_size=7, num_workers=2, persistent_workers=True, epochs=2)),
        (data.Images(shape=(3, 64, 64)), dict(batch_size=4, shuffle=True, num_workers=1)),
        (data.Images(), dict(batch_size=4, num_workers=1, multiprocessing_context="spawn")),
        (data.Stream(), dict(batch_size=4, num_workers=2)),
    ):
        data.compare(dataset, **options)


async def coroutines():
    ring = slipring.Ring.create(slot_bytes=300, slots=8)
    consumer = ring.consumer()
    with ring.producer() as producer:
        for i in range(5):
            producer.send(bytes([i]))
    return [view.buffer[0] async for view in consumer]


def forked(ring, producer, consumer):
    pid = os.fork()
    if pid == 0:
        expect(slipring.Forked, consumer.acquire)
        expect(slipring.Forked, producer.claim)
        os._exit(0 if ring.info().slots else 1)
    assert os.waitpid(pid, 0)[1] == 0


def main():
    ends = leases()
    if numpy is not None:
        arrays(*ends)
    if numpy is not None and torch is not None:
        tensors(*ends)
        loaders()
    forked(*ends)
    assert asyncio.run(coroutines()) == list(range(5))
    for method in ("fork", "spawn", "forkserver"):
        processes(method)
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        assert not sys._is_gil_enabled()
    print(sys.version.split()[0], "NumPy", numpy and numpy.__version__, "torch",
          torch and torch.__version__)


if __name__ == "__main__":
    main()
