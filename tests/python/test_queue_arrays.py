# SPDX-License-Identifier: Apache-2.0
"""Proves that arrays go through a queue beside the pickle: writable, whole, as long as they are kept,
their memory used again when the last of them dies, or its keeper."""
import os
import signal

import numpy as np
import pytest
import slipring
from test_queue import ends_well, in_child

SIZES = [0, 1, 100, 1024, 5000, 10_000, 300_000, 5_000_000]


@pytest.mark.parametrize("kind", [slipring.Queue, slipring.SimpleQueue])
def test_sizes(kind):
    q, back = kind(), kind()

    def echo():
        for _ in SIZES:
            name, arrays = q.get()
            arrays["a"] += 1  # writable, and nobody else's
            back.put((name, arrays))
        if kind is slipring.Queue:
            back.close()
            back.join_thread()

    pid = in_child(echo)
    for size in SIZES:
        a = np.arange(size, dtype=np.float32)
        q.put(("name", {"a": a, "b": np.asfortranarray(np.ones((3, size)))}))
        name, arrays = back.get()
        assert name == "name" and (arrays["a"] == a + 1).all() and (arrays["b"] == 1).all()
        assert arrays["b"].shape == (3, size) and arrays["b"].flags.f_contiguous
        assert (a == np.arange(size, dtype=np.float32)).all()
    ends_well(pid)


def numbered(q, count, first=0):
    for i in range(first, first + count):
        q.put(np.full(1 << 18, i, np.float32))
    q.close()
    q.join_thread()


def test_kept_arrays_stay():
    """More than there is memory for in the lane: those that find none are copied; nobody waits."""
    q = slipring.Queue(array_bytes=1 << 24)
    kept = []
    for first in (0, 40):
        pid = in_child(numbered, q, 40, first)
        kept += [q.get(timeout=10) for _ in range(40)]
        ends_well(pid)
    assert all((a == i).all() for i, a in enumerate(kept))


def addresses(q, count):
    found = set()
    for i in range(count):
        q.put(np.full(1 << 18, i, np.float32))
        a = q.get(timeout=10)
        assert (a == i).all()
        found.add(a.__array_interface__["data"][0])
        del a
    return found


def test_memory_is_used_again():
    q = slipring.Queue()
    assert len(addresses(q, 50)) == 1
    slice_ = None
    q.put(np.zeros(1 << 18, np.float32))
    slice_ = q.get(timeout=10)[5:7]  # keeps all of it
    assert slice_.__array_interface__["data"][0] not in addresses(q, 50)
    assert (slice_ == 0).all()


def test_forked_child_does_not_return_its_parents():
    q = slipring.Queue()
    q.put(np.full(1 << 18, 7, np.float32))
    kept = [q.get(timeout=10)]
    ends_well(in_child(kept.clear))
    assert kept[0].__array_interface__["data"][0] not in addresses(q, 20)
    assert (kept[0] == 7).all()


def test_dead_keeper_gives_back():
    q = slipring.Queue(array_bytes=10 << 20)  # eight arrays
    kept_all = slipring.SimpleQueue()

    def keep():
        kept = [q.get() for _ in range(8)]
        kept_all.put(len(kept))
        signal.pause()

    pid = in_child(keep)
    for i in range(8):
        q.put(np.full(1 << 18, i, np.float32))
    assert kept_all.get() == 8
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert len(addresses(q, 20)) == 1
    assert not q._feeding  # none had to go in parts


def test_array_outlives_its_queue():
    q = slipring.Queue()
    q.put(np.full(1 << 18, 3, np.float32))
    a = q.get(timeout=10)
    q.close()
    q.join_thread()
    del q
    assert (a == 3).all()
