# SPDX-License-Identifier: Apache-2.0
"""Where a loader's time goes."""

from dataclasses import dataclass

from .slots import TIMES

KEPT = 8192  # batches whose times are kept

NAMES = ("read", "decode", "collate", "wait for slot", "wait for work", "wait for batch", "step")
WORKER = NAMES[:5]  # a worker's time per batch
LOADER = NAMES[5:]  # the loop's
WAITING = ("wait for slot", "wait for work")
WORK = tuple(name for name in WORKER if name not in WAITING)


@dataclass
class Stage:
    """Times per batch, in seconds; share: of the worker's time, or of the loop's."""

    name: str
    mean: float
    p50: float
    p99: float
    share: float


@dataclass
class Report:
    """The times of the last batches (at most 8192), stage by stage. The first batch of an epoch is
    not among them: waiting for it is waiting for workers to start.

    read, decode, collate, wait for slot, wait for work: a worker's. wait for batch: the loop's, in
    the loader; step: the loop's outside of it. bottleneck: what the others wait for: "step" where
    the loop works for more of its time than the workers do of theirs, else the longest of a worker's
    stages.
    """

    batches: int
    stages: dict
    bottleneck: str

    def __str__(self):
        lines = [f"{self.batches} batches; the bottleneck: {self.bottleneck}"]
        for whose, names in (("a worker's", WORKER), ("the loop's", LOADER)):
            lines.append(f"{whose:15}{'mean':>11}{'p50':>11}{'p99':>11}{'share':>8}")
            for s in (self.stages[name] for name in names):
                cells = "".join(f"{1e6 * t:9.1f}us" for t in (s.mean, s.p50, s.p99))
                lines.append(f"  {s.name:13}{cells}{100 * s.share:7.1f}%")
        return "\n".join(lines)


def report(rows):
    """The report of rows of nanoseconds: those of a worker's stages packed, and the loop's two."""
    rows = [(*TIMES.unpack(times), wait, step) for times, wait, step in rows]
    count = len(rows)
    columns = list(zip(*rows)) if rows else [()] * len(NAMES)
    totals = dict(zip(NAMES, map(sum, columns)))
    stages = {}
    for name, column in zip(NAMES, columns):
        side = WORKER if name in WORKER else LOADER
        all_of_it = sum(totals[other] for other in side)
        ordered = sorted(column)
        stages[name] = Stage(
            name,
            totals[name] / count / 1e9 if count else 0.0,
            ordered[count // 2] / 1e9 if count else 0.0,
            ordered[min(count - 1, count * 99 // 100)] / 1e9 if count else 0.0,
            totals[name] / all_of_it if all_of_it else 0.0,
        )
    if stages["step"].share > sum(stages[name].share for name in WORK):
        bottleneck = "step"
    else:
        bottleneck = max(WORK, key=lambda name: totals[name])
    return Report(count, stages, bottleneck if count else "")
