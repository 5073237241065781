"""How our arrays are held in tensors of PyTorch, and the way to NumPy and back.

PyTorch computes little with unsigned integers of more than 8 bits. They are carried as signed ones
of the same bits: for most ops the two are the same, and the table says what to do for the others.
So are 8-bit floats, which are only moved.
"""

from __future__ import annotations

import numpy as np
import torch

from gradlet.base import dtypes
from gradlet.base.dtypes import DType

CARRIED = {
    dtypes.uint16: torch.int16,
    dtypes.uint32: torch.int32,
    dtypes.uint64: torch.int64,
    **dict.fromkeys(dtypes.STORAGE, torch.int8),
}

# NumPy's arrays of these pass through PyTorch as integers.
_AS_BITS = {dtypes.bfloat16: torch.int16, **dict.fromkeys(dtypes.STORAGE, torch.int8)}
_SIGNED: dict[int, np.dtype] = {
    8: np.dtype(np.int8),
    16: np.dtype(np.int16),
    32: np.dtype(np.int32),
    64: np.dtype(np.int64),
}


def carrier(dtype: DType) -> torch.dtype:
    """The element type of the tensors that hold arrays of `dtype`."""
    return CARRIED.get(dtype) or getattr(torch, dtype.name)


def to_array(x: torch.Tensor, dtype: DType) -> np.ndarray:
    """A tensor as a NumPy array, which shares its memory if that is the CPU's."""
    x = x.detach().cpu()
    if dtype in _AS_BITS:
        x = x.view(_AS_BITS[dtype])
    return x.numpy().view(dtype.numpy)


def from_array(array: np.ndarray, dtype: DType) -> torch.Tensor:
    """A writable array as a tensor on the CPU, which shares its memory if it is contiguous."""
    if dtype in CARRIED or dtype in _AS_BITS:
        array = array.view(_SIGNED[dtype.bits])
    return torch.from_numpy(np.asarray(array, order="C")).view(carrier(dtype))
