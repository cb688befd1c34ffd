# SPDX-License-Identifier: Apache-2.0
from contextlib import AbstractContextManager
from dataclasses import dataclass
from multiprocessing.context import BaseContext
from typing import Any, Callable, Iterable, Literal, TypeVar

import torch
import torch.utils.data
from torch.utils.data import Dataset, Sampler

T = TypeVar("T")

__all__ = ["DataLoader", "Report", "Stage", "stage"]

class DataLoader(torch.utils.data.DataLoader[T]):
    in_order: bool
    restart_workers: int
    prefetch_to: str | int | torch.device | None
    def __init__(
        self,
        dataset: Dataset[T],
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Sampler[Any] | Iterable[Any] | None = None,
        batch_sampler: Sampler[list[Any]] | Iterable[list[Any]] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context: str | BaseContext | None = None,
        generator: torch.Generator | None = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
        restart_workers: int = 0,
        prefetch_to: str | int | torch.device | None = None,
    ) -> None: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...
    def report(self) -> Report: ...

@dataclass
class Stage:
    name: str
    mean: float
    p50: float
    p99: float
    share: float

@dataclass
class Report:
    batches: int
    stages: dict[str, Stage]
    bottleneck: str

def stage(name: Literal["read", "decode"]) -> AbstractContextManager[None]: ...
