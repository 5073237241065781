"""Adding, copying, reducing and choosing at indices along one axis, as in PyTorch."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from gradlet.base import dtypes
from gradlet.ir import build
from gradlet.ir.node import Node
from gradlet.tensor.arrange import diagonal_span
from gradlet.tensor.combine import REDUCTIONS, combined_at, count_at, is_hit
from gradlet.tensor.core import Scalar, scalar_node
from gradlet.tensor.indexing import Indexing, overwrite, put_at

_NUMBERS = (bool, int, float, np.generic)


class Scatter(Indexing):
    """Indexed operations along one axis, and parts that are replaced."""

    __slots__ = ()

    # At an index for each element

    def scatter(
        self,
        dim: int,
        index: Any,
        src: Self | Scalar | None = None,
        reduce: str | None = None,
        *,
        value: Scalar | None = None,
    ) -> Self:
        """result[index[i][j]][j] = src[i][j] for dim 0, and so on; of equals the last stays.

        Args:
            index: integers; no larger than `self` along the other axes, nor than `src`.
            src: a tensor, or a number for all, which may also be called `value`.
            reduce: None, or "add" or "multiply" to combine with what is there.

        Raises:
            IndexError: an index out of range, when the result is computed.

        >>> from gradlet import Tensor
        >>> Tensor([0, 0, 0]).scatter(0, Tensor([2, 0]), Tensor([1, 5])).tolist()
        [5, 0, 1]
        """
        if reduce not in (None, "add", "multiply"):
            raise ValueError(f"scatter: reduce is None, 'add' or 'multiply', not {reduce!r}")
        if (src is None) == (value is None):
            raise TypeError("scatter: needs either src or value")
        given = value if src is None else src
        x = build.reshape(self.node, self.shape or (1,))
        places = self._places(dim, index, "scatter")
        updates = self._updates_at(places, given, "scatter")
        if reduce is not None:
            self._check_sums("scatter")
            made = combined_at(x, places, updates, "sum" if reduce == "add" else "prod")
        elif isinstance(given, _NUMBERS):
            number = build.expand(self._number(given, "scatter"), x.shape)
            made = build.where(is_hit(count_at(x.shape, places)), number, x)
        else:
            made = put_at(x, places, updates)
        return self._result(build.reshape(made, self.shape))

    def scatter_add(self, dim: int, index: Any, src: Self) -> Self:
        """result[index[i][j]][j] += src[i][j] for dim 0, and so on; repeated indices add up.

        Args:
            index: integers; no larger than `self` along the other axes, nor than `src`.

        >>> from gradlet import Tensor
        >>> Tensor([0, 0, 0]).scatter_add(0, Tensor([2, 2]), Tensor([1, 5])).tolist()
        [0, 0, 6]
        """
        return self._scatter_reduced(dim, index, src, "sum", True, "scatter_add")

    def scatter_reduce(
        self, dim: int, index: Any, src: Self, reduce: str, include_self: bool = True
    ) -> Self:
        """Elements of `src` with one index, reduced: "sum", "prod", "mean", "amax" or "amin".

        Means of integers are rounded down. Equals share the gradient of an extreme.

        Args:
            index: as for `scatter_add`.
            include_self: whether what is there takes part; what no index names stays in any case.

        >>> from gradlet import Tensor
        >>> x, index = Tensor([4, 4]), Tensor([0, 0, 0])
        >>> x.scatter_reduce(0, index, Tensor([1, 7, 3]), "amax").tolist()
        [7, 4]
        """
        return self._scatter_reduced(dim, index, src, reduce, include_self, "scatter_reduce")

    def _scatter_reduced(
        self, dim: int, index: Any, src: Self, how: str, include_self: bool, operation: str
    ) -> Self:
        self._check_reduction(how, operation)
        if isinstance(src, _NUMBERS):
            raise TypeError(f"{operation}: src must be a tensor, not {src!r}")
        places = self._places(dim, index, operation)
        updates = self._updates_at(places, src, operation)
        x = build.reshape(self.node, self.shape or (1,))
        made = combined_at(x, places, updates, how, include_self)
        return self._result(build.reshape(made, self.shape))

    def _check_reduction(self, how: str, operation: str) -> None:
        if how not in REDUCTIONS:
            raise ValueError(f"{operation}: reduce is one of {REDUCTIONS}, not {how!r}")
        if how not in ("amax", "amin"):
            self._check_sums(operation)

    def _check_sums(self, operation: str) -> None:
        if self.dtype is dtypes.bool_:
            raise TypeError(f"{operation}: bools do not add up; cast them to integers first")

    def _updates_at(self, places: tuple[Node, ...], src: Any, operation: str) -> Node:
        """What goes to each of `places`: the first elements of `src`, or a number everywhere."""
        shape = places[0].shape
        if isinstance(src, _NUMBERS):
            return build.expand(self._number(src, operation), shape)
        found = self._operand(src, operation)
        if found is None:
            raise TypeError(f"{operation}: src must be a tensor, not {src!r}")
        found = build.reshape(found, found.shape or (1,))
        smaller = found.ndim != len(shape) or any(
            n > m for n, m in zip(shape, found.shape, strict=True)
        )
        if found.dtype is not self.dtype or smaller:
            raise ValueError(
                f"{operation}: src, {found.dtype.name}{list(found.shape)}, must be of dtype "
                f"{self.dtype.name} and no smaller than the index, {list(shape)}"
            )
        return build.slice_(found, tuple((0, n, 1) for n in shape))

    def _number(self, value: Any, operation: str) -> Node:
        """A number, or a tensor with no axes, in the dtype of `self`."""
        if isinstance(value, _NUMBERS):
            number = value.item() if isinstance(value, np.generic) else value
            return scalar_node(number, self.dtype, (), operation)
        found = self._operand(value, operation)
        if found is None or found.ndim:
            given = repr(value) if found is None else f"of shape {found.shape}"
            raise ValueError(f"{operation}: the value is one number, not {given}")
        return build.cast(found, self.dtype)

    # At a vector of positions along an axis

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
        made = combined_at(rows, (position,), updates, "sum")
        return self._result(build.permute(made, order))

    def index_copy(self, dim: int, index: Any, source: Self) -> Self:
        """`self` with `source` at a vector of positions along an axis; of equals the last stays."""
        rows, order, position = self._rows(dim, index, "index_copy")
        updates = self._updates(source, order, position, "index_copy")
        return self._result(build.permute(put_at(rows, (position,), updates), order))

    def index_fill(self, dim: int, index: Any, value: Self | Scalar) -> Self:
        """`self` with one number at a vector of positions along an axis.

        >>> from gradlet import Tensor
        >>> Tensor([1, 2, 3]).index_fill(0, Tensor([0, 2]), 7).tolist()
        [7, 2, 7]
        """
        rows, order, position = self._rows(dim, index, "index_fill")
        number = build.expand(self._number(value, "index_fill"), rows.shape)
        hit = is_hit(count_at(rows.shape[:1], (position,)))
        wide = build.reshape(hit, (*hit.shape, *(1 for _ in rows.shape[1:])))
        made = build.where(build.expand(wide, rows.shape), number, rows)
        return self._result(build.permute(made, order))

    def index_reduce(
        self, dim: int, index: Any, source: Self, reduce: str, *, include_self: bool = True
    ) -> Self:
        """Parts of `source` with one position along an axis, reduced as by `scatter_reduce`."""
        self._check_reduction(reduce, "index_reduce")
        rows, order, position = self._rows(dim, index, "index_reduce")
        updates = self._updates(source, order, position, "index_reduce")
        column = build.reshape(position, (*position.shape, *(1 for _ in updates.shape[1:])))
        others = [build.along(a, updates.shape) for a in range(1, updates.ndim)]
        places = (build.expand(column, updates.shape), *others)
        made = combined_at(rows, places, updates, reduce, include_self)
        return self._result(build.permute(made, order))

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

    # Parts that are replaced

    def select_scatter(self, src: Self, dim: int, index: int) -> Self:
        """`self` with `src` as its part at one position of an axis.

        >>> from gradlet import Tensor
        >>> Tensor([[1, 2], [3, 4]]).select_scatter(Tensor([7, 8]), 1, -1).tolist()
        [[1, 7], [3, 8]]
        """
        axis = self._axis(dim, "select_scatter")
        return self._with_part((*(slice(None),) * axis, index), src, "select_scatter")

    def slice_scatter(
        self,
        src: Self,
        dim: int = 0,
        start: int | None = None,
        end: int | None = None,
        step: int = 1,
    ) -> Self:
        """`self` with `src` as its slice start:end:step along an axis."""
        if step < 1:
            raise ValueError(f"slice_scatter: the step must be at least 1, not {step}")
        axis = self._axis(dim, "slice_scatter")
        key = (*(slice(None),) * axis, slice(start, end, step))
        return self._with_part(key, src, "slice_scatter")

    def diagonal_scatter(self, src: Self, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Self:
        """`self` with `src` as its `diagonal`."""
        first, second = self._axes((dim1, dim2), "diagonal_scatter")
        order = (*(axis for axis in range(self.ndim) if axis not in (first, second)), first, second)
        moved = self.permute(order)
        *lead, rows, columns = moved.shape
        key = (..., slice(*diagonal_span(rows, columns, offset)))
        flat = moved.reshape(*lead, rows * columns)._with_part(key, src, "diagonal_scatter")
        return flat.reshape(moved.shape).permute([order.index(axis) for axis in range(self.ndim)])

    def _with_part(self, key: tuple[Any, ...], src: Any, operation: str) -> Self:
        """`self` with `src` in place of self[key], which has no arrays."""
        chosen = self._select(key)
        found = self._operand(src, operation)
        if found is None or found.shape != tuple(chosen.shape):
            given = repr(src) if found is None else f"shape {found.shape}"
            raise ValueError(f"{operation}: src has shape {tuple(chosen.shape)} here, not {given}")
        return self._result(overwrite(self.node, build.cast(found, self.dtype), chosen))
