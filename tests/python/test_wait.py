# SPDX-License-Identifier: Apache-2.0
"""Proves that waits let other threads run, end by data, deadline, wake(), close() and signals (Ctrl-C
in each call that waits), that threads may share a handle, and that coroutines wait without blocking
their loop."""
import asyncio
import os
import signal
import threading
import time

import numpy as np
import pytest
import slipring


def pair(**options):
    options.setdefault("slot_bytes", 256)
    ring = slipring.Ring.create(slots=8, **options)
    return ring, ring.producer(), ring.consumer()


def fill(ring, producer):
    for _ in range(ring.info().slots):
        producer.send(b"x" * 256)


def later(action, seconds=0.1):
    timer = threading.Timer(seconds, action)
    timer.daemon = True
    timer.start()
    return timer


@pytest.mark.parametrize("wait", ["adaptive", "spin", "sleep"])
def test_other_threads_run(wait):
    ring = slipring.Ring.create(slot_bytes=256, slots=8)
    producer, consumer = ring.producer(wait=wait), ring.consumer(wait=wait)
    seen = []

    def produce():
        for i in range(100):
            seen.append(i)  # runs while the main thread waits
            producer.send(bytes([i]))
        producer.close()

    thread = threading.Thread(target=produce, daemon=True)
    thread.start()
    assert [view.buffer[0] for view in consumer] == list(range(100)) == seen
    thread.join()


@pytest.mark.parametrize("call", ["acquire", "copy", "claim", "send", "next"])
@pytest.mark.parametrize("wait", ["adaptive", "spin"])
def test_interrupt(call, wait):
    ring = slipring.Ring.create(slot_bytes=256, slots=8)
    producer, consumer = ring.producer(wait=wait), ring.consumer(wait=wait)
    if call in ("claim", "send"):
        fill(ring, producer)
    calls = {"acquire": consumer.acquire, "copy": consumer.copy, "claim": producer.claim,
             "send": lambda: producer.send(b"y"), "next": lambda: next(iter(consumer))}
    later(lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        calls[call]()
    if call in ("claim", "send"):
        consumer.acquire(8).release()
        producer.claim(timeout=5)
    else:
        producer.send(b"z")
        assert consumer.acquire(timeout=5).buffer[0] == ord("z")


def test_handlers_that_return():
    ring, producer, consumer = pair()
    calls = []

    def handler(*_):
        calls.append(1)
        with pytest.raises(RuntimeError):
            consumer.acquire(timeout=0)
        with pytest.raises(RuntimeError):
            consumer.close()
        if len(calls) == 3:
            producer.send(b"a")

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
    try:
        assert consumer.acquire(timeout=30).bytes == 1
        assert len(calls) >= 3
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_timeouts():
    ring, producer, consumer = pair()
    for timeout in (0, -1, 0.05, np.float32(0.01), 1e-9):
        begun = time.monotonic()
        with pytest.raises(TimeoutError):
            consumer.acquire(timeout=timeout)
        assert time.monotonic() - begun >= timeout
    fill(ring, producer)
    for call in (producer.claim, lambda timeout: producer.send(b"x", timeout=timeout)):
        with pytest.raises(TimeoutError):
            call(timeout=0)
        with pytest.raises(TimeoutError):
            call(timeout=0.02)
    with pytest.raises(ValueError):
        consumer.acquire(timeout=float("nan"))
    with pytest.raises(TypeError):
        consumer.acquire(timeout="1")
    for bad in ({"n": 0}, {"m": 1}, {"n": -1}, {"n": "1"}):
        with pytest.raises((ValueError, TypeError, OverflowError)):
            consumer.acquire(**bad)
    consumer.acquire(8, 0).release()
    assert producer.claim(timeout=1e300).slots == 1


@pytest.mark.parametrize("unordered", [True, False])
def test_wake_and_close(unordered):
    ring = slipring.Ring.create(slot_bytes=256, slots=8)
    producer, consumer = ring.producer(), ring.consumer(unordered=unordered)
    later(consumer.wake)
    with pytest.raises(slipring.Canceled):
        consumer.acquire()
    closing = later(consumer.close)
    with pytest.raises((slipring.Canceled, ValueError)):
        consumer.acquire()
    closing.join()
    consumer = ring.consumer()
    fill(ring, producer)
    later(producer.wake)
    with pytest.raises(slipring.Canceled):
        producer.claim()
    leaving = later(producer.detach)
    with pytest.raises((slipring.Canceled, ValueError)):
        producer.claim()
    leaving.join()
    ring.producer().close()
    assert len(list(consumer)) == ring.info().slots


def test_threads_share_a_consumer():
    ring, producer, consumer = pair(schema=("int64", (32,)), slot_bytes=None)
    got, lock = [], threading.Lock()

    def read():
        for view in consumer:
            number = int(view.array[31])
            with lock:
                got.append(number)

    threads = [threading.Thread(target=read, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for i in range(2000):
        producer.send(np.full(32, i))
    producer.close()
    for thread in threads:
        thread.join(30)
    assert sorted(got) == list(range(2000))


def test_poll():
    import select
    ring, producer, consumer = pair()
    poll = select.poll()
    poll.register(consumer, select.POLLIN)
    assert not consumer.arm() and poll.poll(0) == []
    later(lambda: producer.send(b"x"))
    assert poll.poll(10000) == [(consumer.fileno(), select.POLLIN)]
    assert consumer.arm() and consumer.acquire(timeout=0).bytes == 1 and consumer.lag == 0


def test_a_full_ring_names_its_holder():
    ring, producer, consumer = pair(lasting=["later"])
    fill(ring, producer)
    with pytest.raises(TimeoutError, match='nobody reads for the lasting group "later"'):
        producer.claim(timeout=0.01)
    later_one = ring.consumer("later")
    while later_one.lag:
        later_one.acquire().release()
    with pytest.raises(TimeoutError, match="a consumer in this process has not released"):
        producer.send(b"x", timeout=0.01)
    ready, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        reader = ring.consumer("children", start="oldest")
        os.write(told, b"x")
        signal.pause()
        os._exit(reader is None)
    os.read(ready, 1)  # a member is to be seen before it holds anything back
    os.close(ready)
    os.close(told)
    while consumer.lag:
        consumer.acquire().release()
    try:
        with pytest.raises(TimeoutError, match=f'of group "children" in process {pid} has not'):
            producer.claim(timeout=0.01)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    producer.claim(timeout=10).abort()


def test_held_slots_name_their_holder():
    ring = slipring.Ring.create(slot_bytes=4096, slots=4, full="overwrite", hold_max=3,
                                geometry="tensor")
    producer, consumer = ring.producer(), ring.consumer()
    views = []
    for _ in range(3):
        producer.send(b"x")
        views.append(consumer.acquire(timeout=5))
    with pytest.raises(TimeoutError, match="holds 3 of the ring's 4 slots"):
        producer.claim(2, timeout=0.01)


def test_async():
    ring, producer, consumer = pair()

    async def produce(count):
        for i in range(count):
            await asyncio.sleep(0.001 if i % 5 else 0)
            producer.send(bytes([i]))
        producer.close()

    async def main():
        turns, task = 0, asyncio.create_task(produce(50))

        async def tick():
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        ticker = asyncio.create_task(tick())
        got = [view.buffer[0] async for view in consumer]
        ticker.cancel()
        await task
        return got, turns

    got, turns = asyncio.run(asyncio.wait_for(main(), 60))
    assert got == list(range(50)) and turns > 50


def test_async_limits():
    ring, producer, consumer = pair()

    async def main():
        from slipring import aio
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(aio.acquire(consumer), 0.05)
        first = asyncio.create_task(aio.acquire(consumer))
        await asyncio.sleep(0.02)
        with pytest.raises(RuntimeError):
            await aio.acquire(consumer)
        producer.send(b"q")
        view = await asyncio.wait_for(first, 10)
        producer.close()
        with pytest.raises(slipring.Closed):
            await aio.acquire(consumer)
        return view.bytes

    assert asyncio.run(main()) == 1
