# SPDX-License-Identifier: Apache-2.0
"""Contexts as multiprocessing's, whose queues are slipring's."""

from multiprocessing import context as _context

from slipring import queues

__all__ = ["get_context"]


class _Queues:
    def Queue(self, maxsize=0):
        return queues.Queue(maxsize)

    def JoinableQueue(self, maxsize=0):
        return queues.JoinableQueue(maxsize)

    def SimpleQueue(self):
        return queues.SimpleQueue()


class ForkContext(_Queues, _context.ForkContext):
    """multiprocessing's fork, with slipring's queues."""


class SpawnContext(_Queues, _context.SpawnContext):
    """multiprocessing's spawn, with slipring's queues."""


class ForkServerContext(_Queues, _context.ForkServerContext):
    """multiprocessing's forkserver, with slipring's queues."""


_contexts = {
    "fork": ForkContext(),
    "spawn": SpawnContext(),
    "forkserver": ForkServerContext(),
}


def get_context(method=None):
    """A context for the start method "fork", "spawn" or "forkserver", or for the one in use.

    It has all that multiprocessing.get_context() gives; Queue, JoinableQueue and SimpleQueue, and
    so Pool, and ProcessPoolExecutor(mp_context=...), use slipring.
    """
    if method is None:
        method = _context._default_context.get_start_method()
    try:
        found = _contexts[method]
    except KeyError:
        raise ValueError(f"cannot find context for {method!r}") from None
    found._check_available()
    return found
