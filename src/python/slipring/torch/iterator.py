# SPDX-License-Identifier: Apache-2.0
"""One pass over a dataset: draws indices, hands them to workers, gives out their batches in the
order that torch's DataLoader gives them."""

import functools
import itertools
import pickle
import select
import warnings
from time import monotonic, perf_counter_ns

import torch
import torch.multiprocessing
from torch.utils.data import IterDataPipe, MapDataPipe
from torch.utils.data import _utils as torch_utils
from torch.utils.data import dataloader as torch_loader
from torch.utils.data.dataloader import _DatasetKind as Kind

from . import pinned
from . import slots as wire
from .ahead import Carrier
from .dataset import Position
from .peer import LOOK, Died, Peer
from .worker import INDEX, NEXT_EPOCH

profiled = torch.autograd._profiler_enabled


class Iterator(torch_loader._BaseDataLoaderIter):
    def __init__(self, loader):
        self._peers = []
        self._progress = loader._new_progress()
        with self._progress.replayed():
            super().__init__(loader)
            self._progress.drawn(self)
            self._start(loader)

    def _start(self, loader):
        self._prefetch_factor = loader.prefetch_factor
        self._in_order = loader.in_order
        self._batch_size = loader.batch_size
        self._restarts = loader.restart_workers
        self._stages = loader._stages
        self._shut = False
        self._device = self._carrier = None
        self._turn = 0
        self._context = loader.multiprocessing_context or torch.multiprocessing
        self._worker_init_fn = loader.worker_init_fn
        if isinstance(self._dataset, (IterDataPipe, MapDataPipe)):
            self._worker_init_fn = functools.partial(
                torch_loader._sharding_worker_init_fn,
                self._worker_init_fn,
                self._world_size,
                self._rank,
            )
        for number in range(self._num_workers):
            self._peers.append(Peer(self, number, self._position(number)))
        # Not before: workers that are forked could not use a GPU that was used here.
        self._device = pinned.device_of(loader)  # that data rings are page-locked for, or None
        if loader.prefetch_to is not None:
            self._carrier = Carrier(loader.prefetch_to)
        self._reset(loader, first_iter=True)

    def _position(self, number):
        position = self._progress.position(number)
        position.shared_seed = self._shared_seed
        return position

    def _reset(self, loader, first_iter=False):
        """Begins an epoch; not the first one: of the same workers."""
        if not first_iter:
            self._progress = loader._new_progress(self._base_seed)
        super()._reset(loader, first_iter)
        progress = self._progress
        self._last = None  # when the user was given the last batch
        self._tasks = {}  # number -> (index, peer) of what is not yet given out
        self._sent = self._next = progress.floor  # numbers: to be sent, to be given out
        self._turns = itertools.cycle(range(self._num_workers))
        for _ in range(progress.turn(self._num_workers)):
            next(self._turns)
        if not first_iter:
            self._begin_epoch()
        progress.skip(self._next_index)
        for _ in range(self._prefetch_factor * self._num_workers):
            self._put()

    def _begin_epoch(self):
        for peer in self._peers:
            peer.begin_epoch(self._position(peer.number))
            try:
                peer.send(NEXT_EPOCH, 0, peer.position)
                while True:
                    message = peer.wait(None)
                    if message[0] == wire.EPOCH:
                        break
            except Died:
                self._restart(peer)

    # ---- tasks ----

    def _put(self):
        """Draws the next index and hands it to the worker whose turn it is."""
        while self._progress.given(self._sent):
            next(self._sampler_iter)
            self._sent += 1
        try:
            index = self._next_index()
        except StopIteration:
            return
        peer = self._whose_turn()
        if peer is None:
            return
        self._tasks[self._sent] = (index, peer)
        peer.outstanding += 1
        number = self._sent
        self._sent += 1
        self._hand(peer, number, index)

    def _whose_turn(self):
        peers = self._peers
        most = self._prefetch_factor * self._num_workers
        for _ in peers:
            peer = peers[next(self._turns)]
            if not peer.active:
                continue
            if self._in_order or peer.outstanding < most // sum(p.active for p in peers):
                return peer
        return None

    def _hand(self, peer, number, index):
        try:
            peer.send(INDEX, number, index)
        except Died:
            pass  # told, or made good, when its turn to give comes

    # ---- batches ----

    def __next__(self):
        if self._dataset_kind == Kind.Iterable and self._IterableDataset_len_called is not None:
            return super().__next__()  # with its warning of a length that was wrong
        if profiled():
            return super().__next__()
        data = self._next_data()
        self._num_yielded += 1
        return data

    def _next_data(self):
        asked = perf_counter_ns()
        while True:
            peer = self._giver()
            if peer is None:
                self._progress.finish()
                if not self._persistent_workers:
                    self._shutdown_workers()
                raise StopIteration
            kind, number, value, peer = self._receive(peer)
            if kind == wire.END:
                peer.active = False
                self._put()
                continue
            if number in self._tasks:
                break
        del self._tasks[number]
        if number == self._next:
            self._next += 1
        peer.outstanding -= 1
        peer.received += 1
        self._progress.advance(number, peer)
        self._put()
        if kind == wire.ERROR:
            pickle.loads(value).reraise()
        if self._pin_memory and self._carrier is None:
            value = torch_utils.pin_memory.pin_memory(value, self._pin_memory_device)
        now = perf_counter_ns()
        if self._last is not None:
            self._stages.append((peer.times, now - asked, asked - self._last))
        self._last = now
        return value

    def _giver(self):
        """The worker that has the next batch; None at the end."""
        while self._next < self._sent:
            task = self._tasks.get(self._next)
            if task is not None:
                if task[1].active:
                    return task[1]
                del self._tasks[self._next]  # its dataset had ended
            self._next += 1
        return None

    def _ready(self):
        """Whether the next batch has come, or the end: asking for it does not wait."""
        if self._in_order:
            peer = self._giver()
            return peer is None or peer.messages.lag > 0
        return any(p.active and p.outstanding and p.messages.lag > 0 for p in self._peers)

    def _receive(self, peer):
        deadline = monotonic() + self._timeout if self._timeout > 0 else None
        while True:
            try:
                if self._in_order:
                    message = peer.wait(deadline, self._look_at_others)
                else:
                    message, peer = self._wait_any(deadline)
            except Died as died:
                dead = peer if self._in_order else died.args[0]
                self._restart(dead)
                continue
            if message is None:
                raise RuntimeError(f"DataLoader timed out after {self._timeout} seconds")
            return (*message, peer)

    def _look_at_others(self, awaited):
        """Of those whose turn it is not, who died and has nothing left to give is not left until it is."""
        for peer in self._peers:
            if peer is not awaited and peer.active and peer.outstanding:
                try:
                    peer.look()
                except Died:
                    self._restart(peer)

    def _wait_any(self, deadline):
        """(message, whose) of the first worker that has one."""
        while True:
            peers = [p for p in self._peers if p.active and p.outstanding]
            self._turn += 1
            for i in range(len(peers)):
                peer = peers[(self._turn + i) % len(peers)]
                try:
                    message = peer.receive(0)
                    if message is None:
                        peer.look()
                except Died:
                    raise Died(peer) from None
                if message is not None:
                    return message, peer
            left = LOOK if deadline is None else deadline - monotonic()
            if left <= 0:
                return None, None
            poll = select.poll()
            for peer in peers:
                poll.register(peer.messages.fileno(), select.POLLIN)
            if not any([peer.messages.arm() for peer in peers]):
                poll.poll(1000 * min(LOOK, left))

    def _restart(self, peer):
        """Replaces a worker that died and replays what it owes, or tells of its death."""
        pid = peer.process.pid
        fate = peer.fate()
        if self._restarts <= 0:
            peer.active = False
            raise RuntimeError(f"DataLoader worker (pid(s) {pid}) exited unexpectedly: {fate}")
        self._restarts -= 1
        warnings.warn(
            f"DataLoader worker {peer.number} (pid {pid}) died ({fate}); it is replaced and its "
            "batches are fetched again",
            RuntimeWarning,
            stacklevel=2,
        )
        position = Position(
            skip=peer.position.skip + peer.received,
            state=peer.state,
            shared_seed=self._shared_seed,
        )
        peer.close()
        peer.join(torch_utils.MP_STATUS_CHECK_INTERVAL)
        peer.start(position)
        for number in sorted(n for n, task in self._tasks.items() if task[1] is peer):
            peer.outstanding += 1
            self._hand(peer, number, self._tasks[number][0])

    # ---- the end ----

    def _shutdown_workers(self):
        if torch_utils is None or torch_utils.python_exit_status is not False or self._shut:
            return
        self._shut = True
        for peer in self._peers:
            peer.close()
        for peer in self._peers:
            peer.join(torch_utils.MP_STATUS_CHECK_INTERVAL)

    def __del__(self):
        if getattr(self, "_shut", None) is False:
            self._shutdown_workers()
