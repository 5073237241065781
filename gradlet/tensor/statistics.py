"""More reductions: pairs of results, sums that skip nans, norms, and differences."""

from __future__ import annotations

import math
from typing import Any, Self

from gradlet.base import dtypes
from gradlet.ir import build
from gradlet.tensor.attention import Attention
from gradlet.tensor.operators import floating, nonzero
from gradlet.tensor.reduce import Axis, also_dim


class Statistics(Attention):
    """Statistics. `axis` is one axis, several, or None for all of them."""

    __slots__ = ()

    @also_dim
    def amax(self, axis: Axis = None, keepdim: bool = False) -> Self:
        """The largest element; see `max`."""
        return self.max(axis, keepdim)

    @also_dim
    def amin(self, axis: Axis = None, keepdim: bool = False) -> Self:
        """The smallest element; see `min`."""
        return self.min(axis, keepdim)

    @also_dim
    def aminmax(self, axis: Axis = None, keepdim: bool = False) -> tuple[Self, Self]:
        """The smallest and the largest element."""
        return self.min(axis, keepdim), self.max(axis, keepdim)

    @also_dim
    def var_mean(
        self, axis: Axis = None, keepdim: bool = False, correction: float = 1
    ) -> tuple[Self, Self]:
        """The variance and the mean; see `var`."""
        return self.var(axis, keepdim, correction), self.mean(axis, keepdim)

    @also_dim
    def std_mean(
        self, axis: Axis = None, keepdim: bool = False, correction: float = 1
    ) -> tuple[Self, Self]:
        """The standard deviation and the mean; see `std`."""
        return self.std(axis, keepdim, correction), self.mean(axis, keepdim)

    @also_dim
    def nansum(self, axis: Axis = None, keepdim: bool = False, dtype: Any = None) -> Self:
        """The sum of what is not nan.

        >>> from gradlet import Tensor
        >>> Tensor([1.0, float("nan"), 2.0]).nansum().item()
        3.0
        """
        return self.isnan().where(0, self).sum(axis, keepdim, dtype)

    @also_dim
    def nanmean(self, axis: Axis = None, keepdim: bool = False, dtype: Any = None) -> Self:
        """The mean of what is not nan; nan if all of it is. Half floats add up in float32."""
        x = self._result(self._as_float(dtype, "nanmean"))
        wide = x.float() if x.dtype.bits == 16 else x
        count = x.isnan().logical_not().sum(axis, keepdim)
        return (wide.nansum(axis, keepdim) / count.cast(wide.dtype)).cast(x.dtype)

    @also_dim
    def count_nonzero(self, axis: Axis = None) -> Self:
        """How many elements are not zero (int64)."""
        return self._result(nonzero(self.node)).sum(axis)

    @also_dim
    def logcumsumexp(self, axis: int) -> Self:
        """log(cumsum(exp(x))) along `axis`, with no overflow or underflow."""
        place = self._axis(axis, "logcumsumexp")
        x = floating(self.node)
        if not self.ndim:
            return self._result(x)
        wide = build.cast(x, dtypes.promote(x.dtype, dtypes.float32))
        return self._result(build.cast(build.library("logcumsumexp", (place,), wide), x.dtype))

    @also_dim
    def softmin(self, axis: int = -1) -> Self:
        """softmax(-x)."""
        return (-self).softmax(axis)

    @also_dim
    def norm(
        self, p: float | str = 2, axis: Axis = None, keepdim: bool = False, dtype: Any = None
    ) -> Self:
        """The p-norm of the elements: (sum of |x| ** p) ** (1 / p), with no overflow.

        Args:
            p: any number; "fro" is 2, 0 counts what is not zero, inf and -inf give the largest
                and smallest magnitude.

        >>> from gradlet import Tensor
        >>> Tensor([3.0, -4.0]).norm().item()
        5.0
        """
        p = _order_of_norm(p)
        if not self.dtype.is_float and dtype is None:
            raise TypeError(f"norm: needs floats, not {self.dtype.name}; call .float() first")
        x = self._result(self.node if dtype is None else self.cast(dtype).node)
        size = (x.float() if x.dtype.bits == 16 else x).abs()
        if p == 0:
            result = size.ne(0).cast(size.dtype).sum(axis, keepdim)
        elif math.isinf(p):
            result = size.max(axis, keepdim) if p > 0 else size.min(axis, keepdim)
        elif p == 1:
            result = size.sum(axis, keepdim)
        else:
            result = size._scaled_norm(p, axis, keepdim)
        return result.cast(x.dtype)

    def _scaled_norm(self, p: float, axis: Axis, keepdim: bool) -> Self:
        """The norm of what is not negative, relative to its largest element, or smallest."""
        axes = self._axes(axis, "norm")
        if not self.numel():
            if p < 0:
                raise ValueError(f"norm: shape {self.shape} has no element, and {p=} is negative")
            return self.sum(axes, keepdim)
        top = self.max(axes, keepdim=True) if p > 0 else self.min(axes, keepdim=True)
        top = self._result(build.detach(top.node))
        scale = (top.eq(0) | top.isinf() | top.isnan()).where(1.0, top)
        ratio = self / scale
        nothing = ratio.eq(0)
        powers = nothing.where(0.0 if p > 0 else math.inf, nothing.where(1.0, ratio) ** p)
        total = powers.sum(axes, keepdim=True)
        end = 0.0 if p > 0 else math.inf
        flat = total.eq(end)
        root = flat.where(1.0, total) ** (1 / p)
        result = flat.where(0.0, root * scale)
        kept = [extent for a, extent in enumerate(self.shape) if a not in axes]
        return result if keepdim else result.reshape(tuple(kept))

    @also_dim
    def normalize(self, p: float = 2.0, axis: int = 1, eps: float = 1e-12) -> Self:
        """`x` over its p-norm along `axis`, or over `eps` where that is larger."""
        return self / self.norm(p, axis, keepdim=True).maximum(eps)

    def diff(
        self, n: int = 1, dim: int = -1, prepend: Self | None = None, append: Self | None = None
    ) -> Self:
        """Each element less the one before it along `dim`, `n` times over; of bools, `!=`.

        Args:
            prepend, append: put before and behind `self` along `dim` first.

        >>> from gradlet import Tensor
        >>> Tensor([1, 4, 9]).diff().tolist()
        [3, 5]
        """
        if not self.ndim:
            raise ValueError("diff: a scalar has no neighbours; it needs at least one axis")
        if n < 0:
            raise ValueError(f"diff: n must not be negative, and is {n}")
        axis = self._axis(dim, "diff")
        parts = [part for part in (prepend, self, append) if part is not None]
        x = type(self).cat(parts, dim=axis) if len(parts) > 1 else self
        key: list[Any] = [slice(None)] * self.ndim
        for _ in range(min(n, x.shape[axis])):
            key[axis] = slice(1, None)
            behind = x[tuple(key)]
            key[axis] = slice(None, -1)
            before = x[tuple(key)]
            x = behind != before if x.dtype is dtypes.bool_ else behind - before
        return x


def _order_of_norm(p: float | str) -> float:
    if p == "fro":
        return 2.0
    if isinstance(p, str):
        raise ValueError(f"norm: p is a number or 'fro', not {p!r}")
    return float(p)
