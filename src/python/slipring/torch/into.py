# SPDX-License-Identifier: Apache-2.0
"""Datasets that write samples where they will be read.

A map dataset may have, besides __getitem__, a method

    getitem_into(index, out)

that writes sample index into out. out has the structure that __getitem__ returns, with each tensor
and array replaced by its row of the batch's slot, and each number by a tensor of no dimension. All
samples must have the same structure, shapes and types. The loader calls __getitem__ for a worker's
first batch, to learn them, and getitem_into from then on, if collate_fn is default_collate.
"""

from time import perf_counter_ns

import numpy
import torch
from torch.utils.data.dataloader import _DatasetKind as Kind

from .batch import item_bytes
from .dataset import DECODE, SLOT


class Unlike(Exception):
    """A sample has parts that cannot be written in place."""


class Into:
    @staticmethod
    def wanted(setup):
        return (
            setup.kind == Kind.Map
            and setup.auto_collation
            and callable(getattr(setup.dataset, "getitem_into", None))
        )

    def __init__(self, worker):
        self.worker = worker
        self.sample = None  # the structure of one
        self.possible = True

    def learn(self, data):
        if self.sample is not None or not self.possible:
            return
        try:
            self.sample = describe(data[0])
        except Unlike:
            self.possible = False

    def fetch(self, index):
        """The batch, or None: fetch it in the ordinary way."""
        worker, slots = self.worker, self.worker.slots
        if self.sample is None or not index:
            return None
        waited = slots.times[SLOT]
        slots.open = True
        try:
            batch, rows = lay(self.sample, len(index), slots)
        except Unlike:
            slots.top = 0
            return None
        finally:
            slots.open = False
        before = worker.began
        write = worker.dataset.getitem_into
        for place, row in zip(index, rows):
            write(place, row)
        spent = perf_counter_ns() - before
        slots.times[DECODE] += spent - worker.marked - (slots.times[SLOT] - waited)
        return batch


def describe(value):
    """(type, parts) of a container; (type, dtype, shape) of a leaf."""
    kind = type(value)
    if kind is torch.Tensor:
        if value.layout is not torch.strided or value.device.type != "cpu" or not value.numel():
            raise Unlike
        return kind, value.dtype, tuple(value.shape)
    if kind is numpy.ndarray or isinstance(value, (numpy.bool_, numpy.number)):
        try:
            tensor = torch.as_tensor(value)
        except TypeError:
            raise Unlike from None
        if not tensor.numel():
            raise Unlike
        kind = numpy.ndarray if tensor.dim() else torch.Tensor
        return kind, tensor.dtype, tuple(tensor.shape)
    if kind is int or kind is bool:
        return torch.Tensor, torch.tensor([value]).dtype, ()
    if kind is float:
        return torch.Tensor, torch.float64, ()
    if kind is dict:
        return kind, {key: describe(item) for key, item in value.items()}
    if kind is list or isinstance(value, tuple):
        return kind, [describe(item) for item in value]
    raise Unlike


def lay(sample, count, slots):
    """(the batch as default_collate makes it, the samples' rows of it)"""
    kind = sample[0]
    if kind is dict:
        parts = {key: lay(part, count, slots) for key, part in sample[1].items()}
        rows = zip(*[part[1] for part in parts.values()])
        return {key: part[0] for key, part in parts.items()}, [dict(zip(parts, r)) for r in rows]
    if len(sample) == 2:
        parts = [lay(part, count, slots) for part in sample[1]]
        batch = [part[0] for part in parts]
        rows = zip(*[part[1] for part in parts])
        if hasattr(kind, "_fields"):
            return kind(*batch), [kind(*row) for row in rows]
        return batch, [kind(row) for row in rows]
    kind, dtype, shape = sample
    size = count * item_bytes(dtype)
    for extent in shape:
        size *= extent
    tensor = slots.place(dtype, (count, *shape), size)
    if tensor is None:
        raise Unlike
    return tensor, list(tensor.numpy()) if kind is numpy.ndarray else tensor.unbind(0)
