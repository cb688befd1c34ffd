# SPDX-License-Identifier: Apache-2.0
"""Proves what a slipring queue adds to multiprocessing's, and what of its meaning CPython's own tests
do not reach: order over lanes, maxsize, late errors, large items, waiting, EOF, shutdown."""
import gc
import os
import pickle
import queue
import signal
import threading
import time
from multiprocessing import connection, queues

import pytest
import slipring

METHODS = ["fork", "spawn", "forkserver"]


def in_child(work, *args):
    """Runs work in a forked child; its exit code says whether it went well."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work(*args)
            code = 0
        finally:
            os._exit(code)
    return pid


def ends_well(pid):
    assert os.waitpid(pid, 0)[1] == 0


def test_is_the_standard_one():
    for ours, theirs in [(slipring.Queue, queues.Queue), (slipring.JoinableQueue, queues.JoinableQueue),
                         (slipring.SimpleQueue, queues.SimpleQueue)]:
        assert isinstance(ours(), theirs)
    assert isinstance(slipring.JoinableQueue(), slipring.Queue)
    with pytest.raises(RuntimeError, match="inheritance"):
        pickle.dumps(slipring.Queue())


def test_arguments():
    q = slipring.Queue()
    q.put(obj=1, block=True, timeout=None)
    q.put(2, False)
    assert q.get(timeout=1.5, block=True) == 1 and q.get(False) == 2
    for timeout in (0, -1, 0.001):
        with pytest.raises(queue.Empty):
            q.get(timeout=timeout)
    with pytest.raises(queue.Empty):
        q.get_nowait()
    for wrong in [lambda: q.put(), lambda: q.put(1, True, None, 2), lambda: q.get(item=1),
                  lambda: q.get(True, block=False), lambda: q.get(timeout="1")]:
        with pytest.raises(TypeError):
            wrong()
    with pytest.raises(ValueError):
        slipring.Queue(lanes=0)
    with pytest.raises(ValueError):
        slipring.Queue(lane_bytes=5000)


def test_causal_order():
    """What one process put before another did comes first, as through a pipe."""
    q = slipring.Queue()
    for turn in range(20):
        ends_well(in_child(q.put, ("child", turn)))
        q.put(("parent", turn))
    assert [q.get(timeout=5) for _ in range(40)] == [
        (who, turn) for turn in range(20) for who in ("child", "parent")]


def test_lane_of_the_dead_serves_the_next():
    q = slipring.Queue(lanes=2)
    for turn in range(10):
        ends_well(in_child(q.put, turn))
    assert [q.get(timeout=5) for _ in range(10)] == list(range(10))


def test_more_putters_than_lanes():
    q = slipring.Queue(lanes=1)
    q.put(1)

    def put():
        with pytest.raises(OSError, match="lanes="):
            q.put(2)

    ends_well(in_child(put))


def test_many_putters_and_getters():
    q, results = slipring.Queue(), slipring.Queue()
    count = 2000

    def put(who):
        for i in range(count):
            q.put((who, i))
        q.close()
        q.join_thread()

    def get():
        last, seen = {}, 0
        while (item := q.get()) is not None:
            who, i = item
            assert last.get(who, -1) < i
            last[who] = i
            seen += 1
        results.put(seen)

    putters = [in_child(put, who) for who in range(4)]
    getters = [in_child(get) for _ in range(3)]
    for pid in putters:
        ends_well(pid)
    for _ in getters:
        q.put(None)
    assert sum(results.get(timeout=30) for _ in getters) == 4 * count
    for pid in getters:
        ends_well(pid)


def test_put_waits_for_nobody():
    """Far more than the lane holds: the rest waits in the feeder, in order, errors among it."""
    told = []

    class Told(slipring.Queue):
        def _on_queue_feeder_error(self, error, obj):
            told.append(type(error))

    q = Told(lane_bytes=4096)
    lambda_ = lambda: 0  # noqa: E731: cannot be pickled
    for i in range(500):
        q.put((i, b"x" * (i % 5000)))
        if i % 100 == 50:
            q.put(lambda_)
    assert 500 <= q.qsize() <= 505
    assert [q.get(timeout=5)[0] for _ in range(500)] == list(range(500))
    assert len(told) == 5 and q.qsize() == 0
    q.close()
    q.join_thread()


def test_errors_in_pickling(capfd):
    class Bad:
        def __reduce__(self):
            raise ZeroDivisionError("on purpose")

    q = slipring.Queue(maxsize=1)
    q.put(Bad())
    assert "ZeroDivisionError: on purpose" in capfd.readouterr().err
    q.put(1, timeout=1)  # its place was given back
    assert q.get(timeout=1) == 1
    simple = slipring.SimpleQueue()
    with pytest.raises(ZeroDivisionError):
        simple.put(Bad())


def test_maxsize():
    q = slipring.Queue(maxsize=3)
    for i in range(3):
        assert q.qsize() == i and not q.full()
        q.put(i)
    assert q.full() and q.qsize() == 3
    for call in (lambda: q.put_nowait(3), lambda: q.put(3, timeout=0.01)):
        with pytest.raises(queue.Full):
            call()
    ends_well(in_child(q.get, True, 5))
    q.put(3, timeout=1)
    waiting = threading.Thread(target=q.put, args=(4,))
    waiting.start()
    assert [q.get(timeout=5) for _ in range(4)] == [1, 2, 3, 4]
    waiting.join()
    assert q.put_many(range(10), block=False) == 3
    with pytest.raises(queue.Full):
        q.put_many(range(10), block=False)


def test_maxsize_is_never_passed():
    q = slipring.Queue(maxsize=5)

    def put():
        for i in range(1000):
            q.put(i)

    putters = [in_child(put) for _ in range(3)]
    for i in range(3000):
        assert q.qsize() <= 5
        q.get(timeout=10)
    for pid in putters:
        ends_well(pid)


@pytest.mark.parametrize("size", [100_000, 131_072, 400_000, 5_000_000])
def test_larger_than_a_lane(size):
    q, back = slipring.Queue(), slipring.Queue()
    data = os.urandom(size)

    def echo():
        back.put(q.get(timeout=10))
        back.close()
        back.join_thread()

    for _ in range(3):
        pid = in_child(echo)
        q.put(data)
        assert back.get(timeout=10) == data
        ends_well(pid)  # not before: a putter stays until what it put is taken whole
    simple = slipring.SimpleQueue()
    pid = in_child(simple.put, data)
    assert simple.get() == data
    ends_well(pid)


def test_wait_on_reader():
    q = slipring.Queue()
    q.put(0)  # before anybody asks
    assert connection.wait([q._reader], timeout=5) == [q._reader]
    assert q.get() == 0
    for i in range(5):
        assert connection.wait([q._reader], timeout=0) == [] and not q._reader.poll()
        pid = in_child(lambda: (time.sleep(0.01), q.put(i), q.put(i)))
        assert connection.wait([q._reader], timeout=5) == [q._reader]
        assert q._reader.poll() and q._reader.recv() == i
        ends_well(pid)
        assert connection.wait([q._reader], timeout=5) == [q._reader]
        assert pickle.loads(q._reader.recv_bytes()) == i


def test_reader_in_plain_use():
    simple = slipring.SimpleQueue()
    simple._writer.send([1, 2])
    simple._writer.send_bytes(pickle.dumps(3))
    with simple._rlock:
        assert simple._reader.recv() == [1, 2]
    assert simple.get() == 3 and simple.empty()


def test_end_of_file():
    """Who waits learns within the tenth of a second that nobody is left who could put."""
    q = slipring.SimpleQueue()
    q.put("last")

    def get():
        q._writer.close()
        assert q.get() == "last"
        with pytest.raises(EOFError):
            q.get()

    pid = in_child(get)
    q._writer.close()
    ends_well(pid)


def test_ctrl_c_ends_a_wait():
    q = slipring.Queue(maxsize=1)

    class Stop(Exception):
        pass

    def stop(*unused):
        raise Stop

    before = signal.signal(signal.SIGALRM, stop)
    try:
        for wait in (q.get, lambda: q.put_many([1, 2])):
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            with pytest.raises(Stop):
                wait()
    finally:
        signal.signal(signal.SIGALRM, before)


def test_many_at_once():
    q = slipring.Queue()
    assert q.put_many(range(1000)) == 1000
    assert q.get_many(10) == list(range(10))
    assert q.get_many(5000) == list(range(10, 1000))
    with pytest.raises(queue.Empty):
        q.get_many(5, block=False)
    with pytest.raises(ValueError):
        q.get_many(0)


def test_shutdown():
    q = slipring.Queue()

    def get():
        with pytest.raises(slipring.ShutDown):
            q.get()

    getter = in_child(get)  # waits, or comes later
    ends_well(in_child(q.shutdown))
    ends_well(getter)
    with pytest.raises(slipring.ShutDown):
        q.put(1)
    q = slipring.Queue()
    q.put(1)
    q.shutdown()
    assert q.get() == 1
    with pytest.raises(slipring.ShutDown):
        q.get()
    r = slipring.Queue()
    r.put(1)
    r.shutdown(immediate=True)
    with pytest.raises(slipring.ShutDown):
        r.get()


def test_joinable():
    q = slipring.JoinableQueue()
    for i in range(10):
        q.put(i)

    def work():
        for _ in range(10):
            q.get(timeout=5)
            q.task_done()

    pid = in_child(work)
    q.join()
    ends_well(pid)
    with pytest.raises(ValueError, match="too many"):
        q.task_done()


def work(q, r, nested):
    for item in iter(q.get, None):
        r.put((os.getpid() != nested["pid"], item))
    nested["r"][0].put("nested")
    r.put_many(["a", "b"])


@pytest.mark.parametrize("method", METHODS)
def test_start_methods(method):
    context = slipring.get_context(method)
    q, r = context.Queue(), context.Queue(5)
    child = context.Process(target=work, args=(q, r, {"pid": os.getpid(), "r": [r]}))
    child.start()
    for i in range(100):
        q.put(i)
    q.put(None)
    assert [r.get(timeout=30) for _ in range(100)] == [(True, i) for i in range(100)]
    assert [r.get(timeout=30) for _ in range(3)] == ["nested", "a", "b"]
    child.join()
    assert child.exitcode == 0
    with pytest.raises(ValueError):
        slipring.get_context("thread")


def descriptors():
    return len(os.listdir("/proc/self/fd"))


def leave_nothing():
    gc.collect()
    before = descriptors()
    for _ in range(20):
        q = slipring.Queue()
        q.put(b"x" * 100_000)
        q.get()
        q.close()
        q.join_thread()
        simple = slipring.SimpleQueue()
        simple.put(1)
        simple.get()
        del q, simple
    gc.collect()
    assert descriptors() == before


def test_nothing_is_left():
    ends_well(in_child(leave_nothing))  # where no feeder of another test is about to end


def test_threads_get_and_put_at_once():
    """One object, used by several threads of one process: each item comes once."""
    q = slipring.Queue()
    got = []

    def get():
        while (item := q.get(timeout=30)) is not None:
            got.append(item[0])

    def put(first):
        for i in range(first, first + 100):
            q.put((i, bytes(1000 * (i % 300))))
            if i % 10 == 0:
                time.sleep(0.001)  # the getters wait

    getters = [threading.Thread(target=get) for _ in range(3)]
    putters = [threading.Thread(target=put, args=(100 * i,)) for i in range(3)]
    for thread in getters + putters:
        thread.start()
    for thread in putters:
        thread.join()
    for _ in getters:
        q.put(None)
    for thread in getters:
        thread.join()
    assert sorted(got) == list(range(300))
