# SPDX-License-Identifier: Apache-2.0
"""A batch taken apart into a structure and its tensors, and put together again.

A structure is what the two ends need besides the tensors' bytes. It is the same from batch to batch
as long as types, shapes and places are, so that it is sent once:

    ("plain", spec, layout)      lists, tuples and dicts of tensors; a leaf is its index in layout
    ("pickle", bytes, layout)    anything else, pickled, with leaves as calls of leaf()

layout has for each leaf (kind, dtype, shape, strides or None, offset, items).
"""

import io
import mmap
import operator
import os
import pickle
import threading
from itertools import accumulate
from multiprocessing.reduction import ForkingPickler

import numpy
import torch
from torch._C import _from_dlpack as from_dlpack

from slipring._slipring import _tensor

ALIGN = 256  # of each tensor in a slot
TENSOR, GRADIENT, ARRAY = 0, 1, 2  # kinds; GRADIENT: a tensor that requires one

# Tensors of these are made by one call of torch's, others by three: code and bits, as DLPack has them.
DLPACK = {
    torch.int8: (0, 8),
    torch.int16: (0, 16),
    torch.int32: (0, 32),
    torch.int64: (0, 64),
    torch.uint8: (1, 8),
    torch.float16: (2, 16),
    torch.float32: (2, 32),
    torch.float64: (2, 64),
    torch.bfloat16: (4, 16),
    torch.complex64: (5, 64),
    torch.complex128: (5, 128),
}
DIMS = 8  # that such a tensor may have


sizes = {}


def item_bytes(dtype):
    """Of one element. (Older torch has no dtype.itemsize.)"""
    size = sizes.get(dtype)
    if size is None:
        size = sizes[dtype] = torch.empty((), dtype=dtype).element_size()
    return size


def aligned(size):
    return (size + ALIGN - 1) & -ALIGN


class Memory:
    """The payload of a tensor ring's slots, mapped into this process to be written."""

    def __init__(self, ring):
        info = ring.info()
        self.stride = info.payload_stride
        self.mask = info.slots - 1
        self.map = self.map_again(ring, info)
        self.view = memoryview(self.map)
        self.address = torch.frombuffer(self.map, dtype=torch.uint8).data_ptr()

    @staticmethod
    def map_again(ring, info):
        """The payload of all slots, which is the last part of the data object."""
        area = info.slots * info.payload_stride
        # The ring's own descriptor may be for reading only.
        fd = os.open(f"/proc/self/fd/{ring.fds()[0]}", os.O_RDWR | os.O_CLOEXEC)
        try:
            return mmap.mmap(
                fd,
                area,
                flags=mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0x8000),
                prot=mmap.PROT_READ | mmap.PROT_WRITE,
                offset=info.data_bytes - area,
            )
        finally:
            os.close(fd)


# ---- leaves ----


def carried(tensor):
    """Whether a tensor's bytes can travel in a slot (else torch's own reducers send it)."""
    return (
        tensor.layout is torch.strided
        and tensor.device.type == "cpu"
        and not tensor.is_quantized
        and not tensor.is_conj()
        and not tensor.is_neg()
        and not tensor.is_nested
        and (tensor.is_leaf or not tensor.requires_grad)
    )


def carried_array(array):
    return not array.dtype.hasobject and array.dtype.isbuiltin == 1


class Fallback(Exception):
    """The structure needs pickle."""


def plain(value, leaves):
    """The spec of a batch of lists, tuples and dicts of tensors; fills leaves."""
    kind = type(value)
    if kind is torch.Tensor:
        if not carried(value):
            raise Fallback
        leaves.append(value)
        return len(leaves) - 1
    if kind is list or kind is tuple:
        return (kind, tuple([plain(item, leaves) for item in value]))
    if kind is dict:
        return (kind, tuple(value), tuple([plain(item, leaves) for item in value.values()]))
    raise Fallback


class BatchPickler(ForkingPickler):
    def __init__(self, file, leaves):
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self.leaves = leaves

    def reducer_override(self, value):
        kind = type(value)
        known = {torch.Tensor: carried, numpy.ndarray: carried_array}.get(kind)
        if known is not None and known(value):
            self.leaves.append(value)
            return leaf, (len(self.leaves) - 1,)
        return NotImplemented


unpickled = threading.local()  # .leaves: those of the batch being unpickled


def leaf(index):
    return unpickled.leaves[index]


def take_apart(batch):
    """(what, spec or bytes, leaves) of a batch."""
    leaves = []
    try:
        return "plain", plain(batch, leaves), leaves
    except Fallback:
        pass
    leaves = []
    file = io.BytesIO()
    BatchPickler(file, leaves).dump(batch)
    return "pickle", file.getvalue(), leaves


def kept_strides(tensor):
    """The strides of a tensor that is dense in another order than C's, to be kept in a copy."""
    if type(tensor) is not torch.Tensor or tensor.is_contiguous():
        return None
    strides = tensor.stride()
    expected = 1
    for step, extent in sorted(zip(strides, tensor.shape)):
        if extent != 1:
            if step != expected:
                return None
            expected *= extent
    return strides


def describe(item, offset, strides):
    """The layout entry of a leaf."""
    if type(item) is torch.Tensor:
        kind = GRADIENT if item.requires_grad else TENSOR
        return kind, item.dtype, tuple(item.shape), strides, offset, item.numel()
    return ARRAY, item.dtype, item.shape, None, offset, item.size


def leaf_bytes(item):
    if type(item) is torch.Tensor:
        return item.numel() * item.element_size()
    return item.nbytes


# ---- put together ----


def contiguous(shape):
    """The strides of a tensor in C's order."""
    strides = list(accumulate(reversed(shape[1:]), operator.mul, initial=1))
    return tuple(reversed(strides)) if shape else ()


def maker(entry):
    """A function of a buffer's owner that returns the leaf over it."""
    kind, dtype, shape, strides, offset, items = entry
    if kind == ARRAY:
        def make(owner):
            return numpy.frombuffer(owner, dtype, items, offset).reshape(shape)
        return make if items else lambda owner: numpy.empty(shape, dtype)
    if items == 0:
        def make(owner):
            return torch.empty(shape, dtype=dtype)
    elif dtype in DLPACK and len(shape) <= DIMS:
        code, bits = DLPACK[dtype]
        if strides is None:
            strides = contiguous(shape)
        def make(owner):
            return from_dlpack(_tensor(owner, offset, code, bits, shape, strides))
    elif strides is not None:
        extent = 1 + sum((n - 1) * step for n, step in zip(shape, strides))
        def make(owner):
            flat = torch.frombuffer(owner, dtype=dtype, count=extent, offset=offset)
            return flat.as_strided(shape, strides)
    elif len(shape) == 1:
        def make(owner):
            return torch.frombuffer(owner, dtype=dtype, count=items, offset=offset)
    else:
        def make(owner):
            return torch.frombuffer(owner, dtype=dtype, count=items, offset=offset).view(shape)
    if kind == GRADIENT:
        return lambda owner: make(owner).requires_grad_()
    return make


def device_maker(entry):
    """As maker(), of a tensor on a device: of (its bytes there, their owner here), see ahead.py.
    Arrays stay here, in memory of their own."""
    kind, dtype, shape, strides, offset, items = entry
    if kind == ARRAY:
        here = maker(entry)
        return lambda carried: here(carried[1]).copy()
    extent = items if strides is None else 1 + sum((n - 1) * s for n, s in zip(shape, strides))
    size = extent * item_bytes(dtype)

    def make(carried):
        there = carried[0]
        if items == 0:
            return there.new_empty(shape, dtype=dtype)
        flat = there[offset : offset + size].view(dtype)
        return flat.view(shape) if strides is None else flat.as_strided(shape, strides)

    if kind == GRADIENT:
        return lambda carried: make(carried).requires_grad_()
    return make


def joiner(spec, makers):
    """As maker(), of a plain spec."""
    if type(spec) is int:
        return makers[spec]
    kind = spec[0]
    parts = [joiner(part, makers) for part in spec[-1]]
    if kind is dict:
        pairs = list(zip(spec[1], parts))
        return lambda owner: {key: part(owner) for key, part in pairs}
    if kind is tuple:
        return lambda owner: tuple([part(owner) for part in parts])
    return lambda owner: [part(owner) for part in parts]


def builder(structure, of=maker):
    """A function of a buffer's owner that returns the batch, its leaves made by what `of` gives."""
    what, body, layout = structure
    makers = [of(entry) for entry in layout]
    if what == "plain":
        return joiner(body, makers)

    def load(owner):
        unpickled.leaves = [make(owner) for make in makers]
        try:
            return pickle.loads(body)
        finally:
            del unpickled.leaves

    return load
