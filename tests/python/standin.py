# SPDX-License-Identifier: Apache-2.0
"""The stand-in of the CUDA driver (tests/cuda), steered from Python, and CuPy's way to streams and
device memory on top of it (torch's: standin_torch.py). No GPU: what frameworks do themselves is
imitated, so that their own part is not what these tests prove."""
import ctypes
import os
import types

import numpy as np
import pytest

PATH = os.environ.get("SLIPRING_CUDA_DRIVER")
if PATH is None:
    pytest.skip("SLIPRING_CUDA_DRIVER names no stand-in driver, and this test steers one",
                allow_module_level=True)
LIBRARY = ctypes.CDLL(PATH)
MEMORY_HOST = 1


def entry(name, version, *argtypes):
    found, status = ctypes.c_void_p(), ctypes.c_int()
    got = LIBRARY.cuGetProcAddress_v2(name.encode(), ctypes.byref(found), version,
                                      ctypes.c_uint64(0), ctypes.byref(status))
    assert got == 0 and found.value, name
    return ctypes.CFUNCTYPE(ctypes.c_int, *argtypes)(found.value)


P, U64, SIZE = ctypes.c_void_p, ctypes.c_uint64, ctypes.c_size_t
LIBRARY.standin_host.restype = P
LIBRARY.standin_host.argtypes = [U64, U64]
LIBRARY.standin_hold.argtypes = [P, ctypes.c_bool]
LIBRARY.standin_capture.argtypes = [P, ctypes.c_bool]
LIBRARY.standin_registered.restype = U64


def calls(function):
    """How often a function of the driver was called."""
    return LIBRARY.standin_calls(function.encode())


def fail(function, code):
    """Its next call fails."""
    LIBRARY.standin_fail(function.encode(), 1, code)


class Driver:
    """The driver's own calls, with its context current on this thread."""

    def __init__(self):
        self.alloc = entry("cuMemAlloc", 3020, P, SIZE)
        self.free = entry("cuMemFree", 3020, U64)
        self.stream_create = entry("cuStreamCreate", 2000, P, ctypes.c_uint)
        self.stream_destroy = entry("cuStreamDestroy", 4000, P)
        self.synchronize = entry("cuStreamSynchronize", 2000, P)
        self.to_device = entry("cuMemcpyHtoDAsync", 3020, U64, P, SIZE, P)
        self.pointer = entry("cuPointerGetAttribute", 4000, P, ctypes.c_int, U64)
        context = P()
        assert entry("cuInit", 2000, ctypes.c_uint)(0) == 0
        assert entry("cuDevicePrimaryCtxRetain", 7000, P, ctypes.c_int)(
            ctypes.byref(context), 0) == 0
        assert entry("cuCtxPushCurrent", 4000, P)(context) == 0

    def is_pinned(self, address):
        """As torch's Tensor.is_pinned() asks, by way of the runtime."""
        kind = ctypes.c_uint()
        return self.pointer(ctypes.byref(kind), 2, address) == 0 and kind.value == MEMORY_HOST

    def memory(self, bytes):
        """(the device's address, what the stand-in keeps there, as an array)"""
        address = U64()
        assert self.alloc(ctypes.byref(address), max(bytes, 1)) == 0
        host = LIBRARY.standin_host(address.value, max(bytes, 1))
        return address.value, np.ctypeslib.as_array((ctypes.c_uint8 * bytes).from_address(host))


class Stream:
    """As torch's streams and CuPy's look from outside."""

    def __init__(self, driver):
        self.driver = driver
        handle = P()
        assert driver.stream_create(ctypes.byref(handle), 0) == 0
        self.cuda_stream = self.ptr = handle.value

    def hold(self, held):
        """Runs nothing while it is held."""
        LIBRARY.standin_hold(self.cuda_stream, held)

    def capture(self, capturing):
        LIBRARY.standin_capture(self.cuda_stream, capturing)

    def synchronize(self):
        assert self.driver.synchronize(self.cuda_stream) == 0

    def wait_stream(self, other):
        other.synchronize()

    def record_event(self):
        return self

    def wait_event(self, event):
        event.synchronize()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return False


class CuPyOnDevice(types.ModuleType):
    """The module cupy, as the package calls it."""

    def __init__(self, driver):
        super().__init__("cupy")
        self.driver, self.now = driver, Stream(driver)
        self.dtype = np.dtype
        self.cuda = types.SimpleNamespace(get_current_stream=lambda: self.now, Stream=Stream,
                                          Device=type("Device", (), {
                                              "__module__": "cupy.cuda.device", "id": 0,
                                              "__enter__": lambda device: device,
                                              "__exit__": lambda *_: False}))

    def empty(self, shape, dtype):
        address, memory = self.driver.memory(int(np.prod(shape)) * dtype.itemsize)
        array = types.SimpleNamespace(data=types.SimpleNamespace(ptr=address))
        array.there = memory.view(dtype).reshape(shape)
        return array


def say(capsys):
    """Name what stands in for the driver in the test's output."""
    with capsys.disabled():
        print("\non a stand-in driver, not a GPU:", PATH, flush=True)
