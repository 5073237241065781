"""Elements at places in the flattened tensor, where a mask is True, and repeated by counts.

How many elements a mask chooses depends on its values, which are computed at once for that, unless
`size` says beforehand how many there shall be. `jit` records only the second.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from gradlet.base import dtypes
from gradlet.engine import trace
from gradlet.engine.realize import value_of
from gradlet.ir import build, ops
from gradlet.ir.node import Node
from gradlet.runtime.buffer import from_numpy
from gradlet.runtime.device import get_device
from gradlet.tensor import operators
from gradlet.tensor.combine import combined_at
from gradlet.tensor.core import Core, Scalar, Shape, broadcast_shape, product
from gradlet.tensor.indexing import put_at
from gradlet.tensor.scatter import Scatter


class Selecting(Scatter):
    """Elements that are chosen one by one."""

    __slots__ = ()

    # At places

    def take(self, index: Any) -> Self:
        """The elements at places of the flattened tensor, in the shape of `index`.

        Raises:
            IndexError: a place out of range, when the result is computed.

        >>> from gradlet import Tensor
        >>> Tensor([[1, 2], [3, 4]]).take(Tensor([2, -1])).tolist()
        [3, 4]
        """
        position = self._index_node(index, self.numel())
        return self._result(build.gather(self.ravel().node, (position,)))

    def put(self, index: Any, source: Self, accumulate: bool = False) -> Self:
        """`self` with `source` at places of the flattened tensor; of equals the last stays.

        Args:
            source: as many elements as `index` has.
            accumulate: add to what is there.
        """
        position = self._index_node(index, self.numel())
        found = self._operand(source, "put")
        if found is None or found.size != position.size or found.dtype is not self.dtype:
            given = repr(source) if found is None else f"{found.dtype.name}{list(found.shape)}"
            raise ValueError(
                f"put: source must hold {position.size} elements of {self.dtype.name}, not {given}"
            )
        if accumulate:
            self._check_sums("put")
        flat, found = self.ravel().node, build.reshape(found, position.shape)
        if accumulate:
            made = combined_at(flat, (position,), found, "sum")
        else:
            made = put_at(flat, (position,), found)
        return self._result(build.reshape(made, self.shape))

    def index_put(
        self, indices: Sequence[Any], values: Self | Scalar, accumulate: bool = False
    ) -> Self:
        """`self` with `values`, broadcast, at what `self[tuple(indices)]` takes.

        Args:
            accumulate: add to what is there, of equal indices all of them.

        >>> from gradlet import Tensor
        >>> Tensor([1, 2]).index_put([Tensor([1, 1])], Tensor([5, 6]), accumulate=True).tolist()
        [1, 13]
        """
        every = self._result(build.reshape(build.iota(self.numel()), self.shape))
        places = every[tuple(indices)]
        found = self._operand(values, "index_put")
        if found is None:
            found = self._number(values, "index_put")
        return self.put(places, self._result(build.expand(found, places.shape)), accumulate)

    def take_along_dim(self, indices: Any, dim: int | None = None) -> Self:
        """`gather`, where the other axes are broadcast; of the flattened tensors without `dim`.

        >>> from gradlet import Tensor
        >>> Tensor([[1, 3], [4, 2]]).take_along_dim(Tensor([[0]]), 1).tolist()
        [[1], [4]]
        """
        if dim is None:
            return self.take(indices).ravel()
        axis = self._axis(dim, "take_along_dim")
        position = self._index_node(indices, (self.shape or (1,))[axis])
        if position.ndim != self.ndim:
            raise ValueError(
                f"take_along_dim: indices of shape {position.shape} need as many axes as a tensor "
                f"of shape {self.shape}"
            )
        if not self.ndim:
            return self.take(indices)
        one = [n if a != axis else 1 for a, n in enumerate(self.shape)]
        shape = list(broadcast_shape((tuple(one), position.shape), "take_along_dim"))
        wide = build.expand(position, tuple(shape))
        places = [build.along(a, wide.shape) for a in range(self.ndim)]
        places[axis] = wide
        shape[axis] = self.shape[axis]
        return self._result(build.gather(build.expand(self.node, tuple(shape)), tuple(places)))

    # Where a mask is True

    def masked_select(self, mask: Any, size: int | None = None, fill_value: Scalar = 0) -> Self:
        """The elements where `mask` is True, in a row; both are broadcast.

        Args:
            size: how many elements the result has, so that it can be recorded by `jit`. If there
                are fewer, `fill_value` follows them; if more, the first stay.

        >>> from gradlet import Tensor
        >>> x = Tensor([1, 2, 3])
        >>> x.masked_select(x != 2).tolist(), x.masked_select(x > 1, size=3).tolist()
        ([1, 3], [2, 3, 0])
        """
        x, flags, shape = self._with_mask(mask, "masked_select")
        if size is None:
            if isinstance(mask, Core):
                known = self._now(flags, "masked_select", "size")
            else:
                known = np.broadcast_to(mask, shape)
            return self._result(build.gather(x, (self._stored(np.flatnonzero(known)),)))
        _check_size(size, "masked_select")
        filler = build.expand(self._number(fill_value, "masked_select"), (size,))
        if not x.size:
            return self._result(filler)
        place, found = true_places(flags, size)
        return self._result(build.where(found, build.gather(x, (place,)), filler))

    def masked_scatter(self, mask: Any, source: Self) -> Self:
        """The elements of `source` in turn where `mask` is True, elsewhere `self`.

        Raises:
            IndexError: `source` has fewer elements than needed, when the result is computed.

        >>> from gradlet import Tensor
        >>> Tensor([0, 0, 0]).masked_scatter(Tensor([True, False, True]), Tensor([5, 6])).tolist()
        [5, 0, 6]
        """
        x, flags, shape = self._with_mask(mask, "masked_scatter")
        given = self._operand(source, "masked_scatter")
        if given is None or given.dtype is not self.dtype:
            kind = repr(source) if given is None else given.dtype.name
            raise ValueError(f"masked_scatter: source must be {self.dtype.name}, not {kind}")
        line = build.pad(build.reshape(given, (given.size,)), ((1, 0, 0),))
        number = build.scan(ops.ADD, build.cast(flags, dtypes.int64), 0)  # from 1
        place = build.where(flags, number, build.full_like(number, 0))
        made = build.where(flags, build.gather(line, (place,)), x)
        return self._result(build.reshape(made, shape))

    def nonzero(
        self, size: int | None = None, fill_value: int = 0, *, as_tuple: bool = False
    ) -> Any:
        """Where the elements that are not zero stand: (count, axes), or a vector for each axis.

        Args:
            size: how many rows the result has, so that it can be recorded by `jit`. If there are
                fewer elements, rows of `fill_value` follow; if more, the first stay.
            as_tuple: for each axis a vector of positions, as an index has them.

        >>> from gradlet import Tensor
        >>> x = Tensor([[0, 1], [2, 0]])
        >>> x.nonzero().tolist(), x.nonzero(size=3, fill_value=-1).tolist()
        ([[0, 1], [1, 0]], [[0, 1], [1, 0], [-1, -1]])
        """
        if as_tuple:
            return self.atleast_1d().nonzero(size, fill_value).unbind(1)
        flags = build.detach(operators.nonzero(self.node))
        if size is None:
            return self._result(self._stored(np.argwhere(self._now(flags, "nonzero", "size"))))
        _check_size(size, "nonzero")
        place, found = true_places(build.reshape(flags, (self.numel(),)), size)
        filler = build.full_like(place, fill_value)
        columns = []
        for axis, extent in enumerate(self.shape):
            stride = max(product(self.shape[axis + 1 :]), 1)
            column = build.binary(ops.FLOORDIV, place, build.full_like(place, stride))
            column = build.binary(ops.MOD, column, build.full_like(place, extent))
            columns.append(self._result(build.where(found, column, filler)))
        if not columns:
            return self._result(build.const(0, dtypes.int64, (size, 0)))
        return columns[0].stack(*columns[1:], dim=1)

    def argwhere(self, size: int | None = None, fill_value: int = 0) -> Self:
        """Where the elements that are not zero stand: see `nonzero`."""
        return self.nonzero(size, fill_value)

    def _with_mask(self, mask: Any, operation: str) -> tuple[Node, Node, Shape]:
        """`self` and a bool mask, broadcast and flattened, and the shape in which they meet."""
        flags = self._operand(mask, operation)
        if flags is None or flags.dtype is not dtypes.bool_:
            given = repr(mask) if flags is None else flags.dtype.name
            raise TypeError(f"{operation}: the mask must be a bool tensor, not {given}")
        shape = broadcast_shape((self.shape, flags.shape), operation)
        size = (product(shape),)
        x, flags = (build.reshape(build.expand(n, shape), size) for n in (self.node, flags))
        return x, flags, shape

    def _now(self, x: Node, operation: str, argument: str) -> np.ndarray:
        """The elements of a node, which decide about the shape of the result."""
        trace.refuse(
            f"the shape of {operation}() depends on values; say it with {operation}(..., "
            f"{argument}=n)"
        )
        return value_of(x, get_device(self.device)).numpy()

    def _stored(self, places: np.ndarray) -> Node:
        places = np.ascontiguousarray(places, np.int64)
        return from_numpy(places, dtypes.int64, get_device(self.device))

    # Repeated

    def repeat_interleave(
        self, repeats: Any, dim: int | None = None, output_size: int | None = None
    ) -> Self:
        """Each element of an axis repeated in place; flattened without `dim`.

        Args:
            repeats: one number, or one for each element.
            output_size: what counts in a tensor add up to, if `jit` shall record them.

        Raises:
            IndexError: counts in a tensor do not add up to `output_size`, or one is negative, when
                the result is computed.

        >>> from gradlet import Tensor
        >>> x = Tensor([1, 2])
        >>> x.repeat_interleave(2).tolist(), x.repeat_interleave(Tensor([1, 3])).tolist()
        ([1, 1, 2, 2], [1, 2, 2, 2])
        """
        x = self.ravel() if dim is None else self.atleast_1d()
        axis = x._axis(0 if dim is None else dim, "repeat_interleave")
        extent = x.shape[axis]
        if isinstance(repeats, (int, np.integer)):
            count = int(repeats)
            _check_counts(count, extent * count, output_size)
            head, tail = x.shape[: axis + 1], x.shape[axis + 1 :]
            wide = x.unsqueeze(axis + 1).expand(*head, count, *tail)
            return wide.reshape(*head[:-1], extent * count, *tail)
        counts = self._counts(repeats, extent)
        if isinstance(repeats, Core) and output_size is not None:
            _check_size(output_size, "repeat_interleave")
            return x.index_select(axis, self._result(_repeated_places(counts, output_size)))
        if isinstance(repeats, Core):
            known = self._now(counts, "repeat_interleave", "output_size")
        else:
            known = np.broadcast_to(np.asarray(repeats, np.int64), extent)
        _check_counts(int(known.min(initial=0)), int(known.sum()), output_size)
        return x.index_select(axis, self._result(self._stored(np.arange(extent).repeat(known))))

    def _counts(self, repeats: Any, extent: int) -> Node:
        """One count for each of `extent` elements (int64)."""
        counts = self._operand(repeats, "repeat_interleave")
        if counts is None or not (counts.dtype.is_int or not counts.size):
            given = repr(repeats) if counts is None else counts.dtype.name
            raise TypeError(f"repeat_interleave: counts must be integers, not {given}")
        if counts.shape not in ((), (1,), (extent,)):
            raise ValueError(
                f"repeat_interleave: counts of shape {counts.shape} for an axis of {extent}"
            )
        return build.expand(build.cast(build.detach(counts), dtypes.int64), (extent,))


# Helpers


def true_places(flags: Node, size: int) -> tuple[Node, Node]:
    """Where the first `size` elements of a vector are True (0 if there are fewer), and if so."""
    count = build.expand(build.sum_(build.cast(flags, dtypes.int64), (0,)), (size,))
    found = build.binary(ops.LT, build.iota(size), count)
    if not flags.size:
        return build.full_like(count, 0), found
    number = build.scan(ops.ADD, build.cast(flags, dtypes.int64), 0)  # from 1
    none = build.full_like(number, 0)
    fits = build.binary(ops.LE, number, build.full_like(number, size))
    row = build.where(build.binary(ops.AND, flags, fits), number, none)  # row 0 is for the others
    place = build.where(flags, build.iota(flags.size), none)
    rows = build.scatter(build.const(0, dtypes.int64, (size + 1,)), (row,), place)
    return build.slice_(rows, ((1, size + 1, 1),)), found


def _repeated_places(counts: Node, size: int) -> Node:
    """For each of `size` results the place of the element that it repeats.

    An element ends where the counts up to it add up to; the place of a result is how many elements
    have ended there. Counts that fit no result give an end, or a place, that is out of range.
    """
    ends = build.scan(ops.ADD, counts, 0)
    least = build.expand(build.reduce(ops.MINIMUM, counts, (0,)), counts.shape)
    negative = build.binary(ops.LT, least, build.full_like(least, 0))
    ends = build.where(negative, build.full_like(ends, -1), ends)
    ended = build.const(0, dtypes.int64, (size + 1,))
    ended = build.scatter(ended, (ends,), build.full_like(ends, 1))
    return build.slice_(build.scan(ops.ADD, ended, 0), ((0, size, 1),))


def _check_size(size: int, operation: str) -> None:
    if size < 0:
        raise ValueError(f"{operation}: a size of {size} is negative")


def _check_counts(least: int, total: int, output_size: int | None) -> None:
    if least < 0:
        raise ValueError(f"repeat_interleave: a count of {least} is negative")
    if output_size not in (None, total):
        raise ValueError(f"repeat_interleave: the counts add up to {total}, not {output_size=}")
