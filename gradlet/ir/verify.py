"""What a legal tensor program is: one row an op, each stating its rule anew.

`build.py` keeps programs legal as they are written; this checks what passes have made of them. A
row works out the dtype and shape that a node must have from its sources and its arg alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from gradlet.base import dtypes
from gradlet.base.dtypes import DType
from gradlet.ir import host, ops
from gradlet.ir.node import Node, topological
from gradlet.ir.ops import Op
from gradlet.ir.show import show_node

Shape = tuple[int, ...]
Result = tuple[DType, Shape]
Row = Callable[[Node], Result]


class VerifyError(Exception):
    """A stage has produced a graph that breaks an op's rule."""


class _IllegalError(Exception):
    """What is wrong with the node under test."""


def verify_graph(sinks: Iterable[Node]) -> None:
    """Checks every node under `sinks` against its op's row.

    Raises:
        VerifyError: says what is wrong and prints the node and its sources.
    """
    for current in topological(sinks):
        try:
            _verify(current)
        except _IllegalError as illegal:
            shown = show_node(current)
            raise VerifyError(f"{current.op}: {illegal}\n{shown}") from None


def _verify(current: Node) -> None:
    row = RULES.get(current.op)
    if row is None:
        raise _IllegalError("not an op of tensor programs")
    _need(_is_shape(current.shape), f"{current.shape} is not a shape")
    dtype, shape = row(current)
    _need(current.dtype is dtype, f"the dtype is {current.dtype.name}, not {dtype.name}")
    _need(current.shape == shape, f"the shape is {current.shape}, not {shape}")


def _need(condition: bool, otherwise: str) -> None:
    if not condition:
        raise _IllegalError(otherwise)


def _is_whole(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_shape(value: Any) -> bool:
    return isinstance(value, tuple) and all(_is_whole(extent) for extent in value)


def _sources(n: Node, count: int) -> tuple[Node, ...]:
    _need(len(n.src) == count, f"{len(n.src)} sources in place of {count}")
    return n.src


def _no_arg(n: Node) -> None:
    _need(n.arg is None, f"takes no arg, but has {n.arg}")


def _tuples(n: Node, ndim: int) -> list[tuple[int, int, int]]:
    """The arg as one triple of whole numbers an axis."""
    legal = isinstance(n.arg, tuple) and len(n.arg) == ndim
    legal = legal and all(_is_shape(part) and len(part) == 3 for part in n.arg)
    _need(legal, f"the arg {n.arg} is not three whole numbers for each of {ndim} axes")
    return list(n.arg)


# Sources


def _buffer(n: Node) -> Result:
    _sources(n, 0)
    _need(n.arg is not None, "has no handle")
    return n.dtype, n.shape


def _param(n: Node) -> Result:
    _sources(n, 0)
    _need(_is_whole(n.arg), f"the arg {n.arg} is not a position")
    return n.dtype, n.shape


def _const(n: Node) -> Result:
    _sources(n, 0)
    if n.dtype.is_float:
        _need(_is_float_text(n.arg), f"the arg {n.arg!r} is not float.hex() text")
    elif n.dtype is dtypes.bool_:
        _need(type(n.arg) is bool, f"the arg {n.arg!r} is not a bool")
    else:
        fits = type(n.arg) is int and n.dtype.min <= n.arg <= n.dtype.max
        _need(fits, f"the arg {n.arg!r} is no value of {n.dtype.name}")
    return n.dtype, n.shape


def _is_float_text(arg: Any) -> bool:
    try:
        return float.fromhex(arg).hex() == arg
    except (TypeError, ValueError, OverflowError):
        return False


def _iota(n: Node) -> Result:
    _sources(n, 0)
    _no_arg(n)
    _need(len(n.shape) == 1, f"the shape {n.shape} has not one axis")
    _need(n.dtype is not dtypes.bool_, "counts in a number type, not bool")
    return n.dtype, n.shape


# Elementwise

ANY = ("bool", "int", "uint", "float")
NUMBERS = ("int", "uint", "float")
FLOATS = ("float",)
INTEGERS = ("int", "uint")
BITS = ("bool", "int", "uint")


def _alike(count: int, kinds: tuple[str, ...]) -> Row:
    """`count` sources of one shape and one dtype, whose kind is among `kinds`."""

    def row(n: Node) -> Result:
        first = _sources(n, count)[0]
        _no_arg(n)
        for source in n.src:
            _same(source, first)
        _need(first.dtype.kind in kinds, f"is not defined for {first.dtype.name}")
        return dtypes.bool_ if n.op.compares else first.dtype, first.shape

    return row


def _div(n: Node) -> Result:
    a, b = _sources(n, 2)
    _need(n.arg in (None, "reciprocal"), f"the arg {n.arg!r} is no way to divide")
    _same(a, b)
    _need(a.dtype.kind in FLOATS, f"is not defined for {a.dtype.name}")
    return a.dtype, a.shape


def _same(a: Node, b: Node) -> None:
    _need(a.dtype is b.dtype, f"the dtypes {b.dtype.name} and {a.dtype.name} differ")
    _need(a.shape == b.shape, f"the shapes {b.shape} and {a.shape} differ")


def _cast(n: Node) -> Result:
    (x,) = _sources(n, 1)
    _no_arg(n)
    return n.dtype, x.shape


def _bitcast(n: Node) -> Result:
    (x,) = _sources(n, 1)
    _no_arg(n)
    _need(x.dtype.bits == n.dtype.bits, f"{x.dtype.name} and {n.dtype.name} differ in width")
    return n.dtype, x.shape


def _where(n: Node) -> Result:
    condition, a, b = _sources(n, 3)
    _no_arg(n)
    _same(b, a)
    _need(condition.dtype is dtypes.bool_, f"the condition is {condition.dtype.name}, not bool")
    _need(condition.shape == a.shape, f"the shapes {condition.shape} and {a.shape} differ")
    return a.dtype, a.shape


# Movement


def _reshape(n: Node) -> Result:
    (x,) = _sources(n, 1)
    _no_arg(n)
    same = math.prod(x.shape) == math.prod(n.shape)
    _need(same, f"{x.shape} and {n.shape} hold different numbers of elements")
    return x.dtype, n.shape


def _expand(n: Node) -> Result:
    (x,) = _sources(n, 1)
    _no_arg(n)
    lead = len(n.shape) - len(x.shape)
    pairs = zip(x.shape, n.shape[max(lead, 0) :], strict=False)
    fits = lead >= 0 and all(extent in (1, wanted) for extent, wanted in pairs)
    _need(fits, f"{x.shape} does not broadcast to {n.shape}")
    return x.dtype, n.shape


def _permute(n: Node) -> Result:
    (x,) = _sources(n, 1)
    legal = _is_shape(n.arg) and sorted(n.arg) == list(range(x.ndim))
    _need(legal, f"the arg {n.arg} is no order of {x.ndim} axes")
    return x.dtype, tuple(x.shape[axis] for axis in n.arg)


def _slice(n: Node) -> Result:
    (x,) = _sources(n, 1)
    shape = []
    for extent, (start, stop, step) in zip(x.shape, _tuples(n, x.ndim), strict=True):
        legal = start <= stop <= extent and step > 0
        _need(legal, f"{(start, stop, step)} does not lie within an axis of {extent}")
        shape.append(len(range(start, stop, step)))
    return x.dtype, tuple(shape)


def _pad(n: Node) -> Result:
    (x,) = _sources(n, 1)
    shape = []
    for extent, (before, after, between) in zip(x.shape, _tuples(n, x.ndim), strict=True):
        inside = (extent - 1) * (between + 1) + 1 if extent else 0
        shape.append(before + inside + after)
    return x.dtype, tuple(shape)


def _flip(n: Node) -> Result:
    (x,) = _sources(n, 1)
    _need_axes(n.arg, x.ndim)
    return x.dtype, x.shape


def _need_axes(axes: Any, ndim: int) -> None:
    legal = _is_shape(axes) and list(axes) == sorted(set(axes)) and len(axes) > 0
    _need(legal and axes[-1] < ndim, f"{axes} are not axes, each once and rising, of {ndim}")


def _window_arg(n: Node, ndim: int, meaning: str) -> Shape:
    legal = _is_shape(n.arg) and len(n.arg) == 4 and n.arg[0] < ndim and min(n.arg[2:]) > 0
    _need(legal, f"the arg {n.arg} is not ({meaning}) of {ndim} axes")
    return n.arg


def _window(n: Node) -> Result:
    (x,) = _sources(n, 1)
    axis, size, stride, dilation = _window_arg(n, x.ndim, "axis, size, stride, dilation")
    reach = (size - 1) * dilation + 1
    fits = size > 0 and reach <= x.shape[axis]
    _need(fits, f"a window that reaches over {reach} does not fit in {x.shape[axis]}")
    count = len(range(0, x.shape[axis] - reach + 1, stride))
    return x.dtype, (*x.shape[:axis], count, *x.shape[axis + 1 :], size)


# Reductions


def _reduce(n: Node) -> Result:
    (x,) = _sources(n, 1)
    axes = _reducer(n, x, "axes")
    _need_axes(axes, x.ndim)
    return x.dtype, tuple(extent for axis, extent in enumerate(x.shape) if axis not in axes)


def _reducer(n: Node, x: Node, where: str) -> Any:
    """The second part of the arg, behind an op that reduces the dtype of `x`."""
    _need(isinstance(n.arg, tuple) and len(n.arg) == 2, f"the arg {n.arg} is not (op, {where})")
    op, place = n.arg
    _need(op in REDUCERS, f"{op} does not reduce")
    _need(x.dtype.kind in REDUCERS[op], f"{op} is not defined for {x.dtype.name}")
    return place


def _scan(n: Node) -> Result:
    (x,) = _sources(n, 1)
    axis = _reducer(n, x, "axis")
    _need(_is_whole(axis) and axis < x.ndim, f"{axis} is not an axis of {x.ndim}")
    return x.dtype, x.shape


REDUCERS = {ops.ADD: NUMBERS, ops.MUL: NUMBERS, ops.MAXIMUM: ANY, ops.MINIMUM: ANY}


def _fold(n: Node) -> Result:
    (x,) = _sources(n, 1)
    axis, length, stride, dilation = _window_arg(n, x.ndim - 1, "axis, length, stride, dilation")
    count, size = x.shape[axis], x.shape[-1]
    reach = (count - 1) * stride + (size - 1) * dilation + 1
    _need(reach <= length, f"windows that reach over {reach} do not fit in {length}")
    _need(x.dtype is not dtypes.bool_, "is not defined for bool")
    return x.dtype, (*x.shape[:axis], length, *x.shape[axis + 1 : -1])


# Indexed


def _picked(x: Node, indices: tuple[Node, ...]) -> Shape:
    """The shape of `x[i0, i1, ...]`."""
    count = len(indices)
    _need(1 <= count <= x.ndim, f"{count} indices for {x.ndim} axes")
    for index in indices:
        _need(index.dtype.is_int, f"an index is {index.dtype.name}, not an integer")
        same = index.shape == indices[0].shape
        _need(same, f"the indices' shapes {indices[0].shape} and {index.shape} differ")
    return indices[0].shape + x.shape[count:]


def _gather(n: Node) -> Result:
    _need(len(n.src) >= 2, f"{len(n.src)} sources in place of an array and its indices")
    _no_arg(n)
    return n.src[0].dtype, _picked(n.src[0], n.src[1:])


def _scatter(n: Node) -> Result:
    _need(len(n.src) >= 3, f"{len(n.src)} sources in place of an array, indices and updates")
    _no_arg(n)
    x, *indices, updates = n.src
    shape = _picked(x, tuple(indices))
    _need(updates.shape == shape, f"the updates' shape {updates.shape} is not {shape}")
    _need(updates.dtype is x.dtype, f"the dtypes {x.dtype.name} and {updates.dtype.name} differ")
    _need(x.dtype is not dtypes.bool_, "is not defined for bool")
    return x.dtype, x.shape


def _host(n: Node) -> Result:
    legal = isinstance(n.arg, tuple) and len(n.arg) == 2 and n.arg[0] in host.HOST
    _need(legal, f"the arg {n.arg} is not (name of a function, parameters)")
    try:
        return host.result_of(n.arg, n.src)
    except (TypeError, ValueError) as error:
        raise _IllegalError(str(error)) from None


def _custom(n: Node) -> Result:
    _need(bool(n.src) and callable(n.arg), f"needs sources and a rule, not {n.arg!r}")
    return n.src[0].dtype, n.src[0].shape


RULES: dict[Op, Row] = {
    ops.BUFFER: _buffer,
    ops.PARAM: _param,
    ops.CONST: _const,
    ops.IOTA: _iota,
    ops.NEG: _alike(1, NUMBERS),
    ops.ABS: _alike(1, NUMBERS),
    ops.EXP: _alike(1, FLOATS),
    ops.EXP2: _alike(1, FLOATS),
    ops.LOG: _alike(1, FLOATS),
    ops.LOG2: _alike(1, FLOATS),
    ops.SIN: _alike(1, FLOATS),
    ops.COS: _alike(1, FLOATS),
    ops.TANH: _alike(1, FLOATS),
    ops.ERF: _alike(1, FLOATS),
    ops.SQRT: _alike(1, FLOATS),
    ops.FLOOR: _alike(1, FLOATS),
    ops.CAST: _cast,
    ops.BITCAST: _bitcast,
    ops.ADD: _alike(2, NUMBERS),
    ops.SUB: _alike(2, NUMBERS),
    ops.MUL: _alike(2, NUMBERS),
    ops.DIV: _div,
    ops.FLOORDIV: _alike(2, INTEGERS),
    ops.MOD: _alike(2, NUMBERS),
    ops.POW: _alike(2, FLOATS),
    ops.MAXIMUM: _alike(2, ANY),
    ops.MINIMUM: _alike(2, ANY),
    ops.EQ: _alike(2, ANY),
    ops.LT: _alike(2, ANY),
    ops.LE: _alike(2, ANY),
    ops.AND: _alike(2, BITS),
    ops.OR: _alike(2, BITS),
    ops.XOR: _alike(2, BITS),
    ops.SHL: _alike(2, INTEGERS),
    ops.SHR: _alike(2, INTEGERS),
    ops.WHERE: _where,
    ops.RESHAPE: _reshape,
    ops.EXPAND: _expand,
    ops.PERMUTE: _permute,
    ops.SLICE: _slice,
    ops.PAD: _pad,
    ops.FLIP: _flip,
    ops.WINDOW: _window,
    ops.REDUCE: _reduce,
    ops.SCAN: _scan,
    ops.FOLD: _fold,
    ops.GATHER: _gather,
    ops.SCATTER: _scatter,
    ops.HOST: _host,
    ops.DETACH: _alike(1, ANY),
    ops.SURROGATE: _alike(2, ANY),
    ops.CUSTOM: _custom,
    ops.CONSUMED: _alike(1, ANY),
}
