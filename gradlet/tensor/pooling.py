"""Pooling over windows of images."""

from __future__ import annotations

from typing import Self

from gradlet.base import dtypes
from gradlet.ir import build, ops
from gradlet.ir.build import along
from gradlet.ir.node import Node
from gradlet.tensor.contraction import (
    Contraction,
    Pair,
    pair_argument,
    sides_argument,
    window_extents,
    windows_2d,
)
from gradlet.tensor.movement import pad_node


class Pooling(Contraction):
    """Pooling over the last two axes."""

    __slots__ = ()

    def _pool_windows(
        self,
        kernel_size: Pair,
        stride: Pair | None,
        dilation: Pair,
        padding: Pair,
        filler: bool | int | float,
        operation: str,
    ) -> Node:
        """(..., H, W) to (..., OH, OW, KH, KW), padded with `filler`."""
        if self.ndim < 2:
            raise ValueError(f"{operation}: needs images (..., H, W), not shape {self.shape}")
        kernel = pair_argument(kernel_size, "kernel_size")
        step = kernel if stride is None else pair_argument(stride, "stride")
        spread = pair_argument(dilation, "dilation")
        sides = sides_argument(padding)
        window_extents(self.shape[-2:], kernel, step, spread, sides, operation)
        widths = [(0, 0)] * (self.ndim - 2) + list(sides)
        return windows_2d(pad_node(self.node, widths, filler), kernel, step, spread)

    def max_pool2d(
        self,
        kernel_size: Pair = (2, 2),
        stride: Pair | None = None,
        dilation: Pair = 1,
        padding: Pair = 0,
    ) -> Self:
        """The largest element of each window; its gradient goes to the first such element.

        Args:
            self: (..., H, W).
            stride: the kernel size if not given.
            padding: as for `conv2d`; what is padded never wins.

        Returns:
            (..., OH, OW).
        """
        lowest = self.dtype.min
        windows = self._pool_windows(kernel_size, stride, dilation, padding, lowest, "max_pool2d")
        axes = (windows.ndim - 2, windows.ndim - 1)
        largest = build.reduce(ops.MAXIMUM, windows, axes)
        if not self.dtype.is_float:
            return self._result(largest)
        return self._result(build.surrogate(largest, _first_largest(windows, largest)))

    def avg_pool2d(
        self,
        kernel_size: Pair = (2, 2),
        stride: Pair | None = None,
        dilation: Pair = 1,
        padding: Pair = 0,
        count_include_pad: bool = True,
    ) -> Self:
        """The mean of each window; see `max_pool2d`.

        Args:
            count_include_pad: whether padding counts as zeros or not at all.
        """
        geometry = (kernel_size, stride, dilation, padding, 0, "avg_pool2d")
        if not self.dtype.is_float:
            return self.float().avg_pool2d(*geometry[:4], count_include_pad)
        total = _window_sums(self._pool_windows(*geometry))
        ones = self._result(build.full_like(self.node, 1))
        if count_include_pad:
            height, width = pair_argument(kernel_size, "kernel_size")
            return self._result(build.div(total, build.full_like(total, height * width)))
        return self._result(build.div(total, _window_sums(ones._pool_windows(*geometry))))


def _window_sums(windows: Node) -> Node:
    """Half floats add up in float32."""
    wide = dtypes.float32 if windows.dtype.bits == 16 else windows.dtype
    axes = (windows.ndim - 2, windows.ndim - 1)
    return build.cast(build.sum_(build.cast(windows, wide), axes), windows.dtype)


def _first_largest(windows: Node, largest: Node) -> Node:
    """The first element of each window that is its largest (or nan), picked out by a mask.

    Args:
        windows: (..., OH, OW, KH, KW).
        largest: (..., OH, OW).

    Returns:
        (..., OH, OW), whose gradient flows to the picked elements alone.
    """
    axes = (windows.ndim - 2, windows.ndim - 1)
    height, width = windows.shape[-2:]
    row, column = along(axes[0], windows.shape), along(axes[1], windows.shape)
    position = build.add(build.mul(row, build.full_like(row, width)), column)

    def spread(x: Node) -> Node:
        return build.expand(build.reshape(x, (*x.shape, 1, 1)), windows.shape)

    value = build.detach(windows)
    is_nan = build.logical_not(build.binary(ops.EQ, value, value))
    hit = build.binary(ops.EQ, value, spread(build.detach(largest)))
    hit = build.binary(ops.OR, hit, is_nan)
    nowhere = build.full_like(position, height * width)
    first = build.reduce(ops.MINIMUM, build.where(hit, position, nowhere), axes)
    picked = build.binary(ops.EQ, position, spread(first))
    return build.sum_(build.where(picked, windows, build.full_like(windows, 0)), axes)
