# SPDX-License-Identifier: Apache-2.0
"""Element types that NumPy has not itself: shown as unsigned integers of their size, and through
ml_dtypes (which JAX brings along) as what they are."""


def types():
    """The module ml_dtypes."""
    try:
        import ml_dtypes
    except ModuleNotFoundError:
        raise ModuleNotFoundError("bfloat16 and float8 as NumPy arrays need ml_dtypes: pip install "
                                  "ml_dtypes", name="ml_dtypes") from None
    return ml_dtypes


def typed(array, dtype=None):
    """An array of bits as one of bfloat16 or float8, over the same memory.

    array: a View or Field, or with dtype (its name, such as "bfloat16") an array of uint16 or uint8,
    as a loan gives it. Needs ml_dtypes (pip install ml_dtypes).
    """
    if dtype is None:
        field = array if hasattr(array, "dtype") else array.field("data")
        array, dtype = field.array, field.dtype
    return array.view(getattr(types(), dtype))


def to_bits(value, dtype, bits):
    """value as an array of the type that shows dtype's elements: its bits if they are of dtype or
    of that type already, else converted."""
    import numpy
    if hasattr(value, "detach"):  # a torch tensor
        import torch
        value = value.detach()
        if str(value.dtype) == "torch." + dtype:
            words = {1: torch.uint8, 2: torch.int16}[numpy.dtype(bits).itemsize]
            value = value.contiguous().view(words)
        return value.numpy().view(bits) if value.dtype in (torch.uint8, torch.int16) \
            else to_bits(value.numpy(), dtype, bits)
    value = numpy.asarray(value)
    if value.dtype == bits:
        return value
    return value.astype(getattr(types(), dtype), copy=False).view(bits)
