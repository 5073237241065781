"""The oracle: a device that interprets the graph with NumPy, one row of a table an op.

It is short and obvious rather than fast; every other device is tested against it. A row gets the
node and the values of its sources; whatever dtype NumPy makes of that is rounded to the node's.
Half-precision floats are computed as float32, and float sums and products as float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradlet.base import dtypes
from gradlet.base.dtypes import DType
from gradlet.ir import build, host, ops
from gradlet.ir.node import Node, topological
from gradlet.ir.ops import Op

Row = Callable[..., Any]

# What computes nothing: the program is given these values.
GIVEN = (ops.BUFFER, ops.PARAM)


class NumpyDevice:
    """Runs programs op by op; its memory is `np.ndarray`."""

    name = "numpy"

    def from_numpy(self, array: np.ndarray) -> np.ndarray:
        """A copy of `array`."""
        return array.copy()

    def to_numpy(self, memory: np.ndarray, dtype: DType, shape: tuple[int, ...]) -> np.ndarray:
        """A copy of `memory`."""
        return memory.copy()

    def share(self, array: np.ndarray) -> np.ndarray:
        """`array` itself."""
        return array

    def view(self, memory: np.ndarray, dtype: DType, shape: tuple[int, ...]) -> np.ndarray:
        """`memory` itself."""
        return memory

    def compile(self, sinks: Sequence[Node], params: Sequence[Node]) -> NumpyProgram:
        """A program that computes `sinks` from arrays for `params`."""
        return NumpyProgram(sinks, params)


class NumpyProgram:
    """A graph in the order in which it is computed, with what each step is the last to read."""

    def __init__(self, sinks: Sequence[Node], params: Sequence[Node]) -> None:
        self.sinks = list(sinks)
        self.params = list(params)
        given, kept = set(params), set(sinks)
        order = topological(sinks, lambda n: () if n in given else n.src)
        self.order = [n for n in order if n not in given]
        last_reader = {source: n for n in self.order for source in n.src}
        self.dead: dict[Node, list[Node]] = {n: [] for n in self.order}
        for source, reader in last_reader.items():
            if source not in kept:
                self.dead[reader].append(source)

    def __call__(self, memories: Sequence[np.ndarray]) -> list[np.ndarray]:
        """New arrays for the sinks; raises IndexError where a gather or scatter index is out."""
        values = dict(zip(self.params, memories, strict=True))
        with np.errstate(all="ignore"):
            for current in self.order:
                values[current] = evaluate(current, [values[s] for s in current.src])
                for source in self.dead[current]:
                    del values[source]
        return [values[sink].copy() for sink in self.sinks]


def evaluate(current: Node, sources: Sequence[np.ndarray]) -> np.ndarray:
    """The value of one node from the values of its sources."""
    result = np.asarray(NUMPY[current.op](current, *sources))
    assert result.shape == current.shape, (current, result.shape)
    return result.astype(current.dtype.numpy, copy=False)


# Elementwise


_NARROW = {d.numpy for d in (dtypes.float16, dtypes.bfloat16, *dtypes.STORAGE)}


def _wide(x: np.ndarray) -> np.ndarray:
    """float32 in place of the types of 16 and 8 bits, everything else as it is."""
    return x.astype(np.float32) if x.dtype in _NARROW else x


def _elementwise(function: Callable[..., Any]) -> Row:
    """The row of an op that is one NumPy function of its sources."""
    return lambda n, *sources: function(*map(_wide, sources))


_erf = np.vectorize(math.erf, otypes=[np.float64])


def _cast(n: Node, x: np.ndarray) -> np.ndarray:
    if n.src[0].dtype.is_float and n.dtype.is_int:
        return _saturate(_wide(x).astype(np.float64), n.dtype)
    return _wide(x).astype(n.dtype.numpy)


def _saturate(x: np.ndarray, dtype: DType) -> np.ndarray:
    """float64 into integers: towards zero, held within the dtype's range, nan as 0."""
    whole = np.trunc(x)
    too_low = whole < dtype.min
    too_high = whole >= dtype.max + 1
    fits = ~(too_low | too_high | np.isnan(whole))
    result = np.where(fits, whole, 0).astype(dtype.numpy)
    result = np.where(too_low, dtype.numpy.type(dtype.min), result)
    return np.where(too_high, dtype.numpy.type(dtype.max), result)


def _shift(n: Node, x: np.ndarray, count: np.ndarray) -> np.ndarray:
    legal = (count >= 0) & (count < n.dtype.bits)
    count = np.where(legal, count, 0)
    if n.op is ops.SHL:
        return np.where(legal, np.left_shift(x, count), 0)
    return np.where(legal, np.right_shift(x, count), np.where(x < 0, -1, 0).astype(x.dtype))


# Movement


def _slice(n: Node, x: np.ndarray) -> np.ndarray:
    return x[tuple(slice(start, stop, step) for start, stop, step in n.arg)]


def _pad(n: Node, x: np.ndarray) -> np.ndarray:
    result = np.zeros(n.shape, x.dtype)
    positions = [
        before + np.arange(extent) * (between + 1)
        for extent, (before, _, between) in zip(x.shape, n.arg, strict=True)
    ]
    result[np.ix_(*positions)] = x
    return result


def _window(n: Node, x: np.ndarray) -> np.ndarray:
    axis, size, stride, dilation = n.arg
    starts = np.arange(n.shape[axis]) * stride
    positions = starts[:, None] + np.arange(size) * dilation
    return np.moveaxis(np.take(x, positions, axis), axis + 1, -1)


# Reductions


def _accumulator(x: np.ndarray, dtype: DType) -> np.ndarray:
    """A new array in the type that sums and products are formed in: float64 for floats."""
    return x.astype(np.float64 if dtype.is_float else dtype.numpy)


_REDUCERS: dict[Op, np.ufunc] = {
    ops.ADD: np.add,
    ops.MUL: np.multiply,
    ops.MAXIMUM: np.maximum,
    ops.MINIMUM: np.minimum,
}


def _reduce(n: Node, x: np.ndarray) -> np.ndarray:
    op, axes = n.arg
    wide = _accumulator(x, n.dtype)
    start = build.identity_value(op, n.dtype)
    return _REDUCERS[op].reduce(wide, axis=axes, dtype=wide.dtype, initial=start)


def _scan(n: Node, x: np.ndarray) -> np.ndarray:
    op, axis = n.arg
    wide = _accumulator(x, n.dtype)
    return _REDUCERS[op].accumulate(wide, axis=axis, dtype=wide.dtype)


def _fold(n: Node, x: np.ndarray) -> np.ndarray:
    axis, _, stride, dilation = n.arg
    result = _accumulator(np.zeros(n.shape), n.dtype)
    starts = np.arange(x.shape[axis]) * stride
    for k in range(x.shape[-1]):
        # Within one k no position comes twice, so += adds each.
        result[(slice(None),) * axis + (starts + k * dilation,)] += x[..., k]
    return result


# Indexed


def _positions(n: Node, x: np.ndarray, indices: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    """The indices as NumPy wants them, each checked."""
    for axis, index in enumerate(indices):
        size = x.shape[axis]
        wrong = index[(index < 0) | (index >= size)]
        if wrong.size:
            raise IndexError(
                f"{n.op.name.lower()}: index {wrong[0]} is out of range for axis {axis} with "
                f"size {size} (x of shape {x.shape})"
            )
    return tuple(index.astype(np.int64) for index in indices)


def _gather(n: Node, x: np.ndarray, *indices: np.ndarray) -> np.ndarray:
    return x[_positions(n, x, indices)]


def _scatter(n: Node, x: np.ndarray, *rest: np.ndarray) -> np.ndarray:
    *indices, updates = rest
    result = _accumulator(x, n.dtype)
    np.add.at(result, _positions(n, x, indices), updates.astype(result.dtype))
    return result


NUMPY: dict[Op, Row] = {
    ops.CONST: lambda n: np.broadcast_to(np.array(n.value, n.dtype.numpy), n.shape),
    ops.IOTA: lambda n: np.arange(n.shape[0]),
    ops.NEG: _elementwise(np.negative),
    ops.ABS: _elementwise(np.abs),
    ops.EXP: _elementwise(np.exp),
    ops.EXP2: _elementwise(np.exp2),
    ops.LOG: _elementwise(np.log),
    ops.LOG2: _elementwise(np.log2),
    ops.SIN: _elementwise(np.sin),
    ops.COS: _elementwise(np.cos),
    ops.TANH: _elementwise(np.tanh),
    ops.ERF: _elementwise(_erf),
    ops.SQRT: _elementwise(np.sqrt),
    ops.FLOOR: _elementwise(np.floor),
    ops.CAST: _cast,
    ops.BITCAST: lambda n, x: x.view(n.dtype.numpy),
    ops.ADD: _elementwise(np.add),
    ops.SUB: _elementwise(np.subtract),
    ops.MUL: _elementwise(np.multiply),
    ops.DIV: _elementwise(np.divide),
    ops.FLOORDIV: _elementwise(np.floor_divide),
    ops.MOD: _elementwise(np.mod),
    ops.POW: _elementwise(np.power),
    ops.MAXIMUM: _elementwise(np.maximum),
    ops.MINIMUM: _elementwise(np.minimum),
    ops.EQ: _elementwise(np.equal),
    ops.LT: _elementwise(np.less),
    ops.LE: _elementwise(np.less_equal),
    ops.AND: _elementwise(np.bitwise_and),
    ops.OR: _elementwise(np.bitwise_or),
    ops.XOR: _elementwise(np.bitwise_xor),
    ops.SHL: _shift,
    ops.SHR: _shift,
    ops.WHERE: lambda n, condition, a, b: np.where(condition, a, b),
    ops.RESHAPE: lambda n, x: x.reshape(n.shape),
    ops.EXPAND: lambda n, x: np.broadcast_to(x, n.shape),
    ops.PERMUTE: lambda n, x: x.transpose(n.arg),
    ops.SLICE: _slice,
    ops.PAD: _pad,
    ops.FLIP: lambda n, x: np.flip(x, n.arg),
    ops.WINDOW: _window,
    ops.REDUCE: _reduce,
    ops.SCAN: _scan,
    ops.FOLD: _fold,
    ops.GATHER: _gather,
    ops.SCATTER: _scatter,
    ops.HOST: lambda n, *arrays: host.call(n.arg, arrays),
    ops.DETACH: lambda n, x: x,
    ops.SURROGATE: lambda n, x, stand_in: x,
    ops.CUSTOM: lambda n, x, *sources: x,
    ops.CONSUMED: lambda n, x: x,
}
