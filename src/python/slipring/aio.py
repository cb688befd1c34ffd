# SPDX-License-Identifier: Apache-2.0
"""Consumers in an event loop, over their pollable descriptor: `async for view in consumer`."""
import asyncio

from slipring._slipring import Closed, Invalid

_BLIND_SECONDS = 0.001  # between looks of a consumer that nobody can wake (opened read-only)


async def _readable(consumer, fd):
    if consumer._awaited:
        raise RuntimeError("another coroutine waits in this consumer; give each one its own")
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    consumer._awaited = True
    loop.add_reader(fd, lambda: future.done() or future.set_result(None))
    try:
        await future
    finally:
        loop.remove_reader(fd)
        consumer._awaited = False


async def acquire(consumer, n=1):
    """As consumer.acquire(n), suspending instead of waiting; asyncio.wait_for() limits it."""
    while True:
        view = consumer.try_acquire(n)
        if view is not None:
            return view
        try:
            fd = consumer.fileno()
        except Invalid:
            await asyncio.sleep(_BLIND_SECONDS)
            continue
        if not consumer.arm():
            await _readable(consumer, fd)


class Turns:
    """What `async for` goes through; as with `for`, each turn's view lasts for the turn."""

    def __init__(self, consumer):
        self.consumer, self.view = consumer, None

    def __aiter__(self):
        return self

    async def __anext__(self):
        last, self.view = self.view, None
        if last is not None:
            last._turn_over()
            del last
        try:
            self.view = await acquire(self.consumer)
        except Closed:
            raise StopAsyncIteration from None
        return self.view
