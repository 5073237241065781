"""Constructors of graph nodes: one function an op, each with its shape and dtype rule.

These state what is legal, and raise `ValueError` where it is not. What users see (broadcasting,
promotion, friendly messages) is the tensor layer's; here shapes and dtypes must already agree.
"""

from __future__ import annotations

import weakref
from typing import Any

from gradlet.base import dtypes
from gradlet.base.dtypes import DType
from gradlet.ir import host, ops
from gradlet.ir.node import Node, node
from gradlet.ir.ops import Op

Shape = tuple[int, ...]


def _require(condition: bool, op: Op, *facts: Any) -> None:
    if not condition:
        raise ValueError(f"{op}: illegal combination {facts}")


def _formed_in(op: Op, dtype: DType) -> DType:
    """What `op` reduces numbers of `dtype` in, before they are rounded: half floats in float32."""
    dtypes.check_arithmetic(dtype, op.name)
    return dtypes.float32 if dtype.is_float and dtype.bits == 16 else dtype


# Sources


def buffer(handle: Any, dtype: DType, shape: Shape) -> Node:
    """Memory that the runtime knows by `handle`."""
    return node(ops.BUFFER, (), handle, dtype, shape)


def param(position: int, dtype: DType, shape: Shape) -> Node:
    """The buffer bound at `position` when a program or kernel runs."""
    return node(ops.PARAM, (), position, dtype, shape)


def const(value: bool | int | float, dtype: DType, shape: Shape = ()) -> Node:
    """`value` in every element. Integers must fit the dtype."""
    if dtype.is_float:
        return node(ops.CONST, (), float(value).hex(), dtype, shape)
    if dtype is dtypes.bool_:
        return node(ops.CONST, (), bool(value), dtype, shape)
    whole = int(value)
    _require(dtype.min <= whole <= dtype.max, ops.CONST, value, dtype)
    return node(ops.CONST, (), whole, dtype, shape)


def iota(length: int, dtype: DType = dtypes.int64) -> Node:
    """0, 1, ..., length - 1."""
    return node(ops.IOTA, (), None, dtype, (length,))


# Elementwise


def unary(op: Op, x: Node) -> Node:
    """Any one-source op that keeps the dtype."""
    if x.dtype.is_storage:
        dtypes.check_arithmetic(x.dtype, op.name)
    return node(op, (x,), None, x.dtype, x.shape)


def cast(x: Node, dtype: DType) -> Node:
    """`x` converted to `dtype`; a cast to its own dtype is `x`."""
    return x if x.dtype is dtype else node(ops.CAST, (x,), None, dtype, x.shape)


def bitcast(x: Node, dtype: DType) -> Node:
    """The bits of `x` read as another dtype of the same width."""
    _require(x.dtype.itemsize == dtype.itemsize, ops.BITCAST, x.dtype, dtype)
    return x if x.dtype is dtype else node(ops.BITCAST, (x,), None, dtype, x.shape)


def binary(op: Op, a: Node, b: Node) -> Node:
    """Any two-source op; the sources agree in dtype and shape."""
    if a.dtype is not b.dtype or a.shape != b.shape:
        _require(False, op, a.dtype, a.shape, b.dtype, b.shape)
    if a.dtype.is_storage:
        dtypes.check_arithmetic(a.dtype, op.name)
    return node(op, (a, b), None, dtypes.bool_ if op.compares else a.dtype, a.shape)


def where(condition: Node, a: Node, b: Node) -> Node:
    """`a` where `condition`, elsewhere `b`."""
    same = a.dtype is b.dtype and a.shape == b.shape == condition.shape
    _require(same and condition.dtype is dtypes.bool_, ops.WHERE, condition, a, b)
    return node(ops.WHERE, (condition, a, b), None, a.dtype, a.shape)


def elementwise(op: Op, src: tuple[Node, ...], dtype: DType | None = None) -> Node:
    """Dispatch on the number of sources; `dtype` is for casts."""
    if op is ops.CAST or op is ops.BITCAST:
        assert dtype is not None
        return cast(src[0], dtype) if op is ops.CAST else bitcast(src[0], dtype)
    if len(src) == 1:
        return unary(op, src[0])
    return binary(op, *src) if len(src) == 2 else where(*src)


def add(a: Node, b: Node) -> Node:
    return binary(ops.ADD, a, b)


def sub(a: Node, b: Node) -> Node:
    return binary(ops.SUB, a, b)


def mul(a: Node, b: Node) -> Node:
    return binary(ops.MUL, a, b)


def div(a: Node, b: Node, how: str | None = None) -> Node:
    """`a / b`, exactly rounded unless `how` is `reciprocal`."""
    quotient = binary(ops.DIV, a, b)
    return quotient if how is None else node(ops.DIV, (a, b), how, a.dtype, a.shape)


def neg(x: Node) -> Node:
    return unary(ops.NEG, x)


def full_like(x: Node, value: bool | int | float) -> Node:
    """A constant with the dtype and shape of `x`."""
    return const(value, x.dtype, x.shape)


def logical_not(x: Node) -> Node:
    """True where `x`, a bool, is False."""
    return binary(ops.XOR, x, full_like(x, True))


# Movement. Each gives `x` itself where nothing would move.


def reshape(x: Node, shape: Shape) -> Node:
    """The same elements in row-major order."""
    if shape == x.shape:
        return x
    if x.op is ops.RESHAPE:
        return reshape(x.src[0], shape)
    if x.op is ops.CONST:
        made = node(ops.CONST, (), x.arg, x.dtype, shape)
    else:
        made = node(ops.RESHAPE, (x,), None, x.dtype, shape)
    _require(made.size == x.size, ops.RESHAPE, x.shape, shape)
    return made


def expand(x: Node, shape: Shape) -> Node:
    """Broadcast as NumPy does: axes align from the right, extents of 1 repeat."""
    if shape == x.shape:
        return x
    lead = len(shape) - x.ndim
    _require(lead >= 0, ops.EXPAND, x.shape, shape)
    for extent, wanted in zip(x.shape, shape[lead:], strict=True):
        _require(extent in (1, wanted), ops.EXPAND, x.shape, shape)
    if x.op is ops.CONST:
        return node(ops.CONST, (), x.arg, x.dtype, shape)
    return node(ops.EXPAND, (x,), None, x.dtype, shape)


def permute(x: Node, order: Shape) -> Node:
    """Result axis `i` is source axis `order[i]`."""
    _require(sorted(order) == list(range(x.ndim)), ops.PERMUTE, x.shape, order)
    if order == tuple(range(x.ndim)):
        return x
    if x.op is ops.PERMUTE:
        return permute(x.src[0], tuple(x.arg[axis] for axis in order))
    return node(ops.PERMUTE, (x,), order, x.dtype, tuple(x.shape[axis] for axis in order))


def slice_(x: Node, spans: tuple[tuple[int, int, int], ...]) -> Node:
    """For each axis the elements `start, start + step, ...` below `stop`."""
    _require(len(spans) == x.ndim, ops.SLICE, x.shape, spans)
    shape = []
    for extent, (start, stop, step) in zip(x.shape, spans, strict=True):
        _require(0 <= start <= stop <= extent and step > 0, ops.SLICE, x.shape, spans)
        shape.append(-(-(stop - start) // step))
    if tuple(shape) == x.shape:
        return x
    return node(ops.SLICE, (x,), spans, x.dtype, tuple(shape))


def pad(x: Node, widths: tuple[tuple[int, int, int], ...]) -> Node:
    """Zeros before and after each axis, and `between` any two neighbours of it."""
    _require(len(widths) == x.ndim, ops.PAD, x.shape, widths)
    shape = []
    for extent, (before, after, between) in zip(x.shape, widths, strict=True):
        _require(before >= 0 and after >= 0 and between >= 0, ops.PAD, x.shape, widths)
        shape.append(before + after + extent + max(extent - 1, 0) * between)
    return x if tuple(shape) == x.shape else node(ops.PAD, (x,), widths, x.dtype, tuple(shape))


def flip(x: Node, axes: Shape) -> Node:
    """The order along `axes` reversed."""
    _require(all(0 <= axis < x.ndim for axis in axes), ops.FLIP, x.shape, axes)
    kept = tuple(sorted(axis for axis in axes if x.shape[axis] > 1))
    return node(ops.FLIP, (x,), kept, x.dtype, x.shape) if kept else x


def window(x: Node, axis: int, size: int, stride: int = 1, dilation: int = 1) -> Node:
    """Sliding windows of `size` along `axis`, laid out along a new last axis."""
    reach = (size - 1) * dilation + 1
    legal = 0 <= axis < x.ndim and size > 0 and stride > 0 and dilation > 0
    _require(legal and reach <= x.shape[axis], ops.WINDOW, x.shape, axis, size, stride, dilation)
    count = (x.shape[axis] - reach) // stride + 1
    shape = (*x.shape[:axis], count, *x.shape[axis + 1 :], size)
    return node(ops.WINDOW, (x,), (axis, size, stride, dilation), x.dtype, shape)


def fold(x: Node, axis: int, length: int, stride: int = 1, dilation: int = 1) -> Node:
    """Adds overlapping windows back into an axis of `length`: the adjoint of `window`."""
    wide = _formed_in(ops.FOLD, x.dtype)
    if wide is not x.dtype:
        return cast(fold(cast(x, wide), axis, length, stride, dilation), x.dtype)
    size = x.shape[-1]
    reach = (x.shape[axis] - 1) * stride + (size - 1) * dilation + 1
    legal = 0 <= axis < x.ndim - 1 and stride > 0 and dilation > 0
    _require(legal and reach <= length, ops.FOLD, x.shape, axis, length, stride, dilation)
    shape = (*x.shape[:axis], length, *x.shape[axis + 1 : -1])
    return node(ops.FOLD, (x,), (axis, length, stride, dilation), x.dtype, shape)


# Reductions


def reduce(op: Op, x: Node, axes: Shape) -> Node:
    """`x` reduced with ADD, MUL, MAXIMUM or MINIMUM; the axes disappear from the shape."""
    _require(op.identity is not None, ops.REDUCE, op)
    legal = len(set(axes)) == len(axes) and all(0 <= axis < x.ndim for axis in axes)
    _require(legal, ops.REDUCE, x.shape, axes)
    if not axes:
        return x
    wide = _formed_in(op, x.dtype)
    if wide is not x.dtype:
        return cast(reduce(op, cast(x, wide), axes), x.dtype)
    shape = tuple(extent for axis, extent in enumerate(x.shape) if axis not in axes)
    return node(ops.REDUCE, (x,), (op, tuple(sorted(axes))), x.dtype, shape)


def scan(op: Op, x: Node, axis: int) -> Node:
    """`x` with each element reduced, by an op as in `reduce`, with those before it on `axis`."""
    _require(op.identity is not None and 0 <= axis < x.ndim, ops.SCAN, op, x.shape, axis)
    wide = _formed_in(op, x.dtype)
    if wide is not x.dtype:
        return cast(scan(op, cast(x, wide), axis), x.dtype)
    return node(ops.SCAN, (x,), (op, axis), x.dtype, x.shape)


def sum_(x: Node, axes: Shape) -> Node:
    return reduce(ops.ADD, x, axes)


def identity_value(op: Op, dtype: DType) -> bool | int | float:
    """What a reduction with `op` starts from."""
    values = {"zero": 0, "one": 1, "min": dtype.min, "max": dtype.max}
    assert op.identity is not None
    return values[op.identity]


# Indexed


def gather(x: Node, indices: tuple[Node, ...]) -> Node:
    """`x[i0, i1, ...]` for integer indices of one shape."""
    _check_indices(ops.GATHER, x, indices)
    shape = indices[0].shape + x.shape[len(indices) :]
    return node(ops.GATHER, (x, *indices), None, x.dtype, shape)


def scatter(x: Node, indices: tuple[Node, ...], updates: Node) -> Node:
    """`x` with `updates` added at `[i0, i1, ...]`; repeated indices add up."""
    _check_indices(ops.SCATTER, x, indices)
    wanted = indices[0].shape + x.shape[len(indices) :]
    _require(updates.shape == wanted and updates.dtype is x.dtype, ops.SCATTER, updates, wanted)
    wide = _formed_in(ops.SCATTER, x.dtype)
    if wide is not x.dtype:
        return cast(scatter(cast(x, wide), indices, cast(updates, wide)), x.dtype)
    return node(ops.SCATTER, (x, *indices, updates), None, x.dtype, x.shape)


def _check_indices(op: Op, x: Node, indices: tuple[Node, ...]) -> None:
    _require(1 <= len(indices) <= x.ndim, op, x.shape, indices)
    for position in indices:
        same = position.shape == indices[0].shape and position.dtype.is_int
        _require(same, op, x.shape, indices)


# Libraries


def library(name: str, parameters: tuple[Any, ...], *src: Node) -> Node:
    """What the function `name` of `host.py` makes of some arrays."""
    dtype, shape = host.result_of((name, parameters), src)
    return node(ops.HOST, src, (name, parameters), dtype, shape)


# Positions


def along(axis: int, shape: Shape, dtype: DType = dtypes.int64) -> Node:
    """A node of `shape` in which every element is its own position along `axis`."""
    line = (1,) * axis + (shape[axis],) + (1,) * (len(shape) - axis - 1)
    return expand(reshape(iota(shape[axis], dtype), line), shape)


def running_positions(x: Node, extreme: Node, axis: int) -> Node:
    """Where on `axis` the running maximum or minimum `extreme` of `x` was found last."""
    is_nan = logical_not(binary(ops.EQ, x, x))
    hit = binary(ops.OR, binary(ops.EQ, x, extreme), is_nan)
    place = along(axis, x.shape)
    return scan(ops.MAXIMUM, where(hit, place, full_like(place, 0)), axis)


# Identities


def detach(x: Node) -> Node:
    """The value of `x`, cut off from its gradient."""
    if x.op is ops.DETACH or x.op is ops.RESULT:
        return x
    return node(ops.DETACH, (x,), None, x.dtype, x.shape)


def surrogate(value: Node, stand_in: Node) -> Node:
    """`value`, differentiated as if it were `stand_in`."""
    same = value.shape == stand_in.shape and value.dtype is stand_in.dtype
    _require(same, ops.SURROGATE, value, stand_in)
    return node(ops.SURROGATE, (value, stand_in), None, value.dtype, value.shape)


def custom(value: Node, sources: tuple[Node, ...], rule: Any) -> Node:
    """`value`, whose gradient `rule(g, node)` passes on: one node or None for each of `sources`."""
    return node(ops.CUSTOM, (value, *sources), rule, value.dtype, value.shape)


class _PassOn:
    """The rule of one `apart`: each object is another."""

    def __call__(self, g: Node, n: Node) -> tuple[Node]:
        return (g,)


def apart(x: Node) -> Node:
    """The value of `x` with its gradient, as a node that is equal to no other."""
    return custom(x, (x,), _PassOn())


def consumed(x: Node, before: Node | None = None) -> Node:
    """The value of `x`, whose graph is gone: a gradient that arrives here is an error.

    Args:
        before: another node of this value, which gets it when it is computed.
    """
    arg = None if before is None or before is x else weakref.ref(before)
    return node(ops.CONSUMED, (x,), arg, x.dtype, x.shape)


def rebuild(current: Node, src: tuple[Node, ...]) -> Node:
    """The operation of `current` applied to `src`, its shape and dtype worked out anew."""
    op, arg = current.op, current.arg
    if op is ops.DIV:
        return div(src[0], src[1], arg)
    if op.elementwise:
        return elementwise(op, src, current.dtype)
    if op in (ops.RESHAPE, ops.EXPAND):
        return (reshape if op is ops.RESHAPE else expand)(src[0], current.shape)
    if op in _REBUILD_WITH_ARG:
        return _REBUILD_WITH_ARG[op](src[0], arg)
    if op is ops.GATHER:
        return gather(src[0], src[1:])
    if op is ops.SCATTER:
        return scatter(src[0], src[1:-1], src[-1])
    if op is ops.HOST:
        return library(*arg, *src)
    if op in ops.IDENTITIES:
        return node(op, src, arg, src[0].dtype, src[0].shape)
    return node(op, src, arg, current.dtype, current.shape)


_REBUILD_WITH_ARG: dict[Op, Any] = {
    ops.DETACH: lambda x, arg: detach(x),
    ops.PERMUTE: permute,
    ops.SLICE: slice_,
    ops.PAD: pad,
    ops.FLIP: flip,
    ops.WINDOW: lambda x, arg: window(x, *arg),
    ops.FOLD: lambda x, arg: fold(x, *arg),
    ops.REDUCE: lambda x, arg: reduce(arg[0], x, arg[1]),
    ops.SCAN: lambda x, arg: scan(arg[0], x, arg[1]),
}
