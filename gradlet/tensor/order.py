"""Sorting, and what rests on it: topk, medians, quantiles, modes, search in sorted rows.

NumPy finds the order (see `ir/host.py`); values are gathered, so that gradients flow back to where
they came from. A nan counts as larger than every number, as in PyTorch.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import numpy as np

from gradlet.base import dtypes
from gradlet.engine import trace
from gradlet.engine.realize import value_of
from gradlet.ir import build
from gradlet.ir.build import along
from gradlet.ir.node import Node
from gradlet.runtime.device import get_device
from gradlet.tensor.core import product
from gradlet.tensor.statistics import Statistics

_INTERPOLATIONS = ("linear", "lower", "higher", "nearest", "midpoint")


class Ordered(NamedTuple):
    """Values, and where along the axis they stand (int64)."""

    values: Any
    indices: Any


class Order(Statistics):
    """Order."""

    __slots__ = ()

    # Sorting

    def sort(self, dim: int = -1, descending: bool = False, stable: bool = False) -> Ordered:
        """The elements in order along `dim`, and where each stood.

        Equals always keep their order, whether or not `stable` asks for that.

        >>> from gradlet import Tensor
        >>> values, places = Tensor([3, 1, 2]).sort()
        >>> values.tolist(), places.tolist()
        ([1, 2, 3], [1, 2, 0])
        """
        axis = self._axis(dim, "sort")
        return self._chosen(self._order(axis, descending), axis)

    def argsort(self, dim: int = -1, descending: bool = False, stable: bool = False) -> Self:
        """Where the elements in order along `dim` stand (int64); see `sort`."""
        return self._result(self._order(self._axis(dim, "argsort"), descending))

    def msort(self) -> Self:
        """The elements in order along the first axis."""
        return self.sort(0).values

    def topk(
        self,
        k: int,
        dim: int = -1,
        largest: bool = True,
        sorted: bool = True,  # noqa: A002
    ) -> Ordered:
        """The `k` largest elements along `dim`, or smallest, in order, and where they stand.

        >>> from gradlet import Tensor
        >>> Tensor([3.0, 1.0, 2.0]).topk(2).values.tolist()
        [3.0, 2.0]
        """
        axis = self._axis(dim, "topk")
        size = self.shape[axis] if self.ndim else 1
        if not 0 <= k <= size:
            raise ValueError(f"topk: k must lie in [0, {size}] for shape {self.shape}, not {k}")
        if not self.ndim:
            return self._chosen(build.const(0, dtypes.int64), axis)
        keys = comparable(self.node)
        return self._chosen(build.library("topk", (k, axis, largest), keys), axis)

    def kthvalue(self, k: int, dim: int = -1, keepdim: bool = False) -> Ordered:
        """The `k`-th smallest element along `dim`, counted from 1, and where it stands."""
        axis = self._axis(dim, "kthvalue")
        size = self.shape[axis] if self.ndim else 1
        if not 1 <= k <= size:
            raise ValueError(f"kthvalue: k must lie in [1, {size}] for {self.shape}, not {k}")
        if not self.ndim:
            return self._chosen(build.const(0, dtypes.int64), axis)
        spans = [(0, extent, 1) for extent in self.shape]
        spans[axis] = (k - 1, k, 1)
        place = build.slice_(self._order(axis, False), tuple(spans))
        return self._chosen(place, axis, keepdim)

    def _order(self, axis: int, descending: bool) -> Node:
        if not self.ndim:
            return build.const(0, dtypes.int64)
        return build.library("argsort", (axis, bool(descending)), comparable(self.node))

    def _chosen(self, place: Node, axis: int, keepdim: bool = True) -> Ordered:
        """The elements at some places along an axis."""
        values = take_along(self.node, place, axis) if self.ndim else self.node
        if self.ndim and not keepdim:
            shape = (*self.shape[:axis], *self.shape[axis + 1 :])
            values, place = build.reshape(values, shape), build.reshape(place, shape)
        return Ordered(self._result(values), self._result(place))

    # Middle and most frequent elements

    def median(self, dim: int | None = None, keepdim: bool = False) -> Any:
        """The lower of the middle elements; nan if there is one.

        Returns:
            without `dim` the median of all elements, and else (values, indices).

        >>> from gradlet import Tensor
        >>> Tensor([4.0, 1.0, 3.0, 2.0]).median().item()
        2.0
        """
        return self._median(dim, keepdim, False, "median")

    def nanmedian(self, dim: int | None = None, keepdim: bool = False) -> Any:
        """`median` of what is not nan; nan if all of it is."""
        return self._median(dim, keepdim, True, "nanmedian")

    def _median(self, dim: int | None, keepdim: bool, skip: bool, operation: str) -> Any:
        if dim is None:
            return self._median_of_all(skip, operation)
        axis = self._axis(dim, operation)
        if not self.ndim:
            return self._chosen(build.const(0, dtypes.int64), axis)
        size = self.shape[axis]
        if not size:
            raise ValueError(f"{operation}: shape {self.shape} has no element along axis {axis}")
        missing = self.isnan().sum(axis, keepdim=True)
        if skip:
            rank = (size - 1 - missing).maximum(0) // 2
        else:
            rank = (missing > 0).where(size - missing, (size - 1) // 2)  # the first nan
        place = take_along(self._order(axis, False), rank.node, axis)
        return self._chosen(place, axis, keepdim)

    def _median_of_all(self, skip: bool, operation: str) -> Self:
        """The median, whose gradient is shared by all that equal it."""
        if not self.numel():
            if not self.dtype.is_float:
                raise ValueError(f"{operation}: an {self.dtype.name} tensor without elements")
            return self._result(build.const(float("nan"), self.dtype))
        flat = self.reshape(-1)
        found = flat._value()._median(0, False, skip, operation).values
        if not self.dtype.is_float:
            return found
        hits = (flat == found) | (flat.isnan() & found.isnan())
        count = hits.sum().cast(self.dtype)
        shared = hits.where(flat, 0.0).sum() / count
        return self._result(build.surrogate(found.node, shared.node))

    def mode(self, dim: int = -1, keepdim: bool = False) -> Ordered:
        """The most frequent element along `dim`, and where it stands last.

        Of several that are equally frequent it is the smallest.
        """
        axis = self._axis(dim, "mode")
        if not self.ndim:
            return self._chosen(build.const(0, dtypes.int64), axis)
        size = self.shape[axis]
        if not size:
            raise ValueError(f"mode: shape {self.shape} has no element along axis {axis}")
        order = self._order(axis, False)
        values = self._result(take_along(comparable(self.node), order, axis))
        place = self._result(along(axis, self.shape))
        before = self._result(take_along(values.node, (place - 1).maximum(0).node, axis))
        starts = (values != before) | (place == 0)
        start = starts.where(place, 0).cummax(axis)[0]
        last = (place - start).argmax(axis, keepdim=True)
        return self._chosen(take_along(order, last.node, axis), axis, keepdim)

    # Quantiles

    def quantile(
        self, q: Any, dim: int | None = None, keepdim: bool = False, interpolation: str = "linear"
    ) -> Self:
        """The element below which the share `q` of all lies; nan if there is a nan.

        Args:
            q: in [0, 1]; several, in a 1-D tensor, give a first axis of their own.
            interpolation: between two elements: linear, lower, higher, nearest or midpoint.

        >>> from gradlet import Tensor
        >>> Tensor([1.0, 2.0, 3.0, 4.0]).quantile(0.5).item()
        2.5
        """
        return self._quantile(q, dim, keepdim, interpolation, "quantile")

    def nanquantile(
        self, q: Any, dim: int | None = None, keepdim: bool = False, interpolation: str = "linear"
    ) -> Self:
        """`quantile` of what is not nan; nan if all of it is."""
        return self._quantile(q, dim, keepdim, interpolation, "nanquantile")

    def _quantile(
        self, q: Any, dim: int | None, keepdim: bool, interpolation: str, operation: str
    ) -> Self:
        if self.dtype not in (dtypes.float32, dtypes.float64):
            raise TypeError(f"{operation}: needs float32 or float64, not {self.dtype.name}")
        if interpolation not in _INTERPOLATIONS:
            raise ValueError(
                f"{operation}: interpolation is one of {', '.join(_INTERPOLATIONS)}, not "
                f"{interpolation!r}"
            )
        shares = self._shares(q, operation)
        if dim is None or not self.ndim:
            rows = self.reshape(1, -1)
            kept: tuple[int, ...] = (1,) * self.ndim if keepdim else ()
        else:
            axis = self._axis(dim, operation)
            rows = self.movedim(axis, -1)
            kept = rows.shape[:-1]
            if keepdim:
                kept = (*kept[:axis], 1, *kept[axis:])
            rows = rows.reshape(product(rows.shape[:-1]), rows.shape[-1])
        if not rows.shape[1]:
            raise ValueError(f"{operation}: shape {self.shape} has no element along {dim}")
        found = rows._quantiles_of_rows(shares, interpolation, operation == "nanquantile")
        return found.reshape((*shares.shape, *kept))

    def _shares(self, q: Any, operation: str) -> Self:
        """`q` as a tensor, checked."""
        given = self._operand(q, operation)
        if given is None:
            given = build.const(float(q), self.dtype)
        shares = self._result(given)
        if given.dtype is not self.dtype and isinstance(q, Order):
            raise TypeError(f"{operation}: q is {given.dtype.name}, not {self.dtype.name}")
        shares = shares.cast(self.dtype)
        if shares.ndim > 1:
            raise ValueError(f"{operation}: q has at most one axis, not shape {shares.shape}")
        known = shares._known(f"{operation} with q in a tensor") if isinstance(q, Order) else q
        if not all(0 <= number <= 1 for number in np.ravel(known)):
            raise ValueError(f"{operation}: q must lie in [0, 1], not {q!r}")
        return shares

    def _quantiles_of_rows(self, shares: Self, interpolation: str, skip: bool) -> Self:
        """(rows, n) -> (q, rows); or (rows,) for a single q."""
        rows, size = self.shape
        values = self.sort(1).values
        missing = self.isnan().sum(1, keepdim=True)  # (rows, 1)
        if skip:
            top = (size - 1 - missing).maximum(0)
        else:
            top = missing * 0 + (size - 1)
        rank = shares.reshape(1, -1) * top.cast(self.dtype)  # (rows, q)
        if not skip:
            rank = (missing > 0).where(float(size - 1), rank)
        if interpolation == "lower":
            rank = rank.floor()
        elif interpolation == "higher":
            rank = rank.ceil()
        elif interpolation == "nearest":
            rank = rank.round()
        low = rank._value().floor()
        below = values.gather(1, low.long())
        if interpolation in ("linear", "midpoint"):
            weight = rank - low if interpolation == "linear" else low * 0 + 0.5
            above = values.gather(1, rank._value().ceil().long())
            below = (below == above).where(below, below.lerp(above, weight))
        return below.transpose(0, 1).reshape((*shares.shape, rows))

    def _value(self) -> Self:
        """The same without gradient."""
        return self._result(build.detach(self.node))

    def _known(self, operation: str) -> np.ndarray:
        """The elements, now."""
        trace.refuse(
            f"{operation} needs values while the step is recorded; call it outside, and pass what "
            "it gives as an argument"
        )
        return value_of(self.node, get_device(self.device)).numpy()


# Helpers


def take_along(x: Node, place: Node, axis: int) -> Node:
    """The elements of `x` at `place` along `axis`; the other axes are equal."""
    places = [along(a, place.shape) for a in range(x.ndim)]
    places[axis] = place
    return build.gather(x, tuple(places))


def comparable(x: Node) -> Node:
    """`x` without gradient, in a dtype that NumPy compares: floats of fewer bits as float32."""
    narrow = x.dtype.is_float and x.dtype.bits < 32
    return build.detach(build.cast(x, dtypes.float32) if narrow else x)
