# SPDX-License-Identifier: Apache-2.0
"""Proves, on the stand-in of the CUDA driver, that with pin_memory the loader's batches lie in
page-locked slots without a thread that copies them there, that a slot is not written again before
the copies of its batch have run; and that prefetch_to gives the same batches on the device, the next
one under way while one is used, and goes on from a state as without it."""
import multiprocessing
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections import namedtuple

import numpy as np
import pytest
import slipring.gpu
import slipring.torch
import torch

import standin
import standin_torch

pytestmark = pytest.mark.filterwarnings("ignore:'pin_memory' argument")
Pair = namedtuple("Pair", "a b")


@pytest.fixture(scope="module", autouse=True)
def driver():
    return standin.Driver()


@pytest.fixture(autouse=True)
def said(capsys):
    standin.say(capsys)


@pytest.fixture
def on_torch(driver, monkeypatch):
    return standin_torch.TorchOnDevice(driver, monkeypatch)


class Images(torch.utils.data.Dataset):
    def __init__(self, count=96, shape=(3, 64, 64)):
        self.count, self.shape = count, shape

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return torch.full(self.shape, float(index)), index


class Mixed(Images):
    def __getitem__(self, index):
        return {"image": torch.full(self.shape, index, dtype=torch.uint8), "name": f"n{index}",
                "pair": Pair(torch.tensor(index % 2 == 0), [torch.zeros(0), float(index)]),
                "half": torch.full((5,), index, dtype=torch.bfloat16)}


class Stream(torch.utils.data.IterableDataset):
    def __iter__(self):
        return iter(torch.arange(20_000.0).split(500))


def numbers_and_arrays(samples):
    return [torch.stack([image for image, _ in samples]).permute(0, 2, 3, 1),
            np.array([number for _, number in samples]), "text"]


def loader(dataset, **options):
    options.setdefault("num_workers", 2)
    return slipring.torch.DataLoader(dataset, 8, **options)


def test_pinned_slots(driver, on_torch):
    threads, deadline, pinned = threading.active_count(), time.monotonic() + 60, 0
    batches = loader(Images(), pin_memory=True, persistent_workers=True)
    while pinned < 12:  # but those that come before page-locking has ended, in the background
        assert time.monotonic() < deadline
        seen, pinned = [], 0
        for images, numbers in batches:
            assert threads == threading.active_count()
            pinned += driver.is_pinned(images.data_ptr())
            images.add_(1)  # a batch is its taker's to change
            assert (images == numbers.view(-1, 1, 1, 1) + 1).all()
            seen += numbers.tolist()
        assert seen == list(range(96))


def test_a_slot_waits_for_the_copies_of_its_batch(driver, on_torch):
    """Each batch is copied without waiting, on a stream that is late, and dropped at once."""
    arrived = []
    for images, numbers in loader(Images(320), pin_memory=True, num_workers=1):
        address, there = driver.memory(images.nbytes)
        assert driver.to_device(address, images.data_ptr(), images.nbytes,
                                on_torch.now.cuda_stream) == 0
        arrived.append((there.view("f4").reshape(images.shape), numbers.clone()))
        images = None
        if len(arrived) % 4 == 1:
            on_torch.now.hold(True)
        elif len(arrived) % 4 == 0:
            time.sleep(0.02)  # the worker takes what is free
            on_torch.now.hold(False)
    on_torch.now.hold(False)
    on_torch.now.synchronize()
    assert len(arrived) == 40
    for there, numbers in arrived:
        assert (there == numbers.numpy().reshape(-1, 1, 1, 1)).all()


def assert_equal(ours, theirs):
    assert type(ours) is type(theirs) or isinstance(ours, standin_torch.DeviceTensor)
    if isinstance(theirs, torch.Tensor):
        assert isinstance(ours, standin_torch.DeviceTensor) and ours.dtype == theirs.dtype
        assert ours.stride() == theirs.stride() and torch.equal(ours.as_subclass(torch.Tensor), theirs)
    elif isinstance(theirs, np.ndarray):
        assert (ours == theirs).all()
    elif isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        for key in theirs:
            assert_equal(ours[key], theirs[key])
    elif isinstance(theirs, (list, tuple)):
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs):
            assert_equal(one, other)
    else:
        assert ours == theirs


@pytest.mark.parametrize("dataset, options", [
    (Images(), {}),
    (Images(), {"shuffle": True}),
    (Images(shape=(4,)), {}),  # in the message, not in a slot
    (Mixed(), {}),
    (Mixed(shape=(3, 16, 16)), {"num_workers": 1}),
    (Images(), {"collate_fn": numbers_and_arrays}),
    (Stream(), {}),
    (Images(), {"in_order": False, "num_workers": 1}),
    (Images(), {"persistent_workers": True}),
], ids=["images", "shuffled", "small", "mixed", "mixed small", "arrays", "iterable", "any order",
        "persistent"])
def test_prefetch(on_torch, dataset, options):
    device = loader(dataset, prefetch_to="cuda", generator=torch.Generator().manual_seed(3), **options)
    host = loader(dataset, generator=torch.Generator().manual_seed(3), **options)
    for _ in range(2):
        count = 0
        for ours, theirs in zip(device, host, strict=True):
            assert_equal(ours, theirs)
            count += 1
        assert count in (12, 10)


def test_the_next_batch_is_under_way(on_torch):
    batches = iter(loader(Images(1 << 20), prefetch_to="cuda"))
    deadline = time.monotonic() + 60
    while batches.held is None:  # the workers are ahead soon
        assert time.monotonic() < deadline
        before = standin.calls("cuMemcpyHtoDAsync")
        given = next(batches)
        time.sleep(0.01)
    assert standin.calls("cuMemcpyHtoDAsync") > before and given[1].tolist() != next(batches)[1].tolist()


def test_state(on_torch):
    first = loader(Images(), prefetch_to="cuda", shuffle=True)
    seen = []
    for number, (_, numbers) in enumerate(first):
        seen += numbers.tolist()
        time.sleep(0.02)
        if number == 5:
            assert first._iterator is None  # not persistent: the batch ahead dies with the loop
            state = first.state_dict()
            break
    second = loader(Images(), prefetch_to="cuda", shuffle=True)
    second.load_state_dict(state)
    seen += [n for _, numbers in second for n in numbers.tolist()]
    assert sorted(seen) == list(range(96))


class Bad(Images):
    def __getitem__(self, index):
        if index == 20:
            raise KeyError("bad sample")
        return super().__getitem__(index)


def test_errors_come_in_their_turn(on_torch):
    batches = iter(loader(Bad(), prefetch_to="cuda", num_workers=1))
    assert [next(batches)[1].tolist()[0] for _ in range(2)] == [0, 8]
    time.sleep(0.05)
    with pytest.raises(KeyError, match="bad sample"):
        next(batches)
    assert next(batches)[1].tolist()[0] == 24
    with pytest.raises(ValueError, match="num_workers must be 1"):
        loader(Images(), prefetch_to="cuda", num_workers=0)
    with pytest.raises(slipring.Invalid, match="'cpu': it wants a CUDA device, or None"):
        loader(Images(), prefetch_to="cpu")


@pytest.mark.parametrize("built", [True, False])
def test_prefetch_without_a_driver(built):
    """Told when the loader is made; a driver that is there is not started by that."""
    code = f"""
        import slipring.gpu, slipring.torch, torch
        torch.backends.cuda.is_built = lambda: {built}
        try:
            slipring.torch.DataLoader([1], num_workers=1, prefetch_to="cuda")
        except slipring.NoDevice as error:
            print(error)
        print(slipring.gpu.driver() == "no driver opened")
        """
    def said(**environment):
        done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], text=True, timeout=120,
                              capture_output=True, env={**os.environ, **environment})
        assert done.returncode == 0 and done.stderr == "", done.stderr
        return done.stdout
    assert "/nonexistent/libcuda" in said(SLIPRING_CUDA_DRIVER="/nonexistent/libcuda.so.1")
    there = said()
    assert there == "True\n" if built else "is built without CUDA" in there


def test_page_locking_refused(driver, on_torch):
    """The batches come all the same, staged."""
    for options in ({"pin_memory": True}, {"prefetch_to": "cuda"}):
        standin.fail("cuDevicePrimaryCtxRetain", 2)
        with pytest.warns(RuntimeWarning, match="not page-locked"):
            batches = [numbers.tolist() for _, numbers in loader(Images(), num_workers=1, **options)]
        assert sum(batches, []) == list(range(96))


@pytest.mark.parametrize("kind", [slipring.NoDevice, slipring.Forked])
def test_without_a_device(monkeypatch, kind):
    """pin_memory is torch's then."""
    def devices():
        raise kind(19, "none")

    monkeypatch.setattr(slipring.gpu, "devices", devices)
    batches = [numbers.tolist() for _, numbers in loader(Images(), pin_memory=True)]
    assert sum(batches, []) == list(range(96))


def test_workers_are_there_before_the_gpu(monkeypatch):
    """Forked later, they could not use it."""
    alive, before = [], set(multiprocessing.active_children())
    real = slipring.gpu.devices

    def devices():
        alive.append(len(set(multiprocessing.active_children()) - before))
        return real()

    monkeypatch.setattr(slipring.gpu, "devices", devices)
    assert len(list(loader(Images(), pin_memory=True))) == 12 and alive == [2]
