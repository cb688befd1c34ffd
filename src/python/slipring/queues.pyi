# SPDX-License-Identifier: Apache-2.0
from collections.abc import Iterable
from multiprocessing import connection, queues
from typing import Any, Generic, TypeVar

T = TypeVar("T")

class _Many(Generic[T]):
    _reader: connection.Connection
    _writer: connection.Connection
    def put_many(
        self, objects: Iterable[T], block: bool = True, timeout: float | None = None
    ) -> int: ...
    def get_many(self, most: int, block: bool = True, timeout: float | None = None) -> list[T]: ...
    def shutdown(self, immediate: bool = False) -> None: ...

class Queue(_Many[T], queues.Queue[T]):
    def __init__(
        self,
        maxsize: int = 0,
        *,
        ctx: Any = None,
        lanes: int = ...,
        lane_bytes: int = ...,
        array_bytes: int = ...,
    ) -> None: ...

class JoinableQueue(Queue[T], queues.JoinableQueue[T]): ...

class SimpleQueue(_Many[T], queues.SimpleQueue[T]):
    def __init__(
        self,
        *,
        ctx: Any = None,
        lanes: int = ...,
        lane_bytes: int = ...,
        array_bytes: int = ...,
    ) -> None: ...
