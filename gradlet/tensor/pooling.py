"""Pooling over windows of images. The order of arguments is that of tinygrad."""

from __future__ import annotations

from typing import Any, Self

from gradlet.base import dtypes
from gradlet.ir import build, ops
from gradlet.ir.build import along
from gradlet.ir.node import Node
from gradlet.tensor.by_form import by_form
from gradlet.tensor.convolution import Convolution
from gradlet.tensor.core import product
from gradlet.tensor.movement import pad_node
from gradlet.tensor.operators import floating
from gradlet.tensor.windows import (
    Extents,
    Geometry,
    extents_argument,
    geometry,
    padded_windows,
    sides_argument,
)


class Pooling(Convolution):
    """Pooling over the last axes."""

    __slots__ = ()

    def _pool_geometry(
        self,
        axes: int,
        kernel_size: Extents,
        stride: Extents | None,
        dilation: Extents,
        padding: Extents,
        ceil_mode: bool,
        operation: str,
    ) -> Geometry:
        if self.ndim < axes:
            wanted = ", ".join("DHW"[3 - axes :] if axes > 1 else "L")
            raise ValueError(f"{operation}: needs images (..., {wanted}), not shape {self.shape}")
        image = self.shape[self.ndim - axes :]
        if stride == ():
            stride = None
        sides_argument(padding, axes)
        return geometry(image, kernel_size, stride, dilation, padding, operation, ceil_mode)

    # The largest

    def max_pool1d(
        self,
        kernel_size: Extents = 2,
        stride: Extents | None = None,
        dilation: Extents = 1,
        padding: Extents = 0,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> Any:
        """The largest element of each window of (..., L); see `max_pool2d`."""
        options = (kernel_size, stride, dilation, padding, ceil_mode)
        return self._max_pool(1, *options, return_indices)

    def max_pool2d(
        self,
        kernel_size: Extents = (2, 2),
        stride: Extents | None = None,
        dilation: Extents = 1,
        padding: Extents = 0,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> Any:
        """The largest element of each window; its gradient goes to the first such element.

        Args:
            self: (..., H, W).
            stride: the kernel size if not given.
            padding: as for `conv2d`, at most half a window; what is padded never wins.
            ceil_mode: whether a last window may reach beyond the image.
            return_indices: whether to say as well where in the flat H * W image they stand.

        Returns:
            (..., OH, OW), or that and int64 indices of the same shape.

        >>> from gradlet import Tensor
        >>> values, places = Tensor([[1, 2], [3, 0]]).max_pool2d(2, return_indices=True)
        >>> values.tolist(), places.tolist()
        ([[3]], [[2]])
        """
        options = (kernel_size, stride, dilation, padding, ceil_mode)
        return self._max_pool(2, *options, return_indices)

    def max_pool3d(
        self,
        kernel_size: Extents = 2,
        stride: Extents | None = None,
        dilation: Extents = 1,
        padding: Extents = 0,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> Any:
        """The largest element of each window of (..., D, H, W); see `max_pool2d`."""
        options = (kernel_size, stride, dilation, padding, ceil_mode)
        return self._max_pool(3, *options, return_indices)

    @by_form
    def _max_pool(
        self,
        axes: int,
        kernel_size: Extents,
        stride: Extents | None,
        dilation: Extents,
        padding: Extents,
        ceil_mode: bool,
        return_indices: bool,
    ) -> Any:
        operation = f"max_pool{axes}d"
        how = self._pool_geometry(
            axes, kernel_size, stride, dilation, padding, ceil_mode, operation
        )
        _check_padding(how, operation)
        windows = padded_windows(self.node, how, self.dtype.min)
        last = tuple(range(windows.ndim - axes, windows.ndim))
        largest = build.reduce(ops.MAXIMUM, windows, last)
        if return_indices:
            _check_no_window_is_empty(how, self.shape[self.ndim - axes :], operation)
        inside = _inside(self.node, how)
        value = largest
        if self.dtype.is_float:
            value = build.surrogate(largest, _first_largest(windows, largest, inside, axes))
        if not return_indices:
            return self._result(value)
        place = _place_in_image(windows, self.shape[self.ndim - axes :], how)
        hit = _is_largest(windows, largest, inside, axes)
        nowhere = build.full_like(place, dtypes.int64.max)
        first = build.reduce(ops.MINIMUM, build.where(hit, place, nowhere), last)
        return self._result(value), self._result(first)

    # The mean

    def avg_pool1d(
        self,
        kernel_size: Extents = 2,
        stride: Extents | None = None,
        dilation: Extents = 1,
        padding: Extents = 0,
        count_include_pad: bool = True,
        ceil_mode: bool = False,
    ) -> Self:
        """The mean of each window of (..., L); see `avg_pool2d`."""
        options = (kernel_size, stride, dilation, padding, count_include_pad, ceil_mode)
        return self._avg_pool(1, *options)

    def avg_pool2d(
        self,
        kernel_size: Extents = (2, 2),
        stride: Extents | None = None,
        dilation: Extents = 1,
        padding: Extents = 0,
        count_include_pad: bool = True,
        ceil_mode: bool = False,
        divisor_override: int | None = None,
    ) -> Self:
        """The mean of each window; see `max_pool2d`.

        Args:
            count_include_pad: whether padding counts as zeros or not at all. What `ceil_mode`
                reads beyond it never counts.
            divisor_override: what sums are divided by instead.
        """
        options = (kernel_size, stride, dilation, padding, count_include_pad, ceil_mode)
        return self._avg_pool(2, *options, divisor_override)

    def avg_pool3d(
        self,
        kernel_size: Extents = 2,
        stride: Extents | None = None,
        dilation: Extents = 1,
        padding: Extents = 0,
        count_include_pad: bool = True,
        ceil_mode: bool = False,
        divisor_override: int | None = None,
    ) -> Self:
        """The mean of each window of (..., D, H, W); see `avg_pool2d`."""
        options = (kernel_size, stride, dilation, padding, count_include_pad, ceil_mode)
        return self._avg_pool(3, *options, divisor_override)

    @by_form
    def _avg_pool(
        self,
        axes: int,
        kernel_size: Extents,
        stride: Extents | None,
        dilation: Extents,
        padding: Extents,
        count_include_pad: bool,
        ceil_mode: bool,
        divisor: int | None = None,
    ) -> Self:
        operation = f"avg_pool{axes}d"
        if not self.dtype.is_float:
            x = self._result(floating(self.node))
            options = (dilation, padding, count_include_pad, ceil_mode, divisor)
            return x._avg_pool(axes, kernel_size, stride, *options)
        if divisor == 0:
            raise ValueError(f"{operation}: divisor_override must not be 0")
        how = self._pool_geometry(
            axes, kernel_size, stride, dilation, padding, ceil_mode, operation
        )
        total = _window_sums(padded_windows(self.node, how), axes)
        if divisor is not None:
            return self._result(build.div(total, build.full_like(total, divisor)))
        if not count_include_pad:
            _check_padding(how, operation)
            counted = build.full_like(self.node, 1)
        elif ceil_mode:
            widths = ((0, 0),) * (self.ndim - axes) + how.sides
            counted = pad_node(build.full_like(self.node, 1), widths, 1)
            how = how._replace(sides=((0, 0),) * axes)
        else:
            size = product(how.kernel)
            return self._result(build.div(total, build.full_like(total, size)))
        count = _window_sums(padded_windows(counted, how), axes)
        return self._result(build.div(total, count))

    def lp_pool1d(
        self,
        norm_type: float,
        kernel_size: Extents,
        stride: Extents | None = None,
        ceil_mode: bool = False,
    ) -> Self:
        """(sum of x ** norm_type) ** (1 / norm_type) of each window of (..., L)."""
        return self._lp_pool(1, norm_type, kernel_size, stride, ceil_mode)

    def lp_pool2d(
        self,
        norm_type: float,
        kernel_size: Extents,
        stride: Extents | None = None,
        ceil_mode: bool = False,
    ) -> Self:
        """(sum of x ** norm_type) ** (1 / norm_type) of each window of (..., H, W).

        A sum of 0 has the gradient 0; roots of sums below 0, which odd powers may have, are nan.
        What a window with `ceil_mode` lacks is made up for in proportion, as PyTorch does.
        """
        return self._lp_pool(2, norm_type, kernel_size, stride, ceil_mode)

    def lp_pool3d(
        self,
        norm_type: float,
        kernel_size: Extents,
        stride: Extents | None = None,
        ceil_mode: bool = False,
    ) -> Self:
        """(sum of x ** norm_type) ** (1 / norm_type) of each window of (..., D, H, W)."""
        return self._lp_pool(3, norm_type, kernel_size, stride, ceil_mode)

    def _lp_pool(
        self,
        axes: int,
        norm_type: float,
        kernel_size: Extents,
        stride: Extents | None,
        ceil_mode: bool,
    ) -> Self:
        if norm_type == 0:
            raise ValueError(f"lp_pool{axes}d: norm_type must not be 0")
        power = self**norm_type
        size = product(extents_argument(kernel_size, axes, "kernel_size"))
        total = power._avg_pool(axes, kernel_size, stride, 1, 0, True, ceil_mode) * size
        flat = total.eq(0)
        return flat.where(0.0, flat.where(1.0, total) ** (1.0 / norm_type))


def _check_padding(how: Geometry, operation: str) -> None:
    """At most half a window, lest a window see nothing but padding."""
    for size, gap, side in zip(how.kernel, how.dilation, how.sides, strict=True):
        if max(side) > ((size - 1) * gap + 1) // 2:
            raise ValueError(
                f"{operation}: padding {how.sides} is more than half a window of {how.kernel} with "
                f"dilation {how.dilation}; pad the image itself instead"
            )


def _check_no_window_is_empty(how: Geometry, image: tuple[int, ...], operation: str) -> None:
    for extent, size, step, gap, side, count in zip(
        image, how.kernel, how.stride, how.dilation, how.sides, how.out, strict=True
    ):
        for first in range(-side[0], count * step - side[0], step):
            if not any(0 <= first + gap * i < extent for i in range(size)):
                raise ValueError(
                    f"{operation}: with {how} a window of an image of {image} sees nothing but "
                    "padding, of which there is no index"
                )


def _inside(x: Node, how: Geometry) -> Node | None:
    """Which elements of windows over `x` lie in the image; None if all of them do."""
    if _reads_no_padding(x, how):
        return None
    return padded_windows(build.const(True, dtypes.bool_, x.shape), how)


def _reads_no_padding(x: Node, how: Geometry) -> bool:
    image = x.shape[x.ndim - len(how.kernel) :]
    return not any(
        sum(side) or (count - 1) * step + (size - 1) * gap >= extent
        for side, count, step, size, gap, extent in zip(
            how.sides, how.out, how.stride, how.kernel, how.dilation, image, strict=True
        )
    )


def _window_sums(windows: Node, axes: int) -> Node:
    """Half floats add up in float32."""
    wide = dtypes.float32 if windows.dtype.bits == 16 else windows.dtype
    last = tuple(range(windows.ndim - axes, windows.ndim))
    return build.cast(build.sum_(build.cast(windows, wide), last), windows.dtype)


def _is_largest(windows: Node, largest: Node, inside: Node | None, axes: int) -> Node:
    """Where an element of the image is the largest of its window, or nan."""
    value = build.detach(windows)
    wide = build.reshape(build.detach(largest), (*largest.shape, *(1,) * axes))
    hit = build.binary(ops.EQ, value, build.expand(wide, windows.shape))
    is_nan = build.logical_not(build.binary(ops.EQ, value, value))
    hit = build.binary(ops.OR, hit, is_nan)
    return hit if inside is None else build.binary(ops.AND, hit, inside)


def _first_largest(windows: Node, largest: Node, inside: Node | None, axes: int) -> Node:
    """The first element of each window that is its largest (or nan), picked out by a mask.

    Args:
        windows: (..., OH, OW, KH, KW).
        largest: (..., OH, OW).

    Returns:
        (..., OH, OW), whose gradient flows to the picked elements alone.
    """
    last = tuple(range(windows.ndim - axes, windows.ndim))
    position = along(last[0], windows.shape, dtypes.int32)  # as many lanes as float32 has
    for axis in last[1:]:
        scaled = build.mul(position, build.full_like(position, windows.shape[axis]))
        position = build.add(scaled, along(axis, windows.shape, dtypes.int32))
    hit = _is_largest(windows, largest, inside, axes)
    nowhere = build.full_like(position, product(windows.shape[last[0] :]))
    first = build.reduce(ops.MINIMUM, build.where(hit, position, nowhere), last)
    wide = build.expand(build.reshape(first, (*first.shape, *(1,) * axes)), windows.shape)
    picked = build.binary(ops.EQ, position, wide)
    return build.sum_(build.where(picked, windows, build.full_like(windows, 0)), last)


def _place_in_image(windows: Node, image: tuple[int, ...], how: Geometry) -> Node:
    """For each element of windows (..., OH, OW, KH, KW) its index in the flat image."""
    axes = len(image)
    lead = windows.ndim - 2 * axes
    place = build.const(0, dtypes.int64, windows.shape)
    for axis, extent in enumerate(image):
        window, inner = along(lead + axis, windows.shape), along(lead + axes + axis, windows.shape)
        start = build.mul(window, build.full_like(window, how.stride[axis]))
        step = build.mul(inner, build.full_like(inner, how.dilation[axis]))
        before = build.full_like(start, how.sides[axis][0])
        position = build.sub(build.add(start, step), before)
        place = build.add(build.mul(place, build.full_like(place, extent)), position)
    return place
