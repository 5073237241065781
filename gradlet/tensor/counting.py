"""Search in sorted rows, and counting: unique, one_hot, bincount and histograms.

Where the shape of a result depends on values, these are computed at once.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from gradlet.base import dtypes
from gradlet.ir import build, ops
from gradlet.ir.node import Node
from gradlet.runtime.buffer import from_numpy
from gradlet.runtime.device import get_device
from gradlet.tensor.core import Scalar, as_array
from gradlet.tensor.order import Order, comparable


class Counting(Order):
    """Search and counting."""

    __slots__ = ()

    # Search

    def searchsorted(
        self,
        values: Any,
        right: bool = False,
        side: str | None = None,
        sorter: Self | None = None,
        out_int32: bool = False,
    ) -> Self:
        """Where in the sorted last axis of `self` each of `values` would be put in (int64).

        Args:
            values: any shape if `self` has one axis; else the leading axes are those of `self`.
            right: behind elements that equal it, rather than before them; as side="right".
            sorter: the indices that sort the last axis, as argsort() gives them.
            out_int32: int32 as the result's dtype.

        >>> from gradlet import Tensor
        >>> Tensor([1, 3, 5]).searchsorted(Tensor([3, 4])).tolist()
        [1, 2]
        """
        if side not in (None, "left", "right") or (side == "left" and right):
            raise ValueError(f"searchsorted: {side=} does not go with {right=}")
        wanted = self._values(values, "searchsorted")
        edges = (self if sorter is None else self.gather(-1, sorter)).node
        fits = edges.ndim == 1 or (edges.ndim > 1 and edges.shape[:-1] == wanted.shape[:-1])
        if not fits:
            raise ValueError(
                f"searchsorted: values of shape {wanted.shape} do not go with sorted rows of "
                f"shape {self.shape}; all axes but the last must be equal, or the rows be one"
            )
        dtype = dtypes.promote(edges.dtype, wanted.dtype)
        edges, wanted = (comparable(build.cast(x, dtype)) for x in (edges, wanted))
        which = "right" if right or side == "right" else "left"
        places = build.library("searchsorted", (which,), edges, wanted)
        return self._result(build.cast(places, dtypes.int32 if out_int32 else dtypes.int64))

    def bucketize(self, boundaries: Any, right: bool = False, out_int32: bool = False) -> Self:
        """For each element the number of the interval between sorted `boundaries` (int64)."""
        edges = self._result(self._values(boundaries, "bucketize"))
        if edges.ndim != 1:
            raise ValueError(f"bucketize: boundaries have one axis, not shape {edges.shape}")
        return edges.searchsorted(self, right, out_int32=out_int32)

    def _values(self, given: Any, operation: str) -> Node:
        found = self._operand(given, operation)
        if found is None:
            array, dtype = as_array(given, None)
            found = from_numpy(array, dtype, get_device(self.device))
        return found

    # Counting. What depends on the values in its shape is computed at once.

    def unique(
        self,
        sorted: bool = True,  # noqa: A002
        return_inverse: bool = False,
        return_counts: bool = False,
        dim: int | None = None,
        size: int | None = None,
        fill_value: Scalar = 0,
    ) -> Any:
        """The different elements in order, or slices along `dim`; computes `self` at once.

        Args:
            size: how many elements the result has, so that nothing is computed at once. If there
                are fewer, `fill_value` follows them, 0 times; if more, the first stay.

        Returns:
            the elements; with them, if asked for, where in them each element of `self` is found,
            and how often each occurs (int64).

        >>> from gradlet import Tensor
        >>> Tensor([2, 1, 2]).unique().tolist(), Tensor([2, 1, 2]).unique(size=3).tolist()
        ([1, 2], [1, 2, 0])
        """
        if size is not None:
            if dim is not None or size < 0:
                raise ValueError(f"unique: {size=} is at least 0, and not for slices along a dim")
            return self._unique_of_size(size, fill_value, return_inverse, return_counts)
        axis = None if dim is None else self._axis(dim, "unique")
        array = self._known("unique without size=")
        found, inverse, counts = np.unique(
            array, return_inverse=True, return_counts=True, axis=axis, equal_nan=False
        )
        shape = self.shape if axis is None else (self.shape[axis],)
        parts = [found]
        parts += [inverse.reshape(shape)] if return_inverse else []
        parts += [counts] if return_counts else []
        made = tuple(self._given(part) for part in parts)
        return made if len(made) > 1 else made[0]

    def _unique_of_size(self, size: int, fill_value: Scalar, inverse: bool, counts: bool) -> Any:
        values, order = self._value().ravel().sort()
        changes = values[1:] != values[:-1]
        new = changes.pad((1, 0), value=True)[: self.numel()]
        number = new.cumsum() - 1  # which of the different elements each is
        made = [values.masked_select(new, size, fill_value)]
        if inverse:
            places = (number * 0).scatter_add(0, order, number)
            made.append(places.reshape(self.shape))
        if counts:
            none = self._result(build.const(0, dtypes.int64, (size + 1,)))
            row = number.clamp(max=size)  # the last row takes what comes after the first `size`
            made.append(none.scatter_add(0, row, number * 0 + 1)[:size])
        return tuple(made) if len(made) > 1 else made[0]

    def one_hot(self, num_classes: int = -1) -> Self:
        """A new last axis that holds 1 at the class and 0 elsewhere (int64).

        Args:
            num_classes: -1 computes `self` at once, and takes one more than the largest class.

        Raises:
            IndexError: a class outside [0, num_classes), when the result is computed.

        >>> from gradlet import Tensor
        >>> Tensor([0, 2]).one_hot(3).tolist()
        [[1, 0, 0], [0, 0, 1]]
        """
        if not self.dtype.is_int:
            raise TypeError(f"one_hot: classes must be integers, not {self.dtype.name}")
        if num_classes == -1:
            num_classes = int(self._known("one_hot without num_classes").max(initial=-1)) + 1
        classes = build.iota(num_classes)
        checked = build.gather(classes, (build.cast(self.node, dtypes.int64),))
        shape = (*self.shape, num_classes)
        wide = build.expand(build.reshape(checked, (*self.shape, 1)), shape)
        hit = build.binary(ops.EQ, wide, build.expand(classes, shape))
        return self._result(build.cast(hit, dtypes.int64))

    def bincount(self, weights: Self | None = None, minlength: int = 0) -> Self:
        """How often each whole number from 0 on occurs, or the sum of its `weights`.

        Computes `self` at once, for the largest number decides on the shape.

        >>> from gradlet import Tensor
        >>> Tensor([0, 2, 2]).bincount().tolist()
        [1, 0, 2]
        """
        if self.ndim != 1 or not self.dtype.is_int or minlength < 0:
            raise ValueError(
                f"bincount: counts integers along one axis, not {self.dtype.name} of shape "
                f"{self.shape}, into minlength >= 0 bins, not {minlength}"
            )
        array = self._known("bincount")
        if array.size and array.min() < 0:
            raise ValueError(f"bincount: {array.min()} is below 0")
        length = max(int(array.max(initial=-1)) + 1, minlength)
        if weights is None:
            return self._given(np.bincount(array, minlength=length))
        added = self._operand(weights, "bincount")
        if added is None or added.shape != self.shape:
            raise ValueError(f"bincount: weights must be a tensor of shape {self.shape}")
        if added.dtype is not dtypes.float32:
            added = build.cast(added, dtypes.float64)
        zeros = build.const(0, added.dtype, (length,))
        indices = (build.cast(self.node, dtypes.int64),)
        return self._result(build.scatter(zeros, indices, build.detach(added)))

    def histc(
        self,
        bins: int = 100,
        min: Scalar = 0,  # noqa: A002
        max: Scalar = 0,  # noqa: A002
    ) -> Self:
        """How many elements lie in each of `bins` intervals of equal width from `min` to `max`.

        Others are not counted. Equal limits stand for the least and the largest element.
        """
        return self._histogram(bins, float(min), float(max), None, "histc")[0]

    def histogram(
        self,
        bins: Any,
        range: tuple[float, float] | None = None,  # noqa: A002
        weight: Self | None = None,
        density: bool = False,
    ) -> tuple[Self, Self]:
        """How many elements lie in each of `bins` intervals, or their weights, and the edges.

        Args:
            bins: how many intervals of equal width, or a tensor of increasing edges.
            range: where the intervals begin and end; the least and largest element if None.
            density: divide by the total and the width, so that the integral is 1.

        >>> from gradlet import Tensor
        >>> counts, edges = Tensor([1.0, 2.0, 2.5]).histogram(Tensor([0.0, 2.0, 3.0]))
        >>> counts.tolist()
        [1.0, 2.0]
        """
        if isinstance(bins, Counting):
            if range is not None:
                raise ValueError("histogram: edges say where the intervals are, range= not")
            edges: Any = bins.cast(self.dtype)
            counts = self._between(bins, weight)
        else:
            low, high = range or (0.0, 0.0)
            counts, edges = self._histogram(bins, float(low), float(high), weight, "histogram")
        if density:
            counts = counts / counts.sum() / (edges[1:] - edges[:-1])
        return counts, edges

    def _between(self, edges: Any, weight: Self | None) -> Self:
        """How many elements lie between neighbouring edges, the last one with them."""
        bins = edges.numel() - 1
        if not self.dtype.is_float or edges.ndim != 1 or bins < 1:
            raise ValueError(
                f"histogram: counts floats between at least two edges along one axis, not "
                f"{self.dtype.name} between edges of shape {edges.shape}"
            )
        given = self._result(build.full_like(self.node, 1)) if weight is None else weight
        if given.shape != self.shape:
            raise ValueError(f"histogram: weights of shape {given.shape}, not {self.shape}")
        x = self._value().ravel()
        inside = (x >= edges[0]) & (x <= edges[-1])
        place = (edges._value().searchsorted(x, right=True) - 1).clamp(0, bins - 1)
        none = self._result(build.const(0, self.dtype, (bins,)))
        return none.scatter_add(0, place, inside.where(given._value().ravel().cast(x.dtype), 0))

    def _histogram(
        self, bins: int, low: float, high: float, weight: Self | None, operation: str
    ) -> tuple[Self, Self]:
        counted = self.dtype.is_float and not self.dtype.is_storage
        if not counted or bins < 1 or not low <= high:
            raise ValueError(
                f"{operation}: counts floats in at least one bin of a range, not "
                f"{self.dtype.name} in {bins} bins from {low} to {high}"
            )
        x = build.reshape(comparable(self.node), (self.numel(),))
        given = build.full_like(self.node, 1) if weight is None else weight.node
        if given.shape != self.shape:
            raise ValueError(f"{operation}: weights of shape {given.shape}, not {self.shape}")
        weights = build.cast(build.reshape(given, x.shape), x.dtype)
        both = build.library("histogram", (low, high, bins), x, weights)
        both = build.detach(build.cast(both, self.dtype))
        edges = build.slice_(both, ((bins, 2 * bins + 1, 1),))
        return self._result(build.slice_(both, ((0, bins, 1),))), self._result(edges)

    def _given(self, array: np.ndarray) -> Self:
        dtype = dtypes.from_numpy(array.dtype)
        return self._result(from_numpy(np.ascontiguousarray(array), dtype, get_device(self.device)))
