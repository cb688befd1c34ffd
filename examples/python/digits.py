# SPDX-License-Identifier: Apache-2.0
"""Trains on the handwritten digits that come with scikit-learn, through slipring's DataLoader and
through torch's: the same model, seeds and batches, the work done by two workers.

    digits.py [--quick]

Each image is blown up to 128 x 128, moved by some pixels and made brighter or darker in a worker,
as augmentation does, so that a batch of 64 is 4 MiB. The dataset writes into the batch itself where
the loader lets it (getitem_into). Ends with an error if a test accuracy is below 95 %.
"""
import sys
import time

import numpy as np
import slipring.torch
import torch
import torch.utils.data
from sklearn.datasets import load_digits

SCALE = 16
SIDE = 8 * SCALE
MOVE = 4  # pixels of 128, either way
TEST = 360  # images of 1797
BATCH = 64
WANTED = 0.95


class Digits(torch.utils.data.Dataset):
    def __init__(self, images, labels, moved):
        padded = np.zeros((len(images), SIDE + 2 * MOVE, SIDE + 2 * MOVE), np.float32)
        padded[:, MOVE:-MOVE, MOVE:-MOVE] = np.kron(images / 16, np.ones((1, SCALE, SCALE)))
        self.padded, self.labels, self.moved = padded, labels, moved

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        image = torch.empty(1, SIDE, SIDE)
        self.write(index, image.numpy())
        return image, int(self.labels[index])

    def getitem_into(self, index, out):
        image, label = out
        self.write(index, image.numpy())
        label.fill_(self.labels[index])

    def write(self, index, image):
        down, right, bright = MOVE, MOVE, 1.0
        if self.moved:
            down, right = np.random.randint(0, 2 * MOVE + 1, 2)
            bright = np.random.uniform(0.8, 1.2)
        part = self.padded[index, down : down + SIDE, right : right + SIDE]
        np.multiply(part, np.float32(bright), out=image[0])


class Bar:
    """A line that says how far it is: redrawn on a terminal, else once at the end."""

    def __init__(self, name, steps):
        self.name, self.steps, self.start = name, steps, time.perf_counter()
        self.images = 0

    def step(self, number, images, text):
        self.images += images
        last = number + 1 == self.steps
        if not (last or sys.stdout.isatty() and number % 4 == 0):
            return
        done = 30 * (number + 1) // self.steps
        rate = self.images / (time.perf_counter() - self.start)
        line = f"{self.name:9} [{'#' * done:30}] {rate:8.0f} images/s  {text}"
        print("\r" + line, end="\n" if last else "", flush=True)


def accuracy(model, test):
    images, labels = next(iter(torch.utils.data.DataLoader(test, len(test))))
    with torch.no_grad():
        return (model(images).argmax(1) == labels).double().mean().item()


def train(name, loader_type, data, test, epochs):
    """(images/s through the loader and the model, test accuracy, the loader)"""
    torch.manual_seed(1)
    model = torch.nn.Sequential(
        torch.nn.AvgPool2d(SCALE),
        torch.nn.Flatten(),
        torch.nn.Linear(64, 96),
        torch.nn.ReLU(),
        torch.nn.Linear(96, 10),
    )
    optimizer = torch.optim.Adam(model.parameters(), 4e-3)
    loader = loader_type(
        data, BATCH, shuffle=True, num_workers=2, persistent_workers=True, drop_last=True
    )
    for _ in zip(range(1), loader):  # the workers are there
        pass
    bar = Bar(name, epochs * len(loader))
    number = 0
    for epoch in range(epochs):
        for images, labels in loader:
            loss = torch.nn.functional.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            bar.step(number, len(labels), f"epoch {epoch + 1:2} of {epochs}, loss {loss:.3f}")
            number += 1
    return bar.images / (time.perf_counter() - bar.start), accuracy(model, test), loader


def pass_over(loader, epochs):
    """Images/s through the loader alone."""
    start, images = time.perf_counter(), 0
    for _ in range(epochs):
        for batch, _ in loader:
            images += len(batch)
    return images / (time.perf_counter() - start)


def main():
    torch.set_num_threads(1)
    epochs = 15 if "--quick" in sys.argv[1:] else 30
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    images, labels = digits.images[order], digits.target[order]
    data = Digits(images[TEST:], labels[TEST:], moved=True)
    test = Digits(images[:TEST], labels[:TEST], moved=False)
    print(f"{len(data)} handwritten digits to learn from, {TEST} to be tested by; 2 workers")
    good = True
    results = {}
    for name, loader_type in (
        ("slipring", slipring.torch.DataLoader),
        ("torch", torch.utils.data.DataLoader),
    ):
        trained, correct, loader = train(name, loader_type, data, test, epochs)
        results[name] = trained, pass_over(loader, epochs // 4), correct
        if name == "slipring":
            report = loader.report()
        del loader
        good = good and correct >= WANTED
    print(f"\n{'':9}{'training':>18}{'loading alone':>18}{'test accuracy':>16}")
    for name, (trained, loaded, correct) in results.items():
        print(f"{name:9}{trained:9.0f} images/s{loaded:9.0f} images/s{100 * correct:14.1f} %")
    print(f"\nWhere slipring's time went, per batch of {BATCH}:\n{report}")
    return 0 if good else f"a test accuracy is below {100 * WANTED:.0f} %"


if __name__ == "__main__":
    sys.exit(main())
