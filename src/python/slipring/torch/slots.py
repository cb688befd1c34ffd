# SPDX-License-Identifier: Apache-2.0
"""Where a worker's batches go.

A worker has one message ring, made by the loader, and makes data rings itself, as it learns how
large its batches are. A batch of a few KiB travels in its message. A larger one is collated
straight into a slot of a data ring, and the message says which.

A batch that the user keeps holds its slot back, and with it the ring. Then the worker goes on in
another ring, up to RINGS of them; batches of the last one are copied out as they arrive, so that a
slot of it always comes free: a loader never waits for its user to let go of something.
"""

import mmap
import pickle
import struct
import sys
import threading
from time import perf_counter_ns

import numpy
import torch

from slipring import Ring

from . import batch as batches
from .batch import ALIGN, Memory, aligned
from .dataset import SLOT

RINGS = 3  # of batches that fit; the last is copied from
INLINE = 16 << 10  # bytes of tensors that travel in a message
MESSAGE = 48 << 10  # bytes of a message slot

# kind, flags, data ring, oldest data ring in use, bytes of structure, of state, number of the
# batch, bytes of tensors in the message, place of structure and state in the data slot, times
HEADER = struct.Struct("<BBHHIIqIQ40s")
TIMES = struct.Struct("<5q")
NO_RING = 0xFFFF
PAGE = mmap.PAGESIZE
PAYLOAD = 128  # where tensors begin in a message
BATCH, ERROR, END, EPOCH = 0, 1, 2, 3  # kinds
SAME, COPY, INDIRECT = 1, 2, 4  # flags: structure as before; copy out; structure in the data slot

LOADER = "loader"  # the group that reads a data ring


class DataRing:
    def __init__(self, number, slots, slot_bytes, socket):
        self.number = number
        self.ring = Ring.create(
            schema={"data": ("uint8", (slot_bytes,))},
            slots=slots,
            geometry="tensor",
            lasting=(LOADER,),
            members_max=8,
            groups_max=1,
            releases_max=1,
        )
        self.producer = self.ring.producer()
        self.memory = Memory(self.ring)
        self.bytes = slot_bytes
        self.ring.send(socket)

    def claim(self, timeout):
        try:
            return self.producer.claim(1, timeout)
        except TimeoutError:
            return None


class Slots:
    """The worker's end of its rings. idle() is called while it waits: it takes what the loader sent
    meanwhile, and raises to end the wait."""

    def __init__(self, messages, socket, data_slots, idle):
        self.ring = messages
        self.messages = messages.producer()
        self.memory = Memory(messages)
        self.socket = socket
        self.data_slots = data_slots
        self.idle = idle
        self.thread = threading.get_ident()
        self.rings = []
        self.numbers = 0
        self.expected = None  # bytes of the last batch
        self.room = 0  # bytes that the data rings' slots have
        self.last = None  # the structure sent last
        self.times = [0] * 5
        self.message = self.data = self.data_ring = None
        self.open = False  # place() may give out parts of a slot
        self.reuse = False  # of tensors over slots: they are seen by no code of the user's
        self.places = {}
        self.given = []

    # ---- of one batch ----

    def begin(self):
        """Claims a message, the first thing that a batch needs."""
        self.top = 0
        self.given = []
        if self.message is None:
            self.message = self.wait(self.messages)
            self.at = self.message.sequence & self.memory.mask

    def wait(self, producer):
        while True:
            try:
                return producer.claim(1, 0.05)
            except TimeoutError:
                self.idle()

    def place(self, dtype, shape, size):
        """A tensor of the slot that the batch under way will be in, or None: make it elsewhere."""
        if not self.open or self.expected is None or threading.get_ident() != self.thread:
            return None
        at = self.top
        end = at + aligned(size)
        if size == 0:
            return None
        if self.expected <= INLINE:
            if end > INLINE:
                return None
            memory, start = self.memory, self.at * self.memory.stride + PAYLOAD
        else:
            if self.data is None:
                self.claim(self.expected)
            if end > self.data_ring.bytes:
                return None
            memory, start = self.data_ring.memory, self.start
        self.top = end
        key = (memory.address, start + at, dtype, shape)
        tensor = self.places.get(key) if self.reuse else None
        if tensor is None:
            tensor = torch.frombuffer(
                memory.map, dtype=dtype, count=size // batches.item_bytes(dtype), offset=start + at
            ).view(shape)
            if self.reuse:
                if len(self.places) > 1024:
                    self.places.clear()
                self.places[key] = tensor
        if not self.reuse:
            self.given.append(tensor)
        return tensor

    def claim(self, size):
        """Claims a data slot of at least that many bytes."""
        before = perf_counter_ns()
        if size > self.room:
            self.retire()
            self.room = size if not self.numbers else size + size // 4
            self.room = (self.room + PAGE - 1) & -PAGE  # else the ring would have more slots
        self.data_ring, self.data = self.free_slot()
        memory = self.data_ring.memory
        self.start = (self.data.sequence & memory.mask) * memory.stride
        self.times[SLOT] += perf_counter_ns() - before

    def free_slot(self):
        while True:
            for ring in self.rings:
                loan = ring.claim(0)
                if loan is not None:
                    return ring, loan
            if len(self.rings) < RINGS and (not self.rings or self.read_all()):
                self.rings.append(DataRing(self.numbers, self.data_slots, self.room, self.socket))
                self.numbers += 1
                continue
            loan = self.rings[-1].claim(0.002)
            if loan is not None:
                return self.rings[-1], loan
            self.idle()

    def read_all(self):
        """Whether the loader took every message: then it is the user who holds the slots."""
        return all(member.lag == 0 for member in self.ring.members())

    def retire(self):
        """Ends the data rings: they are too small. Their batches stay valid with the loader."""
        for ring in self.rings:
            ring.producer.close()
        self.rings = []
        self.places.clear()

    def abort(self):
        """Gives back what the batch under way claimed, but for the message."""
        self.open = False
        self.given = []
        if self.data is not None:
            self.data.abort()
            self.data = None

    # ---- sending ----

    def send(self, number, held, state):
        """Packs the batch, which it takes from the list held, and publishes it."""
        what, body, leaves = batches.take_apart(held.pop())
        placed = self.top
        layout, copies = self.lay_out(leaves)
        tail = self.structure((what, body, layout))
        small = PAYLOAD + self.top + len(tail) + len(state) <= MESSAGE and self.top <= INLINE
        if self.data is None and small:
            memory, start, where = self.memory, self.at * self.memory.stride + PAYLOAD, None
        else:
            where = self.where(tail, state)
            if self.data is None and not placed:
                self.claim(where[1])
            elif self.data is None or where[1] > self.data_ring.bytes:
                leaves = self.leave_slot(leaves)
                layout, copies = self.lay_out(leaves)
                tail = self.structure((what, body, layout))
                where = self.where(tail, state)
                self.claim(where[1])
            memory, start = self.data_ring.memory, self.start
        for item, entry in copies:
            fill(memory, start, item, entry)
        item = body = leaves = copies = None
        self.free_given()
        self.publish(number, tail, state, where)

    def where(self, tail, state):
        """(place of structure and state, or None: in the message; bytes of the data slot)"""
        extra = len(tail) + len(state)
        if PAYLOAD + extra <= MESSAGE:
            return None, max(self.top, ALIGN)
        return self.top, self.top + aligned(extra)

    def leave_slot(self, leaves):
        """Gives back what was claimed, as it is too small. Leaves in it get memory of their own."""
        leaves = [own(item) for item in leaves]
        for tensor in self.given:
            tensor.data = tensor.data.clone()
        self.given = []
        if self.data is not None:
            self.data.abort()
            self.data = None
        self.top = 0
        self.last = None
        return leaves

    def lay_out(self, leaves):
        """The layout of leaves, and what of it has yet to be copied to its place."""
        base, end = 0, 0
        if self.data is not None:
            base = self.data_ring.memory.address + self.start
            end = base + self.data_ring.bytes
        elif self.top:
            base = self.memory.address + self.at * self.memory.stride + PAYLOAD
            end = base + INLINE
        layout, copies = [], []
        for item in leaves:
            if type(item) is torch.Tensor:
                at = item.data_ptr()
                if base <= at < end:
                    strides = None if item.is_contiguous() else item.stride()
                    layout.append(batches.describe(item, at - base, strides))
                    continue
            entry = batches.describe(item, self.top, batches.kept_strides(item))
            self.top += aligned(batches.leaf_bytes(item))
            layout.append(entry)
            copies.append((item, entry))
        return tuple(layout), copies

    def structure(self, structure):
        """The structure pickled, or nothing if it is that of the batch before."""
        if structure == self.last:
            return b""
        self.last = structure
        return pickle.dumps(structure, pickle.HIGHEST_PROTOCOL)

    def free_given(self):
        """What the user's code still refers to gets memory of its own: the slot will be written
        again. (Three references are ours: given's, the loop's and the call's.)"""
        for tensor in self.given:
            if sys.getrefcount(tensor) > 3:
                tensor.data = tensor.data.clone()
        self.given = []

    def publish(self, number, tail, state, where):
        flags = 0 if tail else SAME
        ring, oldest, payload, place = NO_RING, 0, self.top, 0
        start = self.at * self.memory.stride
        memory, at = self.memory, start + PAYLOAD + payload
        self.expected = self.top
        if self.data is not None:
            ring, oldest, payload = self.data_ring.number, self.rings[0].number, 0
            at = start + PAYLOAD
            if len(self.rings) == RINGS and self.data_ring is self.rings[-1]:
                flags |= COPY
            place, self.expected = where
            if place is None:
                place = 0
            else:
                flags |= INDIRECT
                memory, at = self.data_ring.memory, self.start + place
        if tail or state:
            memory.map[at : at + len(tail) + len(state)] = tail + state
        HEADER.pack_into(
            self.memory.map, start, BATCH, flags, ring, oldest, len(tail), len(state), number,
            payload, place, TIMES.pack(*self.times),
        )
        self.times = [0] * 5
        if self.data is not None:
            self.data.publish()
            self.data = None
        self.message.publish()
        self.message = None

    def tell(self, kind, number, body=b""):
        """Sends a message that is no batch."""
        self.abort()
        self.begin()
        start = self.at * self.memory.stride
        body = body[: MESSAGE - PAYLOAD]
        HEADER.pack_into(
            self.memory.map, start, kind, 0, NO_RING, 0, len(body), 0, number, 0, 0, b""
        )
        self.memory.map[start + PAYLOAD : start + PAYLOAD + len(body)] = body
        self.times = [0] * 5
        self.message.publish()
        self.message = None


def own(item):
    """The item with bytes of its own."""
    if type(item) is not torch.Tensor:
        return item
    return item.detach().clone().requires_grad_(item.requires_grad)


def fill(memory, start, item, entry):
    """Copies a leaf to its place."""
    if not entry[5]:
        return
    kind = batches.ARRAY if entry[0] == batches.ARRAY else batches.TENSOR
    place = batches.maker((kind, *entry[1:4], start + entry[4], entry[5]))(memory.map)
    if kind == batches.ARRAY:
        numpy.copyto(place, item)
    else:
        place.copy_(item.detach())
