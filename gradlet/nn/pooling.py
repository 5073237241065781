"""Pooling layers. Each says more as a function: `MaxPool2d` in `nn.functional.max_pool2d`."""

from __future__ import annotations

from collections.abc import Sequence

from gradlet.nn import functional
from gradlet.nn.stateless import Stateless
from gradlet.tensor.adaptive import OutputSize
from gradlet.tensor.tensor import Tensor
from gradlet.tensor.windows import Extents

__all__ = [
    "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d",
    "AdaptiveMaxPool1d", "AdaptiveMaxPool2d", "AdaptiveMaxPool3d",
    "AvgPool1d", "AvgPool2d", "AvgPool3d", "LPPool1d", "LPPool2d", "LPPool3d",
    "MaxPool1d", "MaxPool2d", "MaxPool3d", "MaxUnpool1d", "MaxUnpool2d", "MaxUnpool3d",
]  # fmt: skip


# The largest


class _MaxPool(Stateless):
    def __init__(
        self,
        kernel_size: Extents,
        stride: Extents | None = None,
        padding: Extents = 0,
        dilation: Extents = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__(
            kernel_size=kernel_size,
            stride=stride,
            padding=padding,
            dilation=dilation,
            return_indices=return_indices,
            ceil_mode=ceil_mode,
        )


class MaxPool1d(_MaxPool):
    """The largest element of each window of (..., L), and where with `return_indices`."""

    function = functional.max_pool1d


class MaxPool2d(_MaxPool):
    """The largest element of each window of (..., H, W), and where with `return_indices`.

    >>> MaxPool2d(2)(Tensor.ones(2, 3, 6, 6)).shape
    (2, 3, 3, 3)
    """

    function = functional.max_pool2d


class MaxPool3d(_MaxPool):
    """The largest element of each window of (..., D, H, W), and where with `return_indices`."""

    function = functional.max_pool3d


class _MaxUnpool(Stateless):
    def __init__(
        self, kernel_size: Extents, stride: Extents | None = None, padding: Extents = 0
    ) -> None:
        super().__init__(kernel_size=kernel_size, stride=stride, padding=padding)

    def __call__(
        self, x: Tensor, indices: Tensor, output_size: Sequence[int] | None = None
    ) -> Tensor:
        """What max pooling has found put back where it was, and else zeros."""
        made: Tensor = super().__call__(x, indices, output_size=output_size)
        return made


class MaxUnpool1d(_MaxUnpool):
    """The inverse of `MaxPool1d`, but for what was not the largest."""

    function = functional.max_unpool1d


class MaxUnpool2d(_MaxUnpool):
    """The inverse of `MaxPool2d`, but for what was not the largest.

    >>> x, places = MaxPool2d(2, return_indices=True)(Tensor([[1, 2], [3, 0]]))
    >>> MaxUnpool2d(2)(x, places).tolist()
    [[0, 0], [3, 0]]
    """

    function = functional.max_unpool2d


class MaxUnpool3d(_MaxUnpool):
    """The inverse of `MaxPool3d`, but for what was not the largest."""

    function = functional.max_unpool3d


class _AdaptiveMaxPool(Stateless):
    def __init__(self, output_size: OutputSize, return_indices: bool = False) -> None:
        super().__init__(output_size=output_size, return_indices=return_indices)


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """The largest of `output_size` parts of (..., L)."""

    function = functional.adaptive_max_pool1d


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """The largest of `output_size` parts, rows and columns, of (..., H, W).

    >>> AdaptiveMaxPool2d((2, None))(Tensor.ones(2, 3, 7, 5)).shape
    (2, 3, 2, 5)
    """

    function = functional.adaptive_max_pool2d


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """The largest of `output_size` parts of (..., D, H, W)."""

    function = functional.adaptive_max_pool3d


# The mean


class AvgPool1d(Stateless):
    """The mean of each window of (..., L)."""

    function = functional.avg_pool1d

    def __init__(
        self,
        kernel_size: Extents,
        stride: Extents | None = None,
        padding: Extents = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(
            kernel_size=kernel_size,
            stride=stride,
            padding=padding,
            ceil_mode=ceil_mode,
            count_include_pad=count_include_pad,
        )


class AvgPool2d(Stateless):
    """The mean of each window of (..., H, W), or its sum over `divisor_override`.

    >>> AvgPool2d(2)(Tensor.ones(2, 3, 6, 6)).shape
    (2, 3, 3, 3)
    """

    function = functional.avg_pool2d

    def __init__(
        self,
        kernel_size: Extents,
        stride: Extents | None = None,
        padding: Extents = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__(
            kernel_size=kernel_size,
            stride=stride,
            padding=padding,
            ceil_mode=ceil_mode,
            count_include_pad=count_include_pad,
            divisor_override=divisor_override,
        )


class AvgPool3d(AvgPool2d):
    """The mean of each window of (..., D, H, W), or its sum over `divisor_override`."""

    function = functional.avg_pool3d


class _AdaptiveAvgPool(Stateless):
    def __init__(self, output_size: OutputSize) -> None:
        super().__init__(output_size=output_size)


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """The means of `output_size` parts of (..., L)."""

    function = functional.adaptive_avg_pool1d


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """The means of `output_size` parts, rows and columns, of (..., H, W).

    >>> AdaptiveAvgPool2d(1)(Tensor.ones(2, 3, 7, 5)).shape
    (2, 3, 1, 1)
    """

    function = functional.adaptive_avg_pool2d


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """The means of `output_size` parts of (..., D, H, W)."""

    function = functional.adaptive_avg_pool3d


class _LPPool(Stateless):
    def __init__(
        self,
        norm_type: float,
        kernel_size: Extents,
        stride: Extents | None = None,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__(
            norm_type=norm_type, kernel_size=kernel_size, stride=stride, ceil_mode=ceil_mode
        )


class LPPool1d(_LPPool):
    """(sum of x ** norm_type) ** (1 / norm_type) of each window of (..., L)."""

    function = functional.lp_pool1d


class LPPool2d(_LPPool):
    """(sum of x ** norm_type) ** (1 / norm_type) of each window of (..., H, W)."""

    function = functional.lp_pool2d


class LPPool3d(_LPPool):
    """(sum of x ** norm_type) ** (1 / norm_type) of each window of (..., D, H, W)."""

    function = functional.lp_pool3d
