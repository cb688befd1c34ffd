# SPDX-License-Identifier: Apache-2.0
"""Proves that a worker's death is told with its pid, or made good where that is asked for, with
every batch once; and that workers end with their loader's process.

SLIPRING_LOADER_KILLS: workers killed at random that were forked, 40; SLIPRING_LOADER_SPAWNED_KILLS:
that were spawned, 3; SLIPRING_SEED.
"""
import collections
import gc
import os
import random
import re
import signal
import subprocess
import sys
import time
import warnings

import loader_data as data
import pytest
import slipring.torch
import torch.utils.data as tud

Ours = slipring.torch.DataLoader
KILLS = int(os.environ.get("SLIPRING_LOADER_KILLS", "40"))
SPAWNED = int(os.environ.get("SLIPRING_LOADER_SPAWNED_KILLS", "3"))


def files():
    """The shared memory that is open here."""
    names = collections.Counter()
    for fd in os.listdir("/proc/self/fd"):
        try:
            names[os.readlink(f"/proc/self/fd/{fd}")] += 1
        except OSError:
            pass
    return {name: count for name, count in names.items() if "memfd:" in name or "/dev/shm" in name}


def gone(pid, seconds=10):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            with open(f"/proc/{pid}/stat") as stat:
                if stat.read().rsplit(")", 1)[1].split()[0] == "Z":
                    return True
        except OSError:
            return True
        time.sleep(0.01)
    return False


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_death_is_told(method):
    loader = Ours(data.Pid(400), 4, num_workers=2, multiprocessing_context=method)
    iterator = iter(loader)
    pid = int(next(iterator)[0, 1])
    os.kill(pid, signal.SIGKILL)
    before = time.monotonic()
    with pytest.raises(RuntimeError, match=rf"\(pid\(s\) {pid}\) exited unexpectedly.*SIGKILL"):
        for _ in iterator:
            pass
    assert time.monotonic() - before < 5


def test_a_death_before_the_first_batch_is_told():
    for options in (dict(worker_init_fn=lambda worker: os._exit(3)),
                    dict(multiprocessing_context="spawn", collate_fn=data.CannotUnpickle())):
        with pytest.raises(RuntimeError, match="exited unexpectedly: exit status [13]"):
            next(iter(Ours(data.Images(), num_workers=1, **options)))


def test_a_worker_is_replaced_and_its_batch_replayed(tmp_path):
    for deaths in (1, 2):
        for death in range(deaths):
            (tmp_path / str(death)).touch()
        dataset = data.Killing(13, tmp_path, count=40)
        loader = Ours(dataset, 4, num_workers=2, restart_workers=2)
        with pytest.warns(RuntimeWarning, match="died.*SIGKILL.*replaced"):
            data.same(list(loader), list(tud.DataLoader(data.Images(40), 4)))
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("restarts", [0, 1])
def test_a_death_is_told_before_its_turn(restarts, tmp_path):
    """The worker whose turn it is gives nothing before the other's death was told."""
    told = tmp_path / "told"
    loader = Ours(data.Waiting(told, count=40), 4, num_workers=2, restart_workers=restarts,
                  timeout=60)
    iterator = iter(loader)
    pid = iterator._peers[1].process.pid
    os.kill(pid, signal.SIGKILL)
    if not restarts:
        with pytest.raises(RuntimeError, match=rf"\(pid\(s\) {pid}\) exited unexpectedly"):
            next(iterator)
        told.touch()  # the other may go too
        return
    with warnings.catch_warnings():
        warnings.showwarning = lambda *rest, **named: told.touch()
        data.same(list(iterator), list(tud.DataLoader(data.Images(40), 4)))
    assert told.exists()


def test_replacements_are_counted(tmp_path):
    for death in range(3):
        (tmp_path / str(death)).touch()
    loader = Ours(data.Killing(13, tmp_path, count=40), 4, num_workers=1, restart_workers=2)
    with pytest.warns(RuntimeWarning), pytest.raises(RuntimeError, match="exited unexpectedly"):
        list(loader)


@pytest.mark.parametrize("dataset", [data.Stream, data.Counting])
@pytest.mark.parametrize("in_order", [True, False])
def test_iterable_workers_are_replaced(dataset, in_order):
    """From the state of the dataset, or by passing over what it gave."""
    expected = sorted(int(b[0, 0]) for b in tud.DataLoader(dataset(60), 3, num_workers=2))
    loader = Ours(dataset(60), 3, num_workers=2, restart_workers=4, in_order=in_order)
    iterator = iter(loader)
    seen = []
    with pytest.warns(RuntimeWarning, match="replaced"):
        for batch in iterator:
            seen.append(int(batch[0, 0]))
            if len(seen) in (3, 5):
                os.kill(iterator._peers[len(seen) % 2].process.pid, signal.SIGKILL)
    assert sorted(seen) == expected


@pytest.mark.timeout(120 + 4 * KILLS + 40 * SPAWNED)  # a spawned one imports torch first
@pytest.mark.parametrize("shape, method", [((4,), "fork"), ((3, 40, 40), "fork"), ((4,), "spawn")])
def test_random_kills(shape, method, tell):
    """Workers killed at random moments, one or both: no hang, every batch once, in order, and
    nothing left open. How soon the loader knew is told."""
    seed = int(os.environ.get("SLIPRING_SEED", random.randrange(1 << 30)))
    print("seed", seed)
    chance = random.Random(seed)
    kills = KILLS if method == "fork" else SPAWNED
    left, began, told = kills, {}, []

    def known(message, *rest, **named):
        since = began.pop(int(re.search(r"pid (\d+)", str(message))[1]))
        if since is not None:
            told.append(time.monotonic() - since)

    before = files()
    while left > 0:
        loader = Ours(data.Images(240, shape), 4, num_workers=2, restart_workers=1000,
                      persistent_workers=True, multiprocessing_context=method)
        kept, peer = [], None
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.filterwarnings("ignore", "This DataLoader will create")  # processors
            warnings.showwarning = known
            for _ in range(2):
                iterator = iter(loader)
                for number, (image, label) in enumerate(iterator):
                    assert image[3].unique().tolist() == [4.0 * number + 3]
                    kept.append(image[3])
                    if left > 0 and chance.random() < 0.1:
                        kept = kept[-2:]
                        time.sleep(chance.random() * 0.002)
                        victims = chance.choice((1, 2))
                        for peer in chance.sample(iterator._peers, victims):
                            if peer.process.pid not in began:
                                # Of two at once the second's turn may come much later.
                                began[peer.process.pid] = time.monotonic() if victims == 1 else None
                                peer.process.kill()
                                left -= 1
                assert number == 59
        began.clear()  # of those that had given all that they owed
        del loader, iterator, image, label, kept, peer
    gc.collect()
    assert files() == before
    tell(f"{kills - left} kills, {method}; until the loader knew", told)


def test_workers_end_with_their_process():
    """kill -9 of the loader's process: its workers end. Nothing can be left: no process has a file
    of /dev/shm open or mapped."""
    code = (
        "import loader_data as data, slipring.torch, time\n"
        "i = iter(slipring.torch.DataLoader(data.Pid(10**6), 4, num_workers=2))\n"
        "print(int(next(i)[0, 1]), int(next(i)[0, 1]), flush=True)\n"
        "time.sleep(100)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    pids = [int(pid) for pid in child.stdout.readline().split()]
    assert len(set(pids)) == 2
    for pid in (child.pid, *pids):
        files = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
        with open(f"/proc/{pid}/maps") as maps:
            files += maps.read().split("\n")
        assert any("memfd:" in name for name in files)
        assert not [name for name in files if "/dev/shm" in name]
    child.kill()
    child.wait()
    assert all(gone(pid) for pid in pids)


def test_leaving_early_ends_the_workers():
    for options in (dict(), dict(persistent_workers=True)):
        loader = Ours(data.Pid(4000), 4, num_workers=2, **options)
        iterator = iter(loader)
        pids = {int(next(iterator)[0, 1]), int(next(iterator)[0, 1])}
        del iterator, loader
        assert len(pids) == 2 and all(gone(pid) for pid in pids)


def test_interrupt():
    """Ctrl-C ends a loop that waits, and its workers."""
    code = (
        "import loader_data as data, slipring.torch\n"
        "i = iter(slipring.torch.DataLoader(data.Slow(60.0), num_workers=1))\n"
        "print(i._peers[0].process.pid, flush=True)\n"
        "try:\n"
        "    next(i)\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted', flush=True)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True,
                             start_new_session=True)
    pid = int(child.stdout.readline())
    time.sleep(0.3)
    os.killpg(child.pid, signal.SIGINT)
    assert child.stdout.read() == "interrupted\n"
    assert child.wait(20) == 0 and gone(pid)
