# SPDX-License-Identifier: Apache-2.0
"""A worker process as the loader sees it: its rings, and what came through them."""

import os
import pickle
import signal
import socket as sockets
import weakref
from time import monotonic

from slipring import Closed, PeerDied, Ring

from . import pinned
from . import slots as wire
from .batch import Memory, builder, device_maker, maker
from .worker import INDEX_FD, TASK, Setup, run

TASK_SLOT = 1 << 10  # bytes of a slot of a task ring; a task takes as many as it needs
TASK_SLOTS = 64
TASK_MOST = 16 << 10  # bytes of a task that goes through it
LOOK = 0.1  # seconds between looks at whether a worker that says nothing is there


def power_of_two(n):
    return 1 << (n - 1).bit_length()


class Died(Exception):
    """The worker is gone, and all that it sent was taken."""


class Peer:
    def __init__(self, iterator, number, position):
        self.iterator = weakref.proxy(iterator)
        self.number = number
        self.start(position)

    def start(self, position):
        """Starts the process, with rings of its own: those of one that died may be torn."""
        it = self.iterator
        self.active = True  # has more to give in this epoch
        self.outstanding = 0
        self.position = position
        self.received = 0  # batches and errors of this epoch
        self.state = position.state  # of its dataset, as of the last batch
        self.rings = {}
        self.known = self.oldest = 0  # numbers of rings: to come, in use
        self.build = self.carrier = None
        task_ring = Ring.create(
            schema={"task": ("uint8", (TASK_SLOT,))},
            slots=TASK_SLOTS,
            geometry="tensor",
            lasting=("worker",),
            members_max=8,
            groups_max=1,
            releases_max=1,
        )
        message_ring = Ring.create(
            schema={"message": ("uint8", (wire.MESSAGE,))},
            slots=power_of_two(max(8, 2 * it._prefetch_factor)),
            geometry="tensor",
            members_max=8,
            groups_max=1,
            releases_max=1,
        )
        self.tasks = task_ring.producer()
        self.messages = message_ring.consumer(start="oldest", unordered=False)
        self.message_memory = Memory(message_ring)
        self.connection, theirs = it._context.Pipe(duplex=True)
        self.socket = sockets.socket(fileno=os.dup(self.connection.fileno()))
        setup = Setup(
            number=self.number,
            workers=it._num_workers,
            kind=it._dataset_kind,
            dataset=it._dataset,
            auto_collation=it._auto_collation,
            batch_size=it._batch_size,
            drop_last=it._drop_last,
            collate_fn=it._collate_fn,
            init_fn=it._worker_init_fn,
            base_seed=it._base_seed,
            tasks=task_ring,
            messages=message_ring,
            connection=theirs,
            data_slots=power_of_two(it._prefetch_factor + 2),
            position=position,
        )
        self.process = it._context.Process(target=run, args=(setup,), daemon=True)
        self.process.start()
        theirs.close()

    def begin_epoch(self, position):
        self.active = True
        self.outstanding = self.received = 0
        self.position = position
        self.state = position.state

    # ---- to the worker ----

    def send(self, kind, number, value):
        message = TASK.pack(kind, number) + pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
        if len(message) > TASK_MOST:
            with open(os.memfd_create("slipring-task", os.MFD_CLOEXEC), "r+b") as file:
                file.write(message)
                file.seek(0)
                sockets.send_fds(self.socket, [b"t"], [file.fileno()])
            message = TASK.pack(INDEX_FD, number)
        while True:
            try:
                return self.tasks.send(message, 0, LOOK)
            except TimeoutError:
                if not self.process.is_alive():
                    raise Died from None

    # ---- from the worker ----

    def receive(self, timeout):
        """A message, as (kind, number, value), or None."""
        try:
            view = self.messages.acquire(1, timeout)
        except TimeoutError:
            return None
        except (PeerDied, Closed):
            raise Died from None
        return self.take(view)

    def wait(self, deadline, idle=None):
        """As receive(), to a point in time, or for ever; idle(self) is called now and then. Raises
        Died."""
        while True:
            left = LOOK if deadline is None else min(LOOK, max(0, deadline - monotonic()))
            message = self.receive(left)
            if message is not None or deadline is not None and monotonic() >= deadline:
                return message
            self.look()
            if idle is not None:
                idle(self)

    def look(self):
        """Raises Died if the worker is gone before it ever attached to its rings."""
        if not self.process.is_alive() and self.messages.lag == 0:
            raise Died

    def take(self, view):
        """Reads the message in a view, which it returns by letting go of it."""
        memory = self.message_memory
        buffer = memory.map
        start = (view.sequence & memory.mask) * memory.stride
        kind, flags, ring, oldest, tail, state, number, payload, place, times = (
            wire.HEADER.unpack_from(buffer, start)
        )
        start += wire.PAYLOAD
        at = start + payload
        if kind != wire.BATCH:
            return kind, number, buffer[at : at + tail]
        self.times = times
        slot = None
        if ring == wire.NO_RING:
            owner = bytearray(memory.view[start:at])
        else:
            slot = self.slot(ring, oldest)
            owner = slot._writable()
            if flags & wire.INDIRECT:
                buffer, at = memoryview(owner).cast("B"), place
            if flags & wire.COPY:
                slot._plain()  # it need not wait for a GPU
                owner = bytearray(owner)
        if not flags & wire.SAME:
            self.carrier = self.iterator._carrier
            of = maker if self.carrier is None else device_maker
            self.build = builder(pickle.loads(buffer[at : at + tail]), of)
        if state:
            self.state = bytes(buffer[at + tail : at + tail + state])
        if self.carrier is not None:
            owner = self.carrier.carry(slot, owner)
        return kind, number, self.build(owner)

    def slot(self, number, oldest):
        """A view of the slot that the next batch of a data ring lies in."""
        while number not in self.rings:
            ring = Ring.receive(self.socket)
            it = self.iterator
            if it._device is not None:
                pinned.pin(ring, it._device, it._carrier is not None)
            ring._writable()
            self.rings[self.known] = ring.consumer(group=wire.LOADER, unordered=True)
            self.known += 1
        while self.oldest < oldest:
            self.rings.pop(self.oldest, None)
            self.oldest += 1
        return self.rings[number].try_acquire()

    # ---- the end ----

    def fate(self):
        """How the process ended, for a text."""
        self.process.join(5)
        code = self.process.exitcode
        if code is not None and code < 0:
            try:
                return f"killed by signal {-code} ({signal.Signals(-code).name})"
            except ValueError:
                return f"killed by signal {-code}"
        return f"exit status {code}"

    def close(self):
        """Lets the worker go; batches that the user has stay valid."""
        self.tasks.close()

    def join(self, timeout):
        self.process.join(timeout)
        if self.process.is_alive():
            self.process.terminate()
            self.process.join(timeout)
        self.messages.close()
        self.socket.close()
        self.connection.close()
        self.rings = {}
