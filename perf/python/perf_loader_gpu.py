# SPDX-License-Identifier: Apache-2.0
"""h2d_loader, loader_gpu_busy: batches that arrive on a GPU, by prefetch_to, beside torch's DataLoader
with pin_memory and a copy that does not wait.

h2d_loader: samples that are there already, so that what is measured is a batch's way to the device.
loader_gpu_busy: images that the workers crop and flip, and a small network that learns of them; the
share of the time in which the device has work.
"""
import os
import sys
import time

import torch
import torch.utils.data

SHAPE = (3, 224, 224)
BATCH = 64
WARM = 10
DEVICE = "cuda"


def workers():
    return max(1, min(8, len(os.sched_getaffinity(0)) - 1))


class Same(torch.utils.data.Dataset):
    def __init__(self, batches):
        self.sample = torch.rand(SHAPE)
        self.count = batches * BATCH

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return self.sample


class Cropped(Same):
    def __init__(self, batches):
        super().__init__(batches)
        self.images = torch.randint(0, 256, (64, 3, 256, 256), dtype=torch.uint8)

    def __getitem__(self, index):
        top, left, flip = torch.randint(0, 32, (3,)).tolist()
        image = self.images[index % 64, :, top : top + 224, left : left + 224]
        return (image.flip(2) if flip & 1 else image).contiguous(), index % 10


def slipring_batches(dataset):
    import slipring.torch

    yield from slipring.torch.DataLoader(
        dataset, BATCH, num_workers=workers(), prefetch_factor=4, prefetch_to=DEVICE
    )


def torch_batches(dataset):
    for batch in torch.utils.data.DataLoader(
        dataset, BATCH, num_workers=workers(), prefetch_factor=4, pin_memory=True
    ):
        if isinstance(batch, torch.Tensor):
            yield batch.to(DEVICE, non_blocking=True)
        else:
            yield [part.to(DEVICE, non_blocking=True) for part in batch]


def rate(batches):
    """Batches per second."""

    def run(quick):
        chunks, chunk = (5, 20) if quick else (15, 50)
        coming = batches(Same(WARM + chunks * chunk))
        for _ in range(WARM):
            next(coming)
        for _ in range(chunks):
            torch.cuda.synchronize()
            before = time.perf_counter()
            for _ in range(chunk):
                next(coming)
            torch.cuda.synchronize()
            yield "chunk", chunk / (time.perf_counter() - before)

    return run


def network():
    layers = []
    for before, after in ((3, 32), (32, 64), (64, 128)):
        layers += [torch.nn.Conv2d(before, after, 3, 2, 1), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(),
                               torch.nn.Linear(128, 10)).to(DEVICE)


def busy(batches):
    """Of the time, the share in which the device was at a step, in percent."""

    def run(quick):
        chunks, chunk = (5, 20) if quick else (10, 50)
        learner = network()
        optimizer = torch.optim.SGD(learner.parameters(), 0.01)
        coming = batches(Cropped(WARM + chunks * chunk))

        def step():
            images, labels = next(coming)
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            loss = torch.nn.functional.cross_entropy(learner(images.float() / 255), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            end.record()
            return begin, end

        for _ in range(WARM):
            step()
        for _ in range(chunks):
            torch.cuda.synchronize()
            before = time.perf_counter()
            steps = [step() for _ in range(chunk)]
            torch.cuda.synchronize()
            spent = time.perf_counter() - before
            yield "chunk", sum(begin.elapsed_time(end) for begin, end in steps) / spent / 10

    return run


def missing():
    """Why there is nothing to measure, or None."""
    import slipring.gpu

    try:
        slipring.gpu.devices()
    except slipring.NoDevice as error:
        return str(error)
    return None if torch.cuda.is_available() else "this torch is built without CUDA"


def measures():
    try:
        reason = missing()
    except ImportError:
        return {}
    if reason is not None:
        print("h2d_loader, loader_gpu_busy: no device:", reason, file=sys.stderr)
        return {}
    systems = {"slipring": slipring_batches, "torch": torch_batches}
    return {
        "h2d_loader": ("1/s", None, {name: rate(made) for name, made in systems.items()}),
        "loader_gpu_busy": ("%", None, {name: busy(made) for name, made in systems.items()}),
    }
