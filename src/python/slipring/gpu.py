# SPDX-License-Identifier: Apache-2.0
"""Rings beside an NVIDIA GPU: what is here, and how torch and CuPy are asked for streams and memory.

What does the work is libslipring-cuda, opened by the first call; see Ring.pin() and View.to().
"""
import ctypes
import os
import sys

from slipring._slipring import Invalid, NoDevice, _gpu_devices, _gpu_driver, _gpu_pci


def devices():
    """How many GPUs there are. Raises NoDevice, with what is missing; Forked in a child of a process
    that used them."""
    return _gpu_devices()


def driver():
    """What was opened as the driver: its file and CUDA version, and whether it is a stand-in."""
    return _gpu_driver()


def pci(device=0):
    """A device's PCI bus id, for Ring.create(near_pci=...)."""
    return _gpu_pci(device)


def stream_handle(stream):
    """The CUstream, as an integer, of an integer or a stream of torch, CuPy, Numba or cuda.core."""
    if isinstance(stream, int):
        return stream
    protocol = getattr(stream, "__cuda_stream__", None)
    if protocol is not None:
        return int((protocol() if callable(protocol) else protocol)[1])
    for name in ("cuda_stream", "ptr", "handle"):
        handle = getattr(stream, name, None)
        if handle is not None:
            return int(getattr(handle, "value", handle))
    raise TypeError(f"stream: {stream!r}; a CUDA stream of torch, CuPy, Numba or cuda.core, or the "
                    "integer of one")


def current_stream(device):
    """The stream on which copies to a device would go now, or None where nobody copies."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return torch.cuda.current_stream(device).cuda_stream
    cupy = sys.modules.get("cupy")
    if cupy is not None:
        return cupy.cuda.get_current_stream().ptr
    return None


def is_cuda(device):
    """Is it a CUDA device, as torch names them?"""
    kind = str(getattr(device, "type", device)).partition(":")[0]
    return isinstance(device, int) or kind == "cuda"


def torch_with_cuda():
    """torch. Raises NoDevice, with what is missing: of the driver, which is asked first, or of torch."""
    devices()
    try:
        import torch
    except ModuleNotFoundError:
        raise NoDevice(19, "a GPU is here, and no torch, whose tensors are asked for: pip install "
                           "torch, or name a device of CuPy") from None
    if not torch.backends.cuda.is_built():
        raise NoDevice(19, f"a GPU is here, and torch {torch.__version__} is built without CUDA: "
                           "install a build of torch with CUDA")
    return torch


def foresee():
    """torch_with_cuda() where its error can be told without starting the driver: a process that is
    forked later could not use a GPU that was used here."""
    import torch
    try:
        ctypes.CDLL(os.environ.get("SLIPRING_CUDA_DRIVER", "libcuda.so.1"))
    except OSError:
        torch_with_cuda()
    if not torch.backends.cuda.is_built():
        torch_with_cuda()


class Torch:
    """Memory and streams of a device by torch."""

    def __init__(self, device):
        if not is_cuda(device):
            raise Invalid(22, f"to: {str(device)!r} is no CUDA device; on the processor a view is "
                              "read in place, as by torch.from_dlpack(view)")
        self.torch = torch = torch_with_cuda()
        self.device = torch.device("cuda", device) if isinstance(device, int) \
            else torch.device(device)
        if self.device.index is None:
            self.device = torch.device("cuda", torch.cuda.current_device())
        self.index = self.device.index

    def current(self):
        return self.torch.cuda.current_stream(self.device)

    def using(self, stream):
        """Within it, memory comes from the stream's own, which it may use at once."""
        if not isinstance(stream, self.torch.cuda.Stream):
            stream = self.torch.cuda.ExternalStream(stream_handle(stream), device=self.device)
        return self.torch.cuda.stream(stream)

    def empty(self, shape, dtype):
        kind = getattr(self.torch, dtype, None)
        if not isinstance(kind, self.torch.dtype):
            raise TypeError(f"to: torch has no {dtype}")
        return self.torch.empty(shape, dtype=kind, device=self.device)

    @staticmethod
    def address(tensor):
        return tensor.data_ptr()


class CuPy:
    """The same by CuPy."""

    def __init__(self, device):
        devices()
        import cupy
        self.cupy = cupy
        self.device, self.index = device, device.id

    def current(self):
        return self.cupy.cuda.get_current_stream()

    def using(self, stream):
        if not isinstance(stream, self.cupy.cuda.Stream):
            stream = self.cupy.cuda.ExternalStream(stream_handle(stream), self.index)
        return stream

    def empty(self, shape, dtype):
        try:
            kind = self.cupy.dtype(dtype)
        except TypeError:
            raise TypeError(f"to: CuPy has no {dtype}") from None
        with self.device:
            return self.cupy.empty(shape, kind)

    @staticmethod
    def address(array):
        return array.data.ptr


def kit(device):
    """Whose device it is: CuPy's, or as torch names them."""
    if type(device).__module__.partition(".")[0] == "cupy":
        return CuPy(device)
    return Torch(device)


def to(view, device, stream):
    """View.to()."""
    there = kit(device)
    if stream is None:
        stream = there.current()
    handle = stream_handle(stream)
    places = {name: (index, *place) for index, (name, place) in enumerate(_places(view))}
    made = {}
    with there.using(stream):
        for name, (index, shape, dtype) in places.items():
            made[name] = there.empty(shape, dtype)
            if 0 not in shape:
                view._copy(index if name is not None else -1, there.address(made[name]),
                           there.index, handle, stream)
    return made if len(made) != 1 else made.popitem()[1]


def _places(view):
    """(name, (shape, dtype)) of each field; of a message over several slots None, and its bytes."""
    try:
        for name in view.shapes:
            field = view.field(name)
            yield name, (field.shape, field.dtype)
    except Invalid:
        yield None, ((view.bytes,), "uint8")
