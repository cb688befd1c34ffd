# SPDX-License-Identifier: Apache-2.0
"""Proves that a ring made from Python carries arrays in place: created, attached by name, written
by a producer and read by consumers of every kind, with its errors as exceptions."""
import os

import numpy as np
import pytest
import slipring

SCHEMA = {"image": ("float32", (8, 8)), "label": ("int64", ())}


def pair(**options):
    ring = slipring.Ring.create(**options)
    return ring, ring.producer(), ring.consumer()


def test_fields():
    ring, producer, consumer = pair(schema=SCHEMA, slots=4)
    assert ring.schema == SCHEMA and ring.name is None
    with producer.claim() as loan:
        loan["image"][...] = 3
        loan["label"] = 7
        loan.tag = 5
    with consumer.acquire(timeout=5) as view:
        assert (view["image"] == 3).all() and view["label"] == 7
        assert (view.tag, view.sequence, view.slots, view.missed) == (5, 0, 1, 0)
        assert not view["image"].flags.writeable
        with pytest.raises(KeyError):
            view["other"]
        with pytest.raises(TypeError, match="2 fields"):
            view.array


def test_blocks_wrap():
    ring, producer, consumer = pair(schema=("uint16", (4096,)), slots=4)
    sent = 0
    for size in (3, 3, 4, 1, 2):
        with producer.claim(size) as loan:
            assert loan.array.shape == (size, 4096)[size == 1:]
            loan.array[...] = np.arange(sent, sent + size)[:, None]
        view = consumer.acquire(size, timeout=5)
        assert view.slots == size
        block = view.array.reshape(size, 4096)
        assert (block == np.arange(sent, sent + size, dtype="u2")[:, None]).all()
        assert block.flags.c_contiguous
        sent += size
        del block, view
    assert ring.info().cursor == sent


def test_exceptions_and_the_end():
    ring, producer, consumer = pair(slot_bytes=256, slots=2)
    with pytest.raises(TimeoutError):
        consumer.acquire(timeout=0)
    with pytest.raises(TimeoutError):
        consumer.acquire(timeout=0.01)
    assert consumer.try_acquire() is None
    with pytest.raises(slipring.Busy, match=str(os.getpid())):
        ring.producer()
    with pytest.raises(RuntimeError), producer.claim() as loan:
        raise RuntimeError
    with pytest.raises(ValueError):
        loan.publish()
    with pytest.raises(slipring.Invalid):
        producer.claim(1 << 20)
    producer.send(b"abc", tag=1)
    producer.close()
    assert [bytes(view.buffer) for view in consumer] == [b"abc"]
    with pytest.raises(slipring.Closed):
        consumer.acquire()


def test_names():
    with slipring.Ring.create("", schema=("float64", (3,)), slots=2) as ring:
        name = ring.name
        with pytest.raises(FileExistsError, match=name):
            slipring.Ring.create(name, slot_bytes=8)
        with slipring.Ring.attach(name) as other:
            assert other.schema == {"data": ("float64", (3,))}
        ring.unlink()
    with pytest.raises(slipring.NotFound):
        slipring.Ring.attach(name)


def test_release():
    ring, producer, consumer = pair(schema=("int32", (1024,)), slots=2)
    producer.send(np.arange(1024, dtype="i4"))
    view = consumer.acquire()
    part = view.array[10:20]
    with pytest.raises(BufferError):
        view.release()
    assert ring.members()[0].released == 0
    del view
    assert ring.members()[0].released == 0 and list(part) == list(range(10, 20))
    del part
    assert ring.members()[0].released == 1


@pytest.mark.parametrize("call, text", [
    (lambda ring: slipring.Ring.create(slot_bytes=8, slots=-1), "create: -1 slots; a power"),
    (lambda ring: slipring.Ring.create(slot_bytes=8, slots=0), "create: 0 slots; a power of two"),
    (lambda ring: slipring.Ring.create(slot_bytes=8, slots=1), "create: 1 slots; a power of two"),
    (lambda ring: slipring.Ring.create(slot_bytes=8, slots=2 ** 70), "slots; a power of two from 2"),
    (lambda ring: slipring.Ring.create(slot_bytes=8, slots=3), "power of two"),
    (lambda ring: slipring.Ring.create(slot_bytes=8, members_max=-2), "-2: members_max"),
    (lambda ring: slipring.Ring.create(slot_bytes=8, hold_max=1 << 33), "hold_max"),
    (lambda ring: slipring.Ring.create(slot_bytes=8, hold_max=1 << 70), "hold_max"),
    (lambda ring: slipring.Ring.create(slot_bytes=8, full="drop"),
     'full="drop"; one of "block", "overwrite"'),
    (lambda ring: slipring.Ring.create(slot_bytes=8, geometry="flat"),
     'one of "auto", "compact", "pair", "tensor"'),
    (lambda ring: ring.producer().claim(2 ** 70), "slots; at most the ring's"),
    (lambda ring: ring.producer().claim(0), "claim: 0 slots; 1 or more"),
    (lambda ring: ring.producer().claim(-5), "claim: -5 slots"),
    (lambda ring: ring.consumer().acquire(0), "acquire: 0 slots"),
    (lambda ring: ring.consumer().try_acquire(n=-1), "try_acquire: -1 slots"),
])
def test_numbers_that_cannot_be(call, text):
    with pytest.raises(ValueError, match=text):
        call(slipring.Ring.create(slot_bytes=256, slots=4))


@pytest.mark.parametrize("call", [
    lambda ring: slipring.Ring.create(slot_bytes=2 ** 70),
    lambda ring: slipring.Ring.create(slot_bytes=8, start_sequence=2 ** 70),
    lambda ring: ring.producer().send(b"a", tag=2 ** 70),
    lambda ring: ring.producer().send(b"a", tag=-1),
])
def test_numbers_too_large(call):
    with pytest.raises(OverflowError, match=r"0 to 2\*\*64 - 1"):
        call(slipring.Ring.create(slot_bytes=256, slots=4))


def test_numpy_integers():
    ring, producer, consumer = pair(slot_bytes=np.int64(256), slots=np.int32(32))
    producer.send(b"a", tag=np.uint16(7))
    assert ring.info().slots == 32 and consumer.acquire(np.int64(1)).tag == 7


def test_compact():
    """No headers: what needs one is refused before it waits, with the cure, which works."""
    ring, producer, consumer = pair(schema=("float32", (3,)))
    assert 'geometry="compact"' in repr(ring)
    texts = []
    with pytest.raises(slipring.Invalid) as caught:
        producer.send(np.zeros(3), tag=5)
    texts.append(str(caught.value).partition(": ")[2])
    loan = producer.claim()
    loan.tag = 5
    with pytest.raises(slipring.Invalid) as caught:
        loan.publish()
    loan.abort()
    texts.append(str(caught.value).partition(": ")[2])
    assert texts[0] == texts[1] and 'geometry="pair"' in texts[0]
    with pytest.raises(slipring.Invalid, match="no headers"):
        slipring.Ring.create(slot_bytes=32).producer().send(b"short")
    with pytest.raises(slipring.Invalid, match='33 bytes.*geometry="tensor"'):
        slipring.Ring.create(slot_bytes=32).producer().send(bytes(33))
    ring, producer, consumer = pair(schema=("float32", (3,)), geometry="pair")
    producer.send(np.zeros(3), tag=5)
    assert 'geometry="pair"' in repr(ring) and consumer.acquire(timeout=5).tag == 5


@pytest.mark.parametrize("call, text", [
    (lambda: slipring.Ring.create(slot_bytes=8, geometry="compact", checksum=True),
     'ask for geometry="pair" or geometry="tensor" '),
    (lambda: slipring.Ring.create(slot_bytes=99, geometry="compact"), 'geometry="pair" .up to 192'),
    (lambda: slipring.Ring.create(slot_bytes=8).consumer(verify=True),
     "verify=True needs .* create it with checksum=True "),
    (lambda: slipring.Ring.create(slot_bytes=8).consumer(many=True), "many=True needs a group"),
])
def test_words_are_keywords(call, text):
    """Where the core speaks of its constants."""
    with pytest.raises(slipring.Invalid, match=text) as caught:
        call()
    assert "SLIPRING_" not in str(caught.value)


def test_full_and_wrong():
    """A value that does not go in is refused at once where there is room and where there is none."""
    ring, producer, consumer = pair(schema=SCHEMA, slots=4)
    good = {"image": np.zeros((8, 8)), "label": 1}

    def refused():
        for wrong in (np.zeros((8, 9)), np.zeros((2, 8, 8)), [[1, 2], [3, 4]]):
            with pytest.raises(ValueError, match=r"field 'image' of shape \(8, 8\) takes no value"):
                producer.send({**good, "image": wrong}, timeout=30)
        with pytest.raises(KeyError, match="no field 'picture': the ring has .'image', 'label'."):
            producer.send({"picture": 1, "label": 1}, timeout=30)
        with pytest.raises(slipring.Invalid, match="1 values for 2 fields"):
            producer.send({"label": 1}, timeout=30)

    refused()
    for _ in range(ring.info().slots):
        producer.send(good, timeout=0)
    refused()
    with pytest.raises(TimeoutError, match="a consumer in this process has not released"):
        producer.claim(timeout=0)
    with pytest.raises(TimeoutError, match="a consumer in this process has not released"):
        producer.send({"image": np.zeros((1, 1, 8)), "label": 1}, timeout=0)
    consumer.acquire().release()
    producer.send({"image": np.zeros((1, 1, 8)), "label": 1}, timeout=30)
