# SPDX-License-Identifier: Apache-2.0
"""torch's ways to streams and device memory, imitated on the stand-in driver: see standin.py."""
import contextlib
import types

import torch

from standin import Stream


class DeviceTensor(torch.Tensor):
    """A tensor over the stand-in's memory, at the device's address."""

    def data_ptr(self):
        return super().data_ptr() + DeviceTensor.offset

    def record_stream(self, stream):
        pass


class TorchOnDevice:
    """torch.cuda and torch.empty, as the package calls them, with a current stream."""

    def __init__(self, driver, monkeypatch):
        class TorchStream(Stream):
            def __init__(self, device=None):
                super().__init__(driver)

        self.driver, self.now = driver, TorchStream()
        empty = torch.empty

        def empty_there(*shape, dtype=None, device=None, **options):
            if device is None or torch.device(device).type != "cuda":
                return empty(*shape, dtype=dtype, device=device, **options)
            plain = empty(*shape, dtype=dtype)
            address, memory = driver.memory(plain.numel() * plain.element_size())
            DeviceTensor.offset = address - memory.ctypes.data if memory.size else 0
            there = torch.from_numpy(memory).view(plain.dtype).view(plain.shape)
            return there.as_subclass(DeviceTensor)

        @contextlib.contextmanager
        def on(stream):
            before, self.now = self.now, stream
            yield
            self.now = before

        monkeypatch.setattr(torch, "empty", empty_there)
        monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
        monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
        monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: self.now)
        monkeypatch.setattr(torch.cuda, "stream", on)
        monkeypatch.setattr(torch.cuda, "Stream", TorchStream)
        monkeypatch.setattr(torch.cuda, "ExternalStream",
                            lambda handle, device: types.SimpleNamespace(cuda_stream=handle))
