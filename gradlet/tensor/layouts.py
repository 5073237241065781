"""Other names for moving elements about, and splitting, joining and padding by shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from gradlet.tensor.core import Scalar, Shape, broadcast_shape, shape_argument
from gradlet.tensor.products import Products

Cuts = int | Sequence[int]


class Layouts(Products):
    """Layouts. Those of one tensor share its elements where they can, as in `movement`."""

    __slots__ = ()

    swapdims = Products.swapaxes
    moveaxis = Products.movedim
    split_with_sizes = Products.split
    concat = concatenate = Products.cat
    row_stack = Products.vstack

    # Transposed

    def t(self) -> Self:
        """A matrix with its axes exchanged; what has fewer axes as it is."""
        if self.ndim > 2:
            raise ValueError(f"t: takes a matrix, not shape {self.shape}; use .mT or permute")
        return self.transpose(0, 1) if self.ndim == 2 else self

    def adjoint(self) -> Self:
        """The last two axes exchanged."""
        return self.mT

    @property
    def mH(self) -> Self:  # noqa: N802
        """The last two axes exchanged."""
        return self.mT

    @property
    def H(self) -> Self:  # noqa: N802
        """A matrix with its axes exchanged."""
        return self.t()

    # Split and joined

    def hsplit(self, indices_or_sections: Cuts) -> tuple[Self, ...]:
        """Equal pieces, or pieces between positions, along the second axis, or the only one.

        >>> from gradlet import Tensor
        >>> [piece.tolist() for piece in Tensor([[1, 2], [3, 4]]).hsplit(2)]
        [[[1], [3]], [[2], [4]]]
        """
        return self._split_evenly(indices_or_sections, 0 if self.ndim == 1 else 1, 1, "hsplit")

    def vsplit(self, indices_or_sections: Cuts) -> tuple[Self, ...]:
        """Equal pieces, or pieces between positions, along the first of two axes or more."""
        return self._split_evenly(indices_or_sections, 0, 2, "vsplit")

    def dsplit(self, indices_or_sections: Cuts) -> tuple[Self, ...]:
        """Equal pieces, or pieces between positions, along the third axis."""
        return self._split_evenly(indices_or_sections, 2, 3, "dsplit")

    def _split_evenly(self, cuts: Cuts, axis: int, least: int, operation: str) -> tuple[Self, ...]:
        if self.ndim < least:
            raise ValueError(f"{operation}: needs at least {least} axes, not shape {self.shape}")
        if isinstance(cuts, int) and (cuts < 1 or self.shape[axis] % cuts):
            raise ValueError(
                f"{operation}: {cuts} equal pieces cannot be made of {self.shape[axis]} elements; "
                "use tensor_split for pieces that differ"
            )
        return self.tensor_split(cuts, axis)

    def column_stack(self: Any, *others: Any) -> Any:
        """Joined along the second axis, where vectors and scalars count as columns."""
        parts = [*self, *others] if isinstance(self, (list, tuple)) else [self, *others]
        columns = [part if part.ndim > 1 else part.reshape(-1, 1) for part in parts]
        return columns[0].cat(*columns[1:], dim=1)

    def block_diag(self: Any, *others: Any) -> Any:
        """Matrices along the diagonal of a larger one, with zeros elsewhere.

        >>> from gradlet import Tensor
        >>> Tensor([[1, 2]]).block_diag(Tensor([[3]])).tolist()
        [[1, 2, 0], [0, 0, 3]]
        """
        parts = [*self, *others] if isinstance(self, (list, tuple)) else [self, *others]
        matrices = [part.atleast_2d() for part in parts]
        if any(matrix.ndim > 2 for matrix in matrices):
            raise ValueError(f"block_diag: takes matrices, not shapes {[p.shape for p in parts]}")
        width, done, rows = sum(matrix.shape[1] for matrix in matrices), 0, []
        for matrix in matrices:
            after = width - done - matrix.shape[1]
            rows.append(matrix.pad((done, after)))
            done += matrix.shape[1]
        return rows[0].cat(*rows[1:], dim=0)

    def cartesian_prod(self: Any, *others: Any) -> Any:
        """All ways to take an element of each vector, one way a row; one vector as it is.

        >>> from gradlet import Tensor
        >>> Tensor([1, 2]).cartesian_prod(Tensor([3, 4])).tolist()
        [[1, 3], [1, 4], [2, 3], [2, 4]]
        """
        if any(part.ndim != 1 for part in (self, *others)):
            shapes = [part.shape for part in (self, *others)]
            raise ValueError(f"cartesian_prod: takes vectors, not shapes {shapes}")
        if not others:
            return self
        columns = [grid.ravel() for grid in self.meshgrid(*others)]
        return columns[0].stack(*columns[1:], dim=1)

    def diagflat(self, offset: int = 0) -> Self:
        """A matrix with all elements in a row on one of its diagonals."""
        return self.ravel().diag(offset)

    # By shape

    def sum_to_size(self, *size: Any) -> Self:
        """Summed over what broadcasting to `self.shape` would repeat of a tensor of this size.

        >>> from gradlet import Tensor
        >>> Tensor.ones(2, 3).sum_to_size(1, 3).tolist()
        [[2.0, 2.0, 2.0]]
        """
        shape = shape_argument(size)
        new = self.ndim - len(shape)
        if new < 0 or broadcast_shape((shape, self.shape), "sum_to_size") != self.shape:
            raise ValueError(f"sum_to_size: shape {self.shape} is no broadcast of {shape}")
        grown = [new + a for a, extent in enumerate(shape) if extent != self.shape[new + a]]
        axes = (*range(new), *grown)
        return self.sum(axes).reshape(shape) if axes else self

    def shrink_to(self, *shape: Any) -> Self:
        """The first elements of each axis, so many as `shape` says; None leaves an axis as it is.

        >>> from gradlet import Tensor
        >>> Tensor([[1, 2], [3, 4]]).shrink_to(None, 1).tolist()
        [[1], [3]]
        """
        extents = self._extents(shape, "shrink_to")
        return self.shrink(tuple((0, extent) for extent in extents))

    def pad_to(self, *shape: Any, value: Scalar = 0) -> Self:
        """`value` put behind the elements of each axis up to `shape`; None leaves an axis.

        >>> from gradlet import Tensor
        >>> Tensor([1, 2]).pad_to(3).tolist()
        [1, 2, 0]
        """
        extents = self._extents(shape, "pad_to")
        missing = [new - old for new, old in zip(extents, self.shape, strict=True)]
        if any(count < 0 for count in missing):
            raise ValueError(f"pad_to: shape {self.shape} does not fit into {extents}")
        return self.pad(tuple((0, count) for count in missing), value=value)

    def _extents(self, given: Sequence[Any], operation: str) -> Shape:
        if len(given) == 1 and isinstance(given[0], (tuple, list)):
            given = given[0]
        if len(given) != self.ndim:
            raise ValueError(
                f"{operation}: {tuple(given)} does not have as many axes as shape {self.shape}"
            )
        known = zip(given, self.shape, strict=True)
        return shape_argument([old if new is None else new for new, old in known])
