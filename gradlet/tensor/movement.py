"""Operations that move elements about: reshape, permute, cut, join."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from gradlet.base import dtypes
from gradlet.base.dtypes import DType
from gradlet.ir import build, ops
from gradlet.ir.build import along
from gradlet.ir.node import Node
from gradlet.tensor.activations import Activations
from gradlet.tensor.core import (
    Core,
    Shape,
    broadcast_shape,
    check_extents,
    normal_axis,
    product,
    scalar_node,
    shape_argument,
)


class Movement(Activations):
    """Movement operations."""

    __slots__ = ()

    def reshape(self, *extents: Any, shape: Any = None) -> Self:
        """The same elements in row-major order; one extent may be -1, to be worked out.

        >>> from gradlet import Tensor
        >>> Tensor([1, 2, 3, 4]).reshape(2, -1).tolist()
        [[1, 2], [3, 4]]
        """
        wanted = shape_argument(extents, shape)
        complete = _complete(wanted, self.numel())
        if complete is None:
            raise ValueError(
                f"reshape: a tensor of shape {self.shape} has {self.numel()} elements, which "
                f"do not fill shape {wanted}"
            )
        return self._view((build.reshape, complete))

    def view(self, *shape: Any, size: Any = None) -> Self:
        """`reshape`; of a dtype `bitcast`.

        >>> from gradlet import Tensor
        >>> Tensor([1.0]).view("int32").tolist()
        [1065353216]
        """
        if len(shape) == 1 and isinstance(shape[0], (str, type, DType, np.dtype)):
            return self.bitcast(shape[0])
        return self.reshape(*shape, shape=size)

    def expand(self, *shape: Any, size: Any = None) -> Self:
        """Repeats axes of extent 1, and adds leading ones; -1 keeps an extent."""
        wanted = shape_argument(shape, size)
        lead = len(wanted) - self.ndim
        filled = tuple(
            self.shape[axis - lead] if extent == -1 and axis >= lead else extent
            for axis, extent in enumerate(wanted)
        )
        return self.broadcast_to(filled)

    def broadcast_to(self, *shape: Any) -> Self:
        """Repeats axes of extent 1, and adds leading ones, as NumPy does."""
        wanted = check_extents(shape_argument(shape), "expand")
        if broadcast_shape((self.shape, wanted), "expand") != wanted:
            raise ValueError(f"expand: shape {self.shape} cannot be expanded to {wanted}")
        return self._view((build.expand, wanted))

    def permute(self, *order: Any, dims: Any = None) -> Self:
        """Axis `i` of the result is axis `order[i]` of the source."""
        axes = self._axes(shape_argument(order, dims), "permute")
        if len(axes) != self.ndim:
            raise ValueError(f"permute: {axes} does not name each of {self.ndim} axes once")
        return self._view((build.permute, axes))

    def transpose(self, dim0: int = 1, dim1: int = 0) -> Self:
        """Two axes exchanged."""
        order = list(range(self.ndim))
        first, second = self._axis(dim0, "transpose"), self._axis(dim1, "transpose")
        if self.ndim:
            order[first], order[second] = order[second], order[first]
        return self._view((build.permute, tuple(order)))

    @property
    def T(self) -> Self:  # noqa: N802
        """All axes in reverse order."""
        return self._view((build.permute, tuple(reversed(range(self.ndim)))))

    def movedim(self, source: int | Sequence[int], destination: int | Sequence[int]) -> Self:
        """One axis or several moved to other places, the rest in their order."""
        starts, ends = self._axes(source, "movedim"), self._axes(destination, "movedim")
        if len(starts) != len(ends):
            raise ValueError(f"movedim: cannot move axes {source} to places {destination}")
        order = [axis for axis in range(self.ndim) if axis not in starts]
        for end, start in sorted(zip(ends, starts, strict=True)):
            order.insert(end, start)
        return self.permute(order)

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Self:
        """The axes from start_dim to end_dim joined into one."""
        first, last = self._axis(start_dim, "flatten"), self._axis(end_dim, "flatten")
        if first > last:
            raise ValueError(f"flatten: start_dim {start_dim} comes after end_dim {end_dim}")
        joined = product(self.shape[first : last + 1])
        return self.reshape((*self.shape[:first], joined, *self.shape[last + 1 :]))

    def unflatten(self, dim: int, sizes: Sequence[int]) -> Self:
        """One axis split into several; one of `sizes` may be -1."""
        axis = self._axis(dim, "unflatten")
        complete = _complete(tuple(sizes), self.shape[axis])
        if complete is None:
            raise ValueError(
                f"unflatten: an axis of {self.shape[axis]} cannot be split into {tuple(sizes)}"
            )
        return self.reshape((*self.shape[:axis], *complete, *self.shape[axis + 1 :]))

    def squeeze(self, dim: int | Sequence[int] | None = None) -> Self:
        """Drops axes of extent 1: all of them, or those of `dim` that have it."""
        axes = self._axes(dim, "squeeze")
        kept = [n for axis, n in enumerate(self.shape) if axis not in axes or n != 1]
        return self.reshape(tuple(kept))

    def unsqueeze(self, dim: int) -> Self:
        """Puts in an axis of extent 1 at `dim`."""
        axis = normal_axis(dim, self.ndim + 1, "unsqueeze")
        return self.reshape((*self.shape[:axis], 1, *self.shape[axis:]))

    def flip(self, *axis: Any, dims: Any = None) -> Self:
        """The order along the given axes reversed."""
        return self._view((build.flip, self._axes(shape_argument(axis, dims), "flip")))

    # Cutting

    def shrink(self, bounds: Sequence[tuple[int, int] | None]) -> Self:
        """For each axis the elements from start up to stop, given as a pair, or None for all."""
        if len(bounds) != self.ndim:
            raise ValueError(f"shrink: {len(bounds)} bounds for a tensor of shape {self.shape}")
        spans = []
        for bound, extent in zip(bounds, self.shape, strict=True):
            start, stop = bound or (0, extent)
            if not 0 <= start <= stop <= extent:
                raise ValueError(f"shrink: {bound} is not within an axis of {extent}")
            spans.append((start, stop, 1))
        return self._view((build.slice_, tuple(spans)))

    def _part(self, axis: int, start: int, stop: int) -> Self:
        spans = tuple(
            (start, stop, 1) if a == axis else (0, extent, 1) for a, extent in enumerate(self.shape)
        )
        return self._view((build.slice_, spans))

    def split(self, sizes: int | Sequence[int], dim: int = 0) -> tuple[Self, ...]:
        """Pieces along `dim`: of one size (the last may be smaller), or of the given sizes."""
        axis = self._axis(dim, "split")
        extent = self.shape[axis]
        if isinstance(sizes, int):
            if sizes < 1:
                raise ValueError(f"split: pieces must have at least 1 element, not {sizes}")
            starts = range(0, max(extent, 1), sizes)
            sizes = [min(sizes, extent - start) for start in starts]
        if sum(sizes) != extent:
            raise ValueError(f"split: sizes {tuple(sizes)} do not add up to {extent}")
        pieces = []
        start = 0
        for size in sizes:
            pieces.append(self._part(axis, start, start + size))
            start += size
        return tuple(pieces)

    def chunk(self, chunks: int, dim: int = 0) -> tuple[Self, ...]:
        """At most `chunks` pieces of equal size along `dim`; the last may be smaller."""
        if chunks < 1:
            raise ValueError(f"chunk: at least 1 piece, not {chunks}")
        extent = self.shape[self._axis(dim, "chunk")]
        return self.split(-(-extent // chunks) if extent else [0] * chunks, dim)

    # Joining

    def cat(self: Any, *others: Any, dim: int = 0) -> Any:
        """Tensors joined along an axis: `a.cat(b, c)` or `Tensor.cat([a, b, c])`.

        Those of shape (0,) are left out, as in PyTorch.

        >>> from gradlet import Tensor
        >>> Tensor.cat([Tensor([1, 2]), Tensor([3])]).tolist()
        [1, 2, 3]
        """
        anchor, nodes, dim = _gather_operands(self, others, dim, "cat")
        nodes = [part for part in nodes if part.shape != (0,)] or nodes[:1]
        first = nodes[0]
        axis = normal_axis(dim, first.ndim, "cat")
        for part in nodes[1:]:
            rest = [a for a in range(first.ndim) if a != axis]
            if part.ndim != first.ndim or any(part.shape[a] != first.shape[a] for a in rest):
                raise ValueError(
                    f"cat: shapes {first.shape} and {part.shape} differ outside of axis {axis}"
                )
        return anchor._result(_join(nodes, axis))

    def stack(self: Any, *others: Any, dim: int = 0) -> Any:
        """Tensors of one shape joined along a new axis: `Tensor.stack([a, b, c])`."""
        first, nodes, dim = _gather_operands(self, others, dim, "stack")
        axis = normal_axis(dim, first.ndim + 1, "stack")
        for part in nodes[1:]:
            if part.shape != first.shape:
                raise ValueError(f"stack: shapes {first.shape} and {part.shape} differ")
        shape = (*first.shape[:axis], 1, *first.shape[axis:])
        return first._result(_join([build.reshape(part, shape) for part in nodes], axis))

    def repeat(self, *repeats: Any) -> Self:
        """The whole tensor repeated along each axis; leading axes are added as needed."""
        counts = check_extents(shape_argument(repeats), "repeat")
        if len(counts) < self.ndim:
            raise ValueError(f"repeat: {len(counts)} counts for {self.ndim} axes")
        extents = (1,) * (len(counts) - self.ndim) + self.shape
        paired = [part for extent in extents for part in (1, extent)]
        spread = [part for pair in zip(counts, extents, strict=True) for part in pair]
        repeated = tuple(count * extent for count, extent in zip(counts, extents, strict=True))
        return self.reshape(tuple(paired)).expand(tuple(spread)).reshape(repeated)._own()

    def tile(self, *repeats: Any, dims: Any = None) -> Self:
        """`repeat`, where missing leading counts are 1."""
        counts = shape_argument(repeats, dims)
        return self.repeat((1,) * (self.ndim - len(counts)) + counts)

    # Triangles

    def tril(self, diagonal: int = 0) -> Self:
        """The last two axes with zeros above the given diagonal."""
        return self._triangle(diagonal + 1, upper=False)

    def triu(self, diagonal: int = 0) -> Self:
        """The last two axes with zeros below the given diagonal."""
        return self._triangle(diagonal, upper=True)

    def _triangle(self, diagonal: int, upper: bool) -> Self:
        if self.ndim < 2:
            raise ValueError(f"tril and triu need at least 2 axes, not shape {self.shape}")
        row, column = along(self.ndim - 2, self.shape), along(self.ndim - 1, self.shape)
        limit = build.add(row, build.full_like(row, diagonal))
        below = build.binary(ops.LT, column, limit)
        zero = build.full_like(self.node, 0)
        parts = (zero, self.node) if upper else (self.node, zero)
        return self._result(build.where(below, *parts))


# Helpers


def _complete(shape: Shape, size: int) -> Shape | None:
    """`shape` with its -1 worked out, or None if `size` elements do not fill it."""
    unknown = shape.count(-1)
    known = product([extent for extent in shape if extent != -1])
    if unknown > 1 or known < 0 or any(extent < -1 for extent in shape):
        return None
    if unknown == 0:
        return shape if known == size else None
    if known == 0 or size % known:
        return None
    return tuple(size // known if extent == -1 else extent for extent in shape)


def pad_node(x: Node, widths: Sequence[tuple[int, int]], value: Any = 0) -> Node:
    """`x` with (before, after) elements of `value` around each axis."""
    full = tuple((before, after, 0) for before, after in widths)
    padded = build.pad(x, full)
    if padded is x or (value == 0 and math.copysign(1, value) > 0):
        return padded
    inside = build.pad(build.const(True, dtypes.bool_, x.shape), full)
    filler = scalar_node(value, x.dtype, padded.shape, "pad")
    return build.where(inside, padded, filler)


def _gather_operands(
    first: Any, others: Sequence[Any], dim: int, operation: str
) -> tuple[Any, list[Node], int]:
    """The first tensor, the nodes of all of them in one dtype, and `dim`, also if behind a list."""
    if isinstance(first, (list, tuple)) and len(others) == 1 and isinstance(others[0], int):
        (dim,), others = others, []
    tensors = [*first, *others] if isinstance(first, (list, tuple)) else [first, *others]
    if not tensors or not all(isinstance(tensor, Core) for tensor in tensors):
        raise TypeError(f"{operation}: needs at least one tensor, and nothing but tensors")
    nodes = [tensors[0]._operand(tensor, operation) for tensor in tensors]
    dtype = nodes[0].dtype
    for part in nodes[1:]:
        dtype = dtypes.promote(dtype, part.dtype)
    return tensors[0], [build.cast(part, dtype) for part in nodes], dim


def _join(parts: Sequence[Node], axis: int) -> Node:
    """Nodes joined along `axis`, in halves, so that no element passes many others."""
    if len(parts) == 1:
        return parts[0]
    middle = len(parts) // 2
    left, right = _join(parts[:middle], axis), _join(parts[middle:], axis)
    here, there = left.shape[axis], right.shape[axis]
    if not here or not there:
        return left if here else right
    after = tuple((0, there if a == axis else 0, 0) for a in range(left.ndim))
    before = tuple((here if a == axis else 0, 0, 0) for a in range(left.ndim))
    wide_left, wide_right = build.pad(left, after), build.pad(right, before)
    position = along(axis, wide_left.shape)
    first = build.binary(ops.LT, position, build.full_like(position, here))
    return build.where(first, wide_left, wide_right)
