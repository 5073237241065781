"""More operations that move elements about: diagonals, turns, windows, lists of tensors."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Self

from gradlet.ir import build
from gradlet.tensor import sharing
from gradlet.tensor.core import broadcast_shape
from gradlet.tensor.padding import Padding


class Arrange(Padding):
    """Movement operations that are made of others."""

    __slots__ = ()

    # Shapes

    def view_as(self, other: Self) -> Self:
        """`self` in the shape of `other`."""
        return self.reshape(other.shape)

    reshape_as = view_as

    def expand_as(self, other: Self) -> Self:
        """`self` expanded to the shape of `other`."""
        return self.expand(other.shape)

    def ravel(self) -> Self:
        """All axes joined into one."""
        return self.reshape(-1) if self.numel() else self.reshape(0)

    def swapaxes(self, axis0: int, axis1: int) -> Self:
        """Two axes exchanged."""
        return self.transpose(axis0, axis1)

    @property
    def mT(self) -> Self:  # noqa: N802
        """The last two axes exchanged."""
        if self.ndim < 2:
            raise ValueError(f"mT: needs at least 2 axes, not shape {self.shape}")
        return self.transpose(-2, -1)

    def atleast_1d(self) -> Self:
        """With at least one axis."""
        return self.reshape(1) if self.ndim == 0 else self

    def atleast_2d(self) -> Self:
        """With at least two axes; new ones come first."""
        x = self.atleast_1d()
        return x.unsqueeze(0) if x.ndim == 1 else x

    def atleast_3d(self) -> Self:
        """With at least three axes; a matrix gets the new one at its end."""
        x = self.atleast_2d()
        return x.unsqueeze(-1) if x.ndim == 2 else x

    # Parts

    def narrow(self, dim: int, start: int, length: int) -> Self:
        """`length` elements of an axis, from `start` on.

        >>> from gradlet import Tensor
        >>> Tensor([1, 2, 3, 4]).narrow(0, 1, 2).tolist()
        [2, 3]
        """
        if not self.ndim:
            raise ValueError("narrow: a scalar tensor has no axis")
        axis = self._axis(dim, "narrow")
        extent = self.shape[axis]
        first = start + extent if start < 0 else start
        if length < 0 or not 0 <= first <= extent - length:
            raise ValueError(
                f"narrow: {length} elements from {start} on are not within an axis of {extent}"
            )
        return self._part(axis, first, first + length)

    def select(self, dim: int, index: int) -> Self:
        """The part at one position of an axis, which disappears."""
        axis = self._axis(dim, "select")
        extent = self.shape[axis] if self.ndim else 0
        if not -extent <= index < extent:
            raise IndexError(f"select: index {index} is out of range for an axis of {extent}")
        place = index % extent
        shape = self.shape[:axis] + self.shape[axis + 1 :]
        return self._part(axis, place, place + 1).reshape(shape)

    def unbind(self, dim: int = 0) -> tuple[Self, ...]:
        """The parts at each position of an axis."""
        axis = self._axis(dim, "unbind")
        if not self.ndim:
            raise ValueError("unbind: a scalar tensor has no axis")
        return tuple(self.select(axis, place) for place in range(self.shape[axis]))

    def tensor_split(self, indices_or_sections: int | Sequence[int], dim: int = 0) -> Any:
        """Pieces of nearly equal size, the larger ones first, or cut at the given positions."""
        if not self.ndim:
            raise ValueError("tensor_split: a scalar tensor has no axis")
        axis = self._axis(dim, "tensor_split")
        extent = self.shape[axis]
        if isinstance(indices_or_sections, int):
            count = indices_or_sections
            if count < 1:
                raise ValueError(f"tensor_split: at least 1 piece, not {count}")
            size, larger = divmod(extent, count)
            cuts = [size * i + min(i, larger) for i in range(count + 1)]
            return tuple(self._part(axis, start, stop) for start, stop in itertools.pairwise(cuts))
        bounds = zip([0, *indices_or_sections], [*indices_or_sections, None], strict=True)
        taken = [slice(start, stop).indices(extent) for start, stop in bounds]
        return tuple(self._part(axis, start, max(start, stop)) for start, stop, _ in taken)

    def unfold(self, dimension: int, size: int, step: int) -> Self:
        """Windows of `size` elements of an axis, every `step` elements, along a new last axis.

        >>> from gradlet import Tensor
        >>> Tensor([1, 2, 3, 4]).unfold(0, 2, 1).tolist()
        [[1, 2], [2, 3], [3, 4]]
        """
        axis = self._axis(dimension, "unfold")
        extent = self.shape[axis] if self.ndim else 1
        if step < 1 or not 1 <= size <= extent:
            raise ValueError(
                f"unfold: windows of {size} every {step} elements do not fit an axis of {extent}; "
                "size is from 1 to its extent, and step at least 1"
            )
        made = self.atleast_1d()._view((sharing.window, (axis, size, step)))
        return made if self.ndim else made.reshape(1)

    # Diagonals

    def diagonal(self, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Self:
        """The diagonal of two axes as a new last axis; a positive offset moves it to the right.

        >>> from gradlet import Tensor
        >>> Tensor([[1, 2], [3, 4]]).diagonal().tolist()
        [1, 4]
        """
        first, second = self._axes((dim1, dim2), "diagonal")
        rest = [axis for axis in range(self.ndim) if axis not in (first, second)]
        span = diagonal_span(self.shape[first], self.shape[second], offset)
        return self._view((build.permute, (*rest, first, second)), (sharing.diagonal, span))

    def diag_embed(self, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Self:
        """Zeros with the last axis of `self` on the diagonal of two new axes."""
        if not self.ndim:
            raise ValueError("diag_embed: a scalar tensor has no axis")
        *lead, count = self.shape
        side = count + abs(offset)
        start = offset if offset >= 0 else -offset * side
        if not count:
            made = self._result(build.const(0, self.dtype, (*lead, side, side)))
        else:
            end = side * side - start - (count - 1) * (side + 1) - 1
            widths = (*((0, 0, 0) for _ in lead), (start, end, side))
            padded = self._result(build.pad(self.node, widths))
            made = padded.reshape(*lead, side, side)
        first, second = made._axes((dim1, dim2), "diag_embed")
        order: list[int] = list(range(len(lead)))
        for place, axis in sorted([(first, len(lead)), (second, len(lead) + 1)]):
            order.insert(place, axis)
        return made.permute(*order)

    def diag(self, diagonal: int = 0) -> Self:
        """The diagonal of a matrix, or the matrix that has a vector on its diagonal."""
        if self.ndim == 1:
            return self.diag_embed(diagonal)
        if self.ndim == 2:
            return self.diagonal(diagonal)
        raise ValueError(f"diag: needs 1 or 2 axes, not shape {self.shape}")

    # Turns

    def fliplr(self) -> Self:
        """The order along the second axis reversed."""
        if self.ndim < 2:
            raise ValueError(f"fliplr: needs at least 2 axes, not shape {self.shape}")
        return self.flip(1)

    def flipud(self) -> Self:
        """The order along the first axis reversed."""
        if self.ndim < 1:
            raise ValueError("flipud: a scalar tensor has no axis")
        return self.flip(0)

    def rot90(self, k: int = 1, dims: Sequence[int] = (0, 1)) -> Self:
        """Turned by `k` quarters from the first of two axes towards the second."""
        first, second = self._axes(tuple(dims), "rot90")
        turns = k % 4
        flipped = ((), (second,), (first, second), (first,))[turns]
        turned = self.flip(flipped)
        return (turned.transpose(first, second) if turns % 2 else turned)._own()

    def roll(self, shifts: int | Sequence[int], dims: Any = None) -> Self:
        """Elements moved on along axes, from the end back to the start; flattened without `dims`.

        >>> from gradlet import Tensor
        >>> Tensor([1, 2, 3]).roll(1).tolist()
        [3, 1, 2]
        """
        steps = (shifts,) if isinstance(shifts, int) else tuple(shifts)
        if dims is None:
            if len(steps) != 1:
                raise ValueError("roll: several shifts need as many dims")
            return self.ravel().roll(steps[0], 0).reshape(self.shape)
        axes = (dims,) if isinstance(dims, int) else tuple(dims)
        if len(axes) != len(steps):
            raise ValueError(f"roll: {len(steps)} shifts for {len(axes)} dims")
        x = self
        for step, dim in zip(steps, axes, strict=True):
            axis = x._axis(dim, "roll")
            extent = x.shape[axis] if x.ndim else 0
            if not extent or step % extent == 0:
                continue
            cut = extent - step % extent
            x = x._part(axis, cut, extent).cat(x._part(axis, 0, cut), dim=axis)
        return x._own()

    # Lists of tensors

    def hstack(self: Any, *others: Any) -> Any:
        """Tensors joined along the second axis, or the only one: `Tensor.hstack([a, b])`."""
        parts = [part.atleast_1d() for part in _listed(self, others)]
        return parts[0].cat(*parts[1:], dim=0 if parts[0].ndim == 1 else 1)

    def vstack(self: Any, *others: Any) -> Any:
        """Tensors of at least two axes joined along the first: `Tensor.vstack([a, b])`."""
        parts = [part.atleast_2d() for part in _listed(self, others)]
        return parts[0].cat(*parts[1:], dim=0)

    def dstack(self: Any, *others: Any) -> Any:
        """Tensors of at least three axes joined along the third: `Tensor.dstack([a, b])`."""
        parts = [part.atleast_3d() for part in _listed(self, others)]
        return parts[0].cat(*parts[1:], dim=2)

    def broadcast_tensors(self: Any, *others: Any) -> Any:
        """All tensors expanded to the shape in which they meet."""
        parts = _listed(self, others)
        shape = broadcast_shape([part.shape for part in parts], "broadcast_tensors")
        return tuple(part.expand(shape) for part in parts)

    def meshgrid(self: Any, *others: Any, indexing: str = "ij") -> Any:
        """The coordinates of a grid: one tensor for each axis, from one vector for each.

        Args:
            indexing: `ij` for the order of the vectors, `xy` for the first two axes exchanged.
        """
        if indexing not in ("ij", "xy"):
            raise ValueError(f"meshgrid: indexing is 'ij' or 'xy', not {indexing!r}")
        parts = [part.atleast_1d() for part in _listed(self, others)]
        if any(part.ndim != 1 for part in parts):
            raise ValueError(f"meshgrid: needs vectors, not {[part.shape for part in parts]}")
        shape = tuple(part.shape[0] for part in parts)
        grids = []
        for axis, part in enumerate(parts):
            line = (1,) * axis + part.shape + (1,) * (len(parts) - axis - 1)
            grids.append(part.reshape(line).expand(shape))
        if indexing == "xy" and len(parts) > 1:
            grids = [grid.transpose(0, 1) for grid in grids]
        return tuple(grids)


def diagonal_span(rows: int, columns: int, offset: int) -> tuple[int, int, int]:
    """The slice that is a diagonal of a matrix whose rows are joined into one axis."""
    count = min(rows, columns - offset, rows + offset, columns)
    if count <= 0:
        return 0, 0, 1
    start = offset if offset >= 0 else -offset * columns
    return start, start + (count - 1) * (columns + 1) + 1, columns + 1


def _listed(first: Any, others: Sequence[Any]) -> list[Any]:
    """The tensors of `f(a, b)`, `f([a, b])` and `a.f(b)`."""
    parts = [*first, *others] if isinstance(first, (list, tuple)) else [first, *others]
    if not parts or not all(isinstance(part, Arrange) for part in parts):
        raise TypeError("needs at least one tensor, and nothing but tensors")
    return parts
