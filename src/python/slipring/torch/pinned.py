# SPDX-License-Identifier: Apache-2.0
"""Page-locking of data rings for the accelerator, once per ring, so that batches need no copy into
page-locked memory."""

import torch


def pin(memory):
    """Page-locks a ring's slots if the accelerator is a CUDA device; else they are copied as torch
    does."""
    if not torch.cuda.is_available():
        return
    runtime = torch.cuda.cudart()
    size = memory.slots * memory.stride
    if int(runtime.cudaHostRegister(memory.address, size, 0)) == 0:
        memory.unpin = lambda: runtime.cudaHostUnregister(memory.address)
