"""Layers that put elements around the last axes. `nn.functional.pad` says more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from gradlet.nn import functional
from gradlet.nn.stateless import Stateless

__all__ = [
    "CircularPad1d", "CircularPad2d", "CircularPad3d", "ConstantPad1d", "ConstantPad2d",
    "ConstantPad3d", "ReflectionPad1d", "ReflectionPad2d", "ReflectionPad3d", "ReplicationPad1d",
    "ReplicationPad2d", "ReplicationPad3d", "ZeroPad1d", "ZeroPad2d", "ZeroPad3d",
]  # fmt: skip

Widths = int | Sequence[int]


class _Pad(Stateless):
    """(before, after) of the last axis, then of the one before it, or one number for all sides."""

    function = functional.pad
    axes: ClassVar[int]
    mode: ClassVar[str] = "constant"

    def __init__(self, padding: Widths, value: float | None = None) -> None:
        widths = (padding,) * (2 * self.axes) if isinstance(padding, int) else tuple(padding)
        if len(widths) != 2 * self.axes:
            raise ValueError(
                f"{type(self).__name__}: padding must be one number or {2 * self.axes}, not "
                f"{padding!r}"
            )
        super().__init__(pad=widths, mode=self.mode, value=value)


# A number


class _ConstantPad(_Pad):
    def __init__(self, padding: Widths, value: float) -> None:
        super().__init__(padding, value)


class ConstantPad1d(_ConstantPad):
    """`value` before and after (..., L)."""

    axes = 1


class ConstantPad2d(_ConstantPad):
    """`value` around (..., H, W).

    >>> from gradlet import Tensor
    >>> ConstantPad2d((1, 0, 0, 0), 7.0)(Tensor([[1.0, 2.0]])).tolist()
    [[7.0, 1.0, 2.0]]
    """

    axes = 2


class ConstantPad3d(_ConstantPad):
    """`value` around (..., D, H, W)."""

    axes = 3


class _Plain(_Pad):
    """A pad that needs no value."""

    def __init__(self, padding: Widths) -> None:
        super().__init__(padding)


class ZeroPad1d(_Plain):
    """Zeros before and after (..., L)."""

    axes = 1


class ZeroPad2d(_Plain):
    """Zeros around (..., H, W).

    >>> from gradlet import Tensor
    >>> ZeroPad2d(1)(Tensor.ones(2, 3, 4, 4)).shape
    (2, 3, 6, 6)
    """

    axes = 2


class ZeroPad3d(_Plain):
    """Zeros around (..., D, H, W)."""

    axes = 3


# What the images have


class _ReflectionPad(_Plain):
    mode = "reflect"


class ReflectionPad1d(_ReflectionPad):
    """(..., L) goes back at its ends, which are not repeated.

    >>> from gradlet import Tensor
    >>> ReflectionPad1d(2)(Tensor([[1, 2, 3]])).tolist()
    [[3, 2, 1, 2, 3, 2, 1]]
    """

    axes = 1


class ReflectionPad2d(_ReflectionPad):
    """(..., H, W) goes back at its edges, which are not repeated."""

    axes = 2


class ReflectionPad3d(_ReflectionPad):
    """(..., D, H, W) goes back at its edges, which are not repeated."""

    axes = 3


class _ReplicationPad(_Plain):
    mode = "replicate"


class ReplicationPad1d(_ReplicationPad):
    """The ends of (..., L) are repeated."""

    axes = 1


class ReplicationPad2d(_ReplicationPad):
    """The edges of (..., H, W) are repeated."""

    axes = 2


class ReplicationPad3d(_ReplicationPad):
    """The edges of (..., D, H, W) are repeated."""

    axes = 3


class _CircularPad(_Plain):
    mode = "circular"


class CircularPad1d(_CircularPad):
    """(..., L) goes on at its other end."""

    axes = 1


class CircularPad2d(_CircularPad):
    """(..., H, W) goes on at its other edge."""

    axes = 2


class CircularPad3d(_CircularPad):
    """(..., D, H, W) goes on at its other edge."""

    axes = 3
