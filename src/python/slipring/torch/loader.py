# SPDX-License-Identifier: Apache-2.0
"""The DataLoader."""

import inspect
from collections import deque

import torch.utils.data

from slipring import Invalid, gpu

from .ahead import Ahead
from .iterator import Iterator
from .progress import VERSION, Progress, set_generators
from .report import KEPT, report
from .single import SingleIterator

ARGUMENTS = inspect.signature(torch.utils.data.DataLoader.__init__).parameters


class DataLoader(torch.utils.data.DataLoader):
    """torch.utils.data.DataLoader whose workers collate batches straight into shared memory.

    All arguments, and what they mean, are torch's. Beyond them:

    restart_workers: how many times in all a worker that died is replaced, its batches being fetched
    again (0: its death is a RuntimeError that names it, as torch's).

    prefetch_to: a CUDA device. Tensors come there, copied from their slots ahead of their turn; arrays
    and all else stay here.

    A batch lies in a slot of the worker that made it, and keeps that slot until the last of its
    tensors dies. However many are kept, the loader goes on: see slots.py.
    """

    def __init__(
        self,
        dataset,
        batch_size=1,
        shuffle=None,
        sampler=None,
        batch_sampler=None,
        num_workers=0,
        collate_fn=None,
        pin_memory=False,
        drop_last=False,
        timeout=0,
        worker_init_fn=None,
        multiprocessing_context=None,
        generator=None,
        *,
        prefetch_factor=None,
        persistent_workers=False,
        pin_memory_device="",
        in_order=True,
        restart_workers=0,
        prefetch_to=None,
    ):
        if restart_workers < 0:
            raise ValueError("restart_workers counts replacements: it cannot be negative")
        if prefetch_factor is not None and prefetch_factor < 1:
            raise ValueError("prefetch_factor: each worker needs a batch or more to work ahead")
        if prefetch_to is not None:
            if not gpu.is_cuda(prefetch_to):
                raise Invalid(22, f"prefetch_to={str(prefetch_to)!r}: it wants a CUDA device, or None")
            if num_workers == 0:
                raise ValueError("prefetch_to copies from workers' slots: num_workers must be 1 or "
                                 "more")
            gpu.foresee()
        others = {}
        if prefetch_factor is not None:
            others["prefetch_factor"] = prefetch_factor
        if "in_order" in ARGUMENTS:  # of newer torch
            others["in_order"] = in_order
        self.in_order = in_order
        self.restart_workers = restart_workers
        self.prefetch_to = prefetch_to
        self._progress = self._resume = self._state = None
        self._stages = deque(maxlen=KEPT)
        super().__init__(
            dataset,
            batch_size,
            shuffle,
            sampler,
            batch_sampler,
            num_workers,
            collate_fn,
            pin_memory,
            drop_last,
            timeout,
            worker_init_fn,
            multiprocessing_context,
            generator,
            persistent_workers=persistent_workers,
            pin_memory_device=pin_memory_device,
            **others,
        )

    def _get_iterator(self):
        if self.num_workers == 0:
            return SingleIterator(self)
        self.check_worker_number_rationality()
        iterator = Iterator(self)
        return iterator if self.prefetch_to is None else Ahead(iterator, self)

    def _new_progress(self, base_seed=None):
        state, self._resume = self._resume, None
        self._state = None
        self._progress = Progress(self, state, base_seed)
        return self._progress

    def state_dict(self):
        """How far the present epoch is, to go on there with load_state_dict(), in another process.

        All batches that were given out count as done. It holds random states: save it with
        torch.save() or pickle, and only load what you trust.
        """
        if self._resume is not None:
            return self._resume
        if self._progress is None:
            return {"version": VERSION}
        return self._state or self._progress.state()

    def load_state_dict(self, state):
        """Has the next epoch of this loader, made with the same arguments as the one whose state it
        is, go on where that one was: each batch that it had not yet given out comes once, in the
        order that it would have come in. A state from the end of an epoch begins the next one.

        A map dataset's batches that are done are passed over without being fetched. An iterable
        dataset, or its iterator, that has state_dict and load_state_dict goes on from the state
        after the worker's last batch that was given out; one that has not is read again from its
        beginning, without collating: right if it yields the same again. Its num_workers must be the
        same; random numbers drawn in workers begin anew.
        """
        if state.get("version") != VERSION:
            raise ValueError(f"a loader's state of version {state.get('version')}: want {VERSION}")
        self._iterator = None
        self._progress = self._resume = self._state = None
        if "floor" not in state:
            return
        if state["batch_size"] != self.batch_size:
            raise ValueError(f"the state is of batch_size {state['batch_size']}")
        iterable = self._dataset_kind == torch.utils.data.dataloader._DatasetKind.Iterable
        if state["iterable"] != iterable:
            raise ValueError("the state is of another kind of dataset")
        if iterable and state["num_workers"] != self.num_workers:
            raise ValueError(f"the state is of num_workers {state['num_workers']}")
        if not state["finished"]:
            self._resume = state
            return
        progress = Progress(self)
        set_generators(progress.sources, state["random"]["generators"])

    def report(self):
        """Where the time of the last batches went: a Report."""
        return report(list(self._stages))
