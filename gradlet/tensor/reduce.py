"""Reductions along axes, and softmax and its kin, which rest on them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Self, TypeVar

from gradlet.base import dtypes
from gradlet.base.dtypes import DType
from gradlet.ir import build, ops
from gradlet.ir.build import along
from gradlet.ir.node import Node
from gradlet.ir.ops import Op
from gradlet.tensor.by_form import by_form
from gradlet.tensor.core import Shape, product
from gradlet.tensor.operators import floating, nonzero
from gradlet.tensor.rearrange import Rearrange

Axis = int | Sequence[int] | None
Function = TypeVar("Function", bound=Callable[..., Any])
_OTHER_NAMES = {"dim": "axis", "keepdims": "keepdim", "unbiased": "correction"}


def also_dim(function: Function) -> Function:
    """`by_form`, with the names that NumPy and PyTorch give arguments: `dim`, `keepdims`, ..."""
    return by_form(function, _OTHER_NAMES)


class Reduce(Rearrange):
    """Reductions. `axis` is one axis, several, or None for all of them."""

    __slots__ = ()

    def _reduced(self, op: Op, x: Node, axes: Shape, keepdim: bool) -> Self:
        return self._result(reduce_node(op, x, axes, keepdim))

    @also_dim
    def sum(self, axis: Axis = None, keepdim: bool = False, dtype: Any = None) -> Self:
        """The sum; int64 for integers and bools. Half floats add up in float32.

        >>> from gradlet import Tensor
        >>> Tensor([[1, 2], [3, 4]]).sum(axis=0).tolist()
        [4, 6]
        """
        axes = self._axes(axis, "sum")
        wanted = _sum_dtype(self.dtype) if dtype is None else dtypes.as_dtype(dtype)
        total = reduce_node(ops.ADD, build.cast(self.node, _wide(wanted)), axes, keepdim)
        return self._result(build.cast(total, wanted))

    @also_dim
    def mean(self, axis: Axis = None, keepdim: bool = False, dtype: Any = None) -> Self:
        """The mean, as floats; nan of no elements."""
        axes = self._axes(axis, "mean")
        x = self._as_float(dtype, "mean")
        mean = mean_node(build.cast(x, _wide(x.dtype)), axes, keepdim)
        return self._result(build.cast(mean, x.dtype))

    def _as_float(self, dtype: Any, operation: str) -> Node:
        """In `dtype`, or else as `floating` has it."""
        x = floating(self.node) if dtype is None else build.cast(self.node, dtypes.as_dtype(dtype))
        if not x.dtype.is_float:
            raise TypeError(f"{operation}: dtype must be a float, not {x.dtype.name}")
        return x

    @also_dim
    def prod(self, axis: Axis = None, keepdim: bool = False, dtype: Any = None) -> Self:
        """The product; int64 for integers and bools, 1 of no elements."""
        axes = self._axes(axis, "prod")
        wanted = _sum_dtype(self.dtype) if dtype is None else dtypes.as_dtype(dtype)
        total = reduce_node(ops.MUL, build.cast(self.node, _wide(wanted)), axes, keepdim)
        return self._result(build.cast(total, wanted))

    @also_dim
    def max(self, axis: Axis = None, keepdim: bool = False) -> Self:
        """The largest element; nan if there is one. Equals share the gradient."""
        axes = self._nonempty(axis, "max")
        return self._reduced(ops.MAXIMUM, self.node, axes, keepdim)

    @also_dim
    def min(self, axis: Axis = None, keepdim: bool = False) -> Self:
        """The smallest element; nan if there is one. Equals share the gradient."""
        axes = self._nonempty(axis, "min")
        return self._reduced(ops.MINIMUM, self.node, axes, keepdim)

    @also_dim
    def var(self, axis: Axis = None, keepdim: bool = False, correction: float = 1) -> Self:
        """The variance: squared deviations over (n - correction); False and True count as 0, 1."""
        axes = self._axes(axis, "var")
        x = floating(self.node)
        wide = build.cast(x, _wide(x.dtype))
        center = build.expand(mean_node(wide, axes, keepdim=True), x.shape)
        deviation = build.sub(wide, center)
        total = reduce_node(ops.ADD, build.mul(deviation, deviation), axes, keepdim)
        count = max(product([x.shape[a] for a in axes]) - correction, 0)
        variance = build.div(total, build.full_like(total, count))
        return self._result(build.cast(variance, x.dtype))

    @also_dim
    def std(self, axis: Axis = None, keepdim: bool = False, correction: float = 1) -> Self:
        """The standard deviation; its gradient is 0 where all elements are equal."""
        variance = self.var(axis, keepdim, correction)
        flat = variance <= 0
        return flat.where(0.0, flat.where(1.0, variance).sqrt())

    @also_dim
    def any(self, axis: Axis = None, keepdim: bool = False) -> Self:
        """True if an element is not zero."""
        axes = self._axes(axis, "any")
        return self._reduced(ops.MAXIMUM, nonzero(self.node), axes, keepdim)

    @also_dim
    def all(self, axis: Axis = None, keepdim: bool = False) -> Self:
        """True if no element is zero."""
        axes = self._axes(axis, "all")
        return self._reduced(ops.MINIMUM, nonzero(self.node), axes, keepdim)

    @also_dim
    def argmax(self, axis: int | None = None, keepdim: bool = False) -> Self:
        """Where the largest element stands first (int64); a nan counts as largest."""
        return self._position_of(ops.MAXIMUM, axis, keepdim, "argmax")

    @also_dim
    def argmin(self, axis: int | None = None, keepdim: bool = False) -> Self:
        """Where the smallest element stands first (int64); a nan counts as smallest."""
        return self._position_of(ops.MINIMUM, axis, keepdim, "argmin")

    def _position_of(self, op: Op, axis: int | None, keepdim: bool, operation: str) -> Self:
        if axis is None:
            found = self.reshape(-1)._position_of(op, 0, False, operation)
            return found.reshape((1,) * self.ndim) if keepdim else found
        (along_axis,) = self._nonempty(axis, operation)
        x = self.node
        if not x.ndim:
            return self._result(build.const(0, dtypes.int64))
        if x.dtype.bits <= 32 and x.shape[along_axis] <= _LARGEST_POSITION:
            return self._result(_position_in_key(op, x, along_axis, keepdim))
        best = build.expand(reduce_node(op, x, (along_axis,), keepdim=True), x.shape)
        hit = build.binary(ops.EQ, x, best)
        if x.dtype.is_float:
            nan = build.logical_not(build.binary(ops.EQ, x, x))
            hit = build.binary(ops.OR, hit, nan)
        position = along(along_axis, x.shape)
        nowhere = build.full_like(position, x.shape[along_axis])
        first = build.where(hit, position, nowhere)
        return self._reduced(ops.MINIMUM, first, (along_axis,), keepdim)

    # Running results

    @also_dim
    def cumsum(self, axis: int = 0, dtype: Any = None) -> Self:
        """The sum of each element and those before it on `axis`; int64 for integers and bools.

        >>> from gradlet import Tensor
        >>> Tensor([1, 2, 3]).cumsum().tolist()
        [1, 3, 6]
        """
        return self._running(ops.ADD, axis, dtype, "cumsum")

    @also_dim
    def cumprod(self, axis: int = 0, dtype: Any = None) -> Self:
        """The product of each element and those before it on `axis`; int64 for integers."""
        return self._running(ops.MUL, axis, dtype, "cumprod")

    def _running(self, op: Op, axis: int, dtype: Any, operation: str) -> Self:
        wanted = _sum_dtype(self.dtype) if dtype is None else dtypes.as_dtype(dtype)
        place = self._axis(axis, operation)
        wide = build.cast(self.node, _wide(wanted))
        return self._result(build.cast(scan_node(op, wide, place), wanted))

    @also_dim
    def cummax(self, axis: int = 0) -> tuple[Self, Self]:
        """The largest element so far along `axis`, and where it stands last (int64).

        A nan stays the largest. The gradient goes to those places.

        >>> from gradlet import Tensor
        >>> values, places = Tensor([1, 3, 2]).cummax()
        >>> values.tolist(), places.tolist()
        ([1, 3, 3], [0, 1, 1])
        """
        return self._running_extreme(ops.MAXIMUM, axis, "cummax")

    @also_dim
    def cummin(self, axis: int = 0) -> tuple[Self, Self]:
        """The smallest element so far along `axis`, and where it stands last; see `cummax`."""
        return self._running_extreme(ops.MINIMUM, axis, "cummin")

    def _running_extreme(self, op: Op, axis: int, operation: str) -> tuple[Self, Self]:
        place = self._axis(axis, operation)
        if not self.ndim:
            return self, self._result(build.const(0, dtypes.int64))
        best = build.scan(op, self.node, place)
        positions = build.running_positions(self.node, best, place)
        return self._result(best), self._result(positions)

    def _nonempty(self, axis: Axis, operation: str) -> Shape:
        axes = self._axes(axis, operation)
        if self.ndim and product([self.shape[a] for a in axes]) == 0:
            raise ValueError(
                f"{operation}: shape {self.shape} has no element along axis {axis}, and "
                f"{operation} of nothing has no value"
            )
        return axes

    # Softmax and its kin

    def _shifted(self, axis: int, operation: str) -> tuple[Node, Shape]:
        """x less its largest element along `axis`, in at least float32; and the axes."""
        axes = self._axes(axis, operation) if self.ndim else ()
        x = floating(self.node)
        wide = build.cast(x, _wide(x.dtype))
        largest = build.detach(reduce_node(ops.MAXIMUM, wide, axes, keepdim=True))
        return build.sub(wide, build.expand(largest, x.shape)), axes

    @also_dim
    def softmax(self, axis: int = -1, dtype: Any = None) -> Self:
        """exp(x) over its sum along `axis`, of x in `dtype` if that is given.

        >>> from gradlet import Tensor
        >>> Tensor([1000.0, 1000.0]).softmax().tolist()
        [0.5, 0.5]
        """
        if dtype is not None:
            return self.cast(dtype).softmax(axis)
        shifted, axes = self._shifted(axis, "softmax")
        powers = build.unary(ops.EXP, shifted)
        total = reduce_node(ops.ADD, powers, axes, keepdim=True)
        # The total is at least 1, so that its reciprocal is a good one.
        share = build.div(powers, build.expand(total, powers.shape), "reciprocal")
        return self._result(build.cast(share, floating(self.node).dtype))

    @also_dim
    def log_softmax(self, axis: int = -1, dtype: Any = None) -> Self:
        """log(softmax(x)) along `axis`, with no overflow and no log of 0."""
        if dtype is not None:
            return self.cast(dtype).log_softmax(axis)
        shifted, axes = self._shifted(axis, "log_softmax")
        total = reduce_node(ops.ADD, build.unary(ops.EXP, shifted), axes, keepdim=True)
        norm = build.expand(build.unary(ops.LOG, total), shifted.shape)
        return self._result(build.cast(build.sub(shifted, norm), floating(self.node).dtype))

    @also_dim
    def logsumexp(self, axis: Axis = None, keepdim: bool = False) -> Self:
        """log(sum(exp(x))), with no overflow; -inf of no elements."""
        axes = self._axes(axis, "logsumexp")
        x = self._result(floating(self.node))
        if x.numel() == 0:
            return x.exp().sum(axes, keepdim).log()
        largest = x.max(axes, keepdim=True)
        finite = x._result(build.detach((abs(largest) == math.inf).where(0.0, largest).node))
        result = (x - finite).exp().sum(axes, keepdim=True).log() + finite
        return result if keepdim else result.reshape(_without(self.shape, axes))


# Helpers on nodes

_LARGEST_POSITION = (1 << 31) - 1


def _position_in_key(op: Op, x: Node, axis: int, keepdim: bool) -> Node:
    """The position of the extreme, in one pass: value and position reduced as one int64.

    The value stands in the upper half, so that it decides; among equals the lower half does: the
    position for a minimum, and for a maximum what is missing from it to the largest number.
    """
    largest = op is ops.MAXIMUM
    value = _in_order(x, dtypes.int32.max if largest else dtypes.int32.min)
    position = along(axis, x.shape)
    limit = build.full_like(position, _LARGEST_POSITION)
    low = build.sub(limit, position) if largest else position
    high = build.binary(ops.SHL, value, build.full_like(value, 32))
    best = reduce_node(op, build.binary(ops.OR, high, low), (axis,), keepdim)
    limit = build.full_like(best, _LARGEST_POSITION)
    found = build.binary(ops.AND, best, limit)
    return build.sub(limit, found) if largest else found


def _in_order(x: Node, nan: int) -> Node:
    """Numbers of up to 32 bits as int64 in the range of int32 and in the same order."""
    if x.dtype is dtypes.uint32:
        wide = build.cast(x, dtypes.int64)
        return build.add(wide, build.full_like(wide, dtypes.int32.min))
    if not x.dtype.is_float:
        return build.cast(x, dtypes.int64)
    real = build.cast(x, dtypes.float32)
    real = build.add(real, build.full_like(real, 0.0))  # -0.0 and 0.0 are equal
    bits = build.bitcast(real, dtypes.int32)
    sign = build.binary(ops.SHR, bits, build.full_like(bits, 31))
    turned = build.binary(ops.AND, sign, build.full_like(bits, dtypes.int32.max))
    ordered = build.binary(ops.XOR, bits, turned)  # larger magnitudes below zero come first
    is_number = build.binary(ops.EQ, real, real)
    return build.cast(build.where(is_number, ordered, build.full_like(bits, nan)), dtypes.int64)


def _without(shape: Shape, axes: Shape) -> Shape:
    return tuple(extent for axis, extent in enumerate(shape) if axis not in axes)


def reduce_node(op: Op, x: Node, axes: Shape, keepdim: bool) -> Node:
    """`x` reduced, with the axes dropped or left at extent 1."""
    if not x.ndim:
        return x
    result = build.reduce(op, x, axes)
    if not keepdim:
        return result
    return build.reshape(result, tuple(1 if a in axes else n for a, n in enumerate(x.shape)))


def scan_node(op: Op, x: Node, axis: int) -> Node:
    """`x` scanned; a scalar is its own scan."""
    return build.scan(op, x, axis) if x.ndim else x


def mean_node(x: Node, axes: Shape, keepdim: bool) -> Node:
    """The mean of floats."""
    total = reduce_node(ops.ADD, x, axes, keepdim)
    count = product([x.shape[a] for a in axes]) if x.ndim else 1
    return build.div(total, build.full_like(total, count))


def _sum_dtype(dtype: DType) -> DType:
    return dtype if dtype.is_float else dtypes.int64


def _wide(dtype: DType) -> DType:
    """What sums of `dtype` add up in."""
    return dtypes.float32 if dtype.is_float and dtype.bits == 16 else dtype
