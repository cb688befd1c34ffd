# SPDX-License-Identifier: Apache-2.0
"""Batches that are on their way to the GPU before they are asked for (DataLoader's prefetch_to).

A slot goes to the device by one copy, on a stream of its own, and goes back to its worker by that
stream. The batch's tensors are parts of what arrives there.
"""

import torch

from slipring import gpu


class Carrier:
    """Takes batches to a device."""

    def __init__(self, device):
        self.kit = gpu.Torch(device)
        self.stream = torch.cuda.Stream(self.kit.device)
        self.handle = gpu.stream_handle(self.stream)
        self.last = None

    def carry(self, slot, owner):
        """What a batch is built from (see batch.py): its bytes on the device, and the owner of those
        here: those of a slot, or a bytearray."""
        with self.kit.using(self.stream):
            if type(owner) is bytearray:
                there = self.kit.empty((len(owner),), "uint8")
                if owner:
                    there.copy_(torch.frombuffer(owner, dtype=torch.uint8))
            else:
                there = self.kit.empty((memoryview(owner).nbytes,), "uint8")
                slot._copy(0, self.kit.address(there), self.kit.index, self.handle, self.stream)
        self.last = there
        return there, owner

    def sent(self):
        """(event, memory) of the last batch."""
        return self.stream.record_event(), self.last

    def give(self, event, there):
        """The current stream goes on when the batch is there."""
        current = self.kit.current()
        current.wait_event(event)
        there.record_stream(current)


class Ahead:
    """An iterator's batches, the next one of which is under way while one is used."""

    def __init__(self, iterator, loader):
        self.iterator = iterator
        self.loader = loader
        self.held = None

    def __iter__(self):
        return self

    def __len__(self):
        return len(self.iterator)

    def _reset(self, loader, first_iter=False):
        self.held = None
        self.iterator._reset(loader, first_iter)

    def __next__(self):
        held, self.held = self.held or self.fetch(), None
        # All but what is fetched ahead was given out.
        self.loader._state = self.loader._progress.state()
        if held[0] is None and self.iterator._ready():
            self.held = self.fetch()
        failure, batch, sent = held
        if failure is not None:
            raise failure
        self.iterator._carrier.give(*sent)
        return batch

    def fetch(self):
        """(None, the next batch, its Carrier.sent()), or (what was raised for it,)."""
        try:
            batch = next(self.iterator)
        except Exception as failure:  # told in its turn
            return failure, None, None
        return None, batch, self.iterator._carrier.sent()
