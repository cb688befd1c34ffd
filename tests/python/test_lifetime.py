# SPDX-License-Identifier: Apache-2.0
"""Proves that a slot goes back exactly when the last view, array, memoryview or tensor over it dies,
on whatever thread, and not before; that memory stays readable as long as an array shows it, after
close() of everything, at the interpreter's exit and in a forked child; and that release() refuses."""
import gc
import os
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest
import slipring


def released(ring):
    return ring.members()[0].released


@pytest.fixture(params=[True, False], ids=["unordered", "ordered"])
def ends(request):
    ring = slipring.Ring.create(schema={"a": ("int32", (1024,)), "b": ("uint8", (8,))}, slots=8)
    return ring, ring.producer(), ring.consumer(unordered=request.param)


def fill(producer, count):
    for i in range(count):
        producer.send({"a": np.full(1024, i, "i4"), "b": np.full(8, i % 256, "u1")})


@pytest.mark.parametrize("make", [
    lambda view: view["a"], lambda view: view["a"][3:7], lambda view: view["a"].reshape(32, 32).T,
    lambda view: view.field("b"), lambda view: memoryview(view.field("b"))[2:],
    lambda view: view.buffer, lambda view: view.buffer.cast("B")[1:],
    lambda view: np.frombuffer(view, dtype="u1"), lambda view: view.field("a").__dlpack__(),
    lambda view: view.field("a").__dlpack__(max_version=(1, 0)), lambda view: view["a"].view("u4"),
    lambda view: view,
])
def test_last_reference(ends, make):
    ring, producer, consumer = ends
    fill(producer, 1)
    view = consumer.acquire()
    thing = make(view)
    if thing is not view:
        with pytest.raises(BufferError):
            view.release()
    del view
    gc.collect()
    assert released(ring) == 0
    del thing
    assert released(ring) == 1


def test_two_things(ends):
    ring, producer, consumer = ends
    fill(producer, 1)
    view = consumer.acquire()
    a, b = view["a"], view["b"]
    del a
    with pytest.raises(BufferError):
        view.release()
    del b
    view.release()
    assert released(ring) == 1 and view.released
    view.release()
    with pytest.raises(ValueError):
        view["a"]
    with pytest.raises(ValueError):
        memoryview(view)


def test_with_defers_to_arrays(ends):
    ring, producer, consumer = ends
    fill(producer, 1)
    with consumer.acquire() as view:
        array = view["a"]
    assert released(ring) == 0
    del array, view
    assert released(ring) == 1


def test_array_interface_pins(ends):
    ring, producer, consumer = slipring.Ring.create(schema=("f4", (64,)), slots=4), None, None
    producer, consumer = ring.producer(), ring.consumer()
    producer.send(np.arange(64, dtype="f4"))
    view = consumer.acquire()

    class Foreign:  # what knows the array interface alone
        __array_interface__ = view.__array_interface__
        keep = view

    array = np.asarray(Foreign())
    address = Foreign.__array_interface__["data"]
    assert address == (array.ctypes.data, True) and array[5] == 5
    with pytest.raises(BufferError):
        view.release()
    assert released(ring) == 0


def test_any_order(ends):
    ring, producer, consumer = ends
    fill(producer, 4)
    views = [consumer.acquire() for _ in range(4)]
    del views[2]
    assert released(ring) == 0
    del views[0]
    assert released(ring) == 1
    del views[0]
    assert released(ring) == 3
    views.clear()
    assert released(ring) == 4


def test_from_threads(ends):
    """Arrays die on other threads while this one acquires, and sleeps for what they hold."""
    ring, producer, consumer = ends
    slots, count = ring.info().slots, 400
    handed, lock, wrong = [], threading.Condition(), []

    def drop():
        while True:
            with lock:
                lock.wait_for(lambda: handed)
                item = handed.pop()
            if item is None:
                return
            number, array = item
            if not (array == number).all():
                wrong.append(number)
            del item, array

    def produce():
        fill(producer, count)
        producer.close()

    threads = [threading.Thread(target=target, daemon=True) for target in (drop, drop, drop, produce)]
    for thread in threads:
        thread.start()
    for number, view in enumerate(consumer):
        array = view["a"]
        del view
        with lock:
            handed.append((number, array))
            lock.notify()
        del array
    with lock:
        handed[:0] = [None] * 3
        lock.notify_all()
    for thread in threads:
        thread.join()
    assert count > slots and not wrong and number == count - 1
    assert released(ring) == count


def test_close_of_everything(ends):
    ring, producer, consumer = ends
    fill(producer, 2)
    arrays = [consumer.acquire()["a"] for _ in range(2)]
    watcher = slipring.Ring.from_fds(*ring.fds())
    consumer.close()
    consumer.close()
    with pytest.raises(ValueError):
        consumer.acquire()
    assert len(watcher.members()) == 1 and watcher.members()[0].released == 0
    producer.close()
    ring.close()
    with pytest.raises(ValueError):
        ring.info()
    del producer, consumer, ring, ends
    gc.collect()
    assert [int(array[0]) for array in arrays] == [0, 1]
    del arrays
    assert watcher.members() == []


def test_loan_after_the_end(ends):
    ring, producer, consumer = ends
    loan = producer.claim()
    array = loan["a"]
    array[...] = 1
    loan.publish()
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 2
    producer.close()
    del loan, producer, ends
    assert array.sum() == 1024
    with pytest.raises(slipring.Closed):
        ring.producer()


def test_dropped_loan_is_aborted(ends):
    ring, producer, consumer = ends
    with pytest.warns(ResourceWarning, match="a claim of 1 slots was dropped"):
        producer.claim()
    with pytest.raises(ZeroDivisionError), producer.claim(2) as loan:
        loan["a"][...] = 1 // 0
    assert ring.info().cursor == 0
    fill(producer, 1)
    assert consumer.acquire(timeout=0).sequence == 0


def python(code, **options):
    return subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True,
                          text=True, timeout=60, **options)


@pytest.mark.parametrize("ending", [
    "pass", "sys.exit(0)", "atexit.register(lambda: print(keep[0][0]))", "os.kill(os.getpid(), 15)",
    "threading.Thread(target=consumer.acquire, daemon=True).start(); time.sleep(0.1)",
    "threading.Thread(target=lambda: (time.sleep(0.1), keep.pop())).start()",
    "sys.modules.pop('slipring'); sys.modules.pop('slipring._slipring'); del slipring; gc.collect()",
    "del ring, producer, consumer, view", "keep.append(keep)",
    "threading.local().x = keep; sys.last_value = view",
])
def test_interpreter_exit(ending):
    done = python(f"""
        import atexit, gc, os, sys, threading, time
        import numpy as np, slipring
        ring = slipring.Ring.create(schema=("int32", (2048,)), slots=4)
        producer, consumer = ring.producer(), ring.consumer()
        producer.send(np.full(2048, 7, "i4"))
        view = consumer.acquire()
        keep = [view.array, view.buffer, view.__dlpack__(), producer.claim().array]
        class Late:
            def __init__(self, array): self.array = array
            def __del__(self): print(self.array[-1])
        late = Late(view.array)
        {ending}
        """)
    assert done.returncode == (-15 if "kill" in ending else 0), done.stderr
    assert done.stderr == ""
    assert "kill" in ending or done.stdout.split()[-1] == "7"


def test_fork(ends):
    ring, producer, consumer = ends
    fill(producer, 3)
    view = consumer.acquire()
    array, loan = view["a"], producer.claim()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            assert (array == 0).all()
            for call in (consumer.acquire, consumer.try_acquire, consumer.arm, consumer.stats,
                         lambda: view["b"], view.release, lambda: producer.send({}),
                         producer.claim, loan.publish, lambda: next(iter(consumer))):
                try:
                    call()
                except slipring.Forked:
                    continue
                except BufferError:
                    assert call == view.release
                    continue
                raise AssertionError(call)
            consumer.close()
            producer.close()
            assert ring.info().cursor == 3
            mine = ring.consumer(start="oldest")
            assert (mine.acquire(timeout=5)["a"] == 0).all()
            producer = consumer = view = loan = None
            gc.collect()
            assert (array == 0).all()
            array = None
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
    assert released(ring) == 0 and (array == 0).all()
    loan.abort()
    fill(producer, 1)
    assert [consumer.acquire().sequence for _ in range(3)] == [1, 2, 3]
    del array, view


def test_a_turn_lasts_for_the_turn(ends):
    ring, producer, consumer = ends
    fill(producer, 3)
    kept = []
    for turn, view in enumerate(consumer):
        assert released(ring) == min(turn, 1)
        if turn == 1:
            kept.append(view["a"])
        if turn == 2:
            break
    assert view["b"][0] == 2  # left by break: as acquired
    views = iter(consumer)
    fill(producer, 2)
    first, second = next(views), next(views)
    assert first.released and not second.released
    with pytest.raises(ValueError):
        first["a"]
    del kept
    assert released(ring) == 2
