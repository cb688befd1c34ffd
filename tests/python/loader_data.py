# SPDX-License-Identifier: Apache-2.0
"""Datasets for the tests of the DataLoader, at the top of a module so that spawned workers find
them, and the comparison of batches."""
import collections
import os
import random
import signal
import time

import numpy as np
import slipring.torch
import torch
from torch.utils.data import Dataset, IterableDataset, get_worker_info

Point = collections.namedtuple("Point", "x y")
CLASSES = 10


class Images(Dataset):
    """Sample i is an image whose every element is i, and its label."""

    def __init__(self, count=40, shape=(3, 16, 16)):
        self.count, self.shape = count, shape

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        return torch.full(self.shape, float(i)), i % CLASSES


class Mixed(Images):
    """All that torch's default collate knows."""

    def __getitem__(self, i):
        return {
            "image": torch.full(self.shape, i, dtype=torch.uint8),
            "array": np.full((5,), i, dtype=np.int16),
            "scalar": np.float32(i),
            "number": float(i),
            "name": f"sample {i}",
            "raw": bytes([i]),
            "point": Point(i, torch.tensor([i, i])),
            "nested": [(torch.tensor(i), torch.ones(2, dtype=torch.bool)), {"deep": i}],
        }


class Half(Images):
    def __getitem__(self, i):
        return torch.full(self.shape, i, dtype=torch.bfloat16)


class Pid(Images):
    def __getitem__(self, i):
        return torch.tensor([i, os.getpid()])


class Seeds(Images):
    """What a worker draws, and its seed."""

    def __getitem__(self, i):
        info = get_worker_info()
        assert info is None or info.dataset is self
        seed = (info.id, info.num_workers, info.seed) if info else (0, 0, 0)
        ours = torch.randint(1 << 30, ()).item()
        drawn = ours, random.getrandbits(30), np.random.randint(1 << 30)
        return torch.tensor([i, *seed, *drawn])


class Growing(Images):
    """Samples that differ in size from batch to batch."""

    def __getitem__(self, i):
        return torch.full((1 + 3000 * (i % 7), 3), float(i))


class Failing(Images):
    def __init__(self, at, error=ValueError, **options):
        super().__init__(**options)
        self.at, self.error = at, error

    def __getitem__(self, i):
        if i == self.at:
            raise self.error(f"sample {i} is bad")
        return super().__getitem__(i)


class Killing(Images):
    """Kills its worker before a sample, as often as there is a file to remove."""

    def __init__(self, at, folder, **options):
        super().__init__(**options)
        self.at, self.folder = at, folder

    def __getitem__(self, i):
        if i == self.at and get_worker_info() is not None:
            for name in os.listdir(self.folder):
                os.unlink(os.path.join(self.folder, name))
                os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(i)


class Slow(Images):
    def __init__(self, seconds, **options):
        super().__init__(**options)
        self.seconds = seconds

    def __getitem__(self, i):
        time.sleep(self.seconds)
        return super().__getitem__(i)


class Waiting(Images):
    """In workers, of which none gives a sample before there is such a file."""

    def __init__(self, path, **options):
        super().__init__(**options)
        self.path = path

    def __getitem__(self, i):
        while get_worker_info() is not None and not os.path.exists(self.path):
            time.sleep(0.01)
        return super().__getitem__(i)


class SlowFirst(Images):
    """Only the first sample is slow."""

    def __init__(self, count, seconds):
        super().__init__(count)
        self.seconds = seconds

    def __getitem__(self, i):
        if i == 0:
            time.sleep(self.seconds)
        return torch.tensor([i])


class Into(Images):
    """Writes samples in place."""

    calls = 0

    def getitem_into(self, i, out):
        image, label = out
        image.fill_(i)
        label.fill_(i % CLASSES)
        image.view(-1)[0] = -1  # to tell from what __getitem__ gives


class IntoMixed(Images):
    """Every kind of leaf that getitem_into can write, in every kind of container."""

    def __getitem__(self, i):
        return {
            "array": np.full((50, 40), i, dtype=np.int16),
            "point": Point(torch.full((40, 50), float(i)), float(i)),
            "list": [i, np.float32(i), bool(i % 2)],
        }

    def getitem_into(self, i, out):
        assert type(out) is dict and type(out["point"]) is Point and type(out["list"]) is list
        assert type(out["array"]) is np.ndarray and out["array"].shape == (50, 40)
        out["array"][...] = i
        out["point"].x.fill_(i)
        out["point"].y.fill_(i)
        for leaf, value in zip(out["list"], (i, i, i % 2)):
            leaf[...] = value


class Remember:
    """A collate function that keeps what it made first."""

    def __init__(self):
        self.first = None

    def __call__(self, samples):
        images, _ = torch.utils.data.default_collate(samples)
        if self.first is None and images[0, 0, 0, 0] == 4:  # the second: it lies in a slot
            self.first = images
        return images, images.clone() if self.first is None else self.first.clone()


class CannotUnpickle:
    def __reduce__(self):
        return int, ("no number",)


class Stream(IterableDataset):
    """Shares 0 to count - 1 out to the workers; worker w ends after its share."""

    def __init__(self, count=50, length=None):
        self.count, self.length = count, length

    def __len__(self):
        if self.length is None:
            raise TypeError
        return self.length

    def __iter__(self):
        info = get_worker_info()
        first, step = (info.id, info.num_workers) if info else (0, 1)
        for i in range(first, self.count, step):
            if i % step == 1 and i > self.count // 2:
                return  # the shares differ in length
            yield torch.tensor([i, i])


class Counting(Stream):
    """An iterable dataset that says where it stands."""

    def __init__(self, count=60):
        super().__init__(count)
        self.at = 0
        self.read = 0

    def __iter__(self):
        info = get_worker_info()
        first, step = (info.id, info.num_workers) if info else (0, 1)
        while first + self.at * step < self.count:
            self.at += 1
            self.read += 1
            yield torch.tensor([first + (self.at - 1) * step, self.read])
        self.at = 0

    def state_dict(self):
        return {"at": self.at}

    def load_state_dict(self, state):
        self.at = state["at"]


def pad(samples):
    """A collate function that makes what default_collate does not."""
    images = torch.stack([image for image, _ in samples])
    return {"images": images.permute(0, 2, 3, 1), "labels": tuple(l for _, l in samples), "n": None}


def through_default(samples):
    images, labels = torch.utils.data.default_collate(samples)
    return images / 2, images[:, :1], labels, images


def dense(tensor):
    """Its elements fill a block of memory, in whatever order."""
    return torch.empty_like(tensor).stride() == tensor.stride()


def same(a, b):
    """a and b are equal in structure, types and values."""
    assert type(a) is type(b), (type(a), type(b))
    if isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype and a.shape == b.shape
        assert a.stride() == b.stride() or not dense(b)
        assert a.requires_grad == b.requires_grad
        assert torch.equal(a, b)
    elif isinstance(a, np.ndarray):
        assert a.dtype == b.dtype and a.shape == b.shape and (a == b).all()
    elif isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            same(a[key], b[key])
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for x, y in zip(a, b):
            same(x, y)
    else:
        assert a == b


def both(dataset, epochs=1, seed=5, sampler_of=None, **options):
    """The batches of torch's and our loader, each after the same seeds."""
    results = []
    for loader_type in (torch.utils.data.DataLoader, slipring.torch.DataLoader):
        torch.manual_seed(seed)
        np.random.seed(seed)
        given = {**options, **(sampler_of(dataset) if sampler_of else {})}
        if "generator" in given:
            given["generator"] = torch.Generator().manual_seed(given["generator"])
        loader = loader_type(dataset, **given)
        results.append([batch for _ in range(epochs) for batch in loader])
        results[-1].append(torch.randint(1 << 30, ()))  # the global state was used alike
        del loader
    return results


def compare(dataset, **options):
    theirs, ours = both(dataset, **options)
    same(ours, theirs)
    return ours
