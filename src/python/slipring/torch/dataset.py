# SPDX-License-Identifier: Apache-2.0
"""What a dataset can tell the loader and be told by it."""

import pickle
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any

from torch.utils.data.dataloader import _DatasetKind as Kind

READ, DECODE, COLLATE, SLOT, WORK = range(5)  # stages of a worker's time
NAMES = {"read": READ, "decode": DECODE}

clock = threading.local()  # .owner: of .times (per stage) and .marked (what stage() counted)


@contextmanager
def stage(name):
    """Counts the time of a block in a dataset's code as that of a stage, "read" or "decode", in
    DataLoader.report(). What no block tells apart is "read". Where no loader runs it does nothing.
    """
    which = NAMES[name]
    owner = getattr(clock, "owner", None)
    if owner is None:
        yield
        return
    before, inner = perf_counter_ns(), owner.marked
    try:
        yield
    finally:
        spent = perf_counter_ns() - before
        owner.times[which] += spent - (owner.marked - inner)
        owner.marked = inner + spent


@dataclass
class Position:
    """Where an iterable dataset begins."""

    skip: int = 0  # batches to pass over
    state: bytes = b""  # of the dataset or its iterator, pickled, instead
    shared_seed: Any = None  # of data pipes


def state_of(fetcher):
    """Where an iterable dataset that can say so stands, pickled; else nothing. One that has ended
    may say that it is at its beginning."""
    if fetcher.ended:
        return pickle.dumps(("ended", None))
    for name in ("dataset_iter", "dataset"):
        part = getattr(fetcher, name)
        if hasattr(part, "state_dict") and hasattr(part, "load_state_dict"):
            return pickle.dumps((name, part.state_dict()))
    return b""


def fetcher_at(position, kind, dataset, auto_collation, batch_size, drop_last, collate):
    """What fetches and collates batches, from a position on."""
    name, state = pickle.loads(position.state) if position.state else (None, None)
    if name == "dataset":
        dataset.load_state_dict(state)
    fetcher = Kind.create_fetcher(kind, dataset, auto_collation, collate, drop_last)
    if kind != Kind.Iterable:
        return fetcher
    if name == "ended":
        fetcher.ended = True
    if name == "dataset_iter":
        fetcher.dataset_iter.load_state_dict(state)
    if name is None and position.skip:
        fetcher.collate_fn = lambda data: None
        index = [None] * batch_size if auto_collation else None
        for _ in range(position.skip):
            try:
                fetcher.fetch(index)
            except StopIteration:
                break
            except Exception:  # it was told when it happened first
                pass
        fetcher.collate_fn = collate
    return fetcher
