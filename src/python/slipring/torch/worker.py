# SPDX-License-Identifier: Apache-2.0
"""The worker process of a DataLoader: takes tasks, fetches and collates batches into slots."""

import os
import pickle
import random
import socket as sockets
import struct
from collections import deque
from dataclasses import dataclass, field
from time import perf_counter_ns
from typing import Any

import torch
import torch.utils.data
from torch._utils import ExceptionWrapper
from torch.utils.data import _utils as torch_utils
from torch.utils.data.dataloader import _DatasetKind as Kind

from slipring import Closed, PeerDied

from .batch import carried
from .dataset import COLLATE, READ, SLOT, WORK, Position, clock, fetcher_at, state_of
from .into import Into
from .slots import END, EPOCH, ERROR, MESSAGE, PAYLOAD, Slots

TASK = struct.Struct("<Bq")  # kind and number; an index, or what an epoch begins with, pickled
INDEX, INDEX_FD, NEXT_EPOCH, STOP = 0, 1, 2, 3  # kinds


@dataclass
class Setup:
    """All that a worker is started with."""

    number: int
    workers: int
    kind: int
    dataset: Any
    auto_collation: bool
    batch_size: Any
    drop_last: bool
    collate_fn: Any
    init_fn: Any
    base_seed: int
    tasks: Any  # rings, and one end of a socket pair
    messages: Any
    connection: Any
    data_slots: int
    position: Position = field(default_factory=Position)


class Stop(BaseException):
    """The loader is done with this worker, or gone."""


class NextEpoch(BaseException):
    """What is under way is for nobody; begin anew."""


class Worker:
    def __init__(self, setup):
        self.setup = setup
        self.dataset = setup.dataset
        self.pending = deque()
        self.position = setup.position
        self.shared = torch.Generator()
        self.ended = False
        self.fetcher = self.failure = None
        self.marked = self.drained = 0
        self.socket = sockets.socket(fileno=os.dup(setup.connection.fileno()))
        self.tasks = setup.tasks.consumer("worker", unordered=False)
        self.slots = Slots(setup.messages, self.socket, setup.data_slots, self.idle)
        default = setup.collate_fn is torch_utils.collate.default_collate
        self.slots.reuse = default
        self.into = Into(self) if default and Into.wanted(setup) else None
        clock.owner = self
        self.seed()
        self.collate_into_slots()
        try:
            if setup.init_fn is not None:
                setup.init_fn(setup.number)
        except Exception:
            self.failure = self.wrapped()

    @property
    def times(self):
        return self.slots.times

    def wrapped(self):
        return ExceptionWrapper(where=f"in DataLoader worker process {self.setup.number}")

    def seed(self):
        """As torch's worker, number for number."""
        setup = self.setup
        seed = setup.base_seed + setup.number
        random.seed(seed)
        torch.manual_seed(seed)
        if torch_utils.HAS_NUMPY:
            import numpy

            numpy.random.seed(torch_utils.worker._generate_state(setup.base_seed, setup.number))
        self.seed_pipe(setup.position.shared_seed)
        torch_utils.worker._worker_info = torch_utils.worker.WorkerInfo(
            id=setup.number, num_workers=setup.workers, seed=seed, dataset=self.dataset
        )

    def seed_pipe(self, shared_seed):
        if isinstance(self.dataset, torch.utils.data.IterDataPipe):
            self.shared.manual_seed(shared_seed)
            self.dataset = torch.utils.data.graph_settings.apply_random_seed(
                self.dataset, self.shared
            )

    def collate_into_slots(self):
        """Has default_collate stack tensors where the batch will be sent from, whoever calls it."""
        slots = self.slots

        def collate_tensor(batch, *, collate_fn_map=None):
            first = batch[0]
            if type(first) is not torch.Tensor or not carried(first):
                return torch_collate(batch, collate_fn_map=collate_fn_map)
            size = len(batch) * first.numel() * first.element_size()
            out = slots.place(first.dtype, (len(batch), *first.shape), size)
            return torch.stack(batch, 0) if out is None else torch.stack(batch, 0, out=out)

        table = torch_utils.collate.default_collate_fn_map
        torch_collate = table[torch.Tensor]
        table[torch.Tensor] = collate_tensor

    # ---- tasks ----

    def take(self, timeout):
        """Takes what the loader sent, waiting for the first."""
        try:
            while True:
                view = self.tasks.acquire(1, timeout)
                message = bytes(view.buffer)
                view = None  # returns it
                kind, number = TASK.unpack_from(message)
                if kind == INDEX:
                    self.pending.append((number, message))
                elif kind == INDEX_FD:
                    self.pending.append((number, self.from_fd()))
                elif kind == NEXT_EPOCH:
                    self.pending.clear()
                    self.position = pickle.loads(memoryview(message)[TASK.size :])
                    raise NextEpoch
                else:
                    raise Stop
                timeout = 0
        except TimeoutError:
            return
        except (Closed, PeerDied):
            raise Stop from None

    def from_fd(self):
        """A task too long for the ring: in a file of its own."""
        _, fds, _, _ = sockets.recv_fds(self.socket, 1, 1)
        with open(fds[0], "rb") as file:
            return file.read()

    def idle(self):
        self.take(0)

    def loop(self):
        while True:
            try:
                self.step()
            except NextEpoch:
                self.slots.abort()
                self.fetcher = None
                self.ended = False
                self.seed_pipe(self.position.shared_seed)
                self.slots.tell(EPOCH, 0)

    def step(self):
        before = perf_counter_ns()
        if not self.pending:
            self.take(None)
        elif before - self.drained > 1_000_000:
            self.take(0)
            self.drained = before
        number, message = self.pending.popleft()
        if self.ended:
            return
        slots = self.slots
        slots.times[WORK] = perf_counter_ns() - before
        try:
            if self.failure is not None:
                raise Failed
            slots.begin()
            held = [self.fetch(pickle.loads(memoryview(message)[TASK.size :]))]
            iterable = self.setup.kind == Kind.Iterable
            slots.send(number, held, state_of(self.fetcher) if iterable else b"")
        except Failed:
            slots.tell(ERROR, number, self.error(self.failure))
        except StopIteration:
            if self.setup.kind != Kind.Iterable:
                slots.tell(ERROR, number, self.error(self.wrapped()))
            else:
                self.ended = True
                slots.tell(END, number)
        except Exception:
            slots.tell(ERROR, number, self.error(self.wrapped()))

    def error(self, wrapper):
        """An exception as bytes, whatever its type."""
        room = MESSAGE - PAYLOAD - 4096
        wrapper.exc_msg = wrapper.exc_msg[-room // 4 :]
        try:
            body = pickle.dumps(wrapper)
            pickle.loads(body)
        except Exception:
            wrapper.exc_type = RuntimeError
            body = pickle.dumps(wrapper)
        return body

    # ---- batches ----

    def fetch(self, index):
        if self.fetcher is None:
            setup = self.setup
            self.fetcher = fetcher_at(
                self.position,
                setup.kind,
                self.dataset,
                setup.auto_collation,
                setup.batch_size,
                setup.drop_last,
                self.collate,
            )
        self.marked = 0
        self.began = perf_counter_ns()
        if self.into is not None:
            batch = self.into.fetch(index)
            if batch is not None:
                return batch
        return self.fetcher.fetch(index)

    def collate(self, data):
        slots = self.slots
        if self.into is not None:
            self.into.learn(data)
        before = perf_counter_ns()
        slots.times[READ] += before - self.began - self.marked
        waited = slots.times[SLOT]
        slots.open = True
        try:
            return self.setup.collate_fn(data)
        finally:
            slots.open = False
            spent = perf_counter_ns() - before
            slots.times[COLLATE] += spent - (slots.times[SLOT] - waited)


class Failed(Exception):
    """worker_init_fn raised."""


def run(setup):
    """The worker's main function."""
    try:
        torch_utils.signal_handling._set_worker_signal_handlers()
        torch.set_num_threads(1)
        Worker(setup).loop()
    except (Stop, KeyboardInterrupt):  # a Ctrl-C is the loader's process's to answer
        pass
