# SPDX-License-Identifier: Apache-2.0
"""Data rings whose slots are page-locked for a GPU, once per ring, so that its batches need neither a
copy into page-locked memory nor a thread that makes it."""

import warnings

import torch

from slipring import Error, Forked, NoDevice, gpu


def device_of(loader):
    """The index of the GPU that the loader's rings are to be page-locked for, or None."""
    if loader.prefetch_to is not None:
        return gpu.Torch(loader.prefetch_to).index
    if not loader.pin_memory:
        return None
    try:
        gpu.devices()
    except (NoDevice, Forked):  # a loader in a child of who used the GPU
        return None
    index = torch.device(loader.pin_memory_device or "cuda").index
    if index is None:
        index = torch.cuda.current_device() if torch.cuda.is_available() else 0
    return index


def pin(ring, device, staged):
    """Has a data ring page-locked from now on. Where that is refused it is as it was, and (staged) its
    slots can be copied from all the same."""
    try:
        ring.pin(device)
    except Error as error:
        warnings.warn(f"batches are not page-locked: {error}", RuntimeWarning, stacklevel=2)
        if staged:
            ring.pin(device, lock=False)
