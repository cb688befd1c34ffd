# SPDX-License-Identifier: Apache-2.0
"""Proves that slipring.torch.DataLoader does as torch's DataLoader does: collate functions,
iterable datasets, start methods, worker information, errors, time-outs, warnings, persistent workers."""
import ast
import contextlib
import dataclasses
import gc
import inspect
import os
import pathlib
import threading
import warnings

import loader_data as data
import numpy as np
import pytest
import slipring.torch
import torch
import torch.utils.data as tud

Ours, Torch = slipring.torch.DataLoader, tud.DataLoader


def test_batches_that_grow():
    data.compare(data.Growing(count=60), batch_size=1, num_workers=2)


@pytest.mark.parametrize("collate", [data.pad, data.through_default, list, lambda s: s[0]])
@pytest.mark.parametrize("shape", [(3, 4, 4), (3, 80, 80)])
def test_collate(collate, shape):
    data.compare(data.Images(shape=shape), batch_size=5, num_workers=2, collate_fn=collate)


def test_collate_results_of_all_kinds():
    made = [
        torch.arange(24.0).view(2, 3, 4, 1).contiguous(memory_format=torch.channels_last),
        torch.ones(3, requires_grad=True),
        np.arange(6, dtype="c8").reshape(2, 3),
        np.array(["text", None], dtype=object),
        torch.arange(12.0).view(3, 4).t(),
        torch.empty(0, 3),
        {("a", 1): torch.tensor(True)},
        data.Point(torch.ones(2), "y"),
        {1, 2},
        "x" * 200_000,
        torch.ones(70_000, dtype=torch.uint8),
    ]
    options = dict(batch_size=2, num_workers=1, collate_fn=lambda samples: made)
    theirs, ours = data.both(range(4), **options)
    for batch, other in zip(ours[:-1], theirs[:-1]):
        for a, b in zip(batch, other):
            if isinstance(a, np.ndarray) and a.dtype == object:
                assert list(a) == list(b)
            else:
                data.same(a, b)


def test_one_tensor_twice_is_one_tensor():
    made = torch.ones(3)
    parts = {"a": made, 1: made, "s": "x"}
    batch = next(iter(Ours(range(2), num_workers=1, collate_fn=lambda samples: parts)))
    assert batch["a"] is batch[1]


@pytest.mark.parametrize("workers", [0, 1, 2, 3])
@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_iterable(workers):
    for options in (dict(batch_size=4), dict(batch_size=4, drop_last=True), dict(batch_size=None)):
        data.compare(data.Stream(), num_workers=workers, epochs=2, **options)
    if workers:
        options = dict(epochs=3, batch_size=4, persistent_workers=True)
        data.compare(data.Stream(), num_workers=workers, **options)


def test_iterable_length_warning():
    for loader_type in (Torch, Ours):
        loader = loader_type(data.Stream(50, length=5), batch_size=5, num_workers=2)
        assert len(loader) == 1
        with pytest.warns(UserWarning, match="was reported to be 5"):
            list(loader)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_start_methods(method):
    ours = data.compare(data.Seeds(20), batch_size=4, num_workers=2, multiprocessing_context=method,
                   shuffle=True, generator=1)
    assert len({int(row[1]) for batch in ours[:-1] for row in batch}) == 2


def test_worker_init_fn_and_info():
    def init(worker):
        info = tud.get_worker_info()
        assert info.id == worker and info.num_workers == 2
        info.dataset.count += 100 * worker
        torch.manual_seed(worker)

    data.compare(data.Seeds(20), batch_size=4, num_workers=2, worker_init_fn=init)
    assert tud.get_worker_info() is None

    def bad(worker):
        raise KeyError("no such shard")

    for loader_type in (Torch, Ours):
        with pytest.raises(KeyError, match="in DataLoader worker process 0(.|\n)*no such shard"):
            next(iter(loader_type(data.Images(), num_workers=1, worker_init_fn=bad)))


class Odd(Exception):
    """Cannot be made from its text alone."""

    def __init__(self, a, b):
        super().__init__(f"{a} {b}")


@pytest.mark.parametrize("workers", [0, 2])
def test_errors(workers):
    def outcome(loader_type, dataset):
        seen = []
        iterator = iter(loader_type(dataset, batch_size=2, num_workers=workers))
        while True:
            try:
                seen.append([int(i) for i in next(iterator)[0][:, 0, 0, 0]])
            except StopIteration:
                return seen
            except Exception as error:
                seen.append((type(error), str(error).split("\n")[0]))

    for error, count in ((ValueError, 8), (KeyError, 8), (StopIteration, 2)):
        dataset = data.Failing(5, error, count=16)
        theirs, ours = outcome(Torch, dataset), outcome(Ours, dataset)
        assert ours == theirs and len(ours) == count
    dataset = data.Failing(5, lambda text: Odd(text, 1), count=16)
    ours = outcome(Ours, dataset)
    assert len(ours) == 8 and issubclass(ours[2][0], (Odd, RuntimeError))


def test_error_that_cannot_be_pickled():
    class Local(Exception):
        pass

    loader = Ours(data.Failing(0, Local), num_workers=1)
    with pytest.raises(RuntimeError, match="Local(.|\n)*sample 0 is bad"):
        list(loader)


def test_batch_that_cannot_be_pickled():
    loader = Ours(range(3), num_workers=1, collate_fn=lambda samples: threading.Lock())
    with pytest.raises(TypeError, match="pickle"):
        list(loader)


def test_timeout():
    for loader_type in (Torch, Ours):
        with pytest.raises(RuntimeError, match="DataLoader timed out after 0.2 seconds"):
            next(iter(loader_type(data.Slow(3.0), num_workers=1, timeout=0.2)))


def test_pin_memory_without_an_accelerator():
    if torch.cuda.is_available():
        pytest.skip("there is an accelerator")
    for loader_type in (Torch, Ours):
        warns = pytest.warns(UserWarning, match="no accelerator is found")
        with warns if hasattr(torch, "accelerator") else contextlib.nullcontext():  # newer torch
            batch = next(iter(loader_type(data.Images(), num_workers=1, pin_memory=True)))
        assert not batch[0].is_pinned()


def test_arguments_are_checked():
    for options in (
        dict(num_workers=-1),
        dict(timeout=-1),
        dict(prefetch_factor=3),
        dict(persistent_workers=True),
        dict(shuffle=True, sampler=[1]),
        dict(batch_sampler=[[1]], batch_size=2),
        dict(batch_size=None, drop_last=True),
        dict(multiprocessing_context="fork"),
        dict(num_workers=1, multiprocessing_context="no such method"),
    ):
        for loader_type in (Torch, Ours):
            with pytest.raises(ValueError):
                loader_type(data.Images(), **options)
    with pytest.raises(ValueError, match="restart_workers"):
        Ours(data.Images(), restart_workers=-1)
    loader = Ours(data.Images(), num_workers=1)
    assert isinstance(loader, Torch) and len(loader) == 40
    with pytest.raises(ValueError):
        loader.batch_size = 3


def test_out_of_order():
    """in_order=False: every batch once, and a slow worker holds nobody up."""
    dataset = data.SlowFirst(24, 0.5)
    batches = [int(b[0, 0]) for b in Ours(dataset, batch_size=2, num_workers=2, in_order=False)]
    assert sorted(batches) == list(range(0, 24, 2))
    assert batches[0] != 0, "the slow first batch came first"


def test_persistent_workers_are_the_same_processes():
    loader = Ours(data.Pid(), batch_size=4, num_workers=2, persistent_workers=True)
    epochs = [{int(row[1]) for batch in loader for row in batch} for _ in range(3)]
    assert epochs[0] == epochs[1] == epochs[2] and len(epochs[0]) == 2
    next(iter(loader))  # an epoch that is left, then one from the start
    assert [int(i) for b in loader for i in b[:, 0]] == list(range(40))
    del loader
    loader = Ours(data.Pid(), batch_size=4, num_workers=2)
    assert {int(r[1]) for b in loader for r in b}.isdisjoint({int(r[1]) for b in loader for r in b})


def test_long_index_lists():
    """Indices too many for the task ring."""
    dataset = [torch.tensor([i]) for i in range(30_000)]
    data.compare(dataset, batch_size=20_000, num_workers=1, shuffle=True)


def test_two_loaders_and_threads_at_once():
    def work(results, seed):
        results.append(torch.cat([b[0][:, 0, 0, 0] for b in Ours(data.Images(), 4, num_workers=1)]))

    results = []
    threads = [threading.Thread(target=work, args=(results, i)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 2 and all(torch.equal(r, torch.arange(40.0)) for r in results)


def test_nothing_is_left_behind():
    def descriptors():
        return len(os.listdir("/proc/self/fd"))

    list(Ours(data.Images(), 4, num_workers=2))
    gc.collect()
    before = descriptors()
    for _ in range(5):
        list(Ours(data.Images(shape=(3, 64, 64)), 4, num_workers=2))
        next(iter(Ours(data.Images(), 4, num_workers=2)))
    gc.collect()
    assert descriptors() <= before
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(Ours(data.Images(), 4, num_workers=1))


def test_the_stub_says_what_there_is():
    stub = ast.parse(pathlib.Path(slipring.torch.__file__).with_name("__init__.pyi").read_text())
    classes = {node.name: node for node in stub.body if isinstance(node, ast.ClassDef)}
    assert {*classes, "stage"} == set(slipring.torch.__all__)
    functions = {f.name: f for f in classes["DataLoader"].body if isinstance(f, ast.FunctionDef)}
    assert set(functions) == {n for n in vars(Ours) if callable(vars(Ours)[n]) and n[:1] != "_"} | {
        "__init__"
    }
    for name, function in functions.items():
        found = list(inspect.signature(getattr(Ours, name)).parameters)
        assert [a.arg for a in function.args.args + function.args.kwonlyargs] == found
        assert getattr(Ours, name).__doc__ or name == "__init__"
    theirs = inspect.signature(Torch.__init__).parameters
    assert set(theirs) <= set(inspect.signature(Ours.__init__).parameters)
    for name in ("Report", "Stage"):
        said = [part.target.id for part in classes[name].body]
        assert said == [f.name for f in dataclasses.fields(getattr(slipring.torch, name))]
