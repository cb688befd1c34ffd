# SPDX-License-Identifier: Apache-2.0
"""loader_*: batches through the DataLoader, beside torch's and beside the copy alone.

The dataset's __getitem__ returns one tensor that is there already, so that what is measured is the
way of a batch, not its making. The loop touches a word of every page.
"""
import os
import resource
import time

import torch
import torch.utils.data

SHAPE = (3, 224, 224)
BATCH = 64
BYTES = 4 * BATCH * SHAPE[0] * SHAPE[1] * SHAPE[2]
PAGE = 1024  # words of float32
SLOTS = 4  # that a worker's batches rotate over, at prefetch_factor 2
WARM = 10


class Same(torch.utils.data.Dataset):
    def __init__(self, batches, batch, shape):
        self.sample = torch.rand(shape)
        self.count = batches * batch

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return self.sample


def loaders():
    import slipring.torch

    return {"slipring": slipring.torch.DataLoader, "torch": torch.utils.data.DataLoader}


def touch(batch):
    return batch.view(-1)[::PAGE].sum()


def spent():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def warm(loader):
    iterator = iter(loader)
    for _ in range(WARM):
        touch(next(iterator))
    return iterator


def rate(loader_type, workers, chunk, bytes_each, shape, batch):
    """Chunks of so many batches: GB/s, or batches/s."""

    def run(quick):
        torch.set_num_threads(1)
        chunks = 5 if quick else 15
        dataset = Same(WARM + chunks * chunk + 2 * workers, batch, shape)
        iterator = warm(loader_type(dataset, batch, num_workers=workers))
        for _ in range(chunks):
            before = time.perf_counter()
            for _ in range(chunk):
                touch(next(iterator))
            yield "chunk", chunk * bytes_each / (time.perf_counter() - before)

    return run


def floor(workers):
    """The copy alone, by as many processes, each into its slots."""

    def copy(chunks, chunk, report):
        torch.set_num_threads(1)
        sample = torch.rand(SHAPE)
        slots = torch.zeros((SLOTS, BATCH, *SHAPE))
        for number in range(-SLOTS, chunks * chunk):
            if number % chunk == 0:
                before = time.perf_counter()
            torch.stack([sample] * BATCH, 0, out=slots[number % SLOTS])
            if number >= 0 and (number + 1) % chunk == 0:
                report(chunk * BYTES / 1e9 / (time.perf_counter() - before))

    def run(quick):
        chunks = 5 if quick else 15
        reader, writer = os.pipe()
        children = []
        for _ in range(workers):
            child = os.fork()
            if child == 0:
                try:
                    copy(chunks, 10, lambda value: os.write(writer, b"%20.9f" % value))
                finally:
                    os._exit(0)
            children.append(child)
        os.close(writer)
        values = []
        while data := os.read(reader, 20):
            values.append(float(data))
        for child in children:
            os.waitpid(child, 0)
        for value in values:
            yield "chunk", value * workers

    return run


def main_cpu(loader_type):
    """ns that the loop's process works per batch, but for the touching (which is the user's)."""

    def run(quick):
        torch.set_num_threads(1)
        chunks, chunk = (4, 10) if quick else (10, 20)
        dataset = Same(WARM + chunks * chunk + 2, BATCH, SHAPE)
        iterator = warm(loader_type(dataset, BATCH, num_workers=1))
        for _ in range(chunks):
            before = spent()
            for _ in range(chunk):
                next(iterator)
            yield "chunk", (spent() - before) / chunk * 1e9

    return run


def measures():
    try:
        types = loaders()
    except ImportError:
        return {}
    found = {}
    for workers in (1, 2):
        systems = {n: rate(t, workers, 10, BYTES / 1e9, SHAPE, BATCH) for n, t in types.items()}
        systems["copy"] = floor(workers)
        found[f"loader_f32_b64_w{workers}"] = ("GB/s", "copy", systems)
    found["loader_main_cpu"] = ("ns", None, {name: main_cpu(t) for name, t in types.items()})
    small = {
        "slipring": rate(types["slipring"], 1, 2000, 1, (1024,), 1),
        "torch": rate(types["torch"], 1, 200, 1, (1024,), 1),
    }
    found["loader_small_4KiB"] = ("1/s", None, small)
    return found
