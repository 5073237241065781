"""One program for every size of an axis: a graph generalised from three examples.

The same function is traced at three sizes. Graphs that differ in nothing but numbers, each of them
a linear function of the size (or a multiple of its reciprocal), are one graph with a size in it.
Each other size is compared with what that graph says of it before it is used, so that a function
that does something else at some size is noticed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from gradlet.base.dtypes import DType
from gradlet.engine.program import Capture
from gradlet.ir.ops import Op


class UnfitError(Exception):
    """There is no one graph for all sizes; says why."""


class Linear(NamedTuple):
    """slope * size + offset."""

    slope: int
    offset: int

    def at(self, size: int) -> int:
        return self.slope * size + self.offset


class Number(NamedTuple):
    """A float that is `by_size * size + offset`, or with `inverse` by_size / size."""

    by_size: float
    offset: float
    inverse: bool

    def at(self, size: int) -> float:
        return self.by_size / size if self.inverse else self.by_size * size + self.offset


@dataclass
class Entry:
    """A node of a general graph: see `Capture.entries`. Its shape consists of `Linear`s."""

    op: Op
    argument: Any
    dtype: DType
    shape: tuple[Linear, ...]
    src: tuple[int, ...]

    def has_size(self) -> bool:
        """Whether its argument depends on the size."""

        def depends(argument: Any) -> bool:
            if isinstance(argument, (Linear, Number)):
                return True
            return isinstance(argument, tuple) and any(depends(part) for part in argument)

        return depends(self.argument)


class General:
    """A graph with a size in it.

    Args:
        captures: of the graphs at each of `sizes`.
        sizes: three different ones.
        most: the largest size.
    """

    def __init__(self, captures: Sequence[Capture], sizes: Sequence[int], most: int) -> None:
        self.sizes, self.most = tuple(sizes), most
        if len({len(capture.entries) for capture in captures}) > 1:
            raise UnfitError("it does other operations at some sizes than at others")
        rows = zip(*(capture.entries for capture in captures), strict=True)
        self.entries = [self._entry(row) for row in rows]

    def _entry(self, row: Sequence[tuple]) -> Entry:
        op, _, dtype, first, *src = row[0]
        for other, _, other_dtype, shape, *other_src in row[1:]:
            if (other, other_dtype, len(shape), other_src) != (op, dtype, len(first), src):
                raise UnfitError("it does other operations at some sizes than at others")
        shape = tuple(self._linear(extents) for extents in zip(*(r[3] for r in row), strict=True))
        return Entry(op, self._argument([r[1] for r in row], dtype), dtype, shape, tuple(src))

    def _linear(self, values: Sequence[int]) -> Linear:
        (a, b, c), (x, y, z) = self.sizes, values
        slope, rest = divmod(y - x, b - a)
        found = Linear(slope, x - slope * a)
        if rest or found.at(c) != z:
            raise UnfitError(f"there are {values} of something at sizes {self.sizes}")
        return found

    def _argument(self, values: Sequence[Any], dtype: DType) -> Any:
        """What an argument is in general: itself if it is always the same."""
        first = values[0]
        if all(value == first and type(value) is type(first) for value in values):
            return first
        if all(type(value) is int for value in values):
            return self._linear(values)
        if all(isinstance(v, tuple) and len(v) == len(first) for v in values):
            return tuple(self._argument(parts, dtype) for parts in zip(*values, strict=True))
        if all(isinstance(value, str) for value in values) and dtype.is_float:
            return self._number([float.fromhex(value) for value in values])
        raise UnfitError(f"a number is {values} at sizes {self.sizes}")

    def _number(self, values: Sequence[float]) -> Number:
        (a, b, _), (x, y, _) = self.sizes, values
        slope = (y - x) / (b - a)
        for found in (Number(slope, x - slope * a, False), Number(x * a, 0.0, True)):
            if all(_close(found.at(s), v) for s, v in zip(self.sizes, values, strict=True)):
                return found
        raise UnfitError(f"a number is {values} at sizes {self.sizes}")

    def describes(self, capture: Capture, size: int) -> bool:
        """Whether a graph is this one at a size."""
        if len(capture.entries) != len(self.entries):
            return False
        for known, (op, argument, dtype, shape, *src) in zip(
            self.entries, capture.entries, strict=True
        ):
            if (op, dtype, tuple(src)) != (known.op, known.dtype, known.src):
                return False
            if shape != tuple(extent.at(size) for extent in known.shape):
                return False
            if not _same_argument(known.argument, argument, size):
                return False
        return True

    def shape_at(self, position: int, size: int) -> tuple[int, ...]:
        """The shape of an entry."""
        return tuple(extent.at(size) for extent in self.entries[position].shape)

    def largest(self, extent: Linear) -> int:
        """The most elements that an axis can have."""
        return max(extent.at(1), extent.at(self.most))

    def varies(self, position: int) -> bool:
        """Whether an entry is of another shape at each size."""
        return any(extent.slope for extent in self.entries[position].shape)

    def largest_shape(self, position: int) -> tuple[int, ...]:
        """The shape in which an entry is computed."""
        return tuple(self.largest(extent) for extent in self.entries[position].shape)


def _close(a: float, b: float) -> bool:
    return a == b or math.isclose(a, b, rel_tol=1e-12)


def _same_argument(known: Any, argument: Any, size: int) -> bool:
    if isinstance(known, Linear):
        return known.at(size) == argument
    if isinstance(known, Number):
        return isinstance(argument, str) and _close(known.at(size), float.fromhex(argument))
    if isinstance(known, tuple):
        same_length = isinstance(argument, tuple) and len(argument) == len(known)
        return same_length and all(
            _same_argument(k, a, size) for k, a in zip(known, argument, strict=True)
        )
    return type(known) is type(argument) and known == argument
