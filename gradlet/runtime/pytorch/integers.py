"""Rows of the PyTorch table that take care with integers.

PyTorch computes little with unsigned integers of more than 8 bits. They are carried as signed ones
of the same bits, which for most ops is the same thing; here are the others.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from gradlet.base import dtypes
from gradlet.base.dtypes import DType
from gradlet.ir import ops
from gradlet.ir.node import Node, node
from gradlet.runtime.numpy_device import evaluate
from gradlet.runtime.pytorch.arrays import CARRIED, carrier, from_array, to_array

Function = Callable[..., torch.Tensor]
Row = Callable[[Node], Function]


class ByNumpy:
    """What PyTorch has no function for is computed by the oracle."""

    def __init__(self, n: Node) -> None:
        self.n = n

    def __call__(self, *sources: torch.Tensor) -> torch.Tensor:
        n = self.n
        arrays = [to_array(x, source.dtype) for x, source in zip(sources, n.src, strict=True)]
        # What is elementwise may be given arrays that only broadcast to the shape of the node.
        shape = np.broadcast_shapes(*(x.shape for x in arrays)) if n.op.elementwise else n.shape
        with np.errstate(all="ignore"):
            made = evaluate(node(n.op, n.src, n.arg, n.dtype, shape), arrays)
        return from_array(np.array(made), n.dtype).to(sources[0].device)


def ordered(function: Function) -> Row:
    """The same for a function that compares: in carried integers the sign bit is turned over."""

    def row(n: Node) -> Function:
        if n.src[0].dtype not in CARRIED:
            return function
        lowest = torch.iinfo(carrier(n.src[0].dtype)).min

        def compare(*sources: torch.Tensor) -> torch.Tensor:
            found = function(*(x ^ lowest for x in sources))
            return found if n.dtype is dtypes.bool_ else found ^ lowest

        return compare

    return row


def widened(x: torch.Tensor, dtype: DType) -> torch.Tensor:
    """Unsigned integers as int64 of the same value, but for uint64, which stays as it is."""
    if not dtype.is_unsigned or dtype.bits == 64:
        return x
    return x.long() & dtype.max


def cast(n: Node) -> Function:
    source, target = n.src[0].dtype, n.dtype
    to = carrier(target)
    if source.is_storage and target.is_float and not target.is_storage:
        return lambda x: x.view(getattr(torch, source.name)).float().to(to)
    if source.is_storage or target.is_storage:  # PyTorch lets what is too large saturate
        return ByNumpy(n)
    if dtypes.uint64 in (source, target) and (source.is_float or target.is_float):
        return ByNumpy(n)
    if source.is_float and target.is_int:
        return partial(saturate, dtype=target)
    if source in CARRIED and (target.is_float or target.bits > source.bits):
        return lambda x: widened(x, source).to(to)
    return lambda x: x.to(to)


def saturate(x: torch.Tensor, dtype: DType) -> torch.Tensor:
    """Floats into integers: towards zero, held within the dtype's range, nan as 0."""
    whole = (x.float() if x.itemsize < 4 else x).trunc()
    too_low = whole < float(dtype.min)
    too_high = whole >= float(dtype.max + 1)
    fits = ~(too_low | too_high | whole.isnan())
    result = torch.where(fits, whole, 0).long()
    result = torch.where(too_low, dtype.min, torch.where(too_high, dtype.max, result))
    return result.to(carrier(dtype))


def divide(n: Node) -> Function:
    if n.dtype.is_float:
        return torch.remainder
    if n.dtype is dtypes.uint64:
        return ByNumpy(n)
    to = carrier(n.dtype)

    def divide(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        a, b = widened(a, n.dtype), widened(b, n.dtype)
        hard = (b == 0) | (b == -1)  # where processors trap
        easy = torch.where(hard, 1, b)
        if n.op is ops.MOD:
            return torch.where(hard, 0, a.remainder(easy)).to(to)
        return torch.where(hard, a * b, a.floor_divide(easy)).to(to)

    return divide


def shift_right(n: Node) -> Function:
    if n.dtype not in CARRIED:
        return torch.bitwise_right_shift
    bits = n.dtype.bits

    def shift(x: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
        kept = ~torch.bitwise_left_shift(torch.full_like(count, -1), bits - count)
        legal = (count >= 0) & (count < bits)
        return torch.bitwise_right_shift(x, count) & torch.where(legal, kept, 0)

    return shift
