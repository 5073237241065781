"""The table of the PyTorch device: for each op a row that makes a function over tensors.

A row is given a node when a program is made, and the function the values of its sources when the
program runs. Elementwise functions, and EXPAND, may be given and may return tensors that only
broadcast to the shape of the node; all others get and give tensors of just that shape.
"""

from __future__ import annotations

from functools import partial, reduce
from itertools import product

import numpy as np
import torch

from gradlet.ir import ops
from gradlet.ir.node import Node
from gradlet.ir.ops import Op
from gradlet.runtime.pytorch.arrays import carrier, from_array
from gradlet.runtime.pytorch.integers import (
    ByNumpy,
    Function,
    Row,
    cast,
    divide,
    ordered,
    shift_right,
    widened,
)

# How many parts of which size are faster as operations of their own.
FEW, MANY = 9, 1000


def _same(function: Function) -> Row:
    """The row of an op that is one function of PyTorch, for carried integers too."""
    return lambda n: function


# Sources, whose functions are given the device


def _const(n: Node) -> Function:
    value = from_array(np.array(n.value, n.dtype.numpy), n.dtype)
    return value.to


def _iota(n: Node) -> Function:
    to = carrier(n.dtype)
    return lambda device: torch.arange(n.shape[0], device=device).to(to)


# Movement


def _pad(n: Node) -> Function:
    places = tuple(
        slice(before, extent - after, between + 1)
        for extent, (before, after, between) in zip(n.shape, n.arg, strict=True)
    )

    def pad(x: torch.Tensor) -> torch.Tensor:
        result = x.new_zeros(n.shape)
        result[places] = x
        return result

    return pad


def _window(n: Node) -> Function:
    axis, size, stride, dilation = n.arg
    reach = (size - 1) * dilation + 1
    return lambda x: x.unfold(axis, reach, stride)[..., ::dilation]


# Reductions


def _reduce(n: Node) -> Function:
    op, axes = n.arg
    to = carrier(n.dtype)
    if not n.src[0].size:
        return ByNumpy(n)
    if op is ops.ADD:
        return lambda x: x.sum(axes, dtype=to)
    if op is ops.MUL:
        return partial(_product, axes=axes, dtype=to)
    return ordered(_extreme(n))(n)


def _extreme(n: Node) -> Function:
    """The largest or smallest; of a few elements each from views, which PyTorch does faster."""
    op, axes = n.arg
    larger = op is ops.MAXIMUM
    extents = [
        range(extent) if axis in axes else (slice(None),)
        for axis, extent in enumerate(n.src[0].shape)
    ]
    parts = list(product(*extents))
    if not 1 < len(parts) <= FEW or n.size < MANY:
        return partial(torch.amax if larger else torch.amin, dim=axes)
    choose = torch.maximum if larger else torch.minimum
    return lambda x: reduce(choose, [x[part] for part in parts])


def _product(x: torch.Tensor, axes: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    for axis in reversed(axes):
        x = x.prod(axis, dtype=dtype)
    return x


def _scan(n: Node) -> Function:
    op, axis = n.arg
    to = carrier(n.dtype)
    if not n.size:
        return ByNumpy(n)
    if op in (ops.ADD, ops.MUL):
        add_up = torch.cumsum if op is ops.ADD else torch.cumprod
        return lambda x: add_up(x, axis, dtype=to)
    extreme = torch.cummax if op is ops.MAXIMUM else torch.cummin
    return ordered(lambda x: extreme(x, axis).values)(n)


def _wide(x: torch.Tensor) -> torch.Tensor:
    """What sums are formed in: float32 for half floats."""
    return x.float() if x.is_floating_point() and x.itemsize < 4 else x


def _fold(n: Node) -> Function:
    axis, _, stride, dilation = n.arg
    reach = (n.src[0].shape[axis] - 1) * stride + 1

    def fold(x: torch.Tensor) -> torch.Tensor:
        x = _wide(x)
        result = x.new_zeros(n.shape)
        for k in range(x.shape[-1]):
            begin = k * dilation
            result[(slice(None),) * axis + (slice(begin, begin + reach, stride),)] += x[..., k]
        return result.to(carrier(n.dtype))

    return fold if n.src[0].size else lambda x: x.new_zeros(n.shape)


# Indexed


def _checked(n: Node, x: torch.Tensor, axis: int, index: torch.Tensor) -> torch.Tensor:
    """An index as PyTorch wants it; IndexError if it is out of range."""
    index = widened(index, n.src[1 + axis].dtype).long()
    where = f"axis {axis} with size {x.shape[axis]} (x of shape {tuple(x.shape)})"
    if torch.compiler.is_compiling():
        return torch.ops.gradlet.checked(index, x.shape[axis], n.op.name.lower(), where)
    require_range(index, x.shape[axis], n.op.name.lower(), where)
    return index


def require_range(index: torch.Tensor, size: int, op: str, where: str) -> None:
    """IndexError unless all of `index` is in [0, size)."""
    if index.numel():
        low, high = torch.stack(index.aminmax()).tolist()
        if low < 0 or high >= size:
            wrong = index[(index < 0) | (index >= size)][0].item()
            raise IndexError(f"{op}: index {wrong} is out of range for {where}")


def _gather(n: Node) -> Function:
    def gather(x: torch.Tensor, *indices: torch.Tensor) -> torch.Tensor:
        return x[tuple(_checked(n, x, axis, index) for axis, index in enumerate(indices))]

    return gather


def _scatter(n: Node) -> Function:
    count = len(n.src) - 2
    rows = n.shape[count:]

    def scatter(x: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
        *indices, updates = rest
        place = torch.zeros_like(indices[0], dtype=torch.int64)
        for axis, index in enumerate(indices):
            place = place * n.shape[axis] + _checked(n, x, axis, index)
        if not updates.numel():
            return x
        flat = _wide(x).reshape(-1, *rows)  # the indexed axes as one
        made = flat.index_add(0, place.flatten(), _wide(updates).reshape(-1, *rows))
        return made.reshape(n.shape).to(carrier(n.dtype))

    return scatter


# What PyTorch has under the same name.
_ALIKE = (
    ops.NEG, ops.EXP, ops.EXP2, ops.LOG, ops.LOG2, ops.SIN, ops.COS, ops.TANH, ops.ERF, ops.SQRT,
    ops.FLOOR, ops.ADD, ops.SUB, ops.MUL, ops.DIV, ops.POW, ops.EQ, ops.WHERE,
)  # fmt: skip

TORCH: dict[Op, Row] = {
    **{op: _same(getattr(torch, op.name.lower())) for op in _ALIKE},
    ops.CONST: _const,
    ops.IOTA: _iota,
    ops.ABS: lambda n: (lambda x: x) if n.dtype.is_unsigned else torch.abs,
    ops.CAST: cast,
    ops.BITCAST: lambda n: lambda x: x.view(carrier(n.dtype)),
    ops.FLOORDIV: divide,
    ops.MOD: divide,
    ops.MAXIMUM: ordered(torch.maximum),
    ops.MINIMUM: ordered(torch.minimum),
    ops.LT: ordered(torch.lt),
    ops.LE: ordered(torch.le),
    ops.AND: _same(torch.bitwise_and),
    ops.OR: _same(torch.bitwise_or),
    ops.XOR: _same(torch.bitwise_xor),
    ops.SHL: _same(torch.bitwise_left_shift),
    ops.SHR: shift_right,
    ops.RESHAPE: lambda n: lambda x: x.reshape(n.shape),
    ops.EXPAND: _same(lambda x: x),
    ops.PERMUTE: lambda n: lambda x: x.permute(n.arg),
    ops.SLICE: lambda n: lambda x: x[tuple(slice(*span) for span in n.arg)],
    ops.PAD: _pad,
    ops.FLIP: lambda n: lambda x: x.flip(n.arg),
    ops.WINDOW: _window,
    ops.REDUCE: _reduce,
    ops.SCAN: _scan,
    ops.FOLD: _fold,
    ops.GATHER: _gather,
    ops.SCATTER: _scatter,
    ops.HOST: ByNumpy,
    ops.DETACH: _same(lambda x: x),
    ops.SURROGATE: _same(lambda x, stand_in: x),
    ops.CUSTOM: _same(lambda x, *sources: x),
    ops.CONSUMED: _same(lambda x: x),
}
