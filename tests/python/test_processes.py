# SPDX-License-Identifier: Apache-2.0
"""Proves that a ring reaches other processes by every way there is (fork, spawn, forkserver, a queue, a
socket, inherited descriptors, its name), registers nowhere on the way, and leaves nothing behind."""
import gc
import multiprocessing
import os
import pickle
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest
import slipring

METHODS = ["fork", "spawn", "forkserver"]


def double(source, sink):
    with sink.producer() as producer:
        for view in source.consumer(start="oldest"):
            producer.send(view.array * 2)


def make(name=None, **options):
    return slipring.Ring.create(name, schema=("int64", (64,)), slots=8,
                                lasting=() if options.get("vanish") else ["g"], **options)


@pytest.mark.parametrize("method", METHODS)
def test_start_methods(method):
    context = multiprocessing.get_context(method)
    there, back = make(), make()
    gc.collect()  # other tests' rings
    fds = len(os.listdir("/proc/self/fd"))
    child = context.Process(target=double, args=(there, back), daemon=True)
    consumer = back.consumer()
    child.start()
    with there.producer() as producer:
        for i in range(8):
            producer.send(np.full(64, i))
    assert [int(view.array[0]) for view in consumer] == [2 * i for i in range(8)]
    child.join(60)
    assert child.exitcode == 0
    child.close()
    del consumer, producer
    # Of multiprocessing's own there may stay its tracker's pipe, and the connection to its server.
    own = {"fork": 0, "spawn": 1, "forkserver": 3}[method]
    assert fds <= len(os.listdir("/proc/self/fd")) <= fds + own


def from_queue(queue):
    ring = queue.get()
    ring.producer().send(np.full(64, 77))


def test_through_a_queue():
    context = multiprocessing.get_context("spawn")
    queue, ring = context.Queue(), make()
    consumer = ring.consumer()
    child = context.Process(target=from_queue, args=(queue,), daemon=True)
    child.start()
    queue.put(ring)
    assert consumer.acquire(timeout=60).array[0] == 77
    child.join(60)
    assert child.exitcode == 0


def test_pickled_name():
    with make("", vanish=True) as ring:
        again = pickle.loads(pickle.dumps(ring))
        assert again.name == ring.name and again.schema == ring.schema
        name = ring.name
        del again
    with pytest.raises(slipring.NotFound):
        slipring.Ring.attach(name)


def test_socket():
    ring = make()
    here, there = socket.socketpair()
    with here, there:
        ring.send(here)
        other = slipring.Ring.receive(there)
        ring.producer().send(np.full(64, 5))
        assert other.consumer(start="oldest").acquire(timeout=5).array[0] == 5
        here.close()
        with pytest.raises(slipring.Error):
            slipring.Ring.receive(there)
    stream = slipring.Ring.create(slot_bytes=256, slots=4, full="overwrite")
    here, there = socket.socketpair()
    with here, there:
        stream.send(here, read_only=True)
        reader = slipring.Ring.receive(there)
        with pytest.raises(slipring.Denied):
            reader.producer()
        stream.producer().send(b"copied out, since it may not be held")
        assert bytes(reader.consumer(start="oldest").acquire(timeout=5).buffer).startswith(b"copied")


def test_descriptors_over_exec():
    ring = make()
    consumer = ring.consumer()
    done = subprocess.run([sys.executable, "-c", f"""
import slipring
ring = slipring.Ring.from_fds({ring.fds()[0]}, {ring.fds()[1]})
ring.producer().send([3] * 64)
"""], pass_fds=ring.fds(), timeout=60)
    assert done.returncode == 0
    assert consumer.acquire(timeout=5).array[0] == 3
    with pytest.raises(slipring.Error):
        slipring.Ring.from_fds(0, 0)


def test_nobody_tracks_it():
    """A process that attaches and exits removes nothing, and starts no resource tracker."""
    with make("", vanish=True) as ring:
        done = subprocess.run([sys.executable, "-c", f"""
import sys, slipring
ring = slipring.Ring.attach({ring.name!r})
ring.producer().send([4] * 64)
assert "multiprocessing.resource_tracker" not in sys.modules
"""], timeout=60)
        assert done.returncode == 0
        assert ring.consumer(start="oldest").acquire(timeout=5).array[0] == 4
        assert slipring.Ring.attach(ring.name)


@pytest.mark.parametrize("ending, code", [("pass", 0), ("os._exit(0)", 0), ("os.abort()", -6),
                                          ("os.kill(os.getpid(), 9)", -9), ("raise SystemExit(3)", 3)])
def test_nothing_is_left(ending, code):
    """What an anonymous ring has open and mapped has no name, so that nothing can be left of it."""
    done = subprocess.run([sys.executable, "-c", f"""
import os, slipring
ring = slipring.Ring.create(schema=("int64", (64,)), slots=8)
producer, consumer = ring.producer(), ring.consumer()
producer.send([1] * 64)
view = consumer.acquire()
array, loan = view.array, producer.claim()
fds = [os.readlink(f"/proc/self/fd/{{fd}}") for fd in ring.fds()]
maps = [line.split(None, 5)[-1] for line in open("/proc/self/maps") if "slipring" in line]
assert all(path.startswith("/memfd:") for path in fds), fds
assert not [path for path in maps if path.startswith("/dev/shm")], maps
{ending}
"""], timeout=60, stderr=subprocess.DEVNULL)
    assert done.returncode == code


def hold(ring, ready):
    view = ring.consumer(start="oldest").acquire(timeout=30)
    ready.set()
    signal.pause()
    del view


def test_killed_reader_holds_nobody_up():
    context = multiprocessing.get_context("fork")
    ring, ready = make(), context.Event()
    producer = ring.producer()
    ring.consumer(group="g").close()
    child = context.Process(target=hold, args=(ring, ready), daemon=True)
    producer.send(np.full(64, 1))
    child.start()
    assert ready.wait(30)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    reader = ring.consumer(group="g")
    for i in range(40):
        producer.send(np.full(64, i), timeout=10)
        assert reader.acquire(timeout=10).slots == 1
