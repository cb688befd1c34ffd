# SPDX-License-Identifier: Apache-2.0
"""Rings in pickles: by name, or as descriptors that travel with multiprocessing."""
import os
from multiprocessing import reduction

from slipring._slipring import Ring

_READ_ONLY, _ANY_OWNER = 1, 2


def _attach(name, flags):
    return Ring.attach(name, read_only=bool(flags & _READ_ONLY), any_owner=bool(flags & _ANY_OWNER))


def _from_dups(data, control):
    fds = [part.detach() for part in (data, control) if part is not None]
    try:
        return Ring.from_fds(*fds)
    finally:
        for fd in fds:
            os.close(fd)


def reduce_ring(ring, flags):
    """What pickle makes of a ring. DupFd: to a child that is being spawned as an inherited
    descriptor, else through a socket that this process answers once."""
    if ring.name is not None:
        return _attach, (ring.name, flags)
    data, control = ring.fds()
    return _from_dups, (reduction.DupFd(data), None if control < 0 else reduction.DupFd(control))
