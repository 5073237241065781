"""Pooling into as many parts as one asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from gradlet.base import dtypes
from gradlet.ir import build, ops
from gradlet.ir.build import along
from gradlet.ir.node import Node
from gradlet.tensor.core import Shape, product
from gradlet.tensor.pooling import Pooling

OutputSize = int | Sequence[int | None] | None


class Adaptive(Pooling):
    """Adaptive pooling over the last axes."""

    __slots__ = ()

    # The mean

    def adaptive_avg_pool1d(self, output_size: OutputSize) -> Self:
        """The means of `output_size` parts of (..., L); see `adaptive_avg_pool2d`."""
        return self._adaptive_mean(1, output_size)

    def adaptive_avg_pool2d(self, output_size: OutputSize) -> Self:
        """The means of parts of images, of which there are as many as one asks for.

        Part i of n along an axis of L is floor(i * L / n) to ceil((i + 1) * L / n).

        Args:
            self: (..., H, W).
            output_size: one number, or (rows, columns); None keeps an extent.

        >>> from gradlet import Tensor
        >>> Tensor([[1.0, 2.0, 3.0]]).adaptive_avg_pool2d((1, 2)).tolist()
        [[1.5, 2.5]]
        """
        return self._adaptive_mean(2, output_size)

    def adaptive_avg_pool3d(self, output_size: OutputSize) -> Self:
        """The means of parts of (..., D, H, W); see `adaptive_avg_pool2d`."""
        return self._adaptive_mean(3, output_size)

    def _adaptive_mean(self, axes: int, output_size: OutputSize) -> Self:
        operation = f"adaptive_avg_pool{axes}d"
        counts = self._counts_of_parts(axes, output_size, operation)
        if not self.dtype.is_float:
            raise TypeError(f"{operation}: needs floats, not {self.dtype.name}; call .float()")
        wide = dtypes.float32 if self.dtype.bits == 16 else self.dtype
        x = build.cast(self.node, wide)
        for axis, count in enumerate(counts, self.ndim - axes):
            x = _mean_of_parts(x, axis, count)
        return self._result(build.cast(x, self.dtype))

    # The largest

    def adaptive_max_pool1d(self, output_size: OutputSize, return_indices: bool = False) -> Any:
        """The largest of `output_size` parts of (..., L); see `adaptive_max_pool2d`."""
        return self._adaptive_max(1, output_size, return_indices)

    def adaptive_max_pool2d(self, output_size: OutputSize, return_indices: bool = False) -> Any:
        """The largest elements of parts of images, which lie as for `adaptive_avg_pool2d`.

        Args:
            self: (..., H, W).
            output_size: one number, or (rows, columns); None keeps an extent.
            return_indices: whether to say as well where in the flat H * W image they stand.

        Returns:
            (..., rows, columns), or that and int64 indices of the same shape.

        >>> from gradlet import Tensor
        >>> values, places = Tensor([[5, 1, 7]]).adaptive_max_pool2d((1, 2), return_indices=True)
        >>> values.tolist(), places.tolist()
        ([[5, 7]], [[0, 2]])
        """
        return self._adaptive_max(2, output_size, return_indices)

    def adaptive_max_pool3d(self, output_size: OutputSize, return_indices: bool = False) -> Any:
        """The largest of parts of (..., D, H, W); see `adaptive_max_pool2d`."""
        return self._adaptive_max(3, output_size, return_indices)

    def _adaptive_max(self, axes: int, output_size: OutputSize, return_indices: bool) -> Any:
        counts = self._counts_of_parts(axes, output_size, f"adaptive_max_pool{axes}d")
        image = self.shape[self.ndim - axes :]
        if not any(extent % count for extent, count in zip(image, counts, strict=True)):
            kernel = [extent // count for extent, count in zip(image, counts, strict=True)]
            return self._max_pool(axes, kernel, None, 1, 0, False, return_indices)
        largest, place = _largest_of_parts(build.detach(self.node), counts)
        lead = product(self.shape[: self.ndim - axes])
        flat = build.reshape(place, (lead, product(counts)))
        rows = build.reshape(self.node, (lead, product(image)))
        picked = build.gather(rows, (along(0, flat.shape), flat))
        value = build.surrogate(largest, build.reshape(picked, largest.shape))
        return (self._result(value), self._result(place)) if return_indices else self._result(value)

    def _counts_of_parts(self, axes: int, output_size: OutputSize, operation: str) -> Shape:
        """How many parts the last axes have."""
        image = self.shape[self.ndim - axes :]
        if len(image) != axes or not all(image):
            raise ValueError(f"{operation}: shape {self.shape} is no image with {axes} axes")
        if output_size is None or isinstance(output_size, int):
            output_size = (output_size,) * axes
        if len(output_size) != axes or any(n is not None and n < 1 for n in output_size):
            raise ValueError(
                f"{operation}: output_size must be one positive number or {axes}, not {output_size}"
            )
        pairs = zip(image, output_size, strict=True)
        return tuple(extent if count is None else count for extent, count in pairs)


# Taking elements along one axis


def take(x: Node, axis: int, places: Node) -> Node:
    """The elements of `x` at `places`, whose axes take the place of `axis`."""
    others = tuple(a for a in range(x.ndim) if a != axis)
    taken = build.gather(build.permute(x, (axis, *others)), (places,))
    new = places.ndim
    behind = tuple(range(new, taken.ndim))
    return build.permute(taken, (*behind[:axis], *range(new), *behind[axis:]))


def spread(weights: Node, axis: int, shape: Shape) -> Node:
    """Weights along axes that begin at `axis`, repeated over the others of `shape`."""
    behind = len(shape) - axis - weights.ndim
    line = (1,) * axis + weights.shape + (1,) * behind
    return build.expand(build.reshape(weights, line), shape)


# Parts of one axis


def _parts(extent: int, count: int) -> tuple[Node, Node, Node]:
    """Where `count` parts of an axis lie.

    Returns:
        (count, longest): the place of each element; whether a part has so many, and where not,
        the place is its first one's. (count,): the lengths.
    """
    bounds = [(i * extent // count, -(-(i + 1) * extent // count)) for i in range(count)]
    shape = (count, max(stop - start for start, stop in bounds))
    part = along(0, shape)
    wide = build.full_like(part, extent)
    whole = build.full_like(part, count)
    start = build.binary(ops.FLOORDIV, build.mul(part, wide), whole)
    after = build.mul(build.add(part, build.full_like(part, 1)), wide)
    after = build.add(after, build.full_like(part, count - 1))
    stop = build.binary(ops.FLOORDIV, after, whole)
    place = build.add(start, along(1, shape))
    inside = build.binary(ops.LT, place, stop)
    lengths = build.slice_(build.sub(stop, start), ((0, count, 1), (0, 1, 1)))
    return build.where(inside, place, start), inside, build.reshape(lengths, (count,))


def _mean_of_parts(x: Node, axis: int, count: int) -> Node:
    extent = x.shape[axis]
    if extent % count == 0:
        shape = (*x.shape[:axis], count, extent // count, *x.shape[axis + 1 :])
        total = build.sum_(build.reshape(x, shape), (axis + 1,))
        return build.div(total, build.full_like(total, extent // count))
    place, inside, lengths = _parts(extent, count)
    taken = take(x, axis, place)
    kept = spread(inside, axis, taken.shape)
    total = build.sum_(build.where(kept, taken, build.full_like(taken, 0)), (axis + 1,))
    return build.div(total, spread(build.cast(lengths, x.dtype), axis, total.shape))


def _largest_of_parts(x: Node, counts: Shape) -> tuple[Node, Node]:
    """The largest element of each part over the last axes, and its index in the flat image."""
    lead = x.ndim - len(counts)
    image = x.shape[lead:]
    parts = [_parts(extent, count) for extent, count in zip(image, counts, strict=True)]
    for i, (place, _, _) in enumerate(parts):
        x = take(x, lead + 2 * i, place)  # (..., rows, height of a part, columns, width of one)
    index = build.const(0, dtypes.int64, x.shape)
    inside = build.const(True, dtypes.bool_, x.shape)
    for i, (place, in_part, _) in enumerate(parts):
        scaled = build.mul(index, build.full_like(index, image[i]))
        index = build.add(scaled, spread(place, lead + 2 * i, x.shape))
        inside = build.binary(ops.AND, inside, spread(in_part, lead + 2 * i, x.shape))
    within = tuple(range(lead + 1, x.ndim, 2))
    x = build.where(inside, x, build.full_like(x, x.dtype.min))
    largest = build.reduce(ops.MAXIMUM, x, within)
    line = tuple(1 if axis in within else extent for axis, extent in enumerate(x.shape))
    hit = build.binary(ops.EQ, x, build.expand(build.reshape(largest, line), x.shape))
    hit = build.binary(ops.OR, hit, build.logical_not(build.binary(ops.EQ, x, x)))
    hit = build.binary(ops.AND, hit, inside)
    nowhere = build.full_like(index, dtypes.int64.max)
    first = build.reduce(ops.MINIMUM, build.where(hit, index, nowhere), within)
    return largest, first
