# SPDX-License-Identifier: Apache-2.0
"""Proves that what comes out of a queue is what pickle would make of what went in: values, types,
identities, reducers, whichever form the queue chose for it."""
import array
import collections
import copy
import dataclasses
import decimal
import math
import random
from multiprocessing import reduction

import pytest
import slipring


@pytest.fixture
def through():
    q = slipring.Queue()

    def send(obj):
        q.put(obj)
        assert q.qsize() == 1
        return q.get(timeout=5)

    return send


class Int(int):
    pass


class Dict(dict):
    pass


@dataclasses.dataclass
class Point:
    x: float
    y: list


VALUES = [
    None, True, False, 0, 1, -1, 255, 256, 2**31, -2**63, 2**63 - 1, 2**63, 2**200, 1.5, -0.0, math.inf, "",
    "key", "\x00", "ä", "€uro", "𝄞 clef", "\ud800", b"", b"bytes", bytearray(b"array"), 1j, (), (1,), [], {},
    [[], [[]], {}], {"a": {"b": [1, (2, 3)]}}, {1: 2, None: 3, 2.5: "x", (1, 2): 4, b"k": "v"},
    {"k%d" % i: i for i in range(500)}, list(range(3000)), "x" * 5000, b"y" * 70_000, "é" * 5000,
    {1, 2}, frozenset([3]), range(5), slice(1, 2), decimal.Decimal("1.5"), Int(3), Dict(a=1),
    collections.OrderedDict(b=1, a=2), Point(1.0, [2]), len, Point, array.array("d", [1, 2]),
    [[[[[[[[[[[[1]]]]]]]]]]]],
]


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
def test_values(through, value):
    for obj in (value, [value], {"k": value}, (value, value)):
        got = through(obj)
        assert got == obj and type(got) is type(obj)


def test_not_a_number(through):
    assert math.isnan(through(math.nan)) and math.copysign(1, through(-0.0)) == -1


def test_order_of_a_dictionary(through):
    for seed in range(20):
        keys = [f"key{i}" for i in range(30)]
        random.Random(seed).shuffle(keys)
        assert list(through(dict.fromkeys(keys))) == keys


def test_identity(through):
    """What is one object stays one, and what contains itself goes on to."""
    inner = [1]
    got = through([inner, inner, {"k": inner}])
    assert got[0] is got[1] is got[2]["k"]
    pair = (inner,)
    got = through({"a": pair, "b": pair})
    assert got["a"][0] is got["b"][0]
    loop = [1]
    loop.append(loop)
    got = through(loop)
    assert got[1] is got
    ring = {}
    ring["self"] = {"up": ring}
    got = through(ring)
    assert got["self"]["up"] is got
    hidden = ([],)
    hidden[0].append(hidden)
    got = through(hidden)
    assert got[0][0] is got


def test_snapshot(through):
    """What is done to an object after put() does not reach the getter, nor the other way round."""
    q = slipring.Queue()
    obj = {"a": [1, 2, 3]}
    q.put(obj)
    obj["a"].append(4)
    got = q.get()
    assert got == {"a": [1, 2, 3]}
    got["a"].clear()
    assert obj == {"a": [1, 2, 3, 4]}


def test_random_objects(through):
    rng = random.Random(7)

    def make(depth):
        kind = rng.randrange(12 if depth else 8)
        if kind >= 8:
            count = rng.randrange(6)
            if kind == 8:
                return [make(depth - 1) for _ in range(count)]
            if kind == 9:
                return tuple(make(depth - 1) for _ in range(count))
            return {make(0) if rng.random() < 0.3 else f"k{i}": make(depth - 1) for i in range(count)}
        return [None, True, rng.getrandbits(rng.randrange(1, 80)), -rng.getrandbits(20), rng.random(),
                "".join(chr(rng.randrange(1, 0x3000)) for _ in range(rng.randrange(9))),
                "word" * rng.randrange(4), rng.randbytes(rng.randrange(20))][kind]

    for _ in range(2000):
        obj = make(4)
        assert through(obj) == copy.deepcopy(obj)


class Registered:
    pass


def test_reducers(through):
    reduction.ForkingPickler.register(Registered, lambda obj: (str, ("reduced",)))
    try:
        assert through({"k": [Registered()]}) == {"k": ["reduced"]}
    finally:
        del reduction.ForkingPickler._extra_reducers[Registered]


def test_large_then_small(through):
    for _ in range(3):
        assert through([Point(i, [i]) for i in range(20_000)])[-1].y == [19_999]
        assert through(Point(1, [2])) == Point(1, [2])
    assert through({"k": None}) == {"k": None}
