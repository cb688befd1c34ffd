# SPDX-License-Identifier: Apache-2.0
"""How far an epoch is, so that another run can go on in it.

A state holds what the sampler's order came from (the random states as they were when the epoch
began) and the numbers of the batches that were given out. To go on, the random states are set back
for the moment in which the sampler makes its order, and the batches that were given out are passed
over in it, without being fetched.
"""

import contextlib
import random

import torch
from torch.utils.data.dataloader import _DatasetKind as Kind

from .dataset import Position

VERSION = 1


def generators(loader):
    """The generators that the order of indices may come from, by name."""
    found = {"loader": loader.generator}
    sampler = loader.sampler
    batch_sampler = loader.batch_sampler
    found["sampler"] = getattr(sampler, "generator", None)
    found["batch_sampler"] = getattr(batch_sampler, "generator", None)
    found["inner"] = getattr(getattr(batch_sampler, "sampler", None), "generator", None)
    return {name: g for name, g in found.items() if isinstance(g, torch.Generator)}


def global_states():
    states = {"torch": torch.get_rng_state(), "python": random.getstate()}
    with contextlib.suppress(ImportError):
        import numpy

        states["numpy"] = numpy.random.get_state()
    return states


def set_global_states(states):
    torch.set_rng_state(states["torch"])
    random.setstate(states["python"])
    if "numpy" in states:
        import numpy

        numpy.random.set_state(states["numpy"])


def random_states(sources):
    return {
        "global": global_states(),
        "generators": {name: generator.get_state() for name, generator in sources.items()},
    }


def set_generators(sources, states):
    for name, generator in sources.items():
        if name in states:
            generator.set_state(states[name])


class Progress:
    """Of one epoch, kept up to date by its iterator."""

    def __init__(self, loader, state=None, base_seed=None):
        self.iterable = loader._dataset_kind == Kind.Iterable
        self.sampler = loader.sampler
        self.sources = generators(loader)
        self.shape = {"num_workers": loader.num_workers, "batch_size": loader.batch_size}
        self.resumed = state
        self.finished = False
        self.workers = {}  # number -> [batches given, state of its dataset]
        self.last = -1  # the worker that gave the last batch
        if state is None:
            self.random = random_states(self.sources)
            self.base_seed = base_seed  # None: this epoch draws it
            self.floor = 0  # all batches below were given out
            self.beyond = set()  # and these
            self.epoch = getattr(loader.sampler, "epoch", None)
        else:
            self.random = state["random"]
            self.base_seed = state["base_seed"]
            self.floor = 0 if self.iterable else state["floor"]
            self.beyond = set() if self.iterable else set(state["beyond"])
            self.epoch = state["epoch"]
            self.workers = {number: list(w) for number, w in state["workers"].items()}
            self.last = state["last"]
        self.before = self.floor  # what a resumed epoch begins with

    # ---- at the beginning ----

    @contextlib.contextmanager
    def replayed(self):
        """The random states as they were when the epoch began first."""
        if self.resumed is None:
            yield
            return
        ours = global_states()
        set_generators(self.sources, self.random["generators"])
        set_global_states(self.random["global"])
        if self.epoch is not None and hasattr(self.sampler, "set_epoch"):
            self.sampler.set_epoch(self.epoch)
        try:
            yield
        finally:
            set_global_states(ours)

    def drawn(self, iterator):
        """The iterator has drawn its base seed. One of an epoch whose workers were there already
        drew none: theirs is used again, and what was drawn is put back."""
        if self.resumed is not None and self.base_seed is not None:
            iterator._base_seed = self.base_seed
            set_generators(self.sources, self.random["generators"])
            set_global_states(self.random["global"])

    def position(self, number):
        """Where a worker's dataset begins."""
        given, state = self.workers.get(number, (0, b""))
        return Position(skip=given, state=state)

    def turn(self, workers):
        """How many turns of workers went before."""
        if self.iterable:
            return (self.last + 1) % workers
        return self.floor % workers

    def skip(self, draw):
        for _ in range(self.before):
            draw()

    # ---- on the way ----

    def given(self, number):
        return number in self.beyond and number >= self.floor

    def advance(self, number, peer):
        worker = peer.number
        entry = self.workers.get(worker)
        if entry is None:
            entry = self.workers[worker] = [0, b""]
        entry[0] += 1
        entry[1] = peer.state
        self.last = worker
        if number == self.floor:
            self.floor += 1
            while self.floor in self.beyond:
                self.beyond.discard(self.floor)
                self.floor += 1
        else:
            self.beyond.add(number)

    def finish(self):
        self.finished = True

    def state(self):
        return {
            "version": VERSION,
            "iterable": self.iterable,
            **self.shape,
            "finished": self.finished,
            "random": random_states(self.sources) if self.finished else self.random,
            "base_seed": self.base_seed,
            "floor": self.floor,
            "beyond": sorted(self.beyond),
            "epoch": self.epoch,
            "workers": {number: tuple(w) for number, w in self.workers.items()},
            "last": self.last,
        }
