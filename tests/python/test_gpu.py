# SPDX-License-Identifier: Apache-2.0
"""Proves, on the stand-in of the CUDA driver, that views go to the device and their slots back by its
streams: what arrives is what was published, no slot is written again before its copy has run, though
view and tensors are dropped before; that slots of a pinned ring count as page-locked; that nothing of
CUDA is called at import, attach or fork; and that each refusal names cause and cure."""
import gc
import os
import pathlib
import re
import shutil
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
import slipring
import torch

import standin
import standin_torch

STARTED = standin.calls("cuInit")  # by all the imports
SCHEMA = {"image": ("float32", (16, 64)), "label": ("int64", ())}


@pytest.fixture(scope="module", autouse=True)
def driver():
    return standin.Driver()


@pytest.fixture(autouse=True)
def said(capsys):
    standin.say(capsys)


@pytest.fixture
def on_torch(driver, monkeypatch):
    return standin_torch.TorchOnDevice(driver, monkeypatch)


def ends(schema=SCHEMA, slots=4, **options):
    ring = slipring.Ring.create(schema=schema, slots=slots, geometry="tensor", lasting=["g"])
    return ring, ring.producer(), ring.consumer("g", start="oldest", **options)


def publish(producer, number, timeout=None):
    producer.send({"image": np.full((16, 64), number, "f4"), "label": number}, timeout=timeout)


def fill(ring, producer):
    for number in range(ring.info().slots):
        publish(producer, number)


def released(ring):
    return ring.groups()[0].position


def until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_imports_call_nothing():
    assert STARTED == 0


@pytest.mark.parametrize("ring_options, options", [
    ({}, {"group": "many", "many": True, "start": "oldest"}),
    ({"full": "overwrite", "hold_max": 2}, {}),
], ids=["of a group", "held"])
def test_slots_that_no_device_can_release(on_torch, ring_options, options):
    """By way of this process, and not before the copy."""
    lasting = [("many", True)] if options else []
    ring = slipring.Ring.create(schema=("int32", (1024,)), slots=4, geometry="tensor",
                                lasting=lasting, **ring_options)
    producer, consumer = ring.producer(), ring.consumer(**options)
    for number in range(4):
        producer.send(np.full(1024, number, "i4"))
        if number == 0:
            on_torch.now.hold(True)
            there = consumer.acquire(timeout=60).to("cuda")
    assert ring.pin_info().pending == 1
    if options:
        with pytest.raises(TimeoutError, match='group "many" in this process has not released'):
            producer.claim(timeout=0.05)
    else:
        with pytest.raises(TimeoutError, match="holds 1 of"):
            producer.claim(4, timeout=0.05)
    on_torch.now.hold(False)
    producer.claim(1 if options else 4, timeout=60).abort()
    on_torch.now.synchronize()
    assert not there.any()


def test_to(on_torch):
    ring, producer, consumer = ends()
    fill(ring, producer)
    view = consumer.acquire(3)
    on_torch.now.hold(True)
    there = view.to("cuda")
    assert there["image"].shape == (3, 16, 64) and there["image"].dtype == torch.float32
    assert there["label"].shape == (3,) and not there["image"].any()
    assert view["label"].tolist() == [0, 1, 2]  # still to be read here
    del view
    publish_one = consumer.acquire()
    del publish_one
    assert ring.pin_info().pending == 2 and released(ring) == 0
    with pytest.raises(TimeoutError):
        publish(producer, 9, timeout=0.05)
    on_torch.now.hold(False)
    publish(producer, 9, timeout=60)
    on_torch.now.synchronize()
    assert there["label"].tolist() == [0, 1, 2]
    assert (there["image"] == torch.arange(3.0).view(3, 1, 1)).all()
    ring.drain(timeout=60)
    assert released(ring) == 4 and "stand-in driver, not a GPU" in ring.pin_info().driver


def test_one_field_on_a_stream(driver, on_torch):
    ring, producer, consumer = ends({"x": ("bfloat16", (3, 5))}, slots=16)
    side = standin.Stream(driver)
    for number in range(40):
        producer.send(torch.full((3, 5), float(number), dtype=torch.bfloat16))
        there = consumer.acquire().to(torch.device("cuda:0"), stream=side)
        side.synchronize()
        assert there.dtype == torch.bfloat16 and (there == number).all()
    ring.drain()
    assert standin.calls("cuStreamWriteValue64") > 0 and ring.pin_info().release_by == "store"


def test_a_message_over_several_slots(on_torch):
    ring = slipring.Ring.create(slot_bytes=4096, slots=8)
    producer, consumer = ring.producer(), ring.consumer()
    for number in range(5):
        message = np.random.default_rng(number).integers(0, 256, 10_000, "u1")
        producer.send(message)
        there = consumer.acquire().to("cuda")
        on_torch.now.synchronize()
        assert there.shape == (10_000,) and (there.numpy() == message).all()


@pytest.mark.parametrize("make", [torch.from_dlpack, lambda view: torch.from_numpy(view.array),
                                  lambda view: torch.frombuffer(view.buffer, dtype=torch.uint8)],
                         ids=["dlpack", "numpy", "buffer"])
@pytest.mark.filterwarnings("ignore:The given")
def test_dropped_after_a_copy_without_waiting(driver, on_torch, make):
    """As tensor.to("cuda", non_blocking=True), after which the tensor is dropped."""
    ring, producer, consumer = ends({"x": ("int32", (4096,))}, slots=2)
    ring.pin(timeout=60)
    for number in range(2):
        producer.send(np.full(4096, number, "i4"))
    address, there = driver.memory(4 * 4096)
    on_torch.now.hold(True)
    view = consumer.acquire()
    tensor = make(view)
    assert driver.to_device(address, tensor.data_ptr(), 4 * 4096, on_torch.now.cuda_stream) == 0
    del view, tensor
    gc.collect()
    with pytest.raises(TimeoutError):
        producer.send(np.full(4096, 2, "i4"), timeout=0.05)
    on_torch.now.hold(False)
    producer.send(np.full(4096, 2, "i4"), timeout=60)
    on_torch.now.synchronize()
    assert not there.any()


@pytest.mark.parametrize("ending", ["release", "with", "turn"])
def test_every_way_to_let_go(on_torch, ending):
    ring, producer, consumer = ends()
    ring.pin(timeout=60)
    fill(ring, producer)
    on_torch.now.hold(True)
    if ending == "turn":
        turns = iter(consumer)
        next(turns), next(turns)
    else:
        view = consumer.acquire()
        if ending == "release":
            view.release()
        else:
            with view:
                pass
        assert view.released
    assert ring.pin_info().pending == 1 and released(ring) == 0
    on_torch.now.hold(False)
    ring.drain(60)
    assert released(ring) == 1


def test_nobody_copies(driver):
    """torch without CUDA, and no CuPy: slots go back at once."""
    ring, producer, consumer = ends()
    ring.pin(timeout=60)
    fill(ring, producer)
    consumer.acquire().release()
    assert released(ring) == 1 and ring.pin_info().pending == 0


def test_cupy(driver, monkeypatch):
    cupy = standin.CuPyOnDevice(driver)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    ring, producer, consumer = ends()
    fill(ring, producer)
    cupy.now.hold(True)
    there = consumer.acquire(2).to(cupy.cuda.Device())
    assert released(ring) == 0 and not there["label"].there.any()
    cupy.now.hold(False)
    ring.drain(60)
    assert there["label"].there.tolist() == [0, 1] and (there["image"].there[1] == 1).all()
    cupy.now.hold(True)
    consumer.acquire().release()
    assert released(ring) == 2
    cupy.now.hold(False)
    until(lambda: released(ring) == 3)
    with pytest.raises(TypeError, match="bfloat16"):
        other, producer, consumer = ends({"x": ("bfloat16", (4,))})
        producer.send(torch.zeros(4, dtype=torch.bfloat16))
        consumer.acquire().to(cupy.cuda.Device())


def test_release_on_a_stream(driver):
    class Core:  # as cuda.core's
        def __init__(self, handle):
            self.handle = handle

        def __cuda_stream__(self):
            return (0, self.handle)

    class Numba:
        def __init__(self, handle):
            self.handle = type("c_void_p", (), {"value": handle})()

    ring, producer, consumer = ends()
    fill(ring, producer)
    for number, name in enumerate([lambda s: s, lambda s: s.cuda_stream, lambda s: Core(s.ptr),
                                   lambda s: Numba(s.ptr)]):
        stream = standin.Stream(driver)
        stream.hold(True)
        view = consumer.acquire()
        array = view["label"]
        with pytest.raises(BufferError):
            view.release(stream=name(stream))
        del array
        view.release(stream=name(stream))
        assert view.released and released(ring) == number
        with pytest.raises(ValueError):
            view["label"]
        stream.hold(False)
        until(lambda: released(ring) == number + 1)
    with pytest.raises(TypeError, match="stream: 'main'"):
        publish(producer, 1)
        consumer.acquire().release(stream="main")


def test_pinned(driver):
    ring, producer, consumer = ends({"x": ("float32", (4096,))}, slots=8)
    producer.send(np.ones(4096, "f4"))
    tensor = torch.from_dlpack(consumer.acquire())
    assert not driver.is_pinned(tensor.data_ptr()) and ring.pin_info() is None
    before = standin.LIBRARY.standin_registered()
    ring.pin(chunk_bytes=1 << 16, timeout=60)
    assert driver.is_pinned(tensor.data_ptr())
    info = ring.pin_info()
    assert info.state == "ready" and info.locked_bytes == info.total_bytes and info.chunks > 2
    assert standin.LIBRARY.standin_registered() == before + info.total_bytes
    ring.pin(timeout=60)  # again: nothing
    address = tensor.data_ptr()
    del tensor, producer, consumer, ring
    gc.collect()
    assert not driver.is_pinned(address) and standin.LIBRARY.standin_registered() == before


def test_one_pin_of_a_named_ring(driver):
    name = f"pinned-{os.getpid()}"
    ring = slipring.Ring.create(name, ("float32", (1024,)), slots=4)
    other = slipring.Ring.attach(name)
    ring.unlink()
    ring.pin(timeout=60)
    other.pin(timeout=60)
    ring.close()
    assert other.pin_info().state == "ready"


def test_refused(driver, on_torch, monkeypatch):
    ring, producer, consumer = ends()
    fill(ring, producer)
    view = consumer.acquire()
    with pytest.raises(slipring.Invalid, match="no CUDA device"):
        view.to("cpu")
    with pytest.raises(slipring.Invalid, match="default stream of device 1"):
        ring.pin(0, timeout=60)
        view.to(1, stream=0)
    first, second = standin.Stream(driver), standin.Stream(driver)
    view.to("cuda", first)
    with pytest.raises(ValueError, match="another stream"):
        view.to("cuda", second)
    with pytest.raises(slipring.Invalid, match="holds no slot"):
        consumer.copy().to("cuda")
    view.release(stream=first)
    with pytest.raises(ValueError, match="was released"):
        view.to("cuda", first)
    view = consumer.acquire()
    address, memory = driver.memory(1 << 16)  # none can be had while a stream is captured
    monkeypatch.setattr(driver, "memory", lambda bytes: (address, memory[:bytes]))
    first.capture(True)
    with pytest.raises(slipring.Invalid, match="graph"):
        view.to("cuda", first)
    with pytest.raises(slipring.Invalid, match="graph"):
        view.release(stream=first)
    first.capture(False)
    view.release(stream=second)
    with pytest.raises(slipring.NoDevice, match="no such device"):
        slipring.Ring.create(slot_bytes=4096).pin(99)
    with pytest.raises(slipring.Denied, match="write-sealed"):
        sealed = slipring.Ring.create(slot_bytes=4096, slots=4, write_sealed=True)
        slipring.Ring.from_fds(*sealed.fds()).pin()
    with pytest.raises(slipring.Error, match="budget is 1 MiB"):
        slipring.Ring.create(slot_bytes=1 << 20, slots=4).pin(budget_bytes=1 << 20)
    ordered = ends(unordered=False)
    publish(ordered[1], 0)
    with pytest.raises(slipring.Invalid, match="unordered=True"):
        ordered[2].acquire().to("cuda")


def test_staged(on_torch):
    ring, producer, consumer = ends()
    ring.pin(lock=False)
    assert ring.pin_info().state == "staged"
    fill(ring, producer)
    there = consumer.acquire().to("cuda")
    ring.drain(60)
    assert there["label"] == 0 and released(ring) == 1 and ring.pin_info().release_by != "store"


def test_a_release_that_fails_keeps_the_slot(driver, on_torch):
    ring, producer, consumer = ends()
    ring.pin(timeout=60)
    fill(ring, producer)
    view = consumer.acquire()
    standin.fail("cuEventRecord", 999)
    with pytest.raises(slipring.Error, match="999"):
        view.release()
    assert not view.released and view["label"] == 0 and released(ring) == 0
    view.release()
    until(lambda: released(ring) == 1)
    caught = []
    hook, sys.unraisablehook = sys.unraisablehook, caught.append
    try:
        view = consumer.acquire()
        standin.fail("cuEventRecord", 999)
        del view
    finally:
        sys.unraisablehook = hook
    assert len(caught) == 1 and "999" in str(caught[0].exc_value) and released(ring) == 1


def test_a_lost_context(driver, on_torch):
    ring, producer, consumer = ends()
    ring.pin(timeout=60)
    fill(ring, producer)
    on_torch.now.hold(True)
    consumer.acquire().to("cuda")
    standin.LIBRARY.standin_lose(700)
    try:
        with pytest.raises(slipring.Error, match="context was lost"):
            ring.drain(60)
        assert released(ring) == 1 and ring.pin_info().lost == 1
    finally:
        standin.LIBRARY.standin_lose(0)
        on_torch.now.hold(False)


def test_in_a_forked_child(on_torch):
    ring, producer, consumer = ends()
    ring.pin(timeout=60)
    fill(ring, producer)
    view = consumer.acquire()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            for call in (lambda: view.to("cuda"), lambda: view.release(stream=on_torch.now),
                         ring.pin, slipring.gpu.devices, slipring.Ring.create(slot_bytes=64).pin):
                with pytest.raises(slipring.Forked):
                    call()
            mine = ring.consumer(start="oldest")
            with mine.acquire(timeout=60) as there:
                assert there["label"] in range(4) and ring.pin_info() is None
            assert ring.members()[-1].released == there.sequence + 1
            del mine, there, view
            gc.collect()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
    del view
    ring.drain(60)
    assert released(ring) == 1


def python(code, **environment):
    return subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True,
                          text=True, timeout=120, env={**os.environ, **environment})


WITHOUT = """
    import os, slipring, slipring.gpu
    ring = slipring.Ring.create(slot_bytes=4096, slots=4)
    producer, consumer = ring.producer(), ring.consumer()
    producer.send(b"x")
    assert "libslipring-cuda" not in open("/proc/self/maps").read()
    if (pid := os.fork()) == 0:
        os._exit("libslipring-cuda" in open("/proc/self/maps").read())
    assert os.waitpid(pid, 0)[1] == 0
    view = consumer.acquire()
    for call in (slipring.gpu.devices, ring.pin, lambda: view.release(stream=7),
                 lambda: view.to("cuda"), lambda: view.to(0)):
        try:
            call()
        except slipring.NoDevice as error:
            print(error)
    view.release()
    if (pid := os.fork()) == 0:  # nothing was started
        try:
            slipring.gpu.devices()
        except slipring.NoDevice:
            os._exit(0)
        os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    """


def test_without_a_driver():
    done = python(WITHOUT, SLIPRING_CUDA_DRIVER="/nonexistent/libcuda.so.1")
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert done.stdout.count("/nonexistent/libcuda.so.1") == 5


def test_without_the_library(tmp_path):
    package = pathlib.Path(slipring.__file__).parent
    shutil.copytree(package, tmp_path / "slipring",
                    ignore=shutil.ignore_patterns("libslipring-cuda*", "__pycache__"))
    done = python(WITHOUT, PYTHONPATH=str(tmp_path), PYTHONDONTWRITEBYTECODE="1")
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert done.stdout.count("this build of slipring has no GPU part") == 5


def test_without_torch(monkeypatch):
    """Or with one that cannot use the GPU."""
    ring, producer, consumer = ends()
    fill(ring, producer)
    view = consumer.acquire()
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: False)
    with pytest.raises(slipring.NoDevice, match="torch .* is built without CUDA: install"):
        view.to("cuda")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(slipring.NoDevice, match="no torch.*pip install torch"):
        view.to("cuda:0")
    with pytest.raises(slipring.Invalid, match="'cpu' is no CUDA device"):
        view.to("cpu")
    assert view["label"] == 0


@pytest.mark.parametrize("ending", ["pass", "sys.exit(0)", "os.kill(os.getpid(), 9)",
                                    "sys.modules.pop('slipring'); del slipring, view; gc.collect()"])
def test_interpreter_exit(ending):
    """With copies pending on a stream."""
    done = python(f"""
        import gc, os, sys
        sys.path.insert(0, {str(pathlib.Path(__file__).parent)!r})
        import numpy as np, slipring, standin
        driver = standin.Driver()
        ring = slipring.Ring.create(schema=("int32", (2048,)), slots=4)
        producer, consumer = ring.producer(), ring.consumer()
        producer.send(np.full(2048, 7, "i4"))
        producer.send(np.full(2048, 7, "i4"))
        stream = standin.Stream(driver)
        consumer.acquire().release(stream=stream)
        view = consumer.acquire()
        view._copy(0, driver.memory(8192)[0], 0, stream.ptr, stream)
        {ending}
        """)
    assert done.returncode == (-9 if "kill" in ending else 0) and done.stderr == "", done.stderr


def test_dropping_a_ring_waits_for_nothing(driver, on_torch):
    """Nobody else would let the stream go on."""
    before = standin.LIBRARY.standin_registered()
    ring, producer, consumer = ends()
    ring.pin(timeout=60)
    fill(ring, producer)
    on_torch.now.hold(True)
    there = consumer.acquire(2).to("cuda")
    del ring, producer, consumer
    gc.collect()
    assert standin.LIBRARY.standin_registered() > before
    on_torch.now.hold(False)
    until(lambda: standin.LIBRARY.standin_registered() == before)
    assert there["label"].tolist() == [0, 1]


def test_readme(driver, on_torch):
    text = (pathlib.Path(__file__).parents[2] / "README.md").read_text()
    section = text[text.index("\n## Beside a GPU\n"):]
    block, = re.findall(r"^```python\n(.*?)^```", section, re.M | re.S)
    names = {}
    exec(block, names)
    assert names["batch"]["y"].tolist() == [0, 1, 2, 3] and names["ring"].pin_info().pending == 0
