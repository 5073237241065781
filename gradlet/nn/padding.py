"""Layers that put elements around the last axes. `nn.functional.pad` says more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from gradlet.nn import functional
from gradlet.nn.stateless import Stateless

__all__ = [
    "ConstantPad1d", "ConstantPad2d", "ConstantPad3d", "ZeroPad1d", "ZeroPad2d", "ZeroPad3d",
]  # fmt: skip

Widths = int | Sequence[int]


class _Pad(Stateless):
    """(before, after) of the last axis, then of the one before it, or one number for all sides."""

    function = functional.pad
    axes: ClassVar[int]

    def __init__(self, padding: Widths, value: float) -> None:
        widths = (padding,) * (2 * self.axes) if isinstance(padding, int) else tuple(padding)
        if len(widths) != 2 * self.axes:
            raise ValueError(
                f"{type(self).__name__}: padding must be one number or {2 * self.axes}, not "
                f"{padding!r}"
            )
        super().__init__(pad=widths, value=value)


class ConstantPad1d(_Pad):
    """`value` before and after (..., L)."""

    axes = 1


class ConstantPad2d(_Pad):
    """`value` around (..., H, W).

    >>> from gradlet import Tensor
    >>> ConstantPad2d((1, 0, 0, 0), 7.0)(Tensor([[1.0, 2.0]])).tolist()
    [[7.0, 1.0, 2.0]]
    """

    axes = 2


class ConstantPad3d(_Pad):
    """`value` around (..., D, H, W)."""

    axes = 3


class _ZeroPad(_Pad):
    def __init__(self, padding: Widths) -> None:
        super().__init__(padding, 0.0)


class ZeroPad1d(_ZeroPad):
    """Zeros before and after (..., L)."""

    axes = 1


class ZeroPad2d(_ZeroPad):
    """Zeros around (..., H, W).

    >>> from gradlet import Tensor
    >>> ZeroPad2d(1)(Tensor.ones(2, 3, 4, 4)).shape
    (2, 3, 6, 6)
    """

    axes = 2


class ZeroPad3d(_ZeroPad):
    """Zeros around (..., D, H, W)."""

    axes = 3
