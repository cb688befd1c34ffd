# SPDX-License-Identifier: Apache-2.0
"""Tensors between processes of one machine, without copying them: rings of slots in shared memory.

    ring = slipring.Ring.create(schema=("float32", (224, 224, 3)), slots=16)
    with ring.producer() as producer, producer.claim() as loan:
        loan.array[...] = 0
"""
from slipring._slipring import (
    Busy,
    Canceled,
    Closed,
    Consumer,
    Damaged,
    Denied,
    Error,
    Evicted,
    Exists,
    Field,
    Forked,
    Invalid,
    Loan,
    NoDevice,
    NotFound,
    PeerDied,
    Producer,
    Ring,
    ShutDown,
    View,
    __version__,
    now_ns,
    unlink,
)
from slipring.context import get_context
from slipring.dtypes import typed
from slipring.queues import JoinableQueue, Queue, SimpleQueue
