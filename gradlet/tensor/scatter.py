"""Adding, copying and choosing at indices along one axis, as in PyTorch."""

from __future__ import annotations

from typing import Any, Self

from gradlet.base import dtypes
from gradlet.ir import build
from gradlet.ir.build import along
from gradlet.ir.node import Node
from gradlet.tensor.indexing import Indexing, put_at


class Scatter(Indexing):
    """Indexed operations along one axis."""

    __slots__ = ()

    def scatter_add(self, dim: int, index: Any, src: Self) -> Self:
        """result[index[i][j]][j] += src[i][j] for dim 0, and so on; repeated indices add up.

        Args:
            index: integers; no larger than `self` along the other axes, nor than `src`.

        >>> from gradlet import Tensor
        >>> Tensor([0, 0, 0]).scatter_add(0, Tensor([2, 2]), Tensor([1, 5])).tolist()
        [0, 0, 6]
        """
        self._check_sums("scatter_add")
        axis = self._axis(dim, "scatter_add")
        found = self._operand(src, "scatter_add")
        position = self._index_node(index, self.shape[axis])
        others = [a for a in range(self.ndim) if a != axis]
        fits = found is not None and position.ndim == self.ndim == found.ndim
        if not fits or any(position.shape[a] > self.shape[a] for a in others):
            raise ValueError(
                f"scatter_add: an index of shape {position.shape} does not fit a tensor of shape "
                f"{self.shape} along axis {axis}"
            )
        assert found is not None
        if found.dtype is not self.dtype or any(
            n > m for n, m in zip(position.shape, found.shape, strict=True)
        ):
            raise ValueError(
                f"scatter_add: src, {found.dtype.name}{list(found.shape)}, must be of dtype "
                f"{self.dtype.name} and no smaller than the index, {list(position.shape)}"
            )
        places = [along(a, position.shape) for a in range(self.ndim)]
        places[axis] = position
        taken = build.slice_(found, tuple((0, n, 1) for n in position.shape))
        return self._result(build.scatter(self.node, tuple(places), taken))

    def index_select(self, dim: int, index: Any) -> Self:
        """The parts of an axis at a vector of positions.

        >>> from gradlet import Tensor
        >>> Tensor([5, 6, 7]).index_select(0, Tensor([2, 0])).tolist()
        [7, 5]
        """
        rows, order, position = self._rows(dim, index, "index_select")
        return self._result(build.permute(build.gather(rows, (position,)), order))

    def index_add(self, dim: int, index: Any, source: Self, *, alpha: float = 1) -> Self:
        """`self` with alpha * source added at a vector of positions along an axis."""
        self._check_sums("index_add")
        rows, order, position = self._rows(dim, index, "index_add")
        added = source * alpha if alpha != 1 else source
        updates = self._updates(added, order, position, "index_add")
        return self._result(build.permute(build.scatter(rows, (position,), updates), order))

    def index_copy(self, dim: int, index: Any, source: Self) -> Self:
        """`self` with `source` at a vector of positions along an axis; of equals the last stays."""
        rows, order, position = self._rows(dim, index, "index_copy")
        updates = self._updates(source, order, position, "index_copy")
        return self._result(build.permute(put_at(rows, (position,), updates), order))

    def _check_sums(self, operation: str) -> None:
        if self.dtype is dtypes.bool_:
            raise TypeError(f"{operation}: bools do not add up; cast them to integers first")

    def _rows(self, dim: int, index: Any, operation: str) -> tuple[Node, tuple[int, ...], Node]:
        """`self` with the axis in front, the order that does and undoes that, and the positions."""
        if not self.ndim:
            raise ValueError(f"{operation}: a scalar tensor has no axis")
        axis = self._axis(dim, operation)
        position = self._index_node(index, self.shape[axis])
        if position.ndim != 1:
            raise ValueError(f"{operation}: needs a vector of positions, not {position.shape}")
        order = list(range(self.ndim))
        order[0], order[axis] = axis, 0
        return build.permute(self.node, tuple(order)), tuple(order), position

    def _updates(self, source: Any, order: tuple[int, ...], position: Node, operation: str) -> Node:
        """`source` with the axis in front, if it is what the positions need."""
        found = self._operand(source, operation)
        axis = order[0]
        shape = (*self.shape[:axis], position.shape[0], *self.shape[axis + 1 :])
        if found is None or found.shape != shape or found.dtype is not self.dtype:
            given = source if found is None else f"{found.dtype.name}{list(found.shape)}"
            raise ValueError(
                f"{operation}: source must be {self.dtype.name}{list(shape)}, not {given}"
            )
        return build.permute(found, order)
