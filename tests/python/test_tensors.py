# SPDX-License-Identifier: Apache-2.0
"""Proves that NumPy, torch and JAX show a slot without a copy (their pointers are the slot's), that
DLPack capsules are of the kind asked for, that element types come through both ways, and that
shapes, blocks, spanning messages and tags are what was written."""
import ctypes
import gc
import sys
import threading

import numpy as np
import pytest
import slipring

torch = pytest.importorskip("torch")
jax = pytest.importorskip("jax")
ml_dtypes = pytest.importorskip("ml_dtypes")


def pair(**options):
    ring = slipring.Ring.create(**options)
    return ring, ring.producer(), ring.consumer()


def pointer(array):
    return array.__array_interface__["data"][0]


class Tensor(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("device", ctypes.c_int32 * 2), ("ndim", ctypes.c_int32),
                ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16),
                ("shape", ctypes.POINTER(ctypes.c_int64)),
                ("strides", ctypes.POINTER(ctypes.c_int64)), ("offset", ctypes.c_uint64)]


class Versioned(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32 * 2), ("context", ctypes.c_void_p),
                ("deleter", ctypes.CFUNCTYPE(None, ctypes.c_void_p)), ("flags", ctypes.c_uint64),
                ("tensor", Tensor)]


def inside(capsule, name, kind):
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return kind.from_address(get(capsule, name))


def test_zero_copy_everywhere():
    ring, producer, consumer = pair(schema=("float32", (16, 8)), slots=8)
    with producer.claim() as loan:
        loan.array[...] = np.arange(128).reshape(16, 8)
        where = pointer(loan.array)
    view = consumer.acquire()
    address = pointer(view.array)
    window = 8 * ring.info().payload_stride  # the producer has a map of its own
    assert (address - where) % 4096 == 0 and window > 0
    tensor = torch.from_dlpack(view)
    assert tensor.data_ptr() == address and tensor.shape == (16, 8) and tensor[15, 7] == 127
    jarray = jax.dlpack.from_dlpack(view.field("data"))
    assert jarray.unsafe_buffer_pointer() == address and float(jarray[15, 7]) == 127
    assert pointer(np.from_dlpack(view)) == address
    assert pointer(np.asarray(view)) == address
    assert not np.from_dlpack(view).flags.writeable
    del view
    gc.collect()
    assert ring.members()[0].released == 0
    del tensor
    gc.collect()
    assert ring.members()[0].released == 0
    del jarray
    gc.collect()
    assert ring.members()[0].released == 1


def test_capsules():
    ring, producer, consumer = pair(schema=("float32", (4,)), slots=4)
    producer.send(np.arange(4, dtype="f4"))
    view = consumer.acquire()
    assert view.__dlpack_device__() == (1, 0)
    assert '"dltensor"' in repr(view.__dlpack__())
    assert '"dltensor"' in repr(view.__dlpack__(max_version=(0, 8)))
    capsule = view.__dlpack__(max_version=(1, 1), dl_device=(1, 0), copy=False)
    tensor = inside(capsule, b"dltensor_versioned", Versioned)
    assert tuple(tensor.version)[0] == 1 and tensor.flags == 1  # READ_ONLY
    assert tensor.tensor.data == pointer(view.array)
    copied = view.__dlpack__(max_version=(1, 0), copy=True)
    tensor = inside(copied, b"dltensor_versioned", Versioned)
    assert tensor.flags == 2 and tensor.tensor.data != pointer(view.array)
    for bad in ({"dl_device": (2, 0)}, {"dl_device": (1, 1)}, {"stream": 1}):
        with pytest.raises(BufferError):
            view.__dlpack__(**bad)
    with pytest.raises(TypeError):
        view.__dlpack__(max_version=1)
    del capsule
    view.release()  # the copy holds nothing
    assert list(ctypes.cast(tensor.tensor.data, ctypes.POINTER(ctypes.c_float))[:4]) == [0, 1, 2, 3]
    with pytest.raises(ValueError):
        view.__dlpack__()


def test_deleter_on_a_thread_without_the_lock():
    """torch lets go of tensors on threads of its own: here by a call that gives up the GIL."""
    ring, producer, consumer = pair(schema=("float32", (4,)), slots=4)
    producer.send(np.zeros(4, "f4"))
    capsule = consumer.acquire().__dlpack__(max_version=(1, 0))
    tensor = inside(capsule, b"dltensor_versioned", Versioned)
    rename = ctypes.pythonapi.PyCapsule_SetName
    rename.argtypes = [ctypes.py_object, ctypes.c_char_p]
    rename(capsule, b"used_dltensor_versioned")
    thread = threading.Thread(target=tensor.deleter, args=(ctypes.addressof(tensor),))
    thread.start()
    thread.join()
    del capsule
    assert ring.members()[0].released == 1


NATIVE = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16",
          "float32", "float64", "complex64", "complex128", "bool"]


@pytest.mark.parametrize("name", NATIVE)
def test_native_types(name):
    dtype = np.dtype(name)
    given = [name, dtype.str[1:], dtype, dtype.type]
    given += [getattr(torch, name)] if hasattr(torch, name) else []
    for spelled in given:
        assert slipring.Ring.create(schema=(spelled, (3,)), slots=2).schema == {"data": (name, (3,))}
    ring, producer, consumer = pair(schema=(name, (100,)), slots=4)
    values = (np.arange(100) % 2 if name == "bool" else np.arange(100)).astype(dtype)
    producer.send(values)
    view = consumer.acquire()
    assert view.array.dtype == dtype and (view.array == values).all()
    assert memoryview(view).itemsize == dtype.itemsize
    assert np.asarray(view).dtype == dtype
    assert torch.from_dlpack(view).dtype == getattr(torch, name)


@pytest.mark.parametrize("name", ["bfloat16", "float8_e4m3fn", "float8_e5m2"])
def test_types_that_numpy_lacks(name):
    kind = np.dtype(getattr(ml_dtypes, name))
    for spelled in (kind, getattr(torch, name)):
        ring, producer, consumer = pair(schema=(spelled, (64,)), slots=4)
        assert ring.schema == {"data": (name, (64,))}
    values = np.linspace(-2, 2, 64).astype(kind)
    expected = values.astype("f4")
    with producer.claim() as loan:
        loan["data"] = values
        assert loan.array.dtype == f"u{kind.itemsize}"
        slipring.typed(loan.array, name)[...] = values
    for value in (values, values.view(f"u{kind.itemsize}"), expected,
                  torch.tensor(expected).to(getattr(torch, name))):
        producer.send(value)
    for _ in range(5):
        view = consumer.acquire()
        assert view.array.dtype == f"u{kind.itemsize}"
        assert slipring.typed(view).dtype == kind
        assert (slipring.typed(view).astype("f4") == expected).all()
        assert pointer(slipring.typed(view.field("data"))) == pointer(view.array)
    tensor = torch.from_dlpack(view)
    assert str(tensor.dtype) == "torch." + name and (tensor.float().numpy() == expected).all()


def test_packed_type():
    ring, producer, consumer = pair(schema=("float4_e2m1fn", (512,)), slots=4)
    with producer.claim(2) as loan:
        assert loan.array.shape == (2, 256) and loan.array.dtype == "u1"
        loan.array[...] = np.arange(256, dtype="u1")
    view = consumer.acquire(2)
    assert (view.array == np.arange(256, dtype="u1")).all() and view.field("data").shape == (2, 256)


def test_structured_and_python_types():
    dtype = np.dtype([("x", "f4", (2, 3)), ("n", "i8"), ("flag", "?")])
    ring, producer, consumer = pair(schema=dtype, slots=4)
    assert ring.schema == {"x": ("float32", (2, 3)), "n": ("int64", ()), "flag": ("bool", ())}
    record = np.zeros((), dtype)
    record["x"], record["n"], record["flag"] = 2, -5, True
    producer.send({name: record[name] for name in dtype.names})
    view = consumer.acquire()
    assert view["x"].sum() == 12 and view["n"] == -5 and view["flag"]
    schema = slipring.Ring.create(schema={"i": int, "f": float, "b": bool, "v": ("f8", 3)}).schema
    assert schema == {"i": ("int64", ()), "f": ("float64", ()), "b": ("bool", ()),
                      "v": ("float64", (3,))}


@pytest.mark.parametrize("schema", [
    ">f4", ("<q9", ()), {}, {"": "f4"}, {"x" * 32: "f4"}, ("f4", (-1,)), {"x": ("f4",)}, object(),
    {3: "f4"}, ("f4", (1,) * 9), "O", np.dtype("datetime64[ns]"), {"x": ("f4", (2,), 1)}, None,
    ("f4", ("a",)),
])
def test_bad_schemas(schema):
    with pytest.raises((ValueError, TypeError)):
        slipring.Ring.create(schema=schema, slots=2)


def test_variable_shapes():
    ring, producer, consumer = pair(schema={"a": ("float32", (8, 8)), "b": ("uint8", (100,))},
                                    slots=4, variable_shape=True)
    producer.claim().abort()
    with producer.claim(2) as loan:
        loan.shapes = {"a": (3, 5)}
        assert loan["a"].shape == (2, 3, 5)
        loan["a"][...] = np.arange(30).reshape(2, 3, 5)
        for bad in ({"a": (9, 1)}, {"a": (1,)}, {"a": (-1, 2)}):
            with pytest.raises(ValueError):
                loan.shapes = bad
    producer.send({"a": np.ones((8, 8), "f4"), "b": np.zeros(100, "u1")})
    view = consumer.acquire(4)
    assert view.slots == 2 and view.shapes == {"a": (3, 5), "b": (100,)}
    assert (view["a"] == np.arange(30).reshape(2, 3, 5)).all()
    tensor = torch.from_dlpack(view.field("a"))
    assert tensor.shape == (2, 3, 5) and tensor[1, 2, 4] == 29
    assert consumer.acquire()["a"].shape == (8, 8)
    with pytest.raises(slipring.Invalid):
        pair(schema=("f4", (2,)))[1].claim().shapes = {}


@pytest.mark.parametrize("full", ["block", "overwrite"])
def test_each_view_has_its_shapes(full):
    ring, producer, consumer = pair(schema=("float32", (64, 64)), slots=16, full=full,
                                    variable_shape=True)
    for height in (1, 5, 9):
        with producer.claim() as loan:
            loan.shapes = {"data": (height, 2 * height)}
            loan.array[...] = height
    copier = ring.consumer(start="oldest")
    for views in ([consumer.acquire() for _ in range(3)], [copier.copy() for _ in range(3)]):
        assert [view.shapes["data"] for view in views] == [(1, 2), (5, 10), (9, 18)]
        assert [view.array.shape for view in views] == [(1, 2), (5, 10), (9, 18)]


def test_spanning_and_short_messages():
    ring, producer, consumer = pair(slot_bytes=4096, slots=8)
    data = np.random.default_rng(7).integers(0, 256, 10000, dtype="u1").tobytes()
    for _ in range(5):  # round the wrap
        producer.send(data, tag=9)
        view = consumer.acquire()
        assert (view.slots, view.bytes, view.tag, view.tags) == (3, 10000, 9, [9])
        assert view.buffer == data
        assert memoryview(view) == data
        with pytest.raises(ValueError, match="buffer"):
            view.array
        del view
    for size in (1, 4096, 4097, 5000, 12288, 20000):
        loan = producer.claim(5)
        loan.buffer[:size] = (data * 2)[:size]
        loan.tag = size
        loan.publish(bytes=size)
        view = consumer.acquire()
        assert view.buffer == (data * 2)[:size] and view.tag == size
        assert view.slots == -(-size // 4096)
    with pytest.raises(slipring.Invalid):
        producer.send(b"x" * 4096 * 9)
    with pytest.raises(slipring.Invalid):
        producer.claim().publish(bytes=4097)
    with pytest.raises(slipring.Invalid):
        slipring.Ring.create(slot_bytes=8).producer().send(b"short")


def test_tags_and_partial_publish():
    ring, producer, consumer = pair(schema=("int32", (64,)), slots=8)
    loan = producer.claim(4)
    loan.array[...] = np.arange(4)[:, None]
    with pytest.raises(ValueError):
        loan.publish(3, tags=[1, 2])
    loan.publish(3, tags=[10, 20, 30])
    view = consumer.acquire(8)
    assert view.tags == [10, 20, 30] and len(view) == 3 and (view.array[2] == 2).all()
    assert view.buffer.nbytes == 3 * 256
    loan = producer.claim()
    loan.tag, loan.messages = 2**63 + 1, 5
    loan.publish()
    view = consumer.acquire()
    assert (view.tag, view.messages, view.sequence) == (2**63 + 1, 5, 3)


def test_send_converts_or_refuses():
    ring, producer, consumer = pair(schema={"x": ("float32", (2, 2)), "n": ("int64", ())}, slots=8)
    values = [np.arange(4, dtype="f4").reshape(2, 2), np.arange(4).reshape(2, 2),
              [[0, 1], [2, 3]], torch.arange(4.0).reshape(2, 2),
              np.asfortranarray(np.arange(4, dtype="f4").reshape(2, 2)),
              np.arange(4, dtype=">f4").reshape(2, 2), np.arange(4, dtype="u4").reshape(2, 2),
              np.array([[0, 1, 9], [2, 3, 9]], "f4")[:, :2]]
    for value in values:
        producer.send({"x": value, "n": 3})
        view = consumer.acquire()
        assert view["x"].tolist() == [[0, 1], [2, 3]] and view["n"] == 3
    producer.send({"x": 5, "n": np.int64(4)})
    assert (consumer.acquire()["x"] == 5).all()
    for bad in ({"x": np.zeros(3), "n": 1}, {"x": np.zeros((4, 1), "f4"), "n": 1}, {"x": 1},
                {"x": 1, "n": 1, "more": 1}, 5, {"x": "text", "n": 1}):
        with pytest.raises((ValueError, TypeError, KeyError)):
            producer.send(bad)
    assert ring.info().cursor == len(values) + 1
    producer.send({"x": 1, "n": 1})


def test_gapped_block_is_strided():
    ring, producer, consumer = pair(schema={"a": ("uint8", (300,)), "b": ("uint8", (7,))}, slots=4)
    for i in range(2):
        producer.send({"a": i, "b": i + 10})
    view = consumer.acquire(2)
    assert view["a"].strides[0] == ring.info().payload_stride
    assert view["b"].tolist() == [[10] * 7, [11] * 7]
    assert torch.from_dlpack(view.field("b")).tolist() == [[10] * 7, [11] * 7]
    assert memoryview(view.field("b")).tolist() == [[10] * 7, [11] * 7]
    with pytest.raises(TypeError, match="not writable"):
        ctypes.c_char.from_buffer(view.field("a"))
    copied = np.from_dlpack(view.field("b"), copy=True)
    assert copied.tolist() == [[10] * 7, [11] * 7] and copied.flags.c_contiguous


def test_without_ml_dtypes(monkeypatch):
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    ring = slipring.Ring.create(schema=("bfloat16", (3,)))
    producer, consumer = ring.producer(), ring.consumer()
    with pytest.raises(ModuleNotFoundError, match="pip install ml_dtypes"):
        producer.send([1.0, 2.0, 3.0])
    producer.send(np.array([0x3f80] * 3, "u2"))
    view = consumer.acquire(timeout=5)
    with pytest.raises(ModuleNotFoundError, match="pip install ml_dtypes"):
        slipring.typed(view)
    assert view.array.tolist() == [0x3f80] * 3
