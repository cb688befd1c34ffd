# SPDX-License-Identifier: Apache-2.0
"""num_workers=0: torch's own iterator, with our progress and times."""

import itertools
from time import perf_counter_ns

from torch.utils.data import dataloader as torch_loader
from torch.utils.data.dataloader import _DatasetKind as Kind

from .dataset import COLLATE, READ, clock, fetcher_at, state_of
from .slots import TIMES


class SingleIterator(torch_loader._SingleProcessDataLoaderIter):
    number = 0  # as a worker
    state = b""

    def __init__(self, loader):
        self._progress = progress = loader._new_progress()
        with progress.replayed():
            super().__init__(loader)
            progress.drawn(self)
            progress.skip(self._next_index)
            if progress.resumed is not None:  # most samplers make their order at the first draw
                first = list(itertools.islice(self._sampler_iter, 1))
                self._sampler_iter = itertools.chain(first, self._sampler_iter)
        self._stages = loader._stages
        self._last = None
        self._drawn = progress.floor
        if progress.resumed is not None:
            self._dataset_fetcher = fetcher_at(
                progress.position(0),
                self._dataset_kind,
                self._dataset,
                self._auto_collation,
                loader.batch_size,
                self._drop_last,
                self._collate_fn,
            )
        self._dataset_fetcher.collate_fn = self.collate

    def collate(self, data):
        before = perf_counter_ns()
        self.times[READ] += before - self._began - self.marked
        try:
            return self._collate_fn(data)
        finally:
            self.times[COLLATE] += perf_counter_ns() - before

    def _next_data(self):
        asked = self._began = perf_counter_ns()
        progress = self._progress
        while progress.given(self._drawn):
            self._next_index()
            self._drawn += 1
        self.times, self.marked = [0] * 5, 0
        clock.owner = self
        try:
            data = super()._next_data()
        except StopIteration:
            progress.finish()
            raise
        finally:
            clock.owner = None
        if self._dataset_kind == Kind.Iterable:
            self.state = state_of(self._dataset_fetcher)
        progress.advance(self._drawn, self)
        self._drawn += 1
        now = perf_counter_ns()
        if self._last is not None:
            times = TIMES.pack(*self.times)
            self._stages.append((times, now - asked, asked - self._last))
        self._last = now
        return data
