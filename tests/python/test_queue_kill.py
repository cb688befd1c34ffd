# SPDX-License-Identifier: Apache-2.0
"""Proves that no process that uses a queue is hurt by the kill -9 of another at any moment: random
putters and getters die; the others go on at once, no item comes twice, and none is lost but what a
victim had in hand, and what its own feeder had not yet put.

SLIPRING_QUEUE_KILLS: forked victims of each test, 300; SLIPRING_SPAWNED_KILLS: spawned ones, 20;
SLIPRING_SEED. How soon after a death the others went on is told, and only a hang fails.
"""
import collections
import gc
import os
import queue
import random
import signal
import struct
import time
from multiprocessing import connection

import pytest
import slipring

KILLS = int(os.environ.get("SLIPRING_QUEUE_KILLS", "300"))
SPAWNED = int(os.environ.get("SLIPRING_SPAWNED_KILLS", "20"))
SEED = int(os.environ.get("SLIPRING_SEED", str(time.time_ns() % 2**32)))
LIMIT = 3  # seconds without a sign of any survivor: a hang. What is promised is a tenth of one.
RECORD = struct.Struct("ii")


def payload(number, large):
    return bytes([number % 251]) * (400_000 if large and number % 40 == 39 else number % 300)


def put_for_ever(q, log, who, large):
    number = 0
    while True:
        q.put((who, number, payload(number, large)))
        os.write(log, RECORD.pack(who, number))
        number += 1
        if number % 4 == 0:
            time.sleep(0.001)  # the getters keep up


def get_for_ever(q, log, who, large):
    while True:
        putter, number, data = q.get()
        assert data == payload(number, large)
        os.write(log, RECORD.pack(putter, number))


class Crowd:
    """Putters and getters, each with a pipe in which it says what it has done."""

    def __init__(self, q, large, context=None):
        self.q, self.large, self.context = q, large, context
        self.members = {}
        self.seen = set()  # those that have given a sign
        self.put, self.got = {}, collections.Counter()
        self.count = 0
        self.silent = {}  # since when, of those that gave no sign since a kill
        self.silences = []

    def add(self, role):
        self.count += 1
        read_end, write_end = os.pipe()
        os.set_blocking(read_end, False)
        args = (self.q, write_end, self.count, self.large)
        if self.context is not None:
            process = self.context.Process(target=spawned, args=(role.__name__, *pack(args)))
            process.start()
            pid = process.pid
        else:
            process, pid = None, os.fork()
            if pid == 0:
                try:
                    role(*args)
                finally:
                    os._exit(1)
        os.close(write_end)
        self.members[pid] = (role, read_end, process)

    def kill(self, pid):
        os.kill(pid, signal.SIGKILL)
        role, read_end, process = self.members.pop(pid)
        self.silent.pop(pid, None)
        self.silent = dict.fromkeys(self.seen & set(self.members), time.monotonic()) | self.silent
        if process is None:
            assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL, "it had died by itself"
        else:
            process.join()
            assert process.exitcode == -signal.SIGKILL, "it had died by itself"
        self.read(role, read_end)
        os.close(read_end)
        return role

    def ready(self):
        """Who may be killed. Of spawned ones, which take long to begin, one of each kind goes on."""
        if self.context is None:
            return list(self.members)
        begun = collections.Counter(self.members[pid][0] for pid in self.seen & set(self.members))
        return [pid for pid in self.seen & set(self.members) if begun[self.members[pid][0]] > 1]

    def read(self, role, read_end):
        seen = 0
        while True:
            try:
                data = os.read(read_end, 1 << 16)
            except BlockingIOError:
                return seen
            if not data:
                return seen
            for who, number in RECORD.iter_unpack(data):
                seen += 1
                if role is put_for_ever:
                    self.put[who] = number
                else:
                    self.got[who, number] += 1

    def read_all(self):
        signs = {role: 0 for role in (put_for_ever, get_for_ever)}
        for pid, (role, read_end, _) in self.members.items():
            count = self.read(role, read_end)
            signs[role] += count
            if count:
                self.seen.add(pid)
                if pid in self.silent:
                    self.silences.append(time.monotonic() - self.silent.pop(pid))
        return signs


def pack(args):
    q, write_end, *rest = args
    return q, _Fd(write_end), *rest


class _Fd:
    def __init__(self, fd):
        self.fd = fd

    def __reduce__(self):
        from multiprocessing import reduction

        return _open_fd, (reduction.DupFd(self.fd),)


def _open_fd(dup):
    return dup.detach()


def spawned(role, *args):
    globals()[role](*args)


def run(crowd, kills, pause):
    rng = random.Random(SEED)
    for role in (put_for_ever, get_for_ever):
        for _ in range(3):
            crowd.add(role)
    last = {role: time.monotonic() for role in (put_for_ever, get_for_ever)}
    killed = collections.Counter()
    while crowd.context is not None and len(crowd.seen) < len(crowd.members):
        crowd.read_all()  # until all have begun
        time.sleep(0.01)
        last = dict.fromkeys(last, time.monotonic())
    while sum(killed.values()) < kills:
        end = time.monotonic() + rng.uniform(0, pause)
        signs = collections.Counter(crowd.read_all())
        while time.monotonic() < end:
            time.sleep(0.001)
            signs.update(crowd.read_all())
        ready = crowd.ready()
        if ready:
            role = crowd.kill(rng.choice(sorted(ready)))
            killed[role] += 1
            crowd.add(role)
        now = time.monotonic()
        for seen, count in signs.items():
            if count:
                last[seen] = now
            assert now - last[seen] < LIMIT + 100 * pause, f"{seen.__name__}: no sign, seed {SEED}"
    return killed


def finish(crowd):
    q = crowd.q
    for pid in [p for p, (role, _, _) in crowd.members.items() if role is put_for_ever]:
        crowd.kill(pid)
    end = time.monotonic() + 10 * LIMIT
    while q.qsize() > 0:
        assert time.monotonic() < end, f"{q.qsize()} items are left over, seed {SEED}"
        crowd.read_all()
        time.sleep(0.01)
    quiet = 0
    while quiet < 5:
        quiet = 0 if sum(crowd.read_all().values()) else quiet + 1
        time.sleep(0.02)
    for pid in list(crowd.members):
        crowd.kill(pid)
    assert q.empty()
    q.put("after all that")
    assert q.get(timeout=5) == "after all that" and q.qsize() == 0


def lost(crowd):
    return sum((who, number) not in crowd.got
               for who, most in crowd.put.items() for number in range(most + 1))


def check(crowd, killed, tell, behind=0):
    """behind: items that a putter may have that was killed, and none of them in the queue."""
    assert max(crowd.got.values()) == 1, f"an item came twice, seed {SEED}"
    # A getter that was killed after it had an item had no time to say so.
    most = killed[get_for_ever] + 3 + behind * (killed[put_for_ever] + 3)
    assert lost(crowd) <= most, f"items are lost, seed {SEED}"
    assert sum(crowd.got.values()) > 0
    tell(f"{sum(killed.values())} kills, {sum(crowd.got.values())} items; until each other one "
         "went on", crowd.silences)


@pytest.mark.timeout(60 + KILLS)
@pytest.mark.parametrize("maxsize", [0, 20])
def test_small_items(maxsize, tell):
    crowd = Crowd(slipring.Queue(maxsize), large=False)
    killed = run(crowd, KILLS, 0.02)
    finish(crowd)
    check(crowd, killed, tell)


def busy(q, role):
    if role == "wait":
        q._reader.fileno()  # so that the pipe is kept exact
    for number in range(10**9):
        q.put((role, number))
        q.get_nowait() if number % 2 else q.get(timeout=LIMIT)


@pytest.mark.timeout(60 + KILLS)
@pytest.mark.parametrize("maxsize", [0, 8])
@pytest.mark.parametrize("role", ["get", "wait"])
def test_killed_in_the_midst(role, maxsize):
    """Victims that do nothing but put and get, so that they die in the midst of it: who goes on finds
    the queue whole each time, its places and its items as many as they should be."""
    q = slipring.Queue(maxsize)
    rng = random.Random(SEED)
    for turn in range(KILLS // 3):
        victims = []
        for _ in range(2):
            pid = os.fork()
            if pid == 0:
                try:
                    busy(q, role)
                except Exception:
                    signal.pause()  # the other one's victim left it an empty or a full queue
                finally:
                    os._exit(1)
            victims.append(pid)
        time.sleep(rng.uniform(0.001, 0.006))
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        # At most what the two had put and not got: one each. A taken one comes back.
        assert q.qsize() <= 3, f"turn {turn}, seed {SEED}"
        while q.qsize() > 0:
            q.get(timeout=LIMIT)
        assert q.empty()
        if role == "wait":
            assert connection.wait([q._reader], timeout=0) == [], f"turn {turn}, seed {SEED}"
        q.put_many(range(8))
        with pytest.raises(Exception if maxsize else AssertionError):
            q.put_nowait(8)
            assert not maxsize and q.get(timeout=LIMIT) == 0, "no room"
            raise AssertionError
        if role == "wait":
            assert connection.wait([q._reader], timeout=LIMIT), f"turn {turn}, seed {SEED}"
        left = q.get_many(9, timeout=LIMIT)
        assert left == (list(range(8)) if maxsize else list(range(1, 9)))


@pytest.mark.timeout(60 + KILLS)
def test_items_in_parts(tell):
    """Those wait in their putter's feeder, and what is behind them does: what dies with it is theirs."""
    crowd = Crowd(slipring.Queue(5), large=True)
    killed = run(crowd, KILLS, 0.02)
    finish(crowd)
    check(crowd, killed, tell, behind=5)


@pytest.mark.timeout(60 + 3 * SPAWNED)
def test_spawned(tell):
    crowd = Crowd(slipring.Queue(), large=False, context=slipring.get_context("spawn"))
    killed = run(crowd, SPAWNED, 0.1)
    finish(crowd)
    check(crowd, killed, tell)


def test_survivor_is_told_in_time(tell):
    """An item that a getter had taken when it was killed comes to one that waits, in the time that
    is promised, which is told: ten times that fails here. Most victims die with it in hand: it comes
    in parts."""
    q = slipring.Queue()
    item = b"x" * 4_000_000
    times = []
    for _ in range(max(20, KILLS // 15)):
        pid = os.fork()
        if pid == 0:
            q.get()
            os._exit(0)
        q.put(item)
        time.sleep(random.uniform(0, 0.003))
        os.kill(pid, signal.SIGKILL)
        code = os.waitpid(pid, 0)[1]
        start = time.monotonic()
        try:
            q.get(timeout=1)
            times.append(time.monotonic() - start)
        except queue.Empty:
            assert code == 0 or q.qsize() == 0
    tell("until another one had a dead one's item", times)


@pytest.fixture(autouse=True)
def no_file_is_left():
    before = files()
    yield
    gc.collect()
    end = time.monotonic() + LIMIT
    while files() != before and time.monotonic() < end:
        time.sleep(0.01)  # a feeder's thread that is on its way out has its queue in hand
    assert files() == before


def files():
    """What is open here, but for what Python's own helper processes have, and in /dev/shm."""
    ours = collections.Counter(name for fd in os.listdir("/proc/self/fd")
                               if (name := link(fd)).startswith("/memfd:slipring"))
    return ours, {name for name in os.listdir("/dev/shm") if "slipring" in name}


def link(fd):
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return ""


def test_no_file_is_left():
    q = slipring.Queue()
    pid = os.fork()
    if pid == 0:
        q.put(1)
        signal.pause()
    assert q.get(timeout=5) == 1
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
