# SPDX-License-Identifier: Apache-2.0
"""Proves that batches lie in slots of shared memory, are the taker's to change, stay valid as long
as one of their tensors lives, and that no number of kept batches stops the loader."""
import gc
import math
import pickle
import threading

import loader_data as data
import numpy as np
import pytest
import slipring.torch
import torch
from slipring._slipring import _tensor
from slipring.torch import batch, peer, slots, worker

Ours = slipring.torch.DataLoader
LARGE = (3, 64, 64)  # of batches of 4: more than travels in a message


def mapped(tensor):
    """The file that a tensor's memory is mapped from, or an empty string."""
    with open("/proc/self/maps") as maps:
        for line in maps:
            parts = line.split()
            first, last = (int(part, 16) for part in parts[0].split("-"))
            if first <= tensor.data_ptr() < last:
                return " ".join(parts[5:])
    raise AssertionError("an address that is not mapped")


def is_slot(tensor):
    return "memfd:" in mapped(tensor)


def test_batches_lie_in_slots_and_slots_come_round():
    seen, inside = [], 0
    for image, label in Ours(data.Images(shape=LARGE), 4, num_workers=1):
        inside += is_slot(image) and is_slot(label)
        assert image.data_ptr() % 256 == 0
        seen.append(image.data_ptr())
    assert inside == 10
    assert len(set(seen)) <= 4, "memory was not used again"


def test_small_batches_travel_in_messages():
    image, label = next(iter(Ours(data.Images(shape=(4,)), 4, num_workers=1)))
    assert not is_slot(image) and image.tolist() == [[i] * 4 for i in range(4)]


def test_a_batch_is_the_takers_to_change():
    for number, (image, label) in enumerate(Ours(data.Images(shape=LARGE), 4, num_workers=1)):
        assert image[3, 0, 0, 0] == 4 * number + 3
        image.mul_(2).add_(1)
        label[...] = 7
        image.numpy()[...] += 1
        assert image[3].unique().tolist() == [2 * (4 * number + 3) + 2]


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("persistent", [False, True])
def test_keeping_everything(workers, persistent):
    loader = Ours(data.Images(200, LARGE), 4, num_workers=workers, persistent_workers=persistent)
    first, second = list(loader), list(loader)
    for kept in (first, second):
        for number, (image, label) in enumerate(kept):
            for row in range(4):
                assert image[row].unique().tolist() == [4.0 * number + row]
    assert sum(is_slot(image) for image, _ in first) >= 4, "all were copied"


def test_keeping_some_then_letting_go():
    """A kept batch holds one ring back; with it gone the first ring is used again."""
    loader = Ours(data.Images(400, LARGE), 4, num_workers=1)
    iterator = iter(loader)
    used = set()
    kept = []
    for number in range(100):
        image, _ = next(iterator)
        assert image[1].unique().tolist() == [4.0 * number + 1]
        if number < 60 and number % 5 == 0:
            kept.append((number, image[1]))
        if number == 70:
            for kept_number, row in kept:
                assert row.unique().tolist() == [4.0 * kept_number + 1]
            kept = []
        if number > 85:
            used.add(image.data_ptr() if is_slot(image) else 0)
    assert 0 not in used and len(used) <= 4


def test_a_slice_keeps_its_slot_and_the_last_releases_it():
    loader = Ours(data.Images(200, LARGE), 4, num_workers=1)
    iterator = iter(loader)
    row = next(iterator)[0][2, 1]
    as_array = next(iterator)[0].numpy()[3]
    for _ in iterator:
        pass
    del iterator, loader
    gc.collect()
    assert row.unique().tolist() == [2.0] and np.unique(as_array).tolist() == [7.0]


def test_batches_outlive_the_loader_and_die_in_any_thread():
    loader = Ours(data.Images(24, LARGE), 4, num_workers=2)
    kept = list(loader)
    del loader
    gc.collect()

    def drop():
        while kept:
            image, label = kept.pop()
            assert image[3, 0, 0, 0] % 4 == 3

    threads = [threading.Thread(target=drop) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not kept


def test_getitem_into_writes_in_place():
    batches = list(Ours(data.Into(40, LARGE), 4, num_workers=2))
    marked = [bool((image[:, 0, 0, 0] == -1).all()) for image, _ in batches]
    assert marked == [False, False] + [True] * 8  # each worker's first is fetched by __getitem__
    for number, (image, label) in enumerate(batches):
        assert image[3, 2, 5, 5] == 4 * number + 3
        assert label.tolist() == [(4 * number + row) % 10 for row in range(4)]
        assert label.dtype == torch.int64 and type(batches[number]) is list
    for workers in (0, 1):  # not without workers, and not where collate_fn is another
        loader = Ours(data.Into(8, LARGE), 4, num_workers=workers, collate_fn=data.through_default)
        assert all((batch[3] != -1).all() for batch in loader)


def test_getitem_into_of_every_structure():
    data.same(list(Ours(data.IntoMixed(), 5, num_workers=1)), list(Ours(data.IntoMixed(), 5)))


def test_what_user_code_keeps_is_not_written_again():
    """A collate function that keeps a batch, while its slot goes round."""
    loader = Ours(data.Images(80, LARGE), 4, num_workers=1, collate_fn=data.Remember())
    for number, (image, first) in enumerate(loader):
        assert image[1].unique().tolist() == [4.0 * number + 1]
        assert first[1].unique().tolist() == [1 if number == 0 else 5]


def test_a_batch_is_sent_as_structure_once():
    """The structure goes along only when it changes."""
    loader = Ours(data.Images(40, LARGE), 4, num_workers=1)
    built = []
    original = peer.builder
    peer.builder = lambda structure, of: built.append(structure) or original(structure, of)
    try:
        assert len(list(loader)) == 10
    finally:
        peer.builder = original
    assert len(built) <= 2


def test_header_and_message_fit():
    assert slots.HEADER.size <= slots.PAYLOAD
    assert slots.PAYLOAD + slots.INLINE < slots.MESSAGE
    assert len(worker.TASK.pack(0, 0) + pickle.dumps([None] * 64)) < peer.TASK_MOST


@pytest.mark.parametrize("dtype", [*batch.DLPACK, torch.bool])
def test_a_tensor_is_what_its_layout_says(dtype):
    memory = bytearray(4096)
    flat = torch.frombuffer(memory, dtype=dtype, offset=256)
    for shape, strides in (((), None), ((7,), None), ((2, 3, 4), None), ((2, 1, 4), (4, 4, 1)),
                           ((2, 3, 4), (1, 8, 2)), ((1,) * 9 + (2,), None)):
        items = math.prod(shape)
        made = batch.maker((batch.TENSOR, dtype, shape, strides, 256, items))(memory)
        wanted = flat[:items].view(shape) if strides is None else flat.as_strided(shape, strides)
        assert (made.dtype, made.shape, made.stride()) == (dtype, shape, wanted.stride())
        assert made.data_ptr() == wanted.data_ptr()


@pytest.mark.parametrize("offset, bits, shape, strides", [
    (61, 32, (1,), (1,)), (65, 8, (1,), (1,)), (0, 32, (17,), (1,)), (0, 32, (2, 2), (15, 1)),
    (0, 8, (2**62, 2**62), (2**62, 1)), (0, 8, (2,), (-1,)), (0, 8, (0,), (1,)), (0, 8, (-1,), (1,)),
    (0, 0, (1,), (1,)), (0, 256, (1,), (1,)), (0, 8, (1,) * 9, (1,) * 9), (0, 8, (1, 1), (1,)),
    (0, 8, [1], (1,)), (-1, 8, (1,), (1,)), (0, 8, (2**70,), (1,)), (0, "8", (1,), (1,)),
])
def test_a_tensor_lies_in_its_buffer(offset, bits, shape, strides):
    assert torch.from_dlpack(_tensor(bytearray(64), 60, 2, 32, (1,), (1,))).tolist() == [0]
    with pytest.raises((ValueError, TypeError, OverflowError)):
        _tensor(bytearray(64), offset, 2, bits, shape, strides)
    with pytest.raises(BufferError):
        _tensor(bytes(64), 0, 2, 32, (1,), (1,))


def test_a_tensor_keeps_its_buffer():
    memory = bytearray(64)
    capsule = _tensor(memory, 0, 2, 32, (4,), (1,))
    with pytest.raises(BufferError):
        memory.clear()
    tensor = torch.from_dlpack(capsule)
    capsule = None
    with pytest.raises(BufferError):
        memory.clear()
    tensor = None
    memory.clear()
    memory = bytearray(64)
    capsule = _tensor(memory, 0, 2, 32, (4,), (1,))
    capsule = None  # that nobody took
    memory.clear()
