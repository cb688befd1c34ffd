# SPDX-License-Identifier: Apache-2.0
"""What the measures share: two processes in their places, a start together, time."""
import multiprocessing
import os
import time

FORK = multiprocessing.get_context("fork")


def round_seconds(quick):
    return 0.15 if quick else 0.5


def pin(place):
    """As the C part: 0 is the producer's processor, the others go round over the rest."""
    processors = sorted(os.sched_getaffinity(0))
    if len(processors) > 1:
        os.sched_setaffinity(0, {processors[0 if place == 0 else 1 + (place - 1) % (len(processors) - 1)]})


def _seat(place, body, barrier, results):
    pin(place)
    results.put((place, body(barrier.wait)))


def team(*bodies):
    """Run each body(meet) in a process of its own, pinned to its place; what they return, in their
    order. meet() waits for all of them."""
    barrier, results = FORK.Barrier(len(bodies)), FORK.SimpleQueue()
    processes = [FORK.Process(target=_seat, args=(place, body, barrier, results), daemon=True)
                 for place, body in enumerate(bodies)]
    for process in processes:
        process.start()
    got = dict(results.get() for _ in processes)
    for process in processes:
        process.join()
        if process.exitcode != 0:
            raise SystemExit(f"a process of the measure ended with {process.exitcode}")
    return [got[place] for place in range(len(bodies))]


def rates(begun, marks, amount):
    """Chunks from the times at which each amount was done."""
    for mark in marks:
        yield "chunk", amount * 1e9 / (mark - begun)
        begun = mark


now = time.monotonic_ns
