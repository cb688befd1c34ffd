# SPDX-License-Identifier: Apache-2.0
"""Proves that the core's policies work from Python between processes: work sharing with redelivery
and dead letters, eviction, overwriting, holding, newest first, checksums, lasting groups, takeover,
and that a producer killed is named by PeerDied within 100 ms (ten times that allowed)."""
import multiprocessing
import os
import signal
import time

import numpy as np
import pytest
import slipring

FORK = multiprocessing.get_context("fork")


def start(target, *args):
    process = FORK.Process(target=target, args=args, daemon=True)
    process.start()
    return process


def work(ring, results):
    for view in ring.consumer(group="workers", many=True, start="oldest"):
        results.put((int(view.array[0]), view.deliveries, os.getpid()))


def test_work_sharing():
    ring = slipring.Ring.create(schema=("int64", (64,)), slots=16, lasting=[("workers", True)])
    results = FORK.SimpleQueue()
    workers = [start(work, ring, results) for _ in range(3)]
    with ring.producer() as producer:
        for i in range(300):
            producer.send(np.full(64, i))
    got = [results.get() for _ in range(300)]
    for worker in workers:
        worker.join(30)
        assert worker.exitcode == 0
    assert sorted(number for number, _, _ in got) == list(range(300))
    assert {deliveries for _, deliveries, _ in got} == {1}
    assert ring.groups()[0].name == "workers" and ring.groups()[0].lasting


def take_and_die(ring):
    view = ring.consumer(group="workers", many=True, start="oldest").acquire(timeout=30)
    os.kill(os.getpid(), signal.SIGKILL)
    del view


def test_redelivery_and_dead_letters():
    ring = slipring.Ring.create(schema=("int64", (64,)), slots=4,
                                lasting=[("workers", True, "gate")])
    producer = ring.producer()
    producer.send(np.full(64, 42), tag=6)
    for _ in range(2):
        victim = start(take_and_die, ring)
        victim.join(30)
        assert victim.exitcode == -signal.SIGKILL
    consumer = ring.consumer(group="workers", many=True)
    view = consumer.acquire(timeout=10)
    assert view.deliveries == 3 and view.array[0] == 42
    del view
    producer.send(np.full(64, 43), tag=7)
    consumer.close()
    for _ in range(5):
        start(take_and_die, ring).join(30)
    consumer = ring.consumer(group="workers", many=True)
    with pytest.raises(TimeoutError):
        consumer.acquire(timeout=1)
    letter = ring.dead_letters()[0]
    assert (letter.tag, letter.cause, letter.group) == (7, "died", "workers")


def produce_and_die(ring, count, ready):
    producer = ring.producer()
    for i in range(count):
        producer.send(np.full(64, i))
    ready.set()
    time.sleep(600)


def test_peer_died():
    ring = slipring.Ring.create(schema=("int64", (64,)), slots=16)
    consumer, patient = ring.consumer(), ring.consumer(await_producer=True)
    ready = FORK.Event()
    victim = start(produce_and_die, ring, 3, ready)
    assert ready.wait(30) and ring.info().producer_pid == victim.pid
    os.kill(victim.pid, signal.SIGKILL)
    victim.join()
    died = time.monotonic()
    assert [consumer.acquire(timeout=1).array[0] for _ in range(3)] == [0, 1, 2]
    with pytest.raises(slipring.PeerDied, match=str(victim.pid)) as caught:
        consumer.acquire(timeout=30)
    assert time.monotonic() - died < 1
    assert (caught.value.pid, caught.value.role) == (victim.pid, "producer")
    assert isinstance(caught.value, slipring.Error) and isinstance(caught.value, OSError)
    assert [patient.acquire(timeout=1).array[0] for _ in range(3)] == [0, 1, 2]
    with pytest.raises(TimeoutError):
        patient.acquire(timeout=0.2)
    heir = ring.producer()
    heir.send(np.full(64, 3))
    assert consumer.acquire(timeout=5).sequence == 3 and patient.acquire(timeout=5).sequence == 3
    assert ring.info().epoch == 2


def test_detached_producer_is_no_end():
    ring = slipring.Ring.create(slot_bytes=256, slots=4)
    producer, consumer = ring.producer(), ring.consumer()
    producer.detach()
    with pytest.raises(TimeoutError):
        consumer.acquire(timeout=0.05)
    with pytest.raises(RuntimeError), ring.producer() as producer:
        raise RuntimeError
    ring.producer().send(b"x")
    assert consumer.acquire(timeout=5).bytes == 1


def test_eviction():
    ring = slipring.Ring.create(schema=("int64", (64,)), slots=4)
    producer = ring.producer()
    consumer = ring.consumer(slow=("evict", 0.05))
    for i in range(ring.info().slots):
        producer.send(np.full(64, i))
    views = [consumer.acquire(), consumer.acquire()]
    array = views[0].array
    producer.send(np.full(64, 4), timeout=10)
    with pytest.raises(slipring.Evicted):
        views[1].release()
    with pytest.raises(slipring.Evicted):
        consumer.acquire(timeout=5)
    assert array.shape == (64,)  # void, but there
    with pytest.raises(BufferError):
        views[0].release()
    del views, array
    again = ring.consumer(start=2)
    view = again.acquire(timeout=5)
    assert view.sequence + view.missed >= 2 and view.array[0] == view.sequence


def test_overwrite():
    ring = slipring.Ring.create(schema=("int64", (64,)), slots=8, full="overwrite", hold_max=2)
    producer, consumer = ring.producer(), ring.consumer()
    slots = ring.info().slots
    producer.send(np.full(64, 0))
    held = consumer.acquire()
    array = held.array
    for i in range(1, 3 * slots):
        producer.send(np.full(64, i))
    assert (array == 0).all()  # passed over while it is held
    view = consumer.acquire()
    assert view.missed > 0 and (view.array == view.array[0]).all()
    with pytest.raises(slipring.Error, match="hold_max"):
        consumer.acquire()
    del held, array, view
    newest = ring.consumer(newest=True, start="oldest").acquire()
    assert newest.array[0] == 3 * slots - 1
    copied = ring.consumer(start="oldest").copy(timeout=5)
    first = int(copied.array[0])
    for i in range(3 * slots):
        producer.send(np.full(64, 1000))
    assert (copied.array == first).all()
    copied.release()


@pytest.mark.parametrize("slot", [8, 128])
def test_small_overwrite_rings_copy_out(slot):
    ring = slipring.Ring.create(schema=("uint8", (slot,)), slots=16, full="overwrite")
    producer, consumer = ring.producer(), ring.consumer()
    producer.send(np.full(slot, 5, "u1"))
    array = consumer.acquire(timeout=5).array
    for i in range(100):
        producer.send(np.full(slot, i, "u1"))
    assert (array == 5).all()


def test_read_only():
    ring = slipring.Ring.create("", schema=("int64", (64,)), slots=8, full="overwrite", vanish=True)
    producer = ring.producer()
    producer.send(np.full(64, 9))
    reader = slipring.Ring.attach(ring.name, read_only=True)
    with pytest.raises(PermissionError):
        reader.producer()
    view = reader.consumer(start="oldest").acquire(timeout=5)
    assert (view.array == 9).all() and not view.array.flags.writeable
    assert reader.fds()[1] == -1
    with pytest.raises(slipring.Invalid):
        block = slipring.Ring.create("", slot_bytes=256, slots=4, vanish=True)
        slipring.Ring.attach(block.name, read_only=True)


def test_checksum():
    ring = slipring.Ring.create(schema=("int64", (64,)), slots=4, checksum=True)
    producer = ring.producer()
    consumer = ring.consumer(verify=True)
    producer.send(np.full(64, 1))
    loan = producer.claim()
    late = memoryview(loan.buffer)
    loan.array[...] = 2
    loan.publish()
    late[100] = 99  # what nobody may do
    producer.send(np.full(64, 3))
    assert consumer.acquire(timeout=5).array[0] == 1
    with pytest.raises(slipring.Damaged) as caught:
        consumer.acquire(timeout=5)
    assert caught.value.sequence == 1
    assert consumer.acquire(timeout=5).array[0] == 3
    assert consumer.stats()["damaged"] == 1
    with pytest.raises(slipring.Invalid, match="checksum"):
        slipring.Ring.create(slot_bytes=256).consumer(verify=True)


def test_starts_and_newest():
    ring = slipring.Ring.create(schema=("int64", (64,)), slots=16, timestamp=True,
                                start_sequence=2**32 - 4)
    keeper = ring.consumer()
    producer = ring.producer()
    for i in range(8):
        producer.send(np.full(64, i))
    first = 2**32 - 4
    assert ring.consumer(start="oldest").acquire(timeout=5).sequence == first
    assert ring.consumer(start=first + 5).acquire(timeout=5).sequence == first + 5
    latest = ring.consumer()
    assert latest.try_acquire() is None
    newest = ring.consumer(start="oldest", newest=True)
    view = newest.acquire(timeout=5)
    assert view.sequence == first + 7 and view.missed == 7
    assert 0 < slipring.now_ns() - view.timestamp_ns < 60e9
    assert keeper.lag == 8 and keeper.stats()["next"] == first
    for bad in ({"start": "first"}, {"start": 1.5}, {"slow": "evict"}, {"slow": ("evict", 0)},
                {"wait": "nap"}, {"many": True}, {"group": ""}, {"group": "x" * 48}):
        with pytest.raises((ValueError, TypeError)):
            ring.consumer(**bad)


def test_more_ordered_readers_than_release_tables():
    ring = slipring.Ring.create(schema=("int64", (64,)), slots=4, releases_max=2)
    unordered = [ring.consumer(), ring.consumer()]
    with pytest.raises(slipring.Error, match="releases_max"):
        ring.consumer()
    ordered = [ring.consumer(unordered=False) for _ in range(10)]
    ring.producer().send(np.full(64, 1))
    assert all(c.acquire(timeout=5).array[0] == 1 for c in unordered + ordered)
    assert len(ring.members()) == 12
