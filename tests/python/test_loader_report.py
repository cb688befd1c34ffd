# SPDX-License-Identifier: Apache-2.0
"""Proves that DataLoader.report() puts the time where it goes and names the bottleneck."""
import time

import loader_data as data
import pytest
import slipring.torch
import torch
from slipring.torch.report import KEPT, NAMES, report
from slipring.torch.slots import TIMES

Ours = slipring.torch.DataLoader
SLEEP = 0.02


class Sleeping(data.Images):
    """Sleeps where it is told to."""

    def __init__(self, where, **options):
        super().__init__(**options)
        self.where = where

    def __getitem__(self, i):
        if self.where == "read":
            time.sleep(SLEEP)
        with slipring.torch.stage("decode"):
            if self.where == "decode":
                time.sleep(SLEEP)
            with slipring.torch.stage("read"):
                if self.where == "inner read":
                    time.sleep(SLEEP)
        return super().__getitem__(i)


class SleepingInto(data.Into):
    def getitem_into(self, i, out):
        time.sleep(SLEEP)
        super().getitem_into(i, out)


def slow_collate(samples):
    time.sleep(2 * SLEEP)
    return torch.utils.data.default_collate(samples)


CASES = {
    "read": ("read", dict(dataset=Sleeping("read", count=20))),
    "decode": ("decode", dict(dataset=Sleeping("decode", count=20))),
    "inner read": ("read", dict(dataset=Sleeping("inner read", count=20))),
    "into": ("decode", dict(dataset=SleepingInto(count=40, shape=(3, 64, 64)))),
    "collate": ("collate", dict(dataset=data.Images(20), collate_fn=slow_collate)),
}


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("case", CASES)
def test_bottleneck(case, workers):
    expected, options = CASES[case]
    if case == "into" and workers == 0:
        pytest.skip("getitem_into is for workers")
    loader = Ours(batch_size=2, num_workers=workers, **options)
    batches = len(list(loader))
    found = loader.report()
    assert found.batches == batches - 1 and found.bottleneck == expected, str(found)
    stages = found.stages
    assert stages[expected].p50 >= 2 * SLEEP and stages[expected].mean >= 1.5 * SLEEP
    assert stages[expected].share > 0.5
    assert stages["wait for batch"].p50 >= SLEEP
    others = {"read", "decode", "collate"} - {expected}
    assert all(stages[name].p50 < SLEEP for name in others)
    assert expected in str(found)


def test_the_loop_is_the_bottleneck():
    loader = Ours(data.Images(60), 2, num_workers=1)
    for _ in loader:
        time.sleep(SLEEP)
    found = loader.report()
    assert found.bottleneck == "step" and found.stages["step"].p50 >= SLEEP
    assert found.stages["wait for work"].share > 0.5


def test_waiting_for_a_slot_is_told():
    """A loop that takes nothing for a while, with a worker that may work further ahead than there
    are slots."""
    loader = Ours(data.Images(80, (3, 64, 64)), 4, num_workers=2, prefetch_factor=2)
    iterator = iter(loader)
    kept = [next(iterator) for _ in range(2)]
    for batch in iterator:
        kept.append(batch)
    assert len(kept) == 20 and loader.report().stages["wait for slot"].mean > 0


def test_numbers():
    rows = [(TIMES.pack(0, 0, n, 0, 0), 900, 100) for n in range(100)]
    found = report(rows)
    collate = found.stages["collate"]
    assert (collate.p50, collate.p99) == (50e-9, 99e-9) and collate.mean == pytest.approx(49.5e-9)
    assert collate.share == 1 and found.stages["step"].share == pytest.approx(0.1)
    assert found.bottleneck == "collate" and tuple(found.stages) == NAMES
    lines = [line.split()[:2] for line in str(found).splitlines()]
    assert lines[1] == ["a", "worker's"] and lines[7] == ["the", "loop's"] and len(lines) == 10
    assert report([]).batches == 0 and report([]).bottleneck == ""
    # A loop that waits for a fifth of its time, for workers that wait for most of theirs.
    busy_loop = report([(TIMES.pack(0, 0, 100, 0, 900), 200, 800)] * 10)
    assert busy_loop.bottleneck == "step"
    busy_worker = report([(TIMES.pack(0, 0, 900, 0, 100), 200, 800)] * 10)
    assert busy_worker.bottleneck == "collate"
    assert KEPT >= 1000


def test_stage_outside_of_a_loader():
    with slipring.torch.stage("decode"):
        pass
    with pytest.raises(KeyError):
        with slipring.torch.stage("no such"):
            pass
